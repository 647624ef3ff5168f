"""The legend above a picture, in as many columns as its width holds."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flatnorm_xr.show.axes import size_inches

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["legend_above"]

_CHARACTER = 0.066
_HANDLE = 0.6
"""Inches of a letter of the legend's size, and of a handle with the space around it."""

_REST = 1.15
"""What a layout gives the axes beyond their rough size."""


def legend_above(axes: Axes, handles: Sequence[Any] | None = None, *, title: str | None = None) -> None:
    """Put a legend above the axes, no wider than they are: a wider one would take its room from the picture.

    Parameters
    ----------
    axes : Axes
    handles : sequence of artists, optional
        Those with a label when not given.
    title : str, optional
        A line above the entries, broken where it is too long.
    """
    if handles is None:
        handles = axes.get_legend_handles_labels()[0]
    room = _REST * size_inches(axes)[0]
    lengths = [len(str(handle.get_label())) for handle in handles]
    axes.legend(
        handles=handles,
        title=None if title is None else textwrap.fill(title, max(int(room / _CHARACTER), 20)),
        alignment="left",
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=_columns(lengths, room),
        frameon=False,
        fontsize=9,
    )


def _columns(lengths: list[int], room: float) -> int:
    """Find the largest number of columns that fits; a column, filled from the top, is as wide as its longest entry."""
    for number in range(len(lengths), 1, -1):
        columns = np.array_split(lengths, number)
        if sum(column.max() * _CHARACTER + _HANDLE for column in columns) <= room:
            return number
    return 1
