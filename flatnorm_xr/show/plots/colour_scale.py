"""How values become colours: by what they are (residuals, ratios, levels), or as categories with words."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.flags import Flag
from flatnorm_xr.show.axes import axis_label, plain, residual_label
from flatnorm_xr.show.looks import WIDE, residual_limit
from flatnorm_xr.show.plots.matrix import extend_of
from flatnorm_xr.show.plots.selection import is_flags

if TYPE_CHECKING:
    from matplotlib.colors import Normalize

__all__ = ["Category", "Scale", "categories_of", "scale_of"]

_RATIOS = (
    "G",
    "true_G",
    "detector_scale",
    "amplifier_ratio",
    "edge_ratio",
    "gain_ratio",
    "gain_times_ratio",
    "G_ratio",
    "level_ratio",
)
"""Drawn about 1."""

_OF_GAUGE = ("G", "detector_scale", "drift", "G_ratio", "level_ratio")
"""Hang on the gauge."""

_IN_PERCENT = {
    "drift": "drift of G [% a year]",
    "drift_stderr": "standard error of the drift of G [% a year]",
    "scatter": "scatter of G about its model [%]",
}
"""Words of what a trend says as logarithms, and people read in per cent."""

_WIDTH = 5.0
"""Robust standard deviations about the median that a scale shows."""

_MOST_NAMED = 6
"""Texts or components with a colour of their own."""


class Scale(NamedTuple):
    """Values as they are drawn, and their colours."""

    values: NDArray[np.float64]
    norm: Normalize
    cmap: str
    extend: str
    label: str
    in_percent: bool
    """Whether the values are residuals in per cent, to be read in mmag too."""


class Category(NamedTuple):
    """Units that are drawn alike."""

    words: str
    units: NDArray[np.bool_]
    look: int | None
    """Number of its colour; -1 for plain white, None for a hole."""


def scale_of(
    array: xr.DataArray,
    *,
    values: NDArray[Any],
    limits: tuple[float, float] | None,
    cmap: str | None,
    gauge: str,
    caller: str,
) -> Scale:
    """Choose the colours of numbers: about 0, about 1, or from the smallest to the largest.

    Parameters
    ----------
    array : DataArray
        What is drawn; its name and attributes say what it is.
    values : array, (rectangle)
        Its values in the order they are drawn.
    limits : (float, float), optional
    cmap : str, optional
    gauge : str
        Of the solution; written beside what hangs on it.
    caller : str
        For messages.
    """
    from matplotlib.colors import LogNorm, Normalize

    name = str(array.name)
    residual = name == "residual"
    shown = np.asarray(values, dtype=float) * (100 if residual or name in _IN_PERCENT else 1)
    finite = shown[np.isfinite(shown)]
    # a scatter of residuals is called residual too, and has no sign
    centre = 1.0 if name in _RATIOS else 0.0 if (finite < 0).any() else None
    if limits is not None:
        low, high = _checked(limits, caller)
    elif residual and centre == 0:
        high = 100 * residual_limit(finite / 100)
        low = -high
    else:
        low, high = _ends(finite, centre)
    wide = limits is None and centre is None and finite.size > 0 and finite.min() > 0 and high > WIDE * max(low, 0)
    if wide:
        low, high = float(finite.min()), float(finite.max())
    return Scale(
        shown,
        LogNorm(low, high) if wide else Normalize(low, high),
        cmap or ("cividis" if centre is None else "RdBu_r"),
        extend_of(finite, low, high),
        _label(array, gauge if name in _OF_GAUGE else "", residual),
        residual,
    )


def _label(array: xr.DataArray, gauge: str, residual: bool) -> str:
    if residual:
        return residual_label(array)
    gauge = plain(gauge).partition(" (")[0]
    words = _IN_PERCENT.get(str(array.name)) or axis_label(array)
    return "\n".join([words, *textwrap.wrap(gauge, 50, max_lines=2, placeholder=" ...")])


def _ends(finite: NDArray[np.float64], centre: float | None) -> tuple[float, float]:
    """Find the ends of the scale, without outliers; symmetric about the centre if there is one."""
    if not finite.size:
        return (0.0, 1.0) if centre is None else (centre - 1, centre + 1)
    middle = float(np.median(finite)) if centre is None else centre
    scatter = _WIDTH * 1.4826 * float(np.median(abs(finite - middle)))
    low, high = float(finite.min()), float(finite.max())
    if centre is not None:
        largest = max(high - middle, middle - low)
        half = min(scatter, largest) if scatter > 0 else largest
        # below 1e-6 there is only rounding, and no reason to paint it
        half = max(half, 1e-6)
        return middle - half, middle + half
    if scatter > 0:
        low, high = max(low, middle - scatter), min(high, middle + scatter)
    if high - low <= 1e-12 * abs(high):
        margin = 0.05 * abs(high) or 1.0
        low, high = low - margin, high + margin
    return low, high


def _checked(limits: tuple[float, float], caller: str) -> tuple[float, float]:
    low, high = map(float, limits)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        msg = f"{caller}: limits are {limits}; they must be two finite numbers, the smaller first"
        raise FlatnormError(msg)
    return low, high


def categories_of(array: xr.DataArray, *, values: NDArray[Any]) -> list[Category] | None:
    """Categories of flags, components, texts, and yes or no; None for numbers.

    Parameters
    ----------
    array : DataArray
        What is drawn; its name says what it is.
    values : array, (rectangle[, exposure])
    """
    if is_flags(array):
        return _of_flags(values)
    values = values[:, 0] if values.ndim == 2 else values
    if str(array.name) in ("component", "modes"):
        return _of_labels(values.astype(int), holes={-1: "not in the fit"}, prefix=f"{array.name} ")
    if values.dtype.kind == "b":
        named = ((True, "yes"), (False, "no"))
        return [
            Category(f"{word} ({(values == is_it).sum()})", values == is_it, k)
            for k, (is_it, word) in enumerate(named)
            if (values == is_it).any()
        ]
    if values.dtype.kind in "OUSMm":
        return _of_labels(values.astype(str), holes={"": "no value", "NaT": "no value", "nan": "no value"}, prefix="")
    return None


def _of_flags(values: NDArray[Any]) -> list[Category]:
    """One category for each cause: the flag that most of a unit's cells have."""
    cells = values.reshape(len(values), -1).astype(np.uint32)
    # where every pixel was masked because it was saturated, it is the light that says more
    flags = list(dict.fromkeys((Flag.SATURATED, *Flag)))
    number = np.stack([((cells & np.uint32(flag)) != 0).sum(axis=1) for flag in flags])
    cause = np.where(number.any(axis=0), number.argmax(axis=0), -1)
    found = [
        Category("", cause == k, None if flag in (Flag.NOT_MEASURED, Flag.NO_SUCH_AMPLIFIER) else 0)
        for k, flag in enumerate(flags)
    ]
    words = [flag.words for flag in flags]
    named = [
        one._replace(words=f"{word} ({int(one.units.sum())})")
        for one, word in zip(found, words, strict=True)
        if one.units.any()
    ]
    looks = iter(range(len(named)))
    named = [one if one.look is None else one._replace(look=next(looks)) for one in named]
    plain_ones = cause == -1
    return [*([Category(f"no flag ({int(plain_ones.sum())})", plain_ones, -1)] if plain_ones.any() else []), *named]


def _of_labels(values: NDArray[Any], *, holes: Mapping[Any, str], prefix: str) -> list[Category]:
    """One category for each of the most frequent labels, one for all others, one for holes."""
    labels, number = np.unique(values, return_counts=True)
    real = [k for k in np.argsort(-number, kind="stable") if labels[k].item() not in holes]
    if len(real) > _MOST_NAMED:
        real = real[: _MOST_NAMED - 1]
    found = [
        Category(f"{plain(prefix)}{plain(labels[k])} ({number[k]})", values == labels[k], look)
        for look, k in enumerate(sorted(real))
    ]
    rest = ~np.isin(values, [labels[k] for k in real])
    lost = np.isin(values, [hole for hole in holes if hole in labels.tolist()]) & rest
    rest &= ~lost
    if rest.any():
        others = np.unique(values[rest]).size
        found.append(Category(f"{others} others ({int(rest.sum())})", rest, len(found)))
    if lost.any():
        word = next(iter(holes.values()))
        found.append(Category(f"{word} ({int(lost.sum())})", lost, None))
    return found
