"""What an audit makes of attacks on the waveform: planted defects, and a tiny run that is attacked on its samples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tenuto.attacks import APGD, PGD, AbsoluteError, Linf, Noise, Protocol
from tenuto.data.excerpts import WAVEFORM_UNIT
from tenuto.data.inputs import WINDOW_SAMPLES
from tenuto.errors import DataError
from tenuto.evaluation import robustness
from tenuto.evaluation.audit import Data, Verdict, audit, examination, longer_search, open_sources, sources_of
from tenuto.evaluation.audit.findings import not_recorded
from tenuto.evaluation.audit.longer_search import search_to_repeat
from tenuto.evaluation.audit.sources import Source
from tenuto.evaluation.runs import open_run
from tenuto.files import read_safetensors, write_safetensors
from tenuto.models.recogniser import predict
from tenuto.store.perturbations import key_of
from tenuto.store.rows import emotion_names, mark_worst, read_rows, write_rows
from tenuto.training.loop import train
from tests import small_runs
from tests.analysis import test_curves
from tests.evaluation.audit.planted import ATTACKS, bounded, finding, source
from tests.evaluation.audit.test_audit import NOTHING
from tests.reporting import made_up

PASS, WARN, FAIL, NOT_RECORDED = Verdict.PASS, Verdict.WARN, Verdict.FAIL, Verdict.NOT_RECORDED


def sound_source(**columns):
    """Rows of two norms on the waveform, each just at its budget."""
    return Source("sound-1 on waveforms", mark_worst(made_up.sound(**columns)))


# From rows


def test_recorded_ratios_at_their_budget_pass():
    assert finding("budget", sound_source()).verdict is PASS


@pytest.mark.parametrize(
    ("column", "change", "verdict"),
    [("snr_db", -0.01, FAIL), ("snr_db", 0.01, PASS), ("nmr_db", 0.09, PASS), ("nmr_db", 0.11, FAIL)],
)
def test_a_recorded_ratio_beyond_its_budget_fails(column, change, verdict):
    rows = made_up.sound()
    result = finding("budget", Source("sound-1", rows.assign(**{column: rows[column] + change})))
    assert result.verdict is verdict
    if verdict is FAIL:
        assert {"snr_db": "snr", "nmr_db": "masked"}[column] in result.sentence


def test_rows_that_record_no_ratio_are_counted():
    rows = made_up.sound(ladders={"snr": {40: 0.2, 20: 0.4}})
    rows.loc[:4, "snr_db"] = np.nan
    result = finding("budget", Source("sound-1", rows))
    assert result.verdict is WARN
    assert "5 rows record none" in result.sentence
    silent = rows.assign(l2=np.where(rows["snr_db"].isna(), 0.0, rows["l2"]))
    assert finding("budget", Source("sound-1", silent)).verdict is PASS
    assert finding("budget", Source("sound-1", rows.drop(columns="snr_db"))).verdict is NOT_RECORDED


def test_the_error_over_budgets_is_told_in_db():
    rising = Source("sound-1", made_up.sound(ladders={"masked": {-6: 0.2, 6: 0.75}}))
    assert "masked budgets is -6 dB: 0.200, 6 dB: 0.750." in finding("monotone", rising).sentence
    falling = made_up.sound(ladders={"snr": {40: 0.4, 20: 0.3}})
    result = finding("monotone", Source("sound-1", falling))
    assert result.verdict is FAIL
    assert "snr budgets is 40 dB: 0.400, 20 dB: 0.300; it falls by 25.0%" in result.sentence


def test_norms_are_compared_with_themselves_only():
    # The weakest attack of one norm is stronger than gradients of the other one.
    named = {"settings": repr(ATTACKS["APGD"])}
    strong = made_up.sound(ladders={"snr": {40: 0.2}}, **named)
    weak = made_up.sound(ladders={"masked": {0: 0.4}}, **named | {"settings": repr(ATTACKS["Noise sign"])})
    rows = pd.concat([strong, weak], ignore_index=True)
    assert finding("black-box", source(rows)).verdict is NOT_RECORDED


@pytest.mark.parametrize(
    ("bits", "mp3", "verdict", "value", "threshold"),
    [
        (1.0, 0.8, PASS, 0.8, 0.5),
        (0.85, 0.8, WARN, 0.85, 0.9),
        (1.0, 0.4, WARN, 0.4, 0.5),
        (0.4, 0.9, FAIL, 0.4, 0.5),
        (1.0, np.nan, PASS, 1.0, 0.5),
    ],
)
def test_the_verdict_on_survival(bits, mp3, verdict, value, threshold):
    result = finding("survival", sound_source(survives_16_bit=bits, survives_mp3=mp3))
    assert (result.verdict, result.value, result.threshold) == (verdict, pytest.approx(value), threshold)


def test_survival_is_judged_at_every_budget():
    rows = mark_worst(made_up.sound(survives_16_bit=1.0, survives_mp3=0.9))
    rows.loc[rows["epsilon"] == 0.01, "survives_mp3"] = 0.3
    result = finding("survival", Source("sound-1", rows))
    assert result.verdict is WARN
    assert result.sentence.startswith(
        "40 dB SNR (the most severe of 4): of the effect on the emotions survive 100% in"
    )


def test_clips_that_hardly_move_have_little_weight():
    rows = made_up.sound(ladders={"snr": {40: 0.4}}, survives_16_bit=1.0)
    rows = rows[rows["attack"] == "APGD"].reset_index(drop=True)
    for name in emotion_names(rows):
        rows.loc[0, f"adversarial_{name}"] = rows.loc[0, f"clean_{name}"] + 1e-4
    rows.loc[0, "survives_16_bit"] = -30.0
    assert finding("survival", Source("sound-1", rows)).value == pytest.approx(1.0, abs=1e-3)


def test_what_is_not_sound_survives_nothing():
    assert finding("survival", source(bounded())).verdict is NOT_RECORDED
    assert "which are no sound" in finding("survival", source(bounded())).sentence
    assert "do not record" in finding("survival", sound_source()).sentence


def test_rows_of_both_domains_are_two_sources():
    rows = pd.concat([test_curves.run(), made_up.sound()], ignore_index=True)
    assert [one.name for one in sources_of(rows)] == ["sound-1 on waveforms", "standard-1"]


def test_the_search_is_repeated_in_the_first_norm_at_the_middle_budget():
    attacks = {eps: APGD(Linf(eps), steps=8) for eps in (0.001, 0.01, 0.1)}
    rows = made_up.sound(ladders={"masked": {0: 0.9}, "snr": {60: 0.2, 40: 0.3, 20: 0.4}})
    rows = rows[rows["attack"] == "APGD"]
    chosen = search_to_repeat(rows, [attacks.get(round(eps, 6), attacks[0.1]) for eps in rows["epsilon"]])
    assert chosen.attack == attacks[0.01]


# A run that is attacked on its samples


PROTOCOL = Protocol(
    name="samples-1",
    version=1,
    description="Small enough for a test.",
    attacks=(
        APGD(Linf(0.001), objective=AbsoluteError(), steps=4),
        Noise(Linf(0.001), objective=AbsoluteError(), draws=2),
    ),
    budgets=(Linf(0.0005), Linf(0.001)),
    silence=True,
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return small_runs.sound(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def attacked(prepared, tmp_path_factory):
    """A tiny A2E that was attacked on its samples, and whose perturbations at 40 dB and at a mask are known."""
    folder = train(small_runs.settings(epochs=1), prepared, tmp_path_factory.mktemp("runs"))
    run = open_run(folder, prepared).in_sound()
    robustness.attack(run, PROTOCOL)
    return folder


def store_in_db(folder, prepared, protocol="loud-1", louder_db=0.0):
    """Rows of noise at 40 dB and at a noise-to-mask ratio of 0 dB, with their perturbations, louder by some dB."""
    from tenuto.audio.masking import noise_to_mask_db

    run = open_run(folder, prepared).in_sound()
    batch, rate = run.part("test"), run.recogniser.inputs.sample_rate
    noise = torch.from_numpy(
        np.random.default_rng(0).normal(size=tuple(batch.inputs.shape)).astype(np.float32)
    )
    tables: list[pd.DataFrame] = []
    arrays: dict[str, np.ndarray] = {}
    for norm, epsilon in (("snr", 0.01), ("masked", 1.0)):
        waveforms, delta = batch.inputs.double(), noise.double()
        if norm == "snr":
            delta = delta / delta.norm(dim=1, keepdim=True) * waveforms.norm(dim=1, keepdim=True) / 100
        else:
            ratio = noise_to_mask_db(delta, waveforms, rate)
            delta = delta / 10 ** (ratio / 20)[:, None]
        delta = (delta * 10 ** (louder_db / 20) * (1 - 1e-7)).float()
        predicted = [
            predict(run.recogniser.network, one).emotions.numpy()
            for one in (batch.inputs, batch.inputs + delta)
        ]
        settings = f"loud({norm})"
        table = {
            "run": run.name, "system": "A2E", "seed": 6, "clip": list(batch.clips), "split": "test",
            "protocol": protocol, "unit": WAVEFORM_UNIT, "attack": "loud", "objective": "none", "norm": norm,
            "epsilon": epsilon, "iterations": 1, "forward_passes": 1, "gradient_passes": 0,
            "l2": np.linalg.norm(delta.numpy().astype(np.float64), axis=1), "linf": np.abs(delta.numpy()).max(axis=1),
            "converged": False, "settings": settings, "uses_label": False,
        }  # fmt: skip
        for kind, values in zip(
            ("label", "clean", "adversarial"), (batch.labels.numpy(), *predicted), strict=True
        ):
            table |= {
                f"{kind}_{name}": values[:, place] for place, name in enumerate(run.recogniser.emotions)
            }
        tables.append(pd.DataFrame(table))
        arrays |= {key_of(settings, clip): delta[row].numpy() for row, clip in enumerate(batch.clips)}
    rows = mark_worst(pd.concat(tables, ignore_index=True))
    path = folder / "attacks" / f"{protocol}.csv"
    write_rows(path, rows)
    write_safetensors(path.with_suffix(".safetensors"), arrays, {})
    return path


def audited(path, prepared, **data):
    """Check -> finding of the rows in one file."""
    data = {"prepared": prepared, "clips": 1} | data
    return {one.check: one for one in audit(*open_sources([path]), data=Data(**data))}


def test_the_samples_that_were_attacked_are_what_is_audited(attacked, prepared, few_steps):
    findings = audited(attacked / "attacks" / "samples-1.csv", prepared, clips=2)
    passed = (
        "budget",
        "saved-budget",
        "saved-norm",
        "saved-prediction",
        "gradients",
        "finite-differences",
        "repeatable",
    )
    assert {check: findings[check].verdict for check in passed} == dict.fromkeys(passed, PASS)
    assert findings["normalisation"].verdict is PASS  # the spectrogram behind the samples is normalised
    assert findings["sound-budget"].sentence == "the attack states no budget in dB."
    assert repr(PROTOCOL.members(8)[0][1]) in findings["longer-search"].sentence
    assert findings["longer-search"].source == "samples-1 on waveforms"


def test_a_sibling_of_a_run_in_sound_takes_samples(attacked, prepared, few_steps, tmp_path):
    sibling = train(small_runs.settings(epochs=1, seed=7), prepared, tmp_path)
    assert audited(attacked / "attacks" / "samples-1.csv", prepared, siblings=(sibling,))[
        "transfer"
    ].verdict in (PASS, WARN)


def budget_in_db(path, prepared):
    """The finding of the check that measures budgets in dB."""
    return finding("sound-budget", open_sources([path])[0], Data(prepared=prepared))


def test_ratios_in_db_are_measured_against_the_recordings(attacked, prepared):
    path = store_in_db(attacked, prepared)
    result = budget_in_db(path, prepared)
    assert result.verdict is PASS
    assert result.value == pytest.approx(0.0, abs=1e-5)
    (loud,) = open_sources([path])
    for check in ("saved-norm", "saved-prediction"):
        assert finding(check, loud, Data(prepared=prepared)).verdict is PASS
    assert "sound-budget measures it" in finding("saved-budget", loud).sentence


@pytest.mark.parametrize("louder", [0.001, 0.2])
def test_a_perturbation_beyond_its_budget_in_db_is_found_in_the_file(attacked, prepared, louder):
    result = budget_in_db(store_in_db(attacked, prepared, louder_db=louder), prepared)
    assert result.verdict is FAIL
    assert result.value == pytest.approx(louder, abs=1e-4)
    assert "3 of 3 perturbations" in result.sentence


@pytest.mark.parametrize("recorded", [41.0, np.nan])
def test_a_recorded_ratio_that_is_not_the_perturbation_s_is_found(attacked, prepared, recorded):
    path = store_in_db(attacked, prepared)
    write_rows(path, read_rows(path).assign(snr_db=recorded))
    result = budget_in_db(path, prepared)
    assert result.verdict is FAIL
    assert "3 rows give another ratio than was measured" in result.sentence


def test_without_the_recordings_a_budget_in_db_is_not_measured(attacked, prepared):
    result = budget_in_db(store_in_db(attacked, prepared), None)
    assert result.verdict is NOT_RECORDED
    assert "give the data with `root`" in result.sentence


def test_a_perturbation_of_spectrograms_among_waveforms_is_refused(attacked, prepared):
    path = store_in_db(attacked, prepared)
    arrays, about = read_safetensors(path.with_suffix(".safetensors"))
    changed = arrays | {min(arrays): np.zeros((313, 149), np.float32)}
    write_safetensors(path.with_suffix(".safetensors"), changed, about)
    with pytest.raises(DataError, match=rf"has shape \(313, 149\), expected \({WINDOW_SAMPLES},\)"):
        budget_in_db(path, prepared)


def test_one_run_is_examined_in_each_domain(attacked, prepared, monkeypatch):
    frames = Protocol(
        name="frames-1", version=1, description="x", attacks=(PGD(Linf(0.1), steps=1),), silence=True
    )
    robustness.attack(open_run(attacked, prepared), frames)
    examined = []

    def examine(subject, report):
        examined.append((tuple(subject.inputs.shape[1:]), subject.budget.epsilon))
        return NOTHING

    monkeypatch.setattr(examination, "examine", examine)
    nothing = [not_recorded("longer-search", "in this test.")]
    monkeypatch.setattr(longer_search, "longer_search", lambda *_: nothing)
    paths = [attacked / "attacks" / f"{name}.csv" for name in ("samples-1", "frames-1")]
    audit(*open_sources(paths), data=Data(prepared=prepared, clips=1, budget=Linf(0.25)))
    # A given budget is in the unit of what the model takes itself.
    assert dict(examined) == {(1, 313, 149): 0.25, (WINDOW_SAMPLES,): pytest.approx(0.02, abs=0.02)}
