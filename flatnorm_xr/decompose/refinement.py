"""Refine a solution whose exposures are tied weakly, by correcting it with what its own residuals still hold."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.connectivity import connect
from flatnorm_xr.decompose.sweeps import NormalEquations

__all__ = ["factor_grounded", "refine"]

_ROUNDS = 12


def refine(
    equations: NormalEquations, e: xr.DataArray, *, tolerance: float
) -> tuple[xr.DataArray, tuple[float, ...], float]:
    """Correct ln E until a further correction is below ``tolerance``.

    A correction is the solution for the residuals of the last one. Residuals are taken from the levels themselves,
    so that what the solver loses to rounding in one round it is shown again in the next. The equations are solved by
    a Cholesky factor of their matrix; matrix and right side are formed pair by pair of exposures, so that weak ties
    keep their digits beside strong ones.

    Parameters
    ----------
    equations : NormalEquations
        Extra dims are independent fits.
    e : DataArray, (exposure)
        ln E to start from.
    tolerance : float
        Of ln E.

    Returns
    -------
    e : DataArray, (exposure)
    rounds : tuple of float
        Largest change that each correction made; of a batch, in any of its fits.
    change : float
        Largest change that the last correction made; infinite when the equations cannot be solved.

    References
    ----------
    Higham 2002, Accuracy and Stability of Numerical Algorithms, chapter 12 (iterative refinement).
    """
    batch = [dim for dim in equations.exposure_total.dims if dim != "exposure"]
    if not batch:
        return _refine_one(equations, e, tolerance)
    refined, change = e.copy(), 0.0
    rounds: tuple[float, ...] = ()
    for index in itertools.product(*(range(equations.exposure_total.sizes[dim]) for dim in batch)):
        one = dict(zip(batch, index, strict=True))
        refined[one], more, last = _refine_one(equations.isel(one), e.isel(one), tolerance)
        rounds = tuple(max(pair) for pair in itertools.zip_longest(rounds, more, fillvalue=0.0))
        change = max(change, last)
    return refined, rounds, change


def _refine_one(
    equations: NormalEquations, e: xr.DataArray, tolerance: float
) -> tuple[xr.DataArray, tuple[float, ...], float]:
    try:
        correct = factor_grounded(equations)
    except np.linalg.LinAlgError:
        return e, (), np.inf
    rounds: tuple[float, ...] = ()
    change = np.inf
    while len(rounds) < _ROUNDS:
        correction = correct(equations.schur_right_side_by_pairs(e))
        e = e + correction
        last, change = change, float(abs(correction).max())
        rounds += (change,)
        if change <= tolerance or not change < last:
            break
    return e, rounds, change


def factor_grounded(equations: NormalEquations) -> Callable[[xr.DataArray], xr.DataArray]:
    """Factor the equations, and give what solves them for e, one exposure of each component being 0.

    The matrix is a graph Laplacian: without the row and column of one exposure in each component, that of the largest
    weight, it is positive definite.

    Raises
    ------
    LinAlgError
        A tie is so weak that its elimination is lost in rounding.
    """
    from scipy.linalg import cho_factor, cho_solve

    component, total = connect(equations.weight > 0).exposure.values, equations.exposure_total.values
    matrix = equations.schur_matrix().transpose("exposure", "exposure_2").values
    held = component < 0
    for k in range(component.max() + 1):
        held[np.argmax(np.where(component == k, total, -1.0))] = True
    matrix[held, :] = matrix[:, held] = 0.0
    matrix[held, held] = 1.0
    root = np.sqrt(np.diagonal(matrix))
    if not (np.isfinite(root) & (root > 0)).all():
        msg = "some tie is too weak to be a number"
        raise np.linalg.LinAlgError(msg)
    factor = cho_factor(matrix / np.outer(root, root), overwrite_a=True)

    def solve(right: xr.DataArray) -> xr.DataArray:
        columns = (slice(None), *(np.newaxis for _ in right.dims[1:]))
        e: NDArray[np.float64] = cho_solve(factor, right.values / root[columns]) / root[columns]
        return right.copy(data=np.where(held[columns], 0.0, e))

    return solve
