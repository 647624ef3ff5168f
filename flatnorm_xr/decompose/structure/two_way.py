"""What a fit of one number a unit and one an exposure leaves of a table, again and again for the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "PositiveSystem", "TwoWayFit", "Wider", "fit_wider"]

Array = NDArray[np.float64]

_DEPENDENT = 1e-10
"""Share of a column's own norm below which what other columns leave of it is rounding."""


class PositiveSystem(NamedTuple):
    """Cholesky factor of the independent part of a positive semidefinite matrix."""

    factor: Array
    chosen: NDArray[np.intp]
    scale: Array

    @classmethod
    def of(cls, matrix: Array) -> PositiveSystem:
        """Factor with pivots: what depends on the columns already taken is left out, its unknowns are 0."""
        from scipy.linalg.lapack import dpstrf

        diagonal = np.diagonal(matrix).copy()
        scale = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 0.0)
        factor, order, rank, _ = dpstrf(matrix * np.outer(scale, scale), tol=_DEPENDENT)
        return cls(np.triu(factor[:rank, :rank]), order[:rank] - 1, scale)

    @property
    def rank(self) -> int:
        """Number of independent unknowns."""
        return int(self.chosen.size)

    def solve(self, right: Array) -> Array:
        """Solve for the unknowns along the last axis of ``right``."""
        from scipy.linalg import cho_solve

        answer = np.zeros(right.shape)
        if self.rank:
            columns = (right * self.scale)[..., self.chosen].reshape(-1, self.rank).T
            found = cho_solve((self.factor, False), columns, check_finite=False)
            answer[..., self.chosen] = found.T.reshape(*right.shape[:-1], self.rank)
        return answer * self.scale


class _Block(NamedTuple):
    """The exposures of one group, and the equations of the shorter side once the longer one is eliminated."""

    where: slice
    flipped: bool
    weight: Array
    """(long side, short side)."""
    total: Array
    """(long side), 1 where there is no weight."""
    system: PositiveSystem


@dataclass(frozen=True)
class TwoWayFit:
    """Weighted least squares of one number for each unit (in each group of exposures) and one for each exposure.

    One factorisation serves any number of tables with the same weights. Groups are runs of columns.
    """

    weight: Array
    """(unit, exposure), 0 where a cell takes no part."""
    starts: NDArray[np.intp]
    """First column of each group."""
    blocks: tuple[_Block, ...]

    @classmethod
    def of(cls, weight: Array, starts: NDArray[np.intp]) -> TwoWayFit:
        """Factor the equations of each group, on its shorter side."""
        ends = [*starts[1:], weight.shape[1]]
        return cls(weight, starts, tuple(_block(weight, slice(a, b)) for a, b in zip(starts, ends, strict=True)))

    @property
    def rank(self) -> int:
        """Number of independent parameters."""
        return sum(int((b.weight.sum(1) > 0).sum()) + b.system.rank for b in self.blocks)

    def residual(self, table: Array) -> Array:
        """Give what the fit leaves of one table or a batch, (..., unit, exposure); cells without weight follow."""
        left = np.array(table)
        for block in self.blocks:
            part = left[..., block.where]
            part = np.swapaxes(part, -1, -2) if block.flipped else part
            by_long = np.einsum("...ij,ij->...i", part, block.weight) / block.total
            by_short = np.einsum("...ij,ij->...j", part, block.weight) - by_long @ block.weight
            short = block.system.solve(by_short)
            part -= (by_long - (short @ block.weight.T) / block.total)[..., np.newaxis]
            part -= short[..., np.newaxis, :]
        return left

    @cached_property
    def leverage(self) -> Array:
        """By how much each used cell pulls its own fit, (unit, exposure): 0 no pull, 1 the fit is the cell."""
        pull = np.zeros(self.weight.shape)
        for block in self.blocks:
            covariance = block.system.solve(np.eye(block.weight.shape[1]))
            share = block.weight / block.total[:, np.newaxis]
            spread = share @ covariance
            variance = (1 / block.total + (spread * share).sum(1))[:, np.newaxis] + np.diagonal(covariance) - 2 * spread
            of_block = block.weight * variance
            pull[:, block.where] = of_block.T if block.flipped else of_block
        return pull.clip(0.0, 1.0)

    def information_of_rows(self, patterns: Array) -> Array:
        """Give the sum of w r^2 that the fit leaves of each row of a pattern by itself, all other rows being 0.

        Parameters
        ----------
        patterns : array, (..., unit, exposure)

        Returns
        -------
        array, (..., unit)
        """
        found = np.zeros(patterns.shape[:-1])
        for block in self.blocks:
            part = patterns[..., block.where]
            if block.flipped:
                weight = block.weight.T
                share = weight / block.total
                kept = (weight * part**2 * (1 - share)).sum(-1)
                short = -np.einsum("...ij,ij,kj->...ik", part, weight, share)
                own = np.arange(len(weight))
                short[..., own, own] += (weight * part).sum(-1)
            else:
                centred = part - ((block.weight * part).sum(-1) / block.total)[..., np.newaxis]
                short = block.weight * centred
                kept = (short * centred).sum(-1)
            found += kept - (short * block.system.solve(short)).sum(-1)
        return np.maximum(found, 0.0)

    def reweighted(self, factor: Array) -> TwoWayFit:
        """Give the fit with the weights of each unit multiplied by ``factor`` (unit)."""
        return TwoWayFit.of(self.weight * factor[:, np.newaxis], self.starts)


def _block(weight: Array, where: slice) -> _Block:
    part = weight[:, where]
    flipped = part.shape[0] < part.shape[1]
    part = np.ascontiguousarray(part.T if flipped else part)
    total = part.sum(1)
    total = np.where(total > 0, total, 1.0)
    matrix = np.diag(part.sum(0)) - (part / total[:, np.newaxis]).T @ part
    return _Block(where, flipped, part, total, PositiveSystem.of(matrix))


class Wider(NamedTuple):
    """What a wider model leaves of a table, and how many independent parameters it has."""

    residual: Array
    rank: int


def fit_wider(table: Array, weight: Array, *, of_unit: Sequence[Array], of_exposure: Sequence[Array]) -> Wider:
    """Fit a coefficient for each unit to every pattern in ``of_unit``, and one for each exposure in ``of_exposure``.

    Parameters
    ----------
    table, weight : array, (unit, exposure)
    of_unit, of_exposure : sequence of array, (unit, exposure)
        Patterns whose coefficients differ from unit to unit, from exposure to exposure. Ones among both give the
        outer product; ones inside a group of exposures and zeros outside give each group its own G.

    Returns
    -------
    Wider
        Coefficients that nothing determines are 0.
    """
    n, m = table.shape
    if n * len(of_unit) < m * len(of_exposure):
        flipped = fit_wider(table.T, weight.T, of_unit=[a.T for a in of_exposure], of_exposure=[a.T for a in of_unit])
        return Wider(flipped.residual.T, flipped.rank)
    basis, rank = _orthonormal(of_unit, weight)
    columns = [weight * pattern for pattern in of_exposure]
    flat = np.concatenate(columns, axis=1)
    matrix = np.zeros((flat.shape[1], flat.shape[1]))
    for a, first in enumerate(columns):
        for b, second in enumerate(of_exposure):
            at = np.arange(m)
            matrix[a * m + at, b * m + at] = (first * second).sum(0)
    for q in basis:
        where = np.flatnonzero(np.tile(q.any(0), len(columns)))
        part = (flat * np.tile(q, (1, len(columns))))[:, where]
        matrix[np.ix_(where, where)] -= part.T @ part
    left = _without(table, basis, weight)
    system = PositiveSystem.of(matrix)
    answer = system.solve((flat * np.tile(left, (1, len(columns)))).sum(0)).reshape(len(columns), m)
    fitted = sum(pattern * answer[b] for b, pattern in enumerate(of_exposure))
    return Wider(_without(table - fitted, basis, weight), rank + system.rank)


def _orthonormal(patterns: Sequence[Array], weight: Array) -> tuple[list[Array], int]:
    """Make the patterns of each unit orthonormal under its weights; 0 where a unit has too few cells for one."""
    basis: list[Array] = []
    rank = 0
    for pattern in patterns:
        before = (weight * pattern**2).sum(1)
        left = _without(_without(pattern, basis, weight), basis, weight)
        norm = (weight * left**2).sum(1)
        there = norm > _DEPENDENT * before
        rank += int(there.sum())
        basis.append(left / np.sqrt(np.where(there, norm, np.inf))[:, np.newaxis])
    return basis, rank


def _without(table: Array, basis: Sequence[Array], weight: Array) -> Array:
    """Take the projection of each unit's row on the basis out of it."""
    for q in basis:
        table = table - (weight * q * table).sum(1, keepdims=True) * q
    return table
