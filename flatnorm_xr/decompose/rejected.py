"""G and E of units and exposures that were rejected whole: told for the eye, used by nothing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.connectivity import Components
from flatnorm_xr.decompose.sweeps import ratio, unit_dims

__all__ = ["WithRejected", "agreed_level", "with_rejected"]

_TUKEY = 4.685
_STEPS = 20


class WithRejected(NamedTuple):
    """ln G and ln E, those of rejected units and exposures filled in, and which of them are known now."""

    g: xr.DataArray
    e: xr.DataArray
    g_known: xr.DataArray
    e_known: xr.DataArray


def with_rejected(
    g: xr.DataArray,
    e: xr.DataArray,
    components: Components,
    y: xr.DataArray,
    rejected: xr.DataArray,
    *,
    factor: float,
) -> WithRejected:
    """Give what was rejected whole a ln G or ln E from its own cells, so that its residuals can be seen.

    A rejected unit is given the level that most of its cells agree on (`agreed_level`): the mean of a unit that errs
    may be a level that it never had. A rejected exposure is given its mean light.

    Parameters
    ----------
    g, e : DataArray, (unit dims) and (exposure)
        Of the fit; anything where ``components`` is -1.
    components : Components
    y, rejected : DataArray, (unit dims, exposure)
        ln(background), and the weights that rejected cells would have had, 0 elsewhere.
    factor : float
        Variance factor of the fit.
    """
    units, in_fit_g, in_fit_e = unit_dims(g), components.unit >= 0, components.exposure >= 0
    by_exposure = rejected.where(in_fit_g, 0.0)
    total = by_exposure.sum(units)
    e = e.where(in_fit_e, ratio((by_exposure * (y - g)).sum(units), total))
    by_unit = rejected.where(in_fit_e & ~in_fit_g, 0.0).transpose(*units, "exposure")
    whole = (by_unit > 0).any("exposure").values
    levels, weights = (y - e).transpose(*units, "exposure").values, by_unit.values
    found = g.transpose(*units).copy()
    for where in np.argwhere(whole):
        cells = weights[tuple(where)] > 0
        scatter = np.sqrt(factor / weights[tuple(where)][cells])
        found.values[tuple(where)] = agreed_level(levels[tuple(where)][cells], scatter)
    return WithRejected(found, e, in_fit_g | whole, in_fit_e | (total > 0))


def agreed_level(values: NDArray[np.float64], scatter: NDArray[np.float64]) -> float:
    """Level on which most of the values agree, within their scatter: Tukey's estimate from the best of all starts.

    Parameters
    ----------
    values, scatter : array of float
        Scatter that each value would have if nothing were wrong with it. Of starts that are equally good the one
        nearest the median is taken.

    References
    ----------
    Beaton & Tukey 1974, Technometrics 16, 147 (the biweight).
    """
    away = (values - values[:, None]) / (_TUKEY * np.where(scatter > 0, scatter, np.inf))
    lost = np.where(abs(away) < 1, 1 - (1 - np.clip(away, -1, 1) ** 2) ** 3, 1.0).sum(1)
    best = np.flatnonzero(lost <= lost.min() * (1 + 1e-9))
    level = float(values[best[np.argmin(abs(values[best] - np.median(values)))]])
    for _ in range(_STEPS):
        away = (values - level) / (_TUKEY * np.where(scatter > 0, scatter, np.inf))
        near = np.where(abs(away) < 1, (1 - np.clip(away, -1, 1) ** 2) ** 2 / np.maximum(scatter, 1e-300) ** 2, 0.0)
        if near.sum() == 0:
            break
        level = float((near * values).sum() / near.sum())
    return level
