"""Tests of responses that differ between lamps, or drift with time, from unit to unit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flatnorm_xr.decompose.structure.finding import (
    PRICE,
    Explanation,
    Finding,
    f_test,
    gain,
    not_made,
    percent,
    root_excess,
)
from flatnorm_xr.decompose.structure.residual_table import ResidualTable
from flatnorm_xr.decompose.structure.shared_patterns import fit_columns, focal_plane_patterns
from flatnorm_xr.decompose.structure.two_way import Array, Wider
from flatnorm_xr.decompose.structure.unit_departures import unit_drift

__all__ = ["drift_test", "lamp_test"]

_FEWEST_LEFT = 3

_PLANE = 2

_NO_CHANCE = 1e-3

_LIKELY = 0.05
"""p below which a sentence says that there is something."""


class _Fitted(NamedTuple):
    """One form of the departure: every unit by itself, or smooth over the focal plane."""

    wider: Wider
    parameters: int
    left: float
    statistic: float
    p: float


def lamp_test(table: ResidualTable) -> Finding:
    """Test whether lamps light the units in different proportions.

    Two forms are tried, each at half the error rate: any difference of each unit between lamps, and one that is a
    plane or goes with the radius, which takes few parameters and so is seen when it is small.
    """
    lamps = table.known.lamp
    if lamps is None:
        return not_made("lamp", "the exposures have no coordinate lamp")
    names = np.unique(lamps)
    if names.size < 2:
        return not_made("lamp", "there is one lamp only")
    patterns = [(lamps == name).astype(float) for name in names[1:]]
    forms = _forms(table, patterns)
    if not forms:
        return not_made("lamp", "no group of exposures has two lamps, or too few cells are left")
    best, p, size, stderr, share = _weigh(table, forms)
    measured = f"{percent(share)} of the residual variance, {size:.2g} % rms"
    if p < _LIKELY:
        measured += _of_plane(table, patterns, forms[0])
    how = "differently" if p < _LIKELY else "alike"
    return Finding(
        "lamp",
        f"{names.size} lamps light the focal plane {how}: their difference has {measured}",
        p,
        best.statistic,
        "F",
        size,
        stderr,
        "%",
        share,
        _explanation(
            table, forms, f"the {names.size} lamps light the focal plane differently ({measured}): solve with by='lamp'"
        ),
    )


def drift_test(table: ResidualTable, *, alpha: float) -> Finding:
    """Test whether responses drift with time: all of them, as a pattern over the focal plane, or single ones."""
    time = table.known.time
    if time is None:
        return not_made("time", "the exposures have no coordinate time")
    known = np.isfinite(time)
    if np.unique(time[known]).size < 3:
        return not_made("time", "fewer than 3 different times are known")
    middle = time[known].mean()
    scaled = np.where(known, time - middle, 0.0) / np.ptp(time[known])
    forms = _forms(table, [scaled])
    if not forms:
        return not_made("time", "drifts leave too few degrees of freedom")
    alone = unit_drift(table, time, alpha=alpha) if known.all() else None
    best, p, size, stderr, share = _weigh(table, forms)
    measured = f"{percent(share)} of the residual variance, {size:.2g} % rms"
    if p < _LIKELY:
        measured += _of_plane(table, [scaled], forms[0])
    sentence = f"{'responses drift' if p < _LIKELY else 'no drift of responses'} with time: {measured}"
    explanation = _explanation(
        table, forms, f"responses drift with time ({measured}): lamp or detectors warmed up, or gains drift"
    )
    if alone is not None and alone.made:
        # the forms were charged for their number, this is one more
        tried = len(forms)
        p = min(1.0, (tried + 1) * min(p / tried, alone.p))
        assert alone.explanation is not None
        beside = explanation.gain - explanation.price
        if alone.p < _NO_CHANCE and alone.explanation.gain - alone.explanation.price > beside:
            sentence, explanation = alone.sentence, alone.explanation
    return Finding(
        "time",
        sentence,
        p,
        best.statistic,
        "F",
        size,
        stderr,
        "%",
        share,
        explanation,
        alone.details if alone is not None else {},
    )


def _forms(table: ResidualTable, patterns: list[Array]) -> list[_Fitted]:
    """Fit patterns over exposures, (exposure) each, with a coefficient a unit, and smooth over the focal plane."""
    shape = table.weight.shape
    of_unit = table.wider(of_unit=[np.broadcast_to(z, shape).copy() for z in patterns])
    found = [(of_unit, of_unit.rank - table.fit.rank)]
    places = focal_plane_patterns(table)
    if places:
        places = [*places, np.sum([p**2 for p in places], axis=0)]
        smooth = fit_columns(table, [np.outer(p, z) for p in places for z in patterns])
        found.append((smooth, smooth.rank))
    forms = []
    for wider, parameters in found:
        if parameters >= 1 and table.dof - parameters >= _FEWEST_LEFT:
            left = table.chi2_of(wider.residual)
            forms.append(_Fitted(wider, parameters, left, *f_test(table.chi2, left, parameters, table.dof)))
    return forms


def _weigh(table: ResidualTable, forms: list[_Fitted]) -> tuple[_Fitted, float, float, float, float]:
    """Give the likelier form, p of both together, the rms in % with its error, and the share of the variance."""
    best = min(forms, key=lambda form: form.p)
    p = min(1.0, len(forms) * best.p)
    scatter = best.left / (table.dof - best.parameters)
    size, stderr = root_excess(table.chi2 - best.left, best.parameters, scatter, float(table.weight.sum()))
    return best, p, 100 * size, 100 * stderr, 1 - best.left / table.chi2


def _explanation(table: ResidualTable, forms: list[_Fitted], cause: str) -> Explanation:
    """Take the form that explains most for its price, of those that are no chance."""
    plain = [form for form in forms if form.p < _NO_CHANCE] or [min(forms, key=lambda form: form.p)]
    best = max(plain, key=lambda form: gain(table, form.left) - PRICE * form.parameters)
    pattern = table.residual - best.wider.residual
    return Explanation(cause, gain(table, best.left), best.parameters, PRICE * best.parameters, pattern=pattern)


def _of_plane(table: ResidualTable, patterns: list[Array], any_form: _Fitted) -> str:
    """Say what share of the differences between units, beyond noise, is a plane; empty where places are not known."""
    places = focal_plane_patterns(table)
    noise = any_form.left / (table.dof - any_form.parameters)
    explained = table.chi2 - any_form.left - any_form.parameters * noise
    if len(places) < _PLANE or explained <= 0:
        return ""
    planes = fit_columns(table, [np.outer(p, z) for p in places for z in patterns])
    of_planes = table.chi2 - table.chi2_of(planes.residual) - planes.rank * noise
    return f"; a plane is {percent(min(max(of_planes / explained, 0.0), 1.0))} of it"
