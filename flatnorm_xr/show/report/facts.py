"""What a report says of a solution, as arrays in the order of its units: residuals, causes, errors, files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.robust.rejections import rejections
from flatnorm_xr.decompose.variance import pulls
from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.flags import leading_cause
from flatnorm_xr.model.schema import level_units, units_of
from flatnorm_xr.show.axes import Rows, rows_of, table
from flatnorm_xr.show.texts import shown

__all__ = ["Facts"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Facts:
    """A solution and its diagnosis, with what tables, findings and drawings share."""

    solution: xr.Dataset
    diagnosis: xr.Dataset

    @cached_property
    def rows(self) -> Rows:
        """The units that exist."""
        return rows_of(self.solution)

    @cached_property
    def by_amplifier(self) -> bool:
        """Whether units are amplifiers."""
        return "amplifier" in self.solution["background"].dims

    @cached_property
    def exposures(self) -> list[str]:
        """Labels of the exposures."""
        return [shown(label, longest=80) for label in self.solution["exposure"].values]

    @cached_property
    def detectors(self) -> list[str]:
        """Labels of the detectors."""
        return [shown(label, longest=80) for label in self.rows.detectors]

    @cached_property
    def units(self) -> list[str]:
        """Labels of the units, detector/amplifier."""
        if not self.by_amplifier:
            return self.detectors
        names = [
            f"{self.detectors[d]}/{shown(a, longest=80)}" for d, a in zip(self.detector, self.amplifiers, strict=True)
        ]
        return names

    @cached_property
    def amplifiers(self) -> list[str]:
        """Amplifier of each unit, empty where units are detectors."""
        if not self.by_amplifier:
            return [""] * len(self.rows.labels)
        tiled = np.tile(self.solution["amplifier"].values, self.solution.sizes["detector"])
        return [str(label) for label in tiled[self.rows.exists]]

    @cached_property
    def detector(self) -> NDArray[np.intp]:
        """Place of the detector of each unit."""
        return np.repeat(np.arange(len(self.rows.detectors)), np.diff(self.rows.starts))

    @cached_property
    def residual(self) -> Array:
        """ln(background / bgModel), (units, exposures)."""
        return self.cells("residual")

    @cached_property
    def weight(self) -> Array:
        """Weights used, (units, exposures); zero where nothing was."""
        values: Array = np.nan_to_num(self.cells("weight"))
        return values

    @cached_property
    def quality(self) -> NDArray[np.uint32]:
        """Flags, (units, exposures)."""
        if "quality" not in self.solution:
            return np.zeros(self.residual.shape, dtype=np.uint32)
        values: NDArray[np.uint32] = self.cells("quality").astype(np.uint32)
        return values

    @cached_property
    def unused(self) -> NDArray[np.bool_]:
        """Cells without weight, (units, exposures)."""
        unused: NDArray[np.bool_] = ~(self.weight > 0)
        return unused

    @cached_property
    def cause(self) -> NDArray[np.uint32]:
        """The flag that says most of why a cell has no weight; 0 where it has some, or no flag says why."""
        return leading_cause(np.where(self.unused, self.quality, np.uint32(0)))

    @cached_property
    def pulls(self) -> Array | None:
        """Residuals over their standard deviations, (units, exposures); None where those are not known."""
        try:
            found = table(pulls(self.solution), self.rows)
        except FlatnormError:
            return None
        return found if np.isfinite(found).any() else None

    @cached_property
    def rejections(self) -> pd.DataFrame | None:
        """What a robust solve left out; None where it did not look."""
        return rejections(self.solution) if "rejection" in self.solution else None

    @cached_property
    def groups(self) -> list[str]:
        """Labels of the groups; empty where there is one solution for all exposures."""
        if "group" not in self.solution["G"].dims:
            return []
        return [shown(label, longest=80) for label in np.atleast_1d(self.solution["group"].values)]

    @cached_property
    def group(self) -> NDArray[np.intp]:
        """Place of the group of each exposure."""
        if not self.groups:
            return np.zeros(len(self.exposures), dtype=np.intp)
        matches = self.solution["exposure_group"].values[:, np.newaxis] == self.solution["group"].values
        places: NDArray[np.intp] = matches.argmax(axis=1)
        return places

    @cached_property
    def unit_rms(self) -> Array:
        """Weighted rms residual of each unit."""
        return _rms(self.residual, self.weight, axis=1)

    @cached_property
    def exposure_rms(self) -> Array:
        """Weighted rms residual of each exposure."""
        return _rms(self.residual, self.weight, axis=0)

    @cached_property
    def level_units(self) -> str:
        """Units of the levels."""
        return shown(level_units(units_of(self.solution["E"])), longest=40)

    @cached_property
    def residual_words(self) -> str:
        """What the residual is."""
        return shown(self.solution["residual"].attrs.get("long_name", "ln(background / bgModel)"), longest=80)

    @cached_property
    def E(self) -> Array:
        """Levels of the exposures."""
        values: Array = self.solution["E"].values
        return values

    @cached_property
    def E_stderr(self) -> Array | None:
        """Standard errors of the levels of the exposures."""
        return self.solution["E_stderr"].values if "E_stderr" in self.solution else None

    @cached_property
    def G(self) -> Array:
        """Responses, (units, groups); one column where there is no group."""
        return self.of_units("G")

    @cached_property
    def G_stderr(self) -> Array | None:
        """Standard errors of the responses, (units, groups)."""
        return self.of_units("G_stderr") if "G_stderr" in self.solution else None

    @cached_property
    def detector_G(self) -> Array:
        """Geometric mean of G over the amplifiers of each detector, (detectors, groups); NaN where none is known."""
        known, starts = np.isfinite(self.G), self.rows.starts[:-1]
        number = np.add.reduceat(known, starts, axis=0, dtype=int)
        total = np.add.reduceat(np.where(known, np.log(np.where(known, self.G, 1.0)), 0.0), starts, axis=0)
        mean: Array = np.exp(np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0))
        return mean

    @cached_property
    def paths(self) -> NDArray[Any] | None:
        """File of each detector in each exposure, (detectors, exposures); empty texts where there is none."""
        path = self.solution.coords.get("path")
        if path is None or set(path.dims) != {"detector", "exposure"}:
            return None
        values: NDArray[Any] = path.transpose("detector", "exposure").values
        return values[self.rows_of_detectors]

    @cached_property
    def rows_of_detectors(self) -> NDArray[np.bool_]:
        """Which detectors of the solution have a unit."""
        if not self.by_amplifier:
            return np.ones(self.solution.sizes["detector"], dtype=bool)
        exists = self.rows.exists.reshape(self.solution.sizes["detector"], -1)
        return np.asarray(exists.any(axis=1))

    def cells(self, name: str) -> NDArray[Any]:
        """Variable as (units, exposures)."""
        return table(self.solution[name].broadcast_like(self.solution["background"]), self.rows)

    def of_units(self, name: str) -> NDArray[Any]:
        """Variable along the unit dims as (units, groups); those along detector are given to its amplifiers."""
        array = self.solution[name]
        if self.by_amplifier and "amplifier" not in array.dims:
            array = array.expand_dims(amplifier=self.solution.sizes["amplifier"])
        return table(array, self.rows, last="group")


def _rms(residual: Array, weight: Array, *, axis: int) -> Array:
    total = weight.sum(axis=axis)
    squares = np.where(weight > 0, weight * np.nan_to_num(residual) ** 2, 0.0).sum(axis=axis)
    rms: Array = np.sqrt(np.divide(squares, total, out=np.full(total.shape, np.nan), where=total > 0))
    return rms
