"""Where pictures draw detectors and amplifiers: their places in the focal plane, or a stand-in that is named."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.errors import offenders
from flatnorm_xr.show.axes import by_amplifier, rows_of

__all__ = ["Places", "places_of"]

Boxes = NDArray[np.float64]
"""Rows of left, bottom, width, height; or of x, y of the centre, width, height where it says so."""

_PLACE = ("x", "y", "width", "height")

_FILLED = 0.95
"""Share of the distance to the neighbours that a detector of unknown size is drawn with."""

_GAP = 0.08
"""Between detectors of a grid, of their larger side."""

_COINCIDE = 0.1
"""Distance of two centres, of the smaller side, below which positions are not believed."""

_MOST_STRIPS = 8
"""Amplifiers of unknown place stand side by side up to this number, above it (if even) in two rows."""

_SLACK = 0.05
"""By which amplifiers may reach over their detector, of its side."""

_MOST_COMPARED = 1000
"""Detectors nearest to the middle, whose distances give a size where none is known."""


class Places(NamedTuple):
    """Rectangles to draw, each row left, bottom, width, height."""

    units: Boxes
    """One row for each unit that exists, in the order of `flatnorm_xr.show.axes.rows_of`."""
    detectors: Boxes
    """One row for each label of the dim detector, in its order; also for those of which no amplifier exists."""
    unit_of_length: str
    """Of the rectangles: "mm", or "" where positions are not real."""
    note: str
    """What is not real in them, or ""."""


def places_of(ds: xr.Dataset) -> Places:
    """Find the rectangles of units and detectors in the focal plane.

    Positions are the coordinates ``x``, ``y`` (detector), sizes ``width``, ``height``, places of amplifiers
    ``amplifier_x``, ``amplifier_y``, ``amplifier_width``, ``amplifier_height``. What is missing is replaced, and
    ``note`` says so: sizes by the distance to the neighbours (not worth a note), single detectors without a position by
    a row beneath the others, positions by a grid when none is known or some coincide, amplifiers by an even split of
    their detector.

    Parameters
    ----------
    ds : Dataset
        Measurements or a solution, with ``background`` along detector[, amplifier]; or a trend along these.

    Returns
    -------
    Places

    Examples
    --------
    >>> from flatnorm_xr.simulate.levels import simulate
    >>> places = places_of(simulate(n_detectors=4))
    >>> places.detectors.tolist()[0], places.unit_of_length, places.note
    ([-41.0, -41.0, 40.0, 40.0], 'mm', '')
    >>> places_of(simulate(n_detectors=4).drop_vars(["x", "y"])).note
    'positions are not known: detectors in a grid, in order'
    """
    given = _numbers(ds, "", ("detector",))
    labels = ds["detector"].values
    if not by_amplifier(ds):
        detectors, real, note = _detectors(given, labels)
        return Places(detectors, detectors, "mm" if real else "", note)
    exists = rows_of(ds).exists.reshape(labels.size, -1)
    amplifiers = _numbers(ds, "amplifier_", ("detector", "amplifier"))
    low, high = _around(amplifiers, exists)
    given = _completed(given, low, high)
    detectors, real, note = _detectors(given, labels)
    notes = [note] if note else []
    relative = _relative(amplifiers, given, low, high)
    unknown = np.isnan(relative).any(axis=-1)
    split = (unknown & exists).any(axis=1)
    relative[split] = _split(exists[split])
    if (split & (exists.sum(axis=1) > 1)).any():
        notes.append(_note_of_amplifiers(labels[split], exists[split], everywhere=bool(split.all())))
    corner, size = detectors[:, None, :2], detectors[:, None, 2:]
    units = np.concatenate([corner + relative[..., :2] * size, relative[..., 2:] * size], axis=-1)
    return Places(units[exists], detectors, "mm" if real else "", "; ".join(notes))


def _numbers(ds: xr.Dataset, prefix: str, dims: tuple[str, ...]) -> Boxes:
    """Coordinates x, y, width, height side by side; NaN where one is missing, infinite, or a size is not positive."""
    shape = tuple(ds.sizes[dim] for dim in dims)
    columns = []
    for name in _PLACE:
        array = ds.coords.get(prefix + name)
        usable = array is not None and set(array.dims) == set(dims) and array.dtype.kind in "iuf"
        values = array.transpose(*dims).values.astype(float) if usable and array is not None else np.full(shape, np.nan)
        bad = ~np.isfinite(values) | ((values <= 0) if name in _PLACE[2:] else False)
        columns.append(np.where(bad, np.nan, values))
    return np.stack(columns, axis=-1)


def _detectors(given: Boxes, labels: NDArray[np.generic]) -> tuple[Boxes, bool, str]:
    """Rectangles of detectors, whether the positions are real, and what to say of them."""
    known = np.isfinite(given[:, :2]).all(axis=1)
    if not known.any():
        return _grid(given), False, "positions are not known: detectors in a grid, in order"
    if known.sum() == 1 and np.isnan(given[:, 2:]).any(axis=1).all():
        return _grid(given), False, "sizes are not known: squares, in order"
    size = _sizes(given[:, 2:], given[known, :2])
    distance = abs(given[known, None, :2] - given[None, known, :2])
    close = (distance <= _COINCIDE * size.min(axis=0)).all(axis=-1)
    if close.sum() > known.sum():
        there = labels[known][close.sum(axis=1) > 1]
        return _grid(given), False, f"positions of {_detector_names(there)} coincide: detectors in a grid, in order"
    boxes = np.concatenate([given[:, :2] - size / 2, size], axis=1)
    if known.all():
        return boxes, True, ""
    boxes[~known] = _beneath(boxes[known], size[~known])
    return boxes, True, f"no position of {_detector_names(labels[~known])}: beneath the others"


def _sizes(given: Boxes, centres: Boxes) -> Boxes:
    """Width and height of all detectors: as given, else the median of those that are, else from the distances."""
    known = np.isfinite(given).all(axis=1, keepdims=True)
    typical = np.nanmedian(np.where(known, given, np.nan), axis=0) if known.any() else _spacing(centres)
    return np.where(known, given, typical)


def _spacing(centres: Boxes) -> NDArray[np.float64]:
    """Largest width and height with which no two detectors of one size overlap, less a gap; 1 for a single one."""
    if len(centres) > _MOST_COMPARED:
        order = np.argsort(abs(centres - np.median(centres, axis=0)).sum(axis=1))
        centres = centres[order[:_MOST_COMPARED]]
    first, second = np.triu_indices(len(centres), k=1)
    pairs = abs(centres[first] - centres[second])
    pairs = pairs[pairs.max(axis=1) > 0]
    if not len(pairs):
        return np.ones(2)
    across, up = pairs[np.argsort(pairs[:, 0], kind="stable")].T
    # a width up to the k-th distance is free to overlap the pairs before it in x, so these limit the height
    width = np.append(across, np.inf)
    lowest = np.append(np.inf, np.minimum.accumulate(up))
    first_of_equal = np.searchsorted(width, width)
    height = lowest[first_of_equal]
    width, height = np.where(np.isfinite(width), width, height), np.where(np.isfinite(height), height, width)
    area = width * height
    best = np.flatnonzero(area >= 0.999 * area.max())
    k = best[np.argmin(abs(np.log(np.maximum(width[best], 1e-300) / np.maximum(height[best], 1e-300))))]
    return _FILLED * np.array([width[k], height[k]])


def _grid(given: Boxes) -> Boxes:
    """Detectors in rows from the top left, about as wide as high."""
    number = len(given)
    size = np.where(np.isfinite(given[:, 2:]).all(axis=1, keepdims=True), given[:, 2:], np.nan)
    typical = np.nanmedian(size, axis=0) if np.isfinite(size).any() else np.ones(2)
    size = np.where(np.isfinite(size), size, typical)
    pitch = size.max(axis=0) + _GAP * size.max()
    n_columns = int(np.clip(np.ceil(np.sqrt(number * pitch[1] / pitch[0])), 1, number))
    row, column = np.divmod(np.arange(number), n_columns)
    return np.concatenate([np.stack([column, -row], axis=1) * pitch - size / 2, size], axis=1)


def _beneath(boxes: Boxes, size: Boxes) -> Boxes:
    """Rows of rectangles below others, from their left on."""
    pitch = size.max(axis=0) + _GAP * size.max()
    left, bottom = boxes[:, :2].min(axis=0)
    n_columns = max(1, int(((boxes[:, 0] + boxes[:, 2]).max() - left) / pitch[0]))
    row, column = np.divmod(np.arange(len(size)), n_columns)
    corner = np.stack([left + column * pitch[0], bottom - (row + 1.5) * pitch[1]], axis=1)
    return np.concatenate([corner, size], axis=1)


def _around(amplifiers: Boxes, exists: NDArray[np.bool_]) -> tuple[Boxes, Boxes]:
    """Lower left and upper right corners of what the amplifiers of each detector cover; NaN where that is not known."""
    there = exists & np.isfinite(amplifiers).all(axis=-1)
    corner = amplifiers[..., :2] - amplifiers[..., 2:] / 2
    low = np.where(there[..., None], corner, np.inf).min(axis=1)
    high = np.where(there[..., None], corner + amplifiers[..., 2:], -np.inf).max(axis=1)
    whole = (there == exists).all(axis=1, keepdims=True) & exists.any(axis=1, keepdims=True)
    return np.where(whole, low, np.nan), np.where(whole, high, np.nan)


def _completed(given: Boxes, low: Boxes, high: Boxes) -> Boxes:
    """Centres and sizes of detectors, from their amplifiers where only these are known."""
    around = np.concatenate([(low + high) / 2, high - low], axis=1)
    missing = np.isnan(given).reshape(-1, 2, 2).any(axis=-1).repeat(2, axis=1)
    return np.where(missing, around, given)


def _relative(amplifiers: Boxes, detectors: Boxes, low: Boxes, high: Boxes) -> Boxes:
    """Rectangles of amplifiers in a detector that reaches from 0 to 1; NaN where one of its amplifiers is not known."""
    left, right = detectors[:, :2] - detectors[:, 2:] / 2, detectors[:, :2] + detectors[:, 2:] / 2
    slack = _SLACK * detectors[:, 2:]
    # the detector's own rectangle, unless its amplifiers lie elsewhere
    inside = ((low >= left - slack) & (high <= right + slack)).all(axis=1, keepdims=True)
    low, high = (np.where(inside, of, around) for of, around in ((left, low), (right, high)))
    extent = (high - low)[:, None]
    corner, size = amplifiers[..., :2] - amplifiers[..., 2:] / 2, amplifiers[..., 2:]
    relative = np.concatenate([(corner - low[:, None]) / extent, size / extent], axis=-1)
    return np.where(np.isnan(extent).any(axis=-1, keepdims=True), np.nan, relative)


def _split(exists: NDArray[np.bool_]) -> Boxes:
    """Rectangles of an even split of each detector among the amplifiers it has, in order."""
    number = exists.sum(axis=1, keepdims=True)
    order = np.cumsum(exists, axis=1) - 1
    n_rows = np.where((number > _MOST_STRIPS) & (number % 2 == 0), 2, 1)
    n_columns = np.maximum(number // n_rows, 1)
    row, column = np.divmod(order, n_columns)
    width, height = np.broadcast_arrays(1 / n_columns, 1 / n_rows, order)[:2]
    boxes: Boxes = np.stack([column * width, row * height, width, height], axis=-1)
    return boxes


def _note_of_amplifiers(labels: NDArray[np.generic], exists: NDArray[np.bool_], *, everywhere: bool) -> str:
    number = exists.sum(axis=1)
    strips = not ((number > _MOST_STRIPS) & (number % 2 == 0)).any()
    of = "" if everywhere else f" of {_detector_names(labels[number > 1])}"
    how = "as strips" if strips else "in two rows"
    return f"amplifiers{of} drawn {how}, in order: their sections are not known"


def _detector_names(labels: NDArray[np.generic]) -> str:
    return f"{'detector' if labels.size == 1 else 'detectors'} {offenders(labels)}"
