"""A flat keeps what it holds through FITS, and reads what Rubin's images hold by their documented methods."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("lsst.pipe.base", reason="Rubin's middleware is not installed (pip install flatnorm-xr[lsst])")
from astropy.io import fits
from numpy.testing import assert_array_equal

from flatnorm_xr.errors import FlatnormError, ReadError
from flatnorm_xr.lsst.camera import MosaicAmplifier, MosaicDetector
from flatnorm_xr.lsst.flat import Flat, as_flat
from flatnorm_xr.lsst.measure import CpFlatMeasureTask

SHAPE = (4, 6)
DETECTOR = MosaicDetector(
    id=12,
    name="R01_S10 'é'  ",
    amplifiers=(
        MosaicAmplifier(name="C00", rows=(0, 4), columns=(0, 3)),
        MosaicAmplifier(name="C01", rows=(0, 4), columns=(3, 6)),
        MosaicAmplifier(name="somewhere"),
    ),
)
TRIANGLE = np.array([[-0.5, -0.5], [5.5, -0.5], [5.5, 1e-17 + 1 / 3]])


def pixels(dtype="f4"):
    image = np.arange(24).reshape(SHAPE).astype(dtype)
    if image.dtype.kind == "f":
        image[1, 2], image[3, 3] = np.nan, np.inf
    else:
        image[1, 2], image[3, 3] = np.iinfo(dtype).max, np.iinfo(dtype).min
    return image


def planes(*names, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.random(SHAPE) < 0.3 for name in names}


def assert_same(found, expected):
    assert_array_equal(found.image, expected.image)
    assert found.image.dtype == expected.image.dtype.newbyteorder("=")
    assert list(found.masks) == list(expected.masks)
    for name, plane in expected.masks.items():
        assert_array_equal(found.masks[name], plane, err_msg=name)
        assert found.masks[name].dtype == bool
    assert found.detector == expected.detector
    assert (found.valid_polygon is None) == (expected.valid_polygon is None)
    if expected.valid_polygon is not None:
        assert_array_equal(found.valid_polygon, expected.valid_polygon)


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "u2", ">u2", "i2", "u4", "i4", ">i4", "u8", "i8", "f4", ">f4", "f8", ">f8"]
)
def test_what_is_written_is_read_back_whatever_the_data_type(tmp_path, dtype):
    masks = planes("BAD", "NO_DATA", "SAT") | {"DETECTED": np.zeros(SHAPE, bool)}
    flat = Flat(pixels(dtype), masks, DETECTOR, TRIANGLE)
    flat.write(tmp_path / "flat.fits")
    assert_same(Flat.read(tmp_path / "flat.fits"), flat)


def test_a_flat_of_pixels_alone_is_read_back_without_masks_or_polygon(tmp_path):
    flat = Flat.from_array(pixels())
    flat.write(tmp_path / "flat.fits")
    assert_same(Flat.read(tmp_path / "flat.fits"), flat)


@pytest.mark.parametrize("number", [1, 8, 9, 31, 32, 63])
def test_mask_planes_fit_as_many_bits_as_there_are(tmp_path, number):
    flat = Flat(pixels(), planes(*(f"PLANE_{i}" for i in range(number))))
    flat.write(tmp_path / "flat.fits")
    assert_same(Flat.read(tmp_path / "flat.fits"), flat)


def test_other_programs_find_each_plane_by_its_card(tmp_path):
    flat = Flat(pixels(), planes("BAD", "NO_DATA"))
    flat.write(tmp_path / "flat.fits")
    with fits.open(tmp_path / "flat.fits") as hdus:
        bits, header = hdus["MASK"].data, hdus["MASK"].header
        assert_array_equal(bits & 1 << header["MP_NO_DATA"] != 0, flat.masks["NO_DATA"])
        assert_array_equal(hdus["IMAGE"].data, flat.image)


@pytest.mark.parametrize(
    ("names", "said"),
    [(["Bad"], "Bad"), (["A B"], "A B"), (["X" * 41], "X"), ([f"P{i}" for i in range(64)], "63, not 64")],
)
def test_planes_that_fits_would_change_are_not_written(tmp_path, names, said):
    flat = Flat(pixels(), planes(*names))
    with pytest.raises(FlatnormError, match=f"Flat.write: mask planes: .*{said}"):
        flat.write(tmp_path / "flat.fits")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_replaced_only_when_asked(tmp_path):
    path = tmp_path / "flat.fits"
    Flat.from_array(pixels()).write(path)
    with pytest.raises(FlatnormError, match="exists"):
        Flat.from_array(pixels() + 1).write(path)
    Flat.from_array(pixels() + 1).write(path, overwrite=True)
    assert Flat.read(path).image[0, 0] == 1


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.97])
def test_no_part_of_a_file_is_taken_for_the_whole(tmp_path, share):
    flat = Flat(pixels(), planes("BAD"), DETECTOR, TRIANGLE)
    flat.write(tmp_path / "flat.fits")
    whole = (tmp_path / "flat.fits").read_bytes()
    for length in {int(share * len(whole)), int(share * len(whole)) // 2880 * 2880}:
        (tmp_path / "cut.fits").write_bytes(whole[:length])
        with pytest.raises(ReadError):
            Flat.read(tmp_path / "cut.fits")


def test_a_file_that_is_no_flat_or_not_whole_is_refused_on_one_line(tmp_path):
    whole, cut, other, text = (tmp_path / name for name in ("whole.fits", "cut.fits", "other.fits", "text.fits"))
    Flat(np.ones((200, 200)), {"BAD": np.zeros((200, 200), bool)}, DETECTOR).write(whole)
    cut.write_bytes(whole.read_bytes()[:20_000])
    fits.PrimaryHDU(pixels()).writeto(other)
    text.write_text("SIMPLE")
    for path in (cut, other, text, tmp_path / "none.fits"):
        with pytest.raises(ReadError, match=f"^Flat.read: {path}: [^\n]*$"):
            Flat.read(path)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"image": np.ones(3)}, r"image has shape \(3,\)"),
        ({"image": np.ones((0, 4))}, r"image has shape \(0, 4\)"),
        ({"image": [[1, 2]]}, "image is a list"),
        ({"image": np.ma.masked_invalid(np.ones(SHAPE))}, "image is a MaskedArray"),
        ({"image": np.ones(SHAPE, complex)}, "image is complex128"),
        ({"image": np.ones(SHAPE, bool)}, "image is bool"),
        ({"image": np.ones(SHAPE, "f2")}, "image is float16"),
        ({"masks": {"BAD": np.zeros(SHAPE, "u1")}}, r"masks BAD \(uint8\) must be arrays of bool"),
        ({"masks": {"BAD": np.zeros((6, 4), bool)}}, r"masks BAD \(6, 4\) must have the image's shape \(4, 6\)"),
        ({"detector": DETECTOR, "image": np.ones((4, 5))}, r"amplifiers C01 columns 3:6 are not within .*\(4, 5\)"),
        ({"detector": DETECTOR, "image": np.ones((3, 6))}, "amplifiers C00 rows 0:4, C01 rows 0:4 are not within"),
        ({"detector": DETECTOR.model_copy(update={"amplifiers": DETECTOR.amplifiers[:1] * 2})}, "C00 are there twice"),
        ({"valid_polygon": TRIANGLE[:2]}, r"valid_polygon has shape \(2, 2\)"),
        ({"valid_polygon": TRIANGLE.T[:1]}, r"valid_polygon has shape \(1, 3\)"),
        ({"valid_polygon": TRIANGLE * np.nan}, "not finite"),
    ],
)
def test_what_does_not_make_a_flat_is_refused_on_one_line(arguments, rule):
    with pytest.raises(FlatnormError, match=rule) as raised:
        Flat(**{"image": np.ones(SHAPE)} | arguments)
    assert str(raised.value).startswith("Flat: detector ")
    assert "\n" not in str(raised.value)


def test_arrays_become_flats_with_their_masks():
    image, mask = pixels(), planes("BAD")["BAD"]
    assert Flat.from_array(image).masks == {}
    assert_array_equal(Flat.from_array(image, mask=mask).masks["BAD"], mask)
    assert list(Flat.from_array(image, mask=planes("SAT", "CR")).masks) == ["SAT", "CR"]
    assert Flat.from_array(image, detector=DETECTOR).detector == DETECTOR
    masked = np.ma.MaskedArray(image, image == 0)
    assert_array_equal(Flat.from_array(masked).masks["BAD"], image == 0)
    assert_array_equal(Flat.from_array(masked, mask=mask).masks["BAD"], mask | (image == 0))
    assert set(Flat.from_array(masked, mask={"SAT": mask}).masks) == {"SAT", "BAD"}


def test_bad_pixels_are_those_of_any_plane_named():
    flat = Flat(pixels(), planes("BAD", "SAT", "CR"))
    before = {name: plane.copy() for name, plane in flat.masks.items()}
    assert_array_equal(flat.bad(["BAD", "CR"]), flat.masks["BAD"] | flat.masks["CR"])
    assert flat.bad([]) is None
    for name, plane in before.items():
        assert_array_equal(flat.masks[name], plane)
    with pytest.raises(FlatnormError, match=r"no mask plane NONE, SUCH; the flat of detector 0 has BAD, SAT, CR"):
        flat.bad(["NONE", "BAD", "SUCH"])


def test_nothing_is_vignetted_without_a_polygon():
    assert Flat(pixels()).vignetted() is None


@pytest.mark.parametrize("seed", range(8))
def test_vignetted_is_what_lies_outside_the_polygon(seed):
    from matplotlib.path import Path

    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 11))
    radius = rng.uniform(5, 30, angle.size)
    polygon = np.column_stack([25 + radius * np.cos(angle), 14 + radius * np.sin(angle)])[:: rng.choice([-1, 1])]
    y, x = np.indices((31, 47))
    inside = Path(np.vstack([polygon, polygon[:1]]), closed=True).contains_points(
        np.column_stack([x.ravel(), y.ravel()])
    )
    found = Flat(np.ones(x.shape), valid_polygon=polygon).vignetted()
    assert_array_equal(found, ~inside.reshape(x.shape))
    assert 0 < found.sum() < found.size


@dataclass
class Point:
    """``lsst.geom.Point2I`` or ``Point2D``."""

    x: float
    y: float

    def getX(self):
        return self.x

    def getY(self):
        return self.y


@dataclass
class Amplifier:
    """``lsst.afw.cameraGeom.Amplifier``: its box is its own, as ``Box2I`` has it."""

    name: str
    rows: tuple[int, int]
    columns: tuple[int, int]

    def getName(self):
        return self.name

    def getBBox(self):
        return self

    def getBeginX(self):
        return self.columns[0]

    def getEndX(self):
        return self.columns[1]

    def getBeginY(self):
        return self.rows[0]

    def getEndY(self):
        return self.rows[1]


class Detector(list):
    """``lsst.afw.cameraGeom.Detector``."""

    def getId(self):
        return 7

    def getName(self):
        return "R22_S11"


class Mask:
    """``lsst.afw.image.Mask``: int32, with planes of the whole session, not only of this image."""

    def __init__(self, array, planes):
        self.array, self._planes = array, planes

    def getMaskPlaneDict(self):
        return dict(self._planes)


class Exposure:
    """``lsst.afw.image.Exposure`` by the methods that its documentation has."""

    def __init__(self, image, bits, planes, *, corner=(0, 0), detector=None, vertices=None):
        self._image = SimpleNamespace(array=image)
        self._mask, self._corner, self._detector = Mask(bits, planes), Point(*corner), detector
        # the vertices of Rubin's polygons come closed: the first is there again as the last
        closed = None if vertices is None else [Point(*one) for one in [*vertices, vertices[0]]]
        self._polygon = None if closed is None else SimpleNamespace(getVertices=lambda: closed)

    def getImage(self):
        return self._image

    def getMask(self):
        return self._mask

    def getDetector(self):
        return self._detector

    def getXY0(self):
        return self._corner

    def getInfo(self):
        return SimpleNamespace(getValidPolygon=lambda: self._polygon)


def exposure(**changes):
    bits = np.zeros(SHAPE, "i4")
    bits[0, 1] = 1 << 0 | 1 << 5
    bits[2, 4] = 1 << 5
    bits[3, 0] = np.iinfo("i4").min  # the 32nd plane is the sign
    given = {
        "corner": (100, 40),
        "detector": Detector([Amplifier("C10", (40, 44), (100, 102)), Amplifier("C11", (40, 44), (102, 106))]),
        "vertices": [(99.5, 39.5), (105.5, 39.5), (105.5, 43.5)],
    }
    return Exposure(pixels(), bits, {"BAD": 0, "SAT": 5, "CR": 3, "LAST": 31}, **given | changes)


def test_an_exposure_becomes_a_flat_counted_from_its_corner():
    flat = Flat.from_afw(exposure())
    assert_array_equal(flat.image, pixels())
    assert {name: np.argwhere(plane).tolist() for name, plane in flat.masks.items()} == {
        "BAD": [[0, 1]],
        "SAT": [[0, 1], [2, 4]],
        "CR": [],
        "LAST": [[3, 0]],
    }
    assert flat.detector == MosaicDetector(
        id=7,
        name="R22_S11",
        amplifiers=(
            MosaicAmplifier(name="C10", rows=(0, 4), columns=(0, 2)),
            MosaicAmplifier(name="C11", rows=(0, 4), columns=(2, 6)),
        ),
    )
    here = Flat(flat.image, valid_polygon=np.array([[-0.5, -0.5], [5.5, -0.5], [5.5, 3.5]]))
    assert_array_equal(flat.vignetted(), here.vignetted())
    assert 0 < flat.vignetted().sum() < flat.image.size


def test_an_exposure_survives_being_stored(tmp_path):
    flat = Flat.from_afw(exposure())
    flat.write(tmp_path / "flat.fits")
    assert_same(Flat.read(tmp_path / "flat.fits"), flat)


def test_an_exposure_need_not_be_vignetted():
    assert Flat.from_afw(exposure(vertices=None)).vignetted() is None


def test_an_exposure_without_detector_or_of_a_part_of_it_is_refused():
    with pytest.raises(FlatnormError, match="the exposure has no detector"):
        Flat.from_afw(exposure(detector=None))
    with pytest.raises(FlatnormError, match="amplifiers C10 columns -1:1 are not within the image"):
        Flat.from_afw(exposure(corner=(101, 40)))


class MaskOfPlanes:
    """``lsst.images.Mask``."""

    def __init__(self, planes):
        self._planes = planes
        self.schema = SimpleNamespace(names=planes.keys())

    def get(self, plane):
        return self._planes[plane]


def box(rows, columns):
    """``lsst.images.Box``."""
    return SimpleNamespace(
        y=SimpleNamespace(start=rows[0], stop=rows[1]), x=SimpleNamespace(start=columns[0], stop=columns[1])
    )


def masked_image(**more):
    """``lsst.images.MaskedImage``, or with more a ``VisitImage``, by what its documentation has."""
    return SimpleNamespace(
        image=SimpleNamespace(array=pixels()),
        mask=MaskOfPlanes(planes("BAD", "SATURATED", "NO_DATA")),
        bbox=box((40, 44), (100, 106)),
        **more,
    )


AMPLIFIERS = [
    SimpleNamespace(name="C10", bbox=box((40, 44), (100, 102))),
    SimpleNamespace(name="C11", bbox=box((40, 44), (102, 106))),
]
VISIT = {
    "detector": SimpleNamespace(id=7, name="R22_S11", amplifiers=AMPLIFIERS),
    "bounds": SimpleNamespace(x_vertices=np.array([99.5, 105.5, 105.5]), y_vertices=np.array([39.5, 39.5, 43.5])),
}


def test_a_masked_image_becomes_a_flat_with_the_plane_names_that_configurations_know():
    flat = Flat.from_images(masked_image())
    given = planes("BAD", "SATURATED", "NO_DATA")
    assert_array_equal(flat.masks["SAT"], given["SATURATED"])
    assert set(flat.masks) == {"BAD", "SAT", "NO_DATA"}
    assert len(flat.detector) == 0
    assert Flat.from_images(masked_image(), DETECTOR).detector == DETECTOR


def test_planes_of_both_names_are_joined():
    image = masked_image()
    given = planes("SAT", "SATURATED", "A", seed=1)
    image.mask = MaskOfPlanes(given)
    assert_array_equal(Flat.from_images(image).masks["SAT"], given["SAT"] | given["SATURATED"])


def test_a_visit_image_is_counted_from_the_start_of_its_box():
    flat, same = Flat.from_images(masked_image(**VISIT)), Flat.from_afw(exposure())
    assert flat.detector == same.detector
    assert_array_equal(flat.vignetted(), same.vignetted())
    assert Flat.from_images(masked_image(**VISIT | {"bounds": box((40, 44), (100, 106))})).vignetted() is None


def test_bounds_of_several_polygons_are_refused():
    with pytest.raises(FlatnormError, match="several polygons"):
        Flat.from_images(masked_image(**VISIT | {"bounds": SimpleNamespace(to_shapely=None)}))


def test_a_real_masked_image_becomes_a_flat():
    images = pytest.importorskip("lsst.images", reason="lsst.images needs Python 3.12", exc_type=ImportError)
    region = images.Box.factory[40:44, 100:106]
    image = images.MaskedImage(
        images.Image(pixels(), bbox=region),
        mask_schema=images.MaskSchema([images.MaskPlane("SATURATED", ""), None, images.MaskPlane("BAD", "")]),
    )
    saturated = planes("SATURATED")["SATURATED"]
    image.mask.set("SATURATED", saturated)
    flat = as_flat(image)
    assert_array_equal(flat.image, pixels())
    assert_array_equal(flat.masks["SAT"], saturated)
    assert not flat.masks["BAD"].any()
    bounds = images.Polygon(x_vertices=[99.5, 105.5, 105.5], y_vertices=[39.5, 39.5, 43.5])
    visit = SimpleNamespace(image=image.image, mask=image.mask, bbox=region, bounds=bounds)
    y, x = np.indices(SHAPE)
    assert_array_equal(~Flat.from_images(visit).vignetted(), bounds.contains(x=x + 100.0, y=y + 40.0))


def test_the_task_measures_an_image_of_any_kind_like_the_flat_that_it_holds():
    task = CpFlatMeasureTask()
    task.config.maskNameList = ["BAD"]
    for holder, flat in [
        (exposure(), Flat.from_afw(exposure())),
        (masked_image(**VISIT), Flat.from_images(masked_image(**VISIT))),
        (pixels(), Flat(pixels(), {"BAD": np.zeros(SHAPE, bool)})),
    ]:
        assert task.run(holder).outputStats == task.run(flat).outputStats
    assert "AMP_MEDIAN_1" in task.run(exposure()).outputStats


@pytest.mark.parametrize("thing", [None, "flat.fits", {"image": 1}])
def test_what_holds_no_flat_is_named(thing):
    with pytest.raises(FlatnormError, match=f"inputExp is a {type(thing).__name__}; pass a Flat"):
        as_flat(thing)


def test_units_survive_the_file_and_are_read_from_what_rubin_notes(tmp_path):
    flat = Flat.from_array(np.ones((2, 3)), units="electron")
    flat.write(tmp_path / "flat.fits")
    assert Flat.read(tmp_path / "flat.fits").units == "electron"
    with pytest.raises(FlatnormError, match="units are 'nJy'; they must be adu or electron"):
        Flat.from_array(np.ones((2, 3)), units="nJy")


def test_a_flipped_byte_is_found(tmp_path):
    flat = Flat.from_array(
        np.arange(6.0).reshape(2, 3), mask=np.eye(2, 3, dtype=bool), valid_polygon=[(0, 0), (0, 2), (2, 0)]
    )
    flat.write(tmp_path / "flat.fits")
    whole = (tmp_path / "flat.fits").read_bytes()
    for place in range(2880, len(whole), 149):
        if whole[place : place + 1] in (b" ", b"\0"):  # padding, of which most says nothing
            continue
        damaged = bytearray(whole)
        damaged[place] ^= 1
        (tmp_path / "damaged.fits").write_bytes(damaged)
        try:
            read = Flat.read(tmp_path / "damaged.fits")
        except ReadError:
            continue
        assert_array_equal(read.image, flat.image)
        assert_array_equal(read.masks["BAD"], flat.masks["BAD"])
        assert_array_equal(read.valid_polygon, flat.valid_polygon)
