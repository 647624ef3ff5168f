"""What the statistics of a set of pixels are: the rules of clipping, whatever way the pixels are counted and summed."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import NamedTuple, Protocol

from flatnorm_xr.errors import FlatnormError

__all__ = [
    "NOTHING",
    "STATISTICS",
    "Good",
    "Options",
    "Statistics",
    "between_ranks",
    "interpolate",
    "moments_about",
    "statistics",
]

STATISTICS = ("meanclip", "sigmaclip", "median", "mean")

# Standard deviation of a Gaussian whose interquartile range is 1, with Rubin's digits.
IQR_TO_SIGMA = 0.741301109252802


class Statistics(NamedTuple):
    """What one set of pixels shows: its level, the scatter about it, and how many pixels made it."""

    level: float
    sigma: float
    counts: int


NOTHING = Statistics(math.nan, math.nan, 0)


class Options(NamedTuple):
    """Which statistic, the half-width of the clip in standard deviations, and the number of clipping passes."""

    statistic: str
    clip: float
    passes: int

    @classmethod
    def checked(cls, function: str, statistic: str, clip: float, iterations: int) -> Options:
        """Refuse what cannot be, naming the function that was called."""
        if statistic not in STATISTICS:
            msg = f"{function}: statistic must be one of {', '.join(STATISTICS)}, not {statistic!r}."
            raise FlatnormError(msg)
        try:
            clip_is_valid = float(clip) > 0
        except (TypeError, ValueError):
            clip_is_valid = False
        if not clip_is_valid:
            msg = f"{function}: clip must be a number of standard deviations above 0, not {clip!r}; 3 is usual."
            raise FlatnormError(msg)
        try:
            passes = operator.index(iterations)
        except TypeError:
            passes = 0
        if passes < 1 or isinstance(iterations, bool):
            msg = f"{function}: iterations must be a whole number of passes, at least 1, not {iterations!r}."
            raise FlatnormError(msg)
        return cls(statistic, float(clip), passes)


class Good(Protocol):
    """Good pixels of one set: what clipping needs to know of them."""

    @property
    def size(self) -> int:
        """Number of good pixels."""

    def quartiles(self) -> tuple[float, float, float]:
        """First quartile, median and third quartile, interpolated linearly between pixels."""

    def moments(self, low: float, high: float, /) -> Statistics:
        """Mean, standard deviation (n - 1) and number of the pixels in [low, high]."""


def statistics(good: Good, options: Options, bounds: list[tuple[float, float]] | None = None) -> Statistics:
    """Statistics of the good pixels; the bounds of every clipping pass are appended to ``bounds``."""
    if good.size == 0:
        return NOTHING
    if options.statistic == "meanclip":
        first, median, third = good.quartiles()
        sigma = IQR_TO_SIGMA * (third - first)
        start = Statistics(median, sigma if sigma > 0 else good.moments(-math.inf, math.inf).sigma, good.size)
        return _clip(good, start, options, bounds)
    everything = good.moments(-math.inf, math.inf)
    if options.statistic == "sigmaclip":
        return _clip(good, everything, options, bounds)
    return everything._replace(level=good.quartiles()[1]) if options.statistic == "median" else everything


def _clip(good: Good, kept: Statistics, options: Options, bounds: list[tuple[float, float]] | None) -> Statistics:
    low, high = -math.inf, math.inf
    for _ in range(options.passes):
        # Of one pixel sigma is NaN, and an infinite clip times 0 would be: such a pass keeps what is at the level.
        half = options.clip * kept.sigma if kept.sigma > 0 else 0.0
        inner = kept.level - half, kept.level + half
        # What a plain clip has left out once stays out; meanclip starts again from all good pixels.
        low, high = inner if options.statistic == "meanclip" else (max(low, inner[0]), min(high, inner[1]))
        if bounds is not None:
            bounds.append((low, high))
        kept = good.moments(low, high)
        if not kept.sigma > 0:
            break
    return kept


def between_ranks(number: int) -> list[tuple[int, int, float]]:
    """Ranks on both sides of each quartile of so many pixels, and how far it lies from the first to the second."""
    places = [divmod((number - 1) * quarter, 4) for quarter in (1, 2, 3)]
    return [(rank, min(rank + 1, number - 1), rest / 4) for rank, rest in places]


def interpolate(number: int, value_at: Callable[[int], float]) -> tuple[float, float, float]:
    """Quartiles of so many pixels from the value at each rank."""
    pairs = [(value_at(low), value_at(high), part) for low, high, part in between_ranks(number)]
    first, median, third = (_between(low, high, part) for low, high, part in pairs)
    return first, median, third


def _between(low: float, high: float, part: float) -> float:
    step = high - low
    # The step from the lowest float64 to the highest is none.
    return low + step * part if math.isfinite(step) else low * (1 - part) + high * part


def moments_about(centre: float, counts: int, first: float, second: float) -> tuple[Statistics, bool]:
    """Mean and sigma from sums of distances to a centre, and of their squares.

    The flag tells whether they are good to the last digits, or the centre was so far from the mean that they cancelled,
    or the squares were beyond float64.
    """
    if counts == 0:
        return NOTHING, True
    squares = second - first * first / counts
    sigma = math.sqrt(max(squares, 0.0) / (counts - 1)) if counts > 1 else math.nan
    return Statistics(centre + first / counts, sigma, counts), first * first / counts <= 100 * squares < math.inf
