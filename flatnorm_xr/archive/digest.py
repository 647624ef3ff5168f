"""Digest of what a dataset holds, whatever file holds it and whenever it was computed."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import xarray as xr

__all__ = ["DIGEST", "content_digest"]

DIGEST = "content_digest"
"""Attribute under which an archived run carries its digest."""

_LEFT_OUT = frozenset(("history", DIGEST))


def content_digest(ds: xr.Dataset) -> str:
    """Sha256 over names, dims, values and attributes.

    Parameters
    ----------
    ds : Dataset
        Read whole.

    Returns
    -------
    str
        64 hexadecimal digits. The same for the same numbers and labels, in whatever order the dataset lists its
        variables and attributes, before and after it went through a file. The attributes ``history`` and
        ``content_digest`` take no part, so that a run which was only computed again is the same run.

    Examples
    --------
    >>> import flatnorm_xr as fx
    >>> ds = fx.make([[100.0, 200.0], [110.0, 220.0]])
    >>> content_digest(ds) == content_digest(ds.assign_attrs(history="copied"))
    True
    """
    summed = hashlib.sha256()

    def feed(*parts: object) -> None:
        for part in parts:
            content = part if isinstance(part, bytes) else str(part).encode("utf-8", "backslashreplace")
            summed.update(str(len(content)).encode())
            summed.update(b":")
            summed.update(content)

    for name in sorted(ds.variables, key=str):
        variable = ds.variables[name]
        feed(name, name in ds.coords, variable.dims, variable.shape)
        feed(*_values(variable))
        feed(len(variable.attrs), *_attributes(variable.attrs))
    feed(*_attributes({key: value for key, value in ds.attrs.items() if key not in _LEFT_OUT}))
    return summed.hexdigest()


def _values(variable: xr.Variable) -> tuple[str, bytes]:
    values = np.asarray(variable.values)
    if values.dtype.kind in "OUT":
        texts = [str(value).encode("utf-8", "backslashreplace") for value in values.ravel().tolist()]
        return "text", b"".join(str(len(text)).encode() + b":" + text for text in texts)
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return little.dtype.str, np.ascontiguousarray(little).tobytes()


def _attributes(attrs: dict[Any, Any]) -> list[str]:
    """Names and values, sorted; a number as Python writes it, an array of one as the number it is read back as."""
    parts: list[str] = []
    for key in sorted(attrs, key=str):
        value = attrs[key]
        plain = value if isinstance(value, str) else np.atleast_1d(np.asarray(value)).tolist()
        parts += [str(key), type(plain).__name__, str(plain)]
    return parts
