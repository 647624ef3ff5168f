"""Find where single units' ln G jumps and stays, beside their drifts, and noise that wanders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.archive.trend.noise import best_noise, priced, steady_noise
from flatnorm_xr.archive.trend.regression import Problem, fit, p_value
from flatnorm_xr.archive.trend.whitened import FLOOR

__all__ = ["Changes", "find_changes"]

Array = NDArray[Any]

_MOST = 12
"""Steps of a unit at most: what needs more wanders."""

_PATIENCE = 3
"""Steps that may be added without any explanation being likelier for it."""

_ROUNDS = 30

_PROBABILITY = 0.95
"""Of the times between which a change is said to have been."""


@dataclass(frozen=True)
class Changes:
    """Steps of each series and the noise that is left beside them."""

    steps: Array
    """(series, step): first run after each, -1 for none."""
    p: Array
    """(series, step), times the number of tests, at most 1; NaN for none."""
    span: Array
    """(series, step, 2): earliest and latest first run after each that go with the data, 95 % of the time."""
    kind: Array
    """(series), of noise."""


@dataclass
class _State:
    """What is best so far, (series)."""

    steps: Array
    deviance: Array
    """Priced for the steps."""
    kind: Array


def find_changes(problem: Problem, rows: Array, *, alpha: float, tests: float) -> Changes:
    """Find the steps of some units.

    Every run but those at the ends is tried as the first after a step. Steps are taken up one by one in the noise of
    the typical unit, and, where a unit's noise looks like another, in that. Of all these explanations, noise that
    wanders and no step among them, the likeliest is kept when each step pays for having been chosen among all places.
    Then every step is left out in turn, the noise being fitted anew, and is dropped unless the likelihood falls
    significantly: so a unit that wanders slowly has few changes, or none.

    Parameters
    ----------
    problem : Problem
    rows : array of int, (series)
    alpha : float
        Chance of any false change in noise that is as supposed.
    tests : float
        Number of units times places that are tried in all.
    """
    series = np.arange(rows.size)
    start = fit(problem, rows, kind=problem.usual)
    noise = best_noise(problem, rows)
    most = int(np.clip(start.number.max(initial=0) // 6, 1, _MOST))
    best = _State(np.full((rows.size, most), -1), noise.deviance.copy(), noise.kind.copy())
    price = start.number * np.log1p(_critical(alpha / tests, start.dof - 1) ** 2 / np.maximum(start.dof - 1, 1))
    _go_forward(problem, rows, series, best, price, alpha / tests, wandering=False)
    _go_forward(problem, rows, series[noise.kind != problem.usual], best, price, alpha / tests, wandering=True)
    return _prune(problem, rows, best, alpha, tests)


def _critical(p: float, dof: Array) -> Array:
    from scipy.special import stdtrit

    # by the lower tail, where a small p is not lost in rounding
    return np.asarray(-stdtrit(np.maximum(dof, 1), p / 2))


def _go_forward(
    problem: Problem, rows: Array, series: Array, best: _State, price: Array, level: float, *, wandering: bool
) -> None:
    """Add step after step while the next looks significant, and keep in ``best`` what is likeliest on the way.

    What else there is to find makes the residuals large, so that a step that is undone soon after would go unseen: the
    noise is at most what differences between neighbouring runs say.
    """
    most = best.steps.shape[1]
    steps = np.full((series.size, most), -1)
    kind = best.kind[series].copy() if wandering else np.full(series.size, problem.usual)
    in_vain = np.zeros(series.size, dtype=int)
    for k in range(most):
        found = fit(problem, rows[series], steps=steps[:, :k], kind=kind, scan=True)
        t = np.sqrt(found.taken_off / np.minimum(found.noise_beside_step, steady_noise(problem, rows[series], kind)))
        go = (p_value(t, found.dof - 1) < level) & (found.place >= 0)
        go &= in_vain < _PATIENCE
        series, steps, kind, place, in_vain = series[go], steps[go], kind[go], found.place[go], in_vain[go]
        if not series.size:
            return
        steps[:, k] = place
        noise = best_noise(problem, rows[series], steps=steps[:, : k + 1], tried=best.kind[series])
        if wandering:
            kind = noise.kind
        paid = noise.deviance + (k + 1) * price[series]
        better = paid < best.deviance[series]
        in_vain = np.where(better, 0, in_vain + 1)
        best.deviance[series[better]] = paid[better]
        best.kind[series[better]] = noise.kind[better]
        best.steps[series[better]] = steps[better]


def _prune(problem: Problem, rows: Array, best: _State, alpha: float, tests: float) -> Changes:
    """Drop the least significant step of each series until all that are left are significant; move those that may."""
    steps, kind = best.steps.copy(), best.kind.copy()
    p = np.full(steps.shape, np.nan)
    open_ = np.flatnonzero((steps >= 0).any(axis=1))
    for round_ in range(_ROUNDS):
        if not open_.size:
            break
        judged, place, kind[open_] = _leave_out_each(problem, rows[open_], steps[open_], kind[open_])
        p[open_] = np.minimum(judged * tests, 1.0)
        worst = np.nanargmax(p[open_], axis=1)
        at = np.arange(open_.size)
        drop = p[open_][at, worst] > alpha
        steps[open_[drop], worst[drop]] = -1
        p[open_[drop], worst[drop]] = np.nan
        moved = (place != steps[open_]) & (place >= 0) & (steps[open_] >= 0) & ~drop[:, np.newaxis]
        moved &= round_ < _ROUNDS // 3
        # one at a time: where two move, the place of each was found beside the old place of the other
        moved &= np.cumsum(moved, axis=1) == 1
        steps[open_] = np.where(moved, place, steps[open_])
        open_ = open_[(drop | moved.any(axis=1)) & (steps[open_] >= 0).any(axis=1)]
    bare = np.flatnonzero((best.steps >= 0).any(axis=1) & (steps < 0).all(axis=1))
    if bare.size:
        kind[bare] = best_noise(problem, rows[bare], tried=best.kind[bare]).kind
    return Changes(steps, p, _spans(problem, rows, steps, kind), kind)


def _leave_out_each(problem: Problem, rows: Array, steps: Array, kind: Array) -> tuple[Array, Array, Array]:
    """p-value of each step, the place where it fits best beside the others, and the noise beside them all."""
    with_all = best_noise(problem, rows, steps=steps, tried=kind)
    s, k = np.nonzero(steps >= 0)
    without = steps[s].copy()
    without[np.arange(s.size), k] = -1
    noise = best_noise(problem, rows[s], steps=without, tried=with_all.kind[s])
    again = fit(problem, rows[s], steps=without, kind=with_all.kind[s], scan=True)
    # noise that explains a series without the step does so with it
    lower = np.minimum(with_all.deviance[s], _deviance_with(problem, rows[s], steps[s], noise.kind))
    dof = again.dof - 1
    gained = np.maximum(noise.deviance - lower, 0.0)
    t = np.sqrt(np.maximum(dof, 0) * np.expm1(np.minimum(gained / np.maximum(again.number, 1), 600.0)))
    p, place = np.full(steps.shape, np.nan), np.full(steps.shape, -1)
    p[s, k] = p_value(t, dof)
    place[s, k] = again.place
    return p, place, with_all.kind


def _spans(problem: Problem, rows: Array, steps: Array, kind: Array) -> Array:
    """Earliest and latest place of each step, with the others where they are, that the likelihood does not exclude.

    References
    ----------
    Hansen 2000, Econometrica 68, 575: the likelihood ratio of a wrong place exceeds -2 ln(1 - sqrt(p)) with a
    probability of 1 - p.
    """
    span = np.full((*steps.shape, 2), -1)
    for s, k in zip(*np.nonzero(steps >= 0), strict=True):
        without = steps[s : s + 1].copy()
        without[0, k] = -1
        profile = np.full((1, problem.y.shape[1]), np.nan)
        found = fit(problem, rows[s : s + 1], steps=without, kind=kind[s], scan=True, profile=profile)
        noise = max((found.squares - found.taken_off)[0] / max(found.dof[0] - 1, 1), 0.0) + FLOOR**2
        near = np.flatnonzero(found.taken_off[0] - profile[0] <= -2 * np.log(1 - np.sqrt(_PROBABILITY)) * noise)
        span[s, k] = min(near[0], steps[s, k]), max(near[-1], steps[s, k])
    return span


def _deviance_with(problem: Problem, rows: Array, steps: Array, kind: Array) -> Array:
    return fit(problem, rows, steps=steps, kind=kind).deviance + priced(problem, kind)
