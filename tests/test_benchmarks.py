"""The benchmarks: the plain implementations give our results, the ratios are right, and the command runs."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from benchmarks import app, material, measure, plain, roofline, standard, strength
from benchmarks.comparison import Comparison, Rounds, seconds
from benchmarks.robust import COSTS
from tenuto.attacks import ReleasedAttack
from tenuto.audio.spectrogram import filterbank
from tenuto.data.batches import Batch
from tenuto.data.cache import compute
from tenuto.data.synthesis import synthesize
from tenuto.models.systems import build, for_attack
from tenuto.training.loop import train
from tests import small_runs
from tests.corpora import soundtracks, write_audio


@pytest.fixture(scope="module", autouse=True)
def small_product() -> Iterator[None]:
    """The peak of the machine is measured with small matrices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roofline, "SIDE", 64)
        yield


def comparison(**changes) -> Comparison:
    given = {"name": "work, s per piece", "device": "cpu", "baseline": "slowly"}
    return Comparison(**{**given, "ours": (1.0, 2.0, 4.0), "plain": (2.0, 6.0, 8.0), **changes})


def batch(clips: int) -> Batch:
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(clips, 1, 313, 149, generator=random)
    labels = torch.rand(clips, 8, generator=random)
    return Batch(tuple(map(str, range(clips))), inputs, labels, None)


def test_speedup_is_the_median_of_the_paired_ratios():
    assert comparison(ours=(1.0, 2.0, 4.0), plain=(2.0, 6.0, 4.4)).speedup == 2.0


def test_speedup_over_reference_takes_its_lowest_time():
    assert comparison(reference=(8.0, 9.0)).speedup_over_reference == 4.0


def test_no_speedup_over_a_reference_that_does_not_compare():
    assert comparison().speedup_over_reference is None


def test_rounds_do_not_count_what_precedes_the_first_call():
    rounds = Rounds()
    rounds.stamps = [100.0, 101.0, 104.0]
    assert rounds.seconds == 2.0


def test_seconds_calls_the_work_once():
    calls: list[int] = []
    assert seconds(lambda: calls.append(1)) >= 0
    assert calls == [1]


def test_plain_spectrogram_equals_ours(tmp_path):
    path = tmp_path / "chord.mp3"
    write_audio(path, 3, seconds=1.5)
    other = plain.spectrogram(path, np.hanning(plain.FRAME_SIZE), filterbank())
    ours = compute(path)
    assert other.shape == ours.shape
    # It decodes in float64, so now and then a sample is rounded to the other of two 16-bit values.
    assert np.abs(other - ours).max() <= 1e-4


def test_plain_attack_ends_where_the_released_attack_does():
    torch.manual_seed(0)
    network, clips = build("A2E", width=0.1).eval(), batch(2)
    result = ReleasedAttack(iterations=4)(for_attack(network), clips.inputs, clips.labels)
    for row in range(2):
        last, stored = plain.attack(network, clips.inputs[row : row + 1], clips.labels[row], 4, Rounds())
        assert torch.allclose(last, result.last_prediction[row], atol=1e-3)
        assert not torch.allclose(last, result.clean_prediction[row], atol=1e-3)
        assert torch.allclose(stored[0], result.stored_perturbation[row], atol=1e-3)


def test_plain_training_learns_and_leaves_its_state(tmp_path):
    torch.manual_seed(0)
    training = plain.Training(build("A2E", width=0.1), batch(8), batch(4), tmp_path)
    errors = [training.epoch() for _ in range(3)]
    assert errors[-1] < errors[0]
    assert {path.name for path in tmp_path.iterdir()} == {"network.pt", "optimizer.pt"}


def test_plain_training_attacks_clips_where_told(tmp_path):
    trained = []
    for iterations in (0, 3):
        torch.manual_seed(0)
        training = plain.Training(build("A2E", width=0.1), batch(8), batch(4), tmp_path, iterations)
        trained.append(training.epoch())
    assert trained[0] != trained[1]


def test_real_recordings_are_taken_from_all_over_the_data_set(tmp_path, monkeypatch):
    soundtracks(tmp_path / "soundtracks", 10)
    monkeypatch.setenv("TENUTO_SHARED", str(tmp_path))
    source, index = material.recordings(4, tmp_path / "unused")
    assert source == "Soundtracks"
    assert index.clips == ("001", "004", "007", "010")
    assert index.paths[-1].name == "010.mp3"
    assert len(index.labels) == 4


def test_recordings_are_synthesized_where_there_are_no_real_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("TENUTO_SHARED", str(tmp_path))
    monkeypatch.setattr(material, "SECONDS", 1.0)
    monkeypatch.setattr(material, "synthesize", functools.partial(synthesize, workers=1))
    source, index = material.recordings(2, tmp_path / "made")
    assert source == "synthesized"
    assert all(path.suffix == ".mp3" and path.is_file() for path in index.paths)


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict[str, Any]:
    """What the command prints with small sizes and recordings of half a second, without bfloat16."""
    root = tmp_path_factory.mktemp("shared")
    soundtracks(root / "soundtracks", 30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENUTO_SHARED", str(root))
        patch.setattr(app, "devices", lambda: ["cpu"])
        patch.setattr(app, "fast_bfloat16", lambda device: False)
        patch.setattr(app, "TRAINING_ITERATIONS", 2)
        sizes = ["--clips", "30", "--steps", "1", "--width", "0.05", "--pairs", "1"]
        result = CliRunner().invoke(app.command, [*sizes, "--json"])
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_the_table_fits_a_terminal_of_80_columns():
    console = Console(width=80)
    wide = comparison(
        name="attacked epoch bf16, s", ours=(1234.5,), plain=(2345.6,), reference=(135.0, 147.0)
    )
    with console.capture() as captured:
        console.print(app.table([wide]))
    assert "…" not in captured.get()
    assert "attacked epoch bf16, s" in captured.get()


def test_the_command_measures_everything(report):
    names = [each["name"].partition(",")[0] for each in report["results"]]
    assert names == [
        "front end",
        "masking threshold of 10 s",
        "waveform attack",
        *(f"{method} update" for method in ("noise", "pgd", "fast", "free", "trades", "average")),
        "attack",
        "certificate",
        "training epoch",
        "attacked epoch",
    ]


def test_a_processor_with_bfloat16_is_measured_in_both_precisions(monkeypatch):
    monkeypatch.setattr(app, "devices", lambda: ["cpu"])
    monkeypatch.setattr(app, "fast_bfloat16", lambda device: True)
    monkeypatch.setattr(app, "recordings", lambda clips, folder: ("made-up", range(clips)))
    monkeypatch.setattr(measure, "prepared_from", lambda index: None)
    monkeypatch.setattr(app, "robust_training", lambda *given: [comparison(name="robust ")])
    monkeypatch.setattr(app, "certification", lambda *given: comparison(name=f"certification {given[-1]}"))
    for name in ("front_end", "masking", "waveform", "attack", "training"):
        label = lambda *given, name=name: comparison(name=f"{name} {' '.join(map(str, given[3:]))}")  # noqa: E731
        monkeypatch.setattr(measure, name, label)
    results = json.loads(CliRunner().invoke(app.command, ["--json"]).stdout)["results"]
    each = [f"{name} {{}}" for name in ("attack", "certification", "training")]
    each.append(f"training {{}} {app.TRAINING_ITERATIONS}")
    networks = [name.format(precision) for precision in ("float32", "bfloat16") for name in each]
    assert [result["name"] for result in results] == [
        "front_end ",
        "masking ",
        "waveform ",
        "robust ",
        *networks,
    ]


def test_every_measurement_is_a_pair_of_times(report):
    for each in report["results"]:
        assert len(each["ours"]) == len(each["plain"]) == 1
        assert each["speedup"] == pytest.approx(each["plain"][0] / each["ours"][0])


def test_a_narrow_network_is_not_compared_with_the_reference(report):
    assert [each["reference"] is None for each in report["results"]] == [False, *[True] * 12]


def test_operations_are_those_of_the_layers():
    narrow = build("A2E", width=0.05)
    passes = []
    for stage in narrow.backbone.stages:
        convolution = stage[0]
        convolution.register_forward_hook(
            lambda layer, _, out: passes.append(2 * out[0].numel() * layer.weight[0].numel())
        )
    narrow.eval()(torch.zeros(1, 1, 313, 149))
    last = 2 * narrow.head.emotions.weight.numel()
    forth = sum(passes) + last
    # An attack goes back once through every layer, an update twice, but for the first layer's input.
    assert roofline.step(8, 0.05) == 2 * forth
    assert roofline.update(8, 0.05) == 3 * forth - passes[0]


def test_the_share_of_the_peak_is_operations_over_time_over_peak(monkeypatch):
    monkeypatch.setattr(roofline, "peak", lambda device, precision: 50.0)
    assert roofline.share(100.0, 4.0, "cpu", "float32") == 0.5


def test_the_peak_is_a_rate_of_this_machine():
    assert roofline.peak.__wrapped__("cpu") > 1e6
    assert roofline.peak.__wrapped__("cpu", "bfloat16") > 1e3


def test_every_measurement_of_a_network_has_its_share_of_the_peak(report):
    others = ("front end", "masking", "waveform", "certificate", *COSTS, "average")
    for each in report["results"]:
        assert (each["peak_share"] is None) == each["name"].startswith(others)


def test_the_report_names_recordings_threads_and_versions(report):
    assert report["facts"]["recordings"] == "30 Soundtracks"
    assert report["facts"]["torch"] == torch.__version__
    assert {"cores", "threads", "load"} <= set(report["facts"])


def test_too_few_clips_are_refused():
    result = CliRunner().invoke(app.command, ["--clips", "29"])
    assert result.exit_code == 2
    assert "30" in result.output


def test_table_and_remarks_name_every_quantity_and_baseline():
    given = [
        comparison(reference=(8.0, 9.0), target=2.0),
        comparison(name="other, s per piece", baseline="by hand", peak_share=0.25),
    ]
    shown = app.table(given)
    assert shown.row_count == 2
    assert [line for line in app.remarks(given, {}) if "matrix product" in line] == [
        "other on cpu: 25% of the operations a second of a large matrix product there"
    ]
    assert [line for line in app.remarks(given, {"cores": "2"}) if line.startswith("plain ")] == [
        "plain work: slowly",
        "plain other: by hand",
    ]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    soundtracks(folder / "soundtracks", 30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENUTO_SHARED", str(folder))
        _, index = material.recordings(30, folder / "unused")
    return measure.prepared_from(index)


def test_no_more_clips_are_attacked_at_once_than_there_are(prepared, monkeypatch):
    monkeypatch.setattr(measure, "default_batch_size", lambda device: 64)
    assert measure.attack(prepared, measure.Sizes(30, 1, 0.05, 1), "cpu").ours[0] > 0


def test_attacks_are_timed_in_the_arithmetic_of_a_run(prepared, monkeypatch):
    cudnn, attacked, flags = torch.backends.cudnn, plain.attack, []

    def attack(*arguments):
        flags.append((cudnn.allow_tf32, cudnn.deterministic, torch.backends.cuda.matmul.allow_tf32))
        return attacked(*arguments)

    monkeypatch.setattr(plain, "attack", attack)
    measure.attack(prepared, measure.Sizes(30, 1, 0.05, 1), "cpu")
    assert set(flags) == {(False, True, False)}


def test_bfloat16_is_timed_as_float32_is(prepared):
    result = measure.attack(prepared, measure.Sizes(30, 1, 0.05, 1), "cpu", "bfloat16")
    assert result.name == "attack bf16, ms a step"
    assert result.target == 3.5
    assert result.ours[0] > 0
    result = measure.training(prepared, measure.Sizes(30, 1, 0.05, 1), "cpu", "bfloat16", 2)
    assert result.name == "attacked epoch bf16, s"
    assert result.ours[0] > 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run, and the options that name its data."""
    folder = tmp_path_factory.mktemp("trained")
    run = train(small_runs.settings("A2E", epochs=1), small_runs.unrated(folder), folder / "runs")
    return [str(run), "--root", str(folder / "data"), "--cache", str(folder / "cache")]


def test_standard_states_what_protocols_miss_and_goes_on_where_it_was(trained, few_steps, tmp_path):
    words = [*trained, "--out", str(tmp_path), "--clips", "1", "--protocols", "standard-1"]
    first, second = (CliRunner().invoke(standard.command, words) for _ in range(2))
    assert first.exit_code == 0, first.output
    assert re.match(r"standard-1-\d+\.csv: \d+ s, \d+ CPU seconds\n", first.output)
    assert second.output == first.output.partition("\n")[2]
    assert "| all attacks | standard-1 | A2E-6-" in second.output
    assert "| 0.0% |" in second.output


def test_strength_compares_a_short_attack_with_a_long_one(trained):
    result = CliRunner().invoke(
        strength.command,
        [
            *trained,
            *("--clips", "1", "--epsilon", "0.1", "--steps", "3", "--iterations", "4"),
        ],
    )
    assert result.exit_code == 0, result.output
    first, last = result.output.splitlines()
    assert re.fullmatch(
        r"linf 0\.1: APGD, 3 steps ([\d.]+); described, 4 iterations ([\d.]+); ratio ([\d.]+)", first
    )
    assert re.fullmatch(r"standard-1: [\d.]+ s a clip", last)
