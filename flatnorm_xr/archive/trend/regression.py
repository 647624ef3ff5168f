"""Regression of many units' ln G on time, covariates and steps, in noise of which a part may wander."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.archive.trend.whitened import FLOOR, fit_series

__all__ = ["KINDS", "NO_STEPS", "WHITE", "Fitted", "Problem", "as_steps", "fit", "fitted_values", "p_value"]

Array = NDArray[Any]

WANDERING: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0.5, (0.2, 0.5, 1.0)),
    (0.8, (0.05, 0.2, 0.5, 1.0)),
    (0.95, (0.005, 0.02, 0.1, 0.4, 1.0)),
    (0.99, (3e-4, 0.002, 0.01, 0.05, 0.3, 1.0)),
    (0.999, (1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0)),
)
"""Correlations of the wandering part from run to run, each with shares that it has of what is new in a run.

At 0.999 it is a random walk, for all that ten years of nights can tell.
"""

KINDS: Array = np.array([(0.0, 0.0), *((rho, share) for rho, shares in WANDERING for share in shares)])
"""Kinds of noise, (kind, [correlation, share]); the first is white."""

WHITE = 0

NO_STEPS: Array = np.empty((0, 0), dtype=np.int64)


@dataclass(frozen=True)
class Problem:
    """What is fitted: ln G of all units, and the columns that all have."""

    y: Array
    """(unit, run), ln G, NaN where it is not to be used."""
    offset: Array
    """(run), of the common gauge."""
    own: Array
    """(unit), typical stated variance of ln G, 0 where unknown."""
    quality: Array
    """(run), by what the stated variances of a run differ from the typical ones."""
    excess: Array
    """(unit), variance beyond the stated one."""
    design: Array
    """(column, run): 1, years, covariates."""
    usual: int = WHITE
    """Kind of noise of the typical unit, one of `KINDS`."""


@dataclass(frozen=True)
class Fitted:
    """Fit of each series; the steps' coefficients follow those of the design's columns."""

    beta: Array
    """(series, coefficient), NaN for what cannot be told."""
    variance: Array
    """(series, coefficient), for noise of unit variance."""
    number: Array
    """(series), of runs."""
    columns: Array
    """(series), of coefficients that can be told."""
    squares: Array
    """(series), of whitened residuals."""
    determinant: Array
    information: Array
    """(series), log determinants of the noise and of the normal matrix."""
    taken_off: Array
    """(series), what the best further step takes off the squares; 0 where none was looked for."""
    place: Array
    """(series), first run after that step, -1 for none."""

    @property
    def dof(self) -> Array:
        """Degrees of freedom."""
        return self.number - self.columns

    @property
    def noise(self) -> Array:
        """Variance of what is new in a run, at least that of rounding; NaN without degrees of freedom."""
        dof = self.dof
        noise: Array = np.where(dof > 0, self.squares / np.maximum(dof, 1), np.nan) + FLOOR**2
        return noise

    @property
    def deviance(self) -> Array:
        """Minus twice the log of the likelihood, up to a constant that all fits of a unit share."""
        number = np.maximum(self.number, 1)
        return self.number * np.log(self.squares / number + FLOOR**2) + self.determinant

    @property
    def restricted(self) -> Array:
        """`deviance` of what the coefficients leave free, by which kinds of noise are told apart without bias."""
        dof = np.maximum(self.dof, 1)
        return dof * np.log(self.squares / dof + FLOOR**2) + self.determinant + self.information

    def of(self, series: Array) -> Fitted:
        """Take some of the series."""
        return Fitted(**{name: value[series] for name, value in vars(self).items()})

    @property
    def stderr(self) -> Array:
        """(series, coefficient), standard errors."""
        return np.asarray(np.sqrt(self.variance * self.noise[:, np.newaxis]))

    @property
    def noise_beside_step(self) -> Array:
        """`noise` beside the best further step."""
        left = np.maximum(self.squares - self.taken_off, 0.0)
        return np.asarray(left / np.maximum(self.dof - 1, 1) + FLOOR**2)


def fit(
    problem: Problem,
    rows: Array,
    *,
    steps: Array = NO_STEPS,
    kind: Array | int = WHITE,
    scan: bool = False,
    profile: Array | None = None,
) -> Fitted:
    """Fit the series of some units.

    Parameters
    ----------
    problem : Problem
    rows : array of int, (series)
        Unit of each series; one may be there more than once, with other steps.
    steps : array of int, (series, step)
        First run after each step, -1 for none.
    kind : array of int, (series)
        Of noise, one of `KINDS`.
    scan : bool
        Whether to look for a further step.
    profile : array, (series, run), optional
        Full of NaN; set to what such a step takes off the squares by place, where there may be one.
    """
    rows = np.ascontiguousarray(rows, dtype=np.int64)
    steps = as_steps(steps, rows.size)
    noise = KINDS[np.broadcast_to(np.asarray(kind, dtype=np.int64), rows.shape)]
    coefficients = problem.design.shape[0] + steps.shape[1]
    beta, variance = np.empty((2, rows.size, coefficients))
    figures, place = np.zeros((rows.size, 6)), np.empty(rows.size, dtype=np.int64)
    fit_series(
        problem.y,
        problem.offset,
        problem.own,
        problem.quality,
        problem.excess,
        rows,
        problem.design,
        steps,
        np.ascontiguousarray(noise[:, 0]),
        np.ascontiguousarray(noise[:, 1]),
        scan,
        beta,
        variance,
        figures,
        place,
        np.empty((0, 0)) if profile is None else profile,
    )
    number, columns, squares, determinant, information, taken_off = figures.T
    return Fitted(beta, variance, number, columns, squares, determinant, information, taken_off, place)


def fitted_values(problem: Problem, beta: Array, steps: Array) -> Array:
    """Find ln G of the model in the common gauge, (series, run); what could not be told has no part."""
    fixed = problem.design.shape[0]
    values: Array = np.nan_to_num(beta[:, :fixed]) @ problem.design
    runs = np.arange(values.shape[1])
    for k in range(steps.shape[1]):
        s = np.flatnonzero(steps[:, k] >= 0)
        values[s] += np.where(runs >= steps[s, k][:, np.newaxis], np.nan_to_num(beta[s, fixed + k])[:, np.newaxis], 0.0)
    return values


def p_value(t: Array, dof: Array) -> Array:
    """Two-sided p-value of Student's t; NaN where t is, or where there are no degrees of freedom."""
    from scipy.special import stdtr

    return np.where(dof > 0, 2 * stdtr(np.maximum(dof, 1), -np.abs(t)), np.nan)


def as_steps(steps: Array, series: int) -> Array:
    """Give steps as the kernels take them, (series, step)."""
    return np.ascontiguousarray(steps if steps.size else np.empty((series, 0)), dtype=np.int64)
