"""Which units have an effect of their own: one after the other, each beside those that were found before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.decompose.structure.finding import holm
from flatnorm_xr.decompose.structure.residual_table import ResidualTable
from flatnorm_xr.decompose.structure.two_way import Array
from flatnorm_xr.decompose.structure.unit_regression import Taken, Tried, UnitEffect, judge, try_jumps, try_pattern

__all__ = ["find_jumps", "regress"]

Mask = NDArray[np.bool_]
_Attempt = Callable[[ResidualTable, Taken], Tried]

_PASSES = 20
_SETTLED = 0.01
"""Standard errors by which the size of an effect may still move when the others are fitted beside it."""

_FEW_UNITS = 16
"""Up to here units are taken one by one: what a unit does to E shows in each of the others with the opposite sign."""

_TOGETHER = 0.5
"""In larger cameras units are taken together whose effects are so large beside the largest."""


def regress(table: ResidualTable, pattern: Array, *, alpha: float) -> UnitEffect:
    """Regress each unit's residuals on a pattern, (unit, exposure), finite wherever there is a residual."""
    return _one_after_the_other(table, lambda left, taken: try_pattern(left, pattern, taken), alpha)


def find_jumps(table: ResidualTable, *, alpha: float) -> UnitEffect:
    """Find the likeliest jump of each unit's response between two exposures that follow each other in time."""
    return _one_after_the_other(table, try_jumps, alpha)


def _one_after_the_other(table: ResidualTable, attempt: _Attempt, alpha: float) -> UnitEffect:
    """Take out the likeliest effect and test the other units again, until none is left with p < ``alpha`` (Holm).

    One unit's effect moves E, and so shows in all others with the opposite sign: by a third in a camera of four. It
    also makes them look noisy, so an effect is judged by the scatter that is left without it. The units taken are
    fitted side by side; at most half of them are taken, for beyond that none can tell who is at fault.
    """
    taken = Taken.nothing(table)
    tried = attempt(table, taken)
    effect = judge(tried, taken)
    most = int((table.weight > 0).any(1).sum()) // 2
    while True:
        waiting = np.where(taken.units, np.nan, effect.p)
        if not np.isfinite(waiting).any():
            break
        strength = np.where(np.isfinite(waiting), np.abs(effect.size / effect.stderr), 0.0)
        worst = int(np.argmax(np.where(waiting == np.nanmin(waiting), strength, -1.0)))
        added = _added(worst, holm(waiting) < alpha, strength, most - int(taken.units.sum()))
        left, with_it, tried = _taken_out(table, attempt, effect, taken, added)
        beside = judge(tried, with_it)
        significant = beside.p[worst] * np.isfinite(waiting).sum() < alpha
        if not significant or with_it.units.sum() > most:
            p = effect.p.copy()
            p[worst] = beside.p[worst]
            return effect._replace(p=p)
        table, taken, effect = left, with_it, beside
        if taken.units.sum() >= most:
            break
    return effect


def _added(worst: int, significant: Mask, strength: Array, room: int) -> Mask:
    added: Mask = np.zeros(strength.size, dtype=bool)
    if strength.size > _FEW_UNITS:
        added = significant & (strength > _TOGETHER * strength[worst])
        if added.sum() > room:
            added[np.argsort(-np.where(added, strength, -1.0))[max(room, 1) :]] = False
    added[worst] = True
    return added


def _taken_out(
    table: ResidualTable, attempt: _Attempt, effect: UnitEffect, taken: Taken, added: Mask
) -> tuple[ResidualTable, Taken, Tried]:
    """Fit the effects of the units added beside those taken already, and subtract them."""
    units = taken.units | added
    column = np.where(added, effect.column, taken.column)
    taken = taken._replace(units=units, column=column)
    for _ in range(_PASSES):
        tried = attempt(table, taken)
        step = np.where(units, np.nan_to_num(tried.size), 0.0)
        if not np.any(np.abs(step[units]) > _SETTLED * effect.stderr[units]):
            break
        residual = table.fit.residual(table.residual - step[:, np.newaxis] * tried.pattern)
        table = replace(table, residual=residual)
        taken = taken._replace(size=taken.size + step, lost=_lost(table, tried, units))
    return table, taken, tried


def _lost(table: ResidualTable, tried: Tried, units: Mask) -> Array:
    """Find what these units' effects took of the variance of each residual, through E that of the others too."""
    own = np.where(units[:, np.newaxis], tried.lost, 0.0)
    weight = table.weight
    total = weight.sum(0)
    told = np.where(units & np.isfinite(tried.information), tried.information, np.inf)[:, np.newaxis]
    moved = (weight * tried.pattern / np.where(total > 0, total, np.inf)) ** 2 / told
    return np.asarray(own + weight * (moved.sum(0) - moved))
