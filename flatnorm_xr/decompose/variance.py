"""How far each level of a solution may lie from its model: variances of cells, and pulls of residuals."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from flatnorm_xr.decompose.connectivity import Components, connect
from flatnorm_xr.decompose.covariance import fitted_variance
from flatnorm_xr.decompose.groups import join_groups, split_groups
from flatnorm_xr.decompose.sweeps import NormalEquations
from flatnorm_xr.errors import FlatnormError, offenders

__all__ = ["as_fitted", "cell_variance", "check_solution", "check_whole", "pulls", "residual_variance"]

_ROUNDING = 1e-9


def check_solution(
    solution: xr.Dataset, caller: str, *, needs: tuple[str, ...] = (), figures: tuple[str, ...] = ()
) -> None:
    """Raise unless ``solution`` holds what a solve adds, the variables in ``needs`` and the figures of the fit.

    Raises
    ------
    FlatnormError
        It is not a Dataset, was not solved, or lacks a variable.
    """
    if not isinstance(solution, xr.Dataset):
        msg = f"{caller}: solution is a {type(solution).__name__}; it must be the Dataset that solve returns"
        raise FlatnormError(msg)
    absent = [name for name in ("E", "G", "residual", "weight", *needs) if name not in solution]
    if absent:
        msg = f"{caller}: the dataset has no {', '.join(absent)}: it was not solved; pass what solve returns"
        raise FlatnormError(msg)
    absent = [name for name in figures if name not in solution.attrs and name not in solution]
    if absent:
        msg = f"{caller}: the solution has no {', '.join(absent)}, as one that was read from CSV; solve it again"
        raise FlatnormError(msg)
    if "exposure_group" in solution.coords:
        known = solution["group"].values.tolist() if "group" in solution["G"].dims else []
        absent = [label for label in np.unique(solution["exposure_group"].values).tolist() if label not in known]
        if absent:
            which = offenders(absent)
            msg = (
                f"{caller}: group {which} was selected away, but not its exposures; select these too, groups by a list"
            )
            raise FlatnormError(msg)
    lost = {"detector", "exposure"} - {str(dim) for dim in solution["residual"].dims}
    if lost or solution["residual"].size == 0:
        msg = f"{caller}: the solution has no {' and no '.join(sorted(lost)) or 'cells'}; select with a list of labels"
        raise FlatnormError(msg)


def check_whole(solution: xr.Dataset, caller: str) -> None:
    """Raise where cells are missing that the fit had: what follows from all of them cannot be found from some.

    Raises
    ------
    FlatnormError
        There are fewer cells with weight than degrees of freedom and parameters say.
    """
    for _, part in split_groups(solution):
        if "dof" not in part.attrs:
            continue
        measured = (part["weight"] > 0).drop_vars(list(part["weight"].coords))
        left = int(measured.sum()) - connect(measured).parameters
        if left < part.attrs["dof"] or (left > part.attrs["dof"] and not part.attrs.get("modes")):
            msg = f"{caller}: this is a part of what was solved; take {caller} of the whole and select from it"
            raise FlatnormError(msg)


def cell_variance(solution: xr.Dataset) -> xr.DataArray:
    """Variance of ln(background) of every valid cell, those that were rejected too.

    Parameters
    ----------
    solution : Dataset
        What `flatnorm_xr.solve` returns.

    Returns
    -------
    DataArray, (unit dims, exposure)
        With ``weights="variance"`` sigma^2 / (counts background^2) + floor^2, with weights that were passed in
        1 / weight (the median of its unit for a rejected cell), times the variance factor of its group. With
        ``"counts"`` and ``"uniform"`` the same for all cells of a group, from their scatter. NaN where there is no
        residual.
    """
    check_solution(solution, "cell_variance")
    parts = [_of_group(part) for _, part in split_groups(solution)]
    return join_groups(parts, solution).where(solution["residual"].notnull()).rename("variance")


def residual_variance(solution: xr.Dataset) -> xr.DataArray:
    """Variance of the residual of every valid cell: that of the cell, less what the fit took up.

    Parameters
    ----------
    solution : Dataset
        What `flatnorm_xr.solve` returns.

    Returns
    -------
    DataArray, (unit dims, exposure)
        A rejected cell took no part in the fit: its variance is that of the cell plus that of the model. NaN where
        there is no residual, or nothing to judge it by (as many parameters as cells).
    """
    variance = cell_variance(solution)
    parts = []
    for _, part in split_groups(solution):
        equations, components = as_fitted(part)
        weight, fitted = equations.weight, fitted_variance(equations, components)
        left = _with_modes(1 - weight * fitted, weight, part)
        # where a cell alone decides its own model nothing is left, and rounding must not make a variance of it
        left = left.where(left > _ROUNDING)
        typical = weight.where(weight > 0).median()
        share = left.where(weight > 0, 1 + (fitted * typical).fillna(0.0))
        parts.append(share.assign_coords({dim: part[dim] for dim in share.dims if dim in part.coords}))
    return (variance * join_groups(parts, solution)).rename("variance")


def pulls(solution: xr.Dataset) -> xr.DataArray:
    """Residual of every valid cell over its own standard deviation: N(0, 1) where background = G E holds.

    Parameters
    ----------
    solution : Dataset
        What `flatnorm_xr.solve` returns.

    Returns
    -------
    DataArray, (unit dims, exposure)
        NaN where there is no residual or nothing to judge it by; rejected cells have one, and it is large. Select
        ``solution.weight > 0`` for those of the fit. Known also as internally studentised residuals.

    Raises
    ------
    FlatnormError
        ``solution`` was not solved.

    Examples
    --------
    >>> import flatnorm_xr as fx
    >>> sol = fx.solve(fx.simulate(n_detectors=30, n_exposures=12, seed=1), weights="variance")
    >>> round(float(fx.pulls(sol).std()), 2)
    1.0
    """
    check_solution(solution, "pulls", figures=("variance_factor",))
    check_whole(solution, "pulls")
    found: xr.DataArray = solution["residual"] / xr.ufuncs.sqrt(residual_variance(solution))
    return found.rename("pull").assign_attrs(long_name="residual over its standard deviation", units="1")


def as_fitted(part: xr.Dataset) -> tuple[NormalEquations, Components]:
    """Build the normal equations of one group as it was fitted, without labels, and its components."""
    weight = part["weight"].drop_vars(list(part["weight"].coords))
    y = part["residual"].fillna(0.0)
    y = y.drop_vars(list(y.coords)).transpose(*weight.dims)
    return NormalEquations.of(y, weight), connect(weight > 0)


def _with_modes(left: xr.DataArray, weight: xr.DataArray, part: xr.Dataset) -> xr.DataArray:
    """Take what modes took up of the residuals off, shared out over the cells."""
    if not part.attrs.get("modes"):
        return left
    total = float(left.where(weight > 0).sum())
    return left * (float(part.attrs["dof"]) / max(total, 1.0))


def _of_group(part: xr.Dataset) -> xr.DataArray:
    weight, background = part["weight"], part["background"]
    factor = float(part.attrs.get("variance_factor", np.nan))
    kind = json.loads(part.attrs.get("configuration", "{}")).get("weights")
    counts = part["counts"].astype(float) if "counts" in part else xr.ones_like(background)
    if kind == "variance" and "sigma" in part:
        floor = part["floor"] if "floor" in part else float(part.attrs.get("floor", 0.0))
        level = part["bgModel"] if part.attrs.get("model") == "log-link" else background
        own = (part["sigma"] / level) ** 2 / counts + floor**2
    elif kind in ("counts", "uniform"):
        # averaging more pixels makes a level no better than the lamp is, so counts are no inverse variances
        used, dof = weight > 0, float(part.attrs.get("dof", 0))
        squares = float((part["residual"].where(used) ** 2).sum())
        return xr.full_like(background, squares / dof if dof > 0 else np.nan)
    else:
        usual = weight.where(weight > 0).median("exposure")
        own = 1 / weight.where(weight > 0, usual.fillna(usual.median()))
    variance: xr.DataArray = own * factor
    return variance.transpose(*background.dims)
