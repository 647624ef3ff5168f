"""Simulate a night of dome flats as the FITS files of a real camera, with the truth beside them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.errors import FlatnormError, offenders
from flatnorm_xr.model.make import stamp, version_attributes
from flatnorm_xr.simulate.decam import DECAM
from flatnorm_xr.simulate.hsc import HSC
from flatnorm_xr.simulate.layouts import Camera, Card, Detector, Exposure, Frame
from flatnorm_xr.simulate.levels import regauge
from flatnorm_xr.simulate.lsstcam import LSSTCAM
from flatnorm_xr.simulate.readout import read_out
from flatnorm_xr.simulate.scenario import (
    DEFAULT_FAULTS,
    EXPOSURE_FAULTS,
    FAULTS,
    Night,
    draw_night,
    fault_attributes,
)

if TYPE_CHECKING:
    from astropy.io import fits

__all__ = ["CAMERAS", "FAULTS", "simulate_night"]

CAMERAS: dict[str, Camera] = {camera.name: camera for camera in (DECAM, LSSTCAM, HSC)}
"""Cameras whose files can be simulated."""


def simulate_night(
    directory: str | os.PathLike[str],
    *,
    camera: str = "decam",
    n_exposures: int = 6,
    n_detectors: int | None = None,
    level: float = 20_000.0,
    faults: bool | Sequence[str] = True,
    ragged: bool = False,
    compress: bool = False,
    overwrite: bool = False,
    seed: int = 0,
) -> xr.Dataset:
    """Write a night of dome flats in a camera's own file layout, and return the truth.

    A pixel's signal is ``true_G * true_E`` adu, times a pattern over the amplifier that has mean 1 and is the same in
    every exposure (the slope of the vignetting); then photon noise, cosmic rays, the full well, read noise, a bias
    level that differs between amplifiers and drifts along the rows, and rounding to integers. CCDs are scaled down,
    so a night is a few MB.

    Parameters
    ----------
    directory : path
        Made when it is not there.
    camera : {"decam", "lsstcam", "hsc"}
        Whose files. DECam: one file an exposure, one HDU a CCD (and one focus chip); LSSTCam: one file a CCD, one HDU
        an amplifier; HSC: one file a CCD.
    n_exposures : int
        At least 1; with faults of whole exposures or files, at least one more than there are of them.
    n_detectors : int, optional
        DECam 8, LSSTCam 4, HSC 4.
    level : float
        Typical E, adu.
    faults : bool or sequence of str
        Names in `FAULTS`; True means dead_amplifier, saturated_exposure and lost_file, False none.
    ragged : bool
        LSSTCam only: the last detector is a corner chip of 8 amplifiers, the others have 16.
    compress : bool
        Write tile-compressed ``.fits.fz`` (Rice).
    overwrite : bool
        Replace files of the same names.
    seed : int
        Same seed and arguments, same bytes.

    Returns
    -------
    Dataset
        ``true_E`` (exposure), adu, and ``true_G`` (detector, amplifier): the level of an amplifier in an exposure,
        less overscan and without error, is their product. The mean of true_G, each unit weighted by its pixels over
        the cells that can be measured (not saturated, dead or lost), is 1; use `regauge` with the counts of a
        measurement to compare in its gauge. true_G is NaN for a dead or unlit amplifier, and where ``exists`` is
        False. true_E of a saturated exposure is its light, which its pixels do not show; that of an exposure with the
        lamp off is 0. Coordinates time (that of the headers to a millisecond), exposure_time, physical_filter, night,
        observation_type, path ("" where a file or HDU was lost), detector_name, gain and read_noise (true, not
        the header's), places of detectors and amplifiers (x, y, width, height, amplifier_x, ...), for LSSTCam
        detector_type, and exists where ragged. The attribute ``faults`` is a JSON table of what was broken,
        ``comment`` says it in sentences.

    Raises
    ------
    FlatnormError
        An unknown camera or fault, a size out of range, or files that exist and ``overwrite`` is False.

    Examples
    --------
    >>> import tempfile
    >>> from flatnorm_xr.simulate.night import simulate_night
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     truth = simulate_night(directory, camera="hsc", n_exposures=2, n_detectors=2, faults=False)
    >>> dict(truth.true_G.sizes)
    {'detector': 2, 'amplifier': 4}
    """
    names = (DEFAULT_FAULTS if faults else ()) if isinstance(faults, bool) else tuple(faults)
    layout = _check(camera, n_exposures, n_detectors, level, names, ragged)
    n_detectors = layout.default_detectors if n_detectors is None else n_detectors
    night = draw_night(layout, layout.place(n_detectors, ragged), n_exposures, level, names, seed)
    folder = Path(directory)
    paths = {
        (detector.label, exposure.index): folder / (layout.file_name(exposure, detector) + ".fz" * compress)
        for exposure in night.exposures
        for detector in night.detectors
    }
    _make_room(folder, sorted(set(paths.values())), overwrite)
    for path in sorted(set(paths.values())):
        _write_frames(path, night, [cell for cell, where in paths.items() if where == path], compress)
    configuration = {
        "camera": layout.name,
        "n_exposures": n_exposures,
        "n_detectors": n_detectors,
        "level": level,
        "faults": list(names),
        "ragged": int(ragged),
        "compress": int(compress),
        "seed": seed,
    }
    return _truth(night, paths, configuration)


def _check(
    camera: str, n_exposures: int, n_detectors: int | None, level: float, faults: Sequence[str], ragged: bool
) -> Camera:
    if str(camera).lower() not in CAMERAS:
        msg = f"simulate_night: camera={camera!r} cannot be simulated; choose one of {', '.join(CAMERAS)}"
        raise FlatnormError(msg)
    layout = CAMERAS[str(camera).lower()]
    least = 1 + sum(fault in EXPOSURE_FAULTS for fault in faults)
    unknown = [name for name in faults if name not in FAULTS]
    problems = [
        (unknown, f"faults: {offenders(unknown)} unknown; choose among {', '.join(FAULTS)}"),
        (
            not n_exposures >= least,
            f"n_exposures={n_exposures} must be at least {least} with these faults; pass more, or faults=False",
        ),
        (
            n_detectors is not None and not 1 + ragged <= n_detectors <= layout.max_detectors,
            f"n_detectors={n_detectors} must be {1 + ragged} to {layout.max_detectors} for {layout.name}",
        ),
        (not 0 < level < math.inf, f"level={level} must be positive and finite"),
        (ragged and layout.name != "lsstcam", f"ragged=True: all detectors of {layout.name} are alike; use lsstcam"),
    ]
    broken = [text for is_broken, text in problems if is_broken]
    if broken:
        raise FlatnormError("simulate_night: " + "; ".join(broken))
    return layout


def _write_frames(path: Path, night: Night, cells: list[tuple[int | str, int]], compress: bool) -> None:
    """Read out the detectors of one file, all of one exposure, and write it; nothing when all were lost."""
    there = [label for label, j in cells if (label, j) not in night.lost]
    if there:
        exposure = night.exposures[cells[0][1]]
        frames = [read_out(night, detector, exposure) for detector in night.detectors if detector.label in there]
        _write(path, _hdus(night.camera, exposure, frames, compress), compress)


def _hdus(camera: Camera, exposure: Exposure, frames: list[Frame], compress: bool) -> fits.HDUList:
    from astropy.io import fits

    primary = camera.primary(exposure, frames)
    if camera.extension is None:
        (image,) = frames[0].images
        if not compress:
            return fits.HDUList([fits.PrimaryHDU(image, _header(primary))])
        return fits.HDUList([fits.PrimaryHDU(), _compressed(image, primary)])
    hdus: list[Any] = [fits.PrimaryHDU(header=_header(primary))]
    for frame in frames:
        for number, image in enumerate(frame.images):
            cards = camera.extension(frame, number)
            hdu = _compressed(image, cards) if compress else fits.ImageHDU(image, _header(cards))
            hdus.append(hdu)
    return fits.HDUList(hdus)


def _header(cards: list[Card]) -> fits.Header:
    from astropy.io import fits

    return fits.Header([fits.Card(*card) for card in cards])


def _compressed(image: NDArray[np.integer[Any]], cards: list[Card]) -> Any:
    from astropy.io import fits

    return fits.CompImageHDU(image, _header(cards), compression_type="RICE_1", tile_shape=(1, image.shape[1]))


def _make_room(folder: Path, paths: list[Path], overwrite: bool) -> None:
    """Make the directory; refuse, or remove, files of the same names (also the one that will be lost)."""
    there = [path.name for path in paths if path.exists()]
    if there and not overwrite:
        msg = f"simulate_night: {folder} already holds {offenders(there)}; pass overwrite=True or another directory"
        raise FlatnormError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    for name in there:
        (folder / name).unlink()


def _write(path: Path, hdus: fits.HDUList, compress: bool) -> None:
    """Write under a temporary name, then rename: a file that has its name is whole."""
    if not compress:
        # The comment is given because astropy's own holds the time of writing.
        for hdu in hdus:
            hdu.add_checksum(when="checksum of this HDU")
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as stream:
            hdus.writeto(stream, output_verify="exception")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _truth(night: Night, paths: dict[tuple[int | str, int], Path], configuration: dict[str, Any]) -> xr.Dataset:
    science = night.science
    lost = [[(d.label, e.index) in night.lost for e in night.exposures] for d in science]
    bad = [e.index in night.bad_exposures for e in night.exposures]
    truth = xr.Dataset(
        {
            "true_E": ("exposure", night.E),
            "true_G": _on_units(night, lambda d, k: _response(night, d, k)),
        },
        coords=_coordinates(night, paths),
        attrs={
            **version_attributes(),
            "title": f"Truth of a simulated night of {night.camera.name}",
            "source": "simulation of FITS files",
            "camera": night.camera.name,
            "simulation": json.dumps(configuration),
            **fault_attributes(night),
        },
    )
    pixels = truth.true_G.copy(data=_on_units(night, lambda d, k: math.prod(d.taps[k].data.shape))[1])
    if pixels.isnull().any():
        truth = truth.assign_coords(exists=pixels.notnull())
    measurable = xr.DataArray(~np.array(lost) & ~np.array(bad), dims=["detector", "exposure"]).sum("exposure")
    return regauge(stamp(truth, units="adu"), weights=pixels * measurable)


def _response(night: Night, detector: Detector, k: int) -> float:
    unit = detector.label, detector.taps[k].amplifier
    return math.nan if unit in night.dead else night.response[unit]


def _on_units(night: Night, value: Callable[[Detector, int], float]) -> tuple[list[str], NDArray[np.float64]]:
    """Value of each amplifier of each detector, NaN where the detector has no such amplifier."""
    width = max(len(d.taps) for d in night.science)
    values = [[value(d, k) if k < len(d.taps) else math.nan for k in range(width)] for d in night.science]
    return ["detector", "amplifier"], np.array(values)


def _places(night: Night) -> dict[str, Any]:
    """Centres and sizes of detectors and amplifiers in the focal plane."""

    def centre(d: Detector, k: int) -> tuple[float, float]:
        u, v = (np.array(end) for end in d.taps[k].ccd.centre)
        x, y = d.place(u, v)
        return float(x), float(y)

    sizes = [d.extent((d.size[1], d.size[0])) for d in night.science]
    return {
        "x": ("detector", [d.x for d in night.science]),
        "y": ("detector", [d.y for d in night.science]),
        "width": ("detector", [size[0] for size in sizes]),
        "height": ("detector", [size[1] for size in sizes]),
        "amplifier_x": _on_units(night, lambda d, k: centre(d, k)[0]),
        "amplifier_y": _on_units(night, lambda d, k: centre(d, k)[1]),
        "amplifier_width": _on_units(night, lambda d, k: d.extent(d.taps[k].ccd.shape)[0]),
        "amplifier_height": _on_units(night, lambda d, k: d.extent(d.taps[k].ccd.shape)[1]),
    }


def _coordinates(night: Night, paths: dict[tuple[int | str, int], Path]) -> dict[str, Any]:
    science, exposures, camera = night.science, night.exposures, night.camera
    names = [
        ["" if (d.label, e.index) in night.lost else str(paths[d.label, e.index]) for e in exposures] for d in science
    ]
    types = {"detector_type": ("detector", [d.type for d in science])} if any(d.type for d in science) else {}
    return {
        **types,
        "detector": [d.label for d in science],
        "amplifier": [tap.amplifier for tap in max(science, key=lambda d: len(d.taps)).taps],
        "exposure": [camera.exposure_label(e) for e in exposures],
        "time": ("exposure", np.array([e.middle for e in exposures])),
        "exposure_time": ("exposure", [e.seconds for e in exposures]),
        "physical_filter": ("exposure", [camera.physical_filter] * len(exposures)),
        "night": ("exposure", [camera.night(e) for e in exposures]),
        "observation_type": ("exposure", [camera.observation_type] * len(exposures)),
        "path": (["detector", "exposure"], names),
        "detector_name": ("detector", [d.name for d in science]),
        **_places(night),
        "gain": _on_units(night, lambda d, k: night.electronics[d.label][k].gain),
        "read_noise": _on_units(night, lambda d, k: night.electronics[d.label][k].read_noise),
    }
