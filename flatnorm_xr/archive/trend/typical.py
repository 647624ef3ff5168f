"""The typical one of a few values, and how much each has to say in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["location"]

Array = NDArray[Any]

_TUKEY = 4.685
_STEPS = 3


def location(values: Array) -> tuple[float, Array]:
    """Find the median, then Tukey's biweight about it, and the share of each value in the result.

    Parameters
    ----------
    values : array
        At least one, finite. Two have equal shares; where most are equal, those have all.

    Examples
    --------
    >>> centre, share = location(np.array([1.0, 1.1, 0.9, 9.0]))
    >>> round(centre, 3), share.round(2).tolist()
    (1.0, [0.34, 0.33, 0.33, 0.0])
    """
    centre = float(np.median(values))
    scale = 1.482602218505602 * float(np.median(np.abs(values - centre)))
    if values.size < 3:
        weight = np.ones(values.size)
    elif scale == 0:
        weight = (values == centre).astype(float)
    else:
        for _ in range(_STEPS):
            weight = np.maximum(1 - ((values - centre) / (_TUKEY * scale)) ** 2, 0.0) ** 2
            centre = float(weight @ values / weight.sum())
    share = weight / weight.sum()
    return float(share @ values), share
