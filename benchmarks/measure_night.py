"""A night of flats, from FITS files to levels: flatnorm-xr beside the loop that one writes with astropy or ccdproc.

Run ``python benchmarks/measure_night.py``. The night is written to a temporary folder first: a camera with 16
amplifiers of 2048 x 512 pixels and 64 columns of overscan in HDUs of their own, a file an exposure: 16-bit integers
plain and tile-compressed, and float32. All subtract the median of each overscan row, clip three times, and give the
levels of every amplifier and of the whole detector (with ccdproc, if it is installed, of the amplifiers alone). Files
are warm. Peak memory is that of a process of its own, over what its imports take.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.stats import sigma_clipped_stats
from pixel_trials import installed, name_segment, primary_hdu, times

import flatnorm_xr as fx

KINDS = {"plain": "uint16, plain", "packed": "uint16, tile-compressed (Rice)", "float": "float32, plain"}
OVERSCAN = 64


def amplifier(rng: np.random.Generator, rows: int, columns: int, level: float) -> np.ndarray:
    """Light with its noise, a bias of 1000, overscan on the right, one cosmic-ray pixel in a thousand."""
    image = np.full((rows, columns + OVERSCAN), 1000.0)
    image[:, :columns] += level + np.sqrt(level) * rng.standard_normal((rows, columns))
    image[:, :columns][rng.random((rows, columns)) < 1e-3] = 60_000
    return np.rint(image + 4 * rng.standard_normal(image.shape)).astype("u2")


def write_night(folder: Path, exposures: int, rows: int, columns: int, *, kind: str) -> list[str]:
    """Write the files; the images are made once, and brighter by one adu from exposure to exposure."""
    to = np.dtype(np.float32 if kind == "float" else np.uint16)
    rng = np.random.default_rng(20261123)
    images = [amplifier(rng, rows, columns, 20_000 + 500 * k) for k in range(16)]
    paths = []
    for n in range(exposures):
        hdus: list[fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU] = [primary_hdu(n)]
        for k, image in enumerate(images):
            image = image.astype(to) + to.type(n % 100)
            hdu = fits.CompImageHDU(image, compression_type="RICE_1") if kind == "packed" else fits.ImageHDU(image)
            name_segment(hdu, k, rows, columns)
            hdus.append(hdu)
        path = folder / f"{kind}{n:04d}.fits{'.fz' if kind == 'packed' else ''}"
        fits.HDUList(hdus).writeto(path)
        paths.append(str(path))
    os.sync()  # what is still to be written would disturb what is timed
    return paths


def ours(paths: list[str], **how: object) -> np.ndarray:
    """Levels of the amplifiers, (amplifier, exposure)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = fx.measure(paths, camera="lsstcam", progress=False, **how)
    return ds.background.isel(detector=0).values


def with_astropy(paths: list[str]) -> np.ndarray:
    """Do the same in a loop over HDUs."""
    levels = []
    for path in paths:
        found, all_pixels = [], []
        with fits.open(path, memmap=False) as hdus:
            for hdu in hdus[1:]:
                image = hdu.data.astype(np.float32)
                pixels = image[:, :-OVERSCAN] - np.median(image[:, -OVERSCAN:], axis=1)[:, np.newaxis]
                found.append(sigma_clipped_stats(pixels, sigma=3, maxiters=3, cenfunc="mean")[0])
                all_pixels.append(pixels)
        sigma_clipped_stats(np.concatenate(all_pixels), sigma=3, maxiters=3, cenfunc="mean")
        levels.append(found)
    return np.transpose(levels)


def with_ccdproc(ccdproc: Any, paths: list[str]) -> None:
    """Do the same with ccdproc's overscan and trim; the detector as a whole is not measured."""
    for path in paths:
        with fits.open(path, memmap=False) as hdus:
            for hdu in hdus[1:]:
                image = ccdproc.CCDData(hdu.data.astype(np.float32), unit="adu")
                image = ccdproc.subtract_overscan(image, overscan=image[:, -OVERSCAN:], median=True)
                image = ccdproc.trim_image(image[:, :-OVERSCAN])
                sigma_clipped_stats(image.data, sigma=3, maxiters=3, cenfunc="mean")


def merely_read(paths: list[str]) -> None:
    """Read all pixels with astropy, and do nothing with them."""
    for path in paths:
        with fits.open(path, memmap=False) as hdus:
            for hdu in hdus[1:]:
                _ = hdu.data


def memory_pass(nbytes: int) -> float:
    """Time to look at so many bytes once, in ms."""
    words = np.ones(nbytes // 8, np.uint64)
    words.sum()
    start = time.perf_counter()
    words.sum()
    return 1e3 * (time.perf_counter() - start)


def compare(paths: list[str], few: int, rounds: int, nbytes: int) -> None:
    """Print the table of one kind of file, times of one exposure."""
    some = paths[:few]
    difference = np.abs(ours(some[:1], threads=1) / with_astropy(some[:1]) - 1).max()
    contenders: dict[str, Callable[[], object]] = {
        "flatnorm-xr, one thread": lambda: ours(some, threads=1),
        "astropy, read and clip": lambda: with_astropy(some),
        "astropy, merely read": lambda: merely_read(some),
    }
    if ccdproc := installed("ccdproc"):
        contenders["ccdproc, read and clip"] = lambda: with_ccdproc(ccdproc, some)
    found = times(contenders, rounds)
    one, least = found["flatnorm-xr, one thread"], memory_pass(nbytes)
    for name, ms in found.items():
        print(f"  {name:30s}{ms / few:10.1f}{ms / one:10.2f}{ms / few / least:14.1f}")
    print(f"  levels differ by {difference:.1e} at most (other first clip)")


def side_by_side(paths: list[str]) -> None:
    """Print how two threads compare with one, and two processes of a dask cluster, whose start is not counted."""
    taken = times({"1 thread": partial(ours, paths, threads=1), "2 threads": partial(ours, paths, threads=2)}, 3)
    measuring: dict[str, Callable[[], object]] = {}
    with ExitStack() as clusters:
        distributed = installed("distributed")
        for workers, name in ((1, "1 process"), (2, "2 processes")) if distributed else ():
            cluster = clusters.enter_context(
                distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
            )
            client = clusters.enter_context(distributed.Client(cluster))
            measuring[name] = partial(ours, paths, client=client)
        taken |= times(measuring, 3)
    for name, milliseconds in taken.items():
        print(f"  {name:30s}{milliseconds / len(paths):10.1f} ms an exposure, of {len(paths)}")
    for one, two in (("1 thread", "2 threads"), ("1 process", "2 processes")):
        if two in taken:
            print(f"  {two} are {taken[one] / taken[two]:.2f} times as quick as one")


def peak_memory(paths: list[str], threads: int) -> dict[str, float]:
    """Measure a night in a process of its own; MB."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", str(threads)],
        input="\n".join(paths),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def child(threads: int) -> None:
    """Measure the files named on standard input, and print the memory it took."""
    import flatnorm_xr.archive.netcdf
    import flatnorm_xr.measure.levels
    from flatnorm_xr.measure import frames, kernels, rice, words

    assert all((frames, kernels, rice, words, flatnorm_xr.archive.netcdf))
    paths = sys.stdin.read().split("\n")
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
    ours(paths, threads=threads)
    print(json.dumps({"imports": before, "peak": status("VmHWM")}))


def status(name: str) -> float:
    """Memory of this process, MB."""
    lines: Iterator[str] = (
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)
    )
    return int(next(lines).split()[1]) / 1024


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exposures", type=int, default=200, help="of the night whose memory is measured")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small images, to see that it runs")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        child(given.child)
        return
    rows, columns = (64, 64) if given.quick else (2048, 512)
    exposures, rounds, few = (4, 1, 2) if given.quick else (given.exposures, given.rounds, 8)
    with tempfile.TemporaryDirectory() as folder:
        for kind, title in KINDS.items():
            number = exposures if kind == "plain" else min(exposures, 2 * few)
            paths = write_night(Path(folder), number, rows, columns, kind=kind)
            print(f"{title:32s}{'ms':>10s}{'x ours':>10s}{'x memory pass':>14s}   an exposure, {os.cpu_count()} cores")
            size = 4 if kind == "float" else 2
            compare(paths, min(few, number), rounds, 16 * rows * (columns + OVERSCAN) * size)
            side_by_side(paths[: 4 * few])
            for threads in (1, 2):
                found = peak_memory(paths, threads)
                over = found["peak"] - found["imports"]
                night = f"{len(paths)} exposures, {threads} thread{'s' if threads > 1 else ''}"
                memory = f"at most {over:.0f} MB over the {found['imports']:.0f} MB of the imports"
                print(f"  {night}: {memory}")


if __name__ == "__main__":
    main()
