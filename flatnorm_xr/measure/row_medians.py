"""Median of every row of an image; of integers by counting, which is quicker than sorting."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from flatnorm_xr.compiled import compiled

__all__ = ["row_medians"]

Array = npt.NDArray[Any]


def row_medians(values: Array, blank: int | None = None) -> npt.NDArray[np.float64]:
    """Median of each row, as `numpy.nanmedian` has it.

    Parameters
    ----------
    values : array, (rows, columns)
        In any data type and byte order; NaN is left out.
    blank : int, optional
        Integer that is left out.

    Returns
    -------
    array of float64, (rows,)
        NaN for a row without a value.

    Examples
    --------
    >>> row_medians(np.array([[3, 1, 2], [9, 0, 7]]))
    array([2., 7.])
    """
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
        low: Any = np.int64(line[0])
        high: Any = np.int64(line[0])
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
def _number_upto(line: Array, limit: Any) -> Any:
    bound, number = np.int32(limit), np.int32(0)
    for i in range(line.size):
        number = np.int32(number + (line[i] <= bound))
    return number


@compiled()
def _least_above(line: Array, limit: Any) -> Any:
    least = np.int64(2147483647)
    for i in range(line.size):
        if line[i] > limit and line[i] < least:
            least = np.int64(line[i])
    return least
