"""The residuals of a solution as one plain table, with all that the tests of its structure ask about a cell."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.connectivity import unit_labels
from flatnorm_xr.decompose.groups import join_groups, split_groups
from flatnorm_xr.decompose.structure.two_way import Array, TwoWayFit, Wider, fit_wider
from flatnorm_xr.decompose.structure.unit_scatter import Scatter, judged_scatter
from flatnorm_xr.decompose.sweeps import unit_dims
from flatnorm_xr.decompose.variance import cell_variance
from flatnorm_xr.flags import WITHOUT_WEIGHT, Flag, has_flag
from flatnorm_xr.model.schema import level_units, units_of

__all__ = ["Circumstances", "ResidualTable", "tabulate"]

Labels = NDArray[np.str_]
Mask = NDArray[np.bool_]

_SECONDS_AN_HOUR = 3600.0

_OF_MEDIAN = 0.5
"""Share of the degrees of freedom that the median of many units' scatters is worth."""


@dataclass(frozen=True)
class Circumstances:
    """What is known of units and exposures besides their levels; None where nothing is."""

    x: Array | None = None
    """(unit), mm."""
    y: Array | None = None
    """(unit), mm."""
    detector_type: Labels | None = None
    """(unit)."""
    amplifier: Labels | None = None
    """(unit)."""
    time: Array | None = None
    """(exposure), hours since the first, NaN where unknown."""
    lamp: Labels | None = None
    """(exposure)."""


@dataclass(frozen=True)
class ResidualTable:
    """Residuals, (unit, exposure), with the exposures of a group side by side."""

    residual: Array
    """ln(background / bgModel), 0 where there is none."""
    fit: TwoWayFit
    """Of weights that are inverse variances up to a common factor."""
    spare: Array
    """Inverse variance of rejected cells that still have a residual, 0 for all others."""
    jumped: Mask
    """Which of these were rejected for a gain jump or with their whole unit."""
    model: Array
    """bgModel, NaN where nothing was measured."""
    units: list[str]
    exposures: list[str]
    column: NDArray[np.intp]
    """Place of each column among the exposures of the solution."""
    order: NDArray[np.intp]
    """Columns in order of time, or of the solution where times are not known."""
    known: Circumstances
    taken: int = 0
    """Parameters taken besides those of G and E: by modes that were fitted, and by explanations."""
    level_unit: str = "adu"
    noun: str = "detector"
    """What a unit is."""

    @property
    def weight(self) -> Array:
        """Inverse variance of the cells that take part, 0 for all others."""
        return self.fit.weight

    @property
    def dof(self) -> int:
        """Cells used, less free parameters."""
        return int((self.weight > 0).sum()) - self.fit.rank - self.taken

    @property
    def chi2(self) -> float:
        """Sum of w r^2."""
        return self.chi2_of(self.residual)

    @property
    def scatter(self) -> float:
        """Chi^2 a degree of freedom."""
        return self.chi2 / self.dof

    def chi2_of(self, left: Array) -> float:
        """Sum of w r^2 for other residuals."""
        return float((self.weight * left**2).sum())

    def without(self, pattern: Array, parameters: int) -> ResidualTable:
        """Give the table once an explanation with so many parameters is subtracted, refitted."""
        return replace(self, residual=self.fit.residual(self.residual - pattern), taken=self.taken + parameters)

    def reweighted(self, factor: Array) -> ResidualTable:
        """Give the table with the weights of each unit multiplied by ``factor``, refitted."""
        fit, spare = self.fit.reweighted(factor), self.spare * factor[:, np.newaxis]
        return replace(self, fit=fit, spare=spare, residual=fit.residual(self.residual))

    def wider(self, *, of_unit: list[Array] | None = None, of_exposure: list[Array] | None = None) -> Wider:
        """Fit patterns whose coefficients differ between units or exposures, on top of G and E."""
        return fit_wider(
            self.residual,
            self.weight,
            of_unit=[*self.group_indicators(), *(of_unit or [])],
            of_exposure=[np.ones(self.weight.shape), *(of_exposure or [])],
        )

    def group_indicators(self) -> list[Array]:
        """Ones in the exposures of one group, for each group."""
        number = np.zeros(self.weight.shape[1], dtype=int)
        number[self.fit.starts[1:]] = 1
        number = number.cumsum()
        return [np.broadcast_to(number == k, self.weight.shape).astype(float) for k in range(self.fit.starts.size)]

    def centred(self, pattern: Array, weight: Array) -> Array:
        """Subtract from each unit's row its weighted mean in each group."""
        starts = self.fit.starts
        total = np.add.reduceat(weight, starts, axis=1)
        mean = np.add.reduceat(weight * pattern, starts, axis=1) / np.where(total > 0, total, np.inf)
        return pattern - np.repeat(mean, np.diff([*starts, weight.shape[1]]), axis=1)


def tabulate(solution: xr.Dataset) -> ResidualTable:
    """Lay out a solution for the tests.

    Parameters
    ----------
    solution : Dataset
        What `flatnorm_xr.solve` returns. Cells without a residual are out; rejected ones are ``spare``.
    """
    dims = unit_dims(solution["residual"])
    groups = solution["exposure_group"].values if "group" in solution.dims else np.zeros(solution.sizes["exposure"])
    _, number = np.unique(groups, return_inverse=True)
    column = np.argsort(number, kind="stable")
    starts = np.flatnonzero(np.diff(number[column], prepend=-1))

    def flat(array: xr.DataArray) -> NDArray[np.generic]:
        values = array.transpose(*dims, "exposure").values
        table: NDArray[np.generic] = values.reshape(-1, values.shape[-1])[:, column]
        return table

    residual, weight = flat(solution["residual"]).astype(float), flat(solution["weight"]).astype(float)
    used = (weight > 0) & np.isfinite(residual)
    # counts are weights, and no inverse variances: residuals are judged by what levels scatter
    precision = flat(_without_factor(solution)).astype(float)
    weight = np.where(used & np.isfinite(precision), precision, weight)
    rejected, jumped = _rejected(solution)
    spare = np.where(flat(rejected).astype(bool) & ~used & used.any(0), flat(_without_factor(solution)), 0.0)
    spare = np.where(np.isfinite(residual) & np.isfinite(spare), spare, 0.0)
    scale = _group_scale(residual, np.where(used, weight, 0.0), starts)
    fit = TwoWayFit.of(np.where(used, weight, 0.0) / scale, starts)
    dof = sum(int(part.attrs.get("dof", 0)) for _, part in split_groups(solution))
    known = _circumstances(solution, dims, column)
    time = known.time if known.time is not None and np.isfinite(known.time).all() else None
    return ResidualTable(
        residual=fit.residual(np.where(np.isfinite(residual), residual, 0.0)),
        fit=fit,
        spare=spare / scale,
        jumped=(spare > 0) & flat(jumped).astype(bool),
        model=flat(solution["bgModel"]).astype(float),
        units=unit_labels(
            solution["residual"].isel(exposure=0), xr.ones_like(solution["residual"][{"exposure": 0}]) > 0
        ),
        exposures=[str(label) for label in solution["exposure"].values[column]],
        column=column,
        order=np.argsort(column if time is None else time, kind="stable"),
        known=known,
        taken=max(int(used.sum()) - fit.rank - dof, 0),
        noun=dims[-1],
        level_unit=level_units(units_of(solution["background"])),
    )


def _without_factor(solution: xr.Dataset) -> xr.DataArray:
    """Weight that each valid cell would have, whether it was used or not; NaN where that cannot be told."""
    parts = []
    for _, part in split_groups(solution):
        factor = float(part.attrs.get("variance_factor", np.nan))
        parts.append(xr.full_like(part["residual"], factor if factor > 0 else np.nan))
    return (join_groups(parts, solution) / cell_variance(solution)).transpose(*solution["residual"].dims)


def _group_scale(residual: Array, weight: Array, starts: NDArray[np.intp]) -> Array:
    """Scatter of each exposure's group over the usual one, for weights that hold only within groups; 1 for one group.

    The median over units is taken, so that one noisy unit does not make its groups look noisy; and groups are taken
    to be alike unless their scatters say otherwise.
    """
    size = np.diff([*starts, weight.shape[1]])
    if starts.size == 1:
        return np.ones(weight.shape[1])
    fit = TwoWayFit.of(weight, starts)
    left = fit.residual(np.where(weight > 0, residual, 0.0))
    chi2 = np.add.reduceat(weight * left**2, starts, axis=1)
    dof = np.add.reduceat(np.where(weight > 0, 1 - fit.leverage, 0.0), starts, axis=1)
    told = dof > 0.5
    each = np.where(told, chi2 / np.where(told, dof, 1.0), np.nan)
    found, worth = np.full(starts.size, np.nan), np.zeros(starts.size)
    for k in np.flatnonzero(told.any(0)):
        usual = float(np.median(dof[told[:, k], k]))
        found[k] = np.nanmedian(each[:, k]) / max(1 - 2 / (9 * usual), 0.1) ** 3
        worth[k] = _OF_MEDIAN * dof[told[:, k], k].sum()
    known = np.isfinite(found) & (found > 0)
    own = Scatter(np.where(known, found, 0.0), np.where(known, worth, 0.0))
    scale = judged_scatter(own, usual=own).variance
    usual = float(np.nanmedian(scale)) if known.any() else 1.0
    return np.repeat(np.where(np.isfinite(scale), scale, usual) / usual, size)


def _rejected(solution: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Cells that a robust solve, and nothing else, took out; and those of them that left in a jump or with a unit."""
    if "quality" not in solution:
        nothing = xr.zeros_like(solution["residual"], dtype=bool)
        return nothing, nothing
    faults = Flag.OUTLIER | Flag.GAIN_JUMP | Flag.REJECTED_UNIT
    quality = solution["quality"]
    rejected = has_flag(quality, faults) & ~has_flag(quality, WITHOUT_WEIGHT & ~faults)
    return rejected, rejected & has_flag(quality, Flag.GAIN_JUMP | Flag.REJECTED_UNIT)


def _circumstances(solution: xr.Dataset, dims: list[str], column: NDArray[np.intp]) -> Circumstances:
    shape = tuple(solution.sizes[dim] for dim in dims)

    def of_unit(name: str) -> NDArray[np.generic] | None:
        if name not in solution.coords:
            return None
        values = solution[name].expand_dims({d: solution.sizes[d] for d in dims if d not in solution[name].dims})
        flat: NDArray[np.generic] = np.broadcast_to(values.transpose(*dims).values, shape).ravel()
        return flat

    def numbers(name: str) -> Array | None:
        values = of_unit(name)
        return None if values is None else values.astype(float)

    def words(values: NDArray[np.generic] | None) -> Labels | None:
        return None if values is None else values.astype(str)

    lamp = solution["lamp"].values[column] if "lamp" in solution.coords else None
    return Circumstances(
        x=numbers("x"),
        y=numbers("y"),
        detector_type=words(of_unit("detector_type")),
        amplifier=words(of_unit("amplifier")) if "amplifier" in dims else None,
        time=_hours(solution, column),
        lamp=words(lamp),
    )


def _hours(solution: xr.Dataset, column: NDArray[np.intp]) -> Array | None:
    if "time" not in solution.coords:
        return None
    times = solution["time"].values[column]
    known = ~np.isnat(times)
    if not known.any():
        return None
    seconds = (times - times[known].min()) / np.timedelta64(1, "s")
    hours: Array = np.where(known, seconds / _SECONDS_AN_HOUR, np.nan)
    return hours
