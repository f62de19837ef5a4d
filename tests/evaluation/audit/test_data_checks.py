import dataclasses
from typing import Any

import numpy as np
import pytest
import soundfile

from tenuto.attacks import APGD, AbsoluteError, Correlation, Linf, OneEmotion, SquaredError
from tenuto.data.base import Index
from tenuto.data.splits import Split
from tenuto.evaluation.audit.data import Data
from tenuto.evaluation.audit.data_checks import NOT_COMPARED
from tenuto.evaluation.audit.findings import Verdict
from tenuto.store.released_logs import RELEASED_EMOTIONS
from tests import corpora
from tests.evaluation.audit.planted import bounded, finding, logs, source


class Undeclared(AbsoluteError):  # noqa: N818  (an objective, no exception)
    """An objective that does not say whether it compares with labels."""

    uses_label = None


PASS, WARN, FAIL, NOT_RECORDED = Verdict.PASS, Verdict.WARN, Verdict.FAIL, Verdict.NOT_RECORDED
NAMES = tuple(f"{clip:03d}" for clip in range(30))


def data(shared, attacked, kind="albums"):
    """Clips 000 on are attacked; of these the first few come from the album or artist that is trained on, too."""
    owners: Any = tuple(
        "trained" if place < shared or place >= attacked else f"own {place}" for place in range(30)
    )
    index = dataclasses.replace(Index(NAMES, (), RELEASED_EMOTIONS, np.full((30, 8), 0.5)), **{kind: owners})
    return Data(index=index, split=Split(tuple(str(int(name)) for name in NAMES[attacked:]), (), ()))


@pytest.mark.parametrize("kind", ["albums", "artists"])
@pytest.mark.parametrize(("shared", "verdict"), [(0, PASS), (1, WARN), (2, WARN), (3, FAIL), (20, FAIL)])
def test_the_share_of_clips_from_trained_albums_or_artists_decides(kind, shared, verdict):
    result = finding(kind, source(bounded(clips=20)), data(shared, 20, kind))
    assert (result.verdict, result.value) == (verdict, shared / 20)
    assert result.sentence.startswith(f"{shared} of 20 attacked clips")


def test_albums_need_a_split():
    result = finding("albums", logs(), Data(index=data(0, 5).index))
    assert result.verdict is NOT_RECORDED
    assert "`split=FILE`" in result.sentence


def test_albums_need_the_data():
    assert finding("albums", logs(), Data()).verdict is NOT_RECORDED


@pytest.mark.parametrize("kind", ["albums", "artists"])
def test_a_data_set_without_albums_says_so(kind):
    index = Index(NAMES, (), RELEASED_EMOTIONS, np.full((30, 8), 0.5))
    result = finding(kind, logs(), Data(index=index, split=Split(NAMES, (), ())))
    assert result.verdict is NOT_RECORDED
    assert result.sentence.startswith(f"the data set names no {kind}.")
    assert f"`{kind[:-1]}_column`" in result.sentence
    assert "root" not in result.sentence


def test_spelling_does_not_hide_a_shared_album():
    albums = ("Blue Train",) * 20 + ("blue  train",) * 10
    index = dataclasses.replace(Index(NAMES, (), RELEASED_EMOTIONS, np.full((30, 8), 0.5)), albums=albums)
    result = finding("albums", source(bounded(clips=20)), Data(index=index, split=Split(NAMES[20:], (), ())))
    assert (result.verdict, result.value) == (FAIL, 1)


@pytest.mark.parametrize("kind", ["albums", "artists"])
@pytest.mark.parametrize(
    ("owners", "verdict", "words"),
    [
        (("",) * 30, NOT_RECORDED, "no training clip has a name"),
        (("",) * 20 + ("x",) * 10, NOT_RECORDED, "no attacked clip has a name"),
        (("",) + ("own",) * 19 + ("x",) * 10, WARN, "1 have no name"),
    ],
)
def test_clips_without_an_owner_are_not_taken_for_separate(kind, owners, verdict, words):
    named: Any = {kind: owners}
    index = dataclasses.replace(Index(NAMES, (), RELEASED_EMOTIONS, np.full((30, 8), 0.5)), **named)
    result = finding(kind, source(bounded(clips=20)), Data(index=index, split=Split(NAMES[20:], (), ())))
    assert result.verdict is verdict
    assert words in result.sentence


def test_every_clip_of_the_part_and_no_other_is_attacked():
    def judged(test, clips=NAMES[:20]):
        rows = source(bounded(clips=20).query("clip in @clips"))
        return finding("every-clip", rows, Data(split=Split(NAMES[25:], (), test)))

    whole = judged(NAMES[:20])
    assert (whole.verdict, whole.value) == (PASS, 0)
    assert whole.sentence.endswith("20 of 20 test clips were attacked.")
    fewer = judged(NAMES[:20], NAMES[1:19])
    assert (fewer.verdict, fewer.value) == (FAIL, 2)
    assert fewer.sentence.endswith("18 of 20 test clips were attacked; 000 was not.")
    exchanged = judged((*NAMES[:19], "020"))
    assert (exchanged.verdict, exchanged.value) == (FAIL, 2)
    assert exchanged.sentence.endswith(
        "19 of 20 test clips were attacked; 020 was not; 1 of other parts were, the first 019."
    )
    assert finding("every-clip", source(bounded()), Data()).verdict is NOT_RECORDED


@pytest.fixture
def recordings(tmp_path, monkeypatch):
    """Thirty recordings; a function that gives clips the sound of others and exchanges columns."""
    monkeypatch.setenv("TENUTO_CACHE", str(tmp_path / "cache"))

    def make(copies=(), exchanged=False, emotions=("valence", "arousal"), short=()):
        copies, paths = dict(copies), []
        for number, name in enumerate(NAMES):
            paths.append(tmp_path / f"{name}.wav")
            origin = copies.get(number, number)
            sound = corpora.music(
                origin, 2.0 if number in short else 4.0, rate=1 + origin / 5, level=0.01 + origin / 100
            )
            soundfile.write(paths[-1], (0.5 if number in copies else 1) * sound, 22050)
        labels = np.stack([np.arange(30) * 7 % 30, np.arange(30)], axis=1)[:, :: -1 if exchanged else 1] / 30
        index = Index(NAMES, tuple(paths), emotions, labels)
        return Data(index=index, split=Split(NAMES[20:], NAMES[15:20], NAMES[:15]))

    return make


@pytest.mark.parametrize(
    ("copies", "verdict", "value"),
    [
        ({}, PASS, 0),
        ({16: 15}, PASS, 0),
        ({2: 17}, WARN, 0),
        ({2: 25}, FAIL, 1 / 15),
        ({2: 25, 3: 25, 4: 18}, FAIL, 2 / 15),
    ],
)
def test_a_test_clip_with_the_sound_of_a_training_clip_fails(recordings, copies, verdict, value):
    result = finding("duplicates", source(bounded(clips=15)), recordings(copies))
    assert (result.verdict, result.value) == (verdict, pytest.approx(value))
    assert (
        f"{round(15 * value)} of 15 attacked clips have the same sound as a training clip" in result.sentence
    )
    assert ("002 and 025 have the same" in result.sentence) == (verdict is FAIL)


def test_a_test_clip_that_is_a_training_clip_fails(recordings):
    data = recordings()
    split = dataclasses.replace(data.split, train=(*data.split.train, "014"))
    result = finding("duplicates", source(bounded(clips=15)), dataclasses.replace(data, split=split))
    assert (result.verdict, result.value) == (FAIL, 1 / 15)


@pytest.mark.parametrize(
    ("short", "verdict", "words"),
    [
        (
            [2, 4, 25],
            WARN,
            "(29 recordings compared). 3 were not compared: their recordings have less than 2.5 s",
        ),
        (range(15), NOT_RECORDED, "no attacked clip was compared: their recordings have less than 2.5 s"),
    ],
)
def test_clips_whose_sound_cannot_be_compared_are_counted(recordings, short, verdict, words):
    known = recordings({2: 25}, short=short)
    known.index.paths[9].write_bytes(b"no sound")
    result = finding("duplicates", source(bounded(clips=15)), known)
    assert result.verdict is verdict
    assert words in result.sentence


def test_duplicates_need_a_split_and_recordings(recordings):
    rows = source(bounded(clips=15))
    assert "`split=FILE`" in finding("duplicates", rows, Data(index=recordings().index)).sentence
    for check in ("duplicates", "label-order"):
        assert finding(check, rows, data(0, 20)).verdict is NOT_RECORDED
        result = finding(check, rows, dataclasses.replace(recordings(), spared=True))
        assert (result.verdict, result.sentence) == (NOT_RECORDED, NOT_COMPARED)


@pytest.mark.parametrize(("exchanged", "verdict"), [(False, PASS), (True, WARN)])
def test_a_valence_that_follows_the_audio_more_than_arousal_warns(recordings, exchanged, verdict):
    result = finding("label-order", source(bounded(clips=15)), recordings(exchanged=exchanged))
    assert result.verdict is verdict
    assert (result.value > 0) == exchanged
    assert ("may be exchanged" in result.sentence) == exchanged


def test_ratings_of_other_names_have_no_order(recordings):
    result = finding("label-order", source(bounded(clips=15)), recordings(emotions=("joy", "fear")))
    assert result.verdict is NOT_RECORDED
    assert "joy, fear" in result.sentence


def test_logs_do_not_record_the_normalisation():
    assert finding("normalisation", logs(), data(0, 5)).verdict is NOT_RECORDED


def test_the_released_attack_compares_with_the_label():
    result = finding("labels", logs())
    assert (result.verdict, result.value) == (WARN, 1.0)


@pytest.mark.parametrize(("uses", "verdict"), [(True, WARN), (False, PASS), (np.nan, NOT_RECORDED)])
def test_the_column_decides_whatever_the_objective_is_called(uses, verdict):
    rows = bounded(settings="of another package", objective="correlation", uses_label=uses)
    assert finding("labels", source(rows)).verdict is verdict


@pytest.mark.parametrize(
    ("objective", "verdict"),
    [
        (AbsoluteError(), WARN),
        (Correlation(), WARN),
        (SquaredError(against="clean"), PASS),
        (OneEmotion(3), PASS),
        (Undeclared(), NOT_RECORDED),
    ],
    ids=lambda value: str(value),
)
def test_without_the_column_the_attack_decides(objective, verdict):
    attack = APGD(Linf(0.1), objective=objective)
    rows = bounded(settings=repr(attack), objective="squared error")
    assert finding("labels", source(rows, attacks=(attack,))).verdict is verdict


def test_one_attack_with_the_label_is_a_warning_although_others_are_not_recorded():
    result = finding("labels", source(bounded(uses_label=True), bounded(seed=7, settings="unknown")))
    assert (result.verdict, result.value) == (WARN, 0.5)
