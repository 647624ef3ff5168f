"""Pictures of E and G with their errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from flatnorm_xr.show.axes import choose_axes, name_columns, name_height, plain, rows_of, side_by_side, table, time_axis
from flatnorm_xr.show.looks import WIDE
from flatnorm_xr.show.plots.points import Points, draw_points, finish_points
from flatnorm_xr.show.requirements import require, require_dims

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["E", "G"]


def E(solution: xr.Dataset, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None) -> Points:
    """Draw the level of each exposure against time, or in order where a time is missing.

    Parameters
    ----------
    solution : Dataset
        With ``E`` (exposure); ``E_stderr`` gives error bars. Groups of exposures have a colour and a marker each.
        Exposures without a usable level are crosses at the foot.
    ax : Axes, optional
        Where to draw; a new figure when not given.
    figsize : (float, float), optional
        Of the new figure, inches.

    Returns
    -------
    Points
        ``points``, ``unmeasured``.

    Raises
    ------
    FlatnormError
        The dataset is not solved, a selection dropped a dim, or both ``ax`` and ``figsize``.
    """
    require(solution, "E")
    require_dims(solution, "E", "exposure")
    level = solution["E"].values
    error = solution["E_stderr"].values if "E_stderr" in solution else None
    time = solution.coords.get("time")
    timed = time is not None and time.dims == ("exposure",) and not bool(time.isnull().any())
    height = 4.2 + (0.0 if timed else name_height(solution["exposure"].values))
    axes = choose_axes(ax, figsize, caller="plot.E", default=(7.2, height))
    x = time.values if timed and time is not None else np.arange(level.size)
    if "exposure_group" in solution.coords:
        labels = solution["exposure_group"].values
        members = [(plain(label), labels == label) for label in np.atleast_1d(solution["group"].values)]
    else:
        members = [("", np.ones(level.size, dtype=bool))]
    points = [
        draw_points(axes, x[of], level[of], None if error is None else error[of], k, name)
        for k, (name, of) in enumerate(members)
    ]
    if timed and time is not None:
        time_axis(axes, str(time.attrs.get("long_name", "time")))
    else:
        name_columns(axes, solution["exposure"].values)
        axes.set_xlim(-0.6, level.size - 0.4)
    finite = level[np.isfinite(level)]
    if finite.size and finite.max() > WIDE * finite.min():
        axes.set_yscale("log")
    return finish_points(axes, solution, "E", points, x[~np.isfinite(level)])


def G(solution: xr.Dataset, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None) -> Points:
    """Draw the relative response of each unit in order, the amplifiers of a detector side by side.

    Parameters
    ----------
    solution : Dataset
        With ``G`` (detector[, amplifier][, group]); ``G_stderr`` gives error bars. Groups of exposures have a colour
        and a marker each. Units without a usable level are crosses at the foot; amplifiers that do not exist have no
        place.
    ax : Axes, optional
        Where to draw; a new figure when not given.
    figsize : (float, float), optional
        Of the new figure, inches; chosen by the number of detectors when not given.

    Returns
    -------
    Points
        ``points``, ``unmeasured``.

    Raises
    ------
    FlatnormError
        The dataset is not solved, a selection dropped a dim, or both ``ax`` and ``figsize``.
    """
    require(solution, "G")
    require_dims(solution, "G", "detector")
    rows = rows_of(solution)
    width = float(np.clip(0.16 * len(rows.detectors) + 2, 7.2, 14.0))
    axes = choose_axes(ax, figsize, caller="plot.G", default=(width, 4.2))
    grouped = "group" in solution["G"].dims
    names = [plain(name) for name in solution["group"].values] if grouped else [""]
    response = table(solution["G"], rows, last="group")
    error = table(solution["G_stderr"], rows, last="group") if "G_stderr" in solution else None
    x = side_by_side(rows)
    dodge = (np.arange(len(names)) - (len(names) - 1) / 2) * 0.4 / max(len(names), 2) / np.diff(rows.starts).max()
    axes.axhline(1, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
    points = [
        draw_points(axes, x + dodge[k], response[:, k], None if error is None else error[:, k], k, name)
        for k, name in enumerate(names)
    ]
    if len(rows.detectors) > 1 and len(rows.labels) > len(rows.detectors):
        for k in range(1, len(rows.detectors), 2):
            axes.axvspan(k - 0.5, k + 0.5, color="0.94", linewidth=0, zorder=-1)
    name_columns(axes, np.array(rows.detectors))
    axes.set_xlim(-0.6, len(rows.detectors) - 0.4)
    axes.set_xlabel("detector" if len(rows.labels) == len(rows.detectors) else "detector, its amplifiers side by side")
    return finish_points(axes, solution, "G", points, x[~np.isfinite(response).any(axis=1)])
