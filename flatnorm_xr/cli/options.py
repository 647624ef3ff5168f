"""Options that several commands have, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flatnorm_xr.errors import ReadError

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "AsJson",
    "Camera",
    "Files",
    "Overwrite",
    "coordinates",
    "open_levels",
    "output_option",
]


_READ = "Input"
_WRITTEN = "Output"


def _cameras(given: str) -> list[str]:
    """Names of camera profiles, for the shell to complete."""
    from flatnorm_xr.camera.profiles import packaged_profiles

    return [name for name in packaged_profiles() if name.startswith(given)]


def coordinates(given: str) -> list[str]:
    """Names of coordinates by which exposures can be told apart, for the shell to complete."""
    from flatnorm_xr.model.schema import COORDINATES

    rows = [row for row in COORDINATES.values() if row.dims == "exposure" and row.stage == "measure"]
    return [row.name for row in rows if row.name.startswith(given) and row.name not in ("exposure", "time")]


Files = Annotated[
    list[str],
    typer.Argument(metavar="FILES", help="FITS files (.fits, .gz, .fz) or quoted globs."),
]
Camera = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Packaged profile or a YAML file; default: recognised.",
        autocompletion=_cameras,
        rich_help_panel=_READ,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", metavar="", help="Replace files that exist.", rich_help_panel=_WRITTEN)
]
AsJson = Annotated[
    bool, typer.Option("--json", metavar="", help="Print JSON instead of text.", rich_help_panel=_WRITTEN)
]


def output_option(help: str) -> Any:
    """Option -o of a command."""
    return typer.Option("-o", "--output", metavar="PATH", help=help, rich_help_panel=_WRITTEN)


def open_levels(path: Path, *, units: str | None = None) -> xr.Dataset:
    """Open a NetCDF file, a long table or Rubin's scales, by its extension; a table with E and G is a solution."""
    from flatnorm_xr.archive.netcdf import open as open_netcdf
    from flatnorm_xr.archive.read_solution import read_solution
    from flatnorm_xr.measure.columns import column_names
    from flatnorm_xr.measure.table import read_table

    extension = path.suffix.lower()
    if extension in (".nc", ".nc4", ".netcdf"):
        return open_netcdf(path)
    if extension in (".yaml", ".yml"):
        return read_solution(path, units=units)
    if extension in (".csv", ".ecsv", ".parquet"):
        read = read_solution if {"E", "G"} <= set(column_names(path)) else read_table
        return read(path, units=units)
    given = path.suffix or "without extension"
    msg = f"{path}: unknown kind of file {given!r}; it must be .nc, .csv, .ecsv, .parquet or .yaml"
    raise ReadError(msg)
