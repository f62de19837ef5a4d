"""Make every picture of the docs from a finished demo study: `make docs-images`, or `python docs/images/make.py STUDY`.

Needs Debian's chromium-headless-shell (or another browser, named by TENUTO_CHROMIUM), and takes about ten minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).resolve().parent
SCREENS = {
    "report-wide": {"viewport": {"width": 1100, "height": 1250}},
    "report-dark": {"viewport": {"width": 1100, "height": 1250}, "color_scheme": "dark"},
    "report-phone": {"viewport": {"width": 390, "height": 1250}},
}
CLIP, SYSTEM, SEED = "061", "A2M2E", 21


def main(study: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        data = ("--root", study / "corpus", "--cache", study / "cache")
        names = [f"{system}-{SEED}" for system in ("A2E", SYSTEM, "aA2E")]
        runs = [next((study / "runs").glob(f"{name}-*")) for name in names]
        runs = [Path(shutil.copytree(run, work / "runs" / run.name)) for run in runs]
        concepts = runs[1]
        tenuto("report", study, *data, "--clips", 1, "--out", work / "report.html")
        screenshots(work / "report.html")
        tenuto("show", concepts, CLIP, *data, "--out", work)
        recording = next((study / "corpus").rglob(f"{CLIP}.*"))
        tenuto("explain", concepts, recording, *data, "--plot", work / "explanation.png")
        for run in runs:
            tenuto("attack", run, "--protocol", "standard-1", *data)
            tenuto("natural", run, *data)
        tenuto("curve", *runs, "--out", work)
        tenuto("intervene", concepts, "--protocol", "standard-1", *data, "--out", work)
        pictures = {f"{name}.png": name for name in ("curve", "emotions", "explanation", "intervention")}
        for file, name in {f"{CLIP}.png": "show", **pictures}.items():
            shutil.copyfile(work / file, IMAGES / f"{name}.png")


def tenuto(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "tenuto", *map(str, words)], check=True)


def screenshots(page: Path) -> None:
    browser = os.environ.get("TENUTO_CHROMIUM") or shutil.which("chromium-headless-shell")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser)
        for name, settings in SCREENS.items():
            shown = opened.new_page(**settings)
            shown.goto(page.resolve().as_uri())
            shown.screenshot(path=IMAGES / f"{name}.png")
        opened.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
