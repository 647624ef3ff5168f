"""Look at a file of unknown origin before its values are read: how large it says it is, what else lies in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from flatnorm_xr.camera.files import check_regular
from flatnorm_xr.errors import ReadError

__all__ = ["check_size", "groups_in"]

LARGEST = 8 << 30
"""Bytes that a run may take in memory."""


def check_size(path: Path, *, caller: str) -> None:
    """Refuse a file whose variables would not go into memory; a few bytes can say that they are a petabyte.

    Raises
    ------
    ReadError
        It is larger than a run may be, or no file at all. One that cannot be read is left to whoever reads it.
    """
    check_regular(path, caller=caller)
    try:
        size = path.stat().st_size
        if size <= LARGEST:
            with _opened(path) as file:
                size = sum(int(np.prod(v.shape, dtype=object)) * 8 for v in file.variables.values())
    except (OSError, RuntimeError, ValueError, AttributeError):
        return
    if size > LARGEST:
        msg = (
            f"{caller}: {path} holds {size / 2**30:.0f} GiB, a run may take {LARGEST / 2**30:.0f}; was it made by "
            "flatnorm?"
        )
        raise ReadError(msg)


def groups_in(path: Path) -> list[str]:
    """Names of the groups of a NetCDF file, of which a run has none; empty where they cannot be told."""
    try:
        with _opened(path) as file:
            return sorted(file.groups)
    except (OSError, RuntimeError, ValueError, AttributeError):
        return []


def _opened(path: Path) -> Any:
    """Open a copy in memory.

    HDF5 crashes (its issue 5359) when a file that somebody holds open is opened again without reading its strings.
    """
    from netCDF4 import Dataset

    return Dataset("copy", memory=path.read_bytes())
