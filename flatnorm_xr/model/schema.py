"""The two tables of the data model: variables (and coordinates) and attributes; all code reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from flatnorm_xr.flags import Flag

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "ATTRIBUTES",
    "COORDINATES",
    "LEVEL_UNITS",
    "MIN_READER",
    "SCHEMA_VERSION",
    "UNITS_IN_MEMORY",
    "VARIABLES",
    "Attribute",
    "Stage",
    "Variable",
    "attributes_of",
    "level_units",
    "solved_names",
    "units_of",
]

SCHEMA_VERSION = 2
"""Version of the data model; written to every file. Since 2 the units in a file are those that UDUNITS knows."""

MIN_READER = 2
"""Oldest schema version a program must know to read what this one writes."""

LEVEL_UNITS = ("adu", "electron")
"""What a level may be measured in; missing units mean the first."""

UNITS_IN_MEMORY = "flatnorm_units"
"""Attribute in a file that holds the units which ``units`` there cannot say."""

Stage = Literal["measure", "simulate", "solve"]


@dataclass(frozen=True)
class Variable:
    """One row of the table of variables.

    ``dims`` is written as in the documentation, for example ``"detector[, amplifier], exposure"``: a dim
    in brackets may be absent. ``units`` of ``"level"`` means "the units of background".
    """

    name: str
    dims: str
    dtype: str
    units: str | None
    long_name: str
    stage: Stage

    @property
    def required_dims(self) -> tuple[str, ...]:
        """Dims that must be there."""
        return tuple(re.findall(r"\w+", re.sub(r"\[.*?\]", "", self.dims)))

    @property
    def allowed_dims(self) -> tuple[str, ...]:
        """Dims that may be there, in canonical order."""
        return tuple(re.findall(r"\w+", self.dims))


@dataclass(frozen=True)
class Attribute:
    """One row of the table of global attributes; ``kind`` is what a reader finds there."""

    name: str
    kind: Literal["string", "number", "JSON"]
    meaning: str
    stage: Stage


_CELL = "detector[, amplifier], exposure"
_UNIT = "detector[, amplifier]"
_AMPLIFIER = "detector, amplifier"
_AMPLIFIER_CELL = "detector, amplifier, exposure"
_UNIT_OF_GROUP = "detector[, amplifier][, group]"

VARIABLES: dict[str, Variable] = {
    row.name: row
    for row in (
        Variable("background", _CELL, "f8", "level", "level of the flat light", "measure"),
        Variable("sigma", _CELL, "f8", "level", "standard deviation of the pixels after clipping", "measure"),
        Variable("counts", _CELL, "f8 or i8", "1", "number of pixels after clipping", "measure"),
        Variable("detector_background", "detector, exposure", "f8", "level", "level of the detector", "measure"),
        Variable(
            "detector_sigma",
            "detector, exposure",
            "f8",
            "level",
            "standard deviation of the detector's pixels after clipping",
            "measure",
        ),
        Variable(
            "detector_counts",
            "detector, exposure",
            "f8 or i8",
            "1",
            "number of the detector's pixels after clipping",
            "measure",
        ),
        Variable("quality", _CELL, "u4", None, "quality flags", "measure"),
        Variable("detector_quality", "detector, exposure", "u4", None, "quality flags of the detector", "measure"),
        Variable(
            "edge_ratio",
            _AMPLIFIER_CELL,
            "f8",
            "1",
            "level of the amplifier over the mean of its detector, where amplifiers meet",
            "measure",
        ),
        Variable("edge_ratio_stderr", _AMPLIFIER_CELL, "f8", "1", "standard error of edge_ratio", "measure"),
        Variable("true_E", "exposure", "f8", "level", "simulated exposure level", "simulate"),
        Variable("true_G", _UNIT, "f8", "1", "simulated relative response", "simulate"),
        Variable("E", "exposure", "f8", "level", "exposure level E", "solve"),
        Variable("E_stderr", "exposure", "f8", "level", "standard error of E", "solve"),
        Variable("G", _UNIT_OF_GROUP, "f8", "1", "relative response G", "solve"),
        Variable("G_stderr", _UNIT_OF_GROUP, "f8", "1", "standard error of G", "solve"),
        Variable("E_dof", "exposure", "f8", "1", "degrees of freedom of E_stderr", "solve"),
        Variable("G_dof", _UNIT_OF_GROUP, "f8", "1", "degrees of freedom of G_stderr", "solve"),
        *(
            row
            for method in ("analytic", "jackknife", "bootstrap")
            for row in (
                Variable(f"E_stderr_{method}", "exposure", "f8", "level", f"{method} standard error of E", "solve"),
                Variable(f"G_stderr_{method}", _UNIT_OF_GROUP, "f8", "1", f"{method} standard error of G", "solve"),
            )
        ),
        Variable("detector_scale", "detector[, group]", "f8", "1", "geometric mean of G over the amplifiers", "solve"),
        Variable("detector_scale_stderr", "detector[, group]", "f8", "1", "standard error of detector_scale", "solve"),
        Variable("amplifier_ratio", f"{_AMPLIFIER}[, group]", "f8", "1", "G over detector_scale", "solve"),
        Variable(
            "amplifier_ratio_stderr", f"{_AMPLIFIER}[, group]", "f8", "1", "standard error of amplifier_ratio", "solve"
        ),
        Variable("bgModel", _CELL, "f8", "level", "model level, G times E", "solve"),
        Variable("scales", _CELL, "f8", "level", "scale to divide by before combining", "solve"),
        Variable("residual", _CELL, "f8", "1", "ln(background / bgModel)", "solve"),
        Variable("weight", _CELL, "f8", None, "weight used in the fit", "solve"),
        Variable("rejection", _CELL, "i4", "1", "number of the fault that took the cell out, 0 if none", "solve"),
        Variable("floor", "exposure", "f8", "1", "relative systematic error of a level", "solve"),
        Variable("component", _UNIT_OF_GROUP, "i4", "1", "connected component, -1 if not in the fit", "solve"),
        Variable("gauge_weight", _UNIT_OF_GROUP, "f8", "1", "share of the unit in the gauge", "solve"),
        Variable("mode_unit", f"{_UNIT_OF_GROUP}, mode", "f8", "1", "pattern of the mode on the units", "solve"),
        Variable("mode_exposure", "exposure, mode", "f8", "1", "strength of the mode in the exposures", "solve"),
        Variable("held_out_rms", "[group, ]modes_tried", "f8", "1", "rms residual of held-out cells", "solve"),
        Variable("modes", "group", "i8", "1", "number of modes fitted beside G and E", "solve"),
        Variable("iterations", "group", "i8", "1", "iterations of the solver", "solve"),
        Variable(
            "correction",
            "[group, ]iteration",
            "f8",
            "1",
            "largest correction left, of ln E (alternation: of ln G)",
            "solve",
        ),
        Variable("converged", "group", "i8", "1", "1 if the solver converged", "solve"),
        Variable("rms_residual", "group", "f8", "1", "weighted rms of residual", "solve"),
        Variable("chi2", "group", "f8", "1", "sum of w r^2", "solve"),
        Variable("dof", "group", "i8", "1", "degrees of freedom of the fit", "solve"),
        Variable("variance_factor", "group", "f8", "1", "sum of w r^2 over the degrees of freedom", "solve"),
    )
}

COORDINATES: dict[str, Variable] = {
    row.name: row
    for row in (
        Variable("detector", "detector", "int or str", None, "detector", "measure"),
        Variable("amplifier", "amplifier", "str", None, "amplifier", "measure"),
        Variable("exposure", "exposure", "int or str", None, "exposure", "measure"),
        Variable("time", "exposure", "datetime64", None, "mid-exposure, UTC", "measure"),
        Variable("exposure_time", "exposure", "f8", "s", "exposure time", "measure"),
        Variable("physical_filter", "exposure", "str", None, "filter", "measure"),
        Variable("night", "exposure", "any", None, "observing night", "measure"),
        Variable("lamp", "exposure", "str", None, "calibration lamp", "measure"),
        Variable("observation_type", "exposure", "str", None, "kind of observation", "measure"),
        Variable("path", "detector, exposure", "str", None, "absolute path of the file it was read from", "measure"),
        Variable("detector_name", "detector", "str", None, "name of the detector", "measure"),
        Variable("detector_type", "detector", "str", None, "type of the detector", "measure"),
        Variable("x", "detector", "f8", "mm", "focal plane x of the detector's centre", "measure"),
        Variable("y", "detector", "f8", "mm", "focal plane y of the detector's centre", "measure"),
        Variable("width", "detector", "f8", "mm", "size of the detector along x", "measure"),
        Variable("height", "detector", "f8", "mm", "size of the detector along y", "measure"),
        Variable("amplifier_x", _AMPLIFIER, "f8", "mm", "focal plane x of the amplifier's centre", "measure"),
        Variable("amplifier_y", _AMPLIFIER, "f8", "mm", "focal plane y of the amplifier's centre", "measure"),
        Variable("amplifier_width", _AMPLIFIER, "f8", "mm", "size of the amplifier along x", "measure"),
        Variable("amplifier_height", _AMPLIFIER, "f8", "mm", "size of the amplifier along y", "measure"),
        Variable(
            "exists",
            "detector, amplifier",
            "bool",
            None,
            "whether the detector has this amplifier",
            "measure",
        ),
        Variable("gain", _UNIT, "f8", "electron adu-1", "gain", "measure"),
        Variable("read_noise", _UNIT, "f8", "electron", "read noise", "measure"),
        Variable("mode", "mode", "int or str", None, "number of the mode", "solve"),
        Variable("modes_tried", "modes_tried", "int or str", None, "number of modes tried", "solve"),
        Variable("iteration", "iteration", "int or str", None, "number of the iteration", "solve"),
        Variable("group", "[group][, exposure]", "any", None, "group of exposures solved together", "solve"),
        Variable("exposure_group", "exposure", "any", None, "group of the exposure", "solve"),
    )
}

ATTRIBUTES: dict[str, Attribute] = {
    row.name: row
    for row in (
        Attribute("Conventions", "string", "metadata conventions, CF-1.11", "measure"),
        Attribute("title", "string", "one line that says what this is", "measure"),
        Attribute("history", "string", "what was done, newest first", "measure"),
        Attribute(
            "source",
            "string",
            "where the levels come from: camera and statistic, table, simulation",
            "measure",
        ),
        Attribute("camera", "string", "name of the camera profile", "measure"),
        Attribute("inputs", "JSON", "files read: name, size, mtime, DATASUM, sha256 where asked", "measure"),
        Attribute("measure_configuration", "JSON", "keywords of the measurement", "measure"),
        Attribute("flatnorm_version", "string", "version of the program that made this", "measure"),
        Attribute("flatnorm_schema_version", "number", "version of this data model", "measure"),
        Attribute("flatnorm_min_reader", "number", "oldest schema version that can read this", "measure"),
        Attribute("simulation", "JSON", "keywords of the simulation", "simulate"),
        Attribute("faults", "JSON", "what was broken on purpose in a simulated night", "simulate"),
        Attribute("comment", "string", "what was broken on purpose, in words", "simulate"),
        Attribute("method", "string", "exact or alternation", "solve"),
        Attribute("weights", "string", "what the weights are", "solve"),
        Attribute("gauge", "string", "what fixes the factor between G and E", "solve"),
        Attribute("uncertainty", "string", "how the standard errors were found", "solve"),
        Attribute("iterations", "number", "iterations of the solver", "solve"),
        Attribute("converged", "number", "1 if the solver converged", "solve"),
        Attribute("rms_residual", "number", "sqrt(sum(w r^2) / sum(w)) of the residuals r", "solve"),
        Attribute("model", "string", "log, or log-link", "solve"),
        Attribute("robust", "string", "how faults were found, or none", "solve"),
        Attribute("floor", "number", "relative systematic error of a level, where weights are variances", "solve"),
        Attribute("modes", "number", "number of modes fitted beside G and E", "solve"),
        Attribute("chi2", "number", "sum(w r^2)", "solve"),
        Attribute("dof", "number", "cells used, less free parameters", "solve"),
        Attribute("variance_factor", "number", "sum(w r^2) / dof; standard errors carry its root", "solve"),
        Attribute("configuration", "JSON", "keywords of the solve", "solve"),
        Attribute(
            "amplifiers", "JSON", "each detector and its amplifiers' names, read with scales of detectors", "solve"
        ),
        Attribute("content_digest", "string", "sha256 of what an archived run holds, whatever file holds it", "solve"),
    )
}


def level_units(units: object) -> str:
    """Units of a level: ``units`` itself, or adu when they are missing."""
    return LEVEL_UNITS[0] if units is None or units == "" else str(units)


def units_of(array: xr.DataArray | xr.Variable) -> str | None:
    """Units of an array, also of one that plain xarray read from a file of ours; None where it has none."""
    units = array.attrs.get(UNITS_IN_MEMORY, array.attrs.get("units"))
    return None if units is None else str(units)


def attributes_of(name: str, *, units: str = LEVEL_UNITS[0]) -> dict[str, Any]:
    """Attributes of a variable or coordinate, from the table and never inherited through arithmetic.

    Parameters
    ----------
    name : str
        A name in `VARIABLES` or `COORDINATES`.
    units : str
        Units of the levels.
    """
    row = VARIABLES.get(name) or COORDINATES[name]
    attrs: dict[str, Any] = {"long_name": row.long_name}
    if row.units is not None:
        attrs["units"] = units if row.units == "level" else row.units
    if row.dtype == "u4":
        attrs["flag_masks"] = np.array([flag.value for flag in Flag], dtype="u4")
        attrs["flag_meanings"] = " ".join(str(flag.name) for flag in Flag)
    return attrs


def solved_names() -> tuple[set[str], set[str]]:
    """Names of the variables (with coordinates) and of the global attributes that a solve adds."""
    rows = {**VARIABLES, **COORDINATES}
    return (
        {name for name, row in rows.items() if row.stage == "solve"},
        {name for name, attribute in ATTRIBUTES.items() if attribute.stage == "solve"},
    )
