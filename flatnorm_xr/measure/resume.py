"""What was measured before: levels of a dataset, taken back into the files they came from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import nan
from typing import Any

import numpy as np
import xarray as xr

from flatnorm_xr.camera.file_bytes import FileStamp
from flatnorm_xr.camera.geometry import Amplifier, Detector, Exposure, FileDescription
from flatnorm_xr.camera.profiles import Profile, load_profile, packaged_profiles
from flatnorm_xr.camera.sections import Section
from flatnorm_xr.errors import FlatnormError, offenders
from flatnorm_xr.flags import Flag
from flatnorm_xr.measure.assemble import FileLevels, Level
from flatnorm_xr.measure.file_levels import file_time

__all__ = ["check_same_way", "kept", "levels_by_file"]

_MAY_BE_LESS = ("strict", "checksum", "verify_checksum")
"""Keywords that a second call may leave out: what they brought is there. ``strict`` it may also add."""

_MEASURED = ("background", "sigma", "counts", "quality")
_EDGES = ("edge_ratio", "edge_ratio_stderr")
_PLACE = ("x", "y", "width", "height")
_TEXTS = ("physical_filter", "observation_type", "lamp", "night")

_ABSENT = int(Flag.NO_SUCH_AMPLIFIER | Flag.NOT_MEASURED)

_OF_A_FILE = int(Flag.UNREADABLE | Flag.ALL_MASKED | Flag.NON_FINITE | Flag.NON_POSITIVE | Flag.SATURATED)
"""Flags of one measurement; others come of putting all together, or of a solve."""

_NOWHERE = Section(1, 1, 1, 1)


def levels_by_file(ds: xr.Dataset, profile: Profile | None = None) -> dict[str, FileLevels]:
    """Take a dataset of levels apart into what each file gave.

    Parameters
    ----------
    ds : Dataset
        Made by `flatnorm_xr.measure`.
    profile : Profile, optional
        The camera; the packaged profile that the dataset names when not given.

    Returns
    -------
    dict of str to FileLevels
        By path, as ``ds.path`` has it.

    Raises
    ------
    FlatnormError
        The dataset was not made by `measure`, or by another camera's profile.
    """
    if "path" not in ds.coords or "measure_configuration" not in ds.attrs:
        msg = "measure: resume must be levels that measure made of files; this dataset names no files"
        raise FlatnormError(msg)
    if profile is None and ds.attrs["camera"] not in packaged_profiles():
        msg = f"measure: resume holds levels of {ds.attrs['camera']}, which is no packaged profile; pass camera= again"
        raise FlatnormError(msg)
    if profile is None:
        profile = load_profile(str(ds.attrs["camera"]))
    if profile.name != ds.attrs["camera"]:
        held = ds.attrs["camera"]
        msg = f"measure: resume holds levels of {held}, and the camera is {profile.name}; measure them apart"
        raise FlatnormError(msg)
    table = _Table(ds)
    inputs: dict[str, list[Mapping[str, Any]]] = {}
    for entry in json.loads(ds.attrs["inputs"]):
        inputs.setdefault(entry["name"], []).append(entry)
    found: dict[str, FileLevels] = {}
    for j in range(ds.sizes["exposure"]):
        rows: dict[str, list[int]] = {}
        for i, path in enumerate(table.paths[:, j].tolist()):
            if path:
                rows.setdefault(path, []).append(i)
        for path, members in rows.items():
            entries = inputs.get(os.path.basename(path), [])
            same = next((k for k, one in enumerate(entries) if _is_same(path, one)), 0)
            entry = entries.pop(same) if entries else {}  # each stands for one of the files of this name
            levels = tuple(level for i in members for level in table.levels(i, j))
            detectors = tuple(table.detector(i, j) for i in members)
            file = FileDescription(path, profile, "measured before", table.exposure(j), detectors)
            found[path] = FileLevels(file, levels, entry)
    return found


class _Table:
    """Plain arrays of a dataset of levels: a night has many cells, and labels are slow."""

    def __init__(self, ds: xr.Dataset) -> None:
        self.paths = ds["path"].transpose("detector", "exposure").values
        self._amplifiers = ds["amplifier"].values.tolist() if "amplifier" in ds.dims else []
        prefix = "detector_" if self._amplifiers else ""
        dims = ("detector", "amplifier", "exposure") if self._amplifiers else ("detector", "exposure")
        self._whole = [ds[f"{prefix}{name}"].transpose("detector", "exposure").values for name in _MEASURED]
        self._cells = [ds[name].transpose(*dims).values for name in _MEASURED] if self._amplifiers else []
        self._edges = [ds[name].transpose(*dims).values for name in _EDGES] if "edge_ratio" in ds else []
        self._labels = {name: ds[name].values for name in ("detector", "exposure")}
        self._coords = {
            str(name): values.transpose(*(dim for dim in dims if dim in values.dims)).values
            for name, values in ds.coords.items()
        }

    def levels(self, i: int, j: int) -> Iterator[Level]:
        """Levels of one detector in one exposure: of the whole, then of the amplifiers that the file had."""
        label = self._labels["detector"][i].item()
        yield self._level(label, None, self._whole, (i, j))
        for k, name in enumerate(self._amplifiers):
            if not int(self._cells[3][i, k, j]) & _ABSENT:
                level = self._level(label, name, self._cells, (i, k, j))
                if self._edges:
                    ratio, error = (float(values[i, k, j]) for values in self._edges)
                    level = replace(level, edge_ratio=ratio, edge_error=error / ratio)
                yield level

    def _level(self, label: int | str, amplifier: str | None, arrays: Sequence[Any], where: tuple[int, ...]) -> Level:
        background, sigma, counts, quality = (values[where].item() for values in arrays)
        return Level(label, amplifier, background, sigma, int(counts), quality & _OF_A_FILE)

    def detector(self, i: int, j: int) -> Detector:
        """Describe a detector by its coordinates, and those of its amplifiers that an exposure has."""
        present = [k for k in range(len(self._amplifiers)) if not int(self._cells[3][i, k, j]) & _ABSENT]
        members = []
        for k in present if self._amplifiers else [0]:
            known: dict[str, Any] = {name: self._number(name, i, k) for name in ("gain", "read_noise")}
            known |= {name: self._number(f"amplifier_{name}", i, k) for name in _PLACE}
            name = self._amplifiers[k] if self._amplifiers else ""
            members.append(Amplifier(name, 0, _NOWHERE, None, None, **known))
        place: dict[str, Any] = {name: self._number(name, i, 0) for name in _PLACE}
        return Detector(
            id=self._labels["detector"][i].item(),
            name=self._text("detector_name", i),
            type=self._text("detector_type", i),
            amplifiers=tuple(members),
            shapes={},
            **place,
        )

    def _text(self, name: str, i: int) -> str:
        return str(self._coords[name][i]) if name in self._coords else ""

    def _number(self, name: str, i: int, k: int) -> float:
        values = self._coords.get(name)
        if values is None:
            return nan
        return float(values[i, k] if values.ndim == 2 else values[i])

    def exposure(self, j: int) -> Exposure:
        """Describe an exposure by its coordinates."""
        texts = {name: str(self._coords[name][j]) for name in _TEXTS if name in self._coords}
        time = self._coords["time"][j] if "time" in self._coords else np.datetime64("NaT")
        seconds = float(self._coords["exposure_time"][j]) if "exposure_time" in self._coords else nan
        return Exposure(self._labels["exposure"][j].item(), None if np.isnat(time) else time, seconds, **texts)


def kept(earlier: Mapping[str, FileLevels], paths: Sequence[str]) -> list[FileLevels]:
    """Choose what need not be measured again.

    Parameters
    ----------
    earlier : mapping of str to FileLevels
        From `levels_by_file`.
    paths : sequence of str
        The files that are asked for now.

    Returns
    -------
    list of FileLevels
        Of files that are not asked for, and of those that are as they were (path, size and time of change) and could be
        read then; with their paths as they are asked for.
    """
    asked = {os.path.realpath(path): path for path in paths}
    found = []
    for path, one in earlier.items():
        again = asked.get(os.path.realpath(path))
        if again is None:
            found.append(one)
        elif _was_read(one) and _is_same(path, one.provenance):
            found.append(replace(one, file=replace(one.file, path=again)))
    return found


def _was_read(earlier: FileLevels) -> bool:
    return not any(level.quality & Flag.UNREADABLE for level in earlier.levels)


def _is_same(path: str, entry: Mapping[str, Any]) -> bool:
    try:
        stamp = FileStamp.of(os.stat(path))
    except OSError:
        return False
    return entry.get("size") == stamp.size and entry.get("mtime") == file_time(stamp.mtime_ns)


def check_same_way(ds: xr.Dataset, configuration: Mapping[str, Any]) -> None:
    """Refuse to put levels together that were measured in different ways.

    Raises
    ------
    FlatnormError
        Naming the keywords that differ, with both values.
    """
    before = json.loads(ds.attrs["measure_configuration"])
    names = (name for name in dict.fromkeys([*configuration, *before]) if name != "content")
    differ = [
        f"{name}={before.get(name)!r} (now {configuration.get(name)!r})"
        for name in names
        if not _goes_with(name, before.get(name) or None, configuration.get(name) or None)
    ]
    contents, now = before.get("content", {}), configuration["content"]
    differ += [
        f"another {name} of the same name"
        for name in now
        if now[name] != contents.get(name) and not any(one.startswith(f"{name}=") for one in differ)
    ]
    if differ:
        msg = f"measure: resume holds levels measured with {offenders(differ)}; measure with the same, or anew"
        raise FlatnormError(msg)


def _goes_with(name: str, before: Any, now: Any) -> bool:
    return before == now or (name in _MAY_BE_LESS and (not now or name == "strict"))
