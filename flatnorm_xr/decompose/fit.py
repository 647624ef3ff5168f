"""The fit of one group of exposures: components, G and E in their gauge, standard errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from flatnorm_xr.decompose.alternation import alternate
from flatnorm_xr.decompose.conjugate_gradient import solve_exactly
from flatnorm_xr.decompose.connectivity import Components, connect, disconnected_error
from flatnorm_xr.decompose.covariance import analytic_errors, gauge_gradient
from flatnorm_xr.decompose.gauge import Gauge, gauge_mean, gauge_offset, gauge_weights
from flatnorm_xr.decompose.sweeps import NormalEquations, unit_dims

__all__ = ["Fit", "FitOptions", "fit_group"]


@dataclass(frozen=True)
class FitOptions:
    """How a group is fitted; the keywords of `flatnorm_xr.solve` of the same names."""

    method: Literal["exact", "alternation"] = "exact"
    iterations: int = 10
    tolerance: float = 1e-12
    gauge: Gauge = "mean"
    uncertainty: Literal["analytic"] | None = None
    on_disconnected: Literal["raise", "separate"] = "raise"


@dataclass(frozen=True)
class Fit:
    """What was found in one group of exposures.

    ``G``, ``share`` and ``component`` are along the unit dims, ``E`` along exposure; NaN (component -1) for what was
    never measured. ``residual`` is y - ln G - ln E of every cell. The standard errors are None when not asked for.
    """

    G: xr.DataArray
    E: xr.DataArray
    G_stderr: xr.DataArray | None
    E_stderr: xr.DataArray | None
    components: Components
    share: xr.DataArray
    residual: xr.DataArray
    iterations: int
    converged: bool
    change: float
    rms_residual: float
    dof: int
    variance_factor: float


def fit_group(
    y: xr.DataArray,
    weight: xr.DataArray,
    *,
    counts: xr.DataArray,
    options: FitOptions,
    known_variance: bool = False,
    within: str = "",
) -> Fit:
    """Fit ln B = ln G + ln E to the exposures of one group.

    Parameters
    ----------
    y : DataArray, (unit dims, exposure)
        ln(background); any finite number where the weight is zero.
    weight : DataArray, same dims
        Non-negative; zero means "not used".
    counts : DataArray, same dims
        Pixel counts of the cells used, 0 for the others: the weights of the mean gauge.
    options : FitOptions
    known_variance : bool
        Whether the weights are inverse variances, so that errors can be told even when no degree of freedom is left.
    within : str
        Words that name the group in an error.

    Raises
    ------
    DisconnectedError
        More than one component, unless ``options.on_disconnected`` is ``"separate"``.
    FlatnormError
        A gauge that names detectors never measured here.
    """
    # labels have done their work: without them no operation below spends time on comparing them
    bare_y, bare_weight = _without_labels(y), _without_labels(weight)
    measured = (bare_weight > 0).compute()
    found = connect(measured)
    components = Components(_with_labels(found.unit, y), _with_labels(found.exposure, y))
    number = int(found.unit.max()) + 1
    if number > 1 and options.on_disconnected == "raise":
        raise disconnected_error(components.unit, exposure=components.exposure, caller="solve", where=within)
    share = gauge_weights(options.gauge, counts, components.unit, within=within)
    bare_share, mean = _without_labels(share), gauge_mean(options.gauge)

    equations = NormalEquations.of(bare_y, bare_weight)
    iterations, converged, change = options.iterations, True, 0.0
    if options.method == "exact":
        g, e, iterations, converged = solve_exactly(equations, tolerance=options.tolerance)
    else:
        g, e, change = alternate(equations, iterations=options.iterations)
        converged = change <= options.tolerance
    for k in range(number):
        offset = gauge_offset(g, bare_share.where(found.unit == k, 0.0), mean=mean)
        g = g - offset.where(found.unit == k, 0.0)
        e = e + offset.where(found.exposure == k, 0.0)

    residual = bare_y - g
    residual -= e
    chi2 = float(xr.dot(bare_weight, residual, residual).compute())
    dof = int(np.count_nonzero(measured)) - int((found.unit >= 0).sum()) - int((found.exposure >= 0).sum()) + number
    factor = chi2 / dof if dof > 0 else (1.0 if known_variance else np.nan)
    G = xr.ufuncs.exp(g).where(found.unit >= 0).transpose(*unit_dims(g))
    E = xr.ufuncs.exp(e).where(found.exposure >= 0)
    G_stderr = E_stderr = None
    if options.uncertainty == "analytic":
        errors = analytic_errors(equations, found, gauge_gradient(bare_share, G, mean=mean))
        G_stderr = _with_labels(G * errors.g * np.sqrt(factor), y)
        E_stderr = _with_labels(E * errors.e * np.sqrt(factor), y)
    return Fit(
        G=_with_labels(G, y),
        E=_with_labels(E, y),
        G_stderr=G_stderr,
        E_stderr=E_stderr,
        components=components,
        share=share,
        residual=_with_labels(residual, y),
        iterations=iterations,
        converged=converged,
        change=change,
        rms_residual=float(np.sqrt(chi2 / float(equations.exposure_total.sum()))),
        dof=dof,
        variance_factor=factor,
    )


def _without_labels(array: xr.DataArray) -> xr.DataArray:
    return array.drop_vars(list(array.coords))


def _with_labels(array: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    return array.assign_coords({dim: like[dim] for dim in array.dims if dim in like.coords})
