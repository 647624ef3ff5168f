"""How much each unit's residuals scatter, and by how many degrees of freedom that is known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flatnorm_xr.decompose.structure.two_way import Array

__all__ = ["Scatter", "judged_scatter"]

_NOISIER = 1e-3
"""Chance below which a unit's own scatter is no longer taken for one of its kind."""

_REACH = 3.0
"""Standard deviations beyond which one unit's scatter does not move what is thought of all."""

_CLEAR = 1.5
"""Standard errors by which units' scatters must differ more than chance has it before each counts for itself."""


class Scatter(NamedTuple):
    """Chi^2 a degree of freedom of each unit, and the degrees of freedom behind that, (unit)."""

    variance: Array
    dof: Array


def judged_scatter(own: Scatter, *, usual: Scatter, together: float = np.inf) -> Scatter:
    """Judge each unit's scatter by its own residuals and by those of all units.

    With few exposures a unit's own scatter is poorly known. Where all units scatter alike the common value is used,
    where they differ each unit's own, and between the two as much of each as the spread of the units' scatters tells.
    A unit that is far noisier than that keeps its own.

    Parameters
    ----------
    own : Scatter
        Each unit's own, once an effect is taken out; nothing is made of a unit without a degree of freedom.
    usual : Scatter
        That from which it is learnt what units are like.
    together : float
        Degrees of freedom of all units, where these are fewer than their sum.

    References
    ----------
    Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3, 3 (moderated t).
    """
    from scipy.stats import f

    judged = Scatter(np.full(own.dof.shape, np.nan), np.zeros(own.dof.shape))
    known = (own.dof > 0) & (usual.dof > 0) & (usual.variance > 0)
    if not known.any():
        return judged
    prior, prior_dof = _prior(usual.variance[known], usual.dof[known])
    d, s2, total = own.dof[known], own.variance[known], min(float(usual.dof[known].sum()), together)
    if np.isinf(prior_dof):
        shared, shared_dof = np.full(d.shape, prior), np.full(d.shape, total)
    else:
        shared, shared_dof = (prior_dof * prior + d * s2) / (prior_dof + d), np.minimum(prior_dof + d, total)
    noisy = f.sf(s2 / prior, d, min(prior_dof, total)) < _NOISIER
    judged.variance[known] = np.where(noisy, s2, shared)
    judged.dof[known] = np.where(noisy, d, shared_dof)
    return judged


def _prior(variance: Array, dof: Array) -> tuple[float, float]:
    """Scatter that units have in common, and the degrees of freedom it is worth: infinite where they are all alike."""
    from scipy.special import digamma, polygamma
    from scipy.stats import f

    log = np.log(variance) - digamma(dof / 2) + np.log(dof / 2)
    expected = polygamma(1, dof / 2)
    middle, reach = np.median(log), _REACH * np.sqrt(expected)
    log = np.clip(log, middle - reach, middle + reach)
    beyond = log.var(ddof=1) - expected.mean() if log.size > 2 else 0.0
    if beyond > _CLEAR * expected.mean() * np.sqrt(2 / max(log.size - 1, 1)):
        prior_dof = 2 * _inverse_trigamma(float(beyond))
        return float(np.exp(log.mean() + digamma(prior_dof / 2) - np.log(prior_dof / 2))), prior_dof
    alike = variance < np.exp(middle) * f.isf(_NOISIER, dof, max(float(dof.sum() - dof.mean()), 1.0))
    return float((dof * variance)[alike].sum() / dof[alike].sum()), np.inf


def _inverse_trigamma(value: float) -> float:
    """Where the trigamma function takes this value, by Newton's method on its reciprocal."""
    from scipy.special import polygamma

    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-10 * x:
            break
    return x
