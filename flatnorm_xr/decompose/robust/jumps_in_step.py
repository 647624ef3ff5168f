"""Amplifiers of one detector whose gains jumped together: all of them keep the same side of the jump."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.decompose.robust.unit_faults import Event
from flatnorm_xr.flags import Flag

__all__ = ["in_step"]

_MOST_LOST = 0.6
"""Share of its cells that an amplifier may lose for the sake of the others of its detector."""


class _Jump(NamedTuple):
    """One gain jump: its place among the events, the unit, and the places of the unit's cells on either side."""

    event: int
    unit: int
    before: NDArray[np.intp]
    after: NDArray[np.intp]
    later: bool
    """Whether the later side was left out."""


def in_step(events: Sequence[Event], measured: NDArray[np.bool_], detector: NDArray[np.intp]) -> tuple[Event, ...]:
    """Leave out the same side of a jump of all amplifiers of a detector that jumped at the same exposure.

    Each unit by itself leaves out its smaller side. Where cells are missing that is one side for some amplifiers and
    the other for others, and the responses of one detector would be those of two epochs. The side with fewer cells
    in all of them goes.

    Parameters
    ----------
    events : sequence of Event
        Faults of units, exposures in order of time.
    measured : array of bool, (units, exposures)
        Cells that exposures left out as a whole do not cover.
    detector : array of int, (units)
        Detector of each unit.

    Returns
    -------
    tuple of Event
        The same events, in order; of jumps in step some with the other side of their cells.
    """
    changed = list(events)
    jumps = [_jump(k, event, events, measured) for k, event in enumerate(events) if event.flag is Flag.GAIN_JUMP]
    for d in np.unique(detector[[jump.unit for jump in jumps]]) if jumps else ():
        for together in _together([jump for jump in jumps if detector[jump.unit] == d], measured.shape[1]):
            if len({jump.later for jump in together}) == 1:
                continue
            later = sum(jump.after.size for jump in together) <= sum(jump.before.size for jump in together)
            for jump in together:
                side = jump.after if later else jump.before
                if side.size <= _MOST_LOST * (jump.before.size + jump.after.size):
                    cells = jump.unit * measured.shape[1] + side
                    changed[jump.event] = replace(events[jump.event], cells=cells)
    return tuple(changed)


def _jump(k: int, event: Event, events: Sequence[Event], measured: NDArray[np.bool_]) -> _Jump:
    """Find the cells of the unit on either side, without those of its other faults."""
    n = measured.shape[1]
    unit = int(event.cells[0]) // n
    mine = event.cells % n
    free = measured[unit].copy()
    for other, fault in enumerate(events):
        if other != k and int(fault.cells[0]) // n == unit and fault.flag is not Flag.REJECTED_EXPOSURE:
            free[fault.cells % n] = False
    rest = np.flatnonzero(free)
    rest = rest[~np.isin(rest, mine)]
    later = bool(rest.size) and mine[0] > rest[-1]
    before, after = (rest, mine) if later else (mine, rest)
    return _Jump(k, unit, before, after, later)


def _together(jumps: list[_Jump], exposures: int) -> list[list[_Jump]]:
    """Gather jumps between the same two exposures, as far as what was measured of each amplifier tells them."""
    gathered: list[tuple[int, int, list[_Jump]]] = []
    for jump in jumps:
        last = int(jump.before[-1]) if jump.before.size else -1
        first = int(jump.after[0]) if jump.after.size else exposures
        for k, (a, b, members) in enumerate(gathered):
            if max(a, last) < min(b, first):
                gathered[k] = (max(a, last), min(b, first), [*members, jump])
                break
        else:
            gathered.append((last, first, [jump]))
    return [members for _, _, members in gathered]
