"""Normalise the flats of a mosaic camera: B[detector, exposure] = G[detector] E[exposure], on labelled arrays."""

from __future__ import annotations

import os

__version__ = "0.1.0"

# A shell that waits for `flatnorm` to complete a word needs none of this, and it takes most of a second.
if "_FLATNORM_COMPLETE" not in os.environ:
    from flatnorm_xr import accessor  # noqa: F401  registers ds.flatnorm
    from flatnorm_xr.archive.acceptance import Thresholds
    from flatnorm_xr.archive.archive import Archive
    from flatnorm_xr.archive.certificates import Certificate, Waiver
    from flatnorm_xr.archive.export import export
    from flatnorm_xr.archive.netcdf import open, save
    from flatnorm_xr.archive.read_solution import read_solution
    from flatnorm_xr.archive.tables import from_table, to_table
    from flatnorm_xr.camera.inspect import inspect
    from flatnorm_xr.decompose.alternation import Scales, measure_scales
    from flatnorm_xr.decompose.confidence import covariance, interval
    from flatnorm_xr.decompose.connectivity import bridges
    from flatnorm_xr.decompose.hierarchy import hierarchy
    from flatnorm_xr.decompose.robust.rejections import rejections
    from flatnorm_xr.decompose.solve import solve
    from flatnorm_xr.decompose.structure import describe, diagnose
    from flatnorm_xr.decompose.variance import pulls
    from flatnorm_xr.errors import (
        CameraError,
        DisconnectedError,
        FlatnormError,
        FlatnormWarning,
        ReadError,
        SchemaError,
        UnfitError,
    )
    from flatnorm_xr.flags import Flag
    from flatnorm_xr.measure.table import read_table
    from flatnorm_xr.model.make import make
    from flatnorm_xr.model.validate import validate
    from flatnorm_xr.show.report import report
    from flatnorm_xr.simulate.night import simulate_night

    # These two functions bear the names of the packages that hold them; imported last, they are what the names mean.
    from flatnorm_xr.measure.levels import measure  # isort: skip
    from flatnorm_xr.simulate.levels import simulate  # isort: skip

__all__ = [
    "Archive",
    "CameraError",
    "Certificate",
    "DisconnectedError",
    "Flag",
    "FlatnormError",
    "FlatnormWarning",
    "ReadError",
    "Scales",
    "SchemaError",
    "Thresholds",
    "UnfitError",
    "Waiver",
    "__version__",
    "bridges",
    "covariance",
    "describe",
    "diagnose",
    "export",
    "from_table",
    "hierarchy",
    "inspect",
    "interval",
    "make",
    "measure",
    "measure_scales",
    "open",
    "pulls",
    "read_solution",
    "read_table",
    "rejections",
    "report",
    "save",
    "simulate",
    "simulate_night",
    "solve",
    "to_table",
    "validate",
]
