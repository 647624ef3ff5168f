"""flatnorm measure: FITS files to a NetCDF file of levels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from flatnorm_xr.cli.console import netcdf_name, refuse_existing, say, show_description, state
from flatnorm_xr.cli.options import (
    AsJson,
    BiasOption,
    Border,
    Camera,
    Checksum,
    Clip,
    ClipPasses,
    EdgeStrips,
    Files,
    MaskOption,
    Overwrite,
    Saturation,
    StatisticOption,
    Strict,
    output_option,
)

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm measure 'night/*.fits.fz' -o levels.nc"


def command(
    files: Files,
    *,
    camera: Camera = None,
    strict: Strict = False,
    checksum: Checksum = False,
    output: Annotated[Path, output_option("NetCDF file to write.")],
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    statistic: StatisticOption = "meanclip",
    clip: Clip = 3.0,
    clip_iterations: ClipPasses = 3,
    bias: BiasOption = None,
    mask: MaskOption = None,
    saturation: Saturation = None,
    border: Border = 0,
    edge_strips: EdgeStrips = 0,
) -> None:
    """Measure the level of every amplifier and detector.

    Reads FITS files; writes the levels to a NetCDF file, which flatnorm solve reads.
    """
    from flatnorm_xr.archive.netcdf import save
    from flatnorm_xr.measure.levels import measure

    refuse_existing([netcdf_name(output)], overwrite=overwrite, inputs=files)
    ds = measure(
        files,
        camera=camera,
        statistic=statistic,
        clip=clip,
        iterations=clip_iterations,
        bias=bias,
        mask=mask,
        saturation=saturation,
        border=border,
        edge_strips=edge_strips,
        checksum=checksum,
        strict=strict,
        progress=not state.quiet,
    )
    save(ds, output, overwrite=overwrite)
    show_description(ds, as_json=as_json, next_step=f"flatnorm solve {output} -o run.nc")
    if not as_json:
        say(f"levels written to {output}")
