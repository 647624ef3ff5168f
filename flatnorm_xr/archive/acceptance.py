"""Whether a run is fit to be certified: its diagnosis, and a few figures against their limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import xarray as xr

from flatnorm_xr.errors import FlatnormError, offenders

__all__ = ["Thresholds", "failures_of"]

_ALREADY_LEFT_OUT = {"gain jump": "jump", "unit": "scatter"}
"""By kind of rejection, the test that finds it again in the cells without weight."""


@dataclass(frozen=True)
class Thresholds:
    """Limits that a run must keep to be certified without a waiver. None: no limit."""

    rms_residual: float | None = 0.005
    """Weighted rms of the residuals."""
    unused_cells: float | None = 0.1
    """Share of the cells that have no weight."""
    lost_units: float | None = 0.05
    """Share of the units without G."""
    lost_exposures: float | None = 0.2
    """Share of the exposures without E."""
    G_stderr: float | None = 0.002
    """Median relative standard error of G."""
    alpha: float | None = 0.01
    """Chance that a good run fails its diagnosis; None: it is not diagnosed."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not value >= 0:
                msg = f"certify: the threshold {field.name} is {value!r}; it must be a number from 0 on, or None"
                raise FlatnormError(msg)
        if self.alpha is not None and not 0 < self.alpha < 1:
            msg = f"certify: the threshold alpha is {self.alpha!r}; it must be a probability between 0 and 1, or None"
            raise FlatnormError(msg)


def failures_of(solution: xr.Dataset, thresholds: Thresholds) -> list[str]:
    """Say what speaks against a run, one sentence a check; empty when nothing does.

    Parameters
    ----------
    solution : Dataset
        What `flatnorm_xr.solve` returned, or was read from another program's scales: then what cannot be checked is a
        failure.
    thresholds : Thresholds

    Returns
    -------
    list of str
    """
    return [*_of_figures(solution, thresholds), *_of_diagnosis(solution, thresholds.alpha)]


def losses_since(before: xr.Dataset, solution: xr.Dataset, thresholds: Thresholds, name: str) -> list[str]:
    """Say which units a run lacks that the one before it has.

    A camera that lost a detector makes runs that are whole by themselves; who used the run before had more.

    Parameters
    ----------
    before, solution : Dataset
        Solutions.
    thresholds : Thresholds
        Of which ``lost_units`` is the largest share of the earlier run's units that may be gone.
    name : str
        Of the earlier run, for the sentence.
    """
    had, has = _measured_units(before), _measured_units(solution)
    if {len(unit) for unit in had} != {len(unit) for unit in has}:  # one of amplifiers, one of whole detectors
        had, has = ([*dict.fromkeys(unit[:1] for unit in units)] for units in (had, has))
    gone = [unit for unit in had if unit not in has]
    if thresholds.lost_units is None or len(gone) <= thresholds.lost_units * max(1, len(had)):
        return []
    return [f"it lacks {offenders('/'.join(map(str, unit)) for unit in gone)}, which the run before it ({name}) has"]


def _measured_units(solution: xr.Dataset) -> list[tuple[object, ...]]:
    """Labels of the units that have G."""
    G = solution["G"]
    known = G.notnull().any("group") if "group" in G.dims else G.notnull()
    dims = [dim for dim in ("detector", "amplifier") if dim in known.dims]
    labels = [known[dim].values.tolist() for dim in dims]
    places = np.argwhere(known.transpose(*dims).values)
    return [tuple(axis[k] for axis, k in zip(labels, place, strict=True)) for place in places.tolist()]


def _of_figures(solution: xr.Dataset, limits: Thresholds) -> Iterator[str]:
    converged = solution.get("converged", solution.attrs.get("converged", 1))
    if not bool(np.all(np.asarray(converged) != 0)):
        yield "the solver did not converge"
    rms = np.atleast_1d(np.asarray(solution.get("rms_residual", solution.attrs.get("rms_residual", np.nan))))
    yield from _above("rms residual", float(rms.max(initial=-np.inf)), limits.rms_residual)
    exists = solution["exists"] if "exists" in solution.coords else xr.DataArray(True)
    G = solution["G"]
    if "weight" in solution:
        real = exists.broadcast_like(solution["weight"])
        unused = float(((solution["weight"] == 0) & real).sum() / max(1, int(real.sum())))
        yield from _above("share of cells without weight", unused, limits.unused_cells)
    lost = G.isnull().all("group") if "group" in G.dims else G.isnull()
    real = exists.broadcast_like(lost)
    yield from _above(
        "share of units without G", float((lost & real).sum() / max(1, int(real.sum()))), limits.lost_units
    )
    yield from _above("share of exposures without E", float(solution["E"].isnull().mean()), limits.lost_exposures)
    if limits.G_stderr is not None:
        relative = (solution["G_stderr"] / G).values if "G_stderr" in solution else np.array(np.nan)
        known = relative[np.isfinite(relative)]
        median = float(np.median(known)) if known.size else np.nan
        yield from _above("median relative error of G", median, limits.G_stderr)


def _above(name: str, value: float, limit: float | None) -> Iterator[str]:
    if limit is None:
        return
    if np.isnan(value):
        yield f"{name} is not known"
    elif value > limit:
        yield f"{name} {value:.3g} is above {limit:g}"


def _of_diagnosis(solution: xr.Dataset, alpha: float | None) -> Iterator[str]:
    from flatnorm_xr.decompose.robust.rejections import rejections
    from flatnorm_xr.decompose.structure import diagnose

    if alpha is None:
        return
    try:
        diagnosis = diagnose(solution, alpha=alpha)
    except FlatnormError as error:
        yield f"it cannot be diagnosed ({str(error).removeprefix('diagnose: ')})"
        return
    if not bool((diagnosis["made"] != 0).any()):
        yield str(diagnosis.attrs["verdict"])
        return
    left_out = set()
    if "rejection" in solution:
        left_out = {_ALREADY_LEFT_OUT.get(kind, "") for kind in rejections(solution)["kind"]}
    causes = {cause for cause in str(diagnosis.attrs["causes"]).split(", ") if cause}
    if causes - left_out:
        yield str(diagnosis.attrs["verdict"])
