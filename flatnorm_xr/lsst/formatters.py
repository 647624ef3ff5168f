"""How Butler stores what is ours: solutions as NetCDF, flats as FITS."""

from __future__ import annotations

from typing import Any

from lsst.daf.butler import FormatterV2
from lsst.resources import ResourcePath

__all__ = ["FlatFormatter", "SolutionFormatter"]


class SolutionFormatter(FormatterV2):
    """A solution as the NetCDF file that `flatnorm_xr.save` writes and `flatnorm_xr.open` reads."""

    default_extension = ".nc"
    can_read_from_local_file = True

    def read_from_local_file(self, path: str, component: str | None = None, expected_size: int = -1) -> Any:
        """Open the solution, all of it."""
        from flatnorm_xr.archive.netcdf import open as open_netcdf

        return open_netcdf(path)

    def write_local_file(self, in_memory_dataset: Any, uri: ResourcePath) -> None:
        """Save the solution; the butler has made a name that is free."""
        from flatnorm_xr.archive.netcdf import save

        save(in_memory_dataset, uri.ospath, overwrite=True)


class FlatFormatter(FormatterV2):
    """A `flatnorm_xr.lsst.flat.Flat` as FITS."""

    default_extension = ".fits"
    can_read_from_local_file = True

    def read_from_local_file(self, path: str, component: str | None = None, expected_size: int = -1) -> Any:
        """Read the flat."""
        from flatnorm_xr.lsst.flat import Flat

        return Flat.read(path)

    def write_local_file(self, in_memory_dataset: Any, uri: ResourcePath) -> None:
        """Write the flat."""
        in_memory_dataset.write(uri.ospath)
