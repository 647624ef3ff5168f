"""One order of labels out of several."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

__all__ = ["merged_order"]

_MOST_MERGED = 2_000
"""Labels up to which an order is looked for that agrees with all."""


def merged_order(sequences: Sequence[Sequence[Any]]) -> list[Any]:
    """One order of all labels that agrees with every sequence; that of first appearance where there is none.

    Parameters
    ----------
    sequences : sequence of sequences of labels
        In none of them is a label twice.

    Examples
    --------
    >>> merged_order([["B", "D"], ["A", "B", "C", "D"]])
    ['A', 'B', 'C', 'D']
    """
    distinct = list(dict.fromkeys(map(tuple, sequences)))
    appearance = list(dict.fromkeys(label for sequence in distinct for label in sequence))
    place = {label: i for i, label in enumerate(appearance)}
    if (
        all(place[a] < place[b] for sequence in distinct for a, b in pairwise(sequence))
        or len(appearance) > _MOST_MERGED
    ):
        return appearance
    before: dict[Any, set[Any]] = {label: set() for label in appearance}
    for sequence in distinct:
        for a, b in pairwise(sequence):
            before[b].add(a)
    order: list[Any] = []
    while before:
        free = next((label for label, others in before.items() if not others), None)
        if free is None:
            return appearance
        order.append(free)
        del before[free]
        for others in before.values():
            others.discard(free)
    return order
