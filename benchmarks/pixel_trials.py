"""What the benchmarks of pixels share: the headers of one camera, times taken in turn, and peers that may be absent."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from astropy.io import fits

SEGMENTS = [f"Segment1{k}" for k in range(8)] + [f"Segment0{k}" for k in range(7, -1, -1)]


def primary_hdu(number: int = 0) -> fits.PrimaryHDU:
    """Header of one exposure of LSSTCam, by its place in the night."""
    hdu = fits.PrimaryHDU()
    hdu.header.update({"INSTRUME": "LSSTCam", "RAFTBAY": "R22", "CCDSLOT": "S11", "DAYOBS": "20261123"})
    hdu.header.update({"SEQNUM": number + 1, "MJD-BEG": 61367.0 + number / 1000, "FILTER": "r", "EXPTIME": 15.0})
    return hdu


def name_segment(hdu: fits.ImageHDU | fits.CompImageHDU, number: int, rows: int, columns: int) -> None:
    """Say in the header which amplifier it is, and where its pixels without overscan lie on the detector."""
    x, y = columns * (number % 8), rows * (number // 8)
    hdu.header.update({"EXTNAME": SEGMENTS[number], "DATASEC": f"[1:{columns},1:{rows}]"})
    hdu.header["DETSEC"] = f"[{x + 1}:{x + columns},{y + 1}:{y + rows}]"


def installed(name: str) -> Any:
    """Import a module, or say that it is absent."""
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"  {name.partition('.')[0]} is absent")
        return None


def times(functions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median time of each in ms, taken in turn, after one round that does not count (it compiles)."""
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            taken[name].append(1e3 * (time.perf_counter() - start))
    return {name: median(values[1:]) for name, values in taken.items()}
