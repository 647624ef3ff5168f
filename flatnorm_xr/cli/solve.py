"""flatnorm solve: levels, from NetCDF or a table, to a solution."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flatnorm_xr.cli.console import netcdf_name, refuse_existing, say, show_description, state
from flatnorm_xr.cli.options import AsJson, Overwrite, open_levels, output_option
from flatnorm_xr.cli.rejected import show_rejections
from flatnorm_xr.cli.solving import Solving, with_solving
from flatnorm_xr.progress import waiting

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm solve levels.nc -o run.nc --weights variance --robust tukey"


@with_solving()
def command(
    stats: Annotated[Path, typer.Argument(metavar="STATS", help="Levels: .nc, .csv, .ecsv or .parquet.")],
    *,
    units: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Units of a table's levels: adu or electron.", rich_help_panel="Input"),
    ] = None,
    output: Annotated[Path, output_option("NetCDF file to write.")],
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    solving: Solving,
) -> None:
    """Find E, G and the scales from measured levels.

    Reads the levels from a NetCDF file or a table; writes the solution, which holds them too, to a NetCDF file.
    """
    from flatnorm_xr.archive.netcdf import save
    from flatnorm_xr.decompose.solve import solve

    refuse_existing([netcdf_name(output)], overwrite=overwrite, inputs=[stats])
    ds = open_levels(stats, units=units)
    with waiting("solve", wanted=not state.quiet):
        solution = solve(ds, **solving.keywords(ds))
    save(solution, output, overwrite=overwrite)
    show_description(solution, as_json=as_json, next_step=f"flatnorm diagnose {output}")
    if not as_json:
        show_rejections(solution)
        say(f"solution written to {output}")
