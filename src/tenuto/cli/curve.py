"""`tenuto curve`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenuto.cli.common import AsJson, NormName, Unit, notes, print_json, print_paths
from tenuto.cli.options import with_options
from tenuto.cli.screen import print_cells
from tenuto.errors import ConfigError

if TYPE_CHECKING:
    from tenuto.analysis.curves import Curves
    from tenuto.analysis.optimality import Optimality


def curve(
    folders: Annotated[list[Path], typer.Argument(help="Attacked runs, or studies of them.")],
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Name of a protocol with several budgets.", show_default="that of them which most runs have"
        ),
    ] = None,
    to: Annotated[Path, typer.Option("--out", help="Folder for the files.")] = Path("curve"),
    norm: NormName = None,
    unit: Unit = None,
    optimality: Annotated[
        bool, typer.Option("--optimality", help="Also compare every attack with the best of all.")
    ] = False,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="PROTOCOL", help="Further protocols in that comparison.", show_default="none"),
    ] = None,
    certificate: Annotated[
        bool,
        typer.Option(
            "--certificate",
            help="Draw what `tenuto certify` saved instead: attack and certificate of smoothed models.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Draw error over the size of the perturbation, next to the effect of natural variation.

    Sizes of different norms or units are not compared: of a protocol with several norms each gets files of its own,
    such as curve-snr.png, and each unit a folder.

    Example: tenuto curve runs/A2E-6-1a2b3c4d runs/A2M2E-6-5e6f7a8b --out curve

    Example: tenuto curve runs/A2E-6-1a2b3c4d --protocol sound-1 --norm snr

    Example: tenuto curve runs/A2E-6-1a2b3c4d --against thorough-1

    Example: tenuto curve runs/A2E-6-1a2b3c4d --certificate
    """
    if certificate:
        if norm is not None or unit is not None or optimality or against:
            raise ConfigError(
                "`norm`, `unit` and comparisons are of attacks. Leave them out with `certificate`."
            )
        _sandwich(folders, to, as_json)
        return
    from tenuto import api
    from tenuto.analysis import curves as curves_over
    from tenuto.reporting import write_curves, write_optimality
    from tenuto.store.location import complete

    folders = [complete(folder) for folder in folders]
    protocol = protocol or curves_over.default_protocol(folders)
    units = curves_over.units(folders, protocol) if unit is None else [unit]
    printed = []
    for name in units:
        curves = api.curves(folders, protocol, unit=name, norm=norm)
        place = to if len(units) == 1 else to / re.sub(r"\W+", "-", name).strip("-")
        files = write_curves(curves, place)
        compared = None
        if optimality or against:
            compared = api.optimality(folders, [protocol, *(against or [])], norm=norm, unit=name)
            files |= write_optimality(compared, place)
        if as_json:
            values = [_values(one) for one in curves.by_norm]
            if compared is not None:
                tables = {"optimality": compared.attacks, "missed": compared.budgets}
                parts: dict[str, Any] = {key: table.to_dict("records") for key, table in tables.items()}
                values = [one | parts | {"left_out": list(compared.remarks)} for one in values]
            printed += [one | {"files": [str(path) for path in files.values()]} for one in values]
            continue
        _print(curves, compared)
        remarks = [remark for one in curves.by_norm for remark in one.remarks]
        for remark in dict.fromkeys((*remarks, *(compared.remarks if compared is not None else ()))):
            notes.print(remark)
        print_paths(files.values())
        _name_others(place, files.values())
    if as_json:
        print_json(printed[0] if len(printed) == 1 else {"curves": printed})


def _name_others(folder: Path, paths: Iterable[Path]) -> None:
    """Say which files in the folder are of earlier calls: they may be of other runs or another protocol."""
    others = sorted(
        {path.name for path in folder.iterdir() if path.is_file()} - {path.name for path in paths}
    )
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        notes.print(f"{folder}: {', '.join(others[:3])}{more} are not of this call.")


def _sandwich(folders: list[Path], to: Path, as_json: bool) -> None:
    """Table and figure of saved certificates."""
    from tenuto import api
    from tenuto.reporting.certificates import sandwich_table, write_sandwich

    both = api.sandwich(folders)
    files = write_sandwich(both, to)
    if as_json:
        paths = [str(path) for path in files.values()]
        lines = both.table.to_dict("records")
        print_json({"certificates": lines, "remarks": both.remarks, "files": paths})
        return
    table = sandwich_table(both)
    print_cells(table.cells, "Attack and certificate of smoothed models", table.caption)
    for remark in both.remarks:
        notes.print(with_options(remark))
    print_paths(files.values())


def _print(curves: Curves, compared: Optimality | None) -> None:
    """Print the summary of every norm and, where attacks were compared, both tables of that."""
    from tenuto.reporting.curves import curve_table
    from tenuto.reporting.optimality import optimality_tables

    for one in curves.by_norm:
        title = f", {one.axis.title}" if curves.others else ""
        table = curve_table(one)
        print_cells(table.cells, f"{one.protocol}, worst case{title}", table.caption)
    if compared is not None:
        for title, table in zip(("Attacks", "Protocols"), optimality_tables(compared).values(), strict=True):
            print_cells(table.cells, title, table.caption)


def _values(curves: Curves) -> dict[str, Any]:
    """Everything in plain values; a size that is not reached is infinite."""
    names = ("runs", "bands", "summary", "emotions", "natural", "corruption")
    return {
        "protocol": curves.protocol,
        "norm": curves.norm,
        "unit": curves.unit,
        "axis": {"title": curves.axis.title, "in_db": curves.axis.in_db},
        "mean_mae": curves.mean_mae,
        **{name: getattr(curves, name).to_dict("records") for name in names},
        "remarks": list(curves.remarks),
    }
