"""The list of pictures, and one line on each; it imports nothing, so that a shell can complete their names at once."""

from __future__ import annotations

__all__ = ["PICTURES", "PICTURES_OF_RUNS"]

PICTURES = {
    "background": "Levels as a matrix",
    "residual": "Residuals as a matrix",
    "E": "Exposure levels",
    "G": "Relative responses",
    "focal_plane": "Any variable where units lie",
    "pulls": "Residuals over their standard deviations",
    "residual_vs_level": "Residuals against the level",
    "amplifier_ratio": "Amplifiers against header gains",
    "modes": "Patterns that residuals share",
    "weights": "Weights as a matrix",
    "connectivity": "Which units share exposures",
    "convergence": "How the solver came to its solution",
}
"""Names of the methods of ``ds.flatnorm.plot`` that draw a solution, in the order in which one looks at them."""

PICTURES_OF_RUNS = {
    "trend": "Responses over the years",
    "comparison": "Differences between two runs",
}
"""Those that draw what an archive says of many runs, or of two."""
