"""Rank-k correction: patterns that units share and exposures vary, beside the product G E and never part of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.connectivity import connect
from flatnorm_xr.decompose.sweeps import unit_dims
from flatnorm_xr.errors import DisconnectedError, FlatnormError

__all__ = ["Modes", "fit_modes"]

Array = NDArray[np.float64]

_FOLDS = 10
_MOST = 5
"""Modes that ``"auto"`` tries."""

_SIGNIFICANT = 2.5
"""Standard errors by which a mode must lower the squares of held-out residuals: less is seen in noise."""

_WORTHWHILE = 1e-3
"""Share of these squares that a mode must take away: less is in how far rough fits have come."""

_SPARE = 2
"""Units and exposures there must be beyond the number of modes."""

_TOLERANCE = 1e-11
_LONGEST = 2000
_ROUGH = 1e-4
_SHORT = 100
"""Tolerance (of the rms residual) and iterations: of the fit, and of those that only score held-out cells."""

_SWEEPS = 50

_LEAST_RIDGE = 1e-12
"""Of the weight of a unit or exposure, so that one with a single cell has an answer."""


class Modes(NamedTuple):
    """What `fit_modes` finds; ln(background) = ln G + g + ln E + e + sum over modes of unit * exposure.

    Along ``mode`` (labelled 1, 2, ..., strongest first) ``unit`` is the size of the pattern on each unit, in units of
    ln(background), and ``exposure`` how much of it each exposure has: weighted mean 0, weighted mean square 1, the
    weights being those of the exposures. The largest element of each ``unit`` is positive.
    """

    g: xr.DataArray
    """(unit dims), to be added to ln G of the plain fit; its mean weighted with the gauge's shares is 0. 0 for a unit
    without weight."""
    e: xr.DataArray
    """(exposure), to be added to ln E of the plain fit; 0 for an exposure without weight."""
    unit: xr.DataArray
    """(unit dims, mode); mean weighted with the gauge's shares 0. NaN for a unit without weight, near 0 for one with
    few cells."""
    exposure: xr.DataArray
    """(exposure, mode); NaN for an exposure without weight."""
    number: int
    parameters: int
    """Free parameters that the modes add to those of G and E, as far as noise did not shrink them away."""
    held_out: xr.DataArray
    """(number), 0 modes and more: root of the weighted mean square residual of cells left out of the fit."""
    iterations: int
    converged: bool

    @property
    def correction(self) -> xr.DataArray:
        """What the modes add to ln G + ln E, (unit dims, exposure); 0 where unit or exposure has no weight."""
        added: xr.DataArray = xr.dot(self.unit.fillna(0.0), self.exposure.fillna(0.0), dim="mode")
        return added


@dataclass(frozen=True)
class _Table:
    """Residuals and weights as a table of units and exposures, and the part of each unit in the gauge."""

    y: Array
    weight: Array
    share: Array

    def without(self, cells: NDArray[np.bool_]) -> _Table:
        return _Table(self.y, np.where(cells, 0.0, self.weight), self.share)


@dataclass
class _State:
    """g (units), e (exposures), a (units, modes), b (exposures, modes), and how uncertain the last two are."""

    g: Array
    e: Array
    a: Array
    b: Array
    a_covariance: Array
    b_covariance: Array
    strength: Array
    """(modes), mean square of a."""
    noise: float
    """Variance of a cell of weight 1."""
    spent: float = 0.0
    """Parameters that the modes really use: those that noise shrinks away count in part."""

    def model(self) -> Array:
        model = self.a @ self.b.T
        model += self.g[:, np.newaxis]
        model += self.e
        return model


def fit_modes(
    residual: xr.DataArray,
    weight: xr.DataArray,
    *,
    modes: int | Literal["auto"],
    gauge_share: xr.DataArray,
    seed: int = 0,
) -> Modes:
    """Fit patterns of rank k to what the product G E leaves over, together with G and E.

    ``residual = g + e + sum_k unit_k exposure_k``, by alternating weighted regressions of each unit on the exposures'
    factors and of each exposure on the units'. A factor that is the same for all exposures is part of G and one that
    is the same for all units part of E: the modes have mean 0 both ways, so that they absorb neither. With cells
    missing, g and e mend what a pattern did to units seen in part of the exposures only.

    Least squares alone makes of noise the patterns it can make, and where a unit has few cells they run wild. So the
    units' factors are drawn towards 0 by as much as the noise and their own mean square say (and the exposures'
    towards theirs): a pattern without noise is found exactly, one far above it nearly so, and one that only noise made
    fades away.

    Parameters
    ----------
    residual : DataArray, (unit dims, exposure)
        ln(background / bgModel) of the plain fit; any number, or NaN, where the weight is zero.
    weight : DataArray, same dims
        Non-negative; zero means "not used".
    modes : int or "auto"
        How many; ``"auto"`` chooses the number, 0 to 5, by held-out cells: ten times a tenth of the cells is left out
        and predicted from the rest, and a mode is taken that makes this better by more than chance would.
    gauge_share : DataArray, (unit dims)
        Share of each unit in the gauge, non-negative, adding up to 1.
    seed : int
        Which cells are held out together.

    Returns
    -------
    Modes

    Raises
    ------
    FlatnormError
        ``modes`` is not a whole number from 0 to two less than there are units or exposures, nor ``"auto"``.
    DisconnectedError
        The cells with weight form more than one connected component.

    References
    ----------
    Gollob 1968, Psychometrika 33, 73 (additive effects and multiplicative modes); Wold 1978, Technometrics 20, 397
    (number of modes from held-out cells); Ilin & Raiko 2010, J. Machine Learning Research 11, 1957 (missing cells,
    factors drawn towards 0, turning them for speed).
    """
    units = unit_dims(weight)
    if bool((connect((weight > 0).compute()).unit > 0).any()):
        msg = "solve: modes of units that share no exposure cannot be told apart; select one connected set first"
        raise DisconnectedError(msg)
    table, seen_unit, seen_exposure = _as_table(residual, weight, gauge_share)
    most = max(0, min(table.y.shape) - _SPARE)
    wanted = _number_wanted(modes, most)
    number, held_out = _choose(
        table, most=min(_MOST, most) if wanted is None else wanted, fixed=wanted is not None, seed=seed
    )
    state, iterations, converged = _fit(table, number, tolerance=_TOLERANCE, longest=_LONGEST)
    # the fit centres patterns by weight, so that no gauge changes it; a pattern's mean in the gauge is part of E
    mean = table.share @ state.a / table.share.sum()
    state.a, state.e = state.a - mean, state.e + state.b @ mean
    a, b = _canonical(table, state)
    offset = float(table.share @ state.g / table.share.sum())
    of_unit, of_exposure = _Place(weight, units, seen_unit), _Place(weight, ["exposure"], seen_exposure)
    return Modes(
        g=of_unit.put(state.g - offset).fillna(0.0),
        e=of_exposure.put(state.e + offset).fillna(0.0),
        unit=of_unit.put(a),
        exposure=of_exposure.put(b),
        number=number,
        parameters=round(min(max(state.spent, 0.0), number * (table.y.shape[0] + table.y.shape[1] - 2 - number))),
        held_out=xr.DataArray(held_out, dims="number", coords={"number": np.arange(len(held_out))}),
        iterations=iterations,
        converged=converged,
    )


@dataclass(frozen=True)
class _Place:
    """Where rows or columns of the table belong: dims of ``like``, and which of their elements were in it."""

    like: xr.DataArray
    dims: list[str]
    seen: NDArray[np.bool_]

    def put(self, values: Array) -> xr.DataArray:
        """Give ``values``, (rows[, modes]), their dims and labels; NaN for what was not in the table."""
        full = np.full((self.seen.size, *values.shape[1:]), np.nan)
        full[self.seen] = values
        shape = tuple(self.like.sizes[dim] for dim in self.dims)
        labels = {dim: self.like[dim] for dim in self.dims if dim in self.like.coords}
        modes = {"mode": np.arange(1, values.shape[1] + 1)} if values.ndim > 1 else {}
        return xr.DataArray(full.reshape(*shape, *values.shape[1:]), {**labels, **modes}, (*self.dims, *modes))


def _number_wanted(modes: object, most: int) -> int | None:
    """Check ``modes``; None when the number is to be chosen."""
    if isinstance(modes, str) and modes == "auto":
        return None
    if isinstance(modes, bool) or not isinstance(modes, int | np.integer) or not 0 <= modes <= most:
        msg = (
            f"solve: modes is {modes!r}; it must be 'auto' or a whole number from 0 to {most}, two less than there are "
            "units or exposures"
        )
        raise FlatnormError(msg)
    return int(modes)


def _as_table(
    residual: xr.DataArray, weight: xr.DataArray, share: xr.DataArray
) -> tuple[_Table, NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows of the units and columns of the exposures with weight, and which these are."""
    units = unit_dims(weight)
    w = weight.transpose(*units, "exposure").values
    w = w.reshape(-1, w.shape[-1]).astype(float)
    y = residual.transpose(*units, "exposure").values.reshape(w.shape)
    rows: NDArray[np.bool_] = np.any(w > 0, axis=1)
    columns: NDArray[np.bool_] = np.any(w > 0, axis=0)
    w, y = (array[np.ix_(rows, columns)] for array in (w, y))
    part = np.broadcast_to(share.transpose(*units).values.astype(float).ravel(), rows.shape)[rows]
    return _Table(np.where(w > 0, y, 0.0), w / w.mean(), part), rows, columns


def _fit(table: _Table, number: int, *, tolerance: float, longest: int) -> tuple[_State, int, bool]:
    """Alternate until the model changes by less than ``tolerance`` of the residuals' rms."""
    state, residual = _start(table, number)
    weight_of_unit, weight_of_exposure = table.weight.sum(axis=1), table.weight.sum(axis=0)
    cells, total = np.count_nonzero(table.weight), table.weight.sum()
    enough = tolerance**2 * state.noise * total
    for iteration in range(1, longest + 1):
        rows = _regress(table.y - state.e, table.weight, state.b, state.b_covariance, state.noise / state.strength)
        state.g, state.a, state.a_covariance = rows.constant, rows.slopes, state.noise * rows.covariance
        _centre(state.a, weight_of_unit)
        left = table.y - state.g[:, np.newaxis]
        columns = _regress(left.T, table.weight.T, state.a, state.a_covariance, np.full(number, state.noise))
        state.e, state.b, state.b_covariance = columns.constant, columns.slopes, state.noise * columns.covariance
        _centre(state.b, weight_of_exposure)
        _rotate(state)
        left -= state.e
        left -= state.a @ state.b.T
        state.spent = rows.parameters + columns.parameters - sum(table.y.shape)
        free = max(cells - rows.parameters - columns.parameters + 1, 0.05 * cells)
        state.noise = _weighted_square(table.weight, left) / free + np.finfo(float).tiny
        residual -= left
        change = _weighted_square(table.weight, residual)
        residual = left
        if change <= enough:
            return state, iteration, True
    return state, longest, False


def _weighted_square(weight: Array, values: Array) -> float:
    return float(np.einsum("ij,ij,ij->", weight, values, values))


def _start(table: _Table, number: int) -> tuple[_State, Array]:
    """Plain fit by alternating means, and the leading singular vectors of what it leaves, missing cells taken as 0."""
    n, m = table.y.shape
    of_unit, of_exposure = (np.maximum(table.weight.sum(axis=k), np.finfo(float).tiny) for k in (1, 0))
    weighted = table.weight * table.y
    sum_of_unit, sum_of_exposure = weighted.sum(axis=1), weighted.sum(axis=0)
    g, e = np.zeros(n), np.zeros(m)
    for _ in range(_SWEEPS):
        g = (sum_of_unit - table.weight @ e) / of_unit
        last, e = e, (sum_of_exposure - g @ table.weight) / of_exposure
        if abs(e - last).max() <= _ROUGH * abs(e).max():
            break
    residual = table.y - g[:, np.newaxis] - e
    noise = _weighted_square(table.weight, residual) / np.count_nonzero(table.weight) + np.finfo(float).tiny
    scaled = np.sqrt(table.weight) * residual
    values, right = _leading(scaled.T @ scaled if n > m else scaled @ scaled.T, number)
    if n <= m:
        right = scaled.T @ right / np.sqrt(values)
    b = right / np.sqrt(of_exposure / n)[:, np.newaxis]
    size = np.sqrt((b**2).mean(axis=0)) + np.finfo(float).tiny
    state = _State(
        g=g,
        e=e,
        a=np.zeros((n, number)),
        b=b / size,
        a_covariance=np.zeros((n, number, number)),
        b_covariance=np.zeros((m, number, number)),
        strength=values * size**2 / n + np.finfo(float).tiny,
        noise=noise,
    )
    return state, residual


def _leading(matrix: Array, number: int) -> tuple[Array, Array]:
    """Largest eigenvalues of a symmetric matrix and their vectors, as columns."""
    from scipy.linalg import eigh

    if number == 0:
        return np.zeros(0), np.zeros((len(matrix), 0))
    values, vectors = eigh(matrix, subset_by_index=(len(matrix) - number, len(matrix) - 1))
    return np.maximum(values[::-1], np.finfo(float).tiny), vectors[:, ::-1]


class _Regression(NamedTuple):
    constant: Array
    slopes: Array
    covariance: Array
    """(rows, modes, modes), of the slopes, in units of the noise."""
    parameters: float
    """Cells' worth of freedom that the regressions took up."""


def _regress(y: Array, weight: Array, factor: Array, covariance: Array, ridge: Array) -> _Regression:
    """Weighted regression of each row of ``y`` on a constant and ``factor``, the slopes held back by ``ridge``.

    Parameters
    ----------
    y, weight : array, (rows, columns)
    factor : array, (columns, modes)
    covariance : array, (columns, modes, modes)
        How uncertain the factor is.
    ridge : array, (modes)
    """
    design = np.hstack([np.ones((len(factor), 1)), factor])
    products = design[:, :, np.newaxis] * design[:, np.newaxis, :]
    products[:, 1:, 1:] += covariance
    size = design.shape[1]
    normal = (weight @ products.reshape(len(design), -1)).reshape(-1, size, size)
    total = normal[:, :1, 0]
    penalty = np.where(total > 0, 0.0, np.ones(size))  # a row without any weight gets 0
    penalty[:, 1:] += np.maximum(ridge, _LEAST_RIDGE * total * (factor**2).mean(axis=0))
    penalty[:, 1:] += np.finfo(float).tiny
    inverse = np.linalg.inv(normal + penalty[:, :, np.newaxis] * np.eye(size))
    found = np.einsum("rpq,rq->rp", inverse, (weight * y) @ design)
    parameters = float(np.einsum("rpq,rqp->", inverse, normal))
    return _Regression(found[:, 0], found[:, 1:], inverse[:, 1:, 1:], parameters)


def _rotate(state: _State) -> None:
    """Make the modes orthogonal, in place, and the exposures' factors of mean square 1.

    The model stays; left to itself, the alternation finds this turn only slowly.
    """
    spread = state.b.T @ state.b + state.b_covariance.sum(axis=0)
    root = np.linalg.cholesky(spread / len(state.b))
    squares = state.a.T @ state.a + state.a_covariance.sum(axis=0)
    strength, turn = np.linalg.eigh(root.T @ squares @ root / len(state.a))
    forward = root @ turn[:, ::-1]
    backward = np.linalg.inv(forward).T
    state.a, state.a_covariance = state.a @ forward, forward.T @ state.a_covariance @ forward
    state.b, state.b_covariance = state.b @ backward, backward.T @ state.b_covariance @ backward
    state.strength = np.maximum(strength[::-1], np.finfo(float).tiny)


def _centre(factor: Array, weight: Array) -> None:
    """Take the weighted mean out of a factor, in place; the constants are fitted anew in the next sweep."""
    total = weight.sum()
    if total > 0:
        factor -= weight @ factor / total


def _canonical(table: _Table, state: _State) -> tuple[Array, Array]:
    """Give the same modes orthogonal, strongest first, in the scale and with the sign of `Modes`: units, exposures."""
    share = table.weight.sum(axis=0) / table.weight.sum()
    root = np.sqrt(share)[:, np.newaxis]
    rotation, upper = np.linalg.qr(root * state.b)
    left, strength, right = np.linalg.svd(state.a @ upper.T, full_matrices=False)
    number = state.b.shape[1]
    a, b = (left * strength)[:, :number], (rotation @ right.T)[:, :number] / root
    largest = np.argmax(abs(a), axis=0)
    sign = np.where(a[largest, np.arange(number)] < 0, -1.0, 1.0)
    return a * sign, b * sign


def _choose(table: _Table, *, most: int, fixed: bool, seed: int) -> tuple[int, list[float]]:
    """Choose how many modes, and score 0 and more by held-out residuals; ``fixed`` takes ``most`` and scores them all.

    One more mode is taken only when it lowers the squares of the held-out residuals by more than chance would, pair by
    pair. Two in a row that do not end the search: of two equal patterns, one alone predicts little.
    """
    used = np.flatnonzero(table.weight)
    fold = np.full(table.weight.shape, -1)
    fold.flat[used] = np.random.default_rng(seed).permutation(used.size) % min(_FOLDS, used.size)
    folds = [(fold == k, table.without(fold == k)) for k in range(fold.max() + 1)]
    folds = [(out & _reachable(rest), rest) for out, rest in folds if rest.weight.any()]
    weight = np.concatenate([np.zeros(0), *(table.weight[out] for out, _ in folds)])
    scores: list[float] = []
    best, before = 0, np.zeros(0)
    for number in range(most + 1):
        fits = [(out, _fit(rest, number, tolerance=_ROUGH, longest=_SHORT)[0].model()) for out, rest in folds]
        squares = np.concatenate([np.zeros(0), *((table.weight * (table.y - model) ** 2)[out] for out, model in fits)])
        scores.append(float(np.sqrt(squares.sum() / weight.sum())) if weight.size else np.nan)
        if number and not fixed:
            lowered = before - squares
            needed = max(_SIGNIFICANT * lowered.std() * np.sqrt(lowered.size), _WORTHWHILE * before.sum())
            if not lowered.sum() > needed:
                if number > best + 1:
                    break
                continue
        best, before = number, squares
    return (most if fixed else best), scores


def _reachable(table: _Table) -> NDArray[np.bool_]:
    """Cells whose unit and exposure are both tied to the largest component."""
    found = connect(xr.DataArray(table.weight > 0, dims=("detector", "exposure")))
    reached: NDArray[np.bool_] = np.outer(found.unit.values == 0, found.exposure.values == 0)
    return reached
