"""An archive's files, its records and its catalogue, kept in agreement."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import xarray as xr

from flatnorm_xr import __version__
from flatnorm_xr.archive import catalogue as index
from flatnorm_xr.archive import netcdf
from flatnorm_xr.archive.atomic import flush, whole_file
from flatnorm_xr.archive.certificates import Certificate, certificates_of
from flatnorm_xr.archive.contents import Contents, contents_of
from flatnorm_xr.archive.database import Database, is_busy, keeps_from_writing
from flatnorm_xr.archive.journal import Journal, Record
from flatnorm_xr.archive.store import RUN, Store, sha256_of
from flatnorm_xr.archive.untrusted import check_size
from flatnorm_xr.camera.files import check_regular
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
_NOT_OURS = frozenset(("lost+found", ".snapshot"))
"""Folders that file systems put into every folder, or the topmost."""

_README = """This folder is an archive of calibration runs, made by flatnorm-xr.

runs/ab/abcd...nc   one run a file: NetCDF, with the levels of the flats, E, G, scales, errors and flags.
                    The name is the sha256 of the file (sha256sum checks it); a file is never changed.
records/            what was decided, one small JSON file a decision, in order: which run holds from when
                    until when, who approved it, what was waived and why, what was removed and why.
trash/              runs that were removed.          quarantine/   files that were found damaged.
incoming/           what is being written.
catalogue.*         an index, made from the above; it may be deleted, and a copy of this folder needs none.

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
        self._database = Database(root / "catalogue.sqlite")

    def found(self, create: bool) -> None:
        """Make the folder, or see that it is an archive that can be read."""
        first = self.journal.path(0)
        with saying_why("archive", self.root):
            if not os.path.lexists(first):
                if self.journal.numbers():
                    self.journal.records()  # names the record that is missing
                if not create and self.store.runs():
                    msg = f"archive: {self.root} has runs but no records; copy its folder of records back from a backup"
                    raise ReadError(msg)
                if not create:
                    msg = f"archive: there is no archive at {self.root}; flatnorm archive add makes one"
                    raise ReadError(msg)
                self._create()
        links = [name for name in sorted(_FOLDERS) if (self.root / name).is_symlink()]
        if links:
            msg = (
                f"archive: {offenders(links)} of {self.root} is a symbolic link, and an archive writes nowhere else; "
                "put the folder itself there"
            )
            raise FlatnormError(msg)
        body = self.journal.read(0).body
        if body.get("format") != FORMAT:
            msg = (
                f"archive: {self.root} was made by {offenders([body.get('program', 'another program')])} in format "
                f"{offenders([repr(body.get('format'))])}; this program reads {FORMAT}: upgrade flatnorm-xr"
            )
            raise FlatnormError(msg)

    def _create(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            msg = f"archive: {self.root} is a file; give the name of a folder"
            raise FlatnormError(msg)
        if not self.root.parent.is_dir():
            msg = f"archive: the folder {self.root.parent} does not exist; create it first"
            raise FlatnormError(msg)
        there = {entry.name: entry for entry in self.root.iterdir()} if self.root.is_dir() else {}
        ours = ("README", "catalogue.", ".flatnorm-")
        strange = {name for name in there.keys() - _FOLDERS - _NOT_OURS if not name.startswith(ours)}
        strange |= {name for name, entry in there.items() if entry.is_symlink()}
        if strange or (self.store.runs() and not self.journal.path(0).exists()):
            what = f"holds {offenders(sorted(strange))}" if strange else "has runs but no records"
            remedy = (
                "give a new folder" if strange else "copy its records back from a backup, or add its runs to a new one"
            )
            msg = f"archive: {self.root} {what}, so it is no archive; {remedy}"
            raise FlatnormError(msg)
        self.root.mkdir(exist_ok=True)
        self.journal.folder.mkdir(exist_ok=True)
        with (
            contextlib.suppress(FlatnormError),
            whole_file(self.root / "README.txt", caller="archive") as temporary,
        ):
            temporary.write_text(_README, encoding="utf-8")
        with contextlib.suppress(FileExistsError):  # another process was faster
            self.journal.append("archive", _first)
        for folder in (self.root, self.root.parent):
            with contextlib.suppress(OSError):
                flush(folder)

    def keep(self, dataset: xr.Dataset, digest: str, file: Path | None) -> str:
        """Keep a run and enter it; one that holds the same keeps its name.

        Parameters
        ----------
        dataset : Dataset
            As it goes into a file.
        digest : str
        file : Path, optional
            The file it is in, where an archive made that.
        """
        with saying_why("add", self.root), self.store.alone(digest):
            # with a look at the files, for whoever added the same may have been killed before it was entered
            known = self.ask(lambda connection: index.run_of_digest(connection, digest))
            if known is not None and self.store.is_whole(known):
                return known
            if file is not None:
                contents = self.store.keep_file(file, self._look)
            else:
                contents = self.store.keep(dataset, self._look)
            try:
                self.enter(contents)
            except FlatnormError as error:
                warn(f"{error}; the run {contents.run[:SHOWN]} is kept, and is entered once that is mended")
            return contents.run

    def ask(self, question: Callable[[sqlite3.Connection], T], *, scan: bool = True, need_records: bool = False) -> T:
        """Answer from a catalogue that is up to date; a broken one is made again first."""
        identity = self._database.identity()
        try:
            with contextlib.closing(self._database.connected(self._fill)) as connection:
                self._bring_up_to_date(connection, scan=scan, need_records=need_records)
                return question(connection)
        except sqlite3.DatabaseError as error:
            if is_busy(error):
                raise FlatnormError(self._unusable(error)) from error
            if keeps_from_writing(error):
                connection = self._database.in_memory(self._fill)
            else:
                warn(f"archive: the catalogue of {self.root} is damaged ({error}); it is made again from the files")
                connection = self._database.remade_or_read(self._fill, instead_of=identity)
        with contextlib.closing(connection):
            try:
                return question(connection)
            except sqlite3.DatabaseError as error:
                raise FlatnormError(self._unusable(error)) from error

    def _unusable(self, error: sqlite3.Error) -> str:
        return f"archive: the catalogue of {self.root} cannot be used: {error}"

    def reindexed(self) -> tuple[set[str], dict[str, str]]:
        """Make the catalogue again; give the runs that are in it, and why others could not be read."""
        self._database.remade(self._fill, instead_of=self._database.identity()).close()
        return self.ask(index.known_runs)

    def enter(self, contents: Contents) -> None:
        """Enter a run that was just kept."""

        def entered(connection: sqlite3.Connection) -> None:
            with index.writing(connection):
                index.add_run(connection, contents)

        self.ask(entered, scan=False)

    def _bring_up_to_date(self, connection: sqlite3.Connection, *, scan: bool, need_records: bool) -> None:
        applied, seal, origin = index.records_applied(connection)
        if origin and origin != self.journal.read(0).seal:
            msg = "it is that of another archive"
            raise sqlite3.DatabaseError(msg)
        behind = applied == 0 or os.path.exists(self.journal.path(applied))
        if behind or (need_records and self.journal.read(applied - 1).seal != seal):
            with index.writing(connection):
                self._enter_records(connection, needed=need_records)
        if not scan:
            return
        # in this order, so that a run that comes in between is not taken for one that is gone
        runs, stamps = index.known_runs(connection)[0], index.stamps(connection)
        there = self.store.runs()
        entered = runs | {run for run, stamp in stamps.items() if run not in there or self._stamp(run) == stamp}
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
        stamp = self._stamp(run)
        try:
            contents = self.contents(run)
        except FlatnormError as error:
            if not self.store.has(run):  # taken out meanwhile
                return lambda connection: None
            why = str(error)
            return lambda connection: index.add_unreadable(connection, run, why, stamp)
        return lambda connection: index.add_run(connection, contents)

    def _stamp(self, run: str) -> str:
        """Give what differs when a file was replaced, or when another program tries to read it."""
        try:
            status = self.store.path(run).stat()
        except OSError:
            return ""
        return f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_mode} {__version__}"

    def _enter_records(self, connection: sqlite3.Connection, *, needed: bool) -> None:
        try:
            records = self.journal.records()
        except ReadError as error:
            if needed:
                raise
            warn(f"{error}; until then it is not known which run holds")
            return
        first, last = (records[k].seal if records else "" for k in (0, -1))
        index.set_certificates(connection, certificates_of(records), records=len(records), seal=last, origin=first)

    def contents(self, run: str) -> Contents:
        """Read what the catalogue keeps of a run."""
        return self._look(run, self.checked(run))

    def _look(self, run: str, path: Path) -> Contents:
        """Read what the catalogue keeps of a run from any file."""
        check_size(path, caller="archive")
        try:
            return contents_of(run, netcdf.open(path), path)
        except FlatnormError:
            raise
        except OSError as error:
            msg = f"archive: {path}: {error.strerror or error}"
            raise ReadError(msg) from error
        except (ValueError, TypeError, KeyError, OverflowError, MemoryError, AttributeError) as error:
            msg = f"archive: {path} cannot be taken for a run ({offenders([f'{type(error).__name__}: {error}'])})"
            raise ReadError(msg) from error

    def checked(self, run: str) -> Path:
        """Path of a run whose bytes are what they were."""
        path = self.store.path(run)
        check_regular(path, caller="archive")
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
        if isinstance(name, str) and RUN.fullmatch(name) and self.store.has(name):
            return name
        if not isinstance(name, str) or not re.fullmatch(r"[0-9a-f]{4,64}", name):
            msg = (
                f"archive: {offenders([name])} is no run; give the first digits of one, four at least (list shows them)"
            )
            raise ReadError(msg)
        found = self.ask(lambda c: index.runs_beginning(c, name))
        if len(found) != 1:
            said = f"begins {len(found)} runs; give more digits" if found else self._not_there(name)
            msg = f"archive: {name} {said}"
            raise ReadError(msg)
        return found[0]

    def _not_there(self, prefix: str) -> str:
        moved = self.store.moved(prefix)
        if moved:
            return f"was taken out of the archive and is now {moved[0]}; adding that file brings it back if it is whole"
        return f"begins no run in {self.root}"


@contextlib.contextmanager
def saying_why(caller: str, root: Path) -> Iterator[None]:
    """Say in one line why nothing could be written."""
    try:
        yield
    except OSError as error:
        path = Path(error.filename or root)
        where = path.parent if path.name.startswith(".flatnorm-") else path
        msg = f"{caller}: {where}: {error.strerror or error}; nothing was changed"
        raise FlatnormError(msg) from error


def _first(records: list[Record]) -> dict[str, Any]:
    """Say what the folder is; once."""
    if records:
        raise FileExistsError
    return {"format": FORMAT, "archive": secrets.token_hex(8)}
