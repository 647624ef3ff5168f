"""flatnorm archive recommend: whether the flat that holds should be renewed."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import Annotated

import typer

from flatnorm_xr.cli.archive.labels import commas
from flatnorm_xr.cli.archive.options import Against, Alpha, ArchivePath, CameraOf, Date, FilterOf
from flatnorm_xr.cli.archive.words import cell, print_json, printed
from flatnorm_xr.cli.console import screen_width, state
from flatnorm_xr.cli.options import AsJson
from flatnorm_xr.progress import waiting

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm archive recommend calib --date 2026-11-22"


def command(
    archive: ArchivePath,
    camera: CameraOf = None,
    filter: FilterOf = None,
    date: Date = None,
    against: Against = None,
    tolerance: Annotated[float, typer.Option(metavar="MMAG", help="Change of a response that matters, mmag.")] = 2.0,
    alpha: Alpha = 0.01,
    as_json: AsJson = False,
) -> None:
    """Say whether the flat that holds should be renewed.

    Renew only where a response has changed by more than the tolerance and it is no chance: to renew too often adds the
    noise of each flat to the photometry. The exit status is 0 either way; --json has the verdict.
    """
    from flatnorm_xr.archive.archive import Archive

    kept = Archive(archive, create=False)
    with waiting("recommend", wanted=not state.quiet):
        found = kept.recommend(
            camera=camera, filter=filter, date=date, against=commas(against), tolerance=tolerance, alpha=alpha
        )
    if as_json:
        print_json(asdict(found))
    else:
        words = f"{found.verdict}: {cell(found.sentence)}"
        printed(textwrap.wrap(words, screen_width(), break_long_words=False, break_on_hyphens=False))
