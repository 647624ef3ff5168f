"""flatnorm archive trend: how the responses drift and change over the runs, and what they depend on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flatnorm_xr.cli.archive.labels import PICTURES, commas, known_ending, labels_of
from flatnorm_xr.cli.archive.options import (
    Against,
    Alpha,
    ArchivePath,
    CameraOf,
    FilterOf,
    GaugeOption,
    Since,
    Until,
)
from flatnorm_xr.cli.console import refuse_existing, say, state
from flatnorm_xr.cli.options import AsJson, Overwrite, output_option
from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.progress import waiting

if TYPE_CHECKING:
    import xarray as xr

    from flatnorm_xr.archive.archive import Archive

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm archive trend calib --against temperature -o trend.png"

Followed = Literal["G", "detector_scale"]


def command(
    archive: ArchivePath,
    camera: CameraOf = None,
    filter: FilterOf = None,
    since: Since = None,
    until: Until = None,
    detector: Annotated[
        str | None, typer.Option(metavar="LABELS", help="Detectors to follow, comma-separated; default: all.")
    ] = None,
    amplifier: Annotated[
        str | None, typer.Option(metavar="LABELS", help="Amplifiers to follow, comma-separated; default: all.")
    ] = None,
    name: Annotated[Followed, typer.Option(metavar="NAME", help="What is followed: G or detector_scale.")] = "G",
    gauge: GaugeOption = "common",
    against: Against = None,
    alpha: Alpha = 0.01,
    output: Annotated[Path | None, output_option("File to write: .nc, .html (a page), or .png, .pdf, .svg.")] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Follow the responses over the runs.

    Reads the runs of one camera and filter; shows what changed and when, what drifts, and what follows the coordinates
    named by --against, all in one gauge. Sizes are in mmag, positive where the response grew. A change lies between the
    days that are shown with a probability of 95 %, and fits best before the run that is named.
    """
    from flatnorm_xr.archive.archive import Archive

    if output is not None:
        known_ending(output, (".nc", ".nc4", ".html", ".htm", *PICTURES), caller="trend")
        refuse_existing([output], overwrite=overwrite)
    kept = Archive(archive, create=False)
    runs: dict[str, Any] = {"camera": camera, "filter": filter, "since": since, "until": until}
    units, members = _in_labels(kept, detector, amplifier, gauge, **runs)
    with waiting("trend", wanted=not state.quiet):
        found = kept.trend(
            name,
            **runs,
            units=units,
            gauge=members,
            against=commas(against),
            alpha=alpha,
        )
    if output is not None:
        _write(found, output, overwrite=overwrite)
    from flatnorm_xr.cli.archive.followed import show_trend

    show_trend(found, chosen=detector is not None or amplifier is not None, as_json=as_json)
    if output is not None and not as_json:
        say(f"trend written to {output}")


def _in_labels(
    kept: Archive, detector: str | None, amplifier: str | None, gauge: str, **runs: Any
) -> tuple[dict[str, Any] | None, Any]:
    """Units and gauge as the runs label them."""
    given = {"detector": detector, "amplifier": amplifier}
    asked = {dim: text for dim, text in given.items() if text is not None}
    if not asked and gauge == "common":
        return None, gauge
    known = kept.load("G", **runs)  # of which only the labels are looked at
    if amplifier is not None and "amplifier" not in known.dims:
        msg = "trend: --amplifier: these runs are of whole detectors; leave it out"
        raise FlatnormError(msg)
    units = {
        dim: labels_of(text, known[dim].values.tolist(), caller="trend", option=f"--{dim}")
        for dim, text in asked.items()
    }
    if gauge == "common":
        return units, gauge
    return units or None, labels_of(gauge, known["detector"].values.tolist(), caller="trend", option="--gauge")


def _write(found: xr.Dataset, output: Path, *, overwrite: bool) -> None:
    ending = output.suffix.lower()
    if ending in PICTURES:
        from flatnorm_xr.show.picture import write_picture

        write_picture(found, "trend", output, overwrite=overwrite)
    elif ending in (".html", ".htm"):
        from flatnorm_xr.show.report import report

        with waiting("report", wanted=not state.quiet):
            report(found, output, overwrite=overwrite)
    else:
        from flatnorm_xr.archive.netcdf import save

        save(found, output, overwrite=overwrite)
