"""What the statistics of a set of pixels are."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Statistics"]


class Statistics(NamedTuple):
    """What one set of pixels shows: its level, the scatter about it, and how many pixels made it."""

    level: float
    sigma: float
    counts: int
