"""Let one process at a time do a thing; a process that is killed leaves no lock behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

from flatnorm_xr.errors import FlatnormError

__all__ = ["held", "lock_file", "share", "unlock_file"]

_PATIENCE = 60.0
"""Seconds after which whoever holds the lock is taken for stopped."""

_PAUSE = 0.01


@contextlib.contextmanager
def held(path: Path, *, patience: float = _PATIENCE) -> Iterator[None]:
    """Wait until no other process of this host is in a block with the same path, and keep others out of it.

    Parameters
    ----------
    path : Path
        Of an empty file, made when it is absent. Where it cannot be made, or the file system knows no locks, the block
        runs all the same: what it does must be safe without, if less tidy.
    patience : float
        Seconds to wait for others.

    Raises
    ------
    FlatnormError
        Another process has been in such a block for longer than that.
    """
    descriptor = lock_file(path, patience=patience)
    try:
        yield
    finally:
        unlock_file(descriptor)


def lock_file(path: Path, *, shared: bool = False, patience: float = _PATIENCE) -> int | None:
    """Lock a file, and give its descriptor, or None where that cannot be done.

    Parameters
    ----------
    path : Path
        A symbolic link is not followed, so that nothing is made where it leads.
    shared : bool
        Together with others who ask for the same.
    patience : float
        Seconds to wait for others.
    """
    # for reading, which is enough to lock: the file may be that of another member of a group
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags | os.O_CREAT, 0o666)
    except OSError:
        try:
            descriptor = os.open(path, flags)
        except OSError:
            return None
    try:
        if _taken(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, patience):
            return descriptor
    except OSError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    msg = f"archive: another process has held {path} for {patience:.0f} s; has it been stopped?"
    raise FlatnormError(msg)


def share(descriptor: int | None) -> None:
    """Keep a lock, but let others share it."""
    if descriptor is not None:
        fcntl.flock(descriptor, fcntl.LOCK_SH)


def unlock_file(descriptor: int | None) -> None:
    """Let others have it."""
    if descriptor is not None:
        os.close(descriptor)


def _taken(descriptor: int, kind: int, patience: float) -> bool:
    """Take a lock; False when others do not let it go."""
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(random.uniform(0, _PAUSE))
        else:
            return True
