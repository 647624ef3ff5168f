"""Is background = G E true: tests of what a solution leaves, and the causes that account for it."""

from flatnorm_xr.decompose.structure.diagnosis import diagnose
from flatnorm_xr.decompose.structure.text import describe

__all__ = ["describe", "diagnose"]
