"""What went wrong within each unit's series: single cells, runs of cells, gain jumps, or the whole unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.decompose.robust.run_scan import largest_contrasts, widest_runs
from flatnorm_xr.decompose.robust.scatter import NORMAL_MEDIAN, Table, masked_median
from flatnorm_xr.flags import Flag

__all__ = ["Event", "Limits", "unit_events"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_FEWEST = 3
"""Cells of a unit, and units of an exposure, below which none can be said to be the odd one out."""

_ERRATIC = 3.0
_ERRATIC_REST = 2.0
"""Scatter of a unit, in units of that of the others, at which its cells are not faults but its manner; and of what is
left of a unit once faults have been taken out, which is tamer than the whole."""

_MANY = 2.5
_OFTEN = 4
"""A unit was wrong as a whole that loses one of 2.5 cells, in two events or one for every four cells."""


class Limits(NamedTuple):
    """Scale of the scatter, and how large a contrast must be to count."""

    typical: float
    """Standard deviation of a cell of weight 1 of a typical unit."""
    scales: Array
    """The same of each unit, widened where it is known badly, so that one limit serves all."""
    contrast: float
    """|T| of any run of any unit."""
    inner: Array
    """|T| of any run within a run, by the number of its cells."""
    excess: Array
    """Variance of a unit over that of the others, by its degrees of freedom."""
    excess_rest: Array
    """The same for what is left of a unit that had a fault."""


@dataclass(frozen=True)
class Event:
    """Cells of a table that went wrong together."""

    flag: Flag
    cells: NDArray[np.intp]
    """Where they are in the flattened (units, exposures)."""
    size: float
    """|T|, or its like, by which the least certain of several can be chosen."""


def unit_events(table: Table, used: Array, *, limits: Limits) -> list[Event]:
    """Find the faults of each unit, given what exposures and scatter are.

    The unit's run of largest contrast is taken out if it exceeds the limit, then the largest of the rest, until
    none does. A unit that loses more than half of its cells, two of five by several events, or whose rest scatters
    three times as much as the other units, was wrong as a whole.

    Parameters
    ----------
    table : Table
        With weight 0 in exposures that were left out as a whole.
    used : array, (units, exposures)
        Weights of the fit that made the residuals: 0 also for cells left out of it.
    limits : Limits
    """
    bare = _precision(table.weight, used)
    precision = bare / limits.scales[:, np.newaxis] ** 2
    plain = bare / limits.typical**2
    number = (precision > 0).sum(axis=1)
    residual, left = table.residual, precision.copy()
    whole = np.zeros(number.size, dtype=bool)
    sizes = largest_contrasts(residual, precision, limit=limits.contrast)
    active = np.flatnonzero(sizes > limits.contrast)
    events: dict[int, list[Event]] = {int(unit): [] for unit in active}
    whole[active] = _erratic(residual[active], plain[active], limits.excess)
    active = active[~whole[active]]
    while active.size:
        runs = widest_runs(residual[active], left[active])
        seen = runs.size > limits.contrast
        active, size, cells = active[seen], runs.size[seen], runs.cells[seen]
        cells = _alike(residual[active], left[active], cells, limits.inner)
        for unit, mask, contrast in zip(active.tolist(), cells, size, strict=True):
            events[unit].append(_event(unit, mask, left[unit] > 0, contrast))
        left[active] = np.where(cells, 0.0, left[active])
        lost = number[active] - (left[active] > 0).sum(axis=1)
        often = np.array([len(events[unit]) for unit in active.tolist()]) >= np.maximum(2, number[active] / _OFTEN)
        whole[active] = (2 * lost > number[active]) | (often & (_MANY * lost >= number[active]))
        active = active[~whole[active]]
    touched = np.isin(np.arange(number.size), list(events))
    whole |= _scatters(residual, np.where(left > 0, plain, 0.0), touched, limits)
    found = [event for unit, of_unit in events.items() if not whole[unit] for event in of_unit]
    found.sort(key=lambda event: int(event.cells[0]))
    exposures = table.weight.shape[1]
    for unit in np.flatnonzero(whole).tolist():
        cells = unit * exposures + np.flatnonzero(table.weight[unit] > 0)
        found.append(Event(Flag.REJECTED_UNIT, cells, float(sizes[unit])))
    return found


def _precision(weight: Array, used: Array) -> Array:
    """Inverse variance of the residuals, 0 in exposures with too few units for a judgement.

    A cell that had its share in the level of its exposure has a residual that is smaller by it, one that was left
    out a residual that is larger.
    """
    total = used.sum(axis=0)
    share = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)
    judged = (used > 0).sum(axis=0) >= _FEWEST
    variance = np.where(used > 0, 1 - share, 1 + share)
    precision: Array = np.divide(weight, variance, out=np.zeros_like(weight), where=judged & (variance > 0))
    return precision


def _erratic(residual: Array, precision: Array, excess: Array) -> Mask:
    """Whether most cells of a unit scatter widely, also once its best run is taken for a level of its own."""
    runs = widest_runs(residual, precision)
    size = np.zeros_like(residual)
    for side in (runs.cells, ~runs.cells):
        mask = side & (precision > 0)
        middle = masked_median(residual, mask, axis=1)[:, np.newaxis]
        size = np.where(mask, np.abs(residual - middle) * np.sqrt(precision), size)
    typical: Array = masked_median(size, precision > 0, axis=1)
    limit = np.maximum(excess[np.maximum((precision > 0).sum(axis=1) - 1, 1)], _ERRATIC**2)
    beyond: Mask = typical > NORMAL_MEDIAN * np.sqrt(limit)
    return beyond


def _alike(residual: Array, precision: Array, cells: Mask, inner: Array) -> Mask:
    """Narrow each run down to cells that agree, so that no good cell goes for standing between two bad ones."""
    outside = np.where(cells, 0.0, precision)
    total = outside.sum(axis=1)
    level = (outside * residual).sum(axis=1) / total
    cells = cells.copy()
    open_ = np.flatnonzero(cells.sum(axis=1) > 1)
    while open_.size:
        within = np.where(cells[open_], precision[open_], 0.0)
        runs = widest_runs(residual[open_], within)
        split = runs.size > inner[cells[open_].sum(axis=1)]
        open_ = open_[split]
        if not open_.size:
            break
        first = runs.cells[split].argmax(axis=1)[:, np.newaxis]
        position = np.arange(cells.shape[1])
        middle = runs.cells[split]
        pieces = np.stack([middle, cells[open_] & ~middle & (position < first), cells[open_] & (position > first)])
        pieces[2] &= ~middle
        weight = np.where(pieces, precision[open_], 0.0)
        sums = weight.sum(axis=2)
        filled = np.where(sums > 0, sums, 1.0)
        offset = (weight * residual[open_]).sum(axis=2) / filled - level[open_]
        contrast = np.where(sums > 0, offset**2 / (1 / filled + 1 / total[open_]), -1.0)
        cells[open_] = pieces[contrast.argmax(axis=0), np.arange(open_.size)]
        open_ = open_[cells[open_].sum(axis=1) > 1]
    return cells


def _event(unit: int, cells: Mask, valid: Mask, size: float) -> Event:
    where = np.flatnonzero(cells & valid)
    series = np.flatnonzero(valid)
    at_end = where[0] == series[0] or where[-1] == series[-1]
    flag = Flag.GAIN_JUMP if at_end and where.size > 1 else Flag.OUTLIER
    return Event(flag, unit * cells.size + where, float(size))


def _scatters(residual: Array, precision: Array, touched: Mask, limits: Limits) -> Mask:
    """Whether what is left of a unit scatters more than chance and its kind allow.

    Taking faults out has made the rest look tamer than the unit is, so that less is enough there.
    """
    number, total = (precision > 0).sum(axis=1), precision.sum(axis=1)
    mean = (precision * residual).sum(axis=1) / np.where(total > 0, total, 1.0)
    chi2 = (precision * (residual - mean[:, np.newaxis]) ** 2).sum(axis=1)
    dof = np.maximum(number - 1, 1)
    usual = np.maximum(limits.excess[dof], _ERRATIC**2)
    limit = np.where(touched, np.maximum(limits.excess_rest[dof], _ERRATIC_REST**2), usual)
    beyond: Mask = (number >= _FEWEST) & (chi2 > dof * limit)
    return beyond
