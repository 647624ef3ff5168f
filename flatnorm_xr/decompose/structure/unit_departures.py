"""Tests of the responses of single units: a bias left over, a slope with the level, a jump of the gain."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.decompose.structure.finding import PRICE, Explanation, Finding, holm, not_made, with_error
from flatnorm_xr.decompose.structure.residual_table import ResidualTable
from flatnorm_xr.decompose.structure.two_way import Array
from flatnorm_xr.decompose.structure.unit_regression import UnitEffect
from flatnorm_xr.decompose.structure.unit_selection import find_jumps, regress
from flatnorm_xr.errors import offenders

__all__ = ["FEWEST_UNITS", "SHOWN", "bias_test", "jump_test", "price", "slope_test", "unit_drift"]

SHOWN = 3
"""Units that a verdict names."""

FEWEST_UNITS = 3
"""What two units show is each other's mirror image."""


class _Kind(NamedTuple):
    """How an effect on single units is called."""

    name: str
    what: str
    """With a place for the units."""
    units: str
    scale: float
    """From the effect on ln(background), or on the level, to ``units``."""
    parameters: int
    """Of each unit that has it."""


def bias_test(table: ResidualTable, *, alpha: float) -> Finding:
    """Test each unit for a constant that was left in its levels, by regression on 1 / B."""
    known = np.isfinite(table.model) & (table.model > 0)
    effect = regress(table, np.where(known, 1 / np.where(known, table.model, 1.0), 0.0), alpha=alpha)
    kind = _Kind("bias", "bias left in the levels of {}", table.level_unit, 1.0, 1)
    return _of_units(kind, table, effect, alpha=alpha, prefix="leftover_bias")


def slope_test(table: ResidualTable, *, alpha: float) -> Finding:
    """Test each unit for a response that goes with the level, by regression on ln E."""
    known = np.isfinite(table.model) & (table.model > 0)
    effect = regress(table, np.log(np.where(known, table.model, 1.0)), alpha=alpha)
    kind = _Kind("slope", "response that changes with the level (d ln G / d ln E) of {}", "1", 1.0, 1)
    return _of_units(kind, table, effect, alpha=alpha, prefix="slope")


def jump_test(table: ResidualTable, *, alpha: float) -> Finding:
    """Test each unit for a jump of its response between two exposures."""
    effect = find_jumps(table, alpha=alpha)
    return _of_units(_Kind("jump", "jump of the gain of {}", "%", 100.0, 2), table, effect, alpha=alpha, prefix="jump")


def unit_drift(table: ResidualTable, time: Array, *, alpha: float) -> Finding:
    """Test each unit for a response that drifts with time, (exposure), hours."""
    effect = regress(table, np.broadcast_to(time, table.weight.shape), alpha=alpha)
    kind = _Kind("time", "drift of the response of {}", "%/hour", 100.0, 1)
    return _of_units(kind, table, effect, alpha=alpha, prefix="drift")


def _explanation(
    table: ResidualTable, effect: UnitEffect, chosen: NDArray[np.bool_], cause: str, parameters: int = 1
) -> Explanation:
    """Explain the residuals by the effects of the chosen units."""
    pattern = np.where(chosen, np.nan_to_num(effect.size), 0.0)[:, np.newaxis] * effect.pattern
    number = int(chosen.sum())
    gained = _gain(table, table.fit.residual(table.residual - pattern))
    return Explanation(cause, gained, parameters * number, price(table, number, parameters), pattern=pattern)


def _gain(table: ResidualTable, left: Array) -> float:
    """By how much minus twice the log of the likelihood falls, with the cells that were rejected in a jump."""
    jumped = np.where(table.jumped, table.spare, 0.0)
    chi2 = table.chi2 + float((jumped * table.residual**2).sum())
    after = table.chi2_of(left) + float((jumped * left**2).sum())
    return float((table.dof + (jumped > 0).sum()) * np.log(chi2 / max(after, 1e-12 * chi2)))


def price(table: ResidualTable, number: int, parameters: int = 1) -> float:
    """Charge for the parameters of ``number`` units, and what it is worth to have chosen them among all."""
    return float(number * (PRICE * parameters + 2 * np.log(len(table.units))))


def _of_units(kind: _Kind, table: ResidualTable, effect: UnitEffect, *, alpha: float, prefix: str) -> Finding:
    """Sum up an effect that was tried on every unit: its worst unit, and all that would be named."""
    p_holm = holm(effect.p)
    tested = np.isfinite(p_holm)
    if (table.weight > 0).any(1).sum() < FEWEST_UNITS:
        return not_made(kind.name, "of 2 units none can be told from the other")
    if not tested.any():
        return not_made(kind.name, "too few exposures" + ("" if kind.name == "jump" else ", or all of one level"))
    t = np.where(tested, effect.size / effect.stderr, 0.0)
    worst = int(np.argmax(np.where(p_holm == np.nanmin(p_holm), np.abs(t), -1.0)))
    p = float(p_holm[worst])
    chosen = tested & (p_holm < alpha)
    chosen[worst] = True
    order = np.flatnonzero(chosen)[np.argsort(-np.abs(t[chosen]))]
    named = offenders([f"{table.units[k]} ({_amount(kind, table, effect, k)})" for k in order], show=SHOWN)
    nouns = table.noun + ("s" if order.size > 1 else "")
    one = (
        f"{kind.what.format(f'{table.noun} {offenders([table.units[worst]])}')}: {_amount(kind, table, effect, worst)}"
    )
    details = {prefix: effect.size, f"{prefix}_stderr": effect.stderr, f"{prefix}_p_holm": p_holm}
    return Finding(
        kind.name,
        one if p < 0.05 else f"nothing in {tested.sum()} units; likeliest: {one}",
        p,
        float(t[worst]),
        "t",
        kind.scale * float(effect.size[worst]),
        kind.scale * float(effect.stderr[worst]),
        kind.units,
        min(float(np.nansum(effect.explained[chosen])) / table.chi2, 1.0),
        _explanation(table, effect, chosen, kind.what.format(f"{nouns} {named}"), kind.parameters),
        {**details, "jump_column": effect.column.astype(float)} if kind.name == "jump" else details,
    )


def _amount(kind: _Kind, table: ResidualTable, effect: UnitEffect, k: int) -> str:
    unit = "" if kind.units == "1" else f" {kind.units}"
    words = with_error(kind.scale * effect.size[k], kind.scale * effect.stderr[k]) + unit
    if effect.column[k] >= 0:
        words += f" from exposure {offenders([table.exposures[effect.column[k]]])} on"
    return words
