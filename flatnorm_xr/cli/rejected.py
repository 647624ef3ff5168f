"""The table of faults that were left out of a fit, as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flatnorm_xr.cli.console import say, show_table, state
from flatnorm_xr.show.texts import shown

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["show_rejections"]


def show_rejections(solution: xr.Dataset, *, most: int = 20) -> None:
    """List what a robust solve left out of the fit, unless quiet; nothing where there is nothing to list."""
    if "rejection" not in solution or state.quiet:
        return
    from flatnorm_xr.decompose.robust.rejections import rejections

    table = rejections(solution)
    if table.empty:
        return
    say(f"rejected: {len(table)}")
    columns = [name for name in table.columns if name != "significance" and not table[name].isna().all()]
    lines = [_line(row, columns) for _, row in table[:most].iterrows()]
    show_table([name.replace("_", " ") for name in columns], lines)
    if len(table) > most:
        say(f"  and {len(table) - most} more: rejections(solution) in Python")


def _line(row: pd.Series[Any], columns: list[str]) -> list[str]:
    import pandas as pd

    words = []
    for name in columns:
        value = row[name]
        if pd.isna(value):
            words.append("")
        elif name in ("size", "stderr"):
            words.append(f"{100 * value:{'+' if name == 'size' else ''}.3g} %")
        else:
            words.append(shown(value, longest=60))
    return words
