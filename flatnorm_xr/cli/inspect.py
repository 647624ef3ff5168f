"""flatnorm inspect: what each file is taken for, and by which rule."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import TYPE_CHECKING

import typer

from flatnorm_xr.cli.console import say, show_table, show_values, state
from flatnorm_xr.cli.options import AsJson, Camera, Files
from flatnorm_xr.errors import offenders

if TYPE_CHECKING:
    from flatnorm_xr.camera.inspect import Inspection

__all__ = ["EXAMPLE", "command", "show"]

EXAMPLE = "Example: flatnorm inspect 'night/*.fits.fz'"

MOST_REMARKS = 20
"""Notes that are shown."""


def command(files: Files, camera: Camera = None, as_json: AsJson = False) -> None:
    """Say what each file is taken for, and by which rule.

    Reads the headers alone; writes nothing. What is missing or suspicious is listed below the files.
    """
    from flatnorm_xr.camera.inspect import inspect as inspect_files

    records = inspect_files(files, camera=camera, progress=not state.quiet)
    if as_json:
        typer.echo(json.dumps([record.to_dict() for record in records], indent=2))
    else:
        show(records)


def show(records: Sequence[Inspection], *, most: int | None = None) -> None:
    """Show one line a file, or what files have in common if there are more than ``most``; then what deserves a look.

    Parameters
    ----------
    records : sequence of Inspection
        Of all files.
    most : int, optional
        Files up to which each has a line; no limit when not given.
    """
    if most is None or len(records) <= most:
        folder = _common_folder(records)
        if folder:
            say(f"  in {folder}:")
        show_table(
            ("file", "camera", "exposure", "detectors", "amplifiers", "filter", "type", "seconds", "time (UTC)"),
            [_row(record, folder) for record in records],
            noun="files",
        )
    else:
        show_values(_in_common(records), as_json=False)
    _show_remarks(records)


def _show_remarks(records: Sequence[Inspection]) -> None:
    rules: dict[tuple[str, str], list[str]] = {}
    for record in records:
        if record.rule:
            rules.setdefault((record.camera, re.sub(r" = '.*?'", "", record.rule)), []).append(record.rule)
    for (camera, without_values), found in rules.items():
        rule = found[0] if len(set(found)) == 1 else without_values
        say(f"  {len(found)} file{'s' if len(found) > 1 else ''} taken for {camera} because {rule}")
    remarks: dict[str, list[str]] = {}
    for record in records:
        for remark in (*record.remarks, *([record.error] if record.error else [])):
            remarks.setdefault(remark, []).append(record.path)
    for remark, paths in list(remarks.items())[:MOST_REMARKS]:
        say(f"  note: {remark}" + (f" [{len(paths)} files]" if len(paths) > 1 else f" [{paths[0]}]"))
    if len(remarks) > MOST_REMARKS:
        say(f"  and {len(remarks) - MOST_REMARKS} notes more: flatnorm inspect --json FILES")


def _in_common(records: Sequence[Inspection]) -> dict[str, str]:
    """Numbers of what many files hold."""
    exposures = {record.exposure.id: record.exposure for record in records if record.exposure is not None}
    detectors: dict[int | str, set[str]] = {}
    for record in records:
        for detector in record.detectors:
            detectors.setdefault(detector.id, set()).update(amplifier.name for amplifier in detector.amplifiers)
    times = sorted(exposure.time for exposure in exposures.values() if exposure.time is not None)
    unreadable = sum(record.exposure is None for record in records)
    amplifiers = sum(map(len, detectors.values()))
    found = {
        "files": f"{len(records)}" + (f", {unreadable} of them cannot be measured" if unreadable else ""),
        "cameras": _tally(record.camera or "?" for record in records),
        "exposures": str(len(exposures)),
        "filters": _tally(exposure.physical_filter or "-" for exposure in exposures.values()),
        "types": _tally(exposure.observation_type or "-" for exposure in exposures.values()),
        "detectors": f"{len(detectors)}, {amplifiers} amplifiers in all" if amplifiers else str(len(detectors)),
        "times": f"{str(times[0])[:19]} to {str(times[-1])[:19]} UTC" if times else "-",
    }
    return {name: text for name, text in found.items() if text}


def _tally(words: Iterable[str]) -> str:
    """Each word, and of how many when there are several."""
    counted = Counter(words)
    return offenders(counted if len(counted) == 1 else [f"{word} ({n})" for word, n in counted.most_common()])


def _common_folder(records: Sequence[Inspection]) -> str:
    """Folder that all files lie in; empty where there is none, or nothing is gained by naming it."""
    folders = {os.path.dirname(record.path) for record in records}
    return folders.pop() if len(folders) == 1 else ""


def _row(record: Inspection, folder: str) -> tuple[str, ...]:
    exposure = record.exposure
    name = os.path.basename(record.path) if folder else record.path
    if exposure is None:
        return (name, record.camera or "?", *["-"] * 7)
    detectors = [
        str(label) for label in sorted((d.id for d in record.detectors), key=lambda i: (isinstance(i, str), i))
    ]
    shown = ",".join(detectors) if len(detectors) <= 3 else f"{detectors[0]}..{detectors[-1]} ({len(detectors)})"
    amplifiers = sum(len(detector.amplifiers) for detector in record.detectors)
    time = "-" if exposure.time is None else str(exposure.time)[:19]
    return (
        name,
        record.camera,
        str(exposure.id),
        shown or "-",
        str(amplifiers),
        exposure.physical_filter or "-",
        exposure.observation_type or "-",
        f"{exposure.exposure_time:g}" if isfinite(exposure.exposure_time) else "-",
        time,
    )
