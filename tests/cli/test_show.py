"""`tenuto show`."""

import json
import shutil

import pytest
import soundfile

from tenuto.api.outcomes import file_names
from tenuto.files import read_csv

BUDGETS = (0.02, 0.05)
FILES = (".png", ".pdf", "-before.wav", "-after.wav", "-difference.wav")


def named(folder):
    """The clips in the rows of an attacked run."""
    return read_csv(next((folder / "attacks").glob("*.csv")), text=("clip",))["clip"].tolist()


@pytest.fixture(scope="module")
def clips(attacked):
    return named(attacked)


@pytest.fixture(scope="module")
def shown(tenuto, attacked, data, clips, tmp_path_factory):
    """Where one clip was shown, and what was said."""
    folder = tmp_path_factory.mktemp("shown")
    return folder, tenuto("show", attacked, clips[0], *data, "--out", folder)


def test_one_clip_is_shown_and_written(shown, attacked, clips):
    folder, outcome = shown
    assert outcome.exit_code == 0
    assert {path.name.removeprefix(clips[0]) for path in folder.iterdir()} == set(FILES)
    assert outcome.stdout.startswith(
        f"clip {clips[0]}, {attacked.name} under paper-2025-released+iterations=3"
    )
    assert all(f"│ {name} " in outcome.stdout for name in ("tension", "tender", "modality"))
    assert "of the attack's effect on the emotions survives as sound" in outcome.stdout
    assert f"{folder}: pictures and sounds of {clips[0]}" in outcome.stderr


def test_sounds_are_sixteen_bit_files_of_one_length(shown, clips):
    values = [soundfile.info(shown[0] / f"{clips[0]}{ending}") for ending in FILES[2:]]
    assert {(one.samplerate, one.channels, one.subtype) for one in values} == {(22050, 1, "PCM_16")}
    assert len({one.frames for one in values}) == 1


def test_in_a_narrow_terminal_no_number_is_cut(shown, tenuto, attacked, data, clips, tmp_path):
    narrow = tenuto("show", attacked, clips[0], *data, "--out", tmp_path, COLUMNS="80").stdout
    assert "…" not in narrow
    assert narrow == shown[1].stdout.replace(str(shown[0]), str(tmp_path))


def test_without_a_clip_all_test_clip_are_shown_in_a_table(tenuto, attacked, data, clips):
    outcome = tenuto("show", attacked, *data, COLUMNS="80")
    assert "…" not in outcome.stdout
    assert all(f"│ {clip} " in outcome.stdout for clip in clips)
    assert f" of {len(clips)} clips" in outcome.stdout
    (folder,) = (attacked / "shown").iterdir()
    assert folder.name == "paper-2025-released+iterations=3+step_size=0.05"
    assert len(list(folder.iterdir())) == len(FILES) * len(clips)


def test_json_holds_all_numbers_and_nothing_else_is_printed(tenuto, attacked, data, clips, tmp_path):
    outcome = tenuto("show", attacked, *clips[:2], *data, "--out", tmp_path, "--json")
    result = json.loads(outcome.stdout)
    assert result["run"] == attacked.name
    assert [clip["clip"] for clip in result["clips"]] == clips[:2]
    shares = [clip["survival"] for clip in result["clips"]]
    assert result["survival"]["mean"] == pytest.approx(sum(shares) / 2)
    assert set(result["clips"][0]["emotions"]) == {"annotation", "before", "after", "heard", "rendered"}
    assert result["clips"][0]["files"] == [str(tmp_path / f"{clips[0]}{ending}") for ending in FILES]


def test_a_budget_is_chosen_by_its_size(tenuto, refused, run, data, clips, tmp_path):
    folder = shutil.copytree(run, tmp_path / run.name)
    for epsilon in BUDGETS:
        tenuto("attack", folder, *data, "--attack", "FGSM", "--epsilon", epsilon)
    names = sorted(path.stem for path in (folder / "attacks").glob("*.safetensors"))
    assert f"{', '.join(names)}. Choose one with --protocol." in refused("show", folder, *data)
    outcome = tenuto("show", folder, clips[0], *data, "--protocol", names[0], "--json")
    epsilon = json.loads(outcome.stdout)["clips"][0]["attack"]["epsilon"]
    assert (folder / "shown" / f"{names[0]}-linf-{epsilon:g}").is_dir()
    message = refused("show", folder, *data, "--protocol", names[0], "--epsilon", 0.5)
    assert f"no budget 0.5; budgets of the rows: {epsilon:g}" in message


def test_other_emotions_of_names_with_folders_become_one_word(tenuto, own_run, own_folder, cache, tmp_path):
    folder = shutil.copytree(own_run, tmp_path / own_run.name)
    data = ("--root", own_folder, "--cache", cache)
    tenuto("attack", folder, *data, "--attack", "FGSM", "--epsilon", 0.05)
    clip = named(folder)[0]
    outcome = tenuto("show", folder, clip, *data, "--out", tmp_path / "shown", "--json")
    (result,) = json.loads(outcome.stdout)["clips"]
    assert list(result["emotions"]["before"]) == ["arousal", "joy"]
    assert list(result["concepts"]["before"]) == ["roughness"]
    assert "/" in clip
    assert (tmp_path / "shown" / (clip.replace("/", "_") + ".png")).is_file()


def test_no_file_of_a_clip_replaces_that_of_another():
    clips = ["a/b", "a_b", r"a\b", "A_B", "a_b-2", "a"]
    names = file_names(clips)
    assert [names[clip] for clip in clips] == ["a_b", "a_b-2", "a_b-3", "A_B-4", "a_b-2-2", "a"]


def clip_of(folder, part):
    """A clip of a part of a run's split."""
    table = read_csv(folder / "split.csv", text=("clip",))
    return table.loc[table["split"] == part, "clip"].iloc[0]


def test_clip_of_two_parts_are_refused(refused, attacked, data, clips):
    other = clip_of(attacked, "train")
    message = refused("show", attacked, clips[0], other, *data)
    assert f"clips of several parts of the split: {clips[0]} (test), {other} (train)" in message


def test_a_part_that_was_not_attacked_is_named(refused, attacked, data):
    message = refused("show", attacked, clip_of(attacked, "validation"), *data)
    assert "no perturbations of validation clips" in message


def test_a_gallery_of_two_runs_is_one_file(tenuto, attacked, data, clips, tmp_path):
    page = tmp_path / "gallery.html"
    outcome = tenuto("show", attacked, attacked, "--gallery", "--clip", clips[0], *data, "--out", page)
    assert outcome.stdout.startswith(f"{page} (")
    assert page.read_text("utf-8").count("<audio") == 6


def test_a_gallery_is_described_as_json(tenuto, attacked, data, clips, tmp_path):
    page = tmp_path / "gallery.html"
    made = json.loads(tenuto("show", attacked, "--gallery", *data, "--out", page, "--json").stdout)
    assert made["gallery"] == str(page)
    assert made["clips"][0]["clip"] in clips
