"""The sections of a report that rows suffice for: each a section, or the sentence that says what it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tenuto.analysis import curves, sentences, smc2025, words
from tenuto.analysis import natural as baseline
from tenuto.analysis.systems import at_budgets, label_scale, ordered_systems, run_metrics
from tenuto.evaluation.audit.findings import NOT_EVALUATED, SEVERITY, Finding, Verdict
from tenuto.reporting import comparison_tables, curve_tables, tables, verdicts
from tenuto.reporting.figures import curves as curve_figures
from tenuto.reporting.figures import smc2025 as figures
from tenuto.reporting.page.blocks import (
    Block,
    Cell,
    Points,
    Section,
    Table,
    Text,
    picture,
    sortable,
    table,
)
from tenuto.reporting.page.inputs import Material
from tenuto.store.rows import values_of

RUN_COLUMNS = {
    "Clean r": "z.3f",
    "Clean MAE": ".3f",
    "MAE after": ".3f",
    "Added": "+.3f",
    "r after": "z.3f",
    "Median L2": ".3g",
    "Largest entry": ".3g",
}
"""Numbers of the table of all runs, and how they are printed."""


def clean(material: Material) -> Section:
    """Table 1, the print beside it."""
    shown = tables.show_table1(smc2025.table1(material.rows))
    return Section(
        "clean",
        "Without an attack",
        (table(shown, f"Table 1. {tables.caption_table1(material.rows)}"),),
    )


def attacked(material: Material) -> Section:
    """Figure 3, and what the rows say in sentences."""
    differences = smc2025.difference(material.rows)
    medians = differences.groupby("system")["difference"].median()[ordered_systems(differences)]
    said = "; ".join(f"{name} {value:+.3f}" for name, value in medians.items())
    caption = (
        f"Figure 3. MAE after minus MAE before the attack ({material.attack}), one value per seed. Attacked "
        f"predictions {words.attacked_pair(material.rows)}."
    )
    shown = picture(
        figures.figure3(differences),
        f"Error that the attack adds to each system, medians over seeds: {said}.",
        caption,
    )
    listed = sentences.summarise(material.rows, label_scale(material.data))
    return Section("attacked", "Under attack", (shown, Points(tuple(listed))))


def predictions(material: Material) -> Section:
    """Figure 4."""
    seed = smc2025.figure4_seed(material.rows)
    names, systems = smc2025.figure4_emotions(material.rows), smc2025.figure4_systems(material.rows, seed)
    shown = material.rows[(material.rows["seed"] == seed) & material.rows["system"].isin(systems)]
    change = np.abs(values_of(shown, "adversarial", names) - values_of(shown, "clean", names))
    moved = pd.Series(change.mean(axis=1)).groupby(shown["system"].to_numpy()).mean()
    said = "; ".join(f"{name} by {moved[name]:.3f}" for name in systems)
    alt = (
        f"Predictions over annotations of {' and '.join(names)}, clean clips as crosses, attacked ones as circles. The "
        f"attack moves these predictions, on average: {said}."
    )
    caption = f"Figure 4. Predictions over annotations, seed {seed}, a point per test clip; insets: clean ones alone."
    drawn = figures.figure4(material.rows, seed, names, systems)
    return Section("predictions", "Clip by clip", (picture(drawn, alt, caption),))


def statistics(material: Material) -> Section:
    """Intervals and tests of the error after the attack and of what the attack adds."""
    found, words = material.comparison, comparison_tables.captions(material.comparison)
    blocks: list[Block] = [Text(found.unit)]
    for name, cells, empty in (
        ("systems", comparison_tables.show_systems(found), found.systems["mean"].isna()),
        ("pairs", comparison_tables.show_pairs(found), found.pairs["difference"].isna()),
        ("mixed", comparison_tables.show_mixed(found), found.mixed["difference"].isna()),
    ):
        chosen = cells[(cells[tables.GROUP] != "clean") & ~empty]
        if len(chosen):
            blocks.append(table(chosen, words[name], ("Error",)))
    if found.remarks:
        blocks.append(Points(found.remarks))
    return Section("statistics", "How far differences can be believed", tuple(blocks))


def over_epsilon(material: Material) -> Section | str:
    """Error and movement over epsilon, and how far each emotion is pushed."""
    if isinstance(material.curves, str):
        return material.curves
    found = material.curves
    said = "; ".join(
        f"{line['system']} from {line['clean_mae']:.3f} to {line['largest_mae']:.3f} at {line['largest_epsilon']:g}"
        for line in found.summary.to_dict("records")
    )
    blocks: list[Block] = [
        picture(
            curve_figures.curve(found),
            f"Worst-case error of each system rises with epsilon: {said}.",
            f"Error (above) and movement of predictions (below) over the size of the perturbation, {found.protocol}; "
            "bands are 95 % bootstrap intervals, rings clean errors.",
        ),
        table(curve_tables.show(found), curve_tables.caption(found), ("Natural",)),
    ]
    if len(found.emotions):
        ends = found.emotions[found.emotions["epsilon"] == found.emotions["epsilon"].max()]
        reach = ends.groupby(["emotion", "direction"], sort=False)["change"].mean()
        pushed = "; ".join(f"{emotion} {way} {value:+.2f}" for (emotion, way), value in reach.items())
        blocks.append(
            picture(
                curve_figures.emotions(found),
                f"How far attacks on one emotion alone push it at the largest epsilon, mean over systems: {pushed}.",
                "How far each emotion is pushed up and down by the attacks on it alone.",
            )
        )
    if found.remarks:
        blocks.append(Points(found.remarks))
    return Section("curves", "Over the size of the attack", tuple(blocks))


def natural(material: Material) -> Section | str:
    """How far predictions move when nobody attacks."""
    if material.natural is None:
        return "Natural changes: no rows of them; `tenuto natural RUN --root DATA` measures them."
    means = curves.natural_means(baseline.summary(material.natural))
    cells = pd.DataFrame(
        {
            "Change": means["change"],
            "System": means["system"],
            "Moves predictions by": [f"{value:.4f}" for value in means["moved"]],
            "MAE after it": [f"{value:.3f}" for value in means["mae"]],
        },
        dtype=str,
    )
    caption = (
        "Mean absolute change of a prediction, and MAE, when music changes by itself; means over runs. An attack tells "
        "something about a model where it moves predictions further than this."
    )
    return Section("natural", "What music does by itself", (table(cells, caption, ("System",)),))


def audited(material: Material) -> Section | str:
    """Verdicts, most severe first, each with its question; what is not recorded with its reason."""
    if not material.findings:
        told = " ".join(material.remarks.get("audit", ()))
        return f"Audit: {told or 'no findings were given; `tenuto audit STUDY` makes them.'}"
    named = ("Verdict", "Check", "Question", "Result", "Value", "Threshold")
    recorded = [finding for finding in material.findings if finding.verdict is not Verdict.NOT_RECORDED]
    lines = tuple(
        (
            Cell(str(finding.verdict), mark=str(finding.verdict).lower()),
            *(Cell(text) for text in (finding.check, finding.question, finding.sentence)),
            *(Cell(verdicts.number(value)) for value in (finding.value, finding.threshold)),
        )
        for finding in sorted(recorded, key=lambda finding: -SEVERITY.index(finding.verdict))
    )
    words = (True, True, True, True, False, False)
    caption = f"Audit of {material.protocol}. {verdicts.CAPTION} docs/audit.md has a page on every check."
    blocks: list[Block] = [
        Text(
            f"{verdicts.summary(material.findings)}. A FAIL does not say that a model is not robust: it says that "
            "this result cannot be believed as it stands."
        ),
        Table(caption, named, words, lines),
    ]
    return Section("audit", "Does the figure deserve belief?", (*blocks, *_unrecorded(material.findings)))


def _unrecorded(findings: Sequence[Finding]) -> list[Block]:
    """The checks that were not made, by reason, and how a reader has the models asked."""
    others = [finding for finding in findings if finding.verdict is Verdict.NOT_RECORDED]
    reasons = dict.fromkeys(finding.sentence for finding in others)
    said = tuple(
        f"NOT RECORDED, {', '.join(f.check for f in others if f.sentence == reason)}: {reason}"
        for reason in reasons
    )
    mend = (
        "`tenuto audit STUDY --root DATA --out DIR` takes minutes; with `--audit DIR/audit.json` its findings stand "
        "here."
    )
    return [*([Points(said)] if said else []), *([Text(mend)] if NOT_EVALUATED in reasons else [])]


def runs(material: Material) -> Section:
    """Every run under every protocol and budget, sortable."""
    lines = []
    for protocol, rows in material.protocols.items():
        for _, part in at_budgets(rows):
            lines += [_run(protocol, own) for _, own in part.groupby("run", sort=True)]
    patterns = {"Seed": ".0f", "Epsilon": "g", **RUN_COLUMNS}
    caption = (
        "All runs on test clips, each clip's worst case where a protocol has several attacks. r: mean correlation over "
        "emotions. Epsilon, median L2, largest entry: of the change, in deviations of the normalised spectrogram. Norm "
        "none: without a budget."
    )
    return Section("runs", "All runs", (sortable(pd.DataFrame(lines), caption, patterns),))


def _run(protocol: str, own: pd.DataFrame) -> dict[str, Any]:
    """One line of the table of all runs; ``own`` are its clips under one attack."""
    found = run_metrics(own).iloc[0]
    added = found["adversarial_mae"] - found["clean_mae"]
    numbers = (
        *(found["clean_corr_avg"], found["clean_mae"], found["adversarial_mae"], added),
        *(found["adversarial_corr_avg"], own["l2"].median(), own["linf"].max()),
    )
    about = {"Run": found["folder"], "System": found["system"], "Seed": found["seed"]}
    budget = {"Norm": own["norm"].iloc[0], "Epsilon": own["epsilon"].iloc[0]}
    return {**about, "Protocol": protocol, **budget, **dict(zip(RUN_COLUMNS, numbers, strict=True))}
