"""What comes into an archive: a solution, checked, that tells its camera and has a digest."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from flatnorm_xr.archive import netcdf
from flatnorm_xr.archive.digest import DIGEST, content_digest
from flatnorm_xr.archive.untrusted import check_size, groups_in
from flatnorm_xr.errors import FlatnormError, SchemaError, offenders, warn

__all__ = ["Arrival", "arriving"]


@dataclass(frozen=True)
class Arrival:
    """A run on its way in."""

    dataset: xr.Dataset
    """As it goes into a file."""
    digest: str
    file: Path | None
    """The file it is in, where an archive made that."""


def arriving(
    run: str | os.PathLike[str] | xr.Dataset, *, camera: str | None = None, filter: str | None = None
) -> Arrival:
    """Read and check what is to be kept.

    Parameters
    ----------
    run : path or Dataset
    camera, filter : str, optional
        For a run that does not tell them.

    Raises
    ------
    FlatnormError
        Not a solution, or it tells another camera or filter, or none.
    """
    if not isinstance(run, xr.Dataset | str | os.PathLike):
        msg = f"add: run is a {type(run).__name__}; pass a solution, or the path of its file"
        raise FlatnormError(msg)
    path = None if isinstance(run, xr.Dataset) else Path(run)
    ds = run.compute() if isinstance(run, xr.Dataset) else _read(Path(run))
    missing = [name for name in ("E", "G") if name not in ds.data_vars]
    if missing:
        what = str(path) if path is not None else "the dataset"
        msg = f"add: {what} has no {' and no '.join(missing)}; an archive keeps solutions: solve it first"
        raise SchemaError(msg)
    told = _with_filter(_with_camera(ds, camera), filter)
    bare = netcdf.storable(told, caller="add")
    if path is not None and told is ds and DIGEST in ds.attrs and not groups_in(path):
        digest = content_digest(ds)
        if ds.attrs[DIGEST] == digest:
            return Arrival(bare, digest, path)
    return Arrival(bare, content_digest(bare), None)


def _read(path: Path) -> xr.Dataset:
    if path.suffix.lower() in (".csv", ".ecsv", ".parquet", ".yaml", ".yml"):
        from flatnorm_xr.archive.read_solution import read_solution

        return read_solution(path)
    check_size(path, caller="add")
    groups = groups_in(path)
    if groups:
        warn(f"add: the groups {offenders(groups)} of {path} are no part of a run and are left out")
    return netcdf.open(path)


def _with_camera(ds: xr.Dataset, camera: str | None) -> xr.Dataset:
    told = str(ds.attrs.get("camera", ""))
    if told and camera is not None and camera != told:
        msg = f"add: camera is {camera!r}, but the run says {offenders([repr(told)])}; leave camera out"
        raise FlatnormError(msg)
    if told:
        return ds
    if camera is None or not camera.strip():
        msg = "add: the run does not tell its camera, by which runs are found; pass camera="
        raise FlatnormError(msg)
    return ds.assign_attrs(camera=camera.strip())


def _with_filter(ds: xr.Dataset, filter: str | None) -> xr.Dataset:
    if filter is None:
        return ds
    if "physical_filter" in ds.coords:
        told = sorted(set(ds["physical_filter"].values.astype(str).ravel().tolist()))
        if told != [filter] and told != [""]:
            msg = f"add: filter is {filter!r}, but the run says {offenders(map(repr, told))}; leave filter out"
            raise FlatnormError(msg)
    return ds.assign_coords(physical_filter=("exposure", [filter] * ds.sizes["exposure"]))
