"""flatnorm archive reindex: the catalogue is made again from the files."""

from __future__ import annotations

from flatnorm_xr.cli.archive.options import ArchivePath
from flatnorm_xr.cli.console import say

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm archive reindex calib"


def command(archive: ArchivePath) -> None:
    """Make the catalogue again from the files.

    It is only an index, and is made again by itself where it is missing or damaged; this is for when it is in doubt.
    """
    from flatnorm_xr.archive.archive import Archive

    number = Archive(archive, create=False).reindex()
    say(f"catalogue of {archive} made again: {number} run{'s' * (number != 1)}")
