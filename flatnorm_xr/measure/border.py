"""The edges of detectors, cut off the sections of their amplifiers."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from flatnorm_xr.camera.geometry import Amplifier, Detector
from flatnorm_xr.camera.profiles import Profile
from flatnorm_xr.camera.sections import Section
from flatnorm_xr.errors import CameraError

__all__ = ["without_border"]


def without_border(detector: Detector, *, border: int, profile: Profile, path: str) -> tuple[Amplifier | None, ...]:
    """Cut the border off the sections of each amplifier: the edges of the detector, not those of the amplifiers.

    Parameters
    ----------
    detector : Detector
        Its amplifiers need places in the trimmed image, unless ``border`` is 0.
    border : int
        Pixels of the trimmed image.
    profile : Profile
        Kind of overscan: one that has an HDU of its own and is subtracted row by row loses the same rows.
    path : str
        The file, for messages.

    Returns
    -------
    tuple of Amplifier or None
        With smaller ``data`` and ``trimmed``; None where nothing is left. ``trimmed`` counts pixels of the same trimmed
        image, so that masks and biases are cut alike.

    Raises
    ------
    CameraError
        The places are not known.
    """
    if border == 0:
        return detector.amplifiers
    if any(amplifier.trimmed is None for amplifier in detector.amplifiers):
        msg = (
            f"{path}: border {border} needs the places of the amplifiers in detector {detector.id}, and its sections "
            "do not say them; correct amplifiers.trimmed in the profile, or use border 0"
        )
        raise CameraError(msg)
    return tuple(_inner(a, detector.trimmed_shape, border, profile.overscan) for a in detector.amplifiers)


class _Ends(NamedTuple):
    """Pixels to cut off before the first and after the last of a range, which counts upwards."""

    low: int
    high: int


def _inner(amplifier: Amplifier, shape: tuple[int, ...], border: int, overscan: str) -> Amplifier | None:
    assert amplifier.trimmed is not None
    places = amplifier.trimmed.slices
    rows, columns = (
        _Ends(max(border - place.start, 0), max(place.stop - (size - border), 0))
        for place, size in zip(places, shape, strict=True)
    )
    if any(sum(ends) >= place.stop - place.start for ends, place in zip((rows, columns), places, strict=True)):
        return None
    trimmed = _cut(amplifier.trimmed, rows, columns)
    if amplifier.data.flip_y != amplifier.trimmed.flip_y:
        rows = _Ends(rows.high, rows.low)
    if amplifier.data.flip_x != amplifier.trimmed.flip_x:
        columns = _Ends(columns.high, columns.low)
    beside = amplifier.overscan
    if beside is not None and amplifier.overscan_hdu is not None and overscan == "median-per-row":
        beside = _cut(beside, rows, _Ends(0, 0)) if beside.shape[0] == amplifier.data.shape[0] else beside
    return replace(amplifier, data=_cut(amplifier.data, rows, columns), trimmed=trimmed, overscan=beside)


def _cut(section: Section, rows: _Ends, columns: _Ends) -> Section:
    y1, y2 = _shorter(section.y1, section.y2, rows)
    x1, x2 = _shorter(section.x1, section.x2, columns)
    return Section(x1, x2, y1, y2)


def _shorter(first: int, last: int, ends: _Ends) -> tuple[int, int]:
    if first > last:
        return first - ends.high, last + ends.low
    return first + ends.low, last - ends.high
