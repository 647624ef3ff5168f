"""The numbers behind a page: what its script shows when a cell is pointed at or a detector chosen."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.flags import SENTENCES, Flag
from flatnorm_xr.show.report.facts import Facts
from flatnorm_xr.show.report.residual_image import ResidualImage, residual_rows
from flatnorm_xr.show.report.scales import ABOUT, PLAIN, ramp

__all__ = ["listed_numbers", "values_of"]


def values_of(facts: Facts, image: ResidualImage) -> dict[str, Any]:
    """Collect the numbers that the script of a page reads.

    Residuals are little-endian float32 in base64, row by row. ``flagSets`` are the values that flags have, and
    ``flags`` is the place of each cell's among them, uint16 in base64; empty where no cell has one. A number that is
    missing is null, or NaN among the residuals.
    """
    residual, _ = residual_rows(facts, by_detector=image.by_detector)
    plain = not image.by_detector and facts.solution.attrs.get("modes", 0) in (0, "0")
    flag_sets, place = np.unique(facts.quality, return_inverse=True)
    flagged = bool(flag_sets.any()) and not image.by_detector
    return {
        "rows": facts.detectors if image.by_detector else facts.units,
        "perUnit": not image.by_detector,
        "units": [] if not image.by_detector else facts.units,
        "detectors": facts.detectors,
        "exposures": facts.exposures,
        "groupOf": facts.group.tolist(),
        "logarithmic": facts.solution.attrs.get("model") != "log-link",
        "levelUnits": facts.level_units,
        "E": listed_numbers(facts.E, 9),
        "G": [listed_numbers(column, 9) for column in facts.G.T] if plain else None,
        "variables": _variables(facts),
        "ramps": {"plain": ramp(PLAIN), "about": ramp(ABOUT)},
        "limit": image.limit,
        "residual": _encoded(residual.astype("<f4")),
        "flagSets": flag_sets.tolist() if flagged else [],
        "flags": _encoded(place.reshape(-1).astype("<u2")) if flagged else "",
        "flagWords": {str(int(flag)): SENTENCES[flag] for flag in Flag},
    }


def _variables(facts: Facts) -> list[dict[str, Any]]:
    """List what the focal plane can be coloured by."""
    found: list[dict[str, Any]] = []

    def add(name: str, values: Any, *, centre: float | None = None) -> None:
        found.append({"name": name, "values": listed_numbers(np.asarray(values, dtype=float), 7), "centre": centre})

    groups = [f", {group}" for group in facts.groups] or [""]
    for k, group in enumerate(groups):
        add(f"G{group}", facts.G[:, k], centre=1.0)
    if facts.G_stderr is not None:
        for k, group in enumerate(groups):
            add(f"standard error of G{group} [%]", 100 * facts.G_stderr[:, k] / facts.G[:, k])
    add("rms residual [%]", 100 * facts.unit_rms)
    add("cells that were not used", facts.unused.sum(axis=1))
    for name, words in (("gain", "gain [electron adu-1]"), ("read_noise", "read noise [electron]")):
        if name in facts.solution.coords and np.isfinite(values := facts.of_units(name)[:, 0].astype(float)).any():
            add(words, values)
    return found


def _encoded(values: NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")


def listed_numbers(values: NDArray[np.float64], digits: int) -> list[float | None]:
    """Write numbers with so many digits as JSON has them; null for what is not known."""
    return [float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in values.tolist()]
