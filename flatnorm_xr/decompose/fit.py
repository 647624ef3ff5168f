"""The fit of one group of exposures: components, G and E in their gauge, standard errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from flatnorm_xr.decompose.alternation import alternate
from flatnorm_xr.decompose.conjugate_gradient import solve_exactly
from flatnorm_xr.decompose.connectivity import Components, connect, disconnected_error
from flatnorm_xr.decompose.covariance import analytic_errors, gauge_gradient
from flatnorm_xr.decompose.gauge import Gauge, gauge_mean, gauge_offset, gauge_weights
from flatnorm_xr.decompose.modes import Modes, fit_modes
from flatnorm_xr.decompose.sweeps import NormalEquations, unit_dims
from flatnorm_xr.decompose.uncertainty import Errors, Method, Resampling, estimate_errors, method_for

__all__ = ["Fit", "FitOptions", "fit_group"]


@dataclass(frozen=True)
class FitOptions:
    """How a group is fitted; the keywords of `flatnorm_xr.solve` of the same names."""

    method: Literal["exact", "alternation"] = "exact"
    iterations: int = 10
    tolerance: float = 1e-12
    gauge: Gauge = "mean"
    uncertainty: Literal["auto"] | tuple[Method, ...] = ()
    on_disconnected: Literal["raise", "separate"] = "raise"
    modes: int | Literal["auto"] = 0
    seed: int = 0


@dataclass(frozen=True)
class Fit:
    """What was found in one group of exposures.

    ``G``, ``share`` and ``component`` are along the unit dims, ``E`` along exposure; NaN (component -1) for what was
    never measured. ``residual`` is y - ln G - ln E of every cell. ``errors`` holds standard errors of ln G and ln E,
    one for each method that was asked for. ``corrections`` is what was left of ln E (for the alternation, ln G) after
    each iteration.
    """

    G: xr.DataArray
    E: xr.DataArray
    errors: list[Errors]
    methods: tuple[Method, ...]
    components: Components
    share: xr.DataArray
    residual: xr.DataArray
    iterations: int
    converged: bool
    change: float
    corrections: tuple[float, ...]
    rms_residual: float
    chi2: float
    dof: int
    variance_factor: float
    modes: Modes | None = None


def fit_group(
    y: xr.DataArray,
    weight: xr.DataArray,
    *,
    counts: xr.DataArray,
    options: FitOptions,
    known_variance: bool = False,
    within: str = "",
    resampling: Resampling | None = None,
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
    resampling : Resampling, optional
        How exposures are left out or drawn; in the order that they have when absent.

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
    if found.number > 1 and options.on_disconnected == "raise":
        raise disconnected_error(components.unit, exposure=components.exposure, caller="solve", where=within)
    share = gauge_weights(options.gauge, counts, components.unit, within=within)
    bare_share, mean = _without_labels(share), gauge_mean(options.gauge)

    equations = NormalEquations.of(bare_y, bare_weight)
    raw = _solved(equations, options)
    g, e = _in_gauge(raw.g, raw.e, found, bare_share, mean=mean)
    residual = bare_y - g
    residual -= e
    dof = int(np.count_nonzero(measured)) - found.parameters
    modes = None
    if options.modes != 0 and bool(measured.any()):
        modes = fit_modes(residual, bare_weight, modes=options.modes, gauge_share=bare_share, seed=options.seed)
        g, e = _in_gauge(g + modes.g, e + modes.e, found, bare_share, mean=mean)
        residual = bare_y - g - e - modes.correction.transpose(*bare_y.dims)
        dof -= modes.parameters
    chi2 = float(xr.dot(bare_weight, residual, residual).compute())
    factor = chi2 / dof if dof > 0 else (1.0 if known_variance else np.nan)
    G = xr.ufuncs.exp(g).where(found.unit >= 0).transpose(*unit_dims(g))
    methods = _methods(options, int((found.exposure >= 0).sum()))
    errors = []
    if methods:
        gradient = gauge_gradient(bare_share, G, mean=mean)
        propagated = analytic_errors(equations, found, gradient)
        errors = [
            estimate_errors(
                method,
                equations,
                found,
                residual=residual,
                gradient=gradient,
                factor=factor,
                dof=dof,
                resampling=resampling or Resampling(np.arange(y.sizes["exposure"])),
                analytic=propagated,
                pattern=None if modes is None else modes.correction,
            )
            for method in methods
        ]
    return Fit(
        G=_with_labels(G, y),
        E=_with_labels(xr.ufuncs.exp(e).where(found.exposure >= 0), y),
        errors=[Errors(*(_labelled(part, y) for part in error)) for error in errors],
        methods=methods,
        components=components,
        share=share,
        residual=_with_labels(residual, y),
        iterations=raw.iterations,
        converged=raw.converged,
        change=raw.change,
        corrections=raw.corrections,
        rms_residual=float(np.sqrt(chi2 / total)) if (total := float(equations.exposure_total.sum())) > 0 else np.nan,
        chi2=chi2,
        dof=dof,
        variance_factor=factor,
        modes=modes,
    )


class _Raw(NamedTuple):
    """What a solver found, in a gauge of its own."""

    g: xr.DataArray
    e: xr.DataArray
    iterations: int
    converged: bool
    corrections: tuple[float, ...]
    change: float


def _solved(equations: NormalEquations, options: FitOptions) -> _Raw:
    if options.method == "exact":
        return _Raw(*solve_exactly(equations, tolerance=options.tolerance), change=0.0)
    g, e, corrections = alternate(equations, iterations=options.iterations)
    change = corrections[-1]
    return _Raw(g, e, options.iterations, change <= options.tolerance, corrections, change)


def _in_gauge(
    g: xr.DataArray,
    e: xr.DataArray,
    components: Components,
    share: xr.DataArray,
    *,
    mean: Literal["arithmetic", "geometric"],
) -> tuple[xr.DataArray, xr.DataArray]:
    """Move each component into its gauge."""
    for k in range(int(components.unit.max()) + 1):
        offset = gauge_offset(g, share.where(components.unit == k, 0.0), mean=mean)
        g = g - offset.where(components.unit == k, 0.0)
        e = e + offset.where(components.exposure == k, 0.0)
    return g, e


def _methods(options: FitOptions, n_exposures: int) -> tuple[Method, ...]:
    if options.uncertainty != "auto":
        return options.uncertainty
    default = method_for(n_exposures)
    return () if default is None else (default,)


def _without_labels(array: xr.DataArray) -> xr.DataArray:
    return array.drop_vars(list(array.coords))


def _with_labels(array: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    return array.assign_coords({dim: like[dim] for dim in array.dims if dim in like.coords})


def _labelled(part: Any, like: xr.DataArray) -> Any:
    return _with_labels(part, like) if isinstance(part, xr.DataArray) else part
