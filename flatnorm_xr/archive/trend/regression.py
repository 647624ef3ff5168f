"""Regression of many units' ln G on time, covariates and steps, in noise of which a part may wander."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.archive.trend.whitened import FLOOR, fit_series, noise_deviances

__all__ = [
    "KINDS",
    "NO_STEPS",
    "PRICE",
    "WHITE",
    "Fitted",
    "Noise",
    "Problem",
    "best_noise",
    "fit",
    "fitted_values",
    "p_value",
]

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

PRICE = 4.0
"""By how much minus twice the log of the likelihood must fall before noise is said to wander, for two parameters."""

FEWEST = 8
"""Runs below which noise is taken for white: fewer cannot tell."""

NO_STEPS: Array = np.empty((0, 0), dtype=np.int64)

_TOGETHER = 128
"""Series whose fitted values are held at once."""


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
    def stderr(self) -> Array:
        """(series, coefficient), standard errors."""
        return np.asarray(np.sqrt(self.variance * self.noise[:, np.newaxis]))

    @property
    def t_of_step(self) -> Array:
        """Student's t of the best further step."""
        left = np.maximum(self.squares - self.taken_off, 0.0) + self.number * FLOOR**2
        return np.asarray(np.sqrt(np.maximum(self.dof - 1, 0) * self.taken_off / np.where(left > 0, left, 1.0)))


@dataclass(frozen=True)
class Noise:
    """Kind of noise under which a series is likeliest, (series)."""

    kind: Array
    deviance: Array
    """`PRICE` included where the noise is not white."""


def fit(
    problem: Problem, rows: Array, *, steps: Array = NO_STEPS, kind: Array | int = WHITE, scan: bool = False
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
    """
    rows = np.ascontiguousarray(rows, dtype=np.int64)
    steps = np.ascontiguousarray(steps if steps.size else np.empty((rows.size, 0)), dtype=np.int64)
    noise = KINDS[np.broadcast_to(np.asarray(kind, dtype=np.int64), rows.shape)]
    coefficients = problem.design.shape[0] + steps.shape[1]
    beta, variance = np.empty((2, rows.size, coefficients))
    figures, place = np.zeros((rows.size, 5)), np.empty(rows.size, dtype=np.int64)
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
    )
    number, columns, squares, determinant, taken_off = figures.T
    return Fitted(beta, variance, number, columns, squares, determinant, taken_off, place)


def fitted_values(problem: Problem, beta: Array, steps: Array) -> Array:
    """Find ln G of the model in the common gauge, (series, run); what could not be told has no part."""
    fixed = problem.design.shape[0]
    values: Array = np.nan_to_num(beta[:, :fixed]) @ problem.design
    runs = np.arange(values.shape[1])
    for k in range(steps.shape[1]):
        s = np.flatnonzero(steps[:, k] >= 0)
        values[s] += np.where(runs >= steps[s, k][:, np.newaxis], np.nan_to_num(beta[s, fixed + k])[:, np.newaxis], 0.0)
    return values


def best_noise(problem: Problem, rows: Array, *, steps: Array, tried: Array | None = None) -> Noise:
    """Find the kind of noise under which each series is likeliest, beside its steps.

    The kinds are compared on the residuals of a fit in white noise, then on those of a fit in the kind found; among
    the kinds met, and those that are given, the fit itself decides.

    Parameters
    ----------
    problem, rows, steps
        As `fit`.
    tried : array of int, (series)
        A kind that is tried too.
    """
    white = fit(problem, rows, steps=steps)
    deviance, kind = white.deviance.copy(), np.full(rows.size, WHITE)
    first = _likeliest(problem, rows, white, steps)
    attempts = [first] if tried is None else [first, tried]
    for k, attempt in enumerate(attempts):
        other = np.flatnonzero((attempt != WHITE) & (white.number >= FEWEST))
        if not other.size:
            continue
        found = fit(problem, rows[other], steps=_of(steps, other), kind=attempt[other])
        _take_better(deviance, kind, other, found, attempt[other])
        if k == 0:
            again = _likeliest(problem, rows[other], found, _of(steps, other))
            moved = np.flatnonzero((again != attempt[other]) & (again != WHITE))
            place = other[moved]
            refined = fit(problem, rows[place], steps=_of(steps, place), kind=again[moved])
            _take_better(deviance, kind, place, refined, again[moved])
    return Noise(kind, deviance)


def p_value(t: Array, dof: Array) -> Array:
    """Two-sided p-value of Student's t; NaN where t is, or where there are no degrees of freedom."""
    from scipy.special import stdtr

    return np.where(dof > 0, 2 * stdtr(np.maximum(dof, 1), -np.abs(t)), np.nan)


def _of(steps: Array, series: Array) -> Array:
    return steps[series] if steps.size else steps


def _take_better(deviance: Array, kind: Array, series: Array, found: Fitted, attempt: Array) -> None:
    priced = found.deviance + PRICE
    better = priced < deviance[series]
    deviance[series[better]] = priced[better]
    kind[series[better]] = attempt[better]


def _likeliest(problem: Problem, rows: Array, fitted: Fitted, steps: Array) -> Array:
    """Kind of noise that the residuals of a fit look most like."""
    kind = np.full(rows.size, WHITE)
    for part in _parts(rows.size):
        model = fitted_values(problem, fitted.beta[part], _of(steps, part)) + problem.offset
        deviance = np.empty((part.size, len(KINDS)))
        noise_deviances(
            problem.y,
            model,
            problem.own,
            problem.quality,
            problem.excess,
            np.ascontiguousarray(rows[part], dtype=np.int64),
            np.ascontiguousarray(KINDS[:, 0]),
            np.ascontiguousarray(KINDS[:, 1]),
            deviance,
        )
        deviance[:, 1:] += PRICE
        kind[part] = np.where(fitted.number[part] >= FEWEST, deviance.argmin(axis=1), WHITE)
    return kind


def _parts(series: int) -> Iterator[Array]:
    for first in range(0, series, _TOGETHER):
        yield np.arange(first, min(first + _TOGETHER, series))
