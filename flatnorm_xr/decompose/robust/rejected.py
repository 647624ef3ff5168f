"""G and E of units and exposures that were rejected whole: told for the eye, used by nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.fit import Fit
from flatnorm_xr.decompose.sweeps import ratio, unit_dims

__all__ = ["agreed_level", "with_rejected"]

_TUKEY = 4.685
_STEPS = 20


def with_rejected(fit: Fit, y: xr.DataArray, rejected: xr.DataArray, *, scale: float) -> Fit:
    """Give what was rejected whole a G or E from its own cells, so that its residuals can be seen.

    A rejected unit is given the level that most of its cells agree on (`agreed_level`): the mean of a unit that errs
    may be a level that it never had. A rejected exposure is given its mean light. Where sets of units share no exposure
    nothing is given.

    Parameters
    ----------
    fit : Fit
        Of the cells that were not rejected.
    y, rejected : DataArray, (unit dims, exposure)
        ln(background), and the weights that rejected cells would have had, 0 elsewhere.
    scale : float
        Variance of a cell of weight 1.
    """
    if int(fit.components.unit.max()) > 0:
        return fit
    units, in_fit_g, in_fit_e = unit_dims(fit.G), fit.components.unit >= 0, fit.components.exposure >= 0
    g, e = (xr.ufuncs.log(array).fillna(0.0) for array in (fit.G, fit.E))
    by_exposure = rejected.where(in_fit_g, 0.0)
    total = by_exposure.sum(units)
    own_e = ratio((by_exposure * (y - g)).sum(units), total)
    by_unit = rejected.where(in_fit_e & ~in_fit_g, 0.0).transpose(*units, "exposure")
    levels, weights = (y - e).transpose(*units, "exposure").values, by_unit.values
    own_g = xr.full_like(fit.G.transpose(*units), np.nan)
    for where in map(tuple, np.argwhere((weights > 0).any(-1))):
        cells = weights[where] > 0
        own_g.values[where] = agreed_level(levels[where][cells], np.sqrt(scale / weights[where][cells]))
    more_e = own_e.where(~in_fit_e & (total > 0))
    new_g, new_e = own_g.fillna(0.0).where(~in_fit_g, 0.0), more_e.fillna(0.0)
    return replace(
        fit,
        G=fit.G.where(in_fit_g, xr.ufuncs.exp(own_g)),
        E=fit.E.where(in_fit_e, xr.ufuncs.exp(more_e)),
        residual=(y - g - new_g - e - new_e).where(~in_fit_g | ~in_fit_e, fit.residual).transpose(*fit.residual.dims),
    )


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
