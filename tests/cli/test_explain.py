"""`tenuto explain` and `tenuto intervene`."""

import json
import re
import shutil

import pytest

from tenuto.files import read_csv
from tenuto.store.run import BACKGROUND, RunFolder
from tests import corpora

EMOTIONS = ["valence", "energy", "tension", "anger", "fear", "happy", "sad", "tender"]
NO_PLACE = "No places among the training clips"


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    path = tmp_path_factory.mktemp("songs") / "one [live].mp3"
    corpora.write_audio(path, 3, seconds=13)
    return path


@pytest.fixture
def copied(run, tmp_path):
    """A copy of the run, to be written into."""
    return shutil.copytree(run, tmp_path / run.name)


def test_the_text_shows_every_emotion_and_what_moves_it(tenuto, copied, song):
    outcome = tenuto("explain", copied, song)
    assert outcome.exit_code == 0
    assert outcome.stdout.startswith(f"{song}, A2M2E\n")
    assert all(outcome.stdout.count(f"│ {name} ") == 2 for name in EMOTIONS)
    assert outcome.stdout.count("│ others ") == 8
    assert "counted from all concepts at 0 (training clips unknown)" in outcome.stdout
    assert NO_PLACE in outcome.stdout
    assert not (copied / BACKGROUND).exists()


def test_given_the_data_once_places_are_known_ever_after(tenuto, copied, song, data):
    first = tenuto("explain", copied, song, *data)
    assert "counted from the average training clip" in first.stdout
    assert "percent of the 24 training clips" in first.stdout
    assert f"{copied / BACKGROUND}: saved predictions for 24 training clips" in first.stderr
    again = tenuto("explain", copied, song)
    assert again.stdout == first.stdout
    assert again.stderr == ""


def test_json_adds_up(tenuto, copied, song, data):
    outcome = tenuto("explain", copied, song, *data, "--json")
    result = json.loads(outcome.stdout)
    assert list(result["emotions"]) == EMOTIONS
    assert all(0 <= place <= 100 for place in result["places"].values())
    for name, value in result["emotions"].items():
        assert result["baseline"][name] + sum(result["effects"][name].values()) == pytest.approx(
            value, abs=1e-5
        )
    assert result["curve"]["seconds"][0] == pytest.approx(5.0)
    assert len(result["curve"]["emotions"]["fear"]) == len(result["curve"]["seconds"])


def test_the_hop_sets_how_dense_the_curve_is(tenuto, run, song):
    counts = [
        len(json.loads(tenuto("explain", run, song, "--hop", hop, "--json").stdout)["curve"]["seconds"])
        for hop in (0.5, 2)
    ]
    assert counts[0] > counts[1] == 3


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize(("ending", "begins"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_a_figure_is_drawn_where_it_is_wanted(tenuto, run, song, tmp_path, ending, begins):
    outcome = tenuto("explain", run, song, "--plot", tmp_path / f"new/it.{ending}")
    assert outcome.exit_code == 0
    assert (tmp_path / f"new/it.{ending}").read_bytes().startswith(begins)


def test_a_checkpoint_alone_explains(tenuto, run, song, corpus, tmp_path):
    alone = shutil.copy(RunFolder(run).checkpoint, tmp_path / "model.safetensors")
    outcome = tenuto("explain", alone, song, TENUTO_DATA=str(corpus))
    assert NO_PLACE in outcome.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("damage", [None, "", "system: [A2M2E"])
def test_a_damaged_configuration_explains_nothing(refused, run, song, corpus, tmp_path, damage):
    copy = RunFolder(shutil.copytree(run, tmp_path / "run"))
    copy.config.unlink() if damage is None else copy.config.write_text(damage)
    assert "config.yaml" in refused("explain", copy.path, song, TENUTO_DATA=str(corpus))


def test_other_names_are_spoken_of(tenuto, own_run, song):
    result = json.loads(tenuto("explain", own_run, song, "--json").stdout)
    assert list(result["effects"]) == ["arousal", "joy"]
    assert list(result["effects"]["joy"]) == ["roughness"]
    text = tenuto("explain", own_run, song).stdout
    assert "others" not in text


def test_a_concept_is_set_on_a_recording(tenuto, run, song):
    result = json.loads(tenuto("intervene", run, song, "--set", "dissonance=0.7", "--json").stdout)
    before = json.loads(tenuto("explain", run, song, "--json").stdout)
    assert result["before"] == pytest.approx(before["emotions"])
    concept = before["concepts"]["dissonance"]
    for name in EMOTIONS:
        weight = before["effects"][name]["dissonance"] / concept
        change = result["after"][name] - result["before"][name]
        assert change == pytest.approx(weight * (0.7 - concept), abs=1e-5)


def test_several_concepts_are_set_on_the_test_clip(tenuto, run, data):
    outcome = tenuto("intervene", run, *data, "--set", "dissonance=0.7", "--set", "modality = 0.25")
    assert "mean of 3 test clips: dissonance = 0.7, modality = 0.25" in outcome.stdout
    assert all(outcome.stdout.count(f"│ {name} ") == 1 for name in EMOTIONS)
    assert not (run / "interventions").exists()


def test_corrections_leave_a_table_and_a_figure(tenuto, attacked, data):
    outcome = tenuto("intervene", attacked, *data)
    assert outcome.exit_code == 0
    assert outcome.stdout.count("MAE with k concepts set to ") == 3
    assert "Head gain (largest singular value): composed" in outcome.stdout
    result = re.search(r"emotions by ([\d.]+) \(clips differ by ([\d.]+): ([\d.]+) times\)", outcome.stdout)
    moved, spread, times = map(float, result.groups())
    assert times == pytest.approx(moved / spread, rel=0.02)
    folder = attacked / "interventions"
    assert {path.name for path in folder.iterdir()} == {
        f"intervention.{kind}" for kind in ("csv", "png", "pdf")
    }
    assert len(read_csv(folder / "intervention.csv", columns=("mae", "repaired"))) == 24


def test_in_a_narrow_terminal_no_number_is_cut(tenuto, attacked, song, data, tmp_path):
    text = tenuto("intervene", attacked, *data, "--out", tmp_path, COLUMNS="80").stdout
    lines = [line.strip("│").split("│") for line in text.splitlines() if line.startswith("│")]
    assert [cells[0].strip() for cells in lines] == [*"01234567"] * 3
    rows = read_csv(tmp_path / "intervention.csv", columns=("mae", "mean_mae"))
    for column, name in ((2, "mae"), (3, "mean_mae")):
        assert [cells[column].strip() for cells in lines] == [f"{value:.4f}" for value in rows[name]]
    assert "…" not in text
    explained = tenuto("explain", attacked, song, *data, COLUMNS="80").stdout
    assert "…" not in explained
    assert max(len(line) for line in explained.splitlines() if line.startswith("│")) <= 80


def test_corrections_as_json_go_where_they_are_wanted(tenuto, attacked, data, tmp_path):
    arguments = (*data, "--out", tmp_path / "out", "--json")
    result = json.loads(tenuto("intervene", attacked, *arguments).stdout)
    assert result["run"] == attacked.name
    assert result["gain"]["rank"] == 7
    assert [row["k"] for row in result["rows"]] == [*range(8)] * 3
    assert {order["target"] for order in result["orders"]} == {"annotation", "clean"}
    assert result["attacks"][0]["protocol"] == "paper-2025-released+iterations=3+step_size=0.05"
    assert (tmp_path / "out" / "intervention.csv").is_file()
