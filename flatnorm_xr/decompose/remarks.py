"""Say what deserves a look in a solution: one warning a kind, whatever the number of groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from flatnorm_xr.decompose.cells import count_cells, count_flags
from flatnorm_xr.decompose.connectivity import unit_labels
from flatnorm_xr.decompose.fit import Fit, FitOptions
from flatnorm_xr.decompose.sweeps import unit_dims
from flatnorm_xr.decompose.weighing import Model
from flatnorm_xr.errors import offenders, warn
from flatnorm_xr.flags import REJECTED, WITHOUT_WEIGHT, Flag, has_flag

__all__ = ["remark"]

_TOO_QUIET = 4.0
_ENOUGH_DOF = 5
_EVEN = 2.0

_FAULTS = (
    (Flag.REJECTED_EXPOSURE, "exposure", "exposures"),
    (Flag.REJECTED_UNIT, "unit", "units"),
    (Flag.GAIN_JUMP, "gain jump", "gain jumps"),
    (Flag.OUTLIER, "cell or run of cells", "cells or runs of cells"),
)


def remark(
    solution: xr.Dataset,
    fits: list[tuple[str, Fit]],
    *,
    options: FitOptions,
    known_variance: bool,
    model: Model,
    doubts: Sequence[str] = (),
) -> None:
    """Warn of cells left out, of what was never measured, and of fits that cannot be checked or do not hold.

    Parameters
    ----------
    solution : Dataset
        With quality flags of all cells.
    fits : list of (str, Fit)
        Each with the words that name its group.
    options : FitOptions
    known_variance : bool
        Whether the weights claim to be inverse variances.
    model : {"log", "log-link"}
    doubts : sequence of str
        What finding the weights left to be said.
    """
    quality, exists = solution["quality"], solution.coords.get("exists")
    for doubt in doubts:
        warn(doubt)
    _cells(
        quality,
        mean_gauge=isinstance(options.gauge, str) and options.gauge == "mean",
        biased=model == "log",
    )
    if "rejection" in solution:
        _rejections(solution)
    real = xr.DataArray(True) if exists is None else exists
    dead = [f"{u}{within}" for within, fit in fits for u in unit_labels(fit.G, fit.G.isnull() & real)]
    if dead:
        warn(f"solve: no usable level of {offenders(dead)}: G is NaN")
    dark = [f"{e}{within}" for within, fit in fits for e in fit.E["exposure"].values[np.isnan(fit.E.values)]]
    if dark:
        warn(f"solve: no usable level in exposures {offenders(dark)}: E and scales are NaN, do not stack them")
    apart = [f"{int(fit.components.unit.max()) + 1}{within}" for within, fit in fits if fit.components.unit.max() > 0]
    if apart:
        warn(
            f"solve: sets of units that share no exposure: {offenders(apart)}; each has a gauge of its own, do not "
            f"compare G or E of different sets (component, UNIDENTIFIABLE)"
        )
    _quality_of_fit(solution, fits, options, known_variance)
    _quality_of_errors(solution, fits, known_variance=known_variance)


def _rejections(solution: xr.Dataset) -> None:
    """Say what was found to be at fault."""
    found = []
    for flag, one, several in _FAULTS:
        events = np.unique(solution["rejection"].values[has_flag(solution["quality"], flag).values])
        number = int((events > 0).sum())
        if number:
            found.append(f"{number} {one if number == 1 else several}")
    if found:
        warn(f"solve: rejected {', '.join(found)}; see rejections(solution)")
    hidden = [
        str(exposure)
        for exposure, bad in zip(
            solution["exposure"].values,
            (has_flag(solution["quality"], Flag.REJECTED_EXPOSURE) & (solution["rejection"] > 0))
            .any(unit_dims(solution["quality"]))
            .values,
            strict=True,
        )
        if bad
    ]
    if hidden:
        warn(f"solve: exposures {offenders(hidden)} were rejected: their scales are NaN, do not stack them")


def _even(solution: xr.Dataset) -> bool:
    """Whether units weigh about the same; errors from uneven weights that are no variances compare with nothing."""
    weight = solution["weight"]
    mean = weight.where(weight > 0).mean("exposure")
    return bool(mean.max() <= _EVEN * mean.min())


def _quality_of_errors(solution: xr.Dataset, fits: list[tuple[str, Fit]], *, known_variance: bool) -> None:
    """Say which errors are not what was asked for, and when they do not agree with each other."""
    fragile = [
        f"{unit}{within}"
        for within, fit in fits
        for errors in fit.errors[:1]
        if errors.fragile is not None
        for unit in unit_labels(fit.G, errors.fragile)
    ]
    if fragile:
        warn(
            f"solve: units {offenders(fragile)} hang on fewer than 3 exposures (or blocks of them), or on one that "
            f"ties them to the others: their errors are analytic (FRAGILE)"
        )
    excess = max((errors.excess for _, fit in fits for errors in fit.errors), default=0.0)
    if excess > 1 and (known_variance or _even(solution)):
        cause = "background = G E does not hold to the noise"
        if "rejection" not in solution:
            cause = f"some levels are at fault (robust='tukey' finds them), or {cause}"
        warn(
            f"solve: how units scatter between exposures differs from unit to unit {excess:.1f} times more than "
            f"chance allows: {cause}; see diagnose(solution)"
        )


def _cells(quality: xr.DataArray, *, mean_gauge: bool, biased: bool) -> None:
    found = count_flags(quality, Flag(WITHOUT_WEIGHT & ~REJECTED))
    padding = found.pop("NO_SUCH_AMPLIFIER", 0)
    if found:
        number = count_cells(quality, Flag(WITHOUT_WEIGHT & ~REJECTED)) - padding
        which = ", ".join(f"{name} {n}" for name, n in found.items())
        gauge = "; the mean gauge moves with the cells that are lost, a gauge of named detectors does not"
        warn(
            f"solve: {number} of {quality.size - padding} cells carry no weight ({which}; see quality)"
            f"{gauge if mean_gauge else ''}"
        )
    weak = count_flags(quality, Flag.LOW_SIGNAL)
    if weak and biased:
        warn(
            f"solve: {weak['LOW_SIGNAL']} cells have levels below 30 of their own errors, where ln is biased "
            f"(LOW_SIGNAL); use model='log-link'"
        )


def _quality_of_fit(
    solution: xr.Dataset, fits: list[tuple[str, Fit]], options: FitOptions, known_variance: bool
) -> None:
    unchecked = [within for within, fit in fits if fit.dof <= 0]
    if unchecked:
        where = f" in {len(unchecked)} of {len(fits)} groups" if len(fits) > 1 else ""
        warn(
            f"solve: as many parameters as levels{where}: the fit is exact whatever the levels, nothing can be checked"
        )
    noisy = [fit for _, fit in fits if fit.dof >= _ENOUGH_DOF and fit.variance_factor > _TOO_QUIET]
    if known_variance and "counts" not in solution:
        warn(
            "solve: counts are absent, so sigma is taken for the error of a level; give counts if it is the scatter "
            "of the pixels"
        )
    if known_variance and noisy:
        worst = max(noisy, key=lambda fit: fit.variance_factor)
        warn(
            f"solve: levels scatter {np.sqrt(worst.variance_factor):.1f} times more than sigma, counts and floor say, "
            f"so the weights are not what they claim; leave floor out to have it estimated"
        )
    moving = [f"{fit.change:.1e}{within}" for within, fit in fits if fit.change > 1e-6]
    if options.method == "alternation" and moving:
        warn(
            f"solve: after {options.iterations} iterations the alternation still moves G by {offenders(moving)}; "
            f"use method='exact'"
        )
