"""The gallery says what it is given, in order, and nothing in a name becomes markup."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tenuto.reporting.page.gallery import Shown, make_gallery
from tenuto.reporting.page.report import render
from tests.reporting.test_clip import made_up

pytestmark = pytest.mark.usefixtures("undrawn")

SCALE = (0.0, 1.0)
BEFORE = np.array([0, 1000, -1000, 0], np.int16)


def shown(**changes):
    fields = {"unit": "log10", "samples_before": BEFORE, "samples_after": BEFORE + np.int16(10)}
    return Shown(made_up(**(fields | changes)), SCALE)


def attacked(norm, epsilon):
    return made_up().attack | {"norm": norm, "epsilon": epsilon}


def test_systems_follow_each_other_within_a_clip_and_a_budget():
    made = make_gallery(
        [
            shown(system=system, run=f"{system}-6", attack=attacked(*budget))
            for system in ("A2E", "A2M2E")
            for budget in (("snr", 0.01), ("masked", 1.0))
        ]
    )
    assert [section.title for section in made.sections] == [
        "Clip 055, 40 dB SNR",
        "Clip 055, noise-to-mask 0 dB",
    ]
    assert [[clip.title for clip in section.blocks] for section in made.sections] == [
        ["A2E (A2E-6)", "A2M2E (A2M2E-6)"]
    ] * 2
    assert made.title == "Attacked clips of A2E, A2M2E"
    assert [line[3].text for line in made.table.lines] == ["40 dB SNR", "noise-to-mask 0 dB"] * 2


def test_a_line_holds_what_is_seen_and_heard():
    (line,) = make_gallery([shown(snr_db=40.0)]).table.lines
    assert [cell.text for cell in line[4:]] == ["0.500", "tension +0.10", "40.0 dB", "−10.0 dB", "4.50"]


def test_what_is_undefined_is_a_dash():
    nothing = np.zeros((2, 3))
    (line,) = make_gallery(
        [shown(snr_db=math.inf, noise_to_mask=nothing, perceptual=None, samples_after=BEFORE)]
    ).table.lines
    assert [cell.text for cell in line[6:]] == ["–", "–", "–"]


def test_the_difference_says_how_much_louder_it_is():
    (section,) = make_gallery([shown()]).sections
    labels = [sound.label for sound in section.blocks[0].player.sounds]
    assert labels == ["Before the attack", "After the attack", "Difference, 37 dB louder"]


def test_names_are_text():
    evil = '<script>alert("1")</script>'
    page = render(
        make_gallery([shown(clip=evil, run=evil, system=evil)], [evil]),
        "gallery",
    )
    assert "<script>alert" not in page
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert" in page
