"""The sections of a report that rows suffice for: each a section, or the sentence that says what is missing for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from tenuto.analysis import natural as natural_changes, sentences, smc2025, words
from tenuto.analysis.curves import Curves
from tenuto.analysis.systems import (
    at_budgets,
    is_paper_data,
    mean_change,
    ordered_systems,
    rating_scale,
    run_metrics,
)
from tenuto.errors import DataError
from tenuto.evaluation.audit.findings import (
    NOT_EVALUATED,
    OBJECT_NOT_EVALUATED,
    SEVERITY,
    Finding,
    Verdict,
    missing_checks,
)
from tenuto.reporting import paper, verdicts
from tenuto.reporting.comparison import comparison_tables
from tenuto.reporting.curves import corruption_table, curve_table
from tenuto.reporting.figures import curves as curve_figures, smc2025 as paper_figures
from tenuto.reporting.page.blocks import Block, Points, Section, Text, picture, points, sortable, table
from tenuto.reporting.page.inputs import PageInputs
from tenuto.reporting.tables import GROUP, Columns, text_cells
from tenuto.store.budgets import norm_of
from tenuto.store.natural import GRADED_PROTOCOL
from tenuto.store.rows import unit_of

RUN_COLUMNS: Columns = {
    "Run": ("folder", ""),
    "System": ("system", ""),
    "Seed": ("seed", ".0f"),
    "Protocol": ("protocol", ""),
    "Norm": ("norm", ""),
    "Epsilon": ("epsilon", ".4g"),
    "dB": ("db", "z.3g"),
    "Unit": ("unit", ""),
    "Clean r": ("clean_corr_avg", "z.3f"),
    "Clean MAE": ("clean_mae", ".3f"),
    "MAE after": ("adversarial_mae", ".3f"),
    "Added": ("added", "+z.3f"),
    "r after": ("adversarial_corr_avg", "z.3f"),
    "Median L2": ("l2", ".3g"),
    "Largest entry": ("linf", ".3g"),
}
"""The table of all runs as text cells."""

NATURAL_COLUMNS: Columns = {
    "Change": ("change", ""),
    "System": ("system", ""),
    "Moves predictions by": ("moved", ".4f"),
    "MAE after it": ("mae", ".3f"),
}
"""The table of natural changes as text cells."""

COMPARED = ("Mean", "Difference", "Pooled t", "Diff.", "Diff.")
"""The column of each table of a comparison without which a line says nothing."""


def clean(inputs: PageInputs) -> Section:
    """Table 1, with the paper's values where the data are the paper's."""
    table1 = paper.table1(inputs.rows, is_paper_data(inputs.data))
    block = table(table1.cells, f"Table 1. {table1.caption}")
    return Section("clean", "Without an attack", (block, *points(inputs.remarks_on("clean"))))


def attacked(inputs: PageInputs) -> Section:
    """Figure 3, and what the rows support in sentences."""
    differences = smc2025.difference(inputs.rows)
    medians = differences.groupby("system")["difference"].median()[ordered_systems(differences)]
    listed = "; ".join(f"{name} {value:+z.3f}" for name, value in medians.items())
    block = picture(
        paper_figures.figure3(differences),
        f"Error that the attack adds to each system, medians over seeds: {listed}.",
        f"Figure 3. MAE after minus MAE before the attack ({inputs.attack}), one value per seed. Attacked predictions "
        f"{words.attacked_pair(inputs.rows)}.",
    )
    summary = list(sentences.summarise(inputs.rows, rating_scale(inputs.rows, inputs.data)))
    if inputs.pair is not None:
        summary.insert(0, sentences.against(sentences.run_means(inputs.rows), *inputs.pair))
    return Section("attacked", "Under attack", (block, Points(tuple(summary))))


def predictions(inputs: PageInputs) -> Section:
    """Figure 4."""
    seed = smc2025.figure4_seed(inputs.rows)
    names, systems = smc2025.figure4_emotions(inputs.rows), smc2025.figure4_systems(inputs.rows, seed)
    rows = inputs.rows[inputs.rows["seed"] == seed]
    changes = "; ".join(
        f"{name} by {mean_change(rows[rows['system'] == name], names):.3f}" for name in systems
    )
    alt = (
        f"Predictions over annotations of {' and '.join(names)}, clean clips as crosses, attacked ones as circles. The "
        f"attack moves these predictions, on average: {changes}."
    )
    caption = (
        f"Figure 4. Predictions over annotations, seed {seed}, one point per test clip; insets: clean points."
    )
    figure = paper_figures.figure4(inputs.rows, seed, names, systems)
    return Section("predictions", "Clip by clip", (picture(figure, alt, caption),))


def statistics(inputs: PageInputs) -> Section:
    """Intervals and tests of the error after the attack and of what the attack adds."""
    blocks: list[Block] = [Text(inputs.comparison.unit)]
    for compared, value in zip(comparison_tables(inputs.comparison).values(), COMPARED, strict=True):
        cells = compared.cells
        chosen = cells[(cells[GROUP] != "clean") & (cells[value] != words.NOTHING)]
        if len(chosen):
            blocks.append(table(chosen, compared.caption, ("Error",)))
    blocks += points(inputs.comparison.remarks)
    return Section("statistics", "Are the differences significant?", tuple(blocks))


def over_epsilon(inputs: PageInputs) -> Section | str:
    """Error and movement over the size of the perturbation, and how far each emotion is pushed; norm by norm."""
    if isinstance(inputs.curves, str):
        return inputs.curves
    blocks: list[Block] = [block for curves in inputs.curves.by_norm for block in _curve_blocks(curves)]
    blocks += points(
        list(dict.fromkeys(remark for curves in inputs.curves.by_norm for remark in curves.remarks))
    )
    return Section("curves", "By size of the attack", tuple(blocks))


def _curve_blocks(measured: Curves) -> list[Block]:
    """Figures and table of the curves of one norm."""
    axis = measured.axis
    rise = "; ".join(
        f"{line['system']} from {line['clean_mae']:.3f} to {line['largest_mae']:.3f} at "
        f"{axis.short(line['largest_epsilon'])}"
        for line in measured.summary.to_dict("records")
    )
    summary = curve_table(measured)
    size = f"{axis.title[0].lower()}{axis.title[1:]}" if axis.in_db else "size of the perturbation"
    blocks: list[Block] = [
        picture(
            curve_figures.curve_figure(measured),
            f"Worst-case error of each system by {size}: {rise}.",
            f"Error (above) and movement of predictions (below) by {size}, {measured.protocol}. Bands are 95 % "
            "bootstrap intervals, rings clean errors.",
        ),
        table(summary.cells, summary.caption, ("Natural",)),
    ]
    if len(measured.emotions):
        ends = measured.emotions[measured.emotions["epsilon"] == measured.emotions["epsilon"].max()]
        reach = ends.groupby(["emotion", "direction"], sort=False)["change"].mean()
        pushed = "; ".join(f"{emotion} {way} {value:+z.2f}" for (emotion, way), value in reach.items())
        blocks.append(
            picture(
                curve_figures.emotion_figure(measured),
                f"How far attacks on one emotion alone move it at the largest budget, mean over systems: {pushed}.",
                "How far each emotion is moved up and down by the attacks on it alone.",
            )
        )
    return blocks


def natural(inputs: PageInputs) -> Section | str:
    """How far predictions move without an attack."""
    remarks = inputs.remarks_on("natural")
    if inputs.natural is None or inputs.natural.empty:
        return (
            f"Natural changes: {' '.join(remarks) or 'not measured.'} Run `tenuto natural RUN --root DATA`."
        )
    is_graded = inputs.natural["protocol"] == GRADED_PROTOCOL
    blocks: list[Block] = []
    if not is_graded.all():
        means = natural_changes.natural_means(natural_changes.summary(inputs.natural[~is_graded]))
        caption = (
            "Mean absolute change of a prediction, and MAE, under natural changes of the music; means over runs. An "
            "attack is informative where it moves predictions further than this."
        )
        blocks.append(table(text_cells(means, NATURAL_COLUMNS), caption, ("System",)))
    if is_graded.any():
        blocks.append(_corruption(inputs.natural[is_graded], inputs.comparison.settings.draws))
    blocks += points(remarks)
    return Section("natural", "Natural changes", tuple(blocks))


def _corruption(rows: pd.DataFrame, draws: int) -> Block:
    """The corruption error of every system, or why there is none."""
    try:
        errors = corruption_table(natural_changes.corruption(rows[rows["split"] == "test"], draws))
    except DataError as error:
        return Text(f"No corruption error: {error}")
    return table(errors.cells, errors.caption)


def audited(inputs: PageInputs) -> Section | str:
    """Verdicts, most severe first, each with its question; checks that were not made with their reason."""
    if not inputs.findings:
        reason = " ".join(inputs.remarks_on("audit"))
        return f"Audit: {reason or 'not made. Run `tenuto audit STUDY`.'}"
    recorded = [finding for finding in inputs.findings if finding.verdict is not Verdict.NOT_RECORDED]
    recorded.sort(key=lambda finding: -SEVERITY.index(finding.verdict))
    cells = verdicts.audit_table(recorded).cells
    cells = cells[["Verdict", "Check", "Question", "Result", "Value", "Threshold"]]
    caption = f"Audit of {inputs.protocol}. {verdicts.CAPTION} docs/audit.md has a page on every check."
    blocks: list[Block] = [
        Text(
            f"{verdicts.summary(inputs.findings)}. A FAIL does not mean that a model is not robust. It means that "
            "this result cannot be trusted as it is."
        ),
        table(cells, caption, ("Check", "Question", "Result"), marked="Verdict"),
        *_not_made(inputs.findings),
    ]
    return Section("audit", "Can the result be trusted?", tuple(blocks))


def _not_made(findings: Sequence[Finding]) -> list[Block]:
    """The checks that were not made, by reason, and the command that makes them."""
    others = [finding for finding in findings if finding.verdict is Verdict.NOT_RECORDED]
    reasons: dict[str, list[str]] = {}
    for finding in others:
        reasons.setdefault(finding.sentence, []).append(finding.check)
    lines = [f"NOT RECORDED, {', '.join(checks)}: {reason}" for reason, checks in reasons.items()]
    if missing_names := missing_checks(findings):
        lines.append(f"Not among the findings: {', '.join(missing_names)}.")
    blocks: list[Block] = [*points(lines)]
    commands = {
        NOT_EVALUATED: "`tenuto audit STUDY --root DATA --out DIR`",
        OBJECT_NOT_EVALUATED: '`run.audit().write("DIR")`',
    }
    for reason, command in commands.items():
        if reason in reasons:
            made_by = f"{command}, which takes minutes"
            blocks.append(Text(f"Make them by {made_by}, and show them with `--audit DIR/audit.json`."))
    return blocks


def runs(inputs: PageInputs) -> Section:
    """Every run under every protocol and budget, sortable."""
    lines = []
    for protocol, rows in inputs.protocols.items():
        for _, part in at_budgets(rows):
            lines += [_run(protocol, own) for _, own in part.groupby("run", sort=True)]
    listed, columns = pd.DataFrame(lines), dict(RUN_COLUMNS)
    units = listed["unit"].unique()
    if len(units) == 1:
        del columns["Unit"]
    if listed["db"].isna().all():
        del columns["dB"]
    unit = words.long_unit(units[0]).removesuffix(" (std)") if len(units) == 1 else "the unit of the line"
    caption = (
        "All runs on test clips; the worst case of each clip where a protocol has several attacks. r: mean correlation "
        f"over emotions. Epsilon, median L2, largest entry: of the change, in {unit}. Norm none: without a budget."
    )
    if "dB" in columns:
        caption += (
            " dB: epsilon in dB, a signal-to-noise ratio (norm snr) or a noise-to-mask ratio (norm masked)."
        )
    return Section("runs", "All runs", (sortable(listed, caption, columns),))


def _run(protocol: str, own: pd.DataFrame) -> dict[str, Any]:
    """One line of the table of all runs; ``own`` are its clips under one attack."""
    line = run_metrics(own).iloc[0]
    norm, epsilon = norm_of(str(own["norm"].iloc[0])), float(own["epsilon"].iloc[0])
    return {
        **line,
        "protocol": protocol,
        "norm": norm.name,
        "epsilon": epsilon,
        "db": norm.value(epsilon) if norm.in_db else math.nan,
        "unit": unit_of(own),
        "added": line["adversarial_mae"] - line["clean_mae"],
        "l2": own["l2"].median(),
        "linf": own["linf"].max(),
    }
