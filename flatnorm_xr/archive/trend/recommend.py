"""Whether a flat should be renewed: only for a change that is larger than what matters and no chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.archive.trend.compare import MMAG
from flatnorm_xr.archive.trend.regression import p_value
from flatnorm_xr.decompose.structure.finding import holm, with_error
from flatnorm_xr.decompose.sweeps import unit_dims
from flatnorm_xr.errors import FlatnormError, SchemaError, offenders

__all__ = ["Recommendation", "recommend_from"]

Array = NDArray[Any]

_RECENT = 10
"""Latest runs whose mean is what a response is now."""

_PARAMETERS = 2
"""Of the model beside which a unit's scatter was found: its level and its drift."""


@dataclass(frozen=True)
class Recommendation:
    """Whether to renew a flat, and the numbers that say so; magnitudes in mmag."""

    verdict: Literal["renew", "keep"]
    sentence: str
    unit: str
    """The unit that decided it, or else the one that seems to have changed most; empty where nothing is known."""
    change: float
    """Of this unit since the reference."""
    error: float
    p: float
    """Of no change, adjusted for the number of units."""
    rms: float
    """Of the changes of all units."""
    changed: tuple[str, ...]
    """Units that changed by more than the tolerance, beyond chance."""
    tolerance: float
    alpha: float
    reference: str
    """The run that is in use."""
    appeared: tuple[str, ...]
    """Units that were measured since and have no G in the reference."""
    lost: tuple[str, ...]
    """Units of the reference that the latest runs lack."""
    runs: int
    """Number of later runs it rests on, at most."""
    until: str
    """Time of the last of them."""


def recommend_from(
    trend: xr.Dataset, reference: str, *, since: Any = None, tolerance: float = 2.0, alpha: float = 0.01
) -> Recommendation:
    """Say whether the run in use should be replaced by a new one.

    What a unit is now is the mean of ln G over the latest runs after the reference: ten at most, and none from before
    the unit's last change. It is set against ln G of the reference itself, noise and all, because that is what
    photometry is divided by. The flat is renewed when a unit, or the rms of all, has changed by more than the tolerance
    and not by chance: a flat that is renewed without need brings its own noise into the photometry.

    Parameters
    ----------
    trend : Dataset
        What `flatnorm_xr.archive.trend.follow.follow` returns, with the reference among its runs.
    reference : str
        Run that is in use.
    since : date, optional
        Only runs from this time on say what the units are now.
    tolerance : float
        Change that matters, mmag; 1 mmag is a change of ln G by 9.2e-4.
    alpha : float
        Chance to renew where nothing changed.

    Returns
    -------
    Recommendation
        With ``verdict`` "renew" or "keep" and a ``sentence`` that says why, with sizes, errors and probability. A unit
        that was measured since and has no G in the reference is a reason to renew; one that the latest runs lack is
        only named.

    Raises
    ------
    SchemaError
        Not a trend.
    FlatnormError
        The reference is not among the runs; a tolerance or an alpha out of range.

    Notes
    -----
    Ten runs leave the mean a third as uncertain as the reference, which is a single run, so that more would tell little
    and be of longer ago. The variance of a change is ``s^2 (1 + min(1, f^2 / n))``, with n the runs in the mean, s the
    scatter of the unit from run to run about drift and changes, or its stated error where that is larger, and f the
    factor by which noise that wanders makes means less certain. Student's t for each unit; for all together the sum of
    the squares of the normal deviates of the same p-values, a chi-squared; Holm's adjustment over all of these.

    Examples
    --------
    >>> from flatnorm_xr.archive.trend.follow import follow
    >>> from flatnorm_xr.simulate.years import simulate_history
    >>> trend = follow(simulate_history(n_detectors=20, runs=60, jumps=[(7, 2.0, 0.02)], seed=1))
    >>> advice = recommend_from(trend, str(trend.run.values[0]))
    >>> advice.verdict, advice.changed
    ('renew', ('7',))
    """
    place = _checked(trend, reference, tolerance, alpha)
    dims = unit_dims(trend["G"].isel(run=0))
    y = np.log(trend["G"].transpose("run", *dims).values.reshape(trend.sizes["run"], -1))
    later = np.arange(y.shape[0]) > place
    if since is not None:
        from flatnorm_xr.archive.certificates import moment

        later &= trend["time"].values >= moment(since, caller="recommend", argument="since")
    said = {"tolerance": float(tolerance), "alpha": float(alpha), "reference": reference}
    names = _names(trend, dims)
    mean, number = _now(trend, y, later, dims)
    change = MMAG * (mean - y[place])
    if not np.isfinite(change).any():
        words = f"No {dims[-1]} was measured since {reference[:12]}, so nothing says that it changed."
        nothing = {"unit": "", "change": np.nan, "error": np.nan, "p": np.nan, "rms": np.nan}
        none: dict[str, Any] = {"changed": (), "appeared": (), "lost": (), "runs": 0, "until": ""}
        return Recommendation("keep", words, **nothing, **none, **said)  # type: ignore[arg-type]
    error = MMAG * _errors(trend, dims, place, number)
    p, chance_of_rms = _p_values(change, error, np.isfinite(y).sum(axis=0) - _PARAMETERS)
    last = str(trend["time"].values[later][-1].astype("datetime64[s]"))
    now, then = np.isfinite(mean), np.isfinite(y[place])
    appeared, lost = (tuple(names[k] for k in np.flatnonzero(which)) for which in (now & ~then, then & ~now))
    found = _Changes(dims[-1], names, change, error, p, chance_of_rms, float(tolerance), float(alpha), appeared, lost)
    return found.advice(reference=reference, runs=int(number.max()), until=last)


@dataclass(frozen=True)
class _Changes:
    """Changes of all units since the reference, mmag."""

    noun: str
    names: list[str]
    change: Array
    error: Array
    p: Array
    chance_of_rms: float
    """How often chance makes the changes of all units so large, adjusted with the units."""
    tolerance: float
    alpha: float
    appeared: tuple[str, ...]
    lost: tuple[str, ...]

    @property
    def _known(self) -> int:
        return int(np.isfinite(self.change).sum())

    @property
    def rms(self) -> float:
        """Of the changes, without what their errors bring."""
        known = np.isfinite(self.change)
        noise = np.nan_to_num(self.error[known]) ** 2
        return float(np.sqrt(max(float(np.mean(self.change[known] ** 2 - noise)), 0.0)))

    def advice(self, *, reference: str, runs: int, until: str) -> Recommendation:
        """Decide, and say why."""
        beyond = (np.abs(self.change) > self.tolerance) & (self.p < self.alpha)
        of_all = self.rms > self.tolerance and self.chance_of_rms < self.alpha
        size = np.nan_to_num(np.abs(self.change))
        most = int(np.argmax(np.where(beyond, size, -1.0))) if beyond.any() else int(size.argmax())
        order = [int(k) for k in np.argsort(-size) if beyond[k]]
        resting = f"the mean of {runs} runs" if runs > 1 else "a single run"
        resting = f"{resting} until {until[:10]}"
        if order:
            told = offenders([f"{self.names[k]} by {self._size(k)}" for k in order])
            words = (
                f"{len(order)} of {self._known} {self.noun}s changed by more than {self.tolerance:g} mmag since "
                f"{reference[:12]}: {told}; p {self.p[most]:.2g}. All: {self.rms:.3g} mmag rms. From {resting}."
            )
        elif of_all:
            words = (
                f"All {self.noun}s together changed by {self.rms:.3g} mmag rms since {reference[:12]}, more than "
                f"{self.tolerance:g} mmag, p {self.chance_of_rms:.2g}; most {self.names[most]} by {self._size(most)}. "
                f"From {resting}."
            )
        else:
            words = f"{self._why_not(most)} All: {self.rms:.3g} mmag rms. From {resting}."
        if self.appeared:
            words += f" It has nothing for {offenders(self.appeared)}, measured since: a new flat is needed for these."
        if self.lost:
            words += f" Not measured in the latest runs: {offenders(self.lost)}."
        return Recommendation(
            verdict="renew" if order or of_all or self.appeared else "keep",
            sentence=words,
            unit=self.names[most],
            change=float(self.change[most]),
            error=float(self.error[most]),
            p=float(self.p[most]),
            rms=self.rms,
            changed=tuple(self.names[k] for k in order),
            appeared=self.appeared,
            lost=self.lost,
            tolerance=self.tolerance,
            alpha=self.alpha,
            reference=reference,
            runs=runs,
            until=until,
        )

    def _why_not(self, most: int) -> str:
        if abs(self.change[most]) <= self.tolerance:
            least = f"No {self.noun} changed by more than {self.tolerance:g} mmag"
            return f"{least}; most {self.names[most]} by {self._size(most)}."
        if not self.error[most] > 0:
            return f"{self.names[most]} changed by {self._size(most)}, but too few runs tell how much they scatter."
        return (
            f"{self.names[most]} seems to have changed by {self._size(most)}, but chance explains it: p "
            f"{self.p[most]:.2g} among {self._known} {self.noun}s."
        )

    def _size(self, unit: int) -> str:
        return f"{with_error(float(self.change[unit]), float(self.error[unit]))} mmag"


def _checked(trend: xr.Dataset, reference: str, tolerance: float, alpha: float) -> int:
    """Give the place of the reference among the runs."""
    needed = {"G", "gauge_offset", "scatter", "change_latest"}
    if not isinstance(trend, xr.Dataset) or not needed <= set(trend.variables):
        msg = "recommend: trend is not what follow returns; pass archive.trend(...)"
        raise SchemaError(msg)
    for name, value, right in (("tolerance", tolerance, 0 < tolerance < np.inf), ("alpha", alpha, 0 < alpha < 1)):
        if not right:
            msg = f"recommend: {name} is {value!r}; it must be above 0" + (" and below 1" if name == "alpha" else "")
            raise FlatnormError(msg)
    places = np.flatnonzero(trend["run"].values.astype(str) == reference)
    if not places.size:
        msg = (
            f"recommend: the run {offenders([reference[:12]])} is not in the trend (no time, or another filter?); "
            "follow the runs of its filter, with times"
        )
        raise FlatnormError(msg)
    return int(places[0])


def _names(trend: xr.Dataset, dims: list[str]) -> list[str]:
    labels = [trend[dim].values.tolist() for dim in dims]
    shape = [len(one) for one in labels]
    return [offenders(["/".join(str(labels[d][k]) for d, k in enumerate(place))]) for place in np.ndindex(*shape)]


def _now(trend: xr.Dataset, y: Array, later: Array, dims: list[str]) -> tuple[Array, Array]:
    """Mean of ln G over the latest runs that tell what each unit is now, and how many these are."""
    usable = np.isfinite(y) & later[:, np.newaxis]
    time = trend["time"].values
    labels = [trend[dim].values.tolist() for dim in dims]
    for k in range(trend.sizes.get("change", 0)):
        changed = [trend[f"change_{dim}"].values[k].item() for dim in dims]
        where = [known.index(label) for label, known in zip(changed, labels, strict=True)]
        unit = int(np.ravel_multi_index(where, [len(known) for known in labels]))
        usable[:, unit] &= time >= trend["change_latest"].values[k]
    # a unit that is gone from the latest runs is not what it was in earlier ones
    usable[:, ~usable[np.flatnonzero(later)[-_RECENT:]].any(axis=0)] = False
    from_last = np.cumsum(usable[::-1], axis=0)[::-1]
    usable &= from_last <= _RECENT
    number = usable.sum(axis=0)
    total = np.where(usable, y, 0.0).sum(axis=0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan), number


def _errors(trend: xr.Dataset, dims: list[str], place: int, number: Array) -> Array:
    """Find the standard error of the change of ln G of each unit."""
    scatter = trend["scatter"].transpose(*dims).values.ravel()
    stated = np.full(scatter.shape, np.nan)
    if "G_stderr" in trend:
        of_reference = (trend["G_stderr"] / trend["G"]).isel(run=place)
        stated = of_reference.transpose(*dims).values.ravel()
    single = np.fmax(scatter, stated)
    wandering = trend["noise_factor"].transpose(*dims).values.ravel() if "noise_factor" in trend else np.ones(1)
    inflation = np.nan_to_num(wandering, nan=1.0) ** 2
    return np.asarray(single * np.sqrt(1 + np.minimum(1, inflation / np.maximum(number, 1))))


def _p_values(change: Array, error: Array, dof: Array) -> tuple[Array, float]:
    """p-values of no change of each unit, and of none of all together, adjusted for their number."""
    from scipy.special import chdtrc, chdtri

    known = np.isfinite(change) & (error > 0)
    single = p_value(change / np.where(known, error, np.nan), np.maximum(dof, 1))
    together = float("nan")
    if known.sum() > 2:
        # each as the square of a normal deviate, so that one noisy unit does not stand for all
        squares = chdtri(1, np.maximum(single[known], np.finfo(float).tiny))
        together = float(chdtrc(known.sum(), squares.sum()))
    adjusted = holm(np.append(single, together))
    return adjusted[:-1], float(adjusted[-1])
