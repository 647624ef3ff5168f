"""Pictures of levels and solutions, in the manner of xarray's plots; each is drawn from one dataset alone."""

from flatnorm_xr.show.plots.amplifiers import AmplifierRatio, amplifier_ratio
from flatnorm_xr.show.plots.cells import background, residual
from flatnorm_xr.show.plots.comparison import Comparison, comparison
from flatnorm_xr.show.plots.connectivity import Connectivity, connectivity
from flatnorm_xr.show.plots.convergence import Convergence, convergence
from flatnorm_xr.show.plots.focal_plane import FocalPlane, focal_plane
from flatnorm_xr.show.plots.matrix import Matrix
from flatnorm_xr.show.plots.modes import Modes, modes
from flatnorm_xr.show.plots.points import Points
from flatnorm_xr.show.plots.pulls import Pulls, pulls
from flatnorm_xr.show.plots.response_to_level import Trends, residual_vs_level
from flatnorm_xr.show.plots.trend import Trend, trend
from flatnorm_xr.show.plots.vectors import E, G
from flatnorm_xr.show.plots.weights import weights

__all__ = [
    "AmplifierRatio",
    "Comparison",
    "Connectivity",
    "Convergence",
    "E",
    "FocalPlane",
    "G",
    "Matrix",
    "Modes",
    "Points",
    "Pulls",
    "Trend",
    "Trends",
    "amplifier_ratio",
    "background",
    "comparison",
    "connectivity",
    "convergence",
    "focal_plane",
    "modes",
    "pulls",
    "residual",
    "residual_vs_level",
    "trend",
    "weights",
]
