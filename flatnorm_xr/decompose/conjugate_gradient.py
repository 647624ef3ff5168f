"""The exact weighted least-squares solution: conjugate gradients whose operator is the two half-sweeps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from flatnorm_xr.decompose.refinement import refine
from flatnorm_xr.decompose.sweeps import NormalEquations, ratio
from flatnorm_xr.errors import warn

__all__ = ["ExactFit", "iterate", "solve_exactly"]

_ROUNDING = 64 * np.finfo(float).eps
_LONGEST = 10
"""Iterations allowed, in units of the number of exposures."""

_LARGEST_MATRIX = 10_000
"""Exposures up to which the matrix may be formed: 0.8 GB."""

_PROBES = 2
_PROBE_SWEEPS = 2
_PROBE_LEFT = 1e-3

_USEFUL = 1e-3
"""Change of the last correction of ln E above which a refinement has failed."""


class ExactFit(NamedTuple):
    """ln G and ln E in an arbitrary gauge, and how the solver got there."""

    g: xr.DataArray
    e: xr.DataArray
    iterations: int
    converged: bool
    corrections: tuple[float, ...] = ()
    """After each iteration, the largest correction of ln E that was left; for a refinement, that it made."""


def solve_exactly(equations: NormalEquations, *, tolerance: float = 1e-12) -> ExactFit:
    """Minimise ``sum(w (y - g - e)^2)`` by preconditioned conjugate gradients on the exposure side.

    Eliminating g leaves equations for e alone, whose matrix (the Schur complement) is applied by two half-sweeps
    and never formed. The residual divided by the weights of each exposure is in units of ln E; the iteration goes
    on until the largest is below ``tolerance`` *and* no longer falls.

    A small residual is a small error only where every exposure is well tied to all others. Whether that is so is
    tried on random numbers, which sweeps must smooth away. Where they do not (small cameras, long chains, blocks that
    one cell joins), the matrix is factored after all, and the solution is corrected until a further correction is
    below ``tolerance`` (`flatnorm_xr.decompose.refinement`).

    Parameters
    ----------
    equations : NormalEquations
        Extra dims are independent fits, iterated together.
    tolerance : float
        Of ln E.

    Returns
    -------
    ExactFit
        ``converged`` is False, with a warning, when the tolerance was not reached.

    References
    ----------
    Hestenes & Stiefel 1952, J. Res. NBS 49, 409; Jochmans & Weidner 2019, Econometrica 87, 1543 (two-way fits
    on networks).
    """
    tolerance = max(tolerance, _ROUNDING)
    well_tied = _well_tied(equations)
    small = equations.weight.sizes["exposure"] <= _LARGEST_MATRIX
    e, size = xr.zeros_like(equations.exposure_total, dtype=float), np.inf
    corrections: tuple[float, ...] = ()
    if well_tied or not small:
        e, corrections, size = iterate(equations, tolerance=tolerance)
    if small and (size > tolerance or not well_tied):
        refined, rounds, size = refine(equations, e, tolerance=tolerance)
        corrections += rounds
        if size <= _USEFUL and bool(xr.ufuncs.isfinite(refined).all()):
            e = refined
        elif not well_tied:  # what is tied well comes out right all the same
            e, more, _ = iterate(equations, tolerance=tolerance)
            corrections += more
    converged = size <= tolerance and (well_tied or small)
    if not converged:
        warn(
            f"solve: after {len(corrections)} iterations ln E is uncertain by {size:.1e} or more, the tolerance is "
            f"{tolerance:.1e}; some exposures are tied to the others too weakly"
        )
    return ExactFit(equations.unit_means(e), e, len(corrections), converged, corrections)


def iterate(equations: NormalEquations, *, tolerance: float) -> tuple[xr.DataArray, tuple[float, ...], float]:
    """Conjugate gradients: the best ln E, and the largest preconditioned residual of the best after each iteration."""
    total = equations.exposure_total
    best = e = xr.zeros_like(total, dtype=float)
    r = equations.schur_right_side()
    z = ratio(r, total)
    p, rz = z, xr.dot(r, z, dim="exposure")
    size = smallest = float(abs(z).max())
    sizes: list[float] = []
    while size > 0 and len(sizes) < _LONGEST * total.sizes["exposure"]:
        curvature = equations.apply_schur(p)
        # a batch that has converged has a ratio of 0 and stays where it is
        step = ratio(rz, xr.dot(p, curvature, dim="exposure"))
        e = e + step * p
        r = r - step * curvature
        z = ratio(r, total)
        rz, previous = xr.dot(r, z, dim="exposure"), rz
        p = z + ratio(rz, previous) * p
        size = float(abs(z).max())
        fell = size < 0.5 * smallest
        if size < smallest:
            best, smallest = e, size
        sizes.append(smallest)
        if smallest <= tolerance and not fell:
            break
    return best, tuple(sizes), smallest


def _well_tied(equations: NormalEquations) -> bool:
    """Whether sweeps smooth random numbers away, so that no set of exposures is tied weakly to the others.

    A draw that happens to have the same mean on both sides of a weak tie does not see it, so one draw is not enough.
    """
    total = equations.exposure_total
    rng = np.random.default_rng(20)
    for _ in range(_PROBES):
        e = xr.zeros_like(total, dtype=float)
        e = e + xr.DataArray(rng.standard_normal(total.sizes["exposure"]), dims="exposure")
        for _ in range(_PROBE_SWEEPS):
            e = e - ratio(equations.apply_schur(e), total)
        e = e.where(total > 0)
        if not bool((e.max("exposure") - e.min("exposure") < _PROBE_LEFT).all()):
            return False
    return True
