"""Picture of how the amplifiers of a detector compare, beside what the gains in the headers say."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.errors import FlatnormError, offenders
from flatnorm_xr.model.schema import units_of
from flatnorm_xr.show.axes import Rows, choose_axes, name_columns, plain, rows_of, side_by_side, table
from flatnorm_xr.show.looks import WIDE
from flatnorm_xr.show.plots.points import draw_points
from flatnorm_xr.show.requirements import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.lines import Line2D

__all__ = ["AmplifierRatio", "amplifier_ratio"]

_CALLER = "plot.amplifier_ratio"

_DEPARTS = 5.0
"""Standard deviations from the line beyond which an amplifier may be named: of it or of all, whichever is more."""

_NO_DIFFERENCE = 1e-9
"""Spread of ln gain within detectors up to which gains are the same number, written many times."""

Array = NDArray[np.float64]


class AmplifierRatio(NamedTuple):
    """Artists of `amplifier_ratio`."""

    points: list[ErrorbarContainer]
    """One for each group of exposures."""
    expected: Line2D
    """Where an amplifier lies whose gain is the only difference."""
    departing: dict[str, Line2D]
    """Rings around the amplifiers that depart most, by the words of the legend."""
    note: str
    """What is written beneath: how many have no gain, and whether the gains can be true."""


class _Compared(NamedTuple):
    """Amplifiers of one group that have both a ratio and a gain; (amplifier) each."""

    names: list[str]
    row: NDArray[np.intp]
    """Of `rows_of`."""
    predicted: Array
    ratio: Array
    error: Array
    """Absolute; NaN where not known."""
    departure: Array
    """ln of the ratio over what is expected."""


def amplifier_ratio(
    solution: xr.Dataset,
    *,
    group: Any = None,
    named: int = 5,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> AmplifierRatio:
    """Draw the ratios of amplifiers within their detector against those that the header gains predict.

    Within a detector the light is nearly the same, so levels in adu differ as 1/gain does, and amplifiers lie on the
    line 1:1 as far as gains are right. The scale of 1/gain is that which puts the median amplifier of each detector on
    the line, so that one wrong gain does not move the others.

    Parameters
    ----------
    solution : Dataset
        Solved by amplifiers, with the coordinate ``gain`` (electron/adu). Error bars are ``amplifier_ratio_stderr`` of
        `flatnorm_xr.hierarchy`. Amplifiers without a gain (NaN, zero or negative) are left out and counted. Levels in
        electron have the gain in them: all ratios are expected to be 1. Where gains do not differ at all, ratios are
        drawn in the order of units, and the picture says so.
    group : optional
        Label of one group of exposures; all are drawn, in a colour each, when not given.
    named : int
        Most amplifiers that are ringed and named, the largest departures first: those more than 5 standard deviations
        off the line, of their own error or of the scatter of all amplifiers, whichever is larger.
    ax : Axes, optional
        Where to draw; a new figure when not given.
    figsize : (float, float), optional
        Of the new figure, inches.

    Returns
    -------
    AmplifierRatio
        ``points``, ``expected``, ``departing``, ``note``.

    Raises
    ------
    FlatnormError
        The dataset is not solved or has no amplifiers, no two amplifiers of a detector have gains, a group that is not
        there, or both ``ax`` and ``figsize``.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import flatnorm_xr as fx
    >>> from flatnorm_xr.show import plots
    >>> drawn = plots.amplifier_ratio(fx.solve(fx.simulate(n_detectors=3, n_amplifiers=4)))
    >>> drawn.note
    'all header gains are 1.5 electron/adu: perhaps a placeholder, so nothing is compared'
    >>> plt.close()
    """
    require(solution, "G", picture="amplifier_ratio")
    require(solution, "background", picture="amplifier_ratio")
    if "amplifier" not in solution["G"].dims:
        msg = f"{_CALLER}: the solution has no amplifiers; measure and solve amplifiers (level='amplifier') first"
        raise FlatnormError(msg)
    rows = rows_of(solution)
    labels = _groups(solution, group)
    gain = _gains(solution, rows)
    in_electron = units_of(solution["background"]) == "electron"
    compared = _compare(solution, rows, gain, labels, in_electron)
    same = not _differ(gain, rows)
    axes = choose_axes(ax, figsize, caller=_CALLER, default=(7.2, 5.2) if not same else (9.0, 4.6))
    place = side_by_side(rows)
    points = [
        draw_points(
            axes,
            place[one.row] if same else one.predicted,
            one.ratio,
            one.error if np.isfinite(one.error).any() else None,
            k,
            "" if label is None else plain(label),
        )
        for k, (one, label) in enumerate(zip(compared, labels, strict=True))
    ]
    if not same and max(_reach(one.predicted, one.ratio) for one in compared) > WIDE:
        axes.set_xscale("log")
        axes.set_yscale("log")
    expected = _expected(axes, level=same or in_electron)
    departing = _ring(axes, compared, labels, place if same else None, named)
    note = _note(gain, compared, same)
    _words(axes, rows, note, same=same, in_electron=in_electron)
    # groups, the line and the rings have an entry each
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=9)
    return AmplifierRatio(points, expected, departing, note)


def _groups(solution: xr.Dataset, group: Any) -> list[Any]:
    """Labels of the groups to draw; one None where there are none."""
    labels = list(solution["group"].values) if "group" in solution["G"].dims else []
    if group is None:
        return labels or [None]
    chosen = [label for label in labels if label == group or str(label) == str(group)]
    if not chosen:
        there = f"there are {offenders(labels)}" if labels else "the solution has no groups"
        msg = f"{_CALLER}: there is no group {group!r}; {there}"
        raise FlatnormError(msg)
    return chosen


def _gains(solution: xr.Dataset, rows: Rows) -> Array:
    """Gains of the units that exist, NaN where a header has none."""
    gain = solution.coords.get("gain")
    if gain is None or "amplifier" not in gain.dims:
        gain = xr.full_like(solution["background"].isel(exposure=0, drop=True), np.nan, dtype=float)
    values = table(gain, rows)[:, 0].astype(float)
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def _differ(gain: Array, rows: Rows) -> bool:
    """Whether the gains of any detector are more than one number."""
    per_detector = (part[np.isfinite(part)] for part in np.split(np.log(gain), rows.starts[1:-1]))
    return any(np.ptp(part) > _NO_DIFFERENCE for part in per_detector if part.size)


def _compare(
    solution: xr.Dataset, rows: Rows, gain: Array, labels: Sequence[Any], in_electron: bool
) -> list[_Compared]:
    from flatnorm_xr.decompose.hierarchy import hierarchy

    found = hierarchy(solution)
    component = table(solution["component"], rows, last="group")
    ratio = table(found["amplifier_ratio"], rows, last="group")
    stderr = found.get("amplifier_ratio_stderr")
    error = np.full(ratio.shape, np.nan) if stderr is None else table(stderr, rows, last="group")
    detector = np.repeat(np.arange(len(rows.detectors)), np.diff(rows.starts))
    place = [str(label) for label in solution["group"].values] if labels[0] is not None else []
    compared = []
    for label in labels:
        k = 0 if label is None else place.index(str(label))
        compared.append(_of_group(rows, detector, gain, ratio[:, k], error[:, k], component[:, k], in_electron))
    if not any(one.row.size for one in compared):
        msg = (
            f"{_CALLER}: no detector has two amplifiers with a level and a gain; give the gains: "
            'ds.assign_coords(gain=(("detector", "amplifier"), ...)), in electron/adu'
        )
        raise FlatnormError(msg)
    return compared


def _of_group(
    rows: Rows,
    detector: NDArray[np.intp],
    gain: Array,
    ratio: Array,
    error: Array,
    component: NDArray[Any],
    in_electron: bool,
) -> _Compared:
    both = np.isfinite(gain) & np.isfinite(ratio) & (ratio > 0)
    counted = both & (component >= 0)
    shown = both & (np.bincount(detector, counted)[detector] >= 2)
    x, y = -np.log(np.where(shown, gain, 1.0)), np.log(np.where(shown, ratio, 1.0))
    for k in np.unique(detector[shown]):
        own = detector == k
        x[own] -= x[own & counted].mean() if in_electron else np.median((x - y)[own & counted])
        y[own] -= np.median(y[own & counted]) if in_electron else 0.0
    return _Compared(
        [rows.labels[i] for i in np.flatnonzero(shown)],
        np.flatnonzero(shown),
        np.exp(x[shown]),
        ratio[shown],
        error[shown],
        (y if in_electron else y - x)[shown],
    )


def _reach(predicted: Array, ratio: Array) -> float:
    both = np.concatenate([predicted, ratio])
    return float(both.max() / both.min()) if both.size else 1.0


def _expected(axes: Axes, *, level: bool) -> Line2D:
    """Line on which amplifiers lie that differ by their gains alone."""
    look: dict[str, Any] = {"color": "0.35", "linewidth": 1.0, "linestyle": "--", "zorder": 0}
    if level:
        return axes.axhline(1, label="no difference", **look)
    if axes.get_xscale() == "log":
        low, high = axes.get_xlim()
        (line,) = axes.plot([low, high], [low, high], label="1:1", **look)
        axes.set_xlim(low, high)
        return line
    return axes.axline((1, 1), slope=1, label="1:1", **look)


def _ring(
    axes: Axes, compared: Sequence[_Compared], labels: Sequence[Any], place: Array | None, named: int
) -> dict[str, Line2D]:
    """Ring and number the amplifiers that depart most; names and sizes are in the legend."""
    everyone = np.concatenate([one.departure for one in compared])
    scatter = 1.4826 * float(np.median(abs(everyone)))
    largest = []
    for one, label in zip(compared, labels, strict=True):
        error = np.nan_to_num(one.error / one.ratio)
        deviation = np.maximum(scatter, error)
        significance = abs(one.departure) / np.where(deviation > 0, deviation, np.inf)
        largest += [(float(significance[i]), one, i, label) for i in np.flatnonzero(significance > _DEPARTS)]
    largest.sort(key=lambda entry: -entry[0])
    rings = {}
    for number, (deviations, one, i, label) in enumerate(largest[:named], start=1):
        x = float(place[one.row[i]] if place is not None else one.predicted[i])
        of = "" if label is None else f", {label}"
        percent = 100 * np.expm1(one.departure[i])
        words = plain(f"{number}: {one.names[i]}{of}") + f": {percent:+.2g} %, {deviations:.0f} sd"
        (rings[words],) = axes.plot(
            x, one.ratio[i], "o", markersize=10, markerfacecolor="none", markeredgecolor="black", label=words
        )
        axes.annotate(str(number), (x, one.ratio[i]), (6, 4), textcoords="offset points", fontsize=9)
    return rings


def _note(gain: Array, compared: Sequence[_Compared], same: bool) -> str:
    notes = []
    if same:
        values = gain[np.isfinite(gain)]
        one_value = np.ptp(values) <= _NO_DIFFERENCE * values.max()
        which = (
            f"all header gains are {values[0]:g} electron/adu" if one_value else "header gains are alike in a detector"
        )
        notes.append(f"{which}: perhaps a placeholder, so nothing is compared")
    without = int(np.isnan(gain).sum())
    if without:
        notes.append(f"{without} of {gain.size} amplifiers without a gain in the header")
    drawn = np.unique(np.concatenate([one.row for one in compared])).size
    alone = gain.size - without - drawn
    if alone:
        have = "has" if alone == 1 else "have"
        notes.append(f"{alone} {have} a gain, but no level or no other amplifier beside it")
    return "; ".join(notes)


def _words(axes: Axes, rows: Rows, note: str, *, same: bool, in_electron: bool) -> None:
    axes.set_ylabel(
        "amplifier ratio: G over its geometric mean\nin the detector" + (", electron" if in_electron else "")
    )
    if same:
        name_columns(axes, np.array(rows.detectors))
        axes.set_xlim(-0.6, len(rows.detectors) - 0.4)
        words = "detector, its amplifiers side by side"
    else:
        scaled = (
            "over its geometric mean in the detector" if in_electron else "scaled in each detector to the median ratio"
        )
        words = f"1 / gain of the header, {scaled}"
    axes.set_xlabel("\n".join([words, *textwrap.wrap(note, 80)]))
    for axis in ("x", "y") if not same else ("y",):
        if getattr(axes, f"get_{axis}scale")() == "linear":
            axes.ticklabel_format(axis=axis, useOffset=False)
