"""flatnorm report: a solution, or a trend, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flatnorm_xr.cli.console import refuse_existing, say, state
from flatnorm_xr.cli.options import Overwrite, open_levels, output_option
from flatnorm_xr.progress import waiting

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm report run.nc -o run.html"


def command(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Solution: .nc or .ecsv; or what flatnorm archive trend wrote.")
    ],
    output: Annotated[Path, output_option("HTML file to write.")],
    diagnosis: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="What flatnorm diagnose wrote for this solution; made when not given.",
            rich_help_panel="Input",
        ),
    ] = None,
    trend: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="What flatnorm archive trend wrote of its camera; shown below the solution.",
            rich_help_panel="Input",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write all there is to see of a solution into one HTML file.

    Reads a solution, or a trend; writes its verdict, pictures, tables and provenance. The file needs no network: it can
    be mailed, kept beside the solution, or opened years later.
    """
    from flatnorm_xr.show.report import report

    refuse_existing(
        [output], overwrite=overwrite, inputs=[run, *(path for path in (diagnosis, trend) if path is not None)]
    )
    solution = open_levels(run)
    found, years = (None if path is None else open_levels(path) for path in (diagnosis, trend))
    with waiting("report", wanted=not state.quiet):
        report(solution, output, diagnosis=found, trend=years, overwrite=overwrite)
    say(f"report written to {output}")
