"""What the tests inside Rubin's middleware share; each module skips itself where the middleware is absent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.archive.scales import pack_scales

ROOM = Path(fx.__file__).parent / "lsst"
PREFIX = {"DETECTOR": "cpFlatNorm", "AMP": "cpFlatNormAmp"}
OUR_LEVEL = {"DETECTOR": "detector", "AMP": "amplifier"}


class PropertyList:
    """Stands in for ``lsst.daf.base.PropertyList``, which is not on PyPI: the methods of it that readers use."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = dict(values)

    def get(self, name: str, default: Any = None) -> Any:
        """Give a value, the last of several; the default for a name that is not there."""
        value = self._values.get(name, default)
        return value[-1] if isinstance(value, list) else value

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


# A night through the middleware's own commands, shared by all that run the pipeline on it.


def run_program(*command, status=0, **environment):
    """Run a program of this environment, and give what it printed."""
    program = Path(sys.executable).parent / command[0]
    done = subprocess.run(
        [program, *map(str, command[1:])],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env={**os.environ, **environment},
    )
    printed = done.stdout + done.stderr
    assert (done.returncode == 0) == (status == 0), printed[-3000:]
    return printed


def measured(flats):
    """Levels of flats by the kernel alone, without any task."""
    from flatnorm_xr.measure.kernels import clipped_statistics

    found = {}
    for detector, exposure, flat in flats:
        bad = flat.masks["BAD"] | flat.masks["SAT"]
        found[detector, exposure, None] = clipped_statistics(flat.image, bad)
        for amplifier in flat.detector:
            part = slice(*amplifier.rows), slice(*amplifier.columns)
            found[detector, exposure, amplifier.name] = clipped_statistics(flat.image[part], bad[part])
    detectors, exposures = (sorted({key[i] for key in found}) for i in (0, 1))
    amplifiers = sorted({key[2] for key in found if key[2]})

    def gather(field, names):
        cells = [[[getattr(found[d, e, a], field) for e in exposures] for a in names] for d in detectors]
        return np.array(cells, dtype=float)

    return fx.make(
        gather("level", amplifiers),
        counts=gather("counts", amplifiers),
        sigma=gather("sigma", amplifiers),
        detector_background=gather("level", [None])[:, 0],
        detector_counts=gather("counts", [None])[:, 0],
        detector_sigma=gather("sigma", [None])[:, 0],
        coords={"detector": detectors, "amplifier": amplifiers, "exposure": exposures},
    )


def assert_is_what_solve_finds(butler, levels, level, data_id, **keywords):
    """What Butler has of one filter: the solution and the scales of the exposures of these levels."""
    expected = fx.solve(levels, level=OUR_LEVEL[level], method="alternation", uncertainty=None, **keywords)
    solution = butler.get(f"{PREFIX[level]}Solution", data_id)
    assert solution.exposure.values.tolist() == levels.exposure.values.tolist()
    for name in ("E", "G", "bgModel", "scales"):
        np.testing.assert_allclose(solution[name], expected[name], rtol=1e-12, err_msg=name)
    scales = butler.get(f"{PREFIX[level]}Scales", data_id)
    exists = levels.coords.get("exists", xr.ones_like(levels.background.isel(exposure=0), dtype=bool))
    names = {
        detector: [str(name) for name in levels.amplifier.values[exists.sel(detector=detector).values]]
        for detector in levels.detector.values.tolist()
    }
    expected_scales = pack_scales(expected, names)
    assert scales.keys() == expected_scales.keys()
    assert {d: list(of) for d, of in scales["expScale"].items()} == names
    assert list(scales["detScale"]) == list(names)
    for detector, of_detector in expected_scales["expScale"].items():
        for amplifier, of_amplifier in of_detector.items():
            assert scales["expScale"][detector][amplifier] == pytest.approx(of_amplifier, rel=1e-12)
        assert scales["detScale"][detector] == pytest.approx(
            expected_scales["detScale"][detector], rel=1e-12, nan_ok=True
        )
    return solution


@pytest.fixture(scope="session")
def call():
    return run_program


@pytest.fixture(scope="session")
def is_what_solve_finds():
    return assert_is_what_solve_finds


@pytest.fixture(scope="session")
def simulated():
    """Truth of a night of 4 detectors x 4 amplifiers x 5 exposures x 2 filters, and its levels."""
    from flatnorm_xr.lsst.simulated import simulate_flats

    truth, flats = simulate_flats(n_detectors=4, n_amplifiers=4, n_exposures=5, filters=("g", "r"), seed=7)
    return truth, measured(list(flats))


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    """A repository made with the middleware's own commands, and the night put into it."""
    from flatnorm_xr.lsst.repository import fill_repository

    path = tmp_path_factory.mktemp("butler") / "repo"
    run_program("butler", "create", "--seed-config", ROOM / "configs" / "seed.yaml", path)
    run_program("butler", "register-instrument", path, "flatnorm_xr.lsst.instrument.SimulatedCamera")
    fill_repository(path, n_detectors=4, n_amplifiers=4, n_exposures=5, filters=("g", "r"), seed=7)
    return path
