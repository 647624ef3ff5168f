"""flatnorm archive diff: in what two runs differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flatnorm_xr.cli.archive.labels import PICTURES, known_ending, labels_of
from flatnorm_xr.cli.archive.options import Alpha, ArchivePath, GaugeOption, run_argument
from flatnorm_xr.cli.archive.words import (
    cell,
    columns_of_units,
    day,
    p_value,
    print_json,
    printed,
    rows_of_units,
    short,
    show_facts,
    with_errors,
)
from flatnorm_xr.cli.console import refuse_existing, say, show_table
from flatnorm_xr.cli.options import AsJson, Overwrite, output_option

if TYPE_CHECKING:
    import xarray as xr

    from flatnorm_xr.archive.archive import Archive

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm archive diff calib 3f2a91c05b7e 9c01d2e47a66 -o diff.png"

_HELD = 1e-10
"""Error of ln of a ratio below which it is rounding."""

_OF_RUNS = ("run_a", "run_b", "filter_a", "filter_b", "date_a", "date_b")


def command(
    archive: ArchivePath,
    run_a: Annotated[str, run_argument("RUN_A", "The run above the line of the ratio.")],
    run_b: Annotated[str, run_argument("RUN_B", "The run below it.")],
    gauge: GaugeOption = "common",
    group: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Group of exposures to compare, of runs solved in groups.")
    ] = None,
    alpha: Alpha = 0.01,
    rows: Annotated[int, typer.Option(metavar="N", help="Units that are listed, those that differ most.", min=0)] = 10,
    output: Annotated[Path | None, output_option("File to write: .nc, or .png, .pdf, .svg.")] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Compare two runs, unit by unit.

    Shows by how much G and the levels over E differ, A over B in mmag, in a gauge of the units that both have measured;
    the most significant first.
    """
    from flatnorm_xr.archive.archive import Archive

    if output is not None:
        known_ending(output, (".nc", ".nc4", *PICTURES), caller="diff")
        refuse_existing([output], overwrite=overwrite)
    kept = Archive(archive, create=False)
    members, chosen = _in_labels(kept, run_a, gauge, group)
    found = kept.compare(run_a, run_b, gauge=members, group=chosen, alpha=alpha)
    found = found.assign_attrs(_told(kept, found, group))
    if output is not None:
        _write(found, output, overwrite=overwrite)
    if as_json:
        print_json(_values(found))
        return
    _show(found, rows)
    if output is not None:
        say(f"comparison written to {output}")


def _in_labels(kept: Archive, run: str, gauge: str, group: str | None) -> tuple[Any, Any]:
    """Gauge and group as a run labels them."""
    if gauge == "common" and group is None:
        return gauge, group
    solution = kept.open(run)
    members: Any = gauge
    if gauge != "common":
        members = labels_of(gauge, solution["detector"].values.tolist(), caller="diff", option="--gauge")
    if group is None or "group" not in solution.dims:
        return members, group
    labels = {str(label): label for label in solution["group"].values.tolist()}
    return members, labels.get(group, group)


def _told(kept: Archive, comparison: xr.Dataset, group: str | None) -> dict[str, str]:
    """Filter and date of both runs, as attributes of the comparison."""
    told = {}
    for side in ("a", "b"):
        known = kept.show(comparison.attrs[f"run_{side}"])
        filters = [cell(name) for name in known["filters"]]
        told[f"filter_{side}"] = group if group in filters else ", ".join(sorted(filters))
        told[f"date_{side}"] = day(known["begin"])
    return {name: str(text) for name, text in told.items() if text}


def _show(comparison: xr.Dataset, most: int) -> None:
    """Show the units that differ most."""
    import numpy as np

    from flatnorm_xr.show.two_runs import of_two_filters, run_words

    units = columns_of_units(comparison, "G_ratio")
    size, error = _logarithms(units, "G_ratio")
    levels = with_errors(*_logarithms(units, "level_ratio"))
    p = np.array(units.get("p_holm", np.full(size.shape, np.nan)), dtype=float)
    known = np.isfinite(size)
    attrs = comparison.attrs
    words = f"{int((p < float(attrs.get('alpha', 0.01))).sum())} of {int(known.sum())}"
    kind = _dims(comparison)[-1]
    printed([f"{short(attrs.get('run_a', ''))} over {short(attrs.get('run_b', ''))}: {words} {kind}s differ"])
    if of_two_filters(comparison):
        printed(
            [f"of different filters, {attrs['filter_a']} over {attrs['filter_b']}: no change in time, but of colour"]
        )
    show_facts({f"{side} is of": run_words(comparison, side) for side in ("a", "b")})
    show_facts({"gauge": attrs.get("gauge", ""), "rms": f"{float(attrs['rms']):.3g} mmag" if "rms" in attrs else ""})
    if not most:
        return
    printed([""])
    held = known & (error < _HELD)  # the gauge is this unit alone: its ratio is 1 and has no error
    strength = np.divide(np.abs(size), error, out=np.zeros(size.shape), where=known & ~held & (error > 0))
    by_significance = np.lexsort((-strength, p, ~known))
    listed = [k for k in by_significance.tolist() if known[k]][:most]
    texts = with_errors(size[listed], error[listed])
    texts = ["held by the gauge" if held[k] else text for k, text in zip(listed, texts, strict=True)]
    names = ["/".join(map(cell, row)) for row in zip(*(units[str(dim)] for dim in _dims(comparison)), strict=True)]
    show_table(
        (kind, "G [mmag]", "level [mmag]", "p"),
        [(names[k], text, levels[k], p_value(p[k])) for k, text in zip(listed, texts, strict=True)],
        noun="units",
        asked_for=True,
    )


def _dims(comparison: xr.Dataset) -> list[str]:
    return [dim for dim in ("detector", "amplifier") if dim in comparison["G_ratio"].dims]


def _logarithms(units: dict[str, Any], name: str) -> tuple[Any, Any]:
    """Logarithms of ratios, and their errors; NaN where they are not known."""
    import numpy as np

    nothing = np.full(units["G_ratio"].shape, np.nan)
    ratio = np.asarray(units.get(name, nothing), dtype=float)
    ratio = np.where(ratio > 0, ratio, np.nan)
    return np.log(ratio), np.asarray(units.get(f"{name}_stderr", nothing), dtype=float) / ratio


def _values(comparison: xr.Dataset) -> dict[str, Any]:
    """All that was found, as numbers."""
    names = [name for name in (*_OF_RUNS, "gauge", "rms", "alpha") if name in comparison.attrs]
    return {**{name: comparison.attrs[name] for name in names}, "units": rows_of_units(comparison, "G_ratio")}


def _write(comparison: xr.Dataset, output: Path, *, overwrite: bool) -> None:
    if output.suffix.lower() in PICTURES:
        from flatnorm_xr.show.picture import write_picture

        write_picture(comparison, "comparison", output, overwrite=overwrite)
        return
    from flatnorm_xr.archive.netcdf import save

    save(comparison, output, overwrite=overwrite)
