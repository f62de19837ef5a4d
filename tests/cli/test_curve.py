"""`tenuto curve`."""

import json
import shutil
import warnings

import pytest

from tenuto import api
from tenuto.cli.curve import curve
from tenuto.errors import ConfigError, DataError
from tenuto.files import write_csv
from tenuto.store.rows import mark_worst, write_rows
from tenuto.store.run import RunFolder
from tests.analysis import test_certificates
from tests.analysis.test_curves import natural, run, stored
from tests.cli.conftest import caller
from tests.reporting import made_up

call = caller(curve)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of two systems, one of which has natural changes."""
    folder = tmp_path_factory.mktemp("study")
    stored(folder / "runs", run(), run("A2M2E", scale=1.5), natural())
    return folder


def test_the_summary_is_printed_and_files_are_named(study, tmp_path):
    outcome = call(study, "--out", tmp_path / "drawn")
    for word in (
        "standard-1, worst case",
        "A2E",
        "A2M2E",
        "0.133",
        "Worst case over the attacks of standard-1",
    ):
        assert word in outcome.stdout
    assert "No natural-1 changes of A2M2E-6" in outcome.stderr
    assert "No constant baseline of A2E-6, A2M2E-6: `tenuto evaluate RUN` measures it." in " ".join(
        outcome.stderr.split()
    )
    named = [line for line in outcome.stdout.splitlines() if line.startswith(str(tmp_path / "drawn"))]
    assert sorted(named) == sorted(str(path) for path in (tmp_path / "drawn").iterdir())


def test_a_run_that_cannot_be_read_is_named_once(study, tmp_path, tenuto):
    shutil.copytree(study, tmp_path / "study")
    RunFolder(tmp_path / "study" / "runs" / "A2M2E-6").rows("standard-1").write_text(
        "run,system\nA2E-6,A2E\n"
    )
    outcome = tenuto("curve", tmp_path / "study", "--out", tmp_path / "drawn", "--optimality")
    assert "0.133" in outcome.stdout
    assert outcome.stderr.count("The run is left out.") == 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        api.curves(tmp_path / "study")
    assert [str(warning.message).count("A2M2E-6") for warning in caught] == [1]


def test_json_is_one_object_for_programs(study, tmp_path):
    content = json.loads(call(study / "runs" / "A2E-6", "--out", tmp_path, "--json").stdout)
    (line,) = content["summary"]
    assert (content["protocol"], line["system"]) == ("standard-1", "A2E")
    assert line["doubling"] == pytest.approx(0.1 + 0.1 / 3)
    assert [one["epsilon"] for one in content["runs"]] == [0.0, 0.1, 0.2]
    assert content["natural"][0]["change"] == "other excerpt"
    assert len(content["files"]) == len(list(tmp_path.iterdir()))


def test_a_narrow_terminal_cuts_no_number(study, tmp_path):
    wide, narrow = (call(study, "--out", tmp_path, COLUMNS=str(columns)).stdout for columns in (200, 40))
    assert wide.count("0.133") == narrow.count("0.133") > 0


@pytest.fixture(scope="module")
def in_sound(tmp_path_factory):
    """A run with the rows of a protocol of two norms."""
    return stored(tmp_path_factory.mktemp("sound"), mark_worst(made_up.sound()))


@pytest.mark.usefixtures("drawn")
def test_every_norm_of_a_protocol_is_printed_and_has_files(in_sound, tmp_path):
    outcome = call(in_sound, "--protocol", "sound-1", "--out", tmp_path)
    for part in (
        "worst case, Signal-to-noise ratio",
        "worst case, Noise-to-mask ratio",
        "33.3 dB",
        "-4.7 dB",
    ):
        assert part in outcome.stdout
    assert {"curve-snr.png", "curve-masked.png"} <= {path.name for path in tmp_path.iterdir()}
    assert outcome.stderr.count("No natural-1 changes of A2E-6") == 1


def test_one_norm_is_chosen(in_sound, tmp_path):
    content = json.loads(
        call(in_sound, "--protocol", "sound-1", "--norm", "masked", "--out", tmp_path, "--json").stdout
    )
    assert (content["norm"], content["axis"]["in_db"]) == ("masked", True)
    assert content["runs"][0]["db"] is None  # the clean clip is infinitely far below
    assert [one["db"] for one in content["runs"][1:]] == pytest.approx([-6, 6])
    assert (tmp_path / "curve.png").is_file()
    with pytest.raises(DataError, match="no norm 'l2'; norms of the rows: snr, masked"):
        call(in_sound, "--protocol", "sound-1", "--norm", "l2", "--out", tmp_path)


def test_json_of_several_norms_is_a_list(in_sound, tmp_path):
    content = json.loads(call(in_sound, "--protocol", "sound-1", "--out", tmp_path, "--json").stdout)
    assert [one["norm"] for one in content["curves"]] == ["snr", "masked"]


def test_certificates_are_drawn_in_place_of_attacks(tmp_path):
    folder = RunFolder(tmp_path / "A2E-6-0")
    folder.attacks.mkdir(parents=True)
    folder.config.write_text("system: A2E\n")
    write_csv(folder.certificates("some"), test_certificates.rows())
    shown = call(folder.path, "--certificate", "--out", tmp_path / "out")
    for word in ("0.300", "0.500", "certificates.png"):
        assert word in shown.stdout
    content = json.loads(call(folder.path, "--certificate", "--out", tmp_path / "out", "--json").stdout)
    assert [line["attacked_mae"] for line in content["certificates"]] == pytest.approx([0.2, 0.3])
    with pytest.raises(ConfigError, match="comparisons are of attacks"):
        call(folder.path, "--certificate", "--norm", "linf")


def test_attacks_are_compared_with_the_best_of_all_protocols(tmp_path):
    folder = stored(tmp_path / "runs", run())
    thorough = run(ladder={0.1: 0.25, 0.2: 0.5}).assign(protocol="thorough-1")
    write_rows(folder / "A2E-6" / "attacks" / "thorough-1.csv", mark_worst(thorough))
    words = (folder, "--out", tmp_path / "out", "--against", "thorough-1")
    outcome = call(*words)
    for word in ("APGD, squared error", "all attacks", "linf 0.2", "33.3%", "0.600"):
        assert word in outcome.stdout
    content = json.loads(call(*words, "--json").stdout)
    (line,) = [
        one for one in content["optimality"] if one["protocol"] == "standard-1" and one["attack"] == "all"
    ]
    assert line["optimality"] == pytest.approx(0.6)
    assert content["missed"][0]["more"] == pytest.approx(1 / 3)
    assert str(tmp_path / "out" / "missed.md") in content["files"]
    alone = json.loads(call(folder, "--out", tmp_path / "one", "--optimality", "--json").stdout)
    assert {one["protocol"] for one in alone["optimality"]} == {"standard-1"}
