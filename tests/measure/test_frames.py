"""Pixels of one detector: every step on images whose answer is exact arithmetic."""

from __future__ import annotations

import gc
import gzip
import itertools
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from astropy.io import fits
from numpy.testing import assert_array_equal

from flatnorm_xr.camera.geometry import describe
from flatnorm_xr.camera.headers import FileHeaders, read_headers
from flatnorm_xr.camera.profiles import Profile, load_profile
from flatnorm_xr.errors import CameraError, ReadError
from flatnorm_xr.measure.frames import Frame, read_detector
from flatnorm_xr.measure.kernels import corrected_pixels, measure_parts
from flatnorm_xr.measure.masks import load_masking
from flatnorm_xr.measure.reference import BIASES, load_reference
from flatnorm_xr.measure.words import Unreadable, open_words

Array = npt.NDArray[Any]

ROWS, COLUMNS = 6, 20
SECTIONS = {
    # two columns of overscan, eight of data, eight of data, two of overscan; B left, A right, as in DECam
    "DATASECA": "[11:18,1:6]",
    "BIASSECA": "[19:20,1:6]",
    "CCDSECA": "[9:16,1:6]",
    "DATASECB": "[3:10,1:6]",
    "BIASSECB": "[1:2,1:6]",
    "CCDSECB": "[1:8,1:6]",
    "GAINA": 2.0,
    "GAINB": 3.0,
    "SATURATA": 60000,
    "SATURATB": 60000,
}


def raw_image(dtype: str = "u2") -> Array:
    """Overscan 100 + row on the right and 200 + row on the left; light 1000 (A) and 2000 (B) above that, plus x."""
    rows, columns = np.indices((ROWS, COLUMNS))
    image = np.where(columns >= 10, 100 + rows, 200 + rows)
    image = image + np.where((columns >= 10) & (columns < 18), 1000 + columns, 0)
    return np.asarray(image + np.where((columns < 10) & (columns >= 2), 2000 + columns, 0), dtype=dtype)


LIGHT_A = np.tile(1000 + np.arange(10, 18), (ROWS, 1))
LIGHT_B = np.tile(2000 + np.arange(2, 10), (ROWS, 1))
LIGHT = np.hstack([LIGHT_B, LIGHT_A])


def write(path: Path, image: Array, *, compressed: bool = False, **cards: Any) -> Path:
    primary = fits.PrimaryHDU()
    primary.header.update({"INSTRUME": "DECam", "EXPNUM": 1})
    hdu: Any = fits.CompImageHDU(image) if compressed else fits.ImageHDU(image)
    hdu.header.update({"CCDNUM": 3, "DETPOS": "S3", **SECTIONS, **cards})
    fits.HDUList([primary, hdu]).writeto(path, overwrite=True)
    return path


class Pixels(NamedTuple):
    """Corrected pixels of all amplifiers, one after the other, and the saturated ones of each."""

    values: Array
    bad: Array
    slices: tuple[slice, ...]
    saturated: tuple[int, ...]


def corrected(frame: Frame) -> Pixels:
    parts = [part for part in frame.parts if part is not None]
    values, bad = zip(*(corrected_pixels(part) for part in parts), strict=True)
    ends = np.cumsum([0, *(image.size for image in values)]).tolist()
    return Pixels(
        np.concatenate([image.ravel() for image in values]),
        np.concatenate([image.ravel() for image in bad]),
        tuple(slice(a, b) for a, b in itertools.pairwise(ends)),
        measure_parts(parts).saturated,
    )


def read(
    path: Path, *, profile: Profile | None = None, bias: Any = None, mask: Any = None, border: int = 0, **options: Any
) -> Pixels:
    profile = profile or load_profile("decam")
    file = describe(read_headers(path), profile=profile)
    (detector,) = file.detectors
    subtracted = load_reference(bias, what="bias", detectors=[detector.id])
    masking = load_masking(profile, detectors=[detector.id], mask=mask, border=border)
    with open_words(file) as words:
        return corrected(
            read_detector(words, detector, profile=profile, path=str(path), bias=subtracted, masking=masking, **options)
        )


def amplifiers(pixels: Pixels) -> tuple[Array, Array]:
    a, b = (pixels.values[part].reshape(ROWS, 8) for part in pixels.slices)
    return a, b


def test_overscan_per_row_is_subtracted_and_amplifiers_follow_each_other(tmp_path: Path) -> None:
    pixels = read(write(tmp_path / "a.fits", raw_image()))
    a, b = amplifiers(pixels)
    assert_array_equal(a, LIGHT_A)
    assert_array_equal(b, LIGHT_B)
    assert pixels.values.dtype == np.float32
    assert pixels.slices == (slice(0, 48), slice(48, 96))
    assert not pixels.bad.any()


# Tile compression of floats is lossy, and of wide integers not defined.
TYPES = ["u2", "i2", "i4", "f4", "f8", ">f8", "<f4", "u4", "i8"]
FORMS = [(dtype, kind) for dtype in TYPES for kind in ("plain", "gz")] + [(dtype, "fz") for dtype in ("u2", "i2", "i4")]


@pytest.mark.parametrize(("dtype", "kind"), FORMS)
def test_every_type_and_compression_gives_the_same_pixels(tmp_path: Path, dtype: str, kind: str) -> None:
    name = "a.fits.gz" if kind == "gz" else "a.fits"
    pixels = read(write(tmp_path / name, raw_image(dtype), compressed=kind == "fz"))
    assert_array_equal(pixels.values, np.concatenate([LIGHT_A.ravel(), LIGHT_B.ravel()]))
    assert pixels.values.dtype.isnative


def test_bscale_and_bzero_are_undone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", raw_image("i2"))
    with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
        hdus[1].header["BSCALE"] = 0.5
        hdus[1].header["BZERO"] = 10.0
    a, _ = amplifiers(read(path))
    assert_array_equal(a, LIGHT_A * 0.5)


def test_constant_overscan_is_its_median(tmp_path: Path) -> None:
    profile = replace(load_profile("decam"), overscan="constant")
    a, b = amplifiers(read(write(tmp_path / "a.fits", raw_image()), profile=profile))
    rows = np.arange(ROWS)[:, np.newaxis]
    assert_array_equal(a, LIGHT_A + rows - 2.5)
    assert_array_equal(b, LIGHT_B + rows - 2.5)


def test_without_overscan_nothing_is_subtracted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", raw_image(), BIASSECA="[0:0,0:0]")
    a, b = amplifiers(read(path))
    assert_array_equal(a, LIGHT_A + 100 + np.arange(ROWS)[:, np.newaxis])
    assert_array_equal(b, LIGHT_B)


def test_overscan_must_cover_the_rows_of_the_data(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", raw_image(), BIASSECA="[19:20,2:6]")
    with pytest.raises(CameraError, match=r"overscan \[19:20,2:6\] lacks rows of the data section \[11:18,1:6\]"):
        read(path)


def test_gain_is_applied_when_the_profile_says_so(tmp_path: Path) -> None:
    profile = replace(load_profile("decam"), apply_gain=True)
    a, b = amplifiers(read(write(tmp_path / "a.fits", raw_image()), profile=profile))
    assert_array_equal(a, 2 * LIGHT_A)
    assert_array_equal(b, 3 * LIGHT_B)
    path = write(tmp_path / "b.fits", raw_image(), GAINA=0.0)
    with pytest.raises(CameraError, match=r"apply_gain is true, and no gain above zero is known .*: 3 A;"):
        read(path, profile=profile)
    # nor does a detector that was described without applying the gain get by
    file = describe(read_headers(path), profile=load_profile("decam"))
    with (
        open_words(file) as words,
        pytest.raises(CameraError, match=r"applies the gain.*detector 3 has none for amplifier A"),
    ):
        read_detector(words, file.detectors[0], profile=profile, path=str(path))


def test_raw_pixels_at_the_saturation_level_are_masked_and_counted(tmp_path: Path) -> None:
    image = raw_image()
    image[0, 10], image[1, 11], image[2, 12] = 59999, 60000, 65535
    pixels = read(write(tmp_path / "a.fits", image))
    assert pixels.saturated == (2, 0)
    assert_array_equal(np.flatnonzero(pixels.bad), [8 + 1, 16 + 2])
    assert read(write(tmp_path / "a.fits", image), saturation=65535.0).saturated == (1, 0)
    assert read(write(tmp_path / "b.fits", image, SATURATA=0)).saturated == (0, 0)


def test_nan_is_left_for_the_statistics(tmp_path: Path) -> None:
    image = raw_image("f4")
    image[3, 12] = np.nan
    pixels = read(write(tmp_path / "a.fits", image))
    assert np.flatnonzero(np.isnan(pixels.values)).tolist() == [3 * 8 + 2]


def test_border_is_that_of_the_detector_not_of_the_amplifier(tmp_path: Path) -> None:
    pixels = read(write(tmp_path / "a.fits", raw_image()), border=2)
    a, b = (pixels.values[part].reshape(ROWS - 4, 6) for part in pixels.slices)
    assert_array_equal(a, LIGHT_A[2:-2, :6])
    assert_array_equal(b, LIGHT_B[2:-2, 2:])


def test_border_follows_flipped_amplifiers(tmp_path: Path) -> None:
    # Amplifier A is written mirrored: its first raw column is the detector's last.
    path = write(tmp_path / "a.fits", raw_image(), CCDSECA="[16:9,1:6]")
    pixels = read(path, border=1)
    assert_array_equal(pixels.values[pixels.slices[0]].reshape(ROWS - 2, 7), LIGHT_A[1:-1, 1:])


def test_border_needs_places(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", raw_image(), CCDSECA="[1:8,1:6]")
    assert read(path).values.size == 2 * ROWS * 8
    with pytest.raises(CameraError, match="border 1 needs the places of the amplifiers in detector 3"):
        read(path, border=1)


def test_an_amplifier_within_the_border_has_no_pixels(tmp_path: Path) -> None:
    pixels = read(write(tmp_path / "a.fits", raw_image(), DATASECA="[11:12,1:6]", CCDSECA="[9:10,1:6]"), border=2)
    assert [part.stop - part.start for part in pixels.slices] == [0, (ROWS - 4) * 6]


def trimmed_bias() -> Array:
    return np.arange(ROWS * 16, dtype="f4").reshape(ROWS, 16)


@pytest.mark.parametrize("form", ["path", "array", "dataarray", "by detector", "mapping", "only image", "by name"])
def test_a_trimmed_bias_is_subtracted_pixel_by_pixel(tmp_path: Path, form: str) -> None:
    bias = trimmed_bias()
    cards = {"path": {"CCDNUM": 3}, "by name": {"EXTNAME": "s3"}}.get(form, {})
    hdus: list[Any] = [fits.PrimaryHDU(), fits.ImageHDU(bias, fits.Header(list(cards.items())))]
    if form != "only image":
        hdus.insert(1, fits.ImageHDU(bias * 0, fits.Header([("CCDNUM", 4)])))
    fits.HDUList(hdus).writeto(tmp_path / "bias.fits")
    given: Any = {
        "array": bias,
        "dataarray": xr.DataArray(bias, dims=("y", "x")),
        "by detector": xr.DataArray([bias, 0 * bias], dims=("detector", "y", "x"), coords={"detector": [3, 4]}),
        "mapping": {"3": bias, "4": 0 * bias},
    }.get(form, tmp_path / "bias.fits")
    before = bias.copy()
    a, b = amplifiers(read(write(tmp_path / "a.fits", raw_image()), bias=given))
    assert_array_equal(a, LIGHT_A - bias[:, 8:])
    assert_array_equal(b, LIGHT_B - bias[:, :8])
    assert_array_equal(bias, before)


def test_a_trimmed_bias_is_turned_like_a_flipped_amplifier(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", raw_image(), CCDSECA="[16:9,6:1]")
    a, _ = amplifiers(read(path, bias=trimmed_bias()))
    assert_array_equal(a, LIGHT_A - trimmed_bias()[::-1, :7:-1])


def test_a_raw_bias_loses_its_own_overscan_first(tmp_path: Path) -> None:
    bias = raw_image("f8")  # as a raw bias frame: overscan and a pattern
    a, b = amplifiers(read(write(tmp_path / "a.fits", raw_image("i4") * 3), bias=write(tmp_path / "bias.fits", bias)))
    assert_array_equal(a, 2 * LIGHT_A)
    assert_array_equal(b, 2 * LIGHT_B)


@pytest.mark.parametrize("layout", ["raw", "trimmed"])
def test_non_zero_pixels_of_a_mask_are_bad(tmp_path: Path, layout: str) -> None:
    mask = np.zeros((ROWS, COLUMNS if layout == "raw" else 16), dtype="u1")
    mask[2, (10 if layout == "raw" else 8) + 3] = 4
    pixels = read(write(tmp_path / "a.fits", raw_image()), mask=mask)
    assert np.flatnonzero(pixels.bad).tolist() == [2 * 8 + 3]


def test_a_shape_that_does_not_fit_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", raw_image())
    with pytest.raises(CameraError) as error:
        read(path, bias=np.zeros((5, 7)))
    for words in ("bias of detector 3", "7 x 5", "20 x 6", "16 x 6 trimmed"):
        assert words in str(error.value)


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        ({4: np.zeros((6, 16))}, "bias has nothing for detector 3"),
        (np.zeros(6), "bias is ndarray of 1 dims"),
        (np.array([["a"]]), "dtype <U1"),
    ],
)
def test_a_bias_of_another_kind_is_refused(tmp_path: Path, bias: Any, message: str) -> None:
    with pytest.raises(CameraError, match=message):
        read(write(tmp_path / "a.fits", raw_image()), bias=bias)


def test_one_image_does_not_serve_two_detectors() -> None:
    with pytest.raises(CameraError, match=r"mask is one image, and there are 2 detectors \(1, 2\)"):
        load_reference(np.zeros((4, 4)), what="mask", detectors=[1, 2])


def test_a_bias_file_without_the_detector_is_named(tmp_path: Path) -> None:
    images = [fits.ImageHDU(trimmed_bias(), fits.Header([("CCDNUM", n)])) for n in (1, 2)]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(tmp_path / "bias.fits")
    with pytest.raises(CameraError, match=r"bias\.fits: no image of detector 3"):
        read(write(tmp_path / "a.fits", raw_image()), bias=tmp_path / "bias.fits")
    with pytest.raises(ReadError, match=r"none\.fits"):
        read(write(tmp_path / "a.fits", raw_image()), bias=tmp_path / "none.fits")


OWN_OVERSCAN = """\
name: apart
layout: plain-images
exposure: {id: EXPNUM}
detector: {id: CCDNUM, only: {EXTNAME: ^SCI$}}
overscan: median-per-row
amplifiers: {overscan_hdu: {only: {EXTNAME: ^OS$}, pair: EXTVER}}
"""


@pytest.mark.parametrize("border", [0, 1])
def test_overscan_in_an_hdu_of_its_own_and_a_bias_are_both_subtracted(tmp_path: Path, border: int) -> None:
    """The bias has no overscan of its own: nothing but the image is subtracted of it."""
    camera = tmp_path / "apart.yaml"
    camera.write_text(OWN_OVERSCAN)
    rows = np.arange(ROWS)[:, np.newaxis]
    images = {"SCI": LIGHT_A + 100 + 7 * rows, "OS": np.tile(100 + 7 * rows, (1, 3))}
    hdus: list[Any] = [fits.PrimaryHDU(header=fits.Header([("EXPNUM", 1)]))]
    for name, image in images.items():
        cards = [("EXTNAME", name), ("EXTVER", 1), ("CCDNUM", 3)]
        hdus.append(fits.ImageHDU(image.astype("i4"), fits.Header(cards)))
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    bias = np.arange(LIGHT_A.size, dtype="f4").reshape(LIGHT_A.shape)
    path = mask_or_bias(tmp_path / "bias.fits", bias)
    light = (LIGHT_A - bias)[border : ROWS - border, border : 8 - border]
    for given in (bias, path):
        pixels = read(tmp_path / "a.fits", profile=load_profile(str(camera)), bias=given, border=border)
        assert_array_equal(pixels.values, light.ravel())


def mask_or_bias(path: Path, *images: Array, checksum: bool = False) -> Path:
    """Write trimmed images of the detectors 3, 4 and so on."""
    hdus = [fits.ImageHDU(image, fits.Header([("CCDNUM", 3 + n)])) for n, image in enumerate(images)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path, checksum=checksum)
    return path


@pytest.mark.parametrize("name", ["bias.fits", "bias.fits.gz"])
@pytest.mark.parametrize("dtype", [">i2", "u2", "i4", "f4", "f8"])
def test_a_bias_file_is_read_once(tmp_path: Path, name: str, dtype: str) -> None:
    """Of a packed file all detectors at once, else each one when it is asked for: then the file may go."""
    images = [(trimmed_bias() + 1000 * n).astype(dtype) for n in (0, 1)]
    path = mask_or_bias(tmp_path / name, *images)
    profile = load_profile("decam")
    (detector,) = describe(read_headers(write(tmp_path / "a.fits", raw_image())), profile=profile).detectors
    bias = load_reference(path, what="bias", detectors=[3, 4])
    assert bias is not None

    def subtracted(number: int) -> Array:
        a, b = bias.images(replace(detector, id=number), profile)
        return np.hstack([b, a])

    first = subtracted(3)
    if name.endswith("gz"):
        path.unlink()
    second = subtracted(4)
    path.unlink(missing_ok=True)
    for found, expected in ((first, images[0]), (second, images[1]), (subtracted(3), images[0])):
        assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="read-only"):
        next(bias.images(detector, profile))[...] = 0


def test_a_bias_is_forgotten_with_its_reference(tmp_path: Path) -> None:
    path = mask_or_bias(tmp_path / "bias.fits", trimmed_bias())
    before = BIASES.nbytes
    profile = load_profile("decam")
    (detector,) = describe(read_headers(write(tmp_path / "a.fits", raw_image())), profile=profile).detectors
    bias = load_reference(path, what="bias", detectors=[3])
    assert bias is not None
    list(bias.images(detector, profile))
    assert BIASES.nbytes > before
    del bias
    gc.collect()
    assert BIASES.nbytes <= before


def test_a_packed_bias_too_large_to_be_kept_is_warned_of(
    tmp_path: Path, says: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = mask_or_bias(tmp_path / "bias.fits.gz", trimmed_bias(), trimmed_bias())
    load_reference(path, what="bias", detectors=[3, 4])
    monkeypatch.setattr(BIASES, "limit", 2 * trimmed_bias().nbytes - 1)
    with says(r"bias .*bias\.fits\.gz: packed as a whole, .* unpack it first"):
        load_reference(path, what="bias", detectors=[3, 4])
    load_reference(mask_or_bias(tmp_path / "bias.fits", trimmed_bias(), trimmed_bias()), what="bias", detectors=[3, 4])


@pytest.mark.parametrize("what", ["bias", "mask"])
@pytest.mark.parametrize("name", ["r.fits", "r.fits.gz"])
def test_checksums_of_biases_and_masks_are_verified_when_those_of_frames_are(
    tmp_path: Path, what: str, name: str
) -> None:
    plain = mask_or_bias(tmp_path / "plain.fits", trimmed_bias(), trimmed_bias(), checksum=True)
    content = bytearray(plain.read_bytes())
    raw = write(tmp_path / "a.fits", raw_image())
    place = read_headers(plain).places[1]
    path = tmp_path / name
    for flipped in (0, 1):
        content[place.offset + 9] ^= flipped
        path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        read(raw, **{what: path})
        if flipped:
            with pytest.raises(ReadError, match=rf"^measure: {what} .*{name}: cannot be read \(HDU 1: .*DATASUM.*\)$"):
                read(raw, **{what: path}, verify=lambda hdu: "")
        else:
            read(raw, **{what: path}, verify=lambda hdu: "")


def segments(path: Path, images: dict[str, Array]) -> Path:
    primary = fits.PrimaryHDU()
    primary.header.update(
        {"INSTRUME": "LSSTCam", "RAFTBAY": "R22", "CCDSLOT": "S11", "DAYOBS": "20240102", "SEQNUM": 1}
    )
    hdus: list[Any] = [primary]
    for name, image in images.items():
        hdu = fits.ImageHDU(image)
        left, top = 4 * int(name[-1]), name[-2] == "0"
        place = f"[{left + 4}:{left + 1},{'6:4' if top else '1:3'}]"
        hdu.header.update({"EXTNAME": name, "DATASEC": "[2:5,1:3]", "DETSEC": place})
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)
    return path


def test_amplifiers_in_hdus_of_their_own_take_raw_and_trimmed_biases(tmp_path: Path) -> None:
    level = {"Segment10": 10, "Segment11": 11, "Segment01": 1, "Segment00": 2}
    pattern = np.arange(12).reshape(3, 4)
    raw = {name: np.pad(value * 100 + pattern, ((0, 1), (1, 3)), constant_values=7) for name, value in level.items()}
    path = segments(tmp_path / "a.fits", {name: image.astype("i4") for name, image in raw.items()})
    profile = load_profile("lsstcam")
    expected = np.concatenate([value * 100 - 7 + pattern.ravel() for value in level.values()])
    assert_array_equal(read(path, profile=profile).values, expected)

    # In a raw bias HDUs may come in another order: they are found by name.
    turned = dict(reversed(raw.items()))
    bias = segments(tmp_path / "bias.fits", {name: image.astype("f4") for name, image in turned.items()})
    assert_array_equal(read(path, profile=profile, bias=bias).values, 0)

    trimmed = np.zeros((6, 8))
    trimmed[0:3, 0:4] = pattern[:, ::-1]  # Segment10, DETSEC [4:1,1:3]
    trimmed[3:6, 4:8] = pattern[::-1, ::-1]  # Segment01, DETSEC [8:5,6:4]
    pixels = read(path, profile=profile, bias=trimmed)
    flat = [len(np.unique(pixels.values[part])) == 1 for part in pixels.slices]
    assert flat == [True, False, True, False]


def test_an_hdu_that_cannot_be_read_leaves_the_others(tmp_path: Path) -> None:
    path = segments(tmp_path / "a.fits", {"Segment10": np.ones((4, 8), "i4"), "Segment11": np.ones((4, 8), "i4")})
    profile = load_profile("lsstcam")
    file = describe(read_headers(path), profile=profile)
    (detector,) = file.detectors

    def without_first(hdu: int) -> Any:
        if hdu == 1:
            msg = "cut off"
            raise Unreadable(msg)
        return words(hdu)

    with open_words(file) as words:
        frame = read_detector(without_first, detector, profile=profile, path="a")
    assert frame.parts[0] is None
    assert frame.parts[1] is not None
    assert corrected_pixels(frame.parts[1])[0].shape == (3, 4)


def test_headers_of_compressed_files_are_those_of_the_image(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits.fz", raw_image(), compressed=True)
    headers = read_headers(path)
    assert isinstance(headers, FileHeaders)
    assert [hdu.shape for hdu in headers.images] == [(ROWS, COLUMNS)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert describe(headers, profile=load_profile("decam")).damage == ""


@pytest.mark.parametrize("kind", ["median-per-row", "constant"])
def test_overscan_pixels_without_a_value_are_left_out(tmp_path: Path, kind: str) -> None:
    image = raw_image("f4")
    image[2, 18] = np.nan
    image[4, 18:] = np.nan
    pixels = read(write(tmp_path / "a.fits", image), profile=replace(load_profile("decam"), overscan=kind))
    light = pixels.values[pixels.slices[0]].reshape(LIGHT_A.shape)
    if kind == "constant":
        assert np.isfinite(light).all()
    else:
        assert_array_equal(np.isnan(light).any(axis=1), [False, False, False, False, True, False])
        assert_array_equal(light[2], LIGHT_A[2])
