"""flatnorm diagnose: whether background = G E, and what it is if not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import xarray as xr

from flatnorm_xr.archive.netcdf import save
from flatnorm_xr.cli.console import netcdf_name, refuse_existing, say
from flatnorm_xr.cli.options import AsJson, Overwrite, open_levels
from flatnorm_xr.cli.rejected import show_rejections
from flatnorm_xr.decompose.robust.rejections import rejections
from flatnorm_xr.decompose.structure import describe, diagnose

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm diagnose run.nc"


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Solution: .nc.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="NetCDF file for the diagnosis.")] = None,
    alpha: Annotated[float, typer.Option(help="Odds of a verdict against a model that holds.")] = 0.01,
    permutations: Annotated[int, typer.Option(help="Of the test for patterns shared by units.")] = 999,
    seed: Annotated[int, typer.Option(help="Of the permutations.")] = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Test whether the levels are G times E, and say in words what they are if not.

    The exit status is 0 whatever the verdict.
    """
    if output is not None:
        refuse_existing([netcdf_name(output)], overwrite=overwrite, inputs=[run])
    solution = open_levels(run)
    diagnosis = diagnose(solution, alpha=alpha, permutations=permutations, seed=seed)
    if output is not None:
        save(diagnosis, output, overwrite=overwrite)
    if as_json:
        typer.echo(json.dumps(_values(diagnosis, solution), indent=2, default=str))
        return
    typer.echo(describe(diagnosis))
    show_rejections(solution)
    if output is not None:
        say(f"diagnosis written to {output}")


def _values(diagnosis: xr.Dataset, solution: xr.Dataset) -> dict[str, Any]:
    tests = diagnosis[[name for name, array in diagnosis.data_vars.items() if array.dims == ("test",)]]
    values: dict[str, Any] = {
        "verdict": diagnosis.attrs["verdict"],
        "tests": json.loads(tests.to_dataframe().reset_index().to_json(orient="records")),
    }
    if "rejection" in solution:
        values["rejections"] = json.loads(rejections(solution).to_json(orient="records"))
    return values
