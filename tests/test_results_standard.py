"""The page of results states what `thorough-1` finds beyond `standard-1` and `standard-2` on real models."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pandas as pd
import pytest

import tenuto
from tenuto.attacks import protocol
from tenuto.store.rows import read_rows
from tests.test_results_folder import PAGE

FOLDER = Path(__file__).parents[1] / "results" / "standard"
MODELS = {
    "A2E, full width": ("A2E-6-8588ea67", 12),
    "a2e-soundtracks, full width": ("a2e-soundtracks", 2),
    "A2M2E, half width": ("A2M2E-6-960ed76e", 6),
    "A2E, half width": ("A2E-6-d31ab298", 1),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("standard")
    with tarfile.open(FOLDER / "rows.tar.xz") as archive:
        archive.extractall(out, filter="data")
    return out


def missed(tables):
    """What the best of all finds beyond each protocol, in percent, by L-infinity budget."""
    budgets = tenuto.optimality(pd.concat(tables, ignore_index=True)).budgets
    return budgets[budgets["norm"] == "linf"].pivot(index="protocol", columns="epsilon", values="more") * 100


def standard_2(standard, thorough, ddn):
    """The rows of standard-2 from runs of its members; emotions up and down, never the worst, had 6 steps, not 5."""
    is_first = (standard["attack"] == "APGD") & (standard["objective"] == "squared error")
    is_longer = (thorough["attack"] == "APGD") & (thorough["objective"] == "squared error")
    first = thorough[is_longer & (thorough["norm"] == "linf")]
    return pd.concat([first, ddn, standard[~is_first]]).assign(protocol="standard-2")


@pytest.mark.parametrize("name", MODELS)
def test_the_page_states_what_protocols_miss(folder, name):
    model, clips = MODELS[name]
    standard, thorough = (
        read_rows(folder / model / f"{each}.csv").assign(protocol=each)
        for each in ("standard-1", "thorough-1")
    )
    assert standard["clip"].nunique() == thorough["clip"].nunique() == clips
    tables, protocols = [standard, thorough], ["standard-1"]
    if (path := folder / model / "DDN-50.csv").is_file():
        tables, protocols = (
            [*tables, standard_2(standard, thorough, read_rows(path))],
            ["standard-1", "standard-2"],
        )
    for each in protocols:
        cells = " | ".join(f"{value:.1f}" for value in missed(tables).loc[each])
        assert f"| {name} | {clips} | `{each}` | {cells} |" in PAGE


def test_standard_2_has_the_members_that_were_run(folder):
    settings = set(read_rows(folder / "A2M2E-6-960ed76e" / "DDN-50.csv")["settings"])
    settings |= set(read_rows(folder / "A2M2E-6-960ed76e" / "thorough-1.csv")["settings"])
    first, *_, ddn, _, _, _, _ = protocol("standard-2", precision="bfloat16").attacks
    assert {repr(first), repr(ddn)} <= settings
