"""Masks kept small: packed to bits or listed pixel by pixel, and a store of them that is bounded."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["MaskStore", "PackedMask", "either", "pack"]

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PackedMask:
    """The bad pixels of one image: as bits, or where they are few as their places.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns.
    bits : array of uint8 or None
        As `numpy.packbits` has them.
    places : array of uint32 or None
        Of the bad pixels in the flattened image.
    """

    shape: tuple[int, int]
    bits: npt.NDArray[np.uint8] | None = None
    places: npt.NDArray[np.uint32] | None = None

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        return sum(one.nbytes for one in (self.bits, self.places) if one is not None)

    def unpacked(self) -> Flags:
        """Make an array of bool, (rows, columns), the caller's to change."""
        size = self.shape[0] * self.shape[1]
        if self.bits is not None:
            return np.unpackbits(self.bits, count=size).view(np.bool_).reshape(self.shape)
        bad = np.zeros(size, dtype=np.bool_)
        if self.places is not None:
            bad[self.places] = True
        return bad.reshape(self.shape)


def pack(bad: Flags | None) -> PackedMask | None:
    """Pack a mask of two dimensions; None when no pixel is bad.

    Examples
    --------
    >>> pack(np.eye(2, dtype=bool)).unpacked().tolist()
    [[True, False], [False, True]]
    """
    if bad is None:
        return None
    number = int(np.count_nonzero(bad))
    if not number:
        return None
    shape = (bad.shape[0], bad.shape[1])
    if 32 * number < bad.size < 2**32:
        return PackedMask(shape, places=np.flatnonzero(bad).astype(np.uint32))
    return PackedMask(shape, bits=np.packbits(bad))


def either(first: PackedMask | None, second: PackedMask | None) -> PackedMask | None:
    """Join two masks of the same shape: what is bad in one of them or in both; None has no bad pixels.

    Examples
    --------
    >>> either(pack(np.eye(2, dtype=bool)), pack(np.eye(2, dtype=bool)[::-1])).unpacked().tolist()
    [[True, True], [True, True]]
    """
    if first is None or second is None:
        return second if first is None else first
    if first.places is not None and second.places is not None:
        places = np.union1d(first.places, second.places)
        if 32 * places.size < first.shape[0] * first.shape[1]:
            return PackedMask(first.shape, places=places)
    return PackedMask(first.shape, bits=_as_bits(first) | _as_bits(second))


def _as_bits(mask: PackedMask) -> npt.NDArray[np.uint8]:
    return np.packbits(mask.unpacked()) if mask.bits is None else mask.bits


class MaskStore:
    """Masks that were made before, by key; those that were not asked for the longest go first.

    Any number of threads may ask. A mask that one is making is not made by another, which waits.
    """

    def __init__(self, limit: int) -> None:
        """Hold up to ``limit`` bytes."""
        self.limit = limit
        self._held: OrderedDict[Hashable, tuple[PackedMask | None, ...]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._making: dict[Hashable, threading.Lock] = {}

    def __getstate__(self) -> Any:
        """Refuse to be copied to another process: every process has a store of its own."""
        raise TypeError

    @property
    def nbytes(self) -> int:
        """Memory that the masks take."""
        return self._bytes

    def get(self, key: Hashable, make: Callable[[], tuple[PackedMask | None, ...]]) -> tuple[PackedMask | None, ...]:
        """Masks of a key, made by ``make`` when they are not there."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._held:
                    return self._held[key]
            try:
                masks = make()
                with self._lock:
                    self._keep(key, masks)
            finally:
                with self._lock:
                    self._making.pop(key, None)
        return masks

    def _keep(self, key: Hashable, masks: tuple[PackedMask | None, ...]) -> None:
        if key in self._held:
            return
        self._held[key] = masks
        self._bytes += _size(masks)
        while self._bytes > self.limit:
            _, dropped = self._held.popitem(last=False)
            self._bytes -= _size(dropped)


def _size(masks: tuple[PackedMask | None, ...]) -> int:
    # a key and an entry without bad pixels take memory, too
    return 1000 + sum(mask.nbytes for mask in masks if mask is not None)
