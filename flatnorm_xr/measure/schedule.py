"""Which file is measured when, and by whom; large files are shared between threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING

from flatnorm_xr.camera.geometry import FileDescription
from flatnorm_xr.measure.assemble import FileLevels
from flatnorm_xr.measure.file_levels import Reduction, bad_in_file, measure_file, unreadable_file
from flatnorm_xr.measure.workers import Client, each_done
from flatnorm_xr.progress import counted

if TYPE_CHECKING:
    from flatnorm_xr.measure.common_mask import CommonMask

__all__ = ["Work", "bad_anywhere", "measure_all"]

_BETWEEN_PARTIALS = 60.0
"""Seconds between one call of ``partial`` and the next."""

_SHARES = 2
"""Tasks a thread should have at least, so that none waits long for the last."""


@dataclass(frozen=True)
class Work:
    """Who does the work, and whether progress is shown."""

    client: Client | None
    threads: int
    progress: bool


def bad_anywhere(files: Sequence[FileDescription], *, setting: Reduction, work: Work) -> dict[int | str, CommonMask]:
    """Find what is bad in at least one exposure of each detector; reads all files."""
    from flatnorm_xr.measure.common_mask import add_masks

    found: dict[int | str, CommonMask] = {}
    with counted(files, "mask", wanted=work.progress, keep=False) as each:
        results = each_done(
            bad_in_file,
            files,
            setting=setting,
            client=work.client,
            threads=work.threads,
            lost=lambda file, reason: [],
        )
        for _, (_, masks) in zip(each, results, strict=True):
            found = add_masks(masks, to=found)
    return found


def measure_all(
    files: Sequence[FileDescription],
    *,
    setting: Reduction,
    work: Work,
    partial: Callable[[Sequence[FileLevels]], object] | None = None,
) -> list[FileLevels]:
    """Measure all files.

    Parameters
    ----------
    files : sequence of FileDescription
        From `survey`.
    setting : Reduction
        What to do with their pixels.
    work : Work
        Who does it.
    partial : callable, optional
        Called now and then, and when an error or an interruption ends the work, with what has been measured.

    Returns
    -------
    list of FileLevels
        In the order of ``files``, whichever is done first.
    """
    done: dict[int, FileLevels] = {}
    last = time.monotonic()
    try:
        with counted(files, "measure", wanted=work.progress) as each:
            for _, (number, levels) in zip(each, _each_file(files, setting, work), strict=True):
                done[number] = levels
                if partial is not None and time.monotonic() - last > _BETWEEN_PARTIALS and len(done) < len(files):
                    partial([done[i] for i in sorted(done)])
                    last = time.monotonic()
    except BaseException:
        if partial is not None and done:
            partial([done[i] for i in sorted(done)])
        raise
    return [done[i] for i in sorted(done)]


def _each_file(files: Sequence[FileDescription], setting: Reduction, work: Work) -> Iterator[tuple[int, FileLevels]]:
    """Levels of each file, with its number, as its last share is done."""
    number_of_shares = 1
    if work.client is None and work.threads > 1 and 0 < len(files) < _SHARES * work.threads:
        number_of_shares = -(-_SHARES * work.threads // len(files))
    if setting.checksum:  # of the whole file, which is then read once
        number_of_shares = 1
    shares = [_shares(file, number_of_shares) for file in files]
    tasks = list(chain.from_iterable(shares))
    file_of = [i for i, members in enumerate(shares) for _ in members]
    first = [0, *accumulate(map(len, shares))]
    waiting: list[dict[int, FileLevels]] = [{} for _ in files]
    results = each_done(
        measure_file, tasks, setting=setting, client=work.client, threads=work.threads, lost=unreadable_file
    )
    for task, levels in results:
        i = file_of[task]
        waiting[i][task - first[i]] = levels
        if len(waiting[i]) == len(shares[i]):
            yield i, _joined(files[i], [waiting[i].pop(k) for k in range(len(shares[i]))])


def _shares(file: FileDescription, number: int) -> list[FileDescription]:
    """Divide the detectors of a file; one that is packed as a whole is unpacked from its start, so it stays one."""
    end = max((place.offset + place.length for place in file.images.values()), default=0)
    packed = file.stamp is not None and end > file.stamp.size
    number = 1 if packed or file.damage else min(number, len(file.detectors))
    bounds = [len(file.detectors) * k // number for k in range(number + 1)] if number else [0, 0]
    return [replace(file, detectors=file.detectors[a:b]) for a, b in pairwise(bounds)]


def _joined(file: FileDescription, parts: Sequence[FileLevels]) -> FileLevels:
    levels = tuple(chain.from_iterable(part.levels for part in parts))
    faults = tuple(dict.fromkeys(chain.from_iterable(part.faults for part in parts)))
    return FileLevels(file, levels, parts[0].provenance, faults)
