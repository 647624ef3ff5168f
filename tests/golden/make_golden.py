"""Write small files of the present data model, which must open forever: ``python tests/golden/make_golden.py``.

Run once for every version of the data model, by the program of that version. Files that are there are never touched.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.model.schema import SCHEMA_VERSION

FOLDER = Path(__file__).parent
WHEN = "2026-11-23T00:00:00Z"


def levels() -> xr.Dataset:
    """Build a ragged camera with a dead amplifier, an outlier, a jump, a negative level, a hole, and labels of text."""
    ds = fx.simulate(n_detectors=6, n_amplifiers=2, n_exposures=10, noise=5e-4, seed=11)
    exists = np.ones((6, 2), dtype=bool)
    exists[4, 1] = False
    background = ds.background.values.copy()
    background[0, 1] = np.nan
    background[1, 0, 3] *= 1.2
    background[2, 1, 6:] *= 1.03
    background[3, 0, 2] = -5.0
    background[3, 1, 8] = np.nan
    padding = ~exists[..., None]
    return fx.make(
        np.where(padding, np.nan, background),
        sigma=np.where(padding, np.nan, ds.sigma.values),
        counts=np.where(padding, 0, ds.counts.values).astype("i8"),
        **{name: ds[name].values for name in ("detector_background", "detector_sigma", "detector_counts")},
        units="electron",
        coords={
            **{name: ds[name].values for name in ("time", "exposure_time", "x", "y", "detector_name", "lamp")},
            "detector": ds.detector.values,
            "amplifier": ["A", "É 1"],
            "exposure": [f"night/{i:03d}" for i in range(10)],
            "physical_filter": ["g"] * 5 + ["r"] * 5,
            "gain": np.where(exists, 1.5, np.nan),
            "exists": exists,
            "temperature": ("exposure", np.linspace(-3.25, 4.5, 10)),
        },
        attrs={"title": "golden levels", "history": f"{WHEN} made by hand", "source": "simulation", "inputs": "[]"},
    ).assign(of_the_user=("exposure", np.arange(10, dtype="i2"), {"units": "mm", "points": np.array([1.5, 2.5])}))


def datasets() -> Iterator[tuple[str, xr.Dataset]]:
    """Name and content of every file."""
    measured = levels()
    solution = fx.solve(
        measured.drop_vars("physical_filter"),
        weights="variance",
        robust="tukey",
        uncertainty=("jackknife", "analytic"),
        hierarchy=True,
        modes=1,
    )
    yield "levels", measured
    yield "solution", solution
    yield "groups", fx.solve(measured, by="physical_filter", on_disconnected="separate")
    yield "diagnosis", fx.diagnose(solution, permutations=99)


def recorded(ds: xr.Dataset) -> dict[str, Any]:
    """Give all of a dataset as JSON holds it, exactly: the shortest text that is the same float."""
    variables = {
        str(name): {
            "dims": list(variable.dims),
            "dtype": variable.dtype.str if variable.dtype.kind not in "OUT" else "str",
            "values": (variable.values.astype(str) if variable.dtype.kind in "MOUT" else variable.values).tolist(),
            "attrs": {key: np.asarray(value).tolist() for key, value in variable.attrs.items()},
        }
        for name, variable in ds.variables.items()
    }
    return {"coords": sorted(map(str, ds.coords)), "variables": variables, "attrs": dict(ds.attrs)}


def main() -> None:
    """Write the files of this version that are not there."""
    warnings.simplefilter("ignore", fx.FlatnormWarning)
    for name, ds in datasets():
        path = FOLDER / f"v{SCHEMA_VERSION}-{name}.nc"
        if path.exists():
            print(f"{path.name} is there and stays")
            continue
        lines = [f"{WHEN} {line.partition(' ')[2]}" for line in str(ds.attrs.get("history", "")).splitlines()]
        ds = ds.assign_attrs({"history": "\n".join(lines)} if lines else {})
        fx.save(ds, path)
        path.with_suffix(".json").write_text(json.dumps(recorded(ds), ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{path.name} written")


if __name__ == "__main__":
    main()
