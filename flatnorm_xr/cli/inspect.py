"""flatnorm inspect: what each file is taken for, and by which rule."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Annotated

import typer

from flatnorm_xr.cli.console import for_the_shell, say, screen_width, show_table, show_values, state
from flatnorm_xr.cli.options import AsJson, Camera, Files
from flatnorm_xr.errors import offenders

if TYPE_CHECKING:
    from flatnorm_xr.camera.inspect import Inspection

__all__ = ["EXAMPLE", "command", "show"]

EXAMPLE = "Example: flatnorm inspect 'night/*.fits.fz'"

MOST_REMARKS = 20
"""Notes that are shown."""

_WHICH = re.compile(r" \((detector|HDU) .*\)$")

ROWS_THAT_FIT = 36
"""Amplifiers of a single file up to which they are listed without being asked for."""


Sections = Annotated[
    bool | None,
    typer.Option(
        "--sections/--no-sections",
        help="List the amplifiers with their HDUs and sections; for one file that is done if they fit on a screen.",
        show_default=False,
    ),
]


def command(files: Files, camera: Camera = None, sections: Sections = None, as_json: AsJson = False) -> None:
    """Say what each file is taken for, and by which rule.

    Reads the headers alone; writes nothing. What is missing or suspicious, in a file or beside the others, is listed
    below the files. The exit status is 1 when none of the files can be measured.
    """
    from flatnorm_xr.camera.inspect import inspect as inspect_files

    records = inspect_files(files, camera=camera, progress=not state.quiet)
    if as_json:
        typer.echo(json.dumps([record.to_dict() for record in records], indent=2))
    else:
        show(records)
        if sections is None:
            sections = len(records) == 1 and 0 < sum(len(d.amplifiers) for d in records[0].detectors) <= ROWS_THAT_FIT
        if sections:
            show_sections(records)
    if all(record.error for record in records):
        raise typer.Exit(1)


def show_sections(records: Sequence[Inspection]) -> None:
    """Show where the pixels of every amplifier are; files that are alike share a table."""
    alike: dict[tuple[tuple[str, ...], ...], list[Inspection]] = {}
    for record in records:
        if record.detectors:
            alike.setdefault(tuple(_amplifier_rows(record)), []).append(record)
    for rows, members in alike.items():
        say("")
        of = members[0].path if len(members) == 1 else f"{members[0].path} and {len(members) - 1} more that are alike"
        say(f"  amplifiers of {of}:")
        columns = [i for i in range(len(_SECTION_COLUMNS)) if i < _ALWAYS or {row[i] for row in rows} - {"-"}]
        show_table(
            [_SECTION_COLUMNS[i] for i in columns],
            [[row[i] for i in columns] for row in rows],
            noun="amplifiers",
        )


_SECTION_COLUMNS = (
    *("detector", "amplifier", "HDU", "data", "overscan"),
    *("name", "overscan HDU", "mask HDU", "trimmed image", "gain", "read noise", "saturation", "x, y (mm)"),
)
_ALWAYS = 5
"""Columns that are shown also when all of them are empty."""


def _amplifier_rows(record: Inspection) -> Iterator[tuple[str, ...]]:
    for detector in record.detectors:
        for amplifier in detector.amplifiers:
            place = f"{amplifier.x:.1f}, {amplifier.y:.1f}" if isfinite(amplifier.x) else "-"
            yield (
                str(detector.id),
                amplifier.name or "-",
                str(amplifier.hdu),
                *(_or_dash(section) for section in (amplifier.data, amplifier.overscan)),
                detector.name if detector.name and detector.name != str(detector.id) else "-",
                *(_or_dash(hdu) for hdu in (amplifier.overscan_hdu, amplifier.mask_hdu, amplifier.trimmed)),
                "placeholder" if amplifier.placeholder_gain else _number(amplifier.gain),
                _number(amplifier.read_noise),
                _number(amplifier.saturation),
                place,
            )


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)


def _number(value: float) -> str:
    return f"{value:g}" if isfinite(value) else "-"


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
            ("file", "camera", "exposure", "detectors", "amplifiers", "filter", "type", "seconds", "middle (UTC)"),
            [_row(record, folder) for record in records],
            noun="files",
        )
    else:
        show_values(_in_common(records), as_json=False)
    _show_remarks(records)


def _show_remarks(records: Sequence[Inspection]) -> None:
    from flatnorm_xr.camera.faults import by_text, with_paths

    rules: dict[tuple[str, str], list[str]] = {}
    titles = {record.camera: record.title for record in records}
    for record in records:
        if record.rule:
            rules.setdefault((record.camera, re.sub(r" = '.*?'", "", record.rule)), []).append(record.rule)
    for (camera, without_values), found in rules.items():
        rule = found[0] if len(set(found)) == 1 else without_values
        title = f" ({titles[camera]})" if titles[camera] else ""
        say(f"  {len(found)} file{'s' if len(found) > 1 else ''} taken for {camera}{title} because {rule}")
    errors = by_text((record.error, record.path) for record in records if record.error)
    for error, paths in list(errors.items())[:MOST_REMARKS]:
        _say_note("error", "red", for_the_shell(with_paths(error, paths)))
    remarks = _by_text((remark, record.path) for record in records for remark in record.remarks)
    for remark, paths in list(remarks.items())[:MOST_REMARKS]:
        _say_note("note", "yellow", remark + _where(paths, remark))
    rest = sum(max(len(texts) - MOST_REMARKS, 0) for texts in (errors, remarks))
    if rest:
        say(f"  and {rest} notes more: flatnorm inspect --json FILES")


def _say_note(word: str, colour: str, text: str) -> None:
    """One line in a log; on a terminal, lines that are set in below the first."""
    line = f"  {word}: {text}"
    if sys.stdout.isatty():
        line = textwrap.fill(
            line, screen_width(), subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        )
    say(line.replace(word, typer.style(word, fg=colour), 1))


def _by_text(found: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Paths of each text; texts that differ in the detectors or HDUs alone are one, without these."""
    kinds: dict[str, dict[str, list[str]]] = {}
    for text, path in found:
        kinds.setdefault(_WHICH.sub("", text), {}).setdefault(text, []).append(path)
    return {
        next(iter(texts)) if len(texts) == 1 else kind: [path for paths in texts.values() for path in paths]
        for kind, texts in kinds.items()
    }


def _where(paths: Sequence[str], text: str) -> str:
    if len(paths) > 1:
        return f" [{len(paths)} files]"
    return "" if text.startswith(paths[0]) else f" [{paths[0]}]"


def _in_common(records: Sequence[Inspection]) -> dict[str, str]:
    """Numbers of what many files hold."""
    exposures = {record.exposure.id: record.exposure for record in records if record.exposure is not None}
    detectors: dict[int | str, set[str]] = {}
    for record in records:
        for detector in record.detectors:
            detectors.setdefault(detector.id, set()).update(amplifier.name for amplifier in detector.amplifiers)
    times = sorted(exposure.time for exposure in exposures.values() if exposure.time is not None)
    unreadable = sum(bool(record.error) for record in records)
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
