"""Draw one of the pictures, or all of them, into files, each whole or not at all."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from flatnorm_xr.archive.atomic import whole_file
from flatnorm_xr.errors import FlatnormError, offenders
from flatnorm_xr.progress import counted
from flatnorm_xr.show.pictures import PICTURES, PICTURES_OF_RUNS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "picture_options", "write_picture", "write_pictures"]

FORMATS = (".png", ".pdf", ".svg")
"""Endings of a picture's file."""

_OF_THE_FIGURE = {"ax", "figsize", "diagnosis"}
_LABELS = {"exposure": "exposure", "detector": "detector", "amplifier": "amplifier", "group": "group"}
"""Options that name a label, and the coordinate it is a label of."""


class NotDrawnError(FlatnormError):
    """The dataset does not have what a picture shows."""


def write_picture(
    ds: xr.Dataset, name: str, path: str | os.PathLike[str], *, overwrite: bool = False, **options: Any
) -> Path:
    """Draw a picture of ``ds.flatnorm.plot`` into a file, in the size that it chooses for itself.

    Parameters
    ----------
    ds : Dataset
    name : str
        Name in `flatnorm_xr.show.pictures.PICTURES`, or of a trend or a comparison in ``PICTURES_OF_RUNS``.
    path : path
        Ends in .png, .pdf or .svg.
    overwrite : bool
    **options
        Keywords of the picture; labels may be written as text.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FlatnormError
        An unknown name or option, another ending, a file that exists, or a dataset that does not have what the
        picture shows.

    Examples
    --------
    >>> import tempfile
    >>> import flatnorm_xr as fx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_picture(fx.simulate(), "background", f"{folder}/levels.png").name
    'levels.png'
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        msg = f"plot: {path} does not end in {', '.join(FORMATS)}; choose one of these"
        raise FlatnormError(msg)
    _check(name, options)
    with (
        _drawn(ds, name, _with_labels(ds, options)) as figure,
        whole_file(path, overwrite=overwrite, caller="plot") as temporary,
    ):
        figure.savefig(temporary, format=suffix[1:], dpi=150)
    return Path(path)


def write_pictures(
    ds: xr.Dataset, folder: str | os.PathLike[str], *, overwrite: bool = False, progress: bool = False, **options: Any
) -> tuple[dict[str, Path], dict[str, str]]:
    """Draw every picture that a solution, or levels, allow into a folder, as PNG.

    Parameters
    ----------
    ds : Dataset
    folder : path
        Made when it is not there.
    overwrite : bool
    progress : bool
        Show how far it is, on standard error.
    **options
        Keywords of pictures; each is given to those that have it.

    Returns
    -------
    written : dict
        Files by the names of the pictures.
    skipped : dict
        Why the others were not drawn, in one line each.

    Raises
    ------
    FlatnormError
        An option that no picture has, a file that exists, or one that cannot be written.
    """
    unknown = set(options).difference(*(picture_options(name) for name in PICTURES))
    if unknown:
        msg = f"plot: no picture has the option {', '.join(sorted(unknown))}"
        raise FlatnormError(msg)
    target = Path(folder)
    existing = [path for path in (target / f"{name}.png" for name in PICTURES) if path.exists()]
    if existing and not overwrite:
        msg = f"plot: already there: {offenders(existing)}; pass overwrite=True to replace them"
        raise FlatnormError(msg)
    new = not target.exists()
    target.mkdir(parents=True, exist_ok=True)
    written: dict[str, Path] = {}
    skipped: dict[str, str] = {}
    with counted(list(PICTURES), "draw", noun="pictures", wanted=progress, keep=False) as names:
        for name in names:
            theirs = {key: value for key, value in options.items() if key in picture_options(name)}
            try:
                written[name] = write_picture(ds, name, target / f"{name}.png", overwrite=overwrite, **theirs)
            except NotDrawnError as error:
                skipped[name] = str(error)
    if new and not written:
        target.rmdir()
    return written, skipped


def picture_options(name: str) -> list[str]:
    """Keywords of a picture that say what it shows; not those that say where and how large.

    Examples
    --------
    >>> picture_options("residual")
    ['limit', 'cmap']
    """
    from flatnorm_xr.show import plots

    _, *keywords = inspect.signature(getattr(plots, name)).parameters
    return [keyword for keyword in keywords if keyword not in _OF_THE_FIGURE]


def _check(name: str, options: dict[str, Any]) -> None:
    known_names = [*PICTURES, *PICTURES_OF_RUNS]
    if name not in known_names:
        msg = f"plot: there is no picture {name!r}; choose one of {', '.join(known_names)}"
        raise FlatnormError(msg)
    known = picture_options(name)
    unknown = [option for option in options if option not in known]
    if unknown:
        msg = f"plot: {name} has no option {', '.join(unknown)}; those of {name}: {', '.join(known) or 'none'}"
        raise FlatnormError(msg)


def _with_labels(ds: xr.Dataset, options: dict[str, Any]) -> dict[str, Any]:
    """Labels as the dataset has them, where they were given as text."""

    def label(text: Any, coordinate: str) -> Any:
        if isinstance(text, list | tuple):
            return [label(one, coordinate) for one in text]
        if not isinstance(text, str) or coordinate not in ds.coords:
            return text
        labels = {str(value): value for value in np.atleast_1d(ds[coordinate].values).tolist()}
        return labels.get(text, text)

    return {name: label(value, _LABELS[name]) if name in _LABELS else value for name, value in options.items()}


@contextmanager
def _drawn(ds: xr.Dataset, name: str, options: dict[str, Any]) -> Iterator[Figure]:
    """Draw into a figure of the picture's own making, which is not shown and not kept."""
    import matplotlib.pyplot as plt

    from flatnorm_xr.show import plots

    before = set(plt.get_fignums())
    try:
        with plt.ioff():
            try:
                getattr(plots, name)(ds, **options)
            except FlatnormError as error:
                raise NotDrawnError(str(error)) from error
            yield plt.gcf()
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)
