"""Which cells may carry weight, and the flags of those that may not."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.sweeps import unit_dims
from flatnorm_xr.flags import SET_BY_SOLVE, WITHOUT_WEIGHT, Flag, has_flag

__all__ = ["blank", "count_cells", "count_flags", "flag_cells", "log_levels", "usable_cells"]

_LOW_SIGNAL = 30.0
_NO_SIGNAL = 5.0


def flag_cells(
    background: xr.DataArray,
    *,
    counts: xr.DataArray | None,
    sigma: xr.DataArray | None,
    exists: xr.DataArray | None,
    quality: xr.DataArray | None,
    needs_sigma: bool,
    has_floor: bool = False,
    needs_logarithm: bool = True,
) -> xr.DataArray:
    """Flag every cell that cannot be used, and warn of those with low signal.

    Parameters
    ----------
    background, counts, sigma, exists, quality : DataArray, (unit dims[, exposure])
        Measurements; all but the first may be None. Flags of a former solve in ``quality`` are dropped.
    needs_sigma : bool
        Whether a cell without sigma is of no use (variance weights).
    has_floor : bool
        Whether levels have a systematic error besides; sigma may then be 0.
    needs_logarithm : bool
        Whether a level that is zero or negative is of no use, nor an exposure or unit that shows no light.

    Returns
    -------
    DataArray of u4, (unit dims, exposure)
    """
    flags = (
        xr.zeros_like(background, dtype="u4") if quality is None else quality & np.uint32(~SET_BY_SOLVE & 0xFFFFFFFF)
    )
    flags = flags.astype("u4", copy=False)
    unknown = xr.ufuncs.isnan(background)
    explained = Flag.NOT_MEASURED | Flag.UNREADABLE | Flag.ALL_MASKED | Flag.NO_SUCH_AMPLIFIER
    if exists is not None:
        flags = _add(flags, ~exists, Flag.NO_SUCH_AMPLIFIER)
    flags = _add(flags, unknown & ~has_flag(flags, explained), Flag.NOT_MEASURED)
    flags = _add(flags, xr.ufuncs.isinf(background), Flag.NON_FINITE)
    if needs_logarithm:
        flags = _add(flags, background <= 0, Flag.NON_POSITIVE)
    if counts is not None:
        flags = _add(flags, ~unknown & ~((counts > 0) & (counts < np.inf)), Flag.NO_COUNTS)
    if needs_sigma and sigma is not None:
        known = (sigma >= 0 if has_floor else sigma > 0) & (sigma < np.inf)
        flags = _add(flags, ~unknown & ~known, Flag.NO_SIGMA)
    known, faint = ~unknown, background <= 0
    if sigma is not None and counts is not None:
        significance = background * xr.ufuncs.sqrt(counts) / sigma
        known = known & (faint | ~has_flag(flags, WITHOUT_WEIGHT))
        flags = _add(flags, known & ~faint & (significance < _LOW_SIGNAL), Flag.LOW_SIGNAL)
        faint = faint | (significance < _NO_SIGNAL)
    if needs_logarithm and bool(faint.any()):
        flags = _add(flags, _without_signal(faint & known, known) & (background > 0), Flag.NO_SIGNAL)
    return flags


def _without_signal(faint: xr.DataArray, known: xr.DataArray) -> xr.DataArray:
    """Exposures, and units, in which most cells see no light: lamp off, or a dead amplifier that is not quite zero.

    A single faint cell is left alone: dropping cells by their own noisy level keeps those that noise brightened.

    Parameters
    ----------
    faint, known : DataArray of bool, (unit dims, exposure)
        Levels below 5 of their own errors, and levels that can be judged.
    """
    units = unit_dims(known)
    alive = (known & ~faint).any("exposure")
    dark_exposure = 2 * (faint & alive).sum(units) > (known & alive).sum(units)
    lit = known & ~dark_exposure
    dark_unit = 2 * (faint & lit).sum("exposure") > lit.sum("exposure")
    return known & (dark_exposure | dark_unit | ~alive)


def usable_cells(flags: xr.DataArray) -> xr.DataArray:
    """Cells without a flag that takes their weight away."""
    return ~has_flag(flags, WITHOUT_WEIGHT)


def count_flags(flags: xr.DataArray, which: Flag) -> dict[str, int]:
    """How many cells carry each flag of ``which``; flags that no cell carries are left out."""
    present = int(np.bitwise_or.reduce(flags.values, axis=None)) & which
    return {str(flag.name): count_cells(flags, flag) for flag in Flag if flag & present}


def count_cells(flags: xr.DataArray, which: Flag) -> int:
    """How many cells carry any flag of ``which``, row by row: no array as large as the flags is made for it."""
    return sum(int(np.count_nonzero(row & np.uint32(which))) for row in flags.values)


def log_levels(background: xr.DataArray) -> xr.DataArray:
    """ln(background), 0 where the level is NaN, infinite, zero or negative; same dims."""

    def logarithm(levels: NDArray[np.float64]) -> NDArray[np.float64]:
        y = np.where((levels > 0) & (levels < np.inf), levels, 1.0)
        return np.log(y, out=y)

    y: xr.DataArray = xr.apply_ufunc(
        logarithm, background.astype(float, copy=False), dask="parallelized", output_dtypes=[float]
    )
    return y


def blank(array: xr.DataArray, keep: xr.DataArray) -> xr.DataArray:
    """NaN where ``keep`` is False; ``array`` must be ours alone, for it may be changed."""
    if not isinstance(array.data, np.ndarray):
        return array.where(keep)
    np.copyto(array.data, np.nan, where=~keep.broadcast_like(array).transpose(*array.dims).values)
    return array


def _add(flags: xr.DataArray, where: xr.DataArray, flag: Flag) -> xr.DataArray:
    """Set ``flag`` where asked, in place where that is possible: new memory costs more than the work."""
    if not bool(where.any()):
        return flags
    if not isinstance(flags.data, np.ndarray):
        return flags | where * np.uint32(flag)
    mask = where.broadcast_like(flags).transpose(*flags.dims).values
    np.bitwise_or(flags.data, np.uint32(flag), out=flags.data, where=mask)
    return flags
