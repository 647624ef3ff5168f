"""The axes of pictures: which unit stands where, and which names fit beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.model.schema import units_of
from flatnorm_xr.show.looks import MMAG_PER_PERCENT
from flatnorm_xr.show.texts import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Rows",
    "axis_label",
    "by_amplifier",
    "choose_axes",
    "mmag_axis",
    "name_columns",
    "name_height",
    "name_rows",
    "plain",
    "residual_label",
    "rows_of",
    "separate",
    "short_label",
    "side_by_side",
    "size_inches",
    "table",
    "time_axis",
]


_LONGEST_TICK = 26
"""Characters of a label beside an axis."""


class Rows(NamedTuple):
    """The units that exist, in order: detector by detector."""

    exists: NDArray[np.bool_]
    labels: list[str]
    detectors: list[str]
    starts: NDArray[np.intp]
    """First row of each detector, and the number of rows at the end."""


def choose_axes(
    ax: Axes | None, figsize: tuple[float, float] | None, *, caller: str, default: tuple[float, float]
) -> Axes:
    """Take the axes that were given, or make a figure; both ``ax`` and ``figsize`` are an error."""
    import matplotlib.pyplot as plt

    if ax is not None and figsize is not None:
        msg = f"{caller}: ax and figsize are both given; the size is that of the axes' figure, so leave figsize out"
        raise FlatnormError(msg)
    return ax if ax is not None else plt.subplots(figsize=figsize or default, layout="constrained")[1]


def name_height(labels: NDArray[Any]) -> float:
    """Inches that names need below the axes when they stand upright."""
    longest = max(len(short_label(label)) for label in labels)
    return 0.075 * longest if longest > 6 else 0.0


def plain(text: object) -> str:
    """Write a text so that it is drawn as it is: between two dollars matplotlib would take it for mathematics.

    Characters that have no shape are written out, and long texts shortened.
    """
    return shown(text, longest=120).replace("$", r"\$")


def short_label(label: object) -> str:
    """Write a label beside an axis or in a legend, without its middle if it is long: its ends tell it from others."""
    text = shown(label)
    return plain(text if len(text) <= _LONGEST_TICK else f"{text[:15]}...{text[-8:]}")


def by_amplifier(ds: xr.Dataset) -> bool:
    """Whether units are amplifiers: of levels by those of ``background``, of what has none by the dims there are."""
    return "amplifier" in (ds["background"].dims if "background" in ds else ds.dims)


def rows_of(ds: xr.Dataset) -> Rows:
    """List the units that exist."""
    detectors = ds["detector"].values
    if not by_amplifier(ds):
        names = [str(label) for label in detectors]
        return Rows(np.ones(len(names), dtype=bool), names, names, np.arange(len(names) + 1))
    amplifiers = ds["amplifier"].values
    if "exists" in ds.coords:
        exists = ds["exists"].transpose("detector", "amplifier").values.astype(bool)
    else:
        exists = np.ones((detectors.size, amplifiers.size), dtype=bool)
    labels = [f"{d} {a}" for d, row in zip(detectors, exists, strict=True) for a in amplifiers[row]]
    number = exists.sum(axis=1)
    named = [str(label) for label in detectors[number > 0]]
    return Rows(exists.ravel(), labels, named, np.concatenate([[0], np.cumsum(number[number > 0])]))


def table(array: xr.DataArray, rows: Rows, *, last: str = "exposure") -> NDArray[Any]:
    """Values as a matrix, one row a unit that exists; one column when there is no dim ``last``."""
    dims = [dim for dim in ("detector", "amplifier", last) if dim in array.dims]
    values: NDArray[Any] = array.transpose(*dims).values
    return values.reshape(rows.exists.size, -1)[rows.exists]


def size_inches(axes: Axes) -> tuple[float, float]:
    """Rough size of the axes, before the layout has given the labels their room."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    width, height = figure.get_size_inches()
    place = axes.get_position()
    return width * place.width * 0.85, height * place.height


def separate(axes: Axes, rows: Rows, *, colour: str) -> None:
    """Divide the detectors by lines, or by ticks where lines would cover the cells."""
    edges = rows.starts[1:-1] - 0.5
    if 72 * size_inches(axes)[1] / len(rows.detectors) > 12:
        for edge in edges:
            axes.axhline(edge, color=colour, linewidth=1.2)
    else:
        axes.set_yticks(edges, minor=True)
        axes.tick_params(axis="y", which="minor", length=2)
        axes.tick_params(axis="y", which="major", length=6)


def name_columns(axes: Axes, labels: NDArray[Any]) -> None:
    """Name as many exposures (or detectors) as fit, upright when they are long."""
    names = [short_label(label) for label in labels]
    room = size_inches(axes)[0]
    longest = max(map(len, names))
    level = longest * 0.085 + 0.1
    upright = level * len(names) > room and longest > 3
    step = _step(len(names), room / (0.17 if upright else level))
    chosen = np.arange(0, len(names), step)
    axes.set_xticks(chosen, [names[i] for i in chosen], rotation=90 if upright else 0)
    axes.set_xlabel("exposure")


def name_rows(axes: Axes, rows: Rows) -> None:
    """Name every unit where there is room, else every so many detectors."""
    fit = size_inches(axes)[1] / 0.17
    if len(rows.labels) <= fit:
        axes.set_yticks(np.arange(len(rows.labels)), [short_label(label) for label in rows.labels])
        axes.set_ylabel("detector" if len(rows.labels) == len(rows.detectors) else "detector, amplifier")
        return
    middle = (rows.starts[:-1] + rows.starts[1:] - 1) / 2
    chosen = np.arange(0, len(rows.detectors), _step(len(rows.detectors), fit))
    axes.set_yticks(middle[chosen], [short_label(rows.detectors[i]) for i in chosen])
    axes.set_ylabel(
        "detector" if len(rows.labels) == len(rows.detectors) else "detector, one row for each of its amplifiers"
    )


def _step(n: int, fit: float) -> int:
    """Smallest of 1, 2, 5, 10, ... that leaves no more than fit."""
    steps = (factor * int(10**power) for power in range(12) for factor in (1, 2, 5))
    return next(step for step in steps if n / step <= max(fit, 1.0))


def side_by_side(rows: Rows) -> NDArray[np.float64]:
    """Position of every unit: its detector's number, amplifiers within 0.36 of it."""
    number = np.diff(rows.starts)
    detector = np.repeat(np.arange(number.size), number)
    within = np.arange(detector.size) - rows.starts[detector]
    centred = within - (number[detector] - 1) / 2
    position: NDArray[np.float64] = detector + centred * 0.72 / number.max()
    return position


def time_axis(axes: Axes, label: str) -> None:
    """Write times along x as short as they can be."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.set_xlabel(plain(label))


def axis_label(array: xr.DataArray) -> str:
    """Long name and units."""
    name, units = array.attrs.get("long_name", array.name), units_of(array)
    return plain(f"{name} [{units}]" if units and units != "1" else name)


def residual_label(residual: xr.DataArray) -> str:
    """Words of an axis of residuals in per cent; those of a log link are no logarithms."""
    return f"residual, {plain(residual.attrs.get('long_name', 'ln(background / bgModel)'))} [%]"


def mmag_axis(axes: Axes, *, side: Literal["left", "right"], of: str = "background / bgModel") -> None:
    """Set mmag beside an axis of logarithms of a ratio in per cent, upright."""
    mmag = axes.secondary_yaxis(side, functions=(lambda p: p * MMAG_PER_PERCENT, lambda m: m / MMAG_PER_PERCENT))
    mmag.set_ylabel(f"2.5 log10({of}) [mmag]")
