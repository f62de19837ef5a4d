"""The report in a real browser: nothing is loaded, sounds play, tables sort, a phone and a printer can show it."""

from __future__ import annotations

import os
import shutil

import pytest

from tenuto.reporting.page import report
from tenuto.store.rows import mark_worst
from tests.analysis import test_curves
from tests.reporting import made_up
from tests.reporting.made_up_report import complete, material, stored

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
    return report.write(complete(folder / "study"), folder / "report.html").as_uri()


@pytest.fixture
def visit(browser, address):
    """A function that opens the report; what the page asks for or complains of fails the test in the end."""
    asked, said, pages = [], [], []

    def opened(width=1280, **settings):
        page = browser.new_page(viewport={"width": width, "height": 800}, **settings)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.set_default_timeout(10_000)
        page.goto(address)
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert said == []
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
    assert len(widths) == 8
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


def test_a_sound_plays_and_another_one_stops_it(visit):
    page = visit()
    for place in (0, 1):
        page.evaluate("(place) => document.querySelectorAll('audio')[place].play()", place)
        page.wait_for_function(
            "(place) => document.querySelectorAll('audio')[place].currentTime > 0.1", arg=place
        )
    assert page.evaluate("document.querySelectorAll('audio')[0].paused")


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
    found = material(stored(tmp_path / "study", [made_up.run(), rows]))
    page = browser.new_page()
    page.goto(report.write(found, tmp_path / "report.html").as_uri())
    rising = ["1e-05", "0.005", "0.02", "0.05", "0.1", "0.2", "–"]
    for wanted in (rising, [*rising[-2::-1], "–"]):
        heading(page, "Epsilon").get_by_role("button").click()
        assert page.locator("#runs tbody tr td:nth-child(6)").all_inner_texts() == wanted
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
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
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


def test_light_and_dark_have_their_own_ground(visit):
    ground = "getComputedStyle(document.body).backgroundColor"
    assert visit(color_scheme="light").evaluate(ground) == "rgb(251, 250, 247)"
    assert visit(color_scheme="dark").evaluate(ground) == "rgb(22, 24, 27)"


def test_paper_is_light_and_has_neither_contents_nor_sounds(visit):
    page = visit(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(28, 29, 32)"
    assert not page.locator("nav").is_visible()
    assert not page.locator("audio").first.is_visible()
    assert page.locator("#runs table").is_visible()
