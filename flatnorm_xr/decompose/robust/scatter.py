"""How widely the cells of a fit scatter: one scale for all, and how far single units may depart from it. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NORMAL_MEDIAN",
    "Scatter",
    "Table",
    "UnitScatter",
    "degrees_of_freedom",
    "inverse",
    "leverage_factor",
    "masked_median",
    "moderate",
    "robust_scale",
    "scatter",
    "smallest_scale",
]

Array = NDArray[np.float64]

NORMAL_MEDIAN = 0.6744897501960817
"""Median of the absolute value of a standard normal."""

_MEDIAN_EFFICIENCY = 0.37
"""Efficiency of the median of absolute values as an estimate of a scale."""

_CLIP = 2.5
_CLIPPED_EFFICIENCY = 0.8
_KEPT = math.erf(_CLIP / math.sqrt(2))
_CLIPPED_VARIANCE = 1 - 2 * _CLIP * math.exp(-(_CLIP**2) / 2) / math.sqrt(2 * math.pi) / _KEPT
"""Variance of a standard normal clipped at `_CLIP`."""

_SMALLEST = 1e-10
"""Relative scatter of a cell below which differences are rounding, or quantised input."""

_FAIR = 0.05
"""Relative error of the sum of what fitting leaves at which leverages are worked out in full."""

_LARGEST_MATRIX = 500
"""Exposures up to which that is done."""

_TIED = 1e-6
"""Share of its own variance that the residual of a cell must keep to say anything."""

_FEWEST = 7
"""Cells of a unit whose own scatter is looked at: among fewer, one fault is not to be told from a noisy unit."""

_FEWEST_LEFT = 3
"""Cells that must be left of it once faults are out."""

_FEWEST_UNITS = 6
"""Units that can tell how the scatter of units is distributed."""

_LEAST_PRIOR = 4.0
"""Degrees of freedom that the common variance is worth at least: units that differ more are themselves at fault."""

_SURE = 3.0
"""Standard errors by which units must differ in scatter before they are taken to differ."""


class Table(NamedTuple):
    """One table of cells: residuals of a fit so far, and weights, (units, exposures)."""

    residual: Array
    """ln(background) - ln G - ln E; any finite number where the weight is zero."""
    weight: Array
    """Inverse variance up to a factor; 0 where not measured."""


class Scatter(NamedTuple):
    """Scale of standardised residuals, and the degrees of freedom it is worth."""

    scale: float
    dof: float


class UnitScatter(NamedTuple):
    """What is typical of units, and what is known of each; see `moderate`."""

    typical: float
    """Standard deviation of a cell of weight 1."""
    prior: float
    """Degrees of freedom that ``typical`` is worth for one unit; infinite where units do not differ."""
    scales: list[Array]
    """Of each table, (units): standard deviation of a cell of weight 1 of the unit."""
    dof: list[Array]
    """Of each table, (units): degrees of freedom of that."""


def leverage_factor(weight: Array, used: Array) -> Array:
    """Factor that turns residuals of a fit into standardised ones: root of weight over what fitting leaves of variance.

    The leverage is that of a complete table, ``1 - h = (1 - w / W_unit) (1 - w / W_exposure)``, which is exact for
    equal weights; where that does not add up to the degrees of freedom, because units and exposures are tied weakly,
    it is taken from the normal equations. 0 for cells without weight and for those that their own fit hides.

    Parameters
    ----------
    weight, used : array, (units, exposures)
        Weights of the cells, and of the fit: a cell whose weight is 0 there is outside it.
    """
    kept = (1 - used * inverse(used.sum(axis=1))[:, np.newaxis]) * (1 - used * inverse(used.sum(axis=0)))
    left = degrees_of_freedom(used)
    if abs(float(kept.sum(where=used > 0)) - left) > _FAIR * left and weight.shape[1] <= _LARGEST_MATRIX:
        kept = 1 - used * _fitted_variance(used)
    return np.sqrt(np.divide(weight, kept, out=np.zeros_like(weight), where=kept > _TIED))


def _fitted_variance(used: Array) -> Array:
    """Variance of ln G + ln E of each cell for weights that are inverse variances, by inverting normal equations."""
    per_unit = inverse(used.sum(axis=1))[:, np.newaxis]
    share = used * per_unit
    covariance = np.linalg.pinv(np.diag(used.sum(axis=0)) - used.T @ share, rcond=1e-12, hermitian=True)
    spread = share @ covariance
    of_unit = per_unit[:, 0] + np.einsum("ij,ij->i", spread, share)
    variance: Array = of_unit[:, np.newaxis] + np.diagonal(covariance) - 2 * spread
    return variance


def scatter(tables: Sequence[Table], used: Sequence[Array]) -> Scatter:
    """Pool the standardised residuals of all tables into one scale, clipped at 2.5 of its own.

    The median of the absolute values is where it starts, and clipping lets it forget what stands out, at a fifth
    of the efficiency; a median alone would cost 63 %. Real levels have wings: clipping at 3 doubled what the limits
    of real flats came to.
    """
    pooled = []
    for table, weight in zip(tables, used, strict=True):
        factor = leverage_factor(table.weight, weight)
        pooled.append((table.residual * factor)[(weight > 0) & (factor > 0)])
    size, least = np.abs(np.concatenate(pooled)), smallest_scale(tables)
    scale = max(robust_scale(size), least)
    for _ in range(20):
        kept = size[size < _CLIP * scale]
        if kept.size == 0:
            break
        previous, scale = scale, max(math.sqrt(float(kept @ kept) / kept.size / _CLIPPED_VARIANCE), least)
        if abs(scale - previous) <= 1e-3 * scale:
            break
    return Scatter(scale, _CLIPPED_EFFICIENCY * sum(degrees_of_freedom(weight) for weight in used))


def moderate(tables: Sequence[Table], used: Sequence[Array], *, pooled: Scatter, clean: bool) -> UnitScatter:
    """Variance of each unit between its own and that of all, as far as units are seen to differ.

    Where the variances of units spread no more than chance spreads them, each is the common one, known well. Where
    they spread more, because the weights do not know that some units are noisier, the spread tells how many degrees
    of freedom the common variance is worth for one unit (few: units differ much), and each unit's own variance is
    averaged with it accordingly. Otherwise every noisy unit would be full of faults.

    Parameters
    ----------
    tables, used
        As for `scatter`.
    pooled : Scatter
        What `scatter` gives.
    clean : bool
        Whether what stands out has been taken out of ``used``; if not, a unit's own variance is from a median.

    References
    ----------
    Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3, 3 (moderated t).
    """
    from scipy.special import digamma, polygamma

    estimates = [_own_variance(t, u, clean=clean) for t, u in zip(tables, used, strict=True)]
    own, dof = (np.concatenate(both) for both in zip(*estimates, strict=True))
    common, prior = pooled.scale**2, np.inf
    judged = (dof > 0) & (own > smallest_scale(tables) ** 2)
    if int(judged.sum()) >= _FEWEST_UNITS:
        half = dof[judged] / 2
        log = np.log(own[judged] / common) - digamma(half) + np.log(half)
        middle = float(np.median(log))
        spread = robust_scale(log - middle) ** 2
        chance = float(polygamma(1, half).mean())
        if spread > chance * (1 + _SURE * math.sqrt(2 / (_MEDIAN_EFFICIENCY * half.size))):
            excess = spread - chance
            prior = max((1 + math.sqrt(1 + 2 * excess)) / excess, _LEAST_PRIOR)
            common *= math.exp(middle + float(digamma(prior / 2)) - math.log(prior / 2))
    if math.isinf(prior):
        variance, known = np.full_like(own, common), np.full_like(own, pooled.dof)
    else:
        variance, known = (prior * common + dof * own) / (prior + dof), np.minimum(prior + dof, pooled.dof)
    ends = np.cumsum([table.weight.shape[0] for table in tables])[:-1]
    return UnitScatter(math.sqrt(common), prior, np.split(np.sqrt(variance), ends), np.split(known, ends))


def _own_variance(table: Table, used: Array, *, clean: bool) -> tuple[Array, Array]:
    """Variance of each unit by itself and the degrees of freedom it is worth; 0 of them where it cannot be told."""
    factor = leverage_factor(table.weight, used)
    z, seen = table.residual * factor, (used > 0) & (factor > 0)
    number = seen.sum(axis=1)
    if clean:
        own, dof = np.where(seen, z * z, 0.0).sum(axis=1) / np.maximum(number, 1), number - 1.0
    else:
        own = (masked_median(np.abs(z), seen, axis=1) / NORMAL_MEDIAN) ** 2
        dof = _MEDIAN_EFFICIENCY * (number - 1.0)
    judged = ((table.weight > 0).sum(axis=1) >= _FEWEST) & (number >= _FEWEST_LEFT)
    return own, np.where(judged, dof, 0.0)


def robust_scale(values: Array) -> float:
    """Median of the absolute values as a standard deviation; 0 where there are none."""
    return float(np.median(np.abs(values))) / NORMAL_MEDIAN if values.size else 0.0


def smallest_scale(tables: Sequence[Table]) -> float:
    """Scale below which residuals are rounding."""
    weights = np.concatenate([table.weight[table.weight > 0] for table in tables])
    return _SMALLEST * math.sqrt(float(np.median(weights))) if weights.size else 1.0


def degrees_of_freedom(weight: Array) -> float:
    """Cells less the units and exposures they are fitted by, for one connected table."""
    used = weight > 0
    return max(float(used.sum()) - float(used.any(axis=1).sum()) - float(used.any(axis=0).sum()) + 1, 0.0)


def masked_median(values: Array, valid: NDArray[np.bool_], *, axis: int) -> Array:
    """Median over the valid values along ``axis``; 0 where there are none."""
    if valid.all():
        complete: Array = np.median(values, axis=axis)
        return complete
    number = valid.sum(axis=axis, keepdims=True)
    ordered = np.sort(np.where(valid, values, np.inf), axis=axis)
    low = np.take_along_axis(ordered, np.maximum(number - 1, 0) // 2, axis=axis)
    high = np.take_along_axis(ordered, np.minimum(number // 2, ordered.shape[axis] - 1), axis=axis)
    middle: Array = np.where(number > 0, (low + high) / 2, 0.0).squeeze(axis)
    return middle


def inverse(total: Array) -> Array:
    """One over the total, 0 where it is 0."""
    return np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
