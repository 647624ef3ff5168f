from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from flatnorm_xr.camera.headers import read_headers
from flatnorm_xr.camera.inspect import inspect
from flatnorm_xr.errors import CameraError, ReadError


def write_decam(
    path: Path, *, saturation: float | None = 6e4, gain: float = 4.0, data: str = "[3:6,1:10]", **primary: Any
) -> Path:
    first = fits.PrimaryHDU()
    first.header.update(
        {"INSTRUME": "DECam", "EXPNUM": 7, "DATE-OBS": "2024-01-01T01:00:00", "EXPTIME": 2.0, **primary}
    )
    ccd = fits.ImageHDU(np.zeros((10, 12), dtype="u2"), name="S1")
    ccd.header.update({"CCDNUM": 25, "DETPOS": "S1", "DETSEC": "[1:8,1:10]"})
    ccd.header.update({"DATASECA": data, "BIASSECA": "[1:2,1:10]", "GAINA": gain})
    ccd.header.update({"DATASECB": "[7:10,1:10]", "BIASSECB": "[11:12,1:10]", "GAINB": 4.5})
    ccd.header.update({"RDNOISEA": 7.0, "RDNOISEB": 7.5})
    if saturation is not None:
        ccd.header.update({"SATURATA": saturation, "SATURATB": saturation})
    fits.HDUList([first, ccd]).writeto(path)
    return path


def test_what_a_file_was_taken_for_and_why(tmp_path: Path) -> None:
    (record,) = inspect(write_decam(tmp_path / "a.fits"))
    assert (record.camera, record.rule) == ("decam", "INSTRUME = 'DECam' matches '^DECam$'")
    assert record.exposure is not None
    assert (record.exposure.id, record.exposure.time) == (7, np.datetime64("2024-01-01T01:00:01"))
    assert [(d.id, [a.name for a in d.amplifiers]) for d in record.detectors] == [(25, ["A", "B"])]
    assert (record.error, record.remarks) == ("", ())
    again = json.loads(json.dumps(record.to_dict(), allow_nan=False))
    assert again["detectors"][0]["amplifiers"][0]["data"] == "[3:6,1:10]"


def test_what_is_suspicious_is_said(tmp_path: Path) -> None:
    path = write_decam(tmp_path / "a.fits", gain=0.0)
    with fits.open(path, mode="update") as hdus:
        header = hdus[1].header
        header.append(("EXTNAME", "again"), end=True)
        for key in ("BIASSECB", "DETSEC"):
            del header[key]
        del hdus[0].header["DATE-OBS"]
    (record,) = inspect(path)
    text = "; ".join(record.remarks)
    for words in ("two EXTNAME cards in HDU 1", "no overscan section", "no time", "no position", "placeholder", "25 A"):
        assert words in text


def test_an_unknown_saturation_is_said(tmp_path: Path) -> None:
    (record,) = inspect(write_decam(tmp_path / "a.fits", saturation=None))
    assert record.remarks == ("no saturation level, so saturated pixels will be used (detector 25)",)


def test_what_cannot_be_read_becomes_a_record(tmp_path: Path) -> None:
    good = write_decam(tmp_path / "a.fits")
    outside = write_decam(tmp_path / "b.fits", data="[3:60,1:10]")
    (tmp_path / "c.fits").write_text("no FITS")
    records = inspect([good, outside, tmp_path / "c.fits"])
    assert [bool(record.error) for record in records] == [False, True, True]
    assert records[1].camera == "decam"
    assert "[3:60,1:10]" in records[1].error
    assert "c.fits" in records[2].error
    assert not any("\n" in record.error for record in records)


def test_pixels_are_not_read(tmp_path: Path) -> None:
    path = write_decam(tmp_path / "a.fits")
    content = path.read_bytes()
    path.write_bytes(content[:-2880])
    (record,) = inspect(path)
    assert record.camera == "decam"
    assert "damaged" in record.remarks[0]


def test_a_camera_may_be_given(tmp_path: Path) -> None:
    (record,) = inspect(str(tmp_path / "*.fits") if write_decam(tmp_path / "a.fits") else "", camera="generic")
    assert (record.camera, record.rule, record.detectors[0].id) == ("generic", "the camera was given", 25)
    (surprising,) = inspect(str(tmp_path / "*.fits"), camera="hsc")
    assert surprising.rule == "the camera was given, though its rules do not match"
    with pytest.raises(CameraError, match="'nocam'"):
        inspect(str(tmp_path / "*.fits"), camera="nocam")


@pytest.mark.parametrize("paths", ["none/*.fits", "none.fits", ".", []])
def test_paths_that_name_no_file(paths: Any) -> None:
    with pytest.raises(ReadError, match=r"^inspect: "):
        inspect(paths)


def test_overlapping_globs_name_a_file_once(tmp_path: Path) -> None:
    path = write_decam(tmp_path / "a.fits")
    assert len(inspect([path, str(tmp_path / "*.fits")])) == 1


@pytest.mark.parametrize(
    ("key", "card"),
    [
        ("EXPTIME", "EXPTIME =   2.0x7y 3"),
        ("CCDNUM", "CCDNUM  =   2.0x7y 3"),
        ("DATE-OBS", "DATE-OBS= 'open"),
        ("EXPNUM", f"EXPNUM  = {2**63}"),
        ("EXPTIME", "EXPTIME = 1E30"),
        ("EXPTIME", "EXPTIME = 1E10"),
    ],
)
def test_one_bad_card_is_the_error_of_its_file(tmp_path: Path, key: str, card: str) -> None:
    good, bad = write_decam(tmp_path / "a.fits"), write_decam(tmp_path / "b.fits")
    content = bad.read_bytes()
    start = content.index(key.ljust(8).encode() + b"=")
    bad.write_bytes(content[:start] + card.ljust(80).encode() + content[start + 80 :])
    records = inspect([good, bad])
    assert records[0].error == ""
    assert "b.fits" in records[1].error
    assert "\n" not in records[1].error


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.fits")
    (tmp_path / "link.fits").symlink_to(tmp_path / "pipe.fits")
    for path in (tmp_path / "pipe.fits", tmp_path / "link.fits", "/dev/zero"):
        with pytest.raises(ReadError, match="is not a regular file"):
            inspect(path)
        with pytest.raises(ReadError, match="is not a regular file"):
            read_headers(path)


@pytest.mark.parametrize("paths", [None, 3, [None], [3.5]])
def test_what_is_no_path(paths: Any) -> None:
    with pytest.raises(ReadError, match=r"^inspect: .* is no path"):
        inspect(paths)


def test_an_unknown_time_scale_is_said(tmp_path: Path) -> None:
    path = write_decam(tmp_path / "a.fits", TIMESYS="LOCAL")
    (record,) = inspect(path, camera="generic")
    assert "the time scale LOCAL is not known and was taken for UTC" in record.remarks


def write_night(folder: Path, n: int = 3) -> list[Path]:
    """Write exposures 1, 2, ... of one DECam CCD, a minute apart."""
    paths = []
    for k in range(1, n + 1):
        cards: dict[str, Any] = {"EXPNUM": k, "DATE-OBS": f"2024-01-01T01:{k:02}:00"}
        paths.append(write_decam(folder / f"{k}.fits", **cards))
    return paths


def change(path: Path, *, hdu: int = 1, **cards: Any) -> None:
    with fits.open(path, mode="update") as hdus:
        hdus[hdu].header.update(cards)


def remarks_of(paths: Any) -> list[str]:
    return [remark for record in inspect(paths, progress=False) for remark in record.remarks]


def test_a_section_outside_the_image_does_not_hide_the_rest(tmp_path: Path) -> None:
    path = write_decam(tmp_path / "a.fits", data="[3:60,1:10]", gain=0.0)
    (record,) = inspect(path)
    assert "data of amplifier A [3:60,1:10] lies outside the image of 12 x 10" in record.error
    assert record.exposure is not None
    assert (record.exposure.id, [a.name for a in record.detectors[0].amplifiers]) == (7, ["A", "B"])
    assert any("placeholder" in remark for remark in record.remarks)


def test_every_bad_section_is_named(tmp_path: Path) -> None:
    path = write_decam(tmp_path / "a.fits", data="[3:60,1:10]")
    change(path, DATASECB="[7-10,1:10]", BIASSECA="[1:2,1:99]")
    (record,) = inspect(path)
    for said in ("data of amplifier A", "overscan of amplifier A", "'[7-10,1:10]'"):
        assert said in record.error


@pytest.mark.parametrize(
    ("cards", "said"),
    [
        ({"GAINB": 40.0, "GAINA": 4.0}, "gains differ by more than a factor of 2.5: 25 A (4), 25 B (40)"),
        ({"GAINB": -4.0}, "a gain cannot be zero or less: 25 B (-4)"),
        ({"GAINA": 0.0, "GAINB": 0.0}, "counts as unknown: every amplifier"),
        ({"CCDSECA": "[1:4,1:10]", "CCDSECB": "[5:9,1:10]"}, "the trimmed image do not fit the data sections"),
        ({"GAINA": ""}, "no gain where the profile says that it is (detector 25)"),
        ({"RDNOISEB": ""}, "no read noise where the profile says that it is (detector 25)"),
        ({"OBSTYPE": "zero"}, "the type is 'zero': no flat, but it would be measured as one"),
        ({"OBSTYPE": "DARK"}, "the type is 'DARK': no flat"),
    ],
)
def test_what_deserves_a_look(tmp_path: Path, cards: dict[str, Any], said: str) -> None:
    path = write_decam(tmp_path / "a.fits")
    change(path, **cards)
    assert any(said in remark for remark in remarks_of(path))


@pytest.mark.parametrize("kind", ["dome flat", "FLAT,TWILIGHT", "dark sky flat", "DARKSKY", "object"])
def test_flats_of_any_kind_are_flats(tmp_path: Path, kind: str) -> None:
    assert remarks_of(write_decam(tmp_path / "a.fits", OBSTYPE=kind)) == []


@pytest.mark.parametrize(
    ("cards", "said"),
    [
        ({"DATASECB": "[6:9,1:10]"}, "two amplifiers have pixels in common (amplifier A and B)"),
        ({"BIASSECA": "[2:3,1:10]"}, "the overscan [2:3,1:10] lies in a data section (amplifier A)"),
        ({"BIASSECA": "[7:8,1:10]"}, "the overscan [7:8,1:10] lies in a data section (amplifier A)"),
        ({"BIASSECA": "[3:6,1:10]"}, "the overscan [3:6,1:10] lies in a data section (amplifier A)"),
        ({"BIASSECA": "[1:2,1:9]"}, "the overscan [1:2,1:9] lacks rows of the data section [3:6,1:10] (amplifier A)"),
    ],
)
def test_sections_that_would_give_wrong_levels_are_errors(tmp_path: Path, cards: dict[str, Any], said: str) -> None:
    path = write_decam(tmp_path / "a.fits")
    change(path, **cards)
    (record,) = inspect(path)
    assert said in record.error
    assert record.detectors


def test_the_gain_that_is_far_from_many_is_named(tmp_path: Path) -> None:
    path = write_decam(tmp_path / "a.fits")
    with fits.open(path, mode="update") as hdus:
        more = hdus[1].copy()
        more.header.update({"CCDNUM": 26, "GAINB": 45.0})
        hdus.append(more)
    (remark,) = remarks_of(path)
    assert remark.endswith("factor of 2.5: 26 B (45), the others about 4.25 electron per adu")


def test_a_night_without_fault(tmp_path: Path) -> None:
    assert remarks_of(write_night(tmp_path)) == []


def test_one_exposure_twice(tmp_path: Path) -> None:
    paths = write_night(tmp_path, 2)
    change(paths[1], hdu=0, EXPNUM=1)
    assert remarks_of(paths) == [f"exposure 1 of detector 25 is also in {paths[0]}"]


def test_files_of_one_exposure_that_do_not_agree(tmp_path: Path) -> None:
    paths = write_night(tmp_path, 2)
    change(paths[1], hdu=0, EXPNUM=1, FILTER="z DECam SDSS c0004 9260.0 1520.0", EXPTIME=3.0, OBSTYPE="sky flat")
    change(paths[0], hdu=0, FILTER="g DECam SDSS c0001 4720.0 1520.0", OBSTYPE="dome flat")
    change(paths[1], CCDNUM=26)
    assert remarks_of(paths) == [
        "files of exposure 1 have different filters: g DECam SDSS, z DECam SDSS",
        "files of exposure 1 have different types: dome flat, sky flat",
        "files of exposure 1 have different exposure times: 2 s, 3 s",
    ]


def test_an_exposure_that_lacks_a_detector_or_an_amplifier(tmp_path: Path) -> None:
    paths = write_night(tmp_path)
    for path in paths[:2]:
        with fits.open(path, mode="update") as hdus:
            more = hdus[1].copy()
            more.header.update({"CCDNUM": 26, "DETPOS": "S2"})
            hdus.append(more)
    assert remarks_of(paths) == ["exposure 3 has no detector 26, and most exposures have"]


def test_an_exposure_that_lacks_hdus_of_amplifiers(tmp_path: Path) -> None:
    for seq in (1, 2, 3):
        primary = fits.PrimaryHDU()
        primary.header.update({"INSTRUME": "LSSTCam", "RAFTBAY": "R22", "CCDSLOT": "S11", "DAYOBS": "20240101"})
        primary.header.update({"SEQNUM": seq, "MJD-BEG": 60310.0 + seq / 1000, "EXPTIME": 1.0})
        names = ["Segment10", "Segment11"][: 1 if seq == 2 else 2]
        images = [fits.ImageHDU(np.zeros((10, 12), dtype="i4"), name=name) for name in names]
        for image in images:
            image.header["DATASEC"] = "[3:10,1:10]"
        fits.HDUList([primary, *images]).writeto(tmp_path / f"{seq}.fits")
    remarks = remarks_of(str(tmp_path / "*.fits"))
    assert "exposure 2024010100002 has no amplifier R22_S11 Segment11, and most exposures have" in remarks


def test_images_of_another_size_or_cut_otherwise(tmp_path: Path) -> None:
    paths = write_night(tmp_path, 4)
    with fits.open(paths[1], mode="update") as hdus:
        hdus[1].data = np.zeros((12, 12), dtype="u2")
    change(paths[2], DATASECA="[4:6,1:10]", DATASECB="[7:9,1:10]")
    assert remarks_of(paths) == [
        "the image is 12 x 12, in most exposures 12 x 10 (detector 25)",
        "the sections are others than in most exposures (detector 25)",
    ]


def test_numbers_and_times_in_another_order(tmp_path: Path) -> None:
    paths = write_night(tmp_path)
    change(paths[1], hdu=0, **{"DATE-OBS": "2024-01-01T00:30:00"})
    assert remarks_of(paths) == ["exposure 2 was taken before exposure 1, says its time"]


def test_an_exposure_later_than_its_file(tmp_path: Path) -> None:
    path = write_decam(tmp_path / "a.fits")
    os.utime(path, ns=(0, int(np.datetime64("2023-12-01", "ns").astype(int))))
    (remark,) = remarks_of(path)
    assert remark.startswith("the exposure is later than its file, which was written on 2023-12-01")


def test_files_of_different_cameras_are_not_compared(tmp_path: Path) -> None:
    paths = write_night(tmp_path, 2)
    fits.PrimaryHDU(np.zeros((5, 5), dtype="f4")).writeto(tmp_path / "other.fits")
    assert not any("has no detector" in remark for remark in remarks_of([*paths, tmp_path / "other.fits"]))


def test_sections_are_listed_for_files_that_are_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from flatnorm_xr.cli.inspect import show, show_sections

    paths = write_night(tmp_path)
    change(paths[2], DATASECA="[4:6,1:10]", DATASECB="[7:9,1:10]")
    records = inspect(paths, progress=False)
    show_sections(records)
    out = capsys.readouterr().out
    assert out.count("amplifiers of ") == 2
    assert f"amplifiers of {paths[0]} and 1 more that are alike:" in out
    lines = [line.split() for line in out.splitlines()]
    assert lines[2][:5] == ["detector", "amplifier", "HDU", "data", "overscan"]
    assert lines[4][:6] == ["25", "A", "1", "[3:6,1:10]", "[1:2,1:10]", "S1"]
    assert "mask HDU" not in out
    show(records)
    out = capsys.readouterr().out
    assert "3 files taken for decam (Dark Energy Camera, Blanco 4 m, Cerro Tololo) because" in out
    assert f"note: the sections are others than in most exposures (detector 25) [{paths[2]}]" in out


def test_json_has_all_of_it(tmp_path: Path) -> None:
    (record,) = inspect(write_decam(tmp_path / "a.fits", gain=0.0))
    (detector,) = json.loads(json.dumps(record.to_dict(), allow_nan=False))["detectors"]
    assert (detector["shapes"], detector["trimmed_shape"]) == ({"1": [10, 12]}, [10, 8])
    a, _ = detector["amplifiers"]
    assert (a["placeholder_gain"], a["gain"], a["mask_hdu"], a["overscan_hdu"]) == (True, None, None, None)


def test_a_misspelt_keyword_of_the_data_is_named(tmp_path: Path) -> None:
    path = write_decam(tmp_path / "a.fits")
    text = packaged("decam").replace("data: DATASEC{amp}", "data: DATTASEC{amp}")
    (tmp_path / "my.yaml").write_text(text)
    (record,) = inspect(path, camera=tmp_path / "my.yaml", progress=False)
    assert f"{path}[1]: no data section (DATTASEC{{amp}}) of amplifier A as profile decam wants" in record.error
    assert record.error.count("correct the profile") == 1
    assert (record.exposure is not None, record.detectors) == (True, ())


def packaged(name: str) -> str:
    from flatnorm_xr.camera import profiles

    return (Path(profiles.__file__).parent / "profiles" / f"{name}.yaml").read_text()


def test_files_of_one_exposure_at_two_times(tmp_path: Path) -> None:
    paths = write_night(tmp_path, 2)
    change(paths[1], hdu=0, EXPNUM=1, **{"DATE-OBS": "2024-01-01T02:00:00"})
    change(paths[1], CCDNUM=26)
    assert remarks_of(paths) == [
        "files of exposure 1 have different times: 2024-01-01T01:01:01, 2024-01-01T02:00:01",
    ]


def test_errors_that_files_have_in_common_are_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from flatnorm_xr.cli.inspect import show

    paths = write_night(tmp_path)
    show(inspect(paths, camera="hsc", progress=False))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "error:" in line]
    assert line.strip().startswith(f"error: {paths[0]}, {paths[1]}, {paths[2]}: HDU 1: no detector id (DET-ID)")


@pytest.mark.parametrize(("camera", "status"), [("decam", 0), ("hsc", 1)])
@pytest.mark.parametrize("as_json", [False, True])
def test_the_exit_status_says_whether_any_file_can_be_measured(
    tmp_path: Path, camera: str, status: int, as_json: bool
) -> None:
    import typer

    from flatnorm_xr.cli.inspect import command

    paths = [str(write_decam(tmp_path / "a.fits")), str(write_decam(tmp_path / "b.fits", data="[3:60,1:10]"))]
    if status == 0:
        command(paths, camera=camera, as_json=as_json)  # type: ignore[arg-type]
        return
    with pytest.raises(typer.Exit) as left:
        command(paths, camera=camera, as_json=as_json)  # type: ignore[arg-type]
    assert left.value.exit_code == status
