"""Clipped statistics of one frame: flatnorm-xr beside its peers, and a plain pass over the memory.

Run ``python benchmarks/stats.py`` (4096 x 4096 pixels), or with ``--size 1024 --rounds 3`` or ``--quick``. One process,
all in turn (A B A B ...), medians of the rounds. Every peer that is not installed is said to be absent. Programs of the
shell (IRAF, Gnuastro) are timed with their start and their reading of the file. ccdproc has no statistics of one
frame: its Combiner clips from frame to frame.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.stats import sigma_clipped_stats
from pixel_trials import installed, times

from flatnorm_xr.measure.kernels import Part, clipped_statistics, measure_parts

OURS = "flatnorm-xr meanclip"
FLOOR = "memory pass (np.sum)"
ASTROPY = "astropy, about the mean"
AMPLIFIERS = (2, 8)


class Contender(NamedTuple):
    """Who measures a frame, and how: its answer begins with a level and a sigma, if it has any."""

    name: str
    measure: Callable[[], Any]


def flat(dtype: str, size: int) -> np.ndarray:
    """Twilight flat with vignetting, photon noise and one cosmic-ray pixel in a thousand."""
    rng = np.random.default_rng(20260101)
    y, x = np.ogrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    pixels = 20_000 * (1 - 0.02 * (x * x + y * y))
    pixels += np.sqrt(pixels) * rng.standard_normal((size, size))
    pixels[rng.random((size, size)) < 1e-3] = 60_000
    return (pixels if np.dtype(dtype).kind == "f" else np.rint(pixels)).astype(dtype)


def as_in_a_file(frame: np.ndarray) -> tuple[np.ndarray, float]:
    """Big-endian words as FITS has them, and their zero."""
    if frame.dtype == np.uint16:
        return (frame ^ np.uint16(1 << 15)).view(np.int16).astype(">i2"), 32768.0
    return frame.astype(frame.dtype.newbyteorder(">")), 0.0


def amplifiers(words: np.ndarray, zero: float, overscan: bool) -> list[Part]:
    """16 amplifiers, each with a level of the overscan for every row if wanted (a median: a multiple of 1/2)."""
    rows, columns = (length // number for length, number in zip(words.shape, AMPLIFIERS, strict=True))
    rng = np.random.default_rng(2)
    return [
        Part(
            words[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns],
            zero=zero,
            limit=65_000.0,
            offset=rng.integers(1998, 2004, rows) / 2 if overscan else None,
        )
        for i in range(AMPLIFIERS[0])
        for j in range(AMPLIFIERS[1])
    ]


def ours(frame: np.ndarray, bad: np.ndarray) -> Iterator[Contender]:
    """Yield what flatnorm-xr does, on native pixels and on the words of a file."""
    words, zero = as_in_a_file(frame)
    plain, corrected = amplifiers(words, zero, False), amplifiers(words, zero, True)
    yield Contender(OURS, lambda: clipped_statistics(frame))
    yield Contender("  of a file's words", lambda: measure_parts([Part(words, zero)], whole=False).parts[0])
    yield Contender("  masked", lambda: clipped_statistics(frame, bad))
    yield Contender("  16 amplifiers and detector", lambda: measure_parts(plain).whole)
    yield Contender("  the same, overscan by row", lambda: measure_parts(corrected).whole)
    yield Contender("flatnorm-xr sigmaclip", lambda: clipped_statistics(frame, statistic="sigmaclip"))


def peers(frame: np.ndarray, bad: np.ndarray) -> Iterator[Contender]:
    """Yield Python peers; those that clip do so three times, from the standard deviation of all pixels on."""
    options = {"sigma": 3, "maxiters": 3}

    def astropy(*args: Any, **kwargs: Any) -> tuple[float, float]:
        mean, _, sigma = sigma_clipped_stats(*args, **options, **kwargs)
        return mean, sigma

    yield Contender(ASTROPY, lambda: astropy(frame, cenfunc="mean"))
    yield Contender("  masked", lambda: astropy(frame, bad, cenfunc="mean"))
    yield Contender("astropy, about the median", lambda: astropy(frame))
    background, scipy_stats = installed("photutils.background"), installed("scipy.stats")
    if background:
        from astropy.stats import SigmaClip

        level = background.MeanBackground(sigma_clip=SigmaClip(cenfunc="mean", **options))
        pixels = frame if frame.dtype.kind == "f" else frame.astype(np.float32)
        yield Contender("photutils MeanBackground, no sigma", lambda: (level(pixels), np.nan))
    if scipy_stats:
        yield Contender("scipy sigmaclip (to the end)", lambda: moments(scipy_stats.sigmaclip(frame, 3, 3)[0]))
    if bottleneck := installed("bottleneck"):
        yield Contender("bottleneck, float64 loop", lambda: bottleneck_loop(bottleneck, frame))
    yield Contender(FLOOR, lambda: np.sum(frame))


def moments(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation, summed in float64."""
    return values.mean(dtype=np.float64), values.std(dtype=np.float64)


def bottleneck_loop(bottleneck: Any, frame: np.ndarray) -> tuple[float, float]:
    """Clip about the mean with bottleneck's, which must have float64: it sums float32 in float32."""
    kept = frame.ravel().astype(np.float64)
    for _ in range(3):
        mean, sigma = bottleneck.nanmean(kept), bottleneck.nanstd(kept)
        kept = kept[np.abs(kept - mean) <= 3 * sigma]
    return bottleneck.nanmean(kept), bottleneck.nanstd(kept)


def programs(path: Path) -> Iterator[Contender]:
    """Yield programs of the shell, which read the frame from a file."""
    iraf = Path(os.environ.get("iraf", "/usr/lib/iraf/"))  # noqa: SIM112 (its name)
    images = iraf / "bin" / "x_images.e"
    if shutil.which("irafcl") and images.is_file():
        words = f"imstatistics images={path} fields=mean,stddev lower=INDEF upper=INDEF nclip=3 lsigma=3. usigma=3."
        command = [str(images), *words.split(), "binwidth=0.1", "format=no", "cache=no", "mode=h"]
        yield Contender("IRAF imstatistics, with its read", lambda: run(command, {"iraf": f"{iraf}/"}))
    else:
        print("  IRAF is absent")
    if shutil.which("aststatistics"):
        clipped = ["aststatistics", "-h0", "--sclipparams=3,3", "--sigclip-mean", "--sigclip-std", str(path)]
        yield Contender("gnuastro aststatistics, with read", lambda: run(clipped, {}))
    else:
        print("  gnuastro is absent")


def run(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a program that prints a level and a sigma."""
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    level, sigma = done.stdout.split()[:2]
    return float(level), float(sigma)


def table(dtype: str, size: int, rounds: int, bad: np.ndarray, folder: Path) -> None:
    """Print the table of one data type."""
    frame = flat(dtype, size)
    path = folder / f"{dtype}.fits"
    fits.writeto(path, frame)
    print(f"{frame.dtype}, {size} x {size}")
    contenders = [*ours(frame, bad), *peers(frame, bad), *programs(path)]
    answers = [contender.measure() for contender in contenders]
    # Two may have the same name: "masked".
    taken = list(times({str(n): one.measure for n, one in enumerate(contenders)}, rounds).values())
    path.unlink()
    ms = {contender.name: one for contender, one in zip(contenders, taken, strict=True)}
    print(f"  {'':36s}{'ms':>8s}{'x ours':>9s}{'x memory pass':>15s}{'level':>14s}{'sigma':>10s}")
    for contender, one, answer in zip(contenders, taken, answers, strict=True):
        ratios = f"{one:8.1f}{one / ms[OURS]:9.2f}{one / ms[FLOOR]:15.1f}"
        numbers = f"{answer[0]:14.4f}{answer[1]:10.4f}" if np.size(answer) > 1 else ""
        print(f"  {contender.name:36s}{ratios}{numbers}")
    print(f"  {ASTROPY} / ours: {ms[ASTROPY] / ms[OURS]:.1f} meanclip, ", end="")
    print(f"{ms[ASTROPY] / ms['flatnorm-xr sigmaclip']:.1f} sigmaclip")


def threads(dtype: str, size: int, rounds: int) -> None:
    """Print how much quicker two threads measure two frames than one thread does."""
    frames = [as_in_a_file(flat(dtype, size)) for _ in range(2)]
    parts = [amplifiers(*frame, True) for frame in frames]

    def in_two() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(measure_parts, parts * 2))

    both = {"one": lambda: [measure_parts(one) for one in parts * 2], "two": in_two}
    one, two = times(both, 3 * rounds).values()
    print(f"{dtype}, amplifiers and detector, two threads: {one / two:.2f} times as quick as one")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=4096, help="rows and columns of the frame")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="small and once, to see that it runs")
    options = parser.parse_args()
    size, rounds = (256, 1) if options.quick else (options.size, options.rounds)
    bad = np.random.default_rng(1).random((size, size)) < 0.01
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ("float32", "float64", "int32", "uint16"):
            table(dtype, size, rounds, bad, Path(folder))
    for dtype in ("float32", "uint16"):
        threads(dtype, size, rounds)


if __name__ == "__main__":
    main()
