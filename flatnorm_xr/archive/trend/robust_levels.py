"""Compiled: the level of each run and of each unit in a table that has both, robustly, with holes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.compiled import compiled

__all__ = ["column_locations", "median", "row_medians", "two_way_sweep"]

Array = NDArray[Any]

# Runs that are gathered together from a table that holds each unit's runs side by side.
BLOCK = 16

# Constant of Tukey's biweight, of 95 % efficiency on normal noise.
TUKEY = 4.685


@compiled()
def median(values: Array, number: int) -> Any:
    """Median of the first ``number`` values, which are reordered."""
    if number == 0:
        return np.nan
    half = number // 2
    low, high = 0, number - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if half <= j:
            high = j
        elif half >= i:
            low = i
        else:
            break
    upper = values[half]
    if number % 2:
        return upper
    lower = values[0]
    for k in range(1, half):
        lower = max(lower, values[k])
    return 0.5 * (lower + upper)


@compiled()
def row_medians(y: Array, offset: Array, level: Array) -> None:
    """Set the level of each unit: median over runs of ``y - offset``; y is (unit, run), NaN where not measured."""
    units, runs = y.shape
    kept = np.empty(runs)
    for u in range(units):
        number = 0
        for r in range(runs):
            value = y[u, r] - offset[r]
            if value == value:
                kept[number] = value
                number += 1
        level[u] = median(kept, number)


@compiled()
def column_locations(y: Array, model: Array, member: Array, least: float, offset: Array, scale: Array) -> None:
    """Set each run's offset, a median over members of ``y - model`` then one step of Tukey's biweight, and scale.

    ``model`` is (unit, run) or (unit, 1). The scale is the median absolute deviation as a standard deviation, at
    least ``least``. NaN where no member was measured.
    """
    units, runs = y.shape
    gathered = np.empty((BLOCK, units))
    numbers = np.empty(BLOCK, np.int64)
    away = np.empty(units)
    for first in range(0, runs, BLOCK):
        last = min(first + BLOCK, runs)
        numbers[:] = 0
        for u in range(units):
            if member[u]:
                for r in range(first, last):
                    value = y[u, r] - (model[u, r] if model.shape[1] > 1 else model[u, 0])
                    if value == value:
                        gathered[r - first, numbers[r - first]] = value
                        numbers[r - first] += 1
        for r in range(first, last):
            values, number = gathered[r - first], numbers[r - first]
            centre = median(values, number)
            for k in range(number):
                away[k] = abs(values[k] - centre)
            spread = max(1.482602218505602 * median(away, number), least)
            total, moved = 0.0, 0.0
            for k in range(number):
                d = (values[k] - centre) / (TUKEY * spread)
                if abs(d) < 1:
                    w = (1 - d * d) ** 2
                    total += w
                    moved += w * (values[k] - centre)
            offset[r] = centre + moved / total if total > 0 else centre
            scale[r] = spread


@compiled()
def two_way_sweep(y: Array, member: Array, scale: Array, offset: Array, level: Array) -> float:
    """Move the offsets of all runs, then the levels of members, by one step of the biweight; returns the largest move.

    Offsets are means over members, levels means over runs, both with the biweights that the residuals of before give.
    A unit that is left without weight keeps its level.
    """
    units, runs = y.shape
    total, moved = np.zeros(runs), np.zeros(runs)
    for u in range(units):
        if member[u]:
            for r in range(runs):
                away = y[u, r] - offset[r] - level[u]
                d = away / (TUKEY * scale[r])
                if abs(d) < 1:
                    w = (1 - d * d) ** 2
                    total[r] += w
                    moved[r] += w * away
    largest = 0.0
    for r in range(runs):
        if total[r] > 0:
            moved[r] /= total[r]
            largest = max(largest, abs(moved[r]))
        else:
            moved[r] = 0.0
    for u in range(units):
        if not member[u]:
            continue
        weight, change = 0.0, 0.0
        for r in range(runs):
            away = y[u, r] - offset[r] - level[u]
            d = away / (TUKEY * scale[r])
            if abs(d) < 1:
                w = (1 - d * d) ** 2
                weight += w
                change += w * (away - moved[r])
        if weight > 0:
            level[u] += change / weight
    for r in range(runs):
        offset[r] += moved[r]
    return largest
