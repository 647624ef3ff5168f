"""What the catalogue keeps of a run: the facts by which runs are found, and where in the file G lies."""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from flatnorm_xr.archive.certificates import UNIT
from flatnorm_xr.archive.digest import DIGEST
from flatnorm_xr.errors import ReadError, SchemaError
from flatnorm_xr.model.schema import VARIABLES

__all__ = ["Block", "Contents", "FilterOfRun", "contents_of", "read_block", "read_blocks"]

_LONGEST = 200
_FOLLOWED = ("G", "G_stderr")


@dataclass(frozen=True)
class Block:
    """An array that lies in a file as it is in memory: where, and the checksum of its bytes."""

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    offset: int
    crc: int

    @property
    def size(self) -> int:
        """Bytes."""
        return 8 * int(np.prod(self.shape))


@dataclass(frozen=True)
class FilterOfRun:
    """What a run has of one filter: exposures, the groups they were solved in, means of what is known of them."""

    filter: str
    exposures: int
    groups: tuple[int, ...]
    time: int | None
    """Mean time, microseconds since 1970."""
    means: dict[str, float]
    """Of every number along exposure, over the exposures of this filter."""


@dataclass(frozen=True)
class Contents:
    """The facts of one run, as the catalogue keeps them."""

    run: str
    camera: str
    digest: str
    begin: int | None
    end: int | None
    facts: dict[str, Any]
    filters: tuple[FilterOfRun, ...]
    detectors: tuple[str | int, ...]
    amplifiers: tuple[str, ...] | None
    groups: tuple[str, ...] | None
    blocks: tuple[Block, ...]


def contents_of(run: str, ds: xr.Dataset, path: Path) -> Contents:
    """Collect what is kept of a run.

    Parameters
    ----------
    run : str
    ds : Dataset
        What `open` gives of its file.
    path : Path
        Of the file.
    """
    time = _microseconds(ds)
    known = time[time != _NAT]
    G = ds["G"]
    lost = G.isnull().all("group") if "group" in G.dims else G.isnull()
    exists = ds["exists"].broadcast_like(lost) if "exists" in ds.coords else xr.ones_like(lost, dtype=bool)
    status = path.stat()
    facts = {
        "nights": ", ".join(_distinct(ds, "night"))[:_LONGEST],
        "exposures": int(ds.sizes["exposure"]),
        "detectors": int(ds.sizes["detector"]),
        "units": int(exists.sum()),
        "lost_units": int((lost & exists).sum()),
        "rms_residual": _largest(ds, "rms_residual"),
        "converged": _smallest(ds, "converged"),
        "gauge": str(ds.attrs.get("gauge", ""))[:_LONGEST],
        "weights": str(ds.attrs.get("weights", ""))[:_LONGEST],
        "source": str(ds.attrs.get("source", ""))[:_LONGEST],
        "flatnorm_version": str(ds.attrs.get("flatnorm_version", ""))[:_LONGEST],
        "bytes": status.st_size,
        "added": int(status.st_mtime),
    }
    return Contents(
        run=run,
        camera=_short(str(ds.attrs.get("camera", "")), "camera"),
        digest=str(ds.attrs.get(DIGEST, "")),
        begin=int(known.min()) if known.size else None,
        end=int(known.max()) if known.size else None,
        facts=facts,
        filters=tuple(_filters(ds, time)),
        detectors=tuple(ds["detector"].values.tolist()),
        amplifiers=tuple(map(str, ds["amplifier"].values)) if "amplifier" in G.dims else None,
        groups=tuple(map(str, ds["group"].values)) if "group" in G.dims else None,
        blocks=tuple(_blocks(ds, path)),
    )


def read_block(path: Path, block: Block) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Read an array by its place in the file.

    Raises
    ------
    ReadError
        The file is gone, or the bytes are not what they were.
    """
    values = np.empty(block.shape, dtype="<f8")
    read_blocks(path, {block: values})
    return values


def read_blocks(path: Path, wanted: Mapping[Block, np.ndarray[Any, Any]]) -> None:
    """Read several arrays of a file to where they are wanted: contiguous arrays of their shapes.

    Raises
    ------
    ReadError
        The file is gone, or the bytes are not what they were.
    """
    try:
        with open(path, "rb", buffering=0) as stream:
            for block, values in wanted.items():
                stream.seek(block.offset)
                content = values.reshape(-1).view("u1").data
                if stream.readinto(content) != block.size or zlib.crc32(content) != block.crc:
                    msg = f"archive: {path} is damaged; flatnorm archive verify tells more"
                    raise ReadError(msg)
    except OSError as error:
        msg = f"archive: {path}: {error.strerror or error}"
        raise ReadError(msg) from error


def _blocks(ds: xr.Dataset, path: Path) -> list[Block]:
    """Find arrays in the file by their bytes; one that is packed there is not found, and read the slow way."""
    blocks = []
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for name in _FOLLOWED:
            if name not in ds or ds[name].dtype != np.float64 or not ds[name].size:
                continue
            searched = np.ascontiguousarray(ds[name].values.astype("<f8")).tobytes()
            offset = content.find(searched)
            if offset >= 0:
                dims = tuple(map(str, ds[name].dims))
                blocks.append(Block(name, dims, ds[name].shape, offset, zlib.crc32(searched)))
    return blocks


_NAT = np.iinfo(np.int64).min
_YEARS = 1700, 2200


def _microseconds(ds: xr.Dataset) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Give the times of the exposures; the smallest integer where there is none."""
    n = ds.sizes["exposure"]
    if "time" not in ds.coords or ds["time"].dims != ("exposure",) or ds["time"].dtype.kind != "M":
        return np.full(n, _NAT)
    time = ds["time"].values
    # what does not fit into nanoseconds is no time of an exposure, and NumPy would let it come round to another
    years = time.astype("datetime64[Y]").astype(np.int64) + 1970
    return np.where((years >= _YEARS[0]) & (years <= _YEARS[1]), time.astype(UNIT).astype(np.int64), _NAT)


def _filters(ds: xr.Dataset, time: np.ndarray[Any, np.dtype[np.int64]]) -> list[FilterOfRun]:
    labels = ds["physical_filter"].values.astype(str) if "physical_filter" in ds.coords else None
    labels = np.full(ds.sizes["exposure"], "") if labels is None or labels.ndim != 1 else labels
    groups = np.zeros(labels.size, dtype=int)
    if "group" in ds["G"].dims:
        position = ds.get_index("group").get_indexer(ds["exposure_group"].to_index())
        groups = np.asarray(position)
    found = []
    for label in np.unique(labels):
        chosen = labels == label
        times = time[chosen & (time != _NAT)]
        found.append(
            FilterOfRun(
                filter=_short(str(label), "filter"),
                exposures=int(chosen.sum()),
                groups=tuple(sorted({int(g) for g in groups[chosen] if g >= 0})),
                time=round(float(np.mean(times - times[0]))) + int(times[0]) if times.size else None,
                means=_means(ds, chosen),
            )
        )
    return found


def _means(ds: xr.Dataset, chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, float]:
    """Means of whatever is a number along exposure and no part of the solution, and of E."""
    means = {}
    own = [(name, array) for name, array in ds.data_vars.items() if name not in VARIABLES or name == "E"]
    for name, array in [*ds.coords.items(), *own]:
        if array.dims != ("exposure",) or name == "exposure" or array.dtype.kind not in "iuf":
            continue
        values = array.values[chosen].astype(float)
        values = values[np.isfinite(values)]
        if values.size:
            means[str(name)] = float(values.mean())
    return means


def _short(name: str, what: str) -> str:
    """Refuse a name that nobody can have meant, for it would stand in every table and message."""
    if len(name) > _LONGEST:
        msg = f"archive: the name of the {what} has {len(name)} characters; it may have {_LONGEST}"
        raise SchemaError(msg)
    return name


def _distinct(ds: xr.Dataset, name: str) -> list[str]:
    return sorted({str(value) for value in np.atleast_1d(ds[name].values)} - {""}) if name in ds.coords else []


def _largest(ds: xr.Dataset, name: str) -> float | None:
    values = np.atleast_1d(np.asarray(ds.get(name, ds.attrs.get(name, np.nan)), dtype=float))
    return float(np.nanmax(values)) if np.isfinite(values).any() else None


def _smallest(ds: xr.Dataset, name: str) -> int | None:
    values = np.atleast_1d(np.asarray(ds.get(name, ds.attrs.get(name, np.nan)), dtype=float))
    return int(values.min()) if np.isfinite(values).all() else None
