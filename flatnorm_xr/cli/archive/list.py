"""flatnorm archive list: the runs of an archive, in order of time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flatnorm_xr.cli.archive.options import ArchivePath, CameraOf, FilterOf, Since, Until
from flatnorm_xr.cli.archive.words import cell, day, print_json, records, short
from flatnorm_xr.cli.console import say, show_table
from flatnorm_xr.cli.options import AsJson

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm archive list calib --since 2026-01-01"

COLUMNS = ("run", "camera", "filter", "from", "exposures", "units", "lost", "residual", "certified")


def command(
    archive: ArchivePath,
    camera: CameraOf = None,
    filter: FilterOf = None,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """List the runs, in order of time.

    One line a run: when it begins (UTC), its exposures, units and how many of them it lost, the rms of its residuals in
    per cent, and the filters for which it is certified.
    """
    from flatnorm_xr.archive.archive import Archive

    found = records(Archive(archive, create=False).list(camera=camera, filter=filter, since=since, until=until))
    if as_json:
        print_json(found)
        return
    if not found:
        say(f"no runs in {archive}{' that are asked for' if camera or filter or since or until else ''}")
        return
    show_table(COLUMNS, [_row(run) for run in found], noun="runs", asked_for=True)


def _row(run: Mapping[str, Any]) -> tuple[str, ...]:
    residual = run["rms_residual"]
    known = residual is not None and residual == residual
    alone = run["certified"] == run["filter"] != ""
    return (
        short(run["run"]),
        cell(run["camera"]),
        cell(run["filter"]),
        day(run["begin"]),
        str(run["exposures"]),
        str(run["units"]),
        str(run["lost_units"]),
        f"{100 * residual:.3f} %" if known else "",
        "yes" if alone else cell(run["certified"]),
    )
