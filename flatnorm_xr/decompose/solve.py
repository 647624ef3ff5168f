"""Levels in, a solution out: choose cells and weights, fit each group of exposures, put the answer together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.assemble import assemble, described, explained_by_modes
from flatnorm_xr.decompose.cells import count_flags, flag_cells, usable_cells
from flatnorm_xr.decompose.fit import Fit, FitOptions, fit_group
from flatnorm_xr.decompose.gauge import Gauge
from flatnorm_xr.decompose.groups import Groups, exposure_labels, group_exposures
from flatnorm_xr.decompose.hierarchy import with_hierarchy
from flatnorm_xr.decompose.remarks import remark
from flatnorm_xr.decompose.robust.rejected import with_rejected
from flatnorm_xr.decompose.uncertainty import METHODS, Method, Resampling
from flatnorm_xr.decompose.weighing import Known, Model, Robust, Weighed, weigh
from flatnorm_xr.decompose.weights import Weights, cell_weights, level_variance
from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.flags import REJECTED, WITHOUT_WEIGHT, Flag, has_flag
from flatnorm_xr.model.schema import solved_names
from flatnorm_xr.model.validate import validate

__all__ = ["solve"]

_MOST_REPLICATES = 10_000

_MODE_ROUNDS = 4
"""Times that faults are looked for beside modes, and modes without the faults."""

Uncertainty = Literal["auto", "none"] | Method | Sequence[Method] | None
"""How standard errors are found."""


def solve(
    ds: xr.Dataset,
    *,
    level: Literal["detector", "amplifier"] | None = None,
    method: Literal["exact", "alternation"] = "exact",
    iterations: int = 10,
    tolerance: float = 1e-12,
    weights: Weights = "counts",
    floor: float | Literal["estimate"] = "estimate",
    floor_by: str | None = None,
    model: Model = "log",
    gauge: Gauge = "mean",
    robust: Robust | None = None,
    modes: int | Literal["auto"] = 0,
    by: str | None = None,
    uncertainty: Uncertainty = "auto",
    jackknife_block: str | None = None,
    replicates: int = 200,
    seed: int = 0,
    hierarchy: bool = False,
    on_disconnected: Literal["raise", "separate"] = "raise",
) -> xr.Dataset:
    """Find the level E of every exposure and the relative response G of every unit, with background = G E.

    Minimises ``sum(w (ln background - ln G - ln E)^2)`` over the cells with weight.

    Parameters
    ----------
    ds : Dataset
        With ``background`` (detector[, amplifier], exposure), and optionally ``counts``, ``sigma``, ``quality``,
        ``exists``. NaN is "not measured". Infinite, zero and negative levels and cells without counts are flagged
        and carry no weight; nothing is filled in. A former solution may be solved again. Not changed.
    level : {"amplifier", "detector"}, optional
        What a unit is: amplifiers where there are any, else detectors. ``"detector"`` on a dataset with amplifiers
        solves ``detector_background`` and returns a dataset without amplifiers.
    method : {"exact", "alternation"}
        Conjugate gradients to the least-squares solution, or the documented alternation.
    iterations : int
        Of the alternation; ``"exact"`` iterates until it is done.
    tolerance : float
        Largest change of any ln E (for the alternation, ln G) that one more step would still make.
    weights : {"counts", "variance", "uniform"} or DataArray
        Of the cells; see `flatnorm_xr.decompose.weights.cell_weights`.
    floor : float or "estimate"
        Relative systematic error of a level, added in quadrature by ``weights="variance"``; or found from how the
        levels scatter, by REML.
    floor_by : str, optional
        A coordinate along exposure, such as ``"night"``: each of its values has a floor of its own to be estimated.
    model : {"log", "log-link"}
        ``"log"`` fits ln(background). ``"log-link"``, for levels below 30 of their own errors, fits the levels
        themselves by quasi-likelihood, zero and negative ones too: noise then biases nothing.
    gauge : {"mean", "geometric"} or detector label(s)
        ``"mean"``: the mean of G over the measured units, weighted by each one's counts, is 1. ``"geometric"``: the
        mean of ln G over the measured units is 0. Labels: the mean of G over these detectors is 1, which keeps a
        series of runs comparable.
    robust : {"tukey", "huber"}, optional
        Find cells, runs, gain jumps, units and exposures that do not follow the model, flag them and give them no
        weight; see `flatnorm_xr.rejections`. The fit is then plain least squares of the others.
    modes : int or "auto"
        Patterns that units share and exposures vary (a lamp that wanders), fitted beside G and E and never part of
        them; ``"auto"`` takes as many as predict held-out cells best, possibly none. ``bgModel`` and ``scales`` hold
        them; ``held_out_rms`` says how well each number predicts.
    by : str, optional
        A coordinate along exposure, such as ``"physical_filter"``: each of its values is solved by itself. G then
        has the dim ``group``.
    uncertainty : {"auto", "none", "analytic", "jackknife", "bootstrap"} or two of them, or None
        Adds ``E_stderr`` and ``G_stderr``. ``"analytic"`` propagates the weights, scaled by the scatter of the
        residuals. ``"jackknife"`` leaves out exposures for G and units for E; ``"bootstrap"`` draws exposures for G.
        ``"auto"`` is the jackknife from 5 exposures on, analytic with 2 to 4, none with one. Of two, the second has
        its name appended: ``G_stderr_analytic``.
    jackknife_block : str, optional
        A coordinate along exposure, such as ``"night"``: exposures that share its value are left out together. By
        default each exposure by itself, or 32 runs in time where there are more.
    replicates : int
        Of the bootstrap.
    seed : int
        Of the bootstrap, and of the cells that are held out to choose modes.
    hierarchy : bool
        Adds ``detector_scale`` and ``amplifier_ratio``, whose product is G, with their errors; see
        `flatnorm_xr.hierarchy`.
    on_disconnected : {"raise", "separate"}
        What to do with sets of units that share no exposure: an error that names them, or one gauge for each set,
        numbered in ``component`` and flagged UNIDENTIFIABLE.

    Returns
    -------
    Dataset
        The measurements with E, G, bgModel, scales, residual, weight, component, gauge_weight and quality. A unit
        never measured has G = NaN, an exposure never measured E = NaN. What was rejected keeps its residual; a
        rejected exposure has an E, without error, but no ``scales``: it is not to be stacked.

    Raises
    ------
    FlatnormError
        Bad keywords, no usable cell, several filters in one group.
    SchemaError
        The dataset does not follow the data model.
    DisconnectedError
        See ``on_disconnected``.

    Warns
    -----
    FlatnormWarning
        Cells left out for a fault, units or exposures never measured, a fit that nothing can check, units that hang
        on one exposure, errors that do not agree with the scatter between exposures.

    Examples
    --------
    >>> import flatnorm_xr as fx
    >>> sol = fx.solve(fx.make([[50.0, 100.0], [150.0, 300.0]]), uncertainty=None)
    >>> sol.E.values.round(9), sol.G.values.round(9)
    (array([100., 200.]), array([0.5, 1.5]))
    """
    options = FitOptions(method, iterations, tolerance, gauge, _methods(uncertainty), on_disconnected, modes, seed)
    keywords = {
        "level": level,
        "weights": weights,
        "floor": floor,
        "floor_by": floor_by,
        "model": model,
        "robust": robust,
        "jackknife_block": jackknife_block,
        "replicates": replicates,
        "seed": seed,
        "hierarchy": hierarchy,
    }
    _check(options, keywords)
    validate(ds, caller="solve")
    measured = _at_level(_without_former_solve(ds), level)
    groups = group_exposures(measured.coords, by)
    rank = _rank_in_time(measured)
    block = None if jackknife_block is None else exposure_labels(measured.coords, jackknife_block, "jackknife_block")[1]
    resampling = Resampling(rank, block, replicates, seed)
    asked = _Weighing(groups, rank, weights, floor, floor_by, robust, model)
    flagged, weighed, fits = _weighed_and_fitted(measured, asked, options, resampling)
    solution = assemble(flagged.drop_vars("group", errors="ignore"), weighed, groups, fits, working=model == "log-link")
    remark(
        solution,
        [(within, fit) for (within, _), fit in zip(groups.members(), fits, strict=True)],
        options=options,
        known_variance=asked.by_variance,
        model=model,
        doubts=weighed.doubts,
    )
    solution = described(solution, groups, fits, options, weighed=weighed, keywords=keywords)
    return with_hierarchy(solution) if hierarchy else solution


def _methods(uncertainty: object) -> Literal["auto"] | tuple[Method, ...]:
    """Names of the methods asked for, checked."""
    if isinstance(uncertainty, str) and uncertainty == "auto":
        return "auto"
    if uncertainty is None or (isinstance(uncertainty, str) and uncertainty == "none"):
        return ()
    asked = (uncertainty,) if isinstance(uncertainty, str) else uncertainty
    if (
        isinstance(asked, Sequence)
        and all(isinstance(name, str) for name in asked)
        and 1 <= len(asked) <= 2
        and len(set(asked)) == len(asked)
    ):
        found = tuple(method for name in asked for method in METHODS if name == method)
        if len(found) == len(asked):
            return found
    allowed = ", ".join(map(repr, ("auto", "none", *METHODS)))
    msg = f"solve: uncertainty is {uncertainty!r}; it must be one of {allowed}, or two different of the last three"
    raise FlatnormError(msg)


def _check(options: FitOptions, keywords: dict[str, Any]) -> None:
    """Raise for a keyword outside its range."""
    weights, floor = keywords["weights"], keywords["floor"]
    if not isinstance(weights, str | xr.DataArray):
        msg = f"solve: weights is a {type(weights).__name__}; it must be a name or a DataArray with the levels' labels"
        raise FlatnormError(msg)
    choices: dict[str, tuple[object, tuple[object, ...]]] = {
        "level": (keywords["level"], (None, "detector", "amplifier")),
        "method": (options.method, ("exact", "alternation")),
        "model": (keywords["model"], ("log", "log-link")),
        "robust": (keywords["robust"], (None, "tukey", "huber")),
        "on_disconnected": (options.on_disconnected, ("raise", "separate")),
    }
    for name, (value, allowed) in choices.items():
        if not isinstance(value, str | None) or value not in allowed:
            msg = f"solve: {name} is {value!r}; it must be {' or '.join(map(repr, allowed))}"
            raise FlatnormError(msg)
    for name, whole, least in (
        ("iterations", options.iterations, 1),
        ("replicates", keywords["replicates"], 2),
        ("seed", keywords["seed"], 0),
    ):
        if not isinstance(whole, int | np.integer) or isinstance(whole, bool) or whole < least:
            msg = f"solve: {name} is {whole!r}; it must be a whole number, at least {least}"
            raise FlatnormError(msg)
    if keywords["replicates"] > _MOST_REPLICATES:
        msg = f"solve: replicates is {keywords['replicates']}; more than {_MOST_REPLICATES} tell no more"
        raise FlatnormError(msg)
    if options.modes != "auto" and (
        not isinstance(options.modes, int | np.integer) or isinstance(options.modes, bool) or options.modes < 0
    ):
        msg = f"solve: modes is {options.modes!r}; it must be a whole number, at least 0, or 'auto'"
        raise FlatnormError(msg)
    if not isinstance(keywords["hierarchy"], bool | np.bool_):
        msg = f"solve: hierarchy is {keywords['hierarchy']!r}; it must be True or False"
        raise FlatnormError(msg)
    numbers = [("tolerance", options.tolerance, "")]
    if not (isinstance(floor, str) and floor == "estimate"):
        numbers.append(("floor", floor, ", or 'estimate'"))
        if keywords["floor_by"] is not None:
            msg = f"solve: floor_by is {keywords['floor_by']!r} and floor is {floor!r}; floor_by needs floor='estimate'"
            raise FlatnormError(msg)
    for name, number, other in numbers:
        if not isinstance(number, int | float | np.number) or not (0 <= number < 1):
            msg = f"solve: {name} is {number!r}; it must be a number from 0 to below 1{other}"
            raise FlatnormError(msg)
    if keywords["floor_by"] is not None and not (isinstance(weights, str) and weights == "variance"):
        msg = f"solve: floor_by is {keywords['floor_by']!r}; only weights='variance' have a floor"
        raise FlatnormError(msg)
    if not (isinstance(floor, str) or floor == 0) and not (isinstance(weights, str) and weights == "variance"):
        msg = f"solve: floor is {floor!r}; only weights='variance' have a floor"
        raise FlatnormError(msg)
    if (
        keywords["jackknife_block"] is not None
        and "jackknife" not in options.uncertainty
        and options.uncertainty != "auto"
    ):
        msg = f"solve: jackknife_block is {keywords['jackknife_block']!r}, but no jackknife was asked for"
        raise FlatnormError(msg)
    if keywords["floor_by"] is not None and keywords["model"] == "log-link":
        msg = "solve: floor_by does not go with model='log-link', which has one floor; leave floor_by out"
        raise FlatnormError(msg)


def _without_former_solve(ds: xr.Dataset) -> xr.Dataset:
    """Drop what an earlier solve added, so that a solution can be solved again."""
    variables, attributes = solved_names()
    if "rejection" in ds and "quality" in ds:
        # what the former solve rejected is free again; what a user flagged is not
        freed = ds["quality"] & np.uint32(~REJECTED & 0xFFFFFFFF)
        ds = ds.assign(quality=ds["quality"].where(ds["rejection"] == 0, freed).astype("u4"))
    if "exposure_group" in ds.coords and json.loads(ds.attrs.get("configuration", "{}")).get("by") == "group":
        ds = ds.drop_dims("group").rename(exposure_group="group")
    if "group" in ds.coords and ds["group"].dims == ("exposure",):
        variables = variables - {"group"}
    bare = ds.drop_vars([name for name in ds.variables if name in variables])
    bare.attrs = {name: value for name, value in ds.attrs.items() if name not in attributes}
    return bare


def _at_level(ds: xr.Dataset, level: str | None) -> xr.Dataset:
    """Choose amplifiers or whole detectors, with every dim labelled."""
    has_amplifiers = "amplifier" in ds["background"].dims
    if level == "amplifier" and not has_amplifiers:
        msg = "solve: level is 'amplifier', but the levels have no dim amplifier; leave level out"
        raise FlatnormError(msg)
    if level == "detector" and has_amplifiers:
        if "detector_background" not in ds:
            msg = "solve: level is 'detector', but detector_background is absent; measure whole detectors too"
            raise FlatnormError(msg)
        prefix = "detector_"
        ds = ds.drop_dims("amplifier").rename(
            {f"{prefix}{name}": name for name in ("background", "sigma", "counts", "quality") if prefix + name in ds}
        )
    unlabelled = {dim: np.arange(size) for dim, size in ds.sizes.items() if dim not in ds.coords}
    return ds.assign_coords(unlabelled)


@dataclass(frozen=True)
class _Weighing:
    """How cells are weighed; the groups with their exposures' places in time, and keywords of `solve`."""

    groups: Groups
    rank: NDArray[np.intp]
    weights: Weights
    floor: float | Literal["estimate"]
    floor_by: str | None
    robust: Robust | None
    model: Model

    @property
    def by_variance(self) -> bool:
        """Whether the weights claim to be inverse variances."""
        return isinstance(self.weights, str) and self.weights == "variance"

    @property
    def depends_on_modes(self) -> bool:
        """Whether what modes explain could pass for noise or for a fault."""
        return self.robust is not None or (self.by_variance and self.floor == "estimate")


def _weighed_and_fitted(
    ds: xr.Dataset, asked: _Weighing, options: FitOptions, resampling: Resampling
) -> tuple[xr.Dataset, Weighed, list[Fit]]:
    """Weigh and fit, with modes in turn until no other cells are rejected."""
    flagged, weighed = _weighed(ds, asked)
    if options.modes == 0 or not asked.depends_on_modes:
        return flagged, weighed, _fits(flagged, weighed, asked, options, resampling)
    without_errors = replace(options, uncertainty=())
    for _ in range(_MODE_ROUNDS):
        before = weighed.rejection
        fits = _fits(flagged, weighed, asked, without_errors, resampling)
        flagged, weighed = _weighed(ds, asked, former=fits)
        if before is None or weighed.rejection is None or before.equals(weighed.rejection):
            break
    return flagged, weighed, _fits(flagged, weighed, asked, options, resampling)


def _weighed(ds: xr.Dataset, asked: _Weighing, *, former: Sequence[Fit] = ()) -> tuple[xr.Dataset, Weighed]:
    """Give the dataset with its flags, and the levels with their weights as they enter the fit.

    ``former`` are fits with modes, one for each group: floor and faults are looked for without what the modes explain.
    """
    groups, weights, floor = asked.groups, asked.weights, asked.floor
    beside = explained_by_modes(groups, former) if former else None
    background = ds["background"].astype(float, copy=False)
    counts, sigma = (ds[name].astype(float, copy=False) if name in ds else None for name in ("counts", "sigma"))
    quality = flag_cells(
        background,
        counts=counts,
        sigma=sigma,
        exists=ds.coords.get("exists"),
        quality=ds.get("quality"),
        needs_sigma=asked.by_variance,
        has_floor=floor == "estimate" or floor > 0,
        needs_logarithm=asked.model == "log",
    ).persist()
    usable = usable_cells(quality)
    # averaging more pixels makes a level no better than the lamp is: counts say nothing of how far levels may be off
    alike = isinstance(weights, str) and weights == "counts"
    noise = weight = None
    if asked.by_variance:
        noise = level_variance(sigma, counts).compute()
    else:
        weight = cell_weights(weights, background=background, counts=counts, usable=usable).persist()
    if isinstance(weights, xr.DataArray):
        quality = (quality | (usable & (weight == 0)) * np.uint32(Flag.ZERO_WEIGHT)).persist()
    classes = np.zeros(background.sizes["exposure"], dtype=np.intp)
    if asked.floor_by is not None:
        classes = exposure_labels(ds.coords, asked.floor_by, "floor_by")[1]
    known = Known(background, usable, noise, weight, alike)
    weighed = weigh(
        known if beside is None else _less(beside, known),
        floor=floor,
        floor_class=classes,
        groups=[_in_order(chosen, asked.rank) for _, chosen in groups.members()],
        robust=asked.robust,
        model=asked.model,
        spent=[0 if fit.modes is None else fit.modes.parameters for fit in former],
    )
    y = weighed.y if beside is None else weighed.y + beside
    weighed = weighed._replace(y=y.persist(), weight=weighed.weight.persist())
    if asked.by_variance or asked.model == "log-link":
        unused = usable & ~(weighed.before > 0) & ~has_flag(quality, Flag.ZERO_WEIGHT)
        quality = quality | unused * np.uint32(Flag.NO_SIGNAL if asked.model == "log-link" else Flag.NO_SIGMA)
    if not bool((weighed.weight > 0).any()):
        found = ", ".join(f"{name} {n}" for name, n in count_flags(quality, WITHOUT_WEIGHT).items())
        msg = f"solve: none of the {quality.size} cells can be used ({found}); levels must be finite and positive"
        raise FlatnormError(msg)
    return ds.assign(quality=quality), weighed


def _less(beside: xr.DataArray, known: Known) -> Known:
    """Levels without what modes explain."""
    factor = xr.ufuncs.exp(-beside)
    noise = None if known.noise is None else known.noise * factor**2
    return known._replace(background=known.background * factor, noise=noise)


def _fits(ds: xr.Dataset, weighed: Weighed, asked: _Weighing, options: FitOptions, resampling: Resampling) -> list[Fit]:
    """Fit the exposures of each group."""
    by_counts = isinstance(asked.weights, str) and asked.weights == "counts"
    counts = weighed.weight if by_counts else _counts_used(ds, weighed)
    fits = [
        fit_group(
            weighed.y[{"exposure": chosen}],
            weighed.weight[{"exposure": chosen}],
            counts=counts[{"exposure": chosen}],
            options=options,
            known_variance=asked.by_variance,
            within=within,
            resampling=resampling.within(chosen),
        )
        for within, chosen in asked.groups.members()
    ]
    if weighed.rejection is None or not bool((weighed.rejection > 0).any()):
        return fits
    rejected = weighed.before.where(weighed.rejection > 0, 0.0)
    scale = float(np.nanmedian([fit.variance_factor for fit in fits]))
    return [
        with_rejected(fit, weighed.y[{"exposure": chosen}], rejected[{"exposure": chosen}], scale=scale)
        for fit, (_, chosen) in zip(fits, asked.groups.members(), strict=True)
    ]


def _counts_used(ds: xr.Dataset, weighed: Weighed) -> xr.DataArray:
    """Pixel counts of the cells with weight, 1 where there are no counts, 0 elsewhere."""
    counts = ds["counts"].astype(float) if "counts" in ds else xr.ones_like(weighed.weight)
    return counts.where(weighed.weight > 0, 0.0).persist()


def _rank_in_time(ds: xr.Dataset) -> NDArray[np.intp]:
    """Place of each exposure in time; as they come where a time is missing."""
    n = ds.sizes["exposure"]
    time = ds.coords.get("time")
    if time is None or time.dims != ("exposure",) or bool(time.isnull().any()):
        return np.arange(n)
    return np.argsort(np.argsort(time.values, kind="stable"), kind="stable")


def _in_order(chosen: NDArray[np.intp] | slice, rank: NDArray[np.intp]) -> NDArray[np.intp]:
    """Exposures of a group in order of time."""
    members = np.arange(rank.size)[chosen]
    return members[np.argsort(rank[members], kind="stable")]
