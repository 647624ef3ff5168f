"""Rubin's pipeline tasks on the labelled core: the only room that imports ``lsst.*`` (``flatnorm-xr[lsst]``)."""

from __future__ import annotations

from importlib.util import find_spec

for _name in ("lsst", "lsst.pipe", "lsst.pipe.base", "lsst.daf.butler"):
    if find_spec(_name) is None:
        _message = "flatnorm_xr.lsst needs Rubin's middleware: pip install 'flatnorm-xr[lsst]'"
        raise ModuleNotFoundError(_message, name=_name)
