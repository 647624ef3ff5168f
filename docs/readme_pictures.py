"""Draw the pictures of README.md anew: ``python docs/readme_pictures.py``, in the folder of the source.

A night of DECam is simulated with a dead amplifier, a saturated exposure and a lost CCD. Two things more are done to
its levels: the gain of one amplifier jumps by 0.1 %, and the lamp leans to one side in one exposure.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import matplotlib as mpl

import flatnorm_xr as fx

FOLDER = Path(__file__).parent / "_static"


def main() -> None:
    """Simulate, solve and draw."""
    warnings.simplefilter("ignore", fx.FlatnormWarning)
    with tempfile.TemporaryDirectory() as night:
        fx.simulate_night(night, camera="decam", n_detectors=62, n_exposures=8, seed=5)
        levels = fx.measure(f"{night}/*.fits", progress=False)
    jump = 1 + 1e-3 * ((levels.detector == 33) & (levels.amplifier == "A") & (levels.exposure > 871207))
    leaning = 1 + 5e-4 * levels.x / levels.x.std() * (levels.exposure == 871209)
    levels = levels.assign(background=levels.background * jump * leaning)
    solution = levels.flatnorm.solve(weights="variance", robust="tukey")
    mpl.use("agg")
    pictures = {
        "residual": solution.flatnorm.plot.residual(figsize=(6.4, 6.4)).image,
        "focal_plane": solution.flatnorm.plot.focal_plane("G", figsize=(6.8, 4.4)).outlines,
    }
    for name, artist in pictures.items():
        artist.get_figure(root=True).savefig(FOLDER / f"{name}.png", dpi=120)


if __name__ == "__main__":
    main()
