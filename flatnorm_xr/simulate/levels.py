"""Simulate the levels of a mosaic camera's flats as arrays, with the truth beside them."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.errors import FlatnormError, SchemaError, offenders
from flatnorm_xr.model.make import make
from flatnorm_xr.model.schema import attributes_of, level_units

__all__ = ["regauge", "simulate"]

RESPONSE_SCATTER = 0.06
"""Standard deviation of ln G between units."""

LAMP_DRIFT = 0.05
"""Standard deviation of ln E between exposures."""

CLIPPED_FRACTION = 0.0027
"""Share of normally distributed pixels outside three standard deviations."""

PITCH = 42.0
"""Distance between neighbouring detectors, mm."""

SIDE = 40.0
"""Width and height of a detector, mm."""


def simulate(
    *,
    n_detectors: int = 12,
    n_exposures: int = 8,
    n_amplifiers: int = 0,
    missing: float = 0.0,
    noise: float = 1e-3,
    photon_noise: bool = True,
    pixels: int = 1_000_000,
    level: float = 20_000.0,
    gain: float = 1.5,
    read_noise: float = 6.0,
    seed: int = 0,
) -> xr.Dataset:
    """Simulate the measured levels of a series of flats whose E and G are known.

    Each cell's level is ``true_G * true_E``, times 1 + ``noise`` * z, plus ``sigma / sqrt(counts)`` * z, with z
    standard normal. ``noise=0, photon_noise=False`` gives the exact outer product.

    Parameters
    ----------
    n_detectors, n_exposures : int
        Sizes, at least 1. Detectors are numbered from 1, exposures from 101.
    n_amplifiers : int
        Amplifiers of each detector, labelled C00, C01, ...; 0 measures whole detectors only and makes no such dim.
        With amplifiers, ``detector_background``, ``detector_sigma`` and ``detector_counts`` are there too, over the
        whole detector, and missing where any of its amplifiers is.
    missing : float
        Share of cells that were lost, at random: background and sigma NaN, counts 0. One detector and one exposure,
        chosen at random, lose nothing, so all units and exposures stay connected.
    noise : float
        Relative systematic error of a level, for all that pixels do not average away (lamp, electronics).
    photon_noise : bool
        False leaves the noise of the pixels out of the levels; ``sigma`` still says how pixels scatter.
    pixels : int
        Pixels of a unit; ``counts`` is what clipping at three standard deviations leaves of them.
    level : float
        Typical E, adu.
    gain : float
        Electrons per adu, of all units.
    read_noise : float
        Electrons, of all units.
    seed : int
        Same seed and arguments, same dataset.

    Returns
    -------
    Dataset
        ``background``, ``sigma`` (adu), ``counts`` on (detector[, amplifier], exposure); ``true_E`` (exposure) in adu
        and ``true_G`` (detector[, amplifier]) in the default gauge: the mean of ``true_G``, each unit weighted by its
        total counts over its measured cells, is 1, and ``true_E`` carries the factor. Coordinates time,
        exposure_time, physical_filter, night, lamp, observation_type, detector_name, x, y, width, height, gain,
        read_noise, and the places of amplifiers: two rows of them in a detector when they are even and at least four,
        else side by side.

    Raises
    ------
    FlatnormError
        A size below 1, a negative noise, a level, gain or number of pixels that is not positive, or more missing
        cells than can be lost while all stay connected.

    Examples
    --------
    >>> from flatnorm_xr.simulate.levels import simulate
    >>> ds = simulate(n_detectors=3, n_exposures=4, noise=0, photon_noise=False, seed=1)
    >>> dict(ds.background.sizes)
    {'detector': 3, 'exposure': 4}
    >>> bool(abs(ds.background / (ds.true_G * ds.true_E) - 1).max() < 1e-14)
    True
    """
    configuration = dict(locals())
    _check(configuration)
    rng = np.random.default_rng(seed)
    unit_shape = (n_detectors, n_amplifiers) if n_amplifiers else (n_detectors,)
    unit_dims = ["detector", "amplifier"][: len(unit_shape)]
    cell_dims = [*unit_dims, "exposure"]
    lost = xr.DataArray(_lost_cells(rng, (*unit_shape, n_exposures), missing), dims=cell_dims)
    G = xr.DataArray(_responses(rng, unit_shape), dims=unit_dims)
    E = xr.DataArray(level * np.exp(rng.normal(0, LAMP_DRIFT, n_exposures)), dims="exposure")

    counts = xr.DataArray(rng.binomial(pixels, 1 - CLIPPED_FRACTION, lost.shape).clip(1), dims=cell_dims)
    exact = G * E
    sigma: xr.DataArray = (exact / gain + (read_noise / gain) ** 2) ** 0.5
    systematic, statistical = rng.normal(size=(2, *lost.shape))
    measured = exact * (1 + noise * systematic)
    if photon_noise:
        measured = measured + sigma / np.sqrt(counts) * statistical
    arrays: dict[str, Any] = {"sigma": sigma.where(~lost), "counts": counts.where(~lost, 0)}
    background = measured.where(~lost)
    if n_amplifiers:
        arrays |= _detector_level(background, arrays["sigma"], arrays["counts"])
    ds = make(
        background,
        coords=_coordinates(rng, n_detectors, n_exposures, n_amplifiers)
        | {"gain": xr.full_like(G, gain), "read_noise": xr.full_like(G, read_noise)},
        attrs={
            "title": "Simulated levels of flats",
            "source": "simulation of levels",
            "simulation": json.dumps(configuration),
        },
        true_E=E,
        true_G=G,
        **arrays,
    )
    return regauge(ds, weights=ds.counts)


def regauge(truth: xr.Dataset, *, weights: xr.DataArray) -> xr.Dataset:
    """Put the truth of a simulation into the gauge where the weighted mean of true_G is 1.

    A solution and the truth can only be compared in one gauge. The default gauge of a solve weights each unit by its
    total counts over the measured cells: pass its ``counts``, with 0 where a cell was not measured.

    Parameters
    ----------
    truth : Dataset
        With ``true_E`` (exposure) and ``true_G`` (detector[, amplifier]). Not changed.
    weights : DataArray, (detector[, amplifier][, exposure])
        Non-negative, summed over exposures; NaN counts as 0. A unit whose true_G is NaN has no part.

    Returns
    -------
    Dataset
        ``truth`` with true_G divided by its weighted mean and true_E multiplied by it.

    Raises
    ------
    SchemaError
        The labels of ``weights`` and ``truth`` differ.
    FlatnormError
        No unit has a positive weight.

    Examples
    --------
    >>> from flatnorm_xr.simulate.levels import regauge, simulate
    >>> ds = simulate(n_detectors=3, n_exposures=2, seed=1)
    >>> bool(abs(regauge(ds, weights=ds.counts).true_G / ds.true_G - 1).max() < 1e-14)
    True
    """
    total = weights.fillna(0).sum("exposure") if "exposure" in weights.dims else weights.fillna(0)
    try:
        total, G = xr.align(total, truth.true_G, join="exact")
    except ValueError as error:
        msg = f"regauge: the labels of weights and truth differ ({error}); select the same units in both"
        raise SchemaError(msg.replace("\n", " ")) from error
    total = total.where(G.notnull(), 0)
    if not (total > 0).any():
        msg = "regauge: weights are zero for every unit with a true_G; pass the counts of the measured cells"
        raise FlatnormError(msg)
    mean = float((total * G.fillna(0)).sum() / total.sum())
    units = level_units(truth.true_E.attrs.get("units"))
    return truth.assign(
        true_G=(G / mean).assign_attrs(attributes_of("true_G")),
        true_E=(truth.true_E * mean).assign_attrs(attributes_of("true_E", units=units)),
    )


def _check(values: dict[str, Any]) -> None:
    rules = {
        "at least 1": [name for name in ("n_detectors", "n_exposures", "pixels") if not values[name] >= 1],
        "zero or positive": [
            name for name in ("n_amplifiers", "noise", "read_noise") if not 0 <= values[name] < math.inf
        ],
        "positive and finite": [name for name in ("level", "gain") if not 0 < values[name] < math.inf],
        "from 0 to below 1": [name for name in ("missing",) if not 0 <= values[name] < 1],
    }
    broken = [f"{name}={values[name]!r} must be {rule}" for rule, names in rules.items() for name in names]
    if broken:
        msg = f"simulate: {offenders(broken)}; correct the arguments"
        raise FlatnormError(msg)


def _lost_cells(rng: np.random.Generator, shape: tuple[int, ...], missing: float) -> NDArray[np.bool_]:
    may_go = np.ones(shape, dtype=bool)
    may_go[rng.integers(shape[0])] = False
    may_go[..., rng.integers(shape[-1])] = False
    n_lost = round(missing * may_go.size)
    if n_lost > may_go.sum():
        msg = (
            f"simulate: missing={missing} would leave units unconnected; of {' x '.join(map(str, shape))} cells at "
            f"most {may_go.sum() / may_go.size:.3f} can be lost while one detector and one exposure keep all theirs"
        )
        raise FlatnormError(msg)
    lost = np.zeros(shape, dtype=bool)
    lost.flat[rng.permutation(np.flatnonzero(may_go))[:n_lost]] = True
    return lost


def _responses(rng: np.random.Generator, unit_shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Responses of units: detectors differ, and amplifiers of one detector differ a third as much."""
    log_response = rng.normal(0, RESPONSE_SCATTER, unit_shape[0])
    if len(unit_shape) == 2:
        log_response = log_response[:, None] + rng.normal(0, RESPONSE_SCATTER / 3, unit_shape)
    return np.exp(log_response)


def _detector_level(background: xr.DataArray, sigma: xr.DataArray, counts: xr.DataArray) -> dict[str, xr.DataArray]:
    """Mean, scatter and number of all pixels of a detector; missing where an amplifier is."""
    complete = background.notnull().all("amplifier")
    total = counts.sum("amplifier")
    mean = (background * counts).sum("amplifier") / total.clip(1)
    variance = ((sigma**2 + (background - mean) ** 2) * counts).sum("amplifier") / total.clip(1)
    return {
        "detector_background": mean.where(complete),
        "detector_sigma": (variance**0.5).where(complete),
        "detector_counts": total.where(complete, 0),
    }


def _coordinates(
    rng: np.random.Generator, n_detectors: int, n_exposures: int, n_amplifiers: int
) -> dict[str, NDArray[Any]]:
    """Labels and the usual coordinates: a grid of detectors, one night of flats a minute apart."""
    columns = math.ceil(math.sqrt(n_detectors))
    row, column = np.divmod(np.arange(n_detectors), columns)
    start = np.datetime64("2025-03-14T21:00:00", "ns")
    coords: dict[str, NDArray[Any]] = {
        "detector": np.arange(1, n_detectors + 1),
        "exposure": np.arange(101, 101 + n_exposures),
        "detector_name": np.array([f"S{r}{c}" for r, c in zip(row, column, strict=True)]),
        "x": (column - column.max() / 2) * PITCH,
        "y": (row - row.max() / 2) * PITCH,
        "width": np.full(n_detectors, SIDE),
        "height": np.full(n_detectors, SIDE),
        "time": start + np.arange(n_exposures) * np.timedelta64(60, "s"),
        "exposure_time": np.full(n_exposures, 15.0),
        "physical_filter": np.full(n_exposures, "r"),
        "night": np.full(n_exposures, "2025-03-14"),
        "lamp": np.full(n_exposures, "white"),
        "observation_type": np.full(n_exposures, "dome flat"),
    }
    if n_amplifiers:
        coords["amplifier"] = np.array([f"C{a:02d}" for a in range(n_amplifiers)])
        coords |= _amplifier_places(coords["x"], coords["y"], n_amplifiers)
    return coords


def _amplifier_places(x: NDArray[Any], y: NDArray[Any], n_amplifiers: int) -> dict[str, NDArray[np.float64]]:
    n_rows = 2 if n_amplifiers >= 4 and n_amplifiers % 2 == 0 else 1
    n_columns = n_amplifiers // n_rows
    row, column = np.divmod(np.arange(n_amplifiers), n_columns)
    shape = x.size, n_amplifiers
    return {
        "amplifier_x": x[:, None] + ((column + 0.5) / n_columns - 0.5) * SIDE,
        "amplifier_y": y[:, None] + ((row + 0.5) / n_rows - 0.5) * SIDE,
        "amplifier_width": np.full(shape, SIDE / n_columns),
        "amplifier_height": np.full(shape, SIDE / n_rows),
    }
