"""Where detectors and amplifiers lie: in real headers, in simulated nights, and through tables and files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

import flatnorm_xr as fx
from flatnorm_xr.camera.geometry import Amplifier, Detector, describe
from flatnorm_xr.camera.headers import FileHeaders, read_headers
from flatnorm_xr.camera.places import Place, map_of_sections, to_trimmed
from flatnorm_xr.camera.profiles import load_profile
from flatnorm_xr.camera.rules import parse_rule
from flatnorm_xr.camera.sections import Section
from flatnorm_xr.simulate.night import CAMERAS

PLACES = ("x", "y", "width", "height")


def ccd(**cards: Any) -> fits.Header:
    """One DECam CCD of 20 x 20 pixels, amplifier B left of A, at the centre of a mosaic of 40 x 100."""
    header = fits.Header([("XTENSION", "IMAGE"), ("NAXIS", 2), ("NAXIS1", 20), ("NAXIS2", 20)])
    header.extend([("INSTRUME", "DECam"), ("EXPNUM", 7), ("CCDNUM", 1), ("DETPOS", "S1")])
    sections = {"A": "[11:20,1:20]", "B": "[1:10,1:20]"}
    for amplifier, section in sections.items():
        header[f"DATASEC{amplifier}"] = header[f"CCDSEC{amplifier}"] = section
    header.update({"DETSEC": "[11:30,41:60]", "DETSIZE": "[1:40,1:100]", **cards})
    return header


def detector(profile: str = "decam", **cards: Any) -> Detector:
    headers = FileHeaders.from_headers([fits.Header([("SIMPLE", True), ("NAXIS", 0)]), ccd(**cards)])
    return describe(headers, profile=load_profile(profile)).detectors[0]


def place(record: Amplifier | Detector) -> Place:
    return Place(*(getattr(record, name) for name in PLACES))


def tiles(ds: xr.Dataset, label: object) -> np.ndarray[Any, Any]:
    """Left, right, bottom, top of the amplifiers of one detector that have a place."""
    one = ds.sel(detector=label)
    x, y, width, height = (one[f"amplifier_{name}"].values for name in PLACES)
    boxes = np.stack([x - width / 2, x + width / 2, y - height / 2, y + height / 2], axis=1)
    return boxes[np.isfinite(x)]


def test_amplifiers_are_the_halves_of_their_detector() -> None:
    found = detector()
    a, b = found.amplifiers
    assert place(found) == pytest.approx((0, 0, 0.3, 0.3))
    assert place(a) == pytest.approx((0.075, 0, 0.15, 0.3))
    assert place(b) == pytest.approx((-0.075, 0, 0.15, 0.3))


def test_a_reversed_section_mirrors_the_amplifiers() -> None:
    a, b = detector(DETSEC="[30:11,60:41]").amplifiers
    assert (place(a).x, place(b).x) == pytest.approx((-0.075, 0.075))


def corners(section: Section) -> list[tuple[float, float]]:
    return [(x, y) for x in (section.x1, section.x2) for y in (section.y1, section.y2)]


@pytest.mark.parametrize("cards", [{}, {"DETSEC": "[30:11,60:41]"}, {"CCDSECA": "[20:11,20:1]"}])
def test_the_middle_of_the_light_lies_where_the_amplifier_does(cards: dict[str, str]) -> None:
    for amplifier in detector(**cards).amplifiers:
        assert amplifier.to_focal_plane is not None
        assert amplifier.to_focal_plane(*amplifier.data.centre) == pytest.approx((amplifier.x, amplifier.y))


def test_pixels_follow_a_turned_section() -> None:
    """Amplifier A read out backwards on a detector that is itself turned: two turns are none."""
    a, b = detector(DETSEC="[30:11,41:60]", CCDSECA="[20:11,1:20]").amplifiers
    assert a.to_focal_plane is not None
    assert b.to_focal_plane is not None
    # DETSIZE's centre is pixel (20.5, 50.5); A's column 11 is the trimmed image's 20, the mosaic's 11
    assert a.to_focal_plane(11.0, 1.0) == pytest.approx((0.015 * (11 - 20.5), 0.015 * (41 - 50.5)))
    assert b.to_focal_plane(1.0, 20.0) == pytest.approx((0.015 * (30 - 20.5), 0.015 * (60 - 50.5)))


def test_pixels_of_the_trimmed_image_follow_flips() -> None:
    a, b = detector(CCDSECA="[20:11,20:1]").amplifiers
    for amplifier, first in ((a, (20.0, 20.0)), (b, (1.0, 1.0))):
        found = to_trimmed(amplifier)
        assert found is not None
        assert found(float(amplifier.data.x1), float(amplifier.data.y1)) == first
    assert to_trimmed(replace(a, trimmed=None)) is None


def test_maps_one_after_the_other() -> None:
    there = map_of_sections(Section(3, 12, 5, 24), Section(40, 21, 1, 10))
    back = map_of_sections(Section(40, 21, 1, 10), Section(3, 12, 5, 24))
    x, y = there.then(back)(np.array([3.0, 7.0, 12.0]), np.array([5.0, 9.0, 24.0]))
    np.testing.assert_allclose(x, [3, 7, 12])
    np.testing.assert_allclose(y, [5, 9, 24])


@pytest.mark.parametrize("camera", ["decam", "lsstcam"])
def test_every_pixel_lies_where_it_was_simulated(tmp_path: Path, camera: str) -> None:
    """Corner rafts of LSSTCam are turned by a right angle."""
    ragged = camera == "lsstcam"
    fx.simulate_night(tmp_path, camera=camera, n_exposures=1, faults=False, ragged=ragged)
    layout = CAMERAS[camera]
    truth = {one.label: one for one in layout.place(layout.default_detectors, ragged)}
    found = [
        detector
        for path in sorted(tmp_path.glob("*.fits"))
        for detector in describe(read_headers(path), profile=load_profile(camera)).detectors
    ]
    assert len(found) == layout.default_detectors
    for one in found:
        taps = {tap.amplifier: tap for tap in truth[one.id].taps}
        for amplifier in one.amplifiers:
            tap = taps[amplifier.name]
            for column, row in corners(amplifier.data):
                assert amplifier.to_focal_plane is not None
                pixel = map_of_sections(tap.data, tap.ccd)(float(column), float(row))
                expected = truth[one.id].place(*map(np.float64, pixel))  # type: ignore[arg-type]
                np.testing.assert_allclose(amplifier.to_focal_plane(column, row), expected, atol=1e-6)


def test_binning_does_not_move_anything() -> None:
    assert place(detector(DETSEC="[21:60,81:120]", DETSIZE="[1:80,1:200]").amplifiers[0]) == pytest.approx(
        (0.15, 0, 0.3, 0.6)
    )


def test_pixels_binned_in_one_direction_keep_their_places() -> None:
    """20 x 20 pixels of 1 x 3: a section of 20 x 60."""
    given = load_profile("decam")
    profile = replace(given, detector=replace(given.detector, binning=parse_rule("CCDSUM")))
    unbinned = {"CCDSECA": "[11:20,1:60]", "CCDSECB": "[1:10,1:60]"}
    cards = ccd(DETSEC="[11:30,41:100]", DETSIZE="[1:40,1:140]", CCDSUM="1 3", **unbinned)
    headers = FileHeaders.from_headers([fits.Header([("SIMPLE", True), ("NAXIS", 0)]), cards])
    a, _ = describe(headers, profile=profile).detectors[0].amplifiers
    assert a.to_focal_plane is not None
    assert place(a) == pytest.approx((0.075, 0, 0.15, 0.9))
    assert a.to_focal_plane(11.0, 2.0) == pytest.approx((0.015 * 0.5, 0.015 * (45 - 70.5)))


@pytest.mark.parametrize(
    "cards",
    [
        pytest.param({"DETSEC": "[11:30,41:100]"}, id="another shape"),
        pytest.param({"CCDSECB": "[1:11,1:20]"}, id="overlapping sections"),
    ],
)
def test_amplifiers_whose_sections_do_not_fit_are_unknown(cards: dict[str, str]) -> None:
    found = detector(**cards)
    assert np.isfinite(place(found)).all()
    assert np.isnan([place(amplifier) for amplifier in found.amplifiers]).all()


def test_without_a_section_of_the_mosaic_nothing_is_known() -> None:
    found = detector(DETSEC="[0:0,0:0]")
    assert np.isnan([place(found), *map(place, found.amplifiers)]).all()


def test_sections_of_amplifiers_in_the_mosaic() -> None:
    """One HDU an amplifier, each with its own section of the mosaic."""
    given = load_profile("lsstcam")
    rules = replace(
        load_profile("decam").position,
        pixel_size=0.1,
    )
    primary = fits.Header([("NAXIS", 0), ("RAFTBAY", "R22"), ("CCDSLOT", "S11"), ("DAYOBS", "20230224"), ("SEQNUM", 1)])
    images = []
    for k, section in enumerate(("[1:10,1:20]", "[11:20,1:20]")):
        header = fits.Header([("XTENSION", "IMAGE"), ("NAXIS", 2), ("NAXIS1", 10), ("NAXIS2", 20)])
        header.extend([("EXTNAME", f"Segment1{k}"), ("DATASEC", "[1:10,1:20]"), ("DETSEC", section)])
        header["DETSIZE"] = "[1:20,1:20]"
        images.append(header)
    headers = FileHeaders.from_headers([primary, *images])
    (found,) = describe(headers, profile=replace(given, position=rules)).detectors
    assert place(found) == pytest.approx((0, 0, 2, 2))
    assert [place(amplifier).x for amplifier in found.amplifiers] == pytest.approx([-0.5, 0.5])


def map_of(**cards: float | str) -> tuple[float, ...] | None:
    """How pixels come to lie in a focal plane of 1 mm pixels, by WCS F: x and y per column and row."""
    given = load_profile("decam")
    rules = replace(given.position, section=None, size=None, wcs="F", origin=(0.0, 0.0), pixel_size=1.0)
    header = ccd(CRVAL1F=100.0, CRVAL2F=-50.0, CRPIX1F=1.0, CRPIX2F=1.0, **cards)
    primary = fits.Header([("SIMPLE", True), ("NAXIS", 0)])
    headers = FileHeaders.from_headers([primary, header])
    (found,) = describe(headers, profile=replace(given, position=rules)).detectors
    to = found.amplifiers[0].to_focal_plane
    if to is None:
        assert np.isnan([place(found), *map(place, found.amplifiers)]).all()
        return None
    assert to(1.0, 1.0) == pytest.approx((100, -50))
    return to.x_column, to.x_row, to.y_column, to.y_row


def test_the_matrix_of_a_wcs_is_cd_or_cdelt_times_pc() -> None:
    assert map_of() == (1, 0, 0, 1)
    assert map_of(CDELT1F=2.0, CDELT2F=3.0) == (2, 0, 0, 3)
    quarter = {"PC1_1F": 0.0, "PC1_2F": -1.0, "PC2_1F": 1.0, "PC2_2F": 0.0}
    assert map_of(CDELT1F=2.0, CDELT2F=3.0, **quarter) == (0, -2, 3, 0)
    # what lacks of PC is that of the identity, what lacks of CD is 0, and CDELT means nothing beside CD
    assert map_of(PC1_2F=0.5) == (1, 0.5, 0, 1)
    assert map_of(CD1_2F=-2.0, CD2_1F=3.0, CDELT1F=7.0, CDELT2F=7.0) == (0, -2, 3, 0)


@pytest.mark.parametrize(
    "cards",
    [
        pytest.param({"CD1_1F": 1.0, "CD2_2F": 1.0, "PC1_1F": 1.0}, id="both matrices"),
        pytest.param({"CD1_2F": -2.0}, id="all pixels on a line"),
        pytest.param({"CDELT1F": 0.0}, id="no step"),
        pytest.param({"CD1_1F": "one", "CD2_2F": 1.0}, id="not a number"),
    ],
)
def test_a_wcs_that_makes_no_sense_gives_no_places(cards: dict[str, Any]) -> None:
    assert map_of(**cards) is None


@pytest.fixture(scope="module", params=["decam", "lsstcam"])
def night(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[xr.Dataset, xr.Dataset]:
    folder = tmp_path_factory.mktemp(request.param)
    ragged = request.param == "lsstcam"
    truth = fx.simulate_night(folder, camera=request.param, n_exposures=2, faults=False, ragged=ragged)
    return truth, fx.measure(sorted(map(str, folder.glob("*.fits"))), progress=False)


def test_places_measured_are_the_true_ones(night: tuple[xr.Dataset, xr.Dataset]) -> None:
    truth, measured = night
    truth = truth.sel(detector=measured.detector, amplifier=measured.amplifier)
    for name in (*PLACES, *(f"amplifier_{name}" for name in PLACES)):
        np.testing.assert_allclose(measured[name], truth[name], atol=1e-6, err_msg=name)
        assert measured[name].attrs["units"] == "mm"
        assert measured[name].dims == truth[name].dims


def test_amplifiers_tile_their_detector(night: tuple[xr.Dataset, xr.Dataset]) -> None:
    for ds in night:
        for label in ds.detector.values:
            boxes = tiles(ds, label)
            one = ds.sel(detector=label)
            assert boxes.shape[0] == (int(one.exists.sum()) if "exists" in ds.coords else ds.sizes["amplifier"])
            area = (boxes[:, 1] - boxes[:, 0]) @ (boxes[:, 3] - boxes[:, 2])
            assert area == pytest.approx(float(one.width * one.height))
            assert boxes[:, 1].max() - boxes[:, 0].min() == pytest.approx(float(one.width))
            assert (boxes[:, 0].min() + boxes[:, 1].max()) / 2 == pytest.approx(float(one.x), abs=1e-6)
            for i, a in enumerate(boxes):
                for b in boxes[:i]:
                    apart = max(a[0] - b[1], b[0] - a[1], a[2] - b[3], b[2] - a[3])
                    assert apart > -1e-6


def test_padding_has_no_place(night: tuple[xr.Dataset, xr.Dataset]) -> None:
    for ds in night:
        if "exists" in ds.coords:
            np.testing.assert_array_equal(np.isfinite(ds.amplifier_x), ds.exists)


def test_a_camera_without_positions_has_no_places(tmp_path: Path) -> None:
    truth = fx.simulate_night(tmp_path, camera="hsc", n_exposures=1, faults=False)
    measured = fx.measure(str(tmp_path / "*.fits"), progress=False)
    assert not {*PLACES, *(f"amplifier_{name}" for name in PLACES)} & set(measured.coords)
    assert {*PLACES} <= set(truth.coords)


def test_places_survive_a_file_and_a_table(tmp_path: Path) -> None:
    ds = fx.simulate(n_detectors=3, n_amplifiers=4, n_exposures=2)
    xr.testing.assert_identical(fx.open(fx.save(ds, tmp_path / "a.nc")), ds)
    fx.export(ds, tmp_path / "a.csv")
    back = fx.read_table(tmp_path / "a.csv", units="adu")
    for name in (*PLACES, *(f"amplifier_{name}" for name in PLACES)):
        xr.testing.assert_identical(back[name].variable, ds[name].variable)


def test_places_of_detectors_survive_the_solve_of_detectors() -> None:
    ds = fx.simulate(n_detectors=3, n_amplifiers=4, n_exposures=2)
    solution = fx.solve(ds, level="detector")
    xr.testing.assert_identical(solution.width.variable, ds.width.variable)
    assert "amplifier_x" not in solution.coords


@pytest.mark.parametrize(("n", "rows"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 2)])
def test_simulated_amplifiers_split_their_detector(n: int, rows: int) -> None:
    ds = fx.simulate(n_detectors=2, n_amplifiers=n, n_exposures=1)
    boxes = tiles(ds, 2)
    assert len(np.unique(boxes[:, 2])) == rows
    assert (boxes[:, 1] - boxes[:, 0]) @ (boxes[:, 3] - boxes[:, 2]) == pytest.approx(1600)
