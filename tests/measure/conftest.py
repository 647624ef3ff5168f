"""Fixtures of the tests of pixels: how they are read, all data types, and statistics by their definition, slowly."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from flatnorm_xr.camera.headers import read_headers
from flatnorm_xr.measure import tiles
from flatnorm_xr.measure.clipping import Statistics
from flatnorm_xr.measure.words import open_words

DTYPES = ["u1", "i1", "<u2", ">u2", "<i2", ">i2", "<i4", ">i4", "u4", "i8", "u8", "f2", "<f4", ">f4", "<f8", ">f8"]


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


@pytest.fixture(params=DTYPES)
def dtype(request):
    """Give one data type after the other."""
    return request.param


@pytest.fixture(scope="session")
def dtypes():
    """Give all data types."""
    return DTYPES


@pytest.fixture(scope="session")
def reference():
    """Give what finds statistics by their definition."""
    return by_definition


def by_definition(pixels, bad=None, *, statistic="meanclip", clip=3.0, iterations=3):
    """The definition, word for word, and how near any pixel came to a bound.

    As a fraction of the largest pixel or of the clip's half-width, whichever is the larger.
    """
    bad = np.zeros(np.shape(pixels), bool) if bad is None else bad
    good = np.asarray(pixels, "f8")[~bad & np.isfinite(pixels)]
    if good.size == 0:
        return Statistics(math.nan, math.nan, 0), math.inf
    largest = np.abs(good).max()
    # About one pixel, as plain sums of squares lose digits.
    shift = good[0]
    good = good - shift
    kept, margin = good, math.inf
    if statistic in ("meanclip", "sigmaclip"):
        center, sigma = good.mean(), good.std(ddof=1) if good.size > 1 else 0.0
        if statistic == "meanclip":
            first, center, third = np.percentile(good, [25, 50, 75])
            sigma = 0.741301109252802 * (third - first) if third > first else sigma
        for _ in range(iterations):
            pool = good if statistic == "meanclip" else kept
            away = np.abs(pool - center)
            kept = pool[away <= clip * sigma]
            if sigma > 0:
                margin = min(margin, np.abs(away - clip * sigma).min() / max(largest, clip * sigma))
            if kept.size == 0 or np.ptp(kept) == 0:
                break
            center, sigma = kept.mean(), kept.std(ddof=1)
    if kept.size == 0:
        return Statistics(math.nan, math.nan, 0), margin
    level = np.median(good) if statistic == "median" else math.fsum(kept) / kept.size
    sigma = kept.std(ddof=1) if kept.size > 1 else math.nan
    return Statistics(level + shift, sigma, kept.size), margin
