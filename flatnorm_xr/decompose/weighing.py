"""Decide what each cell weighs in the fit: its variance, the floor of that, and whether a fault took it out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.cells import log_levels
from flatnorm_xr.decompose.floor import Levels, estimate_floor
from flatnorm_xr.decompose.log_link import fit_log_link
from flatnorm_xr.decompose.robust.search import Faults, find_faults
from flatnorm_xr.decompose.sweeps import unit_dims

__all__ = ["Known", "Model", "Robust", "Weighed", "weigh"]

Model = Literal["log", "log-link"]
Robust = Literal["tukey", "huber"]

_ROUNDS = 5
"""Times that floor and faults are found in turn; two or three are the rule."""

_FEWEST_UNITS = 4
_FEWEST_EXPOSURES = 3
"""Below these what is wrong in one looks like what is right in the others."""

_FLOORED = 0.1
"""Square of the floor, in units of the median variance from pixels, above which the floor is what errs."""

_SAME = 0.01
"""Relative change of a floor that changes nothing else."""


class Known(NamedTuple):
    """What is known of the levels before the fit, all (unit dims, exposure)."""

    background: xr.DataArray
    usable: xr.DataArray
    """Cells that may carry weight, bool."""
    noise: xr.DataArray | None
    """Variance of a level from its pixels, in squared units of the level; or None, and then"""
    weight: xr.DataArray | None
    """are the weights."""
    alike: bool = False
    """Whether faults are looked for as if all levels had the same relative error, whatever the weights."""


class Weighed(NamedTuple):
    """The levels as they enter the fit, (unit dims, exposure) but for ``floor``."""

    y: xr.DataArray
    """ln(background), or what stands for it under a log link; finite everywhere."""
    weight: xr.DataArray
    """0 where not used."""
    before: xr.DataArray
    """Weights before faults were taken out."""
    floor: NDArray[np.float64] | None = None
    """(exposure), relative systematic error; None where the weights know none."""
    faults: xr.DataArray | None = None
    """Flags of the faults, u4; None where none were looked for."""
    rejection: xr.DataArray | None = None
    """Number of the event that took a cell out, i4, 0 for none."""
    doubts: tuple[str, ...] = ()
    """What a user should know of how it went."""


class _Linear(NamedTuple):
    """Levels as a plain fit of logarithms sees them: y, and the variance of y from pixels alone."""

    y: xr.DataArray
    noise: xr.DataArray | None
    usable: xr.DataArray
    doubts: tuple[str, ...] = ()


def weigh(
    known: Known,
    *,
    floor: float | Literal["estimate"] = 0.0,
    floor_class: NDArray[np.intp],
    groups: Sequence[NDArray[np.intp]],
    robust: Robust | None = None,
    model: Model = "log",
    spent: Sequence[int] = (),
) -> Weighed:
    """Find weights, floors and faults: in turn, until they agree.

    Parameters
    ----------
    known : Known
    floor : float or "estimate"
        Relative systematic error of a level, where its noise is known.
    floor_class : array of int, (exposure)
        Exposures of one number share a floor.
    groups : sequence of array of int
        Exposures solved together, each in order of time.
    robust : {"tukey", "huber"}, optional
        See `flatnorm_xr.decompose.robust.search.find_faults`.
    spent : sequence of int
        Parameters that were fitted in each group beside G and E, and that the levels are free of already.
    model : {"log", "log-link"}
        See `flatnorm_xr.decompose.log_link.fit_log_link`.
    """
    estimated = known.noise is not None and isinstance(floor, str)
    floors = np.zeros(int(floor_class.max()) + 1) + (0.0 if isinstance(floor, str) else floor)
    rejection = xr.zeros_like(known.usable, dtype="i4")
    found: list[Faults] = []
    doubts: list[str] = []
    unknown = False
    for _ in range(_ROUNDS):
        linear = _linear(known, rejection, model=model, floor=floors[floor_class], groups=groups)
        last_floors, last_rejection = floors, rejection
        if estimated:
            found_floors = _floors(linear, rejection, floor_class, groups, spent or [0] * len(groups))
            floors = np.nan_to_num(found_floors)
            unknown = bool(np.isnan(found_floors).any())
        before = _weight(known, linear, floors[floor_class])
        if robust is not None:
            judged = (before > 0).astype(float) if known.alike else before
            found = find_faults([_pair(chosen, linear.y, judged) for chosen in groups], robust=robust)
            rejection = _together([faults.rejection for faults in found], groups, like=rejection)
        depends = (estimated and robust is not None) or model == "log-link"
        same_floors = np.allclose(floors, last_floors, rtol=_SAME, atol=0, equal_nan=True)
        if not depends or (same_floors and np.array_equal(rejection.values, last_rejection.values)):
            break
    else:
        doubts.append("solve: floor and faults do not settle: each changes the other; give one of them")
    if robust is not None:
        doubts += _too_small(before, groups)
    if unknown:
        doubts.append("solve: nothing is left to estimate the floor from, 0 was taken; give a floor")
    weighed = Weighed(linear.y, before, before, floors[floor_class] if known.noise is not None else None)
    if robust is not None:
        flags = _together([faults.quality for faults in found], groups, like=rejection.astype("u4"))
        weighed = weighed._replace(weight=before.where(rejection == 0, 0.0), faults=flags, rejection=rejection)
    return weighed._replace(doubts=(*linear.doubts, *doubts, *_refused(found)))


def _too_small(weight: xr.DataArray, groups: Sequence[NDArray[np.intp]]) -> list[str]:
    """Say so where there is too little to tell a fault from the others' answer to it."""
    units = unit_dims(weight)
    small = 0
    for chosen in groups:
        used = weight.isel(exposure=chosen) > 0
        n_units, n_exposures = int(used.any("exposure").sum()), int(used.any(units).sum())
        small += n_units < _FEWEST_UNITS or n_exposures < _FEWEST_EXPOSURES
    if not small:
        return []
    where = f" in {small} of {len(groups)} groups" if len(groups) > 1 else ""
    return [
        f"solve: fewer than {_FEWEST_UNITS} units or {_FEWEST_EXPOSURES} exposures{where}: robust= can hardly tell "
        f"which level is at fault there"
    ]


def _refused(found: Sequence[Faults]) -> tuple[str, ...]:
    share = max((faults.refused for faults in found), default=0.0)
    if share == 0:
        return ()
    return (
        f"solve: {100 * share:.0f} % of the cells of some group would have to be rejected: the model is at fault, not "
        f"the cells, and few were rejected; see diagnose(solution)",
    )


def _linear(
    known: Known,
    rejection: xr.DataArray,
    *,
    model: Model,
    floor: NDArray[np.float64],
    groups: Sequence[NDArray[np.intp]],
) -> _Linear:
    """Take logarithms, or the working levels that stand for them under a log link."""
    if model == "log":
        noise = None if known.noise is None else known.noise / known.background.where(known.usable, 1.0) ** 2
        return _Linear(log_levels(known.background), noise, known.usable)
    y = xr.zeros_like(known.background, dtype=float)
    mu = xr.full_like(y, np.nan)
    doubts = []
    for chosen in groups:
        here = {"exposure": chosen}
        fit = fit_log_link(
            known.background[here],
            (known.usable & (rejection == 0))[here],
            noise_variance=None if known.noise is None else known.noise[here],
            floor=float(floor[chosen[0]]) if chosen.size else 0.0,
            weight=None if known.weight is None else known.weight[here],
        )
        eta = (fit.g + fit.e).transpose(*y.dims)
        mu[here] = np.exp(eta)
        y[here] = (eta + known.background[here] / np.exp(eta) - 1).fillna(0.0)
        if not fit.converged:
            doubts.append(
                f"solve: the fit with a log link stopped after {fit.iterations} iterations, and ln(G E) still moved by "
                f"{fit.change:.1e}"
            )
    usable = known.usable & mu.notnull()
    noise = None if known.noise is None else (known.noise / mu**2).where(usable, 0.0)
    return _Linear(y, noise, usable, tuple(doubts))


def _floors(
    linear: _Linear,
    rejection: xr.DataArray,
    floor_class: NDArray[np.intp],
    groups: Sequence[NDArray[np.intp]],
    spent: Sequence[int],
) -> NDArray[np.float64]:
    assert linear.noise is not None
    number = xr.DataArray(floor_class, dims="exposure")
    # a level whose pixels do not scatter is not known to be perfect: it says nothing of the floor
    used = linear.usable & (rejection == 0) & (linear.noise > 0)
    parts = [
        Levels(y, noise, part_used, part_number, more)
        for (y, noise, part_used, part_number), more in zip(
            (_of(chosen, linear.y, linear.noise, used, number) for chosen in groups), spent, strict=True
        )
    ]
    return estimate_floor(parts, classes=int(floor_class.max()) + 1)


def _weight(known: Known, linear: _Linear, floor: NDArray[np.float64]) -> xr.DataArray:
    """Weight of each cell that may carry one, faults included."""
    if known.noise is None:
        assert known.weight is not None
        # a copy costs as much as an iteration of the fit, and where nothing was lost the weights are right as they are
        return known.weight if linear.usable is known.usable else known.weight.where(linear.usable, 0.0)
    assert linear.noise is not None
    squared = xr.DataArray(floor, dims="exposure") ** 2
    # a level whose pixels do not scatter is as good as the floor where that is what errs, and not known elsewhere
    typical = float(linear.noise.where(linear.usable & (linear.noise > 0)).compute().median())
    usable = linear.usable & ((linear.noise > 0) | ((squared > 0) & ~(squared < _FLOORED * typical)))
    variance = linear.noise + squared
    return (1 / variance.where(usable, 1.0)).where(usable, 0.0).transpose(*linear.y.dims)


def _of(chosen: NDArray[np.intp], *arrays: xr.DataArray) -> tuple[xr.DataArray, ...]:
    """Exposures of one group, without labels."""
    return tuple(array.drop_vars(list(array.coords)).isel(exposure=chosen) for array in arrays)


def _pair(chosen: NDArray[np.intp], y: xr.DataArray, weight: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    y, weight = _of(chosen, y, weight)
    return y, weight


def _together(parts: Sequence[xr.DataArray], groups: Sequence[NDArray[np.intp]], *, like: xr.DataArray) -> xr.DataArray:
    """Put arrays of the groups back to where their exposures are; zero elsewhere."""
    whole = xr.zeros_like(like)
    for part, chosen in zip(parts, groups, strict=True):
        whole[{"exposure": chosen}] = part.transpose(*whole.dims).values
    return whole
