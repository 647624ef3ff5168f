"""Count integer words level by level in one pass: quartiles and every clip follow from the histogram, exactly."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flatnorm_xr.compiled import compiled
from flatnorm_xr.measure.clipping import NOTHING, Statistics, interpolate, moments_about
from flatnorm_xr.measure.layout import NO_ROWS, Words, plain, rows_of, turn_words, widened, words_of
from flatnorm_xr.measure.parts import Part

__all__ = ["Levels", "count_levels", "merged"]

Array = npt.NDArray[Any]

# Bins of a histogram of 32-bit words, and by how many bins rows may be shifted against each other.
WINDOW = 1 << 20

# Up to this many 32-bit words looking at them one by one is quicker.
FEW_PIXELS = 1 << 15

# Words looked at to place the window of 32-bit words.
FEW_WORDS = 1 << 10

# Words that are made bins in one vectorised loop before they are counted one by one; they stay in the first cache.
BLOCK = 4096


@dataclass(frozen=True)
class Levels:
    """Levels that occur, in rising order, and how many good pixels have each."""

    level: npt.NDArray[np.float64]
    number: npt.NDArray[np.int64]

    @property
    def size(self) -> int:
        """Number of good pixels."""
        return int(self.number.sum())

    def quartiles(self) -> tuple[float, float, float]:
        """First quartile, median and third quartile, interpolated linearly between pixels."""
        upto = np.cumsum(self.number)
        return interpolate(int(upto[-1]), lambda rank: float(self.level[np.searchsorted(upto, rank, side="right")]))

    def moments(self, low: float, high: float, /) -> Statistics:
        """Mean, standard deviation (n - 1) and number of the pixels in [low, high]."""
        part = slice(np.searchsorted(self.level, low, side="left"), np.searchsorted(self.level, high, side="right"))
        level, number = self.level[part], self.number[part].astype(np.float64)
        if level.size == 0:
            return NOTHING
        counts = number.sum()
        # A level near the mean: distances of integers and of halves to it are exact.
        centre = float(level[np.searchsorted(level, (level * number).sum() / counts).clip(max=level.size - 1)])
        for _ in range(2):
            away = level - centre
            weighted = away * number
            found, is_exact = moments_about(centre, int(counts), float(weighted.sum()), float((weighted * away).sum()))
            if is_exact:
                break
            centre = found.level
        return found


def merged(several: Sequence[Levels]) -> Levels:
    """Levels of all sets together; one that several sets have is there several times."""
    level, number = (np.concatenate([getattr(one, name) for one in several]) for name in ("level", "number"))
    order = np.argsort(level)
    return Levels(level[order], number[order])


class _Run(NamedTuple):
    """Places of a run of words; none when the last is below the first."""

    first: int
    last: int


NO_PLACE = _Run(0, -1)


class _Scale(NamedTuple):
    """How words lie on the axis of a histogram: word = place + lowest, where place = raw bits ^ flip, signed."""

    flip: int
    lowest: int
    places: _Run


_SCALES = {
    "u2": _Scale(0, 0, _Run(0, 65535)),
    "i2": _Scale(1 << 15, -(1 << 15), _Run(0, 65535)),
    "u4": _Scale(1 << 31, 1 << 31, _Run(-(1 << 31), (1 << 31) - 1)),
    "i4": _Scale(0, 0, _Run(-(1 << 31), (1 << 31) - 1)),
}


class _Shifts(NamedTuple):
    """Bins of the rows: bin = 1 + shift + step * (place - base); a negative shift means that the row has no value.

    The value of a word is ``zero + scale * (base + lowest + (bin - 1) / step) - offset`` before the gain.
    """

    shift: npt.NDArray[np.int32]
    step: int
    offset: float


def count_levels(part: Part) -> tuple[Levels, int] | None:
    """Levels of the good pixels of one part, and its number of saturated pixels.

    None when its words are not integers, or spread over too many levels, or when something was subtracted from them
    that puts them on no grid: a bias image, or row offsets that are not multiples of 1/2.
    """
    words = widened(part.words)
    shifts = _shifts(part)
    if words.dtype.kind not in "iu" or words.dtype.itemsize > 4 or part.bias is not None or shifts is None:
        return None
    if words.size == 0:
        return Levels(np.zeros(0), np.zeros(0, np.int64)), 0
    if words.size <= (FEW_PIXELS if words.dtype.itemsize == 4 else 0) or words.size >= 1 << 31:
        return None
    raw = words_of(words)
    scale = _SCALES[f"{chr(raw.kind)}{2 if raw.short.size else 4}"]
    saturated, blank = _saturated(part, scale), _blank(part, scale)
    if part.bad is None and raw.short.size and shifts.shift.size == 1 and shifts.shift[0] == 0:
        place, number, above = _count_all(raw, words.shape, scale, saturated, blank)
        bins = place.astype(np.float64)
        base = 0
    else:
        window = scale.places if raw.short.size else _window(words, scale)
        if window is None:
            return None
        counted = _count_some(raw, part, scale, window, shifts, saturated, blank)
        if counted is None:
            return None
        place, number, above = counted
        bins, base = place / shifts.step, window.first
    value = bins + (base + scale.lowest)
    value = (value * part.scale + part.zero - shifts.offset) * part.gain
    return _rising(value, number), above


def _rising(value: Array, number: Array) -> Levels:
    finite = np.isfinite(value)
    if not finite.all():
        value, number = value[finite], number[finite]
    if value.size and value[0] > value[-1]:
        value, number = value[::-1], number[::-1]
    return Levels(value, number)


def _shifts(part: Part) -> _Shifts | None:
    offset = np.zeros(1) if part.offset is None else np.asarray(part.offset, np.float64)
    finite = np.isfinite(offset)
    known = offset[finite]
    if known.size == 0:
        return _Shifts(np.array([-1], np.int32), 1, 0.0)
    if known.size == offset.size and (known == known[0]).all():
        return _Shifts(np.zeros(1, np.int32), 1, float(known[0]))
    twice = 2 * known
    highest = float(known.max())
    if part.scale != 1 or (twice != np.rint(twice)).any() or highest - known.min() > WINDOW / 2:
        return None
    step = 1 if (known == np.rint(known)).all() else 2
    shift = np.full(offset.size, -1, np.int32)
    shift[finite] = (highest - known) * step
    return _Shifts(shift, step, highest)


def _saturated(part: Part, scale: _Scale) -> _Run:
    """Places whose raw value reaches the limit: all from one on, or all up to one when the scale is negative."""

    def reaches(place: int) -> bool:
        return part.zero + part.scale * (place + scale.lowest) >= part.limit

    first, last = scale.places
    if part.limit == math.inf or not math.isfinite(part.zero + part.scale):
        return NO_PLACE
    if part.scale >= 0:
        return _Run(bisect_left(range(first, last + 1), True, key=reaches) + first, last)
    return _Run(first, bisect_left(range(first, last + 1), True, key=lambda place: not reaches(place)) + first - 1)


def _blank(part: Part, scale: _Scale) -> _Run:
    if part.blank is None or not scale.places.first <= part.blank - scale.lowest <= scale.places.last:
        return NO_PLACE
    return _Run(part.blank - scale.lowest, part.blank - scale.lowest)


def _window(words: Array, scale: _Scale) -> _Run | None:
    """Run of places about those of a few words; None when these are too far from one another."""
    few = words[:: max(1, len(words) // 32), :: max(1, words.shape[1] // (FEW_WORDS // 32))]
    middle = int(np.median(few)) - scale.lowest
    first = max(scale.places.first, middle - WINDOW // 2)
    last = min(scale.places.last, first + WINDOW - 1)
    inside = (few >= first + scale.lowest) & (few <= last + scale.lowest)
    return _Run(first, last) if np.count_nonzero(inside) > 0.9 * few.size else None


def _count_all(
    raw: Words, shape: tuple[int, ...], scale: _Scale, saturated: _Run, blank: _Run
) -> tuple[Array, Array, int]:
    """Count all words of 16 bits, and cut those that do not count from the histogram."""
    bins = np.zeros(1 << 16, np.int32)
    rows, columns = shape
    _count_every_word(raw.short, raw.stride, rows, columns, raw.swap, bins)
    if scale.flip:
        bins = np.concatenate([bins[scale.flip :], bins[: scale.flip]])
    bins[blank.first : blank.last + 1] = 0
    above = int(bins[saturated.first : saturated.last + 1].sum())
    bins[saturated.first : saturated.last + 1] = 0
    place = np.flatnonzero(bins != 0)
    return place, bins[place].astype(np.int64), above


def _count_some(
    raw: Words, part: Part, scale: _Scale, window: _Run, shifts: _Shifts, saturated: _Run, blank: _Run
) -> tuple[Array, Array, int] | None:
    """Count the good words, each row shifted; None when some lie outside the window."""
    memory = raw.short if raw.short.size else raw.wide
    span = window.last - window.first + 1
    bins = np.zeros(2 + span * shifts.step + int(shifts.shift.max()), np.int32)
    bad = NO_ROWS if part.bad is None else rows_of(part.bad)
    rows, columns = part.words.shape
    shift = plain(np.broadcast_to(shifts.shift, rows))
    limits = plain(np.array([*window, *saturated, *blank], np.int32))
    above, outside, lowest, highest = _count_good_words(
        memory,
        raw.stride,
        rows,
        columns,
        raw.swap,
        memory.dtype.type(scale.flip),
        bad.memory.view(np.uint8),
        bad.stride,
        shift,
        np.int32(shifts.step),
        limits,
        bins,
    )
    if outside:
        return None
    place = np.flatnonzero(bins[lowest : highest + 1] != 0) + lowest
    return place - 1, bins[place].astype(np.int64), above


@compiled()
def _count_every_word(words: Array, stride: int, rows: int, columns: int, swap: bool, bins: Array) -> None:
    """Add to each bin the number of words that are it."""
    turned = np.empty(BLOCK, np.uint16)
    for row in range(rows):
        for start in range(row * stride, row * stride + columns, BLOCK):
            block = words[start : min(start + BLOCK, row * stride + columns)]
            if swap:
                turn_words(block, swap, turned)
                for i in range(block.size):
                    bins[turned[i]] += 1
            else:
                for i in range(block.size):
                    bins[block[i]] += 1


@compiled()
def _count_good_words(
    words: Array,
    stride: int,
    rows: int,
    columns: int,
    swap: bool,
    flip: Any,
    bad: Array,
    bad_stride: int,
    shift: Array,
    step: Any,
    limits: Array,
    bins: Array,
) -> tuple[int, int, int, int]:
    """Add good words to the bins of their rows; bin 0 is for all others.

    Tell the number of saturated words and of good ones outside the window, and the first and last bin in use.
    """
    turned, chosen = np.empty(BLOCK, words.dtype), np.empty(BLOCK, np.int32)
    above, outside, filled = 0, 0, 0
    extremes = np.array([bins.size, 0], np.int32)
    for row in range(rows):
        start = 0
        while start < columns:
            # A block takes as many short rows as it can hold.
            size = min(BLOCK - filled, columns - start)
            turn_words(words[row * stride + start : row * stride + start + size], swap, turned)
            piece = chosen[filled : filled + size]
            above += _choose_bins(turned[:size], flip, np.int32(shift[row] + 1), step, limits, piece)
            if bad.size:
                _choose_none(piece, bad[row * bad_stride + start : row * bad_stride + start + size])
            if shift[row] < 0:
                piece[:] = 0
            start += size
            filled += size
            if filled == BLOCK or (row == rows - 1 and start == columns):
                block = chosen[:filled]
                filled = 0
                outside += _count_outside(block)
                _widen(extremes, block)
                for i in range(block.size):
                    bins[block[i]] += 1
    return above, outside, extremes[0], extremes[1]


@compiled()
def _choose_bins(words: Array, flip: Any, begin: Any, step: Any, limits: Array, chosen: Array) -> int:
    """Choose the bin of each word, 0 for blank and saturated words and -1 outside; count the saturated ones."""
    first, last = limits[0], limits[1]
    saturated_first, saturated_last = limits[2], limits[3]
    blank_first, blank_last = limits[4], limits[5]
    above = np.int32(0)
    for i in range(words.size):
        place = np.int32(words[i] ^ flip)
        is_blank = (place >= blank_first) & (place <= blank_last)
        is_above = (place >= saturated_first) & (place <= saturated_last) & ~is_blank
        above = np.int32(above + is_above)
        bin_ = np.int32(begin + np.int32(step * np.int32(place - first)))
        bin_ = bin_ if (place >= first) & (place <= last) else np.int32(-1)
        chosen[i] = np.int32(0) if is_above | is_blank else bin_
    return int(above)


@compiled()
def _choose_none(chosen: Array, bad: Array) -> None:
    for i in range(chosen.size):
        chosen[i] = np.int32(0) if bad[i] else chosen[i]


@compiled()
def _count_outside(chosen: Array) -> int:
    """Count the bins that are -1, and make them 0."""
    number = np.int32(0)
    for i in range(chosen.size):
        number = np.int32(number + (chosen[i] < 0))
        chosen[i] = max(chosen[i], np.int32(0))
    return int(number)


@compiled()
def _widen(extremes: Array, chosen: Array) -> None:
    """Widen the run of bins from the lowest to the highest by those chosen, 0 left out."""
    # One less and without sign, bin 0 is above all others.
    bins, highest, lowest = chosen.view(np.uint32), np.uint32(extremes[1]), np.uint32(extremes[0] - 1)
    for i in range(bins.size):
        one_less = np.uint32(bins[i] - np.uint32(1))
        highest = bins[i] if bins[i] > highest else highest
        lowest = one_less if one_less < lowest else lowest
    extremes[0], extremes[1] = lowest + 1, highest
