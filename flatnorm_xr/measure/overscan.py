"""The overscan of an amplifier: what the electronics add to every row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from flatnorm_xr.camera.geometry import Amplifier
from flatnorm_xr.camera.sections import Section
from flatnorm_xr.errors import CameraError

__all__ = ["overscan_level"]

Array = npt.NDArray[Any]


def overscan_level(
    image: Array, amplifier: Amplifier, *, kind: str, where: str, blank: int | None = None
) -> npt.NDArray[np.float64]:
    """Overscan of each row of the data section, (rows, 1), or of all of them, (1, 1); zero where there is none.

    Overscan pixels that are NaN are left out; a row without any other is NaN.

    Parameters
    ----------
    image : array, 2-D
        Raw image that the overscan section is a part of, in any data type and byte order.
    amplifier : Amplifier
        Its sections.
    kind : {"median-per-row", "constant", "none"}
        Median over the overscan's columns of the same row, or over all of it.
    where : str
        File, for the message.
    blank : int, optional
        Integer that stands for "no value", as NaN does.

    Raises
    ------
    CameraError
        The overscan lacks rows of the data section.
    """
    if kind == "none" or amplifier.overscan is None:
        return np.zeros((1, 1))
    from flatnorm_xr.measure.row_medians import row_medians

    rows, columns = amplifier.overscan.slices
    if kind == "constant":
        return row_medians(image[rows, columns].reshape(1, -1), blank)[:, np.newaxis]
    if amplifier.overscan_hdu is None:
        rows = _rows_beside(amplifier.data, amplifier.overscan, amplifier.name, where)
    elif rows.stop - rows.start != amplifier.data.shape[0]:
        msg = (
            f"{where}: overscan {amplifier.overscan} of amplifier {amplifier.name} has {rows.stop - rows.start} rows "
            f"and the data section {amplifier.data} {amplifier.data.shape[0]}; set overscan: constant in the profile"
        )
        raise CameraError(msg)
    return row_medians(image[rows, columns], blank)[:, np.newaxis]


def _rows_beside(data: Section, overscan: Section, amplifier: str, where: str) -> slice:
    rows, wanted = overscan.slices[0], data.slices[0]
    if wanted.start < rows.start or wanted.stop > rows.stop:
        msg = (
            f"{where}: overscan {overscan} of amplifier {amplifier} lacks rows of the data section "
            f"{data}; set overscan: constant in the profile, or correct the section"
        )
        raise CameraError(msg)
    return wanted
