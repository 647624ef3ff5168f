"""The table of what a robust solve left out: which, when, by how much."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.robust.scatter import NORMAL_MEDIAN
from flatnorm_xr.decompose.sweeps import unit_dims
from flatnorm_xr.decompose.variance import cell_variance, check_solution
from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.flags import Flag

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["rejections"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class _Cells(NamedTuple):
    """What is known of all cells, (units, exposures), exposures in order of time."""

    number: NDArray[np.int64]
    quality: NDArray[np.int64]
    residual: Array
    precision: Array
    """Inverse variance of the level; 0 where nothing is known."""
    used: Mask
    group: NDArray[np.intp]
    """Place of the group of each exposure."""


class _Event(NamedTuple):
    """One row: places of unit and exposures, ``unit`` -1 for an exposure."""

    number: int
    kind: str
    unit: int
    group: int
    first_exposure: int
    last_exposure: int
    n_cells: int
    size: float
    stderr: float
    jump_at: int | None


class _Measure(NamedTuple):
    size: float
    stderr: float
    jump_at: int | None = None
    """Place of the first exposure after a jump."""


def rejections(solution: xr.Dataset) -> pd.DataFrame:
    """List what a robust solve left out of the fit, one row an event.

    Parameters
    ----------
    solution : Dataset
        What ``flatnorm_xr.solve(..., robust="tukey")`` or ``"huber"`` returns.

    Returns
    -------
    pandas.DataFrame
        The index ``rejection`` is the number that the variable ``rejection`` gives to the event's cells. Columns:

        * ``kind``: "cell", "run" (of exposures of one unit), "gain jump", "unit", "exposure".
        * ``detector`` and, where there is such a dim, ``amplifier``: the unit; missing for an exposure.
        * ``first_exposure``, ``last_exposure``: of the cells left out, in order of time.
        * ``jump_at``: the first exposure after a gain jump; missing for other kinds. It is ``first_exposure`` where the
          later side was left out, and the exposure after ``last_exposure`` where the earlier side was.
        * ``n_cells``: how many cells.
        * ``size``, ``stderr``: for a cell or a run, by how much its level lies above (below: negative) what the unit's
          other cells say, relative, and the error of that. For a gain jump by how much the response grew
          (shrank: negative) *at the jump*, after / before - 1, whichever side was left out. For a unit or an
          exposure, which are left out for their scatter, the robust scatter of its ln residuals (1.4826 times the
          median absolute deviation), and the scatter that noise alone would give it.
        * ``significance``: size / stderr; for a unit or an exposure, how many times too wide it scatters.
        * ``group``: the group, where groups were solved by themselves.

        Sizes are NaN where nothing is left to hold a cell against. No row when nothing was rejected.

    Raises
    ------
    FlatnormError
        Not a solution, or not solved robustly.

    Examples
    --------
    >>> import warnings
    >>> import flatnorm_xr as fx
    >>> ds = fx.simulate(n_detectors=30, n_exposures=8, seed=1)
    >>> ds.background[4, 5:] *= 1.01
    >>> with warnings.catch_warnings(action="ignore"):  # it says that something was rejected
    ...     sol = fx.solve(ds, robust="tukey")
    >>> fx.rejections(sol)[["kind", "detector", "jump_at", "size"]].round(3)
                    kind  detector  jump_at   size
    rejection
    1          gain jump         5      106  0.009
    """
    import pandas as pd

    check_solution(solution, "rejections")
    if "rejection" not in solution or "quality" not in solution:
        msg = "rejections: the solution has no variable rejection: it was solved without robust=; pass robust='tukey'"
        raise FlatnormError(msg)
    units = unit_dims(solution["rejection"])
    order = _in_time(solution)
    cells = _cells(solution, units, order)
    labels = {dim: _labels(solution, dim) for dim in (*units, "exposure")}
    labels["exposure"] = labels["exposure"][order]
    places = [_event(cells, number) for number in np.unique(cells.number[cells.number > 0])]
    shape = tuple(labels[dim].size for dim in units)
    columns: dict[str, Any] = {"kind": pd.array([place.kind for place in places], dtype="string")}
    of_unit = np.array([max(place.unit, 0) for place in places], dtype=np.intp)
    for dim, index in zip(units, np.unravel_index(of_unit, shape), strict=True):
        where = [i if place.unit >= 0 else None for i, place in zip(index.tolist(), places, strict=True)]
        columns[dim] = _column(labels[dim], where)
    for name in ("first_exposure", "last_exposure", "jump_at"):
        columns[name] = _column(labels["exposure"], [getattr(place, name) for place in places])
    columns["n_cells"] = np.array([place.n_cells for place in places], dtype="int64")
    for name in ("size", "stderr"):
        columns[name] = np.array([getattr(place, name) for place in places], dtype=float)
    table = pd.DataFrame(columns, index=pd.Index([place.number for place in places], name="rejection", dtype="int64"))
    table["significance"] = table["size"] / table["stderr"].where(table["stderr"] > 0)
    if "group" in solution.dims:
        table["group"] = _column(_labels(solution, "group"), [place.group for place in places])
    return table


def _in_time(solution: xr.Dataset) -> NDArray[np.intp]:
    """Order of the exposures in time; as they come where a time is missing."""
    time = solution.coords.get("time")
    if time is None or time.dims != ("exposure",) or bool(time.isnull().any()):
        return np.arange(solution.sizes["exposure"])
    return np.argsort(time.values, kind="stable")


def _labels(solution: xr.Dataset, dim: str) -> NDArray[Any]:
    return solution[dim].values if dim in solution.coords else np.arange(solution.sizes[dim])


def _column(labels: NDArray[Any], where: list[int | None]) -> pd.api.extensions.ExtensionArray:
    """Labels at some places; missing where a place is None."""
    import pandas as pd

    values = [None if k is None else labels[k] for k in where]
    texts = labels.dtype.kind in "UT" or all(isinstance(label, str) for label in labels.tolist())
    return pd.array(values, dtype="string" if texts else "Int64" if labels.dtype.kind in "iu" else object)


def _cells(solution: xr.Dataset, units: list[str], order: NDArray[np.intp]) -> _Cells:
    def plain(array: xr.DataArray) -> NDArray[Any]:
        values: NDArray[Any] = array.transpose(*units, "exposure").values
        return values.reshape(-1, values.shape[-1])[:, order]

    variance = plain(cell_variance(solution))
    residual = plain(solution["residual"])
    known = np.isfinite(residual) & (variance > 0)
    group = np.zeros(order.size, dtype=np.intp)
    if "group" in solution.dims:
        matches = solution["exposure_group"].values[:, np.newaxis] == solution["group"].values
        group = matches.argmax(axis=1)[order]
    return _Cells(
        number=plain(solution["rejection"]).astype(np.int64),
        quality=plain(solution["quality"]).astype(np.int64),
        residual=np.where(known, residual, 0.0),
        precision=np.divide(1.0, variance, out=np.zeros_like(variance), where=known),
        used=known & (plain(solution["weight"]) > 0),
        group=group,
    )


def _event(cells: _Cells, number: int) -> _Event:
    """Say what kind of event this is, where, and how large."""
    unit, exposure = np.nonzero(cells.number == number)
    flags = int(cells.quality[unit[0], exposure[0]])
    if flags & Flag.REJECTED_EXPOSURE:
        kind, measure = "exposure", _scatter(cells, unit, exposure)
    elif flags & Flag.REJECTED_UNIT:
        kind, measure = "unit", _scatter(cells, unit, exposure)
    elif flags & Flag.GAIN_JUMP:
        kind, measure = "gain jump", _jump(cells, int(unit[0]), exposure)
    else:
        kind, measure = "cell" if unit.size == 1 else "run", _offset(cells, int(unit[0]), exposure)
    return _Event(
        number=int(number),
        kind=kind,
        unit=-1 if kind == "exposure" else int(unit[0]),
        group=int(cells.group[exposure[0]]),
        first_exposure=int(exposure.min()),
        last_exposure=int(exposure.max()),
        n_cells=int(unit.size),
        size=measure.size,
        stderr=measure.stderr,
        jump_at=measure.jump_at,
    )


def _offset(cells: _Cells, unit: int, exposure: NDArray[np.intp], *, sign: float = 1.0) -> _Measure:
    """Level of some cells of a unit over that of its cells in the fit, less 1; ``sign`` -1 the other way round."""
    inside, total_inside = _mean(cells, unit, exposure)
    together = cells.used[unit] & (cells.group == cells.group[exposure[0]])
    outside, total_outside = _mean(cells, unit, np.flatnonzero(together))
    if total_inside == 0 or total_outside == 0:
        return _Measure(np.nan, np.nan)
    change = sign * (inside - outside)
    return _Measure(math.expm1(change), math.exp(change) * math.sqrt(1 / total_inside + 1 / total_outside))


def _jump(cells: _Cells, unit: int, exposure: NDArray[np.intp]) -> _Measure:
    together = np.flatnonzero(cells.used[unit] & (cells.group == cells.group[exposure[0]]))
    if together.size == 0:
        return _Measure(np.nan, np.nan)
    later = float(np.median(together)) < float(np.median(exposure))
    after = exposure.min() if later else together[together > exposure.max()].min(initial=together.max())
    return _offset(cells, unit, exposure, sign=1.0 if later else -1.0)._replace(jump_at=int(after))


def _mean(cells: _Cells, unit: int, exposure: NDArray[np.intp]) -> tuple[float, float]:
    """Weighted mean residual of some cells of a unit, and the sum of their weights."""
    precision = cells.precision[unit, exposure]
    total = float(precision.sum())
    return (float(precision @ cells.residual[unit, exposure]) / total if total > 0 else np.nan), total


def _scatter(cells: _Cells, unit: NDArray[np.intp], exposure: NDArray[np.intp]) -> _Measure:
    """Robust scatter of the residuals of some cells, and what noise alone would make it."""
    known = cells.precision[unit, exposure] > 0
    residual, precision = cells.residual[unit, exposure][known], cells.precision[unit, exposure][known]
    if residual.size < 2:
        return _Measure(np.nan, np.nan)
    size = float(np.median(np.abs(residual - np.median(residual)))) / NORMAL_MEDIAN
    return _Measure(size, math.sqrt(float(np.median(1 / precision))))
