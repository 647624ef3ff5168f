"""The picture of responses over the years: what drifts, what jumps, and the band that all others stay in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.errors import FlatnormError, offenders
from flatnorm_xr.show.axes import choose_axes, mmag_axis, name_columns, plain, short_label, side_by_side, time_axis
from flatnorm_xr.show.followed import Change, Followed, Response
from flatnorm_xr.show.looks import COLOURS, MARKERS
from flatnorm_xr.show.plots.legend import legend_above
from flatnorm_xr.show.requirements import require_trend
from flatnorm_xr.show.sizes import day, in_mmag, sized

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import FillBetweenPolyCollection, LineCollection
    from matplotlib.container import ErrorbarContainer
    from matplotlib.lines import Line2D

__all__ = ["Trend", "trend"]

_CALLER = "plot.trend"

_MOST_BARS = 400
"""Runs of a single unit up to which each has its error bar."""

_MOST_POINTS = 60
"""Points of each of several units: of twice as many runs, medians."""

_MOST_LINES = 40
"""Units without a colour of their own that stand out, up to which each has a line; more are in the band."""

_DEVIATIONS = 6.0
"""Robust standard deviations about the models that are within the axis."""

Array = NDArray[np.float64]


class Trend(NamedTuple):
    """Artists of `trend`."""

    points: dict[str, ErrorbarContainer]
    """Units that are drawn by themselves, by their names."""
    models: dict[str, Line2D]
    """What drift, covariates and changes make of each of these."""
    changes: dict[str, Line2D]
    """Where a response changed, by the words of the legend; of several units, one for each of those that changed."""
    lines: LineCollection | None
    """Models of further units that stand out, in grey."""
    bands: list[FillBetweenPolyCollection]
    """All other units: from the smallest to the largest, and 16 to 84 % of them."""
    beyond: Line2D | None
    """Points outside the axis, at its ends."""


def trend(
    trend: xr.Dataset,
    *,
    detector: Any = None,
    amplifier: Any = None,
    named: int = 7,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Trend:
    """Draw G in the common gauge over time, relative to each unit's mean, in per cent (right: mmag).

    One unit has points with error bars, the line of its model, which the legend puts into numbers, and a number at each
    change, whose size and dates are above the picture; it was in the shaded time with a probability of 95 %. Up to
    ``named`` units have a colour and a marker each. Of more, those have that stand out, the largest first: whose
    response changed, drifts, or follows what G was held against, significantly. Up to 40 more of these are grey lines.
    All others are a band: from the smallest to the largest, and darker the 16 to 84 % of them. Of a single run ln G of
    the units is drawn side by side.

    Parameters
    ----------
    trend : Dataset
        What `flatnorm_xr.Archive.trend` returns; (run, detector[, amplifier]). Runs in which a unit was not measured
        (NaN) have no point. Of several units with more than 120 runs, points are medians of equally many runs.
    detector, amplifier : label or list of labels, optional
        Draw just these.
    named : int
        Most units with a colour of their own.
    ax : Axes, optional
        Where to draw; a new figure when not given.
    figsize : (float, float), optional
        Of the new figure, inches.

    Returns
    -------
    Trend
        ``points``, ``models``, ``changes``, ``lines``, ``bands``, ``beyond``.

    Raises
    ------
    FlatnormError
        Not a trend, no such detector or amplifier, no unit that was measured, or both ``ax`` and ``figsize``.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from flatnorm_xr.archive.trend.follow import follow
    >>> from flatnorm_xr.simulate.years import simulate_history
    >>> history = simulate_history(runs=40, jumps=[(3, 4.0, 0.01)], seed=1)
    >>> list(trend(follow(history)).points)
    ['3']
    >>> plt.close()
    """
    require_trend(trend, caller=_CALLER)
    chosen = _selected(trend, detector=detector, amplifier=amplifier)
    followed = Followed(chosen)
    units = np.flatnonzero(followed.measured)
    if not followed.units:
        tried = [f"{d}/{a}" for d in chosen["detector"].values for a in chosen["amplifier"].values]
        msg = f"{_CALLER}: there is no {offenders(tried)}; choose amplifiers that the detector has"
        raise FlatnormError(msg)
    if not units.size:
        msg = f"{_CALLER}: no run has measured {offenders(followed.units)}; choose other units"
        raise FlatnormError(msg)
    axes = choose_axes(ax, figsize, caller=_CALLER, default=(9.0, 4.8))
    if followed.time.size == 1:
        return _draw_one_run(axes, followed, units)
    axes.axhline(0, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
    shown = units.tolist() if units.size <= max(named, 1) else followed.standing_out[:named]
    lines, bands = _draw_others(axes, followed, np.setdiff1d(units, shown))
    points, models, changes = (_draw_one if units.size == 1 else _draw_several)(axes, followed, shown)
    beyond = _limit(axes, followed, shown, units)
    drawn = Trend(points, models, changes, lines, bands, beyond)
    _finish(axes, followed, drawn, units)
    return drawn


def _selected(trend: xr.Dataset, **labels: Any) -> xr.Dataset:
    for dim, asked in labels.items():
        if asked is None:
            continue
        if dim not in trend.dims:
            msg = f"{_CALLER}: the trend has no dim {dim}; leave {dim} out"
            raise FlatnormError(msg)
        several = isinstance(asked, Sequence | np.ndarray) and not isinstance(asked, str)
        wanted = list(asked) if several else [asked]
        known = [str(label) for label in trend[dim].values]
        absent = [label for label in wanted if str(label) not in known]
        if absent or not wanted:
            which = f"has no {offenders(absent)}" if absent else "is empty"
            msg = f"{_CALLER}: {dim} {which}; choose from {offenders(known, show=20)}"
            raise FlatnormError(msg)
        trend = trend.isel({dim: sorted({known.index(str(label)) for label in wanted})})
    return trend


def _look(k: int) -> dict[str, Any]:
    return {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[(k + k // len(COLOURS)) % len(MARKERS)]}


def _name(followed: Followed, unit: int) -> str:
    """Name a unit, detector and amplifier both short."""
    detector = short_label(followed.detectors[int(followed.detector[unit])])
    return f"{detector}/{short_label(followed.amplifiers[unit])}" if followed.by_amplifier else detector


_Drawn = tuple[dict[str, "ErrorbarContainer"], dict[str, "Line2D"], dict[str, "Line2D"]]


def _draw_one(axes: Axes, followed: Followed, units: Sequence[int]) -> _Drawn:
    """Draw a unit alone: every run with its error, the model, its changes by number."""
    (unit,) = units
    percent, error = followed.percent[unit], followed.error(unit)
    there = np.isfinite(percent)
    bars = None if error is None or there.sum() > _MOST_BARS else error[there]
    words = f"{_name(followed, unit)}, {there.sum()} run{'s' if there.sum() != 1 else ''}"
    if error is not None and bars is None:
        words += f", error of each {np.nanmedian(error[there]):.2g} %"
    size = float(np.clip(60 / np.sqrt(there.sum()), 1.5, 6.0))
    points = axes.errorbar(
        followed.time[there],
        percent[there],
        yerr=bars,
        fmt="o",
        color="0.45",
        markersize=size,
        elinewidth=0.8,
        label=words,
    )
    changes = followed.changes_of(unit)
    model = _draw_model(
        axes, followed, unit, changes, color=COLOURS[1], linewidth=1.8, label=_model_words(followed, unit)
    )
    marks = {}
    for number, change in enumerate(changes, start=1):
        words = f"{number}: {_of_change(change)}"
        middle = _day_number(change.before + (change.after - change.before) / 2)
        axes.axvspan(
            *_day_number([change.earliest, change.latest]), color=COLOURS[5], alpha=0.25, linewidth=0, zorder=0
        )
        marks[words] = axes.axvline(middle, color=COLOURS[0], linewidth=1.0, linestyle=":", label=words)
        look: dict[str, Any] = {"xytext": (3, -3), "textcoords": "offset points", "va": "top", "color": COLOURS[0]}
        axes.annotate(str(number), (middle, 1.0), xycoords=("data", "axes fraction"), **look)
    return {followed.units[unit]: points}, model, marks


def _draw_one_run(axes: Axes, followed: Followed, units: NDArray[np.intp]) -> Trend:
    """Draw G of the units of a single run side by side, for there is no other time to hold it against."""
    percent, error = followed.single_run
    bars = error[units] if units.size <= _MOST_BARS and np.isfinite(error[units]).any() else None
    words = _number(followed, units.size) if units.size > 1 else _name(followed, int(units[0]))
    points = axes.errorbar(
        side_by_side(followed.rows)[units],
        percent[units],
        yerr=bars,
        fmt="o",
        color=COLOURS[0],
        markersize=float(np.clip(70 / np.sqrt(units.size), 1.5, 6.0)),
        elinewidth=0.8,
        label=words,
    )
    name_columns(axes, np.array(followed.detectors))
    axes.set_xlim(-0.6, len(followed.detectors) - 0.4)
    axes.set_xlabel("detector, its amplifiers side by side" if followed.by_amplifier else "detector")
    axes.set_ylabel(f"ln {followed.name} [%]")
    mmag_axis(axes, side="right", of=followed.name)
    legend_above(axes, [points], title=_title(followed, units))
    name = words if units.size > 1 else followed.units[int(units[0])]
    return Trend({name: points}, {}, {}, None, [], None)


def _draw_several(axes: Axes, followed: Followed, units: Sequence[int]) -> _Drawn:
    """Draw some units in a colour each: their runs or medians of them, their models, and steps where they changed."""
    points: dict[str, ErrorbarContainer] = {}
    models: dict[str, Line2D] = {}
    marks: dict[str, Line2D] = {}
    for k, unit in enumerate(units):
        changes, name = followed.changes_of(unit), followed.units[unit]
        time, percent = _thinned(followed, unit, changes)
        effects = [_short(change) for change in changes]
        if followed.drifts[unit]:
            effects.append(f"drift {sized(float(followed.drift[unit]))} a year")
        effects += [_responding(one, unit, with_error=False) for one in followed.responses if one.significant[unit]]
        words = ": ".join([_name(followed, unit), *([", ".join(effects)] if effects else [])])
        points[name] = axes.errorbar(time, percent, linestyle="none", markersize=3.5, label=words, **_look(k))
        models |= _draw_model(axes, followed, unit, changes, color=COLOURS[k % len(COLOURS)], linewidth=1.2)
        if changes:
            marks[name] = _draw_steps(axes, followed, unit, changes, color=COLOURS[k % len(COLOURS)])
    return points, models, marks


def _thinned(followed: Followed, unit: int, changes: list[Change]) -> tuple[NDArray[Any], Array]:
    """Take times and values of a unit's runs, or medians of a number of them, none of which spans a change."""
    percent = followed.percent[unit]
    there = np.flatnonzero(np.isfinite(percent))
    if there.size <= 2 * _MOST_POINTS:
        return followed.time[there], percent[there]
    pieces = np.split(there, np.searchsorted(there, [change.run for change in changes]))
    parts = [
        part
        for piece in pieces
        if piece.size
        for part in np.array_split(piece, max(1, round(_MOST_POINTS * piece.size / there.size)))
    ]
    middles = followed.time[[part[part.size // 2] for part in parts]]
    return middles, np.array([np.median(percent[part]) for part in parts])


def _draw_model(axes: Axes, followed: Followed, unit: int, changes: list[Change], **look: Any) -> dict[str, Line2D]:
    """Draw the line of a unit's model, broken where the response changed; nothing where it has none."""
    if "model" not in followed.trend or not np.isfinite(model := followed.model(unit)).any():
        return {}
    breaks = [change.run for change in changes]
    time, percent = np.insert(followed.time, breaks, followed.time[breaks]), np.insert(model, breaks, np.nan)
    (line,) = axes.plot(time, percent, zorder=3, **look)
    return {followed.units[unit]: line}


def _draw_steps(axes: Axes, followed: Followed, unit: int, changes: list[Change], *, color: str) -> Line2D:
    """Draw dotted risers where the model of a unit steps."""
    model = followed.model(unit) if "model" in followed.trend else followed.percent[unit]
    middle = np.array([change.before + (change.after - change.before) / 2 for change in changes])
    ends = np.array([[model[change.run - 1], model[change.run], np.nan] for change in changes])
    (risers,) = axes.plot(np.repeat(middle, 3), ends.ravel(), color=color, linewidth=1.2, linestyle=":", zorder=3)
    return risers


def _draw_others(
    axes: Axes, followed: Followed, units: NDArray[np.intp]
) -> tuple[LineCollection | None, list[FillBetweenPolyCollection]]:
    """Draw the units without a colour of their own: a few that stand out as lines, the rest as two bands."""
    moving = [unit for unit in followed.standing_out if unit in set(units.tolist())]
    lines = _draw_lines(axes, followed, moving) if 0 < len(moving) <= _MOST_LINES else None
    quiet = units if lines is None else np.setdiff1d(units, moving)
    if not quiet.size:
        return lines, []
    percent = followed.percent[quiet]
    there = np.isfinite(percent).any(axis=0)
    low, lower, upper, high = np.nanpercentile(percent[:, there], (0, 16, 84, 100), axis=0)
    what = _number(followed, quiet.size, "" if quiet.size == followed.measured.sum() else "other ")
    time = followed.time[there]
    wide = axes.fill_between(time, low, high, color="0.88", linewidth=0, zorder=0.5, label=f"{what}, all")
    narrow = axes.fill_between(time, lower, upper, color="0.68", linewidth=0, zorder=0.6, label="16 to 84 % of them")
    return lines, [wide, narrow]


def _draw_lines(axes: Axes, followed: Followed, units: Sequence[int]) -> LineCollection | None:
    """Draw the models of some units as thin lines."""
    from matplotlib.collections import LineCollection

    if "model" not in followed.trend:
        return None
    days = _day_number(followed.time)
    paths = [np.column_stack([days, followed.model(unit)]) for unit in units]
    words = f"{_number(followed, len(units), 'more ')} that stand out"
    lines = LineCollection(paths, colors="0.45", linewidths=0.6, zorder=1, label=words)
    axes.add_collection(lines)
    return lines


def _limit(axes: Axes, followed: Followed, shown: Sequence[int], units: NDArray[np.intp]) -> Line2D | None:
    """Let models and the scatter about them set the scale; what lies beyond is at its ends."""
    percent = followed.percent[list(shown) or units]
    models = np.array([followed.model(unit) for unit in shown]) if "model" in followed.trend and shown else None
    expected = np.zeros_like(percent) if models is None else np.where(np.isfinite(models), models, 0.0)
    known = np.isfinite(percent)
    scatter = _DEVIATIONS * 1.4826 * float(np.median(abs(percent - expected)[known]))
    largest = float(abs(percent[known]).max())
    half = min(float(abs(expected[known]).max()) + scatter, largest) if scatter > 0 else largest
    error = followed.error(shown[0]) if len(shown) == 1 else None
    half += 0.0 if error is None else min(float(np.nanmedian(error)), half or 1.0)
    half = 1.1 * half or 0.01
    axes.set_ylim(-half, half)
    unit, run = np.nonzero(known & (abs(np.nan_to_num(percent)) > half)) if shown else (np.array([], int),) * 2
    if not unit.size:
        return None
    (marks,) = axes.plot(
        followed.time[run],
        0.97 * half * np.sign(percent[unit, run]),
        "d",
        markerfacecolor="none",
        markeredgecolor="black",
        clip_on=False,
        label=f"beyond the axis ({unit.size})",
    )
    return marks


def _day_number(time: Any) -> Any:
    """Write times as matplotlib counts them."""
    from matplotlib.dates import date2num

    return date2num(time)  # type: ignore[no-untyped-call]


def _number(followed: Followed, n: int, which: str = "") -> str:
    return f"{n} {which}{'amplifier' if followed.by_amplifier else 'detector'}{'s' if n != 1 else ''}"


def _of_change(change: Change) -> str:
    days = list(dict.fromkeys([day(change.earliest), day(change.latest)]))
    return f"{sized(change.size, change.error)} ({in_mmag(change.size)}), {' to '.join(days)}"


def _short(change: Change) -> str:
    return f"{sized(change.size)} on {day(change.after)}"


def _model_words(followed: Followed, unit: int) -> str:
    """Write what a model is made of: the drift, and each response."""
    return "\n".join([_drift(followed, unit), *(_responding(one, unit) for one in followed.responses)])


def _responding(response: Response, unit: int, *, with_error: bool = True) -> str:
    size, error = float(response.size[unit]), float(response.error[unit])
    if not np.isfinite(size):
        return f"no response to {plain(response.name)} known"
    chance = "" if response.significant[unit] or not with_error else ", not significant"
    return f"{sized(size, error if with_error else np.nan)} per {plain(response.per)}{chance}"


def _drift(followed: Followed, unit: int) -> str:
    drift, error = float(followed.drift[unit]), float(followed.drift_stderr[unit])
    if not np.isfinite(drift):
        return "no drift known"
    p = float(followed.drift_p[unit])
    chance = "" if followed.drifts[unit] or not np.isfinite(p) else ", not significant"
    return f"drift {sized(drift, error)} a year ({in_mmag(drift)}){chance}"


def _title(followed: Followed, units: NDArray[np.intp]) -> str:
    attrs = followed.trend.attrs
    runs = followed.time.size
    parts = [short_label(attrs[name]) for name in ("camera", "physical_filter") if attrs.get(name)]
    parts += [followed.name] if followed.name != "G" else []
    parts.append(f"{runs} runs" if runs != 1 else f"1 run of {day(followed.time[0])} and nothing to hold it against")
    if units.size > 1 and runs > 1:
        out = len(followed.standing_out)
        verbs = "stands out" if out == 1 else "stand out"
        parts.append(f"{_number(followed, units.size)}, of which {out or 'none'} {verbs}")
    lost = len(followed.units) - units.size
    if lost:
        parts.append(f"{lost} never measured")
    gauge = plain(attrs.get("gauge", ""))
    return "; ".join([", ".join(parts), *([gauge] if gauge else [])])


def _finish(axes: Axes, followed: Followed, drawn: Trend, units: NDArray[np.intp]) -> None:
    axes.set_ylabel(f"ln({followed.name} / its mean over the runs) [%]")
    mmag_axis(axes, side="right", of=f"{followed.name} / its mean")
    time_axis(axes, "time of the run")
    artists = [*drawn.points.values(), *drawn.models.values(), *drawn.changes.values(), drawn.lines, *drawn.bands]
    named = [artist for artist in (*artists, drawn.beyond) if artist is not None]
    handles = [artist for artist in named if not str(artist.get_label()).startswith("_")]
    legend_above(axes, handles, title=_title(followed, units))
