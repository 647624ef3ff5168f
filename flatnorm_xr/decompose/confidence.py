"""What a solution's errors say: intervals by Student's t, covariances in any gauge."""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
import xarray as xr

from flatnorm_xr.decompose.covariance import covariance_factors as factors
from flatnorm_xr.decompose.covariance import full_covariance, gauge_gradient
from flatnorm_xr.decompose.gauge import Gauge, gauge_mean, gauge_weights
from flatnorm_xr.decompose.groups import split_groups
from flatnorm_xr.decompose.sweeps import unit_dims
from flatnorm_xr.decompose.variance import as_fitted, check_solution, check_whole
from flatnorm_xr.errors import FlatnormError, offenders

__all__ = ["covariance", "covariance_factors", "interval"]


def interval(solution: xr.Dataset, level: float = 0.68) -> xr.Dataset:
    """Intervals that hold the true E and the true G with a given probability.

    The errors of ln E and ln G are taken for Student's t with the degrees of freedom of their standard errors, which
    with few exposures are few: at 5 exposures a jackknife interval of 68 % is 14 % wider than one standard error.

    Parameters
    ----------
    solution : Dataset
        What `flatnorm_xr.solve` returns with an ``uncertainty``.
    level : float
        Probability, between 0 and 1.

    Returns
    -------
    Dataset
        ``E`` (exposure, bound) in the units of the levels and ``G`` (unit dims, bound), with ``bound`` "lower" and
        "upper"; NaN where there is no standard error or nothing to find it from.

    Raises
    ------
    FlatnormError
        ``solution`` has no standard errors, or ``level`` is no probability.

    Examples
    --------
    >>> import flatnorm_xr as fx
    >>> sol = fx.solve(fx.simulate(n_detectors=30, n_exposures=12, seed=1))
    >>> fx.interval(sol, 0.95).E.sel(exposure=101).values.round(0)
    array([18407., 18421.])
    """
    from scipy.special import stdtrit

    check_solution(solution, "interval")
    if any(name not in solution for name in ("E_stderr", "G_stderr", "E_dof", "G_dof")):
        msg = "interval: the solution has no standard errors; solve with uncertainty='jackknife' or 'analytic'"
        raise FlatnormError(msg)
    if not isinstance(level, int | float | np.number) or not 0 < level < 1:
        msg = f"interval: level is {level!r}; it must be a probability between 0 and 1, such as 0.68"
        raise FlatnormError(msg)
    sides = xr.DataArray([-1.0, 1.0], coords={"bound": ["lower", "upper"]}, dims="bound")
    found = {}
    for name in ("E", "G"):
        value, dof = solution[name], solution[f"{name}_dof"]
        times = dof.copy(data=stdtrit(dof.where(dof > 0).values, (1 + level) / 2))
        bounds = value * xr.ufuncs.exp(sides * times * solution[f"{name}_stderr"] / value)
        found[name] = bounds.transpose(..., "bound").assign_attrs(
            {**value.attrs, "long_name": f"{100 * level:g} % interval of {value.attrs.get('long_name', name)}"}
        )
    return xr.Dataset(found)


def covariance(
    solution: xr.Dataset, name: Literal["G", "E"] = "G", *, gauge: Gauge | None = None, group: Any = None
) -> xr.DataArray:
    """Covariance of all ln G, or of all ln E: of two responses, their ratio, a mean over some, in any gauge.

    Parameters
    ----------
    solution : Dataset
        What `flatnorm_xr.solve` returns, with any ``uncertainty`` or none.
    name : {"G", "E"}
    gauge : {"mean", "geometric"} or detector label(s), optional
        The gauge in which the covariance is; that of the solution by default. One linear map leads from one to another.
    group : optional
        Label of the group, for a solution in groups.

    Returns
    -------
    DataArray, (unit dims, unit dims with _2) or (exposure, exposure_2)
        Propagated from the weights, which are taken for inverse variances, and scaled by the variance factor: the
        square of analytic standard errors, whatever ``uncertainty`` was. NaN for what was not in the fit; 0 between
        components, each of which has a gauge of its own.

    Raises
    ------
    FlatnormError
        ``solution`` was not solved, or the name, gauge or group is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> import flatnorm_xr as fx
    >>> sol = fx.solve(fx.simulate(n_detectors=30, n_exposures=12, seed=1), uncertainty="analytic")
    >>> bool(np.allclose(np.diag(fx.covariance(sol)), (sol.G_stderr / sol.G) ** 2))
    True
    """
    check_solution(solution, "covariance", needs=("gauge_weight",), figures=("variance_factor",))
    if name not in ("G", "E"):
        msg = f"covariance: name is {name!r}; it must be 'G' or 'E'"
        raise FlatnormError(msg)
    part = _of_group(solution, group)
    check_whole(part, "covariance")
    own: Gauge = json.loads(part.attrs.get("configuration", "{}")).get("gauge", "mean")
    share = part["gauge_weight"]
    if gauge is not None:
        counts = part["counts"].astype(float) if "counts" in part else xr.ones_like(part["weight"])
        share = gauge_weights(gauge, counts.where(part["weight"] > 0, 0.0), part["component"])
    G = part["G"]
    gradient = gauge_gradient(share, G, mean=gauge_mean(own if gauge is None else gauge))
    # the gradient adds up to 1 in each component where G is in the gauge that is asked for; it need not be
    total = xr.zeros_like(gradient)
    for k in range(int(part["component"].max()) + 1):
        inside = part["component"] == k
        total = total.where(~inside, gradient.where(inside, 0.0).sum())
    gradient = (gradient / total.where(total > 0)).fillna(0.0)
    equations, components = as_fitted(part)
    found = full_covariance(equations, components, gradient.drop_vars(list(gradient.coords)), of=name)
    dims = unit_dims(part["weight"]) if name == "G" else ["exposure"]
    labels = {dim: part[dim].values for dim in dims} | {f"{dim}_2": part[dim].values for dim in dims}
    found = (found * part.attrs["variance_factor"]).assign_coords(labels)
    named: xr.DataArray = found.rename(f"covariance of ln {name}")
    named.attrs = {"long_name": f"covariance of ln {name}", "units": "1"}
    return named


def covariance_factors(solution: xr.Dataset, *, group: int | None = None) -> tuple[xr.DataArray, xr.DataArray]:
    """Write the covariance of ln G as a diagonal plus factors, in a gauge of its own.

    Parameters
    ----------
    solution : Dataset
        What `flatnorm_xr.solve` returns, with any ``uncertainty`` or none.
    group : int, optional
        Place of the group, for a solution in groups.

    Returns
    -------
    own : DataArray, (unit dims)
    shared : DataArray, (unit dims, rank)
        See `flatnorm_xr.decompose.covariance.covariance_factors`; scaled by the variance factor.
    """
    check_solution(solution, "covariance", needs=("weight",), figures=("variance_factor",))
    part = split_groups(solution)[group or 0][1]
    check_whole(part, "covariance")
    own, shared = factors(*as_fitted(part))
    factor = float(part.attrs["variance_factor"])
    labels = {dim: part[dim].values for dim in unit_dims(part["weight"])}
    return (own * factor).assign_coords(labels), (shared * factor**0.5).assign_coords(labels)


def _of_group(solution: xr.Dataset, group: Any) -> xr.Dataset:
    parts = split_groups(solution)
    if len(parts) == 1 and group is None:
        return parts[0][1]
    labels = [label for label, _ in parts]
    for label, part in parts:
        if label is not None and group is not None and bool(np.asarray(label == group).all()):
            return part
    if labels == [None]:
        msg = f"covariance: group is {group!r}, but all exposures were solved together; leave group out"
    else:
        msg = f"covariance: group is {group!r}; pass group= with one of {offenders(labels)}"
    raise FlatnormError(msg)
