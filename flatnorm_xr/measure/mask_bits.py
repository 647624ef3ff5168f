"""Which values of a mask image mean that a pixel is bad: any but zero, or chosen bits, by number or by name."""

from __future__ import annotations

import numbers
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flatnorm_xr.errors import CameraError, offenders
from flatnorm_xr.measure.parts import Booleans, Part, raw_values

if TYPE_CHECKING:
    from flatnorm_xr.camera.headers import FileHeaders
    from flatnorm_xr.measure.words import RawImage

__all__ = ["bits_of", "flagged", "flagged_words", "named_bits"]

Array = npt.NDArray[Any]

_HIGHEST = 63
_PLANE = "MP_"
"""Before the name of a mask plane in the keyword that holds its bit, as Rubin's files have it."""


def flagged(image: Array, bits: Sequence[int] = (), *, where: str = "mask") -> Booleans:
    """Find the bad pixels of a mask image.

    Parameters
    ----------
    image : array of bool, integers or floats, any shape and byte order
        NaN is bad.
    bits : sequence of int
        Numbers of the bits that are bad, 0 the lowest; none: every value but 0 is bad.
    where : str
        The mask, for messages.

    Returns
    -------
    array of bool, same shape

    Raises
    ------
    CameraError
        A bit that numbers of this type do not have, or bits of floats that are not whole.

    Examples
    --------
    >>> flagged(np.array([0, 1, 2, 3]), [1]).tolist()
    [False, False, True, True]
    """
    if not bits or image.dtype.kind == "b":
        return _any_bit(image, bits, where)
    if image.dtype.kind == "f":
        return _bits_of_floats(image, bits, where)
    width = 8 * image.dtype.itemsize
    lacking = [bit for bit in bits if bit >= width]
    if lacking:
        msg = f"measure: {where}: bit {offenders(lacking)} of numbers of {width} bits; correct mask_bits (0 the lowest)"
        raise CameraError(msg)
    unsigned = np.dtype(f"{image.dtype.byteorder}u{image.dtype.itemsize}")
    chosen = np.array(sum(1 << bit for bit in set(bits)), dtype=f"u{image.dtype.itemsize}")
    return np.asarray((image.view(unsigned) & chosen) != 0)


def _any_bit(image: Array, bits: Sequence[int], where: str) -> Booleans:
    if any(bits):
        msg = f"measure: {where}: bit {offenders(b for b in bits if b)} of true and false; leave out mask_bits"
        raise CameraError(msg)
    return image if image.dtype.kind == "b" else np.asarray(image != 0)


def _bits_of_floats(image: Array, bits: Sequence[int], where: str) -> Booleans:
    known = np.isfinite(image)
    whole = np.where(known, image, 0).astype(np.int64)
    if (whole != image)[known].any():
        msg = f"measure: {where}: holds numbers that are not whole, which have no bits; leave out mask_bits"
        raise CameraError(msg)
    return flagged(whole, bits, where=where) | ~known


def flagged_words(
    raw: RawImage, part: tuple[slice, slice], bits: Sequence[int] = (), *, where: str = "mask"
) -> Booleans:
    """Find the bad pixels in a part of a mask HDU, as it lies in its file.

    Parameters
    ----------
    raw : RawImage
        Words and how they become values; a blank word is bad, for nobody vouches for its pixel.
    part : tuple of slice
        Rows and columns.
    bits, where
        As of `flagged`.

    Returns
    -------
    array of bool
        Of the shape of the part, the caller's to keep.
    """
    words = raw.words[part]
    plain = words.dtype.kind in "iu" and raw.scale == 1
    top = 8 * words.dtype.itemsize - 1
    if raw.zero == 0 and raw.scale == 1:
        bad = flagged(words, bits, where=where)
    elif plain and raw.zero == (2.0**top if words.dtype.kind == "i" else -(2.0**top)):
        # An offset of half the range turns the highest bit over, and nothing else.
        unsigned = np.dtype(f"{words.dtype.byteorder}u{words.dtype.itemsize}")
        bad = flagged(words.view(unsigned) ^ np.array(1 << top, dtype=f"u{words.dtype.itemsize}"), bits, where=where)
    else:
        bad = flagged(raw_values(Part(words, zero=raw.zero, scale=raw.scale)), bits, where=where)
    if raw.blank is not None and words.dtype.kind in "iu":
        bad |= words == raw.blank
    return bad


def bits_of(given: Any) -> tuple[int | str, ...]:
    """Read the keyword ``mask_bits``.

    Parameters
    ----------
    given : int, str, sequence of these, or None
        Numbers of bits, 0 the lowest, or names of mask planes; a text may hold several, separated by commas. None and
        an empty text: no choice, every value but 0 is bad.

    Returns
    -------
    tuple of int or str
        Names without ``MP_``, in capitals.

    Raises
    ------
    CameraError
        Anything else.

    Examples
    --------
    >>> bits_of("0, 3, MP_SAT")
    (0, 3, 'SAT')
    """
    if given is None:
        return ()
    several = [given] if isinstance(given, str | numbers.Integral) else given
    words = [word for one in (several if isinstance(several, Iterable) else [several]) for word in _split(one)]
    wrong = [word for word in words if not isinstance(word, str) and not _is_bit(word)]
    if wrong:
        msg = f"measure: mask_bits {offenders(map(repr, wrong))}: give numbers of bits, 0 to {_HIGHEST}, or names"
        raise CameraError(msg)
    return tuple(dict.fromkeys(words))


def _is_bit(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= _HIGHEST


def _split(one: Any) -> list[Any]:
    if isinstance(one, str):
        words = [word for word in re.split(r"[,\s]+", one.strip()) if word]
        return [int(word) if re.fullmatch(r"[+-]?\d+", word) else word.upper().removeprefix(_PLANE) for word in words]
    return [int(one)] if isinstance(one, numbers.Integral) and not isinstance(one, bool) else [float("nan")]


def named_bits(bits: Sequence[int | str], sources: Iterable[FileHeaders]) -> tuple[int, ...]:
    """Find the numbers of bits that are given by the names of mask planes.

    Parameters
    ----------
    bits : sequence of int or str
        From `bits_of`.
    sources : iterable of FileHeaders
        Mask files; the cards ``MP_<name>`` of their headers hold the numbers.

    Returns
    -------
    tuple of int

    Raises
    ------
    CameraError
        A name that no header has, or that means another bit in another header.
    """
    names = [bit for bit in bits if isinstance(bit, str)]
    if not names:
        return tuple(bit for bit in bits if isinstance(bit, int))
    hdus = [hdu for headers in sources for hdu in headers.hdus]
    planes = {name: {value for hdu in hdus for value in hdu.values(f"{_PLANE}{name}")} for name in names}
    unknown = [name for name, found in planes.items() if len(found) != 1 or not _is_bit(next(iter(found)))]
    if unknown:
        msg = (
            f"measure: mask_bits {offenders(unknown)}: a name needs a card {_PLANE}<name> with its bit, "
            f"0 to {_HIGHEST}, in the header of the mask image, the same in all; give numbers of bits"
        )
        raise CameraError(msg)
    return tuple(bit if isinstance(bit, int) else next(iter(planes[bit])) for bit in bits)
