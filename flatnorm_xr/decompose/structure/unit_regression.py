"""Regression of each unit's residuals on a pattern, and the likeliest jump of each unit's response."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.decompose.structure.residual_table import ResidualTable
from flatnorm_xr.decompose.structure.two_way import Array
from flatnorm_xr.decompose.structure.unit_scatter import Scatter, judged_scatter

__all__ = ["Rows", "Taken", "Tried", "UnitEffect", "judge", "rows_of", "try_jumps", "try_pattern"]

_FOLLOWS = 4.0
"""Standard deviations within which a rejected cell follows what the unit's other cells say."""

_SHORTEST = 2
"""Exposures on either side of a jump; a single one is an outlier."""

_SMALL_CAMERA = 16
_WORK = 4_000_000

_ALONE = 1e-6
"""Share of a departure below which a residual keeps nothing of it."""

_NOTHING = 1e-20
"""Share of a pattern's square below which what is left of it about its mean is rounding."""


class UnitEffect(NamedTuple):
    """An effect tried on each unit by itself, (unit); NaN where there is nothing to tell it from."""

    size: Array
    stderr: Array
    p: Array
    """Two-sided, adjusted for the number of places tried."""
    explained: Array
    """By how much chi^2 falls."""
    pattern: Array
    """(unit, exposure): size times this is the effect."""
    column: NDArray[np.intp]
    """For a jump, the first exposure after it; -1 where there is none."""


class _Tries(NamedTuple):
    """Splits of each unit's exposures in two, in order of time, (unit, split)."""

    fair: NDArray[np.bool_]
    information: Array
    weight: Array
    """Of the exposure before each split, and of the last one."""

    def number(self, p: Array) -> Array:
        """How many independent splits would give a value of this p, (unit), as often: neighbours fail together.

        References
        ----------
        Worsley 1982, Biometrika 69, 297 (improved Bonferroni inequality).
        """
        from scipy.special import ndtr, ndtri

        bound = -ndtri(np.clip(np.nan_to_num(p, nan=1.0), 1e-300, 0.5) / 2)[:, np.newaxis]
        node, share = np.polynomial.laguerre.laggauss(12)
        beyond = node / bound
        share = share * np.exp(-(beyond**2) / 2)
        share /= share.sum(1, keepdims=True)
        total = self.weight.sum(1)
        number, last, between = np.zeros(total.size), np.full(total.size, np.inf), np.zeros(total.size)
        for k in range(self.fair.shape[1]):
            fair, here = self.fair[:, k], self.information[:, k]
            common = (last + here - between * (1 - between / np.where(total > 0, total, 1.0))) / 2
            with np.errstate(invalid="ignore"):
                r = np.clip(np.where(np.isfinite(last) & fair, common / np.sqrt(last * here), 0.0), 0.0, 1 - 1e-9)
            r = r[:, np.newaxis]
            both = (share * ndtr((r * (bound + beyond) - bound) / np.sqrt(1 - r**2))).sum(1)
            number += np.where(fair, 1 - np.where(np.isfinite(last), both, 0.0), 0.0)
            last, between = np.where(fair, here, last), np.where(fair, self.weight[:, k + 1], between)
        return np.maximum(number, 1.0)


class Rows(NamedTuple):
    """Each unit's own chi^2 about its mean, set right for what G and E took, and its degrees of freedom."""

    weight: Array
    kept: Array
    """Share of a departure in one cell that is left in its residual."""
    spread: Array
    """Variance of a cell's residual over that of the cell, but for what G takes."""
    chi2: Array
    dof: Array
    together: float
    """Degrees of freedom of all units: fewer than their sum, for a unit's residuals show in those of the others."""


class Taken(NamedTuple):
    """Effects of single units that were taken out of the residuals, (unit)."""

    units: NDArray[np.bool_]
    size: Array
    column: NDArray[np.intp]
    """For jumps, the first exposure after each; -1 elsewhere."""
    lost: Array
    """What they took of the variance of each residual, (unit, exposure)."""

    @classmethod
    def nothing(cls, table: ResidualTable) -> Taken:
        """Give the start: no unit has an effect."""
        units = len(table.weight)
        return cls(np.zeros(units, bool), np.zeros(units), np.full(units, -1), np.zeros(table.weight.shape))


class Tried(NamedTuple):
    """An effect tried on the residuals of every unit, (unit), before it is judged."""

    rows: Rows
    size: Array
    """Beside what was taken out already."""
    information: Array
    """Inverse variance of the size, for weights that are inverse variances."""
    pattern: Array
    column: NDArray[np.intp]
    lost: Array
    """What taking out each unit's effect costs the variance of its own residuals, (unit, exposure)."""
    tries: _Tries | None = None


def try_pattern(table: ResidualTable, pattern: Array, taken: Taken) -> Tried:
    """Regress each unit's residuals on a pattern, (unit, exposure), finite wherever there is a residual.

    A departure of one unit also moves the E of its exposures, by its share of their weight; the slope allows for
    that. A rejected cell, which moved neither E nor G, takes part where it follows what the unit's other cells say,
    or where these say nothing.
    """
    rows = rows_of(table, _followers(table, pattern), taken)
    centred = table.centred(pattern, rows.weight)
    left = table.centred(pattern, table.weight)
    crossed = (rows.weight * rows.kept * centred * left).sum(1)
    spread = (rows.weight * rows.spread * centred**2).sum(1)
    told = (spread > _NOTHING * (rows.weight * pattern**2).sum(1)) & (crossed > 0) & (rows.dof + taken.units > 1)
    crossed = np.where(told, crossed, np.nan)
    exact = _exact(table, rows, left[np.newaxis])
    if exact is not None:
        crossed = np.where(told & exact.units, exact.information[0], crossed)
        spread = np.where(told & exact.units, exact.information[0], spread)
    size = (rows.weight * centred * table.residual).sum(1) / crossed
    information = crossed**2 / np.where(told, spread, 1.0)
    lost = _lost(table, rows, centred, information)
    return Tried(rows, size, information, centred, np.full(size.shape, -1), lost)


def try_jumps(table: ResidualTable, taken: Taken) -> Tried:
    """Try a jump of each unit's response between any two exposures that follow each other in time.

    The jumps that were taken already stay where they are.
    """
    rows = rows_of(table, np.where(table.jumped, table.spare, 0.0), taken)
    order = table.order
    weight = rows.weight[:, order]
    moment = -np.cumsum(weight * table.centred(table.residual, rows.weight)[:, order], axis=1)[:, :-1]
    crossed, spread = _step_information(table, rows)
    steps = np.zeros((order.size - 1, 1, order.size))
    steps[:, 0, order] = np.triu(np.ones((order.size, order.size)), 1)[:-1]
    exact = _exact(table, rows, steps)
    if exact is not None:
        there = exact.units[:, np.newaxis] & (_NOTHING * weight.sum(1, keepdims=True) < exact.information.T)
        crossed = np.where(exact.units[:, np.newaxis], np.where(there, exact.information.T, 0.0), crossed)
        spread = np.where(exact.units[:, np.newaxis], crossed, spread)
    before = np.cumsum(weight > 0, axis=1)[:, :-1]
    number = (weight > 0).sum(1, keepdims=True)
    fair = (before >= _SHORTEST) & (number - before >= _SHORTEST) & (crossed > 0) & (weight[:, 1:] > 0)
    fair &= (rows.dof + taken.units)[:, np.newaxis] > 1
    information = np.where(fair, crossed**2 / np.where(fair, spread, 1.0), np.inf)
    moment = moment / np.where(fair, crossed, np.inf)
    step = np.argmax(np.where(fair, moment**2 * np.where(fair, information, 0.0), -1.0), axis=1)
    place = np.argsort(order)
    step = np.where(taken.column >= 0, place[taken.column] - 1, step)
    unit = np.arange(step.size)
    there = fair.any(1)
    told = np.where(there, information[unit, step], np.nan)
    column = np.where(there, order[step + 1], -1)
    after = np.zeros(weight.shape)
    after[:, order] = np.arange(weight.shape[1]) > step[:, np.newaxis]
    pattern = table.centred(after, rows.weight)
    size = np.where(there, moment[unit, step], np.nan)
    lost = _lost(table, rows, pattern, told)
    return Tried(rows, size, told, pattern, column, lost, _Tries(fair, information, weight))


class _Exact(NamedTuple):
    units: NDArray[np.bool_]
    """Those without rejected cells, of which it holds."""
    information: Array
    """(pattern, unit)."""


def _exact(table: ResidualTable, rows: Rows, patterns: Array) -> _Exact | None:
    """Information on patterns of single units, (pattern, unit, exposure); None where the usual approximation will do.

    That approximation leaves out what E hands on to other exposures where cells are missing, which counts in small
    cameras.
    """
    units, exposures = table.weight.shape
    if units > _SMALL_CAMERA or len(patterns) * units * max(units, exposures) > _WORK:
        return None
    all_used = ~((rows.weight > 0) & (table.weight == 0)).any(1)
    shape = (len(patterns), units, exposures)
    return _Exact(all_used, table.fit.information_of_rows(np.broadcast_to(patterns, shape)))


def rows_of(table: ResidualTable, spare: Array, taken: Taken | None = None) -> Rows:
    """Take each unit's cells together: those used, and those rejected ones that ``spare`` gives a weight."""
    used = table.weight > 0
    weight = np.where(used, table.weight, spare)
    total = table.weight.sum(0)
    share = np.where(total > 0, weight / np.where(total > 0, total, 1.0), 0.0)
    kept = np.where(used, 1 - share, 1.0)
    spread = np.where(used, kept, 1 + share)
    # residuals are smaller than errors by their leverage, and by what explanations took already
    free = np.where(used, 1 - table.fit.leverage, spread)
    left = free * np.where(used, table.dof / max(table.dof + table.taken, 1), 1.0)
    groups = np.add.reduceat(weight > 0, table.fit.starts, axis=1)
    dof = ((weight > 0).sum(1) - (groups > 0).sum(1)).astype(float)
    # a cell that is alone in its exposure says nothing
    told = np.where((weight > 0) & (spread > _ALONE), free / np.where(spread > _ALONE, spread, 1.0), 0.0).sum(1)
    dof = np.where(used.any(1), np.minimum(dof, told), dof)
    together = float(table.dof + ((weight > 0) & ~used).sum())
    if taken is not None:
        left, dof = np.maximum(left - taken.lost, 0.0), dof - taken.units
        together -= float(taken.units.sum())
    remains = left.sum(1, where=weight > 0) / np.where(dof > 0, dof, 1)
    chi2 = (weight * table.centred(table.residual, weight) ** 2).sum(1) / np.where(remains > 1e-9, remains, np.inf)
    return Rows(weight, kept, spread, chi2, np.where(remains > 1e-9, dof, 0.0).clip(min=0.0), max(together, 1.0))


def _lost(table: ResidualTable, rows: Rows, centred: Array, information: Array) -> Array:
    """Share of the variance of each residual that fitting its unit's effect takes, (unit, exposure)."""
    used = table.weight > 0
    told = np.where(np.isfinite(information), information, np.inf)[:, np.newaxis]
    weighted = rows.weight * centred**2
    lost = np.where(used, weighted * rows.kept**2 / told, 0.0)
    spare = np.where(used, 0.0, weighted)
    total = spare.sum(1, keepdims=True)
    if not total.any():
        return lost
    left = np.where(used, table.centred(centred, table.weight), 0.0)
    lost = rows.weight * (rows.kept * left) ** 2 / told
    own = np.clip(1 - lost.sum(1, keepdims=True), 0.0, 1.0)
    return np.asarray(lost + spare / np.where(total > 0, total, np.inf) * own)


def _step_information(table: ResidualTable, rows: Rows) -> tuple[Array, Array]:
    """Find what a step after each exposure but the last, in order of time, gives its moment, and the variance of that.

    Both are (unit, exposure - 1).
    """
    order = table.order
    crossed, spread = np.zeros((2, rows.weight.shape[0], order.size - 1))
    for group in table.group_indicators():
        weight, used = (rows.weight * group)[:, order], (table.weight * group)[:, order]
        late, late_used = _late(weight), _late(used)
        late_used = np.where((used > 0).any(1, keepdims=True), late_used, late)
        kept = np.cumsum(weight * rows.kept[:, order], axis=1)
        variance = np.cumsum(weight * rows.spread[:, order], axis=1)
        crossed += kept[:, :-1] * late * late_used + (kept[:, -1:] - kept[:, :-1]) * (1 - late) * (1 - late_used)
        spread += variance[:, :-1] * late**2 + (variance[:, -1:] - variance[:, :-1]) * (1 - late) ** 2
    return crossed, spread


def _late(weight: Array) -> Array:
    """Share of each unit's weight that comes after each exposure but the last."""
    before = np.cumsum(weight, axis=1)
    total = before[:, -1:]
    return np.asarray(1 - before[:, :-1] / np.where(total > 0, total, 1.0))


def judge(tried: Tried, taken: Taken) -> UnitEffect:
    """Give effects their errors and p-values, from the scatter that each unit has without its effect."""
    from scipy.stats import t as student

    rows, size = tried.rows, tried.size + taken.size
    explained = size**2 * tried.information
    dof = rows.dof - ~taken.units
    fair = (dof > 0) & np.isfinite(explained)
    own = np.where(taken.units, 0.0, np.nan_to_num(explained))
    left = np.maximum(rows.chi2 - own, 1e-12 * rows.chi2)
    after = Scatter(left / np.where(fair, dof, 1.0), np.where(fair, dof, 0.0))
    # units all look too quiet once the likeliest of many effects is taken out of each
    usual = after
    if tried.tries is not None:
        usual = Scatter(rows.chi2 / np.where(fair, rows.dof, 1.0), rows.dof * fair)
    scatter = judged_scatter(after, usual=usual, together=rows.together)
    stderr = np.sqrt(scatter.variance / tried.information)
    p = np.full(size.shape, np.nan)
    known = np.isfinite(stderr) & (stderr > 0)
    p[known] = 2 * student.sf(np.abs(size / stderr)[known], scatter.dof[known])
    if tried.tries is not None:
        p = np.minimum(p * tried.tries.number(p), 1.0)
    return UnitEffect(size, stderr, p, explained, tried.pattern, np.where(known, tried.column, -1))


def _followers(table: ResidualTable, pattern: Array) -> Array:
    """Inverse variance of the rejected cells that lie where the used cells of their unit say."""
    if not table.spare.any():
        return table.spare
    weight, spare = table.weight, table.spare
    centred = table.centred(pattern, weight)
    information = (weight * centred**2).sum(1, keepdims=True)
    told = information > _NOTHING * (weight * pattern**2).sum(1, keepdims=True)
    information = np.where(told, information, 1.0)
    slope = np.where(told, (weight * centred * table.residual).sum(1, keepdims=True) / information, 0.0)
    total = weight.sum(1, keepdims=True)
    of_fit = np.where(told, centred**2 / information, np.inf) + np.where(
        total > 0, 1 / np.maximum(total, 1e-300), np.inf
    )
    variance = np.where(spare > 0, 1 / np.where(spare > 0, spare, 1.0), 0.0) + of_fit
    follows = (table.residual - slope * centred) ** 2 <= _FOLLOWS**2 * variance * table.scatter
    return np.where(follows, spare, 0.0)
