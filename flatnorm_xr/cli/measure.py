"""flatnorm measure: FITS files to a NetCDF file of levels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from flatnorm_xr.cli.console import netcdf_name, refuse_existing, say, show_description
from flatnorm_xr.cli.measuring import Measuring, with_measuring
from flatnorm_xr.cli.options import AsJson, Camera, Files, Overwrite, output_option
from flatnorm_xr.errors import FlatnormError

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm measure 'night/*.fits.fz' -o levels.nc"


@with_measuring()
def command(
    files: Files,
    *,
    camera: Camera = None,
    output: Annotated[Path | None, output_option("NetCDF file to write; default: that of --resume.")] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    measuring: Measuring,
) -> None:
    """Measure the level of every amplifier and detector.

    Reads FITS files; writes the levels to a NetCDF file, which flatnorm solve reads. With --resume, what has been
    measured is written to that file about once a minute, and when the command is interrupted: the same command goes on
    from there.
    """
    from flatnorm_xr.archive.netcdf import save

    resume = measuring.resume
    path = output if output is not None else resume
    if path is None:
        msg = "measure: -o says where to write the levels; give it, or --resume"
        raise FlatnormError(msg)
    goes_on = resume is not None and netcdf_name(path) == netcdf_name(resume)
    refuse_existing([netcdf_name(path)], overwrite=overwrite or goes_on, inputs=files)
    with measuring.levels(files, camera=camera) as ds:
        save(ds, path, overwrite=overwrite or goes_on)
    show_description(ds, as_json=as_json, next_step=f"flatnorm solve {path} -o run.nc")
    if not as_json:
        _, _, done = ds.attrs["history"].rpartition("measure: ")
        say(f"levels written to {path}: {done}")
