"""The overscan of an amplifier: what the electronics add to every row."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from flatnorm_xr.camera.geometry import Amplifier
from flatnorm_xr.camera.sections import Section
from flatnorm_xr.compiled import compiled
from flatnorm_xr.errors import CameraError

__all__ = ["overscan_level"]

Array = npt.NDArray[Any]


def overscan_level(
    image: Array, amplifier: Amplifier, *, kind: str, where: str, blank: int | None = None
) -> npt.NDArray[np.float64]:
    """Overscan of each row of the data section, (rows, 1), or of all of them, (1, 1); zero where there is none.

    Overscan pixels that are NaN are left out; a row without any other is NaN.

    Parameters
    ----------
    image : array, 2-D
        Raw image that the overscan section is a part of, in any data type and byte order.
    amplifier : Amplifier
        Its sections.
    kind : {"median-per-row", "constant", "none"}
        Median over the overscan's columns of the same row, or over all of it.
    where : str
        File, for the message.
    blank : int, optional
        Integer that stands for "no value", as NaN does.

    Raises
    ------
    CameraError
        The overscan lacks rows of the data section.
    """
    if kind == "none" or amplifier.overscan is None:
        return np.zeros((1, 1))
    rows, columns = amplifier.overscan.slices
    if kind == "constant":
        return _row_medians(image[rows, columns].reshape(1, -1), blank)[:, np.newaxis]
    if amplifier.overscan_hdu is None:
        rows = _rows_beside(amplifier.data, amplifier.overscan, amplifier.name, where)
    elif rows.stop - rows.start != amplifier.data.shape[0]:
        msg = (
            f"{where}: overscan {amplifier.overscan} of amplifier {amplifier.name} has {rows.stop - rows.start} rows "
            f"and the data section {amplifier.data} {amplifier.data.shape[0]}; set overscan: constant in the profile"
        )
        raise CameraError(msg)
    return _row_medians(image[rows, columns], blank)[:, np.newaxis]


def _rows_beside(data: Section, overscan: Section, amplifier: str, where: str) -> slice:
    rows, wanted = overscan.slices[0], data.slices[0]
    if wanted.start < rows.start or wanted.stop > rows.stop:
        msg = (
            f"{where}: overscan {overscan} of amplifier {amplifier} lacks rows of the data section "
            f"{data}; set overscan: constant in the profile, or correct the section"
        )
        raise CameraError(msg)
    return wanted


def _row_medians(values: Array, blank: int | None) -> npt.NDArray[np.float64]:
    """Median of each row, of the mean of both middle values where their number is even; NaN without a value."""
    narrow = values.dtype.kind in "iu" and np.can_cast(values.dtype, np.int32)
    if narrow and values.size and (blank is None or not (values == blank).any()):
        medians = np.empty(len(values))
        _integer_medians(np.ascontiguousarray(values, dtype=np.int32), medians)
        return medians
    numbers = values.astype(np.float64)
    if values.dtype.kind in "iu" and blank is not None:
        numbers[values == blank] = np.nan
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN slice", category=RuntimeWarning)
        return np.asarray(np.nanmedian(numbers, axis=1))


@compiled()
def _integer_medians(values: Array, medians: Array) -> None:
    """Halve the range of each row until the middle value is left: counting is quicker than sorting."""
    half = (values.shape[1] - 1) // 2
    even = values.shape[1] % 2 == 0
    for row in range(values.shape[0]):
        line = values[row]
        low, high = np.int64(line[0]), np.int64(line[0])
        for i in range(line.size):
            low, high = min(low, line[i]), max(high, line[i])
        while low < high:
            middle = (low + high) // 2
            if _number_upto(line, middle) > half:
                high = middle
            else:
                low = middle + 1
        above = low
        if even and _number_upto(line, low) == half + 1:
            above = _least_above(line, low)
        medians[row] = low + (above - low) / 2


@compiled()
def _number_upto(line: Array, limit: int) -> int:
    bound, number = np.int32(limit), np.int32(0)
    for i in range(line.size):
        number = np.int32(number + (line[i] <= bound))
    return number


@compiled()
def _least_above(line: Array, limit: int) -> int:
    least = np.int64(2147483647)
    for i in range(line.size):
        if line[i] > limit and line[i] < least:
            least = np.int64(line[i])
    return least
