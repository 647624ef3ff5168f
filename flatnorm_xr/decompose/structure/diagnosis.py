"""Test whether background = G E is true of a solution, and put all that was found into one dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.structure.finding import Finding, holm
from flatnorm_xr.decompose.structure.leading_mode import leading_modes, likenesses
from flatnorm_xr.decompose.structure.residual_table import ResidualTable, tabulate
from flatnorm_xr.decompose.structure.verdict import TESTS, Verdict, explain
from flatnorm_xr.decompose.sweeps import unit_dims
from flatnorm_xr.decompose.variance import check_solution
from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.model.make import version_attributes

__all__ = ["diagnose"]

_MODES = 3

_SUGGESTIVE = 0.05
"""p below which the sentence of a test speaks of a departure."""

_OF_UNIT = {
    "leftover_bias": ("level", "constant left in the levels, from the regression on 1/B"),
    "leftover_bias_stderr": ("level", "standard error of leftover_bias"),
    "leftover_bias_p_holm": ("1", "p-value of leftover_bias, adjusted for the number of units"),
    "slope": ("1", "change of ln G with ln E"),
    "slope_stderr": ("1", "standard error of slope"),
    "slope_p_holm": ("1", "p-value of slope, adjusted for the number of units"),
    "jump": ("1", "ln of the ratio of the responses after and before the likeliest jump"),
    "jump_stderr": ("1", "standard error of jump"),
    "jump_p_holm": ("1", "p-value of jump, adjusted for the numbers of units and of places tried"),
    "drift": ("hour-1", "change of ln G with time"),
    "drift_stderr": ("hour-1", "standard error of drift"),
    "drift_p_holm": ("1", "p-value of drift, adjusted for the number of units"),
    "own_scale": ("1", "scatter of the residuals over the median of all units"),
    "own_scale_p_holm": ("1", "p-value of a scatter above that of the others, adjusted for the number of units"),
}

_OF_EXPOSURE = {
    "gradient_x": ("mm-1", "relative gradient in x beside that of G"),
    "gradient_x_stderr": ("mm-1", "standard error of gradient_x"),
    "gradient_y": ("mm-1", "relative gradient in y beside that of G"),
    "gradient_y_stderr": ("mm-1", "standard error of gradient_y"),
}


def diagnose(solution: xr.Dataset, *, permutations: int = 999, seed: int = 0, alpha: float = 0.01) -> xr.Dataset:
    """Test whether background = G E, and name what is not so.

    Ten tests look at the residuals: a plane in x and y in each exposure; patterns that units share (leading singular
    value, by permutation); a nonlinearity common to all units, and Tukey's interaction of ln G and ln E; for each unit
    a bias left in its levels, a slope with the level, a jump of the gain, noise of its own; a drift with time;
    differences between lamps. One departure makes several of them fail, so the verdict names the causes that account
    for most with fewest parameters, one after the other, each after what the former explain is taken out.

    What one unit does moves E, and so shows in all others with the opposite sign: by a third in a camera of four. So
    the units of one test are taken one after the other too, the likeliest first, and the others judged beside it.

    Parameters
    ----------
    solution : Dataset
        What `flatnorm_xr.solve` returns; groups are pooled. Not changed. Cells without weight take no part, but those
        that a robust solve rejected speak for their own unit. Tests of places, times and lamps need the coordinates
        x and y, time, lamp.
    permutations : int
        At most so many, of the test of shared patterns; it stops once 20 of them reach what was observed, and makes
        fewer of tables beyond 100 000 cells. Where they are too few to reach ``alpha`` after Holm's adjustment, small
        p-values are read off a curve (Pearson's type III) through them.
    seed : int
        Of the permutations.
    alpha : float
        Chance of a verdict against a solution that holds.

    Returns
    -------
    Dataset
        Along ``test``: ``statistic``, ``p_value``, ``p_holm`` (adjusted for the number of tests), ``p_left`` (once the
        causes named are taken out), ``size``, ``size_stderr`` and ``size_units``, ``share`` (of the residual variance),
        ``made`` (0 or 1), ``cause`` (1 for the first cause named, 0 for none) and ``sentence``; p is NaN for a test
        that could not be made. Along the unit dims ``leftover_bias``, ``slope``, ``jump``, ``jump_exposure`` (the first
        after it), ``drift``, ``own_scale``; along ``exposure`` ``gradient_x`` and ``gradient_y``; along ``mode`` the
        leading patterns. The attribute ``verdict`` sums it up in a line.

    Raises
    ------
    FlatnormError
        ``solution`` was not solved, or a keyword is out of range.

    References
    ----------
    Tukey 1949, Biometrics 5, 232 (one degree of freedom); Freedman & Lane 1983, J. Bus. Econ. Stat. 1, 292
    (permuting residuals); Holm 1979, Scand. J. Statist. 6, 65.

    Examples
    --------
    >>> import flatnorm_xr as fx
    >>> sol = fx.solve(fx.simulate(n_detectors=30, n_exposures=10, seed=5))
    >>> diagnose(sol, permutations=99).attrs["verdict"]
    'no departure from background = G E was found (smallest p ...)'
    """
    check_solution(solution, "diagnose", needs=("background", "bgModel"), figures=("variance_factor",))
    _check(permutations, seed, alpha)
    solution = solution.drop_vars("path", errors="ignore").compute()
    table = tabulate(solution)
    verdict = explain(table, permutations=permutations, seed=seed, alpha=alpha)
    diagnosis = _assembled(verdict, table, solution)
    diagnosis.attrs |= {
        "verdict": verdict.sentence,
        "causes": ", ".join(cause.name for cause in verdict.causes),
        "alpha": float(alpha),
        "seed": int(seed),
        "permutations": int(permutations),
    }
    return diagnosis


def _check(permutations: int, seed: int, alpha: float) -> None:
    """Raise for a keyword out of its range."""
    for name, value, least in (("permutations", permutations, 19), ("seed", seed, 0)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            msg = f"diagnose: {name} is {value!r}; it must be a whole number, at least {least}"
            raise FlatnormError(msg)
    if not isinstance(alpha, int | float | np.number) or not 0 < alpha < 1:
        msg = f"diagnose: alpha is {alpha!r}; it must be a number between 0 and 1"
        raise FlatnormError(msg)


def _assembled(verdict: Verdict, table: ResidualTable, solution: xr.Dataset) -> xr.Dataset:
    """Put all that was found into one dataset, with the coordinates of the solution."""
    dims = unit_dims(solution["residual"])
    diagnosis = solution["residual"].coords.to_dataset()
    diagnosis = diagnosis.assign_coords(test=("test", list(TESTS), {"long_name": "test"}))
    diagnosis = diagnosis.assign(_of_tests(verdict))
    diagnosis = diagnosis.assign(_of_units(verdict, table, solution, dims))
    diagnosis = diagnosis.assign(_of_exposures(verdict, table))
    diagnosis = diagnosis.assign(_of_modes(table, solution, dims))
    diagnosis.attrs = {
        **version_attributes(),
        "title": "tests of background = G E",
        "units": int((table.weight > 0).any(1).sum()),
        "exposures": int((table.weight > 0).any(0).sum()),
        "groups": int(table.fit.starts.size),
        "cells": int((table.weight > 0).sum()),
        "rejected_cells": int((table.spare > 0).sum()),
        "dof": int(table.dof),
    }
    return diagnosis


def _of_tests(verdict: Verdict) -> dict[str, Any]:
    """Give the numbers of every test, along ``test``."""
    findings = verdict.findings
    rank = {cause.name: k for k, cause in reversed(list(enumerate(verdict.causes, start=1)))}
    columns: dict[str, tuple[list[Any] | NDArray[Any], str, str]] = {
        "statistic": ([f.statistic for f in findings], "1", "statistic of the test"),
        "statistic_name": ([f.statistic_name for f in findings], "", "what the statistic is"),
        "p_value": ([f.p for f in findings], "1", "p-value"),
        "p_holm": (holm([f.p for f in findings]), "1", "p-value, adjusted for the number of tests"),
        "p_left": ([f.p for f in verdict.left], "1", "p-value once the causes named are taken out"),
        "size": ([f.size for f in findings], "", "size of the departure, in size_units"),
        "size_stderr": ([f.size_stderr for f in findings], "", "standard error of size"),
        "size_units": ([f.units for f in findings], "", "units of size"),
        "share": ([f.share for f in findings], "1", "share of the residual variance"),
        "made": ([int(f.made) for f in findings], "1", "1 if the test could be made"),
        "cause": ([rank.get(f.name, 0) for f in findings], "1", "place among the causes named, 0 for none"),
        "sentence": (_in_words(verdict), "", "what was found, in words"),
    }
    return {name: ("test", values, _attributes(units, words)) for name, (values, units, words) in columns.items()}


def _in_words(verdict: Verdict) -> list[str]:
    """Sentences of the findings; one that looks like a departure, and is not beyond chance among so many, says so."""
    named = {cause.name for cause in verdict.causes}
    adjusted = holm([f.p for f in verdict.findings])
    return [
        f"{f.sentence} (no more than chance makes in one of so many tests)"
        if f.made and f.p < _SUGGESTIVE and p >= _SUGGESTIVE and f.name not in named
        else f.sentence
        for f, p in zip(verdict.findings, adjusted, strict=True)
    ]


def _of_units(verdict: Verdict, table: ResidualTable, solution: xr.Dataset, dims: list[str]) -> dict[str, Any]:
    """Give what was found of every unit, along the unit dims."""
    found = _details(verdict.findings)
    shape = tuple(solution.sizes[dim] for dim in dims)
    answer = {}
    for name, (units, words) in _OF_UNIT.items():
        if name in found:
            attributes = _attributes(table.level_unit if units == "level" else units, words)
            answer[name] = (dims, found[name].reshape(shape), attributes)
    if "jump_column" in found:
        labels = np.array([*table.exposures, ""])[found["jump_column"].astype(int)].reshape(shape)
        answer["jump_exposure"] = (dims, labels, _attributes("", "first exposure after the likeliest jump"))
    return answer


def _of_exposures(verdict: Verdict, table: ResidualTable) -> dict[str, Any]:
    """Give what was found of every exposure."""
    found = _details(verdict.findings)
    return {
        name: ("exposure", _in_order(found[name], table), _attributes(*row))
        for name, row in _OF_EXPOSURE.items()
        if name in found
    }


def _of_modes(table: ResidualTable, solution: xr.Dataset, dims: list[str]) -> dict[str, Any]:
    """Give the leading modes, and how much of each known patterns account for; nothing where no test was made."""
    if min(table.weight.shape) < 3 or table.dof < 1 or not table.chi2 > 0:
        return {}
    modes = leading_modes(table, _MODES)
    shape = tuple(solution.sizes[dim] for dim in dims)
    answer: dict[str, Any] = {
        "mode": ("mode", np.arange(1, len(modes) + 1), {"long_name": "number of the mode"}),
        "mode_share": ("mode", [mode.share for mode in modes], _attributes("1", "share of the residual variance")),
        "mode_unit": (
            ("mode", *dims),
            np.stack([mode.unit.reshape(shape) for mode in modes]),
            _attributes("1", "pattern of the mode over units, relative"),
        ),
        "mode_exposure": (
            ("mode", "exposure"),
            np.stack([_in_order(mode.exposure, table) for mode in modes]),
            _attributes("1", "amplitude of the mode, rms 1"),
        ),
    }
    likes = [likenesses(table, mode) for mode in modes]
    if likes[0]:
        answer["pattern"] = ("pattern", [like.name for like in likes[0]], {"long_name": "known pattern over units"})
        shares = [[like.share for like in of_mode] for of_mode in likes]
        answer["mode_likeness"] = (
            ("mode", "pattern"),
            np.array(shares),
            _attributes("1", "share of the mode's pattern that the known pattern accounts for"),
        )
    return answer


def _details(findings: list[Finding]) -> dict[str, NDArray[np.float64]]:
    return {name: values for finding in findings for name, values in finding.details.items()}


def _in_order(values: NDArray[np.float64], table: ResidualTable) -> NDArray[np.float64]:
    """Put values of the table's columns into the order of the solution's exposures."""
    ordered = np.empty_like(values)
    ordered[table.column] = values
    return ordered


def _attributes(units: str, words: str) -> dict[str, str]:
    return {"long_name": words, "units": units} if units else {"long_name": words}
