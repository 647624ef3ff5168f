from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.errors import (
    CameraError,
    DisconnectedError,
    FlatnormError,
    ReadError,
    SchemaError,
    UnfitError,
    offenders,
)
from flatnorm_xr.flags import SENTENCES, WITHOUT_WEIGHT, Flag, describe, has_flag
from flatnorm_xr.model.schema import attributes_of


def test_every_flag_is_one_bit_of_its_own_and_has_a_sentence():
    values = [flag.value for flag in Flag]
    assert all(value.bit_count() == 1 for value in values)
    assert len(set(values)) == len(values)
    assert max(values) < 2**32
    assert set(SENTENCES) == set(Flag)
    assert all(sentence.endswith(".") for sentence in SENTENCES.values())


def test_bits_do_not_change_from_one_version_to_the_next():
    # archives hold them; a new flag is appended
    assert [flag.name for flag in Flag][:17] == [
        *("NO_SUCH_AMPLIFIER", "NOT_MEASURED", "UNREADABLE", "ALL_MASKED", "NON_FINITE", "NON_POSITIVE", "NO_COUNTS"),
        *("NO_SIGMA", "SATURATED", "LOW_SIGNAL", "ZERO_WEIGHT", "OUTLIER", "GAIN_JUMP", "REJECTED_UNIT"),
        *("REJECTED_EXPOSURE", "UNIDENTIFIABLE", "FRAGILE"),
    ]
    assert [flag.value for flag in Flag][:17] == [1 << bit for bit in range(17)]


def test_low_signal_only_warns_and_saturated_has_no_weight():
    assert WITHOUT_WEIGHT & Flag.SATURATED
    assert not WITHOUT_WEIGHT & (Flag.LOW_SIGNAL | Flag.FRAGILE | Flag.UNIDENTIFIABLE)


def test_flag_attributes_describe_the_bits():
    attrs = attributes_of("quality")
    names = attrs["flag_meanings"].split()
    assert dict(zip(names, attrs["flag_masks"].tolist(), strict=True)) == {flag.name: flag.value for flag in Flag}
    assert attrs["flag_masks"].dtype == np.uint32


def test_every_bit_of_a_value_is_described():
    assert describe(sum(Flag)) == list(SENTENCES.values())
    assert describe(int(Flag.SATURATED)) == [SENTENCES[Flag.SATURATED]]


def test_has_flag_looks_at_any_of_the_bits():
    quality = xr.DataArray(np.array([0, 1, 2, 3, 4], dtype="u4"), dims="cell")
    assert has_flag(quality, Flag.NO_SUCH_AMPLIFIER).values.tolist() == [False, True, False, True, False]
    assert has_flag(quality, Flag.NO_SUCH_AMPLIFIER | Flag.NOT_MEASURED).values.tolist() == [
        False,
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("error", [CameraError, DisconnectedError, ReadError, SchemaError, UnfitError])
def test_all_errors_are_one_family_of_value_errors(error):
    assert issubclass(error, FlatnormError)
    assert issubclass(error, ValueError)
    assert getattr(fx, error.__name__) is error


def test_offenders_are_counted_beyond_the_first_five():
    assert offenders([]) == ""
    assert offenders("abcde") == "a, b, c, d, e"
    assert offenders(str(i) for i in range(7)) == "0, 1, 2, 3, 4 (+2 more)"
    assert offenders([1, 2, 3], show=1) == "1 (+2 more)"
    assert offenders(["é\n1", "\0"]) == r"é\n1, \x00", "a label cannot break the line"
