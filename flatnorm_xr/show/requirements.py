"""What a picture needs of a dataset, and what it says when that is not there."""

from __future__ import annotations

import xarray as xr

from flatnorm_xr.errors import FlatnormError, offenders
from flatnorm_xr.show.followed import is_comparison, is_trend

__all__ = ["require", "require_dims", "require_trend"]


def require(solution: xr.Dataset, name: str, *, picture: str | None = None) -> None:
    """Raise when the dataset is not a solution; ``picture`` is its own name where that is not the variable's."""
    if is_trend(solution) and (name != "G" or "run" in solution["G"].dims):
        one = ", or one run: plot.G of trend.isel(run=0)" if name == "G" else ""
        msg = f"plot.{picture or name}: the dataset is a trend, over runs; draw it by plot.trend(){one}"
        raise FlatnormError(msg)
    if is_comparison(solution):
        msg = f"plot.{picture or name}: the dataset is a comparison of two runs; draw it by plot.comparison()"
        raise FlatnormError(msg)
    if not isinstance(solution, xr.Dataset) or name not in solution:
        msg = f"plot.{picture or name}: the dataset has no {name}; solve it first: ds.flatnorm.solve()"
        raise FlatnormError(msg)


def require_dims(ds: xr.Dataset, name: str, *dims: str, picture: str | None = None) -> None:
    """Raise when a selection has dropped a dim that the picture is drawn along."""
    if not isinstance(ds, xr.Dataset) or name not in ds:
        return  # which `validate` says better
    missing = [dim for dim in dims if dim not in ds[name].dims]
    if missing:
        selected = ", ".join(f"{dim}=[...]" for dim in missing)
        absent = f"plot.{picture or name}: the dataset has no dim {offenders(missing)}"
        msg = f"{absent}; select with a list: ds.sel({selected})"
        raise FlatnormError(msg)


def require_trend(ds: xr.Dataset, *, caller: str) -> None:
    """Raise when the dataset is not a trend, or a selection has dropped a dim of it."""
    if not is_trend(ds) or "time" not in ds.coords:
        msg = f"{caller}: the dataset is not a trend; make one from an archive: archive.trend()"
        raise FlatnormError(msg)
    missing = [dim for dim in ("run", "detector") if dim not in ds["G"].dims]
    if missing:
        selected = ", ".join(f"{dim}=[...]" for dim in missing)
        msg = f"{caller}: the trend has no dim {offenders(missing)}; select with a list: trend.sel({selected})"
        raise FlatnormError(msg)
