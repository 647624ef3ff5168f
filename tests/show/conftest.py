"""Fixtures of pictures: no screen, every figure drawn and closed, and a few compared with stored images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
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
