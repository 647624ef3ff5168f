"""flatnorm archive verify: whether every file of an archive is what it was."""

from __future__ import annotations

from typing import Annotated

import typer

from flatnorm_xr.cli.archive.options import ArchivePath
from flatnorm_xr.cli.archive.words import cell, print_json, printed, records
from flatnorm_xr.cli.console import say, state
from flatnorm_xr.cli.options import AsJson

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm archive verify calib"


def command(
    archive: ArchivePath,
    no_quarantine: Annotated[
        bool, typer.Option("--no-quarantine", metavar="", help="Leave damaged runs where they are.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check every file of an archive.

    Reads all runs and records. A run whose bytes are not what they were is moved to quarantine, and the records say so.
    The exit status is 1 when anything is wrong.
    """
    from flatnorm_xr.archive.archive import Archive

    kept = Archive(archive, create=False)
    number = len(kept)
    problems = records(kept.verify(quarantine=not no_quarantine, progress=not state.quiet))
    if as_json:
        print_json([{name: one[name] for name in ("path", "what", "done")} for one in problems])
    else:
        printed(
            f"  {cell(one['path'])}: {cell(one['what'])}{'; ' * bool(one['done'])}{cell(one['done'])}"
            for one in problems
        )
    if problems:
        typer.echo(
            f"flatnorm: {len(problems)} {'thing is' if len(problems) == 1 else 'things are'} wrong in {archive}",
            err=True,
        )
        raise typer.Exit(1)
    if not as_json:
        say(f"all is well: {number} run{'s' * (number != 1)} in {archive}")
