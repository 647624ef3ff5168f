"""flatnorm archive certificates: which run holds when, and who said so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from flatnorm_xr.cli.archive.options import ArchivePath, CameraOf, FilterOf
from flatnorm_xr.cli.archive.words import cell, day, print_json, records, short
from flatnorm_xr.cli.console import say, show_table
from flatnorm_xr.cli.options import AsJson

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm archive certificates calib --history"

COLUMNS = ("no.", "camera", "filter", "from", "until", "run", "approver", "remarks")


def command(
    archive: ArchivePath,
    camera: CameraOf = None,
    filter: FilterOf = None,
    history: Annotated[
        bool,
        typer.Option("--history", metavar="", help="All that was ever decided, with the intervals as they were given."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List which run holds when, and who said so.

    In order of time for each camera and filter; where a later certificate has superseded a part of an earlier one, that
    is left out. With --history every certificate is listed as it was given, in the order of the decisions.
    """
    from flatnorm_xr.archive.archive import Archive

    table = Archive(archive, create=False).certificates(camera=camera, filter=filter, history=history)
    found = records(table)
    if as_json:
        print_json(found)
    elif found:
        show_table(COLUMNS, [_row(one) for one in found], noun="certificates", asked_for=True)
    else:
        say(f"nothing is certified in {archive}{f' for {camera or filter}' if camera or filter else ''}")


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    remarks = [
        f"REVOKED: {one['revoked']}" if one["revoked"] else "",
        f"waived: {one['waiver']}" if one["waiver"] else "",
        one["comment"],
    ]
    return (
        str(one["number"]),
        cell(one["camera"]),
        cell(one["filter"]),
        _moment(one["begin"]),
        _moment(one["end"]),
        short(one["run"]),
        cell(one["approver"]),
        cell("; ".join(remark for remark in remarks if remark)),
    )


def _moment(time: Any) -> str:
    """Write the day, and the time of day where that is not midnight."""
    rest = str(time)[11:16]
    return day(time) + (f" {rest}" if day(time) and rest not in ("", "00:00") else "")
