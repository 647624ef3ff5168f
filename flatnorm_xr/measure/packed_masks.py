"""Masks kept small: as bits, or as gaps between bad pixels, or between the ends of rows of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flatnorm_xr.measure.parts import Booleans

__all__ = ["PackedMask", "either", "pack"]

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

_SKIP = 255
"""Byte that stands for so many pixels and no place."""

_MOST_CODE = 1 / 16
"""Bytes of gaps a pixel, at most: half of what bits take, which are unpacked quicker."""


@dataclass(frozen=True)
class PackedMask:
    """The bad pixels of one image, in the form that takes the least memory.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns.
    form : {"bits", "pixels", "ends"}
        Bits as `numpy.packbits` has them, a byte a bad pixel, or two bytes an unbroken row of them (in the flattened
        image): its first pixel and the first behind it. Pixels and ends are told by how many pixels lie between
        one and the next.
    code : array of uint8
        Bits or gaps.
    """

    shape: tuple[int, int]
    form: Literal["bits", "pixels", "ends"]
    code: Bytes

    @property
    def nbytes(self) -> int:
        """Memory it takes: an eighth of a byte a pixel at most."""
        return self.code.nbytes

    def unpacked(self) -> Booleans:
        """Make an array of bool, (rows, columns), the caller's to change."""
        size = self.shape[0] * self.shape[1]
        if self.form == "bits":
            return np.unpackbits(self.code, count=size).view(np.bool_).reshape(self.shape)
        places = _places(self.code)
        if self.form == "ends":
            lengths = np.diff(places, prepend=0, append=size)
            return np.repeat(np.arange(lengths.size) % 2 == 1, lengths).reshape(self.shape)
        bad = np.zeros(size, dtype=np.bool_)
        bad[places] = True
        return bad.reshape(self.shape)


def pack(bad: Booleans | None) -> PackedMask | None:
    """Pack a mask of two dimensions; None when no pixel is bad.

    Examples
    --------
    >>> pack(np.eye(2, dtype=bool)).unpacked().tolist()
    [[True, False], [False, True]]
    """
    if bad is None or not bad.any():
        return None
    shape, flat = (bad.shape[0], bad.shape[1]), np.ravel(bad)
    changes = np.empty(flat.size, dtype=np.bool_)
    changes[0] = flat[0]
    np.not_equal(flat[1:], flat[:-1], out=changes[1:])
    pixels, ends = np.count_nonzero(flat), np.count_nonzero(changes)
    if min(pixels, ends) + flat.size // _SKIP > _MOST_CODE * flat.size:
        return PackedMask(shape, "bits", np.packbits(flat))
    if pixels <= ends:
        return PackedMask(shape, "pixels", _gaps(np.flatnonzero(flat)))
    return PackedMask(shape, "ends", _gaps(np.flatnonzero(changes)))


def _gaps(places: Any) -> Bytes:
    """Code places, which increase, by what lies between them: a byte for each, and one for every 255 pixels."""
    skips, rest = np.divmod(np.diff(places, prepend=-1) - 1, _SKIP)
    at = np.arange(rest.size) + np.cumsum(skips)
    code = np.full(at[-1] + 1, _SKIP, dtype=np.uint8)
    code[at] = rest
    return code


def _places(code: Bytes) -> Places:
    last = np.cumsum(code, dtype=np.int64)[code != _SKIP]
    return np.asarray(last + np.arange(last.size))


def either(first: PackedMask | None, second: PackedMask | None) -> PackedMask | None:
    """Join two masks of the same shape: what is bad in one of them or in both; None has no bad pixels.

    Examples
    --------
    >>> either(pack(np.eye(2, dtype=bool)), pack(np.eye(2, dtype=bool)[::-1])).unpacked().tolist()
    [[True, True], [True, True]]
    """
    if first is None or second is None:
        return second if first is None else first
    forms = {first.form, second.form}
    if forms == {"bits"}:
        return replace(first, code=first.code | second.code)
    if forms == {"pixels"}:
        code = _gaps(np.union1d(_places(first.code), _places(second.code)))
        if code.size <= _MOST_CODE * first.shape[0] * first.shape[1]:
            return PackedMask(first.shape, "pixels", code)
    return pack(first.unpacked() | second.unpacked())
