"""Find the cells, runs, units and exposures that do not follow background = G E, so that the fit can leave them out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.connectivity import connect
from flatnorm_xr.decompose.robust.jumps_in_step import in_step
from flatnorm_xr.decompose.robust.m_estimate import Psi, m_estimate, refit
from flatnorm_xr.decompose.robust.scatter import (
    NORMAL_MEDIAN,
    Scatter,
    Table,
    leverage_factor,
    masked_median,
    moderate,
    scatter,
    smallest_scale,
)
from flatnorm_xr.decompose.robust.unit_faults import Event, Limits, unit_events
from flatnorm_xr.decompose.sweeps import unit_dims
from flatnorm_xr.flags import Flag

__all__ = ["Faults", "find_faults"]

Array = NDArray[np.float64]

_ALARMS = 0.01
"""Nights without a fault in which some run of some unit may exceed its limit."""

_EXPOSURE_ALARMS = 5e-4
_UNIT_ALARMS = 2e-3
"""The same for exposures and units that scatter too much."""

_REST_ALARMS = 2e-3
"""Units with a fault whose rest may scatter too much by chance."""

_MOST_EXCESS = 25.0
"""Variance of a unit, in units of the typical one, that is never just the manner of units."""

_SPLIT_ALARMS = 1e-3
"""Share of runs of one level that may be split by chance."""

_ROUNDS = 8

_FEWEST_EXPOSURES = 3
_FEWEST_UNITS = 4
"""Exposures of a table, and units of an exposure, below which no whole exposure can be told from the others."""

_FEWEST_FREE = 2.6
"""Degrees of freedom that fitting must leave an exposure for its scatter to be judged: 4 units will do where they were
in 8 exposures or more, 5 in 3."""

_SINGLE = 2
"""Events that are never too many."""

_MOST_CELLS = 0.2
_MOST_EXPOSURES = 1 / 3
_MOST_UNITS = 1 / 2
_MOST_OF_ALL = 1 / 2
"""Shares of a table beyond which the model is at fault and not the cells (single, or in runs), exposures, units, all
together."""

_MEDIAN_EFFICIENCY = 0.37
"""Efficiency of the median absolute residual of an exposure as an estimate of its scatter."""


class Faults(NamedTuple):
    """What was found in one table."""

    quality: xr.DataArray
    """u4, (unit dims, exposure): OUTLIER, GAIN_JUMP, REJECTED_UNIT or REJECTED_EXPOSURE, each cell at most one."""
    rejection: xr.DataArray
    """i4, same dims: number of the event, counted from 1 on through all tables; 0 where there is none."""
    refused: float
    """Share of the cells that would have gone, where that was so much that the model is at fault; else 0."""


@dataclass(frozen=True)
class _Part:
    """One table on its way: ``weight`` as given, ``kept`` without exposures left out, ``used`` without events."""

    residual: Array
    weight: Array
    kept: Array
    used: Array
    exposures: tuple[Event, ...] = ()
    events: tuple[Event, ...] = ()

    @property
    def table(self) -> Table:
        return Table(self.residual, self.kept)

    @property
    def all_events(self) -> tuple[Event, ...]:
        return self.exposures + self.events


def find_faults(parts: Sequence[tuple[xr.DataArray, xr.DataArray]], *, robust: Psi) -> list[Faults]:
    """Find what does not follow the outer product, and say what kind of fault it is.

    An M-estimate that starts from a median polish gives residuals that faults cannot drag
    (`flatnorm_xr.decompose.robust.m_estimate`). Whole exposures come first: those whose median absolute residual is
    larger than that of the others by more than chance, and than exposures differ anyway. Then, unit by unit, the run
    of exposures that stands off the rest of the unit's series the most, ``T = (mean in - mean out) / sqrt(1/W_in +
    1/W_out)``, is taken out if the size of T exceeds a limit that all runs of all units together exceed in 1 % of
    nights; and again, until none does. Then least squares without what was found gives better residuals and a better
    scale, and the search is made anew, until nothing changes.

    * One cell is an outlier, and so is a run in the middle of the series; a run that reaches an end of the unit's
      measured cells is a gain jump. The smaller side is the faulty one; of two halves the later, unless the earlier
      has 5 % less weight.
    * Amplifiers of one detector that jumped at the same exposure lose the same side, so that their responses are of one
      time (`flatnorm_xr.decompose.robust.jumps_in_step`).
    * A unit goes as a whole when more than half of its cells do (2/5 in several events), or when most of them scatter
      three times as much as those of other units.
    * An exposure goes as a whole, too, when more than half of its cells do.

    Tables where more than a fifth of the cells, a third of the exposures or half of the units would go are searched
    again with the scale of *all* their residuals, so that only what stands out even there goes, or nothing.
    Nothing is left out of a table with fewer than 3 exposures. Units and exposures that stay keep their ties.

    Parameters
    ----------
    parts : sequence of (y, weight)
        For each group of exposures that is fitted by itself, both (unit dims, exposure) with exposures in order of
        time: ln(background), any finite number where the weight is zero; and the weight, zero for "not used", else
        the inverse variance up to one factor for all tables. Labels are not looked at.
    robust : {"tukey", "huber"}
        Psi of the M-estimate, with 95 % of the efficiency of least squares on normal errors: Tukey's biweight,
        c = 4.685, which forgets far cells; Huber's, c = 1.345, which bounds their pull.

    Returns
    -------
    list of Faults
        One for each table. Cells of weight zero carry no flag and belong to no event.
    """
    given = [_part(y, weight) for y, weight in parts]
    found = _search(given, robust=robust)
    refused = [_too_much(part) for part in found]
    for k in np.flatnonzero(refused):
        sparing = _search([given[k]], robust=robust, scale=_plain_scale(given[k].table))[0]
        found[k] = given[k] if _too_much(sparing) else sparing
    faults, first = [], 1
    for (_, weight), part, share in zip(parts, found, refused, strict=True):
        together = in_step(part.events, part.kept > 0, _detectors(weight))
        events = _tied(replace(part, events=together))
        faults.append(_faults(weight, events, first=first, refused=share))
        first += len(events)
    return faults


def _detectors(weight: xr.DataArray) -> NDArray[np.intp]:
    """Detector of each row of a table."""
    dims = unit_dims(weight)
    shape = [weight.sizes[dim] for dim in dims]
    along = [shape[k] if dim == "detector" else 1 for k, dim in enumerate(dims)]
    return np.broadcast_to(np.arange(weight.sizes["detector"]).reshape(along), shape).ravel()


def _part(y: xr.DataArray, weight: xr.DataArray) -> _Part:
    dims = [*unit_dims(weight), "exposure"]
    exposures = weight.sizes["exposure"]
    table = weight.transpose(*dims).values.reshape(-1, exposures).astype(float, copy=False)
    residual = y.transpose(*dims).values.reshape(-1, exposures)
    return _Part(np.where(table > 0, residual, 0.0), table, table, table)


def _search(given: Sequence[_Part], *, robust: Psi, scale: float = 0.0) -> list[_Part]:
    """Look for exposures, then for faults of units, until nothing changes; ``scale`` is the smallest to assume."""
    parts = list(given)
    can_be = [int((part.weight > 0).any(axis=0).sum()) >= _FEWEST_EXPOSURES for part in parts]
    chosen = [k for k, can in enumerate(can_be) if can]
    active = [parts[k] for k in chosen]
    before: list[_Part] = []
    while active:
        fitted = m_estimate([part.table for part in active], robust=robust, polish=not before)
        active = [replace(part, residual=table.residual) for part, table in zip(active, fitted, strict=True)]
        before, active = active, _without_odd_exposures(active)
        if _same(before, active):
            break
    for k in range(_ROUNDS if active else 0):
        before = active
        limits = _limits(active, scale=scale, clean=k > 0)
        active = [
            replace(part, events=tuple(unit_events(part.table, part.used, limits=limit)))
            for part, limit in zip(active, limits, strict=True)
        ]
        active = [_without_spoilt_exposures(_without_events(part)) for part in active]
        active = [replace(part, residual=refit(part.table, part.used).residual) for part in active]
        active = _without_odd_exposures(active)
        if k > 0 and _same(before, active):
            break
    for k, part in zip(chosen, active, strict=True):
        parts[k] = part
    return parts


def _same(before: Sequence[_Part], after: Sequence[_Part]) -> bool:
    """Whether the same cells are in use."""
    return all(np.array_equal(a.used > 0, b.used > 0) for a, b in zip(before, after, strict=True))


def _limits(parts: Sequence[_Part], *, scale: float, clean: bool) -> list[Limits]:
    """How far from the rest a run, a part of a run, or the scatter of a unit must be to count as a fault.

    The scatter is known to so many degrees of freedom, hence Student's t and F; a small table needs more.
    """
    from scipy.special import fdtri, stdtrit

    tables, used = [part.table for part in parts], [part.used for part in parts]
    pooled = scatter(tables, used)
    pooled = Scatter(max(pooled.scale, scale), max(pooled.dof, 1.0))
    of_units = moderate(tables, used, pooled=pooled, clean=clean)
    cells = np.concatenate([(part.kept > 0).sum(axis=1) for part in parts]).astype(float)
    cells = cells[cells >= _FEWEST_EXPOSURES]
    runs = max(float((cells * (cells + 1)).sum()) / 2, 1.0)
    contrast = -float(stdtrit(pooled.dof, _ALARMS / runs / 2))
    number = np.arange(max(part.weight.shape[1] for part in parts) + 1.0)
    inner = -stdtrit(pooled.dof, _SPLIT_ALARMS / np.maximum(number * (number + 1), 1.0))
    dof = min(pooled.dof, of_units.prior)
    excess, excess_rest = (
        np.minimum(fdtri(np.maximum(number, 1.0), dof, 1 - alarms), _MOST_EXCESS)
        for alarms in (_UNIT_ALARMS / max(cells.size, 1), _REST_ALARMS)
    )
    pairs = zip(of_units.scales, of_units.dof, strict=True)
    widened = [own * -stdtrit(known, _ALARMS / runs / 2) / contrast for own, known in pairs]
    return [Limits(of_units.typical, scales, contrast, inner, excess, excess_rest) for scales in widened]


def _without_events(part: _Part) -> _Part:
    used = part.kept.copy()
    for event in part.events:
        used.flat[event.cells] = 0.0
    return replace(part, used=used)


def _without_exposure(part: _Part, exposure: int, size: float) -> _Part:
    """Leave a whole exposure out, unless more than half would be gone."""
    measured = part.weight > 0
    if 2 * (len(part.exposures) + 1) > int(measured.any(axis=0).sum()):
        return part
    cells = np.flatnonzero(measured[:, exposure]) * part.weight.shape[1] + exposure
    kept, used = part.kept.copy(), part.used.copy()
    kept[:, exposure] = used[:, exposure] = 0.0
    event = Event(Flag.REJECTED_EXPOSURE, cells, size)
    exposures = sorted((*part.exposures, event), key=lambda event: event.cells[0] % part.weight.shape[1])
    return replace(part, kept=kept, used=used, exposures=tuple(exposures))


def _without_spoilt_exposures(part: _Part) -> _Part:
    """Leave out exposures that lost more than half of their cells to faults of units that are otherwise good."""
    units = np.ones(part.weight.shape[0], dtype=bool)
    for event in part.events:
        if event.flag is Flag.REJECTED_UNIT:
            units[event.cells[0] // part.weight.shape[1]] = False
    number = ((part.kept > 0) & units[:, np.newaxis]).sum(axis=0)
    lost = number - ((part.used > 0) & units[:, np.newaxis]).sum(axis=0)
    for exposure in np.flatnonzero((2 * lost > number) & (number >= _FEWEST_UNITS)):
        if len(part.exposures) + 1 <= _most_exposures(part):
            part = _without_exposure(part, int(exposure), float(lost[exposure]))
    return part


def _most_exposures(part: _Part) -> float:
    """How many exposures may go before the model is at fault."""
    return max(_MOST_EXPOSURES * float((part.weight > 0).any(axis=0).sum()), 1.0)


def _without_odd_exposures(parts: Sequence[_Part]) -> list[_Part]:
    """Leave out of each table the exposure that scatters most, if it does so more than chance and the others allow.

    The scatter is the median absolute standardised residual over units. It must be 1.5 times and 1 + 5.3 / sqrt(n)
    times that of the others, and more than an F test of medians allows and than exposures are seen to differ.
    """
    from scipy.special import fdtri

    sizes = []
    least = NORMAL_MEDIAN * smallest_scale([part.table for part in parts])
    for part in parts:
        factor = leverage_factor(part.kept, part.used)
        seen = (part.used > 0) & (factor > 0)
        size = np.maximum(masked_median(np.abs(part.residual * factor), seen, axis=0), least)
        kept = np.divide(part.kept, factor**2, out=np.zeros_like(factor), where=seen)
        sizes.append(np.where(kept.sum(axis=0) >= _FEWEST_FREE, size, 0.0))
    pooled = np.concatenate(sizes)
    common = float(np.median(pooled[pooled > 0])) if (pooled > 0).any() else 0.0
    share = 1 - _EXPOSURE_ALARMS / max(pooled.size, 1)
    found = []
    for part, size in zip(parts, sizes, strict=True):
        number = (part.used > 0).sum(axis=0)
        judged = (number >= _FEWEST_UNITS) & (size > 0)
        found.append(part)
        if judged.sum() < _FEWEST_EXPOSURES:
            continue
        worst = int(np.where(judged, size, 0.0).argmax())
        judged[worst] = False
        n, others = float(number[worst]), float(number[judged].sum())
        log = np.log(size[judged])
        middle = float(np.median(log))
        spread = (np.median(np.abs(log - middle)) / 0.6745) ** 2 - 0.5 / (_MEDIAN_EFFICIENCY * number[judged].mean())
        limit = max(
            1.5,
            1 + 5.3 / math.sqrt(n),
            math.sqrt(fdtri(_MEDIAN_EFFICIENCY * n, _MEDIAN_EFFICIENCY * others, share)),
            math.exp(3 * math.sqrt(max(float(spread), 0.0))),
        )
        ratio = float(size[worst]) / max(math.exp(middle), common)
        if ratio > limit:
            found[-1] = _without_exposure(part, worst, ratio)
    return found


def _too_much(part: _Part) -> float:
    """Share of the cells that would go, if that is so much that it says the model is wrong; else 0."""
    valid = part.weight > 0
    whole = [event for event in part.events if event.flag is Flag.REJECTED_UNIT]
    cells = sum(event.cells.size for event in part.events if event.flag is not Flag.REJECTED_UNIT)
    lost = float((part.used == 0)[valid].mean()) if valid.any() else 0.0
    too_many = (
        (len(part.events) - len(whole) > _SINGLE and cells > _MOST_CELLS * valid.sum())
        or len(part.exposures) > _most_exposures(part)
        or len(whole) > _MOST_UNITS * valid.any(axis=1).sum()
        or lost > _MOST_OF_ALL
    )
    return lost if too_many else 0.0


def _plain_scale(table: Table) -> float:
    """Root mean square of the standardised residuals of plain least squares."""
    factor = leverage_factor(table.weight, table.weight)
    z = (refit(table, table.weight).residual * factor)[factor > 0]
    return math.sqrt(float(z @ z) / z.size) if z.size else 0.0


def _tied(part: _Part) -> tuple[Event, ...]:
    """Events that may stay, in order: without those that would cut ties between units and exposures that stay."""
    events = list(part.all_events)
    if not events:
        return ()
    whole = connect(_mask(part.weight > 0))
    before = np.concatenate([whole.unit.values, whole.exposure.values])
    n_units, n_exposures = part.weight.shape
    while events:
        left = part.weight > 0
        for event in events:
            left.flat[event.cells] = False
        rest = connect(_mask(left))
        after = np.concatenate([rest.unit.values, rest.exposure.values])
        stays = after >= 0
        if np.unique(np.stack([before, after])[:, stays], axis=1).shape[1] <= np.unique(before[stays]).size:
            break
        cutting = []
        for event in events:
            unit, exposure = np.divmod(event.cells, n_exposures)
            members = np.concatenate([after[unit], after[n_units + exposure]])
            cutting.append(np.unique(members[members >= 0]).size > 1)
        candidates = [k for k, cuts in enumerate(cutting) if cuts or not any(cutting)]
        events.pop(min(candidates, key=lambda k: _certainty(events[k])))
    return tuple(events)


def _certainty(event: Event) -> tuple[bool, float]:
    """Order in which events are given up to keep ties: single cells and runs before units and exposures."""
    return event.flag in (Flag.REJECTED_UNIT, Flag.REJECTED_EXPOSURE), event.size


def _mask(measured: NDArray[np.bool_]) -> xr.DataArray:
    return xr.DataArray(measured, dims=("detector", "exposure"))


def _faults(weight: xr.DataArray, events: Sequence[Event], *, first: int, refused: float) -> Faults:
    dims = [*unit_dims(weight), "exposure"]
    like = weight.transpose(*dims)
    quality, rejection = np.zeros(like.size, dtype="u4"), np.zeros(like.size, dtype="i4")
    for number, event in enumerate(events, start=first):
        quality[event.cells] = np.uint32(event.flag)
        rejection[event.cells] = number
    return Faults(
        like.copy(data=quality.reshape(like.shape)).transpose(*weight.dims),
        like.copy(data=rejection.reshape(like.shape)).transpose(*weight.dims),
        refused,
    )
