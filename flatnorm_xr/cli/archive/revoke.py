"""flatnorm archive revoke: a certificate is taken back."""

from __future__ import annotations

from typing import Annotated

import typer

from flatnorm_xr.cli.archive import completion
from flatnorm_xr.cli.archive.options import Approver, ArchivePath
from flatnorm_xr.cli.archive.words import cell, short
from flatnorm_xr.cli.console import say

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm archive revoke calib 1 --approver 'M. Curie' --why 'lamp leaned'"


def command(
    archive: ArchivePath,
    number: Annotated[
        int,
        typer.Argument(metavar="NUMBER", help="Of the certificate.", autocompletion=completion.certificates),
    ],
    approver: Approver,
    why: Annotated[str, typer.Option(metavar="TEXT", help="The reason; goes into the records.")],
) -> None:
    """Take a certificate back, as if it had never been.

    What it superseded holds again. The records keep the certificate, and why it was taken back.
    """
    from flatnorm_xr.archive.archive import Archive
    from flatnorm_xr.archive.certificates import interval_words

    found = Archive(archive, create=False).revoke(number, approver=approver, why=why)
    of = f"{short(found.run)} for {cell(f'{found.camera} {found.filter}')}"
    say(f"revoked: certificate {number} of {of}, {interval_words(found.begin, found.end)}")
