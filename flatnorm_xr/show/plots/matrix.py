"""A matrix of cells, one row a unit, one column an exposure, with its holes, names and colour bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.cells import flag_cells
from flatnorm_xr.flags import Flag, leading_cause
from flatnorm_xr.show.axes import Rows, name_columns, name_height, name_rows, separate, size_inches
from flatnorm_xr.show.looks import HATCHES, HOLE, PALE, SMALLEST_HATCHED, SOLID, looks_of_causes
from flatnorm_xr.show.plots.legend import legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.colorbar import Colorbar
    from matplotlib.image import AxesImage

__all__ = ["Matrix", "draw_matrix", "extend_of", "matrix_size", "quality_of"]


_ROWS_PER_INCH = 72
_FINE = 1000
"""Columns of an image whose rows are averaged."""


class Matrix(NamedTuple):
    """Artists of `background` and `residual`."""

    image: AxesImage
    """Where rows are too many to be told apart, every exposure has several columns of the same values."""
    colorbar: Colorbar
    marks: dict[str, PolyCollection]
    """Cells without weight, by the words of the legend."""


def matrix_size(ds: xr.Dataset, rows: Rows) -> tuple[float, float]:
    """Inches that give every cell and name room, within what a page or a screen has."""
    width = float(np.clip(0.28 * ds.sizes["exposure"] + 3, 6.4, 12))
    height = float(np.clip(0.22 * len(rows.labels) + 1.4, 3.6, 11))
    return width, height + name_height(ds["exposure"].values)


def quality_of(ds: xr.Dataset) -> xr.DataArray:
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


def extend_of(values: NDArray[Any], low: float, high: float) -> str:
    """Which ends of a colour bar are pointed: those beyond which there are values."""
    below, above = bool((values < low).any()), bool((values > high).any())
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[below, above]


def draw_matrix(
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

    colours = matplotlib.colormaps[cmap].with_extremes(bad=HOLE)
    inches = size_inches(axes)
    # rows finer than the print are averaged, by a filter as wide along x as along y: columns must be as fine, lest it
    # mixes exposures
    fine = values.shape[0] > _ROWS_PER_INCH * inches[1]
    image = axes.imshow(
        np.ma.masked_invalid(np.repeat(values, -(-_FINE // values.shape[1]), axis=1) if fine else values),
        norm=norm,
        cmap=colours,
        aspect="auto",
        extent=(-0.5, values.shape[1] - 0.5, values.shape[0] - 0.5, -0.5),
        interpolation="auto" if fine else "nearest",
    )
    # an inset, in inches from the edge, stays beside the matrix however wide the legend above is
    edge = axes.figure.dpi_scale_trans + ScaledTranslation(1, 0, axes.transAxes)  # type: ignore[arg-type]
    beside = axes.inset_axes((bar_gap, 0, 0.2, 1), transform=blended_transform_factory(edge, axes.transAxes))
    bar = axes.figure.colorbar(image, cax=beside, extend=extend, label=label)
    cell = 72 * inches[0] / values.shape[1], 72 * inches[1] / values.shape[0]
    marks = _mark(axes, causes, solid=min(cell) < SMALLEST_HATCHED)
    name_columns(axes, ds["exposure"].values)
    name_rows(axes, rows)
    if fine:
        axes.set_ylabel(f"{axes.get_ylabel()}\n(averaged where rows are finer than the print)")
    if len(rows.labels) > len(rows.detectors):
        separate(axes, rows, colour=line_colour)
    return Matrix(image, bar, marks)


def _mark(axes: Axes, causes: NDArray[Any], *, solid: bool) -> dict[str, PolyCollection]:
    """Pale and hatch the cells without weight, one pattern for each cause, with a legend above the axes."""
    from matplotlib.collections import PolyCollection

    marks: dict[str, PolyCollection] = {}
    leading = leading_cause(causes & ~np.uint32(Flag.NO_SUCH_AMPLIFIER))
    for flag, k in looks_of_causes(Flag(int(value)) for value in np.unique(leading[leading != 0])):
        cells = leading == np.uint32(flag)
        name = f"{flag.words} ({int(cells.sum())})"
        look: dict[str, Any] = {"facecolor": PALE, "edgecolor": "black", "hatch": HATCHES[k], "linewidth": 0}
        if k < 0:
            look = {"facecolor": HOLE, "edgecolor": HOLE, "linewidth": 0.4 if solid else 0}
        elif solid:
            look = {"facecolor": SOLID[k], "edgecolor": SOLID[k], "linewidth": 0.4}
        marks[name] = PolyCollection(list(_runs(cells)), label=name, **look)
        axes.add_collection(marks[name], autolim=False)
    if marks:
        legend_above(axes, list(marks.values()))
    return marks


def _runs(cells: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Corners of the rectangles that cover the cells, one for each run along a row."""
    edge = np.diff(np.pad(cells, ((0, 0), (1, 1))).astype("i1"), axis=1)
    row, left = np.nonzero(edge == 1)
    right = np.nonzero(edge == -1)[1]
    x, y = np.stack([left, right, right, left], axis=-1), np.stack([row, row, row + 1, row + 1], axis=-1)
    corners: NDArray[np.float64] = np.stack([x, y], axis=-1).astype(float) - 0.5
    return corners
