"""The registry of quality flags: one bit and one sentence for everything that can be said of a cell."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["REJECTED", "SENTENCES", "SET_BY_SOLVE", "WITHOUT_WEIGHT", "Flag", "describe", "has_flag", "leading_cause"]


class Flag(enum.IntFlag):
    """Bits of the variable ``quality``.

    A cell without a flag is a plain measurement. The bits of ``WITHOUT_WEIGHT`` take a cell out of the solve.
    """

    NO_SUCH_AMPLIFIER = 1 << 0
    NOT_MEASURED = 1 << 1
    UNREADABLE = 1 << 2
    ALL_MASKED = 1 << 3
    NON_FINITE = 1 << 4
    NON_POSITIVE = 1 << 5
    NO_COUNTS = 1 << 6
    NO_SIGMA = 1 << 7
    SATURATED = 1 << 8
    LOW_SIGNAL = 1 << 9
    ZERO_WEIGHT = 1 << 10
    OUTLIER = 1 << 11
    GAIN_JUMP = 1 << 12
    REJECTED_UNIT = 1 << 13
    REJECTED_EXPOSURE = 1 << 14
    UNIDENTIFIABLE = 1 << 15
    FRAGILE = 1 << 16
    NO_SIGNAL = 1 << 17
    PARTIAL = 1 << 18

    @property
    def words(self) -> str:
        """The name as people read it: "non positive"."""
        return str(self.name).lower().replace("_", " ")


SENTENCES: dict[Flag, str] = {
    Flag.NO_SUCH_AMPLIFIER: "The detector has no such amplifier; the cell is padding.",
    Flag.NOT_MEASURED: "Nothing was measured: there is no file, or no value in the table.",
    Flag.UNREADABLE: "There is a file, but this part of it could not be read.",
    Flag.ALL_MASKED: "Every pixel was masked.",
    Flag.NON_FINITE: "The level is infinite.",
    Flag.NON_POSITIVE: "The level is zero or negative, so it has no logarithm.",
    Flag.NO_COUNTS: "The number of pixels behind the level is zero, missing or infinite.",
    Flag.NO_SIGMA: "Variance weights were asked for, and the standard deviation is zero, missing or infinite.",
    Flag.SATURATED: "More than 1 % of the pixels were saturated.",
    Flag.LOW_SIGNAL: "The level is below 30 of its own errors, sigma over the root of the counts.",
    Flag.ZERO_WEIGHT: "The weights that were passed in give this cell weight zero.",
    Flag.OUTLIER: "The cell does not follow the model.",
    Flag.GAIN_JUMP: "The unit's response jumped during the series.",
    Flag.REJECTED_UNIT: "The whole unit was left out of the fit.",
    Flag.REJECTED_EXPOSURE: "The whole exposure was left out of the fit.",
    Flag.UNIDENTIFIABLE: "The ratio between this unit and the largest connected set was not measured.",
    Flag.FRAGILE: "One exposure less, and the ratio of this unit to the others would not be measured.",
    Flag.NO_SIGNAL: "No light was seen: most levels of the exposure, or of the unit, are below 5 of their own errors.",
    Flag.PARTIAL: "Some of the detector's amplifiers gave no level, so that of the whole detector is of another area.",
}

WITHOUT_WEIGHT: Flag = (
    Flag.NO_SUCH_AMPLIFIER
    | Flag.NOT_MEASURED
    | Flag.UNREADABLE
    | Flag.ALL_MASKED
    | Flag.NON_FINITE
    | Flag.NON_POSITIVE
    | Flag.NO_SIGNAL
    | Flag.NO_COUNTS
    | Flag.NO_SIGMA
    | Flag.SATURATED
    | Flag.ZERO_WEIGHT
    | Flag.OUTLIER
    | Flag.GAIN_JUMP
    | Flag.REJECTED_UNIT
    | Flag.REJECTED_EXPOSURE
    | Flag.PARTIAL
)
"""Flags of cells whose weight in the solve is zero."""

SET_BY_SOLVE: Flag = (
    Flag.NON_FINITE
    | Flag.NON_POSITIVE
    | Flag.NO_COUNTS
    | Flag.NO_SIGMA
    | Flag.LOW_SIGNAL
    | Flag.NO_SIGNAL
    | Flag.ZERO_WEIGHT
    | Flag.UNIDENTIFIABLE
    | Flag.FRAGILE
)
"""Flags that a solve finds by itself, and drops when a solution is solved again."""

REJECTED: Flag = Flag.OUTLIER | Flag.GAIN_JUMP | Flag.REJECTED_UNIT | Flag.REJECTED_EXPOSURE
"""Flags of faults that ``solve(robust=...)`` finds, and drops when a solution is solved again; set by a user, they are
kept and hold."""


def describe(value: int) -> list[str]:
    """Sentences for the bits set in one value of ``quality``, lowest bit first.

    Examples
    --------
    >>> describe(0)
    []
    >>> describe(Flag.ALL_MASKED | Flag.NOT_MEASURED)
    ['Nothing was measured: there is no file, or no value in the table.', 'Every pixel was masked.']
    """
    return [sentence for flag, sentence in SENTENCES.items() if value & flag]


def leading_cause(quality: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Choose one flag for each cell of those that took it out of the fit: the one that says most.

    Where every pixel was masked because it was saturated, it is the light that says more; else the lowest bit.

    Parameters
    ----------
    quality : array of uint32, any shape
        Flags.

    Returns
    -------
    array of uint32, same shape
        The value of one flag of `WITHOUT_WEIGHT`, 0 where none is set.

    Examples
    --------
    >>> Flag(int(leading_cause(np.uint32([Flag.SATURATED | Flag.ALL_MASKED]))[0])).name
    'SATURATED'
    """
    causes = quality & np.uint32(WITHOUT_WEIGHT)
    lowest = causes & (~causes + np.uint32(1))
    saturated = np.uint32(Flag.SATURATED)
    leading: NDArray[np.uint32] = np.where(causes & saturated, saturated, lowest).astype(np.uint32)
    return leading


def has_flag(quality: xr.DataArray, flag: Flag) -> xr.DataArray:
    """Where any bit of ``flag`` is set; same dims as ``quality``, bool."""
    return (quality & np.uint32(flag)) != 0
