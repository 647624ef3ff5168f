"""Which units share exposures: components, bridges and holes, before and after a solve."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.decompose.connectivity import connect
from flatnorm_xr.show import plots
from flatnorm_xr.simulate.levels import simulate

pytestmark = [
    pytest.mark.usefixtures("figures"),
    pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning"),  # cells are missing on purpose
]

SEPARATE = "2 components: the ratio between them was not measured"


def torn() -> xr.Dataset:
    """Detectors 1 to 4 in seven exposures, 5 to 8 in the other five, of which 5 in one alone."""
    ds = simulate(n_detectors=8, n_exposures=12, seed=1)
    ds["background"][:4, 7:] = np.nan
    ds["background"][4:, :7] = np.nan
    ds["background"][4, [7, 8, 10, 11]] = np.nan
    return ds


def colours(drawn: plots.Connectivity) -> set[tuple[float, ...]]:
    return {tuple(colour) for colour in np.asarray(drawn.image.get_array()).reshape(-1, 3).round(6)}


def test_one_component_is_said() -> None:
    drawn = plots.connectivity(fx.solve(simulate(seed=1)))
    assert drawn.words == "1 component"
    assert drawn.bridges is None
    assert list(drawn.components) == ["component 0: 12 units, 8 exposures"]
    assert drawn.image.axes.get_title() == ""
    assert drawn.image.axes.get_legend().get_title().get_text() == "1 component"


@pytest.mark.parametrize("solved", [False, True])
def test_two_components_have_a_colour_each_before_and_after_a_solve(solved: bool) -> None:
    ds = torn()
    with pytest.raises(fx.DisconnectedError):
        fx.solve(ds)
    drawn = plots.connectivity(fx.solve(ds, on_disconnected="separate") if solved else ds)
    assert drawn.words == SEPARATE
    image = np.asarray(drawn.image.get_array())
    tied = connect(ds.background.notnull()).unit
    for k in range(2):
        cells = image[(tied == k).values][ds.background.notnull()[(tied == k).values].values]
        assert len({tuple(cell) for cell in cells}) == 1
    assert len(colours(drawn)) == 3
    lost = int(ds.background.isnull().sum())
    assert f"{'without weight' if solved else 'not usable'} ({lost})" in drawn.components


def test_bridges_are_marked_where_they_are() -> None:
    ds = torn()
    drawn = plots.connectivity(ds)
    assert drawn.bridges is not None
    found = set(zip(*drawn.bridges.get_data(), strict=True))
    exposure, detector = np.nonzero(fx.bridges(ds.background.notnull()).transpose("exposure", "detector").values)
    assert found == set(zip(exposure, detector, strict=True)) == {(9, 4)}


def test_groups_are_looked_at_by_themselves() -> None:
    ds = simulate(seed=1).assign_coords(physical_filter=("exposure", list("grgrgrgr")))
    assert plots.connectivity(fx.solve(ds, by="physical_filter")).words == "1 component in each of 2 groups"
    ds["background"][:6, :4:2] = np.nan
    ds["background"][6:, 4::2] = np.nan
    solution = fx.solve(ds, by="physical_filter", on_disconnected="separate")
    assert plots.connectivity(solution).words == "2 components in g: the ratio between them was not measured"
    assert plots.connectivity(ds).words == "1 component"


def test_padding_has_no_row() -> None:
    ds = simulate(n_detectors=3, n_amplifiers=4, seed=1)
    exists = np.ones((3, 4), dtype=bool)
    exists[2, 2:] = False
    drawn = plots.connectivity(ds.assign_coords(exists=(("detector", "amplifier"), exists)))
    assert np.asarray(drawn.image.get_array()).shape == (10, 8, 3)
    assert list(drawn.components) == ["component 0: 10 units, 8 exposures"]


def test_a_large_camera_has_one_row_a_detector() -> None:
    ds = simulate(n_detectors=189, n_amplifiers=16, n_exposures=20)
    ds["background"][7, :5, 3] = np.nan
    ds["background"][8, :, 4] = np.nan
    drawn = plots.connectivity(ds)
    image = np.asarray(drawn.image.get_array())
    assert image.shape == (189, 20, 3)
    assert len(colours(drawn)) == 3
    assert (image[7, 3] > image[7, 4]).all()
    assert set(drawn.components) == {
        "component 0: 3024 units, 20 exposures",
        "paler: only some amplifiers",
        "not usable (1)",
    }


def test_amplifiers_of_one_detector_in_one_exposure_always_share_a_component() -> None:
    ds = simulate(n_detectors=20, n_amplifiers=8, n_exposures=4)
    ds["background"][:, :4, :2] = np.nan
    ds["background"][:, 4:, 2:] = np.nan
    drawn = plots.connectivity(ds)
    assert drawn.words == SEPARATE
    assert len(colours(drawn)) == 2
    assert set(drawn.components) == {
        "component 0: 80 units, 2 exposures",
        "component 1: 80 units, 2 exposures",
        "paler: only some amplifiers",
    }


def test_levels_of_nothing() -> None:
    assert plots.connectivity(fx.make(np.full((2, 3), np.nan))).words == "nothing was measured"
