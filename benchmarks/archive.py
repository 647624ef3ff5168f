"""Measure how large an archive of ten years is, and how fast it answers.

    python benchmarks/archive.py [--runs 3650] [--camera 189x16] [--exposures 5] [--rounds 5] [--keep FOLDER]

Simulated runs are solved and added by two processes (that takes most of the time: half an hour for 3650), one in a
hundred is certified, and then each question is asked of the archive in a process of its own, so that its peak of
memory is told apart from what importing takes. Files are warm. The peer is `xarray.open_mfdataset` over the same files
(the engine netcdf4, as parallel=False), which reads G of one amplifier; it takes long, so it is given every tenth run,
as ours is in that comparison. The size is compared with the arrays of every fiftieth run, each shuffled and compressed
alone by zlib at the level that the files use.

With ``--zarr`` (and zarr installed) the same runs are also written as Zarr v3, one group a run, and as one group whose
arrays have the dim run, to see what an object store would take.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

CAMERA, FILTER = "benchcam", "r"


def fill(path, numbers, detectors, amplifiers, exposures):
    """Solve and add some of the runs: one a night, with a drift, a season and noise of their own."""
    import flatnorm_xr as fx

    archive = fx.Archive(path)
    pattern = fx.simulate(n_detectors=detectors, n_amplifiers=amplifiers, n_exposures=exposures, seed=0)
    pattern = pattern.drop_vars([name for name in pattern.data_vars if str(name).startswith(("detector_", "true_"))])
    shape = pattern.background.shape
    drift = np.random.default_rng(1).normal(0, 1e-3, shape[:2])
    exact = (fx.solve(pattern, uncertainty=None).bgModel).transpose(*pattern.background.dims).values
    seconds = {"solve": 0.0, "add": 0.0}
    for k in numbers:
        rng = np.random.default_rng([2, k])
        years = k / 365.25
        season = 1 + 1e-3 * np.cos(2 * np.pi * years)
        levels = exact * np.exp(drift * years)[..., np.newaxis] * season * (1 + 3e-4 * rng.normal(size=shape))
        night = np.timedelta64(k, "D")
        ds = pattern.assign_coords(
            exposure=pattern.exposure.values + 1000 * k,
            time=pattern.time + night,
            night=("exposure", [str(np.datetime64("2025-03-14") + night)] * exposures),
            temperature=("exposure", np.full(exposures, 10 + 5 * np.cos(2 * np.pi * years))),
        )
        ds["background"] = ds.background.copy(data=levels)
        begin = time.perf_counter()
        solution = fx.solve(ds, uncertainty="analytic")
        middle = time.perf_counter()
        archive.add(solution, camera=CAMERA)
        seconds["solve"] += middle - begin
        seconds["add"] += time.perf_counter() - middle
    return seconds


def compressed_arrays(paths):
    """Bytes of all arrays of some files, each shuffled and compressed alone."""
    import xarray as xr

    total = 0
    for path in paths:
        with xr.open_dataset(path, decode_cf=False) as ds:
            for variable in ds.variables.values():
                values = np.ascontiguousarray(variable.values)
                if values.dtype.kind in "OU":
                    content = "\0".join(map(str, values.ravel())).encode()
                else:
                    content = values.reshape(-1).view("u1").reshape(-1, values.dtype.itemsize).T.tobytes()
                total += len(zlib.compress(content, 1))
    return total


QUESTIONS = {
    "find": "a.find(C, F, '2027-01-01')",
    "list": "len(a.list())",
    "trend of one amplifier": "a.trend(camera=C, filter=F, units={'detector': 7, 'amplifier': 'C03'})",
    "trend of all": "a.trend(camera=C, filter=F, against='temperature')",
    "load, one amplifier": "a.load('G', camera=C, filter=F).sel(detector=7, amplifier='C03').values",
    "reindex": "a.reindex()",
}

ASKED = """
import json, resource, sys, time, warnings
import flatnorm_xr as fx
path, question, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
C, F = "benchcam", "r"
from flatnorm_xr.archive import catalogue, listing, lazy, history, certify
from flatnorm_xr.archive.trend import follow
import pandas, scipy.stats
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seconds = []
for _ in range(rounds + 1):
    a = fx.Archive(path)
    begin = time.perf_counter()
    eval(question)
    seconds.append(time.perf_counter() - begin)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"first": seconds[0], "later": sorted(seconds[1:])[len(seconds[1:]) // 2] if rounds else seconds[0],
                  "peak": peak / 1024, "above imports": (peak - before) / 1024}))
"""


def ask(path, question, rounds):
    """Ask in a process of its own; give seconds and megabytes."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASKED, str(path), question, str(rounds)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1]
        sys.exit(f"{question}: {words}")
    return json.loads(done.stdout)


def race(path, rounds):
    """Read one amplifier of every tenth run: ours and open_mfdataset in turns; give medians of seconds."""
    import xarray as xr

    import flatnorm_xr as fx

    archive = fx.Archive(path)
    seconds = {"ours": [], "open_mfdataset": []}
    runs = list(archive.list().index)[::10]
    files = [path / "runs" / run[:2] / f"{run}.nc" for run in runs]
    for _ in range(rounds):
        begin = time.perf_counter()
        ours = archive.load("G").sel(run=runs, detector=7, amplifier="C03").values
        seconds["ours"].append(time.perf_counter() - begin)
        begin = time.perf_counter()
        with xr.open_mfdataset(
            files, combine="nested", concat_dim="run", data_vars="all", coords="minimal", compat="override",
            join="override", preprocess=lambda ds: ds[["G"]].reset_coords(drop=True),
        ) as joined:  # fmt: skip
            theirs = joined.G.sel(detector=7, amplifier="C03").values
        seconds["open_mfdataset"].append(time.perf_counter() - begin)
        np.testing.assert_array_equal(ours, theirs)
    return {name: statistics.median(values) for name, values in seconds.items()}, len(runs)


def as_zarr(path, folder):
    """Write the runs as Zarr v3 in two ways; give bytes, files and seconds to read G of one amplifier."""
    import xarray as xr
    import zarr

    import flatnorm_xr as fx

    archive = fx.Archive(path)
    runs = list(archive.list().index)
    found = {}
    begin = time.perf_counter()
    for run in runs:
        archive.open(run).drop_encoding().to_zarr(
            folder / "groups.zarr", group=run, zarr_format=3, mode="a", consolidated=False
        )
    found["one group a run: written in"] = time.perf_counter() - begin
    begin = time.perf_counter()
    group = zarr.open_group(folder / "groups.zarr", mode="r")
    one = np.array([group[run]["G"][6, 3] for run in runs])
    found["one group a run: G of one amplifier"] = time.perf_counter() - begin
    begin = time.perf_counter()
    history = archive.history()
    history[["G", "G_stderr"]].drop_encoding().to_zarr(
        folder / "joined.zarr", zarr_format=3, mode="w", consolidated=False,
        encoding={name: {"chunks": (len(runs), 1, 16)} for name in ("G", "G_stderr")},
    )  # fmt: skip
    found["G along run: written in"] = time.perf_counter() - begin
    begin = time.perf_counter()
    joined = xr.open_zarr(folder / "joined.zarr", consolidated=False).G[:, 6, 3].values
    found["G along run: G of one amplifier"] = time.perf_counter() - begin
    np.testing.assert_array_equal(one, joined)
    for name in ("groups", "joined"):
        files = [p for p in (folder / f"{name}.zarr").rglob("*") if p.is_file()]
        found[f"{name}: files"] = len(files)
        found[f"{name}: MB"] = sum(p.stat().st_size for p in files) / 1e6
    return found


def main():
    """Make the archive, or take one that was kept, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3650)
    parser.add_argument("--camera", default="189x16", metavar="DETECTORSxAMPLIFIERS")
    parser.add_argument("--exposures", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="folder to make the archive in, or where it is already")
    parser.add_argument("--zarr", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if options.keep is None else options.keep
        folder.mkdir(exist_ok=True)
        measure(folder / "calib", options)
        if options.zarr:
            with tempfile.TemporaryDirectory(dir=folder) as space:
                for name, value in as_zarr(folder / "calib", Path(space)).items():
                    print(f"  zarr, {name:<48} {value:10.2f}")


def measure(path, options):
    """Print sizes and seconds."""
    import flatnorm_xr as fx

    detectors, amplifiers = map(int, options.camera.split("x"))
    archive = fx.Archive(path)
    missing = range(len(archive), options.runs)
    if missing:
        begin = time.perf_counter()
        with ProcessPoolExecutor(2) as pool:
            shares = [
                pool.submit(fill, path, missing[k::2], detectors, amplifiers, options.exposures) for k in range(2)
            ]
            spent = [share.result() for share in shares]
        each = {name: sum(one[name] for one in spent) / len(missing) for name in spent[0]}
        print(
            f"{len(missing)} runs made by 2 processes in {time.perf_counter() - begin:.0f} s; "
            f"solve {1000 * each['solve']:.0f} ms, add {1000 * each['add']:.0f} ms a run in each"
        )
    table = archive.list()
    if not len(archive.certificates()):
        for run, begin in zip(table.index[::100], table["begin"][::100], strict=True):
            archive.certify(run, begin, approver="benchmark", supersede=True, thresholds=fx.Thresholds(alpha=None))
    files = sorted(path.glob("runs/*/*.nc"))
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    sample = files[::50]
    arrays = compressed_arrays(sample) * len(files) / len(sample)
    catalogue = os.path.getsize(path / "catalogue.sqlite")
    print(
        f"{len(files)} runs of {options.camera} x {options.exposures}: {size / 1e6:.0f} MB "
        f"({catalogue / 1e6:.1f} of them catalogue), arrays compressed alone {arrays / 1e6:.0f} MB: "
        f"{size / arrays:.3f}"
    )
    print(f"  {'':24} {'first s':>10} {'later s':>10} {'peak MB':>9} {'over imports':>13}")
    for name, question in QUESTIONS.items():
        rounds = 0 if name in ("reindex",) else 1 if name == "trend of all" else options.rounds
        told = ask(path, question, rounds)
        print(
            f"  {name:24} {told['first']:10.4f} {told['later']:10.4f} {told['peak']:9.0f} {told['above imports']:13.0f}"
        )
    seconds, runs = race(path, options.rounds)
    print(
        f"  G of one amplifier of {runs} runs: load {seconds['ours']:.3f} s, open_mfdataset "
        f"{seconds['open_mfdataset']:.3f} s, ratio {seconds['open_mfdataset'] / seconds['ours']:.1f}"
    )


if __name__ == "__main__":
    main()
