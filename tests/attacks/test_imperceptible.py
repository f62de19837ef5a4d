"""The attack in two stages: reach a goal within the budget, then lower the noise-to-mask ratio."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tenuto.attacks import PGD, SNR, AbsoluteError, Amplitude, Imperceptible, Linf, Masked, Minimal
from tenuto.audio.masking import noise_to_mask_db
from tenuto.errors import AttackError, ConfigError
from tests.attacks.test_masked import SAMPLES, WAVES


class Levels(nn.Module):
    """Two outputs from the levels of the waveform in 64 filters, without weights to load."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(8)
        self.filters = nn.Conv1d(1, 64, 256, stride=128, bias=False)
        self.filters.weight.data = torch.randn(64, 1, 256, generator=generator)
        self.last = nn.Linear(64, 2)
        self.last.weight.data = torch.randn(2, 64, generator=generator)
        self.last.bias.data = torch.zeros(2)

    def forward(self, waveforms):
        levels = torch.log10(1 + self.filters(waveforms[:, None]).square()).mean(dim=2)
        return torch.sigmoid(self.last(levels - 0.5) / 4)


MODEL = Levels()
with torch.no_grad():
    LABELS = MODEL(WAVES) + 0.01  # where they are equal the error has no gradient
ERROR = AbsoluteError()
GOAL = 0.05


def attacked(attack, **settings):
    return attack(MODEL, WAVES, LABELS, **settings)


@pytest.mark.parametrize("budget", [SNR(10), Amplitude(0.05), Masked(12)], ids=repr)
def test_the_second_stage_keeps_the_goal_and_the_budget_and_lowers_the_ratio(budget):
    reached = attacked(Imperceptible(budget, goal=GOAL, objective=ERROR, quiet_steps=0, bisections=0))
    quiet = attacked(Imperceptible(budget, goal=GOAL, objective=ERROR, quiet_steps=30))
    for result in (reached, quiet):
        assert result.converged.all()
        assert (result.loss >= GOAL).all()
        budget.around(WAVES, "ab").check(result.perturbation, "ab")
    before, after = (noise_to_mask_db(result.perturbation, WAVES) for result in (reached, quiet))
    assert (after < before - 3).all()


def test_it_is_less_audible_than_the_shortest_perturbation():
    """Both reach the same error; the one minimises the noise-to-mask ratio, the other the norm."""
    short = attacked(Minimal(SNR(10), goal=GOAL, objective=ERROR, steps=30))
    quiet = attacked(Imperceptible(SNR(10), goal=GOAL, objective=ERROR, quiet_steps=30))
    assert short.converged.all()
    ratios = [noise_to_mask_db(result.perturbation, WAVES) for result in (short, quiet)]
    assert (ratios[1] < ratios[0] - 6).all()
    assert (quiet.perturbation.norm(dim=1) > short.perturbation.norm(dim=1)).all()


def test_a_goal_out_of_reach_leaves_the_strongest_perturbation():
    result = attacked(Imperceptible(SNR(70), goal=0.9, objective=ERROR, steps=5))
    assert not result.converged.any()
    assert (result.loss > 0).all()
    assert result.gradient_passes.tolist() == [5, 5]


def test_a_clip_at_its_goal_is_left_alone():
    result = Imperceptible(SNR(20), goal=0.2, objective=ERROR)(
        MODEL, WAVES, LABELS - torch.tensor([[0.5], [0.0]])
    )
    assert not result.perturbation[0].any()
    assert result.gradient_passes[0] == 0


def test_it_begins_at_the_start():
    strong = attacked(PGD(SNR(10), objective=ERROR)).perturbation
    result = attacked(
        Imperceptible(SNR(10), goal=GOAL, objective=ERROR, quiet_steps=0, bisections=0), start=strong
    )
    assert torch.equal(result.perturbation, SNR(10).around(WAVES, "ab").project(strong))
    assert result.gradient_passes.tolist() == [1, 1]


def test_spectrograms_are_refused():
    attack = Imperceptible(Linf(1.0), goal=0.1)
    with pytest.raises(AttackError, match=r"attacks waveforms \(n, samples\), but the inputs have shape"):
        attack(nn.Flatten(), torch.rand(1, 1, 4, 3), torch.rand(1, 12))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1"),
        ({"quiet_steps": -1}, "quiet_steps must be"),
        ({"stop_at": 0.1}, "has no stop_at"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        Imperceptible(SNR(20), **{"goal": 0.1, **settings})


def test_silence_is_refused_by_name():
    model = nn.Linear(SAMPLES, 2)
    with pytest.raises(AttackError, match="clip quiet is silent"):
        Imperceptible(Amplitude(0.1), goal=GOAL, objective=ERROR)(
            model, torch.zeros(1, SAMPLES), model.bias.detach()[None] + 0.01, names=["quiet"]
        )
