"""The scales of a solution as the nested dictionaries that Rubin's tasks read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from flatnorm_xr.errors import FlatnormError, offenders

__all__ = ["pack_scales", "scales_by_amplifier"]

Labels = Mapping[Any, Sequence[str]]
"""Names of the amplifiers of each detector."""


def scales_by_amplifier(
    solution: xr.Dataset, amplifiers: Labels | None = None
) -> dict[Any, dict[str, dict[Any, float]]]:
    """Give what each amplifier in each exposure is divided by, as ``[detector][amplifier][exposure]``.

    Parameters
    ----------
    solution : Dataset
        Of `flatnorm_xr.solve`, at the level of detectors or amplifiers.
    amplifiers : mapping, optional
        Names of the amplifiers of each detector, which a solution at the level of detectors knows only from its
        attribute ``amplifiers``.

    Returns
    -------
    dict
        Plain numbers; NaN for an exposure without a scale, dark or rejected.

    Raises
    ------
    FlatnormError
        No scales in the dataset, or detectors whose amplifiers are not known.
    """
    names = _amplifiers(solution, amplifiers)
    scales = solution["scales"].transpose("detector", ..., "exposure").values.tolist()
    exposures = _labels(solution, "exposure")
    at = (
        {name: a for a, name in enumerate(_labels(solution, "amplifier"))}
        if "amplifier" in solution["scales"].dims
        else None
    )

    def row(i: int, name: str) -> list[float]:
        return list(scales[i] if at is None else scales[i][at[name]])

    return {
        detector: {name: dict(zip(exposures, row(i, name), strict=True)) for name in names[detector]}
        for i, detector in enumerate(_labels(solution, "detector"))
    }


def pack_scales(solution: xr.Dataset, amplifiers: Labels | None = None) -> dict[str, dict[Any, Any]]:
    """Pack scales and responses as Rubin's combine reads them.

    Parameters
    ----------
    solution : Dataset
        Of `flatnorm_xr.solve`, at the level of detectors or amplifiers, of one group of exposures.
    amplifiers : mapping, optional
        Names of the amplifiers of each detector, which a solution at the level of detectors knows only from its
        attribute ``amplifiers``.

    Returns
    -------
    dict
        ``expScale`` as ``[detector][amplifier][exposure]``; an exposure without a scale, dark or rejected, is left
        out, so that it cannot be combined unseen. ``detScale`` as ``[detector]``, or ``[detector][amplifier]`` at the
        level of amplifiers; NaN for a unit that was never measured.

    Raises
    ------
    FlatnormError
        No solution, several groups of exposures, or detectors whose amplifiers are not known.

    Examples
    --------
    >>> import flatnorm_xr as fx
    >>> sol = fx.solve(fx.make([[50.0, 100.0], [150.0, 300.0]]), uncertainty=None)
    >>> packed = pack_scales(sol, {0: ["C0"], 1: ["C0"]})
    >>> {exposure: round(scale, 9) for exposure, scale in packed["expScale"][0]["C0"].items()}
    {0: 100.0, 1: 200.0}
    """
    if "group" in solution.dims:
        msg = "pack_scales: the solution has several groups of exposures; solve each by itself, one file for each"
        raise FlatnormError(msg)
    by_amplifier = scales_by_amplifier(solution, amplifiers)
    kept = {
        detector: {
            name: {exposure: scale for exposure, scale in scales.items() if np.isfinite(scale)}
            for name, scales in of.items()
        }
        for detector, of in by_amplifier.items()
    }
    G = solution["G"]
    responses: dict[Any, Any]
    if "amplifier" not in G.dims:
        responses = dict(zip(_labels(solution, "detector"), G.values.tolist(), strict=True))
    else:
        responses = {
            detector: {name: float(G.sel(detector=detector, amplifier=name)) for name in of}
            for detector, of in by_amplifier.items()
        }
    return {"expScale": kept, "detScale": responses}


def _amplifiers(solution: xr.Dataset, given: Labels | None) -> dict[Any, list[str]]:
    """Names of the amplifiers of each detector: those given, or the solution's own that exist."""
    if "scales" not in solution or "G" not in solution:
        msg = "pack_scales: the dataset has no scales; solve it first"
        raise FlatnormError(msg)
    detectors = _labels(solution, "detector")
    if "amplifier" in solution["G"].dims:
        own = {detector: _existing(solution, i) for i, detector in enumerate(detectors)}
        other = [d for d in detectors if given is not None and sorted(given.get(d, ())) != sorted(own[d])]
        if other:
            msg = f"pack_scales: the names given for {offenders(other)} are not those of the solution; leave them out"
            raise FlatnormError(msg)
        return own if given is None else {detector: list(given[detector]) for detector in detectors}
    given = _remembered(solution) if given is None else given
    unknown = [detector for detector in detectors if given is None or detector not in given]
    if unknown or given is None:
        msg = (
            f"pack_scales: the solution is of whole detectors, and the amplifiers of {offenders(unknown)} are not "
            f"known; pass their names, or solve with level='amplifier'"
        )
        raise FlatnormError(msg)
    return {detector: list(given[detector]) for detector in detectors}


def _remembered(solution: xr.Dataset) -> Labels | None:
    """Names of the amplifiers of whole detectors, where the attribute ``amplifiers`` has them."""
    try:
        return {detector: [str(name) for name in names] for detector, names in json.loads(solution.attrs["amplifiers"])}
    except (KeyError, TypeError, ValueError):
        return None


def _existing(solution: xr.Dataset, i: int) -> list[str]:
    """Names of the amplifiers that the detector at this place has."""
    names = solution["amplifier"]
    if "exists" in solution.coords:
        names = names[solution["exists"].isel(detector=i).values]
    return [str(name) for name in names.values]


def _labels(solution: xr.Dataset, dim: str) -> list[Any]:
    return list(solution[dim].values.tolist())
