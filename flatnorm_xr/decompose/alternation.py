"""The documented alternation: G from E, E from G, a given number of times; and its NumPy form `measure_scales`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from flatnorm_xr.decompose.connectivity import connect, disconnected_error
from flatnorm_xr.decompose.gauge import gauge_offset, gauge_weights
from flatnorm_xr.decompose.sweeps import NormalEquations
from flatnorm_xr.errors import FlatnormError

__all__ = ["Scales", "alternate", "measure_scales"]


class Scales(NamedTuple):
    """What `measure_scales` finds."""

    vectorE: NDArray[np.float64]
    """(nExposures), level of each exposure; NaN where nothing was measured."""
    vectorG: NDArray[np.float64]
    """(nDetectors), relative response; NaN where nothing was measured."""
    bgModel: NDArray[np.float64]
    """(nDetectors, nExposures), G times E, also where nothing was measured."""


def alternate(equations: NormalEquations, *, iterations: int) -> tuple[xr.DataArray, xr.DataArray, tuple[float, ...]]:
    """Alternate between weighted means over exposures and over units, starting from ln G = 0.

    Parameters
    ----------
    equations : NormalEquations
        Of ln(background) and the weights.
    iterations : int
        How many times; at least 1.

    Returns
    -------
    g : DataArray, (unit dims)
        ln G in an arbitrary gauge; shifting g between iterations, as the published algorithm does, moves only
        the gauge.
    e : DataArray, (exposure)
        ln E in the same gauge.
    corrections : tuple of float
        After each iteration, by how much one more would move any g.

    References
    ----------
    Magnier et al. 2020, ApJS 251, 6 (Pan-STARRS calibration); Waters et al. 2020, ApJS 251, 4 (detrending).
    """
    g = xr.zeros_like(equations.unit_total, dtype=float)
    e = equations.exposure_means(g)
    corrections = []
    further = equations.unit_means(e)
    for _ in range(iterations):
        g = further
        e = equations.exposure_means(g)
        further = equations.unit_means(e)
        corrections.append(float(abs(further - g).where(equations.unit_total > 0, 0.0).max()))
    return g, e, tuple(corrections)


def measure_scales(bgMatrix: ArrayLike, bgCounts: ArrayLike | None = None, iterations: int = 10) -> Scales:
    """Find E, G and the model of a matrix of levels by the documented alternation.

    Parameters
    ----------
    bgMatrix : array, (nDetectors, nExposures)
        Levels. NaN, infinite, zero, negative and masked cells are not used.
    bgCounts : array, (nDetectors, nExposures), optional
        Pixel counts, the weights; 1 everywhere when absent. Cells with NaN or masked counts are not used.
    iterations : int
        How many times to alternate.

    Returns
    -------
    Scales
        ``vectorE``, ``vectorG``, ``bgModel``. The mean of G over the measured detectors, weighted by each one's
        total counts, is 1. A row never measured has G = NaN, a column never measured E = NaN.

    Raises
    ------
    FlatnormError
        Shapes that differ or are not two-dimensional, negative counts, fewer than 1 iteration, nothing usable.
    DisconnectedError
        Two sets of rows share no column, so their ratio was not measured.

    See Also
    --------
    flatnorm_xr.solve : the exact solution on labelled data.

    Examples
    --------
    >>> scales = measure_scales([[50.0, 100.0], [150.0, 300.0]])
    >>> [round(float(g), 6) for g in scales.vectorG], [round(float(e), 6) for e in scales.vectorE]
    ([0.5, 1.5], [100.0, 200.0])
    """
    levels = _matrix(bgMatrix, "bgMatrix")
    counts = np.ones_like(levels) if bgCounts is None else _matrix(bgCounts, "bgCounts")
    if counts.shape != levels.shape:
        msg = f"measure_scales: bgCounts has shape {counts.shape}; it must be that of bgMatrix, {levels.shape}"
        raise FlatnormError(msg)
    if not isinstance(iterations, int | np.integer) or iterations < 1:
        msg = f"measure_scales: iterations is {iterations!r}; it must be a whole number, at least 1"
        raise FlatnormError(msg)
    if (counts < 0).any():
        row, column = np.argwhere(counts < 0)[0]
        msg = f"measure_scales: bgCounts is negative at ({row}, {column}); pixel counts are 0 or more"
        raise FlatnormError(msg)
    usable = np.isfinite(levels) & (levels > 0) & np.isfinite(counts) & (counts > 0)
    if not usable.any():
        msg = "measure_scales: bgMatrix has no usable cell; levels must be finite and positive, counts positive"
        raise FlatnormError(msg)
    labels = {"detector": np.arange(levels.shape[0]), "exposure": np.arange(levels.shape[1])}
    weight = xr.DataArray(np.where(usable, counts, 0.0), coords=labels)
    y = xr.DataArray(np.log(np.where(usable, levels, 1.0)), coords=labels)
    component = connect(weight > 0).unit
    if int(component.max()) > 0:
        raise disconnected_error(component, caller="measure_scales")
    equations = NormalEquations.of(y, weight)
    g, e, _ = alternate(equations, iterations=iterations)
    offset = gauge_offset(g, gauge_weights("mean", weight, component), mean="arithmetic")
    vectorG = xr.ufuncs.exp(g - offset).where(equations.unit_total > 0).values
    vectorE = xr.ufuncs.exp(e + offset).where(equations.exposure_total > 0).values
    return Scales(vectorE, vectorG, np.multiply.outer(vectorG, vectorE))


def _matrix(values: Any, name: str) -> NDArray[np.float64]:
    try:
        matrix: NDArray[np.float64] = np.ma.filled(np.ma.asarray(values, dtype=float), np.nan)
    except (TypeError, ValueError) as error:
        msg = f"measure_scales: {name} is not a matrix of numbers ({error})"
        raise FlatnormError(msg) from error
    if matrix.ndim != 2:
        msg = f"measure_scales: {name} has {matrix.ndim} dimensions; it must be (nDetectors, nExposures)"
        raise FlatnormError(msg)
    return matrix
