"""What a comparison says of its two runs beside their names: filter and date."""

from __future__ import annotations

import xarray as xr

from flatnorm_xr.show.texts import shown

__all__ = ["of_two_filters", "run_words"]


def run_words(comparison: xr.Dataset, side: str) -> str:
    """Write filter and date of the run "a" or "b"; "" where the comparison does not know them."""
    known = [shown(comparison.attrs.get(f"{name}_{side}", ""), longest=60) for name in ("filter", "date")]
    return ", ".join(text for text in known if text)


def of_two_filters(comparison: xr.Dataset) -> bool:
    """Whether the filters of both runs are known, and not the same."""
    names = [comparison.attrs.get(f"filter_{side}") for side in ("a", "b")]
    return all(names) and names[0] != names[1]
