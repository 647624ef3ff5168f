"""The weight of each cell: pixel counts, inverse variance, equal, or given."""

from __future__ import annotations

from typing import Literal

import xarray as xr

from flatnorm_xr.errors import FlatnormError, offenders

__all__ = ["Weights", "cell_weights", "describe_weights", "level_variance"]

Weights = Literal["counts", "variance", "uniform"] | xr.DataArray
"""How cells are weighted."""


def level_variance(sigma: xr.DataArray | None, counts: xr.DataArray | None) -> xr.DataArray:
    """Variance of each level from its pixels, sigma^2 / counts: that of a mean.

    That of a median is 1.6 times larger throughout, which the floor and the variance factor of the fit take up.

    Parameters
    ----------
    sigma, counts : DataArray, (unit dims, exposure)
        Standard deviation and number of the pixels; without counts each level is one pixel.

    Raises
    ------
    FlatnormError
        There is no sigma.
    """
    if sigma is None:
        msg = "solve: weights='variance' needs the variable sigma, which is absent; use weights='counts' or 'uniform'"
        raise FlatnormError(msg)
    return sigma**2 / (1.0 if counts is None else counts.where(counts > 0))


def cell_weights(
    weights: Weights,
    *,
    background: xr.DataArray,
    counts: xr.DataArray | None,
    usable: xr.DataArray,
) -> xr.DataArray:
    """Weight of ln(background) in each cell where it does not depend on the levels; 0 where the cell is not usable.

    Parameters
    ----------
    weights : {"counts", "variance", "uniform"} or DataArray
        ``"counts"``: the number of pixels, 1 when there are no counts. ``"uniform"``: 1. A DataArray with dims among
        those of ``background`` and exactly its labels: as given, 0 meaning "not used". ``"variance"``, which is
        ``1 / (sigma^2 / (counts background^2) + floor^2)``, is found by `flatnorm_xr.decompose.weighing.weigh`.
    background, counts : DataArray, (unit dims, exposure)
        Measurements; counts may be None.
    usable : DataArray of bool, same dims
        Cells that may carry weight.

    Raises
    ------
    FlatnormError
        An unknown name; given weights with other labels, NaN, infinite or negative.
    """
    if isinstance(weights, xr.DataArray):
        return _given(weights, background).where(usable, 0.0)
    if weights == "uniform" or (weights == "counts" and counts is None):
        return usable.astype(float)
    if weights == "counts":
        assert counts is not None
        return counts.astype(float, copy=False).where(usable, 0.0)
    msg = f"solve: weights is {weights!r}; it must be 'counts', 'variance', 'uniform' or a DataArray"
    raise FlatnormError(msg)


def describe_weights(weights: Weights, *, has_counts: bool, floor: str) -> str:
    """One phrase for the attribute ``weights``."""
    if isinstance(weights, xr.DataArray):
        return f"given ({weights.name})" if weights.name else "given"
    if weights == "counts" and not has_counts:
        return "counts (absent: 1 for each measured cell)"
    if weights == "variance":
        return f"variance (floor {floor}{'' if has_counts else '; counts absent: 1 for each measured cell'})"
    return weights


def _given(weights: xr.DataArray, background: xr.DataArray) -> xr.DataArray:
    extra = [str(dim) for dim in weights.dims if dim not in background.dims]
    if extra:
        have = ", ".join(map(str, background.dims))
        msg = f"solve: weights has dims {offenders(extra)}, which the levels do not have ({have})"
        raise FlatnormError(msg)
    try:
        weights, _ = xr.align(weights, background, join="exact")
    except ValueError as error:
        msg = "solve: the labels of weights are not those of the levels; reindex them first"
        raise FlatnormError(msg) from error
    if weights.dtype.kind not in "biuf":
        msg = f"solve: weights is {weights.dtype}; it must be numbers"
        raise FlatnormError(msg)
    bad = (~xr.ufuncs.isfinite(weights) | (weights < 0)).compute()
    if bad.any():
        cells = bad.to_series()
        where = offenders(cells.index[cells])
        msg = f"solve: weights is NaN, infinite or negative at {where}; use 0 for cells to leave out"
        raise FlatnormError(msg)
    return weights.astype(float).broadcast_like(background)
