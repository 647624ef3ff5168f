"""The picture of two runs side by side: by how much each unit's response and level differ, and which for sure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.show.axes import (
    Rows,
    choose_axes,
    mmag_axis,
    name_columns,
    name_height,
    plain,
    rows_of,
    short_label,
    side_by_side,
    table,
)
from flatnorm_xr.show.looks import COLOURS, MMAG_PER_PERCENT
from flatnorm_xr.show.plots.legend import legend_above
from flatnorm_xr.show.requirements import require_dims
from flatnorm_xr.show.two_runs import of_two_filters, run_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.lines import Line2D

__all__ = ["Comparison", "comparison"]

_CALLER = "plot.comparison"

_RUN = 12
"""Characters of a run's id that are written."""

_MOST_BARS = 400
"""Units up to which each has its error bar; bars of more cover one another."""

_DEVIATIONS = 8.0
"""Robust standard deviations that the axis holds; what is further off is at its ends, unless it is named."""

Array = NDArray[np.float64]


class Comparison(NamedTuple):
    """Artists of `comparison`."""

    responses: ErrorbarContainer
    """ln of the ratio of G, in per cent."""
    levels: ErrorbarContainer | None
    """ln of the ratio of the levels over E."""
    significant: dict[str, Line2D]
    """Rings around the units that differ for sure, by the words of the legend; those beyond ``named`` share one."""
    unmeasured: Line2D | None
    """Crosses at the foot: units that one of the runs lacks."""
    beyond: Line2D | None
    """Points outside the axis, at its ends."""


def comparison(
    comparison: xr.Dataset,
    *,
    named: int = 7,
    alpha: float | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Comparison:
    """Draw by how much the response G and the level of each unit differ between two runs, in per cent and mmag.

    Parameters
    ----------
    comparison : Dataset
        What `flatnorm_xr.Archive.compare` returns; (detector[, amplifier]). NaN, where one of the runs has not measured
        a unit, is a cross at the foot. Levels are those over E, in the same gauge: where they leave the responses,
        the fits differ and not the camera.
    named : int
        Most units that are named, the largest first, of those that have a ring because their G differs significantly.
    alpha : float, optional
        Probability, after all units were looked at, below which a difference is significant; as the comparison has it,
        else 0.01.
    ax : Axes, optional
        Where to draw; a new figure when not given.
    figsize : (float, float), optional
        Of the new figure, inches.

    Returns
    -------
    Comparison
        ``responses``, ``levels``, ``significant``, ``unmeasured``, ``beyond``.

    Raises
    ------
    FlatnormError
        Not a comparison, no unit in both runs, a selection dropped a dim, or both ``ax`` and ``figsize``.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import flatnorm_xr as fx
    >>> from flatnorm_xr.archive.trend.compare import compare_solutions
    >>> one, other = (fx.solve(fx.simulate(n_detectors=9, seed=1)) for _ in range(2))
    >>> drawn = comparison(compare_solutions(one, other))
    >>> drawn.significant
    {}
    >>> plt.close()
    """
    _require(comparison)
    rows = rows_of(comparison)
    percent, error = _logarithm(comparison, "G_ratio", rows)
    known = np.isfinite(percent)
    if not known.any():
        msg = f"{_CALLER}: no unit was measured in both runs, so there is nothing to compare"
        raise FlatnormError(msg)
    names, x = np.array(rows.detectors), side_by_side(rows)
    width = float(np.clip(0.16 * len(rows.detectors) + 2, 9.0, 14.0))
    axes = choose_axes(ax, figsize, caller=_CALLER, default=(width, 4.8 + name_height(names)))
    axes.axhline(0, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
    levels = _draw_levels(axes, comparison, rows, x)
    responses = _draw(axes, x, percent, error, marker="o", color=COLOURS[0], zorder=2.5, label="G")
    limit = float(comparison.attrs.get("alpha", 0.01)) if alpha is None else alpha
    certain = _certain(comparison, rows, percent, limit)
    significant = _ring(axes, x, percent, error, [_unit(rows, i) for i in certain.tolist()], certain, named)
    beyond = _limit(axes, x, percent, error, certain)
    drawn = Comparison(responses, levels, significant, _cross(axes, x[~known]), beyond)
    name_columns(axes, names)
    differ = f"{certain.size or 'none'} of {known.sum()} differ{'s' * (certain.size == 1)}"
    _finish(axes, comparison, rows, drawn, differ)
    return drawn


def _require(comparison: xr.Dataset) -> None:
    if not isinstance(comparison, xr.Dataset) or "G_ratio" not in comparison:
        msg = f"{_CALLER}: the dataset is not a comparison; make one from an archive: archive.compare(run, other)"
        raise FlatnormError(msg)
    require_dims(comparison, "G_ratio", "detector", picture="comparison")


def _logarithm(ds: xr.Dataset, name: str, rows: Rows) -> tuple[Array, Array | None]:
    """100 ln of a ratio and its error, unit by unit; NaN where the ratio is not positive."""
    ratio = table(ds[name], rows)[:, 0].astype(float)
    ratio = np.where(np.isfinite(ratio) & (ratio > 0), ratio, np.nan)
    if f"{name}_stderr" not in ds:
        return 100 * np.log(ratio), None
    return 100 * np.log(ratio), 100 * table(ds[f"{name}_stderr"], rows)[:, 0] / ratio


def _draw(
    axes: Axes, x: Array, percent: Array, error: Array | None, *, larger: float = 1.0, **look: Any
) -> ErrorbarContainer:
    size = larger * float(np.clip(70 / np.sqrt(x.size), 1.5, 6.0))
    bars = error is not None and x.size <= _MOST_BARS and bool(np.isfinite(error).any())
    return axes.errorbar(
        x, percent, yerr=error if bars else None, linestyle="none", markersize=size, elinewidth=0.8, **look
    )


def _draw_levels(axes: Axes, ds: xr.Dataset, rows: Rows, x: Array) -> ErrorbarContainer | None:
    """Draw the levels over E behind the responses, without bars, which would be much the same."""
    if "level_ratio" not in ds:
        return None
    percent, _ = _logarithm(ds, "level_ratio", rows)
    if not np.isfinite(percent).any():
        return None
    look: dict[str, Any] = {"marker": "s", "color": COLOURS[1], "markerfacecolor": "none", "label": "level over E"}
    return _draw(axes, x, percent, None, larger=1.5, zorder=2, **look)


def _certain(ds: xr.Dataset, rows: Rows, percent: Array, alpha: float) -> NDArray[np.intp]:
    """Units whose responses differ significantly, the largest difference first."""
    if "p_holm" not in ds:
        return np.array([], dtype=np.intp)
    p = table(ds["p_holm"], rows)[:, 0].astype(float)
    certain = np.flatnonzero((p < alpha) & np.isfinite(percent))
    return certain[np.argsort(-abs(percent[certain]), kind="stable")]


def _ring(
    axes: Axes, x: Array, percent: Array, error: Array | None, names: list[str], units: NDArray[np.intp], named: int
) -> dict[str, Line2D]:
    """Ring units, and number the first of them; names and sizes are in the legend."""
    look: dict[str, Any] = {"linestyle": "none", "marker": "o", "markerfacecolor": "none", "markeredgecolor": "black"}
    rings = {}
    for number, (name, i) in enumerate(zip(names[:named], units, strict=False), start=1):
        mmag = percent[i] * MMAG_PER_PERCENT
        sized = f"{percent[i]:+.3g}" if error is None else f"{percent[i]:+.3g} ± {error[i]:.1g}"
        words = f"{number}: {name}: {sized} % ({mmag:+.2g} mmag)"
        (rings[words],) = axes.plot(x[i], percent[i], label=words, zorder=3, markersize=11, **look)
        axes.annotate(str(number), (x[i], percent[i]), (6, 5), textcoords="offset points", fontsize=9)
    rest = units[named:]
    if rest.size:
        words = f"{rest.size} more that differ"
        (rings[words],) = axes.plot(x[rest], percent[rest], label=words, zorder=3, markersize=7, **look)
    return rings


def _limit(axes: Axes, x: Array, percent: Array, error: Array | None, certain: NDArray[np.intp]) -> Line2D | None:
    """Let the scatter of all, and what differs for sure, set the scale."""
    size = abs(percent[np.isfinite(percent)])
    scatter = _DEVIATIONS * 1.4826 * float(np.median(size))
    largest = float(size.max())
    half = min(scatter, largest) if scatter > 0 else largest
    half = max(half, float(abs(percent[certain]).max(initial=0.0)))
    if error is not None and np.isfinite(error).any():
        half += min(float(np.nanmedian(error)), half or 1.0)
    half = 1.15 * half or 0.01
    axes.set_ylim(-half, half)
    outside = np.flatnonzero(abs(np.nan_to_num(percent)) > half)
    if not outside.size:
        return None
    (marks,) = axes.plot(
        x[outside],
        0.97 * half * np.sign(percent[outside]),
        "d",
        markerfacecolor="none",
        markeredgecolor="black",
        clip_on=False,
        label=f"beyond the axis ({outside.size})",
    )
    return marks


def _cross(axes: Axes, x: Array) -> Line2D | None:
    if not x.size:
        return None
    (crosses,) = axes.plot(
        x,
        np.full(x.size, 0.02),
        "x",
        color="black",
        markersize=5,
        transform=axes.get_xaxis_transform(),
        clip_on=False,
        label=f"not measured in both ({x.size})",
    )
    return crosses


def _finish(axes: Axes, ds: xr.Dataset, rows: Rows, drawn: Comparison, certain: str) -> None:
    axes.set_xlim(-0.6, len(rows.detectors) - 0.4)
    by_detector = len(rows.labels) == len(rows.detectors)
    axes.set_xlabel("detector" if by_detector else "detector, its amplifiers side by side")
    if len(rows.detectors) > 1 and not by_detector:
        for k in range(1, len(rows.detectors), 2):
            axes.axvspan(k - 0.5, k + 0.5, color="0.94", linewidth=0, zorder=-1)
    axes.set_ylabel("ln of the ratio [%]")
    mmag_axis(axes, side="right", of="ratio")
    one, other = (_run(ds, side) for side in ("a", "b"))
    gauge = plain(ds.attrs.get("gauge", ""))
    two = "different filters: " if of_two_filters(ds) else ""
    words = f"{two}run {one} over run {other}, {certain}{_rms(ds)}"
    handles = [drawn.responses, drawn.levels, *drawn.significant.values(), drawn.unmeasured, drawn.beyond]
    there = [handle for handle in handles if handle is not None]
    legend_above(axes, there, title="; ".join([words, *([gauge] if gauge else [])]))


def _run(ds: xr.Dataset, side: str) -> str:
    """Write a run with its filter and date, where they are known."""
    name, told = plain(str(ds.attrs.get(f"run_{side}", "?"))[:_RUN]), run_words(ds, side)
    return f"{name} ({plain(told)})" if told else name


def _unit(rows: Rows, i: int) -> str:
    """Name of a unit as pages write it, detector/amplifier."""
    detector = rows.detectors[int(np.searchsorted(rows.starts, i, side="right")) - 1]
    amplifier = rows.labels[i].removeprefix(detector)[1:]
    return f"{short_label(detector)}/{short_label(amplifier)}" if amplifier else short_label(detector)


def _rms(ds: xr.Dataset) -> str:
    rms = ds.attrs.get("rms")
    return f", rms {float(rms):.3g} mmag" if isinstance(rms, int | float | np.number) else ""
