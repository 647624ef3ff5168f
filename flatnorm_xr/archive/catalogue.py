"""What the catalogue of an archive holds, and what it is asked: tables in SQLite, made from the files."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from flatnorm_xr.archive.certificates import Certificate, holding
from flatnorm_xr.archive.contents import Block, Contents
from flatnorm_xr.errors import FlatnormError, offenders

__all__ = [
    "Entry",
    "Series",
    "add_run",
    "add_unreadable",
    "certified",
    "certified_kinds",
    "drop_runs",
    "entries",
    "holding_at",
    "kinds",
    "known_runs",
    "labels_of",
    "neighbours",
    "records_applied",
    "run_of_digest",
    "runs_beginning",
    "series",
    "set_certificates",
    "stamps",
    "writing",
]


@dataclass(frozen=True)
class Entry:
    """One run as it is listed."""

    run: str
    camera: str
    begin: int | None
    end: int | None
    filters: tuple[str, ...]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Series:
    """One run of one filter, for what is followed over runs."""

    run: str
    filter: str
    time: int | None
    means: dict[str, float]
    groups: tuple[int, ...]
    labels: int
    group_names: tuple[str, ...] | None
    exposures: int
    """Of the filter."""
    all_exposures: int
    """Of all filters of the run."""
    blocks: dict[str, Block]

    def only_group(self, caller: str) -> int:
        """Place of the group in which the exposures of the filter were solved.

        Raises
        ------
        FlatnormError
            They were solved in several.
        """
        if len(self.groups) == 1:
            return self.groups[0]
        names = [] if self.group_names is None else [self.group_names[k] for k in self.groups]
        msg = (
            f"{caller}: {self.run[:12]} solved this filter in {len(names)} groups ({offenders(names)}); solve and "
            "archive them one by one"
        )
        raise FlatnormError(msg)


@contextlib.contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """Change the catalogue as a whole or not at all, while no other process does."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def add_run(connection: sqlite3.Connection, contents: Contents) -> None:
    """Enter a run; one that is there already is replaced."""
    text = json.dumps([contents.detectors, contents.amplifiers])
    connection.execute("INSERT OR IGNORE INTO labels (text) VALUES (?)", (text,))
    labels = connection.execute("SELECT id FROM labels WHERE text = ?", (text,)).fetchone()[0]
    drop_runs(connection, [contents.run])
    connection.execute(
        "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            contents.run,
            contents.camera,
            contents.digest,
            contents.begin,
            contents.end,
            json.dumps(contents.facts),
            labels,
            json.dumps(contents.groups),
        ),
    )
    connection.executemany(
        "INSERT INTO filters VALUES (?, ?, ?, ?, ?, ?)",
        [
            (contents.run, f.filter, f.exposures, json.dumps(f.groups), f.time, json.dumps(f.means))
            for f in contents.filters
        ],
    )
    connection.executemany(
        "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?)",
        [(contents.run, b.name, json.dumps(b.dims), json.dumps(b.shape), b.offset, b.crc) for b in contents.blocks],
    )


def add_unreadable(connection: sqlite3.Connection, run: str, why: str, stamp: str) -> None:
    """Remember that a file could not be read, so that it is not tried again before its ``stamp`` changes."""
    drop_runs(connection, [run])
    connection.execute("INSERT INTO unreadable VALUES (?, ?, ?)", (run, why, stamp))


def drop_runs(connection: sqlite3.Connection, runs: Iterable[str]) -> None:
    """Forget runs."""
    for table in ("runs", "filters", "blocks", "unreadable"):
        connection.executemany(f"DELETE FROM {table} WHERE run = ?", [(run,) for run in runs])


def known_runs(connection: sqlite3.Connection) -> tuple[set[str], dict[str, str]]:
    """Give the runs that are entered, and why others could not be."""
    runs = {row[0] for row in connection.execute("SELECT run FROM runs")}
    return runs, dict(connection.execute("SELECT run, why FROM unreadable"))


def stamps(connection: sqlite3.Connection) -> dict[str, str]:
    """Give the stamps of the files that could not be read."""
    return dict(connection.execute("SELECT run, stamp FROM unreadable"))


def run_of_digest(connection: sqlite3.Connection, digest: str) -> str | None:
    """Find the run that holds the same."""
    row = connection.execute("SELECT run FROM runs WHERE digest = ? ORDER BY run", (digest,)).fetchone()
    return None if row is None else str(row[0])


def runs_beginning(connection: sqlite3.Connection, prefix: str) -> list[str]:
    """Find runs by the first digits of their names, also those that cannot be read."""
    limits = (prefix, prefix + "g")
    both = "SELECT run FROM runs WHERE run >= ? AND run < ? UNION SELECT run FROM unreadable WHERE run >= ? AND run < ?"
    return [row[0] for row in connection.execute(both, (*limits, *limits))]


def records_applied(connection: sqlite3.Connection) -> tuple[int, str, str]:
    """How many records the catalogue knows, and the seals of the last and the first."""
    number, seal, origin = connection.execute("SELECT records, seal, origin FROM state").fetchone()
    return int(number), str(seal), str(origin)


def set_certificates(
    connection: sqlite3.Connection, certificates: Sequence[Certificate], *, records: int, seal: str, origin: str
) -> None:
    """Enter all certificates anew, and when each holds."""
    connection.execute("DELETE FROM certificates")
    connection.execute("DELETE FROM holding")
    connection.executemany(
        "INSERT INTO certificates VALUES (?, ?, ?, ?)",
        [(c.number, c.run, c.camera, c.filter) for c in certificates],
    )
    kinds = sorted({(c.camera, c.filter) for c in certificates})
    for camera, name in kinds:
        mine = [c for c in certificates if (c.camera, c.filter) == (camera, name)]
        connection.executemany(
            "INSERT INTO holding VALUES (?, ?, ?, ?, ?)",
            [
                (camera, name, _integer(part.begin), _integer(part.end), part.certificate.number)
                for part in holding(mine)
            ],
        )
    connection.execute("UPDATE state SET records = ?, seal = ?, origin = ?", (records, seal, origin))


def _integer(value: np.datetime64 | None) -> int | None:
    return None if value is None else int(value.astype(np.int64))


def certified_kinds(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Cameras and filters for which anything holds at any time."""
    return list(connection.execute("SELECT DISTINCT camera, filter FROM holding ORDER BY camera, filter"))


def holding_at(connection: sqlite3.Connection, camera: str, name: str, date: int) -> int | None:
    """Find the number of the certificate that holds at a moment."""
    row = connection.execute(
        'SELECT number FROM holding WHERE camera = ? AND filter = ? AND begin <= ? AND ("end" IS NULL OR "end" > ?)',
        (camera, name, date, date),
    ).fetchone()
    return None if row is None else int(row[0])


def neighbours(
    connection: sqlite3.Connection, camera: str, name: str, date: int
) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Before a moment and after it: the number of the nearest certificate, and when it ends or begins."""
    before = connection.execute(
        'SELECT number, "end" FROM holding WHERE camera = ? AND filter = ? AND "end" <= ? ORDER BY "end" DESC LIMIT 1',
        (camera, name, date),
    ).fetchone()
    after = connection.execute(
        "SELECT number, begin FROM holding WHERE camera = ? AND filter = ? AND begin > ? ORDER BY begin LIMIT 1",
        (camera, name, date),
    ).fetchone()
    return before, after


def certified(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """Give the filters for which each run holds at some time."""
    found: dict[str, list[str]] = {}
    for run, name in connection.execute(
        "SELECT DISTINCT c.run, h.filter FROM holding h JOIN certificates c USING (number) ORDER BY h.filter"
    ):
        found.setdefault(run, []).append(name)
    return found


def entries(connection: sqlite3.Connection, camera: str | None, name: str | None) -> list[Entry]:
    """List runs of a camera and a filter, in order of time; those without a time last."""
    names: dict[str, list[str]] = {}
    for run, label in connection.execute("SELECT run, filter FROM filters ORDER BY filter"):
        names.setdefault(run, []).append(label)
    rows = connection.execute('SELECT run, camera, begin, "end", facts FROM runs ORDER BY begin IS NULL, begin, run')
    return [
        Entry(run, of, begin, end, tuple(names.get(run, ())), json.loads(facts))
        for run, of, begin, end, facts in rows
        if (camera is None or of == camera) and (name is None or name in names.get(run, ()))
    ]


def series(connection: sqlite3.Connection, camera: str, name: str) -> list[Series]:
    """All runs of one camera and filter, in order of time."""

    @cache  # thousands of runs have the same few texts
    def parsed(text: str) -> Any:
        found = json.loads(text)
        return None if found is None else tuple(found)

    blocks: dict[str, dict[str, Block]] = {}
    for run, variable, dims, shape, offset, crc in connection.execute("SELECT * FROM blocks"):
        blocks.setdefault(run, {})[variable] = Block(variable, parsed(dims), parsed(shape), offset, crc)
    rows = connection.execute(
        "SELECT r.run, f.exposures, f.time, f.means, f.groups, r.labels, r.groups, "
        "json_extract(r.facts, '$.exposures') FROM filters f "
        "JOIN runs r USING (run) WHERE r.camera = ? AND f.filter = ? ORDER BY f.time IS NULL, f.time, r.run",
        (camera, name),
    )
    return [
        Series(
            run=run,
            filter=name,
            time=time,
            means=json.loads(means),
            groups=parsed(groups),
            labels=labels,
            group_names=parsed(names),
            exposures=exposures,
            all_exposures=all_exposures,
            blocks=blocks.get(run, {}),
        )
        for run, exposures, time, means, groups, labels, names, all_exposures in rows
    ]


def labels_of(connection: sqlite3.Connection) -> dict[int, tuple[Sequence[str | int], Sequence[str] | None]]:
    """Labels of detectors and amplifiers, by the number under which runs refer to them."""
    return {number: tuple(json.loads(text)) for number, text in connection.execute("SELECT id, text FROM labels")}


def kinds(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Cameras and filters of which there are runs."""
    return list(
        connection.execute(
            "SELECT DISTINCT r.camera, f.filter FROM runs r JOIN filters f USING (run) ORDER BY r.camera, f.filter"
        )
    )
