"""The pattern that residuals share most: is it more than chance, and what does it look like."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.decompose.structure.residual_table import ResidualTable
from flatnorm_xr.decompose.structure.shared_patterns import focal_plane_patterns
from flatnorm_xr.decompose.structure.two_way import Array

__all__ = ["Likeness", "Mode", "Permuted", "leading_modes", "likenesses", "permutation_test", "shares_of_noise"]

_ENOUGH = 20
"""Permutations that reach the observed value before no more are needed."""

_BATCH = 2_000_000
"""Cells permuted at once: 16 MB an array."""

_WORK = 1.2e8
"""Cells permuted in all, in tables of few exposures (or units): of larger tables there are fewer permutations."""

_FEWEST = 49

_SMALL = 200
"""Size up to which all eigenvalues are found at once."""

_FEW = 10
"""Permutations that reach the observed value below which their number says little of p."""

_LEAST_SKEWNESS = 0.2935
"""Of the largest singular value of a large table of noise (Tracy and Widom's law); small tables have more."""


class Mode(NamedTuple):
    """One singular pair of the residuals, each in units of its standard error."""

    share: float
    """Of the sum of squares."""
    unit: Array
    """(unit), relative; rms of 1 over exposures times this is the pattern."""
    exposure: Array
    """(exposure), rms 1."""


class Permuted(NamedTuple):
    """Outcome of the permutation test of the leading mode."""

    p: float
    share: float
    """Share of the leading mode."""
    usual: float
    """What it is on average once the residuals of each unit are permuted."""
    permutations: int
    by_curve: bool
    """Whether p was read off the curve, because fewer permutations were made than p asks for."""


class Likeness(NamedTuple):
    """How much of a mode's pattern over units one known pattern accounts for."""

    name: str
    share: float
    p: float


def leading_modes(table: ResidualTable, number: int) -> list[Mode]:
    """Singular vectors of the residuals over their errors, largest first."""
    weight = table.weight
    scaled = np.sqrt(weight) * table.residual
    wide = scaled.shape[1] > scaled.shape[0]
    squares = scaled @ scaled.T if wide else scaled.T @ scaled
    total = float(np.trace(squares))
    modes = []
    values, vectors = _largest(squares, min(number, squares.shape[0]))
    for value, vector in zip(values, vectors.T, strict=True):
        along = vector @ scaled if wide else vector
        norm = np.linalg.norm(along)
        exposure = along / (norm if norm > 0 else 1.0) * np.sqrt(along.size)
        information = (weight * exposure**2).sum(1)
        unit = (weight * exposure * table.residual).sum(1) / np.where(information > 0, information, np.inf)
        sign = 1.0 if abs(unit.max()) >= abs(unit.min()) else -1.0
        modes.append(Mode(max(float(value), 0.0) / total if total > 0 else 0.0, sign * unit, sign * exposure))
    return modes


def _largest(matrix: Array, number: int) -> tuple[Array, Array]:
    """Largest eigenvalues of a symmetric matrix, in falling order, and their vectors in columns."""
    if matrix.shape[0] <= _SMALL:
        values, vectors = np.linalg.eigh(matrix)
    else:
        from scipy.sparse.linalg import eigsh

        values, vectors = eigsh(matrix, k=number, which="LA", tol=1e-6, v0=np.ones(matrix.shape[0]))
    return values[::-1][:number], vectors[:, ::-1][:, :number]


def permutation_test(table: ResidualTable, *, permutations: int, seed: int, resolve: float) -> Permuted:
    """Test the share of the leading mode by permuting each unit's residuals among its cells and refitting.

    Residuals of a fit differ in variance and are not independent. So each is divided by its own standard deviation
    before it moves, multiplied by that of a level where it lands, and the whole is fitted again.

    Parameters
    ----------
    table : ResidualTable
    permutations : int
        At most so many; fewer once the answer is plain (20 of them reach the observed share), and fewer for tables
        beyond 100 000 cells.
    seed : int
    resolve : float
        Smallest p that must be told; where the permutations made are too few for it, p is read off Pearson's curve of
        type III through them.

    References
    ----------
    Besag & Clifford 1991, Biometrika 78, 301 (stopping early); Josse, Pages & Husson 2008, Comput. Stat. Data Anal.
    53, 82 (Pearson's curve for permutations).
    """
    scale = np.sqrt(table.weight)
    observed = float(_leading_share((scale * table.residual)[np.newaxis])[0])
    # explanations that were taken out took noise with them, permuted residuals have theirs again
    observed *= table.dof / (table.dof + table.taken)
    work = table.weight.size * (1 + min(table.weight.shape) / 100)
    number = int(min(permutations, max(_FEWEST, _WORK / work)))
    shuffle = _Shuffle.of(table)
    rng = np.random.default_rng(seed)
    batch = max(1, min(200, _BATCH // table.weight.size))
    shares: list[float] = []
    while len(shares) < number:
        tables = shuffle.draw(rng, min(batch, number - len(shares)))
        shares.extend(_leading_share(table.fit.residual(tables) * scale).tolist())
        reached = np.cumsum(np.array(shares) >= observed)
        if reached[-1] >= _ENOUGH:
            drawn = int(np.searchsorted(reached, _ENOUGH)) + 1
            return Permuted(_ENOUGH / drawn, observed, float(np.mean(shares)), drawn, False)
    made = np.array(shares)
    p = (1 + int(reached[-1])) / (1 + number)
    by_curve = 1 / (1 + number) >= resolve and p < _FEW / (1 + number)
    if by_curve and made.std() > 0:
        p = _tail(made, observed)
    return Permuted(float(p), observed, float(made.mean()), number, by_curve)


def shares_of_noise(table: ResidualTable, number: int, *, permutations: int, seed: int) -> Array:
    """Shares of the leading modes once the residuals of each unit are permuted, (permutation, mode).

    As in `permutation_test`; the first mode of noise takes what is largest by chance, and leaves less to the next.

    Parameters
    ----------
    table : ResidualTable
    number : int
        Of modes.
    permutations : int
    seed : int
    """
    rng, shuffle, scale = np.random.default_rng(seed), _Shuffle.of(table), np.sqrt(table.weight)
    shares = []
    for _ in range(permutations):
        scaled = table.fit.residual(shuffle.draw(rng, 1)[0]) * scale
        squares = scaled @ scaled.T if scaled.shape[1] > scaled.shape[0] else scaled.T @ scaled
        total = float(np.trace(squares))
        shares.append(_largest(squares, number)[0] / (total if total > 0 else 1.0))
    return np.array(shares)


def _tail(drawn: Array, observed: float) -> float:
    """Chance of a value as large, by Pearson's curve of type III through the mean, scatter and skewness of a sample."""
    from scipy.stats import gamma, skew

    shape = 4 / max(float(skew(drawn)), _LEAST_SKEWNESS) ** 2
    deviate = (observed - drawn.mean()) / drawn.std(ddof=1)
    return float(gamma.sf(shape + deviate * np.sqrt(shape), shape))


def _leading_share(tables: Array) -> Array:
    """Share of the largest squared singular value in their sum, of each table of a batch."""
    turned = np.swapaxes(tables, -1, -2)
    squares = turned @ tables if tables.shape[-1] <= tables.shape[-2] else tables @ turned
    total = np.trace(squares, axis1=-2, axis2=-1)
    if squares.shape[-1] <= _SMALL:
        largest = np.linalg.eigvalsh(squares)[..., -1]
    else:
        largest = np.array([_largest(one, 1)[0][0] for one in squares])
    share: Array = largest / np.where(total > 0, total, 1.0)
    return share


class _Shuffle(NamedTuple):
    """Residuals over their standard deviations, and cells that may change places: those of one unit and one group."""

    standard: Array
    deviation: Array
    cells: list[tuple[NDArray[np.intp], NDArray[np.intp]]]
    """Units that have as many cells in a group, (unit, 1), and the columns of these, (unit, cell)."""

    @classmethod
    def of(cls, table: ResidualTable) -> _Shuffle:
        weight, starts = table.weight, table.fit.starts
        left = np.where(weight > 0, 1 - table.fit.leverage, 0.0)
        plays = left > 1e-9
        deviation = np.where(weight > 0, 1 / np.sqrt(np.where(weight > 0, weight, 1.0)), 0.0)
        standard = np.where(plays, table.residual / np.where(plays, deviation * np.sqrt(left), 1.0), 0.0)
        cells = []
        for start, end in zip(starts, [*starts[1:], weight.shape[1]], strict=True):
            first = np.argsort(~plays[:, start:end], axis=1, kind="stable") + start
            number = plays[:, start:end].sum(1)
            for k in np.unique(number[number > 1]):
                units = np.flatnonzero(number == k)
                cells.append((units[:, np.newaxis], first[units, :k]))
        return cls(standard, deviation, cells)

    def draw(self, rng: np.random.Generator, number: int) -> Array:
        """Give so many permuted tables, each value scaled to the cell where it lands."""
        permuted = np.repeat(self.standard[np.newaxis], number, axis=0)
        for units, columns in self.cells:
            values = np.broadcast_to(self.standard[units, columns], (number, *columns.shape))
            permuted[:, units, columns] = rng.permuted(values, axis=-1)
        permuted *= self.deviation
        return permuted


def likenesses(table: ResidualTable, mode: Mode) -> list[Likeness]:
    """Regress a mode's pattern over units on each known pattern: plane, radius, detector type, amplifier, one unit."""
    from scipy.stats import f

    weight = table.weight.sum(1)
    mean = (weight * mode.unit).sum() / weight.sum()
    root = np.sqrt(weight)
    centred = root * (mode.unit - mean)
    total = float(centred @ centred)
    units = int((weight > 0).sum())
    found = []
    for name, design in _known_patterns(table).items():
        columns = root[:, np.newaxis] * (design - (weight @ design) / weight.sum())
        u, s, _ = np.linalg.svd(columns, full_matrices=False)
        rank = int((s > 1e-9 * max(s.max(initial=0.0), 1e-300)).sum()) if s.size else 0
        left_dof = units - 1 - rank
        if rank == 0 or left_dof < 1 or total <= 0:
            continue
        explained = float(((u[:, :rank].T @ centred) ** 2).sum())
        share = min(explained / total, 1.0)
        statistic = share / rank / max((1 - share) / left_dof, 1e-300)
        found.append(Likeness(name, share, float(f.sf(statistic, rank, left_dof))))
    return found


def _known_patterns(table: ResidualTable) -> dict[str, Array]:
    """Patterns over units by name, (unit, columns) each."""
    known = table.known
    patterns: dict[str, Array] = {}
    places = focal_plane_patterns(table)
    if places:
        patterns["plane"] = np.stack(places, axis=1)
        patterns["radius"] = np.sum([p**2 for p in places], axis=0)[:, np.newaxis]
    for name, labels in (("detector_type", known.detector_type), ("amplifier", known.amplifier)):
        if labels is not None and 1 < np.unique(labels).size < labels.size:
            patterns[name] = (labels[:, np.newaxis] == np.unique(labels)).astype(float)
    return patterns
