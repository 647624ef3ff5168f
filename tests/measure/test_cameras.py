"""Files of each archetype, a few hundred pixels large, to the levels that were put in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from astropy.io import fits

import flatnorm_xr as fx

Array = npt.NDArray[Any]
Levels = dict[tuple[int | str, str], float]
Written = tuple[fits.HDUList, Levels]

ROWS, COLUMNS = 20, 16

PIXELS = {"vircam": 128 * 2048, "ztf": 20 * 112}
"""Of an amplifier, where that is not ROWS times COLUMNS."""

pytestmark = pytest.mark.filterwarnings("ignore:measure.*(no position|no saturation|no overscan):UserWarning")


def light(level: float, rows: int = ROWS, columns: int = COLUMNS) -> Array:
    """Pixels of a mean that is exactly ``level``: half of them one below, half one above."""
    y, x = np.indices((rows, columns))
    return level + 2.0 * ((x + y) % 2) - 1


def bias(rows: int) -> Array:
    """Another level in every row, which only the overscan of that row takes away."""
    return 900 + 7.0 * np.arange(rows)[:, np.newaxis]


def strip(level: float, *, left: int = 0, right: int = 4, rows: int = ROWS) -> Array:
    """Image of an amplifier: overscan, light, overscan."""
    pixels = np.pad(light(level, rows), ((0, 0), (left, right)))
    return (pixels + bias(rows)).astype("u2")


def image(data: Array, **cards: Any) -> fits.ImageHDU:
    hdu = fits.ImageHDU(data)
    for key, value in cards.items():
        key = key.replace("__", " ")
        hdu.header[f"HIERARCH {key}" if " " in key else key] = value
    return hdu


def file(primary: dict[str, Any], *images: fits.ImageHDU) -> fits.HDUList:
    first = fits.PrimaryHDU()
    for key, value in {"EXPTIME": 5.0, "DATE-OBS": "2015-02-02T01:00:00", **primary}.items():
        first.header[f"HIERARCH {key}" if " " in key else key] = value
    return fits.HDUList([first, *images])


def suprimecam(k: int) -> Written:
    """One image, four channels with their overscans between them, 5 rows more below and above."""
    channels = {str(c): 1000.0 * c + k for c in (1, 2, 3, 4)}
    pixels = np.zeros((30, 4 * 24))
    cards: dict[str, Any] = {"INSTRUME": "SuprimeCam", "EXP-ID": f"SUPE{k:08}", "DET-ID": 6, "MJD-STR": 55065.4}
    for c, level in channels.items():
        start = 24 * (int(c) - 1)
        first, over = (start + 1, start + 17) if c in "13" else (start + 9, start + 1)
        pixels[5:25, first - 1 : first + 15] = light(level)
        cards |= {f"S_EFMN{c}1": first, f"S_EFMX{c}1": first + 15, f"S_EFMN{c}2": 6, f"S_EFMX{c}2": 25}
        cards |= {f"S_OSMN{c}1": over, f"S_OSMX{c}1": over + 7, f"S_OSMN{c}2": 1, f"S_OSMX{c}2": 5}
    made = fits.PrimaryHDU((pixels + bias(30)).astype("u2"))
    made.header.update({"EXPTIME": 5.0, **cards})
    return fits.HDUList([made]), {(6, c): level for c, level in channels.items()}


def gmos(k: int) -> Written:
    """Two CCDs of two amplifiers, binned by two; the overscan of every other one is on the left."""
    images: list[fits.ImageHDU] = []
    levels: Levels = {}
    for ccd in ("BI5-36-4k-2", "BI11-33-4k-1"):
        for amp in (1, 2):
            level = levels[ccd, str(amp)] = 1000.0 * amp + len(ccd) + k
            left, right = (0, 4) if amp == 1 else (4, 0)
            sections = {
                "DATASEC": f"[{left + 1}:{left + 16},1:20]",
                "BIASSEC": "[17:20,1:20]" if amp == 1 else "[1:4,1:20]",
                "CCDSEC": f"[{32 * amp - 31}:{32 * amp},1:40]",
            }
            names = {"CCDNAME": ccd, "AMPNAME": f"{ccd}, {amp}", "CCDSUM": "2 2", "GAIN": 1.8}
            images.append(image(strip(level, left=left, right=right), **names, **sections))
    cards = {"INSTRUME": "GMOS-S", "DATALAB": f"GS-2016-{k}", "DATE-OBS": "2016-02-02", "TIME-OBS": "13:12:39.7"}
    return file(cards, *images), levels


def bok(k: int) -> Written:
    """Sixteen HDUs, not in the order of their numbers."""
    order = [4, 3, 2, 1, 8, 7, 6, 5, 9, 10, 11, 12, 13, 14, 15, 16]
    levels: Levels = {(f"CCD{(n - 1) // 4 + 1}", str(n)): 100.0 * n + k for n in order}
    sections = {"DATASEC": "[1:16,1:20]", "BIASSEC": "[17:20,1:20]"}
    images = [image(strip(100.0 * n + k), EXTNAME=f"IM{n}", **sections) for n in order]
    return file({"INSTRUME": "90prime"}, *images), levels


def mosaic(k: int) -> Written:
    """Two amplifiers that read towards each other."""
    images: list[fits.ImageHDU] = []
    levels: Levels = {}
    for n, side in enumerate(("left", "right"), 1):
        level = levels["SITe 6", f"lower {side}"] = 1000.0 * n + k
        sections = {
            "DATASEC": "[5:20,1:20]",
            "BIASSEC": "[21:24,1:20]",
            "CCDSEC": ["[1:16,1:20]", "[32:17,1:20]"][n - 1],
        }
        names = {"EXTNAME": f"im{n}", "CCDNAME": "SITe 6", "AMPNAME": f"SITe 6, lower {side}", "SATURATE": 60000}
        images.append(image(strip(level, left=4), **names, **sections))
    return file({"INSTRUME": "mosaic3", "OBSID": f"kp4m.{k}"}, *images), levels


def kmtnet(k: int) -> Written:
    levels: Levels = {("MKNT"[n // 8], str(n % 8 + 1)): 500.0 + 10 * n + k for n in range(32)}
    sections = {"DATASEC": "[1:16,1:20]", "BIASSEC": "[17:20,1:20]"}
    images = [image(strip(level), EXTNAME=f"im{n}", **sections) for n, level in enumerate(levels.values(), start=1)]
    return file({"TELESCOP": "KMTNet"}, *images), levels


def omegacam(k: int) -> Written:
    """Overscan rows above in one half of the camera and below in the other; in them there is no light."""
    images: list[fits.ImageHDU] = []
    levels: Levels = {}
    for ccd in (65, 96):
        level = levels[ccd, ""] = 100.0 * ccd + k
        pixels = np.pad(light(level), ((0, 100) if ccd == 65 else (100, 0), (3, 4))) + bias(ROWS + 100)
        out = {"ESO__DET__OUT1__PRSCX": 3, "ESO__DET__OUT1__OVSCX": 4, "ESO__DET__OUT1__CONAD": 2.5}
        images.append(image(pixels.astype("u2"), EXTNAME=f"ESO_CCD_#{ccd}", **out))
    return file({"INSTRUME": "OMEGACAM", "ARCFILE": f"OMEGA.2012-01-01T10:00:0{k}.fits"}, *images), levels


def vircam(k: int) -> Written:
    """Sixteen stripes of 128 columns, no overscan."""
    levels: Levels = {(7, str(c)): 1000.0 * c + k for c in range(1, 17)}
    pixels = np.repeat([levels[7, str(c)] for c in range(1, 17)], 128)
    data = np.broadcast_to(pixels, (2048, 2048)).astype("i2")
    chip = image(data, EXTNAME="DET1.CHIP7", ESO__DET__CHIP__NO=7)
    return file({"INSTRUME": "VIRCAM", "ARCFILE": f"VCAM.2009-11-01T10:00:0{k}.fits"}, chip), levels


def hawki(k: int) -> Written:
    """Four reference pixels on each side, which see no light."""
    levels: Levels = {(chip, ""): 1000.0 * chip + k for chip in (1, 2, 4, 3)}
    chips = [
        image(np.pad(light(level), 4).astype("f4"), EXTNAME=f"CHIP{chip}.INT1", ESO__DET__CHIP__NO=chip)
        for (chip, _), level in levels.items()
    ]
    return file({"INSTRUME": "HAWKI", "ARCFILE": f"HAWKI.2009-11-01T10:00:0{k}.fits"}, *chips), levels


def ztf(k: int) -> Written:
    """The overscan of each quadrant in an HDU of its own, in the same order."""
    levels: Levels = {(1, f"q{q}"): 1000.0 * q + k for q in (1, 2, 3, 4)}
    shift = [50.0 * q for q in range(4)]
    pixels = [
        image((light(level, columns=112) + bias(ROWS) + add).astype("u2"), CCD_ID=1, AMP_ID=q)
        for q, (level, add) in enumerate(zip(levels.values(), shift, strict=True))
    ]
    overscans = [image((np.zeros((ROWS, 10)) + bias(ROWS) + add).astype("u2")) for add in shift]
    cards = {"INSTRUME": "ZTF/MOSAIC", "FILENAME": f"ztf_2018021421875{k}_000519_zr_c01_o.fits"}
    return file(cards, *pixels, *overscans), levels


def mosaicv1(k: int) -> Written:
    levels: Levels = {("e2v 7", f"A{n}"): 1000.0 * n + k for n in (1, 2)}
    ccd = {"CCDNAME": "e2v 7", "DATASEC": "[1:16,1:20]", "BIASSEC": "[17:20,1:20]", "SATURATE": 60000}
    images = [image(strip(level), AMPNAME=name, **ccd) for (_, name), level in levels.items()]
    return file({"INSTRUME": "WideCam"}, *images), levels


CAMERAS: dict[str, Callable[[int], Written]] = {
    "suprimecam": suprimecam,
    "gmos": gmos,
    "90prime": bok,
    "mosaic": mosaic,
    "kmtnet": kmtnet,
    "omegacam": omegacam,
    "vircam": vircam,
    "hawki": hawki,
    "ztf": ztf,
    "mosaicv1": mosaicv1,
}


def measured(ds: xr.Dataset, detector: int | str, amplifier: str, exposure: int) -> tuple[float, float, float]:
    here = ds.sel(detector=detector).isel(exposure=exposure)
    here = here.sel(amplifier=amplifier) if amplifier else here
    return float(here.background), float(here.counts), float(here.sigma)


@pytest.mark.parametrize("name", CAMERAS)
def test_levels_are_those_that_were_put_in(name: str, tmp_path: Path) -> None:
    paths, truths = [], []
    for k in (1, 2):
        hdus, levels = CAMERAS[name](k)
        paths.append(tmp_path / f"{name}{k}.fits")
        hdus.writeto(paths[-1])
        truths.append(levels)
    ds = fx.measure(paths, progress=False)
    assert ds.attrs["camera"] == name
    for exposure, levels in enumerate(truths):
        for (detector, amplifier), level in levels.items():
            background, counts, sigma = measured(ds, detector, amplifier, exposure)
            assert background == level
            pixels = PIXELS.get(name, ROWS * COLUMNS)
            assert counts == pixels
            assert sigma == pytest.approx(0 if name == "vircam" else np.sqrt(pixels / (pixels - 1)))
    units = {(str(d), a) for d, a in truths[0]}
    assert {str(label) for label in ds.detector.values} == {d for d, _ in units}


@pytest.mark.parametrize("name", ["gmos", "ztf", "90prime"])
def test_compression_changes_nothing(name: str, tmp_path: Path) -> None:
    hdus, levels = CAMERAS[name](1)
    packed = fits.HDUList([hdus[0]])
    for hdu in hdus[1:]:
        packed.append(fits.CompImageHDU(hdu.data, hdu.header, compression_type="RICE_1"))
    packed.writeto(tmp_path / "packed.fits.fz")
    ds = fx.measure(tmp_path / "packed.fits.fz", progress=False)
    for (detector, amplifier), level in levels.items():
        assert measured(ds, detector, amplifier, 0)[0] == level


LAB = """\
name: lab
layout: hdu-is-detector
exposure: {id: RUN, time: DATE-OBS, exposure_time: EXPTIME, physical_filter: BAND, observation_type: KIND}
detector: {id: CHIP}
overscan: constant
amplifiers:
  names: [L, R]
  data: "DATA{amp}"
  overscan: "OVER{amp}"
  gain: "GAIN{amp}"
  saturation: 60000
"""

MASKS = "mask: {only: {EXTNAME: '^DQ$'}, pair: EXTVER}\n"


def lab_profile(folder: Path, more: str = "") -> Path:
    path = folder / "lab.yaml"
    path.write_text(LAB + more)
    return path


def lab(
    path: Path, run: int, *, quality: tuple[int, ...] = (), primary: dict[str, Any] | None = None, **cards: Any
) -> Path:
    """Two CCDs of two amplifiers, 1000 on a bias of 500; ``quality`` has the CCDs whose first row is bad."""
    images = []
    for ccd in (1, 2):
        pixels = np.full((ROWS, 40), 500)
        pixels[:, 4:36] += 1000
        sections = {"DATAL": "[5:20,1:20]", "DATAR": "[21:36,1:20]", "OVERL": "[1:4,1:20]", "OVERR": "[37:40,1:20]"}
        images.append(
            image(pixels.astype("u2"), CHIP=ccd, EXTVER=ccd, **{**sections, "GAINL": 1.5, "GAINR": 1.6, **cards})
        )
        if ccd in quality:
            bad = np.zeros((ROWS, 40), "u1")
            bad[0] = 1
            images.append(image(bad, EXTNAME="DQ", EXTVER=ccd))
    times = {"DATE-OBS": f"2015-02-02T01:{run:02}:00", "RUN": run, "BAND": "r", "KIND": "flat"}
    file({**times, **(primary or {})}, *images).writeto(path)
    return path


@pytest.mark.parametrize(
    ("cards", "said"),
    [
        ({"OVERL": "[1:20,1:20]"}, r"HDU 1, 2: the overscan \[1:20,1:20\] lies in a data section \(amplifier L\)"),
        ({"OVERL": "[5:20,1:20]"}, r"the overscan \[5:20,1:20\] lies in a data section"),
        ({"OVERR": "[7:9,1:20]"}, r"the overscan \[7:9,1:20\] lies in a data section \(amplifier R\)"),
        ({"DATAR": "[20:36,1:20]"}, r"two amplifiers have pixels in common \(amplifier L and R\)"),
        ({"DATAL": "[5-20,1:20]"}, r"data of amplifier L is '\[5-20,1:20\]'"),
    ],
)
def test_sections_that_would_give_wrong_levels_are_refused(tmp_path: Path, cards: dict[str, Any], said: str) -> None:
    profile = lab_profile(tmp_path)
    paths = [lab(tmp_path / f"{run}.fits", run, **cards) for run in (1, 2)]
    with pytest.raises(fx.CameraError, match=said) as error:
        fx.measure(paths, camera=profile, progress=False)
    assert str(error.value).count("lies in") <= 1
    (record, _) = fx.inspect(paths, camera=profile, progress=False)
    assert "amplifier" in record.error


def test_an_overscan_that_is_not_subtracted_may_lie_anywhere(tmp_path: Path) -> None:
    profile = lab_profile(tmp_path)
    profile.write_text(LAB.replace("overscan: constant", "overscan: none"))
    ds = fx.measure(lab(tmp_path / "1.fits", 1, OVERL="[5:20,1:20]"), camera=profile, progress=False)
    assert (ds.background == 1500).all()


def test_a_file_that_does_not_fit_is_left_out(tmp_path: Path, says: Any) -> None:
    profile = lab_profile(tmp_path)
    paths = [lab(tmp_path / f"{run}.fits", run) for run in (1, 2)]
    trimmed = lab(tmp_path / "3.fits", 3, DATAR="[21:50,1:20]")
    with says(r"left out 1 of 3 files: .*3\.fits: HDU 1, 2: section data of amplifier R \[21:50,1:20\] lies outside"):
        ds = fx.measure([*paths, trimmed], camera=profile, progress=False)
    assert ds.exposure.values.tolist() == [1, 2]
    assert (ds.background == 1000).all()
    with pytest.raises(fx.CameraError, match="lies outside"):
        fx.measure([*paths, trimmed], camera=profile, strict=True, progress=False)
    with pytest.raises(fx.CameraError, match=r"3\.fits.*lies outside"):
        fx.measure([trimmed], camera=profile, progress=False)


def test_files_with_the_same_fault_are_named_together(tmp_path: Path) -> None:
    paths = [lab(tmp_path / f"{run}.fits", run, DATAR="[21:50,1:20]") for run in (1, 2)]
    with pytest.raises(fx.CameraError) as error:
        fx.measure(paths, camera=lab_profile(tmp_path), progress=False)
    assert str(error.value).startswith(f"measure: {paths[0]}, {paths[1]}: HDU 1, 2: section data")
    assert str(error.value).count("readout mode") == 1


def test_a_gain_that_is_to_be_applied_and_is_not_there(tmp_path: Path) -> None:
    path = lab(tmp_path / "1.fits", 1, GAINR="")
    with pytest.raises(fx.CameraError, match=r"apply_gain is true, .* \(GAIN\{amp\}\): 1 R, 2 R; write the gains"):
        fx.measure(path, camera=lab_profile(tmp_path, "apply_gain: true\n"), progress=False)


def test_gains_far_from_each_other_are_told_where_they_are_applied(tmp_path: Path, says: Any) -> None:
    path = lab(tmp_path / "1.fits", 1, GAINR=15.0)
    with says(r"gains differ by more than a factor of 2\.5: .*, and gains are applied"):
        fx.measure(path, camera=lab_profile(tmp_path, "apply_gain: true\n"), progress=False)
    fx.measure(path, camera=lab_profile(tmp_path), progress=False)


def test_data_quality_that_is_not_there_is_told(tmp_path: Path, says: Any) -> None:
    path = lab(tmp_path / "1.fits", 1, quality=(1,))
    with says(r"no image of data quality, so no pixel was left out by it: detector 2$"):
        ds = fx.measure(path, camera=lab_profile(tmp_path, MASKS), progress=False)
    assert ds.counts.sel(amplifier="L").values.tolist() == [[304], [320]]
    typo = lab_profile(tmp_path, "mask: {only: {EXTNAME: '^DQX$'}, pair: EXTVER}\n")
    typo.write_text(typo.read_text().replace("{id: CHIP}", "{id: CHIP, skip: {EXTNAME: ^DQ$}}"))
    with says(r"no image of data quality, .*: detector 1, 2$"):
        fx.measure(path, camera=typo, progress=False)
    (record,) = fx.inspect(path, camera=typo, progress=False)
    assert record.remarks == ("no image of data quality: no pixel will be left out by it (detector 1, 2)",)


def test_data_quality_that_may_be_absent_is_told_where_other_files_have_it(tmp_path: Path, says: Any) -> None:
    profile = lab_profile(tmp_path, MASKS.replace("EXTVER", "EXTVER, optional: true"))
    bare = [lab(tmp_path / f"{run}.fits", run) for run in (1, 2)]
    fx.measure(bare, camera=profile, progress=False)
    full = lab(tmp_path / "3.fits", 3, quality=(1, 2))
    with says(r"no image of data quality, and other files have it \[.*1\.fits, .*2\.fits\]"):
        fx.measure([*bare, full], camera=profile, progress=False)
    records = fx.inspect([*bare, full], camera=profile, progress=False)
    said = "no image of data quality, and other files have it"
    assert [record.remarks for record in records] == [(said,), (said,), ()]


def test_a_saturation_level_that_is_not_there_is_told_unless_one_is_given(tmp_path: Path, says: Any) -> None:
    path, profile = lab(tmp_path / "1.fits", 1), lab_profile(tmp_path)
    profile.write_text(LAB.replace("saturation: 60000", "saturation: FULL"))
    fx.measure(path, camera=profile, saturation=60_000, progress=False)
    with pytest.warns(fx.FlatnormWarning, match=r"no saturation level .*: detector 1, 2; pass saturation="):
        fx.measure(path, camera=profile, progress=False)


def test_a_bias_among_flats_is_told(tmp_path: Path, says: Any) -> None:
    paths = [lab(tmp_path / f"{run}.fits", run, primary={"KIND": "zero" if run == 2 else "flat"}) for run in (1, 2)]
    with says(r"'zero' is no flat, and is measured as if it were; leave out .*2\.fits"):
        fx.measure(paths, camera=lab_profile(tmp_path), progress=False)


NO_PROFILE = "no profile recognises"


def planes_of_hubble(path: Path, levels: tuple[float, float]) -> Path:
    """SCI, ERR and DQ of two detectors; as many rows are bad as the number of the detector."""
    planes = []
    for version, level in enumerate(levels, 1):
        planes.append(image(light(level).astype("f4"), EXTNAME="SCI", EXTVER=version))
        planes.append(image(light(3.0).astype("f4"), EXTNAME="ERR", EXTVER=version))
        bad = np.zeros((ROWS, COLUMNS), "i2")
        bad[:version] = 4
        planes.append(image(bad, EXTNAME="DQ", EXTVER=version))
    file({}, *planes).writeto(path)
    return path


def test_planes_beside_an_image_are_no_detectors(tmp_path: Path, says: Any) -> None:
    path = planes_of_hubble(tmp_path / "a.fits", (1000.0, 2000.0))
    with says(NO_PROFILE):
        ds = fx.measure(path, progress=False).isel(exposure=0)
    assert ds.detector.values.tolist() == [1, 2]
    assert ds.background.values.tolist() == [1000, 2000]
    assert ds.counts.values.tolist() == [19 * COLUMNS, 18 * COLUMNS]
    (record,) = fx.inspect(path, progress=False)
    assert record.remarks == ("left out, as names of no images of light: ERR (HDU 2, 5)",)


def test_a_bias_with_planes_beside_its_images(tmp_path: Path) -> None:
    path = planes_of_hubble(tmp_path / "a.fits", (1000.0, 2000.0))
    bias = planes_of_hubble(tmp_path / "bias.fits", (100.0, 300.0))
    ds = fx.measure(path, camera="generic", bias=bias, progress=False).isel(exposure=0)
    assert ds.background.values.tolist() == [900, 1700]


def test_ccddata_of_astropy(tmp_path: Path, says: Any) -> None:
    nddata = pytest.importorskip("astropy.nddata")
    bad = np.zeros((ROWS, COLUMNS), bool)
    bad[:5] = True
    made = nddata.CCDData(
        light(1000.0), unit="adu", mask=bad, uncertainty=nddata.StdDevUncertainty(np.full((ROWS, COLUMNS), 3.0))
    )
    made.header["DATE-OBS"] = "2015-02-02T01:00:00"
    made.write(tmp_path / "a.fits")
    with says(NO_PROFILE):
        ds = fx.measure(tmp_path / "a.fits", progress=False)
    assert ds.detector.values.tolist() == [0]
    assert (ds.background.item(), ds.counts.item()) == (1000, 15 * COLUMNS)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("A", "DQ", "B", "DQ"), "mask of EXTVER or 1 1 stands in HDU 2, 4"),
        (("A", "B", "BPM"), "mask of EXTVER or 1 1 may belong to any image of HDU 1, 2"),
    ],
)
def test_data_quality_that_belongs_to_no_image_is_told(
    tmp_path: Path, says: Any, names: tuple[str, ...], said: str
) -> None:
    planes = [image(light(1000.0).astype("f4"), EXTNAME=name) for name in names]
    file({}, *planes).writeto(tmp_path / "a.fits")
    with says(rf"data quality is not used: {said} \[.*a\.fits\]"):
        ds = fx.measure(tmp_path / "a.fits", progress=False)
    assert ds.detector.values.tolist() == ["A", "B"]
    assert (ds.counts == ROWS * COLUMNS).all()


def test_what_may_be_raw_is_told(tmp_path: Path, says: Any) -> None:
    cards = {"BIASSEC": "[17:20,1:20]", "DATASEC": "[1:16,1:20]"}
    file({}, image(strip(1000.0), **cards)).writeto(tmp_path / "raw.fits")
    file({}, image(light(1000.0), **cards)).writeto(tmp_path / "trimmed.fits")
    with says(r"BIASSEC names an overscan, so the file may be raw; .* \(HDU 1\) \[.*raw\.fits\]$"):
        fx.measure(tmp_path / "raw.fits", camera="generic", progress=False)
    fx.measure(tmp_path / "trimmed.fits", camera="generic", progress=False)


@pytest.mark.parametrize("keys", [("CCDNUM", "different detectors"), ("MYCHIP", "is each file a detector")])
def test_detectors_in_files_of_their_own_that_no_profile_knows(
    keys: tuple[str, str], tmp_path: Path, says: Any
) -> None:
    for run in (1, 2):
        for ccd in (1, 2, 3):
            cards = {"DATE-OBS": f"2015-02-02T01:0{run}:00", keys[0]: ccd, "EXPTIME": 5.0}
            made = fits.PrimaryHDU(light(1000.0))
            made.header.update(cards)
            made.writeto(tmp_path / f"night{run}_{ccd}.fits")
    with says(rf"6 exposures have 2 times between them.*{keys[1]}"):
        fx.measure(str(tmp_path / "*.fits"), camera="generic", progress=False)
    notes = [remark for record in fx.inspect(str(tmp_path / "*.fits"), progress=False) for remark in record.remarks]
    assert [note for note in notes if keys[1] in note]
