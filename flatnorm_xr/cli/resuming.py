"""Levels measured in several goes: one file, saved on the way, and one process at a time that writes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flatnorm_xr.cli.console import complain, netcdf_name
from flatnorm_xr.errors import FlatnormError

__all__ = ["going_on"]


@contextmanager
def going_on(path: Path | None) -> Iterator[dict[str, Any]]:
    """Give the keywords ``resume`` and ``partial`` of `flatnorm_xr.measure`.

    Parameters
    ----------
    path : Path or None
        NetCDF file of levels; need not be there yet. None: nothing is known, and nothing is saved on the way.

    Raises
    ------
    FlatnormError
        Another process does the same with this file, or it holds no levels.
    """
    if path is None:
        yield {}
        return
    from flatnorm_xr.archive.netcdf import open as open_netcdf
    from flatnorm_xr.archive.netcdf import save

    with _alone(netcdf_name(path)):
        before = open_netcdf(path) if path.exists() else None
        try:
            yield {"resume": before, "partial": lambda some: save(some, path, overwrite=True)}
        except (KeyboardInterrupt, SystemExit):
            if path.exists():
                complain(f"what has been measured is in {path}: the same command goes on from there")
            raise


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes of this host out: the last to save would undo what the others saved."""
    from flatnorm_xr.archive.locks import lock_file, unlock_file

    beside = path.resolve().parent / f".{path.name}.lock"
    while True:
        try:
            descriptor = lock_file(beside, patience=0)
        except FlatnormError as error:
            msg = f"another process is measuring into {path}: wait for it, or give another name"
            raise FlatnormError(msg) from error
        if descriptor is None or _is(descriptor, beside):
            break
        unlock_file(descriptor)  # who held it has removed it meanwhile
    try:
        yield
    finally:
        if descriptor is not None:
            beside.unlink(missing_ok=True)
        unlock_file(descriptor)


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
