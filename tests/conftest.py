"""Fixtures shared by all rooms."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from flatnorm_xr import FlatnormWarning
from flatnorm_xr.model.make import stamp


def build_small_run(
    number: int = 0, *, camera: str = "testcam", filters: tuple[str, ...] = ("r", "r"), detectors: int = 3
) -> xr.Dataset:
    """Build a solution of a few numbers, which an archive takes in no time: one exposure a filter, a minute apart,
    ``number`` days after the first of 2025; another number is another run."""
    rng = np.random.default_rng(number)
    exposures = len(filters)
    minutes = np.arange(exposures) * np.timedelta64(60, "s")
    ds = xr.Dataset(
        {
            "E": ("exposure", rng.uniform(1e4, 3e4, exposures)),
            "G": ("detector", rng.uniform(0.9, 1.1, detectors)),
            "G_stderr": ("detector", rng.uniform(1e-4, 2e-4, detectors)),
        },
        coords={
            "detector": np.arange(1, detectors + 1),
            "exposure": np.arange(exposures) + 100 * number,
            "time": ("exposure", np.datetime64("2025-01-01", "ns") + np.timedelta64(number, "D") + minutes),
            "physical_filter": ("exposure", list(filters)),
        },
        attrs={"gauge": "mean", "method": "exact", "converged": 1, "rms_residual": 1e-3},
    )
    return stamp(ds.assign_attrs({"camera": camera} if camera else {}), units="adu")


@pytest.fixture(scope="session")
def small_run() -> Callable[..., xr.Dataset]:
    """Give what builds solutions of a few numbers."""
    return build_small_run


@pytest.fixture
def says() -> Callable[..., AbstractContextManager[None]]:
    """Context that asserts that each pattern is found in some warning, whatever else is warned of."""

    @contextmanager
    def context(*patterns: str) -> Iterator[None]:
        with pytest.warns(FlatnormWarning) as caught:
            yield
        messages = [str(warning.message) for warning in caught]
        for pattern in patterns:
            assert any(re.search(pattern, message) for message in messages), (pattern, messages)
        assert not any("\n" in message for message in messages)

    return context


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real data beside the repository; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the folder of real data (../shared) is not beside this repository")
    return folder
