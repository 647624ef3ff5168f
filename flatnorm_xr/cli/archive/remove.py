"""flatnorm archive remove: a run goes to the trash."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from flatnorm_xr.cli.archive.options import ArchivePath, Run
from flatnorm_xr.cli.console import say
from flatnorm_xr.errors import FlatnormError

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm archive remove calib 9c01d2e47a66 --why 'lamp was off'"


def command(
    archive: ArchivePath,
    run: Run,
    why: Annotated[str, typer.Option(metavar="TEXT", help="The reason; goes into the records.")],
    who: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who removes it; default: the name you are logged in with.")
    ] = None,
) -> None:
    """Move a run to the trash, with a reason.

    A run that still holds at some time is not removed: revoke its certificate first, or certify another in its place.
    """
    from flatnorm_xr.archive.archive import Archive

    there = Archive(archive, create=False).remove(run, who=_login() if who is None else who, why=why)
    say(f"moved to {there}; adding that file brings it back")


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError) as error:
        msg = "remove: it is not known who you are; pass --who NAME"
        raise FlatnormError(msg) from error
