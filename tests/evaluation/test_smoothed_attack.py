"""Attacks on smoothed models against their certificates: closed forms, and a certificate that is wrong on purpose."""

import dataclasses

import numpy as np
import pytest
import torch

from tenuto.data.batches import Batch
from tenuto.data.excerpts import SPECTROGRAM_UNIT
from tenuto.evaluation import certificates, smoothed_attack
from tenuto.evaluation.audit import Verdict
from tenuto.evaluation.certificates import Smoothing
from tenuto.evaluation.certifying import Radii, certify_clips
from tenuto.evaluation.smoothed_attack import attack_smoothed, attacked_predictions, interval
from tenuto.files import sha256_file, write_csv
from tenuto.store.run import RunFolder
from tests.evaluation.audit import planted
from tests.evaluation.test_certificates import EXAMPLE, Linear

SMOOTHING = Smoothing(sigma=0.2, draws=400, clip_to_scale=False)
TARGET = torch.tensor([[5.0, -5.0]])


def test_the_attack_on_a_smoothed_linear_model_reaches_the_closed_form():
    radius = 0.1
    weights = Linear.weights.double().numpy()
    direction = -weights[0] + weights[1]  # away from the target, in both outputs
    change = radius * weights @ direction / np.linalg.norm(direction)
    delta = attack_smoothed(Linear(), EXAMPLE, TARGET, radius, SMOOTHING, steps=10)
    moved = (delta @ Linear.weights.T)[0].numpy()
    assert float(delta.norm()) <= radius * (1 + 1e-6)
    np.testing.assert_allclose(moved, change, atol=0.02 * radius * 3)
    predictions = attacked_predictions(Linear(), EXAMPLE, TARGET, radius, SMOOTHING, steps=10)
    low, high = interval(predictions)
    expected = (EXAMPLE @ Linear.weights.T + Linear.offset)[0].numpy() + moved
    assert ((low <= expected) & (expected <= high)).all()


def test_without_a_radius_nothing_moves():
    assert not attack_smoothed(Linear(), EXAMPLE, TARGET, 0, SMOOTHING, steps=3).any()


def test_the_attack_follows_the_smoothed_model_where_the_model_itself_is_flat():
    class Kinked(torch.nn.Module):
        def forward(self, inputs):
            return torch.relu(inputs.sum(dim=1, keepdim=True) - 0.5)

    example = torch.zeros(1, 4)  # flat here, with gradient 0
    delta = attack_smoothed(Kinked(), example, torch.tensor([[-1.0]]), 0.2, SMOOTHING, steps=10)
    assert float(delta.sum()) > 0.3  # 0.4 at most


def clips(count: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 4, generator=generator)
    return Batch(tuple(f"{row:03d}" for row in range(count)), inputs, TARGET.expand(count, -1), None)


def audited(folder, rows, **changes):
    """The finding of the check on a run folder with these certificates."""
    run = RunFolder(folder / "A2E-6-0")
    run.attacks.mkdir(parents=True, exist_ok=True)
    run.checkpoint.write_bytes(b"weights")
    about = {"run": "A2E-6-0", "system": "A2E", "seed": 6, "split": "test", "unit": SPECTROGRAM_UNIT}
    table = rows.assign(
        **{
            "draws": 400,
            "confidence": 0.95,
            "clips_together": False,
            "checkpoint": sha256_file(run.checkpoint),
        }
        | about
    )
    write_csv(run.certificates("some"), table.assign(**changes))
    source = planted.source(planted.bounded(run=run.name), kind="run", folders={run.name: run.path})
    return planted.finding("certificate", source)


def certified(count: int, **settings):
    smoothing = dataclasses.replace(SMOOTHING, **settings)
    return certify_clips(
        Linear(), clips(count), ("valence", "energy"), smoothing, Radii((0.1,)), attack_steps=5
    )


def test_a_true_certificate_passes_the_audit(tmp_path):
    rows = certified(3)
    assert ((rows["low"] < rows["attacked"]) & (rows["attacked"] < rows["high"])).all()
    finding = audited(tmp_path, rows)
    assert (finding.verdict, finding.value) == (Verdict.PASS, 0)


def test_a_certificate_violated_by_construction_fails_the_audit(tmp_path, monkeypatch):
    """The noise is a tenth of what is stated, so the bounds are a tenth of what they should be."""
    right = certificates.standard_noise
    for module in (certificates, smoothed_attack):
        monkeypatch.setattr(module, "standard_noise", lambda *given: right(*given) / 10)
    finding = audited(tmp_path, certified(3))
    assert (finding.verdict, finding.value) == (Verdict.FAIL, 1)
    assert "3 of 3 certificates do not hold" in finding.sentence


def test_what_chance_explains_is_a_warning(tmp_path):
    rows = certified(12)
    rows.loc[rows["clip"] == "003", "high"] = rows["attacked_low"] - 0.01
    assert audited(tmp_path, rows).verdict is Verdict.WARN
    rows.loc[rows["clip"].isin(["004", "005"]), "high"] = rows["attacked_low"] - 0.01
    assert audited(tmp_path, rows).verdict is Verdict.FAIL


def test_certificates_that_hold_together_are_each_more_certain(tmp_path):
    together = {"clips_together": True, "confidence": 0.9}
    rows = certified(12)
    rows.loc[rows["clip"] == "003", "high"] = rows["attacked_low"] - 0.01
    finding = audited(tmp_path, rows, **together)
    assert (finding.verdict, finding.threshold) == (Verdict.WARN, pytest.approx(0.1 / 12))
    rows.loc[rows["clip"] == "004", "high"] = rows["attacked_low"] - 0.01
    assert audited(tmp_path, rows, **together).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"checkpoint": "of other weights"}, "no certificate of these weights"),
        ({"unit": "something else"}, "no certificate of these weights"),
        ({"attacked_low": -np.inf, "attacked_high": np.inf}, "400 draws give no interval"),
        ({"bounded": False, "low": 0.1, "high": 0.9}, "at sigma 0.2 and radius 0.1 400 draws give no bound"),
    ],
)
def test_certificates_that_show_nothing_are_not_recorded(tmp_path, changes, reason):
    finding = audited(tmp_path, certified(1), **changes)
    assert finding.verdict is Verdict.NOT_RECORDED
    assert reason in finding.sentence
