"""G of amplifiers as that of their detector times a ratio, to set beside header gains and borders."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.alternation import alternate
from flatnorm_xr.decompose.confidence import covariance
from flatnorm_xr.decompose.groups import split_groups
from flatnorm_xr.decompose.sweeps import NormalEquations
from flatnorm_xr.decompose.variance import check_solution
from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.model.schema import attributes_of, units_of

__all__ = ["hierarchy", "split_response", "with_hierarchy"]

_SWEEPS = 50

_OF_SOLUTION = ("detector_scale", "detector_scale_stderr", "amplifier_ratio", "amplifier_ratio_stderr")
"""What a solution may hold of it."""


def split_response(G: xr.DataArray, *, counted: xr.DataArray | None = None) -> tuple[xr.DataArray, xr.DataArray]:
    """Split the response of amplifiers into that of their detector and a ratio, ``G = scale * ratio``.

    Parameters
    ----------
    G : DataArray, (detector, amplifier[, group])
        NaN for what was never measured.
    counted : DataArray of bool, among the same dims, optional
        Amplifiers over which the mean of ln ratio is 0; all that have a G by default.

    Returns
    -------
    detector_scale : DataArray, (detector[, group])
        Geometric mean of G over the amplifiers of a detector; NaN where none is measured.
    amplifier_ratio : DataArray, (detector, amplifier[, group])
        NaN for an amplifier without G.

    Raises
    ------
    FlatnormError
        ``G`` has no dim ``amplifier``.

    Examples
    --------
    >>> G = xr.DataArray([[0.5, 2.0], [3.0, np.nan]], dims=("detector", "amplifier"))
    >>> scale, ratio = split_response(G)
    >>> scale.values.round(9).tolist(), ratio.values.round(9).tolist()
    ([1.0, 3.0], [[0.5, 2.0], [1.0, nan]])
    """
    if "amplifier" not in G.dims:
        msg = "split_response: G has no dim amplifier; measure and solve amplifiers (level='amplifier') first"
        raise FlatnormError(msg)
    g = xr.ufuncs.log(G.where(G > 0))
    scale = xr.ufuncs.exp(_mean(g, counted)).rename("detector_scale")
    ratio = (G / scale).transpose(*G.dims).rename("amplifier_ratio")
    return scale.assign_attrs(attributes_of("detector_scale")), ratio.assign_attrs(attributes_of("amplifier_ratio"))


def with_hierarchy(solution: xr.Dataset) -> xr.Dataset:
    """Put detector_scale, amplifier_ratio and their errors into a solution."""
    found = hierarchy(solution)
    return solution.assign({name: found[name] for name in _OF_SOLUTION if name in found})


def hierarchy(solution: xr.Dataset) -> xr.Dataset:
    """Split G into detectors and amplifiers, and set the ratios of amplifiers beside what else is known of them.

    Within a detector the light is nearly the same, so that the ratios are those of the gains: ``amplifier_ratio``
    times the gain (electrons per adu) is 1 as far as the light is smooth and the gains are right.

    Parameters
    ----------
    solution : Dataset
        What `flatnorm_xr.solve` returns, with amplifiers.

    Returns
    -------
    Dataset
        All with a geometric mean of 1 over the measured amplifiers of a detector, except ``detector_scale``; NaN for
        an amplifier that was never measured, or that shares no exposure with the others. An amplifier that was
        rejected has a ratio and no part in the mean.

        ``detector_scale`` (detector[, group]), ``amplifier_ratio`` (detector, amplifier[, group]) and, where the fit
        leaves anything to find them from, ``detector_scale_stderr`` and ``amplifier_ratio_stderr``, propagated from
        the weights and scaled by the scatter of the residuals. The gauge has no part in the error of a ratio.

        ``gain_ratio`` (detector, amplifier), the coordinate ``gain`` over its mean, and ``gain_times_ratio``
        (detector, amplifier[, group]), their product: the response in electrons. Levels that are in electrons already
        are not multiplied again.

        ``edge_ratio`` (detector, amplifier[, group]) and ``edge_ratio_stderr``, the mean over the exposures used, and
        its error from their scatter, where ``measure(..., edge_strips=32)`` found it: what the ratio is where
        amplifiers meet, without the gradient of the light.

    Raises
    ------
    FlatnormError
        ``solution`` was not solved or has no amplifiers.

    Examples
    --------
    >>> import flatnorm_xr as fx
    >>> sol = fx.solve(fx.simulate(n_detectors=4, n_amplifiers=2, seed=1))
    >>> found = hierarchy(sol)
    >>> bool(abs(found.detector_scale * found.amplifier_ratio / sol.G - 1).max() < 1e-12)
    True
    """
    check_solution(solution, "hierarchy", needs=("component",), figures=("variance_factor",))
    G = solution["G"]
    if "amplifier" not in G.dims:
        msg = "hierarchy: the solution has no amplifiers; measure and solve amplifiers (level='amplifier') first"
        raise FlatnormError(msg)
    first = solution["component"].where(solution["component"] >= 0).min("amplifier")
    counted = solution["component"] == first
    G = G.where(counted | (solution["component"] < 0))
    scale, ratio = split_response(G, counted=counted)
    found = {"detector_scale": scale, "amplifier_ratio": ratio}
    found.update(_errors(solution, scale, ratio, counted))
    found.update(_beside_gains(solution, ratio, counted))
    if "edge_ratio" in solution:
        found.update(_mean_of_edges(solution, counted))
    keep = set(map(str, G.dims))
    arrays = {name: array.drop_vars(set(array.coords) - keep) for name, array in found.items()}
    split = xr.Dataset(arrays, attrs={"title": "G of amplifiers split into detectors and amplifiers"})
    return split.assign_coords(exists=solution["exists"]) if "exists" in solution.coords else split


def _mean(values: xr.DataArray, counted: xr.DataArray | None) -> xr.DataArray:
    """Mean over the amplifiers that count and have a value."""
    mean: xr.DataArray = (values if counted is None else values.where(counted)).mean("amplifier", skipna=True)
    return mean


def _errors(
    solution: xr.Dataset, scale: xr.DataArray, ratio: xr.DataArray, counted: xr.DataArray
) -> dict[str, xr.DataArray]:
    """Propagate the errors of ln G to scales and ratios, which are linear in it."""
    scales: list[xr.DataArray] = []
    ratios: list[xr.DataArray] = []
    counts = [counted.isel(group=k) for k in _present(solution)] if "group" in solution.dims else [counted]
    for (label, part), among in zip(split_groups(solution), counts, strict=True):
        inside = among.transpose("detector", "amplifier").values
        matrix = covariance(solution, "G", group=label)
        own = matrix.transpose("detector", "detector_2", "amplifier", "amplifier_2").values
        # the block of each detector, (detector, amplifier, amplifier)
        own = own[np.arange(len(own)), np.arange(len(own))]
        own = np.where(inside[:, :, np.newaxis] & inside[:, np.newaxis, :], own, 0.0)
        share = inside / np.maximum(inside.sum(axis=1, keepdims=True), 1)
        with_mean = np.einsum("dab,db->da", own, share)
        of_mean = np.einsum("da,da->d", with_mean, share)
        variance = np.einsum("daa->da", own) - 2 * with_mean + of_mean[:, np.newaxis]
        variance = np.where(inside, np.maximum(variance, 0.0), np.nan)
        of_mean = np.where(inside.any(axis=1), of_mean, np.nan)
        like = part["G"].transpose("detector", "amplifier")
        ratios.append(like.copy(data=np.sqrt(variance)))
        scales.append(like.isel(amplifier=0, drop=True).copy(data=np.sqrt(of_mean)))
    errors = {}
    for value, parts in ((scale, scales), (ratio, ratios)):
        name = f"{value.name}_stderr"
        errors[name] = (value * _along_group(parts, solution)).transpose(*value.dims)
    return {name: array.rename(name).assign_attrs(attributes_of(name)) for name, array in errors.items()}


def _present(solution: xr.Dataset) -> NDArray[np.intp]:
    """Find the groups that hold exposures, those that `split_groups` gives."""
    return np.flatnonzero(np.isin(solution["group"].values, solution["exposure_group"].values))


def _along_group(parts: list[xr.DataArray], solution: xr.Dataset) -> xr.DataArray:
    """Stack what was found for each of `split_groups`; NaN for a group without exposures."""
    if "group" not in solution.dims:
        return parts[0]
    labels = solution["group"].values
    bare = [part.drop_vars("group", errors="ignore") for part in parts]
    stacked: xr.DataArray = xr.concat(bare, "group", join="exact").assign_coords(group=labels[_present(solution)])
    return stacked.reindex(group=labels)


def _beside_gains(solution: xr.Dataset, ratio: xr.DataArray, counted: xr.DataArray) -> dict[str, xr.DataArray]:
    """Relative gains of the header, and the ratios in electrons."""
    gain = solution.coords.get("gain")
    if gain is None or "amplifier" not in gain.dims:
        return {}
    known = counted.any("group") if "group" in counted.dims else counted
    log = xr.ufuncs.log(gain.where(gain > 0))
    relative = xr.ufuncs.exp(log - _mean(log, known)).transpose(*gain.dims)
    in_electrons = units_of(solution["background"]) == "electron"
    product = xr.ufuncs.log(ratio) + (0.0 if in_electrons else xr.ufuncs.log(relative))
    product = xr.ufuncs.exp(product - _mean(product, counted)).transpose(*ratio.dims)
    attrs = {"units": "1"}
    return {
        "gain_ratio": relative.assign_attrs(attrs, long_name="gain over the mean of the detector"),
        "gain_times_ratio": product.assign_attrs(attrs, long_name="relative response of the amplifier in electrons"),
    }


def _mean_of_edges(solution: xr.Dataset, counted: xr.DataArray) -> dict[str, xr.DataArray]:
    """Mean of the edge ratios over the exposures of each group, and its standard error.

    An exposure that lacks an amplifier has its mean over the others, so that amplifiers and exposures are fitted
    together, each detector by itself.
    """
    means: list[xr.DataArray] = []
    errors: list[xr.DataArray] = []
    for _, part in split_groups(solution):
        used = part["edge_ratio"].notnull() & (part["weight"] > 0)
        y = xr.ufuncs.log(part["edge_ratio"].where(used, 1.0))
        bare = [array.drop_vars(list(array.coords)).rename(detector="batch") for array in (y, used.astype(float))]
        g, e, _ = alternate(NormalEquations.of(*bare), iterations=_SWEEPS)
        number = bare[1].sum("exposure")
        left = (bare[0] - g - e).where(bare[1] > 0, 0.0)
        variance = (left**2).sum("exposure") / (number * (number - 1)).where(number > 1)
        for parts, array in ((means, g.where(number > 0)), (errors, xr.ufuncs.sqrt(variance))):
            labelled = array.rename(batch="detector").transpose("detector", "amplifier")
            parts.append(labelled.assign_coords(detector=part["detector"], amplifier=part["amplifier"]))
    mean, error = (_along_group(parts, solution) for parts in (means, errors))
    mean = xr.ufuncs.exp(mean - _mean(mean, counted)).transpose("detector", "amplifier", ...)
    stderr = (mean * error).transpose(*mean.dims)
    return {
        name: array.rename(name).assign_attrs(attributes_of(name))
        for name, array in (("edge_ratio", mean), ("edge_ratio_stderr", stderr))
    }
