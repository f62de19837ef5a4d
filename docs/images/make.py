"""Make every picture and sound of the docs from a finished demo study: `make docs-images`.

`python docs/images/make.py STUDY sound` makes those of docs/sound.md alone. Needs Debian's chromium-headless-shell (or
another browser, named by TENUTO_CHROMIUM), and takes about 15 minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import soundfile
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).resolve().parent
SOUNDS = IMAGES.parent / "sounds"
CLIP, SYSTEM, SEED = "061", "A2M2E", 21


HEARD = {"40-db": ("snr", 40), "masked": ("masked", 0)}
"""Budgets of the sounds: 40 dB below the music, and as loud as the music masks."""


def main(study: Path, only: str = "") -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        data = ("--root", study / "corpus", "--cache", study / "cache")
        names = [f"{system}-{SEED}" for system in ("A2E", SYSTEM, "aA2E")]
        runs = [next((study / "runs").glob(f"{name}-*")) for name in names]
        runs = [Path(shutil.copytree(run, work / "runs" / run.name)) for run in runs]
        if only != "sound":
            pictures(study, runs, work, data)
        sounds(study, runs[1], work)


def pictures(study: Path, runs: list[Path], work: Path, data: tuple[object, ...]) -> None:
    concepts = runs[1]
    tenuto("report", study, *data, "--clips", 1, "--out", work / "report.html")
    screenshots(work / "report.html")
    tenuto("show", concepts, CLIP, *data, "--out", work)
    recording = next((study / "corpus").rglob(f"{CLIP}.*"))
    tenuto("explain", concepts, recording, *data, "--plot", work / "explanation.png")
    for run in runs:
        tenuto("attack", run, "--protocol", "standard-1", *data)
        tenuto("natural", run, *data)
    tenuto("curve", *runs, "--protocol", "standard-1", "--out", work)
    tenuto("intervene", concepts, "--protocol", "standard-1", *data, "--out", work)
    names = {f"{name}.png": name for name in ("curve", "emotions", "explanation", "intervention")}
    for file, name in {f"{CLIP}.png": "show", **names}.items():
        shutil.copyfile(work / file, IMAGES / f"{name}.png")


def sounds(study: Path, run: Path, work: Path) -> None:
    """One recording, attacked at two budgets: pictures, and sounds as FLAC."""
    recording = next((study / "corpus").rglob(f"{CLIP}.*"))
    SOUNDS.mkdir(exist_ok=True)
    for name, (norm, level) in HEARD.items():
        budget = ("--attack", "APGD", "--norm", norm, "--db", level, "--setting", "steps=40")
        tenuto("attack", run, recording, *budget, "--objective", "happy+", "--out", work / name)
        shutil.copyfile(work / name / f"{CLIP}-attack.png", IMAGES / f"attack-{name}.png")
        for state in ("before", "after", "difference"):
            samples, rate = soundfile.read(work / name / f"{CLIP}-attack-{state}.wav", dtype="int16")
            soundfile.write(SOUNDS / f"{name}-{state}.flac", samples, rate, subtype="PCM_16")


def tenuto(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "tenuto", *map(str, words)], check=True)


def screenshots(page: Path) -> None:
    browser = os.environ.get("TENUTO_CHROMIUM") or shutil.which("chromium-headless-shell")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser)
        shown = opened.new_page(viewport={"width": 1100, "height": 1250})
        shown.goto(page.resolve().as_uri())
        shown.screenshot(path=IMAGES / "report-wide.png")
        opened.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
