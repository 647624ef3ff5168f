"""One file to levels: every detector as a whole, and each of its amplifiers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flatnorm_xr.camera.file_bytes import FileStamp
from flatnorm_xr.camera.geometry import Detector, FileDescription
from flatnorm_xr.camera.profiles import Profile
from flatnorm_xr.camera.remarks import has_masks
from flatnorm_xr.flags import Flag
from flatnorm_xr.measure.assemble import FileLevels, Level
from flatnorm_xr.measure.masks import NO_MASKING, Masking
from flatnorm_xr.measure.reference import Reference

if TYPE_CHECKING:
    from flatnorm_xr.measure.clipping import Statistics
    from flatnorm_xr.measure.common_mask import CommonMask
    from flatnorm_xr.measure.frames import Frame
    from flatnorm_xr.measure.words import Words

__all__ = ["Reduction", "bad_in_file", "file_time", "measure_file", "unreadable_file"]

SATURATED_FRACTION = 0.01
"""Share of saturated pixels above which a level is flagged."""


@dataclass(frozen=True)
class Reduction:
    """How pixels become levels: all that `measure_file` needs besides the file."""

    statistic: str = "meanclip"
    clip: float = 3.0
    iterations: int = 3
    bias: Reference | None = None
    masking: Masking = NO_MASKING
    saturation: float | None = None
    edge_strips: int = 0
    checksum: bool = False
    verify_checksum: bool = False
    common: Mapping[int | str, CommonMask] = field(default_factory=dict)
    """What is left out of every exposure, by detector, because it is bad in one of them."""

    @property
    def clipping(self) -> dict[str, Any]:
        """Keywords of the statistics."""
        return {"statistic": self.statistic, "clip": self.clip, "iterations": self.iterations}


def measure_file(file: FileDescription, *, setting: Reduction) -> FileLevels:
    """Measure one file: every detector as a whole, and its amplifiers.

    Parameters
    ----------
    file : FileDescription
        From its headers.
    setting : Reduction
        What to do with the pixels.

    Returns
    -------
    FileLevels
        Scalars only. What cannot be read is flagged UNREADABLE; so is all of a file that cannot be opened, was changed
        since its headers were read, or is packed as a whole and damaged anywhere.
    """
    from flatnorm_xr.measure.words import Unreadable, open_words

    levels: list[Level] = []
    faults: list[str] = []
    try:
        with open_words(file) as words:
            wrong = words.verify_headers(besides=_known_hdus(file)) if setting.verify_checksum else ""
            if wrong:
                raise Unreadable(wrong)
            for detector in file.detectors:
                levels.extend(_measure_detector(words, detector, file, setting, faults))
                words.release()
    except Unreadable as error:
        # Levels found before are dropped: nothing tells which bytes of a damaged packed file are right.
        levels, faults = _all_unreadable(file), [str(error)]
    return FileLevels(file, tuple(levels), _provenance(file, setting.checksum), tuple(faults))


def _known_hdus(file: FileDescription) -> set[int]:
    """HDUs that are verified when they are read, and whose headers can hide nothing from another detector."""
    if file.profile.layout == "hdu-is-amplifier":
        return set()  # a wrong header may have moved an amplifier from one detector to another
    amplifiers = [amplifier for detector in file.detectors for amplifier in detector.amplifiers]
    return {hdu for a in amplifiers for hdu in (a.hdu, a.mask_hdu, a.overscan_hdu) if hdu is not None}


def _lacks_quality(detector: Detector, file: FileDescription) -> bool:
    """Whether a file that breaks off has lost the data quality of a detector."""
    mask = file.profile.mask
    expected = bool(mask.only) and (not mask.optional or has_masks(file))
    return bool(file.damage) and expected and any(a.mask_hdu is None for a in detector.amplifiers)


def bad_in_file(file: FileDescription, *, setting: Reduction) -> list[CommonMask]:
    """Find what is bad in each detector of one file; what cannot be read says nothing.

    Parameters
    ----------
    file, setting
        As `measure_file` takes them.

    Returns
    -------
    list of CommonMask
        For `flatnorm_xr.measure.common_mask.add_masks`.
    """
    from flatnorm_xr.measure.common_mask import frame_mask
    from flatnorm_xr.measure.words import Unreadable, open_words

    found: list[CommonMask] = []
    try:
        with open_words(file) as words:
            for detector in file.detectors:
                frame = _read(words, detector, file, setting)
                found.append(frame_mask(frame, path=file.path, saturated_fraction=SATURATED_FRACTION))
                words.release()
    except Unreadable:
        return []
    return found


def _read(words: Words, detector: Detector, file: FileDescription, setting: Reduction) -> Frame:
    from flatnorm_xr.measure.frames import read_detector

    frame = read_detector(
        words,
        detector,
        profile=file.profile,
        path=file.path,
        bias=setting.bias,
        masking=setting.masking,
        saturation=setting.saturation,
        verify=words.verify if setting.verify_checksum else None,
    )
    common = setting.common.get(detector.id)
    return frame if common is None else frame.without(common, path=file.path)


def _measure_detector(
    words: Words, detector: Detector, file: FileDescription, setting: Reduction, faults: list[str]
) -> Iterator[Level]:
    from flatnorm_xr.measure.kernels import measure_parts

    if _lacks_quality(detector, file):
        faults.append(f"detector {detector.id}: its data quality is not there")
        yield from _unreadable(detector, file.profile)
        return
    frame = _read(words, detector, file, setting)
    faults += frame.faults
    read = [part for part in frame.parts if part is not None]
    # a file that breaks off may have lost amplifiers of any detector
    lost = bool(file.damage) and file.profile.layout == "hdu-is-amplifier"
    whole = len(read) == len(frame.parts) and not lost
    measured = measure_parts(read, whole=whole, **setting.clipping)
    size = sum(part.words.size for part in read)
    if whole:
        yield _level(detector.id, None, measured.whole, sum(measured.saturated), size)
    else:
        yield Level(detector.id, None, quality=Flag.UNREADABLE)
    if not file.profile.has_amplifiers:
        return
    found = iter(zip(read, measured.parts, measured.saturated, strict=True))
    levels = []
    for amplifier, part in zip(detector.amplifiers, frame.parts, strict=True):
        if part is None:
            levels.append(Level(detector.id, amplifier.name, quality=Flag.UNREADABLE))
        else:
            part, statistics, saturated = next(found)
            levels.append(_level(detector.id, amplifier.name, statistics, saturated, part.words.size))
    if setting.edge_strips:
        from flatnorm_xr.measure.edges import with_edges

        levels = with_edges(levels, frame, width=setting.edge_strips, options=setting.clipping)
    yield from levels


def _level(detector: int | str, amplifier: str | None, found: Statistics, saturated: int, size: int) -> Level:
    """Give a level its flags."""
    quality = 0
    if found.counts == 0:
        quality |= Flag.ALL_MASKED
    elif found.level <= 0:
        quality |= Flag.NON_POSITIVE
    elif found.level == float("inf"):
        quality |= Flag.NON_FINITE
    if saturated > SATURATED_FRACTION * size:
        quality |= Flag.SATURATED
    return Level(detector, amplifier, found.level, found.sigma, found.counts, quality)


def unreadable_file(file: FileDescription, reason: str) -> FileLevels:
    """Levels of a file of which nothing could be read: holes, with a reason."""
    return FileLevels(file, tuple(_all_unreadable(file)), _provenance(file, False), (reason,))


def _all_unreadable(file: FileDescription) -> list[Level]:
    return [level for detector in file.detectors for level in _unreadable(detector, file.profile)]


def _unreadable(detector: Detector, profile: Profile) -> Iterator[Level]:
    names = [None, *(a.name for a in detector.amplifiers)] if profile.has_amplifiers else [None]
    for name in names:
        yield Level(detector.id, name, quality=Flag.UNREADABLE)


def _provenance(file: FileDescription, checksum: bool) -> dict[str, Any]:
    """Name, size, time and checksums of one file, for the attribute ``inputs``."""
    from flatnorm_xr.measure.checksums import add_sums

    path = file.path
    stamp = file.stamp or FileStamp.of(os.stat(path))  # as its headers were read: it may be another by now, or gone
    entry: dict[str, Any] = {
        "name": Path(path).name,
        "size": stamp.size,
        "mtime": file_time(stamp.mtime_ns),
    }
    if file.datasums:
        entry["DATASUM"] = add_sums(file.datasums)
    if checksum:
        with suppress(OSError), open(path, "rb") as stream:
            entry["sha256"] = hashlib.file_digest(stream, "sha256").hexdigest()
    return entry


def file_time(mtime_ns: int) -> str:
    """Time of the last change of a file, UTC, as ``inputs`` has it; all its digits tell one change from the next."""
    return f"{np.datetime_as_string(np.datetime64(mtime_ns, 'ns'))}Z"
