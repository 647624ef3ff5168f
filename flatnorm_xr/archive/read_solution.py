"""Read back what `export` wrote: long tables, and the scales that Rubin's combine reads."""

from __future__ import annotations

import os
from pathlib import Path

import xarray as xr

from flatnorm_xr.archive.from_rows import dataset_of, numbers_of_the_model
from flatnorm_xr.archive.read_scales import read_scales
from flatnorm_xr.errors import ReadError, SchemaError
from flatnorm_xr.measure.columns import read_columns

__all__ = ["read_solution"]


def read_solution(path: str | os.PathLike[str], *, units: str | None = None) -> xr.Dataset:
    """Read a solution from a table or from Rubin's YAML, the way back of `flatnorm_xr.export`.

    Parameters
    ----------
    path : path
        ``.csv``, ``.ecsv`` or ``.parquet``: a long table, one row a cell, with the columns ``detector``, ``exposure``,
        ``E``, ``G`` and any other variables of the data model. ``.yaml`` or ``.yml``: the dictionaries ``expScale``
        and ``detScale`` of Rubin's flat normalisation.
    units : {"adu", "electron"}, optional
        Units of the levels, where the file does not say them; else adu.

    Returns
    -------
    Dataset
        From ECSV the dataset that was exported, identical: all variables and coordinates of the data model, your own
        coordinates, groups, and the global attributes. Other variables of your own are not in a table, and in padding
        only what was the same everywhere. From CSV the same numbers to the last digit, and less of what is around
        them: labels that are strings of plain digits come back as integers, your own coordinates as what they look
        like and along the first dim they fit, and the attributes say only where the file is from; what lies along no
        dim of the cells (modes, figures of the fit of each group) is not there.

        From YAML ``scales``, and ``G`` of each detector or amplifier; ``E``, the scale that all units share, or where
        they do not (modes) the geometric mean, with a warning; ``bgModel``, G times scales; ``exists`` where detectors
        differ in their amplifiers. There are no levels, errors, flags or times. Exposures that were left out of the
        file, dark or rejected, are not there. Where ``detScale`` is of whole detectors the attribute ``amplifiers``
        keeps the names of theirs, for `export`.

    Raises
    ------
    ReadError
        The file is missing, unreadable, empty or too large, or its rows do not fit its header.
    SchemaError
        It holds no solution: columns or keys are missing, are no numbers, differ within what should be one exposure
        or one unit, or occur twice; a newer program wrote it.

    Warns
    -----
    FlatnormWarning
        Columns or attributes were left out; scales differ between the units of an exposure.

    Examples
    --------
    >>> import tempfile, flatnorm_xr as fx
    >>> solution = fx.solve(fx.simulate(n_detectors=3, n_exposures=6, seed=1))
    >>> path = fx.export(solution, Path(tempfile.mkdtemp()) / "run.ecsv")
    >>> read_solution(path).identical(solution)
    True
    """
    path = Path(path)
    if path.suffix.lower() in (".yaml", ".yml"):
        return read_scales(path, units=units)
    if path.suffix.lower() in (".nc", ".nc4", ".netcdf"):
        msg = f"read_solution: {path} is NetCDF; read it with flatnorm_xr.open"
        raise ReadError(msg)
    columns = read_columns(path, numbers=numbers_of_the_model(), caller="read_solution")
    missing = [name for name in ("E", "G") if name not in columns.frame]
    if len(missing) == 2:
        msg = f"{columns.said} has no columns E and G, so it is no solution; read its levels with read_table"
        raise SchemaError(msg)
    return dataset_of(columns, units=units)
