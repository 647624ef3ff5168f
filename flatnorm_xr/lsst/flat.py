"""A flat of one detector, overscan off and trimmed: pixels, mask planes, amplifiers, and where light reaches it."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from flatnorm_xr.errors import FlatnormError, ReadError, offenders
from flatnorm_xr.lsst.camera import MosaicAmplifier, MosaicDetector
from flatnorm_xr.model.schema import LEVEL_UNITS

__all__ = ["Flat", "as_flat"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

UNKNOWN_DETECTOR = MosaicDetector(id=0, name="", amplifiers=())
"""Of an image that does not say its detector: only the whole of it can be measured."""

AFW_PLANES = {
    "SATURATED": "SAT",
    "INTERPOLATED": "INTRP",
    "COSMIC_RAY": "CR",
    "DETECTION_EDGE": "EDGE",
    "UNMASKED_NAN": "UNMASKEDNAN",
}
"""Names of ``lsst.images`` for the mask planes that ``lsst.afw`` named first, and configurations know."""

BITS = {8: "u1", 31: "i4", 63: "i8"}
"""Most mask planes that the integers of a mask image hold, and their data type."""

CARD_OF_PLANE = "MP_"


@dataclass(frozen=True, eq=False)
class Flat:
    """One detector in one exposure, after instrument signature removal.

    Attributes
    ----------
    image : ndarray, (rows, columns)
        Integers or 32- or 64-bit floats; NaN and infinities are never measured.
    masks : dict of ndarray of bool, (rows, columns)
        True where a pixel is in the mask plane of that name (BAD, SAT, NO_DATA, ...).
    detector : MosaicDetector
        With its amplifiers, whose rows and columns are those of ``image``.
    valid_polygon : ndarray, (n, 2), optional
        Vertices x (along columns) and y (along rows) of what is not vignetted, in pixels; the first pixel's centre is
        at 0, 0. None: all of it.
    units : {"adu", "electron"}
        Of the pixels.

    Raises
    ------
    FlatnormError
        No pixels, shapes that differ, a mask that is not bool, an amplifier outside the image, a polygon of fewer than
        three vertices.

    Examples
    --------
    >>> import numpy as np
    >>> flat = Flat.from_array(np.ones((2, 3)), mask=np.array([[True, False, False], [False, False, False]]))
    >>> flat.bad(["BAD"]).sum()
    np.int64(1)
    """

    image: Array
    masks: Mapping[str, Mask] = field(default_factory=dict)
    detector: MosaicDetector = UNKNOWN_DETECTOR
    valid_polygon: npt.NDArray[np.float64] | None = None
    units: str = "adu"

    def __post_init__(self) -> None:
        problems = [*_image_problems(self.image)]
        if not problems:
            problems = [
                *_mask_problems(self.masks, self.image.shape),
                *_place_problems(self.detector, self.image.shape),
            ]
        if self.valid_polygon is not None:
            problems += _polygon_problems(self.valid_polygon)
        if self.units not in LEVEL_UNITS:
            problems.append(f"units are {self.units!r}; they must be {' or '.join(LEVEL_UNITS)}")
        if problems:
            msg = f"Flat: detector {self.detector.id}: {'; '.join(problems)}"
            raise FlatnormError(msg)

    @classmethod
    def from_array(
        cls,
        image: npt.ArrayLike,
        *,
        mask: npt.ArrayLike | Mapping[str, npt.ArrayLike] | None = None,
        detector: MosaicDetector | None = None,
        valid_polygon: npt.ArrayLike | None = None,
        units: str = "adu",
    ) -> Flat:
        """Make a flat of plain or masked arrays.

        Parameters
        ----------
        image : array, (rows, columns)
            The mask of a NumPy masked array joins the plane BAD.
        mask : array of bool, or mapping of name to array of bool, optional
            The plane BAD, or all planes by name.
        detector : MosaicDetector, optional
            With its amplifiers; without it only the whole image can be measured.
        valid_polygon : array, (n, 2), optional
            x and y of the vertices.
        units : {"adu", "electron"}
            Of the pixels.

        Raises
        ------
        FlatnormError
            What is given does not make a flat.
        """
        planes = mask if isinstance(mask, Mapping) else {} if mask is None else {"BAD": mask}
        masks = {str(name): np.asarray(plane) for name, plane in planes.items()}
        if isinstance(image, np.ma.MaskedArray):
            masked = np.ma.getmaskarray(image)
            masks["BAD"] = masked | masks["BAD"] if "BAD" in masks else masked
            image = image.data
        return cls(np.asarray(image), masks, detector or UNKNOWN_DETECTOR, _vertices(valid_polygon), units)

    @classmethod
    def from_afw(cls, exposure: Any) -> Flat:
        """Make a flat of an ``lsst.afw.image.Exposure``; pixels are shared, not copied.

        Not tested here: ``lsst.afw`` cannot be installed from PyPI. A stand-in with its methods is.

        Parameters
        ----------
        exposure : Exposure
            Trimmed, with its detector. Amplifiers and the valid polygon are counted from its XY0. Its metadata say
            in ``LSST ISR UNITS`` if it is in electron; without it, it is in adu.

        Raises
        ------
        FlatnormError
            It has no detector, or the detector's amplifiers reach beyond it.
        """
        detector = exposure.getDetector()
        if detector is None:
            msg = (
                "Flat.from_afw: the exposure has no detector, so nobody knows its amplifiers; set it or use from_array"
            )
            raise FlatnormError(msg)
        corner = exposure.getXY0()
        x0, y0 = int(corner.getX()), int(corner.getY())
        amplifiers = []
        for amplifier in detector:
            box = amplifier.getBBox()
            rows, columns = (box.getBeginY() - y0, box.getEndY() - y0), (box.getBeginX() - x0, box.getEndX() - x0)
            amplifiers.append(MosaicAmplifier(name=amplifier.getName(), rows=rows, columns=columns))
        polygon = exposure.getInfo().getValidPolygon()
        vertices = None if polygon is None else [(one.getX() - x0, one.getY() - y0) for one in polygon.getVertices()]
        mask = exposure.getMask()
        return cls(
            exposure.getImage().array,
            _planes_of_bits(np.asarray(mask.array), dict(mask.getMaskPlaneDict())),
            MosaicDetector(id=detector.getId(), name=detector.getName(), amplifiers=tuple(amplifiers)),
            _vertices(vertices),
            _units_of_metadata(exposure),
        )

    @classmethod
    def from_images(cls, masked_image: Any, detector: Any = None) -> Flat:
        """Make a flat of an ``lsst.images.MaskedImage`` or ``VisitImage``; pixels are shared, not copied.

        Mask planes that ``lsst.images`` renamed get the names of ``lsst.afw`` (SATURATED becomes SAT), so that one
        configuration serves both. ``lsst.images`` needs Python 3.12; with less, the tests use a stand-in.

        Parameters
        ----------
        masked_image : MaskedImage
            Amplifiers and the valid polygon (its ``bounds``, where these are one) are counted from the start of its
            bounding box. Without a ``unit`` it is in adu.
        detector : MosaicDetector or lsst.images.cameras.Detector, optional
            A `MosaicDetector` is counted from the first pixel. That of the image if not given; where it has none,
            only the whole image can be measured.

        Raises
        ------
        FlatnormError
            Its bounds are several polygons or have holes, or amplifiers reach beyond it.
        """
        detector = getattr(masked_image, "detector", None) if detector is None else detector
        box = masked_image.bbox
        x0, y0 = int(box.x.start), int(box.y.start)
        if detector is not None and not isinstance(detector, MosaicDetector):
            amplifiers = [
                MosaicAmplifier(
                    name=one.name,
                    rows=(one.bbox.y.start - y0, one.bbox.y.stop - y0),
                    columns=(one.bbox.x.start - x0, one.bbox.x.stop - x0),
                )
                for one in detector.amplifiers
            ]
            detector = MosaicDetector(id=detector.id, name=detector.name, amplifiers=tuple(amplifiers))
        masks: dict[str, Mask] = {}
        for plane in sorted(masked_image.mask.schema.names):
            name, pixels = AFW_PLANES.get(plane, plane), masked_image.mask.get(plane)
            masks[name] = masks[name] | pixels if name in masks else pixels
        polygon = _polygon_of_bounds(getattr(masked_image, "bounds", None))
        return cls(
            masked_image.image.array,
            masks,
            detector or UNKNOWN_DETECTOR,
            None if polygon is None else polygon - (x0, y0),
            str(getattr(masked_image, "unit", None) or "adu"),
        )

    def bad(self, plane_names: Iterable[str]) -> Mask | None:
        """Say which pixels are in any of these mask planes.

        Returns
        -------
        ndarray of bool, (rows, columns), or None
            None where no plane is named.

        Raises
        ------
        FlatnormError
            The flat lacks a plane that is named.
        """
        names = list(plane_names)
        lacking = [name for name in names if name not in self.masks]
        if lacking:
            known = offenders(self.masks, show=20) or "none"
            msg = f"Flat.bad: no mask plane {offenders(lacking)}; the flat of detector {self.detector.id} has {known}"
            raise FlatnormError(msg)
        if not names:
            return None
        bad = self.masks[names[0]].copy()
        for name in names[1:]:
            bad |= self.masks[name]
        return bad

    def vignetted(self) -> Mask | None:
        """Say which pixels have their centre outside the valid polygon.

        Returns
        -------
        ndarray of bool, (rows, columns), or None
            None where there is no polygon.
        """
        return None if self.valid_polygon is None else ~_inside(self.valid_polygon, self.image.shape)

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write as FITS: IMAGE, MASK (bits, named by ``MP_`` cards), VALID_POLYGON, DETECTOR (JSON in a table).

        Parameters
        ----------
        path : path
            Of the file, not compressed whatever it is called.
        overwrite : bool
            Replace a file that is there.

        Raises
        ------
        FlatnormError
            The file is there or cannot be written; mask planes whose names FITS would change, or more than 63.
        """
        from astropy.io import fits

        from flatnorm_xr.archive.atomic import whole_file

        hdus = [fits.PrimaryHDU(), fits.ImageHDU(self.image, name="IMAGE")]
        hdus[-1].header["BUNIT"] = self.units
        if self.masks:
            bits, cards = _bits_of_planes(self.masks)
            hdus.append(fits.ImageHDU(bits, name="MASK"))
            for card, bit in cards.items():
                hdus[-1].header[f"HIERARCH {card}"] = bit
        if self.valid_polygon is not None:
            hdus.append(fits.ImageHDU(np.asarray(self.valid_polygon, "f8"), name="VALID_POLYGON"))
        # The one that must be there is the last, so that a file that lost any of them is not taken for a whole one.
        hdus.append(_table_of_text(json.dumps(self.detector.model_dump())))
        with whole_file(path, overwrite=overwrite, caller="Flat.write") as temporary, open(temporary, "wb") as file:
            fits.HDUList(hdus).writeto(file, checksum=True)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Flat:
        """Read what `write` wrote, in the machine's byte order; its checksums are verified.

        Raises
        ------
        ReadError
            The file is missing, truncated or not one of ours.
        """
        from astropy.io import fits
        from astropy.utils.exceptions import AstropyUserWarning

        try:
            with warnings.catch_warnings():
                spoiled = ".*(truncated|verification failed)"
                warnings.filterwarnings("error", message=spoiled, category=AstropyUserWarning)
                with open(path, "rb") as file, fits.open(file, memmap=False, checksum=True) as hdus:
                    return cls(**_contents(hdus))
        except (
            OSError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            fits.VerifyError,
            AstropyUserWarning,
        ) as error:
            msg = f"Flat.read: {path}: not a flat that Flat.write wrote, or damaged ({' '.join(str(error).split())})"
            raise ReadError(msg) from error


def _contents(hdus: Any) -> dict[str, Any]:
    """Attributes of the flat that these HDUs hold."""
    masks = {}
    if "MASK" in hdus:
        cards = hdus["MASK"].header.items()
        named = {str(key).removeprefix(CARD_OF_PLANE): bit for key, bit in cards if str(key).startswith(CARD_OF_PLANE)}
        masks = _planes_of_bits(_native(hdus["MASK"].data), {name: int(bit) for name, bit in named.items()})
    return {
        "image": _native(hdus["IMAGE"].data),
        "masks": masks,
        "detector": MosaicDetector.model_validate_json(str(hdus["DETECTOR"].data["JSON"][0])),
        "valid_polygon": _native(hdus["VALID_POLYGON"].data) if "VALID_POLYGON" in hdus else None,
        "units": str(hdus["IMAGE"].header.get("BUNIT", "adu")),
    }


def as_flat(image: Any) -> Flat:
    """Make a flat of whatever holds one.

    Parameters
    ----------
    image : Flat, lsst.afw.image.Exposure, lsst.images.MaskedImage or array
        Recognised by its methods; an array has no amplifiers.

    Raises
    ------
    FlatnormError
        It is none of these, or does not make a flat.
    """
    if isinstance(image, Flat):
        return image
    if hasattr(image, "getMask") and hasattr(image, "getDetector"):
        return Flat.from_afw(image)
    if hasattr(getattr(image, "mask", None), "schema"):
        return Flat.from_images(image)
    if isinstance(image, np.ndarray):
        return Flat.from_array(image)
    msg = (
        f"inputExp is a {type(image).__name__}; pass a Flat, an lsst.afw.image.Exposure, an lsst.images.MaskedImage "
        "or a NumPy array"
    )
    raise FlatnormError(msg)


def _units_of_metadata(exposure: Any) -> str:
    """Units that instrument signature removal notes in the metadata of an exposure."""
    metadata = exposure.getMetadata() if hasattr(exposure, "getMetadata") else {}
    return str(metadata.get("LSST ISR UNITS", "adu"))


def _image_problems(image: Any) -> list[str]:
    if not isinstance(image, np.ndarray) or isinstance(image, np.ma.MaskedArray):
        return [f"image is a {type(image).__name__}; it must be a plain NumPy array: use Flat.from_array"]
    if image.ndim != 2 or image.size == 0:
        return [f"image has shape {image.shape}; it must be (rows, columns), with pixels"]
    if image.dtype.kind not in "iu" and image.dtype.newbyteorder("=") not in (np.float32, np.float64):
        return [f"image is {image.dtype}; it must be integers, float32 or float64: convert it"]
    return []


def _mask_problems(masks: Mapping[str, Any], shape: tuple[int, ...]) -> list[str]:
    kinds = [
        f"{name} ({getattr(plane, 'dtype', type(plane).__name__)})"
        for name, plane in masks.items()
        if getattr(plane, "dtype", None) != np.bool_
    ]
    shapes = [f"{name} {plane.shape}" for name, plane in masks.items() if getattr(plane, "shape", shape) != shape]
    problems = []
    if kinds:
        problems.append(f"masks {offenders(kinds)} must be arrays of bool, True where the pixel is in the plane")
    if shapes:
        problems.append(f"masks {offenders(shapes)} must have the image's shape {shape}")
    return problems


def _place_problems(detector: MosaicDetector, shape: tuple[int, ...]) -> list[str]:
    outside = [
        f"{amplifier.name} {axis} {span[0]}:{span[1]}"
        for amplifier in detector
        for axis, span, size in zip(("rows", "columns"), (amplifier.rows, amplifier.columns), shape, strict=True)
        if span is not None and not 0 <= span[0] < span[1] <= size
    ]
    names = [amplifier.name for amplifier in detector]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems = [f"amplifiers {offenders(twice)} are there twice; give each its own name"] if twice else []
    if outside:
        where = f"not within the image of shape {shape}; is it trimmed and whole?"
        problems.append(f"amplifiers {offenders(outside)} are {where}")
    return problems


def _polygon_problems(polygon: Any) -> list[str]:
    shape = np.shape(polygon)
    if len(shape) != 2 or shape[0] < 3 or shape[1] != 2:
        return [f"valid_polygon has shape {shape}; it must be (n, 2), x and y of at least three vertices"]
    if not np.isfinite(polygon).all():
        return ["valid_polygon has vertices that are not finite"]
    return []


def _vertices(points: npt.ArrayLike | None) -> npt.NDArray[np.float64] | None:
    return None if points is None else np.asarray(points, np.float64)


def _polygon_of_bounds(bounds: Any) -> npt.NDArray[np.float64] | None:
    """Vertices of bounds that are a polygon; None where they are a box."""
    if hasattr(bounds, "x_vertices"):
        return np.column_stack([bounds.x_vertices, bounds.y_vertices]).astype(np.float64)
    if hasattr(bounds, "to_shapely"):
        msg = "Flat.from_images: the bounds are several polygons or have holes; pass what lies outside as a mask plane"
        raise FlatnormError(msg)
    return None


def _inside(polygon: npt.NDArray[np.float64], shape: tuple[int, ...]) -> Mask:
    """Whether each pixel's centre is inside: rightward from it, an odd number of edges is crossed."""
    rows, columns = shape
    x = np.arange(columns)
    inside = np.zeros(shape, bool)
    for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        low, high = (int(np.clip(np.ceil(y), 0, rows)) for y in sorted((y1, y2)))
        if low < high:
            crossing = x1 + (np.arange(low, high) - y1) * (x2 - x1) / (y2 - y1)
            inside[low:high] ^= x < crossing[:, None]
    return inside


def _planes_of_bits(bits: Array, planes: Mapping[str, int]) -> dict[str, Mask]:
    """Cut an integer mask into planes; those that no pixel is in share one False, as a large image has many."""
    used = int(np.bitwise_or.reduce(bits, axis=None))
    empty = np.broadcast_to(np.False_, bits.shape)
    return {name: (bits >> bit & 1).astype(bool) if used >> bit & 1 else empty for name, bit in planes.items()}


def _bits_of_planes(masks: Mapping[str, Mask]) -> tuple[Array, dict[str, int]]:
    """Pack the planes into the smallest integers, and give the bit of each by its card."""
    changed = [name for name in masks if not re.fullmatch(r"[A-Z0-9_]{1,40}", name)]
    if changed or len(masks) > max(BITS):
        rule = (
            f"names must be of A-Z, 0-9 and _, at most 40 ({offenders(changed)})"
            if changed
            else (f"there may be {max(BITS)}, not {len(masks)}")
        )
        msg = f"Flat.write: mask planes: {rule}; rename them or leave some out"
        raise FlatnormError(msg)
    dtype = next(dtype for most, dtype in BITS.items() if len(masks) <= most)
    bits = np.zeros(next(iter(masks.values())).shape, dtype)
    for bit, plane in enumerate(masks.values()):
        bits[plane] |= bits.dtype.type(1 << bit)
    return bits, {CARD_OF_PLANE + name: bit for bit, name in enumerate(masks)}


def _table_of_text(text: str) -> Any:
    from astropy.io import fits

    return fits.BinTableHDU.from_columns([fits.Column("JSON", f"{len(text)}A", array=[text])], name="DETECTOR")


def _native(array: Array) -> Array:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))
