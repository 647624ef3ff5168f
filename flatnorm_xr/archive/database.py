"""The file of an archive's index: opened, made again when it is broken, read where nothing can be written."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from flatnorm_xr.archive.atomic import flush
from flatnorm_xr.archive.locks import lock_file, share, unlock_file
from flatnorm_xr.errors import FlatnormError, warn

__all__ = ["CannotWriteError", "Connection", "Database", "is_busy", "keeps_from_writing"]

VERSION = 3
"""Of the tables; a catalogue of another version is made again."""

_PATIENCE = 3600.0
"""Seconds to wait for a process that makes the catalogue again, for it reads every file."""

_TABLES = """
CREATE TABLE state (records INTEGER NOT NULL, seal TEXT NOT NULL, origin TEXT NOT NULL);
INSERT INTO state VALUES (0, '', '');
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
CREATE TABLE unreadable (run TEXT PRIMARY KEY, why TEXT NOT NULL, stamp TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE certificates (
  number INTEGER PRIMARY KEY, run TEXT NOT NULL, camera TEXT NOT NULL, filter TEXT NOT NULL
);
CREATE TABLE holding (camera TEXT NOT NULL, filter TEXT NOT NULL, begin INTEGER NOT NULL, "end" INTEGER,
  number INTEGER NOT NULL);
CREATE INDEX holding_begin ON holding (camera, filter, begin);
"""


Rebuild = Callable[[sqlite3.Connection], None]


class CannotWriteError(FlatnormError):
    """The catalogue cannot be written here."""


class Connection(sqlite3.Connection):
    """A connection that keeps others from putting another file in the place of the catalogue until it is closed."""

    lock: int | None = None

    def close(self) -> None:
        """Close it, and let others have the catalogue."""
        super().close()
        unlock_file(self.lock)
        self.lock = None


class Database:
    """The file that holds the index.

    Parameters
    ----------
    path : Path
        Of the database.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def connected(self, rebuild: Rebuild) -> Connection:
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
        lock = self._lock(shared=True)
        try:
            connection = self._usable()
        except sqlite3.DatabaseError as error:
            unlock_file(lock)
            if keeps_from_writing(error):
                return self.read_only(rebuild)
            if is_busy(error):
                raise FlatnormError(self._in_words(error)) from error
            warn(f"archive: the catalogue {self.path} is damaged ({error}); it is made again from the files")
        except BaseException:
            unlock_file(lock)
            raise
        else:
            if connection is not None:
                connection.lock = lock
                return connection
            unlock_file(lock)
        return self.remade_or_read(rebuild)

    def identity(self) -> int | None:
        """Tell this database from one made anew in its place."""
        with contextlib.suppress(OSError):
            return self.path.stat().st_ino
        return None

    def remade_or_read(self, rebuild: Rebuild, *, instead_of: int | None = None) -> Connection:
        """Make the catalogue again, or where it cannot be written, answer without."""
        try:
            return self.remade(rebuild, instead_of=instead_of)
        except CannotWriteError:
            return self.in_memory(rebuild) if instead_of is not None else self.read_only(rebuild)

    def remade(self, rebuild: Rebuild, *, instead_of: int | None = None) -> Connection:
        """Make the catalogue again from the files, by one process at a time, and while no other reads it.

        Parameters
        ----------
        rebuild : callable
        instead_of : int, optional
            `identity` of a database that shall not be used, whatever it looks like; it is not made twice when another
            process has made it again meanwhile.

        Raises
        ------
        CannotWriteError
            The folder cannot be written to, or the disk is full.
        """
        lock = self._lock(shared=False)
        try:
            connection = None
            if instead_of is None or self.identity() != instead_of:
                with contextlib.suppress(sqlite3.DatabaseError):
                    connection = self._usable()
            if connection is None:
                self._replace(rebuild)
                connection = self._usable()
            if connection is None:
                msg = f"archive: the catalogue {self.path} cannot be written"
                raise CannotWriteError(msg)
            share(lock)
        except sqlite3.Error as error:
            unlock_file(lock)
            msg = f"archive: the catalogue {self.path} cannot be written: {error}"
            raise CannotWriteError(msg) from error
        except OSError as error:
            unlock_file(lock)
            msg = f"archive: the catalogue {self.path} cannot be written: {error.strerror or error}"
            raise CannotWriteError(msg) from error
        except BaseException:
            unlock_file(lock)
            raise
        connection.lock = lock
        return connection

    def _lock(self, *, shared: bool) -> int | None:
        return lock_file(self.path.with_suffix(".lock"), shared=shared, patience=_PATIENCE)

    def _replace(self, rebuild: Rebuild) -> None:
        """Put a new database in the place of the catalogue, whole."""
        new = self.path.with_suffix(".new")
        _unlink(new)
        # SQLite itself would not let the group write to it, whatever the umask
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            with contextlib.closing(sqlite3.connect(new, timeout=60, isolation_level=None)) as connection:
                connection.execute("PRAGMA page_size = 8192")
                connection.execute("PRAGMA journal_mode = WAL")
                self._fill(connection, rebuild)
            flush(new)
            _unlink(self.path, but=self.path)
            os.replace(new, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                _unlink(new)
            raise

    def _fill(self, connection: sqlite3.Connection, rebuild: Rebuild) -> None:
        connection.execute("BEGIN IMMEDIATE")
        for statement in filter(str.strip, _TABLES.split(";")):
            connection.execute(statement)
        rebuild(connection)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")

    def _usable(self) -> Connection | None:
        """Open the catalogue; None when there is none of this version."""
        # through a link something outside the archive would be written to
        if self.path.is_symlink() or not self.path.is_file():
            return None
        connection = sqlite3.connect(
            f"file:{_quoted(self.path)}?mode=rw", uri=True, timeout=60, isolation_level=None, factory=Connection
        )
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

    def read_only(self, rebuild: Rebuild) -> Connection:
        """Read the catalogue where nothing can be written, or make one in memory."""
        log = self.path.with_name(self.path.name + "-wal")
        if self.path.is_file() and not (log.exists() and log.stat().st_size):
            with contextlib.suppress(sqlite3.DatabaseError):
                return self._as_it_is()
        return self.in_memory(rebuild)

    def _as_it_is(self) -> Connection:
        connection = sqlite3.connect(
            f"file:{_quoted(self.path)}?mode=ro&immutable=1", uri=True, isolation_level=None, factory=Connection
        )
        try:
            if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
                connection.execute("SELECT records FROM state").fetchone()
                return connection
            msg = "another version"
            raise sqlite3.DatabaseError(msg)
        except BaseException:
            connection.close()
            raise

    def in_memory(self, rebuild: Rebuild) -> Connection:
        """Make a catalogue that nobody else sees."""
        connection = sqlite3.connect(":memory:", isolation_level=None, factory=Connection)
        try:
            self._fill(connection, rebuild)
        except BaseException:
            connection.close()
            raise
        return connection

    def _in_words(self, error: sqlite3.Error) -> str:
        return f"archive: the catalogue {self.path} cannot be used: {error}"


def keeps_from_writing(error: sqlite3.Error) -> bool:
    """Whether an error says that nothing can be written here."""
    words = str(error)
    return any(said in words for said in ("readonly", "read-only", "unable to open", "is full"))


def is_busy(error: sqlite3.Error) -> bool:
    """Whether an error says that others have written for longer than we wait."""
    return "locked" in str(error) or "busy" in str(error)


def _unlink(path: Path, *, but: Path | None = None) -> None:
    """Delete a database with what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        one = path.with_name(path.name + suffix)
        if one != but:
            one.unlink(missing_ok=True)


def _quoted(path: Path) -> str:
    from urllib.parse import quote

    return quote(str(path.absolute()))
