"""Certificates of a run's clips: rows, files, resuming, and both domains."""

import copy
import dataclasses
import math
import shutil
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import tenuto
from tenuto.api.progress import SILENT
from tenuto.api.runs import with_progress
from tenuto.data.batches import Material
from tenuto.errors import AttackError, CheckpointError, ConfigError, DataError, FileError
from tenuto.evaluation import certifying
from tenuto.evaluation.certificates import Smoothing, noisy_predictions
from tenuto.evaluation.runs import open_run
from tenuto.store.certificates import read_certificates
from tenuto.store.run import RunFolder
from tenuto.training.loop import train
from tests import small_runs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("certify")
    prepared = small_runs.sound(root)
    folder = train(small_runs.settings("A2E", epochs=1), prepared, root / "runs")
    return with_progress(open_run(folder, prepared), SILENT)


def test_rows_of_a_run(run):
    rows = tenuto.certify(run, sigma=(0.1, 0.5), radius=(0.05, 0.1), draws=40, clips=2).rows
    assert len(rows) == 2 * 2 * 2 * 8
    low, high = run.material.prepared.index.label_scale
    ordered = np.column_stack(
        [np.full(len(rows), low), rows[["low", "median", "high"]], np.full(len(rows), high)]
    )
    assert (np.diff(ordered, axis=1) >= 0).all()
    wider = rows.pivot_table(index=["sigma", "clip", "output"], columns="radius", values="high")
    assert (wider[0.1] >= wider[0.05]).all()


def test_default_radii_belong_to_each_sigma(run):
    rows = tenuto.certify(run, sigma=(0.125, 0.5), draws=40, clips=1).rows
    radii = {sigma: sorted(own["radius"].unique()) for sigma, own in rows.groupby("sigma")}
    assert radii == {0.125: [0.03125, 0.0625, 0.125], 0.5: [0.125, 0.25, 0.5]}
    assert rows["bounded"].all()


def test_other_radii_need_no_new_draws_and_an_interrupted_call_goes_on(run, monkeypatch):
    settings: dict[str, Any] = {"sigma": 0.2, "radius": 0.1, "draws": 30}
    first = tenuto.certify(run, **settings, clips=1).rows
    drawn: list[Any] = []

    def counted(*args):
        drawn.append(args)
        return noisy_predictions(*args)

    monkeypatch.setattr(certifying, "noisy_predictions", counted)
    both = tenuto.certify(run, **settings, clips=2).rows
    assert len(drawn) == 1
    pd.testing.assert_frame_equal(both[both["clip"] == first["clip"][0]], first)
    more = tenuto.certify(run, **{**settings, "radius": (0.05, 0.2)}, clips=2).rows
    assert len(drawn) == 1
    path = RunFolder(run.folder).certificates("log-spectrogram-sigma-0.2-draws-30-seed-0")
    expected = pd.concat([both, more], ignore_index=True)
    pd.testing.assert_frame_equal(read_certificates(path), expected, check_dtype=False)
    again = tenuto.certify(run, **settings, clips=2).rows
    expected = pd.concat([more, again], ignore_index=True)
    pd.testing.assert_frame_equal(read_certificates(path), expected, check_dtype=False)
    for other in ({"confidence": 0.9}, {"clips": 1}):
        last = tenuto.certify(run, **{**settings, "clips": 2, **other}).rows
        pd.testing.assert_frame_equal(read_certificates(path), last, check_dtype=False)


def test_draws_of_earlier_weights_are_refused(run):
    smoothing = Smoothing(sigma=0.3, draws=8)
    tenuto.certify(run, sigma=0.3, radius=0.1, draws=8, clips=1)
    path = RunFolder(run.folder).noisy_predictions(smoothing.name(run.recogniser.inputs.name))
    with pytest.raises(CheckpointError, match="earlier weights"):
        certifying.Draws(path, {"checkpoint": "another", "unit": run.recogniser.inputs.unit})


def test_waveforms_have_radii_in_decibels(run):
    certificates = tenuto.certify(run, sigma=0.01, snr_db=(60, 40), draws=20, clips=1)
    rows, waveform = certificates.rows, run.in_sound().part("test").inputs[:1].double()
    for decibels, own in rows.groupby("snr_db"):
        np.testing.assert_allclose(own["radius"], float(waveform.norm()) * 10 ** (-decibels / 20), rtol=1e-9)
    assert list(certificates.summary["snr_db"]) == [60, 40]
    tenuto.certify(run, sigma=0.01, snr_db=40, draws=20, clips=1)
    saved = read_certificates(RunFolder(run.folder).certificates("waveform-sigma-0.01-draws-20-seed-0"))
    pd.testing.assert_frame_equal(saved, rows, check_dtype=False)
    (remark,) = certificates.remarks
    low, high = rows["radius"].min(), rows["radius"].max()
    assert f"20 draws give no bound at radii of {low:.4g} to {high:.4g}, the largest of which needs" in remark


def test_a_perturbation_inside_the_radius_stays_inside_the_bounds(run):
    rows = tenuto.certify(run, sigma=0.2, radius=0.2, draws=60, clips=1).rows
    model, example = run.recogniser.network, run.part("test").inputs[:1]
    direction = torch.ones_like(example) / example.numel() ** 0.5 * 0.2
    smoothing = Smoothing(sigma=0.2, draws=200, seed=5)
    moved = noisy_predictions(model, example + direction, run.part("test").labels[:1], smoothing)
    median = np.median(moved.clip(*run.material.prepared.index.label_scale), axis=0)
    assert ((rows["low"] <= median + 1e-6) & (median <= rows["high"] + 1e-6)).all()


def test_an_attack_on_the_smoothed_model_stays_inside_and_is_resumed(run, monkeypatch):
    settings: dict[str, Any] = {"sigma": 0.2, "radius": (0.1, 0.2), "draws": 40, "attack_steps": 2}
    first = run.certify(**settings, clips=1).rows
    assert ((first["attacked_low"] <= first["high"]) & (first["low"] <= first["attacked_high"])).all()
    assert (first["attacked"] != first["median"]).any()

    def refused(*_):
        raise AssertionError("everything was predicted before")

    for name in ("attacked_predictions", "noisy_predictions"):
        monkeypatch.setattr(certifying, name, refused)
    pd.testing.assert_frame_equal(run.certify(**settings, clips=1).rows, first)
    assert "attacked" not in run.certify(**{**settings, "attack_steps": 0}, clips=1).rows
    assert tenuto.sandwich(run.folder).table.query("sigma == 0.2")["attacked_mae"].notna().any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": torch.zeros(1)}, "a run has its own clips"),
        ({"inputs": "sound"}, "a run has its own clips"),
        ({"inputs": "spectrogram", "snr_db": 40}, "`snr_db` is for waveforms"),
        ({"sigma": ()}, "sigma is empty"),
        ({"sigma": None}, "sigma must be a number or several, got None"),
        ({"radius": "0.1"}, "radius must be a number or several, got '0.1'"),
        ({"snr_db": math.nan}, "snr_db must be a number"),
        ({"snr_db": -7000}, "snr_db must be a number from -200 to 200, got -7000"),
        ({"clips": 0}, "clips must be a whole number of at least 1"),
        ({"attack_steps": -1}, "attack_steps must be a whole number of at least 0"),
        ({"device": "tpu"}, "device tpu"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(run, arguments, message):
    with pytest.raises(ConfigError, match=message):
        tenuto.certify(run, **{"sigma": 0.1, **arguments})


def test_a_model_of_waveforms_has_no_spectrogram_to_certify(run):
    with pytest.raises(ConfigError, match="`inputs` is spectrogram"):
        tenuto.certify(run.in_sound(), "spectrogram", sigma=0.1, draws=8, clips=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["a", "a"]}, "names must be 2 different names"),
        ({"names": ["a"]}, "names must be 2 different names"),
        ({"labels": torch.zeros(2, 7)}, r"labels has shape \(2, 7\), must be \(2, 8\)"),
    ],
)
def test_names_and_labels_must_fit_the_inputs(run, arguments, message):
    inputs = run.part("test").inputs[:2]
    with pytest.raises(ConfigError, match=message):
        tenuto.certify(run.recogniser, inputs, sigma=0.1, draws=8, **arguments)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.zeros(1, 1, 313, 149, dtype=torch.int64), "inputs must be floating point"),
        (torch.full((1, 1, 313, 149), math.nan), "inputs of clip 0 contain NaN"),
        (torch.zeros(0, 1, 313, 149), "non-empty batch"),
        (torch.zeros(1, 1, 313, 149, dtype=torch.bfloat16), "weights are torch.float32: convert"),
        (torch.zeros(2, 5), r"cannot predict inputs of shape \(2, 5\)"),
        (torch.zeros(1, 313, 149), r"cannot predict inputs of shape \(1, 313, 149\)"),
    ],
)
def test_inputs_that_cannot_be_certified_are_refused(run, inputs, message):
    with pytest.raises(AttackError, match=message):
        tenuto.certify(run.recogniser, inputs, sigma=0.1, draws=8)


def test_inputs_of_16_bits_and_labels_that_are_no_tensor_are_refused(run):
    inputs = run.part("test").inputs[:1]
    network = copy.deepcopy(run.recogniser.network).bfloat16()
    coarse = dataclasses.replace(run.recogniser, network=network)
    with pytest.raises(AttackError, match=r"torch\.bfloat16, too coarse for the noise of a certificate"):
        tenuto.certify(coarse, inputs.bfloat16(), sigma=0.1, draws=8)
    labels: Any = [[0.5] * 8]
    with pytest.raises(ConfigError, match="labels must be a Tensor or None, got"):
        tenuto.certify(run.recogniser, inputs, sigma=0.1, draws=8, labels=labels)


def test_a_model_without_a_gradient_is_certified_but_not_attacked(run, monkeypatch):
    monkeypatch.setattr(type(run.recogniser.network), "has_gradient", False)
    with pytest.raises(ConfigError, match="`attack_steps` needs a model with a gradient, and A2E has none"):
        run.certify(sigma=0.1, draws=8, clips=1, attack_steps=1)
    assert len(run.certify(sigma=0.1, draws=8, clips=1).rows) == 3 * 8


def test_numbers_of_other_packages_whole_ones_and_repeated_ones_are_the_same_radii(run):
    radii = [1, np.float32(1), torch.tensor([1.0]), (1, 1.0)]
    given: list[Any] = [
        run.certify(sigma=np.float32(0.5), radius=one, draws=8, clips=1).rows for one in radii
    ]
    assert all(rows.equals(given[0]) for rows in given[1:])


def test_the_mode_of_every_layer_is_left_as_found(run):
    network = run.recogniser.network
    modes = [layer.training for layer in network.modules()]
    next(network.children()).train()
    mixed = [layer.training for layer in network.modules()]
    tenuto.certify(run.recogniser, run.part("test").inputs[:1], sigma=0.1, radius=0.1, draws=2)
    after = [layer.training for layer in network.modules()]
    network.train(modes[0])
    assert (after, mixed != modes) == (mixed, True)


def test_waveforms_are_attacked_too(run):
    rows = run.certify(sigma=0.01, snr_db=40, draws=20, clips=1, attack_steps=1).rows
    assert (rows["attacked"] != rows["median"]).any()


def test_a_part_without_clips_is_named(run):
    material = run.material
    split = dataclasses.replace(material.split, validation=())
    material = Material(material.prepared, material.config, split, material.inputs)
    empty = dataclasses.replace(run, material=material)
    with pytest.raises(DataError, match="no validation clips"):
        empty.certify(sigma=0.1, part="validation", draws=8)


def test_silence_has_no_radius_in_decibels(run):
    sound = run.in_sound().recogniser
    with pytest.raises(DataError, match="clip 0 is silent"):
        tenuto.certify(sound, torch.zeros(1, sound.inputs.window), sigma=0.1, snr_db=40, draws=8)


def test_close_sigmas_have_draws_of_their_own(run):
    one, other = (
        tenuto.certify(run, sigma=sigma, radius=0.1, draws=8, clips=1).rows
        for sigma in (0.1234567, 0.1234568)
    )
    assert not one["median"].equals(other["median"])


def test_a_folder_that_cannot_be_written_is_refused_before_any_draw(run, tmp_path, monkeypatch):
    monkeypatch.delattr("tenuto.evaluation.certifying.noisy_predictions")
    shutil.copytree(run.folder, tmp_path / run.name, ignore=shutil.ignore_patterns("certificates"))
    (tmp_path / run.name / "certificates").write_text("in the place of a folder")
    with pytest.raises(FileError, match="certificates: cannot write"):
        dataclasses.replace(run, folder=tmp_path / run.name).certify(sigma=0.1, draws=20, clips=1)
