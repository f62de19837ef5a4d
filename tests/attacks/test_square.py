"""The random search of Square: its schedule, its windows, and its patterns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tenuto.attacks import L2, Linf, Square
from tenuto.attacks.square import _pattern, _peak, _window, share
from tests.attacks.conftest import Linear
from tests.attacks.test_families import INPUTS, LABELS, UP, WEIGHTS, Asked


def test_the_share_is_halved_along_the_schedule_of_the_paper():
    marks = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)
    for halvings, mark in enumerate(marks):
        assert share(0.8, mark, 10_000) == pytest.approx(0.8 / 2**halvings)
        assert share(0.8, mark + 1, 10_000) == pytest.approx(0.8 / 2 ** (halvings + 1))


@pytest.mark.parametrize(
    ("plane", "part", "sizes"),
    [
        ((20, 30), 0.06, (6, 6)),
        ((313, 149), 0.8, (250, 149)),
        ((313, 149), 0.05, (48, 48)),
        ((1, 100), 0.8, (1, 80)),
        ((4, 3), 1.0, (4, 3)),
        ((313, 149), 1e-9, (1, 1)),
    ],
)
def test_windows_are_square_and_cover_their_share(plane, part, sizes):
    rows, columns = _window(torch.Size(plane), part, np.random.default_rng(0))
    assert (rows.stop - rows.start, columns.stop - columns.start) == sizes
    assert rows.start >= 0
    assert rows.stop <= plane[0]
    assert columns.start >= 0
    assert columns.stop <= plane[1]


def test_windows_reach_every_corner():
    generator = np.random.default_rng(0)
    starts = {tuple(part.start for part in _window(torch.Size((4, 3)), 0.3, generator)) for _ in range(200)}
    assert starts == {(row, column) for row in range(3) for column in range(2)}


def test_square_begins_with_stripes_along_time():
    model = Asked(Linear(WEIGHTS))
    Square(budget=Linf(0.5), objective=UP, queries=1)(model, INPUTS, LABELS)
    delta = torch.tensor(model.at[1], dtype=torch.float64).view_as(INPUTS) - INPUTS
    assert delta.abs().flatten().tolist() == pytest.approx([0.5] * delta.numel())
    assert float(delta.std(dim=2).max()) < 1e-12
    assert float(delta.std(dim=3).min()) > 0.1


def around(chosen, values):
    """The values in the smallest rectangle around the chosen entries."""
    rows, columns = chosen.any(dim=1).nonzero().flatten(), chosen.any(dim=0).nonzero().flatten()
    return values[rows[:1].sum() : rows[-1:].sum() + 1, columns[:1].sum() : columns[-1:].sum() + 1]


def test_square_changes_one_window_at_a_time():
    # Nothing is ever better than the stripes, which are asked about second; so every query is these and one window.
    values = iter([0.0, 1.0, *[0.5] * 11, 1.0])
    asked = Asked(lambda flat: flat.new_full((len(flat), 1), next(values)))
    Square(budget=Linf(0.5), objective=UP, queries=12)(asked, INPUTS[:1], LABELS[:1])
    stripes, *others = torch.tensor(asked.at[1:-1], dtype=torch.float64).view(-1, 30, 20) - INPUTS[0]
    result = 0
    for delta in others:
        changed = (delta - stripes).abs() > 1e-9
        result += int(changed.any())
        assert len(around(changed, delta).round(decimals=9).unique()) <= 1
    assert result > 6


def test_the_peak_is_that_of_equation_2():
    """n = 2, so the squares have heights 1/9, 1/9 + 1/4 and 1/9 + 1/4 + 1 from the edge to the middle."""
    edge, inner, middle = 1 / 9, 1 / 9 + 1 / 4, 1 / 9 + 1 / 4 + 1
    rows = [
        [edge, edge, edge, edge, edge],
        [edge, inner, inner, inner, edge],
        [edge, inner, middle, inner, edge],
        [edge, inner, inner, inner, edge],
        [edge, edge, edge, edge, edge],
    ]
    np.testing.assert_allclose(_peak(5, 5), rows)
    np.testing.assert_allclose(_peak(1, 4), [[edge, inner, middle, inner]])


@pytest.mark.parametrize("shape", [(6, 6), (7, 5), (1, 9), (9, 1), (2, 1), (1, 1)])
def test_a_pattern_is_a_peak_next_to_a_trough(shape):
    generator = np.random.default_rng(0)
    patterns = [_pattern(torch.zeros(shape, dtype=torch.float64), generator) for _ in range(20)]
    assert all(pattern.shape == shape and bool((pattern != 0).all()) for pattern in patterns)
    if max(shape) > 1:
        assert all(pattern.min() < 0 < pattern.max() for pattern in patterns)
    assert len({float(pattern.flatten()[0].sign()) for pattern in patterns}) == 2


def test_square_in_l2_keeps_the_norm_while_it_moves_two_windows():
    """Nothing is better than the grid, which is evaluated second: every query is the grid with two changed windows."""
    values = iter([0.0, 1.0, *[0.5] * 30, 1.0])
    asked = Asked(lambda flat: flat.new_full((len(flat), 1), next(values)))
    Square(L2(0.5), objective=UP, queries=31)(asked, INPUTS[:1], LABELS[:1])
    deltas = torch.tensor(asked.at[1:-1], dtype=torch.float64).view(-1, 30, 20) - INPUTS[0]
    assert deltas.flatten(1).norm(dim=1).tolist() == pytest.approx([0.5] * 31)
    grid = deltas[0]
    assert (
        len(
            {
                float(grid[6 * row : 6 * row + 6, 4 * column : 4 * column + 4].abs().sum().round(decimals=9))
                for row in range(5)
                for column in range(5)
            }
        )
        <= 2
    )
    assert all(0 < int(((delta - grid).abs() > 1e-9).sum()) < grid.numel() for delta in deltas[-5:])
