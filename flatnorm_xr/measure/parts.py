"""Level and scatter of every amplifier and of the whole detector, from raw words and what is to be done to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.measure.clipping import Statistics

__all__ = ["Measured", "Part", "corrected_pixels", "measure_parts"]

Array = npt.NDArray[Any]


class Part(NamedTuple):
    """Pixels of one amplifier as they lie in the file, and what is to be done to them.

    A pixel's value is ``(zero + scale * word - offset - bias) * gain``, computed in float64; float32 words to which
    nothing is done stay what they are. A pixel counts when its value is finite, its word is not ``blank``, it is
    not ``bad``, and it is not saturated.

    Attributes
    ----------
    words : array of integers or floats, (rows, columns)
        In any layout and byte order; never changed.
    zero, scale : float
        Raw value in adu of a word: ``zero + scale * word``.
    blank : int, optional
        Integer word that means "no value"; floats say so with NaN.
    offset : array of float64, (rows,) or (1,), optional
        Subtracted from the raw values of each row (overscan), in adu; a row whose offset is NaN has no value.
    bias : array, (rows, columns), optional
        Subtracted pixel by pixel, in adu.
    gain : float
        The corrected value is multiplied by it, in electron/adu.
    limit : float
        A pixel whose raw value is finite and at or above it, in adu, is saturated: counted, and left out.
    bad : array of bool, (rows, columns), optional
        True where a pixel is left out.
    """

    words: Array
    zero: float = 0.0
    scale: float = 1.0
    blank: int | None = None
    offset: Array | None = None
    bias: Array | None = None
    gain: float = 1.0
    limit: float = math.inf
    bad: Array | None = None


class Measured(NamedTuple):
    """Statistics of every part and of all of them together, and how many pixels of each part are saturated."""

    parts: tuple[Statistics, ...]
    whole: Statistics
    saturated: tuple[int, ...]


def measure_parts(
    parts: Sequence[Part],
    *,
    statistic: str = "meanclip",
    clip: float = 3.0,
    iterations: int = 3,
    whole: bool = True,
) -> Measured:
    """Statistics of the corrected pixels of every part, and of all parts together.

    Parameters
    ----------
    parts : sequence of Part
        The amplifiers of one detector.
    statistic, clip, iterations
        As in `clipped_statistics`.
    whole : bool
        Whether the union of all parts' good pixels is measured, too; (NaN, NaN, 0) if not.

    Returns
    -------
    Measured
        ``level`` and ``sigma`` in the unit of the corrected pixels. Saturated pixels are counted whether they are bad
        or not; blank ones and what is not finite are not.

    Raises
    ------
    FlatnormError
        An option that `clipped_statistics` refuses, or shapes of words, offset, bias and bad that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> words = np.array([[10, 11, 12, 60_000], [20, 21, 22, 23]], "u2")
    >>> both = measure_parts([Part(words, offset=np.array([0.5, 10.5]), limit=50_000), Part(words[1:], gain=0.5)])
    >>> both.parts[0].level, both.parts[1].level, both.saturated
    (10.785714285714286, 10.75, (1, 0))
    >>> both.whole.counts
    11
    """
    from flatnorm_xr.measure.kernels import clipped_statistics

    options: dict[str, Any] = {"statistic": statistic, "clip": clip, "iterations": iterations}
    corrected = [corrected_pixels(part) for part in parts]
    measured = tuple(clipped_statistics(values, bad, **options) for values, bad in corrected)
    together = clipped_statistics(np.empty(0), **options)
    if whole and corrected:
        values, bad = (np.concatenate([one[k].ravel() for one in corrected]) for k in (0, 1))
        together = clipped_statistics(values, bad, **options)
    return Measured(measured, together, tuple(int(np.count_nonzero(_saturated(part))) for part in parts))


def corrected_pixels(part: Part) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Corrected values of the pixels of one part, and which of them do not count.

    Parameters
    ----------
    part : Part

    Returns
    -------
    values : array of float32 or float64, (rows, columns)
        float32 where it holds every value exactly (float32 words to which nothing is done; short integers on a grid of
        halves), else float64. What does not count may have any value.
    bad : array of bool, (rows, columns)
        True where a pixel does not count: bad, blank, saturated, or without a finite value.

    Raises
    ------
    FlatnormError
        Shapes of words, offset, bias and bad that do not fit.
    """
    _check_shapes(part)
    words = part.words
    bad = _saturated(part) if part.bad is None else _saturated(part) | part.bad
    if part.blank is not None and words.dtype.kind in "iu":
        bad |= words == part.blank
    if words.dtype.kind == "f" and words.dtype.itemsize == 4 and _is_left_alone(part):
        values = words.astype(np.float32)
    else:
        values = _raw_values(part)
        if part.offset is not None:
            values -= part.offset[:, np.newaxis]
        if part.bias is not None:
            values -= part.bias
        values *= part.gain
        if _is_on_grid_of_halves(part):
            values = values.astype(np.float32)
    bad |= ~np.isfinite(values)
    return values, bad


def _raw_values(part: Part) -> Array:
    values = part.words.astype(np.float64)
    if part.scale != 1:
        values *= part.scale
    values += part.zero
    return values


def _saturated(part: Part) -> npt.NDArray[np.bool_]:
    if part.limit == math.inf:
        return np.zeros(part.words.shape, np.bool_)
    raw = _raw_values(part)
    saturated: npt.NDArray[np.bool_] = (raw >= part.limit) & np.isfinite(raw)
    if part.blank is not None and part.words.dtype.kind in "iu":
        saturated &= part.words != part.blank
    return saturated


def _is_left_alone(part: Part) -> bool:
    """Whether a pixel's value is its word."""
    same = part.zero == 0 and part.scale == 1 and part.gain == 1 and part.bias is None
    return same and (part.offset is None or not part.offset.any())


def _is_on_grid_of_halves(part: Part) -> bool:
    """Whether all values are multiples of 1/2 that float32 holds exactly."""
    if part.words.dtype.kind not in "iu" or part.words.dtype.itemsize > 2 or part.bias is not None:
        return False
    twice = 2 * np.append(part.offset if part.offset is not None else [], part.zero)
    twice = twice[np.isfinite(twice)]
    on_grid = bool((twice == np.rint(twice)).all()) and bool((np.abs(twice) < 1 << 21).all())
    return on_grid and part.scale == 1 and part.gain == 1


def _check_shapes(part: Part) -> None:
    rows, columns = part.words.shape
    for name, shapes in (("offset", {(rows,), (1,)}), ("bias", {(rows, columns)}), ("bad", {(rows, columns)})):
        array = getattr(part, name)
        if array is not None and array.shape not in shapes:
            msg = f"measure_parts: {name} has shape {array.shape} but words {part.words.shape}; pass {sorted(shapes)}"
            raise FlatnormError(msg)
