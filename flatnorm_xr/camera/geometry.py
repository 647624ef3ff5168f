"""What one file holds: its exposure, its detectors, their amplifiers and sections; made from headers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, nan
from typing import Any

import numpy as np

from flatnorm_xr.camera.amplifiers import (
    USE_GENERIC,
    Amplifier,
    Partners,
    find_partners,
    number,
    read_amplifiers,
)
from flatnorm_xr.camera.faults import Fault, Reading, faults_text
from flatnorm_xr.camera.file_bytes import FileStamp
from flatnorm_xr.camera.headers import FileHeaders, HduHeader
from flatnorm_xr.camera.image_place import ImagePlace
from flatnorm_xr.camera.places import places_in_mosaic
from flatnorm_xr.camera.profiles import Profile
from flatnorm_xr.camera.raw_cards import signs_of_raw
from flatnorm_xr.camera.rules import Rule
from flatnorm_xr.camera.section_faults import check_gains, check_sections
from flatnorm_xr.camera.times import night_of, parse_time, to_utc
from flatnorm_xr.camera.trimmed import place_in_trimmed
from flatnorm_xr.errors import CameraError, FlatnormError, ReadError, offenders

__all__ = ["Amplifier", "Detector", "Exposure", "FileDescription", "describe", "detector_ids"]

_LONGEST = 1e7
"""Exposure times above this many seconds are not believed."""


@dataclass(frozen=True)
class Detector:
    """One detector in one file.

    Attributes
    ----------
    id : int or str
        Label along the dimension ``detector``.
    name, type : str
        Empty when the header does not say.
    amplifiers : tuple of Amplifier
        In the file's order, or that of the profile.
    shapes : dict of int to tuple
        Rows and columns of each HDU it is read from.
    trimmed_shape : tuple of int
        Rows and columns of its trimmed image; empty when its amplifiers' places in it are not known.
    x, y, width, height : float
        Centre and size in the focal plane, mm; NaN when not known.
    """

    id: int | str
    name: str
    type: str
    amplifiers: tuple[Amplifier, ...]
    shapes: dict[int, tuple[int, ...]]
    trimmed_shape: tuple[int, ...] = ()
    x: float = nan
    y: float = nan
    width: float = nan
    height: float = nan


@dataclass(frozen=True)
class Exposure:
    """What a header says of the exposure; None, NaN or an empty text where it does not."""

    id: int | str
    time: np.datetime64 | None = None
    exposure_time: float = nan
    physical_filter: str = ""
    observation_type: str = ""
    lamp: str = ""
    night: str = ""


@dataclass(frozen=True)
class FileDescription:
    """One file as a profile understands it.

    ``damage`` says why a part of it cannot be read; ``datasums`` are those of its detectors' HDUs, if all have one.
    ``images`` say where the pixels of every image HDU lie, ``stamp`` what the file was when its headers were read.
    ``notes`` say what was read otherwise than one may think: levels may not mean what they seem to.
    """

    path: str
    profile: Profile
    rule: str
    exposure: Exposure
    detectors: tuple[Detector, ...]
    damage: str = ""
    datasums: tuple[int, ...] = ()
    images: Mapping[int, ImagePlace] = field(default_factory=dict)
    stamp: FileStamp | None = None
    notes: tuple[str, ...] = ()

    @property
    def camera(self) -> str:
        """Name of the profile."""
        return self.profile.name


def describe(
    headers: FileHeaders, *, profile: Profile, rule: str = "", faults: list[Fault] | None = None
) -> FileDescription:
    """Find exposure, detectors, amplifiers and sections of a file; no pixel is read.

    Parameters
    ----------
    headers : FileHeaders
        All headers of the file.
    profile : Profile
        The camera.
    rule : str
        Why this profile was chosen, for the record.
    faults : list of Fault, optional
        What is wrong with single HDUs (sections outside the image, an amplifier found twice) is added to it, and the
        rest described; such a description is for showing, not for measuring. Without it, all of that is one error.

    Returns
    -------
    FileDescription

    Raises
    ------
    CameraError
        The profile does not fit: no image, no detector or exposure id, a section that is missing or outside the
        image, a detector or amplifier found twice, data sections with pixels in common, an overscan in a data section
        or (where it is subtracted by rows) without all rows of its data, no gain that could be applied.
    ReadError
        A header card that cannot be read, or holds a number that cannot be what it stands for.
    """
    from astropy.io.fits import VerifyError

    reading = Reading(headers.path, profile, [] if faults is None else faults)
    try:
        file = _describe(headers, reading, rule)
    except FlatnormError as error:
        if reading.faults:
            msg = f"{faults_text(headers.path, reading.faults)}; {error}"
            raise CameraError(msg) from error
        raise
    except (VerifyError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        msg = f"{headers.path}: the header does not make sense ({' '.join(str(error).split())})"
        raise ReadError(msg) from error
    if reading.faults and faults is None:
        raise CameraError(faults_text(headers.path, reading.faults))
    return file


def _describe(headers: FileHeaders, reading: Reading, rule: str) -> FileDescription:
    profile, path = reading.profile, headers.path
    hdus, partners = find_partners(headers, reading)
    if not hdus:
        advice = USE_GENERIC if profile.name != "generic" else "describe the file in a profile of your own"
        msg = f"{path}: no image of two dimensions that profile {profile.name} takes for a detector; {advice}"
        raise CameraError(msg)
    groups: dict[int | str, list[HduHeader]] = {}
    for hdu, label in zip(hdus, _known_ids(hdus, profile, path), strict=True):
        groups.setdefault(label, []).append(hdu)
    if profile.layout != "hdu-is-amplifier":
        twice = [label for label, members in groups.items() if len(members) > 1]
        if twice:
            said = f"detector {offenders(twice)} found in more than one HDU"
            reading.wrong(said, advice="correct the rule detector.id")
    found = (_detector(label, members, reading, partners) for label, members in groups.items())
    detectors = tuple(detector for detector in found if detector is not None)
    check_gains(detectors, reading)
    reading.notes.extend(signs_of_raw(hdus, profile))
    return FileDescription(
        path=path,
        profile=profile,
        rule=rule,
        exposure=_exposure(hdus[0], profile, path),
        detectors=detectors,
        damage=headers.damage,
        datasums=_datasums(hdus, headers.places),
        images=headers.places,
        stamp=headers.stamp,
        notes=tuple(reading.notes),
    )


def _datasums(hdus: Sequence[HduHeader], places: Mapping[int, ImagePlace]) -> tuple[int, ...]:
    found = [places[hdu.index].datasum for hdu in hdus if hdu.index in places]
    known = tuple(value for value in found if value is not None)
    return known if len(known) == len(hdus) else ()


def detector_ids(hdus: Sequence[HduHeader], *, profile: Profile, path: str) -> list[int | str | None]:
    """Detector id of each HDU, None where the header does not say."""
    rule = profile.detector.id
    if profile.layout == "plain-images":
        for source in rule.sources:
            found = [replace(rule, sources=(source,)).find(hdu, path=path) for hdu in hdus]
            if None not in found and len(set(map(str, found))) == len(hdus):
                return [_label(value, path) for value in found]
        return [hdu.number for hdu in hdus]
    values = (rule.find(hdu, path=path) for hdu in hdus)
    return [None if value is None else _label(value, path) for value in values]


def _known_ids(hdus: Sequence[HduHeader], profile: Profile, path: str) -> list[int | str]:
    ids = detector_ids(hdus, profile=profile, path=path)
    without = [str(hdu.index) for hdu, label in zip(hdus, ids, strict=True) if label is None]
    if without:
        rule = profile.detector.id
        msg = (
            f"{path}: HDU {offenders(without)}: no detector id ({rule}) as profile {profile.name} wants; {USE_GENERIC}"
        )
        raise CameraError(msg)
    return [label for label in ids if label is not None]


def _label(value: Any, path: str) -> int | str:
    if not isinstance(value, int) or isinstance(value, bool):
        return str(value).strip()
    if not -(2**63) <= value < 2**63:
        msg = f"{path}: the id {value} does not fit into 64 bits; correct the header"
        raise ReadError(msg)
    return value


def _exposure(hdu: HduHeader, profile: Profile, path: str) -> Exposure:
    rules = profile.exposure

    def text(rule: Rule | None) -> str:
        value = rule.find(hdu, path=path) if rule is not None else None
        return "" if value is None else str(value).strip()

    label = rules.id.find(hdu, path=path)
    if label is None:
        msg = f"{path}: no exposure id ({rules.id}) as profile {profile.name} wants; {USE_GENERIC}"
        raise CameraError(msg)
    seconds = number(rules.exposure_time, hdu, path=path) * (1e-3 if rules.exposure_time_unit == "ms" else 1.0)
    if abs(seconds) > _LONGEST:
        msg = f"{path}: an exposure time of {seconds:g} s cannot be ({rules.exposure_time}); correct the header"
        raise ReadError(msg)
    time = _time(hdu, profile, path, seconds)
    night = text(rules.night)
    if len(night) == 8 and night.isdigit():
        night = f"{night[:4]}-{night[4:6]}-{night[6:]}"
    longitude = number(rules.longitude, hdu, path=path)
    if not night and time is not None and isfinite(longitude):
        night = night_of(time, longitude=longitude)
    return Exposure(
        id=_label(label, path),
        time=time,
        exposure_time=seconds,
        physical_filter=text(rules.physical_filter),
        observation_type=text(rules.observation_type),
        lamp=text(rules.lamp),
        night=night,
    )


def _time(hdu: HduHeader, profile: Profile, path: str, seconds: float) -> np.datetime64 | None:
    """Middle of the exposure in UTC; its start or end where the exposure time is not known."""
    rules = profile.exposure
    if rules.time is None:
        return None
    candidates = (replace(rules.time, sources=(source,)).find(hdu, path=path) for source in rules.time.sources)
    time = next((t for t in map(parse_time, candidates) if t is not None), None)
    if time is None:
        return None
    if rules.time_scale is not None:
        time = to_utc(time, scale=str(rules.time_scale.find(hdu, path=path)))
    half = np.timedelta64(round(seconds * 0.5e9) if isfinite(seconds) else 0, "ns")
    return np.datetime64(time + {"start": half, "middle": np.timedelta64(0, "ns"), "end": -half}[rules.time_is])


def _detector(
    label: int | str, hdus: Sequence[HduHeader], reading: Reading, partners: Mapping[int, Partners]
) -> Detector | None:
    """One detector; None when no amplifier of it is left, which then is a fault of the file."""
    profile, path = reading.profile, reading.path
    drafts = [draft for hdu in hdus for draft in read_amplifiers(hdu, reading, partners.get(hdu.index, Partners()))]
    if not drafts:
        return None
    names = [draft.name for draft in drafts]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        said = f"detector {label} has amplifier {offenders(twice)} twice"
        reading.wrong(said, advice="correct the rule amplifiers.name")
    check_sections(drafts, reading)
    trimmed, shape = place_in_trimmed(
        [draft.data for draft in drafts],
        [draft.trimmed for draft in drafts],
        one_image=profile.layout != "hdu-is-amplifier",
    )
    drafts = [draft._replace(trimmed=place) for draft, place in zip(drafts, trimmed, strict=True)]
    place, places = places_in_mosaic(hdus, drafts, shape, profile, path)
    name, kind = (
        rule.find(hdus[0], path=path) if rule is not None else None
        for rule in (profile.detector.name, profile.detector.type)
    )
    return Detector(
        id=label,
        name="" if name is None else str(name),
        type="" if kind is None else str(kind),
        amplifiers=tuple(
            Amplifier(**draft._asdict(), **one._asdict(), to_focal_plane=pixels)
            for draft, (one, pixels) in zip(drafts, places, strict=True)
        ),
        shapes={hdu.index: hdu.shape for hdu in hdus},
        trimmed_shape=shape,
        **place._asdict(),
    )
