"""Level, scatter and number of kept pixels of images and amplifiers: exact statistics in one reading of the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.measure.brackets import measure_floats
from flatnorm_xr.measure.clipping import NOTHING, Options, Statistics, statistics
from flatnorm_xr.measure.histograms import Histogram, count, merged, planned
from flatnorm_xr.measure.parts import Array, Part, check_shapes, corrected_pixels

__all__ = ["Measured", "Part", "Statistics", "clipped_statistics", "corrected_pixels", "measure_parts"]


class Measured(NamedTuple):
    """Statistics of every part and of all of them together, and how many pixels of each part are saturated."""

    parts: tuple[Statistics, ...]
    whole: Statistics
    saturated: tuple[int, ...]


def clipped_statistics(
    pixels: npt.ArrayLike,
    bad: npt.ArrayLike | None = None,
    *,
    statistic: str = "meanclip",
    clip: float = 3.0,
    iterations: int = 3,
) -> Statistics:
    """Level, standard deviation and number of the good pixels, clipped or not.

    Good pixels are finite and not ``bad``.

    ``"meanclip"`` is Rubin's (``lsst.afw.math.MEANCLIP``): the first pass keeps what lies within ``clip`` ·
    0.741301109252802 · IQR of the median, every further pass what lies within ``clip`` standard deviations of the mean,
    both of the pixels that the pass before kept. There are ``iterations`` passes in all, the first one counted; each
    starts again from all good pixels, its bounds are inclusive, and the answer is about the pixels that the last one
    kept.

    ``"sigmaclip"`` is the plain clip about the mean: every pass keeps what lies within ``clip`` standard deviations of
    the mean of the pixels that the pass before kept, the first one those of all good pixels; what is once left out
    stays out. That is ``astropy.stats.sigma_clipped_stats(cenfunc="mean", stdfunc="std", maxiters=iterations)``, but
    for the standard deviation, in the clip as in the answer, which has n - 1 in the denominator here and n there.

    ``"median"`` is the median of the good pixels and ``"mean"`` their mean, both with the standard deviation and number
    of all of them; they do not clip.

    Medians and quartiles are exact, interpolated linearly like ``numpy.percentile`` whatever the data type. Moments are
    summed in float64 about a centre within the data.

    Parameters
    ----------
    pixels : array of integers or floats, any shape
        In any unit. Any layout and byte order; native and C-contiguous is quickest. 64-bit integers are rounded to
        float64. NaN and infinities are left out; zero and negative numbers are pixels like others. Never changed.
    bad : array of bool, same shape, optional
        True where a pixel is left out; None leaves none out.
    statistic : {"meanclip", "sigmaclip", "median", "mean"}
        What ``level`` is.
    clip : float
        Half-width of the clip, in standard deviations; above 0, may be infinite.
    iterations : int
        Number of clipping passes, at least 1.

    Returns
    -------
    Statistics
        ``level`` and ``sigma`` (n - 1 in the denominator) in the unit of ``pixels``, and ``counts``. When no pixel is
        good, or a narrow clip keeps none: (NaN, NaN, 0). When there is one, ``sigma`` is NaN, as one pixel has no
        scatter to measure.

    Raises
    ------
    FlatnormError
        When an argument breaks a rule above.

    Notes
    -----
    Where IQR is 0 (data quantised more coarsely than their noise) the first pass of ``"meanclip"`` uses the standard
    deviation of all good pixels. Clipping ends early when one pixel is left, or when all that are left are equal: no
    further pass would keep others.

    Examples
    --------
    >>> import numpy as np
    >>> clipped_statistics(np.array([8, 9, 10, 11, 12, 900], "u2"))
    Statistics(level=10.0, sigma=1.5811388300841898, counts=5)
    >>> clipped_statistics(np.array([1.0, np.nan, 3.0, 8.0]), np.array([False, False, False, True]), statistic="median")
    Statistics(level=2.0, sigma=1.4142135623730951, counts=2)
    """
    options = Options.checked("clipped_statistics", statistic, clip, iterations)
    image, mask = _check_arrays(pixels, bad)
    return _measure([Part(image, bad=mask)], options, whole=False).parts[0]


def measure_parts(
    parts: Sequence[Part],
    *,
    statistic: str = "meanclip",
    clip: float = 3.0,
    iterations: int = 3,
    whole: bool = True,
) -> Measured:
    """Statistics of the corrected pixels of every part, and of all parts together.

    Parameters
    ----------
    parts : sequence of Part
        The amplifiers of one detector.
    statistic, clip, iterations
        As in `clipped_statistics`.
    whole : bool
        Whether the union of all parts' good pixels is measured, too; (NaN, NaN, 0) if not.

    Returns
    -------
    Measured
        ``level`` and ``sigma`` in the unit of the corrected pixels. Saturated pixels are counted whether they are bad
        or not; blank ones and what is not finite are not.

    Raises
    ------
    FlatnormError
        An option that `clipped_statistics` refuses, or shapes of words, offset, bias and bad that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> words = np.array([[10, 11, 12, 60_000], [20, 21, 22, 23]], "u2")
    >>> both = measure_parts([Part(words, offset=np.array([0.5, 10.5]), limit=50_000), Part(words[1:], gain=0.5)])
    >>> both.parts[0].level, both.parts[1].level, both.saturated
    (10.785714285714286, 10.75, (1, 0))
    >>> both.whole.counts
    11
    """
    options = Options.checked("measure_parts", statistic, clip, iterations)
    for part in parts:
        check_shapes(part)
    return _measure(parts, options, whole=whole)


def _measure(parts: Sequence[Part], options: Options, *, whole: bool) -> Measured:
    if not whole or len(parts) < 2:
        found, saturated = _measure_apart(parts, options)
        return Measured(found, found[0] if whole and found else NOTHING, saturated)
    # Pixels of a whole that has no histogram are read as floats, once: none of its parts is counted before.
    counted = _count_all(parts)
    if counted is None:
        return Measured(*measure_floats(parts, options, whole=True))
    histograms, saturated = counted
    found = tuple(statistics(one, options) for one in histograms)
    return Measured(found, statistics(merged(histograms), options), saturated)


def _count_all(parts: Sequence[Part]) -> tuple[list[Histogram], tuple[int, ...]] | None:
    """Histogram of every part and its number of saturated pixels; None as soon as one has none."""
    plans = []
    for part in parts:
        plan = planned(part)
        if plan is None:
            return None
        plans.append(plan)
    histograms, saturated = [], []
    for plan in plans:
        counted = count(plan)
        if counted is None:
            return None
        histograms.append(counted[0])
        saturated.append(counted[1])
    return histograms, tuple(saturated)


def _measure_apart(parts: Sequence[Part], options: Options) -> tuple[tuple[Statistics, ...], tuple[int, ...]]:
    """Statistics of every part, each from its histogram if it has one, and its number of saturated pixels."""
    plans = [planned(part) for part in parts]
    counted = [None if plan is None else count(plan) for plan in plans]
    rest = [part for part, one in zip(parts, counted, strict=True) if one is None]
    statistics_of_rest, _, saturated_of_rest = measure_floats(rest, options, whole=False)
    of_rest = iter(zip(statistics_of_rest, saturated_of_rest, strict=True))
    each = [next(of_rest) if one is None else (statistics(one[0], options), one[1]) for one in counted]
    return tuple(found for found, _ in each), tuple(saturated for _, saturated in each)


def _check_arrays(pixels: npt.ArrayLike, bad: npt.ArrayLike | None) -> tuple[Array, Array | None]:
    if isinstance(pixels, np.ma.MaskedArray):
        msg = "clipped_statistics: pixels is a masked array, whose mask would be lost; pass its data and bad=its mask."
        raise FlatnormError(msg)
    image = np.asarray(pixels)
    if image.dtype.kind not in "iuf":
        msg = f"clipped_statistics: pixels must be integers or floats, not {image.dtype}; convert them first."
        raise FlatnormError(msg)
    if bad is None:
        return _two_dimensional(image), None
    mask = np.asarray(bad)
    if mask.dtype != np.bool_:
        msg = f"clipped_statistics: bad must be bool (True = left out), not {mask.dtype}; pass for instance plane != 0."
        raise FlatnormError(msg)
    if mask.shape != image.shape:
        msg = f"clipped_statistics: bad has shape {mask.shape} but pixels {image.shape}; pass one bool for each pixel."
        raise FlatnormError(msg)
    return _two_dimensional(image), _two_dimensional(mask)


def _two_dimensional(image: Array) -> Array:
    return image if image.ndim == 2 else image.reshape(1, image.size)
