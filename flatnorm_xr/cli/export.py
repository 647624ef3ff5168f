"""flatnorm export: a solution as a long table, or its scales for Rubin's combine; and such files as NetCDF."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flatnorm_xr.cli.console import refuse_existing, say
from flatnorm_xr.cli.options import Overwrite, open_levels, output_option

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm export run.nc --to ecsv"


Format = Literal["csv", "ecsv", "lsst", "nc"]


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Levels or a solution: .nc, .ecsv, .csv, .yaml.")],
    to: Annotated[Format | None, typer.Option(help="Format; default: that of the output, or csv.")] = None,
    output: Annotated[Path | None, output_option("File to write; default: beside RUN.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a table for other programs, or scales for Rubin's.

    Reads levels or a solution; writes a long table, one row a cell, or the scales as YAML for Rubin's combine (lsst).
    With nc it is the way back: from such a table or such scales to NetCDF.
    """
    from flatnorm_xr.archive.export import export

    target = output or run.with_suffix(".yaml" if to == "lsst" else f".{to or 'csv'}")
    refuse_existing([target], overwrite=overwrite, inputs=[run])
    export(open_levels(run), target, to=to, overwrite=overwrite)
    kinds = {"lsst": "scales", ".yaml": "scales", ".yml": "scales", "nc": "NetCDF", ".nc": "NetCDF"}
    say(f"{kinds.get(to or target.suffix, 'table')} written to {target}")
