"""The run of exposures in which a unit differs most from the rest of its own series: NumPy only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Runs", "largest_contrasts", "widest_runs"]

Array = NDArray[np.float64]

_EVERY_RUN = 32
"""Length up to which a first look takes every run; longer ones are taken on a grid."""

_STEPS = 16
"""Steps of that grid in the length of a run."""

_SUSPICIOUS = 0.85
"""Share of the limit at which the first look hands a unit on to be scanned in full."""

_LIGHTER = 0.95
"""Weight of the first half over that of the second at which the first is the run."""

_CHUNK = 4_000_000
"""Cells of which one block of units may consist, in a full scan or a first look."""


class Runs(NamedTuple):
    """The run of largest contrast of each unit: |T|, and its cells, (units, exposures)."""

    size: Array
    cells: NDArray[np.bool_]


def largest_contrasts(residual: Array, precision: Array, *, limit: float) -> Array:
    """Largest |T| over the runs of each unit, all runs where it may exceed ``limit``.

    T = (mean in - mean out) / sqrt(1 / W_in + 1 / W_out), over the valid cells of a unit, where the run has at most
    half of them: the rest of a longer run is then the run that is meant, or not one run. Runs up to 32 cells are
    all looked at; longer ones first with lengths and starts in steps of 1/16 of their length, which overlap any run
    to more than 90 % and so keep 95 % of its contrast. A unit whose first look reaches 0.85 of the limit is scanned
    in full. Below, numbers may be short by a few per cent, which nobody looks at.

    Parameters
    ----------
    residual : array, (units, exposures)
    precision : array, same shape
        Inverse variance of the residuals; 0 for cells that are not to be looked at.
    limit : float

    Returns
    -------
    array, (units)
        0 for units with fewer than three cells.
    """
    found = np.zeros(residual.shape[0])
    for rows in _blocks(*residual.shape):
        found[rows] = _scan(residual[rows], precision[rows], every=False)[0]
    again = np.flatnonzero(found >= _SUSPICIOUS * limit)
    if residual.shape[1] // 2 > _EVERY_RUN and again.size:
        found[again] = widest_runs(residual[again], precision[again]).size
    return found


def widest_runs(residual: Array, precision: Array) -> Runs:
    """Find the run of largest |T| of each unit, of all its runs.

    Parameters as for `largest_contrasts`. Of two halves the later is the run, unless the earlier has 5 % less weight.
    """
    size = np.zeros(residual.shape[0])
    cells = np.zeros(residual.shape, dtype=bool)
    for rows in _blocks(*residual.shape):
        size[rows], start, length, order = _scan(residual[rows], precision[rows], every=True)
        rank = np.arange(residual.shape[1])
        inside = (rank >= start[:, np.newaxis]) & (rank < (start + length)[:, np.newaxis])
        if order is None:
            cells[rows] = inside
        else:
            block = np.zeros_like(inside)
            np.put_along_axis(block, order, inside, axis=1)
            cells[rows] = block
    return Runs(size, cells)


def _blocks(units: int, exposures: int) -> Iterator[slice]:
    step = max(_CHUNK // max(exposures, 1), 1)
    for first in range(0, units, step):
        yield slice(first, first + step)


def _scan(
    residual: Array, precision: Array, *, every: bool
) -> tuple[Array, NDArray[np.intp], NDArray[np.intp], NDArray[np.intp] | None]:
    """|T|, start and length of the best run of each unit among its valid cells, and the order that packs them."""
    order = None
    valid = precision > 0
    if not valid.all():
        order = np.argsort(~valid, axis=1, kind="stable")
        residual = np.take_along_axis(residual, order, axis=1)
        precision = np.take_along_axis(precision, order, axis=1)
    number = valid.sum(axis=1)
    weights = _cumulative(precision)
    total = weights[:, -1]
    inverse = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)[:, np.newaxis]
    mean = (precision * residual).sum(axis=1, keepdims=True) * inverse
    sums = _cumulative(precision * (residual - mean))
    rows = np.arange(number.size)
    best, best_start, best_length = np.zeros(number.size), np.zeros_like(number), np.zeros_like(number)
    for length, step in _lengths(int(number.max(initial=0)) // 2, every=every):
        squared = _squared_contrasts(sums, weights, inverse, length, step)
        squared[number < max(2 * length, 3)] = 0.0
        start = squared.argmax(axis=1)
        largest = squared[rows, start]
        better = largest > best
        best[better], best_start[better], best_length[better] = largest[better], step * start[better], length
    if every:
        _prefer_later_half(best_start, best_length, number, weights)
    return np.sqrt(best), best_start, best_length, order


def _squared_contrasts(sums: Array, weights: Array, inverse: Array, length: int, step: int) -> Array:
    """T^2 of the runs of one length, every ``step``-th start."""
    last = sums.shape[1] - length
    inside = weights[:, length::step] - weights[:, :last:step]
    total = sums[:, length::step] - sums[:, :last:step]
    spread = inside * (1 - inside * inverse)
    total *= total
    squared: Array = np.divide(total, spread, out=np.zeros_like(total), where=spread > 1e-9 * inside)
    return squared


def _lengths(longest: int, *, every: bool) -> Iterator[tuple[int, int]]:
    """Lengths of runs, and the step between the starts that are looked at."""
    length = 1
    while length <= longest:
        short = every or length <= _EVERY_RUN
        yield length, 1 if short else max(length // _STEPS, 1)
        length = length + 1 if short else length + max(length // _STEPS, 1)


def _prefer_later_half(
    start: NDArray[np.intp], length: NDArray[np.intp], number: NDArray[np.intp], weights: Array
) -> None:
    """Where a run is half of a series, in place: choose the half of less weight, or the later one."""
    halves = np.flatnonzero((2 * length == number) & ((start == 0) | (start == length)) & (number > 0))
    first, both = weights[halves, length[halves]], weights[halves, -1]
    start[halves] = np.where(first < _LIGHTER * (both - first), 0, length[halves])


def _cumulative(values: Array) -> Array:
    sums = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums
