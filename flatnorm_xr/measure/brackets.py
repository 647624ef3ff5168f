"""Exact clipped statistics of floats in one reading: a sample foretells which few pixels must be looked at singly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flatnorm_xr.measure.clipping import (
    NOTHING,
    Good,
    Options,
    Statistics,
    between_ranks,
    interpolate,
    moments_about,
    statistics,
)
from flatnorm_xr.measure.layout import rows_of, widened
from flatnorm_xr.measure.parts import Array, Part, corrected_pixels, holds_float32
from flatnorm_xr.measure.scan import Edges, Scanned, first_within, gather_between, gather_outside, scan, sum_within

__all__ = ["measure_floats"]

# Up to this many pixels looking at them all is as quick as sampling first.
FEW_PIXELS = 1 << 15

# Sampled pixels of a set of n, in units of n^(2/3): where quartiles are wanted, and where not.
SAMPLE = 1.5
SAMPLE_OF_MOMENTS = 0.25

# A sample of fewer pixels foretells too little.
FEW_SAMPLED = 200

# Half-width of the bracket around each quartile, in standard errors of its rank in the sample.
BRACKET = 4.0

# By how much of its half-width the core is narrower than the narrowest clip of a sample of n, in units of 1/sqrt(n).
MARGIN = 8.0

# Multiples of the golden ratio sample an image evenly and fall in step with no row length; as a fraction of 2^64.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)

ALL_VALUES = (-math.inf, math.inf)
NO_VALUE = (math.inf, -math.inf)


def measure_floats(
    parts: Sequence[Part], options: Options, *, whole: bool
) -> tuple[tuple[Statistics, ...], Statistics, tuple[int, ...]]:
    """Statistics of every part and of all together, and the number of saturated pixels of each."""
    parts = [part._replace(words=widened(part.words)) for part in parts]
    dtype = np.dtype(np.float32 if all(holds_float32(part) for part in parts) else np.float64)
    sizes = [part.words.size for part in parts]
    density = SAMPLE if _has_quartiles(options) else SAMPLE_OF_MOMENTS
    fraction = density * (max(sum(sizes), 1) / max(len(sizes), 1)) ** (-1 / 3)
    samples = [_sample(part, fraction, dtype) for part in parts]
    one_by_one = [_edges(sample, size, options, dtype) for sample, size in zip(samples, sizes, strict=True)]
    together = None
    if whole and len(parts) > 1:
        sample = np.concatenate(samples)
        enough = max(1, int(sample.size / (density * sum(sizes) ** (2 / 3))))
        together = _edges(sample[::enough], sum(sizes), options, dtype)
    found, scanned, used = [], [], 0
    kept = np.empty(sum(sizes) + 1, dtype)
    for part, edges in zip(parts, one_by_one, strict=True):
        one = scan(part, [edges] if together is None else [edges, together], kept[used:])
        scanned.append(one)
        found.append(statistics(_good([part], [one], 0, edges, one.kept), options))
        used += one.kept.size
    if together is not None:
        all_together = statistics(_good(parts, scanned, 1, together, kept[:used]), options)
    else:
        all_together = found[0] if whole and found else NOTHING
    return tuple(found), all_together, tuple(one.saturated for one in scanned)


def _sample(part: Part, fraction: float, dtype: np.dtype[Any]) -> Array:
    """Corrected good pixels of an even sample of a part, in no order."""
    rows, columns = part.words.shape
    size = rows * columns
    number = np.arange(min(size, math.ceil(size * fraction)), dtype=np.uint64)
    place = ((number * GOLDEN) >> np.uint64(32)) * np.uint64(size) >> np.uint64(32)
    row, column = np.divmod(place.astype(np.intp), max(columns, 1))

    def taken(array: Array) -> Array:
        memory, stride = rows_of(array)
        picked: Array = memory[row * stride + column]
        return picked[:, np.newaxis]

    kind = part.words.dtype
    few = part._replace(
        words=taken(part.words.view(f"u{kind.itemsize}")).view(kind),
        offset=part.offset if part.offset is None or part.offset.size == 1 else part.offset[row],
        bias=None if part.bias is None else taken(part.bias),
        bad=None if part.bad is None else taken(part.bad),
    )
    values, bad = corrected_pixels(few)
    return values[~bad].astype(dtype, copy=False)


def _has_quartiles(options: Options) -> bool:
    return options.statistic in ("meanclip", "median")


def _edges(sample: Array, size: int, options: Options, dtype: np.dtype[Any]) -> Edges:
    """Edges that a set will need, as its sample has it; those that gather all pixels where there are few."""
    number = 3 if _has_quartiles(options) else 0
    if size <= FEW_PIXELS or sample.size < FEW_SAMPLED:
        return Edges(NO_VALUE, 0.0, np.full((number, 2), -np.inf, dtype), np.zeros(number, np.bool_))
    ordered = np.sort(sample)
    core, centre = ALL_VALUES, float(ordered[ordered.size // 2])
    if options.statistic in ("meanclip", "sigmaclip"):
        core = _core(ordered, options, dtype)
    if number == 0:
        return Edges(core, centre, np.zeros((0, 2), dtype), np.zeros(0, np.bool_))
    rank = np.array([0.25, 0.5, 0.75])
    slack = BRACKET * np.sqrt(sample.size * rank * (1 - rank))
    low = ordered[np.floor(rank * (sample.size - 1) - slack).astype(np.intp)]
    high = ordered[np.ceil(rank * (sample.size - 1) + slack).astype(np.intp)]
    with np.errstate(over="ignore"):
        brackets = np.column_stack([low, np.nextafter(high, dtype.type(np.inf))])
    return Edges(core, centre, brackets, low < high)


def _core(ordered: Array, options: Options, dtype: np.dtype[Any]) -> tuple[float, float]:
    """Range that every clip of all pixels will contain, if they are like the sample."""
    bounds: list[tuple[float, float]] = []
    statistics(_Listed(ordered), options, bounds)
    low, high = max(low for low, _ in bounds), min(high for _, high in bounds)
    margin = 0.0 if math.isinf(high - low) else MARGIN / math.sqrt(ordered.size) * (high - low) / 2
    # Bounds beyond float32 become infinite, which is what they are to its pixels.
    with np.errstate(over="ignore"):
        return float(dtype.type(low + margin)), float(dtype.type(high - margin))


def _good(parts: Sequence[Part], scanned: Sequence[Scanned], k: int, edges: Edges, kept: Array) -> Good:
    """Good pixels of the set that was number k of the scans of these parts, which kept the pixels given."""
    if edges.core == NO_VALUE:
        return _Listed(kept)
    return _Bracketed(
        sum(one.good for one in scanned),
        [sum(each) for each in zip(*(one.sums[k].tolist() for one in scanned), strict=True)],
        sum(one.below[k] for one in scanned),
        edges,
        kept,
        lambda: _list_all(parts, kept.dtype),
    )


def _list_all(parts: Sequence[Part], dtype: np.dtype[Any]) -> _Listed:
    all_gathered = Edges(NO_VALUE, 0.0, np.zeros((0, 2), dtype), np.zeros(0, np.bool_))
    kept, used = np.empty(sum(part.words.size for part in parts) + 1, dtype), 0
    for part in parts:
        used += scan(part, [all_gathered], kept[used:]).kept.size
    return _Listed(kept[:used])


def _values_at(values: Array, first: int, second: int) -> dict[int, float]:
    """Values at two neighbouring ranks (or at one); puts the values in another order.

    One rank is far quicker to find than two at once, and the next value is the least of those above.
    """
    values.partition(first)
    found = {second: float(values[second:].min())} if second > first else {}
    return {first: float(values[first]), **found}


@dataclass(frozen=True)
class _Listed:
    """Good pixels one by one: float32 or float64, none of them NaN or infinite."""

    value: Array

    @property
    def size(self) -> int:
        return self.value.size

    def quartiles(self) -> tuple[float, float, float]:
        values, value_at = self.value.copy(), {}
        for first, second, _ in between_ranks(self.size):
            value_at.update(_values_at(values, first, second))
        return interpolate(self.size, value_at.__getitem__)

    def moments(self, low: float, high: float, /) -> Statistics:
        middle = low + (high - low) / 2
        found, is_exact = self._about(middle, low, high) if math.isfinite(middle) else (NOTHING, False)
        if not is_exact:
            # Far from all pixels, as the middle of wide bounds may be, the mean cancels with the rest; it does not
            # about one of them.
            found, is_exact = self._about(first_within(self.value, low, high), low, high)
        if not is_exact:
            found, is_exact = self._about(found.level, low, high)
        return found if is_exact else self._scaled_moments(low, high)

    def _about(self, centre: float, low: float, high: float) -> tuple[Statistics, bool]:
        return moments_about(centre, *sum_within(self.value, low, high, centre))

    def _scaled_moments(self, low: float, high: float) -> Statistics:
        """Moments of pixels whose squares are beyond float64, in units of a power of two."""
        values = self.value.astype(np.float64)
        inside = values[(values >= low) & (values <= high)]
        unit = math.ldexp(0.5, math.frexp(float(np.abs(inside).max()))[1])
        scaled = _Listed(inside / unit)
        rough, _ = scaled._about(float(scaled.value[0]), *ALL_VALUES)
        found, _ = scaled._about(rough.level, *ALL_VALUES)
        return Statistics(found.level * unit, found.sigma * unit, found.counts)


@dataclass
class _Bracketed:
    """Good pixels of which those in the core are summed, and others are gathered where they may matter.

    Whatever was foretold wrongly is found from all pixels.
    """

    size: int
    sums: Sequence[float]
    below: Array
    edges: Edges
    kept: Array
    list_all: Callable[[], _Listed]
    _all: _Listed | None = field(default=None, init=False)
    _outside: Array | None = field(default=None, init=False)

    def _listed(self) -> _Listed:
        if self._all is None:
            self._all = self.list_all()
        return self._all

    def quartiles(self) -> tuple[float, float, float]:
        value_at: dict[int, float] = {}
        room = np.empty(self.kept.size + 1, self.kept.dtype)
        for j, pair in enumerate(between_ranks(self.size)):
            first, last = self.below[j]
            if not (first <= pair[0] and pair[1] < last):
                return self._listed().quartiles()
            if not self.edges.gathers[j]:
                low = float(self.edges.brackets[j, 0])
                value_at.update({pair[0]: low, pair[1]: low})
                continue
            inside = room[: gather_between(self.kept, self.edges.brackets[j], room)]
            found = _values_at(inside, pair[0] - first, pair[1] - first)
            value_at.update({rank + first: value for rank, value in found.items()})
        return interpolate(self.size, value_at.__getitem__)

    def moments(self, low: float, high: float, /) -> Statistics:
        if not (low <= self.edges.core[0] and self.edges.core[1] <= high):
            return self._listed().moments(low, high)
        counts, first, second = self.sums
        centre = self.edges.centre
        if self.edges.core != ALL_VALUES:
            if self._outside is None:
                outside = np.empty(self.kept.size + 1, self.kept.dtype)
                core = np.array(self.edges.core, self.kept.dtype)
                self._outside = outside[: gather_outside(self.kept, core, outside)]
            more = sum_within(self._outside, low, high, centre)
            counts, first, second = counts + more[0], first + more[1], second + more[2]
        found, is_exact = moments_about(centre, int(counts), first, second)
        return found if is_exact else self._listed().moments(low, high)
