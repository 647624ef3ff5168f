"""One detector of one file: the words of its amplifiers, and what turns them into corrected pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf, isnan
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flatnorm_xr.camera.geometry import Amplifier, Detector
from flatnorm_xr.camera.profiles import Profile
from flatnorm_xr.errors import CameraError, offenders
from flatnorm_xr.measure.masks import EVERYTHING, Masking, bad_pixels, without_border
from flatnorm_xr.measure.overscan import overscan_level
from flatnorm_xr.measure.parts import Part
from flatnorm_xr.measure.reference import Reference

if TYPE_CHECKING:
    from flatnorm_xr.measure.words import RawImage

__all__ = ["Frame", "ReadWords", "read_detector"]

Array = npt.NDArray[Any]

ReadWords = Callable[[int], "RawImage"]
"""Gives the words of an HDU by its number; raises `Unreadable`."""


_NO_PIXELS = Part(np.empty((0, 0), dtype=np.int16))


@dataclass(frozen=True)
class Frame:
    """Amplifiers of one detector in one file.

    Attributes
    ----------
    detector : Detector
        Its amplifiers, in the order of ``parts``, their sections without the border.
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
    masking: Masking = EVERYTHING,
    saturation: float | None = None,
) -> Frame:
    """Find words, overscan, bias, gain, saturation and bad pixels of the amplifiers of one detector.

    Parameters
    ----------
    words : callable
        From `flatnorm_xr.measure.words.open_words`.
    detector : Detector
        Its sections, from the header.
    profile : Profile
        Kind of overscan, whether the gain is applied.
    path : str
        The file, for messages.
    bias : Reference, optional
        Image to subtract, in the units of the overscan-subtracted frame.
    masking : Masking
        What is left out, besides saturated pixels.
    saturation : float, optional
        Raw adu from which a pixel is saturated, instead of what the header says.

    Returns
    -------
    Frame
        An amplifier that lies within the border has no pixels.

    Raises
    ------
    CameraError
        Overscan that does not cover the data's rows, a gain that is needed and not known, a border or vignetting where
        the amplifiers' places are not known, a bias or mask whose shape does not fit.
    """
    _check_gains(detector, profile, path)
    inner = without_border(detector, border=masking.border, profile=profile, path=path)
    lit = [amplifier for amplifier in inner if amplifier is not None]
    cut = replace(detector, amplifiers=tuple(lit))
    read = _words_of(words, cut)
    offsets: Sequence[Array | None] = [None] * len(lit) if bias is None else list(bias.images(cut, profile))
    bad = bad_pixels(cut, masking=masking, profile=profile, words=words, path=path)
    found = iter(zip(lit, offsets, bad, strict=True))
    parts: list[Part | None] = []
    for amplifier in inner:
        if amplifier is None:
            parts.append(_NO_PIXELS)
            continue
        amplifier, offset, wrong = next(found)
        raw = read[amplifier.hdu]
        beside = raw if amplifier.overscan_hdu is None else read[amplifier.overscan_hdu]
        if raw is None or beside is None or wrong.problem:
            parts.append(None)
            continue
        limit = amplifier.saturation if saturation is None else saturation
        parts.append(
            Part(
                words=raw.words[amplifier.data.slices],
                zero=raw.zero,
                scale=raw.scale,
                blank=raw.blank,
                offset=_offset(beside, amplifier, profile, path),
                bias=offset,
                gain=amplifier.gain if profile.apply_gain else 1.0,
                limit=inf if isnan(limit) else limit,
                bad=wrong.pixels,
            )
        )
    amplifiers = (b if b is not None else a for a, b in zip(detector.amplifiers, inner, strict=True))
    return Frame(replace(detector, amplifiers=tuple(amplifiers)), tuple(parts))


def _words_of(words: ReadWords, detector: Detector) -> dict[int, RawImage | None]:
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
