"""Medians of rows: what NumPy's are, whatever the data type."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from flatnorm_xr.measure.row_medians import row_medians


@pytest.mark.parametrize("dtype", ["u1", "i2", ">u2", "i4", ">i4", "f4", ">f4", "f8", ">f8"])
@pytest.mark.parametrize("columns", [1, 2, 63, 64])
def test_agrees_with_numpy(dtype: str, columns: int) -> None:
    rng = np.random.default_rng(columns)
    for level in (100, 0) if np.dtype(dtype).kind == "u" else (100, 0, -100):
        values = rng.normal(level, 4, (50, 2 * columns)).clip(0 if np.dtype(dtype).kind == "u" else -128, 127)
        section = values.astype(dtype)[:, ::2]
        assert_array_equal(row_medians(section), np.median(section.astype("f8"), axis=1))


@pytest.mark.parametrize("dtype", ["f4", ">f4", "f8"])
def test_signs_ends_and_infinities_of_floats(dtype: str) -> None:
    largest, least = np.finfo("f4").max, np.finfo("f4").smallest_subnormal
    rows = [
        [-largest, largest, 1, 1],
        [-largest, -largest, largest, largest],
        [-least, least, -least, 3 * least],
        [-0.0, 0.0, -0.0, -1],
        [-5, -4, -3, -2],
        [np.inf, 7, 5, -np.inf],
    ]
    values = np.array(rows, dtype)
    assert_array_equal(row_medians(values), np.median(values.astype("f8"), axis=1))
    assert_array_equal(row_medians(values[:5, :3]), np.median(values[:5, :3].astype("f8"), axis=1))


def test_nan_and_blank_are_left_out() -> None:
    values = np.array([[1, np.nan, 3, 9], [np.nan] * 4], "f4")
    assert_array_equal(row_medians(values), [3, np.nan])
    assert_array_equal(row_medians(np.array([[1, -9, 3, 9], [-9] * 4], "i2"), blank=-9), [3, np.nan])
