"""Reading the pixels of a FITS file: flatnorm-xr beside astropy, fitsio and numpy, and a plain pass over the memory.

Run ``python benchmarks/read.py`` (``--quick`` for a sixteenth of the pixels and few rounds). The files are written to a
temporary folder first, 16.8 million pixels each, and are warm. One process, all in turn (A B A B ...), medians of the
rounds. Ours gives the words as they lie in the file, which is what statistics are made from; the others give values
(BZERO undone), except where "words" is said. "headers and words" adds what comes before: all headers read, the camera
recognised, its sections found.
"""

from __future__ import annotations

import argparse
import gzip
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from astropy.io import fits
from pixel_trials import installed, name_segment, primary_hdu, times

from flatnorm_xr.camera.geometry import describe
from flatnorm_xr.camera.headers import read_headers
from flatnorm_xr.camera.profiles import recognise
from flatnorm_xr.measure.words import open_words

OURS = "flatnorm-xr, words"
FLOOR = "memory pass (np.sum as 64-bit words)"

Contenders = dict[str, Callable[[], object]]


def frame(dtype: str, rows: int, columns: int) -> np.ndarray:
    """Flat of 20 000 adu with its photon noise."""
    rng = np.random.default_rng(20260101)
    pixels = 20_000 + np.sqrt(20_000) * rng.standard_normal((rows, columns))
    return pixels.astype(dtype) if dtype == "f4" else np.rint(pixels).astype(dtype)


def long_header(header: fits.Header, cards: int, prefix: str) -> None:
    """Add cards as an observatory writes them."""
    for n in range(cards):
        header[f"{prefix}{n:04d}"] = (n * 1.25 if n % 3 else "as set by the observer", "what this number means")


def write(path: Path, image: np.ndarray, hdus: int, compression: str = "") -> Path:
    """Write an image as so many amplifiers of one camera, each with its header of a hundred cards."""
    primary = primary_hdu()
    long_header(primary.header, 180, "TEL")
    opened: list[fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU] = [primary]
    for k, part in enumerate(np.split(image, hdus)):
        hdu = fits.CompImageHDU(part, compression_type=compression) if compression else fits.ImageHDU(part)
        name_segment(hdu, k, *part.shape)
        long_header(hdu.header, 90, "SEG")
        opened.append(hdu)
    fits.HDUList(opened).writeto(path)
    return path


def files(folder: Path, side: int) -> Iterator[tuple[str, Path, np.ndarray]]:
    """Write the files one after the other: what each is, where, and its pixels."""
    image = frame("u2", side, side)
    plain = write(folder / "mef.fits", image, 16)
    yield "uint16, 16 HDUs", plain, image
    packed = folder / "mef.fits.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes(), compresslevel=1))
    plain.unlink()
    yield "uint16, 16 HDUs, .gz", packed, image
    packed.unlink()
    for name, dtype, hdus, compression in (
        ("uint16, one HDU", "u2", 1, ""),
        ("float32, one HDU", "f4", 1, ""),
        ("uint16, 16 HDUs, Rice", "u2", 16, "RICE_1"),
        ("int32, 16 HDUs, Rice", "i4", 16, "RICE_1"),
        ("float32, 16 HDUs, quantised, Rice", "f4", 16, "RICE_1"),
        ("float32, 16 HDUs, quantised, GZIP_2", "f4", 16, "GZIP_2"),
    ):
        image = frame(dtype, side, side)
        path = write(folder / "one.fits", image, hdus, compression)
        yield name, path, image
        path.unlink()


def read_words(path: Path) -> None:
    """Words of all images, those of one at a time in memory."""
    with open_words(read_headers(path)) as words:
        for hdu in words.hdus:
            words(hdu)
            words.release()


def read_described(path: Path) -> None:
    """Do the same after all that is asked of the headers."""
    headers = read_headers(path)
    profile, rule = recognise(headers)
    with open_words(describe(headers, profile=profile, rule=rule)) as words:
        for hdu in words.hdus:
            words(hdu)
            words.release()


def by_astropy(path: Path, **how: bool) -> None:
    """Pixels of all images by astropy, HDU after HDU as they are found; touched, if they are only mapped."""
    with fits.open(path, **how) as hdus:
        for hdu in hdus:
            image = hdu.data
            if image is None:
                continue
            if how.get("memmap"):
                np.add.reduce(image[:, ::1024], axis=None)
            del image, hdu.data


def by_fitsio(fitsio: Any, path: Path) -> None:
    """Pixels of all images by fitsio."""
    with fitsio.FITS(str(path)) as hdus:
        for hdu in hdus[1:]:
            hdu.read()


def by_numpy(path: Path) -> None:
    """Map the file, swap the bytes: no header is parsed."""
    mapped = np.memmap(path, mode="r")
    for place in read_headers(path).places.values():
        part = mapped[place.offset : place.offset + place.length]
        part.view(f">{'f4' if place.bitpix < 0 else 'i2'}").astype("f4" if place.bitpix < 0 else "i2")


def contenders(path: Path, image: np.ndarray, fitsio: Any) -> Contenders:
    """Name what is compared for one file."""
    found: Contenders = {
        OURS: lambda: read_words(path),
        "flatnorm-xr, headers and words": lambda: read_described(path),
        "astropy": lambda: by_astropy(path, memmap=False),
        "astropy, words": lambda: by_astropy(path, memmap=False, do_not_scale_image_data=True),
    }
    with fits.open(path) as hdus:
        plain = path.suffix == ".fits" and not isinstance(hdus[1], fits.CompImageHDU)
    if plain:
        found["astropy, words, mapped"] = lambda: by_astropy(path, memmap=True, do_not_scale_image_data=True)
        found["np.memmap and byteswap"] = lambda: by_numpy(path)
    if fitsio:
        found["fitsio"] = lambda: by_fitsio(fitsio, path)
    found[FLOOR] = lambda: np.sum(image.view(np.uint64))
    return found


def gain_of_threads(function: Callable[[], object], rounds: int) -> float:
    """Ratio of the time of four readings on one thread to that on two."""
    taken: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for threads, values in taken.items():
            with ThreadPoolExecutor(threads) as pool:
                start = time.perf_counter()
                list(pool.map(lambda _: function(), range(4)))
                values.append(time.perf_counter() - start)
    return median(taken[1]) / median(taken[2])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    side, rounds = (1024, 3) if quick else (4096, 7)
    print(f"{side} x {side} pixels, {os.cpu_count()} cores")
    fitsio = installed("fitsio")
    print(f"{'':40s}{'ms':>8s}{'x ours':>9s}{'x memory pass':>15s}{'2 threads':>11s}")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for title, path, image in files(Path(folder), side):
            functions = contenders(path, image, fitsio)
            taken = times(functions, rounds)
            print(title)
            for name, ms in taken.items():
                gain = f"{gain_of_threads(functions[name], 3):10.1f}x" if name in (OURS, "astropy", "fitsio") else ""
                print(f"  {name:38s}{ms:8.1f}{ms / taken[OURS]:9.2f}{ms / taken[FLOOR]:15.1f}{gain}")


if __name__ == "__main__":
    main()
