"""The report: a page that stands alone, says what rows support, and can be read by everyone.

Longer than other files: most tests look at one complete page, which is drawn once.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import itertools
import re
import shutil
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

import tenuto
from tenuto.config import DataConfig
from tenuto.errors import ConfigError, DataError, FileError, TenutoError
from tenuto.evaluation.audit.findings import CHECKS, NOT_EVALUATED, OBJECT_NOT_EVALUATED, not_recorded
from tenuto.files import write_json
from tenuto.reporting import verdicts
from tenuto.reporting.figures import style
from tenuto.reporting.figures.explanation import concept_figure
from tenuto.reporting.page import blocks, clips, inside, report, sections
from tenuto.reporting.page.inputs import gather, read_findings
from tenuto.reporting.page.report import make_page, render
from tenuto.store.rows import mark_worst, values_of, write_rows
from tests.analysis import test_curves, test_natural
from tests.reporting import made_up
from tests.reporting.made_up_report import (
    CONCEPTS,
    FINDINGS,
    PROTOCOL,
    WEIGHTS,
    bottleneck,
    complete,
    corrected,
    inputs,
    plain,
    resynthesis,
    stored,
)
from tests.reporting.test_style import contrast

pytestmark = pytest.mark.usefixtures("undrawn")  # what a module's fixture makes is drawn all the same

EVERYTHING = (
    *("attacked", "clean", "predictions", "statistics", "curves", "natural"),
    *("audit", "concepts", "gain", "gallery", "runs"),
)
VOID = {"meta", "link", "img", "br"}
LANDMARKS = ("header", "nav", "main", "footer")
STYLE = Path(report.__file__).parent / "templates" / "report.css"


class Read(HTMLParser):
    """A page as a list of elements with their text; every element must be closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self.open: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        words: list[str] = []
        element = (tag, {name: value or "" for name, value in attrs}, words)
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for _, _, words in self.open:
            words.append(data)

    def named(self, *tags):
        """(attributes, text) of every element of these kinds, in order."""
        return [(about, "".join(words).strip()) for tag, about, words in self.elements if tag in tags]


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return complete(tmp_path_factory.mktemp("whole") / "study")


@pytest.fixture(scope="module")
def shown(everything):
    return make_page(everything)


@pytest.fixture(scope="module")
def html(shown):
    return render(shown)


@pytest.fixture(scope="module")
def read(html):
    return Read(html)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A study of two runs without anything beside their rows."""
    return inputs(stored(tmp_path_factory.mktemp("bare"), plain((6,))))


# The page


def test_a_study_to_which_nothing_is_lacking_has_every_section(shown):
    assert tuple(section.name for section in shown.sections) == EVERYTHING
    assert shown.lacks == ()


def test_sections_that_lack_their_rows_are_left_out_and_named(bare):
    shown = make_page(bare)
    assert tuple(section.name for section in shown.sections) == (
        *("attacked", "clean", "predictions", "statistics", "concepts", "runs", "lacking"),
    )
    assert [lack.split(":")[0] for lack in shown.lacks] == [
        *("Error by size of the attack", "Natural changes", "Audit", "Head gain", "Gallery"),
    ]
    assert shown.lacks[1].endswith(": not measured. Run `tenuto natural RUN --root DATA`.")
    assert shown.player is None
    assert 'href="#listen"' not in render(shown)


def test_a_run_that_cannot_be_read_is_named_and_the_others_are_shown(tmp_path):
    folder = stored(tmp_path, plain((6, 21)))
    (folder / "runs" / "A2E-6" / "attacks" / f"{PROTOCOL}.csv").write_text("no rows\n")
    page_inputs = inputs(folder)
    assert "A2E-6" not in set(page_inputs.rows["run"])
    assert any("A2E-6" in lack for lack in make_page(page_inputs).lacks)


def test_without_named_concepts_there_is_no_section_on_them(tmp_path):
    free = made_up.run("A2B2E").assign(clean_unit_1=0.5, adversarial_unit_1=0.75)
    shown = make_page(inputs(stored(tmp_path, [made_up.run(), free])))
    assert "concepts" not in {section.name for section in shown.sections}
    assert any(sentence.startswith("Concepts: no system with named concepts") for sentence in shown.lacks)


def of_kind(section, kind):
    """The blocks of a section that are tables, clips, ..."""
    assert isinstance(section, blocks.Section)
    return [block for block in section.blocks if isinstance(block, kind)]


def words(section):
    """All sentences of a section's lists."""
    return [item for block in of_kind(section, blocks.Points) for item in block.items]


def test_where_nothing_was_corrected_the_command_is_named(bare):
    (sentence,) = words(inside.concepts(bare))
    assert "`tenuto intervene RUN --root DATA`" in sentence


def test_corrections_of_this_attack_and_these_weights_are_shown(tmp_path):
    rows = [table.assign(checkpoint="a" * 64) for table in plain((6,))]
    folder = stored(tmp_path, rows)
    corrected(folder, checkpoint="a" * 64)
    page_inputs = inputs(folder)
    assert list(page_inputs.interventions) == ["A2M2E-6"]
    assert page_inputs.remarks["concepts"] == ()
    assert not words(inside.concepts(page_inputs))


@pytest.mark.parametrize(
    "columns",
    [{"protocol": "standard-1"}, {"norm": "linf"}, {"epsilon": 0.1}],
    ids=["protocol", "norm", "epsilon"],
)
def test_corrections_of_another_attack_are_left_out_and_said(tmp_path, columns):
    folder = stored(tmp_path, plain((6,)))
    corrected(folder, **columns)
    page_inputs = inputs(folder)
    assert page_inputs.interventions == {}
    (sentence,) = words(inside.concepts(page_inputs))
    assert sentence.startswith("A2M2E-6: no concepts were corrected under this attack.")


@pytest.mark.parametrize("columns", [{"checkpoint": "b" * 64}, {}], ids=["others", "not recorded"])
def test_corrections_in_other_weights_are_left_out_and_said(tmp_path, columns):
    folder = stored(tmp_path, [table.assign(checkpoint="a" * 64) for table in plain((6,))])
    corrected(folder, **columns)
    page_inputs = inputs(folder)
    assert page_inputs.interventions == {}
    (sentence,) = page_inputs.remarks["concepts"]
    assert sentence.startswith("A2M2E-6: concepts were corrected in other or unknown weights")


def test_corrections_of_a_run_that_is_not_in_the_report_are_left_out(tmp_path):
    folder = stored(tmp_path, plain((6,)))
    corrected(folder, run="A2M2E-99")
    page_inputs = inputs(folder)
    assert page_inputs.interventions == {}
    assert page_inputs.remarks["concepts"] == ()


@pytest.mark.parametrize("name", ["gain", "gallery"])
def test_what_could_not_be_shown_is_said_in_its_section_or_instead_of_it(everything, bare, name):
    section = getattr(inside, name)
    remarks = {name: ("A2M2E-6: attacked with other weights.",)}
    with_others = section(dataclasses.replace(everything, remarks=remarks))
    assert words(with_others) == ["A2M2E-6: attacked with other weights."]
    assert section(dataclasses.replace(bare, remarks=remarks)).endswith(
        ": A2M2E-6: attacked with other weights."
    )


def test_natural_changes_of_other_weights_are_left_out_and_said(tmp_path):
    rows = [test_curves.run(system).assign(checkpoint="a" * 64) for system in ("A2E", "A2M2E")]
    own = [
        test_curves.natural(system).assign(checkpoint=weights * 64)
        for system, weights in (("A2E", "a"), ("A2M2E", "b"))
    ]
    folder = stored(tmp_path, [mark_worst(table) for table in rows] + own)
    page_inputs = gather(folder, "standard-1", 0.1, draws=100)
    section = sections.natural(page_inputs)
    (table,) = of_kind(section, blocks.TableBlock)
    assert {line[1].text for line in table.lines} == {"A2E"}
    assert words(section) == [
        "natural-1 of A2M2E-6 was measured with other weights than were attacked: left out."
    ]


def test_a_copied_run_is_named_and_the_report_is_made_of_the_others(tmp_path):
    rows = [mark_worst(test_curves.run(system)) for system in ("A2E", "A2M2E")]
    folder = stored(tmp_path, [*rows, test_curves.natural("A2E")])
    expected = gather(folder, "standard-1", 0.1, draws=100)
    (original,) = (file.parents[1] for file in Path(folder).rglob("natural-1.csv"))
    shutil.copytree(original, original.with_name(f"{original.name}-backup"))
    page_inputs = gather(folder, "standard-1", 0.1, draws=100)
    pd.testing.assert_frame_equal(page_inputs.rows, expected.rows)
    assert any("-backup: holds rows of" in error for error in page_inputs.remarks["runs"])


def test_curves_that_cannot_be_drawn_say_why(tmp_path):
    other = test_curves.run("A2M2E", ladder={0.1: 0.5})
    page_inputs = inputs(stored(tmp_path, [*plain((6,)), test_curves.run(), other]))
    assert "curves compare only runs with the same budgets" in str(page_inputs.curves)


def test_curves_are_those_of_any_protocol_with_several_budgets(tmp_path):
    own = test_curves.run().assign(protocol="mine-1")
    page_inputs = inputs(stored(tmp_path, [*plain((6,)), own]))
    assert not isinstance(page_inputs.curves, str)
    assert page_inputs.curves.protocol == "mine-1"


def test_only_the_papers_data_are_compared_with_the_paper(tmp_path):
    page_inputs = inputs(stored(tmp_path, [made_up.run()]))
    names = {}
    for data in (None, DataConfig(dataset="synthetic"), DataConfig()):
        (table,) = of_kind(sections.clean(dataclasses.replace(page_inputs, data=data)), blocks.TableBlock)
        names[data and data.dataset] = (table.columns, [line[0].text for line in table.lines])
    own = (("System", "Seeds", "Avg. corr.", "MAE"), ["A2E"])
    assert names[None] == names["synthetic"] == own
    assert names["soundtracks"][0] == (*own[0], "Avg. corr. (paper)", "MAE (paper)")
    assert "A2E (orig.)" in names["soundtracks"][1]


def test_the_same_study_gives_the_same_bytes(everything, html, monkeypatch):
    monkeypatch.undo()  # figures are drawn
    assert render(make_page(everything)) == html


def test_a_single_backtick_in_a_name_makes_no_code_of_the_rest(shown):
    html = render(dataclasses.replace(shown, answer=("b`x is more robust.", "Run `tenuto audit`.", "No.")))
    assert "b`x is more robust.</p>" in html
    assert "Run <code>tenuto audit</code>.</p>" in html


def test_a_date_is_shown_only_where_one_is_given(shown, html):
    assert '<p class="over">Tenuto report</p>' in html
    dated = render(dataclasses.replace(shown, date="1 May 2026"))
    assert '<p class="over">Tenuto report, 1 May 2026</p>' in dated


def test_a_page_loads_nothing(read):
    for tag, about, _ in read.elements:
        for name in ("src", "href", "srcset", "poster", "data", "action"):
            assert about.get(name, "#").startswith(("#", "data:")), (tag, name)
    (style,) = (text for _, text in read.named("style"))
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_names_the_style_and_the_script_and_nothing_else(html, read):
    (policy,) = [about["content"] for about, _ in read.named("meta") if "http-equiv" in about]
    digests = [
        base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        for source in re.findall(r"<(?:style|script)>(.*?)</(?:style|script)>", html, re.DOTALL)
    ]
    assert policy == (
        "default-src 'none'; img-src data:; media-src data:; "
        f"style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; base-uri 'none'; form-action 'none'"
    )
    assert not any(
        "style" in about or any(name.startswith("on") for name in about) for _, about, _ in read.elements
    )


def test_names_cannot_break_the_page(tmp_path):
    name = """<b onclick="x">&'"""
    rows = [table.assign(run=name if place else "A2E-6") for place, table in enumerate(plain((6,)))]
    page = Read(render(make_page(inputs(stored(tmp_path / "<i>", rows)))))
    assert page.named("b", "i") == []
    assert name in [text for _, text in page.named("th")]
    assert [text for _, text in page.named("title")] == ["Robustness of music-emotion recognition: <i>"]


def test_names_from_right_to_left_leave_numbers_in_their_place(tmp_path):
    page = make_page(inputs(stored(tmp_path, [made_up.run("שלום עולם", attacked=0.5)])))
    html = render(page)
    assert "שלום עולם +0.375" in page.sections[0].blocks[0].alt
    assert html.count("\u2068שלום עולם\u2069 +0.375.") == 2  # for screen readers and in words
    assert "\u2068\u2068" not in html


def test_six_clips_of_ten_seconds_stay_below_fifteen_megabytes_even_of_noise(everything, html, monkeypatch):
    monkeypatch.undo()  # figures are drawn
    noise = np.random.default_rng(0).integers(-32767, 32768, (2, 221_900)).astype(np.int16)
    loud = dataclasses.replace(resynthesis(), samples_before=noise[0], samples_after=noise[1])
    clip = gallery_clip(dataclasses.replace(everything, resyntheses=[resynthesis(), loud]), 1)
    size = len(clip.picture.source) + sum(len(sound.source) for sound in clip.player.sounds)
    assert len(html) + 6 * size < 15e6


def gallery_clip(result, place):
    return of_kind(inside.gallery(result), blocks.ClipBlock)[place]


def test_the_samples_that_were_measured_are_played(everything):
    player = inside.listen(everything)
    assert player is not None
    content = base64.b64decode(player.sounds[1].source.removeprefix("data:audio/flac;base64,"))
    played = soundfile.read(io.BytesIO(content), dtype="int16")[0]
    np.testing.assert_array_equal(played, everything.resyntheses[0].samples_after)


def test_the_first_clip_is_heard_once_on_top(everything, read):
    assert gallery_clip(everything, 0).player is None
    assert gallery_clip(everything, 1).player is not None
    assert len(read.named("audio")) == 3 * len(everything.resyntheses)


# For everyone


def test_landmarks_stand_once_and_headings_in_order(read):
    assert [tag for tag, _, _ in read.elements if tag in LANDMARKS] == list(LANDMARKS)
    levels = [int(tag[1]) for tag, _, _ in read.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_section_is_named_and_the_contents_lead_there(read):
    ids = [about["id"] for _, about, _ in read.elements if "id" in about]
    assert len(ids) == len(set(ids))
    sections = [about for about, _ in read.named("section")]
    assert all(about["aria-labelledby"] in ids for about in sections)
    links = [about["href"] for about, _ in read.named("a")]
    top = ["#content", "#answer", "#listen", "#systems"]
    assert links == [*top, *(f"#{name}" for name in EVERYTHING), "#listen"]
    assert {link[1:] for link in links} <= set(ids)


def test_the_page_says_its_language_and_fits_a_phone(read):
    assert read.named("html")[0][0] == {"lang": "en"}
    viewport = {about.get("name"): about["content"] for about, _ in read.named("meta") if "content" in about}
    assert viewport["viewport"] == "width=device-width, initial-scale=1"


def test_every_picture_has_words_a_caption_and_its_size(read):
    pictures = [about for about, _ in read.named("img")]
    assert len(pictures) == len([text for _, text in read.named("figcaption") if text]) == 9
    for about in pictures:
        assert len(about["alt"]) > 40
        assert int(about["width"]) > int(about["height"]) * 0.5 > 0


def test_every_table_has_a_caption_headings_and_can_be_scrolled_by_key(read):
    tables = read.named("table")
    assert len(tables) == len([text for _, text in read.named("caption") if text])
    regions = [about for about, _ in read.named("div") if about.get("class") == "scroll"]
    assert len(regions) == len(tables)
    assert all(
        about["tabindex"] == "0" and about["role"] == "region" and about["aria-label"] for about in regions
    )
    assert all(about["scope"] in ("col", "row") for about, _ in read.named("th"))


def test_every_sound_has_a_name(read):
    sounds = [about for about, _ in read.named("audio")]
    assert [about["aria-label"] for about in sounds[:3]] == [
        "Clip 055: before the attack",
        "Clip 055: after the attack",
        "Clip 055: difference alone",
    ]
    assert all("controls" in about and about["src"].startswith("data:audio/flac;base64,") for about in sounds)


def palettes():
    """The colours of both themes: name -> ``#rrggbb``."""
    parts = re.findall(r":root \{(.*?)\}", STYLE.read_text("utf-8"), re.DOTALL)
    return [dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", part)) for part in parts]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_words_stand_out_from_their_ground(theme):
    colours = palettes()[theme]
    for ground in ("ground", "raised"):
        for words in ("ink", "muted", "accent", "fail", "warn", "pass"):
            assert contrast(colours[words], colours[ground]) >= 4.5, (words, ground)


# What it says


def test_the_answer_compares_the_system_with_concepts_with_the_one_without(bare):
    headline, certainty, trust = report.answer(bare)
    assert headline == (
        "It depends on the measure: the attack adds less error to A2M2E (with concepts) than to A2E (without), "
        "but takes more correlation from it."
    )
    assert certainty.startswith("A2E and A2M2E share 1 seed on 5 test clips.")
    assert trust == "These results have not been audited."


@pytest.mark.parametrize(
    ("plain", "concepts", "begin"),
    [((1.0, True), (0.5, False), "Yes, here:"), ((0.5, False), (1.0, True), "No, the opposite here:")],
)
def test_the_short_answer_follows_both_measures(tmp_path, plain, concepts, begin):
    runs = [
        made_up.run(attacked=plain[0], falling=plain[1]),
        bottleneck(attacked=concepts[0], falling=concepts[1]),
    ]
    assert report.answer(inputs(stored(tmp_path, runs)))[0].startswith(begin)


def test_with_three_seeds_the_answer_has_a_test(everything):
    line = everything.comparison.pairs.query("quantity == 'added' and first == 'A2E'").iloc[0]
    certainty = report.answer(everything)[1]
    assert certainty.startswith("Over 3 seeds, A2E and A2M2E differ significantly")
    assert f"difference {line['difference']:.3f} (95 % interval " in certainty
    assert f"p = {line['p_holm']:.2g}" in certainty


def test_only_seeds_that_the_compared_systems_share_are_counted(tmp_path):
    runs = [made_up.run("A2E", seed) for seed in (6, 21, 42)]
    runs += [bottleneck(6), *(made_up.run("aA2E", seed, attacked=0.5) for seed in (6, 21, 42))]
    assert report.answer(inputs(stored(tmp_path, runs)))[1].startswith("A2E and A2M2E share 1 seed ")


def test_without_the_compared_systems_question_answer_and_test_are_about_the_extremes(tmp_path):
    runs = [
        made_up.run(system, seed, attacked=attacked + seed / 1000 * attacked)
        for system, attacked in (("A2E", 0.5), ("aA2B2E", 0.25), ("aA2E", 1.0))
        for seed in (6, 21, 42)
    ]
    shown = make_page(inputs(stored(tmp_path, runs)))
    assert shown.question == report.ANY
    assert "adds least error to aA2B2E" in shown.answer[0]
    assert "most to aA2E" in shown.answer[0]
    assert "aA2E and aA2B2E differ significantly" in shown.answer[1]


def test_seeds_that_all_differ_alike_are_not_called_too_few(tmp_path):
    runs = [made_up.run(name, seed, attacked=0.5) for name in ("A2E", "A2M2E") for seed in (6, 21, 42)]
    certainty = report.answer(inputs(stored(tmp_path, runs)))[1]
    assert certainty.endswith("There is no test, since every seed has the same difference.")


def test_natural_variation_is_no_protocol_of_a_report(tmp_path):
    with pytest.raises(ConfigError, match="natural-1 is natural variation, not an attack"):
        tenuto.report(stored(tmp_path, [made_up.run()]), protocol="natural-1", out=tmp_path / "a.html")


def test_errors_about_a_file_of_rows_name_it(tmp_path):
    path = tmp_path / "mine.csv"
    rows = made_up.run()
    write_rows(path, rows)
    with pytest.raises(TenutoError, match=re.escape(f"{path}: ")):
        tenuto.report(path, protocol="other-1", out=tmp_path / "a.html")
    write_rows(path, rows.assign(protocol="linf-train"))
    with pytest.raises(DataError, match=r"must not .* end with -train"):
        tenuto.report(path, out=tmp_path / "a.html")


def test_one_system_is_not_tested(tmp_path):
    certainty = report.answer(inputs(stored(tmp_path, [made_up.run()])))[1]
    assert certainty.startswith("There is one system only")


UNMADE = len(CHECKS) - 3
"""Checks without a finding among `FINDINGS`, and the one that is not recorded."""


def test_failed_checks_are_named_in_the_answer(everything):
    others = len(CHECKS) - len(FINDINGS)
    trust = report.answer(everything)[2]
    assert trust.startswith("Do not trust this result as it is:")
    assert trust.endswith(f"fails 1 check (budget); 1 pass, 1 warn, {others + 1} were not made.")
    passed = dataclasses.replace(everything, findings=FINDINGS[1:])
    assert report.answer(passed)[2].endswith(f"fails no check; 1 pass, 1 warn, {others + 2} were not made.")


@pytest.mark.parametrize(
    ("reason", "command"),
    [
        (NOT_EVALUATED, "`tenuto audit STUDY --root DATA --out DIR`"),
        (OBJECT_NOT_EVALUATED, '`run.audit().write("DIR")`'),
    ],
)
def test_checks_without_the_model_name_the_command(everything, reason, command):
    findings = [*FINDINGS, *(not_recorded(check, reason) for check in ("gradients", "repeatable"))]
    unasked = dataclasses.replace(everything, findings=findings)
    assert f"(2 of them: {reason.rstrip('.')})" in report.answer(unasked)[2]
    reasons = words(sections.audited(unasked))
    assert f"NOT RECORDED, gradients, repeatable: {reason}" in reasons
    assert reasons[-1].startswith("Not among the findings: convergence, ")
    last = sections.audited(unasked).blocks[-1].words
    assert command in last
    assert "--audit DIR/audit.json" in last


def test_the_audit_is_ordered_by_severity_with_its_questions(everything):
    table = sections.audited(everything).blocks[1]
    assert [(line[0].text, line[0].mark, line[1].text) for line in table.lines] == [
        ("FAIL", "fail", "budget"),
        ("WARN", "warn", "ranking"),
        ("PASS", "pass", "same-iterate"),
    ]
    assert table.lines[0][2].text == CHECKS["budget"].question


def test_every_system_is_explained(shown, read):
    assert [name for name, *_ in shown.systems] == ["A2E", "A2M2E"]
    texts = [text for _, text in read.named("dt", "dd")]
    assert all(text in texts for *pair, _ in shown.systems for text in pair)


def test_a_system_has_one_colour_on_the_whole_page(tmp_path, monkeypatch):
    """Names of one's own may hold anything, such as the name of a system of the study; a figure may show some only."""
    drawn = {}

    def draw(shifts, system):
        drawn[system] = style.system_colours([system])[system]
        return concept_figure(shifts, system)

    monkeypatch.setattr(inside, "concept_figure", draw)
    names = ["<b>mine</b>", "my A2M2E", "A2M2E"]
    page = make_page(inputs(stored(tmp_path, [bottleneck().assign(system=name, run=name) for name in names])))
    shown = {name: colour for name, _, colour in page.systems}
    assert drawn == shown
    assert len(set(shown.values())) == 3
    html = render(page)
    for name, colour in shown.items():
        assert re.search(
            rf'<span class="swatch c-{colour[1:]}" aria-hidden="true"></span>{escape(name)}<', html
        )
        assert html.count(f".c-{colour[1:]} {{ background: ") == 2  # light and dark


def test_sections_below_the_answer_are_folded(read):
    folded = [about for about, _ in read.named("details") if about.get("class") == "fold"]
    assert len(folded) == len(EVERYTHING)
    assert not any("open" in about for about in folded)


def test_concepts_are_held_against_the_deviation_of_clean_clips():
    rows = pd.concat([made_up.run(), bottleneck(moved=0.25), bottleneck(21, moved=0.75)], ignore_index=True)
    shifts = inside.concept_shifts(rows)
    assert shifts["concept"].tolist() == list(CONCEPTS)
    assert shifts["moved"].tolist() == pytest.approx([0.5, 1.0])
    assert shifts["spread"].tolist() == pytest.approx([np.std(np.linspace(0, 0.4, 5))] * 2)


def test_movement_is_held_against_how_far_clean_clips_differ(everything):
    # Ratings 0.1 0.3 0.5 0.7 0.9 of eight emotions, each in another order; the attack adds 0.625 to each.
    rows = made_up.run(attacked=0.75)
    clean = values_of(rows, "clean")
    spread = np.sqrt(((clean - clean.mean(axis=0)) ** 2).sum(axis=1)).mean()
    assert inside.movement(rows) == pytest.approx((0.625 * np.sqrt(8), spread))
    (table,) = of_kind(inside.gain(everything), blocks.TableBlock)
    line = dict(zip(table.columns, table.lines[0], strict=True))
    assert (line["Run"].text, line["Moves by"].text) == ("A2E-6", "1.768")
    assert float(line["Clips differ by"].sort) == pytest.approx(spread)
    assert float(line["Quotient"].sort) == pytest.approx(0.625 * np.sqrt(8) / spread)


def test_a_constant_predictor_has_no_share_of_movement(everything):
    rows = everything.rows.copy()
    own = [name for name in rows.columns if name.startswith("clean_")]
    rows[own] = 0.5
    (table,) = of_kind(inside.gain(dataclasses.replace(everything, rows=rows)), blocks.TableBlock)
    place = table.columns.index("Quotient")
    assert {line[place].text for line in table.lines} == {"–"}


def test_the_concepts_parts_add_up_to_the_change_of_an_emotion():
    result = resynthesis()
    result.emotions["after"]["tension"] = result.emotions["before"]["tension"] + 0.3
    assert inside.because_of(result, WEIGHTS) == (
        "tension 0.35 → 0.65, +0.30: dissonance +0.20, modality +0.10."
    )


def test_the_table_of_all_runs_sorts_by_full_digits(everything):
    (table,) = of_kind(sections.runs(everything), blocks.TableBlock)
    assert table.sortable
    assert table.columns[3:6] == ("Protocol", "Norm", "Epsilon")
    budgets = {tuple((cell.text, cell.sort) for cell in line[3:6]) for line in table.lines}
    assert ((PROTOCOL, ""), ("none", ""), ("–", "")) in budgets
    assert (("standard-1", ""), ("linf", ""), ("0.1", "0.1")) in budgets
    assert len([line for line in table.lines if line[3].text == PROTOCOL]) == 6
    added = table.columns.index("Added")
    (line,) = [line for line in table.lines if (line[0].text, line[3].text) == ("A2E-21", PROTOCOL)]
    assert line[added].text == "+0.645"
    assert float(line[added].sort) == pytest.approx(0.645, abs=1e-12)


def test_generated_music_is_said_to_be_generated(everything):
    facts = dict(report.facts(dataclasses.replace(everything, data=DataConfig(dataset="synthetic"))))
    assert facts["Data"] == "synthetic"
    assert facts["Note"] == report.GENERATED
    assert "Note" not in dict(report.facts(everything))


def test_signal_concepts_are_said_to_be_proxies(everything, shown):
    computed = dataclasses.replace(everything, data=DataConfig(concepts="signal"))
    assert "of concepts computed from the audio make" in make_page(computed).question
    assert "of human concepts make" in shown.question
    for name, named in (("synthetic", "known concepts"), ("folder", "concepts")):
        other = dataclasses.replace(everything, data=DataConfig.model_construct(dataset=name))
        assert f"of {named} make" in make_page(other).question
    facts = dict(report.facts(computed))
    assert (facts["Data"], facts["Concepts"]) == ("soundtracks", report.COMPUTED)
    assert "Concepts" not in dict(report.facts(everything))


def test_clip_are_spread_evenly_from_the_most_moved_to_the_least():
    rows = made_up.run()
    rows["adversarial_valence"] = rows["clean_valence"] + [0.0, 10.0, 20.0, 30.0, 40.0]
    assert clips.clips_to_show(rows, 3) == ["004", "002", "000"]
    assert clips.clips_to_show(rows, 9) == ["004", "003", "002", "001", "000"]
    assert clips.clips_to_show(rows, 1) == ["004"]


def test_clip_of_named_concepts_come_first_then_the_smallest_seed():
    rows = pd.concat([made_up.run("A2B2E", 6), made_up.run("A2M2E", 21), made_up.run("A2M2E", 7)])
    assert clips.runs_to_show(rows) == ["A2M2E-7", "A2M2E-21", "A2B2E-6"]


def test_commands_are_set_as_code(tmp_path):
    page = Read(render(make_page(inputs(stored(tmp_path, [made_up.run()])))))
    assert "tenuto natural RUN --root DATA" in [text for _, text in page.named("code")]
    assert not any("`" in text for _, text in page.named("p", "li"))


# What it reads


def test_a_protocol_with_several_budgets_wants_one_chosen(tmp_path):
    folder = stored(tmp_path, [mark_worst(test_curves.run())])
    with pytest.raises(DataError, match="Choose one with `epsilon`"):
        gather(folder, "standard-1")
    chosen = gather(folder, "standard-1", epsilon=max(test_curves.LADDER), draws=100)
    assert chosen.attack == f"standard-1, linf {max(test_curves.LADDER):g}"


@pytest.mark.parametrize("clips", [-1, 2.5, "two"])
def test_what_is_no_number_of_clips_is_refused_before_any_work(clips):
    with pytest.raises(ConfigError, match="clips must be a whole number"):
        tenuto.report("no study", clips=clips)


def test_findings_come_back_from_the_file_of_an_audit(tmp_path):
    path = write_json(tmp_path / "audit.json", verdicts.as_json(FINDINGS))
    assert read_findings(path) == FINDINGS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"findings": []}, "contains no findings"),
        ({"findings": [{"check": "budget"}]}, "Make the file again"),
        ({"findings": [FINDINGS[0].as_json() | {"verdict": "MAYBE"}]}, "MAYBE"),
        ({"findings": [FINDINGS[0].as_json() | {"check": "luck"}]}, "there is no check 'luck'"),
    ],
    ids=["none", "half", "verdict", "check"],
)
def test_another_file_is_refused_by_name(tmp_path, content, message):
    path = write_json(tmp_path / "audit.json", content)
    with pytest.raises(FileError, match=message):
        read_findings(path)


def test_every_unit_of_epsilon_has_sections_of_its_own(tmp_path):
    unit = "samples (full scale 1)"
    tables = [
        mark_worst(test_curves.run(system, seed, unit=name))
        for seed in (6, 21)
        for system, name in (
            ("A2E", "standard deviations of the log spectrogram"),
            ("A2M2E", None),
            ("waves", unit),
        )
    ]
    mixed = stored(tmp_path / "mixed", tables)
    known = gather(mixed, "standard-1", 0.1, draws=100)
    assert set(known.rows["system"]) == {"A2E", "A2M2E"}
    assert [set(other.rows["system"]) for other in known.others] == [{"waves"}]
    assert (known.attack, known.others[0].attack) == (
        "standard-1, linf 0.1",
        f"standard-1, linf 0.1 in {unit}",
    )
    page = make_page(known)
    names = [section.name for section in page.sections]
    assert {"curves", "curves-1", "statistics-1", "attacked-1"} <= set(names)
    assert len(names) == len(set(names))
    assert [name for name, *_ in page.systems] == ["A2E", "A2M2E", "waves"]
    html = render(page)
    assert f"epsilon from 0 to 0.2 in {unit}" in html
    assert f"Epsilon in {unit}: By size of the attack" in html
    waves = gather(mixed, "standard-1", 0.1, draws=100, unit="samples")
    assert (set(waves.rows["system"]), waves.unit, waves.others) == ({"waves"}, unit, ())
    assert set(waves.curves.runs["system"]) == {"waves"}


def test_rows_of_both_domains_are_shown_and_never_compared(tmp_path):
    tables = [
        mark_worst(rows)
        for seed in (6, 21)
        for rows in (test_curves.run("A2E", seed), test_curves.run("A2M2E", seed), made_up.sound("A2E", seed))
    ]
    known = gather(stored(tmp_path / "both", tables), "standard-1", 0.1, draws=100)
    assert [other.attack for other in known.others] == ["sound-1, 20 dB SNR", "sound-1, noise-to-mask 6 dB"]
    page = make_page(known)
    titles = [section.title for section in page.sections]
    assert titles.count("sound-1: By size of the attack") == 1
    assert {"sound-1, 20 dB SNR: Under attack", "sound-1, noise-to-mask 6 dB: Under attack"} <= set(titles)
    assert "Without an attack" in titles
    assert not any(title.endswith(": Without an attack") for title in titles)
    html = render(page)
    for part in ("signal-to-noise ratio from 40 to 20 dB", "noise-to-mask ratio from -6 to 6 dB"):
        assert part in html


def test_the_other_norm_of_the_shown_protocol_has_sections_of_its_own(tmp_path):
    folder = stored(tmp_path / "sound", [mark_worst(made_up.sound(seed=seed)) for seed in (6, 21)])
    known = gather(folder, "sound-1", db=40, draws=100)
    assert known.attack == "sound-1, 40 dB SNR"
    assert [other.attack for other in known.others] == ["sound-1, noise-to-mask 6 dB"]
    names = [section.name for section in make_page(known).sections]
    assert {"attacked", "attacked-1", "curves"} <= set(names)
    assert "curves-1" not in names
    with pytest.raises(DataError, match="40 dB SNR, 20 dB SNR, noise-to-mask -6 dB, noise-to-mask 6 dB"):
        gather(folder, "sound-1")


def test_the_corruption_error_is_shown_next_to_natural_changes(tmp_path):
    folder = stored(
        tmp_path, [mark_worst(test_curves.run()), test_curves.natural(), test_natural.graded(clips=5)]
    )
    html = render(make_page(gather(folder, "standard-1", 0.1, draws=100)))
    assert "Corruption error: MAE under natural-2" in html
    assert "0.250 (0.250 to 0.250)" in html
    assert "mp3 128 kb/s" in html
