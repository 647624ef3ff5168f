from __future__ import annotations

import json
import os
import runpy
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.table import QTable, Table
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from flatnorm_xr.errors import FlatnormError, FlatnormWarning, ReadError, SchemaError
from flatnorm_xr.flags import Flag
from flatnorm_xr.measure.table import read_table

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"

PLAIN = """detector,exposure,background,counts,sigma,time,lamp,x
7,12,100.5,1000,3.5,2024-01-02T00:00:00,B,1.5
8,12,200.25,900,4.5,2024-01-02T00:00:00,B,-2.5
7,11,300.125,1000,5.5,2024-01-01T12:00:00.000000001,A,1.5
8,11,400.0,800,6.5,2024-01-01T12:00:00.000000001,A,-2.5
"""


@pytest.fixture
def table(tmp_path):
    def write(text, name="levels.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_plain_table(table):
    ds = read_table(table(PLAIN))
    assert ds.background.dims == ("detector", "exposure")
    np.testing.assert_array_equal(
        ds.background.sel(detector=[7, 8], exposure=[12, 11]), [[100.5, 300.125], [200.25, 400]]
    )
    assert ds.counts.dtype == np.int64
    assert ds.exposure.values.tolist() == [11, 12], "in order of time"
    assert ds.time.values[0] == np.datetime64("2024-01-01T12:00:00.000000001")
    assert ds.lamp.dims == ("exposure",)
    assert ds.x.dims == ("detector",)
    assert ds.x.attrs["units"] == "mm"
    assert ds.background.attrs["units"] == "adu"
    assert (ds.quality == 0).all()
    assert "exists" not in ds.coords
    assert ds.attrs["source"] == "table"
    assert json.loads(ds.attrs["inputs"])[0]["name"] == "levels.csv"
    assert "read_table('levels.csv')" in ds.attrs["history"]


def test_without_time_exposures_stay_in_order_of_first_appearance(table):
    ds = read_table(table("detector,exposure,background\nb,z,1\nb,a,2\na,a,3\n"))
    assert ds.exposure.values.tolist() == ["z", "a"]
    assert ds.detector.values.tolist() == ["b", "a"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["1", "20"], [1, 20]),
        (["007", "8"], ["007", "8"]),
        (["-3", "0"], [-3, 0]),
        (["1.0", "2"], ["1.0", "2"]),
        (["+1", "2"], ["+1", "2"]),
        (["NA", "nan"], ["NA", "nan"]),
        (["None", "null"], ["None", "null"]),
        ([" S1", "S2 "], ["S1", "S2"]),
        (["20240101123456789012", "1"], ["20240101123456789012", "1"]),
        (["True", "False"], ["True", "False"]),
        (['"a,b"', '"c""d"'], ["a,b", 'c"d']),
    ],
)
def test_labels_are_integers_only_when_all_are_plain_integers(table, written, read):
    rows = "".join(f"{label},{i},1\n" for i, label in enumerate(written))
    ds = read_table(table("detector,exposure,background\n" + rows))
    assert ds.detector.values.tolist() == read


def test_ragged_amplifiers_and_missing_rows(table):
    ds = read_table(
        table("detector,amplifier,exposure,background\n1,A,1,10\n1,A,2,11\n1,1,1,12\n1,1,2,13\n2,A,1,14\n2,A,3,15\n")
    )
    assert ds.background.dims == ("detector", "amplifier", "exposure")
    assert ds.amplifier.values.tolist() == ["A", "1"]
    np.testing.assert_array_equal(ds.exists, [[True, True], [True, False]])
    expected = np.zeros((2, 2, 3), dtype=int)
    expected[0, :, 2] = expected[1, 0, 1] = Flag.NOT_MEASURED
    expected[1, 1, :] = Flag.NO_SUCH_AMPLIFIER
    np.testing.assert_array_equal(ds.quality, expected)
    np.testing.assert_array_equal(ds.background.isnull(), expected != 0)


def test_amplifier_empty_everywhere_is_no_amplifier(table):
    ds = read_table(table("detector,amplifier,exposure,background\n1,,1,10\n2,,1,14\n"))
    assert ds.background.dims == ("detector", "exposure")
    assert "amplifier" not in ds.variables


def test_bad_levels_are_kept_and_flagged(table):
    ds = read_table(table("detector,exposure,background\n1,1,\n1,2,nan\n1,3,inf\n1,4,0\n1,5,-2.5\n1,6,NA\n1,7,1\n"))
    np.testing.assert_array_equal(ds.background[0], [np.nan, np.nan, np.inf, 0, -2.5, np.nan, 1])
    flags = ["NOT_MEASURED", "NOT_MEASURED", "NON_FINITE", "NON_POSITIVE", "NON_POSITIVE", "NOT_MEASURED"]
    assert ds.quality[0].values.tolist() == [*(Flag[name].value for name in flags), 0]


def test_columns_become_coordinates_where_they_are_constant(table):
    rows = [
        f"{d},{a},{e},{d + 10 * e},L{e},{d * 0.5},{d}{a},{e % 2},F,,{'' if e == 1 else 2.5},00{d}"
        for d in (1, 2)
        for a in ("A", "B")
        for e in (1, 2, 3)
    ]
    header = "detector,amplifier,exposure,background,station,height,board,parity,physical_filter,empty,dew,serial\n"
    ds = read_table(table(header + "\n".join(rows)))
    assert ds.station.dims == ds.parity.dims == ds.physical_filter.dims == ds.empty.dims == ds.dew.dims == ("exposure",)
    assert ds.height.dims == ds.serial.dims == ("detector",)
    assert ds.board.dims == ("detector", "amplifier")
    assert ds.parity.dtype == np.int64
    assert ds.height.dtype == float
    assert ds.serial.values.tolist() == ["001", "002"]
    np.testing.assert_array_equal(ds.dew, [np.nan, 2.5, 2.5])
    assert ds["empty"].values.tolist() == ["", "", ""]


def test_gain_goes_with_the_amplifier_and_padding_has_none(table):
    ds = read_table(table("detector,amplifier,exposure,background,gain\n1,A,1,10,1.5\n1,B,1,10,1.5\n2,A,1,10,1.5\n"))
    assert ds.gain.dims == ("detector", "amplifier")
    np.testing.assert_array_equal(ds.gain, [[1.5, 1.5], [1.5, np.nan]])
    assert ds.gain.attrs["units"] == "electron adu-1"


def test_columns_that_vary_along_everything_are_left_out_and_named(table):
    path = table(
        "detector,exposure,background,noise,time\n1,1,1,5,2024-01-01\n1,2,1,6,2024-01-01\n2,1,1,7,2024-01-02\n"
    )
    with pytest.warns(FlatnormWarning, match="noise, time") as caught:
        ds = read_table(path)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert not {"noise", "time"} & set(ds.variables)


def test_columns_of_a_solve_are_not_read(table):
    ds = read_table(table("detector,exposure,background,E,G,bgModel,residual,component\n1,1,1,5,6,7,8,9\n"))
    assert set(ds.data_vars) == {"background", "quality"}


def test_whole_detector_levels_beside_amplifiers(table):
    text = "detector,amplifier,exposure,background,detector_background\n1,A,1,10,12\n1,B,1,14,12\n1,A,2,10,\n1,B,2,1,\n"
    ds = read_table(table(text))
    np.testing.assert_array_equal(ds.detector_background, [[12, np.nan]])
    assert ds.detector_quality.values.tolist() == [[0, Flag.NOT_MEASURED]]


@pytest.mark.parametrize(
    ("written", "utc"),
    [
        ("2024-01-01T01:00:00+02:00", "2023-12-31T23:00:00"),
        ("2024-01-01T01:00:00Z", "2024-01-01T01:00:00"),
        ("2024-01-01 01:00:00.5", "2024-01-01T01:00:00.5"),
        ("", "NaT"),
    ],
)
def test_times_are_utc(table, written, utc):
    ds = read_table(table(f"detector,exposure,background,time\n1,1,1,{written}\n"))
    np.testing.assert_array_equal(ds.time.values, np.array([utc], dtype="M8[ns]"))
    assert ds.time.dtype == "M8[ns]"


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", ReadError, "empty"),
        ("detector,exposure,background\n", ReadError, "no rows"),
        ("detector,frame,level\n1,2,3\n", SchemaError, "no column exposure, background"),
        ("detector;exposure;background\n1;2;3\n", SchemaError, "separated by commas"),
        ("detector,exposure,background,background\n1,2,3,4\n", ReadError, "background occur more than once"),
        ("detector,exposure,background\n1,2,3,4\n", ReadError, r"names 3 fields.*: line 2 \(4\);"),
        ("detector,exposure,background\n1,2,3\n1,3,3,4\n", ReadError, r"names 3 fields.*: line 3 \(4\);"),
        ("detector,exposure,background\n1,2,3\n1,3\n", ReadError, r": line 3 \(2\); .* cut off"),
        ("detector,exposure,background\n1,2,3\n\n1,3\n1,4,5\n", ReadError, r": line 4 \(2\);"),
        ('detector,exposure,background\n1,2,3\n1,"3,4"\n1,4,5\n', ReadError, r": line 3 \(2\);"),
        ("detector,exposure,background\n1,2,3,\n1,3\n", ReadError, r": line 2 \(4\), line 3 \(2\);"),
        ("detector,exposure,background\n1,3\n1,2,3,\n", ReadError, r": line 2 \(2\), line 3 \(4\);"),
        ('detector,exposure,background\n1,2,"3\n1,3,3\n', ReadError, "cannot be read"),
        (
            "detector,exposure,background\n1,,3\n,2,3\n",
            SchemaError,
            r"detector is empty in line 3; exposure is empty in line 2",
        ),
        ("detector,amplifier,exposure,background\n1,A,1,3\n1,,2,3\n", SchemaError, "amplifier is empty in line 3"),
        (
            'detector,exposure,background,counts\n1,1,"1,234",x\n1,2,5,\n',
            SchemaError,
            r"line 2 \('1,234'\).*line 2 \('x'\)",
        ),
        ("detector,exposure,background\n1,1,True\n1,2,False\n", SchemaError, r"line 2 \('True'\), line 3 \('False'\)"),
        ("detector,exposure,background\n\n1,1,5\n\n1,2,five\n", SchemaError, r"line 5 \('five'\)"),
        ("detector,exposure,background,x\n1,1,5,left\n", SchemaError, "column x must be numbers"),
        (
            "detector,exposure,background\n1,1,5\n2,1,5\n1,1,6\n",
            SchemaError,
            r"detector 1 exposure 1 \(line 2, line 4\)",
        ),
        ("detector,exposure,background,time\n1,1,5,31/01/2024\n", SchemaError, r"time is no ISO 8601 .* line 2"),
        ("detector,exposure,background,counts\n1,1,5,-3\n", SchemaError, "counts is negative"),
        (b"detector,exposure,background\n\xe9,1,5\n", ReadError, "not text in UTF-8"),
        (b"\x89HDF\r\n\x1a\n\0\0\0", ReadError, "not text"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(table, text, error, said):
    with pytest.raises(error, match=said) as caught:
        read_table(table(text))
    assert "\n" not in str(caught.value)
    assert "levels.csv" in str(caught.value)


def test_files_that_are_no_table(tmp_path):
    with pytest.raises(ReadError, match="no such file"):
        read_table(tmp_path / "missing.csv")
    with pytest.raises(ReadError, match=r"extension '\.txt'"):
        read_table(tmp_path / "levels.txt")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ReadError, match="folder"):
        read_table(tmp_path / "folder.csv")


def test_many_offenders_are_counted(table):
    rows = "".join(f"1,{i},x{i}\n" for i in range(9))
    with pytest.raises(SchemaError, match=r"line 6 \('x4'\) \(\+4 more\)"):
        read_table(table("detector,exposure,background\n" + rows))


def test_all_rows_of_another_length_are_counted(table):
    rows = "".join(f"1,{i}\n2,{i},3\n" for i in range(9))
    with pytest.raises(ReadError, match=r"line 2 \(2\), .* line 10 \(2\) \(\+4 more\)"):
        read_table(table("detector,exposure,background\n" + rows))


def test_blank_lines_and_quoted_commas_are_no_fault(table):
    ds = read_table(table('detector,exposure,background\n\n"S,1",1,5\n   \n"S,2",1,6\n\n'))
    assert ds.detector.values.tolist() == ["S,1", "S,2"]


def test_trailing_comma_of_a_spreadsheet_is_no_column(table):
    ds = read_table(table("\ufeffdetector,exposure,background,\n1,1,5,\n"))
    assert set(ds.variables) == {"detector", "exposure", "background", "quality"}


def ecsv(path, **units):
    t = Table({"detector": ["007", "b c"], "exposure": [1, 2], "background": [1.5, np.nan], "sigma": [0.1, 0.2]})
    t["x"] = np.ma.MaskedArray([1.0, 2.0], [True, False])
    t["lamp"] = ["", 'q"']
    for name, unit in units.items():
        t[name].unit = unit
    return t, path


@pytest.mark.parametrize("delimiter", [" ", ","])
def test_ecsv_keeps_types_and_units(tmp_path, delimiter):
    t, path = ecsv(tmp_path / "levels.ecsv", background="electron", sigma="electron", x="mm")
    t.meta["history"] = "before"
    t["exposure"] = ["1", "2"]
    t.write(path, format="ascii.ecsv", delimiter=delimiter)
    ds = read_table(path)
    assert ds.background.attrs["units"] == "electron"
    assert ds.exposure.values.tolist() == ["1", "2"], "strings, as the file says"
    assert ds.detector.values.tolist() == ["007", "b c"]
    np.testing.assert_array_equal(ds.background, [[1.5, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(ds.x, [np.nan, 2.0])
    assert ds.lamp.values.tolist() == ["", 'q"']
    assert ds.attrs["history"].splitlines()[1:] == ["before"]


def test_ecsv_with_quantities_and_times(tmp_path):
    t = QTable({"detector": ["007", "8"], "exposure": [3, 4], "background": [1.5, 2.5] * u.electron})
    t["time"] = Time(["2024-01-02T00:00:37", "2024-01-01"], scale="tai")
    t["x"] = np.ma.MaskedArray([1.0, 2.0], [True, False])
    t.write(tmp_path / "levels.ecsv")
    ds = read_table(tmp_path / "levels.ecsv")
    assert ds.background.attrs["units"] == "electron"
    assert ds.detector.values.tolist() == ["007", "8"]
    assert ds.exposure.values.tolist() == [4, 3]
    assert ds.time.values[1] == np.datetime64("2024-01-02")
    np.testing.assert_array_equal(ds.x, [np.nan, 2.0])


def test_units(tmp_path, table):
    assert read_table(table(PLAIN), units="electron").sigma.attrs["units"] == "electron"
    with pytest.raises(SchemaError, match="units 'ADU' are unknown"):
        read_table(table(PLAIN), units="ADU")
    for name, units in {"a": {"background": "adu", "sigma": "electron"}, "b": {"background": "ct"}}.items():
        t, path = ecsv(tmp_path / f"{name}.ecsv", **units)
        t.write(path, format="ascii.ecsv")
    with pytest.raises(SchemaError, match="the units conflict"):
        read_table(tmp_path / "a.ecsv")
    with pytest.raises(SchemaError, match="unknown units"):
        read_table(tmp_path / "b.ecsv")
    assert read_table(tmp_path / "b.ecsv", units="adu").background.attrs["units"] == "adu"


def test_ecsv_whose_header_is_broken(table):
    path = table("# %ECSV 1.0\n# ---\n# datatype:\n# - {name: detector, datatype: \ndetector\n1\n", "levels.ecsv")
    with pytest.raises(ReadError, match="not valid ECSV") as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


def test_parquet_is_read_as_csv_is(table, tmp_path):
    pytest.importorskip("pyarrow")
    expected = read_table(table(PLAIN))
    frame = pd.read_csv(tmp_path / "levels.csv")
    frame["time"] = pd.to_datetime(frame["time"], utc=True, format="ISO8601")
    frame["lamp"] = frame["lamp"].astype("category")
    for name, written in {"plain": frame, "indexed": frame.set_index(["detector", "exposure"])}.items():
        written.to_parquet(tmp_path / f"{name}.parquet")
        ds = read_table(tmp_path / f"{name}.parquet")
        assert ds.drop_attrs().identical(expected.drop_attrs())
    frame.astype({"detector": str}).iloc[::2].to_parquet(tmp_path / "text.parquet")
    assert read_table(tmp_path / "text.parquet").detector.values.tolist() == ["7"]


def test_parquet_that_is_none(table):
    pytest.importorskip("pyarrow")
    with pytest.raises(ReadError, match="not a Parquet file"):
        read_table(table("detector", "levels.parquet"))


def test_parquet_without_pyarrow(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(FlatnormError, match="pip install pyarrow"):
        read_table(table("detector", "levels.parquet"))


def test_parquet_names_rows_not_lines(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"detector": [1, 1], "exposure": [1, 1], "background": [1.0, 2.0]})
    frame.to_parquet(tmp_path / "levels.parquet")
    with pytest.raises(SchemaError, match=r"\(row 1, row 2\)"):
        read_table(tmp_path / "levels.parquet")


@given(
    levels=st.lists(st.floats(allow_nan=False), min_size=6, max_size=6),
    order=st.permutations(range(6)),
)
@settings(max_examples=40, deadline=None)
def test_order_of_rows_changes_only_the_order_of_labels(tmp_path_factory, levels, order):
    path = tmp_path_factory.mktemp("table") / "levels.csv"
    rows = [f"{i % 2},{i // 2},{level!r}\n" for i, level in enumerate(levels)]
    path.write_text("detector,exposure,background\n" + "".join(rows[i] for i in order))
    ds = read_table(path).sortby(["detector", "exposure"])
    np.testing.assert_array_equal(ds.background, np.reshape(levels, (3, 2)).T)


def what_reading_says(path):
    try:
        return "read" if read_table(path).background.size else "nothing"
    except FlatnormError as error:
        return str(error)


@given(
    body=st.one_of(
        st.text(st.sampled_from("12.,A \"\n\r;#-naef\t'é\0"), max_size=60),
        st.lists(
            st.lists(st.sampled_from(["1", "2", "x", "", "nan", "-1", "1e5", " ", '"', "2024-01-01"]), max_size=6).map(
                ",".join
            )
        ).map("\n".join),
    ),
    extension=st.sampled_from(["csv", "ecsv", "parquet"]),
)
@settings(max_examples=150, deadline=None)
def test_no_text_makes_it_fail_otherwise_than_by_one_clear_line(tmp_path_factory, body, extension):
    path = tmp_path_factory.mktemp("table") / f"levels.{extension}"
    path.write_text("detector,exposure,background,amplifier,counts,time\n" + body, newline="")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FlatnormWarning)
        said = what_reading_says(path)
    assert said == "read" or ("levels" in said and "\n" not in said)


def test_line_ends_of_other_systems(table):
    for end in ("\r\n", "\r"):
        ds = read_table(table(PLAIN.replace("\n", end)))
        assert ds.lamp.values.tolist() == ["A", "B"]
        assert ds.x.values.tolist() == [1.5, -2.5]


@pytest.mark.parametrize("arm", ["B", "R", "Z"])
def test_desi_flats_in_long_form(shared, tmp_path, monkeypatch, arm):
    source = shared / "data" / "desi-nightwatch" / "derived_independent_epochs.csv"
    target = tmp_path / "levels.csv"
    monkeypatch.setattr(sys, "argv", ["desi_long_form.py", str(source), arm, str(target)])
    runpy.run_path(str(EXAMPLES / "desi_long_form.py"), run_name="__main__")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = read_table(target)
    assert dict(ds.sizes) == {"detector": 10, "exposure": 18}
    assert ds.detector.values.tolist() == [f"{arm}{i}" for i in range(10)]
    assert set(ds.lamp.values) == {"CALIB-00", "CALIB-01", "CALIB-02", "CALIB-03", "CTE-LED03"}
    assert ds.lamp.dims == ds.epoch.dims == ("exposure",)
    assert not ds.background.isnull().any()
    fluxes = pd.read_csv(source).query("arm == @arm and spectrograph == 3 and epoch == 20230104 and lamp == 'CALIB-02'")
    assert ds.background.sel(detector=f"{arm}3", exposure="20230104 CALIB-02").item() == fluxes["flux"].item()


def test_a_pipe_is_no_table(tmp_path):
    os.mkfifo(tmp_path / "levels.csv")
    with pytest.raises(ReadError, match="is not a regular file"):
        read_table(tmp_path / "levels.csv")


@pytest.mark.parametrize("word", ["now", "today", "NOW"])
def test_a_time_is_not_that_of_the_reading(table, word):
    with pytest.raises(SchemaError, match=r"time is no ISO 8601 time .* line 2"):
        read_table(table(f"detector,exposure,background,time\n1,1,5,{word}\n"))


@pytest.mark.parametrize("flags", ["-1", "4294967296", "0.5", "1e30", "inf"])
def test_what_is_no_set_of_flags(table, flags):
    with pytest.raises(SchemaError, match=r"quality .* line 3"):
        read_table(table(f"detector,exposure,background,quality\n1,1,5,0\n1,2,5,{flags}\n"))


def test_no_flags_are_no_flag(table):
    ds = read_table(table("detector,exposure,background,quality\n1,1,5,\n1,2,5,256\n2,2,5,0\n"))
    assert ds.quality.values.tolist() == [[0, Flag.SATURATED], [Flag.NOT_MEASURED, 0]]


@pytest.mark.parametrize(
    "head",
    [
        '# a,"b\n# c"\ndetector,exposure,background\n',
        '# a,"b\ndetector,exposure,background\n',
        "\n\ndetector,exposure,background\n",
    ],
)
def test_quotes_and_blank_lines_before_the_rows_lose_no_row(tmp_path, head):
    path = tmp_path / "levels.csv"
    path.write_text(head + "S1,1,10\nS1,2,20\nS2,1,11\nS2,2,22\n")
    ds = read_table(path)
    assert ds.background.values.tolist() == [[10, 20], [11, 22]]
    assert ds.exposure.values.tolist() == [1, 2]


def test_newline_in_the_name_of_a_column_loses_no_row(tmp_path):
    path = tmp_path / "levels.csv"
    path.write_text('detector,exposure,background,"sky\nlevel"\nS1,1,10,5\nS1,2,20,5\nS2,1,11,5\nS2,2,22,5\n')
    assert read_table(path).background.values.tolist() == [[10, 20], [11, 22]]


def test_units_that_convert_are_converted(tmp_path):
    columns = {"detector": [1, 2], "exposure": [5, 5], "background": [1.0, 2.0] * u.adu, "x": [0.25, 0.5] * u.m}
    QTable({**columns, "exposure_time": [1.0, 1.0] * u.minute}).write(tmp_path / "levels.ecsv")
    ds = read_table(tmp_path / "levels.ecsv")
    np.testing.assert_array_equal(ds.x, [250.0, 500.0])
    assert ds.exposure_time.item() == 60.0
    QTable({**columns, "gain": [1.0, 1.0] * u.s}).write(tmp_path / "other.ecsv")
    with pytest.raises(SchemaError, match=r"other\.ecsv: gain is in 's', not in electron adu-1; convert the columns"):
        read_table(tmp_path / "other.ecsv")


def test_times_of_astropy_keep_their_nanoseconds(tmp_path):
    times = np.array(["2024-01-31T23:59:59.123456789", "1970-01-01T00:00:00.000000001"], dtype="M8[ns]")
    columns = {"detector": [1, 1], "exposure": [5, 6], "background": [1.0, 2.0], "time": Time(times)}
    QTable(columns).write(tmp_path / "levels.ecsv")
    np.testing.assert_array_equal(read_table(tmp_path / "levels.ecsv").time.sel(exposure=[5, 6]), times)


def test_a_masked_time_of_astropy_is_not_known(tmp_path):
    times = Time(["2024-01-31T23:59:59", "2024-01-31T23:59:58"])
    times[1] = np.ma.masked
    columns = {"detector": [1, 1], "exposure": [5, 6], "background": [1.0, 2.0], "time": times}
    QTable(columns).write(tmp_path / "levels.ecsv")
    assert np.isnat(read_table(tmp_path / "levels.ecsv").time.sel(exposure=6).values)
