"""One contract over every registered data set."""

from __future__ import annotations

import numpy as np
import pytest

from tenuto.data import DATASETS, Folder, prepare
from tenuto.data.base import fingerprint
from tenuto.errors import DataError, TenutoError
from tests import corpora


def synthetic(root):
    from tenuto.data import Synthetic
    from tenuto.data.synthesis import synthesize

    synthesize(root, clips=12, seconds=10.5, workers=1)
    return Synthetic(root)


MAKERS = {
    "soundtracks": corpora.soundtracks,
    "midlevel": corpora.midlevel,
    "synthetic": synthetic,
    "folder": corpora.folder,
}


def test_every_data_set_is_under_contract():
    assert set(MAKERS) == set(DATASETS)


@pytest.fixture(scope="module", params=sorted(MAKERS))
def made(request, tmp_path_factory):
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param))


def again(dataset, root):
    """The same data set at another place."""
    if isinstance(dataset, Folder):
        return Folder(root, "table.csv", "song", dataset.emotions, dataset.concepts, dataset.scale, "record")
    return type(dataset)(root)


def test_card_is_filled_in(made):
    card = made.card
    assert card.name in DATASETS
    assert all((card.title, card.origin, card.licence, card.size, card.citation))
    assert card.emotion_scale[0] < card.emotion_scale[1]


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
    assert index.albums is not None


def test_a_sound_copy_is_consistent(made):
    found = made.validate()
    assert found.inconsistent == ()
    # Made-up files are no published ones; where no checksums are published, nothing may be found at all.
    assert found.ok or made.checksums()


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


def test_no_folder_is_an_error_with_a_mend(made, tmp_path):
    with pytest.raises(DataError, match="--root"):
        _ = again(made, tmp_path / "gone").index


def test_no_folder_is_listed_by_validate(made, tmp_path):
    found = again(made, tmp_path / "gone").validate()
    assert not found.ok
    assert found.inconsistent


def test_an_empty_folder_is_refused(made, tmp_path):
    with pytest.raises(TenutoError, match=str(tmp_path)):
        _ = again(made, tmp_path).index


def test_prints_as_the_call_that_made_it(made):
    assert str(made.root) in repr(made)
