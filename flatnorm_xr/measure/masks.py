"""What is left out of a detector besides saturated pixels: masks, data quality, what gets no light, and the border."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flatnorm_xr.camera.file_bytes import Unreadable
from flatnorm_xr.camera.geometry import Amplifier, Detector
from flatnorm_xr.camera.headers import FileHeaders
from flatnorm_xr.camera.places import Affine, to_trimmed
from flatnorm_xr.camera.profiles import Profile
from flatnorm_xr.camera.regions import Region, read_region
from flatnorm_xr.camera.sections import Section
from flatnorm_xr.errors import CameraError, offenders
from flatnorm_xr.measure.mask_bits import bits_of, flagged, flagged_words, named_bits
from flatnorm_xr.measure.packed_masks import MaskStore, PackedMask, pack
from flatnorm_xr.measure.reference import Reference, cut_trimmed, load_reference, pixel_sizes

if TYPE_CHECKING:
    from flatnorm_xr.measure.words import RawImage

__all__ = ["EVERYTHING", "BadPixels", "Masking", "bad_pixels", "dark_pixels", "load_masking", "without_border"]

Array = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]
Words = Callable[[int], "RawImage"]

_STORE = MaskStore(128 << 20)
"""Masks that serve every exposure, of this process: reading an image of 16 megapixels anew takes 30 ms or more."""

_PACKED = (".gz", ".bz2", ".xz", ".Z", ".zst", ".zip")
"""Ends of the names of files that are packed as a whole."""

_BLOCK = 64
"""Pixels along the side of a block that is looked at as a whole when it lies far from where the light ends."""


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


EVERYTHING = Masking()
"""Nothing is left out."""


class BadPixels(NamedTuple):
    """Bad pixels of one amplifier, of its data section's shape; None: none is.

    ``problem`` says why nobody knows them: its data-quality image cannot be read. Empty when they are known.
    """

    pixels: Flags | None
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
    detector: Detector, *, masking: Masking, profile: Profile, words: Words, path: str
) -> tuple[BadPixels, ...]:
    """Find the pixels of each amplifier of a detector that are left out: mask, data quality, no light.

    Masks are read, and regions computed, once for all exposures whose sections are the same; they are kept, packed, up
    to 128 MB.

    Parameters
    ----------
    detector : Detector
        Its amplifiers; those of `without_border` for their data sections.
    masking : Masking
        What is left out, but for the border and saturated pixels.
    profile : Profile
        Of the camera.
    words : callable
        HDU number to `RawImage`; called only for data-quality images. What it gave before is used no more.
    path : str
        The file, for messages.

    Returns
    -------
    tuple of BadPixels
        One an amplifier, in the order of the raw image's pixels. The arrays are the caller's to change.

    Raises
    ------
    CameraError
        A mask whose shape does not fit, bits that it does not have, a region where the place of the pixels is not
        known.
    """
    count = len(detector.amplifiers)
    if masking.image is not None or masking.region is not None:
        held = _STORE.get(_key(detector, masking), lambda: tuple(_constant_masks(detector, masking, profile, path)))
        found: list[Flags | None] = [None if mask is None else mask.unpacked() for mask in held]
    else:
        found = [None] * count
    problems = [""] * count
    for members in _sharing_a_mask(detector):
        for i, quality in _quality(members, detector, masking.quality_bits, words, path):
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
    image = None if masking.image is None else (masking.image.token, masking.bits)
    shapes = tuple(sorted(detector.shapes.items()))
    return str(detector.id), image, masking.region, places, shapes, detector.trimmed_shape


def _constant_masks(detector: Detector, masking: Masking, profile: Profile, path: str) -> Iterator[PackedMask | None]:
    images: Iterable[Flags | None] = itertools.repeat(None, len(detector.amplifiers))
    if masking.image is not None:
        images = masking.image.images(detector, profile, planes=partial(_mask_planes, masking))
    for amplifier, bad in zip(detector.amplifiers, images, strict=True):
        if masking.region is not None:
            pixels = _pixels_of(masking.region, amplifier, detector, path)
            bad = _either(bad, dark_pixels(masking.region, pixels, amplifier.data))
        yield pack(bad)


def _mask_planes(masking: Masking, source: FileHeaders | Array, hdus: Sequence[int]) -> list[Flags]:
    """Bad pixels of images of a mask file, or of one image."""
    if not isinstance(source, FileHeaders):
        return [flagged(source, masking.bits)]
    if len(source.images) <= len(hdus) or not source.path.endswith(_PACKED):
        return list(_read_planes(source, hdus, masking.bits))
    # A packed file is read from its beginning, so that it is read once and as a whole.
    assert masking.image is not None
    every = [hdu.index for hdu in source.images]
    held = _STORE.get(
        (masking.image.token, masking.bits, source.path),
        lambda: tuple(map(pack, _read_planes(source, every, masking.bits))),
    )
    found = {hdu.index: (hdu.shape, mask) for hdu, mask in zip(source.images, held, strict=True)}
    return [
        np.zeros(shape, dtype=np.bool_) if mask is None else mask.unpacked()
        for shape, mask in (found[hdu] for hdu in hdus)
    ]


def _read_planes(source: FileHeaders, hdus: Sequence[int], bits: tuple[int, ...]) -> Iterator[Flags]:
    from flatnorm_xr.measure.words import open_words

    with open_words(source) as words:
        for hdu in hdus:
            yield flagged_words(words(hdu), (slice(None), slice(None)), bits, where=f"mask {source.path}[{hdu}]")
            words.release()


def _either(first: Flags | None, second: Flags | None) -> Flags | None:
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
    members: Sequence[tuple[int, Amplifier]], detector: Detector, bits: tuple[int, ...], words: Words, path: str
) -> Iterator[tuple[int, Flags | str]]:
    """Bad pixels of each of the amplifiers that share a data-quality image; or why it cannot be read."""
    hdu = members[0][1].mask_hdu
    assert hdu is not None
    where = f"{path}[{hdu}]"
    try:
        raw = words(hdu)
    except Unreadable as error:
        yield from ((i, f"data quality in HDU {hdu}: {error}") for i, _ in members)
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
            msg = (
                f"measure: {where}: data quality of {pixel_sizes(shape)} pixels for detector {detector.id}, which has "
                f"{offenders(dict.fromkeys(map(pixel_sizes, needed)))} (raw, trimmed); correct mask.only or mask.pair "
                "in the profile"
            )
            raise CameraError(msg)


def _at_the_origin(section: Section) -> Section:
    x, y = min(section.x1, section.x2) - 1, min(section.y1, section.y2) - 1
    return Section(section.x1 - x, section.x2 - x, section.y1 - y, section.y2 - y)


def _pixels_of(region: Region, amplifier: Amplifier, detector: Detector, path: str) -> Affine:
    pixels = amplifier.to_focal_plane if region.units == "mm" else to_trimmed(amplifier)
    if pixels is None:
        name = f" amplifier {amplifier.name}" if amplifier.name else ""
        where = "in the focal plane" if region.units == "mm" else "in the trimmed image"
        msg = (
            f"measure: {path}: vignetting in {region.units} needs the places of pixels {where}, and the header does "
            f'not say those of detector {detector.id}{name}; correct the profile, or pass vignetting="none"'
        )
        raise CameraError(msg)
    return pixels


def dark_pixels(region: Region, pixels: Affine, data: Section) -> Flags | None:
    """Find the pixels whose centres lie outside a region.

    Parameters
    ----------
    region : Region
        Where there is light.
    pixels : Affine
        Pixels of the HDU (column and row, from 1) onto the region's plane.
    data : Section
        Of the HDU; the pixels that are asked for.

    Returns
    -------
    array of bool, (rows, columns), or None
        In the order of the raw image; None when all pixels lie inside.
    """
    (rows, columns), (first_row, first_column) = data.shape, (one.start for one in data.slices)
    tops, lefts = np.arange(0, rows, _BLOCK), np.arange(0, columns, _BLOCK)
    heights, widths = np.minimum(_BLOCK, rows - tops), np.minimum(_BLOCK, columns - lefts)
    x, y = pixels(
        (first_column + lefts + (widths + 1) / 2)[np.newaxis, :], (first_row + tops + (heights + 1) / 2)[:, np.newaxis]
    )
    dark = ~region.inside(x, y)
    half = (_BLOCK - 1) / 2
    reach = half * np.hypot(abs(pixels.x_column) + abs(pixels.x_row), abs(pixels.y_column) + abs(pixels.y_row))
    mixed = region.distance_to_boundary(x, y) <= reach * (1 + 1e-6)
    if not dark.any() and not mixed.any():
        return None
    found = np.repeat(np.repeat(dark, heights, axis=0), widths, axis=1)
    for i, j in zip(*np.nonzero(mixed), strict=True):
        down = slice(tops[i], tops[i] + heights[i])
        across = slice(lefts[j], lefts[j] + widths[j])
        column = np.arange(across.start, across.stop, dtype=np.float64) + first_column + 1
        row = np.arange(down.start, down.stop, dtype=np.float64) + first_row + 1
        found[down, across] = ~region.inside(*pixels(column[np.newaxis, :], row[:, np.newaxis]))
    return found if found.any() else None


def without_border(detector: Detector, *, border: int, profile: Profile, path: str) -> tuple[Amplifier | None, ...]:
    """Cut the border off the sections of each amplifier: the edges of the detector, not those of the amplifiers.

    Parameters
    ----------
    detector : Detector
        Its amplifiers need places in the trimmed image, unless ``border`` is 0.
    border : int
        Pixels of the trimmed image.
    profile : Profile
        Kind of overscan: one that has an HDU of its own and is subtracted row by row loses the same rows.
    path : str
        The file, for messages.

    Returns
    -------
    tuple of Amplifier or None
        With smaller ``data`` and ``trimmed``; None where nothing is left. ``trimmed`` counts pixels of the same trimmed
        image, so that masks and biases are cut alike.

    Raises
    ------
    CameraError
        The places are not known.
    """
    if border == 0:
        return detector.amplifiers
    if any(amplifier.trimmed is None for amplifier in detector.amplifiers):
        msg = (
            f"{path}: border {border} needs the places of the amplifiers in detector {detector.id}, and its sections "
            "do not say them; correct amplifiers.trimmed in the profile, or use border 0"
        )
        raise CameraError(msg)
    return tuple(_inner(a, detector.trimmed_shape, border, profile.overscan) for a in detector.amplifiers)


class _Ends(NamedTuple):
    """Pixels to cut off before the first and after the last of a range, which counts upwards."""

    low: int
    high: int


def _inner(amplifier: Amplifier, shape: tuple[int, ...], border: int, overscan: str) -> Amplifier | None:
    assert amplifier.trimmed is not None
    places = amplifier.trimmed.slices
    rows, columns = (
        _Ends(max(border - place.start, 0), max(place.stop - (size - border), 0))
        for place, size in zip(places, shape, strict=True)
    )
    if any(sum(ends) >= place.stop - place.start for ends, place in zip((rows, columns), places, strict=True)):
        return None
    trimmed = _cut(amplifier.trimmed, rows, columns)
    if amplifier.data.flip_y != amplifier.trimmed.flip_y:
        rows = _Ends(rows.high, rows.low)
    if amplifier.data.flip_x != amplifier.trimmed.flip_x:
        columns = _Ends(columns.high, columns.low)
    beside = amplifier.overscan
    if beside is not None and amplifier.overscan_hdu is not None and overscan == "median-per-row":
        beside = _cut(beside, rows, _Ends(0, 0)) if beside.shape[0] == amplifier.data.shape[0] else beside
    return replace(amplifier, data=_cut(amplifier.data, rows, columns), trimmed=trimmed, overscan=beside)


def _cut(section: Section, rows: _Ends, columns: _Ends) -> Section:
    y1, y2 = _shorter(section.y1, section.y2, rows)
    x1, x2 = _shorter(section.x1, section.x2, columns)
    return Section(x1, x2, y1, y2)


def _shorter(first: int, last: int, ends: _Ends) -> tuple[int, int]:
    if first > last:
        return first - ends.high, last + ends.low
    return first + ends.low, last - ends.high
