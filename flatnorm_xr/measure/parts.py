"""Pixels of one amplifier as they lie in the file, and what is to be done to them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flatnorm_xr.errors import FlatnormError

__all__ = [
    "Array",
    "Booleans",
    "Part",
    "blank_pixels",
    "blank_word",
    "check_shapes",
    "corrected_pixels",
    "holds_float32",
    "raw_values",
    "saturated_pixels",
]

Array = npt.NDArray[Any]
Booleans = npt.NDArray[np.bool_]

# Below this a float64 and an integer word of 4 bytes add up exactly.
LARGEST_EXACT_ZERO = 1 << 52


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


def corrected_pixels(part: Part) -> tuple[Array, Booleans]:
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
    check_shapes(part)
    bad = np.zeros(part.words.shape, np.bool_)
    for one in (part.bad, blank_pixels(part), saturated_pixels(part)):
        if one is not None:
            bad |= one
    if holds_float32(part):
        values = part.words.astype(np.float32)
    else:
        values = raw_values(part)
        # What overflows has no finite value, and so does not count.
        with np.errstate(over="ignore", invalid="ignore"):
            if part.offset is not None:
                values -= part.offset[:, np.newaxis]
            if part.bias is not None:
                values -= part.bias
            values *= part.gain
        if _is_on_grid_of_halves(part):
            values = values.astype(np.float32)
    bad |= ~np.isfinite(values)
    return values, bad


def raw_values(part: Part) -> Array:
    """Raw values in adu of all words, in float64; what is saturated, bad or blank is not looked at."""
    values = part.words.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        if part.scale != 1:
            values *= part.scale
        values += part.zero
    return values


def blank_word(part: Part) -> int | None:
    """Word that means "no value": None where there is none, as in floats, which say so with NaN."""
    return part.blank if part.words.dtype.kind in "iu" else None


def blank_pixels(part: Part) -> Booleans | None:
    """Pixels whose word means "no value"; None where no word does."""
    blank = blank_word(part)
    return None if blank is None else np.asarray(part.words == blank)


def saturated_pixels(part: Part) -> Booleans | None:
    """Pixels whose raw value is finite and at or above the limit, bad or not but never blank; None without a limit."""
    if part.limit == math.inf:
        return None
    if _has_raw_integers(part) and math.isfinite(part.limit):
        # No copy in float64 where integers tell the same.
        saturated = np.asarray(part.words >= math.ceil(part.limit) - int(part.zero))
    else:
        raw = raw_values(part)
        saturated = (raw >= part.limit) & np.isfinite(raw)
    blank = blank_pixels(part)
    return saturated if blank is None else saturated & ~blank


def _has_raw_integers(part: Part) -> bool:
    kind = part.words.dtype
    is_exact = float(part.zero).is_integer() and abs(part.zero) < LARGEST_EXACT_ZERO
    return kind.kind in "iu" and kind.itemsize <= 4 and part.scale == 1 and is_exact


def holds_float32(part: Part) -> bool:
    """Whether pixels are float32 to which nothing is done."""
    same = part.zero == 0 and part.scale == 1 and part.gain == 1 and part.bias is None
    is_left_alone = same and (part.offset is None or not part.offset.any())
    return part.words.dtype.kind == "f" and part.words.dtype.itemsize == 4 and is_left_alone


def _is_on_grid_of_halves(part: Part) -> bool:
    """Whether all values are multiples of 1/2 that float32 holds exactly."""
    if part.words.dtype.kind not in "iu" or part.words.dtype.itemsize > 2 or part.bias is not None:
        return False
    twice = 2 * np.append(part.offset if part.offset is not None else [], part.zero)
    twice = twice[np.isfinite(twice)]
    on_grid = bool((twice == np.rint(twice)).all()) and bool((np.abs(twice) < 1 << 21).all())
    return on_grid and part.scale == 1 and part.gain == 1


def check_shapes(part: Part) -> None:
    """Refuse offset, bias and bad whose shapes do not fit the words."""
    if part.words.ndim != 2:
        msg = f"Part: words has shape {part.words.shape}; pass (rows, columns)."
        raise FlatnormError(msg)
    rows, columns = part.words.shape
    fitting: dict[str, list[tuple[int, ...]]] = {
        "offset": [(1,), (rows,)],
        "bias": [(rows, columns)],
        "bad": [(rows, columns)],
    }
    for name, shapes in fitting.items():
        array: Array | None = getattr(part, name)
        if array is not None and array.shape not in shapes:
            wanted = " or ".join(map(str, shapes))
            msg = f"Part: {name} has shape {array.shape} but words {part.words.shape}; pass {wanted}."
            raise FlatnormError(msg)
