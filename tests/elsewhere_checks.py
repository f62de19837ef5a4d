"""Training and attacks on the device of `tests.elsewhere`; `test_elsewhere.py` runs this file."""

from __future__ import annotations

import shutil
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch

from tenuto.attacks import APGD, FGSM, L2, PGD, Linf, Minimal, Noise, Protocol, Square, protocol
from tenuto.attacks.objectives import ConceptsMove, Correlation, EachEmotion
from tenuto.data.batches import Material
from tenuto.devices import arithmetic
from tenuto.evaluation import records, robustness
from tenuto.evaluation.runs import open_run
from tenuto.files import read_safetensors
from tenuto.models import build
from tenuto.training import loop
from tenuto.training.averaging import Average
from tests import elsewhere, small_runs
from tests.small_runs import EVERYTHING, numbers

PROTOCOLS = [
    protocol("paper-2025-released", iterations=4, step_size=0.02),
    protocol("paper-2025-described", iterations=4),
    Protocol(
        name="bounded",
        version=1,
        description="",
        attacks=(
            FGSM(budget=L2(0.1)),
            PGD(budget=Linf(0.1), steps=3, restarts=2, momentum=0.5),
            APGD(budget=Linf(0.1), objective=EachEmotion(), steps=2),
            APGD(budget=Linf(0.1), objective=Correlation(), steps=6, restarts=2),
            APGD(budget=L2(0.1), objective=ConceptsMove(), steps=3),
            Minimal(budget=Linf(0.1), goal=5, steps=3, bisections=2),
            Square(budget=Linf(0.1), queries=4),
            Noise(budget=L2(0.1), kind="gaussian", draws=2),
        ),
        silence=True,
    ),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return small_runs.rated(tmp_path_factory.mktemp("rated"))


@pytest.fixture
def lent(monkeypatch):
    """The machine has the device, and its arithmetic goes by the CPU's name, which it is."""
    monkeypatch.setattr(loop, "require", lambda device: device)
    for module in (loop, records):
        monkeypatch.setattr(module, "arithmetic", lambda device: arithmetic("cpu"))
    # Tensors made in Python know no inference mode, and a module that converts one must take it as it is.
    monkeypatch.setattr(torch.__future__, "_swap_module_params_on_conversion", True)
    monkeypatch.setattr(torch, "inference_mode", lambda on=True: torch.no_grad() if on else nullcontext())


@pytest.fixture(scope="module")
def here(prepared, tmp_path_factory):
    """The run as the CPU trains it."""
    return loop.train(EVERYTHING, prepared, tmp_path_factory.mktemp("here"))


def perturbed(run, chosen):
    """The perturbations beside the rows."""
    return read_safetensors(run.files.perturbations(chosen))[0]


def test_the_device_forgives_nothing():
    with elsewhere.installed() as waits:
        tensor = torch.arange(3.0).to(elsewhere.NAME)
        assert (tensor.device.type, waits) == ("elsewhere", [])
        with pytest.raises(RuntimeError, match="tensors of the CPU among those of elsewhere"):
            tensor + torch.ones(3)
        with pytest.raises(RuntimeError, match=r"numpy\(\) is not supported"):
            tensor.numpy()
        assert float((2 * tensor + 1).sum()) == 9
        assert (2 * tensor).cpu().tolist() == [0, 2, 4]
        assert len(waits) == 2


def test_training_there_goes_on_and_gives_the_same_run(prepared, here, lent, tmp_path):
    def end(row):
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    with elsewhere.installed():
        with pytest.raises(KeyboardInterrupt):
            loop.train(EVERYTHING, prepared, tmp_path, device=elsewhere.NAME, progress=end)
        run = loop.train(EVERYTHING, prepared, tmp_path, device=elsewhere.NAME)
    assert numbers(run) == numbers(here)


def test_averaging_weights_never_waits():
    average, network = (build("a2m2e", width=0.0625) for _ in range(2))
    near, far = Average(average, 0.9), Average(average, 0.9)
    near.update(network, [])
    with elsewhere.installed() as waits:
        far, network = far.to(elsewhere.NAME), network.to(elsewhere.NAME)
        waits.clear()
        far.update(network, [])
        assert waits == []
        same = zip(near.network.parameters(), far.network.parameters(), strict=True)
        assert all(torch.equal(here, there.cpu()) for here, there in same)


def test_a_training_step_never_waits(prepared):
    config = EVERYTHING.resolved()
    with elsewhere.installed() as waits:
        device = torch.device(elsewhere.NAME)
        state = loop._new_state(config, prepared, device)
        trainee, material = loop._trainee(state, config, Material(prepared, config.data))
        batch = material.part("validation").to(device)
        state.network.train()
        waits.clear()
        loss = sum(trainee.learn(batch.inputs, batch) for _ in range(2))
        assert waits == []
        assert np.isfinite(float(loss))
        assert len(waits) == 1


@pytest.mark.parametrize("chosen", PROTOCOLS, ids=lambda chosen: chosen.name)
def test_attacks_there_leave_the_same_rows(chosen, prepared, here, lent, tmp_path):
    near, far = open_run(here, prepared), open_run(shutil.copytree(here, tmp_path / here.name), prepared)
    expected = robustness.attack(near, chosen)
    with elsewhere.installed():
        attacked_rows = robustness.attack(far, chosen, device=elsewhere.NAME)
    assert len(expected) > 0
    pd.testing.assert_frame_equal(attacked_rows, expected, check_exact=True)
    inputs, same = (perturbed(run, chosen) for run in (far, near))
    assert inputs.keys() == same.keys()
    assert all(np.array_equal(inputs[key], same[key]) for key in inputs)
