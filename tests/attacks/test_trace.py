"""The trace of a search: which evaluations it holds, how it is thinned, and that it is a tidy table."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tenuto.attacks import PGD, AbsoluteError, Linf, Noise, Square, Transformations
from tenuto.attacks.trace import MOST_POINTS
from tenuto.errors import AttackError
from tests.attacks.conftest import Linear

MODEL = Linear(torch.ones(2, 4, dtype=torch.float64))
INPUTS = torch.zeros(3, 1, 2, 2, dtype=torch.float64)
LABELS = -torch.ones(3, 2, dtype=torch.float64)


def test_an_ascent_on_a_linear_model_has_known_points():
    attack = PGD(Linf(0.4), objective=AbsoluteError(), steps=4, step_size=0.1)
    trace = attack(MODEL, INPUTS, LABELS, trace=True).trace
    frame = trace.frame(["calm", "tense"])
    own = frame[frame["clip"] == "1"]
    assert list(own["step"]) == [0, 1, 2, 3, 4, 5]  # the clean input, zero as a start, and four steps
    sizes = np.array([0, 0, 0.1, 0.2, 0.3, 0.4])
    for column, expected in {
        "size": sizes,
        "loss": 1 + 4 * sizes,
        "best": 1 + 4 * sizes,
        "moved": 4 * sizes,
        "prediction_calm": 4 * sizes,
        "prediction_tense": 4 * sizes,
    }.items():
        np.testing.assert_allclose(own[column], expected, atol=1e-12)
    with pytest.raises(AttackError, match="emotions has 1 name, the model has 2 outputs"):
        trace.frame(["calm"])
    assert PGD(Linf(0.4))(MODEL, INPUTS, LABELS).trace is None


@pytest.mark.filterwarnings("ignore::tenuto.errors.RandomModelWarning")
def test_a_long_search_is_thinned_and_forgets_no_best():
    class Spike(torch.nn.Module):
        """One evaluation, which no kept point holds, is far above all others."""

        def __init__(self):
            super().__init__()
            self.count = 0

        def forward(self, inputs):
            self.count += 1
            return inputs.flatten(1)[:, :2] + (100.0 if self.count == 700 else 0.0)

    attack = Square(Linf(0.1), objective=AbsoluteError(), queries=3 * MOST_POINTS + 1)
    trace = attack(Spike(), INPUTS[:1], LABELS[:1], trace=True).trace
    assert len(trace.step) <= MOST_POINTS + 2
    assert set(np.diff(trace.step[:-1, 0])) == {4}
    assert trace.step[-1, 0] == 3 * MOST_POINTS + 1
    assert trace.loss.max() < 10 < trace.best[-1, 0]


def test_chunks_and_examples_that_end_early_give_the_same_table():
    labels = LABELS * torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
    attack = PGD(Linf(0.4), objective=AbsoluteError(), steps=4, step_size=0.1, stop_at=2.5)
    frames = [
        attack(MODEL, INPUTS, labels, trace=True, batch_size=size, names="abc").trace.frame()
        for size in (3, 1)
    ]
    assert frames[0].equals(frames[1])
    assert dict(frames[0].groupby("clip")["step"].max()) == {"a": 5, "b": 3, "c": 0}


def test_draws_of_one_step_are_one_point():
    attack = Noise(Linf(0.1), draws=2, transformations=Transformations(draws=3))
    trace = attack(MODEL, INPUTS, LABELS, trace=True).trace
    assert trace.step[-1].tolist() == [2, 2, 2]
    np.testing.assert_allclose(trace.moved, np.abs(trace.prediction).mean(axis=2))


def test_a_figure_has_a_line_per_example_and_their_mean():
    figure = PGD(Linf(0.4), steps=2)(MODEL, INPUTS, LABELS, trace=True).trace.plot()
    assert [len(axes.lines) for axes in figure.axes] == [4, 4, 4]


def test_the_mean_in_a_figure_is_that_of_the_points_of_every_example():
    labels = LABELS * torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
    attack = Square(Linf(0.4), objective=AbsoluteError(), queries=2 * MOST_POINTS, stop_at=3.0)
    traces = [
        attack(MODEL, INPUTS, labels, trace=True, batch_size=size, names="abc").trace for size in (3, 1)
    ]
    lines = [np.asarray(trace.plot().axes[0].lines[-1].get_xydata(), float) for trace in traces]
    for trace, line in zip(traces, lines, strict=True):
        points = trace.frame().pivot(index="step", columns="clip", values="best").ffill()
        assert line[:, 0].tolist() == points.index.tolist()
        np.testing.assert_allclose(line[:, 1], points.mean(axis=1))
