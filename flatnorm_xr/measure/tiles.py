"""Tile-compressed images: the table of one HDU to the words of its image."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flatnorm_xr.camera.file_bytes import Unreadable, one_line
from flatnorm_xr.camera.image_place import ImagePlace

if TYPE_CHECKING:
    from flatnorm_xr.measure.words import RawImage

__all__ = ["decompress"]

_CARD, _BLOCK = 80, 2880


def decompress(place: ImagePlace, data: npt.NDArray[np.uint8], *, header: bytes) -> RawImage:
    """Decompress one image.

    Parameters
    ----------
    place : ImagePlace
        Of a tile-compressed image.
    data : array of uint8
        The data unit: table and heap.
    header : bytes
        The header, for what astropy decompresses.

    Raises
    ------
    Unreadable
        Tiles that are missing, cut off or damaged, or of a compression that is not known.
    """
    from flatnorm_xr.measure.words import RawImage

    words = _by_astropy(data, header)
    if words.shape != place.shape:
        msg = f"decompressed it has {words.shape[::-1]} pixels"
        raise Unreadable(msg)
    return RawImage(words, place.zero, place.scale, place.blank)


def _by_astropy(data: npt.NDArray[np.uint8], header: bytes) -> npt.NDArray[Any]:
    """Words of an image, decompressed by astropy from a file in memory that has nothing else."""
    from astropy.io import fits

    primary = b"SIMPLE  =                    T".ljust(_CARD) + b"BITPIX  =                    8".ljust(_CARD)
    primary += b"NAXIS   =                    0".ljust(_CARD) + b"END".ljust(_CARD)
    memory = io.BytesIO(primary.ljust(_BLOCK) + header + data.tobytes() + bytes(-len(data) % _BLOCK))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with fits.open(memory, memmap=False, do_not_scale_image_data=True) as hdus:
                words: npt.NDArray[Any] = hdus[1].data
        except Exception as error:  # decompressors raise anything on damaged bytes
            raise Unreadable(one_line(error)) from error
    return words
