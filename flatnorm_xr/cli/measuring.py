"""The options of a measurement, declared once for every command that measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flatnorm_xr.cli.console import state
from flatnorm_xr.cli.option_groups import with_group
from flatnorm_xr.cli.resuming import going_on
from flatnorm_xr.errors import FlatnormError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Measuring", "with_measuring"]

Statistic = Literal["meanclip", "sigmaclip", "median", "mean"]

_READ = "Input"
_MEASURE = "How to measure"
_LEFT_OUT = "What is left out"
_WORK = "Who does the work"


class Measuring:
    """What was asked of the measurement on the command line."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.resume: Path | None = asked.pop("resume")
        self._workers = {name: asked.pop(name) for name in ("scheduler", "workers")}
        if asked["threads"] is not None and any(one is not None for one in self._workers.values()):
            msg = (
                "--threads says how many files this process reads at once, and --workers or --scheduler that others do"
            )
            raise FlatnormError(msg)
        asked["iterations"] = asked.pop("clip_iterations")
        asked["mask_bits"] = asked["mask_bits"] and [bit.strip() for bit in asked["mask_bits"].split(",")]
        self._asked = asked

    @contextmanager
    def levels(self, files: list[str], *, camera: str | None) -> Iterator[xr.Dataset]:
        """Measure; until the end no other process writes to the file of ``--resume``."""
        from flatnorm_xr.measure.cluster import cluster_client
        from flatnorm_xr.measure.levels import measure

        with going_on(self.resume) as known:
            with cluster_client(**self._workers) as client:
                ds = measure(files, camera=camera, client=client, progress=not state.quiet, **known, **self._asked)
            yield ds


def _option(panel: str, help: str, *names: str, metavar: str | None = None, least: int | None = None) -> Any:
    return typer.Option(*names, metavar=metavar, help=help, min=least, rich_help_panel=panel)


def _options(
    resume: Annotated[
        Path | None,
        _option(
            _READ,
            "Levels measured before, perhaps in part: what is in them is not measured again. What is measured is saved "
            "there on the way.",
            metavar="PATH",
        ),
    ] = None,
    strict: Annotated[bool, _option(_READ, "Fail on a file that cannot be read.", "--strict", metavar="")] = False,
    checksum: Annotated[bool, _option(_READ, "Record the sha256 of every file.", "--checksum", metavar="")] = False,
    verify_checksum: Annotated[
        bool, _option(_READ, "Compare DATASUM and CHECKSUM; what differs is a hole.", "--verify-checksum", metavar="")
    ] = False,
    statistic: Annotated[
        Statistic, _option(_MEASURE, "What a level is: meanclip, sigmaclip, median or mean.", metavar="NAME")
    ] = "meanclip",
    clip: Annotated[float, _option(_MEASURE, "Clip at this many standard deviations.", metavar="SD")] = 3.0,
    clip_iterations: Annotated[int, _option(_MEASURE, "Clipping passes.", "--clip-iterations", metavar="N")] = 3,
    bias: Annotated[Path | None, _option(_MEASURE, "Bias image to subtract, FITS.", metavar="PATH")] = None,
    edge_strips: Annotated[
        int, _option(_MEASURE, "Width of strips that compare amplifiers at their borders; 0: none.", metavar="N")
    ] = 0,
    mask: Annotated[Path | None, _option(_LEFT_OUT, "Bad-pixel mask, FITS; non-zero is bad.", metavar="PATH")] = None,
    mask_bits: Annotated[
        str | None, _option(_LEFT_OUT, "Bits of the mask that are bad, comma-separated; default: any.", metavar="BITS")
    ] = None,
    common_mask: Annotated[
        bool,
        _option(_LEFT_OUT, "Leave out of every exposure what is bad in one of them.", "--common-mask", metavar=""),
    ] = False,
    saturation: Annotated[
        float | None, _option(_LEFT_OUT, "Raw adu from which a pixel is saturated.", metavar="ADU")
    ] = None,
    border: Annotated[int, _option(_LEFT_OUT, "Pixels along the edges of each detector.", metavar="N")] = 0,
    vignetting: Annotated[
        str | None,
        _option(_LEFT_OUT, "What lies outside, such as 'circle 0 0 180 mm'; none: nothing.", metavar="REGION"),
    ] = None,
    threads: Annotated[
        int | None, _option(_WORK, "Files in flight at once; default: the number of cores.", metavar="N", least=1)
    ] = None,
    workers: Annotated[
        int | None, _option(_WORK, "Start so many processes, a dask cluster on this machine.", metavar="N", least=1)
    ] = None,
    scheduler: Annotated[
        str | None, _option(_WORK, "Let the workers of a dask scheduler do it.", metavar="ADDRESS")
    ] = None,
) -> None:
    """Carry the options; never called."""


def with_measuring() -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a measurement, in place of its parameter ``measuring``."""
    return with_group("measuring", _options, Measuring)
