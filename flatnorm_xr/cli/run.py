"""flatnorm run: inspect, measure, solve, save and draw: the whole job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from flatnorm_xr.cli.console import netcdf_name, refuse_existing, state
from flatnorm_xr.cli.inspect import show
from flatnorm_xr.cli.measuring import Measuring, with_measuring
from flatnorm_xr.cli.options import AsJson, Camera, Files, Overwrite, output_option
from flatnorm_xr.cli.outputs import Outputs, refuse_outputs, show_solution, write_levels, write_solution
from flatnorm_xr.cli.solving import Solving, with_solving
from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.progress import waiting

__all__ = ["EXAMPLE", "command"]

MOST_FILES = 20
"""Files up to which each has a line of its own."""

EXAMPLE = "Example: flatnorm run 'night/*.fits.fz' -o calib/20261122"


@with_solving(weights="variance", robust="tukey")
@with_measuring()
def command(
    files: Files,
    *,
    camera: Camera = None,
    output: Annotated[Path, output_option("Folder to write to; made when absent.")],
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    measuring: Measuring,
    solving: Solving,
) -> None:
    """Go all the way from a night's FITS files to E, G and scales.

    Inspects, measures, solves and draws: reads FITS files; writes levels.nc, run.nc (the solution), residual.png and
    report.html, which opens in any browser, into a folder. With --resume, what has been measured is written to that
    file about once a minute, and when the command is interrupted: the same command goes on from there.
    """
    from flatnorm_xr.archive.netcdf import save
    from flatnorm_xr.camera.inspect import inspect as inspect_files
    from flatnorm_xr.decompose.solve import solve

    outputs = Outputs(output)
    refuse_outputs(outputs, overwrite=overwrite)
    if measuring.resume is not None:
        if measuring.resume.resolve() == outputs.levels.resolve():
            msg = f"--resume {measuring.resume} is what this run writes at its end; give a file outside {output}"
            raise FlatnormError(msg)
        refuse_existing([netcdf_name(measuring.resume)], overwrite=True, inputs=files)
    if not as_json:
        show(inspect_files(files, camera=camera, progress=not state.quiet), most=MOST_FILES)
    # levels are kept when the solve fails, but never beside the solution of another night
    replaces = outputs.exist()
    with measuring.levels(files, camera=camera) as ds:
        if measuring.resume is not None:
            save(ds, measuring.resume, overwrite=True)
        if not replaces:
            write_levels(ds, outputs, overwrite=overwrite)
    try:
        with waiting("solve", wanted=not state.quiet):
            solution = solve(ds, **solving.keywords(ds))
    except FlatnormError as error:
        if replaces:
            raise
        msg = f"{error} (the levels are kept: go on with flatnorm solve {outputs.levels})"
        raise FlatnormError(msg) from error
    if replaces:
        write_levels(ds, outputs, overwrite=overwrite)
    write_solution(solution, outputs, overwrite=overwrite)
    show_solution(solution, outputs, as_json=as_json)
