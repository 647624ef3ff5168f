"""Put the fits of all groups together into a solution, and say in its attributes how it was found."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr

from flatnorm_xr.decompose.cells import blank
from flatnorm_xr.decompose.fit import Fit, FitOptions
from flatnorm_xr.decompose.gauge import describe_gauge, named_detectors
from flatnorm_xr.decompose.groups import Groups
from flatnorm_xr.decompose.sweeps import unit_dims
from flatnorm_xr.decompose.weighing import Weighed
from flatnorm_xr.decompose.weights import describe_weights
from flatnorm_xr.flags import Flag
from flatnorm_xr.model.make import stamp, version_attributes
from flatnorm_xr.model.schema import level_units, units_of

__all__ = ["assemble", "described", "explained_by_modes"]


class _Placement:
    """Where the parts of each group go in the whole."""

    def __init__(self, groups: Groups) -> None:
        self._grouped = groups.by is not None
        self._number = xr.DataArray(groups.number, dims="exposure")
        self._order = np.argsort(np.argsort(groups.number, kind="stable"))

    def along_exposure(self, parts: list[xr.DataArray]) -> xr.DataArray:
        """Join parts along exposure, in the order of the levels."""
        return xr.concat(parts, "exposure", join="exact").isel(exposure=self._order) if self._grouped else parts[0]

    def along_group(self, parts: list[xr.DataArray]) -> xr.DataArray:
        """Stack parts along group."""
        return xr.concat(parts, "group", join="exact") if self._grouped else parts[0]

    def of_exposure(self, array: xr.DataArray) -> xr.DataArray:
        """Value that holds for each exposure."""
        return array.isel(group=self._number) if self._grouped else array


def assemble(ds: xr.Dataset, weighed: Weighed, groups: Groups, fits: list[Fit], *, working: bool) -> xr.Dataset:
    """Put the fits of all groups into one dataset.

    Parameters
    ----------
    ds : Dataset
        The levels at the level that was solved, with their flags.
    weighed : Weighed
    groups : Groups
    fits : list of Fit
        One for each group.
    working : bool
        Whether residuals are those of a log link, which levels below zero have, too.
    """
    place = _Placement(groups)
    E = place.along_exposure([fit.E for fit in fits])
    G = place.along_group([fit.G for fit in fits])
    component = place.along_group([fit.components.unit for fit in fits])
    residual = place.along_exposure([fit.residual for fit in fits])
    in_fit = place.along_exposure([fit.components.exposure for fit in fits]) >= 0
    background = ds["background"]
    model = (place.of_exposure(G) * E).transpose(*background.dims)
    modes = _modes(fits, place)
    exists = ds.coords.get("exists", xr.DataArray(True))
    scales = E.where(exists & in_fit).broadcast_like(background).transpose(*background.dims)
    if modes:
        patterns = modes["mode_exposure"].fillna(0.0) * place.of_exposure(modes["mode_unit"]).fillna(0.0)
        factor = xr.ufuncs.exp(patterns.sum("mode")).transpose(*background.dims)
        model, scales = model * factor, scales * factor
    measured = xr.ufuncs.isfinite(background) if working else (background > 0) & (background < np.inf)
    valid = measured & exists & place.of_exposure(G).notnull() & E.notnull()
    added = {
        "E": E,
        "G": G,
        "bgModel": model,
        "scales": scales,
        "residual": blank(residual.transpose(*background.dims), valid),
        "weight": weighed.weight,
        "component": component,
        "gauge_weight": place.along_group([fit.share for fit in fits]),
        **_errors(fits, E, G, place),
        **modes,
    }
    apart = (place.of_exposure(component) > 0) & (weighed.weight > 0)
    quality = ds["quality"]
    if bool(apart.any()):
        quality = quality | apart * np.uint32(Flag.UNIDENTIFIABLE)
    if weighed.faults is not None and weighed.rejection is not None:
        quality = quality | weighed.faults
        added["rejection"] = weighed.rejection
    fragile = place.along_group([_fragile(fit) for fit in fits])
    if bool(fragile.any()):
        quality = quality | (place.of_exposure(fragile) & exists) * np.uint32(Flag.FRAGILE)
    added["quality"] = quality.transpose(*background.dims)
    keep = {str(dim) for dim in background.dims} | {"group", "mode", "modes_tried"}
    solution = ds.assign({name: array.drop_vars(set(array.coords) - keep) for name, array in added.items()})
    if groups.by is not None:
        solution = solution.drop_vars("group", errors="ignore").assign_coords(
            group=("group", groups.labels), exposure_group=("exposure", groups.labels[groups.number])
        )
    return solution


def explained_by_modes(groups: Groups, fits: Sequence[Fit]) -> xr.DataArray:
    """Give what modes explain of the logarithms of the levels, (unit dims, exposure), as a search for faults needs it.

    Exposures that were rejected are shown as much of each pattern as they have; in a solution they have none.
    """
    parts = [xr.zeros_like(fit.residual) if fit.modes is None else _explained(fit) for fit in fits]
    labelled = [part.assign_coords(fit.residual.coords) for part, fit in zip(parts, fits, strict=True)]
    return _Placement(groups).along_exposure(labelled)


def _explained(fit: Fit) -> xr.DataArray:
    """Give what modes explain, also of exposures that took no part: as much of each pattern as they show."""
    modes = fit.modes
    assert modes is not None
    explained = modes.correction.transpose(*fit.residual.dims).copy()
    if not modes.number:
        return explained
    units = unit_dims(fit.G)
    patterns = modes.unit.transpose(*units, "mode").values.reshape(-1, modes.unit.sizes["mode"])
    known = np.isfinite(patterns).all(1) & (fit.components.unit.transpose(*units).values.ravel() >= 0)
    for j in np.flatnonzero(fit.components.exposure.values < 0):
        shown = fit.residual.isel(exposure=j).transpose(*units).values.ravel()
        seen = known & np.isfinite(shown) & fit.E.notnull().values[j]
        if seen.sum() <= modes.number + 1:
            continue
        columns = np.column_stack([np.ones(seen.sum()), patterns[seen, : modes.number]])
        amounts = np.linalg.lstsq(columns, shown[seen], rcond=None)[0][1:]
        found = np.where(known, np.nan_to_num(patterns[:, : modes.number]) @ amounts, 0.0)
        shape = [fit.G.sizes[dim] for dim in units]
        explained[{"exposure": j}] = xr.DataArray(found.reshape(shape), dims=units)
    return explained


def _errors(fits: list[Fit], E: xr.DataArray, G: xr.DataArray, place: _Placement) -> dict[str, xr.DataArray]:
    """Collect standard errors and their degrees of freedom; NaN for a group that has none while others do."""
    added = {}
    for k in range(max(len(fit.errors) for fit in fits)):
        name = f"_{next(fit.methods[k] for fit in fits if len(fit.methods) > k)}" if k else ""

        def of_fits(part: str, like: Callable[[Fit], xr.DataArray], k: int = k) -> list[xr.DataArray]:
            return [
                getattr(fit.errors[k], part) if len(fit.errors) > k else xr.full_like(like(fit), np.nan) for fit in fits
            ]

        added[f"E_stderr{name}"] = E * place.along_exposure(of_fits("e", lambda fit: fit.E))
        added[f"G_stderr{name}"] = G * place.along_group(of_fits("g", lambda fit: fit.G))
        if not k:
            added["E_dof"] = place.along_exposure(of_fits("e_dof", lambda fit: fit.E))
            added["G_dof"] = place.along_group(of_fits("g_dof", lambda fit: fit.G))
    return added


def _modes(fits: list[Fit], place: _Placement) -> dict[str, xr.DataArray]:
    """Collect the modes of all groups, and the scores of held-out cells; where groups differ in number, NaN."""
    found = [fit.modes for fit in fits if fit.modes is not None]
    if not found:
        return {}
    most = max(max(modes.number for modes in found), 1)
    tried = np.arange(max(modes.held_out.sizes["number"] for modes in found))
    numbers = {"mode": np.arange(1, most + 1)}
    units, exposures, scores = [], [], []
    for fit in fits:
        if fit.modes is None:  # a group without a usable cell
            units.append(xr.full_like(fit.G, np.nan).expand_dims(numbers, axis=-1))
            exposures.append(xr.full_like(fit.E, np.nan).expand_dims(numbers, axis=-1))
            scores.append(xr.DataArray(np.full(tried.size, np.nan), {"modes_tried": tried}, dims="modes_tried"))
            continue
        units.append(fit.modes.unit.reindex(numbers).assign_coords(fit.G.coords))
        exposures.append(fit.modes.exposure.reindex(numbers).assign_coords(fit.E.coords))
        scores.append(fit.modes.held_out.reindex(number=tried).rename(number="modes_tried"))
    return {
        "mode_unit": place.along_group(units),
        "mode_exposure": place.along_exposure(exposures),
        "held_out_rms": place.along_group(scores),
    }


def _fragile(fit: Fit) -> xr.DataArray:
    found = [errors.fragile for errors in fit.errors if errors.fragile is not None]
    return found[0] if found else xr.zeros_like(fit.components.unit, dtype=bool)


def described(
    solution: xr.Dataset,
    groups: Groups,
    fits: list[Fit],
    options: FitOptions,
    *,
    weighed: Weighed,
    keywords: Mapping[str, Any],
) -> xr.Dataset:
    """Give the solution its global attributes and, for groups, the figures of each fit.

    Parameters
    ----------
    solution : Dataset
        `assemble`.
    groups, fits, options, weighed
        What it came from.
    keywords : mapping
        Of solve, those that ``options`` does not hold.
    """
    weights = keywords["weights"]
    asked = {
        **keywords,
        "weights": "DataArray" if isinstance(weights, xr.DataArray) else weights,
        "method": options.method,
        "iterations": options.iterations,
        "tolerance": options.tolerance,
        "gauge": named_detectors(options.gauge) or options.gauge,
        "by": groups.by,
        "uncertainty": options.uncertainty or "none",
        "on_disconnected": options.on_disconnected,
        "modes": options.modes,
    }
    figures: dict[str, list[float]] = {
        "iterations": [fit.iterations for fit in fits],
        "converged": [int(fit.converged) for fit in fits],
        "rms_residual": [fit.rms_residual for fit in fits],
        "chi2": [fit.chi2 for fit in fits],
        "dof": [fit.dof for fit in fits],
        "variance_factor": [fit.variance_factor for fit in fits],
        "modes": [0 if fit.modes is None else fit.modes.number for fit in fits],
    }
    attrs: dict[str, Any] = {}
    if weighed.floor is not None and keywords["floor_by"] is None:
        attrs["floor"] = float(weighed.floor[0])
    elif weighed.floor is not None:
        solution = solution.assign(floor=("exposure", weighed.floor))
    if groups.by is not None:
        solution = solution.assign({name: ("group", values) for name, values in figures.items()})
    solution = _with_corrections(solution, groups, fits)
    solution = stamp(solution, units=level_units(units_of(solution["background"])))
    if keywords["model"] == "log-link":  # whose levels may be below zero
        solution["residual"].attrs["long_name"] = "background / bgModel - 1"
    floor = f"by {keywords['floor_by']}" if keywords["floor_by"] is not None else f"{attrs.get('floor', 0.0):.3g}"
    if keywords["floor"] == "estimate":
        floor += ", estimated"
    solution.attrs = {
        "title": "flat-field levels decomposed into exposure level E and relative response G",
        **solution.attrs,
        **version_attributes(),
        "history": _history(solution, asked),
        "method": options.method,
        "model": keywords["model"],
        "weights": describe_weights(weights, has_counts="counts" in solution, floor=floor),
        "robust": keywords["robust"] or "none",
        "gauge": describe_gauge(options.gauge),
        "uncertainty": _methods_used(fits),
        "configuration": json.dumps(asked, default=str),
        **attrs,
    }
    if groups.by is None:
        solution.attrs.update({name: values[0] for name, values in figures.items()})
    return solution


def _with_corrections(solution: xr.Dataset, groups: Groups, fits: Sequence[Fit]) -> xr.Dataset:
    """Add what was left to correct after each iteration; NaN where a group needed fewer than another."""
    most = max(len(fit.corrections) for fit in fits)
    if not most:
        return solution
    left = np.array([[*fit.corrections, *[np.nan] * (most - len(fit.corrections))] for fit in fits])
    correction = (("group", "iteration"), left) if groups.by is not None else ("iteration", left[0])
    return solution.assign(correction=correction).assign_coords(iteration=np.arange(1, most + 1))


def _history(solution: xr.Dataset, asked: Mapping[str, Any]) -> str:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    said = ", ".join(f"{name}={value!r}" for name, value in asked.items() if value is not None)
    lines = [
        f"{now} flatnorm_xr {version_attributes()['flatnorm_version']}: solve({said})",
        str(solution.attrs.get("history", "")),
    ]
    return "\n".join(line for line in lines if line)


def _methods_used(fits: list[Fit]) -> str:
    """Say which methods gave the errors, and where groups differ, how many groups each."""
    used = Counter(" and ".join(fit.methods) or "none" for fit in fits)
    if len(used) == 1:
        return next(iter(used))
    return ", ".join(f"{name} ({number} groups)" for name, number in used.most_common())
