"""Pictures of the focal plane: one number, or one cause, for each unit where it lies."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.model.schema import COORDINATES, VARIABLES, attributes_of
from flatnorm_xr.show.axes import axis_label, choose_axes, mmag_axis, plain, rows_of, size_inches, table
from flatnorm_xr.show.looks import COLOURS, HATCHES, HOLE, SMALLEST_HATCHED
from flatnorm_xr.show.places import Places, places_of
from flatnorm_xr.show.plots.colour_scale import Category, Scale, categories_of, scale_of
from flatnorm_xr.show.plots.selection import chosen_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.colorbar import Colorbar
    from matplotlib.text import Text

__all__ = ["FocalPlane", "focal_plane"]

_CALLER = "plot.focal_plane"

_SMALLEST_NAME, _LARGEST_NAME = 5.0, 9.0
"""Points of the letters of a detector's name: below the first it is left out."""

_LETTER = 0.62
"""Width of a letter over its height."""

_OUTLINE = "0.15"


class FocalPlane(NamedTuple):
    """Artists of `focal_plane`; every unit is a rectangle in one of ``values`` and ``marks``."""

    values: PolyCollection | None
    """Units that have a number, coloured by it."""
    marks: dict[str, PolyCollection]
    """All others, by the words of the legend."""
    outlines: PolyCollection
    """Detectors, in the order of the dim."""
    colorbar: Colorbar | None
    names: list[Text]
    """Of the detectors, where there is room."""


def focal_plane(
    ds: xr.Dataset,
    variable: str | xr.DataArray = "G",
    *,
    exposure: Any = None,
    group: Any = None,
    mode: Any = None,
    limits: tuple[float, float] | None = None,
    cmap: str | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> FocalPlane:
    """Draw one variable on the focal plane, each unit where it lies.

    Units lie where the coordinates ``x``, ``y``, ``width``, ``height`` and ``amplifier_x``, ... say. What these do not
    say is replaced (a grid of detectors, an even split into amplifiers), and written beneath the picture.

    Parameters
    ----------
    ds : Dataset
        Measurements or a solution; or a trend or a comparison of runs, for what these say of units, such as ``drift``.
        Amplifiers that do not exist are not drawn.
    variable : str or DataArray
        A variable or coordinate along detector[, amplifier][, exposure][, group][, mode], or a quantity that
        `flatnorm_xr.hierarchy` finds, such as ``amplifier_ratio``; or an array with the labels of ``ds``, for example
        ``ds.residual.std("exposure")``. NaN is grey and hatched. Residuals are drawn in per cent and mmag about 0,
        ratios about 1, what has both signs about 0; flags, components, texts and yes or no as categories with a legend.
        ``quality`` without an exposure shows for each unit the flag that most of its exposures have.
    exposure, group, mode : optional
        Label along that dim, for a variable that lies along it.
    limits : (float, float), optional
        Ends of the colour scale; found from the values, without outliers, when not given.
    cmap : str, optional
        Colour map.
    ax : Axes, optional
        Where to draw; a new figure when not given.
    figsize : (float, float), optional
        Of the new figure, inches; as the focal plane is shaped when not given.

    Returns
    -------
    FocalPlane
        ``values``, ``marks``, ``outlines``, ``colorbar``, ``names``.

    Raises
    ------
    FlatnormError
        No such variable, one that does not lie along detector, a label that is missing or not chosen, wrong limits, or
        both ``ax`` and ``figsize``.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from flatnorm_xr.show import plots
    >>> from flatnorm_xr.simulate.levels import simulate
    >>> drawn = plots.focal_plane(simulate(n_detectors=9), "background", exposure=103)
    >>> drawn.colorbar.ax.get_ylabel(), len(drawn.values.get_paths())
    ('level of the flat light [adu]', 9)
    >>> plt.close()
    """
    array, chosen = chosen_array(ds, variable, {"exposure": exposure, "group": group, "mode": mode}, caller=_CALLER)
    places = places_of(ds)
    by_unit = "amplifier" in array.dims
    boxes = places.units if by_unit else places.detectors
    values = table(array, rows_of(ds)) if by_unit else array.values.reshape(len(boxes), -1)
    axes = choose_axes(ax, figsize, caller=_CALLER, default=_size(places))
    _frame(axes, places)
    categories = categories_of(array, values=values)
    if categories is None:
        gauge = str(ds.attrs.get("gauge", ""))
        scale = scale_of(array, values=values[:, 0], limits=limits, cmap=cmap, gauge=gauge, caller=_CALLER)
        drawn, marks, bar = _draw_numbers(axes, boxes, scale)
    else:
        drawn, marks, bar = None, _draw_categories(axes, boxes, categories), None
    outlines, names = _draw_detectors(axes, places, [str(label) for label in ds["detector"].values])
    if marks:
        _legend(axes, marks)
    what = [] if categories is None else [_name_of(array)]
    if "exposure" in array.dims:
        chosen = f"the most frequent of each unit in {array.sizes['exposure']} exposures"
    _title(axes, ", ".join([*what, *([plain(chosen)] if chosen else [])]), above=bool(marks))
    return FocalPlane(drawn, marks, outlines, bar, names)


def _name_of(array: xr.DataArray) -> str:
    """Words of the data model for an array, whatever attributes arithmetic has left on it."""
    known = str(array.name) in VARIABLES or str(array.name) in COORDINATES
    return plain(attributes_of(str(array.name))["long_name"]) if known else axis_label(array)


def _size(places: Places) -> tuple[float, float]:
    """Inches of a figure as the focal plane is shaped, with room for the colour bar."""
    width, height = _extent(places)
    scale = min(6.0 / width, 6.5 / height)
    # a colour bar's label needs three inches
    return max(width * scale, 2.5) + 1.9, max(height * scale, 3.0) + 0.9


def _extent(places: Places) -> NDArray[np.float64]:
    corners = places.detectors
    extent: NDArray[np.float64] = (corners[:, :2] + corners[:, 2:]).max(axis=0) - corners[:, :2].min(axis=0)
    return extent


def _frame(axes: Axes, places: Places) -> None:
    """Axes in mm, or without ticks where positions are not real, with the note beneath."""
    low = places.detectors[:, :2].min(axis=0)
    margin = 0.02 * _extent(places).max()
    # the box stays as it is and the limits give way, so that the colour bar beside it keeps its place
    axes.set_aspect("equal", adjustable="datalim")
    axes.update_datalim([low - margin, low + _extent(places) + margin])
    axes.margins(0)
    axes.autoscale_view()
    lines = [plain(line) for line in textwrap.wrap(places.note, 70)]
    if places.unit_of_length:
        lines.insert(0, f"focal plane x [{places.unit_of_length}]")
        axes.set_ylabel(f"focal plane y [{places.unit_of_length}]")
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.set_xlabel("\n".join(lines))


def _points_a_unit(axes: Axes, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of paper that one unit of length takes, and so the sizes of rectangles."""
    inches = np.array(size_inches(axes))
    lengths = np.array([abs(np.subtract(*axes.get_xlim())), abs(np.subtract(*axes.get_ylim()))])
    points: NDArray[np.float64] = 72 * (inches / lengths).min() * places[:, 2:]
    return points


def _rectangles(axes: Axes, boxes: NDArray[np.float64], **look: Any) -> PolyCollection:
    from matplotlib.collections import PolyCollection

    (left, bottom), (width, height) = boxes[:, :2].T, boxes[:, 2:].T
    x = np.stack([left, left + width, left + width, left], axis=-1)
    y = np.stack([bottom, bottom, bottom + height, bottom + height], axis=-1)
    drawn = PolyCollection(list(np.stack([x, y], axis=-1)), **look)
    axes.add_collection(drawn, autolim=False)
    return drawn


def _draw_numbers(
    axes: Axes, boxes: NDArray[np.float64], scale: Scale
) -> tuple[PolyCollection | None, dict[str, PolyCollection], Colorbar | None]:
    there = np.isfinite(scale.values)
    marks = {}
    if not there.all():
        words = f"no value ({int((~there).sum())})"
        marks[words] = _mark(axes, boxes[~there], None, words)
    if not there.any():
        return None, marks, None
    drawn = _rectangles(
        axes,
        boxes[there],
        array=scale.values[there],
        norm=scale.norm,
        cmap=scale.cmap,
        edgecolor="face",
        linewidth=0.2,
    )
    return drawn, marks, _colour_bar(axes, drawn, scale)


def _colour_bar(axes: Axes, drawn: PolyCollection, scale: Scale) -> Colorbar:
    """Colour bar beside the axes, as high as they turn out to be."""
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    figure = axes.get_figure(root=True)
    assert figure is not None
    edge = figure.dpi_scale_trans + ScaledTranslation(1, 0, axes.transAxes)  # type: ignore[arg-type]
    gap = 0.8 if scale.in_percent else 0.15
    beside = axes.inset_axes((gap, 0, 0.2, 1), transform=blended_transform_factory(edge, axes.transAxes))
    bar = figure.colorbar(drawn, cax=beside, extend=scale.extend, label=scale.label)
    if scale.in_percent:
        mmag_axis(bar.ax, side="left")
    return bar


def _draw_categories(axes: Axes, boxes: NDArray[np.float64], categories: list[Category]) -> dict[str, PolyCollection]:
    return {one.words: _mark(axes, boxes[one.units], one.look, one.words) for one in categories}


def _mark(axes: Axes, boxes: NDArray[np.float64], look: int | None, words: str) -> PolyCollection:
    """Rectangles of one category; hatched too, where they are large enough."""
    hatched = bool(_points_a_unit(axes, boxes).min() >= SMALLEST_HATCHED)
    keywords: dict[str, Any] = {"edgecolor": "0.35", "linewidth": 0.0}
    if look is None:
        keywords |= {"facecolor": HOLE, "hatch": HATCHES[0] if hatched else None}
    elif look < 0:
        keywords |= {"facecolor": "white", "edgecolor": "0.6", "linewidth": 0.3}
    else:
        hatch = HATCHES[(look - 1) % len(HATCHES)] if hatched and look > 0 else None
        keywords |= {"facecolor": COLOURS[look % len(COLOURS)], "edgecolor": "black", "hatch": hatch}
    return _rectangles(axes, boxes, label=words, **keywords)


def _draw_detectors(axes: Axes, places: Places, labels: list[str]) -> tuple[PolyCollection, list[Text]]:
    """Outlines of the detectors, and the names of those that have room for theirs."""
    from matplotlib.patheffects import withStroke

    room = _points_a_unit(axes, places.detectors)
    width = float(np.clip(0.03 * room.min(), 0.3, 1.0))
    outlines = _rectangles(axes, places.detectors, facecolor="none", edgecolor=_OUTLINE, linewidth=width)
    longest = max(map(len, labels))
    letters = np.minimum(room[:, 0] / (_LETTER * (longest + 1)), room[:, 1] / 1.5)
    size = min(float(np.median(letters)), _LARGEST_NAME)
    names = []
    for label, (left, bottom, across, up), fits in zip(labels, places.detectors, letters >= 0.99 * size, strict=True):
        if size >= _SMALLEST_NAME and fits:
            name = axes.text(
                left + across / 2, bottom + up / 2, plain(label), ha="center", va="center", fontsize=size, clip_on=True
            )
            name.set_path_effects([withStroke(linewidth=2, foreground="white")])
            names.append(name)
    return outlines, names


def _legend(axes: Axes, marks: dict[str, PolyCollection]) -> None:
    columns = max(1, int(size_inches(axes)[0] / 1.8))
    handles = list(marks.values())
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, fontsize=9)


def _title(axes: Axes, words: str, *, above: bool) -> None:
    """Write what is drawn above the picture; above the legend, too, where there is one."""
    legend = axes.get_legend()
    if words and above and legend is not None:
        legend.set_title(words)
        legend.set_alignment("left")
    elif words:
        axes.set_title(words, fontsize=10)
