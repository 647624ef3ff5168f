"""Compare two solutions: by how much the response and level of each unit differ, in one gauge, and which for sure."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.archive.trend.regression import p_value
from flatnorm_xr.archive.trend.typical import location
from flatnorm_xr.decompose.confidence import covariance_factors
from flatnorm_xr.decompose.covariance import gauge_gradient
from flatnorm_xr.decompose.gauge import Gauge, gauge_mean, named_detectors
from flatnorm_xr.decompose.groups import split_groups
from flatnorm_xr.decompose.structure.finding import holm, with_error
from flatnorm_xr.decompose.variance import check_solution
from flatnorm_xr.errors import FlatnormError, offenders, warn
from flatnorm_xr.model.make import version_attributes

__all__ = ["MMAG", "compare_solutions"]

Array = NDArray[Any]

MMAG = 2500 / np.log(10)
"""Millimagnitudes of a change of 1 in ln G."""


class _Levels(NamedTuple):
    """Mean of ln(background / E) over exposures, and its variance."""

    mean: xr.DataArray
    variance: xr.DataArray


class _Side(NamedTuple):
    """What is compared of one solution, (unit)."""

    g: Array
    """ln G, NaN where not measured."""
    level: Array
    """ln of the mean over the exposures used of background / E."""
    level_variance: Array
    own: Array
    """Variance of ln G that is the unit's own; NaN where no error is known."""
    shared: Array
    """(unit, rank): the covariance of ln G is ``own`` on the diagonal plus this times its transpose."""
    dof: Array
    """Of the errors."""


def compare_solutions(
    a: xr.Dataset, b: xr.Dataset, *, gauge: Gauge = "common", group: Any = None, alpha: float = 0.01
) -> xr.Dataset:
    """Compare the responses and levels of two solutions, unit by unit.

    Parameters
    ----------
    a, b : Dataset
        What `flatnorm_xr.solve` returns, both of amplifiers or both of whole detectors. Units are matched by their
        labels. Neither is changed.
    gauge : "common" or detector label(s)
        ``"common"``: the typical unit that both have measured does not differ, by a robust mean of the ratios; a unit
        that one of them lacks, or that changed, does not move the others. Labels: the mean of G over the units of
        these detectors that both have measured is the same. What all units do together cannot be seen.
    group : optional
        Label of the group, for solutions in groups.
    alpha : float
        Chance of calling any unit different that is not, for the sentence.

    Returns
    -------
    Dataset
        Of all units of either; NaN where one of the two has not measured a unit. ``G_ratio`` (unit dims), G of ``a``
        over G of ``b``, and ``G_ratio_stderr``, from the covariances of both: correlations as the weights give them,
        sizes as the solutions state them; NaN where no error is known. ``level_ratio`` and its error: the same of the
        mean of background / E over the exposures used, the error from their scatter: where it leaves ``G_ratio`` the
        outer product does. ``significance``, ln ``G_ratio`` over its error; ``p_holm``, the p-value of no difference
        by Student's t, adjusted for the number of units.

        Attributes: ``run_a`` and ``run_b`` (the solutions' own ``run``, else empty), ``gauge``, ``alpha``, ``rms``
        (of ln ``G_ratio``, mmag), ``rms_error`` (what the errors alone would make it, mmag) and ``sentence``.

    Raises
    ------
    FlatnormError
        One is no solution, one is of amplifiers and the other of detectors, no unit was measured in both, or the gauge
        or group is unknown.

    Examples
    --------
    >>> import flatnorm_xr as fx
    >>> ds = fx.simulate(n_detectors=12, n_exposures=8, seed=1)
    >>> changed = ds.assign(background=ds.background * (1 + 0.01 * (ds.detector == 3)))
    >>> found = compare_solutions(fx.solve(changed), fx.solve(ds))
    >>> found.G_ratio.sel(detector=[3, 4]).values.round(4)
    array([1.01, 1.  ])
    """
    parts = [_one_group(solution, group, name) for solution, name in ((a, "a"), (b, "b"))]
    dims = _dims(parts)
    labelled = xr.align(*(_unit_arrays(part, dims) for part in parts), join="outer")
    first, second = (_side(part, one, dims) for part, one in zip(parts, labelled, strict=True))
    both: Array = np.logical_and(np.isfinite(first.g), np.isfinite(second.g))
    if not both.any():
        msg = "compare: no unit was measured in both solutions; compare runs of the same camera and detectors"
        raise FlatnormError(msg)
    share_a, share_b, offset, words = _gauge(first, second, both, labelled[0], dims, gauge)
    ratio = np.where(both, first.g - second.g - offset, np.nan)
    level = np.where(both, first.level - second.level - offset, np.nan)
    variances = [_variance(side, share) for side, share in ((first, share_a), (second, share_b))]
    variance = np.where(both, variances[0] + variances[1], np.nan)
    of_level = np.where(both, first.level_variance + second.level_variance, np.nan)
    of_level = of_level + _of_offset(first, share_a) + _of_offset(second, share_b)
    error = np.sqrt(variance)
    t = ratio / np.where(error > 0, error, np.nan)
    p = holm(p_value(t, _dof(variances, (first, second))))
    values = {
        "G_ratio": (np.exp(ratio), "G of a over G of b in one gauge"),
        "G_ratio_stderr": (np.exp(ratio) * error, "standard error of G_ratio"),
        "level_ratio": (np.exp(level), "mean of background / E of a over that of b in the same gauge"),
        "level_ratio_stderr": (np.exp(level) * np.sqrt(of_level), "standard error of level_ratio"),
        "significance": (t, "ln G_ratio over its standard error"),
        "p_holm": (p, "p-value of no difference, adjusted for the number of units"),
    }
    shape = labelled[0].sizes
    arrays = {
        name: xr.Variable(dims, found.reshape([shape[d] for d in dims]), {"units": "1", "long_name": long_name})
        for name, (found, long_name) in values.items()
    }
    attrs = {
        "title": "Two solutions compared",
        **version_attributes(),
        "run_a": str(a.attrs.get("run", "")),
        "run_b": str(b.attrs.get("run", "")),
        "gauge": words,
        "alpha": float(alpha),
        "rms": float(MMAG * np.sqrt(np.nanmean(ratio**2))),
        "rms_error": float(MMAG * np.sqrt(np.nanmean(variance))) if np.isfinite(variance).any() else float("nan"),
    }
    compared = xr.Dataset(arrays, coords=_coords(parts, labelled[0], dims), attrs=attrs)
    return compared.assign_attrs(sentence=_sentence(compared, ratio, error, p, dims))


def _one_group(solution: xr.Dataset, group: Any, name: str) -> xr.Dataset:
    """Exposures that were solved together, in the one group that is asked for."""
    check_solution(solution, "compare")
    parts = split_groups(solution)
    if len(parts) == 1 and (group is None or parts[0][0] is None):
        return parts[0][1]
    for label, part in parts:
        if group is not None and bool(np.asarray(label == group).all()):
            return part
    labels = offenders([label for label, _ in parts])
    msg = f"compare: {name} was solved in groups and group is {group!r}; pass group= with one of {labels}"
    raise FlatnormError(msg)


def _dims(parts: list[xr.Dataset]) -> tuple[str, ...]:
    kinds = ["amplifier" in part["G"].dims for part in parts]
    if kinds[0] != kinds[1]:
        of = ["amplifiers" if kind else "whole detectors" for kind in kinds]
        msg = f"compare: a is of {of[0]} and b of {of[1]}; solve both with the same level="
        raise FlatnormError(msg)
    return ("detector", "amplifier") if kinds[0] else ("detector",)


def _unit_arrays(part: xr.Dataset, dims: tuple[str, ...]) -> xr.Dataset:
    """Gather what is known of each unit without dims of its own: response, error, level."""
    used = part["weight"] > 0
    per_e = (part["background"] / part["E"]).where(used)
    number = used.sum("exposure")
    level = per_e.mean("exposure")
    scatter = per_e.std("exposure", ddof=1).where(number > 1) / level / number**0.5
    G = part["G"].where(_in_main_component(part))
    arrays = {"g": xr.ufuncs.log(G.where(G > 0)), "level": xr.ufuncs.log(level), "level_variance": scatter**2}
    arrays |= {"own": xr.full_like(G, np.nan), "dof": xr.full_like(G, np.inf)}
    if "G_stderr" in part:
        arrays["own"] = (part["G_stderr"] / part["G"]) ** 2
    if "G_dof" in part:
        arrays["dof"] = part["G_dof"]
    factors = _factors(part)
    if factors is not None:
        own, shared = factors
        arrays |= {"own": own, "shared": shared}
    bare = {name: array.drop_vars(set(array.coords) - set(dims)) for name, array in arrays.items()}
    return xr.Dataset(bare).transpose(*dims, ...)


def _in_main_component(part: xr.Dataset) -> xr.DataArray:
    """Units of the connected component that has most; others have a gauge of their own."""
    component = part["component"]
    numbers, counts = np.unique(component.values[component.values >= 0], return_counts=True)
    if numbers.size > 1:
        warn(
            f"compare: a solution is in {numbers.size} parts that share no exposure; only the largest, of "
            f"{counts.max()} units, is compared"
        )
    return component == (numbers[counts.argmax()] if numbers.size else 0)


def _factors(part: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray] | None:
    """Covariance of ln G as the weights give it, scaled to the errors stated; None where it cannot be found."""
    try:
        own, shared = covariance_factors(part)
    except FlatnormError:  # a part of a solution, or one without a residual to tell errors from
        return None
    if not np.isfinite(own).any():
        return None
    if "G_stderr" not in part or "gauge_weight" not in part:
        return own, shared
    gauge: Gauge = json.loads(part.attrs.get("configuration", "{}")).get("gauge", "mean")
    share = gauge_gradient(part["gauge_weight"].fillna(0.0), part["G"], mean=gauge_mean(gauge))
    share = share / share.sum()
    units = list(own.dims)
    moved = shared - (share * shared).sum(units)
    variance = (
        own * (1 - 2 * share)
        + (share**2 * own.fillna(0.0)).sum(units)
        + (moved**2).sum([dim for dim in shared.dims if dim not in units])
    )
    stated = (part["G_stderr"] / part["G"]) ** 2
    scale = (stated / variance).where((variance > 1e-6 * own) & (stated > 0), 1.0)
    return own * scale, shared * scale**0.5


def _side(part: xr.Dataset, labelled: xr.Dataset, dims: tuple[str, ...]) -> _Side:
    size = int(np.prod([labelled.sizes[dim] for dim in dims]))
    arrays = {str(name): array.values.reshape(size, -1) for name, array in labelled.data_vars.items()}
    shared = arrays.pop("shared", np.zeros((size, 0)))
    flat = {name: array[:, 0] for name, array in arrays.items()}
    return _Side(shared=np.nan_to_num(shared), **flat)


def _gauge(
    first: _Side, second: _Side, both: Array, labelled: xr.Dataset, dims: tuple[str, ...], gauge: Gauge
) -> tuple[Array, Array, float, str]:
    """Share of each unit in the offset, of either side; the offset; and words for it."""
    if isinstance(gauge, str) and gauge == "common":
        difference = (first.g - second.g)[both]
        offset, share = location(difference)
        shares = np.zeros(both.size)
        shares[both] = share
        words = f"the typical unit does not differ: robust mean over the {both.sum()} units measured in both"
        return shares, shares, offset, words
    try:
        labels = named_detectors(gauge)
    except FlatnormError:
        labels = None
    if not labels:
        msg = f"compare: gauge is {gauge!r}; it must be 'common', or a detector label or several"
        raise FlatnormError(msg)
    shape = [labelled.sizes[dim] for dim in dims]
    detectors = labelled["detector"].values.tolist()
    measured = np.asarray(both.reshape(shape[0], -1).any(axis=1))
    absent = [label for label in labels if label not in detectors or not measured[detectors.index(label)]]
    if absent:
        msg = f"compare: gauge names detectors {offenders(absent)}, not measured in both solutions; name others"
        raise FlatnormError(msg)
    named = np.isin(labelled["detector"].values, labels).reshape(-1, *[1] * (len(dims) - 1))
    inside = (both.reshape(shape) & named).ravel()
    means, shares_of = [], []
    for side in (first, second):
        G = np.where(inside, np.exp(side.g), 0.0)
        means.append(float(np.log(G.sum() / inside.sum())))
        shares_of.append(G / G.sum())
    number = int(inside.sum())
    words = f"mean of G over detectors {', '.join(map(str, labels))} is the same ({number} unit{'s' * (number != 1)})"
    return shares_of[0], shares_of[1], means[0] - means[1], words


def _variance(side: _Side, share: Array) -> Array:
    """Variance of ln G beside the gauge."""
    moved = side.shared - share @ side.shared
    variance = side.own * (1 - 2 * share) + (share**2 * np.nan_to_num(side.own)).sum() + (moved**2).sum(axis=1)
    return np.asarray(np.maximum(variance, 0.0))


def _of_offset(side: _Side, share: Array) -> float:
    """Variance of the offset as far as it is of single units."""
    return float((share**2 * np.nan_to_num(side.own)).sum())


def _dof(variances: list[Array], sides: tuple[_Side, _Side]) -> Array:
    """Degrees of freedom of the sum of two variances, after Welch and Satterthwaite."""
    total = variances[0] + variances[1]
    parts = sum(v**2 / np.where(side.dof > 0, side.dof, 1.0) for v, side in zip(variances, sides, strict=True))
    return np.where(np.asarray(parts) > 0, total**2 / np.where(np.asarray(parts) > 0, parts, 1.0), np.inf)


def _coords(parts: list[xr.Dataset], labelled: xr.Dataset, dims: tuple[str, ...]) -> dict[str, xr.DataArray]:
    """Coordinates of the units, those of ``a``, and of ``b`` for units that ``a`` lacks."""
    known = [
        xr.Dataset(
            {str(name): coord.variable for name, coord in part.coords.items() if _of_units(coord, dims)}
        ).assign_coords({dim: part[dim].values for dim in dims})
        for part in parts
    ]
    both = known[0] if all(known[0][dim].equals(known[1][dim]) for dim in dims) else known[0].combine_first(known[1])
    found = {dim: labelled[dim].assign_attrs(parts[0][dim].attrs) for dim in dims}
    for name, array in both.data_vars.items():
        values = array.reindex({dim: labelled[dim] for dim in array.dims})
        if values.dtype == object:  # names and flags, of which some were missing on one side
            values = values.fillna("").astype(str) if name != "exists" else values.fillna(False).astype(bool)
        found[str(name)] = values.assign_attrs(array.attrs)
    return found


def _of_units(coord: xr.DataArray, dims: tuple[str, ...]) -> bool:
    return bool(coord.dims) and set(coord.dims) <= set(dims) and coord.name not in dims


def _sentence(compared: xr.Dataset, ratio: Array, error: Array, p: Array, dims: tuple[str, ...]) -> str:
    measured = int(np.isfinite(ratio).sum())
    certain = int((p < compared.attrs["alpha"]).sum())
    strength = np.where(np.isfinite(p), np.abs(ratio) / np.where(error > 0, error, np.inf), -1.0)
    worst = int(strength.argmax()) if np.isfinite(p).any() else int(np.nanargmax(np.abs(ratio)))
    places = np.unravel_index(worst, [compared.sizes[dim] for dim in dims])
    name = " ".join(str(compared[dim].values[place]) for dim, place in zip(dims, places, strict=True))
    size = with_error(MMAG * ratio[worst], MMAG * error[worst])
    probability = f", p {p[worst]:.2g}" if np.isfinite(p[worst]) else ""
    noise = compared.attrs["rms_error"]
    beside = f" where errors alone make {noise:.2g}" if np.isfinite(noise) else ""
    return (
        f"{certain or 'none'} of {measured} {dims[-1]}s differ{'s' * (certain == 1)}; rms {compared.attrs['rms']:.2g} "
        f"mmag{beside}; {'most certain' if certain else 'least alike'} {offenders([name])}: {size} mmag{probability}"
    )
