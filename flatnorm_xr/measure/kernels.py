"""Level, scatter and number of kept pixels of one image or section: exact statistics in compiled passes over pixels."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from flatnorm_xr.compiled import compiled
from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.measure.clipping import Statistics
from flatnorm_xr.measure.parts import Measured, Part, corrected_pixels, measure_parts

__all__ = ["Measured", "Part", "Statistics", "clipped_statistics", "corrected_pixels", "measure_parts"]

Array = npt.NDArray[Any]

STATISTICS = ("meanclip", "median", "mean")

# Standard deviation of a Gaussian whose interquartile range is 1, with Rubin's digits.
IQR_TO_SIGMA = 0.741301109252802

# Up to this many pixels sorting them all is as quick as sampling first.
FEW_PIXELS = 1 << 15

# Half-width of the bracket around each quartile, in standard errors of its rank in the sample.
BRACKET = 4.0

# Steps of this fraction of the image sample it evenly and fall in step with no row length.
GOLDEN_FRACTION = (math.sqrt(5) - 1) / 2

# Levels that 16 bits can tell apart.
LEVELS = 1 << 16

# Pixels whose flags are set in one vectorised loop before they are looked at one by one; they stay in the first cache.
BLOCK = 2048


def clipped_statistics(
    pixels: npt.ArrayLike,
    bad: npt.ArrayLike | None = None,
    *,
    statistic: str = "meanclip",
    clip: float = 3.0,
    iterations: int = 3,
) -> Statistics:
    """Level, standard deviation and number of the good pixels, clipped or not.

    Good pixels are finite and not ``bad``. ``"meanclip"`` is Rubin's (``lsst.afw.math.MEANCLIP``): the first pass keeps
    what lies within ``clip`` · 0.741301109252802 · IQR of the median, every further pass what lies within ``clip``
    standard deviations of the mean, both of the pixels that the pass before kept. There are ``iterations`` passes in
    all, the first one counted; each starts again from all good pixels, its bounds are inclusive, and the answer is
    about the pixels that the last one kept. ``"median"`` is the median of the good pixels and ``"mean"`` their mean,
    both with the standard deviation and number of all of them; they do not clip.

    Medians and quartiles are exact, interpolated linearly like ``numpy.percentile`` whatever the data type. Moments are
    summed in float64 about a centre within the data (exactly, for integers of 8 and 16 bits).

    Parameters
    ----------
    pixels : array of integers or floats, any shape
        In any unit. Any layout and byte order; native and C-contiguous is quickest. 64-bit integers are rounded to
        float64. NaN and infinities are left out; zero and negative numbers are pixels like others. Never changed.
    bad : array of bool, same shape, optional
        True where a pixel is left out; None leaves none out.
    statistic : {"meanclip", "median", "mean"}
        What ``level`` is.
    clip : float
        Half-width of the clip, in standard deviations; above 0, may be infinite.
    iterations : int
        Number of clipping passes, at least 1.

    Returns
    -------
    Statistics
        ``level`` and ``sigma`` (n - 1 in the denominator) in the unit of ``pixels``, and ``counts``. When no pixel is
        good, or a narrow clip keeps none: (NaN, NaN, 0). When there is one, ``sigma`` is NaN, as one pixel has no
        scatter to measure.

    Raises
    ------
    FlatnormError
        When an argument breaks a rule above.

    Notes
    -----
    Where IQR is 0 (data quantised more coarsely than their noise) the first pass uses the standard deviation of all
    good pixels. Clipping ends early when one pixel is left, or when all that are left are equal: no further pass would
    keep others.

    Examples
    --------
    >>> import numpy as np
    >>> clipped_statistics(np.array([8, 9, 10, 11, 12, 900], "u2"))
    Statistics(level=10.0, sigma=1.5811388300841898, counts=5)
    >>> clipped_statistics(np.array([1.0, np.nan, 3.0, 8.0]), np.array([False, False, False, True]), statistic="median")
    Statistics(level=2.0, sigma=1.4142135623730951, counts=2)
    """
    passes = _check_options(statistic, clip, iterations)
    image, mask = _check_arrays(pixels, bad)
    good: _Good = _count_levels(image, mask) if _has_few_levels(image.dtype) else _list_values(image, mask)
    if good.size == 0:
        return Statistics(math.nan, math.nan, 0)
    if statistic == "mean":
        return good.moments(-math.inf, math.inf)
    if statistic == "median":
        return good.moments(-math.inf, math.inf)._replace(level=good.quartiles()[1])
    return _clip(good, float(clip), passes)


def _check_options(statistic: str, clip: float, iterations: int) -> int:
    if statistic not in STATISTICS:
        msg = f"clipped_statistics: statistic must be one of {', '.join(STATISTICS)}, not {statistic!r}."
        raise FlatnormError(msg)
    try:
        clip_is_valid = float(clip) > 0
    except (TypeError, ValueError):
        clip_is_valid = False
    if not clip_is_valid:
        msg = f"clipped_statistics: clip must be a number of standard deviations above 0, not {clip!r}; 3 is usual."
        raise FlatnormError(msg)
    try:
        passes = operator.index(iterations)
    except TypeError:
        passes = 0
    if passes < 1 or isinstance(iterations, bool):
        msg = f"clipped_statistics: iterations must be a whole number of passes, at least 1, not {iterations!r}."
        raise FlatnormError(msg)
    return passes


def _check_arrays(pixels: npt.ArrayLike, bad: npt.ArrayLike | None) -> tuple[Array, Array | None]:
    if isinstance(pixels, np.ma.MaskedArray):
        msg = "clipped_statistics: pixels is a masked array, whose mask would be lost; pass its data and bad=its mask."
        raise FlatnormError(msg)
    image = np.asarray(pixels)
    if image.dtype.kind not in "iuf":
        msg = f"clipped_statistics: pixels must be integers or floats, not {image.dtype}; convert them first."
        raise FlatnormError(msg)
    if bad is None:
        return image, None
    mask = np.asarray(bad)
    if mask.dtype != np.bool_:
        msg = f"clipped_statistics: bad must be bool (True = left out), not {mask.dtype}; pass for instance plane != 0."
        raise FlatnormError(msg)
    if mask.shape != image.shape:
        msg = f"clipped_statistics: bad has shape {mask.shape} but pixels {image.shape}; pass one bool for each pixel."
        raise FlatnormError(msg)
    return image, mask


class _Good(Protocol):
    """Good pixels of one image: what clipping needs to know of them."""

    @property
    def size(self) -> int: ...

    def quartiles(self) -> tuple[float, float, float]:
        """First quartile, median and third quartile, interpolated linearly between pixels."""

    def moments(self, low: float, high: float, /) -> Statistics:
        """Mean, standard deviation (n - 1) and number of the pixels in [low, high]."""


def _clip(good: _Good, clip: float, passes: int) -> Statistics:
    first, median, third = good.quartiles()
    sigma = IQR_TO_SIGMA * (third - first)
    kept = Statistics(median, sigma if sigma > 0 else good.moments(-math.inf, math.inf).sigma, good.size)
    for _ in range(passes):
        # Of one pixel sigma is NaN, and an infinite clip times 0 would be: such a pass keeps what is at the level.
        half = clip * kept.sigma if kept.sigma > 0 else 0.0
        kept = good.moments(kept.level - half, kept.level + half)
        if not kept.sigma > 0:
            break
    return kept


def _between_ranks(number: int) -> list[tuple[int, int, float]]:
    """Ranks on both sides of each quartile of so many pixels, and how far it lies from the first to the second."""
    places = [divmod((number - 1) * quarter, 4) for quarter in (1, 2, 3)]
    return [(rank, min(rank + 1, number - 1), rest / 4) for rank, rest in places]


def _interpolate(number: int, value_at: Callable[[int], float]) -> tuple[float, float, float]:
    pairs = [(value_at(low), value_at(high), part) for low, high, part in _between_ranks(number)]
    first, median, third = (low + (high - low) * part for low, high, part in pairs)
    return first, median, third


def _has_few_levels(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" and dtype.itemsize <= 2


@dataclass(frozen=True)
class _Levels:
    """Integer levels that occur, in rising order, and how many good pixels have each."""

    level: npt.NDArray[np.int64]
    number: npt.NDArray[np.int64]

    @property
    def size(self) -> int:
        return int(self.number.sum())

    def quartiles(self) -> tuple[float, float, float]:
        upto = np.cumsum(self.number)
        return _interpolate(self.size, lambda rank: float(self.level[np.searchsorted(upto, rank, side="right")]))

    def moments(self, low: float, high: float, /) -> Statistics:
        part = slice(np.searchsorted(self.level, low, side="left"), np.searchsorted(self.level, high, side="right"))
        level, number = self.level[part], self.number[part]
        counts = int(number.sum())
        if counts == 0:
            return Statistics(math.nan, math.nan, 0)
        mean = int(level @ number) / counts
        away = level - round(mean)
        # Python's integers do not overflow, so the mean and the sigma are rounded once, at the end.
        first, second = int(away @ number), int((away * away) @ number)
        sigma = math.sqrt((counts * second - first * first) / (counts * (counts - 1))) if counts > 1 else math.nan
        return Statistics(mean, sigma, counts)


def _count_levels(image: Array, mask: Array | None) -> _Levels:
    """Histogram the words without regard to their sign, and put negative levels first afterwards."""
    if image.dtype.itemsize == 1:
        image = image.astype(np.int16)
    # Bytes are swapped before, not bins afterwards: swapped words lie 256 bins apart, and the cache makes that slow.
    words = _plain(image, image.dtype.newbyteorder("=")).view(np.uint16)
    bins = np.zeros(LEVELS, np.int64)
    _count_words(words, _plain(np.zeros(0, np.bool_) if mask is None else mask), bins)
    level = np.arange(LEVELS)
    if image.dtype.kind == "i":
        bins, level = np.roll(bins, LEVELS // 2), level - LEVELS // 2
    occurs = np.flatnonzero(bins)
    return _Levels(level[occurs], bins[occurs])


@dataclass(frozen=True)
class _Values:
    """Good pixels one by one: float32, float64 or int32, none of them NaN or infinite."""

    value: Array

    @property
    def size(self) -> int:
        return self.value.size

    def quartiles(self) -> tuple[float, float, float]:
        if self.size > FEW_PIXELS:
            found = _quartiles_from_brackets(self.value)
            if found is not None:
                return found
        ordered = np.sort(self.value)
        return _interpolate(self.size, lambda rank: float(ordered[rank]))

    def moments(self, low: float, high: float, /) -> Statistics:
        centre = low + (high - low) / 2
        if not math.isfinite(centre):
            centre = float(self.value[0])
        counts, first, second = _sum_within(self.value, low, high, centre)
        if counts == 0:
            return Statistics(math.nan, math.nan, 0)
        squares = second - first * first / counts
        if first * first / counts > 100 * squares:
            # The centre was so far from the mean that the subtraction cancelled: once more about the mean.
            centre += first / counts
            counts, first, second = _sum_within(self.value, low, high, centre)
            squares = second - first * first / counts
        sigma = math.sqrt(max(squares, 0.0) / (counts - 1)) if counts > 1 else math.nan
        return Statistics(centre + first / counts, sigma, counts)


def _list_values(image: Array, mask: Array | None) -> _Values:
    """Copy the good pixels only if some are not, or if no kernel reads them as they are."""
    native = image.dtype.newbyteorder("=")
    if native == np.float16:
        native = np.dtype(np.float32)
    elif native not in (np.float32, np.int32):
        native = np.dtype(np.float64)
    values = _plain(image, native)
    if mask is None:
        if _count_finite(values) == values.size:
            return _Values(values)
        mask = np.zeros(values.size, np.bool_)
    kept = np.empty(values.size + 1, native)
    counts = _keep_good(values, _plain(mask), kept)
    return _Values(_plain(kept[:counts]))


def _plain(array: Array, dtype: np.dtype[Any] | None = None) -> Array:
    """View (or copy) as the one kind of array that the kernels are compiled for: flat, contiguous, read-only."""
    flat = np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"]).reshape(-1).view()
    flat.flags.writeable = False
    return flat


def _quartiles_from_brackets(values: Array) -> tuple[float, float, float] | None:
    """Exact quartiles in one pass: a sample brackets each, and only what lies inside the brackets is sorted.

    None when a quartile is outside its bracket, which an even sample makes all but impossible.
    """
    size = round(values.size ** (2 / 3))
    places = (np.arange(size) * GOLDEN_FRACTION % 1.0 * values.size).astype(np.intp)
    sample = np.sort(values[places])
    rank = np.array([0.25, 0.5, 0.75])
    slack = BRACKET * np.sqrt(size * rank * (1 - rank))
    low = sample[np.floor(rank * (size - 1) - slack).astype(np.intp)]
    high = sample[np.ceil(rank * (size - 1) + slack).astype(np.intp)]
    inside = np.empty(values.size + 1, values.dtype)
    below, number = _gather_between(values, _plain(low), _plain(high), inside)
    ordered = np.sort(inside[:number])
    value_at: dict[int, float] = {}
    for quarter, pair in enumerate(_between_ranks(values.size)):
        below_low, upto_low, below_high, upto_high = below[:, quarter]
        start = np.searchsorted(ordered, low[quarter], side="right") - upto_low
        for place in pair[:2]:
            if below_low <= place < upto_low:
                value_at[place] = float(low[quarter])
            elif upto_low <= place < below_high:
                value_at[place] = float(ordered[start + place])
            elif below_high <= place < upto_high:
                value_at[place] = float(high[quarter])
            else:
                return None
    return _interpolate(values.size, value_at.__getitem__)


@compiled()
def _count_words(words: Array, bad: Array, bins: Array) -> None:
    """Add to each bin the number of good pixels that hold this word; an empty ``bad`` masks none."""
    if bad.size == 0:
        for i in range(words.size):
            bins[words[i]] += 1
    else:
        for i in range(words.size):
            bins[words[i]] += not bad[i]


@compiled()
def _count_finite(values: Array) -> int:
    number = 0
    for i in range(values.size):
        number += (values[i] - values[i]) == 0
    return number


@compiled()
def _keep_good(values: Array, bad: Array, kept: Array) -> int:
    """Copy what is finite and not bad to the front of ``kept``, which is one longer, and count it."""
    number = 0
    for i in range(values.size):
        value = values[i]
        # Written always and counted only when good: no branch to mispredict.
        kept[number] = value
        number += (not bad[i]) & ((value - value) == 0)
    return number


@compiled(reorder=True)
def _sum_within(values: Array, low: float, high: float, centre: float) -> tuple[int, float, float]:
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


@compiled()
def _gather_between(values: Array, low: Array, high: Array, inside: Array) -> tuple[Array, int]:
    """Gather what lies strictly inside any of three brackets; count what is < low, <= low, < high, <= high of each."""
    below = np.zeros((4, 3), np.int64)
    flags = np.empty(BLOCK, np.uint8)
    number = 0
    low0, low1, low2 = low[0], low[1], low[2]
    high0, high1, high2 = high[0], high[1], high[2]
    for start in range(0, values.size, BLOCK):
        block = values[start : start + BLOCK]
        for j in range(3):
            # Counters as wide as a pixel fill the vector registers.
            below_low, upto_low, below_high, upto_high = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
            for i in range(block.size):
                below_low = np.int32(below_low + (block[i] < low[j]))
                upto_low = np.int32(upto_low + (block[i] <= low[j]))
                below_high = np.int32(below_high + (block[i] < high[j]))
                upto_high = np.int32(upto_high + (block[i] <= high[j]))
            below[0, j] += below_low
            below[1, j] += upto_low
            below[2, j] += below_high
            below[3, j] += upto_high
        for i in range(block.size):
            value = block[i]
            flags[i] = (
                ((value > low0) & (value < high0))
                | ((value > low1) & (value < high1))
                | ((value > low2) & (value < high2))
            )
        for i in range(block.size):
            inside[number] = block[i]
            number += flags[i]
    return below, number
