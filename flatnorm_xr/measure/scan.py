"""Read the pixels of a part once, block by block: correct them, count, sum and gather what statistics need."""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

import numpy as np

from flatnorm_xr.compiled import compiled
from flatnorm_xr.measure.layout import Bits, Rows, bits_of, flags_of, no_rows, plain, rows_of, turn_words
from flatnorm_xr.measure.parts import Array, Booleans, Part, blank_word

__all__ = ["Edges", "Scanned", "first_within", "gather_between", "gather_outside", "scan", "sum_within"]

# Pixels that are corrected, counted and summed together; they stay in the first cache.
BLOCK = 2048

FLOAT, SIGNED = ord("f"), ord("i")


class Edges(NamedTuple):
    """What a scan looks for in one set of pixels.

    Attributes
    ----------
    core : (low, high)
        Pixels in [low, high] are summed, those outside are gathered.
    centre : float
        Sums are about it.
    brackets : array, (number, 2)
        Pixels below either edge are counted. Those in [low, high) are gathered, too.
    gathers : array of bool, (number,)
        Whether a bracket's pixels are gathered; no need when all of them are equal.
    """

    core: tuple[float, float]
    centre: float
    brackets: Array
    gathers: Booleans


class Scanned(NamedTuple):
    """What a scan found in one part.

    Attributes
    ----------
    good, saturated : int
        Numbers of pixels.
    kept : array
        Pixels that one set at least wants gathered, in no order.
    sums : array of float64, (sets, 3)
        Number of pixels in the core, sum of their distances from the centre, and of these squared.
    below : array of int64, (sets, brackets, 2)
        Number of pixels below either edge of each bracket.
    """

    good: int
    saturated: int
    kept: Array
    sums: Array
    below: Array


class _Wanted(NamedTuple):
    """Edges of all sets: low and high of the core and the centre, (sets, 3); brackets and gathers as in `Edges`."""

    cores: Array
    brackets: Array
    gathers: Array


class _Found(NamedTuple):
    """Where a scan puts what it finds, as in `Scanned`; ``number``, (1,), is how many pixels are gathered by now."""

    kept: Array
    number: Array
    sums: Array
    below: Array


class _Correction(NamedTuple):
    """What makes words values: the numbers and arrays of `Part`, an offset for each row, NaN for no blank word.

    The bias is in float32 or in float64, the other of the two is empty.
    """

    zero: float
    scale: float
    blank: float
    gain: float
    offset: Array
    bias4: Array
    bias8: Array
    bias_stride: int


def scan(part: Part, sets: list[Edges], kept: Array) -> Scanned:
    """Read a part once for several sets of edges.

    Pixels are gathered at the front of ``kept``, which is longer by one at least than there may be; its type, float32
    or float64, must hold the part's values exactly.
    """
    # Integers of 8 bytes become float64 one way or the other.
    is_long = part.words.dtype.kind in "iu" and part.words.dtype.itemsize == 8
    bits = bits_of(part.words.astype(np.float64) if is_long else part.words)
    wanted = _Wanted(
        np.array([[*edges.core, edges.centre] for edges in sets], kept.dtype),
        np.array([edges.brackets for edges in sets], kept.dtype),
        np.array([edges.gathers for edges in sets], np.uint8),
    )
    sums, below = np.zeros((len(sets), 3)), np.zeros(wanted.brackets.shape, np.int64)
    found = _Found(kept, np.zeros(1, np.int64), sums, below)
    correction = None if kept.dtype == np.float32 else _correction(part)
    # What is not finite is not saturated, whatever the limit.
    limit = max(float(part.limit), -sys.float_info.max)
    good, saturated = _scan(part.words.shape, bits, flags_of(part.bad), limit, correction, wanted, found)
    return Scanned(good, saturated, kept[: found.number[0]], sums, below)


def _correction(part: Part) -> _Correction:
    blank = blank_word(part)
    offset = np.zeros(1) if part.offset is None else part.offset
    bias4, bias8 = no_rows(np.float32), no_rows(np.float64)
    if part.bias is not None and part.bias.dtype == np.float32:
        bias4 = rows_of(part.bias)
    elif part.bias is not None:
        bias8 = rows_of(part.bias.astype(np.float64, copy=False))
    return _Correction(
        float(part.zero),
        float(part.scale),
        math.nan if blank is None else float(blank),
        float(part.gain),
        plain(np.broadcast_to(offset, len(part.words)), np.float64),
        bias4.memory,
        bias8.memory,
        bias4.stride + bias8.stride,
    )


@compiled()
def _scan(
    shape: tuple[int, int],
    bits: Bits,
    bad: Rows,
    limit: float,
    correction: _Correction | None,
    wanted: _Wanted,
    found: _Found,
) -> tuple[int, int]:
    """Scan words that are corrected, or float32 that stay as they are; tell how many are good and saturated."""
    # Numba compiles only the branches of what is given. To hand tuples on, or to take from them in a loop, costs time.
    rows, columns = shape
    short, wide, long, stride, kind, swap = bits
    bad_bytes, bad_stride = bad
    cores, brackets, gathers = wanted
    kept, number, sums, below = found
    values, flags = np.empty(BLOCK, kept.dtype), np.empty(BLOCK, np.uint8)
    gain = 1.0
    if correction is not None:
        zero, scale, blank, gain, offset, bias4, bias8, bias_stride = correction
        turned2, turned4 = np.empty(BLOCK, np.uint16), np.empty(BLOCK, np.uint32)
    good, saturated, row, column = 0, 0, 0, 0
    for first in range(0, rows * columns, BLOCK):
        block = values[: min(BLOCK, rows * columns - first)]
        filled = 0
        while filled < block.size:
            # A block takes as many short rows as it can hold.
            size = min(block.size - filled, columns - column)
            piece = block[filled : filled + size]
            filled += size
            start = row * stride + column
            if correction is None:
                turn_words(wide[start : start + size], swap, piece.view(np.uint32))
            else:
                if short.size:
                    _read_short(short[start : start + size], swap, kind, turned2, piece)
                elif wide.size:
                    _read_wide(wide[start : start + size], swap, kind, turned4, piece)
                else:
                    turn_words(long[start : start + size], swap, piece.view(np.uint64))
                _scale_words(piece, zero, scale, blank)
            saturated += _cut(piece, limit)
            if bad_bytes.size:
                start = row * bad_stride + column
                _leave_out(piece, bad_bytes[start : start + size])
            if correction is not None:
                if offset[row] != 0:
                    _subtract_offset(piece, offset[row])
                start = row * bias_stride + column
                if bias4.size:
                    _subtract(piece, bias4[start : start + size])
                elif bias8.size:
                    _subtract(piece, bias8[start : start + size])
            column += size
            if column == columns:
                row, column = row + 1, 0
        good += _finish(block, gain)
        _accumulate(block, cores, brackets, gathers, flags, kept, number, sums, below)
    return good, saturated


@compiled()
def _accumulate(
    block: Array,
    cores: Array,
    brackets: Array,
    gathers: Array,
    flags: Array,
    kept: Array,
    number: Array,
    sums: Array,
    below: Array,
) -> None:
    """Count, sum and gather a block's pixels for every set; ``flags`` is room for one each."""
    flags[:] = 0
    is_summed_only = brackets.shape[1] == 0
    for k in range(len(cores)):
        _sum_core(block, cores[k], sums[k])
        is_summed_only &= (cores[k, 0] == -np.inf) & (cores[k, 1] == np.inf)
    if is_summed_only:
        return
    for k in range(len(cores)):
        _flag_outside(block, cores[k], flags)
        for j in range(brackets.shape[1]):
            _count_below(block, brackets[k, j], gathers[k, j], flags, below[k, j])
    if brackets.shape[1]:
        _keep(block, flags, kept, number)
    else:
        _keep_few(block, flags, kept, number)


@compiled()
def _read_short(words: Array, swap: bool, kind: int, turned: Array, values: Array) -> None:
    turn_words(words, swap, turned)
    if kind == SIGNED:
        signed = turned.view(np.int16)
        for i in range(values.size):
            values[i] = signed[i]
    else:
        for i in range(values.size):
            values[i] = turned[i]


@compiled()
def _read_wide(words: Array, swap: bool, kind: int, turned: Array, values: Array) -> None:
    turn_words(words, swap, turned)
    if kind == FLOAT:
        floats = turned.view(np.float32)
        for i in range(values.size):
            values[i] = floats[i]
    elif kind == SIGNED:
        signed = turned.view(np.int32)
        for i in range(values.size):
            values[i] = signed[i]
    else:
        for i in range(values.size):
            values[i] = turned[i]


@compiled()
def _scale_words(values: Array, zero: float, scale: float, blank: float) -> None:
    """Turn words into raw values, and blank ones into NaN."""
    if blank == blank:
        for i in range(values.size):
            values[i] = np.nan if values[i] == blank else values[i]
    if scale != 1:
        for i in range(values.size):
            values[i] = values[i] * scale
    if zero != 0:
        for i in range(values.size):
            values[i] = values[i] + zero


@compiled()
def _cut(values: Array, limit: float) -> int:
    """Turn saturated pixels into NaN, and count them."""
    saturated = np.int32(0)
    if limit != np.inf:
        for i in range(values.size):
            is_saturated = (values[i] >= limit) & (values[i] < np.inf)
            saturated = np.int32(saturated + is_saturated)
            values[i] = np.nan if is_saturated else values[i]
    return int(saturated)


@compiled()
def _leave_out(values: Array, bad: Array) -> None:
    for i in range(values.size):
        values[i] = np.nan if bad[i] else values[i]


@compiled()
def _subtract_offset(values: Array, offset: float) -> None:
    for i in range(values.size):
        values[i] = values[i] - offset


@compiled()
def _subtract(values: Array, other: Array) -> None:
    for i in range(values.size):
        values[i] = values[i] - other[i]


@compiled()
def _finish(values: Array, gain: float) -> int:
    """Multiply by the gain, make infinities NaN, and count what is finite."""
    good = np.int32(0)
    if gain != 1:
        for i in range(values.size):
            values[i] = values[i] * gain
    for i in range(values.size):
        is_good = abs(values[i]) < np.inf
        good = np.int32(good + is_good)
        values[i] = values[i] if is_good else np.nan
    return int(good)


@compiled(reorder=True)
def _sum_core(values: Array, core: Array, sums: Array) -> None:
    low, high, centre = core[0], core[1], np.float64(core[2])
    number, first, second = np.int32(0), 0.0, 0.0
    for i in range(values.size):
        within = (values[i] >= low) & (values[i] <= high)
        number = np.int32(number + within)
        away = np.float64(values[i]) - centre if within else np.float64(0)
        first += away
        second += away * away
    sums[0] += number
    sums[1] += first
    sums[2] += second


@compiled()
def _flag_outside(values: Array, core: Array, flags: Array) -> None:
    low, high = core[0], core[1]
    for i in range(values.size):
        flags[i] |= (values[i] < low) | (values[i] > high)


@compiled()
def _count_below(values: Array, bracket: Array, gathers: int, flags: Array, below: Array) -> None:
    low, high = bracket[0], bracket[1]
    # Counters as wide as a pixel fill the vector registers.
    below_low, below_high = np.int32(0), np.int32(0)
    if gathers:
        for i in range(values.size):
            is_below_low, is_below_high = values[i] < low, values[i] < high
            below_low = np.int32(below_low + is_below_low)
            below_high = np.int32(below_high + is_below_high)
            flags[i] |= is_below_low ^ is_below_high
    else:
        for i in range(values.size):
            below_low = np.int32(below_low + (values[i] < low))
            below_high = np.int32(below_high + (values[i] < high))
    below[0] += below_low
    below[1] += below_high


@compiled()
def _keep(values: Array, flags: Array, kept: Array, number: Array) -> None:
    """Append flagged pixels to ``kept``, which is one longer than what may come."""
    end = number[0]
    for i in range(values.size):
        # Written always and counted only when flagged: no branch to mispredict.
        kept[end] = values[i]
        end += flags[i]
    number[0] = end


@compiled()
def _keep_few(values: Array, flags: Array, kept: Array, number: Array) -> None:
    """Append flagged pixels to ``kept``, where there is none among most eights of pixels."""
    eights = flags[: values.size // 32 * 32].view(np.uint64)
    for j in range(0, eights.size, 4):
        if eights[j] | eights[j + 1] | eights[j + 2] | eights[j + 3]:
            _keep(values[8 * j : 8 * j + 32], flags[8 * j : 8 * j + 32], kept, number)
    _keep(values[8 * eights.size :], flags[8 * eights.size :], kept, number)


@compiled()
def gather_between(values: Array, bracket: Array, kept: Array) -> int:
    """Copy what is in [low, high) to the front of ``kept``, which is one longer, and count it."""
    flags, number = np.empty(BLOCK, np.uint8), np.zeros(1, np.int64)
    low, high = bracket[0], bracket[1]
    for start in range(0, values.size, BLOCK):
        block = values[start : start + BLOCK]
        for i in range(block.size):
            flags[i] = (block[i] >= low) & (block[i] < high)
        _keep(block, flags, kept, number)
    return int(number[0])


@compiled()
def gather_outside(values: Array, core: Array, kept: Array) -> int:
    """Copy what is not in [low, high] to the front of ``kept``, which is one longer, and count it."""
    flags, number = np.empty(BLOCK, np.uint8), np.zeros(1, np.int64)
    for start in range(0, values.size, BLOCK):
        block = values[start : start + BLOCK]
        flags[:] = 0
        _flag_outside(block, core, flags)
        _keep_few(block, flags, kept, number)
    return int(number[0])


@compiled()
def first_within(values: Array, low: float, high: float) -> float:
    """First value in [low, high], NaN if there is none."""
    for i in range(values.size):
        value = np.float64(values[i])
        if value >= low and value <= high:
            return float(value)
    return math.nan


@compiled(reorder=True)
def sum_within(values: Array, low: float, high: float, centre: float) -> tuple[int, float, float]:
    """Count values in [low, high]; sum ``value - centre`` over them, and its square, in float64."""
    number, first, second = 0, 0.0, 0.0
    for i in range(values.size):
        value = np.float64(values[i])
        within = (value >= low) & (value <= high)
        away = value - centre if within else 0.0
        number += int(within)
        first += away
        second += away * away
    return number, first, second
