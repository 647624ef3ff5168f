"""Fit all units of a history in one gauge: offsets of runs, drifts, responses and changes of units, round by round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.archive.trend.changes import Changes, find_changes
from flatnorm_xr.archive.trend.common_gauge import GaugeSet, common_offsets, named_offsets, offsets_beside, spread_out
from flatnorm_xr.archive.trend.history import History
from flatnorm_xr.archive.trend.noise import usual_noise
from flatnorm_xr.archive.trend.regression import WHITE, Fitted, Problem, fit, fitted_values, p_value
from flatnorm_xr.archive.trend.typical import location
from flatnorm_xr.archive.trend.whitened import SIDE, isolated

__all__ = ["FEWEST_RUNS", "Followed", "follow_units"]

Array = NDArray[Any]

FEWEST_RUNS = 4
"""Runs of a unit below which nothing but its level is found."""

_ISOLATED = 5.0
"""Standard deviations of a difference by which a run must stand out from both neighbours to have no part."""

_ROUNDS = 20
_ROUNDS_OF_MANY = 2
"""In a large table, where one unit moves the offsets by little."""

_SETTLED = 0.02
"""Rms move of the offsets, in typical scatters of a unit, below which no round follows."""

_SMALL = 2_000_000
"""Cells of a table that is fitted whole even where some units only are asked for."""

_RUNS_OF_MANY = 400
"""Runs from which the typical drift is found, where only some units of a large table are fitted."""

_LEAST = 1e-9
"""Share that the other units have in an offset, for a unit that is the gauge by itself."""

_SAMPLE = 128
"""Units, and runs, from which it is found how the stated errors change."""

_ENOUGH, _FEWEST_ASKED = 60_000, 24
"""Cells, and units, from which it is found how the noise of the typical unit goes from run to run."""

_BLOCK = 64
"""Runs that are read at once."""


@dataclass(frozen=True)
class Followed:
    """What was found of the chosen units; logarithms in the common gauge, whose offsets have the normalisation."""

    offset: Array
    """(run)."""
    model: Array
    """(series, run), ln G of the model; NaN before a unit's first run, after its last, and without a covariate."""
    beta: Array
    """(series, column): level, drift, responses per unit of the covariate."""
    stderr: Array
    p: Array
    """(series, column), for none; of one test."""
    dof: Array
    """(series)."""
    scatter: Array
    noise_factor: Array
    steps: Array
    """(series, step), first run after each, -1 for none."""
    size: Array
    size_stderr: Array
    step_p: Array
    span: Array
    """(series, step, 2): first runs after a step, earliest and latest, that go with the data."""


@dataclass(frozen=True)
class _Round:
    """One round of the fit."""

    problem: Problem
    rows: Array
    changes: Changes
    fitted: Fitted


def follow_units(
    history: History, gauge: GaugeSet, rows: Array, along: Mapping[str, Array], *, alpha: float
) -> Followed:
    """Fit some units of a history in the gauge of all.

    A unit that drifts or jumps moves the offsets of a small camera, and so shows in the others with the opposite sign.
    So the offsets are found again from what the model leaves, and the units fitted again, until the offsets stay.

    Parameters
    ----------
    history : History
    gauge : GaugeSet
    rows : array of int, (series)
        Units that are asked for.
    along : mapping of array, (run)
        Covariates; NaN where unknown.
    alpha : float
        Chance of any false change.
    """
    y = history.y
    whole = not gauge.named and (rows.size == y.shape[0] or y.size <= _SMALL)
    asked = _asked(gauge, y.shape[1])
    taken = np.arange(y.shape[0]) if whole else np.union1d(rows, asked)
    series = taken if whole else np.searchsorted(taken, rows)
    asked = np.searchsorted(taken, asked)
    design, scales, known = _design(history, along)
    own, quality = _stated(history, gauge)
    offset = named_offsets(y, gauge.member) if gauge.named else common_offsets(y, gauge.member)
    problem = Problem(np.where(known, y[taken], np.nan), offset, own[taken], quality, np.empty(taken.size), design)
    mine = y if rows.size == y.shape[0] else y[rows]
    tests = float(np.maximum((np.isfinite(mine) & known).sum(axis=1) - 2 * SIDE + 1, 1).sum())
    last = _fit_round(problem, series, asked, alpha, tests)
    rounds = _ROUNDS if y.size <= _SMALL else _ROUNDS_OF_MANY
    for _ in range(rounds - 1 if whole else 0):
        left = offsets_beside(y, fitted_values(problem, last.fitted.beta, last.changes.steps), gauge.member)
        moved = np.sqrt(np.mean((left - last.problem.offset) ** 2))
        noise = last.fitted.noise[np.isfinite(last.fitted.noise)]
        if not noise.size or not moved > _SETTLED * np.median(np.sqrt(noise)):
            break
        last = _fit_round(replace(problem, offset=left), series, asked, alpha, tests)
    if whole:
        steady = _typical(last.fitted, gauge.member, design.shape[0])
    elif gauge.named:
        steady = _Typical.unknown(design.shape[0])
    else:
        steady = _typical_of_sample(y, last.problem, gauge.member)
    found = _in_units(_of_series(last, rows) if whole else last, mine, gauge, rows, steady, scales, known)
    normalisation = _normalisation(history, gauge.member, found.offset)
    return replace(found, offset=found.offset + normalisation, model=found.model - normalisation)


def _asked(gauge: GaugeSet, runs: int) -> Array:
    """Units that are asked what noise is usual: enough of them, and no more."""
    return spread_out(np.flatnonzero(gauge.member), int(np.clip(_ENOUGH // runs, _FEWEST_ASKED, _SAMPLE)))


def _design(history: History, along: Mapping[str, Array]) -> tuple[Array, Array, Array]:
    """Columns of the fits, (column, run), what their coefficients are to be divided by, and where all are known."""
    columns, scales = [np.ones_like(history.years), history.years], [1.0, 1.0]
    known = np.ones(history.years.size, dtype=bool)
    for values in along.values():
        there = np.isfinite(values)
        known &= there
        away = values - values[there].mean() if there.any() else np.zeros(values.size)
        scale = float(np.std(away[there])) if there.any() else 0.0
        # a coordinate that does not vary but for rounding has nothing to tell
        varies = scale > 1e-9 * np.abs(values[there]).max(initial=0.0)
        columns.append(np.where(there & varies, away, 0.0) / (scale if varies else 1.0))
        scales.append(scale if varies else 1.0)
    return np.array(columns), np.array(scales), known


def _stated(history: History, gauge: GaugeSet) -> tuple[Array, Array]:
    """Typical stated variance of ln G of each unit, 0 where unknown, and by what that of each run differs.

    A single stated error is itself found from few exposures; what all units have in common in a run is known better.
    """
    units, runs = history.y.shape
    if "G_stderr" not in history.dataset:
        return np.zeros(units), np.ones(runs)
    stderr = history.dataset["G_stderr"].transpose("run", *history.dims).values.reshape(runs, -1)

    def variance(some_units: Array, some_runs: Array) -> Array:
        relative = stderr[np.ix_(some_runs, some_units)] * np.exp(-history.y[np.ix_(some_units, some_runs)].T)
        return np.where(relative > 0, relative**2, np.nan)

    every_unit, every_run = np.arange(units), np.arange(runs)
    own = _median(variance(every_unit, spread_out(every_run, _SAMPLE)), axis=0)
    compared = spread_out(np.flatnonzero(gauge.member & (own > 0)), _SAMPLE)
    quality = _median(variance(compared, every_run) / own[compared], axis=1)
    return np.nan_to_num(own), np.where(quality > 0, quality, 1.0)


def _median(values: Array, *, axis: int) -> Array:
    """Median of what is known; NaN where nothing is."""
    known = np.isfinite(values).any(axis=axis)
    filled = np.where(np.expand_dims(known, axis), values, 0.0)
    return np.where(known, np.nanmedian(filled, axis=axis) if filled.size else np.nan, np.nan)


def _fit_round(problem: Problem, rows: Array, asked: Array, alpha: float, tests: float) -> _Round:
    prepared = np.union1d(rows, asked)
    isolated(problem.y, problem.offset, problem.own, problem.quality, prepared, _ISOLATED, problem.excess)
    problem = replace(problem, usual=usual_noise(problem, asked))
    changes = find_changes(problem, rows, alpha=alpha, tests=tests)
    fitted = fit(problem, rows, steps=changes.steps, kind=changes.kind)
    return _Round(problem, rows, changes, fitted)


@dataclass(frozen=True)
class _Typical:
    """Drift and responses of the typical unit, which the common gauge takes off."""

    value: Array
    """(column)."""
    share: Array
    """(unit, column), of each unit in it."""
    own_variance: Array
    """(unit, column); empty where it was not found."""

    @classmethod
    def unknown(cls, columns: int) -> _Typical:
        return cls(np.zeros(columns), *np.zeros((2, 0, columns)))


def _typical(fitted: Fitted, member: Array, columns: int) -> _Typical:
    value, share = np.zeros(columns), np.zeros((member.size, columns))
    for c in range(1, columns):
        inside = member & np.isfinite(fitted.beta[:, c]) & (fitted.number >= FEWEST_RUNS)
        if inside.any():
            value[c], share[inside, c] = location(fitted.beta[inside, c])
    apart = max(1 - 1 / max(int(member.sum()), 1), _LEAST)
    own = fitted.variance[:, :columns] * fitted.noise[:, np.newaxis] / apart
    return _Typical(value, share, own)


def _typical_of_sample(y: Array, problem: Problem, member: Array) -> _Typical:
    """Find the typical drift and responses of many units from some of their runs."""
    runs = spread_out(np.arange(y.shape[1]), _RUNS_OF_MANY)
    runs = runs[np.isfinite(problem.y[:, runs]).any(axis=0)]
    some = np.ascontiguousarray(y[np.ix_(member, runs)])
    one = np.ones(len(some))
    sample = Problem(some, problem.offset[runs], 0 * one, problem.quality[runs], one, problem.design[:, runs].copy())
    found = _typical(fit(sample, np.arange(len(some))), one.astype(bool), len(problem.design))
    return replace(_Typical.unknown(len(problem.design)), value=found.value)


def _in_units(
    last: _Round, y: Array, gauge: GaugeSet, units: Array, steady: _Typical, scales: Array, known: Array
) -> Followed:
    """Put what was found of some units, (series), in the units of the coordinates; ``y`` is their ln G."""
    fitted, steps, columns = last.fitted, last.changes.steps, scales.size
    enough = (fitted.number >= FEWEST_RUNS)[:, np.newaxis]
    beta = np.where(enough, fitted.beta, np.nan)
    beta[:, :columns] -= steady.value
    offset = last.problem.offset + steady.value @ last.problem.design
    model = _model(last, y, beta, offset, known)
    share = np.where(gauge.member & (not gauge.named), 1 / max(int(gauge.member.sum()), 1), 0.0)[units]
    stderr, step_stderr = _errors(last, steady, units, share, columns)
    dof = np.where(enough[:, 0], fitted.dof, 0)
    return Followed(
        offset=offset,
        model=model,
        beta=beta[:, :columns] / scales,
        stderr=np.where(enough, stderr / scales, np.nan),
        p=p_value(beta[:, :columns] / np.where(stderr > 0, stderr, np.nan), dof[:, np.newaxis]),
        dof=dof,
        scatter=_scatter(last, model, offset),
        noise_factor=np.where(enough[:, 0], _noise_factor(last), np.nan),
        steps=steps,
        size=np.where(steps >= 0, beta[:, columns:], np.nan),
        size_stderr=np.where(steps >= 0, step_stderr, np.nan),
        step_p=last.changes.p,
        span=last.changes.span,
    )


def _of_series(last: _Round, chosen: Array) -> _Round:
    """Take some of the series."""
    changes = {name: value[chosen] for name, value in vars(last.changes).items()}
    return _Round(last.problem, last.rows[chosen], Changes(**changes), last.fitted.of(chosen))


def _errors(last: _Round, steady: _Typical, units: Array, share: Array, columns: int) -> tuple[Array, Array]:
    """Find standard errors of coefficients and steps beside the gauge.

    The noise of a unit was found beside offsets of which the unit has a share a. Its own noise has 1/(1-a) of that
    variance, and that of a step beside the other units, which have none, 1/(1-a)^2.
    """
    variance = last.fitted.variance * last.fitted.noise[:, np.newaxis]
    apart = np.maximum(1 - share, _LEAST)[:, np.newaxis]
    own = variance[:, :columns] / apart
    if steady.own_variance.size:
        mine = steady.share[units]
        own = own * (1 - 2 * mine) + (steady.share**2 * np.nan_to_num(steady.own_variance)).sum(axis=0)
    return np.sqrt(np.maximum(own, 0.0)), np.sqrt(variance[:, columns:]) / apart


def _model(last: _Round, y: Array, beta: Array, offset: Array, known: Array) -> Array:
    """Find ln G of the model beside the offsets, a constant where runs are too few, NaN outside a unit's time."""
    model = fitted_values(last.problem, beta, last.changes.steps)
    runs = np.arange(model.shape[1])
    for s in range(len(model)):
        there = np.flatnonzero(np.isfinite(y[s]))
        if last.fitted.number[s] < FEWEST_RUNS:
            model[s] = np.median((y[s] - offset)[there]) if there.size else np.nan
        if there.size:
            model[s, (runs < there[0]) | (runs > there[-1])] = np.nan
    model[:, ~known] = np.nan
    return model


def _scatter(last: _Round, model: Array, offset: Array) -> Array:
    """Find the standard deviation of ln G about the model, (series)."""
    scatter = np.full(last.rows.size, np.nan)
    for s, row in enumerate(last.rows):
        if last.fitted.number[s] >= FEWEST_RUNS and last.fitted.dof[s] > 0:
            left = last.problem.y[row] - offset - model[s]
            scatter[s] = np.sqrt(np.nansum(left**2) / last.fitted.dof[s])
    return scatter


def _noise_factor(last: _Round) -> Array:
    """Error of the drift over what it would be in white noise of the same scatter, (series)."""
    factor = np.ones(last.rows.size)
    other = np.flatnonzero(last.changes.kind != WHITE)
    if other.size:
        white = fit(last.problem, last.rows[other], steps=last.changes.steps[other])
        factor[other] = last.fitted.stderr[other, 1] / white.stderr[:, 1]
    return factor


def _normalisation(history: History, member: Array, offset: Array) -> float:
    """Logarithm of the mean over runs and members of G beside the offsets."""
    total, number = np.zeros((2, member.size))
    for first in range(0, offset.size, _BLOCK):
        some = slice(first, first + _BLOCK)
        there = np.isfinite(history.y[:, some]).T
        total += np.where(there, history.of_runs("G", some) * np.exp(-offset[some])[:, np.newaxis], 0.0).sum(axis=0)
        number += there.sum(axis=0)
    return float(np.log(np.mean(total[member] / number[member])))
