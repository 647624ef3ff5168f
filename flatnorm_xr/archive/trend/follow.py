"""Follow G over the years: one gauge for all runs, the drift of each unit, its changes, and what it moves with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.archive.trend.common_gauge import common_errors, gauge_set
from flatnorm_xr.archive.trend.fitting import Followed, follow_units
from flatnorm_xr.archive.trend.history import History, covariates, read_history, select_units
from flatnorm_xr.decompose.gauge import Gauge
from flatnorm_xr.decompose.structure.finding import holm
from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.model.make import version_attributes

__all__ = ["follow"]

Array = NDArray[Any]


def follow(
    history: xr.Dataset,
    *,
    gauge: Gauge = "common",
    against: str | Iterable[str] = (),
    alpha: float = 0.01,
    units: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Follow the response of each unit through a history of runs.

    What all units of the gauge set do together cannot be seen: a run says how units respond beside each other, and
    the gauge is that the typical one stays where it is. Light that fades, or a drift or response to temperature that
    all units share, is in ``gauge_offset`` or nowhere.

    Parameters
    ----------
    history : Dataset
        ``G`` (run, detector[, amplifier]), each run in its own gauge; NaN, zero and negative: not measured. Optional
        ``G_stderr``, NaN where unknown. Coordinates ``run``, ``time`` (run) in ascending order, and any that G is
        held against. Not changed.
    gauge : "common" or detector label(s)
        ``"common"``: the robust mean of ln G, each unit about its own level, over the units measured in at least half
        of the runs; a unit that comes or goes, jumps or drifts does not move the others. With fewer than three units
        it cannot be told which of them moved. Labels: the mean of G over the units of these detectors is 1 in each
        run.
    against : str or several
        Numeric coordinates along run to which ln G may respond linearly. Runs where one is NaN have no part in the
        fits.
    alpha : float
        Chance of any false change among all units in noise that is as supposed.
    units : mapping, optional
        Labels, or lists of them, by dim: fit these units alone. The gauge is still that of all units; only in large
        tables is it then found without taking off what the others' drifts and changes are.

    Returns
    -------
    Dataset
        All coordinates of ``history``, and

        ``G``, ``G_stderr`` (run, unit dims) in the common gauge, in which the mean of G over runs and gauge set is 1;
        ``gauge_offset`` (run), ln of what G of the run was divided by; ``in_gauge`` (unit dims), 1 for the gauge set.

        ``model`` (run, unit dims), what the terms below make of G, from a unit's first to its last run.

        ``drift``, ``drift_stderr`` (unit dims), slope of ln G per Julian year beside changes and responses, and
        ``drift_p_holm`` for the hypothesis of none, adjusted for the number of units. ``scatter``, the standard
        deviation of ln G about the model. ``noise_factor``, by how much the error of the drift is larger than if the
        scatter were independent from run to run.

        For each NAME in ``against``: ``response_NAME`` and its error, per unit of the coordinate,
        ``response_NAME_p_holm``, and ``correlation_NAME``, the partial correlation beside all other terms.

        Along ``change``, most significant first: ``change_detector``, ``change_amplifier``, ``change_run`` and
        ``change_time`` of the first run after it where it fits best, ``change_last_before``, the time of the unit's
        run before that; ``change_earliest`` and ``change_latest``, between which it was with a probability of 95 %;
        ``change_size``, ``change_size_stderr`` (ln
        of G after over before), and ``change_p``, adjusted for the number of units and places.

        NaN where there are fewer than 4 runs or they do not tell: drifts without times that differ, a response to
        what does not vary.

    Raises
    ------
    SchemaError
        ``history`` is no history, or its times are missing or not in order.
    FlatnormError
        An unknown coordinate, unit or detector; a named detector that some run lacks; an alpha that is no probability.
    DisconnectedError
        Runs that share no unit of the gauge set with the others.

    Notes
    -----
    Each unit is fitted by generalised least squares. Its noise has a white part, whose size is found from the data and
    whose changes from run to run are those of the stated errors, and, where that is likelier, a part that wanders: a
    first-order autoregression from run to run, a random walk in the limit. Changes are found by
    `flatnorm_xr.archive.trend.changes.find_changes`. A run that stands out from both its neighbours (five standard
    deviations of a difference) is shown, and has no part in the fit.

    References
    ----------
    Durbin & Koopman 2012, Time Series Analysis by State Space Methods, chapters 2 and 6 (regression in noise that
    wanders); Holm 1979, Scand. J. Statist. 6, 65.

    Examples
    --------
    >>> from flatnorm_xr.simulate.years import simulate_history
    >>> history = simulate_history(n_detectors=20, runs=60, drift={4: 0.01}, jumps=[(7, 0.5, 0.02)], seed=1)
    >>> trend = follow(history)
    >>> trend.drift.sel(detector=4).round(3).item(), trend.change_detector.values, trend.change_size.values.round(3)
    (0.01, array([7]), array([0.02]))
    """
    if not isinstance(alpha, int | float | np.number) or not 0 < alpha < 1:
        msg = f"follow: alpha is {alpha!r}; it must be a probability between 0 and 1, such as 0.01"
        raise FlatnormError(msg)
    table = read_history(history, caller="follow")
    chosen, rows = select_units(table, units, caller="follow")
    along = covariates(table, against, caller="follow")
    members = gauge_set(table, gauge, caller="follow")
    followed = follow_units(table, members, rows, along, alpha=float(alpha))
    stderr = common_errors(table, members, rows)
    found = _arrays(table, chosen, rows, followed, members.member, stderr)
    found |= _of_terms(chosen, table.dims, followed, list(along))
    found |= _of_changes(table, rows, followed)
    keep = {name: history.attrs[name] for name in ("camera", "physical_filter") if name in history.attrs}
    attrs = {
        "title": "G over the runs of an archive",
        **version_attributes(),
        **keep,
        "gauge": members.sentence,
        "alpha": float(alpha),
        "against": ", ".join(along),
    }
    return xr.Dataset(found, coords=chosen.coords, attrs=attrs)


def _arrays(
    table: History, chosen: xr.Dataset, rows: Array, followed: Followed, member: Array, stderr: Array | None
) -> dict[str, xr.Variable]:
    """G, its error and model along run and unit, and the gauge."""
    shape = [chosen.sizes[dim] for dim in table.dims]

    def along_run(values: Array, long_name: str) -> xr.Variable:
        attrs = {"units": "1", "long_name": long_name}
        return xr.Variable(("run", *table.dims), values.reshape(-1, *shape), attrs)

    G = np.exp(table.y[rows].T - followed.offset[:, np.newaxis])
    found = {"G": along_run(G, "relative response in the common gauge")}
    if stderr is not None:
        found["G_stderr"] = along_run(G * stderr, "standard error of G in the common gauge")
    found["model"] = along_run(np.exp(followed.model.T), "what drift, responses and changes make of G")
    offset_attrs = {"units": "1", "long_name": "ln of what G of the run was divided by"}
    found["gauge_offset"] = xr.Variable("run", followed.offset, offset_attrs)
    gauge_attrs = {"long_name": "1 for a unit that fixes the common gauge", "flag_values": np.array([0, 1], "i1")}
    gauge_attrs["flag_meanings"] = "not_in_gauge in_gauge"
    found["in_gauge"] = xr.Variable(table.dims, member[rows].astype("i1").reshape(shape), gauge_attrs)
    return found


def _of_terms(
    chosen: xr.Dataset, dims: tuple[str, ...], followed: Followed, names: list[str]
) -> dict[str, xr.Variable]:
    """Drift and responses with errors and p-values, and the noise, along unit."""
    shape = [chosen.sizes[dim] for dim in dims]
    found: dict[str, xr.Variable] = {}

    def put(name: str, values: Array, units: str, long_name: str) -> None:
        found[name] = xr.Variable(dims, values.reshape(shape), {"units": units, "long_name": long_name})

    terms = {"drift": ("drift of ln G", "year-1")}
    for name in names:
        unit = str(chosen[name].attrs.get("units", "1"))
        inverse = "1" if unit == "1" else f"{unit}-1" if unit.isalpha() else f"({unit})-1"
        terms[f"response_{name}"] = (f"response of ln G to {name}", inverse)
    for k, (name, (words, unit)) in enumerate(terms.items(), start=1):
        put(name, followed.beta[:, k], unit, words)
        put(f"{name}_stderr", followed.stderr[:, k], unit, f"standard error of the {words}")
        put(f"{name}_p_holm", holm(followed.p[:, k]), "1", f"p-value of no {words}, adjusted for the number of units")
    for k, name in enumerate(names, start=2):
        t = followed.beta[:, k] / np.where(followed.stderr[:, k] > 0, followed.stderr[:, k], np.nan)
        correlation = t / np.sqrt(t**2 + followed.dof)
        put(f"correlation_{name}", correlation, "1", f"partial correlation of ln G and {name}")
    put("scatter", followed.scatter, "1", "standard deviation of ln G about the model")
    words = "error of the drift over that in white noise of the same scatter"
    put("noise_factor", followed.noise_factor, "1", words)
    return found


def _of_changes(table: History, rows: Array, followed: Followed) -> dict[str, xr.Variable]:
    """Tabulate the changes of all units, most significant first."""
    s, k = np.nonzero(followed.steps >= 0)
    p, size, stderr = (values[s, k] for values in (followed.step_p, followed.size, followed.size_stderr))
    order = np.lexsort((-np.abs(size / stderr), p))
    s, k, p, size, stderr = s[order], k[order], p[order], size[order], stderr[order]
    after = followed.steps[s, k]
    first, latest = followed.span[s, k].T
    ds = table.dataset
    places = np.unravel_index(rows[s], table.shape)
    found = {
        f"change_{dim}": xr.Variable("change", ds[dim].values[place], {"long_name": f"{dim} that changed"})
        for dim, place in zip(table.dims, places, strict=True)
    }
    time = ds["time"].values
    more = {
        "change_time": (time[after], "time of the first run after the change", ""),
        "change_last_before": (
            time[_before(table.y, rows[s], after)],
            "time of the unit's last run before the change",
            "",
        ),
        "change_earliest": (time[_before(table.y, rows[s], first)], "time of the last run before it can have been", ""),
        "change_latest": (time[latest], "time of the first run after it must have been", ""),
        "change_run": (ds["run"].values[after], "first run after the change", ""),
        "change_size": (size, "ln of G after over before", "1"),
        "change_size_stderr": (stderr, "standard error of change_size", "1"),
        "change_p": (p, "p-value of no change, adjusted for the number of units and places", "1"),
    }
    for name, (values, long_name, unit) in more.items():
        attrs = {"long_name": long_name} | ({"units": unit} if unit else {})
        found[name] = xr.Variable("change", values, attrs)
    return found


def _before(y: Array, rows: Array, runs: Array) -> Array:
    """Last run of a unit before another, for each pair."""
    last = [np.flatnonzero(np.isfinite(y[row, :run]))[-1] for row, run in zip(rows, runs, strict=True)]
    return np.array(last, dtype=int)
