"""Which files a user means by a path, a glob, or a list of them."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Iterable
from pathlib import Path

from flatnorm_xr.errors import ReadError, offenders

__all__ = ["Paths", "check_regular", "find_files", "why_absent"]

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def find_files(paths: Paths, *, caller: str) -> list[str]:
    """List the files that paths and globs name, in order, each once.

    Parameters
    ----------
    paths : str, path, or an iterable of these
        A string with ``*``, ``?`` or ``[`` that is not itself a file is a glob (``**`` for any depth); its files
        come sorted.
    caller : str
        Name of the function that was called, for the message.

    Raises
    ------
    ReadError
        No path at all, a glob without a match, a directory, a missing file: all of them in one error.

    Examples
    --------
    >>> find_files("no/such/night/*.fits", caller="measure")
    Traceback (most recent call last):
    flatnorm_xr.errors.ReadError: measure: no file matches no/such/night/*.fits
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    given = list(given) if isinstance(given, Iterable) else [given]
    strange = [repr(one) for one in given if not isinstance(one, str | os.PathLike)]
    if strange:
        msg = f"{caller}: {offenders(strange)} is no path; pass a path, a glob, or a list of these"
        raise ReadError(msg)
    files: dict[str, str] = {}
    problems: list[str] = [] if given else ["paths is empty; name at least one file"]
    for one in [str(os.fspath(path)) for path in given]:
        matches = sorted(glob.glob(one, recursive=True)) if glob.has_magic(one) and not os.path.exists(one) else [one]
        if not matches:
            problems.append(f"no file matches {one}")
        for match in matches:
            if os.path.isdir(match):
                if match == one:
                    problems.append(f"{one} is a directory: name its files, for example {Path(one) / '*.fits*'}")
            elif not os.path.exists(match):
                problems.append(f"{match}: {why_absent(match)}")
            elif not os.path.isfile(match):
                problems.append(f"{match} is not a regular file")
            else:
                files.setdefault(os.path.realpath(match), match)
    if problems or not files:
        msg = f"{caller}: {offenders(problems or [f'{offenders(given)} names directories only'])}"
        raise ReadError(msg)
    return list(files.values())


def why_absent(path: str | os.PathLike[str]) -> str:
    """Say why a path leads to nothing, for a message."""
    try:
        os.stat(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "links of it form a circle"
        return "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror).lower()
    return "no such file"


def check_regular(path: str | os.PathLike[str], *, caller: str = "") -> None:
    """Refuse what is there and is neither file nor folder: a pipe or a device may never come to an end.

    Raises
    ------
    ReadError
        Naming the path.
    """
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        msg = f"{caller and caller + ': '}{path} is not a regular file"
        raise ReadError(msg)
