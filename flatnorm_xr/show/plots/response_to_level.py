"""The picture of residuals against the level, where a nonlinear detector or a left-over bias shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.variance import cell_variance
from flatnorm_xr.errors import FlatnormError, offenders
from flatnorm_xr.flags import REJECTED, Flag
from flatnorm_xr.show.axes import axis_label, choose_axes, mmag_axis, plain, residual_label
from flatnorm_xr.show.looks import COLOURS, MARKERS, WIDE
from flatnorm_xr.show.plots.legend import legend_above
from flatnorm_xr.show.requirements import require, require_dims

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import FillBetweenPolyCollection
    from matplotlib.container import ErrorbarContainer
    from matplotlib.lines import Line2D

__all__ = ["Trends", "residual_vs_level"]

_FEW = 7
"""Detectors that a picture can tell apart by colour and marker."""

_MOST_CELLS = 3000
"""Cells beyond which points would cover each other."""

_MOST_BARS = 150
_MOST_LEFT_OUT = 300
_HIGHLIGHTED = 3
_BINS = 20
_FEWEST_IN_BIN = 25
_PARTS = 5
"""Parts of a detector's cells, by level, whose medians are compared with the median of all."""

_ROOM = 1.15
_FURTHER = 2.0
"""How much further than cells of the fit a rejected cell may stretch the axis, before it is drawn at its end."""


class Trends(NamedTuple):
    """Artists of `residual_vs_level`."""

    points: dict[str, ErrorbarContainer]
    """Cells of the fit of each detector, by its label; of the highlighted ones, medians."""
    median: Line2D | None
    band: FillBetweenPolyCollection | None
    """Median and 16 to 84 % of all cells of the fit, where there are too many to be drawn."""
    others: Line2D | None
    """Cells of the fit of detectors that do not stand out."""
    left_out: Line2D | None
    """Cells without weight."""
    beyond: Line2D | None
    """Those of them that lie outside the axis, at its ends."""


def residual_vs_level(
    solution: xr.Dataset,
    *,
    detector: Any = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Trends:
    """Draw residuals in per cent (right: mmag) against the level of their cells.

    Up to 7 detectors have a colour and a marker each. Of more, the three that depart most from the median of all, for
    their scatter, stand out from the grey of the others. Where cells would cover each other (more than 3 000) the
    median of all is drawn instead, in bins of equally many cells, with the band that holds 68 % of them, and over it
    medians of these three detectors, with their rejected cells: a detector whose response bends is easily taken for
    one whose gain jumped.

    Parameters
    ----------
    solution : Dataset
        With ``residual`` and ``background``. Cells without weight that have a residual are open marks, at the end of
        the axis where they lie beyond it; of hundreds, the median of each detector. Bars, where cells are few, are the
        standard deviations of their levels.
    detector : label or list of labels, optional
        Draw the cells of just these, all amplifiers of a detector in its colour.
    ax : Axes, optional
        Where to draw; a new figure when not given.
    figsize : (float, float), optional
        Of the new figure, inches.

    Returns
    -------
    Trends
        ``points``, ``median``, ``band``, ``others``, ``left_out``, ``beyond``.

    Raises
    ------
    FlatnormError
        The dataset is not solved, has no such detector, a selection dropped a dim, or both ``ax`` and ``figsize``.
    """
    require(solution, "residual", picture="residual_vs_level")
    require_dims(solution, "residual", "detector", "exposure", picture="residual_vs_level")
    chosen = solution if detector is None else solution.sel(detector=_labels(solution, detector))
    cells = _Cells.of(chosen)
    axes = choose_axes(ax, figsize, caller="plot.residual_vs_level", default=(7.2, 4.6))
    names = list(cells.detectors)
    axes.axhline(0, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
    median = band = others = None
    if detector is None and cells.used.sum() > _MOST_CELLS:
        points, median, band = _draw_band(axes, cells)
    else:
        if detector is None and len(names) > _FEW:
            names = [departing.name for departing in _departing(cells)]
            others = _draw_others(axes, cells, names)
        points = _draw_cells(axes, cells, names)
    marks = _left_out(cells)
    _limit(axes, marks)
    left_out, beyond = _draw_left_out(axes, marks)
    _finish(axes, solution, cells)
    return Trends(points, median, band, others, left_out, beyond)


class _Cells(NamedTuple):
    """Every cell with a residual."""

    detectors: list[str]
    number: NDArray[np.intp]
    """Which detector."""
    level: NDArray[np.float64]
    percent: NDArray[np.float64]
    error: NDArray[np.float64]
    used: NDArray[np.bool_]
    rejected: NDArray[np.bool_]
    """By the search for faults, but not with a whole exposure."""

    @classmethod
    def of(cls, ds: xr.Dataset) -> _Cells:
        dims = ["detector", *(dim for dim in ds["residual"].dims if dim != "detector")]
        level, percent = ds["background"].transpose(*dims).values, 100 * ds["residual"].transpose(*dims).values
        error = 100 * np.sqrt(cell_variance(ds).transpose(*dims).values)
        there = np.isfinite(percent) & np.isfinite(level)
        number = np.broadcast_to(np.arange(level.shape[0]).reshape(-1, *[1] * (level.ndim - 1)), level.shape)
        weight = ds["weight"].transpose(*dims).values
        names = [plain(label) for label in ds["detector"].values]
        if len(set(names)) < len(names):  # long labels that differ only where they are cut
            names = [f"{name} ({k + 1})" for k, name in enumerate(names)]
        flags = ds["quality"].transpose(*dims).values
        rejected = ((flags & np.uint32(REJECTED)) != 0) & ((flags & np.uint32(Flag.REJECTED_EXPOSURE)) == 0)
        used = weight > 0
        return cls(names, *(part[there] for part in (number, level, percent, error, used, rejected & ~used)))


def _labels(solution: xr.Dataset, detector: Any) -> list[Any]:
    asked = list(detector) if isinstance(detector, Sequence | np.ndarray) and not isinstance(detector, str) else None
    asked = [detector] if asked is None else asked
    known = solution["detector"].values
    absent = [label for label in asked if label not in known]
    if absent or not asked:
        which = f"has no {offenders(absent)}" if absent else "is empty"
        msg = f"plot.residual_vs_level: detector {which}; choose from {offenders(known, show=20)}"
        raise FlatnormError(msg)
    return list(dict.fromkeys(asked))


def _look(k: int) -> dict[str, Any]:
    return {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[(k + k // len(COLOURS)) % len(MARKERS)]}


def _draw_others(axes: Axes, cells: _Cells, names: list[str]) -> Line2D:
    """Draw the cells of the fit of all detectors but some, in grey."""
    others = cells.used & ~np.isin(cells.number, [cells.detectors.index(name) for name in names])
    (points,) = axes.plot(
        cells.level[others],
        cells.percent[others],
        "o",
        color="0.7",
        markersize=float(np.clip(80 / np.sqrt(max(others.sum(), 1)), 2.0, 5.0)),
        label=f"{len(cells.detectors) - len(names)} other detectors",
        zorder=1,
    )
    return points


def _draw_cells(axes: Axes, cells: _Cells, names: list[str]) -> dict[str, ErrorbarContainer]:
    """Draw each cell of the fit of these detectors, with its error where bars do not cover one another."""
    shown = cells.used & np.isin(cells.number, [cells.detectors.index(name) for name in names])
    bars = shown.sum() <= _MOST_BARS and bool(np.isfinite(cells.error[shown]).any())
    size = float(np.clip(80 / np.sqrt(max(shown.sum(), 1)), 2.0, 6.0))
    points = {}
    for k, name in enumerate(names):
        own = cells.used & (cells.number == cells.detectors.index(name))
        error = cells.error[own] if bars else None
        points[name] = axes.errorbar(
            cells.level[own],
            cells.percent[own],
            yerr=error,
            linestyle="none",
            markersize=size,
            elinewidth=0.8,
            label=f"detector {name}",
            **_look(k),
        )
    return points


class _Binned(NamedTuple):
    """Residuals in bins of level: its median, and 16, 50 and 84 % of the residuals."""

    level: NDArray[np.float64]
    percentiles: NDArray[np.float64]


def _binned(cells: _Cells) -> _Binned:
    order = np.argsort(cells.level[cells.used], kind="stable")
    level, percent = cells.level[cells.used][order], cells.percent[cells.used][order]
    bins = int(np.clip(level.size / _FEWEST_IN_BIN, 1, _BINS))
    parts = [part for part in np.array_split(np.arange(level.size), bins) if part.size]
    return _Binned(
        np.array([np.median(level[part]) for part in parts]),
        np.array([np.percentile(percent[part], (16, 50, 84)) for part in parts]).reshape(-1, 3),
    )


def _draw_band(axes: Axes, cells: _Cells) -> tuple[dict[str, ErrorbarContainer], Line2D, FillBetweenPolyCollection]:
    """Draw the median and the band of all, and those detectors that depart most."""
    binned = _binned(cells)
    low, middle, high = binned.percentiles.T
    words = f"16 to 84 % of {cells.used.sum()} cells"
    band = axes.fill_between(binned.level, low, high, color="0.8", linewidth=0, label=words)
    words = f"their median, in {binned.level.size} bins"
    (median,) = axes.plot(binned.level, middle, color="black", linewidth=2, label=words)
    points = {}
    for k, one in enumerate(_departing(cells)):
        words = f"detector {one.name}, medians"
        points[one.name] = axes.errorbar(one.level, one.percent, linewidth=1.5, markersize=5, label=words, **_look(k))
    return points, median, band


class _Departing(NamedTuple):
    """A detector whose residuals follow the level, with the medians of parts of its cells."""

    size: float
    name: str
    level: NDArray[np.float64]
    percent: NDArray[np.float64]


def _departing(cells: _Cells) -> list[_Departing]:
    """Find the detectors whose medians, over parts of their range of levels, depart most from those of all."""
    if not cells.used.any():
        return []
    binned = _binned(cells)
    order = np.lexsort((cells.level, cells.number))
    order = order[(cells.used | cells.rejected)[order]]
    departure = cells.percent - np.interp(cells.level, binned.level, binned.percentiles[:, 1])
    scatter = 1.4826 * float(np.median(abs(departure[cells.used]))) or 1.0
    found = []
    for own in np.split(order, np.searchsorted(cells.number[order], np.arange(1, len(cells.detectors)))):
        parts = [part for part in np.array_split(own, _PARTS) if part.size]
        if not parts:
            continue
        size = sum(part.size * (np.median(departure[part]) / scatter) ** 2 for part in parts) / len(parts)
        level, percent = (np.array([np.median(of[part]) for part in parts]) for of in (cells.level, cells.percent))
        found.append(_Departing(float(size), cells.detectors[cells.number[own[0]]], level, percent))
    return sorted(found, key=lambda one: -one.size)[:_HIGHLIGHTED]


def _limit(axes: Axes, left_out: _LeftOut) -> None:
    """Let what was drawn of the fit, bars too, set the scale, and rejected cells stretch it only so far."""
    largest = abs(np.array(axes.dataLim.intervaly)).max()
    limit = _ROOM * largest if 0 < largest < np.inf else 1.0
    outside = abs(left_out.percent)
    near = outside[outside < _FURTHER * limit]
    limit = max(limit, 1.1 * near.max(initial=0.0), 1e-6)
    axes.set_ylim(-limit, limit)


class _LeftOut(NamedTuple):
    """Marks for the cells without weight."""

    level: NDArray[np.float64]
    percent: NDArray[np.float64]
    words: str
    """What a mark is, if not a cell."""


def _left_out(cells: _Cells) -> _LeftOut:
    """Take the cells without weight, or medians of those of each detector where there are too many."""
    out = ~cells.used
    level, percent, number = cells.level[out], cells.percent[out], cells.number[out]
    if percent.size <= _MOST_LEFT_OUT:
        return _LeftOut(level, percent, "")
    level, percent = (np.array([np.median(of[number == k]) for k in np.unique(number)]) for of in (level, percent))
    return _LeftOut(level, percent, f"detectors' medians of {out.sum()} cells")


def _draw_left_out(axes: Axes, left_out: _LeftOut) -> tuple[Line2D | None, Line2D | None]:
    limit = axes.get_ylim()[1]
    level, percent, kind = left_out
    within, beyond = abs(percent) <= limit, abs(percent) > limit
    look: dict[str, Any] = {"linestyle": "none", "markerfacecolor": "none", "markeredgecolor": "black", "zorder": 1.5}
    size = float(np.clip(80 / np.sqrt(max(percent.size, 1)), 3.0, 6.0))
    drawn: list[Line2D | None] = [None, None]
    if within.any():
        words = f"left out of the fit ({kind or within.sum()})"
        drawn[0] = axes.plot(level[within], percent[within], marker="o", markersize=size, label=words, **look)[0]
    if beyond.any():
        words = f"left out, beyond the axis ({beyond.sum()})"
        end = np.sign(percent[beyond]) * limit * 0.97
        drawn[1] = axes.plot(level[beyond], end, marker="d", markersize=size + 2, clip_on=False, label=words, **look)[0]
    return drawn[0], drawn[1]


def _finish(axes: Axes, solution: xr.Dataset, cells: _Cells) -> None:
    low, high = (cells.level.min(), cells.level.max()) if cells.level.size else (1.0, 1.0)
    if low > 0 and high > WIDE * low:  # with a log link levels may be negative, and have a place all the same
        axes.set_xscale("log")
    axes.set_xlabel(axis_label(solution["background"]))
    axes.set_ylabel(residual_label(solution["residual"]))
    mmag_axis(axes, side="right")
    legend_above(axes)
