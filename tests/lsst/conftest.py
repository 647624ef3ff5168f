"""What the tests inside Rubin's middleware share; each module skips itself where the middleware is absent."""

from __future__ import annotations

from typing import Any

import pytest

import flatnorm_xr as fx


class PropertyList:
    """Stands in for ``lsst.daf.base.PropertyList``, which is not on PyPI: the methods of it that readers use."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = dict(values)

    def get(self, name: str) -> Any:
        """Give a value; a name that is not there raises, as there."""
        if name not in self._values:
            msg = f"Property {name} not found"
            raise KeyError(msg)
        return self._values[name]

    def toDict(self) -> dict[str, Any]:
        return dict(self._values)

    def names(self) -> list[str]:
        return list(self._values)


class Amplifier:
    """An amplifier that has a name, as those of ``lsst.afw.cameraGeom``."""

    def __init__(self, name: str) -> None:
        self._name = name

    def getName(self) -> str:
        return self._name


@pytest.fixture
def property_list():
    return PropertyList


def night_of(levels):
    """Inputs of the task for measured levels: statistics, data ids, and a camera that is a plain mapping."""
    from flatnorm_xr.lsst.statistics import statistics_of

    cells = list(statistics_of(levels))
    dims = [{"instrument": "X", "detector": detector, "exposure": exposure} for detector, exposure, _ in cells]
    exists = levels.coords.get("exists")
    camera = {
        detector: [
            Amplifier(str(name))
            for name in levels.amplifier.values
            if exists is None or bool(exists.sel(detector=detector, amplifier=name))
        ]
        for detector in levels.detector.values.tolist()
    }
    return [statistics for _, _, statistics in cells], dims, camera


@pytest.fixture
def inputs_of():
    return night_of


@pytest.fixture
def levels():
    """A night of 4 detectors with 4 amplifiers in 5 exposures, of which a few cells are lost."""
    return fx.simulate(n_detectors=4, n_amplifiers=4, n_exposures=5, missing=0.05, seed=11)
