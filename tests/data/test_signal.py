"""Signal concepts of a data set: prepared beside the spectrograms, cached, fingerprinted, compared with ratings."""

from __future__ import annotations

import numpy as np
import pytest

from tenuto.audio import load_audio
from tenuto.audio.descriptors import DESCRIPTORS, descriptors
from tenuto.config import DataConfig
from tenuto.data import Folder, Soundtracks, base, cache, open_dataset, prepare
from tenuto.data.base import fingerprint
from tenuto.data.signal import describe
from tenuto.errors import DataError
from tenuto.files import sha256_file
from tests import corpora

SIGNAL = DataConfig(dataset="soundtracks", concepts="signal")


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    """Twelve clips with human concepts."""
    return corpora.midlevel(tmp_path_factory.mktemp("rated"))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def prepared(rated, store):
    return prepare(open_dataset(SIGNAL, rated.root), store, workers=1)


def hashes(index):
    return tuple(sha256_file(path) for path in index.paths)


def test_every_clip_has_the_descriptors_of_its_audio(prepared):
    assert prepared.index.concepts == DESCRIPTORS
    expected = np.array([descriptors(load_audio(path)) for path in prepared.index.paths])
    assert (prepared.index.concept_labels == expected).all()


@pytest.mark.parametrize("name", ["soundtracks", "midlevel"])
def test_they_take_the_place_of_ratings(rated, name):
    index = open_dataset(DataConfig(dataset=name, concepts="signal"), rated.root).index
    assert index.concepts == DESCRIPTORS
    assert index.concept_labels is None


def test_a_data_set_that_was_read_with_ratings_keeps_them(rated):
    before = rated.index
    assert rated.with_signal_concepts().index.concepts == DESCRIPTORS
    assert rated.index is before
    assert before.concept_labels is not None


def test_a_second_prepare_computes_nothing(prepared, rated, store, monkeypatch):
    seen = corpora.calls(monkeypatch, "compute_descriptors")
    again = prepare(open_dataset(SIGNAL, rated.root), store, workers=1)
    assert seen == []
    assert (again.index.concept_labels == prepared.index.concept_labels).all()


def test_spectrograms_of_an_older_cache_are_used(rated, tmp_path, monkeypatch):
    prepare(rated, tmp_path, workers=1)
    monkeypatch.setattr(cache, "compute", None)  # a call would fail
    assert prepare(open_dataset(SIGNAL, rated.root), tmp_path, workers=1).index.has_signal_concepts


def test_another_version_computes_anew(rated, store, prepared, monkeypatch):
    monkeypatch.setattr(cache, "DESCRIPTORS_VERSION", 0)
    seen = corpora.calls(monkeypatch, "compute_descriptors")
    describe(rated, store, workers=1)
    assert len(seen) == len(rated.index)


def test_the_identity_is_known_before_anything_is_decoded(prepared, rated):
    index = open_dataset(SIGNAL, rated.root).index
    assert fingerprint(index, hashes(index)) == prepared.fingerprint


def test_the_identity_differs_from_that_of_ratings_and_of_no_concepts(prepared, rated):
    plain = Soundtracks(rated.root).index
    identities = {fingerprint(index, hashes(index)) for index in (rated.index, plain)}
    assert len({*identities, prepared.fingerprint}) == 3


def test_the_identity_follows_the_version(prepared, monkeypatch):
    monkeypatch.setattr(base, "DESCRIPTORS_VERSION", 0)
    assert fingerprint(prepared.index, hashes(prepared.index)) != prepared.fingerprint


def test_the_identity_of_other_data_stays_what_it_was(rated):
    """Runs on disk are called by it."""
    index = base.Index(("a",), (rated.root,), ("joy",), np.array([[0.5]]), ("mode",), np.array([[0.25]]))
    expected = "94cf66a10c70c938129a69e8357998603215cafdce844ed63433ae5ba2880f92"
    assert fingerprint(index, ("0" * 64,)) == expected


def test_a_description_says_how_clips_rank_beside_their_ratings(rated, store):
    result = describe(rated, store, workers=1)
    assert list(result.correlations) == list(DESCRIPTORS)
    assert list(result.table().columns) == ["clip", *DESCRIPTORS]
    assert tuple(result.table()["clip"]) == rated.index.clips
    assert np.array_equal(result.percentiles()[1], np.median(result.values, axis=0))


def test_only_ratings_of_the_same_concept_are_compared(tmp_path, store):
    own = corpora.folder(tmp_path)
    assert describe(own, store, workers=1).correlations == {}
    own.concepts = ("roughness", "modality")
    table = tmp_path / "table.csv"
    lines = table.read_text().splitlines()
    lines = [f"{lines[0]},modality", *(f"{line},{1 + n / 3}" for n, line in enumerate(lines[1:]))]
    table.write_text("\n".join(lines) + "\n")
    again = Folder(tmp_path, "table.csv", "song", ("joy",), own.concepts, (1.0, 7.0))
    result = describe(again, store, workers=1).correlations
    assert list(result) == ["signal:modality"]
    assert -1 <= result["signal:modality"] <= 1


def test_a_column_cannot_pass_for_a_descriptor(tmp_path):
    with pytest.raises(DataError, match=r"signal:modality.*Use `concepts=signal`"):
        Folder(tmp_path, emotions=("joy",), concepts=("signal:modality",))
