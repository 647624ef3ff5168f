"""The fit of faint levels: quasi-likelihood of background = G E with a log link, so that levels may be negative."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import xarray as xr

from flatnorm_xr.decompose.conjugate_gradient import solve_exactly
from flatnorm_xr.decompose.sweeps import NormalEquations, ratio, unit_dims
from flatnorm_xr.errors import FlatnormError, FlatnormWarning

__all__ = ["LogLinkFit", "fit_log_link"]

_SWEEPS = 100
_SWEPT = 1e-3
"""Relative change of G at which the starting values are good enough."""

_LONGEST = 200
_PATIENCE = 20
"""Iterations in which the step finds no new minimum, before it is taken for as small as it gets."""

_HALVINGS = 30
_STRIDE = 2.0
"""Largest step of ln(G E)."""

_ROUNDING = 64 * np.finfo(float).eps
_VANISHED = 1e-8
"""Model level, in units of its own noise or of the measured level, below which it is on its way to zero."""


class LogLinkFit(NamedTuple):
    """What `fit_log_link` finds.

    ``ln G + ln E + residual`` as the levels and ``weight`` as their weights make a plain weighted least-squares fit
    that has the same solution: errors, leverages and replicas are found from it as from any other.
    """

    g: xr.DataArray
    """(unit dims), ln G in an arbitrary gauge; NaN where nothing is usable or the likelihood has no maximum."""
    e: xr.DataArray
    """(exposure), ln E in the same gauge; NaN likewise."""
    weight: xr.DataArray
    """(unit dims, exposure), working weight, the inverse variance of ln(background) that the model predicts; 0 where
    not used."""
    residual: xr.DataArray
    """(unit dims, exposure), working residual ``background / model - 1``; NaN where there is no level or no model."""
    lost_unit: xr.DataArray
    """(unit dims), True where the usable levels do not add up to anything positive, so that ln G is minus infinity."""
    lost_exposure: xr.DataArray
    """(exposure), the same for ln E."""
    iterations: int
    converged: bool
    change: float
    """Largest change of ln(G E) that the last iteration asked for; infinite where that itself could not be found."""


class _Levels(NamedTuple):
    """Levels in units of the brightest, and their noise in the same units; both 0 where not usable."""

    B: xr.DataArray
    noise: xr.DataArray | None
    weight: xr.DataArray | None
    floor: float

    def inverse_variance(self, mu: xr.DataArray, used: xr.DataArray) -> xr.DataArray:
        """Inverse variance of the levels where the model is ``mu``, 0 where not used."""
        if self.weight is not None:
            return ratio(self.weight, mu**2).where(used, 0.0)
        assert self.noise is not None
        return ratio(used.astype(float), self.noise + (self.floor * mu) ** 2)

    def gain(self, mu: xr.DataArray, along: xr.DataArray) -> xr.DataArray:
        """Quasi-likelihood of each cell at ``mu exp(along)`` less that at ``mu``: the integral of (B - t) / Var(t).

        Written so that no large constants are subtracted from each other; ``mu`` is positive.
        """
        grown = xr.ufuncs.expm1(along)
        if self.weight is not None:
            risen: xr.DataArray = self.weight * (self.B / mu * grown / (1 + grown) - along)
            return risen
        assert self.noise is not None
        square = self.floor**2
        slope = mu * grown / (self.noise + square * mu**2 * (1 + grown))
        turned = self.floor * xr.ufuncs.sqrt(self.noise) * slope
        turned = (xr.ufuncs.arctan(turned) / turned.where(turned != 0, 1.0)).where(turned != 0, 1.0)
        spread = mu**2 * grown * (2 + grown) / (self.noise + square * mu**2)
        falling = xr.ufuncs.log1p(square * spread) / (2 * square) if square > 0 else spread / 2
        gained: xr.DataArray = self.B * slope * turned - falling
        return gained


def fit_log_link(
    background: xr.DataArray,
    usable: xr.DataArray,
    *,
    noise_variance: xr.DataArray | None = None,
    floor: float = 0.0,
    weight: xr.DataArray | None = None,
    tolerance: float = 1e-12,
) -> LogLinkFit:
    """Fit background = G E by quasi-likelihood with a log link.

    The mean of ln(background) lies below ln of the mean, by half the squared relative error of the level, and a level
    that noise made negative has no logarithm: at a signal of 3 of its own errors G of a faint unit comes out wrong by
    several per cent. Here the model alone is in the logarithm: of each cell ``B - G E`` enters, over the variance that
    the *model* level has. Solved by iteratively reweighted least squares: each step is the plain fit of the working
    residual ``(B - mu) / mu`` with the working weight ``mu^2 / Var(mu)``, mu = G E; a step that lowers the
    quasi-likelihood is halved. It starts from sweeps that are linear in G and in E and need no logarithm.

    Parameters
    ----------
    background : DataArray, (unit dims, exposure)
        Levels in any unit; zero and negative ones are data. No batch dims.
    usable : DataArray of bool, same dims
        Cells that may carry weight. A level that is not finite carries none.
    noise_variance : DataArray, same dims, optional
        Variance of each level, sigma^2 / counts, positive where usable unless ``floor`` is (other cells carry no
        weight). Var(mu) = noise_variance + (floor mu)^2. It must not follow the level's own noise: sigma measured over
        many pixels does not, one computed from the level itself would.
    floor : float
        Relative systematic error of a level.
    weight : DataArray, same dims, optional
        Instead of ``noise_variance``: relative weights of ln(background), non-negative; Var(mu) = mu^2 / weight.
    tolerance : float
        Of ln(G E).

    Returns
    -------
    LogLinkFit
        ``converged`` is False when the last step was longer than ``tolerance``. Disconnected sets of units are fitted
        side by side, each in its own gauge. A cell that alone ties two sets and shows no light ties nothing: it has
        weight 0, and the sets are disconnected in ``weight > 0``.

    Raises
    ------
    FlatnormError
        Neither or both of ``noise_variance`` and ``weight``.

    References
    ----------
    Wedderburn 1974, Biometrika 61, 439 (quasi-likelihood); McCullagh & Nelder 1989, Generalized Linear Models,
    sections 2.5 and 9.2.
    """
    if (noise_variance is None) == (weight is None):
        msg = "fit_log_link: pass either noise_variance or weight, and not both"
        raise FlatnormError(msg)
    usable = usable & xr.ufuncs.isfinite(background)
    if weight is not None:
        usable = usable & (weight > 0) & (weight < np.inf)
    elif noise_variance is not None:
        usable = usable & (noise_variance < np.inf) & ((noise_variance >= 0) if floor > 0 else (noise_variance > 0))
    usable = usable.compute()
    scale = float(abs(background.where(usable)).max())
    scale = scale if scale > 0 else 1.0
    levels = _Levels(
        B=(background / scale).where(usable, 0.0).compute(),
        noise=None if noise_variance is None else (noise_variance / scale / scale).where(usable, 0.0).compute(),
        weight=None if weight is None else weight.where(usable, 0.0).compute(),
        floor=floor,
    )
    G, E = _start(levels, usable)
    tolerance = max(tolerance, _ROUNDING)
    fitted = _score(levels, usable, G, E, tolerance)
    units, used = unit_dims(background), fitted.weight > 0
    g, e = fitted.g.where(used.any("exposure")), fitted.e.where(used.any(units)) + np.log(scale)
    with np.errstate(over="ignore"):
        residual = background * xr.ufuncs.exp(-(g + e)) - 1
    return LogLinkFit(
        g=g,
        e=e,
        weight=fitted.weight.transpose(*background.dims),
        residual=residual.where(xr.ufuncs.isfinite(residual)).transpose(*background.dims),
        lost_unit=usable.any("exposure") & g.isnull(),
        lost_exposure=usable.any(units) & e.isnull(),
        iterations=fitted.iterations,
        converged=fitted.change <= tolerance,
        change=fitted.change,
    )


class _Scored(NamedTuple):
    g: xr.DataArray
    e: xr.DataArray
    weight: xr.DataArray
    iterations: int
    change: float


def _start(levels: _Levels, usable: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """G and E by alternating means, weighted with the variance of the model; 0 where the mean is not positive."""
    units = unit_dims(usable)
    typical = xr.ones_like(levels.B) * max(float(levels.B.sum()) / max(int(usable.sum()), 1), 1e-3)
    weight = levels.inverse_variance(typical, usable)
    G = xr.ones_like(usable.any("exposure"), dtype=float)
    E = ratio((weight * levels.B).sum(units), weight.sum(units)).clip(0)
    for _ in range(_SWEEPS):
        weight = levels.inverse_variance(G * E, usable & (E > 0))
        last, G = G, ratio((weight * levels.B * E).sum("exposure"), (weight * E**2).sum("exposure")).clip(0)
        G = ratio(G, G.max())
        weight = levels.inverse_variance(G * E, usable & (G > 0))
        E = ratio((weight * levels.B * G).sum(units), (weight * G**2).sum(units)).clip(0)
        if bool((abs(G - last) <= _SWEPT * G).all()):
            break
    return G, E


def _score(levels: _Levels, usable: xr.DataArray, G: xr.DataArray, E: xr.DataArray, tolerance: float) -> _Scored:
    """Reweighted least squares from G and E on.

    Units and exposures that fall to zero on the way are dropped, and so is a cell whose model does: it was the only tie
    between two sets of units and came out negative, so that nothing bounds their ratio.
    """
    units = unit_dims(usable)
    g, e = (xr.ufuncs.log(x.where(x > 0, 1.0)) for x in (G, E))
    used = usable & (G > 0) & (E > 0)
    spread = abs(levels.B) if levels.noise is None else abs(levels.B) + xr.ufuncs.sqrt(levels.noise)
    vanished = xr.ufuncs.maximum(_VANISHED * spread, np.finfo(float).tiny)
    weight, change, iterations = xr.zeros_like(levels.B), np.inf, 0
    smallest, since = np.inf, 0
    while iterations < _LONGEST and since < _PATIENCE:
        mu = xr.ufuncs.exp(g + e).where(used, 1.0)
        weight = (levels.inverse_variance(mu, used) * mu**2).transpose(*usable.dims)
        upwards = weight * levels.B / mu
        kept = used & (upwards.sum("exposure") > 0) & (upwards.sum(units) > 0) & (mu > vanished)
        if not bool((kept == used).all()):
            used = kept
            continue
        if not bool(used.any()):
            return _Scored(g, e, weight, iterations, 0.0)
        residual = (levels.B / mu - 1).where(used, 0.0)
        with warnings.catch_warnings():  # what holds for a step is said of the fit
            warnings.simplefilter("ignore", FlatnormWarning)
            step = solve_exactly(NormalEquations.of(residual.transpose(*usable.dims), weight), tolerance=tolerance)
        iterations += 1
        along = (step.g + step.e).where(used, 0.0)
        change = float(abs(along).max())
        smallest, since = (change, 0) if change < smallest else (smallest, since + 1)
        length = _step_length(levels, mu, along, weight * (1 + abs(residual)))
        g, e = g + length * step.g, e + length * step.e
        if change <= tolerance:
            change = change if step.converged else np.inf
            break
    mu = xr.ufuncs.exp(g + e).where(used, 1.0)
    weight = (levels.inverse_variance(mu, used) * mu**2).transpose(*usable.dims)
    return _Scored(g, e, weight, iterations, change)


def _step_length(levels: _Levels, mu: xr.DataArray, along: xr.DataArray, rounding: xr.DataArray) -> float:
    """Share of a step that does not lower the quasi-likelihood."""
    length = min(1.0, _STRIDE / max(float(abs(along).max()), _STRIDE))
    lost_in_rounding = _ROUNDING * float((rounding * abs(along)).sum())
    for _ in range(_HALVINGS):
        gain = levels.gain(mu, length * along).where(along != 0, 0.0)
        if float(gain.sum()) >= -lost_in_rounding:
            break
        length /= 2
    return length
