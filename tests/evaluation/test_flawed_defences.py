"""The protocol breaks every flawed defence, or the audit flags it."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from benchmarks.flawed import shown
from tenuto.attacks import Foreign
from tenuto.evaluation import flawed
from tests.test_docs import ROOT

EXPECTED = {
    "saturated output": (False, {"black-box", "unbounded"}),
    "rounded output": (False, {"gradients", "black-box"}),
    "k-winners-take-all": (True, set()),
    "thermometer code": (False, {"gradients"}),
    "codec in front": (False, {"gradients"}),
    "random input": (True, {"repeatable"}),
    "detached branch": (False, {"finite-differences", "black-box"}),
    "distilled head": (False, {"gradients"}),
    "noise at inference": (True, {"repeatable"}),
    "exploding features": (False, {"gradients"}),
    "vanishing features": (True, {"gradients"}),
}
"""Defence -> whether standard-1 breaks it, and checks of the audit that must not pass."""


@pytest.mark.parametrize("name", flawed.DEFENCES)
def test_the_protocol_breaks_it_or_the_audit_flags_it(name):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    (line,) = flawed.table(attacks={}, defences={name: flawed.DEFENCES[name]}).to_dict("records")
    is_broken, checks = EXPECTED[name]
    assert line["broken"] == is_broken
    assert checks <= set(line["audit"].split(", "))
    assert is_broken or line["adaptive"] > 1.2 * line["standard-1"]
    assert torch.equal(torch.get_rng_state(), state)


def test_without_a_defence_everything_passes_and_nothing_beats_the_protocol():
    (line,) = flawed.table(defences={"none": flawed.PlainNetwork}, attacks={}).to_dict("records")
    assert (line["broken"], line["audit"]) == (True, "")
    assert line["clean"] == pytest.approx(flawed.CLEAN_ERROR)
    assert line["standard-1"] == pytest.approx(line["adaptive"], rel=1e-4)


def test_an_attack_of_ones_own_is_a_column():
    def straight(model, inputs, labels):
        """A gradient of the undefended network, on a defence that has none."""
        points = inputs.clone().requires_grad_()
        (gradient,) = torch.autograd.grad((flawed.PlainNetwork()(points) - labels).abs().sum(), points)
        return inputs + model.budget.epsilon * gradient.sign()

    mine = Foreign(flawed.BUDGET, call=straight, objective=flawed.OBJECTIVE)
    table = flawed.table({"mine": mine}, {"thermometer": flawed.Thermometer})
    assert table["mine"][0] > 1.2 * table["standard-1"][0]


def test_the_page_shows_every_defence_as_the_command_prints_it():
    page = (ROOT / "docs" / "flawed-defences.md").read_text("utf-8")
    row = {
        "defence": "x",
        "about": "",
        "clean": 0.05,
        "PGD": float("nan"),
        "standard-1": 0.1,
        "broken": True,
        "audit": "",
    }
    header, _, line = shown(pd.DataFrame([row])).splitlines()
    assert (header, line) == (
        "| defence | clean | PGD | standard-1 | audit |",
        "| x | 0.050 | none | **0.100** | passes |",
    )
    for name, make in flawed.DEFENCES.items():
        assert f"| {name} | {make.about} |" in page
        assert f"\n| {name} | 0." in page
