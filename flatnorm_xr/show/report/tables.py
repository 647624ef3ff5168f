"""The tables of a report: detectors, units, exposures, what was left out or lost, tests, files, provenance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flatnorm_xr.flags import SENTENCES, Flag
from flatnorm_xr.show.report.facts import Facts
from flatnorm_xr.show.report.words import number, per_cent
from flatnorm_xr.show.texts import shown

__all__ = ["Row", "Table", "TableCell", "all_tables"]

MOST_ROWS = 600
"""Rows of tables that say what was left out; more are counted and not listed."""


@dataclass(frozen=True)
class TableCell:
    """What stands in a cell, and where it leads to."""

    text: str
    link: str = ""


@dataclass(frozen=True)
class Row:
    """One row; ``anchor`` is its id on the page, ``detector`` the place of the detector it speaks of."""

    cells: Sequence[TableCell | str]
    anchor: str = ""
    detector: int | None = None


@dataclass(frozen=True)
class Column:
    """The head of a column: its words, its units, and what it holds: numbers, texts of a few words, or longer ones."""

    name: str
    units: str = ""
    help: str = ""
    kind: Literal["n", "t", "w"] = "n"


@dataclass(frozen=True)
class Table:
    """A table with its name, its caption, and how many rows were not listed."""

    name: str
    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row] = field(default_factory=list)
    omitted: int = 0


def all_tables(facts: Facts) -> dict[str, Table]:
    """Make every table that has something to say, by name, in the order of the page."""
    tables = [
        _detectors(facts) if facts.by_amplifier else None,
        _units(facts),
        _exposures(facts),
        _rejections(facts),
        _holes(facts),
        _files(facts),
        _tests(facts),
    ]
    return {table.name: table for table in tables if table is not None and table.rows}


def _detectors(facts: Facts) -> Table:
    columns = [
        Column("detector", kind="t"),
        *_detector_names(facts)[0],
        Column("amplifiers", help="usable of all"),
        *(
            Column(f"mean G{group}", help="geometric mean of G over the amplifiers")
            for group in [f", {group}" for group in facts.groups] or [""]
        ),
        Column("spread", "%", "largest over smallest G of its amplifiers, less 1; of groups the largest"),
        Column("rms residual", "%"),
        Column("unused cells", help="without weight in the fit"),
        Column("flags", kind="w"),
    ]
    rows = []
    names = _detector_names(facts)[1]
    for d, label in enumerate(facts.detectors):
        units = slice(facts.rows.starts[d], facts.rows.starts[d + 1])
        G = facts.G[units]
        usable = np.isfinite(G).any(axis=1)
        weight, rms = facts.weight[units], facts.unit_rms[units]
        total = weight.sum(axis=1)
        pooled = np.sqrt(np.nansum(total * rms**2) / total.sum()) if total.sum() > 0 else np.nan
        rows.append(
            Row(
                [
                    label,
                    *(column[d] for column in names),
                    f"{usable.sum()} of {usable.size}",
                    *(number(mean, 7) for mean in facts.detector_G[d]),
                    per_cent(_spread(G)),
                    per_cent(pooled),
                    str(int(facts.unused[units].sum())),
                    _flags(facts.quality[units]),
                ],
                anchor=f"detector-{d}",
                detector=d,
            )
        )
    caption = "One row a detector. A click on the focal plane leads here."
    return Table("detectors", "Detectors", caption, columns, rows)


def _spread(G: NDArray[np.float64]) -> float:
    """Largest over smallest G of the amplifiers of a detector, less 1; of groups the largest. NaN for one amplifier."""
    known = [column[np.isfinite(column)] for column in G.T]
    return max((float(some.max() / some.min() - 1) for some in known if some.size > 1), default=np.nan)


def _detector_names(facts: Facts) -> tuple[list[Column], list[list[str]]]:
    """Columns of the detectors' names and types, where the solution has them and they say more than the labels."""
    columns, values = [], []
    for name, head in (("detector_name", "name"), ("detector_type", "type")):
        if name in facts.solution.coords and facts.solution[name].dims == ("detector",):
            texts = [shown(text, longest=60) for text in facts.solution[name].values[facts.rows_of_detectors]]
            if any(texts) and texts != facts.detectors:
                columns.append(Column(head, kind="t"))
                values.append(texts)
    return columns, values


def _units(facts: Facts) -> Table:
    names = [] if facts.by_amplifier else _detector_names(facts)[0]
    texts = [] if facts.by_amplifier else _detector_names(facts)[1]
    groups = facts.groups or [""]
    columns = [
        Column("detector", kind="t"),
        *([Column("amplifier", kind="t")] if facts.by_amplifier else names),
        *(column for group in groups for column in _G_columns(facts, group)),
        Column("rms residual", "%"),
        Column("largest residual", "%", "of the cells in the fit, with its sign"),
        Column("used", help="exposures in the fit, of all"),
        Column("flags", kind="w"),
    ]
    used = facts.weight > 0
    largest = np.where(used, np.nan_to_num(facts.residual), 0.0)
    place = np.abs(largest).argmax(axis=1)
    rows = []
    for i in range(len(facts.units)):
        d = int(facts.detector[i])
        rows.append(
            Row(
                [
                    facts.detectors[d],
                    *(
                        [shown(facts.amplifiers[i], longest=60)]
                        if facts.by_amplifier
                        else [column[d] for column in texts]
                    ),
                    *(text for k in range(len(groups)) for text in _G_texts(facts, i, k)),
                    per_cent(facts.unit_rms[i]),
                    per_cent(largest[i, place[i]]) if used[i].any() else "",
                    f"{int(used[i].sum())} of {used.shape[1]}",
                    _flags(facts.quality[i]),
                ],
                anchor=f"unit-{i}" if facts.by_amplifier else f"detector-{d}",
                detector=d,
            )
        )
    title = "Amplifiers" if facts.by_amplifier else "Detectors"
    caption = "Relative response G of each, in the gauge of the solution, and what the fit leaves of it."
    return Table("units", title, caption, columns, rows)


def _G_columns(facts: Facts, group: str) -> list[Column]:
    of = f", {group}" if group else ""
    if facts.G_stderr is None:
        return [Column(f"G{of}")]
    return [Column(f"G{of}"), Column(f"error{of}", "%", "standard error of G, relative")]


def _G_texts(facts: Facts, unit: int, group: int) -> list[str]:
    G = facts.G[unit, group]
    if facts.G_stderr is None:
        return [number(G, 7)]
    return [number(G, 7), per_cent(facts.G_stderr[unit, group] / G, 2)]


def _flags(quality: Any) -> str:
    """Words of the flags that are set, and in how many cells; padding is no flag."""
    value = int(np.bitwise_or.reduce(quality, axis=None)) if quality.size else 0
    flags = [flag for flag in Flag if value & flag and flag is not Flag.NO_SUCH_AMPLIFIER]
    return ", ".join(f"{flag.words} {int(np.count_nonzero(quality & np.uint32(flag)))}" for flag in flags)


_OF_EXPOSURE = (
    ("time", "time (UTC)", "", False),
    ("physical_filter", "filter", "", False),
    ("lamp", "lamp", "", False),
    ("night", "night", "", False),
    ("exposure_time", "exposure time", "s", True),
)


def _exposures(facts: Facts) -> Table:
    units = facts.level_units
    known = [row for row in _OF_EXPOSURE if _says_something(facts, row[0])]
    columns = [
        Column("exposure", kind="t"),
        *(Column(head, unit, kind="n" if numeric else "t") for _, head, unit, numeric in known),
        *([Column("group", kind="t")] if facts.groups else []),
        Column("E", units),
        *([Column("error", "%", "standard error of E, relative")] if facts.E_stderr is not None else []),
        Column("rms residual", "%"),
        Column("used", help="units in the fit, of all"),
        Column("flags", kind="w"),
    ]
    rows = []
    used = facts.weight > 0
    for j, label in enumerate(facts.exposures):
        values = [facts.solution[name].values[j] for name, *_ in known]
        rows.append(
            Row(
                [
                    label,
                    *(
                        number(value, 6) if numeric else _text(value)
                        for value, (*_, numeric) in zip(values, known, strict=True)
                    ),
                    *([facts.groups[facts.group[j]]] if facts.groups else []),
                    number(facts.E[j], 8),
                    *([per_cent(facts.E_stderr[j] / facts.E[j], 2)] if facts.E_stderr is not None else []),
                    per_cent(facts.exposure_rms[j]),
                    f"{int(used[:, j].sum())} of {used.shape[0]}",
                    _flags(facts.quality[:, j]),
                ],
                anchor=f"exposure-{j}",
            )
        )
    caption = "Level E of each exposure, by which it is divided before flats are combined."
    return Table("exposures", "Exposures", caption, columns, rows)


def _says_something(facts: Facts, name: str) -> bool:
    coordinate = facts.solution.coords.get(name)
    if coordinate is None or coordinate.dims != ("exposure",) or not coordinate.size:
        return False
    return bool(coordinate.notnull().any()) and any(str(value) for value in coordinate.values)


def _text(value: Any) -> str:
    return "" if isinstance(value, np.datetime64) and np.isnat(value) else shown(value, longest=80)


def _rejections(facts: Facts) -> Table | None:
    events = facts.rejections
    if events is None:
        return None
    names = {
        "kind": Column("kind", kind="t"),
        "group": Column("group", kind="t"),
        "detector": Column("detector", kind="t"),
        "amplifier": Column("amplifier", kind="t"),
        "first_exposure": Column("first exposure", kind="t"),
        "last_exposure": Column("last exposure", kind="t"),
        "jump_at": Column("jump at", kind="t"),
        "n_cells": Column("cells"),
        "size": Column("size", "%"),
        "stderr": Column("error", "%"),
        "significance": Column("significance", help="size over its error"),
    }
    kept = [name for name in names if name in events.columns and not events[name].isna().all()]
    rows = [Row([_event_text(name, event[name]) for name in kept]) for _, event in events[:MOST_ROWS].iterrows()]
    caption = "What did not follow the others and was given weight 0, and by how much it is off."
    return Table(
        "rejections",
        "Left out of the fit",
        caption,
        [names[name] for name in kept],
        rows,
        max(len(events) - MOST_ROWS, 0),
    )


def _event_text(name: str, value: Any) -> str:
    if pd.isna(value):
        return ""
    if name in ("size", "stderr"):
        return per_cent(value)
    return number(value, 3) if name in ("significance", "n_cells") else shown(value, longest=80)


def _holes(facts: Facts) -> Table:
    """Cells without weight by cause, what they have in common first: exposures, detectors, units, then single cells."""
    left = facts.cause.copy()
    rows = [
        *_of_exposures(facts, left),
        *(_of_detectors(facts, left) if facts.by_amplifier else ()),
        *_of_units(facts, left),
    ]
    single = np.argwhere(left != 0)
    room = max(MOST_ROWS - len(rows), 0)
    rows += [
        _hole(int(left[i, j]), _unit_cell(facts, i), _exposure_cell(facts, j), 1, facts.residual[i, j])
        for i, j in single[:room].tolist()
    ]
    columns = [
        Column("cause", kind="t"),
        Column("detector/amplifier" if facts.by_amplifier else "detector", kind="t"),
        Column("exposure", kind="t"),
        Column("cells"),
        Column("residual", "%", "where there is one: ln(background / bgModel)"),
        Column("what it means", kind="w"),
    ]
    caption = (
        "Cells without weight. Nothing was filled in: a level that was not used is as it was measured, or missing."
    )
    omitted = max(len(rows) - MOST_ROWS, 0) + max(len(single) - room, 0)
    return Table("holes", "Cells that were not used", caption, columns, rows[:MOST_ROWS], omitted)


def _of_exposures(facts: Facts, left: NDArray[np.uint32]) -> Iterator[Row]:
    """Take causes that most units have in one exposure out of ``left``, and give a row for each."""
    for j in range(left.shape[1]):
        for cause, n in _causes(left[:, j]):
            if n > max(1, 0.5 * left.shape[0]):
                yield _hole(cause, "all" if n == left.shape[0] else "most", _exposure_cell(facts, j), n)
                left[left[:, j] == cause, j] = 0


def _of_detectors(facts: Facts, left: NDArray[np.uint32]) -> Iterator[Row]:
    """Take causes that all amplifiers of a detector share out of ``left``, in most exposures or in one."""
    for d, label in enumerate(facts.detectors):
        block = left[facts.rows.starts[d] : facts.rows.starts[d + 1]]
        if len(block) < 2:
            continue
        shared = np.where((block == block[0]).all(axis=0), block[0], 0)
        detector = TableCell(label, f"#detector-{d}")
        for cause, n in _causes(shared):
            where = np.flatnonzero(shared == cause)
            if n > max(1, 0.5 * left.shape[1]):
                yield _hole(cause, detector, "all" if n == left.shape[1] else "most", n * len(block))
            else:
                yield from (_hole(cause, detector, _exposure_cell(facts, j), len(block)) for j in where.tolist())
            block[:, where] = 0


def _of_units(facts: Facts, left: NDArray[np.uint32]) -> Iterator[Row]:
    """Take causes that a unit has in most exposures out of ``left``, and give a row for each."""
    for i in range(left.shape[0]):
        for cause, n in _causes(left[i]):
            if n > max(1, 0.5 * left.shape[1]):
                yield _hole(cause, _unit_cell(facts, i), "all" if n == left.shape[1] else "most", n)
                left[i, left[i] == cause] = 0


def _causes(cells: NDArray[Any]) -> list[tuple[int, int]]:
    """Causes among some cells, and how many cells have each."""
    values, counts = np.unique(cells[cells != 0], return_counts=True)
    return list(zip(values.tolist(), counts.tolist(), strict=True))


def _unit_cell(facts: Facts, unit: int) -> TableCell:
    return TableCell(facts.units[unit], f"#{'unit' if facts.by_amplifier else 'detector'}-{unit}")


def _exposure_cell(facts: Facts, exposure: int) -> TableCell:
    return TableCell(facts.exposures[exposure], f"#exposure-{exposure}")


def _hole(cause: int, unit: TableCell | str, exposure: TableCell | str, n: int, residual: float = np.nan) -> Row:
    flag = Flag(cause)
    return Row([flag.words, unit, exposure, str(n), per_cent(residual), SENTENCES[flag]])


def _files(facts: Facts) -> Table | None:
    """Files with flagged cells, each with a link where it is one of this machine's."""
    if facts.paths is None:
        return None
    flagged = (facts.quality & ~np.uint32(Flag.NO_SUCH_AMPLIFIER)) != 0
    of_file: dict[str, list[tuple[int, int]]] = {}
    for i, j in np.argwhere(flagged):
        path = str(facts.paths[facts.detector[i], j])
        if path:
            of_file.setdefault(path, []).append((int(i), int(j)))
    rows = []
    for path, cells in of_file.items():
        units, exposures = (sorted({cell[axis] for cell in cells}) for axis in (0, 1))
        detectors = sorted({int(facts.detector[i]) for i in units})
        quality = facts.quality[tuple(np.array(cells).T)]
        rows.append(
            Row(
                [
                    TableCell(shown(path, longest=300), file_link(path)),
                    _few(facts.exposures[j] for j in exposures),
                    _few(facts.detectors[d] for d in detectors),
                    str(len(cells)),
                    _flags(quality),
                ]
            )
        )
    columns = [
        Column("file", kind="w"),
        Column("exposure", kind="t"),
        Column("detectors", kind="t"),
        Column("cells", help="with a flag"),
        Column("flags", kind="w"),
    ]
    caption = "Links lead to the files as they were named when they were measured; they open where the files still are."
    return Table("files", "Files with flagged cells", caption, columns, rows[:MOST_ROWS], max(len(rows) - MOST_ROWS, 0))


def _few(labels: Iterable[str], most: int = 6) -> str:
    texts = list(labels)
    return ", ".join(texts) if len(texts) <= most else f"{texts[0]} ... {texts[-1]} ({len(texts)})"


def file_link(path: str) -> str:
    """Address of a local file; nothing for what cannot be one, so that no header can lead to another place.

    A relative path was one from where the files were measured; it is taken for the same place only where the file is.
    """
    if not path.isprintable() or "://" in path:
        return ""
    try:
        file = Path(path)
        return file.absolute().as_uri() if file.is_absolute() or file.exists() else ""
    except (ValueError, OSError, UnicodeEncodeError):
        return ""


def _tests(facts: Facts) -> Table:
    diagnosis = facts.diagnosis
    alpha = float(diagnosis.attrs["alpha"])
    rows = []
    for k in range(diagnosis.sizes["test"]):
        one = diagnosis.isel(test=k)
        adjusted, made = float(one["p_holm"]), bool(one["made"])
        result = ("fails" if adjusted < alpha else "holds") if made else "not made"
        sentence = shown(str(one["sentence"].values).removeprefix("not made: "))
        rows.append(Row([str(one["test"].values), number(one["p_value"], 2), number(adjusted, 2), result, sentence]))
    columns = [
        Column("test", kind="t"),
        Column("p"),
        Column("p, adjusted", help="Holm, for the number of tests"),
        Column("outcome", kind="t"),
        Column("finding", kind="w"),
    ]
    caption = f"Is background = G E true? A test fails when its adjusted p is below {number(alpha)}."
    return Table("diagnosis", "Diagnosis", caption, columns, rows)
