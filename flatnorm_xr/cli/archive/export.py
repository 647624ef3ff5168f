"""flatnorm archive export: a run leaves an archive as a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flatnorm_xr.cli.archive.options import ArchivePath, Run
from flatnorm_xr.cli.archive.words import short
from flatnorm_xr.cli.console import refuse_existing, say
from flatnorm_xr.cli.options import Overwrite, output_option

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm archive export calib 3f2a91c05b7e -o flats.nc"

Format = Literal["csv", "ecsv", "lsst"]


def command(
    archive: ArchivePath,
    run: Run,
    output: Annotated[Path, output_option("File to write: .nc for the run itself, or what --to says.")],
    to: Annotated[Format | None, typer.Option(help="Format; default: that of the output.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a run to a file: as it is, a table, or Rubin's scales.

    Where the output ends in .nc it is the very file of the archive, once its checksum is right.
    """
    from flatnorm_xr.archive.archive import Archive

    refuse_existing([output], overwrite=overwrite)
    Archive(archive, create=False).export(run, output, to=to, overwrite=overwrite)
    say(f"run {short(run)} written to {output}")
