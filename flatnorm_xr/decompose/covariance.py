"""Covariance of ln G and ln E from the normal equations: errors, leverages, full matrices, in any gauge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr

from flatnorm_xr.decompose.connectivity import Components
from flatnorm_xr.decompose.refinement import factor_grounded
from flatnorm_xr.decompose.sweeps import NormalEquations, unit_dims

__all__ = [
    "LogErrors",
    "analytic_errors",
    "covariance_factors",
    "fitted_variance",
    "full_covariance",
    "gauge_gradient",
    "second",
]

_ROUNDING = 64 * np.finfo(float).eps


class LogErrors(NamedTuple):
    """Standard errors of ln G (unit dims) and ln E (exposure), for weights that are inverse variances."""

    g: xr.DataArray
    e: xr.DataArray


class _Component(NamedTuple):
    """Covariances in one connected component, in a gauge of its own (one exposure held at 0)."""

    in_unit: xr.DataArray
    """(unit dims), bool."""
    exposures: np.ndarray[tuple[int], np.dtype[np.intp]]
    """Where its exposures are."""
    exposure: xr.DataArray
    """(exposure, exposure_2), of ln E."""
    inverse_total: xr.DataArray
    """(unit dims), 1 / sum of the unit's weights, 0 outside."""
    share: xr.DataArray
    """(unit dims, exposure), weight over the unit's total: ``g = share . (y - e)``."""
    spread: xr.DataArray
    """(unit dims, exposure), ``share . exposure``: minus the covariance of ln G with ln E."""

    @property
    def unit_variance(self) -> xr.DataArray:
        return self.inverse_total + (self.spread * self.share).sum("exposure")

    @property
    def exposure_variance(self) -> xr.DataArray:
        return xr.DataArray(np.diagonal(self.exposure.values), dims="exposure")


def gauge_gradient(share: xr.DataArray, G: xr.DataArray, *, mean: Literal["arithmetic", "geometric"]) -> xr.DataArray:
    """By how much the logarithm of the gauge's mean moves with each ln G; adds up to 1 in each component.

    Parameters
    ----------
    share : DataArray, (unit dims)
        Share of each unit in the gauge.
    G : DataArray, (unit dims)
        In that gauge; NaN where never measured.
    mean : {"arithmetic", "geometric"}
    """
    return share if mean == "geometric" else share * G.fillna(0.0)


def analytic_errors(equations: NormalEquations, components: Components, gradient: xr.DataArray) -> LogErrors:
    """Propagate the variances 1/w of the cells to ln G and ln E.

    The covariance C of ln E is the inverse of the Schur complement in a gauge of its own; that of ln G and of both
    together follows from ``g = (sum w y - w e) / sum w``. Moving to the gauge of the solution subtracts
    ``gradient . g`` from every g and adds it to every e, one linear map.

    Parameters
    ----------
    equations : NormalEquations
        Of weights that are inverse variances of ln(background), up to one factor.
    components : Components
        Each has a gauge of its own.
    gradient : DataArray, (unit dims)
        `gauge_gradient`.

    Returns
    -------
    LogErrors
        NaN for what was never measured or hangs on too weak a tie; to be multiplied by the root of the variance
        factor.

    References
    ----------
    Seber & Lee 2003, Linear Regression Analysis, section 3.8 (estimable functions).
    """
    units = unit_dims(equations.weight)
    variance_g = xr.full_like(equations.unit_total, np.nan)
    variance_e = xr.full_like(equations.exposure_total, np.nan)
    for part in _in_components(equations, components):
        of_gauge = gradient.where(part.in_unit, 0.0)
        pulled = xr.dot(part.spread, of_gauge, dim=units)
        gauge_with_g = of_gauge * part.inverse_total + xr.dot(part.share, pulled, dim="exposure")
        gauge = (of_gauge * gauge_with_g).sum(units)
        own_g, own_e = part.unit_variance, part.exposure_variance
        moved_g = own_g + gauge - 2 * gauge_with_g
        # the unit that is the gauge has no error; what rounding leaves of it would show once the root is taken
        moved_g = moved_g.where(moved_g > _ROUNDING * (own_g + gauge), 0.0)
        variance_g = variance_g.where(~part.in_unit, moved_g)
        moved_e = own_e + gauge - 2 * pulled
        variance_e[{"exposure": part.exposures}] = moved_e.where(moved_e > _ROUNDING * (own_e + gauge)).values
    return LogErrors(xr.ufuncs.sqrt(variance_g), xr.ufuncs.sqrt(variance_e))


def fitted_variance(equations: NormalEquations, components: Components) -> xr.DataArray:
    """Variance of ln G + ln E in every cell; times the weight it is the leverage of the cell. No gauge enters.

    Parameters
    ----------
    equations : NormalEquations
        Of weights that are inverse variances of ln(background), up to one factor.
    components : Components

    Returns
    -------
    DataArray, (unit dims, exposure)
        The residual of a cell of variance V has the variance V less this where the cell took part in the fit, and V
        plus this where it did not. NaN where unit and exposure are not tied, or hang on too weak a tie.
    """
    variance = xr.full_like(equations.weight, np.nan, dtype=float)
    for part in _in_components(equations, components):
        of_part = part.unit_variance + part.exposure_variance - 2 * part.spread
        of_part = of_part.where(part.in_unit).transpose(*[d for d in variance.dims if d != "exposure"], "exposure")
        there = variance.transpose(..., "exposure")[{"exposure": part.exposures}]
        filled = there.where(of_part.isnull(), of_part)
        variance[{"exposure": part.exposures}] = filled.transpose(*variance.dims)
    return variance


def full_covariance(
    equations: NormalEquations,
    components: Components,
    gradient: xr.DataArray,
    *,
    of: Literal["G", "E"],
) -> xr.DataArray:
    """Covariance of all ln G, or of all ln E, in the gauge of ``gradient``.

    Parameters
    ----------
    equations, components, gradient
        As `analytic_errors`.
    of : {"G", "E"}

    Returns
    -------
    DataArray, (unit dims, unit dims with _2) or (exposure, exposure_2)
        To be multiplied by the variance factor. NaN for what was never measured; 0 between components, each of which
        has a gauge of its own.
    """
    units = unit_dims(equations.weight)
    if of == "E":
        n = equations.exposure_total.sizes["exposure"]
        answer = xr.DataArray(np.zeros((n, n)), dims=("exposure", "exposure_2"))
    else:
        answer = xr.zeros_like(equations.unit_total) * second(xr.zeros_like(equations.unit_total), units)
    for part in _in_components(equations, components):
        of_gauge = gradient.where(part.in_unit, 0.0)
        pulled = xr.dot(part.spread, of_gauge, dim=units)
        gauge_with_g = of_gauge * part.inverse_total + xr.dot(part.share, pulled, dim="exposure")
        gauge = (of_gauge * gauge_with_g).sum(units)
        if of == "E":
            block = part.exposure - pulled - second(pulled, ["exposure"]) + gauge
            answer.values[np.ix_(part.exposures, part.exposures)] = block.transpose("exposure", "exposure_2").values
            continue
        own = xr.dot(part.spread, second(part.share, units), dim="exposure", optimize=True)
        own = own + _diagonal(part.inverse_total, units)
        moved = own - gauge_with_g - second(gauge_with_g, units) + gauge
        both = part.in_unit & second(part.in_unit, units)
        answer = answer + moved.where(both, 0.0)
    if of == "E":
        measured = components.exposure >= 0
        return answer.where(measured & second(measured, ["exposure"]))
    measured = components.unit >= 0
    return answer.where(measured & second(measured, units))


def covariance_factors(equations: NormalEquations, components: Components) -> tuple[xr.DataArray, xr.DataArray]:
    """Write the covariance of ln G as a diagonal plus a few factors, which is small whatever the number of units.

    Parameters
    ----------
    equations, components
        As `analytic_errors`.

    Returns
    -------
    own : DataArray, (unit dims)
        Variance that a unit shares with no other; NaN for what was never measured.
    shared : DataArray, (unit dims, rank)
        The covariance is the first on the diagonal plus this times its transpose, in a gauge of its own: what is the
        same in all units of a component says nothing. As many ranks as exposures.
    """
    own = xr.full_like(equations.unit_total, np.nan)
    shared = xr.zeros_like(equations.weight, dtype=float).rename(exposure="rank").drop_vars("rank", errors="ignore")
    for part in _in_components(equations, components):
        values, vectors = np.linalg.eigh(part.exposure.values)
        root = xr.DataArray(vectors * np.sqrt(np.maximum(values, 0.0)), dims=("exposure", "rank"))
        factors = xr.dot(part.share.drop_vars("exposure", errors="ignore"), root, dim="exposure")
        own = own.where(~part.in_unit, part.inverse_total)
        here = shared[{"rank": slice(root.sizes["rank"])}]
        placed = here.where(~part.in_unit, factors.transpose(*here.dims))
        shared[{"rank": slice(root.sizes["rank"])}] = placed
    return own, shared


def second(array: xr.DataArray, dims: list[str]) -> xr.DataArray:
    """Rename ``dims`` to the names that the second axis of a covariance has: with _2."""
    return array.rename({dim: f"{dim}_2" for dim in dims})


def _diagonal(values: xr.DataArray, dims: list[str]) -> xr.DataArray:
    """Put values on the diagonal of a matrix over ``dims`` and their seconds."""
    flat = values.transpose(*dims)
    matrix = np.diag(flat.values.ravel()).reshape(flat.shape * 2)
    return xr.DataArray(matrix, dims=[*dims, *(f"{dim}_2" for dim in dims)])


def _in_components(equations: NormalEquations, components: Components) -> Iterator[_Component]:
    """Covariances of each component by itself."""
    for k in range(int(components.unit.max()) + 1):
        in_unit = components.unit == k
        chosen = np.flatnonzero((components.exposure == k).values)
        weight = equations.weight.isel(exposure=chosen).where(in_unit, 0.0)
        part = NormalEquations(
            y=equations.y,
            weight=weight,
            unit_total=equations.unit_total.where(in_unit, 0.0),
            unit_sum=equations.unit_sum,
            exposure_total=equations.exposure_total.isel(exposure=chosen),
            exposure_sum=equations.exposure_sum,
        )
        covariance = _inverse(part)
        inverse_total = 1 / part.unit_total.where(in_unit, np.inf)
        share = weight * inverse_total
        spread = xr.dot(share, covariance, dim="exposure", optimize=True).rename(exposure_2="exposure")
        yield _Component(in_unit, chosen, covariance, inverse_total, share, spread)


def _inverse(equations: NormalEquations) -> xr.DataArray:
    """Covariance of ln E with that of the exposure of largest weight held at 0, (exposure, exposure_2).

    NaN where a tie is too weak to be told from none.
    """
    size = equations.exposure_total.sizes["exposure"]
    identity = xr.DataArray(np.eye(size), dims=("exposure", "exposure_2"))
    try:
        solve = factor_grounded(equations)
    except np.linalg.LinAlgError:
        return identity * np.nan
    return solve(identity)
