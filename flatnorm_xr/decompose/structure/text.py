"""The text of a diagnosis: a line a test, and the verdict."""

from __future__ import annotations

import textwrap

import numpy as np
import xarray as xr

from flatnorm_xr.errors import FlatnormError

__all__ = ["describe"]


def describe(diagnosis: xr.Dataset, *, width: int = 120) -> str:
    """Write a diagnosis out: what was tested, a line for each test, and the verdict.

    Parameters
    ----------
    diagnosis : Dataset
        What `flatnorm_xr.diagnose` returns.
    width : int
        Characters on a line of the table; what is longer goes on in the next, under its column. The verdict is one
        line whatever its length.

    Returns
    -------
    str
        Lines without a line end after the last. A star marks tests that fail after Holm's adjustment.

    Raises
    ------
    FlatnormError
        It is no diagnosis.

    Examples
    --------
    >>> import flatnorm_xr as fx
    >>> from flatnorm_xr.decompose.structure import describe, diagnose
    >>> sol = fx.solve(fx.simulate(n_detectors=30, n_exposures=10, seed=5))
    >>> print(describe(diagnose(sol, permutations=99)).splitlines()[0])
    30 units x 10 exposures, 300 cells, 261 degrees of freedom
    """
    if not isinstance(diagnosis, xr.Dataset) or "verdict" not in diagnosis.attrs or "sentence" not in diagnosis:
        msg = "describe: diagnosis is not what diagnose returns; pass diagnose(solution)"
        raise FlatnormError(msg)
    return "\n".join([_counted(diagnosis), "", *_table(diagnosis, width), "", f"verdict: {diagnosis.attrs['verdict']}"])


def _counted(diagnosis: xr.Dataset) -> str:
    attrs = diagnosis.attrs
    groups = f" in {attrs['groups']} groups solved by themselves" if attrs["groups"] > 1 else ""
    rejected = f", {attrs['rejected_cells']} rejected" if attrs["rejected_cells"] else ""
    return (
        f"{attrs['units']} units x {attrs['exposures']} exposures{groups}, {attrs['cells']} cells{rejected}, "
        f"{attrs['dof']} degrees of freedom"
    )


def _table(diagnosis: xr.Dataset, width: int) -> list[str]:
    alpha = float(diagnosis.attrs["alpha"])
    rows = [("test", "p", "Holm", " ", "finding")]
    for k in range(diagnosis.sizes["test"]):
        one = diagnosis.isel(test=k)
        adjusted = float(one["p_holm"])
        rows.append(
            (
                str(one["test"].values),
                _p(float(one["p_value"])),
                _p(adjusted),
                "*" if adjusted < alpha else " ",
                str(one["sentence"].values),
            )
        )
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    lines = []
    for row in rows:
        start = "".join(cell.ljust(w) + "  " for cell, w in zip(row, widths, strict=False))
        room = max(width - len(start), 30)
        first, *more = textwrap.wrap(row[4], room) or [""]
        lines += [start + first, *(" " * len(start) + line for line in more)]
    return lines


def _p(value: float) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}"
