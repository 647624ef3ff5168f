"""Options that several commands have, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
import xarray as xr

from flatnorm_xr.errors import ReadError

__all__ = [
    "AsJson",
    "Border",
    "Camera",
    "Checksum",
    "Clip",
    "EdgeStrips",
    "Files",
    "MaskOption",
    "Overwrite",
    "Saturation",
    "StatisticOption",
    "Strict",
    "open_levels",
]


Statistic = Literal["meanclip", "median", "mean"]

Files = Annotated[list[str], typer.Argument(metavar="FILES...", help="FITS files (.fits, .gz, .fz) or quoted globs.")]
Camera = Annotated[str | None, typer.Option(help="Packaged profile or a YAML file; default: recognised.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

StatisticOption = Annotated[Statistic, typer.Option(help="What the level of an amplifier is.")]
Clip = Annotated[float, typer.Option(help="Clip at this many standard deviations.")]
ClipPasses = Annotated[int, typer.Option("--clip-iterations", help="Clipping passes.")]
BiasOption = Annotated[Path | None, typer.Option(help="Bias image to subtract, FITS.")]
MaskOption = Annotated[Path | None, typer.Option(help="Bad-pixel mask, FITS; non-zero is bad.")]
Saturation = Annotated[float | None, typer.Option(help="Raw adu from which a pixel is saturated.")]
Border = Annotated[int, typer.Option(help="Pixels to leave out along the edges of each detector.")]
EdgeStrips = Annotated[int, typer.Option(help="Width of strips that compare amplifiers at their borders; 0: none.")]
Checksum = Annotated[bool, typer.Option("--checksum", help="Record the sha256 of every file.")]
Strict = Annotated[bool, typer.Option("--strict", help="Fail on a file that cannot be read.")]


def open_levels(path: Path, *, units: str | None = None) -> xr.Dataset:
    """Open a NetCDF file or a long table, by its extension."""
    from flatnorm_xr.archive.netcdf import open as open_netcdf
    from flatnorm_xr.measure.table import read_table

    if path.suffix.lower() in (".nc", ".nc4", ".netcdf"):
        return open_netcdf(path)
    if path.suffix.lower() in (".csv", ".ecsv", ".parquet"):
        return read_table(path, units=units)
    msg = (
        f"{path}: unknown kind of file {path.suffix or 'without extension'!r}; it must be .nc, .csv, .ecsv or .parquet"
    )
    raise ReadError(msg)
