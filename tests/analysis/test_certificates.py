"""Both sides of a smoothed model's error, from rows and from folders."""

import numpy as np
import pandas as pd
import pytest

import tenuto
from tenuto.analysis.certificates import sandwich, summary
from tenuto.analysis.words import upper_bound
from tenuto.data.excerpts import SPECTROGRAM_UNIT, WAVEFORM_UNIT
from tenuto.errors import DataError, FileError
from tenuto.files import sha256_file, write_csv
from tenuto.reporting.certificates import sandwich_table
from tenuto.store.run import RunFolder


def rows(sigma=0.2, radii=(0.1, 0.2), run="A2E-6-0", attacked=True, **columns):
    """Two clips and two outputs: the error is .1 and grows by the radius under the attack, by at most twice that."""
    lines = [
        {
            **{"run": run, "system": "A2E", "seed": 6, "split": "test", "clip": clip, "sigma": sigma},
            **{"radius": radius, "snr_db": np.nan, "output": output, "label": 0.5, "clean": 0.55},
            **{"low": 0.6 - 2 * radius, "median": 0.6, "high": 0.6 + 2 * radius},
            **{name: 0.6 + radius for name in ("attacked", "attacked_low", "attacked_high") if attacked},
        }
        for clip in ("001", "002")
        for radius in radii
        for output in ("valence", "energy")
    ]
    fixed = {
        "bounded": True,
        "draws": 300,
        "confidence": 0.95,
        "clips_together": False,
        "clip_to_scale": True,
    }
    more = {"precision": "float32", "unit": SPECTROGRAM_UNIT, "checkpoint": "0"}
    return pd.DataFrame(lines).assign(**fixed | more | columns)


def test_errors_and_changes_are_means_over_clips_and_outputs():
    table = summary(rows())
    expected: dict[str, list[float]] = {
        "radius": [0.1, 0.2],
        "model_mae": [0.05, 0.05],
        "clean_mae": [0.1, 0.1],
        "attacked_mae": [0.2, 0.3],
        "certified_mae": [0.3, 0.5],
        "attack_moved": [0.1, 0.2],
        "moved": [0.2, 0.4],
        "width": [0.4, 0.8],
        "clips": [2, 2],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(table[name], values)


def test_of_several_runs_a_system_has_the_mean():
    other = rows(run="A2E-7-0").assign(high=0.9, low=0.6)
    table = sandwich(pd.concat([rows(), other])).table
    np.testing.assert_allclose(table["certified_mae"], [(0.3 + 0.4) / 2, (0.5 + 0.4) / 2])
    assert list(table["runs"]) == [2, 2]


def test_radii_in_decibels_are_grouped_by_their_decibels():
    sound = rows(unit=WAVEFORM_UNIT, snr_db=40.0)
    sound["radius"] = np.arange(len(sound)) + 1.0  # another size for every clip
    table = sandwich(sound).table
    assert (len(table), table["snr_db"].iloc[0]) == (1, 40)


def test_the_ends_of_the_scale_are_no_certificate():
    table = rows().assign(bounded=lambda table: table["radius"] < 0.15)
    assert summary(table)[["certified_mae", "moved", "width"]].isna().all(axis=1).tolist() == [False, True]
    both = sandwich(table)
    np.testing.assert_allclose(both.table["certified_mae"], [0.3, np.nan])
    assert both.remarks == ("sigma 0.2: at some radii there are too few draws for a bound.",)


def test_a_bound_is_printed_rounded_up():
    table = rows().assign(high=lambda table: table["high"] + 1e-5)
    shown = sandwich_table(sandwich(table)).cells
    assert shown["Certificate"].tolist() == ["0.301", "0.501"]
    assert [upper_bound(value, 2) for value in (0.3, 0.300000001, float("nan"))] == ["0.30", "0.31", "–"]


def test_bounds_of_several_confidences_are_said_to_be():
    both = sandwich(pd.concat([rows(confidence=0.95), rows(confidence=0.9, run="A2E-7-0")]))
    assert both.remarks == ("bounds of several confidences (0.9, 0.95) are averaged.",)
    apart = pd.concat([rows(confidence=0.95), rows(confidence=0.9, sigma=1.0)])
    assert not sandwich(apart).remarks


def test_without_labels_there_is_no_error():
    with pytest.raises(DataError, match="the rows have no labels"):
        sandwich(rows().drop(columns="label"))


@pytest.fixture
def study(tmp_path):
    run = RunFolder(tmp_path / "runs" / "A2E-6-0")
    run.attacks.mkdir(parents=True)
    (run.path / "config.yaml").write_text("system: A2E\n")
    return run


def test_saved_certificates_are_drawn_the_attacked_ones_first(study, tmp_path):
    write_csv(study.certificates("a"), rows(draws=1000, attacked=False))
    write_csv(study.certificates("b"), rows())
    write_csv(study.certificates("c"), rows(sigma=1.0, attacked=False))
    write_csv(study.certificates("d", "train"), rows(sigma=3.0))
    both = tenuto.sandwich(tmp_path, out=tmp_path / "out")
    assert list(both.table["sigma"]) == [0.2, 0.2, 1.0, 1.0]
    assert both.table["attacked_mae"].notna().tolist() == [True, True, False, False]
    assert [remark.partition(" ")[0] for remark in both.remarks] == ["1", "sigma"]
    assert "1 of 3 tables of certificates were left out" in both.remarks[0]
    assert "sigma 1: not every run and radius was attacked" in both.remarks[1]
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {f"certificates.{kind}" for kind in ("csv", "md", "tex", "png", "pdf")}
    assert tenuto.sandwich(tmp_path, "train").table["sigma"].iloc[0] == 3


def test_radii_of_different_runs_are_named():
    table = pd.concat([rows(), rows(run="A2E-7-0", radii=(0.1,)).assign(high=1.6)])
    drawn = sandwich(table)
    assert drawn.table["certified_mae"].is_monotonic_decreasing  # the reason for the remark
    assert any("sigma 0.2: radii have bounds of different runs or clips" in one for one in drawn.remarks)


def test_of_attacks_with_as_many_draws_the_stronger_is_taken_and_earlier_weights_are_left_out(
    study, tmp_path
):
    study.checkpoint.write_bytes(b"weights")
    now = sha256_file(study.checkpoint)
    write_csv(study.certificates("a-attack-100"), rows(checkpoint=now))
    for weaker in ("a-attack-20", "a"):  # after and before it in the order of names
        write_csv(study.certificates(weaker), rows(checkpoint=now).assign(attacked=0.65))
    write_csv(study.certificates("b"), rows(sigma=1.0))
    both = tenuto.sandwich(tmp_path)
    np.testing.assert_allclose(both.table["attacked_mae"], [0.2, 0.3])
    assert "tables of certificates of earlier weights were left out: 1." in both.remarks


def repeated(table, clips):
    """The rows of the first clip as those of so many clips."""
    one = table[table["clip"] == "001"]
    return pd.concat([one.assign(clip=f"{number:03}") for number in range(1, clips + 1)], ignore_index=True)


def test_a_trial_on_one_clip_does_not_hide_the_table_of_all(study, tmp_path):
    write_csv(study.certificates("b-attack-50"), rows(draws=300))
    trial = repeated(rows(draws=1000), 1).assign(attacked=1.0)  # the hardest clip has the largest error
    write_csv(study.certificates("a-attack-1"), trial)
    write_csv(study.certificates("b"), repeated(rows(draws=1000, attacked=False), 4))
    both = tenuto.sandwich(tmp_path)
    assert list(both.table["clips"]) == [2, 2]
    np.testing.assert_allclose(both.table["attacked_mae"], [0.2, 0.3])
    assert both.remarks[1] == (
        "A2E-6-0, sigma 0.2: tables have different numbers of clips (4, 2, 1). That of 2 clips, with an attack, was "
        "taken."
    )
    write_csv(study.certificates("b"), repeated(rows(attacked=False), 5))
    both = tenuto.sandwich(tmp_path)  # an attack on less than half of the clips is a trial, too
    assert list(both.table["clips"]) == [5, 5]
    assert "That of 5 clips, without an attack, was taken." in both.remarks[1]


def test_attacks_are_compared_at_the_radii_that_both_have(study, tmp_path):
    write_csv(study.certificates("a-attack-50"), rows(radii=(0.1, 0.2)))
    weaker = rows(radii=(0.2, 0.4)).assign(attacked=lambda table: table["attacked"] - 0.02)
    write_csv(study.certificates("a-attack-5"), weaker)
    np.testing.assert_allclose(tenuto.sandwich(tmp_path).table["attacked_mae"], [0.2, 0.3])


def test_no_certificates_and_a_damaged_table_are_named(study, tmp_path):
    with pytest.raises(DataError, match="there are no certificates of test clips"):
        tenuto.sandwich(tmp_path)
    write_csv(study.certificates("a"), rows().assign(median="x"))
    with pytest.raises(FileError, match="median"):
        tenuto.sandwich(tmp_path)


def test_the_caption_names_the_unit_of_sigma_and_radius_of_every_system():
    assert sandwich_table(sandwich(rows())).caption.endswith(
        "radius: standard deviations of the normalised spectrogram (std)."
    )
    other = rows(system="waves", run="waves-0-0", unit="samples (full scale 1)")
    caption = sandwich_table(sandwich(pd.concat([rows(), other]))).caption
    assert "spectrogram (std) (A2E); samples (full scale 1) (waves)." in caption
