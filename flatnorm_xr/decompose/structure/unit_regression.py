"""Regression of each unit's residuals on a pattern, and the likeliest jump of each unit's response."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.decompose.structure.finding import holm
from flatnorm_xr.decompose.structure.residual_table import ResidualTable
from flatnorm_xr.decompose.structure.two_way import Array
from flatnorm_xr.decompose.structure.unit_scatter import Scatter, judged_scatter

__all__ = ["Rows", "UnitEffect", "find_jumps", "regress", "rows_of"]

_FOLLOWS = 4.0
"""Standard deviations within which a rejected cell follows what the unit's other cells say."""

_SHORTEST = 2
"""Exposures on either side of a jump; a single one is an outlier."""

_NOTHING = 1e-20
"""Share of a pattern's square below which what is left of it about its mean is rounding."""


class UnitEffect(NamedTuple):
    """An effect tried on each unit by itself, (unit); NaN where there is nothing to tell it from."""

    size: Array
    stderr: Array
    p_holm: Array
    """Two-sided, adjusted for the number of units (and of places tried)."""
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
    chi2: Array
    dof: Array


def regress(table: ResidualTable, pattern: Array) -> UnitEffect:
    """Regress each unit's residuals on a pattern, (unit, exposure), finite wherever there is a residual.

    A departure of one unit also moves the E of its exposures, by its share of their weight; the slope allows for
    that. A rejected cell takes part where it follows what the unit's other cells say, or where these say nothing.
    """
    rows = rows_of(table, _followers(table, pattern))
    centred = table.centred(pattern, rows.weight)
    information = (rows.weight * rows.kept * centred**2).sum(1)
    told = (information > _NOTHING * (rows.weight * pattern**2).sum(1)) & (rows.dof > 1)
    information = np.where(told, information, np.nan)
    size = (rows.weight * centred * table.residual).sum(1) / information
    none = np.full(size.shape, -1)
    return _judged(rows, size, information, tries=None, pattern=centred, column=none)


def find_jumps(table: ResidualTable) -> UnitEffect:
    """Try a jump of each unit's response between any two exposures that follow each other in time."""
    rows = rows_of(table, np.where(table.jumped, table.spare, 0.0))
    order = table.order
    weight = rows.weight[:, order]
    moment = -np.cumsum(weight * table.centred(table.residual, rows.weight)[:, order], axis=1)[:, :-1]
    information = _step_information(table, rows)
    before = np.cumsum(weight > 0, axis=1)[:, :-1]
    number = (weight > 0).sum(1, keepdims=True)
    fair = (before >= _SHORTEST) & (number - before >= _SHORTEST) & (information > 0) & (weight[:, 1:] > 0)
    fair &= rows.dof[:, np.newaxis] > 1
    information = np.where(fair, information, np.inf)
    step = np.argmax(np.where(fair, moment**2 / information, -1.0), axis=1)
    unit = np.arange(step.size)
    there = fair.any(1)
    told = np.where(there, information[unit, step], np.nan)
    column = np.where(there, order[step + 1], -1)
    after = np.zeros(weight.shape)
    after[:, order] = np.arange(weight.shape[1]) > step[:, np.newaxis]
    pattern = table.centred(after, rows.weight)
    tries = _Tries(fair, information, weight)
    return _judged(rows, moment[unit, step] / told, told, tries=tries, pattern=pattern, column=column)


def rows_of(table: ResidualTable, spare: Array) -> Rows:
    """Take each unit's cells together: those used, and those rejected ones that ``spare`` gives a weight."""
    used = table.weight > 0
    weight = np.where(used, table.weight, spare)
    total = table.weight.sum(0)
    kept = np.where(used, 1 - table.weight / np.where(total > 0, total, 1.0), 1.0)
    # residuals are smaller than errors by their leverage, and by what explanations took already
    left = np.where(used, (1 - table.fit.leverage) * table.dof / max(table.dof + table.taken, 1), 1.0)
    groups = np.add.reduceat(weight > 0, table.fit.starts, axis=1)
    dof = (weight > 0).sum(1) - (groups > 0).sum(1)
    taken = left.sum(1, where=weight > 0) / np.where(dof > 0, dof, 1)
    chi2 = (weight * table.centred(table.residual, weight) ** 2).sum(1) / np.where(taken > 1e-9, taken, np.inf)
    return Rows(weight, kept, chi2, np.where(taken > 1e-9, dof, 0).astype(float))


def _step_information(table: ResidualTable, rows: Rows) -> Array:
    """Information on a step after each exposure but the last, in order of time, (unit, exposure - 1)."""
    order = table.order
    found = np.zeros((rows.weight.shape[0], order.size - 1))
    for group in table.group_indicators():
        weight = (rows.weight * group)[:, order]
        kept = np.cumsum(weight * rows.kept[:, order], axis=1)
        before = np.cumsum(weight, axis=1)
        total = before[:, -1:]
        late = 1 - before[:, :-1] / np.where(total > 0, total, 1.0)
        found += kept[:, :-1] * late**2 + (kept[:, -1:] - kept[:, :-1]) * (1 - late) ** 2
    return found


def _judged(
    rows: Rows, size: Array, information: Array, *, tries: _Tries | None, pattern: Array, column: NDArray[np.intp]
) -> UnitEffect:
    """Give effects their errors and p-values, from the scatter that each unit has without its effect."""
    from scipy.stats import t as student

    explained = size**2 * information
    dof = rows.dof - 1
    fair = (dof > 0) & np.isfinite(explained)
    left = np.maximum(rows.chi2 - np.nan_to_num(explained), 1e-12 * rows.chi2)
    after = Scatter(left / np.where(fair, dof, 1.0), np.where(fair, dof, 0.0))
    # units all look too quiet once the likeliest of many effects is taken out of each
    usual = after if tries is None else Scatter(rows.chi2 / np.where(fair, rows.dof, 1.0), rows.dof * fair)
    scatter = judged_scatter(after, usual=usual)
    stderr = np.sqrt(scatter.variance / information)
    p = np.full(size.shape, np.nan)
    known = np.isfinite(stderr) & (stderr > 0)
    p[known] = 2 * student.sf(np.abs(size / stderr)[known], scatter.dof[known])
    if tries is not None:
        p = np.minimum(p * tries.number(p), 1.0)
    return UnitEffect(size, stderr, holm(p), explained, pattern, np.where(known, column, -1))


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
