"""Pictures of E and G with their errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.show.axes import choose_axes, name_columns, name_height, plain, rows_of, side_by_side, table
from flatnorm_xr.show.looks import WIDE
from flatnorm_xr.show.plots.against import name_places, place_exposures
from flatnorm_xr.show.plots.points import Points, draw_points, finish_points, ring
from flatnorm_xr.show.requirements import require, require_dims

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

__all__ = ["E", "G"]


def E(
    solution: xr.Dataset,
    *,
    against: str | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Points:
    """Draw the level of each exposure against time, in order, or against one of its coordinates.

    Parameters
    ----------
    solution : Dataset
        With ``E`` (exposure); ``E_stderr`` gives error bars. Groups of exposures have a colour and a marker each.
        Exposures without a usable level are crosses at the foot, those that were rejected have a ring.
    against : str, optional
        ``"time"``, ``"order"`` or a coordinate along exposure, such as ``"exposure_time"`` (numbers lie on an axis) or
        ``"lamp"`` (texts have a place each, where exposures stand side by side in their order). Exposures whose
        coordinate is missing are triangles at the right edge. When not given: time, or order where a time is missing.
    ax : Axes, optional
        Where to draw; a new figure when not given.
    figsize : (float, float), optional
        Of the new figure, inches.

    Returns
    -------
    Points
        ``points``, ``unmeasured``, ``rejected``, ``unplaced``.

    Raises
    ------
    FlatnormError
        The dataset is not solved, a selection dropped a dim, both ``ax`` and ``figsize``, or ``against`` names nothing
        along exposure.
    """
    require(solution, "E")
    require_dims(solution, "E", "exposure")
    level = solution["E"].values
    error = solution["E_stderr"].values if "E_stderr" in solution else None
    places = place_exposures(solution, against, caller="plot.E")
    height = 4.2 + (name_height(places.names) if places.names.size else 0.0)
    axes = choose_axes(ax, figsize, caller="plot.E", default=(7.2, height))
    if "exposure_group" in solution.coords:
        labels = solution["exposure_group"].values
        members = [(plain(label), labels == label) for label in np.atleast_1d(solution["group"].values)]
    else:
        members = [("", np.ones(level.size, dtype=bool))]
    placed = ~places.missing
    points = [
        draw_points(axes, places.x[of], level[of], None if error is None else error[of], k, name)
        for k, (name, of) in enumerate((name, of & placed) for name, of in members)
    ]
    # what took no part in the fit and has a level all the same was rejected as a whole
    weight = solution.get("weight", xr.ones_like(solution["E"]))  # Rubin's scales come without
    used = (weight > 0).any([dim for dim in weight.dims if dim != "exposure"]).values
    rejected = ~used & np.isfinite(level) & placed
    rings = ring(axes, places.x[rejected], level[rejected], "rejected")
    unplaced = _at_the_edge(axes, level[places.missing], str(against))
    name_places(axes, places)
    finite = level[np.isfinite(level)]
    if finite.size and finite.max() > WIDE * finite.min():
        axes.set_yscale("log")
    lost = places.x[~np.isfinite(level) & placed]
    return finish_points(axes, solution, "E", points, lost, rejected=rings, unplaced=unplaced)


def _at_the_edge(axes: Axes, level: NDArray[Any], against: str) -> Line2D | None:
    """Draw the levels of exposures that have no place along x at the right edge."""
    if not level.size:
        return None
    without = int((~np.isfinite(level)).sum())
    also = f", {without} of them without a usable level" if without else ""
    (triangles,) = axes.plot(
        np.full(level.size, 1.015),
        level,
        "<",
        markerfacecolor="none",
        markeredgecolor="black",
        markersize=6,
        transform=axes.get_yaxis_transform(),
        clip_on=False,
        label=f"{plain(against)} missing ({level.size}{also})",
    )
    return triangles


def G(solution: xr.Dataset, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None) -> Points:
    """Draw the relative response of each unit in order, the amplifiers of a detector side by side.

    Parameters
    ----------
    solution : Dataset
        With ``G`` (detector[, amplifier][, group]); ``G_stderr`` gives error bars. Groups of exposures have a colour
        and a marker each. Units without a usable level are crosses at the foot, those that were rejected have a ring;
        amplifiers that do not exist have no place.
    ax : Axes, optional
        Where to draw; a new figure when not given.
    figsize : (float, float), optional
        Of the new figure, inches; chosen by the number of detectors when not given.

    Returns
    -------
    Points
        ``points``, ``unmeasured``, ``rejected``.

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
    component = solution.get("component", xr.zeros_like(solution["G"]))
    outside = (table(component, rows, last="group") < 0) & np.isfinite(response)
    unit, group = np.nonzero(outside)
    rings = ring(axes, x[unit] + dodge[group], response[outside], "rejected")
    return finish_points(axes, solution, "G", points, x[~np.isfinite(response).any(axis=1)], rejected=rings)
