"""Pixels that get no light: those whose centres lie outside a circle or polygon."""

from __future__ import annotations

import numpy as np

from flatnorm_xr.camera.geometry import Amplifier, Detector
from flatnorm_xr.camera.places import Affine, to_trimmed
from flatnorm_xr.camera.regions import Region
from flatnorm_xr.camera.sections import Section
from flatnorm_xr.errors import CameraError
from flatnorm_xr.measure.parts import Booleans

__all__ = ["dark_pixels", "pixels_of"]


_BLOCK = 64
"""Pixels along the side of a block that is looked at as a whole when it lies far from where the light ends."""


def pixels_of(region: Region, amplifier: Amplifier, detector: Detector, *, path: str) -> Affine:
    """Where the pixels of an amplifier's HDU lie in the plane of a region.

    Raises
    ------
    CameraError
        Nobody knows; ``path`` is the file.
    """
    pixels = amplifier.to_focal_plane if region.units == "mm" else to_trimmed(amplifier)
    if pixels is None:
        name = f" amplifier {amplifier.name}" if amplifier.name else ""
        where = "in the focal plane" if region.units == "mm" else "in the trimmed image"
        msg = (
            f"measure: {path}: vignetting in {region.units} needs the places of pixels {where}, and the header does "
            f'not say those of detector {detector.id}{name}; correct the profile, or pass vignetting="none"'
        )
        raise CameraError(msg)
    return pixels


def dark_pixels(region: Region, pixels: Affine, data: Section) -> Booleans | None:
    """Find the pixels whose centres lie outside a region.

    Parameters
    ----------
    region : Region
        Where there is light.
    pixels : Affine
        Pixels of the HDU (column and row, from 1) onto the region's plane.
    data : Section
        Of the HDU; the pixels that are asked for.

    Returns
    -------
    array of bool, (rows, columns), or None
        In the order of the raw image; None when all pixels lie inside.
    """
    (rows, columns), (first_row, first_column) = data.shape, (one.start for one in data.slices)
    tops, lefts = np.arange(0, rows, _BLOCK), np.arange(0, columns, _BLOCK)
    heights, widths = np.minimum(_BLOCK, rows - tops), np.minimum(_BLOCK, columns - lefts)
    x, y = pixels(
        (first_column + lefts + (widths + 1) / 2)[np.newaxis, :], (first_row + tops + (heights + 1) / 2)[:, np.newaxis]
    )
    dark = ~region.inside(x, y)
    half = (_BLOCK - 1) / 2
    reach = half * np.hypot(abs(pixels.x_column) + abs(pixels.x_row), abs(pixels.y_column) + abs(pixels.y_row))
    mixed = region.distance_to_boundary(x, y) <= reach * (1 + 1e-6)
    if not dark.any() and not mixed.any():
        return None
    found = np.repeat(np.repeat(dark, heights, axis=0), widths, axis=1)
    for i, j in zip(*np.nonzero(mixed), strict=True):
        down = slice(tops[i], tops[i] + heights[i])
        across = slice(lefts[j], lefts[j] + widths[j])
        column = np.arange(across.start, across.stop, dtype=np.float64) + first_column + 1
        row = np.arange(down.start, down.stop, dtype=np.float64) + first_row + 1
        found[down, across] = ~region.inside(*pixels(column[np.newaxis, :], row[:, np.newaxis]))
    return found if found.any() else None
