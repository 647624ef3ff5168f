"""Which units the latest runs lack, and which came later than the first: dead amplifiers, replaced detectors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.show.followed import Followed
from flatnorm_xr.show.sizes import day

__all__ = ["Seen", "coming_and_going", "lost"]

_MOST = 5
"""Units that are named."""


class Seen(NamedTuple):
    """The first and the last run in which each unit was measured, (units)."""

    measured: NDArray[np.bool_]
    first: NDArray[np.intp]
    last: NDArray[np.intp]

    @classmethod
    def of(cls, followed: Followed) -> Seen:
        """Look through the runs of a trend; places of units never measured say nothing."""
        there = np.isfinite(followed.percent)
        first, last = there.argmax(axis=1), there.shape[1] - 1 - there[:, ::-1].argmax(axis=1)
        return cls(followed.measured, first, last)


def lost(followed: Followed) -> NDArray[np.intp]:
    """Places of the units that some run has measured and the last has not."""
    seen = Seen.of(followed)
    return np.flatnonzero(seen.measured & (seen.last < followed.time.size - 1))


def coming_and_going(followed: Followed) -> str:
    """Name the units that the last run lacks, then those that the first lacks; "" where there is none.

    Five are named, and how many more there are. A detector is named instead of its amplifiers where they came and went
    together.
    """
    seen, end = Seen.of(followed), followed.time.size - 1
    went, came = [], []
    for name, unit in _named(followed, seen):
        first, last = seen.first[unit], seen.last[unit]
        if last < end:
            when = f"from {day(followed.time[first])} to" if first > 0 else "last measured"
            went.append(f"{name} {when} {day(followed.time[last])}")
        elif first > 0:
            came.append(f"{name} from {day(followed.time[first])}")
    told = [*went, *came]
    more = [f"{len(told) - _MOST} more that came or went"] if len(told) > _MOST else []
    return "; ".join([*told[:_MOST], *more])


def _named(followed: Followed, seen: Seen) -> list[tuple[str, int]]:
    """Names of the measured units, each with a place; a detector's where its units were there in the same time."""
    found = []
    for detector, (start, stop) in enumerate(zip(followed.rows.starts[:-1], followed.rows.starts[1:], strict=True)):
        units = np.arange(start, stop)[seen.measured[start:stop]].tolist()
        alike = len({(int(seen.first[unit]), int(seen.last[unit])) for unit in units}) == 1
        if alike and len(units) > 1:
            found.append((f"detector {followed.detectors[detector]}", units[0]))
        else:
            found += [(followed.units[unit], unit) for unit in units]
    return found
