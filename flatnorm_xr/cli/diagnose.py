"""flatnorm diagnose: whether background = G E, and what it is if not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flatnorm_xr.cli.console import netcdf_name, refuse_existing, say, screen_width, state
from flatnorm_xr.cli.options import AsJson, Overwrite, open_levels, output_option
from flatnorm_xr.cli.rejected import show_rejections
from flatnorm_xr.progress import waiting

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm diagnose run.nc"


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Solution: .nc or .ecsv.")],
    output: Annotated[Path | None, output_option("NetCDF file for the diagnosis.")] = None,
    alpha: Annotated[float, typer.Option(help="Odds of a verdict against a model that holds.")] = 0.01,
    permutations: Annotated[int, typer.Option(help="Of the test for patterns shared by units.")] = 999,
    seed: Annotated[int, typer.Option(help="Of the permutations.")] = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Say whether the levels are G times E, and what they are if not.

    Reads a solution; writes the diagnosis only where it is asked to. The exit status is 0 whatever the verdict.
    """
    from flatnorm_xr.archive.netcdf import save
    from flatnorm_xr.decompose.structure import describe, diagnose

    if output is not None:
        refuse_existing([netcdf_name(output)], overwrite=overwrite, inputs=[run])
    solution = open_levels(run)
    with waiting("diagnose", wanted=not state.quiet):
        diagnosis = diagnose(solution, alpha=alpha, permutations=permutations, seed=seed)
    if output is not None:
        save(diagnosis, output, overwrite=overwrite)
    if as_json:
        typer.echo(json.dumps(_values(diagnosis, solution), indent=2, default=str))
        return
    typer.echo(describe(diagnosis, width=screen_width()))
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
        from flatnorm_xr.decompose.robust.rejections import rejections

        values["rejections"] = json.loads(rejections(solution).to_json(orient="records"))
    return values
