"""Arguments and options that several commands of an archive have, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flatnorm_xr.cli.archive import completion

__all__ = [
    "Against",
    "Alpha",
    "Approver",
    "ArchivePath",
    "CameraOf",
    "Date",
    "FilterOf",
    "GaugeOption",
    "Run",
    "Since",
    "Until",
    "run_argument",
]

_PANEL = "Which runs"


def run_argument(metavar: str, help: str) -> Any:
    """Argument that names a run."""
    return typer.Argument(metavar=metavar, help=help, autocompletion=completion.runs)


def _chosen(help: str, *names: str, metavar: str, complete: Any = None) -> Any:
    """Option that chooses among runs."""
    return typer.Option(*names, metavar=metavar, help=help, autocompletion=complete, rich_help_panel=_PANEL)


ArchivePath = Annotated[Path, typer.Argument(metavar="ARCHIVE", help="Folder of the archive.")]
Run = Annotated[str, run_argument("RUN", "Name of the run, or its first digits.")]
CameraOf = Annotated[
    str | None, _chosen("Camera, by its name in the archive.", metavar="NAME", complete=completion.cameras)
]
FilterOf = Annotated[
    str | None, _chosen("Filter, by its name in the archive.", metavar="NAME", complete=completion.filters)
]
Since = Annotated[str | None, _chosen("Only runs with exposures from this date on, UTC.", metavar="DATE")]
Until = Annotated[str | None, _chosen("Only runs with exposures before this date, UTC.", metavar="DATE")]
Date = Annotated[
    str | None, _chosen("Day or moment, UTC, such as 2026-11-22; default: now.", "-d", "--date", metavar="DATE")
]
Approver = Annotated[str, typer.Option(metavar="NAME", help="Who says so; goes into the records.")]
Alpha = Annotated[float, typer.Option(metavar="P", help="Chance of any false finding among all units.")]
GaugeOption = Annotated[
    str, typer.Option(metavar="NAME", help="Gauge of all runs: common, or detectors, comma-separated.")
]
Against = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="What the responses may depend on, comma-separated, such as temperature.",
        autocompletion=completion.coordinates_of_runs,
    ),
]
