"""Packed masks: the same masks in little memory."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from flatnorm_xr.measure.packed_masks import either, pack
from flatnorm_xr.measure.reference import MASKS


@given(st.integers(0, 100), st.floats(0, 1), st.integers(0, 2**31))
def test_packed_masks_are_the_same_masks(rows: int, share: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((rows, 37)) < share**4
    found = pack(mask)
    assert (found is None) == (not mask.any())
    if found is not None:
        assert_array_equal(found.unpacked(), mask)
        assert found.nbytes <= mask.size // 8 + 1


@given(st.lists(st.integers(1, 700), max_size=12), st.booleans())
def test_rows_of_bad_pixels_of_any_length_are_kept(lengths: list[int], bad_first: bool) -> None:
    """Gaps and rows up to and beyond what a byte can tell."""
    alternate = (np.arange(len(lengths)) + bad_first) % 2 == 1
    line = np.concatenate([np.repeat(alternate, lengths), np.zeros(5000, bool)])
    found = pack(line.reshape(10, -1) if line.size % 10 == 0 else line.reshape(1, -1))
    if found is None:
        assert not line.any()
    else:
        assert_array_equal(found.unpacked().ravel(), line)
        assert found.nbytes <= line.size // 8 + 1


def test_masks_take_little_memory() -> None:
    """Seventy detectors of 16 megapixels of which one in twenty is bad fit into the store; so do thousands of edges."""
    side = 512
    speckled = pack(np.random.default_rng(1).random((side, side)) < 0.05)
    dark = pack(np.hypot(*np.ogrid[:side, :side]) > side)
    assert speckled is not None
    assert dark is not None
    assert 70 * speckled.nbytes * (4096 / side) ** 2 < MASKS.limit / 2
    assert dark.nbytes < speckled.nbytes / 5


@given(st.lists(st.floats(0, 1), min_size=2, max_size=2), st.integers(0, 2**31))
def test_joined_masks_have_the_bad_pixels_of_both(shares: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (rng.random((9, 50)) < share**6 for share in shares)
    found = either(pack(one), pack(other))
    assert_array_equal(np.zeros_like(one) if found is None else found.unpacked(), one | other)
