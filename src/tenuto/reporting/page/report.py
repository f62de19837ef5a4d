"""A whole study on one page: one HTML file that loads nothing, from what the study left on disk.

Same study, same bytes: the page has no date unless one is given.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tenuto import __version__
from tenuto.analysis import sentences, smc2025
from tenuto.analysis.systems import ordered_systems
from tenuto.evaluation.audit.findings import NOT_EVALUATED, Finding, Verdict, counted, missing_checks
from tenuto.files import write_text
from tenuto.reporting.page import inside as report_inside
from tenuto.reporting.page import sections as report_sections
from tenuto.reporting.page.blocks import Points, Section
from tenuto.reporting.page.inputs import Material

BOTTLENECK = "Does a bottleneck of {} make a music-emotion recogniser harder to mislead?"
HUMAN, SIGNAL = "human concepts", "concepts computed from the audio"
ANY = "How far do the predictions of these systems move when the music hardly does?"

SECTIONS: tuple[Callable[[Material], Section | str], ...] = (
    report_sections.clean,
    report_sections.attacked,
    report_sections.predictions,
    report_sections.statistics,
    report_sections.over_epsilon,
    report_sections.natural,
    report_sections.audited,
    report_inside.concepts,
    report_inside.gain,
    report_inside.gallery,
    report_sections.runs,
)
"""In the order of the page. Each gives a section, or a sentence that says what is missing for it."""

LEVEL = 0.05
"""Of the seed-level test, after Holm."""

INLINE = {"style": "report.css", "script": "report.js"}
"""What stands inside the page: its name in the template and its file."""

COMPUTED = "Computed from the audio as proxies; no listener rated them."
GENERATED = (
    "Music and ratings are generated, no listener rated them: what is found here says nothing about people."
)


@dataclass(frozen=True)
class Page:
    """What the template shows.

    Attributes:
        title: Of the page.
        question: What the study asks.
        answer: Three sentences that its rows support.
        facts: What was measured, as names and values.
        sections: In their order.
        lacks: What is missing, a sentence each; the last section lists them.
        date: Shown as it is; empty for none.
    """

    title: str
    question: str
    answer: tuple[str, str, str]
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    lacks: tuple[str, ...]
    date: str = ""


def page(material: Material, date: str = "") -> Page:
    """Everything a report says. Raises `DataError` where rows contradict each other."""
    made = [section(material) for section in SECTIONS]
    sections = [section for section in made if isinstance(section, Section)]
    lacks = tuple(section for section in made if isinstance(section, str))
    if lacks:
        sections.append(Section("lacking", "Not in this report", (Points(lacks),)))
    return Page(
        title=f"Robustness of music-emotion recognition: {material.name}",
        question=_question(material),
        answer=answer(material),
        facts=facts(material),
        sections=tuple(sections),
        lacks=lacks,
        date=date,
    )


def answer(material: Material) -> tuple[str, str, str]:
    """What the rows say to the question, how sure that is, and whether the figure deserves belief."""
    return _effect(material), _sure(material), _believed(material.findings, material.protocol)


def _question(material: Material) -> str:
    """What the study asks, of the concepts its runs learned."""
    if not _compared(material):
        return ANY
    signal = material.data is not None and material.data.concepts == "signal"
    return BOTTLENECK.format(SIGNAL if signal else HUMAN)


def _compared(material: Material) -> tuple[str, str] | None:
    """A system without concepts and the one with them, as the study pairs them; None where they are not there."""
    there = set(material.rows["system"])
    return next((pair for pair in smc2025.COMPARISONS if set(pair) <= there), None)


def _effect(material: Material) -> str:
    """What the attack does to both measures, as changes."""
    means, pair = sentences.run_means(material.rows), _compared(material)
    return sentences.moved(means) if pair is None else sentences.against(means, *pair)


def _sure(material: Material) -> str:
    """The seed-level test of the two systems that the effect is told of, or that there is none."""
    rows, pairs = material.rows, material.comparison.pairs
    if rows["system"].nunique() == 1:
        return "With one system nothing is compared: another training of it might give other numbers."
    first, second = _compared(material) or sentences.ends(sentences.run_means(rows))
    both = pairs["first"].isin([first, second]) & pairs["second"].isin([first, second])
    tested = pairs[both & (pairs["quantity"] == "added") & pairs["p"].notna()]
    if tested.empty:
        seeds = set(rows.loc[rows["system"] == first, "seed"]) & set(
            rows.loc[rows["system"] == second, "seed"]
        )
        return (
            f"{first} and {second} share {len(seeds)} seed{'s' * (len(seeds) != 1)} on {rows['clip'].nunique()} test "
            "clips, so this cannot be tested across trainings: another training might turn it."
        )
    line = tested.iloc[0]
    found = "differ" if line["p_holm"] < LEVEL else "cannot be told apart"
    return (
        f"With seeds as the unit {line['first']} and {line['second']} {found} in the error that the attack adds: "
        f"difference {line['difference']:z.3f} ({material.comparison.settings.level * 100:g} % interval "
        f"{line['low']:z.3f} to {line['high']:z.3f}), "
        f"p = {line['p_holm']:.2g} after Holm on {line['seeds']} seeds."
    )


def _believed(findings: Sequence[Finding], protocol: str) -> str:
    """What an audit found, or that there was none."""
    if not findings:
        return "These results have not been audited."
    counts = counted(findings)
    failed = [finding.check for finding in findings if finding.verdict is Verdict.FAIL]
    unmade = counts[Verdict.NOT_RECORDED] + len(missing_checks(findings))
    open_ones = f"{counts[Verdict.WARN]} warn and {unmade} were not made"
    if unasked := sum(finding.sentence == NOT_EVALUATED for finding in findings):
        open_ones += f" ({unasked} of them: {NOT_EVALUATED.rstrip('.')})"
    if failed:
        checks = f"{len(failed)} check{'s'[: len(failed) > 1]} ({', '.join(failed)})"
        return (
            f"The audit of {protocol} fails {checks}, {open_ones}: the result should not be trusted as it is."
        )
    return f"The audit of {protocol} fails no check; {counts[Verdict.PASS]} pass, {open_ones}."


def facts(material: Material) -> tuple[tuple[str, str], ...]:
    """What was measured: names and values."""
    rows = material.rows
    seeds = ", ".join(map(str, sorted({int(seed) for seed in rows["seed"]})))
    named = [
        ("Systems", ", ".join(ordered_systems(rows))),
        ("Seeds", seeds),
        ("Test clips", str(rows["clip"].nunique())),
        ("Attack", material.attack),
    ]
    data = material.data
    if data is not None:
        named.append(("Data", data.dataset))
        if data.concepts == "signal":
            named.append(("Concepts", COMPUTED))
        if data.dataset == "synthetic":
            named.append(("Note", GENERATED))
    return tuple(named)


def render(shown: Page) -> str:
    """A page as HTML. Style and script are inline, and nothing but these two, by their digests, may run."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    loader = PackageLoader("tenuto.reporting.page")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    sources = {name: loader.get_source(environment, file)[0] for name, file in INLINE.items()}
    return environment.get_template("report.html").render(
        page=shown,
        version=__version__,
        **{name: Markup(source) for name, source in sources.items()},
        **{f"{name}_hash": _digest(source) for name, source in sources.items()},
    )


def _digest(source: str) -> str:
    """How a Content-Security-Policy names an inline source."""
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode('utf-8')).digest()).decode('ascii')}"


def write(material: Material, out: str | Path, date: str = "") -> Path:
    """Write the report as one HTML file, atomically. Raises `DataError` or `FileError`."""
    return write_text(out, render(page(material, date)))
