"""An archive's files, its records and its catalogue, kept in agreement."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from flatnorm_xr.archive import catalogue as index
from flatnorm_xr.archive import netcdf
from flatnorm_xr.archive.atomic import whole_file
from flatnorm_xr.archive.catalogue import Catalogue
from flatnorm_xr.archive.certificates import Certificate, certificates_of
from flatnorm_xr.archive.contents import Contents, contents_of
from flatnorm_xr.archive.journal import Journal, Record
from flatnorm_xr.archive.store import RUN, Store, sha256_of
from flatnorm_xr.errors import FlatnormError, ReadError, offenders, warn

__all__ = ["SHOWN", "Holdings", "saying_why"]

T = TypeVar("T")

FORMAT = 1
"""Of the folder; written to its first record."""

SHOWN = 12
"""Digits of a run that are shown."""

_MANY = 200
"""Runs above which entering them takes long enough to show how far it is."""

_AT_ONCE = 50
"""Runs entered in one transaction."""

_FOLDERS = frozenset(("runs", "records", "incoming", "trash", "quarantine"))
_README = """This folder is an archive of calibration runs, made by flatnorm-xr.

runs/ab/abcd...nc   one run a file: NetCDF, with the levels of the flats, E, G, scales, errors and flags.
                    The name is the sha256 of the file (sha256sum checks it); a file is never changed.
records/            what was decided, one small JSON file a decision, in order: which run holds from when
                    until when, who approved it, what was waived and why, what was removed and why.
trash/              runs that were removed.          quarantine/   files that were found damaged.
catalogue.sqlite    an index, made from the above; it may be deleted.

Any program that reads NetCDF reads the runs: xarray.open_dataset("runs/ab/abcd...nc").
"""


class Holdings:
    """All that an archive holds.

    Parameters
    ----------
    root : Path
        Folder of the archive.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(root)
        self.journal = Journal(root / "records")
        self._catalogue = Catalogue(root / "catalogue.sqlite")

    def found(self, create: bool) -> None:
        """Make the folder, or see that it is an archive that can be read."""
        first = self.journal.path(0)
        if not first.exists():
            if not create:
                msg = f"archive: there is no archive at {self.root}; flatnorm archive add makes one"
                raise ReadError(msg)
            self._create()
        body = self.journal.read(0).body
        if body.get("format") != FORMAT:
            msg = (
                f"archive: {self.root} was made by {offenders([body.get('program', 'another program')])} in format "
                f"{body.get('format')!r}; this program reads {FORMAT}: upgrade flatnorm-xr"
            )
            raise FlatnormError(msg)

    def _create(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            msg = f"archive: {self.root} is a file; give the name of a folder"
            raise FlatnormError(msg)
        there = {entry.name for entry in self.root.iterdir()} if self.root.is_dir() else set()
        strange = {name for name in there if name not in _FOLDERS and not name.startswith(("README", "catalogue."))}
        if strange or (self.store.runs() and not self.journal.path(0).exists()):
            what = f"holds {offenders(sorted(strange))}" if strange else "has runs but no records"
            msg = f"archive: {self.root} {what}, so it is no archive; give a new folder, and add the runs to it"
            raise FlatnormError(msg)
        with saying_why("archive", self.root):
            if not self.root.parent.is_dir():
                msg = f"archive: the folder {self.root.parent} does not exist; create it first"
                raise FlatnormError(msg)
            self.root.mkdir(exist_ok=True)
            self.journal.folder.mkdir(exist_ok=True)
            with contextlib.suppress(FileExistsError):  # another process was faster
                self.journal.append("archive", _first)
            with (
                contextlib.suppress(FlatnormError),
                whole_file(self.root / "README.txt", caller="archive") as temporary,
            ):
                temporary.write_text(_README, encoding="utf-8")

    def ask(self, question: Callable[[sqlite3.Connection], T], *, scan: bool = True, need_records: bool = False) -> T:
        """Answer from a catalogue that is up to date; a broken one is made again first."""
        for attempt in range(2):
            identity = self._catalogue.identity()
            with contextlib.closing(self._catalogue.connected(self._fill)) as connection:
                try:
                    self._bring_up_to_date(connection, scan=scan, need_records=need_records)
                    return question(connection)
                except sqlite3.DatabaseError as error:
                    if index.keeps_from_writing(error):
                        with contextlib.closing(self._catalogue.in_memory(self._fill)) as own:
                            return question(own)
                    if attempt or isinstance(error, sqlite3.OperationalError):
                        msg = f"archive: the catalogue of {self.root} cannot be used: {error}"
                        raise FlatnormError(msg) from error
            self._catalogue.remade(self._fill, instead_of=identity).close()
        raise AssertionError

    def reindexed(self) -> tuple[set[str], dict[str, str]]:
        """Make the catalogue again; give the runs that are in it, and why others could not be read."""
        self._catalogue.remade(self._fill, instead_of=self._catalogue.identity()).close()
        return self.ask(index.known_runs)

    def enter(self, contents: Contents) -> None:
        """Enter a run that was just kept."""

        def entered(connection: sqlite3.Connection) -> None:
            with index.writing(connection):
                index.add_run(connection, contents)

        self.ask(entered, scan=False)

    def _bring_up_to_date(self, connection: sqlite3.Connection, *, scan: bool, need_records: bool) -> None:
        applied, seal = index.records_applied(connection)
        behind = self.journal.path(applied).exists() or applied == 0
        if behind or (need_records and self.journal.read(applied - 1).seal != seal):
            with index.writing(connection):
                self._enter_records(connection, needed=need_records)
        if not scan:
            return
        there = self.store.runs()
        runs, unreadable = index.known_runs(connection)
        entered = runs | set(unreadable)
        if entered - there:
            with index.writing(connection):
                index.drop_runs(connection, entered - there)
        new = sorted(there - entered)
        for first in range(0, len(new), _AT_ONCE):
            # reading takes long, and no other process should have to wait for it
            read = [self._read(run) for run in new[first : first + _AT_ONCE]]
            with index.writing(connection):
                for one in read:
                    one(connection)

    def _fill(self, connection: sqlite3.Connection) -> None:
        """Enter everything into an empty catalogue."""
        from flatnorm_xr.progress import counted

        self._enter_records(connection, needed=False)
        runs = sorted(self.store.runs())
        with counted(runs, "catalogue", wanted=len(runs) > _MANY, noun="runs", keep=False) as names:
            for run in names:
                self._read(run)(connection)

    def _read(self, run: str) -> Callable[[sqlite3.Connection], None]:
        """Read a run, and give what enters it."""
        try:
            contents = self.contents(run)
        except FlatnormError as error:
            why = str(error)
            return lambda connection: index.add_unreadable(connection, run, why)
        return lambda connection: index.add_run(connection, contents)

    def _enter_records(self, connection: sqlite3.Connection, *, needed: bool) -> None:
        try:
            records = self.journal.records()
        except ReadError as error:
            if needed:
                raise
            warn(f"{error}; until then it is not known which run holds")
            return
        seal = records[-1].seal if records else ""
        index.set_certificates(connection, certificates_of(records), records=len(records), seal=seal)

    def contents(self, run: str) -> Contents:
        """Read what the catalogue keeps of a run."""
        path = self.checked(run)
        return contents_of(run, netcdf.open(path), path)

    def checked(self, run: str) -> Path:
        """Path of a run whose bytes are what they were."""
        path = self.store.path(run)
        try:
            found = sha256_of(path)
        except FileNotFoundError as error:
            msg = f"archive: there is no run {run[:SHOWN]} in {self.root}"
            raise ReadError(msg) from error
        except OSError as error:
            msg = f"archive: {path}: {error.strerror or error}"
            raise ReadError(msg) from error
        if found != run:
            msg = f"archive: {path} is damaged; copy it back from a backup (verify moves it to quarantine)"
            raise ReadError(msg)
        return path

    def resolved(self, run: str | Certificate) -> str:
        """Full name of a run."""
        name = run.run if isinstance(run, Certificate) else run
        if isinstance(name, str) and RUN.fullmatch(name) and self.store.path(name).exists():
            return name
        if not isinstance(name, str) or not re.fullmatch(r"[0-9a-f]{4,64}", name):
            msg = (
                f"archive: {offenders([name])} is no run; give the first digits of one, four at least (list shows them)"
            )
            raise ReadError(msg)
        found = self.ask(lambda c: index.runs_beginning(c, name))
        if len(found) != 1:
            several = f"begins {len(found)} runs; give more digits" if found else f"begins no run in {self.root}"
            msg = f"archive: {name} {several}"
            raise ReadError(msg)
        return found[0]


@contextlib.contextmanager
def saying_why(caller: str, root: Path) -> Iterator[None]:
    """Say in one line why nothing could be written."""
    try:
        yield
    except OSError as error:
        msg = f"{caller}: {error.filename or root}: {error.strerror or error}; nothing was changed"
        raise FlatnormError(msg) from error


def _first(records: list[Record]) -> dict[str, Any]:
    """Say what the folder is; once."""
    if records:
        raise FileExistsError
    return {"format": FORMAT}
