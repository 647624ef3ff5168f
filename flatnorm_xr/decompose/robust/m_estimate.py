"""Residuals of a fit that outlying cells cannot drag, and of least squares on the cells that are left. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.decompose.robust.scatter import (
    NORMAL_MEDIAN,
    Table,
    degrees_of_freedom,
    inverse,
    leverage_factor,
    masked_median,
    robust_scale,
    smallest_scale,
)

__all__ = ["Psi", "m_estimate", "refit"]

Array = NDArray[np.float64]

Psi = Literal["tukey", "huber"]

_TUNING = {"tukey": 4.685, "huber": 1.345}
"""Constants of the two psi functions: each keeps 95 % of the efficiency of least squares on normal errors."""

_REDUNDANT = 0.58
"""Degrees of freedom a cell below which Tukey's psi, which may forget any cell, can fit a few cells exactly and call
the others wrong: there Huber's, whose fit is unique, takes its place."""

_POLISHES = 3
_REWEIGHTINGS = 30
_SETTLED = 0.01
"""Change of any ln E, in standard deviations of a cell, below which reweighting is done: G of an erratic unit may go on
wandering, and nothing depends on it."""

_TOLERANCE = 1e-6
"""Of a least-squares step, in units of its first correction."""


def m_estimate(tables: Sequence[Table], *, robust: Psi, polish: bool = True) -> list[Table]:
    """Fit ln G and ln E to each table by an M-estimate that starts from a median polish.

    Tukey's psi goes on from where Huber's, which has one solution only, has led: where units and exposures are tied
    in a chain a median polish is far off. ``polish=False`` starts from the residuals as they are, which are those of
    an earlier estimate.

    One scale holds for all tables. Each reweighting solves its least-squares problem, so that tables whose units
    and exposures are tied weakly come out right too; what is carried from one to the next are residuals.

    References
    ----------
    Huber & Ronchetti 2009, Robust Statistics, chapter 7; Beaton & Tukey 1974, Technometrics 16, 147.
    """
    tables = list(tables)
    factors = [leverage_factor(table.weight, table.weight) for table in tables]
    least = smallest_scale(tables)
    if polish:
        tables = [_median_polish(table) for table in tables]
        scale = max(_first_scale(tables), least)
    else:
        scale = max(_typical(tables, factors), least)
    forms: list[Psi] = [robust if _redundancy(table.weight) >= _REDUNDANT else "huber" for table in tables]
    if polish and "tukey" in forms:
        tables, scale = _reweighted(tables, factors, ["huber"] * len(tables), scale=scale, least=least)
    return _reweighted(tables, factors, forms, scale=scale, least=least)[0]


def _reweighted(
    tables: list[Table], factors: Sequence[Array], forms: Sequence[Psi], *, scale: float, least: float
) -> tuple[list[Table], float]:
    """Iterate until E is settled: the tables, and the scale of their residuals."""
    for _ in range(_REWEIGHTINGS):
        moved, fitted = 0.0, []
        for table, factor, form in zip(tables, factors, forms, strict=True):
            psi = _psi(table.residual * factor / scale, form)
            new, step = _refit(table, table.weight * psi)
            moved = max(moved, float((np.abs(step) * factor.max(axis=0, initial=0.0)).max(initial=0.0)))
            fitted.append(new)
        tables, before = fitted, scale
        scale = max(_typical(tables, factors), least)
        if moved < _SETTLED * before:
            break
    return tables, scale


def refit(table: Table, weight: Array) -> Table:
    """Residuals of all cells after least squares with ``weight``.

    A unit or an exposure without weight is left as it was. Conjugate gradients on the exposure side, as in
    `flatnorm_xr.decompose.conjugate_gradient`, on plain arrays: this runs a dozen times on every table.
    """
    return _refit(table, weight)[0]


def _refit(table: Table, weight: Array) -> tuple[Table, Array]:
    """Residuals, and by how much ln E moved."""
    of_unit, of_exposure = weight.sum(axis=1), weight.sum(axis=0)
    share = weight * inverse(of_unit)[:, np.newaxis]
    unit_sum = np.einsum("ij,ij->i", weight, table.residual)
    per_exposure = inverse(of_exposure)
    r = np.einsum("ij,ij->j", weight, table.residual) - unit_sum @ share
    e = np.zeros_like(r)
    z = r * per_exposure
    p, rz = z, float(r @ z)
    target = _TOLERANCE * float(np.abs(z).max(initial=0.0))
    for _ in range(2 * r.size):
        curvature = of_exposure * p - (weight @ p) @ share
        bend = float(p @ curvature)
        if not (rz > 0 and bend > 0):
            break
        step = rz / bend
        e = e + step * p
        r = r - step * curvature
        z = r * per_exposure
        if float(np.abs(z).max()) <= target:
            break
        rz, previous = float(r @ z), rz
        p = z + rz / previous * p
    g = (unit_sum - weight @ e) * inverse(of_unit)
    return Table(table.residual - g[:, np.newaxis] - e, table.weight), e


def _median_polish(table: Table) -> Table:
    residual, valid = table.residual, table.weight > 0
    for _ in range(_POLISHES):
        residual = residual - masked_median(residual, valid, axis=0)
        residual = residual - masked_median(residual, valid, axis=1)[:, np.newaxis]
    return Table(residual, table.weight)


def _redundancy(weight: Array) -> float:
    """Degrees of freedom a cell."""
    return degrees_of_freedom(weight) / max(int((weight > 0).sum()), 1)


def _typical(tables: Sequence[Table], factors: Sequence[Array]) -> float:
    pairs = zip(tables, factors, strict=True)
    return robust_scale(np.concatenate([(table.residual * factor)[factor > 0] for table, factor in pairs]))


def _first_scale(tables: Sequence[Table]) -> float:
    """Median absolute residual of a median polish, past the residuals that it makes zero."""
    size = np.concatenate([np.abs(t.residual * np.sqrt(t.weight))[t.weight > 0] for t in tables])
    if size.size == 0:
        return 1.0
    fitted = size.size - sum(degrees_of_freedom(table.weight) for table in tables)
    at = min(int(fitted + size.size) // 2, size.size - 1)
    return float(np.partition(size, at)[at]) / NORMAL_MEDIAN


def _psi(z: Array, robust: Psi) -> Array:
    """Weight factors psi(z) / z."""
    c = _TUNING[robust]
    if robust == "huber":
        bounded: Array = c / np.maximum(np.abs(z), c)
        return bounded
    inside: Array = np.maximum(1 - (z / c) ** 2, 0.0)
    return inside * inside
