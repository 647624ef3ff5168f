"""All tests of a solution's structure, and the fewest causes that account for what they found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flatnorm_xr.decompose.structure.finding import Explanation, Finding, holm, not_made
from flatnorm_xr.decompose.structure.interactions import drift_test, lamp_test
from flatnorm_xr.decompose.structure.residual_table import ResidualTable
from flatnorm_xr.decompose.structure.shared_departures import modes_test, nonlinearity_test, plane_test, tukey_test
from flatnorm_xr.decompose.structure.unit_departures import bias_test, jump_test, slope_test
from flatnorm_xr.decompose.structure.unit_noise import scatter_test

__all__ = ["TESTS", "Cause", "Verdict", "examine", "explain"]

TESTS = ("plane", "modes", "nonlinearity", "tukey", "bias", "slope", "jump", "scatter", "time", "lamp")
"""In the order in which they are made and shown."""

_OF_ONE_UNIT = ("bias", "slope", "jump", "scatter")

_MOST_CAUSES = 5
_SHOWN = 3

_ROUNDING = 1e-12
"""Rms of residuals of ln(background) below which they are rounding."""


@dataclass(frozen=True)
class Cause:
    """One cause that the verdict names, and the test that showed it."""

    name: str
    words: str


@dataclass(frozen=True)
class Verdict:
    """What the tests say of the levels as they are, the causes in order, and what is left once they are taken out."""

    findings: list[Finding]
    causes: list[Cause]
    left: list[Finding]
    sentence: str


def examine(table: ResidualTable, *, permutations: int, seed: int, alpha: float) -> list[Finding]:
    """Make every test that can be made, in the order of `TESTS`."""
    why = _nothing_to_test(table)
    if why:
        return [not_made(name, why) for name in TESTS]
    makers: dict[str, Callable[[], Finding]] = {
        "plane": lambda: plane_test(table),
        "modes": lambda: modes_test(table, permutations=permutations, seed=seed, resolve=alpha / len(TESTS)),
        "nonlinearity": lambda: nonlinearity_test(table),
        "tukey": lambda: tukey_test(table),
        "bias": lambda: bias_test(table, alpha=alpha),
        "slope": lambda: slope_test(table, alpha=alpha),
        "jump": lambda: jump_test(table, alpha=alpha),
        "scatter": lambda: scatter_test(table, alpha=alpha),
        "time": lambda: drift_test(table, alpha=alpha),
        "lamp": lambda: lamp_test(table),
    }
    return [makers[name]() for name in TESTS]


def explain(table: ResidualTable, *, permutations: int, seed: int, alpha: float) -> Verdict:
    """Name the causes of what the tests find, each time the one that accounts for most for its number of parameters.

    A departure makes many tests fail at once: a tilt of the lamp also makes a leading mode, and a bias in one
    detector a slope and a noisy unit. So the test whose explanation raises the likelihood most, less a price for
    each parameter, gives the name; what it explains is taken out, and the tests are made again.

    Parameters
    ----------
    table : ResidualTable
    permutations, seed : int
        Of the test of the leading mode.
    alpha : float
        Chance of any false alarm in one round of tests (Holm).
    """
    findings = left = examine(table, permutations=permutations, seed=seed, alpha=alpha)
    causes: list[Cause] = []
    while len(causes) < _MOST_CAUSES:
        adjusted = holm([finding.p for finding in left])
        if not np.any(adjusted < alpha):
            break
        # once something is certain, the likeliest name may be one that alone would not be
        explanations = {f.name: f.explanation for f in left if f.p < alpha and f.explanation is not None}
        if any(name in explanations for name in _OF_ONE_UNIT):
            explanations = {name: e for name, e in explanations.items() if not e.in_one_unit}
        name = max(explanations, key=lambda name: explanations[name].gain - explanations[name].price)
        if any(cause.words == explanations[name].cause for cause in causes):
            break
        causes.append(Cause(name, explanations[name].cause))
        table = _taken_out(table, explanations[name])
        left = examine(table, permutations=permutations, seed=seed, alpha=alpha)
    return Verdict(findings, causes, left, _sentence(findings, causes))


def _taken_out(table: ResidualTable, explanation: Explanation) -> ResidualTable:
    if explanation.factor is not None:
        return table.reweighted(explanation.factor)
    assert explanation.pattern is not None
    return table.without(explanation.pattern, explanation.parameters)


def _nothing_to_test(table: ResidualTable) -> str:
    """Why no test can be made, empty where they can."""
    units, exposures = int((table.weight > 0).any(1).sum()), int((table.weight > 0).any(0).sum())
    if units < 2 or exposures < 2:
        return f"{units} unit(s) and {exposures} exposure(s) follow any G and E; it takes two of each"
    if table.dof < 1:
        return "as many parameters as levels, the fit is exact whatever they are"
    used = table.weight > 0
    if np.sqrt(np.mean(table.residual[used] ** 2)) < _ROUNDING:
        return "the levels are an outer product to rounding"
    return ""


def _sentence(findings: list[Finding], causes: list[Cause]) -> str:
    made = [finding for finding in findings if finding.made]
    if not made:
        reasons = {finding.sentence.removeprefix("not made: ") for finding in findings}
        return f"nothing could be tested: {reasons.pop() if len(reasons) == 1 else 'there are too few levels'}"
    if causes:
        more = f" (+{len(causes) - _SHOWN} more)" if len(causes) > _SHOWN else ""
        return "; also ".join(cause.words for cause in causes[:_SHOWN]) + more
    smallest = min(finding.p for finding in made)
    of = "" if len(made) == len(findings) else f" in {len(made)} of {len(findings)} tests"
    return f"no departure from background = G E was found (smallest p {smallest:.2g}{of})"
