"""Fixtures of pictures: no screen, every figure drawn and closed, and a few compared with stored images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

STORED = Path(__file__).parent / "baselines"
RENEW = "FLATNORM_RENEW_BASELINES"

_STYLE = {"font.family": "DejaVu Sans", "font.size": 10.0, "svg.hashsalt": "flatnorm", "figure.dpi": 50}


@pytest.fixture
def figures() -> Iterator[None]:
    """Draw without a screen, draw every figure that was made, and close it."""
    import matplotlib.pyplot as plt

    with mpl.rc_context():
        plt.switch_backend("Agg")
        yield
        try:
            for number in plt.get_fignums():
                plt.figure(number).draw_without_rendering()
        finally:
            plt.close("all")


@dataclass(frozen=True)
class Baselines:
    """Compare pictures with the stored ones, tests/show/baselines/NAME.png.

    A picture is compared without words and legends: fonts are drawn differently by every version of matplotlib, and
    what is written is asserted by tests of its own. Draw into axes of `axes`, which lie at the same place whatever is
    written around them, and hand the figure to `check`.

    A picture that was changed on purpose is renewed by running its test with FLATNORM_RENEW_BASELINES=1 in the
    environment. The test then skips instead of passing; look at the new file before it is committed. Keep each below
    40 kB, and all of them together at most eight.
    """

    rejected: Path
    """Folder for pictures that differ."""
    tolerance: float = 1.3
    """Of `difference`. Two versions of matplotlib differ by 0.8 at most; a marker of 6 points less makes 2.3."""

    def axes(self, *, rect: tuple[float, float, float, float] = (0.14, 0.16, 0.48, 0.56), **keywords: Any) -> Any:
        """Make axes at a fixed place of a figure of 4 x 3 inches; keywords are those of ``Figure.add_axes``."""
        import matplotlib.pyplot as plt

        return plt.figure(figsize=(4, 3), dpi=50, layout="none").add_axes(rect, **keywords)

    def check(self, figure: Any, name: str) -> None:
        """Fail when the picture differs from the stored one by more than the tolerance."""
        path = STORED / f"{name}.png"
        if os.environ.get(RENEW):
            STORED.mkdir(exist_ok=True)
            mpl.image.imsave(path, self.drawn(figure))
            assert path.stat().st_size < 40_000, f"{path} has {path.stat().st_size} bytes; draw less"
            pytest.skip(f"{path} renewed; look at it")
        difference = self.difference(figure, name)
        if difference > self.tolerance:
            seen = self.rejected / f"{name}.png"
            mpl.image.imsave(seen, self.drawn(figure))
            pytest.fail(
                f"{name} differs from {path} by an rms of {difference:.2f} of 255, {self.tolerance} are allowed; the "
                f"new picture is {seen}. Where the change was meant, run with {RENEW}=1"
            )

    def difference(self, figure: Any, name: str) -> float:
        """Root mean square difference from the stored picture, 0 to 255; infinite when the sizes differ.

        A pixel is compared with that neighbour, or itself, which it resembles most: where a line or a cell comes out
        one pixel away, as it does with another version of matplotlib, nothing differs; where it is missing, it does.
        """
        new = self.drawn(figure).astype(float)
        stored = np.round(255 * mpl.image.imread(STORED / f"{name}.png")[..., :3])
        if new.shape != stored.shape:
            return np.inf
        apart = np.maximum(_apart(new, stored), _apart(stored, new))
        return float(np.sqrt(np.mean(apart**2)))

    @staticmethod
    def drawn(figure: Any) -> NDArray[np.uint8]:
        """Pixels of the figure without words and legends, (height, width, 3)."""
        from matplotlib.legend import Legend
        from matplotlib.text import Text

        figure.draw_without_rendering()
        for text in figure.findobj(Text):
            text.set_alpha(0)
        for legend in figure.findobj(Legend):
            legend.set_visible(False)
        figure.canvas.draw()
        return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def _apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root mean square over the colours of what each pixel differs from the nearest alike of the other picture."""
    height, width = one.shape[:2]
    around = np.pad(other, ((1, 1), (1, 1), (0, 0)), mode="edge")
    moved = [around[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    nearest: NDArray[np.float64] = np.min([((one - there) ** 2).mean(-1) for there in moved], axis=0)
    return np.sqrt(nearest)


@pytest.fixture
def baselines(figures: None, tmp_path: Path) -> Iterator[Baselines]:
    """Comparison with stored pictures, in a fixed style."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield Baselines(tmp_path)


YEAR = np.timedelta64(31_557_600, "s")
"""A Julian year."""

Jump = tuple[tuple[int, int], int, float]
"""Places of detector and amplifier, the first run after, and the change of ln G."""


def years_of_runs(
    *,
    n_detectors: int = 6,
    n_amplifiers: int = 4,
    n_runs: int = 120,
    years: float = 10.0,
    drifts: Mapping[tuple[int, int], float] | None = None,
    jumps: Sequence[Jump] = (),
    against: Mapping[tuple[int, int], float] | None = None,
    noise: float = 2e-4,
    seed: int = 1,
) -> xr.Dataset:
    """Make what `follow` returns, with known drifts (per year), jumps and responses (per degree), by amplifiers."""
    rng = np.random.default_rng(seed)
    shape = (n_detectors, n_amplifiers)
    time = np.datetime64("2016-01-15T02:00:00", "ns") + (np.linspace(0, years, n_runs) * YEAR).astype("m8[ns]")
    since = np.asarray((time - time[0]) / YEAR, dtype=float)
    rate = np.zeros(shape)
    for unit, size in (drifts or {}).items():
        rate[unit] = size
    change = np.zeros((n_runs, *shape))
    for unit, run, size in jumps:
        change[(slice(run, None), *unit)] += size
    temperature = 5 + 8 * np.sin(2 * np.pi * since)
    slope = np.zeros(shape)
    for unit, size in (against or {}).items():
        slope[unit] = size
    level = rng.normal(0, 0.05, shape) + rate * since[:, None, None] + change + slope * temperature[:, None, None]
    found = level + noise * rng.normal(size=level.shape)
    dims = ("detector", "amplifier")
    spread = float(np.sqrt((since - since.mean()) @ (since - since.mean()))) or np.nan
    order = sorted(jumps, key=lambda jump: -abs(jump[2]))
    at = np.array([run for _, run, _ in order], dtype=int)
    ids = np.array([f"{k:08x}" for k in rng.integers(0, 2**32, n_runs)], dtype=object)
    place = np.arange(n_detectors)
    found_ds = xr.Dataset(
        {
            "G": (("run", *dims), np.exp(found), {"long_name": "relative response G", "units": "1"}),
            "G_stderr": (("run", *dims), noise * np.exp(found)),
            "gauge_offset": ("run", rng.normal(0, 1e-3, n_runs)),
            "in_gauge": (dims, np.ones(shape, dtype="i1")),
            "model": (("run", *dims), np.exp(level)),
            "drift": (dims, rate + noise / spread * rng.normal(size=shape), {"long_name": "drift of ln G"}),
            "drift_stderr": (dims, np.full(shape, noise / spread)),
            "drift_p_holm": (dims, np.where(rate, 1e-9, 1.0)),
            "scatter": (dims, np.full(shape, noise)),
            "noise_factor": (dims, np.ones(shape)),
            "change_size": ("change", np.array([size for *_, size in order], dtype=float)),
            "change_size_stderr": ("change", np.full(len(order), noise / 5)),
            "change_p": ("change", np.full(len(order), 1e-12)),
        },
        coords={
            "run": ids,
            "time": ("run", time),
            "temperature": ("run", temperature, {"units": "degC"}),
            "detector": np.arange(1, n_detectors + 1),
            "amplifier": [f"C{k:02}" for k in range(n_amplifiers)],
            "detector_name": ("detector", [f"S{k + 1}" for k in range(n_detectors)]),
            "x": ("detector", 42.0 * (place % 3)),
            "y": ("detector", 42.0 * (place // 3)),
            "change_detector": ("change", np.array([1 + d for (d, _), *_ in order], dtype=int)),
            "change_amplifier": ("change", np.array([f"C{a:02}" for (_, a), *_ in order], dtype=object)),
            "change_time": ("change", time[at]),
            "change_last_before": ("change", time[at - 1]),
            "change_run": ("change", ids[at]),
        },
        attrs={
            "camera": "simulated",
            "physical_filter": "r",
            "gauge": "common gauge: mean ln G of the 24 units that no run lacks is 0",
            "alpha": 0.01,
            "against": "",
        },
    )
    return found_ds if against is None else _with_responses(found_ds, slope, noise)


def _with_responses(ds: xr.Dataset, slope: NDArray[np.float64], noise: float) -> xr.Dataset:
    """Add what `follow` says of responses to the temperature."""
    dims = ("detector", "amplifier")
    error = noise / np.sqrt(ds.sizes["run"]) / float(ds.temperature.std())
    found = {
        "response_temperature": (dims, slope),
        "response_temperature_stderr": (dims, np.full(slope.shape, error)),
        "response_temperature_p_holm": (dims, np.where(slope, 1e-9, 1.0)),
        "correlation_temperature": (dims, np.where(slope, 0.98, 0.0)),
    }
    return ds.assign(found).assign_attrs(against="temperature")


def two_runs(
    *,
    n_detectors: int = 6,
    n_amplifiers: int = 4,
    differences: Mapping[tuple[int, int], float] | None = None,
    noise: float = 2e-4,
    seed: int = 1,
) -> xr.Dataset:
    """Make what `flatnorm_xr.archive.trend.compare.compare_solutions` returns, with known differences of ln G."""
    rng = np.random.default_rng(seed)
    dims, shape = ("detector", "amplifier"), (n_detectors, n_amplifiers)
    size = noise * rng.normal(size=shape)
    for unit, difference in (differences or {}).items():
        size[unit] += difference
    ratio = np.exp(size)
    p = np.ones(shape)
    for unit in differences or {}:
        p[unit] = 1e-9
    return xr.Dataset(
        {
            "G_ratio": (dims, ratio, {"long_name": "ratio of G", "units": "1"}),
            "G_ratio_stderr": (dims, noise * ratio),
            "level_ratio": (dims, ratio * np.exp(noise / 3 * rng.normal(size=shape))),
            "level_ratio_stderr": (dims, noise * ratio),
            "significance": (dims, size / noise),
            "p_holm": (dims, p),
        },
        coords={
            "detector": np.arange(1, n_detectors + 1),
            "amplifier": [f"C{k:02}" for k in range(n_amplifiers)],
            "x": ("detector", 42.0 * (np.arange(n_detectors) % 3)),
            "y": ("detector", 42.0 * (np.arange(n_detectors) // 3)),
        },
        attrs={
            "run_a": "3f" * 32,
            "run_b": "a0" * 32,
            "gauge": "common gauge: mean ln G of the 24 units measured in both is 0",
            "rms": float(1085.7 * np.sqrt((size**2).mean())),
        },
    )


@pytest.fixture(scope="session")
def make_comparison() -> Callable[..., xr.Dataset]:
    """Make a comparison of two runs that differ by known amounts; see `two_runs`."""
    return two_runs


@pytest.fixture(scope="session")
def make_trend() -> Callable[..., xr.Dataset]:
    """Make a trend of known drifts and jumps; see `years_of_runs`."""
    return years_of_runs


@pytest.fixture(scope="session")
def trend() -> xr.Dataset:
    """Ten years of 24 amplifiers: two jump, one of them twice, and three drift."""
    return years_of_runs(
        drifts={(0, 1): 1e-3, (3, 3): -6e-4, (5, 0): 4e-4},
        jumps=[((1, 2), 50, -5e-3), ((4, 0), 90, 2e-3), ((4, 0), 20, 3e-3)],
    )
