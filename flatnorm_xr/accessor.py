"""``ds.flatnorm`` and ``ds.flatnorm.plot``: every method is a one-line delegate to the function of the same name."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from flatnorm_xr.errors import FlatnormError

__all__ = ["FlatnormAccessor", "FlatnormPlotAccessor"]


def _show_signatures(accessor: type, room: str) -> None:
    """Give each method the signature of the function it calls, which `help` and completion show."""
    functions = import_module(room)
    for name, method in vars(accessor).items():
        function = getattr(functions, name, None)
        if inspect.isfunction(method) and inspect.isfunction(function) and not hasattr(method, "__signature__"):
            method.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]


def _pictures() -> dict[str, str]:
    """Names of the pictures, and the first words on each."""
    methods = {name: method for name, method in vars(FlatnormPlotAccessor).items() if not name.startswith("_")}
    return {name: str(method.__doc__).partition(";")[0] for name, method in methods.items()}


@xr.register_dataset_accessor("flatnorm")  # type: ignore[no-untyped-call]
class FlatnormAccessor:
    """What flatnorm-xr does with a dataset of levels or a solution."""

    def __init__(self, ds: xr.Dataset) -> None:
        _show_signatures(type(self), "flatnorm_xr")
        self._ds = ds

    def __repr__(self) -> str:
        from flatnorm_xr.show.description import describe_dataset

        return describe_dataset(self._ds).text()

    def _repr_html_(self) -> str:
        from flatnorm_xr.show.description import describe_dataset

        return describe_dataset(self._ds).html()

    @property
    def plot(self) -> FlatnormPlotAccessor:
        """Pictures of the dataset."""
        return FlatnormPlotAccessor(self._ds)

    def solve(self, **keywords: Any) -> xr.Dataset:
        """Find E and G; see `flatnorm_xr.solve`."""
        from flatnorm_xr.decompose.solve import solve

        return solve(self._ds, **keywords)

    def rejections(self) -> Any:
        """List the faults that were left out; see `flatnorm_xr.rejections`."""
        from flatnorm_xr.decompose.robust.rejections import rejections

        return rejections(self._ds)

    def diagnose(self, **keywords: Any) -> xr.Dataset:
        """Test whether background = G E; see `flatnorm_xr.diagnose`."""
        from flatnorm_xr.decompose.structure import diagnose

        return diagnose(self._ds, **keywords)

    def pulls(self) -> xr.DataArray:
        """Divide residuals by their standard deviations; see `flatnorm_xr.pulls`."""
        from flatnorm_xr.decompose.variance import pulls

        return pulls(self._ds)

    def interval(self, level: float = 0.68) -> xr.Dataset:
        """Find intervals of E and G by Student's t; see `flatnorm_xr.interval`."""
        from flatnorm_xr.decompose.confidence import interval

        return interval(self._ds, level)

    def covariance(self, name: Literal["G", "E"] = "G", **keywords: Any) -> xr.DataArray:
        """Find the covariance of all ln G or ln E; see `flatnorm_xr.covariance`."""
        from flatnorm_xr.decompose.confidence import covariance

        return covariance(self._ds, name, **keywords)

    def hierarchy(self) -> xr.Dataset:
        """Split G into detectors and amplifiers; see `flatnorm_xr.hierarchy`."""
        from flatnorm_xr.decompose.hierarchy import hierarchy

        return hierarchy(self._ds)

    def validate(self, **keywords: Any) -> None:
        """Check against the data model; see `flatnorm_xr.validate`."""
        from flatnorm_xr.model.validate import validate

        return validate(self._ds, **keywords)

    def save(self, path: str | Path, **keywords: Any) -> Path:
        """Write to a NetCDF file; see `flatnorm_xr.save`."""
        from flatnorm_xr.archive.netcdf import save

        return save(self._ds, path, **keywords)

    def export(self, path: str | Path, **keywords: Any) -> Path:
        """Write as a long table; see `flatnorm_xr.export`."""
        from flatnorm_xr.archive.export import export

        return export(self._ds, path, **keywords)

    def to_table(self) -> Any:
        """Give as an astropy table; see `flatnorm_xr.to_table`."""
        from flatnorm_xr.archive.tables import to_table

        return to_table(self._ds)

    def report(self, path: str | Path, **keywords: Any) -> Path:
        """Write as one HTML file; see `flatnorm_xr.report`."""
        from flatnorm_xr.show.report import report

        return report(self._ds, path, **keywords)

    def summary(self) -> dict[str, Any]:
        """Say in a few lines what is in it; see `flatnorm_xr.show.summary.summary`."""
        from flatnorm_xr.show.summary import summary

        return summary(self._ds)


class FlatnormPlotAccessor:
    """Pictures: ``ds.flatnorm.plot.residual()`` and the others."""

    def __init__(self, ds: xr.Dataset) -> None:
        _show_signatures(type(self), "flatnorm_xr.show.plots")
        self._ds = ds

    def __repr__(self) -> str:
        width = max(map(len, _pictures()))
        lines = [f"  {name:<{width}}  {line}" for name, line in _pictures().items()]
        return "\n".join(["pictures, as ds.flatnorm.plot.NAME():", *lines])

    def __call__(self, *_: Any, **__: Any) -> None:
        """Refuse: there is no picture without a name."""
        msg = f"plot: name the picture: ds.flatnorm.plot.NAME(), with NAME one of {', '.join(_pictures())}"
        raise FlatnormError(msg)

    def background(self, **keywords: Any) -> Any:
        """Levels as a matrix; see `flatnorm_xr.show.plots.background`."""
        from flatnorm_xr.show.plots import background

        return background(self._ds, **keywords)

    def residual(self, **keywords: Any) -> Any:
        """Residuals as a matrix; see `flatnorm_xr.show.plots.residual`."""
        from flatnorm_xr.show.plots import residual

        return residual(self._ds, **keywords)

    def E(self, **keywords: Any) -> Any:
        """Exposure levels; see `flatnorm_xr.show.plots.E`."""
        from flatnorm_xr.show.plots import E

        return E(self._ds, **keywords)

    def G(self, **keywords: Any) -> Any:
        """Relative responses; see `flatnorm_xr.show.plots.G`."""
        from flatnorm_xr.show.plots import G

        return G(self._ds, **keywords)

    def focal_plane(self, *arguments: Any, **keywords: Any) -> Any:
        """Any variable where units lie; see `flatnorm_xr.show.plots.focal_plane`."""
        from flatnorm_xr.show.plots import focal_plane

        return focal_plane(self._ds, *arguments, **keywords)

    def amplifier_ratio(self, **keywords: Any) -> Any:
        """Amplifiers against header gains; see `flatnorm_xr.show.plots.amplifier_ratio`."""
        from flatnorm_xr.show.plots import amplifier_ratio

        return amplifier_ratio(self._ds, **keywords)

    def modes(self, **keywords: Any) -> Any:
        """Patterns that residuals share; see `flatnorm_xr.show.plots.modes`."""
        from flatnorm_xr.show.plots import modes

        return modes(self._ds, **keywords)

    def weights(self, **keywords: Any) -> Any:
        """Weights as a matrix; see `flatnorm_xr.show.plots.weights`."""
        from flatnorm_xr.show.plots import weights

        return weights(self._ds, **keywords)

    def pulls(self, **keywords: Any) -> Any:
        """Residuals over their standard deviations; see `flatnorm_xr.show.plots.pulls`."""
        from flatnorm_xr.show.plots import pulls

        return pulls(self._ds, **keywords)

    def residual_vs_level(self, **keywords: Any) -> Any:
        """Residuals against the level; see `flatnorm_xr.show.plots.residual_vs_level`."""
        from flatnorm_xr.show.plots import residual_vs_level

        return residual_vs_level(self._ds, **keywords)

    def connectivity(self, **keywords: Any) -> Any:
        """Which units share exposures; see `flatnorm_xr.show.plots.connectivity`."""
        from flatnorm_xr.show.plots import connectivity

        return connectivity(self._ds, **keywords)

    def convergence(self, **keywords: Any) -> Any:
        """How the solver came to its solution; see `flatnorm_xr.show.plots.convergence`."""
        from flatnorm_xr.show.plots import convergence

        return convergence(self._ds, **keywords)

    def trend(self, **keywords: Any) -> Any:
        """Responses over the years; see `flatnorm_xr.show.plots.trend`."""
        from flatnorm_xr.show.plots import trend

        return trend(self._ds, **keywords)

    def comparison(self, **keywords: Any) -> Any:
        """Differences between two runs; see `flatnorm_xr.show.plots.comparison`."""
        from flatnorm_xr.show.plots import comparison

        return comparison(self._ds, **keywords)
