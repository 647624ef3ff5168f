"""What Butler's records say of exposures: when, how long, through which filter, and whether they are wanted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from lsst.daf.butler import DataCoordinate, DatasetRef

from flatnorm_xr.errors import FlatnormError, offenders

__all__ = ["Selection", "exposure_description"]


def exposure_description(data_id: DataCoordinate) -> dict[str, Any]:
    """Dimensions of a data id, and what its exposure record tells.

    Parameters
    ----------
    data_id : DataCoordinate
        With ``exposure`` and ``detector``; with records, if it is to tell more.

    Returns
    -------
    dict
        The required dimensions; with records also ``obs_id``, ``physical_filter``, ``exposure_time`` (s), ``night``,
        ``observation_type`` and ``time``, the middle of the exposure, UTC.
    """
    known: dict[str, Any] = dict(data_id.required)
    if not data_id.hasRecords():
        return known
    record: Any = data_id.records["exposure"]
    known |= {
        "obs_id": record.obs_id,
        "physical_filter": record.physical_filter,
        "exposure_time": record.exposure_time,
        "night": _date(record.day_obs),
        "observation_type": record.observation_type,
        "time": _middle(record.timespan),
    }
    return {name: value for name, value in known.items() if value is not None}


def _date(day_obs: int | None) -> str | None:
    """Write a day as nights are written: 20250314 as 2025-03-14."""
    digits = f"{day_obs or 0:08d}"
    return None if day_obs is None else f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"


def _middle(timespan: Any) -> np.datetime64 | None:
    """Middle of a bounded timespan, which Butler keeps in TAI, as UTC."""
    if timespan is None or timespan.begin is None or timespan.end is None:
        return None
    middle = timespan.begin + 0.5 * (timespan.end - timespan.begin)
    return np.datetime64(middle.utc.isot, "ns")


@dataclass(frozen=True)
class Selection:
    """Exposures whose record has one of some values in one field."""

    field: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Selection:
        """Read ``FIELD:VALUE,VALUE``.

        Raises
        ------
        FlatnormError
            There is no field, or no value.
        """
        field, _, values = text.partition(":")
        wanted = tuple(value.strip() for value in values.split(","))
        if not field.strip() or not all(wanted):
            msg = f"downSelection is {text!r}; write FIELD:VALUE or FIELD:VALUE,VALUE, as in exposure_time:15,30"
            raise FlatnormError(msg)
        return cls(field.strip(), wanted)

    def of(self, refs: Collection[DatasetRef]) -> list[DatasetRef]:
        """Datasets of the exposures that are selected.

        Parameters
        ----------
        refs : collection of DatasetRef
            With ``exposure`` in their data ids. Those without records are kept: they were selected when the graph was
            made.

        Raises
        ------
        FlatnormError
            The records have no such field.
        """
        return [ref for ref in refs if not ref.dataId.hasRecords() or self._has(ref.dataId.records["exposure"])]

    def _has(self, record: Any) -> bool:
        known = record.toDict()
        if self.field not in known:
            msg = f"downSelection is by {self.field!r}; exposure records have {offenders(known, show=30)}"
            raise FlatnormError(msg)
        value = known[self.field]
        if isinstance(value, bool):
            return str(value).lower() in [text.lower() for text in self.values]
        if isinstance(value, int | float):
            return any(_number(text) == value for text in self.values)
        return str(value) in self.values


def _number(text: str) -> float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None
