"""Camera profiles: what a camera's files look like, loaded from YAML and checked.

`KEYS` lists every key a profile may have. A *rule* says where a value is: a header keyword (``CCDNUM``), a text with
keywords in it (``"{RAFTBAY}_{CCDSLOT}"``), a literal number or ``"[section]"``, a list of these (the first that is
there), or a mapping ``{key: ..., match: regex, format: "ccd{}", type: integer}``. In rules for amplifiers ``{amp}``
is the amplifier's name. A keyword that an extension lacks is looked up in the primary header.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from flatnorm_xr.camera.headers import FileHeaders, HduHeader
from flatnorm_xr.camera.keys import KEYS, Key, Partner, checked_values
from flatnorm_xr.camera.plain_yaml import read_plain_yaml
from flatnorm_xr.camera.regions import Region, read_region
from flatnorm_xr.camera.rules import Match, Rule, match_all
from flatnorm_xr.errors import CameraError, offenders

__all__ = ["KEYS", "Key", "Profile", "load_profile", "packaged_profiles", "recognise"]

FALLBACKS = ("mosaicv1", "generic")
"""Profiles that are looked at, in this order, where no camera of its own name fits."""

_FOLDER = Path(__file__).parent / "profiles"

UNRECOGNISED = "no other profile fits"
"""Why a file is taken for ``generic``."""


@dataclass(frozen=True)
class ExposureRules:
    """What a profile says of the exposure."""

    id: Rule
    time: Rule | None = None
    time_is: str = "start"
    time_scale: Rule | None = None
    exposure_time: Rule | None = None
    exposure_time_unit: str = "s"
    physical_filter: Rule | None = None
    observation_type: Rule | None = None
    lamp: Rule | None = None
    night: Rule | None = None
    longitude: Rule | None = None


@dataclass(frozen=True)
class PositionRules:
    """Where a profile finds the detector's place in the focal plane."""

    section: Rule | None = None
    size: Rule | None = None
    wcs: str | None = None
    origin: tuple[float, ...] = (0.0, 0.0)
    pixel_size: float | None = None

    @property
    def known(self) -> bool:
        """Whether the profile says it at all."""
        return self.pixel_size is not None and (self.section is not None or self.wcs is not None)


@dataclass(frozen=True)
class DetectorRules:
    """What a profile says of detectors."""

    id: Rule
    name: Rule | None = None
    type: Rule | None = None
    only: Match = ()
    skip: Match = ()
    binning: Rule | None = None


@dataclass(frozen=True)
class AmplifierRules:
    """What a profile says of amplifiers."""

    names: tuple[str, ...] = ()
    name: Rule | None = None
    data: Rule | None = None
    overscan: Rule | None = None
    trimmed: Rule | None = None
    gain: Rule | None = None
    read_noise: Rule | None = None
    saturation: Rule | None = None
    gain_placeholders: tuple[float, ...] = (0.0,)
    unbinned: tuple[str, ...] = ("trimmed",)
    margins: Mapping[str, Rule] = field(default_factory=dict)
    overscan_hdu: Partner | None = None
    each: Mapping[str, Mapping[str, Rule]] = field(default_factory=dict)

    def rule(self, what: str, amplifier: str) -> Rule | None:
        """Rule for one of data, overscan, trimmed, gain, read_noise, saturation of one amplifier."""
        own = self.each[amplifier].get(what) if amplifier in self.each else None
        return own if own is not None else getattr(self, what)


@dataclass(frozen=True)
class MaskRules:
    """What a profile says of HDUs that hold data quality.

    ``bits`` are the numbers of the bits that are bad; empty: any value but 0 is. ``optional``: a file may have none.
    """

    only: Match = ()
    pair: Rule | None = None
    optional: bool = False
    bits: tuple[int, ...] = ()


@dataclass(frozen=True)
class Profile:
    """A camera: how to recognise its files, and where they say what."""

    name: str
    layout: str
    exposure: ExposureRules
    detector: DetectorRules
    position: PositionRules
    amplifiers: AmplifierRules
    title: str = ""
    recognise: tuple[Match, ...] = ()
    overscan: str = "none"
    apply_gain: bool = False
    border: int = 0
    mask: MaskRules = field(default_factory=MaskRules)
    vignetting: Region | None = None

    @property
    def has_amplifiers(self) -> bool:
        """Whether detectors have named amplifiers."""
        return self.layout != "plain-images"

    @property
    def units(self) -> str:
        """Units of the levels."""
        return "electron" if self.apply_gain else "adu"


def packaged_profiles() -> list[str]:
    """Names of the profiles that come with the package; last those that many cameras fit."""
    return list(_packaged())


@cache
def _packaged() -> tuple[str, ...]:
    names = (path.stem for path in _FOLDER.glob("*.yaml"))
    return tuple(sorted(names, key=lambda name: (FALLBACKS.index(name) if name in FALLBACKS else -1, name)))


def load_profile(name_or_path: str | Path | Profile) -> Profile:
    """Load a camera profile.

    Parameters
    ----------
    name_or_path : str, Path or Profile
        Name of a packaged profile (`packaged_profiles`), path of a YAML file, or a profile already loaded.

    Returns
    -------
    Profile

    Raises
    ------
    CameraError
        There is no such profile, or it has unknown or missing keys or values of a wrong type: all of them in one
        error, with file, line and what is allowed.

    Examples
    --------
    >>> load_profile("decam").amplifiers.names
    ('A', 'B')
    """
    if isinstance(name_or_path, Profile):
        return name_or_path
    packaged = packaged_profiles()
    if not isinstance(name_or_path, str | os.PathLike):
        msg = (
            f"camera: {name_or_path!r} must be the name of a profile ({', '.join(packaged)}) or the path of a YAML file"
        )
        raise CameraError(msg)
    if str(name_or_path) in packaged:
        return _load(_FOLDER / f"{name_or_path}.yaml")
    path = Path(name_or_path)
    if not path.is_file():
        msg = f"camera: {str(name_or_path)!r} is neither a packaged profile ({', '.join(packaged)}) nor a YAML file"
        raise CameraError(msg)
    return _parse(path)


@cache
def _load(path: Path) -> Profile:
    return _parse(path)


def recognise(headers: FileHeaders) -> tuple[Profile, str]:
    """Find the packaged profile that fits a file.

    Parameters
    ----------
    headers : FileHeaders
        The primary header and the first image's are looked at.

    Returns
    -------
    profile : Profile
        ``generic`` when no other fits.
    rule : str
        Why.
    """
    for name in _packaged():
        profile = _load(_FOLDER / f"{name}.yaml")
        rule = why_recognised(profile, headers)
        if rule:
            return profile, rule
    return _load(_FOLDER / "generic.yaml"), UNRECOGNISED


def why_recognised(profile: Profile, headers: FileHeaders) -> str:
    """Say which alternative of ``recognise`` fits a file; empty when none does."""
    for alternative in profile.recognise:
        for hdu in (*headers.hdus[:1], *headers.images[:1]):
            if match_all(alternative, hdu):
                return ", ".join(_reason(key, regex, hdu) for key, regex in alternative)
    return ""


def _reason(key: str, regex: str | None, hdu: HduHeader) -> str:
    return f"there is no {key}" if regex is None else f"{key} = {hdu.get(key)!r} matches {regex!r}"


def _parse(path: Path) -> Profile:
    problems: list[str] = []
    content, lines = read_plain_yaml(path, problems)
    values = checked_values(content, lines, problems)
    problems += [f"{lines.get(key, '')}{key}: {said}" for key, said in _contradictions(values)]
    if problems:
        msg = f"camera profile {path}: {offenders(problems, show=len(problems))}".replace("\n", " ")
        raise CameraError(msg)
    return _build(values)


def _contradictions(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Keys that do not go together, and why; a key that could not be read is no part of any."""
    yield from _contradictions_of_layout(values)
    given = {key for key, value in values.items() if value}
    if {"amplifiers.margins", "amplifiers.data"} <= given:
        yield "amplifiers.margins", "amplifiers.data says too where the data are; give one"
    if {"position.wcs", "position.section"} <= given:
        yield "detector.position.wcs", "section says too where detectors are; give one"
    if {"position.wcs", "position.section"} & given and not values.get("position.pixel_size", True):
        yield "detector.position", "needs pixel_size, in mm"
    if "mask.pair" in given and not values.get("mask.only", True):
        yield "mask.pair", "needs mask.only, which says what HDUs are masks"
    if values.get("mask.optional") and not values.get("mask.only", True):
        yield "mask.optional", "needs mask.only, which says what HDUs are masks"
    region: dict[str, Any] = {key: values.get(f"vignetting.{key}") for key in ("circle", "polygon", "units")}
    try:
        if None not in region.values():
            _region(**region)
    except CameraError as error:
        yield "vignetting", str(error).removeprefix("vignetting: ")


def _contradictions_of_layout(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    layout = values.get("layout")
    each, names, name = (values.get(f"amplifiers.{key}") for key in ("each", "names", "name"))
    if each and names:
        yield "amplifiers.each", "amplifiers.names names the amplifiers too; give one"
    unread = not {"amplifiers.each", "amplifiers.names", "amplifiers.name"} <= set(values)
    if layout == "hdu-is-detector" and not (names or each or unread):
        yield "layout", "hdu-is-detector needs amplifiers.names or amplifiers.each (or is it plain-images?)"
    if layout == "hdu-is-amplifier" and not unread and (name is None or names or each):
        yield "layout", "hdu-is-amplifier needs amplifiers.name, and neither names nor each"
    if layout == "plain-images" and (names or name or each):
        yield "layout", "plain-images has no named amplifiers; use hdu-is-detector"


def _build(values: dict[str, Any]) -> Profile:
    def part(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}

    if values["amplifiers.each"]:
        values["amplifiers.names"] = tuple(values["amplifiers.each"])
    return Profile(
        exposure=ExposureRules(**part("exposure.")),
        detector=DetectorRules(**part("detector.")),
        position=PositionRules(**part("position.")),
        amplifiers=AmplifierRules(**part("amplifiers.")),
        mask=MaskRules(**part("mask.")),
        vignetting=_region(**part("vignetting.")),
        **{name: value for name, value in values.items() if "." not in name},
    )


def _region(*, circle: tuple[float, ...], polygon: tuple[tuple[float, float], ...], units: str) -> Region | None:
    if not circle and not polygon:
        return None
    return read_region({"circle": circle or None, "polygon": polygon, "units": units})
