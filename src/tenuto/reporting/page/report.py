"""A whole study on one page: one HTML file that loads nothing, from the files of the study.

Same study, same bytes: the page has no date unless one is given.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tenuto import __version__
from tenuto.analysis import sentences
from tenuto.analysis.systems import FEWEST_SEEDS, ordered_systems
from tenuto.analysis.words import number
from tenuto.errors import counted, printable
from tenuto.evaluation.audit.findings import (
    NOT_EVALUATED,
    OBJECT_NOT_EVALUATED,
    Finding,
    Verdict,
    count_verdicts,
    missing_checks,
)
from tenuto.reporting.comparison import tested_pairs
from tenuto.reporting.figures import style
from tenuto.reporting.figures.smc2025 import overview
from tenuto.reporting.page import inside, sections
from tenuto.reporting.page.blocks import Picture, Player, Points, Section, picture
from tenuto.reporting.page.inputs import PageInputs

BOTTLENECK = "Does a bottleneck of {} make music-emotion recognition more robust?"
HUMAN = "human concepts"
CONCEPT_WORDS = {
    "signal": "concepts computed from the audio",
    "synthetic": "known concepts",
    "folder": "concepts",
}
"""Source of the concepts, or data set, -> what they are called where no listener is known to have rated them."""
ANY = "How much do small changes of the input change the predictions of these systems?"

MakeSection = Callable[[PageInputs], Section | str]

SECTIONS: tuple[MakeSection, ...] = (
    sections.attacked,
    sections.clean,
    sections.predictions,
    sections.statistics,
    sections.over_epsilon,
    sections.natural,
    sections.audited,
    inside.concepts,
    inside.gain,
    inside.gallery,
    sections.runs,
)
"""In the order of the page. Each returns a section, or a sentence that says what is missing for it."""

OF_ATTACK = (sections.attacked, sections.predictions, sections.statistics)
"""Sections that rows in another unit or norm have of their own."""

OF_PROTOCOL = (sections.over_epsilon, sections.audited)
"""Sections that rows of another protocol or in another unit have of their own: they show all norms."""

SEED_LEVEL = 0.05
"""Of the seed-level test, after Holm."""

COMPUTED = "Computed from the audio as proxies; no listener rated them."
GENERATED = "Music and ratings are generated; no listener rated them. The results say nothing about people."

RIGHT_TO_LEFT = re.compile("R+(?:[^\\w]+R+)*".replace("R", "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]"))
"""Words in Hebrew, Arabic and scripts like these."""

LESS_OR_MORE = {-1: "less", 0: "neither clearly less nor more", 1: "more"}
SHORT_ANSWERS = {-1: "Yes, here", 0: "No clear difference", 1: "No, the opposite here"}


@dataclass(frozen=True)
class Page:
    """What the template shows.

    Attributes:
        title: Of the page.
        question: What the study asks.
        answer: One sentence that its rows support, how certain it is, and whether it can be trusted.
        overview: Every system before and after the attack.
        player: The clip that the attack moves most; None without sound.
        systems: What each system is: name, words, and its colour in all figures.
        facts: What was measured, as names and values.
        sections: In their order.
        lacks: What is missing, a sentence each; the last section lists them.
        date: Shown as it is; empty for none.
    """

    title: str
    question: str
    answer: tuple[str, str, str]
    overview: Picture
    player: Player | None
    systems: tuple[tuple[str, str, str], ...]
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    lacks: tuple[str, ...]
    date: str = ""


def make_page(inputs: PageInputs, date: str = "") -> Page:
    """Everything a report says. Raises `DataError` where rows contradict each other."""
    with style.coloured(_systems([inputs.rows, *inputs.protocols.values()])):
        return _page(inputs, date)


def _systems(tables: Sequence[pd.DataFrame]) -> list[str]:
    return ordered_systems(pd.concat([rows[["system"]] for rows in tables]))


def _page(inputs: PageInputs, date: str) -> Page:
    results = [section(inputs) for section in SECTIONS[:-1]]
    for place in range(1, 1 + len(inputs.others)):
        results += [_of_other(section, place, inputs) for section in _sections_of(inputs, place)]
    results.append(SECTIONS[-1](inputs))
    page_sections = [section for section in results if isinstance(section, Section)]
    lacks = (
        *(f"Run left out: {error}" for error in inputs.remarks_on("runs")),
        *inputs.remarks_on("units"),
        *(section for section in results if isinstance(section, str)),
    )
    if lacks:
        page_sections.append(Section("lacking", "Not in this report", (Points(lacks),)))
    systems = _systems([one.rows for one in (inputs, *inputs.others)])
    return Page(
        title=f"Robustness of music-emotion recognition: {inputs.name}",
        question=_question(inputs),
        answer=answer(inputs),
        overview=_overview(inputs),
        player=inside.listen(inputs),
        systems=tuple(
            (name, style.SYSTEM_WORDS.get(name, "not a system of the paper"), colour)
            for name, colour in style.system_colours(systems).items()
        ),
        facts=facts(inputs),
        sections=tuple(page_sections),
        lacks=lacks,
        date=date,
    )


def _sections_of(inputs: PageInputs, place: int) -> list[MakeSection]:
    """The sections of one of `PageInputs.others`, counted from 1, without those that would repeat an earlier one."""
    every = (inputs, *inputs.others)
    other, earlier = every[place], every[:place]
    has_new_runs = not any(set(other.rows["run"]) <= set(one.rows["run"]) for one in earlier)
    is_new_source = all(other.source != one.source for one in earlier)
    parts = [*OF_ATTACK, *([sections.clean] if has_new_runs else []), *(OF_PROTOCOL if is_new_source else [])]
    return [section for section in SECTIONS if section in parts]


def _of_other(make: MakeSection, place: int, inputs: PageInputs) -> Section | str:
    """A section, or what it lacks, of rows in another unit or norm."""
    other = inputs.others[place - 1]
    about = other.attack
    if make not in OF_ATTACK:
        about = f"Epsilon in {other.unit}" if other.protocol == inputs.protocol else other.protocol
    section = make(other)
    if isinstance(section, str):
        return f"{about}: {section}"
    return dataclasses.replace(section, name=f"{section.name}-{place}", title=f"{about}: {section.title}")


def answer(inputs: PageInputs) -> tuple[str, str, str]:
    """The answer to the question, how certain it is, and whether it can be trusted."""
    return _headline(inputs), _certainty(inputs), _trust(inputs.findings, inputs.protocol)


def _question(inputs: PageInputs) -> str:
    """What the study asks, about the concepts that its runs learned."""
    if inputs.pair is None:
        return ANY
    data = inputs.data
    source = None if data is None else data.concepts or data.dataset
    return BOTTLENECK.format(CONCEPT_WORDS.get(str(source), HUMAN))


def _headline(inputs: PageInputs) -> str:
    """What the attack does, in one sentence; numbers are in the picture below it."""
    effects = sentences.run_means(inputs.rows)
    if inputs.pair is None or effects.of(*inputs.pair).is_zero:
        return sentences.movement(effects if inputs.pair is None else effects.of(*inputs.pair))
    plain, concepts = inputs.pair
    both = effects.of(plain, concepts)
    error = both.by_error.compare(concepts, plain)
    words = (
        f"the attack adds {LESS_OR_MORE[error]} error to {concepts} (with concepts) than to {plain} (without)"
    )
    if both.means["lost"].map(math.isnan).any():
        return f"{SHORT_ANSWERS[error]}: {words}; their correlation is not defined."
    losses = both.by_correlation.compare(concepts, plain)
    joint = "and" if losses == error else "but"
    short = SHORT_ANSWERS[error] if losses == error else "It depends on the measure"
    return f"{short}: {words}, {joint} takes {LESS_OR_MORE[losses]} correlation from it."


def _certainty(inputs: PageInputs) -> str:
    """The seed-level test of the two systems of the headline, or why there is none."""
    rows, pairs = inputs.rows, inputs.comparison.pairs
    if rows["system"].nunique() == 1:
        return "There is one system only, so nothing is compared."
    first, second = inputs.pair or sentences.ends(sentences.run_means(rows))
    both = pairs["first"].isin([first, second]) & pairs["second"].isin([first, second])
    tested = pairs[both & (pairs["quantity"] == "added") & pairs["p"].notna()]
    if tested.empty:
        seeds = set.intersection(*(set(rows.loc[rows["system"] == name, "seed"]) for name in (first, second)))
        why = (
            "That is too little for a test: other trainings could give another answer."
            if len(seeds) < FEWEST_SEEDS
            else "There is no test, since every seed has the same difference."
        )
        return (
            f"{first} and {second} share {counted(len(seeds), 'seed')} on "
            f"{counted(rows['clip'].nunique(), 'test clip')}. {why}"
        )
    line = tested.iloc[0]
    verdict = "differ significantly" if line["p_holm"] < SEED_LEVEL else "do not differ significantly"
    return (
        f"Over {line['seeds']} seeds, {line['first']} and {line['second']} {verdict} in the error that the attack "
        f"adds: difference {line['difference']:z.3f} ({inputs.comparison.settings.level * 100:g} % interval "
        f"{line['low']:z.3f} to {line['high']:z.3f}), p = {line['p_holm']:.2g} (Holm, {tested_pairs(pairs)})."
    )


def _trust(findings: Sequence[Finding], protocol: str) -> str:
    """What an audit found, or that there was none."""
    if not findings:
        return "These results have not been audited."
    counts = count_verdicts(findings)
    failures = [finding.check for finding in findings if finding.verdict is Verdict.FAIL]
    not_made = counts[Verdict.NOT_RECORDED] + len(missing_checks(findings))
    others = f"{counts[Verdict.PASS]} pass, {counts[Verdict.WARN]} warn, {not_made} were not made"
    for reason in (NOT_EVALUATED, OBJECT_NOT_EVALUATED):
        if unasked := sum(finding.sentence == reason for finding in findings):
            others += f" ({unasked} of them: {reason.rstrip('.')})"
    if failures:
        checks = f"{len(failures)} check{'s'[: len(failures) > 1]} ({', '.join(failures)})"
        return f"Do not trust this result as it is: the audit of {protocol} fails {checks}; {others}."
    return f"The audit of {protocol} fails no check; {others}."


def _overview(inputs: PageInputs) -> Picture:
    means = sentences.run_means(inputs.rows).means
    errors, correlations = (
        "; ".join(
            f"{name} from {number(before, form)} to {number(after, form)}"
            for name, before, after in means[columns].itertuples()
        )
        for columns, form in ((["clean_mae", "mae"], ".3f"), (["clean_corr", "corr"], "z.2f"))
    )
    return picture(
        overview(means),
        f"Mean absolute error before and after the attack: {errors}. Correlation with the ratings: {correlations}.",
        f"Every system before and after the attack ({inputs.attack}), means over seeds and test clips.",
    )


def facts(inputs: PageInputs) -> tuple[tuple[str, str], ...]:
    """What was measured: names and values."""
    rows, data = inputs.rows, inputs.data
    texts = [
        ("Seeds", ", ".join(map(str, sorted({int(seed) for seed in rows["seed"]})))),
        ("Test clips", str(rows["clip"].nunique())),
        ("Attack", inputs.attack),
    ]
    if inputs.others:
        attacks = "; ".join(one.attack for one in inputs.others)
        texts.append(("Other attacks", f"{attacks}. Each has sections of its own: they cannot be compared."))
    if data is not None:
        texts.append(("Data", data.dataset))
        if data.concepts == "signal":
            texts.append(("Concepts", COMPUTED))
        if data.dataset == "synthetic":
            texts.append(("Note", GENERATED))
    return tuple(texts)


def render(page: Any, template: str = "report") -> str:
    """A page as HTML. Style and script are inline; only these two, by their digests, may run.

    Args:
        shown: What the template shows, such as a `Page`.
        template: Its name.
    """
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
        finalize=lambda value: value if isinstance(value, Markup) else _isolated(str(value)),
    )
    css, script = (loader.get_source(environment, f"report.{kind}")[0] for kind in ("css", "js"))
    sources = {"style": css + _swatches(), "script": script}
    return environment.get_template(f"{template}.html").render(
        page=page,
        version=__version__,
        **{name: Markup(source) for name, source in sources.items()},
        **{f"{name}_hash": _digest(source) for name, source in sources.items()},
    )


def _isolated(text: str) -> str:
    """Printable text, right-to-left words isolated, so that they do not reorder the numbers next to them."""
    return RIGHT_TO_LEFT.sub("\u2068\\g<0>\u2069", printable(text, exceptions="\n\t"))


def _swatches() -> str:
    """The colours of systems as style, on a light and on a dark page: of ``#d55e00`` the class ``c-d55e00``."""
    colours = (*style.SYSTEM_COLOURS.values(), *style.OTHER_COLOURS)
    light, dark = (
        "".join(f".c-{colour[1:]} {{ background: {theme.get(colour, colour)}; }}\n" for colour in colours)
        for theme in (dict[str, str](), style.DARK_COLOURS)
    )
    return f"{light}@media screen and (prefers-color-scheme: dark) {{\n{dark}}}\n"


def _digest(source: str) -> str:
    """How a Content-Security-Policy names an inline source."""
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode('utf-8')).digest()).decode('ascii')}"
