"""Bias images and bad-pixel masks: found for a detector, and cut like its frames."""

from __future__ import annotations

import os
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from flatnorm_xr.camera.amplifiers import images_of_light
from flatnorm_xr.camera.file_bytes import Unreadable
from flatnorm_xr.camera.geometry import Amplifier, Detector, detector_ids
from flatnorm_xr.camera.headers import FileHeaders, HduHeader, read_headers
from flatnorm_xr.camera.profiles import Profile
from flatnorm_xr.errors import CameraError, ReadError, offenders, warn
from flatnorm_xr.measure.kept_images import ImageStore, kept_images, read_images
from flatnorm_xr.measure.overscan import overscan_level
from flatnorm_xr.measure.packed_masks import PackedMask
from flatnorm_xr.measure.parts import Part, raw_values

if TYPE_CHECKING:
    from flatnorm_xr.measure.words import RawImage

__all__ = ["BIASES", "MASKS", "Planes", "Reference", "cut_trimmed", "load_reference", "pixel_sizes"]

Array = npt.NDArray[Any]
Planes = Callable[[FileHeaders | Array, Sequence[int]], Sequence[Array]]

# These two are of the whole process: a reference goes to a worker with every file, each time as a new object.
BIASES: ImageStore[Array] = ImageStore(130 << 20, lambda image: image.nbytes)
"""Bias images, in float32 two of 16 megapixels or four of 8: those of large cameras would take gigabytes."""

MASKS: ImageStore[tuple[PackedMask | None, ...]] = ImageStore(
    128 << 20, lambda masks: sum(mask.nbytes for mask in masks if mask is not None)
)
"""Masks, packed: those of 200 detectors of 16 megapixels with 1 % of bad pixels take a quarter of it."""


@dataclass(frozen=True)
class Reference:
    """A bias or a mask: for each detector the file, or the image, that has it.

    Images are either as the raw file has them (overscan and all), or of the trimmed detector. ``token`` tells it from
    every other, also after it went to another process: what was read of it may be kept under that name.
    """

    what: str
    sources: Mapping[int | str, FileHeaders | Array]
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def files(self) -> list[FileHeaders]:
        """Headers of the files among the sources, each once."""
        found = (source for source in self.sources.values() if isinstance(source, FileHeaders))
        return list({headers.path: headers for headers in found}.values())

    def images(
        self, detector: Detector, profile: Profile, *, planes: Planes | None = None, verify: bool = False
    ) -> Iterator[Array]:
        """One array for each amplifier, in the order of the pixels of the raw frame; not to be written to.

        From a raw bias its own overscan is subtracted. Images of files are kept as far as there is room.

        Parameters
        ----------
        detector : Detector
            Its sections are cut out.
        profile : Profile
            How HDUs are named, and what kind of overscan a bias has.
        planes : callable, optional
            Gives the arrays of HDUs of a file by their numbers, or that of an image; physical values when not given,
            NaN where a file has none.
        verify : bool
            Without ``planes``: compare the bytes that are read with the header's checksums.

        Raises
        ------
        CameraError
            The detector is not there, or shapes do not fit.
        ReadError
            The file cannot be read, or fails its checksums.
        """
        source, planes = self.sources[detector.id], planes or partial(_physical_values, token=self.token, verify=verify)
        if isinstance(source, FileHeaders):
            hdus = _hdus_of(source, detector, profile, self.what)
            where = f"{self.what} {source.path}"
            names = [_amplifier_name(hdu, profile, source.path) for hdu in hdus]
            try:
                found = planes(source, [hdu.index for hdu in hdus])
            except Unreadable as error:
                msg = f"measure: {where}: cannot be read ({error})"
                raise ReadError(msg) from error
            yield from self._cut(
                dict(zip(names, found, strict=True)), detector, profile, f"{where}, detector {detector.id}"
            )
        else:
            (plane,) = planes(source, [])
            yield from self._cut({None: plane}, detector, profile, f"{self.what} of detector {detector.id}")

    def _cut(
        self, planes: Mapping[str | None, Array], detector: Detector, profile: Profile, where: str
    ) -> Iterator[Array]:
        shapes = [plane.shape for plane in planes.values()]
        if len(shapes) == 1 and shapes[0] == detector.trimmed_shape and not _is_raw(planes, detector):
            (plane,) = planes.values()
            for amplifier in detector.amplifiers:
                yield cut_trimmed(plane, amplifier)
        elif _is_raw(planes, detector):
            for amplifier in detector.amplifiers:
                plane = _plane_of(planes, amplifier)
                yield self._raw(plane, amplifier, profile, where)
        else:
            raws = sorted({pixel_sizes(shape) for shape in detector.shapes.values()})
            trimmed = f", or {pixel_sizes(detector.trimmed_shape)} trimmed" if detector.trimmed_shape else ""
            found = offenders(map(pixel_sizes, sorted(set(shapes))))
            msg = (
                f"measure: {where}: has {len(shapes)} image(s) of {found} pixels; the frame needs "
                f"{len(detector.shapes)} of {offenders(raws)} as the raw file has them{trimmed}"
            )
            raise CameraError(msg)

    def _raw(self, plane: Array, amplifier: Amplifier, profile: Profile, where: str) -> Array:
        image = plane[amplifier.data.slices]
        # what has its overscan in HDUs of its own is raw with these only, and then has too many images
        has_overscan = amplifier.overscan is not None and amplifier.overscan_hdu is None and profile.overscan != "none"
        if self.what == "mask" or not has_overscan:
            return image
        return image - overscan_level(plane, amplifier, kind=profile.overscan, where=where)


def _physical_values(source: FileHeaders | Array, hdus: Sequence[int], *, token: str, verify: bool) -> Sequence[Array]:
    if not isinstance(source, FileHeaders):
        return [source]
    return kept_images(
        BIASES,
        source,
        hdus,
        lambda some: read_images(source, some, lambda _, raw: _values(raw), verify=verify),
        owner=token,
    )


def _values(raw: RawImage) -> Array:
    """Values of the words: in float32 where it holds them exactly, and in the memory of the words where they fit."""
    words = raw.words
    if words.dtype.kind == "f" and raw.zero == 0 and raw.scale == 1:
        values = words if words.dtype.isnative else words.byteswap(inplace=True).view(words.dtype.newbyteorder("="))
    elif words.dtype.kind in "iu" and words.dtype.itemsize <= 2 and raw.scale == 1 and raw.zero in (0, 1 << 15):
        values = words.astype(np.float32)
        values += np.float32(raw.zero)
    else:
        values = raw_values(Part(words, zero=raw.zero, scale=raw.scale))
    if raw.blank is not None and words.dtype.kind in "iu":
        values[words == raw.blank] = np.nan
    values.flags.writeable = False  # many frames share it
    return values


def cut_trimmed(plane: Array, amplifier: Amplifier) -> Array:
    """Cut an amplifier from the trimmed detector, turned as the raw frame has it."""
    if amplifier.trimmed is None:  # the detector then has no trimmed shape either
        return plane
    image = plane[amplifier.trimmed.slices]
    if amplifier.trimmed.flip_y != amplifier.data.flip_y:
        image = image[::-1]
    return image[:, ::-1] if amplifier.trimmed.flip_x != amplifier.data.flip_x else image


def _is_raw(planes: Mapping[str | None, Array], detector: Detector) -> bool:
    if len(detector.shapes) == 1:
        return len(planes) == 1 and next(iter(planes.values())).shape == next(iter(detector.shapes.values()))
    return all(
        amplifier.name in planes and planes[amplifier.name].shape == detector.shapes[amplifier.hdu]
        for amplifier in detector.amplifiers
    )


def _plane_of(planes: Mapping[str | None, Array], amplifier: Amplifier) -> Array:
    return planes[amplifier.name] if amplifier.name in planes else next(iter(planes.values()))


def pixel_sizes(shape: Sequence[int]) -> str:
    """Write a shape (rows, columns) as people read it, columns first: ``2048 x 4096``."""
    return " x ".join(str(n) for n in reversed(shape))


def _hdus_of(headers: FileHeaders, detector: Detector, profile: Profile, what: str) -> Sequence[HduHeader]:
    """HDUs of a reference file that belong to a detector: by the profile's id, by EXTNAME, or the only image.

    The only image must not say that it is of another; where an id may be just the number of the HDU, it says nothing.
    """
    images = headers.images
    # numbers of plain images are those among images of light; a file of masks alone has none
    light = images_of_light(headers, profile) or images
    labels = detector_ids(light, profile=profile, path=headers.path)
    by_id = [
        hdu for hdu, label in zip(light, labels, strict=True) if label is not None and str(label) == str(detector.id)
    ]
    names = {str(detector.id).lower(), detector.name.lower()} - {""}
    by_name = [hdu for hdu in images if str(hdu.get("EXTNAME")).lower() in names]
    alone = len(light) == 1 and (labels[0] is None or profile.layout == "plain-images")
    found = by_id or by_name or (light if alone else ())
    if not found:
        msg = f"measure: {what} {headers.path}: no image of detector {detector.id}; name the HDU so in EXTNAME"
        raise CameraError(msg)
    return found


def _amplifier_name(hdu: HduHeader, profile: Profile, path: str) -> str | None:
    rule = profile.amplifiers.name
    name = rule.find(hdu, path=path) if rule is not None else None
    # A trimmed image among amplifiers has no amplifier's name: its HDU number keeps two of them apart.
    return None if rule is None else str(name if name is not None else hdu.index)


def load_reference(given: Any, *, what: str, detectors: Sequence[int | str]) -> Reference | None:
    """Find out which file or array holds the bias or mask of each detector; pixels are read later.

    Parameters
    ----------
    given : path, DataArray, array, or a mapping of detector to one of these
        A FITS file laid out like the raw files, or with one trimmed image for each detector; a DataArray with dims
        (y, x) for one detector, or (detector, y, x).
    what : {"bias", "mask"}
        Name of the argument, for messages.
    detectors : sequence
        Detectors that will be measured.

    Raises
    ------
    ReadError
        A file that cannot be read.
    CameraError
        A detector without an image, or an argument of another kind.

    Warns
    -----
    FlatnormWarning
        A bias file that is packed as a whole and too large to be kept.
    """
    if given is None:
        return None
    if isinstance(given, Mapping):
        sources = {str(key): _source(value, what) for key, value in given.items()}
        lacking = [label for label in detectors if str(label) not in sources]
        if lacking:
            msg = (
                f"measure: {what} has nothing for detector {offenders(lacking)}; give every detector a path or an array"
            )
            raise CameraError(msg)
        return _loaded(what, {label: sources[str(label)] for label in detectors})
    if isinstance(given, xr.DataArray) and "detector" in given.dims:
        return load_reference(
            {label: given.sel(detector=label) for label in given.detector.values.tolist()},
            what=what,
            detectors=detectors,
        )
    source = _source(given, what)
    if not isinstance(source, FileHeaders) and len(detectors) > 1:
        msg = (
            f"measure: {what} is one image, and there are {len(detectors)} detectors ({offenders(detectors)}); "
            "give it a dim detector, or pass a mapping of detector to image"
        )
        raise CameraError(msg)
    return _loaded(what, dict.fromkeys(detectors, source))


def _loaded(what: str, sources: Mapping[int | str, FileHeaders | Array]) -> Reference:
    """Make a reference whose images are forgotten when it is; copies in other processes cannot know when that is."""
    found = Reference(what, sources)
    for store in (BIASES, MASKS):
        weakref.finalize(found, store.forget, found.token)
    if what == "bias":
        _warn_of_unpacking(found)
    return found


def _warn_of_unpacking(bias: Reference) -> None:
    """Say so where a file must be unpacked again for every detector of every exposure."""
    large = [one.path for one in bias.files if one.packed and len(one.places) > 1 and _size(one) > BIASES.limit]
    if large:
        warn(
            f"measure: bias {offenders(large)}: packed as a whole, and its images take more than the "
            f"{BIASES.limit >> 20} MB that are kept in memory, so that it is unpacked again for every detector of "
            "every exposure; unpack it first, or compress it with fpack"
        )


def _size(headers: FileHeaders) -> int:
    """Bytes of the values of all images of a file, as `_values` gives them."""
    return sum((4 if place.bitpix in (8, 16, -32) else 8) * prod(place.shape) for place in headers.places.values())


def _source(given: Any, what: str) -> FileHeaders | Array:
    if isinstance(given, str | os.PathLike):
        return read_headers(os.fspath(given))
    array = np.asarray(given.values if isinstance(given, xr.DataArray) else given)
    if array.ndim != 2 or array.dtype.kind not in "iufb":
        msg = (
            f"measure: {what} is {type(given).__name__} of {array.ndim} dims and dtype {array.dtype}; "
            "it must be a path, an image (y, x), or a mapping of detector to one of these"
        )
        raise CameraError(msg)
    return array
