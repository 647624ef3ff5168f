"""What the files of a simulated camera are described by: detectors, their amplifiers, exposures, frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.camera.sections import Section

__all__ = ["Camera", "Card", "Detector", "Electronics", "Exposure", "Frame", "Tap"]

Card = tuple[str, Any, str]
"""Keyword, value and comment of a header."""


@dataclass(frozen=True)
class Tap:
    """Where one amplifier's pixels are in the image it is read into, and where they lie on the CCD.

    ``read`` is all that the amplifier reads (bias level everywhere), ``data`` the part that sees light. ``ccd`` is
    where the first and last column and row of ``data`` lie on the CCD; reversed where the image is flipped.
    """

    amplifier: str
    image: int
    read: Section
    data: Section
    ccd: Section


@dataclass(frozen=True)
class Detector:
    """One CCD: its label, its centre in the focal plane (mm), its size in pixels (x, y), and the shape of its images.

    ``pixel`` is the size of a pixel (mm); ``turned`` says that the CCD's x runs along the focal plane's y.
    """

    label: int | str
    name: str
    x: float
    y: float
    size: tuple[int, int]
    shape: tuple[int, int]
    taps: tuple[Tap, ...]
    pixel: tuple[float, float]
    science: bool = True
    turned: bool = False
    type: str = ""

    def place(self, u: NDArray[np.float64], v: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Focal plane x, y (mm) of CCD pixels ``u``, ``v`` (1-based, along the columns and rows of the CCD)."""
        dx, dy = (u - (self.size[0] + 1) / 2) * self.pixel[0], (v - (self.size[1] + 1) / 2) * self.pixel[1]
        return (self.x - dy, self.y + dx) if self.turned else (self.x + dx, self.y + dy)

    def extent(self, shape: tuple[int, int]) -> tuple[float, float]:
        """Width and height in the focal plane (mm) of a part of ``shape`` rows and columns of the CCD."""
        rows, columns = shape[0] * self.pixel[1], shape[1] * self.pixel[0]
        return (rows, columns) if self.turned else (columns, rows)


@dataclass(frozen=True)
class Electronics:
    """One amplifier: gain (electrons per adu), read noise (electrons), bias and saturation levels (adu)."""

    gain: float
    read_noise: float
    bias: float
    saturation: float


@dataclass(frozen=True)
class Exposure:
    """One exposure: its place in the series from 0, start (UTC), and length in seconds."""

    index: int
    start: np.datetime64
    seconds: float

    @property
    def middle(self) -> np.datetime64:
        """Mid-exposure, UTC."""
        return self.start + np.timedelta64(round(self.seconds * 5e8), "ns")

    @property
    def mjd(self) -> float:
        """Modified Julian date of the start, rounded as cameras do."""
        return round(float((self.start - np.datetime64("1858-11-17", "ns")) / np.timedelta64(1, "D")), 8)

    @property
    def evening(self) -> np.datetime64:
        """Date half a day before the start: that of the evening, for all cameras here."""
        date: np.datetime64 = (self.start - np.timedelta64(12, "h")).astype("datetime64[D]")
        return date

    @property
    def iso(self) -> str:
        """Start to the millisecond."""
        return str(self.start.astype("datetime64[ms]"))


@dataclass(frozen=True)
class Frame:
    """What one detector read out in one exposure: its images, with the electronics of each of its taps."""

    detector: Detector
    images: tuple[NDArray[np.integer[Any]], ...]
    electronics: tuple[Electronics, ...]


@dataclass(frozen=True)
class Camera:
    """A camera: numbers typical of its electronics, and the functions that place detectors and write headers.

    ``radius`` is that of the focal plane in mm; ``ceiling`` the largest number the converter gives; ``full_well`` the
    largest signal in adu relative to the saturation level, infinite where the converter's ceiling comes first.
    ``place(n, ragged)`` chooses ``n`` detectors; ``extension`` is None where the image is in the primary HDU.
    """

    name: str
    radius: float
    gain: float
    read_noise: float
    bias: float
    saturation: float
    full_well: float
    ceiling: int
    dtype: str
    default_detectors: int
    max_detectors: int
    physical_filter: str
    observation_type: str
    one_file: Literal["exposure", "detector"]
    place: Callable[[int, bool], list[Detector]]
    exposure_label: Callable[[Exposure], int | str]
    night: Callable[[Exposure], str]
    file_name: Callable[[Exposure, Detector | None], str]
    primary: Callable[[Exposure, Sequence[Frame]], list[Card]]
    extension: Callable[[Frame, int], list[Card]] | None
