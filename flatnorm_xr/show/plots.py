"""Pictures of levels, residuals, E and G, in the manner of xarray's plots."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.cells import flag_cells
from flatnorm_xr.errors import FlatnormError, offenders
from flatnorm_xr.flags import WITHOUT_WEIGHT, Flag
from flatnorm_xr.model.validate import validate
from flatnorm_xr.show.axes import (
    Rows,
    axis_label,
    choose_axes,
    name_columns,
    name_height,
    name_rows,
    plain,
    rows_of,
    separate,
    side_by_side,
    size_inches,
    table,
    time_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.colorbar import Colorbar
    from matplotlib.container import ErrorbarContainer
    from matplotlib.image import AxesImage
    from matplotlib.lines import Line2D

__all__ = ["E", "G", "Matrix", "Points", "background", "residual"]

MMAG_PER_PERCENT = 25 / np.log(10)
"""2.5 log10 of a ratio, in mmag, for each percent of its natural logarithm."""

WIDE = 10.0
"""Largest over smallest value from which a scale is logarithmic."""

# Okabe & Ito: told apart by colour-blind eyes; the markers tell them apart in black and white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_HOLE = "0.78"
_HATCHES = ("////", "\\\\\\\\", "xxxx", "....", "++++", "oooo")
_SOLID = ("#D55E00", "#000000", "#CC79A7", "#009E73", "#E69F00", "#56B4E9")
_SMALLEST_HATCHED = 5.0


class Matrix(NamedTuple):
    """Artists of `background` and `residual`."""

    image: AxesImage
    colorbar: Colorbar
    marks: dict[str, PolyCollection]
    """Cells without weight, by the words of the legend."""


class Points(NamedTuple):
    """Artists of `E` and `G`."""

    points: list[ErrorbarContainer]
    """One for each group of exposures."""
    unmeasured: Line2D | None
    """Crosses at the foot of the picture, where there is no usable level."""


def background(
    ds: xr.Dataset, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None, cmap: str = "cividis"
) -> Matrix:
    """Draw the levels as a matrix, one row a unit, one column an exposure.

    Parameters
    ----------
    ds : Dataset
        Measurements or a solution: ``background`` (detector[, amplifier], exposure). Amplifiers that do not exist
        have no row. Cells that a solve leaves out are hatched (filled when too small for that), one legend entry a
        cause; a level that is NaN, infinite, zero or negative is grey.
    ax : Axes, optional
        Where to draw; a new figure when not given.
    figsize : (float, float), optional
        Of the new figure, inches; chosen by the number of units and exposures when not given.
    cmap : str
        Colour map. The scale is logarithmic when the levels span more than a factor of 10.

    Returns
    -------
    Matrix
        ``image``, ``colorbar``, ``marks``.

    Raises
    ------
    FlatnormError
        Both ``ax`` and ``figsize``, a dim that a selection dropped, or levels that do not follow the data model.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from flatnorm_xr.show import plots
    >>> from flatnorm_xr.simulate.levels import simulate
    >>> plots.background(simulate()).colorbar.ax.get_ylabel()
    'level of the flat light [adu]'
    >>> plt.close()
    """
    from matplotlib.colors import LogNorm, Normalize

    _require_dims(ds, "background", "detector", "exposure")
    validate(ds, caller="plot.background")
    rows = rows_of(ds)
    levels = table(ds["background"], rows)
    levels = np.where(np.isfinite(levels) & (levels > 0), levels, np.nan)
    causes = table(_quality(ds), rows) & np.uint32(WITHOUT_WEIGHT)
    shown = levels[(causes == 0) & np.isfinite(levels)]
    shown = shown if shown.size else levels[np.isfinite(levels)]
    low, high = (shown.min(), shown.max()) if shown.size else (1.0, 10.0)
    norm = LogNorm(low, high) if high > WIDE * low else Normalize(low, high)
    extend = _extend(levels, low, high)
    axes = choose_axes(ax, figsize, caller="plot.background", default=_matrix_size(ds, rows))
    return _matrix(
        axes,
        ds,
        rows,
        levels,
        causes,
        norm=norm,
        cmap=cmap,
        extend=extend,
        label=axis_label(ds["background"]),
        line_colour="white",
        bar_gap=0.15,
    )


def residual(
    solution: xr.Dataset,
    *,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    limit: float | None = None,
    cmap: str = "RdBu_r",
) -> Matrix:
    """Draw ln(background / bgModel) as a matrix, in per cent and mmag.

    Parameters
    ----------
    solution : Dataset
        With ``residual``. Cells with weight 0 are hatched, one legend entry a cause; NaN is grey.
    ax : Axes, optional
        Where to draw; a new figure when not given.
    figsize : (float, float), optional
        Of the new figure, inches; chosen by the number of units and exposures when not given.
    limit : float, optional
        End of the colour scale in per cent, the same on both sides; four robust standard deviations of the cells
        with weight, or the largest of them if that is less, when not given.
    cmap : str
        Diverging colour map.

    Returns
    -------
    Matrix
        ``image`` (per cent), ``colorbar``, ``marks``.

    Raises
    ------
    FlatnormError
        The dataset is not solved, a selection dropped a dim, both ``ax`` and ``figsize``, or a limit that is not
        positive.
    """
    from matplotlib.colors import Normalize

    _require(solution, "residual")
    _require_dims(solution, "residual", "detector", "exposure")
    rows = rows_of(solution)
    percent = 100 * table(solution["residual"], rows)
    weight = table(solution["weight"], rows)
    causes = np.where(weight > 0, 0, table(_quality(solution), rows) & np.uint32(WITHOUT_WEIGHT))
    limit = _robust_limit(percent[(weight > 0) & np.isfinite(percent)]) if limit is None else limit
    if not limit > 0:
        msg = f"plot.residual: limit is {limit}; it must be a positive number of per cent"
        raise FlatnormError(msg)
    axes = choose_axes(ax, figsize, caller="plot.residual", default=_matrix_size(solution, rows))
    drawn = _matrix(
        axes,
        solution,
        rows,
        percent,
        causes,
        norm=Normalize(-limit, limit),
        cmap=cmap,
        extend=_extend(percent, -limit, limit),
        label=f"residual, {plain(solution['residual'].attrs.get('long_name', 'ln(background / bgModel)'))} [%]",
        line_colour="black",
        bar_gap=0.9,
    )
    mmag = drawn.colorbar.ax.secondary_yaxis(
        "left", functions=(lambda p: p * MMAG_PER_PERCENT, lambda m: m / MMAG_PER_PERCENT)
    )
    mmag.set_ylabel("2.5 log10(background / bgModel) [mmag]")
    return drawn


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
    _require(solution, "E")
    _require_dims(solution, "E", "exposure")
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
        _points(axes, x[of], level[of], None if error is None else error[of], k, name)
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
    return _finish_points(axes, solution, "E", points, x[~np.isfinite(level)])


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
    _require(solution, "G")
    _require_dims(solution, "G", "detector")
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
        _points(axes, x + dodge[k], response[:, k], None if error is None else error[:, k], k, name)
        for k, name in enumerate(names)
    ]
    if len(rows.detectors) > 1 and len(rows.labels) > len(rows.detectors):
        for k in range(1, len(rows.detectors), 2):
            axes.axvspan(k - 0.5, k + 0.5, color="0.94", linewidth=0, zorder=-1)
    name_columns(axes, np.array(rows.detectors))
    axes.set_xlim(-0.6, len(rows.detectors) - 0.4)
    axes.set_xlabel("detector" if len(rows.labels) == len(rows.detectors) else "detector, its amplifiers side by side")
    return _finish_points(axes, solution, "G", points, x[~np.isfinite(response).any(axis=1)])


def _require(solution: xr.Dataset, name: str) -> None:
    """Raise when the dataset is not a solution."""
    if not isinstance(solution, xr.Dataset) or name not in solution:
        msg = f"plot.{name}: the dataset has no {name}; solve it first: ds.flatnorm.solve()"
        raise FlatnormError(msg)


def _require_dims(ds: xr.Dataset, name: str, *dims: str) -> None:
    """Raise when a selection has dropped a dim that the picture is drawn along."""
    if not isinstance(ds, xr.Dataset) or name not in ds:
        return  # which `validate` says better
    missing = [dim for dim in dims if dim not in ds[name].dims]
    if missing:
        selected = ", ".join(f"{dim}=[...]" for dim in missing)
        msg = f"plot.{name}: the dataset has no dim {offenders(missing)}; select with a list: ds.sel({selected})"
        raise FlatnormError(msg)


def _matrix_size(ds: xr.Dataset, rows: Rows) -> tuple[float, float]:
    """Inches that give every cell and name room, within what a page or a screen has."""
    width = float(np.clip(0.28 * ds.sizes["exposure"] + 3, 6.4, 12))
    height = float(np.clip(0.22 * len(rows.labels) + 1.4, 3.6, 11))
    return width, height + name_height(ds["exposure"].values)


def _quality(ds: xr.Dataset) -> xr.DataArray:
    """Find the flags of the cells: those of the solve, or those a solve would set."""
    if "weight" in ds and "quality" in ds:
        return ds["quality"]
    return flag_cells(
        ds["background"],
        counts=ds.get("counts"),
        sigma=ds.get("sigma"),
        exists=ds.coords.get("exists"),
        quality=ds.get("quality"),
        needs_sigma=False,
    )


def _extend(values: NDArray[Any], low: float, high: float) -> str:
    below, above = bool((values < low).any()), bool((values > high).any())
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[below, above]


def _robust_limit(percent: NDArray[Any]) -> float:
    if not percent.size:
        return 1.0
    largest, scatter = float(abs(percent).max()), 1.4826 * float(np.median(abs(percent)))
    # below 1e-6 % there is only rounding, and no reason to paint it
    return max(min(4 * scatter, largest) if scatter > 0 else largest, 1e-6)


def _matrix(
    axes: Axes,
    ds: xr.Dataset,
    rows: Rows,
    values: NDArray[Any],
    causes: NDArray[Any],
    *,
    norm: Any,
    cmap: str,
    extend: str,
    label: str,
    line_colour: str,
    bar_gap: float,
) -> Matrix:
    """Draw a table of units by exposures with its holes, names and colour bar."""
    import matplotlib
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    colours = matplotlib.colormaps[cmap].with_extremes(bad=_HOLE)
    image = axes.imshow(np.ma.masked_invalid(values), norm=norm, cmap=colours, aspect="auto")
    inches = size_inches(axes)
    # an inset, in inches from the edge, stays beside the matrix however wide the legend above is
    edge = axes.figure.dpi_scale_trans + ScaledTranslation(1, 0, axes.transAxes)  # type: ignore[arg-type]
    beside = axes.inset_axes((bar_gap, 0, 0.2, 1), transform=blended_transform_factory(edge, axes.transAxes))
    bar = axes.figure.colorbar(image, cax=beside, extend=extend, label=label)
    cell = 72 * inches[0] / values.shape[1], 72 * inches[1] / values.shape[0]
    marks = _mark(axes, causes, solid=min(cell) < _SMALLEST_HATCHED)
    name_columns(axes, ds["exposure"].values)
    name_rows(axes, rows)
    if len(rows.labels) > len(rows.detectors):
        separate(axes, rows, colour=line_colour)
    return Matrix(image, bar, marks)


def _mark(axes: Axes, causes: NDArray[Any], *, solid: bool) -> dict[str, PolyCollection]:
    """Hatch the cells without weight, one pattern for each cause, with a legend above the axes."""
    from matplotlib.collections import PolyCollection

    marks: dict[str, PolyCollection] = {}
    # one cause a cell: where every pixel was masked because it was saturated, it is the light that says more
    for flag in (Flag.SATURATED, *Flag):
        cells = (causes & np.uint32(flag)) != 0
        causes = np.where(cells, np.uint32(0), causes)
        if flag is Flag.NO_SUCH_AMPLIFIER or not cells.any():
            continue
        name = f"{str(flag.name).lower().replace('_', ' ')} ({int(cells.sum())})"
        k = len([mark for mark in marks if not mark.startswith("not measured")]) % len(_HATCHES)
        look: dict[str, Any] = {"facecolor": "none", "edgecolor": "black", "hatch": _HATCHES[k], "linewidth": 0}
        if flag is Flag.NOT_MEASURED:
            look = {"facecolor": _HOLE, "edgecolor": "none"}
        elif solid:
            look = {"facecolor": _SOLID[k], "edgecolor": _SOLID[k], "linewidth": 0.4}
        marks[name] = PolyCollection(list(_runs(cells)), label=name, **look)
        axes.add_collection(marks[name], autolim=False)
    if marks:
        columns = max(1, int(size_inches(axes)[0] / 1.6))
        handles = list(marks.values())
        axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, fontsize=9)
    return marks


def _runs(cells: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Corners of the rectangles that cover the cells, one for each run along a row."""
    edge = np.diff(np.pad(cells, ((0, 0), (1, 1))).astype("i1"), axis=1)
    row, left = np.nonzero(edge == 1)
    right = np.nonzero(edge == -1)[1]
    x, y = np.stack([left, right, right, left], axis=-1), np.stack([row, row, row + 1, row + 1], axis=-1)
    corners: NDArray[np.float64] = np.stack([x, y], axis=-1).astype(float) - 0.5
    return corners


def _points(
    axes: Axes, x: NDArray[Any], y: NDArray[Any], error: NDArray[Any] | None, k: int, name: str
) -> ErrorbarContainer:
    size = float(np.clip(60 / np.sqrt(max(y.size, 1)), 2.0, 6.0))
    return axes.errorbar(
        x,
        y,
        yerr=error,
        fmt=_MARKERS[k % len(_MARKERS)],
        color=_COLOURS[k % len(_COLOURS)],
        markersize=size,
        elinewidth=1,
        capsize=size / 2,
        label=name,
    )


def _finish_points(
    axes: Axes, solution: xr.Dataset, name: str, points: list[ErrorbarContainer], lost: Sequence[Any] | NDArray[Any]
) -> Points:
    """Cross what has no usable level, name the axis and its gauge, and make the legend."""
    unmeasured = None
    if len(lost):
        (unmeasured,) = axes.plot(
            lost,
            np.full(len(lost), 0.02),
            "x",
            color="black",
            markersize=5,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            label=f"no usable level ({len(lost)})",
        )
    gauge = plain(solution.attrs.get("gauge", "")).partition(" (")[0]
    lines = [axis_label(solution[name]), *textwrap.wrap(gauge, 44, max_lines=2, placeholder=" ...")]
    axes.set_ylabel("\n".join(lines))
    if axes.get_yscale() == "linear":
        axes.ticklabel_format(axis="y", useOffset=False)
    if unmeasured is not None or len(points) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, frameon=False, fontsize=9)
    return Points(points, unmeasured)
