"""Packed masks, and the store that keeps them between exposures."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from flatnorm_xr.errors import CameraError
from flatnorm_xr.measure.packed_masks import MaskStore, PackedMask, either, pack


@given(st.integers(0, 100), st.floats(0, 1), st.integers(0, 2**31))
def test_packed_masks_are_the_same_masks(rows: int, share: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((rows, 37)) < share**4
    found = pack(mask)
    assert (found is None) == (not mask.any())
    if found is not None:
        assert_array_equal(found.unpacked(), mask)
        assert found.nbytes <= mask.size // 8 + 1


def test_the_store_is_bounded_and_keeps_what_is_asked_for() -> None:
    mask = pack(np.ones((8, 1000), dtype=bool))
    assert mask is not None
    store = MaskStore(3 * 2100)
    made: list[int] = []

    def get(key: int) -> None:
        def make() -> tuple[PackedMask | None, ...]:
            made.append(key)
            return (mask,)

        assert store.get(key, make) == (mask,)

    for key in (1, 2, 3, 1, 4, 1, 2):
        get(key)
    assert made == [1, 2, 3, 4, 2]
    assert store.nbytes <= store.limit


def test_threads_make_a_mask_once() -> None:
    store, made = MaskStore(1 << 20), []
    together = threading.Barrier(4)

    def make() -> tuple[PackedMask | None, ...]:
        made.append(1)
        return (None,)

    def ask() -> None:
        together.wait(timeout=30)
        store.get("key", make)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert made == [1]


def test_what_cannot_be_made_is_tried_again() -> None:
    store = MaskStore(1 << 20)

    def fail() -> tuple[PackedMask | None, ...]:
        reason = "no"
        raise CameraError(reason)

    with pytest.raises(CameraError):
        store.get("key", fail)
    assert store.get("key", lambda: (None,)) == (None,)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=2), st.integers(0, 2**31))
def test_joined_masks_have_the_bad_pixels_of_both(shares: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (rng.random((9, 50)) < share**6 for share in shares)
    found = either(pack(one), pack(other))
    assert_array_equal(np.zeros_like(one) if found is None else found.unpacked(), one | other)
