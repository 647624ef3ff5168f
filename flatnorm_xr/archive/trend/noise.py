"""What the noise of a unit is like from run to run: that of the typical unit, white, or with a part that wanders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.archive.trend.regression import KINDS, NO_STEPS, WHITE, Fitted, Problem, as_steps, fit
from flatnorm_xr.archive.trend.whitened import FLOOR, gains, noise_squares

__all__ = ["PRICE", "Noise", "best_noise", "priced", "steady_noise", "usual_noise"]

Array = NDArray[Any]

PRICE = 4.0
"""By how much minus twice the log of the likelihood must fall before noise is said to be of an unusual kind."""

FEWEST = 8
"""Runs below which the noise of a unit is taken for the usual one: fewer cannot tell."""


@dataclass(frozen=True)
class Noise:
    """Kind of noise of each series, and how likely the series is, (series)."""

    kind: Array
    deviance: Array
    """Of the likeliest kind, `PRICE` included where that is not the usual one."""


def usual_noise(problem: Problem, rows: Array) -> int:
    """Find the kind of noise of the typical unit; white unless the units together say otherwise.

    One unit with few runs cannot tell how its noise goes from run to run; many together can. Units that jump are few:
    the half of the units in the middle decides.

    Parameters
    ----------
    problem : Problem
    rows : array of int
        Units that are asked.
    """
    from scipy.stats import trim_mean

    if not rows.size:
        return WHITE
    found = [fit(problem, rows, kind=kind) for kind in range(len(KINDS))]
    told = found[WHITE].dof > 0
    if not told.any():
        return WHITE
    restricted = np.array([one.restricted[told] for one in found])
    score = told.sum() * trim_mean(restricted - restricted[WHITE], 0.25, axis=1)
    best = int(score.argmin())
    return best if score[best] < -PRICE else WHITE


def steady_noise(problem: Problem, rows: Array, kind: Array) -> Array:
    """Find the variance of what is new in a run from differences between neighbouring runs, which steps do not touch.

    Parameters
    ----------
    problem, rows
        As `fit`.
    kind : array of int, (series)
        Of noise: of the variance of differences it says how much is new.
    """
    rho, wandering = KINDS[kind].T
    of_difference = (1 - wandering) + wandering / (1 + rho)
    return np.asarray((problem.own[rows] + problem.excess[rows]) / of_difference + FLOOR**2)


def priced(problem: Problem, kind: Array) -> Array:
    """Price of kinds of noise that are not the usual one."""
    return np.where(np.asarray(kind) == problem.usual, 0.0, PRICE)


def best_noise(problem: Problem, rows: Array, *, steps: Array = NO_STEPS, tried: Array | None = None) -> Noise:
    """Find the kind of noise of each series, beside its steps.

    The kinds are compared on the residuals of a fit in the usual noise, then on those of a fit in the kind found;
    among the kinds met, white, and those that are given, the fit itself decides.

    Parameters
    ----------
    problem, rows, steps
        As `fit`.
    tried : array of int, (series)
        A kind that is tried too.
    """
    usual = np.full(rows.size, problem.usual)
    start = fit(problem, rows, steps=steps, kind=usual)
    best = _Best(problem, rows, as_steps(steps, rows.size), start)
    if problem.usual != WHITE:
        best.attempt(np.full(rows.size, WHITE))
    first = _likeliest(problem, rows, start, steps)
    found = best.attempt(first)
    moved = np.flatnonzero(first != usual)
    again = first.copy()
    again[moved] = _likeliest(problem, rows[moved], found, best.steps[moved])
    best.attempt(np.where(again == first, usual, again))
    if tried is not None:
        best.attempt(tried)
    return Noise(best.kind, best.deviance)


class _Best:
    """Best of the kinds of noise tried so far."""

    def __init__(self, problem: Problem, rows: Array, steps: Array, start: Fitted) -> None:
        self.problem, self.rows, self.steps = problem, rows, steps
        self.enough = start.number >= FEWEST
        self.kind = np.full(rows.size, problem.usual)
        self.deviance, self.restricted = start.deviance.copy(), start.restricted.copy()

    def attempt(self, kind: Array) -> Fitted:
        """Try kinds, and give the fits of the series whose kind is not the usual one."""
        series = np.flatnonzero((kind != self.problem.usual) & self.enough)
        found = fit(self.problem, self.rows[series], steps=self.steps[series], kind=kind[series])
        better = found.restricted + PRICE < self.restricted[series]
        self.restricted[series[better]] = found.restricted[better] + PRICE
        self.kind[series[better]] = kind[series[better]]
        self.deviance[series] = np.minimum(self.deviance[series], found.deviance + PRICE)
        return found


_COARSE: Array = np.array([0, 1, 3, 5, 9, 11, 15, 18, 20, 22, 24])
"""Kinds that are tried first: where none of them is likelier than the usual noise, none is."""


def _likeliest(problem: Problem, rows: Array, fitted: Fitted, steps: Array) -> Array:
    """Kind of noise that the residuals of a fit look most like; the usual one where runs are few."""
    usual = np.full(rows.size, problem.usual)
    kind = np.where(fitted.number >= FEWEST, _likeliest_of(problem, rows, fitted, steps, _COARSE), usual)
    other = np.flatnonzero(kind != problem.usual)
    every = np.arange(len(KINDS))
    kind[other] = _likeliest_of(problem, rows[other], fitted.of(other), as_steps(steps, rows.size)[other], every)
    return kind


def _likeliest_of(problem: Problem, rows: Array, fitted: Fitted, steps: Array, kinds: Array) -> Array:
    """Kind of noise, the usual one or one of some."""
    kinds = np.union1d(kinds, problem.usual)
    runs = problem.y.shape[1]
    pull, weight, determinant = np.empty((3, runs + 1, kinds.size))
    rho, wandering = np.ascontiguousarray(KINDS[kinds].T)
    gains(rho, wandering, pull, weight, determinant)
    squares = np.empty((rows.size, kinds.size))
    noise_squares(
        problem.y,
        problem.offset,
        problem.own,
        problem.quality,
        problem.excess,
        np.ascontiguousarray(rows, dtype=np.int64),
        problem.design,
        as_steps(steps, rows.size),
        fitted.beta,
        pull,
        weight,
        squares,
    )
    dof = np.maximum(fitted.dof, 1)[:, np.newaxis]
    restricted = dof * np.log(squares / dof + FLOOR**2) + determinant[fitted.number.astype(int)]
    restricted += _information(problem.design, kinds) + priced(problem, kinds)
    return np.asarray(kinds[restricted.argmin(axis=1)])


def _information(design: Array, kinds: Array) -> Array:
    """Log determinant of the normal matrix of a unit that is in every run, in noise of each kind."""
    runs = design.shape[1]
    one = np.zeros(1)
    complete = Problem(np.zeros((1, runs)), np.zeros(runs), one, np.zeros(runs), one + 1, design)
    return fit(complete, np.zeros(kinds.size, dtype=np.int64), kind=kinds).information
