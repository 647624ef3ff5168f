"""What can go wrong, as exceptions and warnings, and the one way to list offenders in a message."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

__all__ = [
    "CameraError",
    "DisconnectedError",
    "FlatnormError",
    "FlatnormWarning",
    "ReadError",
    "SchemaError",
    "UnfitError",
    "offenders",
    "warn",
]

_PACKAGE = str(Path(__file__).parent)


class FlatnormError(ValueError):
    """Bad use or bad input; the message names the argument, the rule, the offenders and the remedy."""


class SchemaError(FlatnormError):
    """A dataset does not follow the data model, or a file was written by a newer program."""


class ReadError(FlatnormError):
    """A file is missing, truncated, or not of the kind that was expected."""


class CameraError(FlatnormError):
    """A camera was not recognised, or its profile does not fit the file."""


class DisconnectedError(FlatnormError):
    """Some units share no exposure with the others, so the ratio between them was not measured."""


class UnfitError(FlatnormError):
    """A run fails its checks, and nobody has waived them, so it is not certified.

    Parameters
    ----------
    message : str
    failures : iterable of str
        What speaks against the run, a sentence a check.
    """

    def __init__(self, message: str, failures: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.failures = tuple(failures)


class FlatnormWarning(UserWarning):
    """The output was written, and something in it deserves a look."""


def offenders(labels: Iterable[object], *, show: int = 5) -> str:
    """List the first few labels on one line, and say how many more there are.

    Examples
    --------
    >>> offenders([3, 7, 12])
    '3, 7, 12'
    >>> offenders(range(9))
    '0, 1, 2, 3, 4 (+4 more)'
    """
    names = [_printable(str(label)) for label in labels]
    rest = len(names) - show
    return ", ".join(names[:show]) + (f" (+{rest} more)" if rest > 0 else "")


def _printable(text: str) -> str:
    """Write line ends and the like as escapes, so that a label from a file cannot break a message into lines."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def warn(message: str) -> None:
    """Warn with a `FlatnormWarning` that points at the caller's own line, however deep inside the package we are."""
    depth, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, FlatnormWarning, stacklevel=depth)
