"""Errors from the data alone: G refitted with exposures left out or drawn anew, E with units left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.conjugate_gradient import iterate
from flatnorm_xr.decompose.connectivity import connect
from flatnorm_xr.decompose.sweeps import NormalEquations, ratio, unit_dims

__all__ = ["Replicates", "bootstrap_errors", "draw", "jackknife_errors", "leave_out", "refit", "unit_deletion_variance"]

MOST_BLOCKS = 32
"""Replicates of a jackknife; more exposures than this are left out in blocks."""

FEWEST = 3
"""Exposures, or blocks of them, that a unit needs for errors from its own scatter."""

_FEWEST_EFFECTIVE = 2.5
"""Exposures of equal weight that a unit's exposures are worth: one that outweighs all others has nothing to scatter."""

_LARGE_SHARE = 0.1
"""Share of the gauge that, once torn off, makes the errors of all others worthless too."""


@dataclass(frozen=True)
class _Resampled(NormalEquations):
    """Normal equations with each exposure taken a number of times, all replicates at once.

    ``weight`` stays as it is; the sums carry the dim ``replicate``, so that a sweep over all replicates is one product
    of two matrices.
    """

    multiplicity: xr.DataArray
    """(exposure, replicate), how often each exposure is taken; 0 leaves it out."""

    def apply_schur(self, e: xr.DataArray) -> xr.DataArray:
        taken = self.multiplicity * e
        g = ratio(_product(self.weight, taken, "exposure"), self.unit_total)
        return self.exposure_total * e - self.multiplicity * _product(self.weight, g, unit_dims(self.weight))

    def schur_right_side(self) -> xr.DataArray:
        g = ratio(self.unit_sum, self.unit_total)
        return self.exposure_sum - self.multiplicity * _product(self.weight, g, unit_dims(self.weight))

    def unit_means(self, e: xr.DataArray) -> xr.DataArray:
        return ratio(self.unit_sum - _product(self.weight, self.multiplicity * e, "exposure"), self.unit_total)


class Replicates(NamedTuple):
    """What the replicates found."""

    shift: xr.DataArray
    """(unit dims, replicate), ln G of the replicate less ln G of all exposures, the gauge held; 0 where not tied."""
    tied: xr.DataArray
    """(unit dims, replicate), bool: the unit still hangs on the larger part of the gauge."""
    torn: xr.DataArray
    """(replicate), share of the gauge that does not."""


class ScatterErrors(NamedTuple):
    """Variances of ln G found from scatter, degrees of freedom, and units for which it cannot be done."""

    variance: xr.DataArray
    dof: xr.DataArray
    fragile: xr.DataArray


def leave_out(block: NDArray[np.intp]) -> xr.DataArray:
    """Leave each block of exposures out once, (exposure, replicate) of 0 and 1.

    Parameters
    ----------
    block : array of int, (exposure)
        Number of the block of each exposure, from 0.
    """
    number = int(block.max()) + 1
    return xr.DataArray((block[:, None] != np.arange(number)).astype(float), dims=("exposure", "replicate"))


def draw(n_exposures: int, *, replicates: int, seed: int) -> xr.DataArray:
    """Draw exposures with replacement, (exposure, replicate) of whole numbers."""
    rng = np.random.default_rng(seed)
    times = rng.multinomial(n_exposures, np.full(n_exposures, 1 / n_exposures), size=replicates)
    return xr.DataArray(times.T.astype(float), dims=("exposure", "replicate"))


def refit(
    residual: xr.DataArray, weight: xr.DataArray, multiplicity: xr.DataArray, gradient: xr.DataArray
) -> Replicates:
    """Fit each replicate, as a change of the full solution.

    The gauge is held: its set and its weights are those of the full solution, or its own scatter would swamp what is
    looked for.

    Parameters
    ----------
    residual, weight : DataArray, (unit dims, exposure)
        Of the full solution, one component; exposures without weight are of no concern.
    multiplicity : DataArray, (exposure, replicate)
        How often each exposure is taken.
    gradient : DataArray, (unit dims)
        `flatnorm_xr.decompose.covariance.gauge_gradient`.
    """
    units = unit_dims(weight)
    weighted = weight * residual
    equations = _Resampled(
        y=residual,
        weight=weight,
        unit_total=_product(weight, multiplicity, "exposure"),
        unit_sum=_product(weighted, multiplicity, "exposure"),
        exposure_total=weight.sum(units) * multiplicity,
        exposure_sum=weighted.sum(units) * multiplicity,
        multiplicity=multiplicity,
    )
    size = float(np.sqrt((weighted * residual).sum() / weight.sum()))
    e, _, _ = iterate(equations, tolerance=1e-6 * size)
    tied = _tied(weight, multiplicity, gradient)
    shift = equations.unit_means(e)
    held = gradient.where(tied, 0.0)
    offset = ratio((held * shift).sum(units), held.sum(units))
    torn = 1 - held.sum(units) / gradient.sum()
    return Replicates((shift - offset).where(tied, 0.0), tied, torn)


def jackknife_errors(replicates: Replicates, weight: xr.DataArray, multiplicity: xr.DataArray) -> ScatterErrors:
    """Variance of ln G by leaving out exposures or blocks of them.

    With W the weight of a unit and W_k its weight in block k, ``h_k = W / W_k`` and d_k the change of ln G without
    that block, the variance is the mean of ``(h_k - 1) d_k^2`` over the blocks that hold the unit. With n equal blocks
    that is ``(n - 1) / n`` times the sum of ``d_k^2``.

    Parameters
    ----------
    replicates : Replicates
        Of ``multiplicity``.
    weight : DataArray, (unit dims, exposure)
    multiplicity : DataArray, (exposure, replicate)
        `leave_out`.

    References
    ----------
    Busing, Meijer & van der Leeden 1999, Statistics and Computing 9, 3 (blocks of unequal size).
    """
    removed = _product(weight, 1 - multiplicity, "exposure")
    times = ratio(weight.sum("exposure"), removed)
    holds = removed > 0
    number = holds.sum("replicate")
    squares = ((times - 1) * replicates.shift**2).where(holds & (times > 1), 0.0)
    part = ratio(removed, weight.sum("exposure"))
    alone = (part**2).sum("replicate") * _FEWEST_EFFECTIVE > 1
    fragile = ~replicates.tied.all("replicate") | (number < FEWEST) | alone
    fragile = fragile | bool((replicates.torn > _LARGE_SHARE).any())
    return ScatterErrors(squares.sum("replicate") / number.clip(1), number - 1, fragile)


def bootstrap_errors(replicates: Replicates, weight: xr.DataArray) -> ScatterErrors:
    """Variance of ln G between replicates whose exposures were drawn with replacement.

    n draws from n exposures scatter less than n new exposures would, by ``(n - 1) / n``, which is made good.

    Parameters
    ----------
    replicates : Replicates
        Of `draw`. A unit that a replicate did not draw, or that hangs on nothing there, is left out of that one.
    weight : DataArray, (unit dims, exposure)

    References
    ----------
    Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 6.
    """
    number = (weight > 0).sum("exposure")
    usable = replicates.tied & (replicates.torn <= _LARGE_SHARE)
    scatter = replicates.shift.where(usable).var("replicate", ddof=1, skipna=True)
    variance = scatter * number / (number - 1).clip(1)
    fragile = (2 * usable.sum("replicate") < usable.sizes["replicate"]) | (number < FEWEST)
    return ScatterErrors(variance.fillna(0.0), number - 1, fragile)


def unit_deletion_variance(residual: xr.DataArray, weight: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Variance of ln E by leaving out units, and its degrees of freedom, (exposure) both.

    With r the residuals of exposure j, w their weights and W their sum, n the number of units and c the part of a
    unit's weight that lies in this exposure,

        Var ln E_j = (n - 1) / n * sum (w r / (W - w))^2 / (1 - c).

    The last factor makes good what G took up of the residual, m / (m - 1) for m exposures of equal weight.

    References
    ----------
    Miller 1974, Biometrika 61, 1 (the jackknife).
    """
    units = unit_dims(weight)
    number = (weight > 0).sum(units)
    total = weight.sum(units)
    part = ratio(weight, weight.sum("exposure"))
    pull = ratio(weight * residual, total - weight)
    squares = ratio(pull**2, 1 - part).where(part < 1, 0.0).sum(units)
    return squares * (number - 1) / number.clip(1), number - 1


def _tied(weight: xr.DataArray, multiplicity: xr.DataArray, gradient: xr.DataArray) -> xr.DataArray:
    """Units that hang together with the larger part of the gauge in each replicate, (unit dims, replicate).

    A walk from the exposure of the largest weight reaches them, as products of matrices; a replicate in which it does
    not reach all that is measured is looked at by itself.
    """
    units = unit_dims(weight)
    measured = (weight > 0).astype("f4")
    taken = multiplicity > 0
    first = (weight.sum(units) * taken).argmax("exposure")
    exposures = taken & (xr.DataArray(np.arange(weight.sizes["exposure"]), dims="exposure") == first)
    number = 0
    while True:
        reached = _product(measured, exposures.astype("f4"), "exposure") > 0
        exposures = taken & (_product(measured, reached.astype("f4"), units) > 0)
        number, before = int(exposures.sum()), number
        if number == before:
            break
    present = _product(measured, taken.astype("f4"), "exposure") > 0
    for k in np.flatnonzero((present & ~reached).any(units).values):
        parts = connect((weight > 0) & taken.isel(replicate=k)).unit
        shares = [float(gradient.where(parts == p, 0.0).sum()) for p in range(int(parts.max()) + 1)]
        reached[{"replicate": k}] = parts == int(np.argmax(shares))
    return reached


def _product(a: xr.DataArray, b: xr.DataArray, dim: str | list[str]) -> xr.DataArray:
    """Sum of the products over ``dim``, as a product of matrices where both have further dims."""
    product: xr.DataArray = xr.dot(a, b, dim=dim, optimize=True)
    return product
