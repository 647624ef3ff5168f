"""The options of a solve, declared once for every command that solves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer
import xarray as xr

from flatnorm_xr.decompose.gauge import parse_gauge

__all__ = ["Solving", "with_solving"]

Level = Literal["detector", "amplifier"]
Method = Literal["exact", "alternation"]
Weighting = Literal["counts", "variance", "uniform"]
Model = Literal["log", "log-link"]
Robust = Literal["none", "tukey", "huber"]
OnDisconnected = Literal["raise", "separate"]


class Solving:
    """What was asked of the solve on the command line."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self._asked = asked

    def keywords(self, ds: xr.Dataset) -> dict[str, Any]:
        """Keywords of `flatnorm_xr.solve` for these levels, whose labels decide what a detector's name means."""
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


def _options(
    level: Annotated[
        Level | None, typer.Option(help="What a unit is; default: amplifiers where there are any.")
    ] = None,
    method: Annotated[Method, typer.Option(help="Exact least squares, or the documented alternation.")] = "exact",
    iterations: Annotated[int, typer.Option(help="Of the alternation.")] = 10,
    tolerance: Annotated[float, typer.Option(help="Largest change of any ln E that another step would make.")] = 1e-12,
    weights: Annotated[Weighting, typer.Option(help="Of the cells.")] = "counts",
    floor: Annotated[
        str, typer.Option(help="Relative systematic error of a level, with --weights variance; or estimate.")
    ] = "estimate",
    floor_by: Annotated[
        str | None, typer.Option(help="Estimate a floor for each value of this exposure coordinate.")
    ] = None,
    model: Annotated[Model, typer.Option(help="Fit ln of the levels, or faint levels themselves (log-link).")] = "log",
    gauge: Annotated[str, typer.Option(help="mean, geometric, or detectors, comma-separated.")] = "mean",
    robust: Annotated[
        Robust, typer.Option(help="Find faulty cells, units and exposures, and leave them out.")
    ] = "none",
    modes: Annotated[
        str, typer.Option(help="Patterns shared by units to fit beside G and E: a number, or auto.")
    ] = "0",
    by: Annotated[str | None, typer.Option(help="Solve each value of this exposure coordinate by itself.")] = None,
    uncertainty: Annotated[
        str,
        typer.Option(
            help="Standard errors: auto, none, analytic, jackknife, bootstrap, or two of these, comma-separated."
        ),
    ] = "auto",
    jackknife_block: Annotated[
        str | None, typer.Option(help="Leave out together exposures that share this coordinate's value.")
    ] = None,
    replicates: Annotated[int, typer.Option(help="Of the bootstrap.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    hierarchy: Annotated[bool, typer.Option("--hierarchy", help="Split G into detectors and amplifiers.")] = False,
    on_disconnected: Annotated[OnDisconnected, typer.Option(help="Sets of units that share no exposure.")] = "raise",
) -> None:
    """Carry the options; never called."""


def with_solving(**defaults: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a solve, in place of its parameter ``solving``.

    Parameters
    ----------
    **defaults
        Defaults that differ from those of `flatnorm_xr.solve`.
    """
    extra = inspect.signature(_options, eval_str=True).parameters
    for option in extra.values():
        option.annotation.__metadata__[0].rich_help_panel = "How to solve"

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def with_options(**given: Any) -> None:
            asked = {name: given.pop(name) for name in extra}
            command(**given, solving=Solving(asked))

        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            if parameter.name == "solving":
                parameters += [
                    option.replace(default=defaults.get(name, option.default)) for name, option in extra.items()
                ]
            else:
                parameters.append(parameter)
        keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        with_options.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
        with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword}
        with_options.__doc__, with_options.__name__ = command.__doc__, command.__name__
        return with_options

    return decorate
