"""Fixtures of the tests of reading pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from flatnorm_xr.camera.headers import read_headers
from flatnorm_xr.measure import tiles
from flatnorm_xr.measure.words import open_words


@pytest.fixture
def own_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test fail that leaves decompression to astropy."""

    def astropy(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(tiles, "_by_astropy", astropy)


@pytest.fixture
def words_of() -> Callable[[Path], npt.NDArray[np.generic]]:
    """Give what reads the words of HDU 1 of a file."""

    def read(path: Path) -> npt.NDArray[np.generic]:
        with open_words(read_headers(path)) as words:
            return words(1).words.copy()

    return read
