import numpy as np
import pytest

from tenuto.attacks import APGD, AbsoluteError, Correlation, Linf, OneEmotion, SquaredError
from tenuto.data.base import Index
from tenuto.data.splits import Split
from tenuto.evaluation.audit.findings import Verdict
from tenuto.evaluation.audit.sources import Data
from tenuto.store.released_logs import EMOTIONS
from tests.evaluation.audit.planted import bounded, finding, logs, source


class Undeclared(AbsoluteError):  # noqa: N818  (an objective, no exception)
    """An objective that does not say whether it compares with labels."""

    uses_label = None


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
    result = finding("albums", source(bounded(clips=20)), data(shared, 20))
    assert (result.verdict, result.value) == (verdict, shared / 20)
    assert result.sentence.startswith(f"{shared} of 20 attacked clips")


def test_albums_need_a_split():
    result = finding("albums", logs(), Data(index=data(0, 5).index))
    assert result.verdict is NOT_RECORDED
    assert "`split=FILE`" in result.sentence


def test_albums_need_the_data():
    assert finding("albums", logs(), Data()).verdict is NOT_RECORDED


def test_a_data_set_without_albums_says_so():
    index = Index(NAMES, (), EMOTIONS, np.full((30, 8), 0.5))
    result = finding("albums", logs(), Data(index=index, split=Split(NAMES, (), ())))
    assert result.verdict is NOT_RECORDED
    assert "names none" in result.sentence


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
