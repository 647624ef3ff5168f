"""flatnorm archive find: which run holds at a date."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flatnorm_xr.cli.archive.options import ArchivePath, CameraOf, Date, FilterOf
from flatnorm_xr.cli.archive.words import print_json, short, show_facts
from flatnorm_xr.cli.options import AsJson

if TYPE_CHECKING:
    from flatnorm_xr.archive.certificates import Certificate

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm archive find calib --date 2026-11-22 --path"


def command(
    archive: ArchivePath,
    camera: CameraOf = None,
    filter: FilterOf = None,
    date: Date = None,
    path: Annotated[
        bool,
        typer.Option(
            "--path", metavar="", help="Print where its file lies, and nothing else.", rich_help_panel="Output"
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find the run that holds at a date.

    Prints it with its certificate. Camera and filter may be left out where only one is certified. In a shell:
    flatnorm report "$(flatnorm archive find calib --path)" -o flats.html
    """
    from flatnorm_xr.archive.archive import Archive

    found = Archive(archive, create=False).find(camera, filter, date)
    if as_json:
        print_json(asdict(found))
    elif path:
        typer.echo(found.path)
    else:
        _show(found)


def _show(found: Certificate) -> None:
    from flatnorm_xr.archive.certificates import interval_words

    waiver = found.waiver
    facts = {
        "run": short(found.run),
        "camera": found.camera,
        "filter": found.filter,
        "certified": interval_words(found.begin, found.end),
        "by": f"{found.approver} (certificate {found.number}, recorded {found.recorded[:10]})",
        "although": "; ".join(found.failures),
        "waived": "" if waiver is None else f"by {waiver.who} on {waiver.when}: {waiver.why}",
        "comment": found.comment,
    }
    show_facts({**facts, "path": found.path})
