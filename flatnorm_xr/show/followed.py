"""What a trend says of its units, runs and changes, as arrays in the order of the units."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.show.axes import Rows, by_amplifier, rows_of, table
from flatnorm_xr.show.texts import shown

__all__ = ["Change", "Followed", "Response", "is_comparison", "is_trend"]

Array = NDArray[np.float64]

_YEAR = np.timedelta64(31_557_600, "s")


def is_trend(ds: object) -> bool:
    """Whether this is what `flatnorm_xr.archive.trend.follow.follow` returns, or a part of that."""
    return isinstance(ds, xr.Dataset) and {"G", "gauge_offset", "drift"} <= set(ds.data_vars)


def is_comparison(ds: object) -> bool:
    """Whether this is what `flatnorm_xr.archive.trend.compare.compare_solutions` returns."""
    return isinstance(ds, xr.Dataset) and "G_ratio" in ds.data_vars


@dataclass(frozen=True)
class Change:
    """A response that changed between two runs."""

    unit: int
    """Place of the unit."""
    run: int
    """Place of the first run after."""
    before: np.datetime64
    after: np.datetime64
    """Times of the last run before and the first after, where it fits best."""
    earliest: np.datetime64
    latest: np.datetime64
    """Between which it was with a probability of 95 %; where that is not told, ``before`` and ``after``."""
    label: str
    """Of the first run after."""
    size: float
    """ln of the response after over that before."""
    error: float
    p: float


@dataclass(frozen=True)
class Response:
    """How the units respond to something that is known of each run; (units)."""

    name: str
    units: str
    """Of what they respond to; "" where it has none."""
    size: Array
    """Change of ln G for one of these."""
    error: Array
    p: Array
    """Probability of such a response by chance, after all units were looked at."""
    correlation: Array
    """Partial correlation, beside drift and changes."""
    significant: NDArray[np.bool_]
    swing: float
    """Two standard deviations of what they respond to."""

    @property
    def per(self) -> str:
        """What the size is per."""
        return f"{self.units or 'unit'} of {self.name}"


@dataclass(frozen=True)
class Followed:
    """A trend, with what pictures and pages share; (units) and (units, runs) where not said otherwise."""

    trend: xr.Dataset

    @cached_property
    def name(self) -> str:
        """What is followed and stands as G: itself, or the ``detector_scale`` that the title names."""
        title = str(self.trend.attrs.get("title", ""))
        return "detector_scale" if title.startswith("detector_scale ") else "G"

    @cached_property
    def rows(self) -> Rows:
        """The units that exist."""
        return rows_of(self.trend)

    @cached_property
    def by_amplifier(self) -> bool:
        """Whether units are amplifiers."""
        return by_amplifier(self.trend)

    @cached_property
    def detectors(self) -> list[str]:
        """Labels of the detectors."""
        return [shown(label, longest=80) for label in self.rows.detectors]

    @cached_property
    def rows_of_detectors(self) -> NDArray[np.bool_]:
        """Which detectors of the trend have a unit, (detectors of the trend)."""
        if not self.by_amplifier:
            return np.ones(self.trend.sizes["detector"], dtype=bool)
        return np.asarray(self.rows.exists.reshape(self.trend.sizes["detector"], -1).any(axis=1))

    @cached_property
    def detector(self) -> NDArray[np.intp]:
        """Place of the detector of each unit."""
        return np.repeat(np.arange(len(self.detectors)), np.diff(self.rows.starts))

    @cached_property
    def amplifiers(self) -> list[str]:
        """Amplifier of each unit; empty texts where units are detectors."""
        if not self.by_amplifier:
            return [""] * len(self.rows.labels)
        tiled = np.tile(self.trend["amplifier"].values, self.trend.sizes["detector"])
        return [shown(label, longest=80) for label in tiled[self.rows.exists]]

    @cached_property
    def units(self) -> list[str]:
        """Labels of the units, detector/amplifier."""
        if not self.by_amplifier:
            return self.detectors
        return [f"{self.detectors[d]}/{a}" for d, a in zip(self.detector, self.amplifiers, strict=True)]

    @cached_property
    def time(self) -> NDArray[np.datetime64]:
        """Time of each run, (runs)."""
        values: NDArray[np.datetime64] = np.atleast_1d(self.trend["time"].values)
        return values

    @cached_property
    def years(self) -> float:
        """From the first run to the last; 0 for a single one."""
        known = self.time[~np.isnat(self.time)]
        return float((known.max() - known.min()) / _YEAR) if known.size else 0.0

    @cached_property
    def alpha(self) -> float:
        """Probability below which something is called significant."""
        return float(self.trend.attrs.get("alpha", 0.01))

    @cached_property
    def percent(self) -> Array:
        """100 ln of G over its geometric mean over the runs; NaN where not measured."""
        return 100 * (self._ln_G - self._mean[:, np.newaxis])

    @cached_property
    def single_run(self) -> tuple[Array, Array]:
        """100 ln of G of a single run, and its errors; (units)."""
        G, error = np.exp(self._ln_G[:, 0]), np.full(self._ln_G.shape[0], np.nan)
        if "G_stderr" in self.trend:
            error = 100 * table(self.trend["G_stderr"], self.rows, last="run")[:, 0].astype(float) / G
        return 100 * np.log(G), error

    @cached_property
    def measured(self) -> NDArray[np.bool_]:
        """Which units any run has."""
        return np.asarray(np.isfinite(self._ln_G).any(axis=1))

    def model(self, unit: int) -> Array:
        """Find the model of a unit as `percent` is, (runs); NaN where there is none."""
        model: Array = 100 * (_ln(self._of_unit("model", unit)) - self._mean[unit])
        return model

    def error(self, unit: int) -> Array | None:
        """Find the standard errors of a unit in per cent, (runs); None where none is known."""
        if "G_stderr" not in self.trend:
            return None
        error = 100 * self._of_unit("G_stderr", unit) / self._of_unit("G", unit)
        return error if np.isfinite(error).any() else None

    @cached_property
    def drift(self) -> Array:
        """Change of ln G in a year."""
        return self.of_units("drift")

    @cached_property
    def drift_stderr(self) -> Array:
        """Standard error of `drift`."""
        return self.of_units("drift_stderr")

    @cached_property
    def drift_p(self) -> Array:
        """Probability of such a drift by chance, after all units were looked at."""
        return self.of_units("drift_p_holm")

    @cached_property
    def drifts(self) -> NDArray[np.bool_]:
        """Which units drift significantly."""
        significant: NDArray[np.bool_] = np.isfinite(self.drift) & (self.drift_p < self.alpha)
        return significant

    @cached_property
    def tells(self) -> bool:
        """Whether there are runs enough to tell what changes or drifts from what scatters."""
        known = np.isfinite(self.drift) & np.isfinite(self.drift_p)
        return bool(known.any() or self.changes or any(np.isfinite(one.p).any() for one in self.responses))

    @cached_property
    def responses(self) -> list[Response]:
        """Responses to the coordinates along run that G was held against."""
        names = [name.strip() for name in str(self.trend.attrs.get("against", "")).split(",")]
        return [self._response(name) for name in names if f"response_{name}" in self.trend]

    def _response(self, name: str) -> Response:
        size, error, p = (self.of_units(f"response_{name}{what}") for what in ("", "_stderr", "_p_holm"))
        coordinate = self.trend.coords.get(name)
        values = np.array([]) if coordinate is None else np.atleast_1d(coordinate.values).astype(float)
        known = values[np.isfinite(values)]
        units = "" if coordinate is None else shown(coordinate.attrs.get("units", ""), longest=40)
        significant = np.isfinite(size) & (p < self.alpha)
        swing = 2 * float(known.std()) if known.size else 0.0
        words = shown(name, longest=40), "" if units == "1" else units
        return Response(*words, size, error, p, self.of_units(f"correlation_{name}"), significant, swing)

    @cached_property
    def changes(self) -> list[Change]:
        """Changes of the units and runs that are there, the most significant first."""
        trend, place = self.trend, self._places
        names = [name for name in ("change_detector", "change_amplifier") if name in trend]
        found = []
        for k in range(trend.sizes.get("change", 0)):
            unit = place.get(tuple(str(trend[name].values[k]) for name in names))
            after = trend["change_time"].values[k]
            run = int(np.searchsorted(self.time, after))
            if unit is None or not 0 < run < self.time.size:
                continue  # selected away
            before = self._time_of("change_last_before", k, self.time[run - 1])
            span = self._time_of("change_earliest", k, before), self._time_of("change_latest", k, after)
            size, error, p = (float(trend[name].values[k]) for name in _OF_CHANGE)
            label = shown(trend["change_run"].values[k], longest=80) if "change_run" in trend else ""
            found.append(Change(unit, run, before, after, *span, label, size, error, p))
        return found

    def _time_of(self, name: str, change: int, otherwise: np.datetime64) -> np.datetime64:
        time: np.datetime64 = self.trend[name].values[change] if name in self.trend else otherwise
        return time

    def changes_of(self, unit: int) -> list[Change]:
        """List the changes of one unit in time."""
        return sorted((change for change in self.changes if change.unit == unit), key=lambda change: change.run)

    @cached_property
    def standing_out(self) -> list[int]:
        """Units that change, drift or respond significantly, the largest effect over all years first."""
        size = np.where(self.drifts, np.abs(np.nan_to_num(self.drift)) * self.years, 0.0)
        for response in self.responses:
            size = np.maximum(size, np.where(response.significant, np.abs(response.size) * response.swing, 0.0))
        for change in self.changes:
            size[change.unit] = max(size[change.unit], abs(change.size))
        order = np.argsort(-size, kind="stable")
        return [int(unit) for unit in order if size[unit] > 0]

    def of_units(self, name: str) -> Array:
        """Take a variable of the units; one along detector is given to its amplifiers, NaN where there is none."""
        if name not in self.trend:
            return np.full(len(self.rows.labels), np.nan)
        array = self.trend[name]
        if self.by_amplifier and "amplifier" not in array.dims:
            array = array.expand_dims(amplifier=self.trend.sizes["amplifier"])
        values: Array = table(array, self.rows)[:, 0].astype(float)
        return values

    @cached_property
    def _places(self) -> dict[tuple[str, ...], int]:
        labels = [str(label) for label in self.rows.detectors]
        amplifiers = (
            np.tile(self.trend["amplifier"].values, self.trend.sizes["detector"]) if self.by_amplifier else None
        )
        if amplifiers is None:
            return {(label,): k for k, label in enumerate(labels)}
        names = zip(self.detector, amplifiers[self.rows.exists], strict=True)
        return {(labels[d], str(amplifier)): k for k, (d, amplifier) in enumerate(names)}

    @cached_property
    def _ln_G(self) -> Array:
        return _ln(table(self.trend["G"], self.rows, last="run"))

    @cached_property
    def _mean(self) -> Array:
        known = np.isfinite(self._ln_G)
        number = known.sum(axis=1)
        total = np.where(known, self._ln_G, 0.0).sum(axis=1)
        mean: Array = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
        return mean

    def _of_unit(self, name: str, unit: int) -> Array:
        array = self.trend[name]
        if self.by_amplifier:
            detector, amplifier = divmod(int(np.flatnonzero(self.rows.exists)[unit]), self.trend.sizes["amplifier"])
            array = array.isel(detector=detector, amplifier=amplifier)
        else:
            array = array.isel(detector=unit)
        values: Array = np.asarray(array.values, dtype=float)
        return values


_OF_CHANGE = ("change_size", "change_size_stderr", "change_p")


def _ln(values: NDArray[Any]) -> Array:
    """Logarithms; NaN of what is not positive."""
    positive = np.isfinite(values) & (values > 0)
    logarithms: Array = np.where(positive, np.log(np.where(positive, values, 1.0)), np.nan)
    return logarithms
