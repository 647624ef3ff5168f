"""Read the scales that Rubin's combine reads, as a solution."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from flatnorm_xr.archive.from_rows import attributes_of_import
from flatnorm_xr.archive.merged_order import merged_order
from flatnorm_xr.archive.plain_mappings import read_mappings
from flatnorm_xr.errors import SchemaError, offenders, warn
from flatnorm_xr.model.make import stamp
from flatnorm_xr.model.schema import LEVEL_UNITS, level_units
from flatnorm_xr.model.validate import validate

__all__ = ["read_scales"]

_LARGEST = 128 * 2**20
"""Bytes; 3000 amplifiers in 1000 exposures are fewer."""

_DEEPEST = 4
"""expScale, detector, amplifier, exposure."""

Scales = dict[Any, dict[str, dict[Any, float]]]
Responses = dict[Any, Any]
Array = np.ndarray[Any, Any]


def read_scales(path: Path, *, units: str | None = None) -> xr.Dataset:
    """Read ``expScale`` and ``detScale``; see `flatnorm_xr.read_solution`.

    Parameters
    ----------
    path : Path
        YAML: mappings of plain numbers, without anchors, aliases and tags.
    units : {"adu", "electron"}, optional
        Units of the scales, else adu.

    Raises
    ------
    ReadError
        The file is missing, too large, or not YAML of plain mappings.
    SchemaError
        It holds something else than scales.
    """
    said = f"read_solution: {path}"
    if units is not None and units not in LEVEL_UNITS:
        msg = f"read_solution: units {units!r} are unknown; levels are in {' or '.join(LEVEL_UNITS)}"
        raise SchemaError(msg)
    content = read_mappings(path, caller="read_solution", largest=_LARGEST, deepest=_DEEPEST)
    missing = [name for name in ("expScale", "detScale") if not content.get(name)]
    if missing or not all(isinstance(content[name], dict) for name in ("expScale", "detScale")):
        msg = f"{said} has no {offenders(missing or ['expScale', 'detScale'])}, so it is none of Rubin's scales"
        raise SchemaError(msg)
    scales, responses = content["expScale"], content["detScale"]
    _check(scales, responses, said)
    attrs = attributes_of_import("Solution", "Rubin YAML", "read_solution", path)
    return _dataset(scales, responses, attrs, said=said, units=level_units(units))


def _check(scales: dict[Any, Any], responses: dict[Any, Any], said: str) -> None:
    """Raise one error that names what departs from ``[detector][amplifier][exposure]``."""
    problems = list(_problems(scales, responses))
    if problems:
        msg = f"{said}: {offenders(problems)}"
        raise SchemaError(msg)


def _problems(scales: dict[Any, Any], responses: dict[Any, Any]) -> Iterator[str]:
    yield from _mixed("detectors", [*scales, *responses])
    alone = [*(d for d in scales if d not in responses), *(d for d in responses if d not in scales)]
    if alone:
        yield f"detectors {offenders(alone)} are in one of expScale and detScale only"
        return
    by_amplifier = {isinstance(response, dict) for response in responses.values()}
    if len(by_amplifier) > 1:
        yield "detScale has numbers for some detectors and amplifiers for others"
        return
    shallow = [d for d, of in scales.items() if not isinstance(of, dict) or not _are_dicts(of.values())]
    if shallow:
        yield f"expScale of detectors {offenders(shallow)} is not by amplifier and exposure"
        return
    names = [name for of in (*scales.values(), *(responses.values() if True in by_amplifier else ())) for name in of]
    if not all(isinstance(name, str) for name in names):
        yield f"amplifiers {offenders([n for n in names if not isinstance(n, str)])} are no text; quote their names"
    for detector, of in scales.items():
        response = responses[detector]
        if isinstance(response, dict) and set(response) != set(of):
            yield f"detector {offenders([detector])} has other amplifiers in expScale than in detScale"
        for name, value in response.items() if isinstance(response, dict) else [("", response)]:
            yield from _no_scale(f"detScale of {detector} {name}".rstrip(), value)
        for name, row in of.items():
            for exposure, value in row.items():
                yield from _no_scale(f"expScale of {detector} {name} {exposure}", value)
    yield from _mixed("exposures", [exposure for of in scales.values() for row in of.values() for exposure in row])


def _are_dicts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)


def _mixed(what: str, labels: list[Any]) -> Iterator[str]:
    kinds = {type(label) for label in labels}
    if kinds - {int} and kinds - {str}:
        yield f"{what} must be all integers or all text"
    elif kinds == {int} and not all(-(2**63) <= label < 2**63 for label in labels):
        yield f"{what} are larger than integers of 8 bytes"


def _no_scale(where: str, value: object) -> Iterator[str]:
    # comparisons are false for NaN, which says that the scale is not known
    if not isinstance(value, int | float) or value <= 0 or value == math.inf:
        yield f"{where} is {value!r}, not a positive number"


def _dataset(scales: Scales, responses: Responses, attrs: dict[str, Any], *, said: str, units: str) -> xr.Dataset:
    detectors = list(scales)
    amplifiers = merged_order([list(of) for of in scales.values()])
    exposures = merged_order([list(row) for of in scales.values() for row in of.values()])
    _check_size(scales, amplifiers, exposures, said)
    cube, exists = _cube(scales, amplifiers, exposures)
    coords: dict[str, Any] = {"detector": np.array(detectors), "exposure": np.array(exposures)}
    unit: tuple[str, ...] = ("detector", "amplifier")
    if isinstance(responses[detectors[0]], dict):
        G = np.array([[responses[d].get(name, math.nan) for name in amplifiers] for d in detectors], dtype=float)
        coords["amplifier"] = np.array(amplifiers)
        if not exists.all():
            coords["exists"] = (unit, exists)
    else:
        unit = ("detector",)
        cube = _of_detectors(cube, exists, detectors, said)
        G = np.array([responses[d] for d in detectors], dtype=float)
        attrs = {**attrs, "amplifiers": json.dumps([[d, list(of)] for d, of in scales.items()], ensure_ascii=False)}
    variables = {
        "E": ("exposure", _shared(cube, exposures, said)),
        "G": (unit, G),
        "bgModel": ((*unit, "exposure"), G[..., None] * cube),
        "scales": ((*unit, "exposure"), cube),
    }
    ds = stamp(xr.Dataset(variables, coords, attrs), units=units)
    validate(ds, caller=said, needs_levels=False)
    return ds


def _check_size(scales: Scales, amplifiers: list[str], exposures: list[Any], said: str) -> None:
    """Refuse a few numbers that would become a huge grid."""
    entries = sum(len(row) for of in scales.values() for row in of.values())
    sizes = {"detectors": len(scales), "amplifiers": len(amplifiers), "exposures": len(exposures)}
    if not entries or math.prod(sizes.values()) > 1_000_000 + 100 * entries:
        listed = " x ".join(f"{size} {what}" for what, size in sizes.items())
        msg = f"{said}: expScale has {entries} scales for {listed}; is it another file?"
        raise SchemaError(msg)


def _cube(scales: Scales, amplifiers: list[str], exposures: list[Any]) -> tuple[Array, Array]:
    """Scales on (detector, amplifier, exposure), NaN where there is none, and which amplifiers there are."""
    cube = np.full((len(scales), len(amplifiers), len(exposures)), np.nan)
    exists = np.zeros(cube.shape[:2], dtype=bool)
    amplifier_at = {name: a for a, name in enumerate(amplifiers)}
    exposure_at = {exposure: e for e, exposure in enumerate(exposures)}
    for d, of in enumerate(scales.values()):
        for name, row in of.items():
            exists[d, amplifier_at[name]] = True
            cube[d, amplifier_at[name], [exposure_at[exposure] for exposure in row]] = list(row.values())
    return cube, exists


def _of_detectors(cube: Array, exists: Array, detectors: list[Any], said: str) -> Array:
    """Scales of whole detectors: what all amplifiers of each share."""
    first: Array = cube[np.arange(len(detectors)), exists.argmax(axis=1)]
    same = (cube == first[:, None]) | (np.isnan(cube) & np.isnan(first[:, None])) | ~exists[..., None]
    differing = np.flatnonzero(~same.all(axis=(1, 2)))
    if differing.size:
        named = offenders(detectors[d] for d in differing)
        msg = f"{said}: detScale is of whole detectors, but the amplifiers of {named} differ in expScale"
        raise SchemaError(msg)
    return first


def _shared(cube: Array, exposures: list[Any], said: str) -> Array:
    """Level of each exposure: the scale that all units share, else the geometric mean of their scales."""
    flat = cube.reshape(-1, len(exposures))
    known = np.isfinite(flat)
    first: Array = flat[known.argmax(axis=0), np.arange(len(exposures))]
    differing = ((flat != first) & known).any(axis=0)
    if differing.any():
        named = offenders(exposure for exposure, differs in zip(exposures, differing, strict=True) if differs)
        warn(f"{said}: the units' scales of exposures {named} differ; E is their geometric mean there")
        total = np.where(known, np.log(np.where(known, flat, 1.0)), 0.0).sum(axis=0)
        first = np.where(differing, np.exp(total / np.maximum(known.sum(axis=0), 1)), first)
    return first
