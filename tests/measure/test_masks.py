"""What is left out of a detector: every kind of mask on small frames whose answer is exact arithmetic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import flatnorm_xr as fx
from flatnorm_xr.camera.file_bytes import Unreadable
from flatnorm_xr.camera.geometry import Amplifier, Detector
from flatnorm_xr.camera.headers import read_headers
from flatnorm_xr.camera.places import Affine, map_of_sections
from flatnorm_xr.camera.profiles import MaskRules, Profile, load_profile
from flatnorm_xr.camera.regions import Region
from flatnorm_xr.camera.sections import Section
from flatnorm_xr.errors import CameraError, ReadError
from flatnorm_xr.flags import Flag
from flatnorm_xr.measure.border import without_border
from flatnorm_xr.measure.masks import Masking, bad_pixels, load_masking
from flatnorm_xr.measure.vignetting import dark_pixels
from flatnorm_xr.measure.words import RawImage
from flatnorm_xr.simulate.night import CAMERAS

Array = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]

ROWS, COLUMNS = 6, 20
TRIMMED = Section(1, 8, 1, 6), Section(9, 16, 1, 6)


def two_amplifiers(
    left: Section = TRIMMED[0], right: Section = TRIMMED[1], *, mask_hdu: int | None = None, pixel: float = 0.1
) -> Detector:
    """Left and right, eight columns each between two of overscan; the focal plane's origin in their middle."""
    middle = Affine(-8.5 * pixel, pixel, 0, -3.5 * pixel, 0, pixel)
    data = Section(3, 10, 1, 6), Section(11, 18, 1, 6)
    amplifiers = tuple(
        Amplifier(
            name=name,
            hdu=1,
            data=one,
            overscan=None,
            trimmed=place,
            mask_hdu=mask_hdu,
            to_focal_plane=map_of_sections(one, place).then(middle),
        )
        for name, one, place in zip("LR", data, (left, right), strict=True)
    )
    return Detector(3, "S3", "", amplifiers, {1: (ROWS, COLUMNS)}, (ROWS, 16))


WITH_QUALITY = replace(load_profile("decam"), mask=MaskRules(only=(("EXTNAME", "DQ"),)))

TURNED = two_amplifiers(Section(8, 1, 1, 6), Section(16, 9, 6, 1))
"""The left one mirrored, the right one upside down and mirrored."""


def trimmed(detector: Detector, parts: Any) -> Flags:
    """Put the bad pixels of the amplifiers together, as the trimmed image shows them."""
    image = np.zeros(detector.trimmed_shape, dtype=bool)
    for amplifier, part in zip(detector.amplifiers, parts, strict=True):
        if part is not None and amplifier.trimmed is not None:
            turned = part[:: -1 if amplifier.trimmed.flip_y else 1, :: -1 if amplifier.trimmed.flip_x else 1]
            image[amplifier.trimmed.slices] = turned
    return image


def no_words(hdu: int) -> RawImage:
    raise AssertionError(hdu)


def bad(
    detector: Detector, *, words: Any = no_words, profile: Profile | None = None, path: str = "a.fits", **given: Any
) -> list[Flags | None]:
    profile = profile or load_profile("decam")
    masking = load_masking(profile, detectors=[detector.id], **given)
    found = bad_pixels(detector, masking=masking, profile=profile, words=words, path=path)
    assert [one.problem for one in found] == [""] * len(found)
    return [one.pixels for one in found]


def test_without_masks_there_is_no_array() -> None:
    assert bad(two_amplifiers()) == [None, None]
    assert bad(two_amplifiers(), mask=np.zeros((6, 16))) == [None, None]


@pytest.mark.parametrize("detector", [two_amplifiers(), TURNED], ids=["upright", "turned"])
@pytest.mark.parametrize("dtype", [bool, "u1", ">i2", "i4", "f4", ">f8"])
def test_masks_of_the_trimmed_image_are_turned_as_the_amplifiers_are(detector: Detector, dtype: Any) -> None:
    mask = np.random.default_rng(1).integers(0, 2, (6, 16)).astype(dtype)
    found = bad(detector, mask=mask)
    assert_array_equal(trimmed(detector, found), mask != 0)
    assert [one.shape for one in found if one is not None] == [(6, 8), (6, 8)]


def test_masks_of_the_raw_image_are_cut_as_it_is() -> None:
    mask = np.zeros((ROWS, COLUMNS), "u1")
    mask[:, :2] = 1
    mask[4, 2:4] = 8
    left, right = bad(TURNED, mask=mask)
    assert right is None
    assert left is not None
    assert_array_equal(np.argwhere(left), [[4, 0], [4, 1]])


def mask_file(path: Path, image: Array, *, kind: str = "", **cards: Any) -> Path:
    hdu: Any = fits.CompImageHDU(image, compression_type=kind) if kind else fits.ImageHDU(image)
    hdu.header.update({"CCDNUM": 3, **cards})
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    return path


def test_names_of_bits_are_those_of_the_masks_header(tmp_path: Path) -> None:
    image = np.arange(96, dtype="i4").reshape(6, 16) % 16
    path = mask_file(tmp_path / "m.fits", image, MP_BAD=0, MP_SAT=1, MP_EDGE=3)
    found = bad(two_amplifiers(), mask=path, mask_bits=["BAD", "EDGE"])
    assert_array_equal(trimmed(two_amplifiers(), found), (image & 9) != 0)
    for name, number in (("m1", -1), ("m2", True), ("m3", 64), ("m4", 1.5)):
        wrong = mask_file(tmp_path / f"{name}.fits", image, MP_BAD=number)
        with pytest.raises(CameraError, match="mask_bits BAD: a name needs a card MP_<name> with its bit, 0 to 63, in"):
            bad(two_amplifiers(), mask=wrong, mask_bits="BAD")
    with pytest.raises(CameraError, match="mask_bits DEAD: a name needs a card MP_<name>"):
        bad(two_amplifiers(), mask=path, mask_bits="DEAD,BAD")
    with pytest.raises(CameraError, match="mask_bits BAD: a name needs"):
        bad(two_amplifiers(), mask=image, mask_bits="BAD")


@pytest.mark.parametrize(
    ("name", "kind", "dtype"),
    [
        ("m.fits.fz", "RICE_1", "i4"),
        ("m.fits.fz", "PLIO_1", "i2"),
        ("m.fits.fz", "GZIP_1", "u1"),
        ("m.fits.gz", "", "u2"),
    ],
)
def test_masks_in_compressed_files(tmp_path: Path, name: str, kind: str, dtype: str) -> None:
    image = np.random.default_rng(2).integers(0, 4, (6, 16)).astype(dtype)
    path = mask_file(tmp_path / name, image, kind=kind)
    assert_array_equal(trimmed(TURNED, bad(TURNED, mask=path)), image != 0)
    assert_array_equal(trimmed(TURNED, bad(TURNED, mask=path, mask_bits=1)), (image & 2) != 0)


@pytest.mark.parametrize(
    "detector",
    [
        two_amplifiers(mask_hdu=2),
        replace(TURNED, amplifiers=tuple(replace(amplifier, mask_hdu=2) for amplifier in TURNED.amplifiers)),
    ],
    ids=["upright", "turned"],
)
@pytest.mark.parametrize("layout", ["raw", "trimmed"])
def test_data_quality_of_the_file_itself(detector: Detector, layout: str) -> None:
    read: list[int] = []
    shape = (ROWS, COLUMNS) if layout == "raw" else (6, 16)
    values = np.arange(np.prod(shape), dtype=">i2").reshape(shape)

    def words(hdu: int) -> RawImage:
        read.append(hdu)
        return RawImage(values)

    found = bad(detector, profile=WITH_QUALITY, words=words, mask_bits=2)
    # in the raw image the columns of light are the third on
    light = values[:, 2:18] if layout == "raw" else values
    expected = (light & 4) != 0
    if layout == "raw":
        assert_array_equal(np.hstack([one for one in found if one is not None]), expected)
    else:
        assert_array_equal(trimmed(detector, found), expected)
    assert read == [2]


def test_bits_of_data_quality_are_the_profiles_unless_given() -> None:
    profile = replace(WITH_QUALITY, mask=replace(WITH_QUALITY.mask, bits=(1,)))
    values = np.arange(ROWS * COLUMNS, dtype="u1").reshape(ROWS, COLUMNS) % 4
    detector = two_amplifiers(mask_hdu=2)
    for keywords, chosen in (({}, 2), ({"mask_bits": 0}, 1), ({"mask_bits": [0, 1]}, 3)):
        found = bad(detector, profile=profile, words=lambda hdu: RawImage(values), **keywords)
        assert_array_equal(np.hstack([one for one in found if one is not None]), (values[:, 2:18] & chosen) != 0)
    # with a mask image the keyword speaks of that one, and both masks count
    mask = np.full((6, 16), 4)
    mask[0] = 1
    found = bad(detector, profile=profile, words=lambda hdu: RawImage(values), mask=mask, mask_bits=0)
    expected = (values[:, 2:18] & 2) != 0
    expected[0] = True
    assert_array_equal(np.hstack([one for one in found if one is not None]), expected)


def test_bits_need_something_that_has_them() -> None:
    with pytest.raises(CameraError, match="mask_bits is given, and there is no mask, nor does profile hsc know"):
        load_masking(load_profile("hsc"), detectors=[1], mask_bits=3)


def test_data_quality_that_cannot_be_read_is_told() -> None:
    def words(hdu: int) -> RawImage:
        if hdu == 2:
            reason = "cut off"
            raise Unreadable(reason)
        return RawImage(np.ones((ROWS, COLUMNS), "u1"))

    detector = two_amplifiers(mask_hdu=2)
    one = replace(detector, amplifiers=(detector.amplifiers[0], replace(detector.amplifiers[1], mask_hdu=4)))
    left, right = bad_pixels(one, masking=Masking(), profile=load_profile("decam"), words=words, path="a.fits")
    assert left == (None, "data quality in HDU 2: cut off")
    assert right.pixels is not None
    assert right.pixels.all()
    assert right.problem == ""


def test_shapes_that_do_not_fit_are_named() -> None:
    detector = two_amplifiers(mask_hdu=2)
    found = bad_pixels(
        detector,
        masking=Masking(),
        profile=load_profile("decam"),
        words=lambda hdu: RawImage(np.zeros((5, 7), "u1")),
        path="a.fits",
    )
    said = "data quality in HDU 2: of 7 x 5 pixels, and the detector has 20 x 6, 16 x 6 (raw, trimmed)"
    assert found == ((None, said), (None, said))
    with pytest.raises(CameraError, match=r"mask of detector 3: has 1 image\(s\) of 7 x 5 pixels"):
        bad(detector, mask=np.zeros((5, 7)))


REGIONS = [
    Region(circle=(0, 0, 0.45)),
    Region(circle=(0.8, -0.1, 0.75)),
    Region(polygon=((-0.5, -0.3), (0.7, -0.2), (0.1, 0.26))),
    Region(circle=(4, 3, 5), units="pixel"),
    Region(polygon=((2, 2), (15, 2), (15, 5), (2, 5)), units="pixel"),
    Region(circle=(8, 3, 5), polygon=((2, 2), (15, 2), (15, 5), (2, 5)), units="pixel"),
]


@pytest.mark.parametrize("detector", [two_amplifiers(), TURNED], ids=["upright", "turned"])
@pytest.mark.parametrize("region", REGIONS)
def test_pixels_whose_centres_lie_outside_get_no_light(detector: Detector, region: Region) -> None:
    rows, columns = np.mgrid[1:7, 1:17].astype(float)
    x, y = (columns, rows) if region.units == "pixel" else ((columns - 8.5) * 0.1, (rows - 3.5) * 0.1)
    expected = ~region.inside(x, y)
    assert 0 < expected.sum() < expected.size
    assert_array_equal(trimmed(detector, bad(detector, vignetting=region)), expected)


def test_a_rectangle_in_pixels_counts_from_one() -> None:
    found = trimmed(TURNED, bad(TURNED, vignetting="polygon 2 2 15 2 15 5 2 5 pixel"))
    assert_array_equal(np.argwhere(~found).min(axis=0), [1, 1])
    assert_array_equal(np.argwhere(~found).max(axis=0), [4, 14])
    assert (~found).sum() == 4 * 14


@given(
    rows=st.integers(1, 200),
    columns=st.integers(1, 200),
    first=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    turn=st.sampled_from([(1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, 2), (0.6, 0.8, -0.8, 0.6)]),
    centre=st.tuples(st.floats(-100, 100), st.floats(-100, 100)),
    radius=st.floats(0.1, 200),
    polygon=st.booleans(),
)
def test_blocks_of_pixels_are_no_coarser_than_pixels(
    rows: int, columns: int, first: Any, turn: Any, centre: Any, radius: float, polygon: bool
) -> None:
    pixels = Affine(-50.0, turn[0], turn[1], 20.0, turn[2], turn[3])
    x, y = centre
    star = [(x + r * radius * np.cos(a), y + r * radius * np.sin(a)) for a, r in enumerate((1, 0.3, 1, 0.5, 1, 0.8))]
    region = Region(polygon=tuple(star)) if polygon else Region(circle=(x, y, radius))
    data = Section(first[0], first[0] + columns - 1, first[1], first[1] + rows - 1)
    row, column = np.mgrid[first[1] : first[1] + rows, first[0] : first[0] + columns].astype(float)
    found = dark_pixels(region, pixels, data)
    expected = ~region.inside(*pixels(column, row))
    assert_array_equal(np.zeros_like(expected) if found is None else found, expected)
    assert found is None or expected.any()


def test_the_profiles_vignetting_holds_unless_another_is_given() -> None:
    profile = replace(load_profile("decam"), vignetting=Region(circle=(0, 0, 0.45)))
    detector = two_amplifiers()
    own = trimmed(detector, bad(detector, profile=profile))
    assert_array_equal(own, trimmed(detector, bad(detector, vignetting="circle 0 0 0.45 mm")))
    assert own.any()
    assert bad(detector, profile=profile, vignetting="none") == [None, None]
    other = trimmed(detector, bad(detector, profile=profile, vignetting="circle 0 0 0.6 mm"))
    assert other.sum() < own.sum()


@pytest.mark.parametrize("units", ["mm", "pixel"])
def test_vignetting_needs_places(units: str) -> None:
    unknown = tuple(replace(a, trimmed=None, to_focal_plane=None) for a in two_amplifiers().amplifiers)
    with pytest.raises(CameraError, match=rf'vignetting in {units} needs .* detector 3 amplifier L.*vignetting="none"'):
        bad(replace(two_amplifiers(), amplifiers=unknown, trimmed_shape=()), vignetting=f"circle 0 0 1 {units}")


def test_several_masks_are_one() -> None:
    mask = np.zeros((6, 16), dtype=int)
    mask[2] = 1
    detector = two_amplifiers(mask_hdu=2)
    quality = np.zeros((6, 16), ">i2")
    quality[:, 5] = 1
    found = bad(detector, mask=mask, vignetting="circle 8.5 3.5 5 pixel", words=lambda hdu: RawImage(quality))
    alone = trimmed(detector, bad(two_amplifiers(), vignetting="circle 8.5 3.5 5 pixel"))
    alone[2] = True
    alone[:, 5] = True
    assert_array_equal(trimmed(detector, found), alone)


def inner(detector: Detector, border: int, profile: Profile | None = None) -> tuple[Amplifier | None, ...]:
    return without_border(detector, border=border, profile=profile or load_profile("decam"), path="a.fits")


@pytest.mark.parametrize("border", [0, 1, 2])
@pytest.mark.parametrize("detector", [two_amplifiers(), TURNED], ids=["upright", "turned"])
def test_the_border_is_that_of_the_detector_not_of_the_amplifier(detector: Detector, border: int) -> None:
    """Cut what counts the pixels of the trimmed image: what is left is its inner rectangle."""
    numbers = np.arange(96).reshape(6, 16)
    raw = np.zeros((ROWS, COLUMNS), int)
    for amplifier in detector.amplifiers:
        assert amplifier.trimmed is not None
        flip = (
            slice(None, None, -1 if amplifier.trimmed.flip_y else 1),
            slice(None, None, -1 if amplifier.trimmed.flip_x else 1),
        )
        raw[amplifier.data.slices] = numbers[amplifier.trimmed.slices][flip]
    cut = inner(detector, border)
    assert all(amplifier is not None for amplifier in cut)
    left = np.concatenate([raw[amplifier.data.slices].ravel() for amplifier in cut if amplifier is not None])
    assert_array_equal(np.sort(left), numbers[border : 6 - border, border : 16 - border].ravel())
    kept = replace(detector, amplifiers=tuple(amplifier for amplifier in cut if amplifier is not None))
    found = bad(kept, mask=numbers % 5 == 0)
    values = [raw[a.data.slices][one] for a, one in zip(kept.amplifiers, found, strict=True)]
    expected = numbers[border : 6 - border, border : 16 - border]
    assert_array_equal(np.sort(np.concatenate(values)), expected[expected % 5 == 0])


def test_where_the_border_is_all_nothing_is_left() -> None:
    assert inner(two_amplifiers(), 3) == (None, None)
    narrow = two_amplifiers(Section(1, 2, 1, 6), Section(3, 10, 1, 6))
    narrow = replace(narrow, trimmed_shape=(6, 10))
    narrow = replace(
        narrow, amplifiers=(replace(narrow.amplifiers[0], data=Section(9, 10, 1, 6)), narrow.amplifiers[1])
    )
    left, right = inner(narrow, 2)
    assert left is None
    assert right is not None
    assert str(right.data) == "[11:16,3:4]"


def test_the_border_needs_places() -> None:
    unknown = tuple(replace(amplifier, trimmed=None) for amplifier in two_amplifiers().amplifiers)
    with pytest.raises(CameraError, match="border 1 needs the places of the amplifiers in detector 3"):
        inner(replace(two_amplifiers(), amplifiers=unknown), 1)
    assert inner(replace(two_amplifiers(), amplifiers=unknown), 0) == unknown


def test_overscan_in_an_hdu_of_its_own_loses_the_same_rows() -> None:
    detector = two_amplifiers()
    one = replace(detector.amplifiers[0], overscan=Section(1, 4, 1, 6), overscan_hdu=5)
    other = replace(one, overscan_hdu=None)
    both = replace(detector, amplifiers=(one, other))
    sections = [str(a.overscan) for a in inner(both, 2) if a is not None]
    assert sections == ["[1:4,3:4]", "[1:4,1:6]"]
    sections = [str(a.overscan) for a in inner(both, 2, replace(load_profile("decam"), overscan="constant")) if a]
    assert sections == ["[1:4,1:6]", "[1:4,1:6]"]


def test_mask_files_are_read_once(tmp_path: Path) -> None:
    image = np.eye(16, dtype="u1")[:6]
    path = mask_file(tmp_path / "m.fits", image)
    profile = load_profile("decam")
    masking = load_masking(profile, detectors=[3], mask=path)
    again = [
        trimmed(TURNED, [one.pixels for one in found])
        for found in (
            bad_pixels(TURNED, masking=masking, profile=profile, words=no_words, path="a.fits") for _ in range(2)
        )
    ]
    path.unlink()
    found = bad_pixels(TURNED, masking=masking, profile=profile, words=no_words, path="b.fits")
    for one in (*again, trimmed(TURNED, [one.pixels for one in found])):
        assert_array_equal(one, image != 0)


WITH_PLANES = """\
name: planes
layout: plain-images
exposure: {id: EXPNUM}
detector: {id: CHIP, only: {EXTNAME: ^SCI$}}
mask: {only: {EXTNAME: ^DQ$}, pair: EXTVER, bits: [0, 2]}
"""


@pytest.mark.parametrize("kind", ["plain", "compressed", "gzip"])
def test_levels_of_files_with_planes_of_data_quality(tmp_path: Path, kind: str) -> None:
    """Each chip's light is its column number; its plane marks the first columns with bit 0, then 1, then 2."""
    camera = tmp_path / "planes.yaml"
    camera.write_text(WITH_PLANES)
    image = np.tile(100 + np.arange(10, dtype="i2"), (4, 1))
    hdus: list[Any] = [fits.PrimaryHDU(header=fits.Header([("EXPNUM", 1)]))]
    for name, chip, version in (("SCI", "B", 2), ("SCI", "A", 1), ("DQ", "A", 1), ("DQ", "B", 2)):
        plane = image if name == "SCI" else np.zeros((4, 10), "u2")
        if name == "DQ":
            plane[:, :3] = (1, 2, 4) if chip == "A" else (4, 2, 2)
        hdu: Any = fits.CompImageHDU(plane) if kind == "compressed" else fits.ImageHDU(plane)
        hdu.header.update({"EXTNAME": name, "EXTVER": version, "CHIP": chip})
        hdus.append(hdu)
    path = tmp_path / ("a.fits.gz" if kind == "gzip" else "a.fits")
    fits.HDUList(hdus).writeto(path)

    def level(**given: Any) -> list[float]:
        ds = fx.measure(path, camera=camera, statistic="mean", progress=False, **given)
        return ds.background.sel(detector=["A", "B"]).values.ravel().tolist()

    columns = np.arange(10)
    without = {left: 100 + columns[~np.isin(columns, left)].mean() for left in ((0, 2), (0,), (1, 2), (0, 1, 2), (1,))}
    assert level() == [without[0, 2], without[0,]]
    assert level(mask_bits=1) == [without[1,], without[1, 2]]
    assert level(mask_bits="0,1,2") == [without[0, 1, 2]] * 2


def test_a_wrong_byte_of_data_quality_is_seen_where_checksums_are_verified(tmp_path: Path, says: Any) -> None:
    camera = tmp_path / "planes.yaml"
    camera.write_text(WITH_PLANES)
    hdus: list[Any] = [fits.PrimaryHDU(header=fits.Header([("EXPNUM", 1)]))]
    for name, value in (("SCI", 100), ("DQ", 0)):
        cards = [("EXTNAME", name), ("EXTVER", 1), ("CHIP", "A")]
        hdus.append(fits.ImageHDU(np.full((4, 10), value, "i2"), fits.Header(cards)))
    path = tmp_path / "a.fits"
    fits.HDUList(hdus).writeto(path, checksum=True)
    options: dict[str, Any] = {"camera": camera, "statistic": "mean", "progress": False}
    assert fx.measure(path, verify_checksum=True, **options)["counts"].item() == 40
    content = bytearray(path.read_bytes())
    content[read_headers(path).places[2].offset + 1] ^= 1
    path.write_bytes(content)
    assert fx.measure(path, **options)["counts"].item() == 39
    with says("data quality in HDU 2: .*DATASUM", "nothing was measured"):
        ds = fx.measure(path, verify_checksum=True, **options)
    assert ds["quality"].item() == Flag.UNREADABLE
    assert ds["counts"].item() == 0


@pytest.mark.parametrize("camera", ["decam", "lsstcam"])
def test_levels_within_a_circle_are_those_of_the_pixels_within(tmp_path: Path, camera: str) -> None:
    """Where the simulation puts each pixel is known without any header."""
    ragged = camera == "lsstcam"
    truth = fx.simulate_night(tmp_path, camera=camera, n_exposures=1, faults=False, ragged=ragged)
    layout = CAMERAS[camera]
    # about a point of the last detector, in LSSTCam one of the corner
    width = float(truth.width[-1])
    x, y, radius = float(truth.x[-1]) + 0.2 * width, float(truth.y[-1]) + 0.1 * width, 0.45 * width
    options: dict[str, Any] = {"statistic": "mean", "progress": False, "saturation": 1e9}
    ds = fx.measure(str(tmp_path / "*.fits"), vignetting={"circle": [x, y, radius], "units": "mm"}, **options)
    seen = []
    for detector in layout.place(layout.default_detectors, ragged):
        if detector.label in ds.detector:
            for tap in detector.taps:
                rows, columns = (np.arange(one.start, one.stop) + 1.0 for one in tap.ccd.slices)
                inside = Region((x, y, radius)).inside(*detector.place(columns[np.newaxis, :], rows[:, np.newaxis]))
                found = ds["counts"].sel(detector=detector.label, amplifier=tap.amplifier).item()
                assert found == np.count_nonzero(inside)
                seen.append(inside.mean())
    assert min(seen) < 0.5 < max(seen)
    assert any(0 < share < 1 for share in seen)


def three_masks(path: Path) -> Path:
    hdus: list[Any] = [fits.PrimaryHDU()]
    for number in (2, 3, 4):
        image = np.zeros((6, 16), "u1")
        image[number] = number
        hdus.append(fits.ImageHDU(image, fits.Header([("CCDNUM", number)])))
    fits.HDUList(hdus).writeto(path)
    return path


@pytest.mark.parametrize("name", ["m.fits", "m.fits.gz", "gzip by another name"])
def test_each_detector_has_its_own_mask_and_a_packed_file_is_read_once(tmp_path: Path, name: str) -> None:
    path = three_masks(tmp_path / name.replace("gzip by another name", "m.fits.gz"))
    path = path.rename(tmp_path / name)
    profile = load_profile("decam")
    masking = load_masking(profile, detectors=[2, 3, 4], mask=path, mask_bits=1)
    for number in (3, 2, 4):
        detector = replace(two_amplifiers(), id=number)
        found = bad_pixels(detector, masking=masking, profile=profile, words=no_words, path="a.fits")
        marked = trimmed(detector, [one.pixels for one in found])
        assert np.flatnonzero(marked.any(axis=1)).tolist() == ([] if number == 4 else [number])
        if "gz" in name:
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("kind", ["", "RICE_1"])
def test_a_mask_file_that_cannot_be_read_is_named(tmp_path: Path, kind: str) -> None:
    path = mask_file(tmp_path / "m.fits", np.random.default_rng(4).integers(0, 99, (6, 16), "u1"), kind=kind)
    profile = load_profile("decam")
    masking = load_masking(profile, detectors=[3], mask=path)
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - 2880)
    with pytest.raises(ReadError, match=r"measure: mask .*m\.fits: cannot be read"):
        bad_pixels(TURNED, masking=masking, profile=profile, words=no_words, path="a.fits")


def test_threads_share_masks(tmp_path: Path) -> None:
    fx.simulate_night(tmp_path, camera="decam", n_exposures=3, faults=False)
    mask = np.random.default_rng(5).random((128, 128)) < 0.02
    options: dict[str, Any] = {"vignetting": "circle 0 0 4 mm", "border": 2, "progress": False}
    labels = fx.measure(str(tmp_path / "*.fits"), progress=False).detector.values.tolist()
    one, four = (
        fx.measure(str(tmp_path / "*.fits"), mask=dict.fromkeys(labels, mask), threads=threads, **options)
        for threads in (1, 4)
    )
    for name in ("background", "counts", "sigma", "quality"):
        assert_array_equal(one[name], four[name])
