"""Simulate years of flats, run after run, with drifts, jumps and responses to temperature that are known."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.errors import FlatnormError, offenders
from flatnorm_xr.simulate.levels import simulate

__all__ = ["Years", "simulate_history", "simulate_years"]

Array = NDArray[Any]
Unit = Any
"""A detector's label, for all its amplifiers, or (detector, amplifier)."""

START = np.datetime64("2025-03-14T21:00:00", "ns")

YEAR = np.timedelta64(31_557_600_000_000_000, "ns")
"""A Julian year of 365.25 days."""

SEASON, WEATHER = 8.0, 2.0
"""Swing of the temperature over a year and its scatter from night to night, degrees Celsius."""

MEAN_TEMPERATURE = 10.0

LEVEL = 20_000.0
"""Typical E, adu."""


@dataclass(frozen=True)
class Years:
    """Years of runs: the truth, and the levels of each run, made when asked for.

    Iterating gives one dataset of levels a run, in order of time, ready for `flatnorm_xr.solve`.
    """

    truth: xr.Dataset
    """What was planted; see `simulate_years`."""
    template: xr.Dataset
    """Levels of a run, of which each takes its coordinates."""
    configuration: dict[str, Any]

    def __len__(self) -> int:
        return int(self.truth.sizes["run"])

    def __iter__(self) -> Iterator[xr.Dataset]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, number: int) -> xr.Dataset:
        """Levels of one run."""
        runs = len(self)
        if not -runs <= number < runs:
            msg = f"Years: run {number} of {runs}"
            raise IndexError(msg)
        return _levels(self, number % runs)


def simulate_years(
    *,
    years: float = 10.0,
    runs: int = 120,
    n_detectors: int = 12,
    n_amplifiers: int = 0,
    n_exposures: int = 5,
    drift: float | Mapping[Unit, float] = 0.0,
    jumps: Sequence[tuple[Unit, float, float]] = (),
    response: float | Mapping[Unit, float] = 0.0,
    dead: Mapping[Unit, float] | None = None,
    replaced: Mapping[Any, float] | None = None,
    noise: float = 1e-3,
    run_noise: float = 3e-4,
    weather: float = 0.05,
    physical_filter: str = "r",
    seed: int = 0,
) -> Years:
    """Simulate the measured levels of years of flats, one small dataset a run.

    Parameters
    ----------
    years : float
        From the first run to the last.
    runs : int
        Evenly over the years, each an hour of one night.
    n_detectors, n_amplifiers, n_exposures : int
        As `flatnorm_xr.simulate`; all runs have the same number of exposures.
    drift : float or mapping
        Slope of ln G per year: its standard deviation between units, or that of the units named, all others having
        none.
    jumps : sequence of (unit, years since the first run, size)
        From the first run at or after that time on, ln G is higher by the size.
    response : float or mapping
        Of ln G to temperature, per kelvin, given as ``drift`` is.
    dead : mapping of years by unit
        From the first run at or after that time on the unit is not measured.
    replaced : mapping of years by detector
        From that time on the detector is not measured, and another with a label of its own, after all others, is in
        its place with responses of its own.
    noise : float
        Relative error of a level, independent in each cell.
    run_noise : float
        Relative scatter of a unit from run to run, the same in all exposures of a run.
    weather : float
        Standard deviation of ln E from exposure to exposure, which is common to all units.
    physical_filter : str
        Name of the filter.
    seed : int
        Same seed and arguments, same runs.

    Returns
    -------
    Years
        Iterate over it for the levels of each run: ``background``, ``sigma``, ``counts`` with the coordinates of
        `flatnorm_xr.simulate`, and ``temperature`` (exposure), degrees Celsius.

        Its ``truth`` is a Dataset: ``true_level`` (unit dims), ln G at the first run at the mean temperature;
        ``true_drift``, ``true_response`` (unit dims); ``first_run``, ``end_run`` (unit dims), the runs from which and
        before which a unit is measured; coordinates ``time`` and ``temperature`` (run); and along ``change``
        ``change_detector``, ``change_amplifier`` ("" for all), ``change_run``, ``change_time`` and ``change_size``.

    Raises
    ------
    FlatnormError
        A size below 1, a time outside the years, or a unit that is not there.

    Examples
    --------
    >>> from flatnorm_xr.simulate.years import simulate_years
    >>> decade = simulate_years(runs=20, drift={3: 0.002}, jumps=[(5, 4.0, 0.01)], seed=1)
    >>> len(decade), decade[0].background.sizes["exposure"], decade.truth.change_time.dt.year.values
    (20, 5, array([2029]))
    """
    configuration = dict(locals())
    _check(configuration)
    rng = np.random.default_rng(seed)
    replaced, dead = dict(replaced or {}), dict(dead or {})
    template = simulate(
        n_detectors=n_detectors + len(replaced), n_exposures=n_exposures, n_amplifiers=n_amplifiers, seed=seed
    )
    template = _in_place(template, replaced, n_detectors).assign_attrs(
        title="Simulated levels of flats of many years", simulation=json.dumps(_plain(configuration))
    )
    template = template.drop_vars(["true_E"])
    template["physical_filter"] = ("exposure", np.full(n_exposures, physical_filter), template.physical_filter.attrs)
    dims = template["true_G"].dims
    since = np.linspace(0.0, years, runs) if runs > 1 else np.zeros(1)
    units = _Units(template, dims)
    truth = xr.Dataset(
        {
            "true_level": xr.ufuncs.log(template["true_G"]).drop_attrs(),
            "true_drift": (dims, _planted(units, "drift", drift, rng)),
            "true_response": (dims, _planted(units, "response", response, rng)),
        }
    )
    first, end = np.zeros(units.shape, dtype=int), np.full(units.shape, runs)
    for unit, when in {**dead, **replaced}.items():
        end[units.places(unit)] = _run_at(since, when)
    for k, when in enumerate(replaced.values()):
        first[n_detectors + k] = _run_at(since, when)
    truth = truth.assign(first_run=(dims, first), end_run=(dims, end))
    season = SEASON * np.sin(2 * np.pi * since) + rng.normal(0, WEATHER, runs)
    truth = truth.assign_coords(
        time=("run", START + (since * YEAR.astype(float)).astype("timedelta64[ns]")),
        temperature=("run", MEAN_TEMPERATURE + season, {"units": "degC", "long_name": "temperature"}),
    )
    truth = truth.assign(_changes(units, jumps, since, truth["time"].values))
    truth = truth.drop_vars([name for name in truth.coords if name not in (*dims, "time", "temperature")])
    return Years(truth, template.drop_vars("true_G"), configuration)


def simulate_history(
    *, stderr: bool = True, gauge_noise: float = 0.0, n_exposures: int = 5, **planted: Any
) -> xr.Dataset:
    """Simulate the history of G that an archive of years of flats would give, without making and solving levels.

    Parameters
    ----------
    stderr : bool
        Whether ``G_stderr`` is there.
    gauge_noise : float
        Standard deviation of ln of a factor that all G of a run are multiplied by: a gauge of its own.
    n_exposures : int
        Of each run, over which the noise of levels averages.
    **planted
        All other arguments of `simulate_years`.

    Returns
    -------
    Dataset
        ``G`` and ``G_stderr`` (run, detector[, amplifier]), NaN where not measured, as
        `flatnorm_xr.archive.trend.follow.follow` takes them; ``true_G`` beside them, without noise and gauge;
        coordinates run, time, temperature (run), and those of units. The errors are of the noise of levels, not of the
        scatter from run to run. The mean of G over what a run measured is 1, as solutions have it, before the factor.

    Examples
    --------
    >>> from flatnorm_xr.simulate.years import simulate_history
    >>> simulate_history(runs=8, n_detectors=3).G.dims
    ('run', 'detector')
    """
    decade = simulate_years(n_exposures=n_exposures, **planted)
    truth, settings = decade.truth, decade.configuration
    rng = np.random.default_rng([settings["seed"], 1])
    runs, shape = len(decade), truth["true_level"].shape
    true, measured = np.empty((2, runs, *shape))
    per_level = float(np.hypot(settings["noise"], _photon_noise(decade.template)))
    own = per_level / math.sqrt(n_exposures)
    for k in range(runs):
        g = _log_response(truth, k)
        true[k] = np.exp(g)
        measured[k] = np.exp(g + rng.normal(0, np.hypot(own, settings["run_noise"]), shape))
        measured[k] *= math.exp(gauge_noise * rng.standard_normal()) / np.nanmean(measured[k])
    dims = ("run", *truth["true_level"].dims)
    arrays = {"G": (dims, measured, {"units": "1", "long_name": "relative response G"}), "true_G": (dims, true)}
    if stderr:
        arrays["G_stderr"] = (dims, own * measured, {"units": "1", "long_name": "standard error of G"})
    units = decade.template.coords
    coords: dict[Any, Any] = {name: units[name] for name in units if "exposure" not in units[name].dims}
    run = [f"{k:064x}" for k in range(runs)]
    coords |= {"run": run, "time": truth["time"], "temperature": truth["temperature"]}
    attrs = {"camera": "simulated", "physical_filter": settings["physical_filter"]}
    return xr.Dataset(arrays, coords=coords, attrs=attrs)


@dataclass(frozen=True)
class _Units:
    """Units by their labels."""

    template: xr.Dataset
    dims: tuple[Any, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.template.sizes[dim] for dim in self.dims)

    def split(self, unit: Unit) -> tuple[Any, str]:
        """Detector and amplifier of a unit, "" for all."""
        return (unit[0], str(unit[1])) if isinstance(unit, tuple) else (unit, "")

    def places(self, unit: Unit) -> tuple[Any, ...]:
        """Index of a unit into arrays along the dims of units."""
        detector, amplifier = self.split(unit)
        detectors = self.template["detector"].values.tolist()
        amplifiers = self.template["amplifier"].values.tolist() if "amplifier" in self.dims else []
        if detector not in detectors or (amplifier and amplifier not in amplifiers):
            known = offenders(detectors) + (f"; amplifiers {offenders(amplifiers)}" if amplifiers else "")
            msg = f"simulate_years: there is no unit {unit!r}; have detectors {known}"
            raise FlatnormError(msg)
        at = (detectors.index(detector),)
        return (*at, amplifiers.index(amplifier)) if amplifier else at


def _check(values: dict[str, Any]) -> None:
    sizes = [name for name in ("runs", "n_detectors", "n_exposures") if not values[name] >= 1]
    negative = [name for name in ("years", "noise", "run_noise", "weather") if not 0 <= values[name] < math.inf]
    broken = [f"{name}={values[name]!r} must be at least 1" for name in sizes]
    broken += [f"{name}={values[name]!r} must be zero or positive" for name in negative]
    times = {"jumps": [when for _, when, _ in values["jumps"]]}
    times |= {name: list((values[name] or {}).values()) for name in ("dead", "replaced")}
    for name, when in times.items():
        broken += [
            f"{name} at {t} years must be within {values['years']}" for t in when if not 0 < t <= values["years"]
        ]
    if broken:
        msg = f"simulate_years: {offenders(broken)}; correct the arguments"
        raise FlatnormError(msg)


def _plain(value: Any) -> Any:
    """Make settings fit for JSON, units as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _in_place(template: xr.Dataset, replaced: Mapping[Any, float], n_detectors: int) -> xr.Dataset:
    """Put the detectors that replace others where those were."""
    known = template["detector"].values[:n_detectors].tolist()
    absent = [label for label in replaced if label not in known]
    if absent:
        msg = f"simulate_years: replaced names detectors {offenders(absent)}; have {offenders(known)}"
        raise FlatnormError(msg)
    source = np.array([*range(n_detectors), *(known.index(label) for label in replaced)])
    names = ("x", "y", "width", "height", "amplifier_x", "amplifier_y", "amplifier_width", "amplifier_height")
    moved = {name: (template[name].dims, template[name].values[source]) for name in names if name in template.coords}
    kept = [name for name in template.data_vars if not str(name).startswith("detector_")]
    return template[kept].assign_coords(moved)


def _run_at(since: Array, when: float) -> int:
    """First run at or after a time."""
    return int(np.searchsorted(since, when))


def _planted(units: _Units, name: str, value: float | Mapping[Unit, float], rng: np.random.Generator) -> Array:
    """Drift or response of each unit."""
    if isinstance(value, Mapping):
        planted = np.zeros(units.shape)
        for unit, size in value.items():
            planted[units.places(unit)] = size
        return planted
    if not 0 <= value < math.inf:
        msg = f"simulate_years: {name}={value!r} must be a standard deviation, zero or positive, or sizes by unit"
        raise FlatnormError(msg)
    return rng.normal(0, value, units.shape)


def _changes(
    units: _Units, jumps: Sequence[tuple[Unit, float, float]], since: Array, time: Array
) -> dict[str, tuple[str, Array]]:
    split = [units.split(unit) for unit, _, _ in jumps]
    for unit, _, _ in jumps:
        units.places(unit)
    at = np.array([_run_at(since, when) for _, when, _ in jumps], dtype=int)
    return {
        "change_detector": ("change", np.array([d for d, _ in split], dtype=units.template["detector"].dtype)),
        "change_amplifier": ("change", np.array([a for _, a in split], dtype=str)),
        "change_run": ("change", at),
        "change_time": ("change", time[at]),
        "change_size": ("change", np.array([size for _, _, size in jumps], dtype=float)),
    }


def _log_response(truth: xr.Dataset, run: int) -> Array:
    """Give ln G of all units in one run, NaN where not measured."""
    since = (truth["time"].values[run] - truth["time"].values[0]) / YEAR
    warmer = truth["temperature"].values[run] - MEAN_TEMPERATURE
    g = truth["true_level"].values + truth["true_drift"].values * since + truth["true_response"].values * warmer
    detectors = truth["detector"].values.tolist()
    for k in range(truth.sizes["change"]):
        if run >= truth["change_run"].values[k]:
            at: tuple[Any, ...] = (detectors.index(truth["change_detector"].values[k]),)
            amplifier = str(truth["change_amplifier"].values[k])
            if amplifier:
                at = (*at, truth["amplifier"].values.tolist().index(amplifier))
            g[at] += truth["change_size"].values[k]
    there = (truth["first_run"].values <= run) & (run < truth["end_run"].values)
    return np.where(there, g, np.nan)


def _photon_noise(template: xr.Dataset) -> float:
    """Typical relative error of a level by the scatter of its pixels."""
    return float((template["sigma"] / template["counts"] ** 0.5 / template["background"]).median())


def _levels(decade: Years, run: int) -> xr.Dataset:
    """Levels of one run."""
    truth, template, settings = decade.truth, decade.template, decade.configuration
    rng = np.random.default_rng([settings["seed"], 2, run])
    exposures = template.sizes["exposure"]
    g = _log_response(truth, run)
    there = np.isfinite(g)
    e = math.log(LEVEL) + settings["weather"] * rng.standard_normal(exposures)
    g = g + settings["run_noise"] * rng.standard_normal(g.shape)
    exact = np.exp(g[..., np.newaxis] + e)
    systematic, statistical = rng.standard_normal((2, *exact.shape))
    sigma = template["sigma"].values * np.sqrt(exact / template["background"].values)
    counts = template["counts"].values
    measured = exact * (1 + settings["noise"] * systematic) + sigma / np.sqrt(counts) * statistical
    data = {"background": measured, "sigma": sigma, "counts": np.where(there[..., np.newaxis], counts, 0)}
    time = truth["time"].values[run] + np.arange(exposures) * np.timedelta64(60, "s")
    temperature = truth["temperature"].values[run] + 0.1 * rng.standard_normal(exposures)
    night = np.full(exposures, str(time[0].astype("datetime64[D]")))
    ds = template.copy(data=data)
    ds = ds.assign_coords(
        exposure=("exposure", 101 + exposures * run + np.arange(exposures), template["exposure"].attrs),
        time=("exposure", time, template["time"].attrs),
        night=("exposure", night, template["night"].attrs),
        temperature=("exposure", temperature, {"units": "degC", "long_name": "temperature"}),
    )
    ds.attrs |= {"camera": "simulated"}
    gone = ~there.reshape(there.shape[0], -1).any(axis=1)
    return ds.isel(detector=~gone) if gone.any() else ds
