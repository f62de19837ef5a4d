"""The report in a real browser: nothing is loaded, sounds play, tables sort, a phone and a printer can show it."""

from __future__ import annotations

import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tenuto.files import write_text
from tenuto.reporting.page.gallery import Shown, make_gallery
from tenuto.reporting.page.report import make_page, render
from tenuto.store.rows import mark_worst
from tests.analysis import test_curves
from tests.reporting import made_up, test_clip
from tests.reporting.made_up_report import complete, inputs, stored

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
WIDTHS = (360, 1280)


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium: the one named by TENUTO_CHROMIUM, or the first on the path."""
    reason = "no browser tests: install the extra dev, and Debian's chromium-headless-shell"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    named = os.environ.get("TENUTO_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if named is None:
        pytest.skip(reason)
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=named, args=["--autoplay-policy=no-user-gesture-required"]
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A complete report on disk."""
    folder = tmp_path_factory.mktemp("report")
    return write_text(folder / "report.html", render(make_page(complete(folder / "study")))).as_uri()


@pytest.fixture
def visit(browser, address):
    """A function that opens the report; what the page asks for or complains of fails the test in the end."""
    asked, messages, pages = [], [], []

    def opened(width=1280, unfolded=True, **settings):
        page = browser.new_page(viewport={"width": width, "height": 800}, **settings)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.set_default_timeout(10_000)
        page.goto(address)
        if unfolded:
            page.evaluate(
                "document.querySelectorAll('details').forEach((details) => { details.open = true; })"
            )
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert messages == []
    assert [url for url in asked if not url.startswith("data:")] == [address] * len(pages)


def column(page, name):
    """The sorting values of a column of the table of all runs."""
    return page.evaluate(
        """(name) => {
            const table = document.querySelector("#runs table");
            const place = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === name);
            return [...table.tBodies[0].rows].map((row) => Number(row.cells[place].dataset.sort));
        }""",
        name,
    )


def heading(page, name):
    return page.locator("#runs thead th").filter(has=page.get_by_role("button", name=name, exact=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_picture_is_shown_and_nothing_is_loaded(visit, scheme):
    page = visit(color_scheme=scheme)
    widths = page.evaluate("[...document.images].map((image) => image.complete && image.naturalWidth)")
    assert len(widths) == 9
    assert all(widths)


def test_the_policy_keeps_foreign_scripts_and_pictures_out(browser, address):
    page = browser.new_page()
    page.goto(address)
    refused = page.evaluate(
        """() => new Promise((done) => {
            const seen = [];
            document.addEventListener("securitypolicyviolation", (event) => {
                seen.push(event.effectiveDirective);
                if (seen.length === 2) done(seen);
            });
            const script = document.createElement("script");
            script.textContent = "document.title = 'foreign'";
            document.body.append(script);
            const picture = new Image();
            picture.src = "http://127.0.0.1:9/picture.png";
            document.body.append(picture);
        })"""
    )
    assert sorted(refused) == ["img-src", "script-src-elem"]
    assert page.title() != "foreign"
    page.close()


AUDIO = "document.querySelectorAll('#listen audio')"


def test_switching_sounds_keeps_the_position_and_stops_the_other(visit):
    page = visit()
    assert page.locator("#listen audio:visible").count() == 1
    page.evaluate(f"{AUDIO}[0].play()")
    page.wait_for_function(f"() => {AUDIO}[0].currentTime > 0.3")
    page.get_by_role("radio", name="After the attack").first.check()
    page.wait_for_function(f"() => !{AUDIO}[1].paused && {AUDIO}[1].currentTime > 0.3")
    assert page.evaluate(f"{AUDIO}[0].paused")
    assert page.locator("#listen audio:visible").get_attribute("aria-label") == "Clip 055: after the attack"


def test_a_paused_sound_is_switched_by_key_and_stays_paused(visit):
    page = visit()
    page.evaluate(f"{AUDIO}[0].currentTime = 0.5")
    page.locator("#listen input").first.press("ArrowRight")
    assert page.evaluate(f"[{AUDIO}[1].currentTime, {AUDIO}[1].paused]") == [0.5, True]


def test_another_clip_stops_the_first(visit):
    page = visit()
    page.evaluate(f"{AUDIO}[0].play()")
    page.evaluate("document.querySelector('#gallery audio').play()")
    page.wait_for_function(f"() => {AUDIO}[0].paused")


def test_without_scripts_every_sound_can_be_played(browser, address):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(address)
    assert page.locator("#listen audio:visible").count() == 3
    page.close()


def test_answer_picture_and_player_come_first_and_the_rest_is_folded(visit):
    page = visit(1280, unfolded=False)
    assert page.locator("#listen audio").first.bounding_box()["y"] < 1300
    assert not page.locator("#runs table").is_visible()
    page.get_by_role("link", name="All runs").click()
    page.locator("#runs table").wait_for(state="visible")


def test_the_contents_stay_in_sight(visit):
    page = visit()
    page.evaluate("scrollTo({ top: document.body.scrollHeight, behavior: 'instant' })")
    assert page.locator("nav").bounding_box()["y"] == 0


def test_a_table_sorts_by_click_one_way_and_the_other(visit):
    page = visit()
    values = column(page, "Added")
    assert values != sorted(values)
    heading(page, "Added").get_by_role("button").click()
    assert column(page, "Added") == sorted(values)
    assert heading(page, "Added").get_attribute("aria-sort") == "ascending"
    heading(page, "Added").get_by_role("button").click()
    assert column(page, "Added") == sorted(values, reverse=True)
    assert heading(page, "Added").get_attribute("aria-sort") == "descending"


def test_budgets_sort_by_their_size_and_those_without_one_stand_last(tmp_path, browser):
    ladder = {epsilon: epsilon for epsilon in (0.02, 0.005, 0.1, 0.05, 1e-05, 0.2)}
    rows = mark_worst(test_curves.run(ladder=ladder))
    page_inputs = inputs(stored(tmp_path / "study", [made_up.run(), rows]))
    page = browser.new_page()
    written = write_text(tmp_path / "report.html", render(make_page(page_inputs)))
    page.goto(written.as_uri() + "#runs")
    rising = ["1e-05", "0.005", "0.02", "0.05", "0.1", "0.2", "–"]
    for expected in (rising, [*rising[-2::-1], "–"]):
        heading(page, "Epsilon").get_by_role("button").click()
        assert page.locator("#runs tbody tr td:nth-child(6)").all_inner_texts() == expected
    page.close()


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_a_table_sorts_by_key(visit, key):
    page = visit()
    heading(page, "Seed").get_by_role("button").press(key)
    assert column(page, "Seed") == sorted(column(page, "Seed"))
    assert heading(page, "Seed").get_attribute("aria-sort") == "ascending"
    assert heading(page, "Added").get_attribute("aria-sort") == "none"


def test_words_sort_by_name(visit):
    page = visit()
    heading(page, "System").get_by_role("button").click()
    names = page.locator("#runs tbody tr td:nth-child(2)").all_inner_texts()
    assert names == sorted(names)
    assert len(set(names)) == 2


def test_the_first_key_leads_to_the_content(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.id === 'content'")


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_but_tables_and_clips_is_wider_than_the_screen(visit, width):
    page = visit(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    reach = page.evaluate(
        """() => [...document.querySelectorAll("main *")]
            .filter((element) => !element.closest(".scroll > table, .wide > img"))
            .map((element) => element.getBoundingClientRect().right)"""
    )
    assert max(reach) <= width


def test_pictures_of_clips_keep_their_size_on_a_phone_and_are_moved_by_key(visit):
    page = visit(360)
    picture = page.locator(".wide img").first
    assert picture.bounding_box()["width"] == int(picture.get_attribute("width")) > 800
    box = page.locator(".wide").first
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('.wide').scrollLeft > 0")


@pytest.mark.parametrize(("scheme", "ground"), [("light", 250), ("dark", 24)])
def test_pictures_have_the_ground_of_the_page(visit, scheme, ground):
    page = visit(color_scheme=scheme)
    assert mean_grey(page, "#attacked img") == pytest.approx(ground, abs=30)
    assert mean_grey(page, "#gallery img") == pytest.approx(ground, abs=60)


def mean_grey(page, place):
    """Mean brightness (0-255) of what is shown at a place."""
    content = page.locator(place).first.screenshot()
    return float(np.asarray(Image.open(io.BytesIO(content)).convert("L")).mean())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_table_that_scrolls_has_a_shadow_at_its_edge(visit, scheme):
    page = visit(360, color_scheme=scheme)
    box = page.locator("#runs .scroll")
    edge, middle = columns(page, box)
    assert abs(edge - middle) > 20
    box.evaluate("(box) => { box.scrollLeft = box.scrollWidth; }")
    edge, middle = columns(page, box)
    assert abs(edge - middle) < 8


def columns(page, box):
    """Brightness at the right edge of a box and left of it: the most common value of the column, without text."""
    image = np.asarray(Image.open(io.BytesIO(box.screenshot())).convert("L"))
    return [int(np.bincount(image[:, place]).argmax()) for place in (-2, -40)]


def test_paper_is_light_and_has_neither_contents_nor_sounds(visit):
    page = visit(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(28, 29, 32)"
    assert not page.locator("nav").is_visible()
    assert not page.locator("audio").first.is_visible()
    assert page.locator("#runs table").is_visible()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_gallery_loads_nothing_fits_and_plays(tmp_path, browser, width):
    tone = (3000 * np.sin(np.arange(22050) / 20)).astype(np.int16)
    shown = [
        Shown(test_clip.made_up(system=system, samples_before=tone, samples_after=tone + np.int16(9)), (0, 1))
        for system in ("A2E", "A2M2E")
    ]
    path = tmp_path / "gallery.html"
    path.write_text(render(make_gallery(shown), "gallery"), "utf-8")
    page, asked = browser.new_page(viewport={"width": width, "height": 800}), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("audio").count() == 6
    assert page.locator("audio:visible").count() == 2
    page.get_by_role("radio", name="Difference").first.check()
    page.evaluate("document.querySelectorAll('audio')[2].play()")
    page.wait_for_function("() => document.querySelectorAll('audio')[2].currentTime > 0.1")
    page.close()
