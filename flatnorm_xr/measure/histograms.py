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
from flatnorm_xr.measure.layout import Bits, Rows, bits_of, flags_of, plain, turn_words, widened
from flatnorm_xr.measure.parts import Array, Part, blank_word

__all__ = ["Histogram", "Plan", "count", "merged", "planned"]

# Bins of a histogram of 32-bit words, and by how many bins rows may be shifted against each other.
WINDOW = 1 << 20

# Up to this many 32-bit words looking at them one by one is quicker.
FEW_PIXELS = 1 << 15

# Words looked at to place the window of 32-bit words.
FEW_WORDS = 1 << 10

# Words that are made bins in one vectorised loop before they are counted one by one; they stay in the first cache.
BLOCK = 4096


@dataclass(frozen=True)
class Histogram:
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


def merged(several: Sequence[Histogram]) -> Histogram:
    """Histogram of all sets together; a level that several sets have is there several times."""
    level, number = (np.concatenate([getattr(one, name) for one in several]) for name in ("level", "number"))
    order = np.argsort(level)
    return Histogram(level[order], number[order])


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


class Plan(NamedTuple):
    """How the words of a part are counted; ``window`` is the run of places that have a bin."""

    part: Part
    scale: _Scale
    shifts: _Shifts
    window: _Run
    saturated: _Run
    blank: _Run


def planned(part: Part) -> Plan | None:
    """Say from a few words how the good pixels of a part are to be counted.

    None when its words are not integers, or spread over too many levels, or are so few that to look at them one by one
    is quicker, or when something is subtracted from them that puts them on no grid: a bias image, or row offsets that
    are not multiples of 1/2.
    """
    kind = widened(part.words[:0]).dtype
    if kind.kind not in "iu" or kind.itemsize > 4 or part.bias is not None or part.words.size >= 1 << 31:
        return None
    shifts = _shifts(part)
    scale = _SCALES[f"{kind.kind}{kind.itemsize}"]
    window = scale.places if kind.itemsize == 2 else _window(part.words, scale)
    if shifts is None or window is None:
        return None
    return Plan(part, scale, shifts, window, _saturated(part, scale), _blank(part, scale))


def count(plan: Plan) -> tuple[Histogram, int] | None:
    """Histogram of the good pixels of a part, and its number of saturated pixels; None if some are off the window."""
    part, shifts = plan.part, plan.shifts
    if part.words.size == 0:
        return Histogram(np.zeros(0), np.zeros(0, np.int64)), 0
    bits = bits_of(widened(part.words))
    is_plain = part.bad is None and bits.short.size and shifts.shift.size == 1 and shifts.shift[0] == 0
    counted = _count_all(bits, plan) if is_plain else _count_some(bits, plan)
    if counted is None:
        return None
    place, number, above = counted
    value = place / shifts.step + (plan.window.first + plan.scale.lowest)
    value = (value * part.scale + part.zero - shifts.offset) * part.gain
    return _rising(value, number), above


def _rising(value: Array, number: Array) -> Histogram:
    finite = np.isfinite(value)
    if not finite.all():
        value, number = value[finite], number[finite]
    if value.size and value[0] > value[-1]:
        value, number = value[::-1], number[::-1]
    return Histogram(value, number)


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
        run = _Run(bisect_left(range(first, last + 1), True, key=reaches) + first, last)
    else:
        run = _Run(first, bisect_left(range(first, last + 1), True, key=lambda place: not reaches(place)) + first - 1)
    # An empty run may end one beyond what 32 bits hold.
    return run if run.first <= run.last else NO_PLACE


def _blank(part: Part, scale: _Scale) -> _Run:
    blank = blank_word(part)
    if blank is None or not scale.places.first <= blank - scale.lowest <= scale.places.last:
        return NO_PLACE
    return _Run(blank - scale.lowest, blank - scale.lowest)


def _window(words: Array, scale: _Scale) -> _Run | None:
    """Run of places about those of a few words; None when these are too far from one another, or there are few."""
    if words.size == 0:
        return NO_PLACE
    if words.size <= FEW_PIXELS:
        return None
    few = words[:: max(1, len(words) // 32), :: max(1, words.shape[1] // (FEW_WORDS // 32))]
    middle = int(np.median(few)) - scale.lowest
    first = max(scale.places.first, middle - WINDOW // 2)
    last = min(scale.places.last, first + WINDOW - 1)
    inside = (few >= first + scale.lowest) & (few <= last + scale.lowest)
    return _Run(first, last) if np.count_nonzero(inside) > 0.9 * few.size else None


def _count_all(bits: Bits, plan: Plan) -> tuple[Array, Array, int]:
    """Count all words of 16 bits, and cut those that do not count from the histogram."""
    saturated, blank, flip = plan.saturated, plan.blank, plan.scale.flip
    bins = np.zeros(1 << 16, np.int32)
    rows, columns = plan.part.words.shape
    _count_every_word(bits.short, bits.stride, rows, columns, bits.swap, bins)
    if flip:
        bins = np.concatenate([bins[flip:], bins[:flip]])
    bins[blank.first : blank.last + 1] = 0
    above = int(bins[saturated.first : saturated.last + 1].sum())
    bins[saturated.first : saturated.last + 1] = 0
    place = np.flatnonzero(bins != 0)
    return place, bins[place].astype(np.int64), above


class _Bins(NamedTuple):
    """How words become bins: raw bits ^ flip, the `_Shifts` of all rows, and the runs of places as int32.

    The runs are those of the window, of saturated words and of the blank one: first, last, first, last, first, last.
    """

    flip: Any
    shift: Array
    step: Any
    runs: Array


def _count_some(bits: Bits, plan: Plan) -> tuple[Array, Array, int] | None:
    """Count the good words, each row shifted; None when some lie outside the window."""
    part, shifts = plan.part, plan.shifts
    memory = bits.short if bits.short.size else bits.wide
    span = plan.window.last - plan.window.first + 1
    number = np.zeros(2 + span * shifts.step + int(shifts.shift.max()), np.int32)
    bins = _Bins(
        memory.dtype.type(plan.scale.flip),
        plain(np.broadcast_to(shifts.shift, len(part.words))),
        np.int32(shifts.step),
        plain(np.array([*plan.window, *plan.saturated, *plan.blank], np.int32)),
    )
    rows = Rows(memory, bits.stride)
    above, outside, lowest, highest = _count_good_words(
        part.words.shape, rows, bits.swap, flags_of(part.bad), bins, number
    )
    if outside:
        return None
    place = np.flatnonzero(number[lowest : highest + 1] != 0) + lowest
    return place - 1, number[place].astype(np.int64), above


@compiled()
def _count_every_word(words: Array, stride: int, rows: int, columns: int, swap: bool, number: Array) -> None:
    """Count in each bin the words that are it."""
    turned = np.empty(BLOCK, np.uint16)
    for row in range(rows):
        for start in range(row * stride, row * stride + columns, BLOCK):
            block = words[start : min(start + BLOCK, row * stride + columns)]
            if swap:
                turn_words(block, swap, turned)
                for i in range(block.size):
                    number[turned[i]] += 1
            else:
                for i in range(block.size):
                    number[block[i]] += 1


@compiled()
def _count_good_words(
    shape: tuple[int, int], words: Rows, swap: bool, bad: Rows, bins: _Bins, number: Array
) -> tuple[int, bool, int, int]:
    """Count good words in the bins of their rows; bin 0 is for all others.

    Tell the number of saturated words, whether a good one was outside the window, which ends the count, and the first
    and last bin in use.
    """
    rows, columns = shape
    memory, stride = words
    bad_bytes, bad_stride = bad
    flip, shift, step, runs = bins
    turned, chosen = np.empty(BLOCK, memory.dtype), np.empty(BLOCK, np.int32)
    above, row, column = 0, 0, 0
    extremes = np.array([number.size, 0], np.int32)
    for first in range(0, rows * columns, BLOCK):
        block = chosen[: min(BLOCK, rows * columns - first)]
        filled = 0
        while filled < block.size:
            # A block takes as many short rows as it can hold.
            size = min(block.size - filled, columns - column)
            piece = block[filled : filled + size]
            filled += size
            start = row * stride + column
            turn_words(memory[start : start + size], swap, turned)
            above += _choose_bins(turned[:size], flip, np.int32(shift[row] + 1), step, runs, piece)
            if bad_bytes.size:
                start = row * bad_stride + column
                _choose_none(piece, bad_bytes[start : start + size])
            if shift[row] < 0:
                piece[:] = 0
            column += size
            if column == columns:
                row, column = row + 1, 0
        if _count_outside(block):
            return above, True, 0, 0
        _widen(extremes, block)
        for i in range(block.size):
            number[block[i]] += 1
    return above, False, extremes[0], extremes[1]


@compiled()
def _choose_bins(words: Array, flip: Any, begin: Any, step: Any, runs: Array, chosen: Array) -> int:
    """Choose the bin of each word, 0 for blank and saturated words and -1 outside; count the saturated ones."""
    first, last = runs[0], runs[1]
    saturated_first, saturated_last = runs[2], runs[3]
    blank_first, blank_last = runs[4], runs[5]
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
