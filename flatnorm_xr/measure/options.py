"""The keywords of a measurement that say what its levels are: checked, written down, and turned into what is done."""

from __future__ import annotations

import hashlib
import numbers
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flatnorm_xr.camera.file_bytes import FileStamp
from flatnorm_xr.camera.profiles import Profile
from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.measure.clipping import Options
from flatnorm_xr.measure.file_levels import Reduction, file_time
from flatnorm_xr.measure.mask_bits import bits_of
from flatnorm_xr.measure.masks import load_masking
from flatnorm_xr.measure.reference import load_reference

__all__ = ["MeasureOptions", "check_count"]


@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """Keywords of `flatnorm_xr.measure` that change what is in its dataset; they mean what they mean there."""

    statistic: str
    clip: float
    iterations: int
    saturation: float | None
    edge_strips: int
    bias: Any
    mask: Any
    mask_bits: Any
    border: int
    vignetting: Any
    common_mask: bool
    checksum: bool
    verify_checksum: bool
    strict: bool

    def __post_init__(self) -> None:
        """Refuse what cannot be, before any file is opened; numbers become plain ones of Python, for JSON."""
        clipping = Options.checked("measure", self.statistic, self.clip, self.iterations)
        saturation = self.saturation
        if saturation is not None and (
            not isinstance(saturation, numbers.Real) or isinstance(saturation, bool) or not saturation > 0
        ):
            msg = f"measure: saturation must be a positive number of raw adu, not {saturation!r}"
            raise FlatnormError(msg)
        plain = {
            "statistic": clipping.statistic,
            "clip": clipping.clip,
            "iterations": clipping.passes,
            "saturation": None if saturation is None else float(saturation),
            "border": check_count("border", self.border, of="pixels", least=0),
            "edge_strips": check_count("edge_strips", self.edge_strips, of="pixels", least=0),
            "mask_bits": list(bits_of(self.mask_bits)),
            **{name: bool(getattr(self, name)) for name in ("common_mask", "checksum", "verify_checksum", "strict")},
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    def reduction(self, profile: Profile, detectors: Sequence[int | str]) -> Reduction:
        """Make what is done to the pixels of these detectors; reads the headers of the bias and the mask."""
        return Reduction(
            statistic=self.statistic,
            clip=self.clip,
            iterations=self.iterations,
            bias=load_reference(self.bias, what="bias", detectors=detectors),
            masking=load_masking(
                profile,
                detectors=detectors,
                mask=self.mask,
                mask_bits=self.mask_bits,
                border=self.border,
                vignetting=self.vignetting,
            ),
            saturation=self.saturation,
            edge_strips=self.edge_strips,
            checksum=self.checksum,
            verify_checksum=self.verify_checksum,
        )

    def configuration(self, profile: Profile) -> dict[str, Any]:
        """Write down all that decided the levels, for JSON: the keywords, and which profile, bias and mask these were.

        ``content`` tells a profile, an image or a file from another of the same name: sha256 of the first two, size and
        time of change of a file.
        """
        keywords = {name: getattr(self, name) for name in self.__dataclass_fields__}
        keywords |= {name: _each_source(keywords[name], _name_of) for name in ("bias", "mask")}
        keywords["mask_bits"] = self.mask_bits or None
        keywords["vignetting"] = None if self.vignetting is None else str(self.vignetting)
        content = {
            "profile": _sha256(repr(profile).encode()),
            "bias": _each_source(self.bias, _content_of),
            "mask": _each_source(self.mask, _content_of),
        }
        return {"camera": profile.name, **keywords, "content": content}


def check_count(name: str, given: object, *, of: str, least: int) -> int:
    """Refuse what is no whole number, or too small a one.

    Raises
    ------
    FlatnormError
        Naming the keyword of ``measure``.
    """
    if not isinstance(given, numbers.Integral) or isinstance(given, bool) or given < least:
        msg = f"measure: {name} must be a number of {of}, {least} or more, not {given!r}"
        raise FlatnormError(msg)
    return int(given)


def _each_source(given: Any, say: Callable[[Any], str]) -> Any:
    """Say something of a bias or mask, or of that of each detector; None when there is none."""
    if isinstance(given, Mapping):
        return {str(key): say(value) for key, value in given.items()}
    return None if given is None else say(given)


def _name_of(source: Any) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else type(source).__name__


def _content_of(source: Any) -> str:
    if isinstance(source, str | os.PathLike):
        stamp = FileStamp.of(os.stat(source))
        return f"{stamp.size} bytes of {file_time(stamp.mtime_ns)}"
    image = np.ascontiguousarray(getattr(source, "values", source))
    return _sha256(f"{image.dtype.str} {image.shape}".encode(), image.view(np.uint8).data)


def _sha256(*pieces: bytes | memoryview) -> str:
    """Give the first 64 bits of the sha256, in hexadecimal: enough to see that something is another."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()[:16]
