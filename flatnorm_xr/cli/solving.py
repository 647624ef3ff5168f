"""The options of a solve, declared once for every command that solves."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flatnorm_xr.cli.option_groups import with_group
from flatnorm_xr.cli.options import coordinates

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Solving", "with_solving"]

Level = Literal["detector", "amplifier"]
Method = Literal["exact", "alternation"]
Weighting = Literal["counts", "variance", "uniform"]
Model = Literal["log", "log-link"]
Robust = Literal["none", "tukey", "huber"]
OnDisconnected = Literal["raise", "separate"]

_SOLVE = "How to solve"
_ERRORS = "Standard errors"


class Solving:
    """What was asked of the solve on the command line."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self._asked = asked

    def keywords(self, ds: xr.Dataset) -> dict[str, Any]:
        """Keywords of `flatnorm_xr.solve` for these levels, whose labels decide what a detector's name means."""
        from flatnorm_xr.decompose.gauge import parse_gauge

        asked = dict(self._asked)
        asked["gauge"] = parse_gauge(asked["gauge"], ds["detector"])
        asked["robust"] = None if asked["robust"] == "none" else asked["robust"]
        methods = [name.strip() for name in asked["uncertainty"].split(",")]
        asked["uncertainty"] = methods[0] if len(methods) == 1 else methods
        asked["modes"] = int(asked["modes"]) if re.fullmatch("[0-9]+", asked["modes"]) else asked["modes"]
        floor = asked["floor"]
        asked["floor"] = (
            float(floor) if re.fullmatch(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", floor) else floor
        )
        return asked


def _option(help: str, *names: str, metavar: str | None = None, exposures: bool = False) -> Any:
    """Make an option of a solve; that of an exposure coordinate completes its name."""
    completion = coordinates if exposures else None
    return typer.Option(*names, metavar=metavar, help=help, autocompletion=completion, rich_help_panel=_SOLVE)


def _errors(help: str, *names: str, metavar: str | None = None, exposures: bool = False) -> Any:
    """Make an option of the standard errors."""
    completion = coordinates if exposures else None
    return typer.Option(*names, metavar=metavar, help=help, autocompletion=completion, rich_help_panel=_ERRORS)


def _options(
    level: Annotated[
        Level | None,
        _option("Of a unit: detector, or amplifier; default: the latter if there are any.", metavar="NAME"),
    ] = None,
    weights: Annotated[Weighting, _option("Of the cells: counts, variance or uniform.", metavar="NAME")] = "counts",
    floor: Annotated[
        str, _option("Relative systematic error of a level, for --weights variance; or estimate.", metavar="SIZE")
    ] = "estimate",
    floor_by: Annotated[
        str | None,
        _option("Estimate a floor for each value of this exposure coordinate.", metavar="NAME", exposures=True),
    ] = None,
    robust: Annotated[
        Robust, _option("Find faults and leave them out of the fit: none, tukey or huber.", metavar="NAME")
    ] = "none",
    by: Annotated[
        str | None,
        _option("Solve each value of this exposure coordinate by itself.", metavar="NAME", exposures=True),
    ] = None,
    gauge: Annotated[str, _option("mean, geometric, or detectors, comma-separated.", metavar="NAME")] = "mean",
    on_disconnected: Annotated[
        OnDisconnected, _option("Sets of units that share no exposure: raise, or separate.", metavar="NAME")
    ] = "raise",
    hierarchy: Annotated[bool, _option("Split G into detectors and amplifiers.", "--hierarchy", metavar="")] = False,
    modes: Annotated[
        str, _option("Patterns shared by units to fit beside G and E: a number, or auto.", metavar="N")
    ] = "0",
    model: Annotated[
        Model, _option("What is fitted: ln of the levels (log), or faint levels themselves (log-link).", metavar="NAME")
    ] = "log",
    method: Annotated[Method, _option("Least squares: exact, or by alternation.", metavar="NAME")] = "exact",
    iterations: Annotated[int, _option("Of the alternation.", metavar="N")] = 10,
    tolerance: Annotated[
        float, _option("Largest change of any ln E that another step would make.", metavar="X")
    ] = 1e-12,
    uncertainty: Annotated[
        str,
        _errors("auto, none, analytic, jackknife, bootstrap, or two of these, comma-separated.", metavar="NAME"),
    ] = "auto",
    jackknife_block: Annotated[
        str | None,
        _errors("Leave out together exposures that share this coordinate's value.", metavar="NAME", exposures=True),
    ] = None,
    replicates: Annotated[int, _errors("Of the bootstrap.", metavar="N")] = 200,
    seed: Annotated[int, _errors("Of the bootstrap.", metavar="N")] = 0,
) -> None:
    """Carry the options; never called."""


def with_solving(**defaults: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a solve, in place of its parameter ``solving``.

    Parameters
    ----------
    **defaults
        Defaults that differ from those of `flatnorm_xr.solve`.
    """
    return with_group("solving", _options, Solving, **defaults)
