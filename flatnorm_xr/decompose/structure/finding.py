"""What one test of a solution's structure found, and how several findings are held against one error rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from flatnorm_xr.decompose.structure.residual_table import ResidualTable
from flatnorm_xr.decompose.structure.two_way import Array
from flatnorm_xr.errors import offenders

__all__ = [
    "MOSTLY",
    "PRICE",
    "Explanation",
    "Finding",
    "f_test",
    "gain",
    "holm",
    "mostly",
    "not_made",
    "percent",
    "root_excess",
    "with_error",
]

PRICE = 3.0
"""Gain that a parameter must bring before an explanation with one less is left for it: noise alone brings 1."""

MOSTLY = 0.7


@dataclass(frozen=True)
class Explanation:
    """A departure from background = G E that would account for a finding."""

    cause: str
    """In words, for the verdict."""
    gain: float
    """By how much minus twice the log of the likelihood falls."""
    parameters: int
    """Those that subtracting it takes."""
    price: float
    """What is taken off the gain when explanations are compared: `PRICE` a parameter, and for the choice among many."""
    pattern: Array | None = None
    """What it adds to ln(background), (unit, exposure)."""
    factor: Array | None = None
    """Or what it multiplies the weights by, (unit)."""
    in_one_unit: bool = False
    """Whether it is a pattern that one unit makes, of which what is wrong with the unit is the better name."""


@dataclass(frozen=True)
class Finding:
    """One test: its numbers, and what they mean in a sentence. A test that was not made has ``p`` NaN."""

    name: str
    sentence: str
    p: float = np.nan
    statistic: float = np.nan
    statistic_name: str = ""
    size: float = np.nan
    size_stderr: float = np.nan
    units: str = ""
    share: float = np.nan
    """Share of the residual variance that it accounts for."""
    explanation: Explanation | None = None
    details: dict[str, Array] = field(default_factory=dict)

    @property
    def made(self) -> bool:
        """Whether there was anything to test."""
        return bool(np.isfinite(self.p))


def not_made(name: str, why: str) -> Finding:
    """Give the finding of a test that could not be made."""
    return Finding(name, f"not made: {why}")


def f_test(chi2: float, left: float, parameters: int, dof: int) -> tuple[float, float]:
    """F and its p-value for an explanation with so many parameters that brings chi^2 down to ``left``.

    Parameters
    ----------
    chi2, left : float
        Sum of w r^2 before and after.
    parameters, dof : int
        Of the explanation; degrees of freedom before it.
    """
    from scipy.stats import f

    after = dof - parameters
    statistic = ((chi2 - left) / parameters) / (max(left, np.finfo(float).tiny) / after)
    return float(statistic), float(f.sf(statistic, parameters, after))


def root_excess(explained: float, parameters: int, scatter: float, total: float) -> tuple[float, float]:
    """Rms of a pattern whose chi^2 is ``explained``, less what noise explains, and its standard error.

    Parameters
    ----------
    explained : float
        Sum of w times the pattern squared.
    parameters : int
        Free ones of the pattern.
    scatter : float
        Chi^2 a degree of freedom of what is left.
    total : float
        Sum of the weights.
    """
    signal = max(explained - parameters * scatter, 0.0)
    size = np.sqrt(signal / total)
    spread = np.sqrt(2 * parameters * scatter**2 + 4 * signal * scatter)
    # near zero the root has no linear error: what would be seen with no pattern at all
    stderr = spread / (2 * size * total) if size > 0 else np.inf
    return float(size), float(min(stderr, np.sqrt(spread / total)))


def holm(p: Iterable[float]) -> Array:
    """Adjust p-values so that the chance of any false alarm among them is held; NaN, for what was not tested, stays.

    References
    ----------
    Holm 1979, Scand. J. Statist. 6, 65.

    Examples
    --------
    >>> holm([0.01, 0.5, float("nan"), 0.02])
    array([0.03, 0.5 ,  nan, 0.04])
    """
    values = np.asarray(list(p) if not isinstance(p, np.ndarray) else p, dtype=float)
    adjusted = np.full(values.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(values))
    order = tested[np.argsort(values[tested])]
    steps = np.maximum.accumulate(values[order] * np.arange(order.size, 0, -1))
    adjusted[order] = steps.clip(max=1.0)
    return adjusted


def gain(table: ResidualTable, left: float) -> float:
    """By how much minus twice the log of the likelihood falls when chi^2 falls to ``left``."""
    return float(table.dof * np.log(table.chi2 / max(left, 1e-12 * table.chi2)))


def mostly(strength: Array, labels: list[str]) -> str:
    """Words that name the exposure which has most of a departure; empty where none has.

    Examples
    --------
    >>> mostly(np.array([0.1, 0.1, 5.0]), ["101", "102", "103"])
    ', mostly in exposure 103'
    """
    total = float(strength.sum())
    k = int(strength.argmax())
    return f", mostly in exposure {offenders([labels[k]])}" if total > 0 and strength[k] > MOSTLY * total else ""


def with_error(value: float, error: float) -> str:
    """Write a number with its error, both to the second digit of the error.

    Examples
    --------
    >>> with_error(20.1234, 1.53), with_error(2.04e-7, 3.3e-8), with_error(-1234.5, 250.0)
    ('+20.1 ± 1.5', '+2.04e-07 ± 3.3e-08', '-1230 ± 250')
    """
    if not np.isfinite(error) or error <= 0 or not np.isfinite(value):
        return f"{value:+.3g}"
    digits = 1 - int(np.floor(np.log10(error)))
    if -4 < digits < 6:
        return f"{round(value, digits):+.{max(digits, 0)}f} ± {round(error, digits):.{max(digits, 0)}f}"
    precise = max(int(np.floor(np.log10(max(abs(value), error)))) + digits, 0)
    return f"{value:+.{precise}e} ± {error:.1e}"


def percent(share: float) -> str:
    """Write a share as a percentage, small ones with one digit.

    Examples
    --------
    >>> percent(1.0), percent(0.824), percent(0.0031)
    ('100 %', '82 %', '0.3 %')
    """
    value = 100 * share
    return f"{value:.0f} %" if abs(value) >= 0.95 or value == 0 else f"{value:.1g} %"
