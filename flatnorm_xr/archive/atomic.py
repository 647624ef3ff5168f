"""Write a file whole or not at all: under a temporary name beside the target, flushed to disk, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from flatnorm_xr.errors import FlatnormError

__all__ = ["claim_file", "flush", "sweep", "whole_file"]

_DAY = 86_400

_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EACCES}


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str], *, overwrite: bool = False, caller: str = "save") -> Iterator[Path]:
    """Give a temporary path to write to; when the block ends well it becomes ``path``, else it is removed.

    The target is never seen half written: a reader, another writer, a full disk or a killed process finds the file
    that was there before, or the whole new one. A killed process may leave the temporary file
    (``.flatnorm-*.part``), which a later write to the folder removes when it is a day old.

    Parameters
    ----------
    path : path
        Where the file shall be. Its folder must exist. A symbolic link is followed, as an ordinary write does.
    overwrite : bool
        Replace a file that is there. Without it two processes may write the same path: one wins, the other raises.
    caller : str
        Name of the function that was called, for the messages.

    Raises
    ------
    FlatnormError
        The path exists and ``overwrite`` is False, is a folder, lies in a folder that is missing or cannot be written
        to, or the disk is full.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "levels.csv"
    >>> with whole_file(target) as temporary:
    ...     _ = temporary.write_text("detector,exposure,background")
    >>> target.read_text()
    'detector,exposure,background'
    """
    target = Path(os.path.realpath(path))
    _check(target, overwrite=overwrite, caller=caller)
    temporary = target.parent / f".flatnorm-{secrets.token_hex(6)}.part"
    try:
        try:
            # O_EXCL and 0o666: a file of our own, with the permissions that umask gives any new file
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield temporary
            flush(temporary)
            _publish(temporary, target, overwrite=overwrite)
        except FileExistsError as error:
            raise FlatnormError(_exists(target, caller)) from error
        except OSError as error:
            msg = f"{caller}: {target}: {error.strerror or error}; nothing was written"
            raise FlatnormError(msg) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    # Some network file systems refuse to flush a folder; the file is whole either way.
    with contextlib.suppress(OSError):
        flush(target.parent)
    sweep(target.parent)


def sweep(folder: Path) -> None:
    """Delete what writers left behind in a folder who were killed more than a day ago."""
    for path in folder.glob(".flatnorm-*.part"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _DAY:
                path.unlink()


def claim_file(path: Path, content: bytes) -> bool:
    """Write a file whole under a name that nobody has taken; one of several writers of one name wins.

    Where the file system knows no hard links, that needs a lock that the caller holds.

    Parameters
    ----------
    path : Path
        Its folder must exist.
    content : bytes

    Returns
    -------
    bool
        False when the name is taken; nothing was written then.
    """
    temporary = path.parent / f".flatnorm-{secrets.token_hex(6)}.part"
    try:
        with open(temporary, "xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            if os.path.lexists(path):
                return False
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        flush(path.parent)
    return True


def _check(target: Path, *, overwrite: bool, caller: str) -> None:
    """Say early what would fail after minutes of writing."""
    if target.is_dir():
        msg = f"{caller}: {target} is a folder; give the name of a file in it"
        raise FlatnormError(msg)
    if not target.parent.is_dir():
        msg = f"{caller}: the folder {target.parent} does not exist; create it first"
        raise FlatnormError(msg)
    if target.exists() and not overwrite:
        raise FlatnormError(_exists(target, caller))


def _exists(target: Path, caller: str) -> str:
    return f"{caller}: {target} exists; pass overwrite=True to replace it, or give another name"


def flush(path: Path) -> None:
    """Wait until a file, or a folder with the names in it, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(temporary: Path, target: Path, *, overwrite: bool) -> None:
    if overwrite:
        os.replace(temporary, target)
        return
    try:
        os.link(temporary, target)  # refuses, in one step, when the target has come to be
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _claim_and_replace(temporary, target)


def _claim_and_replace(temporary: Path, target: Path) -> None:
    """Where there are no hard links: an empty file claims the name, so that one of two writers is refused."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        os.replace(temporary, target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
