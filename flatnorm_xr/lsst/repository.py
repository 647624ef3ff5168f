"""Make a Butler repository of a simulated night of flats, or of levels that were measured."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from lsst.daf.butler import Butler, CollectionType, Config, DatasetType, Timespan
from lsst.pipe.base import Instrument

from flatnorm_xr.errors import FlatnormError, SchemaError, offenders
from flatnorm_xr.lsst.camera import MosaicCamera
from flatnorm_xr.lsst.exposures import exposure_records
from flatnorm_xr.lsst.instrument import SIMULATED_MAXIMA, MeasuredCamera, SimulatedCamera, band_of, register_camera
