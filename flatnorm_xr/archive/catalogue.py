"""The catalogue of an archive: an index in SQLite, made from the files, and made again whenever it is broken."""

from __future__ import annotations

import contextlib
import fcntl
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flatnorm_xr.archive.certificates import Certificate, holding
from flatnorm_xr.archive.contents import Block, Contents
from flatnorm_xr.errors import FlatnormError, offenders, warn

__all__ = [
    "Catalogue",
    "Entry",
    "Series",
    "add_run",
    "add_unreadable",
    "certified",
    "certified_kinds",
    "drop_runs",
    "entries",
    "holding_at",
    "keeps_from_writing",
    "kinds",
    "known_runs",
    "labels_of",
    "neighbours",
    "records_applied",
    "run_of_digest",
    "runs_beginning",
    "series",
    "set_certificates",
    "writing",
]

VERSION = 1
"""Of the tables; a catalogue of another version is made again."""

_TABLES = """
CREATE TABLE state (records INTEGER NOT NULL, seal TEXT NOT NULL);
INSERT INTO state VALUES (0, '');
CREATE TABLE labels (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE runs (
  run TEXT PRIMARY KEY, camera TEXT NOT NULL, digest TEXT NOT NULL, begin INTEGER, "end" INTEGER,
  facts TEXT NOT NULL, labels INTEGER NOT NULL, groups TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX runs_digest ON runs (digest);
CREATE TABLE filters (
  run TEXT NOT NULL, filter TEXT NOT NULL, exposures INTEGER NOT NULL, groups TEXT NOT NULL, time INTEGER,
  means TEXT NOT NULL, PRIMARY KEY (run, filter)
) WITHOUT ROWID;
CREATE TABLE blocks (
  run TEXT NOT NULL, name TEXT NOT NULL, dims TEXT NOT NULL, shape TEXT NOT NULL, offset INTEGER NOT NULL,
  crc INTEGER NOT NULL, PRIMARY KEY (run, name)
) WITHOUT ROWID;
CREATE TABLE unreadable (run TEXT PRIMARY KEY, why TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE certificates (
  number INTEGER PRIMARY KEY, run TEXT NOT NULL, camera TEXT NOT NULL, filter TEXT NOT NULL
);
CREATE TABLE holding (camera TEXT NOT NULL, filter TEXT NOT NULL, begin INTEGER NOT NULL, "end" INTEGER,
  number INTEGER NOT NULL);
CREATE INDEX holding_begin ON holding (camera, filter, begin);
"""


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
    time: int | None
    means: dict[str, float]
    groups: tuple[int, ...]
    labels: int
    group_names: tuple[str, ...] | None
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


class Catalogue:
    """Answers from the index; the files are the truth.

    Parameters
    ----------
    path : Path
        Of the database.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def connected(self, rebuild: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
        """Connect to a catalogue that can be used, making it first where there is none.

        Parameters
        ----------
        rebuild : callable
            Fills the empty tables of a connection from the files.

        Returns
        -------
        Connection
            Where the folder cannot be written to and its catalogue not be read, to one in memory, made from the files.
        """
        try:
            connection = self._writable()
            if connection is not None:
                return connection
        except sqlite3.OperationalError as error:
            if not keeps_from_writing(error):
                raise FlatnormError(self._in_words(error)) from error
            return self.read_only(rebuild)
        except sqlite3.DatabaseError as error:
            warn(f"archive: the catalogue {self.path} is damaged ({error}); it is made again from the files")
        return self.remade(rebuild)

    def identity(self) -> int | None:
        """Tell this database from one made anew in its place."""
        with contextlib.suppress(OSError):
            return self.path.stat().st_ino
        return None

    def remade(
        self, rebuild: Callable[[sqlite3.Connection], None], *, instead_of: int | None = None
    ) -> sqlite3.Connection:
        """Make the catalogue again from the files, by one process at a time.

        Parameters
        ----------
        rebuild : callable
        instead_of : int, optional
            `identity` of a database that shall not be used, whatever it looks like; it is not made twice when another
            process has made it again meanwhile.
        """
        try:
            with open(self.path.with_suffix(".lock"), "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if instead_of is None or self.identity() != instead_of:
                    with contextlib.suppress(sqlite3.DatabaseError):
                        connection = self._writable()
                        if connection is not None:
                            return connection
                for suffix in ("", "-wal", "-shm"):
                    self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
                connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
                connection.execute("PRAGMA page_size = 8192")
                connection.execute("PRAGMA journal_mode = WAL")
                self._fill(connection, rebuild)
                return connection
        except sqlite3.Error as error:
            raise FlatnormError(self._in_words(error)) from error
        except PermissionError:
            return self.read_only(rebuild)
        except OSError as error:
            msg = f"archive: {self.path}: {error.strerror or error}"
            raise FlatnormError(msg) from error

    def _fill(self, connection: sqlite3.Connection, rebuild: Callable[[sqlite3.Connection], None]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        for statement in filter(str.strip, _TABLES.split(";")):
            connection.execute(statement)
        rebuild(connection)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
        connection.execute("PRAGMA synchronous = NORMAL")

    def _writable(self) -> sqlite3.Connection | None:
        """Open the catalogue; None when there is none of this version."""
        if not self.path.exists():
            return None
        connection = sqlite3.connect(f"file:{_quoted(self.path)}?mode=rw", uri=True, timeout=60, isolation_level=None)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            connection.execute("PRAGMA synchronous = NORMAL")
            if version == VERSION:
                # fails at once where the folder cannot be written to, and shows that the tables are there
                connection.execute("SELECT records FROM state").fetchone()
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
        return None

    def read_only(self, rebuild: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
        """Read the catalogue where nothing can be written, or make one in memory."""
        log = self.path.with_name(self.path.name + "-wal")
        if self.path.exists() and not (log.exists() and log.stat().st_size):
            with contextlib.suppress(sqlite3.DatabaseError):
                connection = sqlite3.connect(f"file:{_quoted(self.path)}?mode=ro&immutable=1", uri=True)
                if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
                    connection.execute("SELECT records FROM state").fetchone()
                    return connection
                connection.close()
        return self.in_memory(rebuild)

    def in_memory(self, rebuild: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
        """Make a catalogue that nobody else sees."""
        connection = sqlite3.connect(":memory:", isolation_level=None)
        self._fill(connection, rebuild)
        return connection

    def _in_words(self, error: sqlite3.Error) -> str:
        return f"archive: the catalogue {self.path} cannot be used: {error}"


def keeps_from_writing(error: sqlite3.Error) -> bool:
    """Whether an error says that nothing can be written here."""
    words = str(error)
    return "readonly" in words or "read-only" in words or "unable to open" in words


def _quoted(path: Path) -> str:
    from urllib.parse import quote

    return quote(str(path.absolute()))


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


def add_unreadable(connection: sqlite3.Connection, run: str, why: str) -> None:
    """Remember that a file could not be read, so that it is not tried each time."""
    connection.execute("INSERT OR REPLACE INTO unreadable VALUES (?, ?)", (run, why))


def drop_runs(connection: sqlite3.Connection, runs: Iterable[str]) -> None:
    """Forget runs."""
    for table in ("runs", "filters", "blocks", "unreadable"):
        connection.executemany(f"DELETE FROM {table} WHERE run = ?", [(run,) for run in runs])


def known_runs(connection: sqlite3.Connection) -> tuple[set[str], dict[str, str]]:
    """Give the runs that are entered, and why others could not be."""
    runs = {row[0] for row in connection.execute("SELECT run FROM runs")}
    return runs, dict(connection.execute("SELECT run, why FROM unreadable"))


def run_of_digest(connection: sqlite3.Connection, digest: str) -> str | None:
    """Find the run that holds the same."""
    row = connection.execute("SELECT run FROM runs WHERE digest = ? ORDER BY run", (digest,)).fetchone()
    return None if row is None else str(row[0])


def runs_beginning(connection: sqlite3.Connection, prefix: str) -> list[str]:
    """Find runs by the first digits of their names."""
    upper = prefix + "g"
    return [row[0] for row in connection.execute("SELECT run FROM runs WHERE run >= ? AND run < ?", (prefix, upper))]


def records_applied(connection: sqlite3.Connection) -> tuple[int, str]:
    """How many records the catalogue knows, and the seal of the last."""
    number, seal = connection.execute("SELECT records, seal FROM state").fetchone()
    return int(number), str(seal)


def set_certificates(
    connection: sqlite3.Connection, certificates: Sequence[Certificate], *, records: int, seal: str
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
    connection.execute("UPDATE state SET records = ?, seal = ?", (records, seal))


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
    blocks: dict[str, dict[str, Block]] = {}
    for run, variable, dims, shape, offset, crc in connection.execute("SELECT * FROM blocks"):
        blocks.setdefault(run, {})[variable] = Block(
            variable, tuple(json.loads(dims)), tuple(json.loads(shape)), offset, crc
        )
    rows = connection.execute(
        "SELECT r.run, f.time, f.means, f.groups, r.labels, r.groups, r.facts FROM filters f JOIN runs r USING (run) "
        "WHERE r.camera = ? AND f.filter = ? ORDER BY f.time IS NULL, f.time, r.run",
        (camera, name),
    )
    return [
        Series(
            run=run,
            time=time,
            means=json.loads(means),
            groups=tuple(json.loads(groups)),
            labels=labels,
            group_names=None if json.loads(names) is None else tuple(json.loads(names)),
            all_exposures=json.loads(facts)["exposures"],
            blocks=blocks.get(run, {}),
        )
        for run, time, means, groups, labels, names, facts in rows
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
