"""What Butler's records say of exposures: when, how long, through which filter, and whether they are wanted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from lsst.daf.butler import DataCoordinate, DatasetRef

from flatnorm_xr.errors import FlatnormError, offenders

__all__ = ["described", "selected"]


def described(data_id: DataCoordinate) -> dict[str, Any]:
    """Dimensions of a data id, and what its exposure record tells.

    Parameters
    ----------
    data_id : DataCoordinate
        With ``exposure`` and ``detector``; with records, if it is to tell more.

    Returns
    -------
    dict
        The required dimensions; with records also ``physical_filter``, ``exposure_time`` (s), ``night``,
        ``observation_type`` and ``time``, the middle of the exposure, UTC.
    """
    known: dict[str, Any] = dict(data_id.required)
    if not data_id.hasRecords():
        return known
    record: Any = data_id.records["exposure"]
    known |= {
        "physical_filter": record.physical_filter,
        "exposure_time": record.exposure_time,
        "night": None if record.day_obs is None else str(record.day_obs),
        "observation_type": record.observation_type,
        "time": _middle(record.timespan),
    }
    return {name: value for name, value in known.items() if value is not None}


def _middle(timespan: Any) -> np.datetime64 | None:
    """Middle of a bounded timespan, which Butler keeps in TAI, as UTC."""
    if timespan is None or timespan.begin is None or timespan.end is None:
        return None
    middle = timespan.begin + 0.5 * (timespan.end - timespan.begin)
    return np.datetime64(middle.utc.isot, "ns")


def selected(refs: Collection[DatasetRef], *, field: str, values: Sequence[str]) -> Collection[DatasetRef]:
    """Keep the datasets whose exposure record has one of these values in this field.

    Parameters
    ----------
    refs : collection of DatasetRef
        With ``exposure`` in their data ids. Those without records are kept: they were selected when the graph was
        made.
    field : str
        Of the exposure record.
    values : sequence of str
        What is kept; where the record has a number, they are compared as numbers.

    Raises
    ------
    FlatnormError
        The records have no such field.
    """
    return [ref for ref in refs if not ref.dataId.hasRecords() or _has(ref.dataId.records["exposure"], field, values)]


def _has(record: Any, field: str, values: Sequence[str]) -> bool:
    known = record.toDict()
    if field not in known:
        msg = f"downSelectionField is {field!r}; exposure records have {offenders(known, show=30)}"
        raise FlatnormError(msg)
    value = known[field]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return any(_number(text) == value for text in values)
    return str(value) in values


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
