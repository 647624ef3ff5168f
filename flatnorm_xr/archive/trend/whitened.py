"""Compiled: regression and scan for steps of many series at once, in noise of which a part wanders."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.archive.trend.robust_levels import median
from flatnorm_xr.compiled import compiled

__all__ = ["FLOOR", "SIDE", "fit_series", "gains", "isolated", "noise_squares"]

Array = NDArray[Any]

# A column that the others explain up to this share of its square cannot be told from them.
TOLERANCE = 1e-9

# Runs that there must be on either side of a step.
SIDE = 2

# Standard deviation of ln G below which nothing is told from rounding.
FLOOR = 1e-10


@compiled()
def _filter(
    z: Array, rows: int, runs: int, variance: Array, wandering: float, rho: float, gain: Array, spread: Array
) -> float:
    """Whiten so many rows of ``z`` (column, run) in place, by Kalman's filter; returns the log determinant.

    The noise is ``1 - wandering`` times white noise of the given variances plus a first-order autoregression of
    ``rho`` whose innovations have the variance ``wandering``. What comes out has variance 1.
    """
    predicted = np.zeros(rows)
    p = wandering / (1 - rho * rho)
    determinant = 0.0
    for t in range(runs):
        f = p + (1 - wandering) * variance[t]
        k = p / f
        gain[t] = k
        spread[t] = f
        determinant += np.log(f)
        root = 1 / np.sqrt(f)
        for c in range(rows):
            e = z[c, t] - predicted[c]
            predicted[c] = rho * (predicted[c] + k * e)
            z[c, t] = e * root
        p = rho * rho * (1 - k) * p + wandering
    return determinant


@compiled(reorder=True)
def _multiply(z: Array, columns: int, number: int, a: Array, right: Array) -> None:
    """Set the normal matrix, lower triangle, and the right side, from the rows of ``z`` (column, run)."""
    for i in range(columns):
        for j in range(i + 1):
            total = 0.0
            for t in range(number):
                total += z[i, t] * z[j, t]
            a[i, j] = total
        total = 0.0
        for t in range(number):
            total += z[i, t] * z[columns, t]
        right[i] = total


@compiled()
def _factor(a: Array, columns: int) -> None:
    """Factor the normal matrix in place, lower triangle; a column that the others explain gets a zero row."""
    for i in range(columns):
        own = a[i, i]
        for j in range(i + 1):
            value = a[i, j]
            for k in range(j):
                value -= a[i, k] * a[j, k]
            if j < i:
                a[i, j] = value / a[j, j] if a[j, j] > 0 else 0.0
            else:
                a[i, i] = np.sqrt(value) if value > TOLERANCE * own and own > 0 else 0.0


@compiled()
def _solve(a: Array, right: Array, columns: int, beta: Array, variance: Array) -> None:
    """Coefficients and the diagonal of their covariance from the factor; NaN for a column that was left out."""
    work = np.empty(columns)
    for i in range(columns):
        value = right[i]
        for k in range(i):
            value -= a[i, k] * work[k]
        work[i] = value / a[i, i] if a[i, i] > 0 else 0.0
    for i in range(columns - 1, -1, -1):
        value = work[i]
        for k in range(i + 1, columns):
            value -= a[k, i] * work[k]
        work[i] = value / a[i, i] if a[i, i] > 0 else 0.0
        beta[i] = work[i]
    for c in range(columns):
        total = 0.0
        for i in range(columns):
            value = 1.0 if i == c else 0.0
            for k in range(c, i):
                value -= a[i, k] * work[k]
            work[i] = value / a[i, i] if a[i, i] > 0 and i >= c else 0.0
            total += work[i] * work[i]
        variance[c] = total if a[c, c] > 0 else np.nan


@compiled()
def _scan(
    z: Array,
    columns: int,
    runs: int,
    beta: Array,
    a: Array,
    gain: Array,
    spread: Array,
    rho: float,
    taken: Array,
    profile: Array,
) -> tuple[float, int]:
    """Find the place where a step would take most from the sum of squares, and how much, beside all other columns.

    ``z`` holds the whitened columns and, last, the whitened series; ``taken`` is true where a step may not begin;
    ``profile`` is set to what a step takes at each place where it may.
    """
    inner = np.zeros(columns + 1)
    wait = np.zeros(columns + 1)
    ahead = np.zeros(columns + 1)
    work = np.empty(columns)
    # a step's own square is a quadratic form in what the filter predicts of it, found backwards
    alpha, beside, curve = 0.0, 0.0, 0.0
    best, place = 0.0, -1
    next_theta = 0.0
    for t in range(runs - 1, -1, -1):
        f, k = spread[t], gain[t]
        root = 1 / np.sqrt(f)
        theta, pull = rho * (1 - k), rho * k
        for c in range(columns + 1):
            e = z[c, t]
            if c == columns:
                for b in range(columns):
                    e -= beta[b] * z[b, t]
            wait[c] = ahead[c] + next_theta * wait[c]
            ahead[c] = e * root
            inner[c] += ahead[c] - pull * wait[c]
        alpha = 1 / f + alpha + 2 * pull * beside + pull * pull * curve
        beside = -1 / f + theta * (beside + pull * curve)
        curve = 1 / f + theta * theta * curve
        next_theta = theta
        if taken[t]:
            continue
        left = alpha
        for i in range(columns):
            value = inner[i]
            for b in range(i):
                value -= a[i, b] * work[b]
            work[i] = value / a[i, i] if a[i, i] > 0 else 0.0
            left -= work[i] * work[i]
        if left > TOLERANCE * alpha:
            taken_off = inner[columns] ** 2 / left
            profile[t] = taken_off
            if taken_off > best:
                best, place = taken_off, t
    return best, place


@compiled()
def _left(z: Array, columns: int, number: int, beta: Array) -> float:
    """Sum of the squares that the columns leave of the series, the last row of ``z``."""
    squares = 0.0
    for t in range(number):
        e = z[columns, t]
        for c in range(columns):
            e -= beta[c] * z[c, t]
        squares += e * e
    return squares


@compiled()
def _mark(where: Array, number: int, steps: Array, taken: Array, gained: Array) -> None:
    """Mark the places where no further step may begin: near the ends and near another."""
    for t in range(number):
        taken[t] = t < SIDE or number - t < SIDE
        gained[t] = np.nan
    for k in range(steps.size):
        if steps[k] >= 0:
            first = 0
            while first < number and where[first] < steps[k]:
                first += 1
            for t in range(max(first - SIDE + 1, 0), min(first + SIDE, number)):
                taken[t] = True


@compiled()
def fit_series(
    y: Array,
    offset: Array,
    own: Array,
    quality: Array,
    excess: Array,
    rows: Array,
    design: Array,
    steps: Array,
    rho: Array,
    wandering: Array,
    scan: bool,
    beta: Array,
    variance: Array,
    figures: Array,
    place: Array,
    profile: Array,
) -> None:
    """Fit ``y - offset`` of chosen units by the columns of the design and steps, and scan for one step more.

    Parameters
    ----------
    y : (unit, run)
        ln G, NaN where it is not to be used.
    offset : (run)
    own, excess : (unit)
    quality : (run)
        The white part of the noise has variances in the ratios of ``own * quality + excess``.
    rows : (series)
        Unit of each series.
    design : (column, run)
    steps : (series, step)
        First run after each step, -1 for none.
    rho, wandering : (series)
        Of the noise.
    scan : bool
    beta, variance : (series, column + step)
        Out: coefficients, and their variance for noise of unit variance; NaN for one that cannot be told.
    figures : (series, 6)
        Out, zero before: number of runs, number of columns, sum of squares, log determinants of the noise and of the
        normal matrix, what the best step takes off.
    place : (series)
        Out: first run after that step, -1 for none.
    profile : (series, run) or empty
        Out, NaN before: what a step takes off whose first run after is this one; NaN where there may be none.
    """
    fixed, runs = design.shape
    most = fixed + steps.shape[1]
    z = np.empty((most + 1, runs))
    where = np.empty(runs, np.int64)
    white = np.empty(runs)
    gain, spread = np.empty(runs), np.empty(runs)
    taken, gained = np.empty(runs, np.bool_), np.empty(runs)
    a = np.empty((most, most))
    right = np.empty(most)
    order = np.empty(most, np.int64)
    for s in range(rows.size):
        u = rows[s]
        number = 0
        for r in range(runs):
            if y[u, r] == y[u, r]:
                where[number] = r
                number += 1
        for c in range(most):
            beta[s, c] = np.nan
            variance[s, c] = np.nan
        figures[s, 0] = number
        place[s] = -1
        if number == 0:
            continue
        columns = fixed
        for k in range(steps.shape[1]):
            if steps[s, k] >= 0:
                order[columns] = k
                columns += 1
        mean = 0.0
        for t in range(number):
            mean += (own[u] * quality[where[t]] + excess[u]) / number
        for t in range(number):
            r = where[t]
            white[t] = (own[u] * quality[r] + excess[u]) / mean
            for c in range(fixed):
                z[c, t] = design[c, r]
            for c in range(fixed, columns):
                z[c, t] = 1.0 if r >= steps[s, order[c]] else 0.0
            z[columns, t] = y[u, r] - offset[r]
        figures[s, 3] = _filter(z, columns + 1, number, white, wandering[s], rho[s], gain, spread)
        _multiply(z, columns, number, a, right)
        _factor(a, columns)
        found, its_variance = np.zeros(columns), np.zeros(columns)
        _solve(a, right, columns, found, its_variance)
        figures[s, 2] = _left(z, columns, number, found)
        for c in range(columns):
            if a[c, c] > 0:
                figures[s, 1] += 1
                figures[s, 4] += 2 * np.log(a[c, c])
            at = c if c < fixed else fixed + order[c]
            variance[s, at] = its_variance[c]
            beta[s, at] = found[c] if a[c, c] > 0 else np.nan
        if not scan:
            continue
        _mark(where, number, steps[s], taken, gained)
        figures[s, 5], best = _scan(z, columns, number, found, a, gain, spread, rho[s], taken, gained)
        place[s] = where[best] if best >= 0 else -1
        if profile.size:
            for t in range(number):
                profile[s, where[t]] = gained[t]


@compiled(reorder=True)
def noise_squares(
    y: Array,
    offset: Array,
    own: Array,
    quality: Array,
    excess: Array,
    rows: Array,
    design: Array,
    steps: Array,
    beta: Array,
    pull: Array,
    weight: Array,
    squares: Array,
) -> None:
    """Set the sum of squares of the innovations that noise of each kind makes of what a fit leaves of each series.

    That the white part's variance changes from run to run is allowed for by scaling
    the residuals, wandering part and all: enough to choose by.

    Parameters
    ----------
    y, offset, own, quality, excess, rows, design, steps
        As `fit_series`.
    beta : (series, column + step)
        Coefficients of the fit; NaN counts as 0.
    pull, weight : (run + 1, kind)
        Of the filter of each kind, as `gains` has them.
    squares : (series, kind)
        Out.
    """
    runs, kinds, fixed = y.shape[1], pull.shape[1], design.shape[0]
    predicted, total = np.empty(kinds), np.empty(kinds)
    for s in range(rows.size):
        u = rows[s]
        mean, number = 0.0, 0
        for r in range(runs):
            if y[u, r] == y[u, r]:
                mean += own[u] * quality[r] + excess[u]
                number += 1
        mean = mean / number if mean > 0 else 1.0
        for c in range(kinds):
            predicted[c] = 0.0
            total[c] = 0.0
        t = 0
        for r in range(runs):
            value = y[u, r] - offset[r]
            if value != value:
                continue
            for c in range(fixed):
                if beta[s, c] == beta[s, c]:
                    value -= beta[s, c] * design[c, r]
            for k in range(steps.shape[1]):
                if 0 <= steps[s, k] <= r and beta[s, fixed + k] == beta[s, fixed + k]:
                    value -= beta[s, fixed + k]
            value /= np.sqrt((own[u] * quality[r] + excess[u]) / mean)
            for c in range(kinds):
                e = value - predicted[c]
                predicted[c] = pull[t, c] * e + pull[runs, c] * predicted[c]
                total[c] += e * e * weight[t, c]
            t += 1
        for c in range(kinds):
            squares[s, c] = total[c]


@compiled()
def gains(rho: Array, wandering: Array, pull: Array, weight: Array, determinant: Array) -> None:
    """Set what Kalman's filter does in noise of each kind whose white part is the same in all runs.

    ``pull`` (run + 1, kind) is by what an innovation moves the next prediction, its last row the correlation;
    ``weight`` the inverse variance of an innovation; ``determinant`` the log determinant of so many runs.
    """
    runs = pull.shape[0] - 1
    for c in range(rho.size):
        p = wandering[c] / (1 - rho[c] * rho[c])
        determinant[0, c] = 0.0
        for t in range(runs):
            f = p + 1 - wandering[c]
            k = p / f
            pull[t, c] = rho[c] * k
            weight[t, c] = 1 / f
            determinant[t + 1, c] = determinant[t, c] + np.log(f)
            p = rho[c] * rho[c] * (1 - k) * p + wandering[c]
        pull[runs, c] = rho[c]
        weight[runs, c] = 0.0


@compiled()
def isolated(y: Array, offset: Array, own: Array, quality: Array, rows: Array, times: float, excess: Array) -> int:
    """Make NaN what stands out from both neighbours, and find the variance beyond the stated one, of chosen units.

    Both from differences of runs that follow each other, which steps and drifts hardly touch: a value goes that is
    off from the one before and the one after, to the same side, by ``times`` the standard deviation of differences;
    at an end, from the one beside it.
    Returns the number of values made NaN.
    """
    runs = y.shape[1]
    where = np.empty(runs, np.int64)
    step, size, known = np.empty(runs), np.empty(runs), np.empty(runs)
    lost = 0
    for u in rows:
        number = 0
        for r in range(runs):
            if y[u, r] == y[u, r]:
                where[number] = r
                known[number] = own[u] * quality[r]
                number += 1
        for t in range(number - 1):
            step[t] = (y[u, where[t + 1]] - offset[where[t + 1]]) - (y[u, where[t]] - offset[where[t]])
            size[t] = abs(step[t])
        if number < 4:
            excess[u] = FLOOR * FLOOR
            continue
        scale = 1.482602218505602 * median(size, number - 1)
        excess[u] = max(0.5 * scale * scale - median(known, number), FLOOR * FLOOR)
        bound = times * max(scale, FLOOR)
        for t in range(number):
            before = step[t - 1] if t > 0 else -step[0]
            after = -step[t] if t < number - 1 else step[t - 1]
            if before * after > 0 and min(abs(before), abs(after)) > bound:
                # at an end the neighbour has to be like the run next to it, or it may be the one that is off
                beyond = 1 if t == 0 else number - 3
                if 0 < t < number - 1 or abs(step[beyond]) <= bound:
                    y[u, where[t]] = np.nan
                    lost += 1
    return lost
