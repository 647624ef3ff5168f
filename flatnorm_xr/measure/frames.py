"""One detector of one file: the words of its amplifiers, and what turns them into corrected pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flatnorm_xr.camera.geometry import Amplifier, Detector
from flatnorm_xr.camera.profiles import Profile
from flatnorm_xr.errors import CameraError, offenders
from flatnorm_xr.measure.overscan import overscan_level
from flatnorm_xr.measure.parts import Part
from flatnorm_xr.measure.reference import Reference

if TYPE_CHECKING:
    from flatnorm_xr.measure.words import RawImage

__all__ = ["Frame", "ReadWords", "read_detector"]

Array = npt.NDArray[Any]

ReadWords = Callable[[int], "RawImage"]
"""Gives the words of an HDU by its number; raises `Unreadable`."""


@dataclass(frozen=True)
class Frame:
    """Amplifiers of one detector in one file.

    Attributes
    ----------
    detector : Detector
        Its amplifiers, in the order of ``parts``.
    parts : tuple of Part or None
        Words of each amplifier's data section, and what is to be done to them; None where it cannot be read.
    """

    detector: Detector
    parts: tuple[Part | None, ...]


def read_detector(
    words: ReadWords,
    detector: Detector,
    *,
    profile: Profile,
    path: str,
    bias: Reference | None = None,
    mask: Reference | None = None,
    saturation: float | None = None,
    border: int = 0,
) -> Frame:
    """Find words, overscan, bias, gain, saturation and bad pixels of the amplifiers of one detector.

    Parameters
    ----------
    words : callable
        From `flatnorm_xr.measure.words.open_words`.
    detector : Detector
        Its sections, from the header.
    profile : Profile
        Kind of overscan, whether the gain is applied, border.
    path : str
        The file, for messages.
    bias, mask : Reference, optional
        Image to subtract, in the units of the overscan-subtracted frame; image whose non-zero pixels are bad.
    saturation : float, optional
        Raw adu from which a pixel is saturated, instead of what the header says.
    border : int
        Pixels left out along the detector's edges; the profile's if that is more.

    Returns
    -------
    Frame

    Raises
    ------
    CameraError
        Overscan that does not cover the data's rows, a gain that is needed and not known, a border where the
        amplifiers' places are not known, a bias or mask whose shape does not fit.
    """
    _check_gains(detector, profile, path)
    read = _kept_words(words, detector)
    offsets = list(bias.images(detector, profile)) if bias is not None else []
    flags = list(mask.images(detector, profile)) if mask is not None else []
    parts: list[Part | None] = []
    for i, amplifier in enumerate(detector.amplifiers):
        raw = read[amplifier.hdu]
        overscan = raw if amplifier.overscan_hdu is None else read[amplifier.overscan_hdu]
        if raw is None or overscan is None:
            parts.append(None)
            continue
        limit = amplifier.saturation if saturation is None else saturation
        bad = np.zeros(amplifier.data.shape, dtype=np.bool_)
        if flags:
            bad |= flags[i] != 0
        _mask_border(bad, amplifier, detector, max(border, profile.border), path)
        parts.append(
            Part(
                words=raw.words[amplifier.data.slices],
                zero=raw.zero,
                scale=raw.scale,
                blank=raw.blank,
                offset=_offset(overscan, amplifier, profile, path),
                bias=offsets[i] if offsets else None,
                gain=amplifier.gain if profile.apply_gain else 1.0,
                limit=limit if limit == limit else inf,
                bad=bad if bad.any() else None,
            )
        )
    return Frame(detector, tuple(parts))


def _kept_words(words: ReadWords, detector: Detector) -> dict[int, RawImage | None]:
    """Words of all HDUs of a detector; None where an HDU cannot be read, or has another shape than its header said."""
    from flatnorm_xr.camera.file_bytes import Unreadable

    wanted = dict.fromkeys(a.hdu for a in detector.amplifiers)
    wanted |= dict.fromkeys(a.overscan_hdu for a in detector.amplifiers if a.overscan_hdu is not None)
    read: dict[int, RawImage | None] = {}
    for hdu in wanted:
        try:
            read[hdu] = words(hdu)
        except Unreadable:
            read[hdu] = None
    return read


def _offset(raw: RawImage, amplifier: Amplifier, profile: Profile, path: str) -> Array | None:
    """Overscan in adu, of each row or of all; None where nothing is subtracted."""
    if profile.overscan == "none" or amplifier.overscan is None:
        return None
    hdu = amplifier.hdu if amplifier.overscan_hdu is None else amplifier.overscan_hdu
    level = overscan_level(raw.words, amplifier, kind=profile.overscan, where=f"{path}[{hdu}]", blank=raw.blank)
    return raw.zero + raw.scale * level[:, 0]


def _check_gains(detector: Detector, profile: Profile, path: str) -> None:
    unknown = [a.name for a in detector.amplifiers if not a.gain > 0]
    if profile.apply_gain and unknown:
        msg = (
            f"{path}: profile {profile.name} applies the gain, and detector {detector.id} has none for amplifier "
            f"{offenders(unknown)}; write the gains into the profile, or set apply_gain: false"
        )
        raise CameraError(msg)


def _mask_border(
    wrong: npt.NDArray[np.bool_], amplifier: Amplifier, detector: Detector, border: int, path: str
) -> None:
    """Mark pixels within ``border`` of the edge of the detector's trimmed image, in place."""
    if border == 0:
        return
    if amplifier.trimmed is None:
        msg = (
            f"{path}: border {border} needs the places of the amplifiers in detector {detector.id}, and its sections "
            "do not say them; correct amplifiers.trimmed in the profile, or use border 0"
        )
        raise CameraError(msg)
    flips = (amplifier.data.flip_y != amplifier.trimmed.flip_y, amplifier.data.flip_x != amplifier.trimmed.flip_x)
    edges: Iterator[npt.NDArray[np.bool_]] = (
        _near_edge(place, size, border, flip)
        for place, size, flip in zip(amplifier.trimmed.slices, detector.trimmed_shape, flips, strict=True)
    )
    rows, columns = edges
    wrong[rows, :] = True
    wrong[:, columns] = True


def _near_edge(place: slice, size: int, border: int, flip: bool) -> npt.NDArray[np.bool_]:
    index = np.arange(place.start, place.stop)
    near = (index < border) | (index >= size - border)
    return near[::-1] if flip else near
