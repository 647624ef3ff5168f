"""What is left out of a detector besides saturated pixels: mask images, data quality, and what gets no light."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flatnorm_xr.camera.file_bytes import Unreadable
from flatnorm_xr.camera.geometry import Amplifier, Detector
from flatnorm_xr.camera.headers import FileHeaders
from flatnorm_xr.camera.profiles import Profile
from flatnorm_xr.camera.regions import Region, read_region
from flatnorm_xr.camera.sections import Section
from flatnorm_xr.errors import CameraError, offenders
from flatnorm_xr.measure.kept_images import kept_images, read_images
from flatnorm_xr.measure.mask_bits import bits_of, flagged, flagged_words, named_bits
from flatnorm_xr.measure.packed_masks import PackedMask, pack
from flatnorm_xr.measure.parts import Booleans
from flatnorm_xr.measure.reference import MASKS, Reference, cut_trimmed, load_reference, pixel_sizes
from flatnorm_xr.measure.vignetting import dark_pixels, pixels_of

if TYPE_CHECKING:
    from flatnorm_xr.measure.frames import ReadWords, Verify
    from flatnorm_xr.measure.words import RawImage

__all__ = ["NO_MASKING", "BadPixels", "Masking", "bad_pixels", "load_masking"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Masking:
    """What is left out of every detector.

    Attributes
    ----------
    image : Reference or None
        Mask images.
    bits : tuple of int
        Bits of these that are bad; none: every value but 0 is.
    quality_bits : tuple of int
        The same for data-quality images in the files themselves.
    border : int
        Pixels along the edges of each detector.
    region : Region or None
        Where there is light; what lies outside is left out.
    """

    image: Reference | None = None
    bits: tuple[int, ...] = ()
    quality_bits: tuple[int, ...] = ()
    border: int = 0
    region: Region | None = None


NO_MASKING = Masking()
"""Nothing is left out but saturated pixels and those without a value."""


class BadPixels(NamedTuple):
    """Bad pixels of one amplifier, of its data section's shape; None: none is.

    ``problem`` says why nobody knows them: its data-quality image cannot be read. Empty when they are known.
    """

    pixels: Booleans | None
    problem: str = ""


def load_masking(
    profile: Profile,
    *,
    detectors: Sequence[int | str],
    mask: Any = None,
    mask_bits: Any = None,
    border: int = 0,
    vignetting: Any = None,
) -> Masking:
    """Find out what is left out, from what the profile and the keywords of ``measure`` say; pixels are read later.

    Parameters
    ----------
    profile : Profile
        Its border, vignetting and bits of data quality hold where a keyword says nothing.
    detectors : sequence
        Detectors that will be measured.
    mask : path, DataArray, array, or a mapping of detector to one of these, optional
        Mask images (`load_reference`).
    mask_bits : int, str or a sequence of these, optional
        Bits that are bad (`bits_of`), of the mask images; without mask images of the files' data-quality images,
        instead of the profile's.
    border : int
        Pixels along the detector's edges; the profile's if that is more.
    vignetting : Region, mapping or str, optional
        Where there is light (`read_region`), instead of the profile's; ``"none"``: everywhere.

    Raises
    ------
    ReadError
        A mask file that cannot be read.
    CameraError
        An argument of another kind, a detector without a mask, bits without anything that has them, a name of a bit
        that the mask's header does not have.
    """
    image = load_reference(mask, what="mask", detectors=detectors)
    bits = bits_of(mask_bits)
    if bits and image is None and not profile.mask.only:
        msg = (
            f"measure: mask_bits is given, and there is no mask, nor does profile {profile.name} know data-quality "
            "images (mask.only); pass mask="
        )
        raise CameraError(msg)
    numbers = named_bits(bits, image.files if image is not None else ())
    return Masking(
        image=image,
        bits=numbers if image is not None else (),
        quality_bits=numbers if image is None and numbers else profile.mask.bits,
        border=max(border, profile.border),
        region=profile.vignetting if vignetting is None else read_region(vignetting),
    )


def bad_pixels(
    detector: Detector,
    *,
    masking: Masking,
    profile: Profile,
    words: ReadWords,
    path: str,
    verify: Verify | None = None,
) -> tuple[BadPixels, ...]:
    """Find the pixels of each amplifier of a detector that are left out: mask, data quality, no light.

    Masks are read, and regions computed, once for all exposures whose sections are the same, as far as there is room
    for them, packed, in `flatnorm_xr.measure.reference.MASKS`.

    Parameters
    ----------
    detector : Detector
        Its amplifiers; those of `without_border` for their data sections.
    masking : Masking
        What is left out, but for the border and saturated pixels.
    profile : Profile
        Of the camera.
    words : callable
        HDU number to `RawImage`; called only for data-quality images.
    path : str
        The file, for messages.
    verify : callable, optional
        Says of an HDU of the file what is wrong with its checksums, empty when nothing is. When given, mask files are
        verified, too.

    Returns
    -------
    tuple of BadPixels
        One an amplifier, in the order of the raw image's pixels. The arrays are the caller's to change.

    Raises
    ------
    CameraError
        A mask whose shape does not fit, bits that it does not have, a region where the place of the pixels is not
        known.
    ReadError
        A mask file that cannot be read, or fails its checksums.
    """
    count = len(detector.amplifiers)
    if masking.image is not None or masking.region is not None:
        owner = masking.region if masking.image is None else masking.image.token
        (held,) = MASKS.get(
            [_key(detector, masking)],
            lambda _: [tuple(_constant_masks(detector, masking, profile, path, verify=verify is not None))],
            owner=owner,
        )
        found: list[Booleans | None] = [None if mask is None else mask.unpacked() for mask in held]
    else:
        found = [None] * count
    problems = [""] * count
    for members in _sharing_a_mask(detector):
        for i, quality in _quality(members, detector, masking.quality_bits, words, path, verify):
            if isinstance(quality, str):
                problems[i] = quality
            else:
                found[i] = _either(found[i], quality)
    return tuple(map(BadPixels, found, problems))


def _key(detector: Detector, masking: Masking) -> Hashable:
    """Tell apart what has another constant mask: the mask, the region, and how the detector was read out."""
    in_focal_plane = masking.region is not None and masking.region.units == "mm"
    places = tuple(
        (a.name, a.hdu, a.data, a.trimmed, a.to_focal_plane if in_focal_plane else None) for a in detector.amplifiers
    )
    shapes = tuple(sorted(detector.shapes.items()))
    return str(detector.id), masking.bits, masking.region, places, shapes, detector.trimmed_shape


def _constant_masks(
    detector: Detector, masking: Masking, profile: Profile, path: str, *, verify: bool
) -> Iterator[PackedMask | None]:
    images: Iterable[Booleans | None] = itertools.repeat(None, len(detector.amplifiers))
    if masking.image is not None:
        images = masking.image.images(detector, profile, planes=partial(_mask_planes, masking, verify=verify))
    for amplifier, bad in zip(detector.amplifiers, images, strict=True):
        if masking.region is not None:
            pixels = pixels_of(masking.region, amplifier, detector, path=path)
            bad = _either(bad, dark_pixels(masking.region, pixels, amplifier.data))
        yield pack(bad)


def _mask_planes(masking: Masking, source: FileHeaders | Array, hdus: Sequence[int], *, verify: bool) -> list[Booleans]:
    """Bad pixels of images of a mask file, or of one image."""
    if not isinstance(source, FileHeaders):
        return [flagged(source, masking.bits)]
    assert masking.image is not None

    def bad(hdu: int, raw: RawImage) -> Booleans:
        return flagged_words(raw, (slice(None), slice(None)), masking.bits, where=f"mask {source.path}[{hdu}]")

    if len(source.images) <= len(hdus) or not source.packed:
        return list(read_images(source, hdus, bad, verify=verify))
    held = kept_images(
        MASKS,
        source,
        hdus,
        lambda some: read_images(source, some, lambda hdu, raw: (pack(bad(hdu, raw)),), verify=verify),
        owner=masking.image.token,
    )
    shapes = {hdu.index: hdu.shape for hdu in source.images}
    return [
        np.zeros(shapes[hdu], dtype=np.bool_) if mask is None else mask.unpacked()
        for hdu, (mask,) in zip(hdus, held, strict=True)
    ]


def _either(first: Booleans | None, second: Booleans | None) -> Booleans | None:
    if first is None or second is None:
        return second if first is None else first
    return np.asarray(first | second)


def _sharing_a_mask(detector: Detector) -> list[list[tuple[int, Amplifier]]]:
    """Amplifiers with data-quality images, with their numbers: together those that share one, to read it once."""
    groups: dict[int, list[tuple[int, Amplifier]]] = {}
    for i, amplifier in enumerate(detector.amplifiers):
        if amplifier.mask_hdu is not None:
            groups.setdefault(amplifier.mask_hdu, []).append((i, amplifier))
    return list(groups.values())


def _quality(
    members: Sequence[tuple[int, Amplifier]],
    detector: Detector,
    bits: tuple[int, ...],
    words: ReadWords,
    path: str,
    verify: Verify | None,
) -> Iterator[tuple[int, Booleans | str]]:
    """Bad pixels of each of the amplifiers that share a data-quality image; or why it cannot be read."""
    hdu = members[0][1].mask_hdu
    assert hdu is not None
    where = f"{path}[{hdu}]"
    fault = verify(hdu) if verify is not None else ""
    try:
        raw = None if fault else words(hdu)
    except Unreadable as error:
        raw, fault = None, str(error)
    if raw is None:
        yield from ((i, f"data quality in HDU {hdu}: {fault}") for i, _ in members)
        return
    for i, amplifier in members:
        shape = raw.words.shape
        if shape == detector.shapes[amplifier.hdu]:
            yield i, flagged_words(raw, amplifier.data.slices, bits, where=where)
        elif shape == detector.trimmed_shape and amplifier.trimmed is not None:
            bad = flagged_words(raw, amplifier.trimmed.slices, bits, where=where)
            whole = replace(amplifier, trimmed=_at_the_origin(amplifier.trimmed))
            yield i, np.ascontiguousarray(cut_trimmed(bad, whole))
        else:
            needed = [detector.shapes[amplifier.hdu], *([detector.trimmed_shape] if detector.trimmed_shape else [])]
            sizes = offenders(dict.fromkeys(map(pixel_sizes, needed)))
            said = f"of {pixel_sizes(shape)} pixels, and the detector has {sizes} (raw, trimmed)"
            yield i, f"data quality in HDU {hdu}: {said}"


def _at_the_origin(section: Section) -> Section:
    x, y = min(section.x1, section.x2) - 1, min(section.y1, section.y2) - 1
    return Section(section.x1 - x, section.x2 - x, section.y1 - y, section.y2 - y)
