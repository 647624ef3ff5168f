"""How fast is solve? Rubin's way of averaging rows, sparse least squares and econometrics, side by side with ours.

    python benchmarks/solve.py [--amplifiers 189x16] [--exposures 1000] [--rounds 5]

The peers, in one process and in turns: the documented alternation as a loop over rows, once with masked arrays (as it
is deployed) and once with plain ones, ten iterations each; scipy's ``lsmr`` on the sparse design of units and
exposures; pyfixest's ``feols`` with units and exposures as fixed effects, and its recovery of them. The last two
iterate until they are as exact as ours (the difference in ln(G E) is printed) and are given their design and table
ready made. Ours also flags, checks that the units are connected, and puts the whole solution together. Times are
medians in seconds; the ratios are what counts. Peers come with ``pip install --group benchmark``; an absent one is
named and left out.

The last line is the whole of a robust solve of 100 exposures: estimated floor, faults, refit, jackknife.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings

import numpy as np

import flatnorm_xr as fx


def documented_loop(levels, counts, *, masked, iterations=10):
    """Alternate between means of rows and of columns, a Python loop over each; levels in, model out."""
    n, m = levels.shape
    average = np.ma.average if masked else np.average
    measured = np.isfinite(levels)
    y = np.log(np.where(measured, levels, 1.0))
    if masked:
        y = np.ma.masked_array(y, mask=~measured)
    g, e = np.zeros(n), np.zeros(m)
    for iteration in range(iterations + 1):
        if iteration:
            for i in range(n):
                g[i] = average(y[i] - e, weights=counts[i])
        for j in range(m):
            e[j] = average(y[:, j] - g, weights=counts[:, j])
    offset = np.log(np.average(np.exp(g), weights=counts.sum(axis=1)))
    g, e = g - offset, e + offset
    return np.exp(g), np.exp(e), np.exp(g[:, np.newaxis] + e)


class Lsmr:
    """Weighted least squares on the sparse design, by scipy."""

    name = "scipy.sparse.linalg.lsmr"

    def __init__(self, levels, weight):
        from scipy.sparse import csr_array

        self.unit, self.exposure = np.nonzero(weight)
        root = np.sqrt(weight[self.unit, self.exposure])
        self.right = root * np.log(levels[self.unit, self.exposure])
        cells = np.arange(root.size)
        columns = np.concatenate([self.unit, self.exposure + levels.shape[0]])
        shape = (root.size, sum(levels.shape))
        self.design = csr_array((np.tile(root, 2), (np.tile(cells, 2), columns)), shape=shape)

    def __call__(self):
        """Find ln(G E) of every cell."""
        from scipy.sparse.linalg import lsmr

        found = lsmr(self.design, self.right, atol=1e-14, btol=1e-14, maxiter=100_000)[0]
        units = found.size - (self.exposure.max() + 1)
        return found[:units, np.newaxis] + found[units:]


class Pyfixest:
    """Two-way fixed effects, by pyfixest."""

    name = "pyfixest.feols and fixef"

    def __init__(self, levels, weight):
        import pandas as pd
        import pyfixest
        from pyfixest.estimation import MapDemeaner

        self.feols, self.demeaner = pyfixest.feols, MapDemeaner(fixef_tol=1e-12, fixef_maxiter=100_000)
        self.shape = levels.shape
        unit, exposure = np.nonzero(weight)
        columns = {"y": np.log(levels[unit, exposure]), "unit": unit, "exposure": exposure}
        self.table = pd.DataFrame({**columns, "weight": weight[unit, exposure]})

    def __call__(self):
        """Find ln(G E) of every cell."""
        options = {"demeaner": self.demeaner, "copy_data": False}
        fit = self.feols("y ~ 1 | unit + exposure", data=self.table, weights="weight", **options)
        effects = fit.fixef(atol=1e-14, btol=1e-14)
        g, e = (
            np.array([effects[f"C({name})"].get(str(k), 0.0) for k in range(size)])
            for name, size in zip(("unit", "exposure"), self.shape, strict=True)
        )
        return g[:, np.newaxis] + e


def present(peers, levels, weight):
    """Those peers that are installed, ready to run; names the others."""
    ready = {}
    for peer in peers:
        try:
            ready[peer.name] = peer(levels, weight)
        except ImportError as error:
            print(f"{peer.name}: left out, {error}")
    return ready


def timed(function):
    """Seconds that one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def simulated(shape, rng):
    """Levels and their weights, a quarter missing."""
    levels = np.exp(rng.normal(0, 0.2, (*shape[:2], 1)) + rng.normal(9, 0.5, shape[2]))
    levels = levels * (1 + 1e-3 * rng.normal(size=shape))
    counts = rng.uniform(1e5, 1e6, shape)
    measured = rng.random(shape) > 0.25
    levels = np.where(measured, levels, np.nan)
    return fx.make(levels, counts=counts, sigma=np.sqrt(levels)), np.where(measured, counts, 0.0)


def main():
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--amplifiers", default="189x16", help="detectors x amplifiers")
    parser.add_argument("--exposures", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    shape = (*map(int, options.amplifiers.split("x")), options.exposures)

    rng = np.random.default_rng(0)
    ds, weight = simulated(shape, rng)
    short, _ = simulated((*shape[:2], 100), rng)
    rows = (shape[0] * shape[1], shape[2])
    matrix, weight = ds.background.values.reshape(rows), weight.reshape(rows)
    peers = present([Lsmr, Pyfixest], matrix, weight)
    plain = "flatnorm_xr.solve, exact"
    robust = f"robust + jackknife, {options.amplifiers}x100"
    runs = {
        "loop over masked rows, 10 iterations": lambda: documented_loop(matrix, weight, masked=True),
        "loop over plain rows, 10 iterations": lambda: documented_loop(matrix, weight, masked=False),
        **peers,
        plain: lambda: fx.solve(ds, uncertainty=None),
        "flatnorm_xr.solve, exact, analytic errors": lambda: fx.solve(ds, uncertainty="analytic"),
        robust: lambda: fx.solve(short, robust="tukey", weights="variance", uncertainty="jackknife"),
    }
    seconds = {name: [] for name in runs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fx.FlatnormWarning)
        fx.solve(fx.simulate(n_detectors=3, n_exposures=6), robust="tukey", weights="variance")
        ours = np.log(fx.solve(ds, uncertainty=None).bgModel.values.reshape(rows))
        for name, peer in peers.items():
            print(f"{name}: ln(G E) differs from ours by at most {np.nanmax(abs(peer() - ours)):.1e}")
        for _ in range(options.rounds):
            for name, run in runs.items():
                seconds[name].append(timed(run))

    ours = statistics.median(seconds[plain])
    print(f"{shape[0]} x {shape[1]} x {shape[2]} cells, a quarter missing; median of {options.rounds} rounds")
    for name, times in seconds.items():
        median = statistics.median(times)
        spread = f"{min(times):.3f} to {max(times):.3f}"
        print(f"{name:<45} {median:8.3f} s  ({spread})  {median / ours:6.1f} x")


if __name__ == "__main__":
    main()
