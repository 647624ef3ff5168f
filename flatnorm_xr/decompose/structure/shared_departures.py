"""Tests of what units share: planes, the leading mode, one nonlinearity, Tukey's interaction."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flatnorm_xr.decompose.structure.finding import (
    MOSTLY,
    PRICE,
    Explanation,
    Finding,
    f_test,
    gain,
    mostly,
    not_made,
    percent,
    root_excess,
    with_error,
)
from flatnorm_xr.decompose.structure.leading_mode import Likeness, Mode, leading_modes, likenesses, permutation_test
from flatnorm_xr.decompose.structure.residual_table import ResidualTable
from flatnorm_xr.decompose.structure.shared_patterns import fit_one, fit_planes
from flatnorm_xr.decompose.structure.two_way import Array
from flatnorm_xr.errors import offenders

__all__ = ["modes_test", "nonlinearity_test", "plane_test", "tukey_test"]

_FEWEST_LEFT = 3
"""Degrees of freedom that must be left to judge an explanation by."""

_TUKEY = 4.0
"""A nonlinearity also makes ln G and ln E interact, so it is given the name unless Tukey's form is clearly better."""

_FAIR = 2.0
"""A mode is fitted to the noise: so many times what permuted residuals would gain by theirs is its price."""

_LIKE = 0.3
"""Share of a mode that a known pattern must account for to give it its name."""

_NO_PLACES = "the detectors have no coordinates x and y, or too few different ones"


def plane_test(table: ResidualTable) -> Finding:
    """Test a plane in x and y in each exposure, all exposures together."""
    planes = fit_planes(table)
    if planes is None:
        return not_made("plane", _NO_PLACES)
    parameters = planes.wider.rank - table.fit.rank
    if parameters < 1 or table.dof - parameters < _FEWEST_LEFT:
        return not_made("plane", "planes leave too few degrees of freedom")
    left = table.chi2_of(planes.wider.residual)
    statistic, p = f_test(table.chi2, left, parameters, table.dof)
    scatter = left / (table.dof - parameters)
    size, stderr = root_excess(table.chi2 - left, parameters, scatter, float(table.weight.sum()))
    share, expected = 1 - left / table.chi2, parameters / table.dof
    strength = np.nan_to_num(planes.gradient_x) ** 2 + np.nan_to_num(planes.gradient_y) ** 2
    most = mostly(strength, table.exposures)
    deviation = np.sqrt(scatter)
    measured = f"{percent(share)} of their variance, {100 * size:.2g} % rms{most}"
    return Finding(
        "plane",
        f"a plane in each exposure has {percent(share)} of the residual variance, of noise it has {percent(expected)}",
        p,
        statistic,
        "F",
        100 * size,
        100 * stderr,
        "%",
        share,
        Explanation(
            f"residuals follow a plane across the focal plane ({measured}): lamp or screen moved between exposures",
            gain(table, left),
            parameters,
            PRICE * parameters,
            pattern=table.residual - planes.wider.residual,
        ),
        {
            "gradient_x": planes.gradient_x,
            "gradient_y": planes.gradient_y,
            "gradient_x_stderr": planes.stderr_x * deviation,
            "gradient_y_stderr": planes.stderr_y * deviation,
        },
    )


def modes_test(table: ResidualTable, *, permutations: int, seed: int, resolve: float) -> Finding:
    """Test the leading singular value of the residuals by permutation."""
    units, exposures = int((table.weight > 0).any(1).sum()), int((table.weight > 0).any(0).sum())
    parameters = units + exposures - 3
    if min(units, exposures) < 3 or table.dof - parameters < _FEWEST_LEFT:
        return not_made("modes", "fewer than 3 units or exposures, or too few degrees of freedom")
    found = permutation_test(table, permutations=permutations, seed=seed, resolve=resolve)
    mode = leading_modes(table, 1)[0]
    pattern = np.outer(mode.unit, mode.exposure)
    left = max(table.chi2 * (1 - found.share), np.finfo(float).tiny)
    name, share = _looks_like(table, mode)
    signal = table.chi2 * max(found.share - found.usual, 0.0) / float(table.weight.sum())
    how = f"{found.permutations} permutations" + (", curve" if found.by_curve else "")
    known = f", {percent(share)} of which is {_PATTERNS[name].seen}" if name else ""
    most = mostly(mode.exposure**2, table.exposures)
    return Finding(
        "modes",
        f"the leading mode has {percent(found.share)} of the residual variance, of permuted residuals it has "
        f"{percent(found.usual)} ({how}){known}",
        found.p,
        found.share,
        "share",
        100 * np.sqrt(signal),
        np.nan,
        "%",
        found.share,
        Explanation(
            _pattern_cause(table, mode, name, share, f"{percent(found.share)} of the residual variance{most}"),
            gain(table, left),
            parameters,
            _FAIR * gain(table, table.chi2 * (1 - found.usual)),
            pattern=pattern,
            in_one_unit=name == "unit",
        ),
    )


def _pattern_cause(table: ResidualTable, mode: Mode, name: str, share: float, measured: str) -> str:
    if name == "unit":
        unit = offenders([table.units[_alone(table, mode)[0]]])
        return f"{table.noun} {unit} does not follow the others, in a way of its own ({measured})"
    like = _PATTERNS[name].cause.format(share=percent(share))
    return f"units share a pattern that changes between exposures ({measured}): {like}"


class _Pattern(NamedTuple):
    seen: str
    cause: str


_PATTERNS = {
    "plane": _Pattern("a plane", "{share} of it is a plane, lamp or screen moved"),
    "radius": _Pattern("radial", "{share} of it goes with the radius, vignetting or the lamp's profile changed"),
    "detector_type": _Pattern("the detector type's", "{share} of it goes with detector_type, the colour changed"),
    "amplifier": _Pattern("the amplifier's", "{share} of it goes with the amplifier, electronics"),
    "unit": _Pattern("one unit's", ""),
    "": _Pattern("", "it follows neither plane, radius, detector type nor amplifier"),
}


def _looks_like(table: ResidualTable, mode: Mode) -> tuple[str, float]:
    """Name of the known pattern that accounts for most of a mode, and its share; empty where none does."""
    alone = _alone(table, mode)[1]
    candidates = [Likeness("unit", alone, 0.0)] if alone > MOSTLY else []
    known = likenesses(table, mode)
    candidates += [like for like in known if like.share > _LIKE and like.p < 0.01 / len(known)]
    best = max(candidates, key=lambda like: like.share, default=None)
    return (best.name, best.share) if best else ("", 0.0)


def _alone(table: ResidualTable, mode: Mode) -> tuple[int, float]:
    """Find the unit that alone accounts for most of a mode, with what it does to E and so to the others; its share."""
    weight = table.weight.sum(1)
    total = weight.sum()
    left = weight * (1 - weight / total)
    centred = mode.unit - (weight * mode.unit).sum() / total
    strength = np.where(left > 0, (weight * centred) ** 2 / np.where(left > 0, left, 1.0), 0.0)
    whole = float((weight * centred**2).sum())
    k = int(strength.argmax())
    return k, float(strength[k]) / whole if whole > 0 else 0.0


def nonlinearity_test(table: ResidualTable) -> Finding:
    """Test one nonlinearity that all units share: a residual in proportion to the level."""
    found = _one_degree(table, "nonlinearity", np.nan_to_num(table.model), price=PRICE)
    if not found.made:
        return found
    unit, low = table.level_unit, found.p
    used = table.weight > 0
    model = np.nan_to_num(table.model)
    span = float(model.max(where=used, initial=-np.inf) - model.min(where=used, initial=np.inf))
    at_most = f"{100 * found.size * span:+.2g} % over the range of levels"
    amount = f"({with_error(found.size, found.size_stderr)}) per {unit} of the level"
    return _with(
        found,
        f"units share a nonlinearity of {amount}" if low < 0.05 else f"no common nonlinearity: {amount}",
        f"all units share a nonlinearity of {amount} ({at_most})",
        f"{unit}-1",
    )


def tukey_test(table: ResidualTable) -> Finding:
    """Test Tukey's one degree of freedom: a residual in proportion to ln G times ln E."""
    level = np.where(table.weight > 0, np.log(np.where(table.model > 0, table.model, 1.0)), 0.0)
    left = np.where(table.weight > 0, level, 0.0)
    unit = table.centred(left, table.weight)
    total = table.weight.sum(0)
    of_exposure = (table.weight * level).sum(0) / np.where(total > 0, total, np.inf)
    of_unit = level - of_exposure
    rows = table.weight.sum(1, keepdims=True)
    ln_g = (table.weight * of_unit).sum(1, keepdims=True) / np.where(rows > 0, rows, np.inf)
    found = _one_degree(table, "tukey", ln_g * unit, price=_TUKEY * PRICE)
    if not found.made:
        return found
    amount = with_error(found.size, found.size_stderr)
    return _with(
        found,
        f"ln G times ln E {'enters' if found.p < 0.05 else 'does not enter'}: {amount}",
        f"units do not respond to the level alike, a brighter unit's power is another (ln G ln E enters with {amount})",
        "1",
    )


def _one_degree(table: ResidualTable, name: str, pattern: Array, *, price: float) -> Finding:
    if table.dof - 1 < _FEWEST_LEFT:
        return not_made(name, "too few degrees of freedom")
    one = fit_one(table, pattern)
    if one is None:
        return not_made(name, "G or E does not vary")
    explained = one.slope**2 * one.information
    left = max(table.chi2 - explained, 0.0)
    statistic, p = f_test(table.chi2, left, 1, table.dof)
    stderr = np.sqrt(left / (table.dof - 1) / one.information)
    explanation = Explanation("", gain(table, left), 1, price, pattern=one.slope * one.pattern)
    return Finding(name, "", p, statistic, "F", one.slope, float(stderr), "", explained / table.chi2, explanation)


def _with(found: Finding, sentence: str, cause: str, units: str) -> Finding:
    from dataclasses import replace

    assert found.explanation is not None
    return replace(found, sentence=sentence, units=units, explanation=replace(found.explanation, cause=cause))
