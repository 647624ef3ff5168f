"""Standard errors of ln G and ln E of one fit, by the method that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.connectivity import Components
from flatnorm_xr.decompose.covariance import LogErrors
from flatnorm_xr.decompose.resampling import (
    FEWEST,
    MOST_BLOCKS,
    Replicates,
    bootstrap_errors,
    draw,
    jackknife_errors,
    leave_out,
    refit,
    unit_deletion_variance,
)
from flatnorm_xr.decompose.sweeps import NormalEquations, ratio, unit_dims

__all__ = ["METHODS", "Errors", "Method", "Resampling", "estimate_errors", "method_for"]

Method = Literal["analytic", "jackknife", "bootstrap"]
METHODS: tuple[Method, ...] = ("analytic", "jackknife", "bootstrap")

JACKKNIFE_FROM = 5
"""Exposures from which a jackknife is the default."""

_ROUNDING = 1e-13
"""Standard error of ln G that is nothing but rounding."""

_EXCESS = 1.3
_EXCESS_OF_FEW = 2.6
"""How far the scatter of ln(jackknife / analytic variance) over units may exceed its expectation: by the first, and for
few units by the second over their root."""


@dataclass(frozen=True)
class Resampling:
    """How exposures are left out or drawn."""

    rank: NDArray[np.intp]
    """Place of each exposure of the group in time."""
    label: NDArray[np.intp] | None = None
    """Block of each exposure, where blocks were named; else runs of exposures in time, at most 32."""
    replicates: int = 200
    """Of the bootstrap."""
    seed: int = 0
    """Of the bootstrap."""

    def within(self, chosen: NDArray[np.intp] | slice) -> Resampling:
        """Give the same for some of the exposures."""
        label = None if self.label is None else self.label[chosen]
        return Resampling(self.rank[chosen], label, self.replicates, self.seed)


class Errors(NamedTuple):
    """Standard errors of ln G and ln E, their degrees of freedom, and what was found on the way."""

    g: xr.DataArray
    e: xr.DataArray
    g_dof: xr.DataArray
    e_dof: xr.DataArray
    fragile: xr.DataArray | None = None
    """(unit dims), bool: units whose own scatter tells nothing; their errors are analytic."""
    excess: float = 0.0
    """Scatter over units of ln(jackknife / analytic variance), over the largest to be expected; above 1, the errors of
    the cells are not independent."""


def method_for(n_exposures: int) -> Method | None:
    """Choose the default for a number of exposures with weight: jackknife from 5 on, analytic from 2 on."""
    if n_exposures >= JACKKNIFE_FROM:
        return "jackknife"
    return "analytic" if n_exposures > 1 else None


def estimate_errors(
    method: Method,
    equations: NormalEquations,
    components: Components,
    *,
    residual: xr.DataArray,
    gradient: xr.DataArray,
    factor: float,
    dof: int,
    resampling: Resampling,
    analytic: LogErrors,
    pattern: xr.DataArray | None = None,
) -> Errors:
    """Find the standard errors of a fit.

    Parameters
    ----------
    method : {"analytic", "jackknife", "bootstrap"}
        ``"analytic"`` propagates the weights, scaled by ``factor``. ``"jackknife"`` leaves out exposures (or blocks of
        them) for G and units for E, ``"bootstrap"`` draws exposures anew for G and does as the jackknife for E; both
        see errors that cells of one unit or one exposure share. Units with fewer than 3 exposures (or blocks), and
        those that a replicate tears off, are given analytic errors; so are exposures of fewer than 3 units.
    equations, components
        Of the fit.
    residual : DataArray, (unit dims, exposure)
        Of the fit; finite where the weight is 0.
    gradient : DataArray, (unit dims)
        `flatnorm_xr.decompose.covariance.gauge_gradient`.
    factor : float
        Variance factor of the fit; NaN when nothing is left to find it from.
    dof : int
        Degrees of freedom of the fit.
    resampling : Resampling
    analytic : LogErrors
        `flatnorm_xr.decompose.covariance.analytic_errors`.
    pattern : DataArray, (unit dims, exposure), optional
        What modes took out of the residuals. Which patterns the lamps had in these few exposures is chance, so their
        mean over exposures, which is in G, is uncertain by their scatter.

    Returns
    -------
    Errors
        NaN for what was never measured.
    """
    variance_g = analytic.g**2 * factor
    if pattern is not None:
        share = ratio(equations.weight, equations.unit_total)
        variance_g = variance_g + _of_mean(pattern, share)
    propagated = LogErrors(xr.ufuncs.sqrt(variance_g), analytic.e * np.sqrt(factor))
    g_dof = xr.full_like(propagated.g, float(dof)).where(components.unit >= 0)
    e_dof = xr.full_like(propagated.e, float(dof)).where(components.exposure >= 0)
    if method == "analytic":
        return Errors(propagated.g, propagated.e, g_dof, e_dof)
    g, e = propagated.g.copy(), propagated.e.copy()
    fragile = xr.zeros_like(components.unit, dtype=bool)
    for in_unit, chosen in _in_components(components):
        weight = equations.weight.isel(exposure=chosen).where(in_unit, 0.0)
        found = _of_component(
            method,
            residual.isel(exposure=chosen),
            weight,
            gradient.where(in_unit, 0.0),
            resampling.within(chosen),
            None if pattern is None else pattern.isel(exposure=chosen),
        )
        if found is None:
            fragile = fragile | in_unit
            continue
        settled = in_unit & ~found.fragile
        g, g_dof = g.where(~settled, xr.ufuncs.sqrt(found.g)), g_dof.where(~settled, found.g_dof)
        fragile = fragile | (in_unit & found.fragile)
        known = found.e_known.values
        e[{"exposure": chosen[known]}] = np.sqrt(found.e.values[known])
        e_dof[{"exposure": chosen[known]}] = found.e_dof.values[known]
    excess = _excess(g, propagated.g, g_dof, ~fragile) if method == "jackknife" else 0.0
    return Errors(g, e, g_dof, e_dof, fragile, excess)


class _Scatter(NamedTuple):
    """Variances and degrees of freedom from the scatter in one component."""

    g: xr.DataArray
    g_dof: xr.DataArray
    fragile: xr.DataArray
    e: xr.DataArray
    e_dof: xr.DataArray
    e_known: xr.DataArray


def _of_component(
    method: Method,
    residual: xr.DataArray,
    weight: xr.DataArray,
    gradient: xr.DataArray,
    resampling: Resampling,
    pattern: xr.DataArray | None,
) -> _Scatter | None:
    """Variances from scatter in one component; None where there is too little to scatter, or nothing holds together."""
    block = _blocks(resampling) if method == "jackknife" else np.arange(weight.sizes["exposure"])
    scattered = residual if pattern is None else residual + pattern
    n_blocks = int(block.max()) + 1
    if n_blocks < FEWEST:
        return None
    if method == "jackknife":
        deletions = leave_out(block)
        replicates = refit(scattered, weight, deletions, gradient)
        of_g = jackknife_errors(replicates, weight, deletions)
        offset = float((n_blocks - 1) / n_blocks * (_offset(replicates, weight) ** 2).sum())
    else:
        multiplicity = draw(weight.sizes["exposure"], replicates=resampling.replicates, seed=resampling.seed)
        replicates = refit(scattered, weight, multiplicity, gradient)
        of_g = bootstrap_errors(replicates, weight)
        offset = float(_offset(replicates, weight).var(ddof=1))
    if bool(of_g.fragile.where(weight.sum("exposure") > 0, True).all()):
        return None
    own, number = unit_deletion_variance(residual, weight)
    e = own + offset
    # Welch & Satterthwaite: the sum of two variances, each with degrees of freedom of its own
    e_dof = ratio(e**2, ratio(own**2, number.astype(float)) + offset**2 / (n_blocks - 1))
    return _Scatter(of_g.variance, of_g.dof, of_g.fragile, e, e_dof, number >= FEWEST - 1)


def _of_mean(pattern: xr.DataArray, share: xr.DataArray) -> xr.DataArray:
    """Variance of the weighted mean over exposures of a pattern that scatters from one to the next, (unit dims)."""
    mean = (share * pattern).sum("exposure")
    squares = (share**2 * (pattern - mean) ** 2).sum("exposure")
    number = (share > 0).sum("exposure")
    return squares * number / (number - 1).clip(1)


def _offset(replicates: Replicates, weight: xr.DataArray) -> xr.DataArray:
    """By how much the gauge moves against the weighted mean of all units in each replicate.

    E found with units left out is in the gauge of that mean; a gauge of one detector adds the error of that detector.
    """
    units = unit_dims(weight)
    total = weight.sum("exposure")
    offset: xr.DataArray = xr.dot(total, replicates.shift, dim=units) / total.sum()
    return offset


def _in_components(components: Components) -> Iterator[tuple[xr.DataArray, NDArray[np.intp]]]:
    for k in range(int(components.unit.max()) + 1):
        yield components.unit == k, np.flatnonzero((components.exposure == k).values)


def _blocks(resampling: Resampling) -> NDArray[np.intp]:
    """Give the number of the block of each exposure: as named, or runs in time of equal length, at most 32."""
    if resampling.label is not None:
        return np.unique(resampling.label, return_inverse=True)[1].astype(np.intp)
    place = np.argsort(np.argsort(resampling.rank, kind="stable"))
    number = min(place.size, MOST_BLOCKS)
    return (place * number // max(place.size, 1)).astype(np.intp)


def _excess(jackknife: xr.DataArray, propagated: xr.DataArray, dof: xr.DataArray, settled: xr.DataArray) -> float:
    """How much more the ratio of the two variances scatters over units than chance lets it."""
    from scipy.special import polygamma

    comparable = settled & (jackknife > 0) & (propagated > _ROUNDING)
    n = int(comparable.sum())
    if n < 2:
        return 0.0
    logs = 2 * np.log((jackknife / propagated).values[comparable.values])
    expected = np.sqrt(np.mean(polygamma(1, dof.values[comparable.values] / 2)))
    return float(np.std(logs, ddof=1) / expected / max(_EXCESS, 1 + _EXCESS_OF_FEW / np.sqrt(n - 1)))
