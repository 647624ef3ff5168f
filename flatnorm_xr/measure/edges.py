"""How amplifiers of one detector compare where they meet: the light is the same on both sides of the border."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flatnorm_xr.camera.geometry import Amplifier, Detector, FileDescription
from flatnorm_xr.errors import CameraError, offenders
from flatnorm_xr.measure.assemble import Level
from flatnorm_xr.measure.frames import Frame
from flatnorm_xr.measure.kernels import Statistics, clipped_statistics
from flatnorm_xr.measure.parts import corrected_pixels

__all__ = ["EdgeRatio", "Pixels", "check_places", "edge_ratios", "with_edges"]

Array = npt.NDArray[Any]
Pixels = tuple[Array, npt.NDArray[np.bool_]]
"""Corrected pixels of one amplifier and which of them are bad, (rows, columns) of its data section."""

_NEAR, _FAR = 1.5, -0.5
"""Levels half a strip and one and a half strips away from a border, to the level at the border: a straight line."""


class EdgeRatio(NamedTuple):
    """Level of an amplifier over the geometric mean of its detector's, and the standard error of its logarithm."""

    ratio: float
    error: float


class _Border(NamedTuple):
    """Two amplifiers that meet, and the slices of both (rows first, in the detector's image) along their border."""

    first: int
    second: int
    axis: int
    """Across the border: 0 where the second lies above the first, 1 where it lies to the right."""
    along: slice


def check_places(files: Sequence[FileDescription]) -> None:
    """Refuse edge strips where there are no amplifiers, or nobody knows where they meet."""
    profile = files[0].profile
    if not profile.has_amplifiers:
        msg = f"measure: edge_strips compares amplifiers, and profile {profile.name} has none; leave it out"
        raise CameraError(msg)
    unplaced = {detector.id: None for file in files for detector in file.detectors if not detector.trimmed_shape}
    if unplaced:
        msg = (
            f"measure: edge_strips needs the places of the amplifiers in detector {offenders(unplaced)}, and its "
            "sections do not say them; correct amplifiers.trimmed in the profile, or leave it out"
        )
        raise CameraError(msg)


def with_edges(levels: Sequence[Level], frame: Frame, *, width: int, options: Mapping[str, Any]) -> list[Level]:
    """Add to the levels of a detector's amplifiers how they compare at their borders; see `edge_ratios`."""
    measured = {str(one.amplifier) for one in levels if one.quality == 0}
    pixels = [None if part is None else corrected_pixels(part) for part in frame.parts]
    found = edge_ratios(pixels, frame.detector, width=width, measured=measured, options=options)
    edges = [found.get(str(one.amplifier)) for one in levels]
    return [
        one if edge is None else replace(one, edge_ratio=edge.ratio, edge_error=edge.error)
        for one, edge in zip(levels, edges, strict=True)
    ]


def edge_ratios(
    pixels: Sequence[Pixels | None],
    detector: Detector,
    *,
    width: int,
    measured: Collection[str],
    options: Mapping[str, Any],
) -> dict[str, EdgeRatio]:
    """Compare the amplifiers of a detector across their borders.

    On each side of a border two strips of ``width`` pixels are measured, one at the border and one beyond it. A
    straight line through both gives the level at the border itself, so that a gradient of the light, which makes an
    amplifier brighter as a whole than its neighbour, does not enter. A pixel that is bad on one side is left out on
    the other, too, at the same place along the border. The ratios of all pairs, weighted by how well each is known,
    give one ratio for each amplifier by least squares.

    Parameters
    ----------
    pixels : sequence of (values, bad)
        Corrected pixels of each amplifier in one exposure, and which are bad, both (rows, columns) of its data section;
        None where it could not be read.
    detector : Detector
        Its amplifiers need places in the trimmed image.
    width : int
        Of a strip; half the amplifier where that is less.
    measured : collection of str
        Names of the amplifiers that have a level; others are left out.
    options : mapping
        ``statistic``, ``clip`` and ``iterations`` of `clipped_statistics`.

    Returns
    -------
    dict of str to EdgeRatio
        For the amplifiers that hang together with most others; the mean of ln ratio is 0. Empty where no two measured
        amplifiers meet, or their places are not known.

    References
    ----------
    Waters et al. 2020, ApJS 251, 4 (pattern continuity: neighbouring cells matched at their edges);
    ``lsst.ip.isr.AmpOffsetTask`` does so for additive offsets.
    """
    amplifiers = detector.amplifiers
    steps: list[tuple[int, int, float, float]] = []
    for border in _borders(amplifiers):
        both = [(k, pixels[k]) for k in (border.first, border.second) if amplifiers[k].name in measured]
        sides = [_side(image, amplifiers[k], k, border, width) for k, image in both if image is not None]
        if len(sides) == 2:
            step = _step(sides, options)
            if step is not None:
                steps.append((border.first, border.second, *step))
    chosen = _largest_set(len(amplifiers), steps)
    if len(chosen) < 2:
        return {}
    logs, errors = _solve(chosen, steps)
    found = zip(chosen, logs, errors, strict=True)
    return {amplifiers[k].name: EdgeRatio(float(np.exp(log)), float(error)) for k, log, error in found}


def _borders(amplifiers: tuple[Amplifier, ...]) -> list[_Border]:
    """Pairs of amplifiers that meet, the lower or left one first."""
    places = [None if amplifier.trimmed is None else amplifier.trimmed.slices for amplifier in amplifiers]
    borders = []
    for (i, a), (j, b) in itertools.permutations(enumerate(places), 2):
        if a is None or b is None:
            continue
        for axis in (0, 1):
            along = slice(max(a[1 - axis].start, b[1 - axis].start), min(a[1 - axis].stop, b[1 - axis].stop))
            if a[axis].stop == b[axis].start and along.stop > along.start:
                borders.append(_Border(i, j, axis, along))
    return borders


def _side(
    pixels: Pixels, amplifier: Amplifier, number: int, border: _Border, width: int
) -> tuple[Array, npt.NDArray[np.bool_], int]:
    """Pixels of one amplifier beside a border, (along it, away from it), which are bad, and the width of a strip."""
    assert amplifier.trimmed is not None
    place = amplifier.trimmed.slices
    part = slice(border.along.start - place[1 - border.axis].start, border.along.stop - place[1 - border.axis].start)
    flips = (amplifier.data.flip_y != amplifier.trimmed.flip_y, amplifier.data.flip_x != amplifier.trimmed.flip_x)
    across = place[border.axis].stop - place[border.axis].start
    width = min(width, across // 2)

    def cut(image: Array) -> Array:
        image = image[:: -1 if flips[0] else 1, :: -1 if flips[1] else 1]
        image = image.T if border.axis == 0 else image
        image = image[part, :: -1 if number == border.first else 1]
        return image[:, : 2 * width]

    values, bad = map(cut, pixels)
    return values, bad | ~np.isfinite(values), width


def _step(
    sides: list[tuple[Array, npt.NDArray[np.bool_], int]], options: Mapping[str, Any]
) -> tuple[float, float] | None:
    """Find the step of ln(level) across a border, with its variance; None where a strip has no level."""
    width = min(side[2] for side in sides)
    if width < 1:
        return None
    logs, variance = [], 0.0
    strips = slice(0, width), slice(width, 2 * width)
    wrong = sides[0][1][:, : 2 * width] | sides[1][1][:, : 2 * width]
    for values, _, _ in sides:
        near, far = (clipped_statistics(values[:, strip], wrong[:, strip], **options) for strip in strips)
        level = _NEAR * near.level + _FAR * far.level
        if not (near.counts > 1 and far.counts > 1 and level > 0):
            return None
        logs.append(np.log(level))
        variance += (_NEAR**2 * _variance(near) + _FAR**2 * _variance(far)) / level**2
    return float(logs[1] - logs[0]), variance


def _variance(found: Statistics) -> float:
    return found.sigma**2 / found.counts


def _largest_set(number: int, steps: list[tuple[int, int, float, float]]) -> list[int]:
    """Amplifiers that hang together, the largest such set; of equal ones that with the first amplifier."""
    label = list(range(number))
    for i, j, *_ in steps:
        low, high = sorted((label[i], label[j]))
        label = [low if one == high else one for one in label]
    largest = max(label, key=label.count, default=0)
    return [k for k in range(number) if label[k] == largest]


def _solve(
    chosen: list[int], steps: list[tuple[int, int, float, float]]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Find ln ratio of each chosen amplifier by least squares, mean 0, and its standard error."""
    row = {k: i for i, k in enumerate(chosen)}
    used = [step for step in steps if step[0] in row]
    # noiseless strips all count the same
    least = max(max(step[3] for step in used) * 1e-6, np.finfo(float).tiny)
    design = np.zeros((len(used), len(chosen)))
    for line, (i, j, _, _) in zip(design, used, strict=True):
        line[row[i]], line[row[j]] = -1.0, 1.0
    weight = 1 / np.maximum([step[3] for step in used], least)
    weight /= weight.max()
    covariance = np.linalg.pinv(design.T @ (weight[:, np.newaxis] * design), hermitian=True)
    logs = covariance @ (design.T @ (weight * [step[2] for step in used]))
    spread = covariance @ (design.T * weight)
    errors = np.sqrt((spread**2 * [step[3] for step in used]).sum(axis=1))
    return logs, errors
