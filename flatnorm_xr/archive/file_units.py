"""Units in the words of a file: CF takes those of UDUNITS, which knows neither adu nor electron."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import xarray as xr

from flatnorm_xr.model.schema import LEVEL_UNITS, UNITS_IN_MEMORY

__all__ = ["with_file_units", "with_model_units"]

# A word by itself or with its power, as in "electron adu-1".
_OWN_WORD = re.compile(rf"(?<![\w.^*/-])({'|'.join(LEVEL_UNITS)})(?=-?\d*(\s|$))")


def with_file_units(ds: xr.Dataset) -> xr.Dataset:
    """Give a dataset with ``units`` that UDUNITS knows: what is in adu or electron is a ``count``.

    Parameters
    ----------
    ds : Dataset
        Not changed.

    Returns
    -------
    Dataset
        Where ``units`` had to change, the attribute ``flatnorm_units`` has the former.

    Examples
    --------
    >>> import flatnorm_xr as fx
    >>> with_file_units(fx.make([[100.0]], units="electron")).background.attrs["units"]
    'count'
    """
    return _changed(ds, _for_file)


def with_model_units(ds: xr.Dataset) -> xr.Dataset:
    """Give a dataset as it was before `with_file_units`, for what was opened by other means than `flatnorm_xr.open`.

    Parameters
    ----------
    ds : Dataset
        Not changed.

    Examples
    --------
    >>> import flatnorm_xr as fx
    >>> ds = fx.make([[100.0]], units="electron")
    >>> with_model_units(with_file_units(ds)).identical(ds)
    True
    """
    return _changed(ds, _for_memory)


def _changed(ds: xr.Dataset, change: Callable[[dict[Any, Any]], dict[Any, Any]]) -> xr.Dataset:
    ds = ds.copy()
    for variable in ds.variables.values():
        variable.attrs = change(variable.attrs)
    return ds


def _for_file(attrs: dict[Any, Any]) -> dict[Any, Any]:
    units = attrs.get("units")
    known = _OWN_WORD.sub("count", units) if isinstance(units, str) else units
    return attrs if known == units else {**attrs, "units": known, UNITS_IN_MEMORY: units}


def _for_memory(attrs: dict[Any, Any]) -> dict[Any, Any]:
    if UNITS_IN_MEMORY not in attrs or "units" not in attrs:
        return attrs
    units = attrs[UNITS_IN_MEMORY]
    return {key: units if key == "units" else value for key, value in attrs.items() if key != UNITS_IN_MEMORY}
