"""Signs in the headers of what is taken for a processed image that it is raw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flatnorm_xr.camera.headers import HduHeader
from flatnorm_xr.camera.profiles import Profile
from flatnorm_xr.camera.sections import Section, parse_section
from flatnorm_xr.errors import CameraError, offenders

__all__ = ["signs_of_raw"]

_OVERSCANS = ("BIASSEC", "BIASSECA")
_DATA = ("DATASEC", "TRIMSEC")


def signs_of_raw(hdus: Sequence[HduHeader], profile: Profile) -> Iterator[str]:
    """Say which HDUs have an overscan, where the profile knows of none.

    Pipelines leave the keywords behind: only an overscan inside the image, or data that are less than it, count.

    Parameters
    ----------
    hdus : sequence of HduHeader
        Images that are taken for detectors.
    profile : Profile
        Only one of plain images, without overscan and margins, is looked at.
    """
    rules = profile.amplifiers
    if profile.layout != "plain-images" or profile.overscan != "none" or rules.margins or rules.data is not None:
        return
    found: dict[str, list[int]] = {}
    for hdu in hdus:
        for key in (*_OVERSCANS, *_DATA):
            section = _section(hdu, key)
            if section is None or not section.lies_inside(hdu.shape):
                continue
            if key in _OVERSCANS or section.shape != hdu.shape:
                found.setdefault(key, []).append(hdu.index)
                break
    for key, indices in found.items():
        what = "an overscan" if key in _OVERSCANS else "less than the whole image"
        yield (
            f"{key} names {what}, so the file may be raw; no overscan is subtracted and nothing cut off "
            f"(HDU {offenders(indices)})"
        )


def _section(hdu: HduHeader, key: str) -> Section | None:
    value = hdu.get(key)
    try:
        return parse_section(value) if isinstance(value, str) else None
    except CameraError:
        return None
