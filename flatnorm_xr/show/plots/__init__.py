"""Pictures of levels and solutions, in the manner of xarray's plots; each is drawn from one dataset alone."""

from flatnorm_xr.show.plots.cells import background, residual
from flatnorm_xr.show.plots.matrix import Matrix
from flatnorm_xr.show.plots.points import Points
from flatnorm_xr.show.plots.vectors import E, G

__all__ = ["E", "G", "Matrix", "Points", "background", "residual"]
