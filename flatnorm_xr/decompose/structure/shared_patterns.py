"""Departures that exposures share: planes across the focal plane, one nonlinearity, lamps, drifts in time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flatnorm_xr.decompose.structure.residual_table import ResidualTable
from flatnorm_xr.decompose.structure.two_way import Array, Wider

__all__ = ["OneSlope", "Planes", "fit_columns", "fit_one", "fit_planes", "focal_plane_patterns"]


class Planes(NamedTuple):
    """A plane in x and y for each exposure, beside the mean of all exposures, which is in G."""

    wider: Wider
    gradient_x: Array
    """(exposure), relative, per mm."""
    gradient_y: Array
    stderr_x: Array
    stderr_y: Array


class OneSlope(NamedTuple):
    """Coefficient of one pattern that all units share."""

    slope: float
    information: float
    """Inverse of its variance, for weights that are inverse variances."""
    pattern: Array


def focal_plane_patterns(table: ResidualTable) -> list[Array]:
    """Give x and y of the units, (unit), centred and scaled to reach 1; a direction in which all agree is left out.

    Units without a place are put at the centre. Empty where fewer than three different places are known.
    """
    x, y = table.known.x, table.known.y
    if x is None or y is None:
        return []
    placed = np.isfinite(x) & np.isfinite(y)
    if np.unique(np.stack([x[placed], y[placed]], axis=1), axis=0).shape[0] < 3:
        return []
    reach = 0.0
    centred = []
    for values in (x, y):
        middle = values[placed].mean()
        centred.append(np.where(placed, values - middle, 0.0))
        reach = max(reach, float(np.abs(centred[-1]).max()))
    return [values / reach for values in centred if np.abs(values).max() > 1e-6 * reach]


def fit_planes(table: ResidualTable) -> Planes | None:
    """Fit a plane to the residuals of each exposure; None where places are not known."""
    patterns = focal_plane_patterns(table)
    if not patterns:
        return None
    shape = table.weight.shape
    wider = table.wider(of_exposure=[np.broadcast_to(p[:, np.newaxis], shape) for p in patterns])
    slopes, errors = _gradients(table)
    return Planes(wider, slopes[0], slopes[1], errors[0], errors[1])


def _gradients(table: ResidualTable) -> tuple[Array, Array]:
    """Gradient in x and y of each exposure's own residuals, (2, exposure), and its standard error per unit scatter."""
    x, y = table.known.x, table.known.y
    assert x is not None
    assert y is not None
    placed = (np.isfinite(x) & np.isfinite(y)).astype(float)
    weight = table.weight * placed[:, np.newaxis]
    total = np.where(weight.sum(0) > 0, weight.sum(0), 1.0)
    dx, dy = (
        np.nan_to_num(v)[:, np.newaxis] - (weight * np.nan_to_num(v)[:, np.newaxis]).sum(0) / total for v in (x, y)
    )
    xx, xy, yy = ((weight * a * b).sum(0) for a, b in ((dx, dx), (dx, dy), (dy, dy)))
    xr, yr = ((weight * a * table.residual).sum(0) for a in (dx, dy))
    determinant = xx * yy - xy**2
    told = determinant > 1e-9 * xx * yy
    determinant = np.where(told, determinant, np.nan)
    slopes = np.stack([(yy * xr - xy * yr) / determinant, (xx * yr - xy * xr) / determinant])
    # what is common to all exposures is in G: the mean takes its share of the variance
    share = 1 - total / total.sum()
    errors = np.sqrt(np.stack([yy, xx]) / determinant * share)
    return slopes, errors


def fit_one(table: ResidualTable, pattern: Array) -> OneSlope | None:
    """Fit one coefficient of a pattern, (unit, exposure); None where G and E already hold all of it."""
    used = table.weight > 0
    pattern = np.where(used, pattern, 0.0)
    left = table.fit.residual(pattern)
    information = float((table.weight * left**2).sum())
    if not information > 1e-20 * float((table.weight * pattern**2).sum()):
        return None
    slope = float((table.weight * left * table.residual).sum()) / information
    return OneSlope(slope, information, left)


def fit_columns(table: ResidualTable, patterns: list[Array]) -> Wider:
    """Fit one coefficient to each of some patterns, (unit, exposure), on top of G and E.

    The rank is that of the patterns alone, without what G and E hold of them.
    """
    root = np.sqrt(table.weight)
    left = [table.fit.residual(np.where(table.weight > 0, p, 0.0)) for p in patterns]
    norms = [float(np.linalg.norm(root * p)) for p in patterns]
    kept = [a for a, norm in zip(left, norms, strict=True) if np.linalg.norm(root * a) > 1e-6 * norm]
    if not kept:
        return Wider(table.residual, 0)
    columns = np.stack([(root * a).ravel() / np.linalg.norm(root * a) for a in kept], axis=1)
    u, s, _ = np.linalg.svd(columns, full_matrices=False)
    rank = int((s > 1e-6 * s[0]).sum())
    fitted = u[:, :rank] @ (u[:, :rank].T @ (root * table.residual).ravel())
    inverse = np.where(table.weight > 0, 1 / np.where(root > 0, root, 1.0), 0.0)
    return Wider(table.residual - inverse * fitted.reshape(root.shape), rank)
