"""One contract over every registered data set."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tenuto.cli.app import app
from tenuto.config import SPLITS, DataConfig
from tenuto.data import DATASETS, Folder, draw_split, open_dataset, prepare
from tenuto.data.base import fingerprint
from tenuto.errors import ConfigError, DataError, TenutoError
from tests import corpora


def synthetic(root):
    from tenuto.data import Synthetic
    from tenuto.data.synthesis import synthesize

    synthesize(root, clips=12, seconds=1, workers=1)
    return Synthetic(root)


MAKERS = {
    "soundtracks": corpora.soundtracks,
    "midlevel": corpora.midlevel,
    "synthetic": synthetic,
    "deam": corpora.deam,
    "emomusic": corpora.emomusic,
    "pmemo": corpora.pmemo,
    "jamendo": corpora.jamendo,
    "folder": corpora.folder,
}


def test_every_data_set_is_under_contract():
    assert set(MAKERS) == {
        name for name, dataset in DATASETS.items() if dataset.__module__.startswith("tenuto.")
    }


def test_an_unknown_data_set_is_refused_on_opening(tmp_path):
    with pytest.raises(ConfigError, match=r"Unknown data set 'soundtrack'. Did you mean soundtracks"):
        open_dataset(DataConfig(dataset="soundtrack"), tmp_path)


def test_the_data_set_of_the_docs_is_complete(tmp_path, monkeypatch):
    monkeypatch.setattr(DATASETS, "_parts", dict(DATASETS._parts))
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], {"__name__": "beeps"})
    rows = [f"beep {number},{1 + number / 2}" for number in range(12)]
    for number in range(12):
        corpora.write_audio(tmp_path / f"beep {number}.wav", number)
    (tmp_path / "ratings.csv").write_text("\n".join(["clip,arousal", *rows]))
    beeps = open_dataset(DataConfig(dataset="beeps"), tmp_path)
    assert beeps.validate().ok
    prepared = prepare(beeps, tmp_path / "cache", workers=1)
    assert (prepared.name, len(prepared.spectrograms)) == ("beeps", 12)
    (tmp_path / "ratings.csv").write_text("\n".join(["clip,arousal", "beep 0,9", "=beep,1", *rows[1:]]))
    inconsistent = open_dataset(DataConfig(dataset="beeps"), tmp_path).validate().inconsistent
    assert ["formula" in sentence for sentence in inconsistent] == [True, False]
    assert "arousal of clip beep 0 is 9, outside the scale 1 to 7" in inconsistent[1]
    info = CliRunner().invoke(app, ["data", "info", "beeps"])
    assert "@misc{beeps2026" in info.stdout


@pytest.fixture(scope="module", params=sorted(MAKERS))
def made(request, tmp_path_factory):
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param))


def again(dataset, root):
    """The same data set at another place."""
    if isinstance(dataset, Folder):
        return Folder(root, "table.csv", "song", dataset.emotions, dataset.concepts, dataset.scale, "record")
    return type(dataset)(root)


@pytest.mark.parametrize("kind", ["no such folder", "is a file, not a folder", "contains no"])
def test_a_place_without_the_data_is_refused_with_what_was_expected(made, tmp_path, kind):
    (tmp_path / "notes.txt").write_text("something else")
    name = {"no such folder": "gone", "is a file, not a folder": "notes.txt", "contains no": "."}[kind]
    expected = rf"{re.escape(str(tmp_path / name))}: {kind}.*\. Point `root` at the "
    with pytest.raises(DataError, match=expected):
        _ = again(made, tmp_path / name).index


def test_labels_lie_on_the_label_scale(made):
    low, high = made.index.label_scale
    assert (low, high) == made.label_scale
    assert low <= made.index.labels.min() <= made.index.labels.max() <= high


def test_card_is_filled_in(made):
    card = made.card
    assert card.name in DATASETS
    assert all((card.title, card.origin, card.licence, card.size, card.citation))
    assert card.emotion_scale[0] < card.emotion_scale[1]
    assert card.bibtex.startswith("@") or card.name in ("synthetic", "folder")


def test_index_is_consistent(made):
    index = made.index
    assert len(index) == len(index.paths) == len(set(index.clips)) == 12
    assert all(path.is_file() for path in index.paths)
    assert index.labels.shape == (12, len(index.emotions))
    assert (index.labels >= 0).all()
    assert (index.labels <= 1).all()
    assert np.ptp(index.labels, axis=0).min() > 0
    if index.concept_labels is not None:
        assert index.concept_labels.shape == (12, len(index.concepts))
    else:
        assert index.concepts == ()
    for owners in (index.albums, index.artists, index.groups, *index.official.values()):
        assert owners is None or len(owners) == 12
    if index.deviations is not None:
        assert index.deviations.shape == index.labels.shape


KINDS = {
    "soundtracks": {"album", "group"},
    "midlevel": {"album", "group"},
    "synthetic": {"album", "group"},
    "deam": {"artist", "album", "group", "official"},
    "emomusic": {"artist", "group", "official"},
    "pmemo": {"artist", "album", "group"},
    "jamendo": {"artist", "album", "group", "official"},
    "folder": {"album", "group"},
}


@pytest.mark.parametrize("kind", SPLITS)
def test_is_divided_in_every_way_it_supports(made, kind):
    index = made.index
    if kind not in KINDS[made.card.name] | {"paper", "random"}:
        with pytest.raises(DataError, match="this data set has no"):
            draw_split(index, kind)
        return
    owners = {"album": index.albums, "artist": index.artists}.get(kind)
    if owners and sum(owners.count(owner) == 1 for owner in owners) < 2:  # a tenth of twelve clips is one
        with pytest.raises(DataError, match="are too large"):
            draw_split(index, kind)
        return
    split = draw_split(index, kind, seed=1)
    clips = split.train + split.validation + split.test
    assert len(set(clips)) == len(clips)
    assert set(clips) <= set(index.clips)
    assert min(map(len, (split.train, split.validation, split.test))) >= 1


RELATED = ("soundtracks", "midlevel", "synthetic")


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "folder"])
def test_the_files_of_another_data_set_are_refused_by_name(made, name):
    own = made.card.name
    if own == name or own == "folder" or {own, name} <= set(RELATED):
        return
    with pytest.raises(DataError, match=rf"contains {own}, not {name}\. Use `dataset={own}`, or"):
        _ = DATASETS[name](made.root).index


def test_a_sound_copy_is_consistent(made):
    validation = made.validate()
    assert validation.inconsistent == ()
    # Made-up files differ from the published ones; without published checksums there must be no problem at all.
    assert validation.ok or made.checksums()


def test_prepares_and_reads_back(made, tmp_path):
    first = prepare(made, tmp_path)
    second = prepare(made, tmp_path)
    assert first.fingerprint == second.fingerprint
    assert len(list(tmp_path.glob("*.safetensors"))) == 12
    for one, other, path in zip(first.spectrograms, second.spectrograms, made.index.paths, strict=True):
        assert one.dtype == np.float32
        assert one.shape[1] == 149
        assert np.array_equal(one, other), path


def test_fingerprint_depends_on_ratings_and_audio(made):
    index = made.index
    sums = tuple(str(number) for number in range(12))
    changed = index.labels.copy()
    changed[3, 1] += 0.001
    assert fingerprint(index, sums) == fingerprint(index, sums)
    assert fingerprint(index, sums) != fingerprint(index, ("x", *sums[1:]))
    other = type(index)(**{**vars(index), "labels": changed})
    assert fingerprint(index, sums) != fingerprint(other, sums)


def test_no_folder_is_an_error_with_a_fix(made, tmp_path):
    with pytest.raises(DataError, match="`root"):
        _ = again(made, tmp_path / "gone").index


def test_no_folder_is_listed_by_validate(made, tmp_path):
    assert again(made, tmp_path / "gone").validate().inconsistent


def test_an_empty_folder_is_refused(made, tmp_path):
    with pytest.raises(TenutoError, match=str(tmp_path)):
        _ = again(made, tmp_path).index


def test_prints_as_the_call_that_made_it(made):
    assert str(made.root) in repr(made)
