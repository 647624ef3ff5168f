"""Simulate a night of flats, trimmed and with masks, of a small mosaic camera in several filters, with the truth."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from flatnorm_xr.errors import FlatnormError, offenders
from flatnorm_xr.lsst.camera import MosaicAmplifier, MosaicCamera, MosaicDetector
from flatnorm_xr.lsst.flat import Flat, Mask
from flatnorm_xr.model.make import stamp
from flatnorm_xr.simulate.levels import regauge, simulate

__all__ = ["simulate_flats"]

ABSURD = (1e9, -1e9, np.nan)
"""What bad pixels hold."""

SATURATED = 65535.0
"""What a saturated column holds."""


def simulate_flats(
    *,
    n_detectors: int = 4,
    n_amplifiers: int = 4,
    n_exposures: int = 5,
    filters: Sequence[str] = ("g", "r"),
    pixels: int = 32,
    ragged: bool = False,
    seed: int = 0,
) -> tuple[xr.Dataset, Iterator[tuple[int, int, Flat]]]:
    """Simulate flats whose E and G are known.

    A good pixel of an amplifier is the amplifier's level times 1 + noise, the noise being that of its photons and of
    the readout. On each detector three pixels are BAD and hold what no flat has, and a column of one amplifier is
    saturated (SAT); who measures them gets another level.

    Parameters
    ----------
    n_detectors, n_amplifiers : int
        At least 1. Amplifiers lie in two rows on a detector, in one where their number is odd.
    n_exposures : int
        In each filter, at least 1. Those of the first filter are numbered from 101 and a minute apart, and those of the
        next filter follow.
    filters : sequence of str
        Each has its own G, as the response of a detector depends on the colour.
    pixels : int
        Side of an amplifier, at least 4.
    ragged : bool
        Leave every second detector one amplifier short, if it has more than one.
    seed : int
        Not negative. Same seed and arguments, same flats, in whatever order they are read.

    Returns
    -------
    truth : Dataset
        Of all exposures. ``background``, the exact level of each amplifier in each exposure, which a measurement finds
        but for the noise of the pixels; ``detector_background``; their ``sigma`` and ``counts`` (good pixels);
        ``true_E`` (exposure), and ``true_G`` (detector, amplifier, filter), in the default gauge of each filter;
        ``exists`` where ragged. Select one filter, as below, for a dataset that can be solved: each has its own G.
    flats : iterator of (detector, exposure, Flat)
        Made one by one, detector by detector within each exposure; float32.

    Raises
    ------
    FlatnormError
        Sizes too small, filters that repeat or lack a name.

    Examples
    --------
    >>> import flatnorm_xr as fx
    >>> truth, flats = simulate_flats(n_detectors=3, n_exposures=2, pixels=8)
    >>> detector, exposure, flat = next(flats)
    >>> detector, exposure, flat.image.shape
    (1, 101, (16, 16))
    >>> in_r = truth.sel(exposure=truth.physical_filter == "r", filter="r")
    >>> bool(abs(fx.solve(in_r).G / in_r.true_G - 1).max() < 1e-12)
    True
    """
    configuration = dict(locals())
    _check(configuration)
    n_detectors, n_amplifiers, n_exposures = int(n_detectors), int(n_amplifiers), int(n_exposures)
    pixels, seed = int(pixels), int(seed)
    names = [str(name) for name in filters]
    seeds = np.random.SeedSequence(seed).generate_state(len(names)).tolist()
    size = {"n_detectors": n_detectors, "n_exposures": n_exposures, "n_amplifiers": n_amplifiers, "pixels": pixels**2}
    parts = [simulate(**size, noise=0, photon_noise=False, seed=one) for one in seeds]
    exists = _exists(parts[0], ragged=ragged)
    detectors = _detectors(parts[0].assign_coords(exists=exists), pixels)
    defects = {one.id: _Defects.draw(one, pixels, seed) for one in detectors}
    counts = exists.astype(np.int64)
    for one in detectors:
        for amplifier, place in _places(one):
            counts.loc[one.id, amplifier] = np.count_nonzero(~defects[one.id].mask[place])
    truth = _joined([_only(part, exists, counts) for part in parts], names)
    if ragged:
        truth = truth.assign_coords(exists=exists)
    truth = stamp(truth, units="adu")
    truth.attrs |= {
        "title": "Simulated flats",
        "source": "simulation of flats",
        "simulation": json.dumps(configuration),
    }
    return truth, _flats(truth, detectors, defects, seed)


@dataclass(frozen=True)
class _Defects:
    """Pixels of a detector that no flat should be measured from, the same in every exposure."""

    bad: Mask
    saturated: Mask

    @property
    def mask(self) -> Mask:
        return self.bad | self.saturated

    @classmethod
    def draw(cls, detector: MosaicDetector, pixels: int, seed: int) -> _Defects:
        """Draw a few bad pixels anywhere, and one saturated column of one amplifier."""
        rng = np.random.default_rng([seed, detector.id])
        bad, saturated = np.zeros((2, *_shape(detector)), bool)
        bad.flat[rng.choice(bad.size, len(ABSURD), replace=False)] = True
        rows, columns = list(_places(detector))[rng.integers(len(detector))][1]
        saturated[rows, columns.start + rng.integers(pixels)] = True
        return cls(bad, saturated)

    def spoil(self, image: npt.NDArray[np.float32]) -> None:
        """Write into the image what such pixels hold."""
        image[self.saturated] = SATURATED
        image[self.bad] = ABSURD


def _flats(
    truth: xr.Dataset, detectors: Sequence[MosaicDetector], defects: Mapping[int, _Defects], seed: int
) -> Iterator[tuple[int, int, Flat]]:
    for exposure in truth["exposure"].values.tolist():
        for detector in detectors:
            cells = truth[["background", "sigma"]].sel(detector=detector.id, exposure=exposure)
            rng = np.random.default_rng([seed, detector.id, exposure])
            image = np.empty(_shape(detector), np.float32)
            for amplifier, place in _places(detector):
                level, sigma = (float(cells[name].sel(amplifier=amplifier)) for name in ("background", "sigma"))
                image[place] = rng.normal(level, sigma, image[place].shape)
            own = defects[detector.id]
            own.spoil(image)
            masks = {"BAD": own.bad, "SAT": own.saturated, "NO_DATA": np.zeros(image.shape, bool)}
            yield detector.id, exposure, Flat(image, masks, detector)


def _exists(levels: xr.Dataset, *, ragged: bool) -> xr.DataArray:
    """Which amplifiers there are: all, or one fewer on every second detector."""
    exists = xr.ones_like(levels["true_G"], dtype=bool).drop_attrs().drop_vars(["gain", "read_noise"])
    if ragged and levels.sizes["amplifier"] > 1:
        exists[1::2, -1] = False
    return exists


def _detectors(levels: xr.Dataset, pixels: int) -> list[MosaicDetector]:
    """Lay the amplifiers out on their detectors."""
    detectors = []
    for detector in MosaicCamera.of_levels(levels, name="").detectors:
        columns = len(detector) // 2 if len(detector) % 2 == 0 else len(detector)
        amplifiers = []
        for number, amplifier in enumerate(detector):
            rows, left = (pixels * step for step in divmod(number, columns))
            amplifiers.append(
                MosaicAmplifier(name=amplifier.name, rows=(rows, rows + pixels), columns=(left, left + pixels))
            )
        detectors.append(detector.model_copy(update={"amplifiers": tuple(amplifiers)}))
    return detectors


def _places(detector: MosaicDetector) -> Iterator[tuple[str, tuple[slice, slice]]]:
    for amplifier in detector:
        if amplifier.rows is not None and amplifier.columns is not None:
            yield amplifier.name, (slice(*amplifier.rows), slice(*amplifier.columns))


def _shape(detector: MosaicDetector) -> tuple[int, int]:
    places = [place for _, place in _places(detector)]
    return max(rows.stop for rows, _ in places), max(columns.stop for _, columns in places)


def _only(levels: xr.Dataset, exists: xr.DataArray, counts: xr.DataArray) -> xr.Dataset:
    """Levels of the amplifiers that exist, with these counts of good pixels, and the mean of each detector."""
    level, sigma = levels["background"].where(exists), levels["sigma"].where(exists)
    number = counts.broadcast_like(level).transpose(*level.dims)
    total = number.sum("amplifier")
    mean = (level * number).sum("amplifier") / total
    variance = ((sigma**2 + (level - mean) ** 2) * number).sum("amplifier") / total
    values = {
        "background": level,
        "sigma": sigma,
        "counts": number,
        "detector_background": mean,
        "detector_sigma": variance**0.5,
        "detector_counts": total,
        "true_G": levels["true_G"].where(exists),
    }
    return regauge(levels.assign(values), weights=number)


def _joined(parts: Sequence[xr.Dataset], names: Sequence[str]) -> xr.Dataset:
    """One night: the exposures of one filter after those of another, each filter with its own G."""
    nights = []
    for number, (part, name) in enumerate(zip(parts, names, strict=True)):
        later = number * part.sizes["exposure"]
        coords = {
            "exposure": part["exposure"] + later,
            "time": part["time"] + np.timedelta64(60 * later, "s"),
            "physical_filter": ("exposure", np.full(part.sizes["exposure"], name)),
        }
        nights.append(part.drop_vars("true_G").assign_coords(coords))
    night = xr.concat(
        nights,
        "exposure",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="override",
    )
    responses = xr.concat([part["true_G"] for part in parts], "filter", join="exact", combine_attrs="override")
    responses = responses.assign_coords(filter=list(names)).transpose("detector", "amplifier", "filter")
    return night.assign(true_G=responses)


def _check(values: Mapping[str, Any]) -> None:
    least = {"n_detectors": 1, "n_amplifiers": 1, "n_exposures": 1, "pixels": 4, "seed": 0}
    broken = [
        f"{name}={values[name]!r} must be a whole number, at least {low}"
        for name, low in least.items()
        if not isinstance(values[name], int | np.integer) or isinstance(values[name], bool) or values[name] < low
    ]
    filters = values["filters"]
    if isinstance(filters, str) or not filters or len(set(filters)) < len(filters) or not all(filters):
        broken.append(f"filters={filters!r} must be a list of different names")
    if broken:
        msg = f"simulate_flats: {offenders(broken)}; correct the arguments"
        raise FlatnormError(msg)
