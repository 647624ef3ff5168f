"""Bits of masks: which are chosen, and which values have them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from flatnorm_xr.errors import CameraError
from flatnorm_xr.measure.mask_bits import bits_of, flagged, flagged_words
from flatnorm_xr.measure.words import RawImage

Array = npt.NDArray[Any]


def test_no_value_in_a_mask_is_bad() -> None:
    assert flagged(np.array([0.0, np.nan, 1.0])).tolist() == [False, True, True]
    assert flagged(np.array([0.0, np.nan, 1.0, 2.0]), [1]).tolist() == [False, True, False, True]


VALUES = np.arange(16, dtype="i4").reshape(2, 8)


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", ">u2", "i4", "f4"])
@pytest.mark.parametrize(("bits", "value"), [((0,), 1), ((1, 3), 10), ((3, 2, 1, 0), 15)])
def test_chosen_bits_are_bad_and_others_are_not(dtype: str, bits: tuple[int, ...], value: int) -> None:
    assert_array_equal(flagged(VALUES.astype(dtype), bits), (VALUES & value) != 0)


def test_the_sign_is_a_bit_like_others() -> None:
    values = np.array([-(2**15), 2**14, 5], dtype=">i2")
    assert flagged(values, [15]).tolist() == [True, False, False]
    assert flagged(values, [14]).tolist() == [False, True, False]
    assert flagged(np.array([2**63], "u8"), [63]).tolist() == [True]


@given(
    words=st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=30),
    zero=st.sampled_from([0.0, 32768.0, 10.0]),
    scale=st.sampled_from([1.0, 2.0]),
    bits=st.lists(st.integers(0, 15), max_size=4, unique=True),
    blank=st.one_of(st.none(), st.integers(-(2**15), 2**15 - 1)),
)
def test_words_are_flagged_as_their_values_are(
    words: list[int], zero: float, scale: float, bits: list[int], blank: int | None
) -> None:
    raw = RawImage(np.array([words], dtype=">i2"), zero=zero, scale=scale, blank=blank)
    values = [int(zero + scale * word) for word in words]
    chosen = sum(1 << bit for bit in bits)
    expected = [
        (value & chosen != 0 if bits else value != 0) or word == blank
        for word, value in zip(words, values, strict=True)
    ]
    assert flagged_words(raw, (slice(None), slice(None)), bits)[0].tolist() == expected


def test_signed_bytes_are_flagged_as_their_values_are() -> None:
    raw = RawImage(np.array([[0, 127, 128, 129, 255]], dtype="u1"), zero=-128.0)
    whole = slice(None), slice(None)
    assert flagged_words(raw, whole)[0].tolist() == [True, True, False, True, True]
    assert flagged_words(raw, whole, [7])[0].tolist() == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("image", "bits", "message"),
    [
        (np.zeros(3, "u1"), [3, 8, 9], "mask: bit 8, 9 of numbers of 8 bits"),
        (np.array([0.5]), [0], "not whole"),
        (np.array([True]), [1], "bit 1 of true and false"),
    ],
)
def test_bits_that_a_mask_cannot_have_are_refused(image: Array, bits: list[int], message: str) -> None:
    with pytest.raises(CameraError, match=message):
        flagged(image, bits)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, ()),
        ("", ()),
        (5, (5,)),
        (np.int64(5), (5,)),
        ([0, 3, 3], (0, 3)),
        ("0,3, mp_sat", (0, 3, "SAT")),
        (["BAD", 4, "1 2"], ("BAD", 4, 1, 2)),
        (range(3), (0, 1, 2)),
    ],
)
def test_bits_are_given_by_number_or_name(given: Any, expected: tuple[int | str, ...]) -> None:
    assert bits_of(given) == expected


@pytest.mark.parametrize("given", [-1, 64, True, 1.0, [0, None], {"a": 1.5}.values(), "-1"])
def test_what_is_no_bit_is_refused(given: Any) -> None:
    with pytest.raises(CameraError, match=r"mask_bits .*: give numbers of bits, 0 to 63, or names"):
        bits_of(given)
