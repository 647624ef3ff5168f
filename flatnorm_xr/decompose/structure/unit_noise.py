"""Test of noise that single units have of their own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.decompose.structure.finding import MOSTLY, Explanation, Finding, holm, not_made
from flatnorm_xr.decompose.structure.residual_table import ResidualTable
from flatnorm_xr.decompose.structure.two_way import Array
from flatnorm_xr.decompose.structure.unit_departures import FEWEST_UNITS, SHOWN, price
from flatnorm_xr.decompose.structure.unit_regression import Rows, rows_of
from flatnorm_xr.errors import offenders

__all__ = ["scatter_test"]

Mask = NDArray[np.bool_]

_ROUNDS = 12
_SETTLED = 0.05

_KEPT = 1e-6
"""Share of a cell's departure that its residual must keep to say anything."""

_LEAST = 1e-9

_ALIKE = 4.0
"""Ratio of variances within which noisy units are named together."""


class _Compared(NamedTuple):
    """Scatter of each unit beside that of the others, (unit)."""

    ratio: Array
    """Variance over that of all others together; NaN where there is nothing to compare."""
    p_holm: Array
    rows: Rows


def scatter_test(table: ResidualTable, *, alpha: float) -> Finding:
    """Hold each unit's scatter against that of the others together; a unit rejected whole counts with its cells.

    A noisy unit makes the others look noisy, by what it does to E. So the noisiest are given less weight until they
    weigh what they are worth, and the sizes are those found then.
    """
    first = _compare(table)
    told = np.isfinite(first.ratio)
    if told.sum() < FEWEST_UNITS:
        return not_made("scatter", "fewer than 3 units with exposures to spare")
    p = float(np.nanmin(first.p_holm))
    chosen, factor = _settle(table, first, alpha)
    rows = rows_of(table.reweighted(factor), _of_lost_units(table) * factor[:, np.newaxis])
    variance = np.where(rows.dof > 0, rows.chi2 / np.where(rows.dof > 0, rows.dof, 1.0), np.nan) / factor
    scale = np.sqrt(variance / np.nanmedian(variance))
    order = np.flatnonzero(chosen)[np.argsort(-scale[chosen])]
    worst = int(order[0])
    named = [f"{table.units[k]} ({scale[k]:.3g} times the median{_one_cell(table, rows, k)})" for k in order]
    largest = f"{table.noun} {offenders([table.units[worst]])} {scale[worst]:.3g} times the median"
    nouns, verb = (f"{table.noun}s", "scatter") if len(named) > 1 else (table.noun, "scatters")
    return Finding(
        "scatter",
        f"{'noisy units' if p < 0.05 else 'no noisy unit'} among {told.sum()}: largest scatter {largest}",
        p,
        float(first.ratio[worst]),
        "F",
        float(scale[worst]),
        float("nan"),
        "1",
        float(first.rows.chi2[chosen].sum() / first.rows.chi2[told].sum()),
        Explanation(
            f"{nouns} {offenders(named, show=SHOWN)} {verb} more than the others",
            _gain(first.rows, chosen, told & (table.weight > 0).any(1)),
            0,
            price(table, int(chosen.sum())),
            factor=factor,
        ),
        {"own_scale": scale, "own_scale_p_holm": first.p_holm},
    )


def _of_lost_units(table: ResidualTable) -> Array:
    """Inverse variance of the cells of units that were rejected whole, 0 for all others."""
    kept = (table.weight > 0).any(axis=1, keepdims=True)
    return np.where(kept, 0.0, table.spare)


def _compare(table: ResidualTable) -> _Compared:
    from scipy.stats import f

    rows = rows_of(table, _of_lost_units(table))
    kind = (rows.dof > 0) & (table.weight > 0).any(1)
    # without the unit the others' residuals would be smaller, by what it does to them through E
    kept = np.where(rows.kept > _KEPT, rows.kept, np.inf)
    with_it = (table.weight * table.residual**2 / kept).sum(1)
    worth = (np.where(table.weight > 0, 1 - table.fit.leverage, 0.0) / kept).sum(1)
    remains = table.dof / (table.dof + table.taken)
    others_dof = table.dof + table.taken - np.where(kind, worth, 0.0)
    others = (table.chi2 - np.where(kind, with_it, 0.0)) / remains
    others = np.maximum(others, _LEAST * table.chi2)
    own = np.where(kind, with_it / remains, rows.chi2)
    own_dof = np.where(kind, worth, rows.dof)
    fair = (rows.dof > 0) & (own_dof > 0) & (others_dof > _KEPT) & (others > 0)
    dof, beside = np.where(fair, own_dof, 1.0), np.where(fair, others_dof, 1.0)
    ratio = np.where(fair, own / dof * beside / np.where(fair, others, 1.0), np.nan)
    p = np.where(fair, f.sf(np.nan_to_num(ratio), dof, beside), np.nan)
    return _Compared(ratio, holm(p), rows)


def _settle(table: ResidualTable, first: _Compared, alpha: float) -> tuple[Mask, Array]:
    """Find the noisiest units, and by what to multiply their weights so that they scatter like the others.

    Units that are noisy, but far less so, are left for another round: something else may be wrong with them. Where
    none is noisy, or most are, the noisiest alone is given, and its weight is left.
    """
    kept = (table.weight > 0).any(axis=1)
    ratio = np.nan_to_num(first.ratio)
    factor = np.ones(kept.size)
    chosen: Mask = np.asarray((first.p_holm < alpha) & (ratio > ratio.max() / _ALIKE))
    if not 0 < chosen.sum() <= kept.size / 2:
        return ratio == ratio.max(), factor
    factor = np.where(chosen & ~kept, 1 / np.where(chosen, ratio, 1.0), factor)
    now = first
    for _ in range(_ROUNDS):
        off = chosen & kept & (np.abs(np.log(np.where(chosen & kept, now.ratio, 1.0))) > _SETTLED)
        if not off.any():
            break
        factor = np.where(off, factor / np.where(off, now.ratio, 1.0), factor)
        now = _compare(table.reweighted(factor))
    return chosen, factor


def _gain(rows: Rows, chosen: Mask, units: Mask) -> float:
    """By how much minus twice the log of the likelihood falls when the chosen units have variances of their own.

    What a noisy unit does to the others' residuals is not counted: an explanation of its levels, where there is one,
    says more than that it is noisy, and is tried first.
    """
    quiet = units & ~chosen
    own = chosen & units & (rows.chi2 > 0)
    gained = _deviance(rows.chi2[units].sum(), rows.dof[units].sum())
    gained -= _deviance(rows.chi2[quiet].sum(), rows.dof[quiet].sum())
    return gained - sum(_deviance(chi2, dof) for chi2, dof in zip(rows.chi2[own], rows.dof[own], strict=True))


def _deviance(chi2: float, dof: float) -> float:
    return float(dof * np.log(chi2 / dof)) if dof > 0 and chi2 > 0 else 0.0


def _one_cell(table: ResidualTable, rows: Rows, k: int) -> str:
    """Say which cell of a noisy unit has most of its scatter, if one has."""
    cells = rows.weight[k] * table.residual[k] ** 2
    j = int(cells.argmax())
    if (rows.weight[k] > 0).sum() <= 2 or cells[j] <= MOSTLY * cells.sum():
        return ""
    return f", nearly all of it in exposure {offenders([table.exposures[j]])}"
