"""Put runs, each solved in a gauge of its own, into one gauge that no unit's coming, going or jumping moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.archive.trend.history import History
from flatnorm_xr.archive.trend.robust_levels import column_locations, row_medians, two_way_sweep
from flatnorm_xr.archive.trend.whitened import FLOOR
from flatnorm_xr.decompose.gauge import Gauge, named_detectors
from flatnorm_xr.errors import DisconnectedError, FlatnormError, offenders

__all__ = ["GaugeSet", "common_errors", "common_offsets", "gauge_set", "named_offsets", "offsets_beside"]

Array = NDArray[Any]

_SMALL = 2_000_000
"""Cells up to which runs and units are fitted together to convergence."""

_SWEEPS = 60
_SWEEPS_OF_MANY = 3

_START = 400
"""Units from whose medians the offsets are found to begin with, and runs from which levels are."""

_BLOCK = 64
"""Runs whose errors are converted at once."""


@dataclass(frozen=True)
class GaugeSet:
    """Units that fix the common gauge."""

    member: Array
    """(unit), bool."""
    named: bool
    """Whether the detectors were named, so that their mean is 1 in each run."""
    sentence: str


def gauge_set(history: History, gauge: Gauge, *, caller: str) -> GaugeSet:
    """Choose the units that fix the common gauge.

    Parameters
    ----------
    history : History
    gauge : "common" or detector label(s)
        ``"common"``: the units measured in at least half of the runs. Labels: those units of the named detectors that
        were measured in every run.

    Raises
    ------
    FlatnormError
        A named detector that is not there, or was not measured in some runs.
    DisconnectedError
        Runs in which no unit of the gauge set was measured, or that share none with the others.
    """
    measured = np.isfinite(history.y)
    if isinstance(gauge, str) and gauge == "common":
        member = measured.sum(axis=1) >= 0.5 * measured.shape[1]
        _check_connected(history, measured, member, caller)
        ever = int(measured.any(axis=1).sum())  # amplifiers that do not exist have cells, too
        of_all = f"{member.sum()} of {_units(ever)}"
        half = "measured in at least half of the runs"
        return GaugeSet(member, False, f"the typical unit is steady: robust mean of ln G over {of_all}, those {half}")
    try:
        labels = named_detectors(gauge)
    except FlatnormError:
        labels = None
    if not labels:
        msg = f"{caller}: gauge is {gauge!r}; it must be 'common', or a detector label or several"
        raise FlatnormError(msg)
    member = _named(history, measured, labels, caller)
    names = ", ".join(map(str, labels))
    sentence = f"mean of G over detectors {names} is 1 in each run (equal weights of {_units(int(member.sum()))})"
    return GaugeSet(member, True, sentence)


def _units(n: int) -> str:
    return f"{n} unit{'s' * (n != 1)}"


def common_offsets(y: Array, member: Array) -> Array:
    """Find what to subtract from ln G of each run, so that the typical unit of the gauge set stays where it is.

    Runs and units are fitted together, ``y = offset + level``: medians first, then Tukey's biweight about them to
    convergence. A unit's own level is taken off before runs are compared, so that a unit that comes or goes does not
    move the others; one that jumps or drifts far has no weight.

    Parameters
    ----------
    y : array, (unit, run)
        ln G, NaN where not measured.
    member : array of bool, (unit)
        The gauge set.

    Returns
    -------
    array, (run)
        NaN for a run in which no member was measured.

    References
    ----------
    Mosteller & Tukey 1977, Data Analysis and Regression, chapters 9 (median polish) and 10 (biweight).
    """
    units, runs = y.shape
    offset, scale, level = np.zeros(runs), np.empty(runs), np.zeros(units)
    start = y[spread_out(np.flatnonzero(member), _START)]
    every, of_start = np.ones(len(start), dtype=bool), np.zeros(len(start))
    column_locations(start, of_start[:, np.newaxis], every, FLOOR, offset, scale)
    for _ in range(2):
        row_medians(start, offset, of_start)
        column_locations(start, of_start[:, np.newaxis], every, FLOOR, offset, scale)
    some = spread_out(np.arange(runs), _START)
    row_medians(np.ascontiguousarray(y[:, some]), offset[some], level)
    small = y.size <= _SMALL
    settled = (1e-3 if small else 0.05) * float(np.nanmedian(scale)) / np.sqrt(max(member.sum(), 1))
    for _ in range(_SWEEPS if small else _SWEEPS_OF_MANY):
        if two_way_sweep(y, member, scale, offset, level) <= settled:
            break
    return offset


def spread_out(labels: Array, number: int) -> Array:
    """Choose so many of some labels, evenly spread; all of them where there are no more."""
    return labels[np.unique(np.linspace(0, labels.size - 1, number).round().astype(int))] if labels.size else labels


def offsets_beside(y: Array, model: Array, member: Array) -> Array:
    """Find offsets from what a model of every unit, (unit, run), leaves of ln G."""
    offset, scale = np.empty((2, y.shape[1]))
    column_locations(y, model, member, FLOOR, offset, scale)
    return offset


def named_offsets(y: Array, member: Array) -> Array:
    """Logarithm of the mean of G over the gauge set in each run, (run)."""
    return np.asarray(np.log(np.exp(y[member]).mean(axis=0)))


def common_errors(history: History, gauge: GaugeSet, rows: Array) -> Array | None:
    """Find the standard error of ln G in the common gauge, (run, row); None where the history states no errors.

    With a the share of each unit in the offset of a run, and units independent, ``Var(g_i - sum a_j g_j)`` is
    ``s_i^2 (1 - 2 a_i) + sum a_j^2 s_j^2``. Where the history holds ``G_own_variance`` (run, unit dims) and
    ``G_shared`` (run, unit dims, rank), the covariance of ln G in a run is the first on the diagonal plus the second
    times its transpose, and nothing else is supposed; a run without them has its stated errors.

    Parameters
    ----------
    history : History
    gauge : GaugeSet
    rows : array of int
        Units whose errors are asked for.

    Notes
    -----
    Errors stated in the gauge of the run hold the error of that gauge too: with n units alike they are too small by
    1/(2 n). A member without a stated error is taken for a typical one.
    """
    ds = history.dataset
    factors = "G_own_variance" in ds and "G_shared" in ds
    if not factors and "G_stderr" not in ds:
        return None
    found = np.empty((history.y.shape[1], rows.size))
    for first in range(0, found.shape[0], _BLOCK):
        some = slice(first, first + _BLOCK)
        G = np.where(np.isfinite(history.y[:, some].T), history.of_runs("G", some), np.nan)
        own = (history.of_runs("G_stderr", some) / G) ** 2 if "G_stderr" in ds else np.full(G.shape, np.nan)
        if factors:
            of_unit = history.of_runs("G_own_variance", some)
            own = np.where(np.isfinite(of_unit).any(axis=1, keepdims=True), of_unit, own)
        own = np.where(np.isfinite(own) & np.isfinite(G), own, np.nan)
        share = _shares(G, gauge)
        inside = (share > 0) & np.isfinite(own)
        typical = np.where(inside, own, 0.0).sum(axis=1) / np.maximum(inside.sum(axis=1), 1)
        of_offset = (share**2 * np.where(inside, own, typical[:, np.newaxis])).sum(axis=1)
        variance = own[:, rows] * (1 - 2 * share[:, rows]) + of_offset[:, np.newaxis]
        if factors:
            shared = np.nan_to_num(history.of_runs("G_shared", some))
            pulled = np.einsum("ru,ruk->rk", share, shared)
            variance += ((shared[:, rows] - pulled[:, np.newaxis, :]) ** 2).sum(axis=2)
        found[some] = np.sqrt(np.maximum(variance, 0.0))
    return found


def _shares(G: Array, gauge: GaugeSet) -> Array:
    """Share of each unit in the offset, (run, unit)."""
    share = np.where(gauge.member & np.isfinite(G), G if gauge.named else 1.0, 0.0)
    return np.asarray(share / np.maximum(share.sum(axis=1, keepdims=True), np.finfo(float).tiny))


def _named(history: History, measured: Array, labels: list[str | int], caller: str) -> Array:
    known = history.dataset["detector"].values.tolist()
    absent = [label for label in labels if label not in known]
    if absent:
        msg = f"{caller}: gauge names detectors {offenders(absent)}, which are not there; have {offenders(known)}"
        raise FlatnormError(msg)
    member = np.zeros(history.shape, dtype=bool)
    cells = measured.reshape(*history.shape, -1)
    for label in labels:
        own = cells[known.index(label)]
        ever = own.reshape(-1, own.shape[-1])
        unseen = np.flatnonzero(~ever.any(axis=0))
        if unseen.size:
            runs = offenders([str(run)[:12] for run in history.dataset["run"].values[unseen]])
            msg = f"{caller}: gauge names detector {label}, not measured in runs {runs}; name others or use 'common'"
            raise FlatnormError(msg)
        member[known.index(label)] = own.all(axis=-1)
        if not own.all(axis=-1).any():
            msg = f"{caller}: gauge names detector {label}, no amplifier of which is in every run; name others"
            raise FlatnormError(msg)
    return member.ravel()


def _check_connected(history: History, measured: Array, member: Array, caller: str) -> None:
    """Raise unless all runs hang together by units of the gauge set."""
    of_set = measured[member]
    reached = np.zeros(measured.shape[1], dtype=bool)
    reached[int(of_set.sum(axis=0).argmax()) if of_set.size else 0] = bool(of_set.any())
    while True:
        units = of_set[:, reached].any(axis=1)
        grown = reached | of_set[units].any(axis=0)
        if (grown == reached).all():
            break
        reached = grown
    if reached.all():
        return
    runs = offenders([str(run)[:12] for run in history.dataset["run"].values[~reached]])
    msg = (
        f"{caller}: runs {runs} measured no unit that at least half of the runs have and that ties them to the others, "
        f"so their gauge is not known; leave them out, or name detectors in gauge= that all runs have"
    )
    raise DisconnectedError(msg)


def in_gauge(history: History, gauge: GaugeSet) -> xr.DataArray:
    """Which units fix the gauge, 1 or 0, along the dims of a unit."""
    ds = history.dataset
    member = gauge.member.reshape(history.shape).astype("i1")
    return xr.DataArray(member, dims=history.dims, coords={dim: ds[dim] for dim in history.dims})
