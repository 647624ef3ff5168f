"""What fixes the free factor between G and E: a weighted mean of G over a set of units is 1."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import xarray as xr

from flatnorm_xr.decompose.sweeps import unit_dims
from flatnorm_xr.errors import FlatnormError, offenders

__all__ = ["Gauge", "describe_gauge", "gauge_mean", "gauge_offset", "gauge_weights", "named_detectors", "parse_gauge"]

Gauge = str | int | Sequence[str | int]
"""``"mean"``, ``"geometric"``, or a detector label or several."""


def named_detectors(gauge: Gauge) -> list[str | int] | None:
    """List the detectors a gauge names; None for ``"mean"`` and ``"geometric"``."""
    if isinstance(gauge, str) and gauge in ("mean", "geometric"):
        return None
    labels = [gauge] if isinstance(gauge, str | int | np.integer) else gauge
    if not isinstance(labels, Iterable) or not all(isinstance(label, str | int | np.integer) for label in labels):
        msg = f"solve: gauge is {gauge!r}; it must be 'mean', 'geometric', or a detector label or several"
        raise FlatnormError(msg)
    return [label if isinstance(label, str) else int(label) for label in labels]


def parse_gauge(text: str, detector: xr.DataArray) -> Gauge:
    """Read a gauge written as text: ``mean``, ``geometric``, or detectors, comma-separated.

    Parameters
    ----------
    text : str
        Detectors may stand after ``detectors:``. Where their labels are integers, so are those in the text, except
        names that the coordinate ``detector_name`` knows.
    detector : DataArray, (detector)
        Labels of the detectors, with ``detector_name`` where they have names.

    Returns
    -------
    str or list
        What `flatnorm_xr.solve` takes; labels are not looked for among the detectors.
    """
    if text in ("mean", "geometric"):
        return text
    labels = [label.strip() for label in text.removeprefix("detectors:").split(",")]
    if detector.dtype.kind not in "iu":
        return labels
    names = [str(name) for name in detector["detector_name"].values] if "detector_name" in detector.coords else []
    numbers = {name: int(label) for name, label in zip(names, detector.values, strict=False) if names.count(name) == 1}
    return [int(label) if re.fullmatch(r"-?[0-9]+", label) else numbers.get(label, label) for label in labels]


def gauge_mean(gauge: Gauge) -> Literal["arithmetic", "geometric"]:
    """Which mean of G a gauge sets to 1."""
    return "geometric" if isinstance(gauge, str) and gauge == "geometric" else "arithmetic"


def describe_gauge(gauge: Gauge) -> str:
    """One phrase for the attribute ``gauge``."""
    labels = named_detectors(gauge)
    if labels is not None:
        return f"mean of G over detectors {', '.join(map(str, labels))} is 1 (equal weights)"
    if gauge == "geometric":
        return "mean of ln G over the measured units is 0 (equal weights)"
    return "mean of G over the measured units is 1 (weights: counts of the measured cells)"


def gauge_weights(gauge: Gauge, counts: xr.DataArray, component: xr.DataArray, *, within: str = "") -> xr.DataArray:
    """Share of each unit in the gauge; the shares of each component add up to 1.

    Parameters
    ----------
    gauge : {"mean", "geometric"} or detector label(s)
        ``"mean"``: each unit's total counts over its measured cells. ``"geometric"``: equal for all measured units.
        Labels: equal for the measured units of the named detectors, 0 for all others.
    counts : DataArray, (unit dims, exposure)
        Pixel counts of the cells used, 0 for the others.
    component : DataArray, (unit dims)
        Connected component, -1 for a unit that was never measured.
    within : str
        Words that name the group of exposures in an error.

    Raises
    ------
    FlatnormError
        A named detector that is not there or was never measured, or a component without a named detector.
    """
    measured = component >= 0
    labels = named_detectors(gauge)
    if labels is None:
        share = counts.sum("exposure", skipna=False).compute() if gauge == "mean" else measured.astype(float)
        share = share.where(measured, 0.0)
    else:
        _check_labels(labels, measured, within)
        share = (measured & measured["detector"].isin(labels)).astype(float)
    for k in range(int(component.max()) + 1):
        total = float(share.where(component == k, 0.0).sum())
        if total == 0:
            msg = (
                f"solve: gauge names no detector of component {k}{within}, which shares no exposure with the others; "
                f"name one in each component or use gauge='mean'"
            )
            raise FlatnormError(msg)
        share = share.where(component != k, share / total)
    return share.rename("gauge_weight")


def gauge_offset(g: xr.DataArray, share: xr.DataArray, *, mean: Literal["arithmetic", "geometric"]) -> xr.DataArray:
    """Logarithm of the mean that the gauge sets to 1.

    Parameters
    ----------
    g : DataArray, (unit dims)
        ln G; any finite number where the share is 0.
    share : DataArray, (unit dims)
        Adds up to 1.
    mean : {"arithmetic", "geometric"}
        Of G.
    """
    dims = unit_dims(g)
    if mean == "geometric":
        return (share * g).sum(dims)
    top = g.where(share > 0).max(dims)
    total: xr.DataArray = (share * xr.ufuncs.exp((g - top).where(share > 0, 0.0))).sum(dims)
    logarithm: xr.DataArray = xr.ufuncs.log(total)
    return top + logarithm


def _check_labels(labels: list[str | int], measured: xr.DataArray, within: str) -> None:
    known = list(measured["detector"].values)
    absent = [label for label in labels if label not in known]
    if absent or not labels:
        msg = f"solve: gauge names detectors {offenders(absent)}, which are not there; have {offenders(known)}"
        raise FlatnormError(msg)
    alive = measured.any([dim for dim in unit_dims(measured) if dim != "detector"])
    dead = [label for label in labels if not bool(alive.sel(detector=label))]
    if dead:
        msg = f"solve: gauge names detectors {offenders(dead)}, which were never measured{within}; name others"
        raise FlatnormError(msg)
