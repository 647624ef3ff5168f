"""One detector of one file: the words of its amplifiers, and what turns them into corrected pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isnan
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flatnorm_xr.camera.geometry import Amplifier, Detector
from flatnorm_xr.camera.profiles import Profile
from flatnorm_xr.errors import CameraError, offenders
from flatnorm_xr.measure.border import without_border
from flatnorm_xr.measure.masks import NO_MASKING, BadPixels, Masking, bad_pixels
from flatnorm_xr.measure.overscan import overscan_level
from flatnorm_xr.measure.parts import Part
from flatnorm_xr.measure.reference import Reference

if TYPE_CHECKING:
    from flatnorm_xr.measure.common_mask import CommonMask
    from flatnorm_xr.measure.words import RawImage

__all__ = ["Frame", "ReadWords", "Verify", "read_detector"]

Array = npt.NDArray[Any]

ReadWords = Callable[[int], "RawImage"]
"""Gives the words of an HDU by its number; raises `Unreadable`."""

Verify = Callable[[int], str]
"""Says of an HDU, by its number, what is wrong with its checksums; empty when nothing is."""

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
    faults : tuple of str
        Why amplifiers cannot be read, each reason once.
    """

    detector: Detector
    parts: tuple[Part | None, ...]
    faults: tuple[str, ...] = ()

    def without(self, mask: CommonMask, *, path: str) -> Frame:
        """Leave out, besides, what a mask over all exposures has."""
        parts: list[Part | None] = []
        for amplifier, part in zip(self.detector.amplifiers, self.parts, strict=True):
            bad = None if part is None or part is _NO_PIXELS else mask.of(amplifier, path=path)
            if part is not None and bad is not None:
                part = part._replace(bad=bad if part.bad is None else part.bad | bad)
            parts.append(part)
        return replace(self, parts=tuple(parts))


def read_detector(
    words: ReadWords,
    detector: Detector,
    *,
    profile: Profile,
    path: str,
    bias: Reference | None = None,
    masking: Masking = NO_MASKING,
    saturation: float | None = None,
    verify: Verify | None = None,
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
    verify : callable, optional
        Says of an HDU what is wrong with its checksums, empty when nothing is; what is wrong is not read. When given,
        bias and mask files are verified, too.

    Returns
    -------
    Frame
        An amplifier that lies within the border has no pixels.

    Raises
    ------
    CameraError
        Overscan that does not cover the data's rows, a gain that is needed and not known, a border or vignetting where
        the amplifiers' places are not known, a bias or mask whose shape does not fit.
    ReadError
        A bias or mask file that cannot be read, or fails its checksums.
    """
    _check_gains(detector, profile, path)
    inner = without_border(detector, border=masking.border, profile=profile, path=path)
    lit = [amplifier for amplifier in inner if amplifier is not None]
    cut = replace(detector, amplifiers=tuple(lit))
    read, faults = _words_of(words, cut, verify)
    biases: Sequence[Array | None] = [None] * len(lit)
    if bias is not None:
        biases = list(bias.images(cut, profile, verify=verify is not None))
    bad = bad_pixels(cut, masking=masking, profile=profile, words=words, path=path, verify=verify)
    faults += [one.problem for one in bad if one.problem]
    of_lit = iter(
        _part_of(*one, read=read, profile=profile, saturation=saturation, path=path)
        for one in zip(lit, biases, bad, strict=True)
    )
    parts = tuple(_NO_PIXELS if amplifier is None else next(of_lit) for amplifier in inner)
    amplifiers = (b if b is not None else a for a, b in zip(detector.amplifiers, inner, strict=True))
    return Frame(replace(detector, amplifiers=tuple(amplifiers)), parts, tuple(dict.fromkeys(faults)))


def _part_of(
    amplifier: Amplifier,
    bias: Array | None,
    bad: BadPixels,
    *,
    read: Mapping[int, RawImage | None],
    profile: Profile,
    saturation: float | None,
    path: str,
) -> Part | None:
    """Words of one amplifier and what is to be done to them; None where they or its bad pixels cannot be read."""
    raw = read[amplifier.hdu]
    beside = raw if amplifier.overscan_hdu is None else read[amplifier.overscan_hdu]
    if raw is None or beside is None or bad.problem:
        return None
    limit = amplifier.saturation if saturation is None else saturation
    return Part(
        words=raw.words[amplifier.data.slices],
        zero=raw.zero,
        scale=raw.scale,
        blank=raw.blank,
        offset=_offset(beside, amplifier, profile, path),
        bias=bias,
        gain=amplifier.gain if profile.apply_gain else 1.0,
        limit=inf if isnan(limit) else limit,
        bad=bad.pixels,
    )


def _words_of(
    words: ReadWords, detector: Detector, verify: Verify | None
) -> tuple[dict[int, RawImage | None], list[str]]:
    """Words of all HDUs of a detector, None where one cannot be read; and why not."""
    from flatnorm_xr.camera.file_bytes import Unreadable

    wanted = dict.fromkeys(a.hdu for a in detector.amplifiers)
    wanted |= dict.fromkeys(a.overscan_hdu for a in detector.amplifiers if a.overscan_hdu is not None)
    read: dict[int, RawImage | None] = {}
    faults = []
    for hdu in wanted:
        read[hdu] = None
        fault = verify(hdu) if verify is not None else ""
        try:
            read[hdu] = words(hdu) if not fault else None
        except Unreadable as error:
            fault = str(error)
        if fault:
            faults.append(f"HDU {hdu}: {fault}")
    return read, faults


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
