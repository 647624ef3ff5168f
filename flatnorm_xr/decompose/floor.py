"""The systematic floor of the levels' errors, found from how levels scatter about their model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.conjugate_gradient import solve_exactly
from flatnorm_xr.decompose.connectivity import connect
from flatnorm_xr.decompose.covariance import fitted_variance
from flatnorm_xr.decompose.sweeps import NormalEquations, unit_dims

__all__ = ["Levels", "estimate_floor"]

_ROUNDS = 20
_SETTLED = 1e-3
"""Relative change of the floor below which it is settled: far below its own error."""


class Levels(NamedTuple):
    """The levels of one group of exposures, without labels."""

    y: xr.DataArray
    """ln(background), (unit dims, exposure); finite everywhere."""
    noise: xr.DataArray
    """Variance of y from the pixels alone, same dims."""
    used: xr.DataArray
    """Cells that take part, bool, same dims."""
    floor_class: xr.DataArray
    """Number of the floor of each exposure, (exposure)."""
    spent: int = 0
    """Parameters fitted beside G and E, which y is free of already."""

    def weight(self, floor: NDArray[np.float64]) -> xr.DataArray:
        """Inverse variance with these floors, 0 where the cell takes no part; same dims."""
        squared = (xr.DataArray(floor, dims="floor_class") ** 2).isel(floor_class=self.floor_class)
        variance = (self.noise + squared).transpose(*self.noise.dims)
        return (1 / variance.where(self.used, 1.0)).where(self.used, 0.0)


def estimate_floor(parts: Sequence[Levels], *, classes: int = 1) -> NDArray[np.float64]:
    """Estimate the floor s of the variance ``noise + s^2`` by restricted maximum likelihood (REML).

    For each class of exposures the score ``sum w^2 r^2 - sum w (1 - h)`` is brought to zero, with h the leverage of a
    cell; with equal variances that says chi^2 = degrees of freedom. REML knows that the fit took up part of the
    scatter, which with few exposures is much of it.

    Parameters
    ----------
    parts : sequence of Levels
        Groups solved by themselves that share their floors.
    classes : int
        Number of floors.

    Returns
    -------
    array of float, (classes)
        0 where the noise of the pixels explains all scatter, NaN where nothing is left to judge by.

    References
    ----------
    Patterson & Thompson 1971, Biometrika 58, 545; Harville 1977, J. Am. Stat. Assoc. 72, 320.
    """
    floor = np.full(classes, _first_guess(parts))
    for _ in range(_ROUNDS):
        score, information, freedom = (np.zeros(classes) for _ in range(3))
        for part in parts:
            for total, found in zip((score, information, freedom), _score(part, floor), strict=True):
                np.add.at(total, part.floor_class.values, found.values)
        step = np.divide(score, information, out=np.zeros(classes), where=information > 0)
        squared = floor**2
        updated = np.where(squared + step > 0, squared + step, 0.0)
        # a step that overshoots below zero is tried at a tenth first: at zero some weights can be infinite
        updated = np.where(
            (updated == 0) & (squared > 0) & (step < 0) & (squared > _smallest(parts)), squared / 10, updated
        )
        moved = abs(updated - squared) > _SETTLED * np.maximum(squared, updated)
        floor = np.sqrt(updated)
        if not moved.any():
            break
    return np.where(freedom > 0.5, floor, np.nan)


def _score(part: Levels, floor: NDArray[np.float64]) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Score, information and degrees of freedom of each exposure, for the square of its floor."""
    weight = part.weight(floor)
    equations = NormalEquations.of(part.y, weight)
    fit = solve_exactly(equations, tolerance=1e-9)
    residual = part.y - fit.g - fit.e
    of_model = fitted_variance(equations, connect(part.used)).fillna(0.0)
    left = (1 - weight * of_model).where(part.used, 0.0).clip(0.0)
    left = left * max(1 - part.spent / max(float(left.sum()), 1.0), 0.0)
    units = unit_dims(weight)
    score = (weight**2 * residual**2 - weight * left).sum(units)
    return score, (weight**2 * left).sum(units), left.sum(units)


def _smallest(parts: Sequence[Levels]) -> float:
    """Variance that is nothing beside the noise of the pixels: where a floor counts as zero."""
    noise = np.concatenate([part.noise.values[part.used.values] for part in parts])
    typical = float(np.median(noise)) if noise.size else 0.0
    return 1e-6 * typical


def _first_guess(parts: Sequence[Levels]) -> float:
    """Root mean square of the residuals of an unweighted fit."""
    squares, freedom = 0.0, 0.0
    for part in parts:
        weight = part.used.astype(float)
        equations = NormalEquations.of(part.y, weight)
        fit = solve_exactly(equations, tolerance=1e-9)
        squares += float((weight * (part.y - fit.g - fit.e) ** 2).sum())
        freedom += float(weight.sum()) - connect(part.used).parameters - part.spent
    return float(np.sqrt(squares / freedom)) if freedom > 0 else 0.0
