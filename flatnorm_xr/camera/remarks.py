"""What deserves a look in the headers of one file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import isfinite
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from flatnorm_xr.camera.amplifiers import Amplifier
from flatnorm_xr.camera.geometry import Detector, Exposure, FileDescription
from flatnorm_xr.camera.headers import FileHeaders
from flatnorm_xr.camera.profiles import FALLBACKS, Profile
from flatnorm_xr.camera.rules import match_all
from flatnorm_xr.camera.times import known_scale
from flatnorm_xr.errors import offenders

if TYPE_CHECKING:
    from flatnorm_xr.camera.night_remarks import Described

__all__ = ["gains_far_apart", "has_masks", "missing", "no_flat", "remarks_on"]

WILD_GAIN = 2.5
"""Ratio of a gain to the file's median beyond which it is not believed."""

_SENTENCES = {
    "overscan": "no overscan section: nothing will be subtracted",
    "time": "no time of the exposure",
    "position": "no position in the focal plane",
    "saturation": "no saturation level, so saturated pixels will be used",
    "mask": "no image of data quality: no pixel will be left out by it",
    "gain": "no gain where the profile says that it is",
    "read_noise": "no read noise where the profile says that it is",
}

_NO_FLAT = re.compile(r"bias|\bzero\b|dark(?!.?sky)", re.IGNORECASE)
"""Types of observation that are no flats; a flat of the dark sky is one."""


def missing(file: FileDescription) -> Iterator[tuple[str, int | str]]:
    """List what the profile promises and the headers lack: (a key of the sentences above, detector or path)."""
    profile = file.profile
    if profile.exposure.time is not None and file.exposure.time is None:
        yield "time", file.path
    masks = bool(profile.mask.only) and (not profile.mask.optional or has_masks(file))
    for detector in file.detectors:
        if profile.overscan != "none" and any(a.overscan is None for a in detector.amplifiers):
            yield "overscan", detector.id
        if profile.position.known and not isfinite(detector.x):
            yield "position", detector.id
        if profile.overscan != "none" and any(not isfinite(a.saturation) for a in detector.amplifiers):
            yield "saturation", detector.id
        if masks and any(a.mask_hdu is None for a in detector.amplifiers):
            yield "mask", detector.id
        if profile.name in FALLBACKS:
            continue  # these try what many cameras have, and promise nothing
        if any(_lacks(profile, "gain", a, a.gain) and not a.placeholder_gain for a in detector.amplifiers):
            yield "gain", detector.id
        if any(_lacks(profile, "read_noise", a, a.read_noise) for a in detector.amplifiers):
            yield "read_noise", detector.id


def _lacks(profile: Profile, key: str, amplifier: Amplifier, value: float) -> bool:
    return not isfinite(value) and profile.amplifiers.rule(key, amplifier.name) is not None


def has_masks(file: Described) -> bool:
    """Whether any image of a file has an image of data quality."""
    return any(amplifier.mask_hdu is not None for detector in file.detectors for amplifier in detector.amplifiers)


def no_flat(exposure: Exposure) -> bool:
    """Whether the header calls the exposure a bias or a dark."""
    return bool(_NO_FLAT.search(exposure.observation_type))


def remarks_on(file: FileDescription, headers: FileHeaders) -> Iterator[str]:
    """Say what deserves a look in one file, a sentence each.

    Parameters
    ----------
    file : FileDescription
        Made of ``headers``.
    headers : FileHeaders
        All headers of the file.
    """
    if file.damage:
        yield f"the file is damaged: {file.damage}"
    if no_flat(file.exposure):
        yield f"the type is {file.exposure.observation_type!r}: no flat, but it would be measured as one"
    yield from file.notes
    yield from _of_cards(file, headers)
    lacking: dict[str, list[int | str]] = {}
    for kind, what in missing(file):
        lacking.setdefault(kind, []).append(what)
    for kind, whats in lacking.items():
        of = "" if kind == "time" else f" (detector {offenders(whats)})"
        yield _SENTENCES[kind] + of
    yield from _of_gains(file)
    unplaced = [detector.id for detector in file.detectors if not detector.trimmed_shape]
    if unplaced:
        yield f"the sections of the trimmed image do not fit the data sections (detector {offenders(unplaced)})"
    yield from _of_clock(file, headers)


def _of_cards(file: FileDescription, headers: FileHeaders) -> Iterator[str]:
    twice = [hdu.index for hdu in headers.hdus if "EXTNAME" in hdu.header and hdu.header.count("EXTNAME") > 1]
    if twice:
        yield f"two EXTNAME cards in HDU {offenders(twice)}"
    if file.profile.name in FALLBACKS and file.profile.detector.skip:
        apart = [hdu for hdu in headers.images if match_all(file.profile.detector.skip, hdu)]
        if apart:
            names = offenders(dict.fromkeys(hdu.get("EXTNAME") for hdu in apart))
            where = offenders(hdu.index for hdu in apart)
            yield f"left out, as names of no images of light: {names} (HDU {where})"
    rule = file.profile.exposure.time_scale
    found = [rule.find(hdu, path=file.path) for hdu in headers.images] if rule is not None else []
    scales = {str(scale) for scale in found if scale is not None and not known_scale(str(scale))}
    if scales and file.exposure.time is not None:
        yield f"the time scale {offenders(sorted(scales))} is not known and was taken for UTC"


def _of_gains(file: FileDescription) -> Iterator[str]:
    amplifiers = [(detector, amplifier) for detector in file.detectors for amplifier in detector.amplifiers]
    placeholders = [_name(d, a) for d, a in amplifiers if a.placeholder_gain]
    if placeholders:
        which = "every amplifier" if len(placeholders) == len(amplifiers) > 1 else offenders(placeholders)
        yield f"the gain is a placeholder and counts as unknown: {which}"
    negative = [f"{_name(d, a)} ({a.gain:g})" for d, a in amplifiers if a.gain <= 0]
    if negative:
        yield f"a gain cannot be zero or less: {offenders(negative)}"
    yield from gains_far_apart(file)


def gains_far_apart(file: FileDescription) -> Iterator[str]:
    """Name gains far from the file's median; none, or one sentence."""
    yield from _wild_gains([(_name(d, a), a.gain) for d in file.detectors for a in d.amplifiers if a.gain > 0])


def _wild_gains(gains: Sequence[tuple[str, float]]) -> Iterator[str]:
    """Name gains far from the median; of two that differ nobody knows which is wrong."""
    if len(gains) < 2:
        return
    values = [gain for _, gain in gains]
    middle = median(values) if len(gains) > 2 else max(values)
    wild = [(name, gain) for name, gain in gains if not 1 / WILD_GAIN <= gain / middle <= WILD_GAIN]
    if wild:
        named = offenders(f"{name} ({gain:g})" for name, gain in (wild if len(gains) > 2 else gains))
        yield f"gains differ by more than a factor of {WILD_GAIN:g}: {named}" + (
            f", the others about {middle:g} electron per adu" if len(gains) > 2 else ""
        )


def _name(detector: Detector, amplifier: Amplifier) -> str:
    return f"{detector.id} {amplifier.name}".strip()


def _of_clock(file: FileDescription, headers: FileHeaders) -> Iterator[str]:
    """Compare the exposure with the date of its file: an exposure later than its file shows that a clock was wrong."""
    if headers.stamp is None or file.exposure.time is None:
        return
    written = np.datetime64(headers.stamp.mtime_ns, "ns")
    if file.exposure.time > written + np.timedelta64(1, "D"):
        yield f"the exposure is later than its file, which was written on {str(written)[:10]}: is its time right?"
