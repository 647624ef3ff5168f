"""The files of an archive: each run once, under the checksum of its bytes, never changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import xarray as xr

from flatnorm_xr.archive.atomic import flush, sweep
from flatnorm_xr.archive.digest import DIGEST, content_digest
from flatnorm_xr.archive.locks import held
from flatnorm_xr.archive.netcdf import write_unprotected
from flatnorm_xr.errors import FlatnormError, ReadError, offenders

__all__ = ["RUN", "Moving", "Store", "sha256_of"]

RUN = re.compile(r"[0-9a-f]{64}")
"""What a run is called: the sha256 of its file."""

_FOLLOWED = frozenset(("G", "G_stderr"))
"""Variables that are followed over thousands of runs, and so are read by their place in the file."""

_SMALL = 2048
"""Bytes below which packing an array saves less than its index in the file takes."""

_BLOCK = 1 << 20


_PATIENCE = 600.0
"""Seconds that writing a run may take before its writer is taken for stopped."""

T = TypeVar("T")


class Store:
    """Runs in ``runs/``, what was removed in ``trash/``, what was found damaged in ``quarantine/``.

    Parameters
    ----------
    root : path
        Folder of the archive.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, run: str, folder: str = "runs") -> Path:
        """Where a run lies, or would lie. Made from the checksum alone, never from what stands in a file."""
        if not RUN.fullmatch(run):
            msg = f"archive: {offenders([run])} is no run; a run is named by 64 hexadecimal digits"
            raise FlatnormError(msg)
        return self.root / folder / run[:2] / f"{run}.nc" if folder == "runs" else self.root / folder / f"{run}.nc"

    def runs(self) -> set[str]:
        """Names of the runs that are there."""
        return {name for folder, file in self._files() if (name := _run_of(folder, file))}

    def strangers(self) -> list[Path]:
        """Files among the runs that are none."""
        found = [(folder, file) for folder, file in self._files() if not _run_of(folder, file)]
        return sorted(self.root / "runs" / folder / file for folder, file in found)

    def keep(self, bare: xr.Dataset, look: Callable[[str, Path], T]) -> T:
        """Write a dataset as a run.

        Parameters
        ----------
        bare : Dataset
            What `flatnorm_xr.archive.netcdf.storable` gave.
        look : callable
            Called with the name of the run and the file before it is among the runs; what cannot be read again is not
            kept. Where the same bytes are there already, nothing is written, and those are looked at.

        Returns
        -------
        object
            What ``look`` returned.
        """
        ordered = _in_order(bare)
        with self._incoming() as temporary:
            write_unprotected(ordered, temporary, self.root, unpacked=_unpacked(ordered), caller="add")
            return self._place(temporary, look)

    def keep_file(self, path: Path, look: Callable[[str, Path], T]) -> T:
        """Copy a file that an archive made, byte by byte, so that the run has the name it had there."""
        with self._incoming() as temporary:
            with open(path, "rb") as source, open(temporary, "wb") as target:
                while block := source.read(_BLOCK):
                    target.write(block)
            return self._place(temporary, look)

    @contextlib.contextmanager
    def alone(self, digest: str) -> Iterator[None]:
        """Keep other processes from adding what has the same digest."""
        folder = self.root / "incoming"
        with contextlib.suppress(OSError):
            folder.mkdir(exist_ok=True)
        with held(folder / f"{digest[:2]}.lock", patience=_PATIENCE):
            yield

    def has(self, run: str) -> bool:
        """Whether there is a file of a run; also False where this user may not know."""
        return os.path.exists(self.path(run))

    def is_whole(self, run: str) -> bool:
        """Whether a run is there, and its bytes are what they were."""
        path = self.path(run)
        return os.path.isfile(path) and sha256_of(path) == run

    def moved(self, prefix: str) -> list[Path]:
        """Files that were taken out, of runs that begin with these digits."""
        return [p for folder in ("trash", "quarantine") for p in sorted((self.root / folder).glob(f"{prefix}*"))]

    def sweep(self) -> None:
        """Delete what writers left behind who were killed more than a day ago."""
        for folder in ("incoming", "records"):
            sweep(self.root / folder)

    def _files(self) -> Iterator[tuple[str, str]]:
        """Names of folder and file of all that lies among the runs; the folder is "" for what lies beside folders."""
        try:
            for folder in sorted(os.scandir(self.root / "runs"), key=lambda entry: entry.name):
                if folder.is_dir(follow_symlinks=False):
                    for name in os.listdir(folder.path):
                        yield folder.name, name
                else:
                    yield "", folder.name
        except FileNotFoundError:
            return
        except OSError as error:
            msg = f"archive: {error.filename or self.root}: {error.strerror or error}"
            raise ReadError(msg) from error

    @contextlib.contextmanager
    def _incoming(self) -> Iterator[Path]:
        folder = self.root / "incoming"
        folder.mkdir(exist_ok=True)
        temporary = folder / f".flatnorm-{secrets.token_hex(6)}.part"
        try:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield temporary
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _place(self, temporary: Path, look: Callable[[str, Path], T]) -> T:
        """Give a whole file its name: the checksum of its bytes."""
        os.chmod(temporary, os.stat(temporary).st_mode & ~0o222)
        flush(temporary)
        run = sha256_of(temporary)
        target = self.path(run)
        # what is there under this name is the same, unless it has been damaged since
        if self.is_whole(run):
            return look(run, target)
        seen = look(run, temporary)
        for folder in (target.parent.parent, target.parent):
            if folder.is_symlink():
                msg = f"add: {folder} is a symbolic link, and an archive writes nowhere else; put a folder in its place"
                raise FlatnormError(msg)
            if not folder.is_dir():
                folder.mkdir(exist_ok=True)
                _flush_folders(folder.parent)
        os.replace(temporary, target)
        _flush_folders(target.parent)
        return seen


def _flush_folders(*folders: Path) -> None:
    """Wait until the names in folders are on disk; some network file systems refuse, and the files are whole anyway."""
    for folder in folders:
        with contextlib.suppress(OSError):
            flush(folder)


def _run_of(folder: str, file: str) -> str:
    """Name of the run whose place among the runs this is; "" where it is that of none."""
    name = file.removesuffix(".nc")
    return name if RUN.fullmatch(name) and file == f"{name}.nc" and folder == name[:2] else ""


class Moving:
    """A run on its way out of the archive, which can be taken back.

    Parameters
    ----------
    store : Store
    run : str
    folder : str
        ``trash`` or ``quarantine``. What was moved there under the same name before is kept too.
    """

    def __init__(self, store: Store, run: str, folder: str) -> None:
        self._place = store.path(run)
        self.target = store.root / folder / self._place.name

    def do(self) -> Callable[[], None]:
        """Move it; gives what undoes that."""
        self.target.parent.mkdir(exist_ok=True)
        if os.path.lexists(self.target):
            self.target = self.target.with_name(f"{self._place.name}.{secrets.token_hex(4)}")
        os.replace(self._place, self.target)
        _flush_folders(self.target.parent, self._place.parent)
        return self.undo

    def undo(self) -> None:
        """Put it back."""
        os.replace(self.target, self._place)
        _flush_folders(self._place.parent, self.target.parent)


def sha256_of(path: Path) -> str:
    """Sha256 of the bytes of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unpacked(ds: xr.Dataset) -> frozenset[str]:
    """Choose the variables that lie in the file as they are in memory; the name of the file is their checksum."""
    return frozenset(
        str(name)
        for name, variable in ds.variables.items()
        if variable.dtype.kind in "iuf" and (name in _FOLLOWED or variable.nbytes <= _SMALL)
    )


def _in_order(bare: xr.Dataset) -> xr.Dataset:
    """List variables and attributes in one order, so that the same content makes the same bytes."""
    names = sorted(map(str, bare.data_vars))
    # variables alone: an array would bring its own coordinates along, in their order
    coordinates = {name: bare.variables[name] for name in sorted(map(str, bare.coords))}
    ordered = xr.Dataset({name: bare.variables[name] for name in names}, coords=coordinates)
    for variable in ordered.variables.values():
        variable.attrs = dict(sorted(variable.attrs.items()))
    ordered.attrs = dict(sorted({**bare.attrs, DIGEST: content_digest(bare)}.items()))
    return ordered
