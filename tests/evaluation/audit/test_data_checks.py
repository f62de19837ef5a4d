import numpy as np
import pytest

from tenuto.data.base import Index
from tenuto.data.splits import Split
from tenuto.evaluation.audit.findings import Verdict
from tenuto.evaluation.audit.sources import Data
from tenuto.store.released_logs import EMOTIONS
from tests.evaluation.audit.planted import bounded, finding, logs, source

PASS, WARN, FAIL, NOT_RECORDED = Verdict.PASS, Verdict.WARN, Verdict.FAIL, Verdict.NOT_RECORDED
NAMES = tuple(f"{clip:03d}" for clip in range(30))


def data(shared, attacked):
    """Clips 000 on are attacked; of these the first few come from the album that is trained on, too."""
    albums = tuple(
        "trained" if place < shared or place >= attacked else f"own {place}" for place in range(30)
    )
    index = Index(NAMES, (), EMOTIONS, np.full((30, 8), 0.5), albums=albums)
    return Data(index=index, split=Split(tuple(str(int(name)) for name in NAMES[attacked:]), (), ()))


@pytest.mark.parametrize(("shared", "verdict"), [(0, PASS), (1, WARN), (2, WARN), (3, FAIL), (20, FAIL)])
def test_the_share_of_clips_from_trained_albums_decides(shared, verdict):
    found = finding("albums", source(bounded(clips=20)), data(shared, 20))
    assert (found.verdict, found.value) == (verdict, shared / 20)
    assert found.sentence.startswith(f"{shared} of 20 attacked clips")


def test_albums_need_a_split():
    found = finding("albums", logs(), Data(index=data(0, 5).index))
    assert found.verdict is NOT_RECORDED
    assert "--split FILE" in found.sentence


def test_albums_need_the_data():
    assert finding("albums", logs(), Data()).verdict is NOT_RECORDED


def test_a_data_set_without_albums_says_so():
    index = Index(NAMES, (), EMOTIONS, np.full((30, 8), 0.5))
    found = finding("albums", logs(), Data(index=index, split=Split(NAMES, (), ())))
    assert found.verdict is NOT_RECORDED
    assert "names none" in found.sentence


def test_logs_record_neither_normalisation_nor_use_of_labels():
    assert finding("normalisation", logs(), data(0, 5)).verdict is NOT_RECORDED
    assert finding("labels", logs()).verdict is NOT_RECORDED


@pytest.mark.parametrize(
    "objective", ["squared error", "absolute error clipped", "correlation", "huber", "error"]
)
def test_an_attack_that_is_told_the_label_is_a_warning(objective):
    found = finding("labels", source(bounded(objective=objective)))
    assert (found.verdict, found.value) == (WARN, 1.0)


@pytest.mark.parametrize("objective", ["squared error from clean", "sad up", "target happy 0.8"])
def test_an_attack_that_needs_no_label_passes(objective):
    assert finding("labels", source(bounded(objective=objective))).verdict is PASS
