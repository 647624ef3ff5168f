"""Which exposures a down-selection keeps."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("lsst.pipe.base", reason="Rubin's middleware is not installed (pip install flatnorm-xr[lsst])")

from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.lsst.records import Selection

RECORDS = [
    {
        "id": 9007199254740992,
        "observation_reason": "flat",
        "exposure_time": 15.0,
        "has_simulated": False,
        "zenith": None,
    },
    {"id": 9007199254740993, "observation_reason": "ptc", "exposure_time": 30.0, "has_simulated": True, "zenith": 3.5},
]


def refs():
    """Data ids with records, as the graph has them, and one without."""
    known = [
        SimpleNamespace(
            number=i,
            dataId=SimpleNamespace(
                hasRecords=lambda: True, records={"exposure": SimpleNamespace(toDict=lambda record=record: record)}
            ),
        )
        for i, record in enumerate(RECORDS)
    ]
    return [*known, SimpleNamespace(number=2, dataId=SimpleNamespace(hasRecords=lambda: False))]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("observation_reason:flat", [0]),
        ("observation_reason: flat, ptc", [0, 1]),
        ("exposure_time:15,15.5", [0]),
        ("exposure_time:3e1", [1]),
        ("id:9007199254740993", [1]),
        ("has_simulated:true", [1]),
        ("has_simulated:False", [0]),
        ("zenith:3.5", [1]),
        ("observation_reason:dark", []),
    ],
)
def test_a_selection_keeps_what_has_the_value(text, kept):
    assert [ref.number for ref in Selection.parse(text).of(refs())] == [*kept, 2]


@pytest.mark.parametrize("text", ["", "exposure_time", "exposure_time:", ":15", "exposure_time:15,,30"])
def test_a_selection_that_selects_nothing_is_refused(text):
    with pytest.raises(FlatnormError, match="write FIELD:VALUE"):
        Selection.parse(text)
