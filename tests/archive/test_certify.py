"""Certificates say which run holds when; a later decision takes what it needs, one taken back never was."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import astropy.time
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import flatnorm_xr as fx
from flatnorm_xr import Thresholds, Waiver
from flatnorm_xr.archive import catalogue, journal
from flatnorm_xr.archive import certify as module
from flatnorm_xr.archive.acceptance import failures_of
from flatnorm_xr.archive.certificates import Certificate, holding, moment
from flatnorm_xr.archive.database import Database
from flatnorm_xr.errors import FlatnormError, ReadError, UnfitError

APPROVER = "M. Curie"


@pytest.fixture
def runs(calib, small_run):
    """Three runs of one camera and filter."""
    return [calib.add(small_run(number)) for number in range(3)]


@pytest.fixture
def certify(calib, unchecked):
    """Certify without any check."""

    def certified(run, begin, end=None, **more):
        return calib.certify(run, begin, end, **({"approver": APPROVER, "thresholds": unchecked} | more))

    return certified


def held(archive) -> list[tuple[str, str, str]]:
    """Begin, end and run of all that holds, as people write it."""
    table = archive.certificates()
    return [(str(r.begin.date()), "" if pd.isna(r.end) else str(r.end.date()), r.run) for r in table.itertuples()]


# what holds when -----------------------------------------------------------------------------------------------------


def test_a_certificate_tells_what_was_decided(calib, runs, certify):
    certificate = certify(runs[0], "2025-01-01", "2025-07-01", comment="new lamp")
    assert (certificate.number, certificate.run, certificate.camera, certificate.filter) == (1, runs[0], "testcam", "r")
    assert (certificate.begin, certificate.end) == (np.datetime64("2025-01-01"), np.datetime64("2025-07-01"))
    assert (certificate.approver, certificate.comment, certificate.waiver) == (APPROVER, "new lamp", None)
    assert certificate.path is not None
    assert certificate.path.name == f"{runs[0]}.nc"
    assert calib.find("testcam", "r", "2025-03-01") == certificate
    assert calib.open(certificate).attrs == calib.open(runs[0]).attrs


def test_one_without_end_holds_for_ever(calib, runs, certify):
    certify(runs[0], "2025-01-01")
    for day in ("2025-01-01", "2025-06-01T12:00", "2499-12-31"):
        assert calib.find(date=day).run == runs[0]
    with pytest.raises(FlatnormError, match="no run holds"):
        calib.find(date="2024-12-31T23:59:59.999999")


def test_an_interval_holds_its_beginning_and_not_its_end(calib, runs, certify):
    certify(runs[0], "2025-01-01", "2025-02-01")
    certify(runs[1], "2025-02-01", "2025-02-01T00:00:00.000001")
    certify(runs[2], "2025-02-01T00:00:00.000001", "2025-03-01")
    for moment_, run in {
        "2025-01-01": 0,
        "2025-01-31T23:59:59.999999": 0,
        "2025-02-01": 1,
        "2025-02-01T00:00:00.000001": 2,
        "2025-02-28T23:59:59.999999": 2,
    }.items():
        assert calib.find(date=moment_).run == runs[run]
    nanosecond = np.datetime64("2025-01-31T23:59:59.999999999", "ns")
    assert calib.find(date=nanosecond).run == runs[0]
    for outside in ("2024-12-31T23:59:59.999999", "2025-03-01"):
        with pytest.raises(FlatnormError, match="no run holds"):
            calib.find(date=outside)


@pytest.mark.parametrize(
    ("begin", "end"),
    [("2025-02-01", None), ("2025-01-01", "2025-02-02"), ("2025-02-10", "2025-02-11"), ("2025-02-28", "2025-04-01")],
)
def test_overlap_is_refused_unless_it_supersedes(calib, runs, certify, begin, end):
    certify(runs[0], "2025-02-01", "2025-03-01")
    with pytest.raises(
        FlatnormError,
        match=rf"certify: from {begin} .*{runs[0][:12]} \(from 2025-02-01 until 2025-03-01\).*supersede=True",
    ) as caught:
        certify(runs[1], begin, end)
    assert "\n" not in str(caught.value)
    assert len(calib.certificates(history=True)) == 1
    assert certify(runs[1], begin, end, supersede=True).supersede


def test_intervals_that_touch_do_not_overlap(calib, runs, certify):
    certify(runs[0], "2025-02-01", "2025-03-01")
    certify(runs[1], "2025-01-01", "2025-02-01")
    certificate = certify(runs[2], "2025-03-01")
    assert not certificate.supersede
    assert [run for *_, run in held(calib)] == [runs[1], runs[0], runs[2]]


def test_superseding_splits_an_interval(calib, runs, certify):
    first = certify(runs[0], "2025-01-01")
    certify(runs[1], "2025-03-01", "2025-04-01", supersede=True)
    assert held(calib) == [
        ("2025-01-01", "2025-03-01", runs[0]),
        ("2025-03-01", "2025-04-01", runs[1]),
        ("2025-04-01", "", runs[0]),
    ]
    assert calib.find(date="2025-05-01") == first


def test_what_is_taken_back_never_was(calib, runs, certify):
    certify(runs[0], "2025-01-01")
    second = certify(runs[1], "2025-03-01", "2025-04-01", supersede=True)
    revoked = calib.revoke(second, approver="P. Curie", why="wrong lamp")
    assert revoked.revoked == "wrong lamp"
    assert revoked.number == second.number
    assert held(calib) == [("2025-01-01", "", runs[0])]
    assert calib.find(date="2025-03-15").run == runs[0]
    history = calib.certificates(history=True)
    assert history["revoked"].tolist() == ["", "wrong lamp"]
    assert history["run"].tolist() == runs[:2]
    assert calib.list()["certified"].tolist() == ["r", "", ""]


def test_taking_back_the_only_one_leaves_nothing(calib, runs, certify):
    number = certify(runs[0], "2025-01-01").number
    table = calib.certificates()
    calib.revoke(table.index[0], approver=APPROVER, why="typing error")
    assert calib.certificates().empty
    with pytest.raises(FlatnormError, match="find: nothing is certified yet"):
        calib.find(date="2025-02-01")
    with pytest.raises(FlatnormError, match=f"revoke: {number} was revoked before"):
        calib.revoke(number, approver=APPROVER, why="again")
    for nothing in (0, 99, -1):
        with pytest.raises(FlatnormError, match=f"revoke: {nothing} is no certificate"):
            calib.revoke(nothing, approver=APPROVER, why="never was")
    for nothing in ("1", None, 1.5):
        with pytest.raises(FlatnormError, match="pass a Certificate or its number"):
            calib.revoke(nothing, approver=APPROVER, why="never was")
    certify(runs[1], "2025-01-01")
    assert held(calib) == [("2025-01-01", "", runs[1])]


def test_filters_and_cameras_do_not_touch_each_other(calib, small_run, certify):
    both = calib.add(small_run(0, filters=("g", "r")))
    other = calib.add(small_run(1, camera="decam"))
    certify(both, "2025-01-01", filter="g")
    certify(both, "2025-06-01", filter="r")
    certify(other, "2025-01-01")
    assert calib.find("testcam", "g", "2025-03-01").filter == "g"
    with pytest.raises(FlatnormError, match=r"no run holds for testcam r at 2025-03-01: .* holds from 2025-06-01"):
        calib.find("testcam", "r", "2025-03-01")
    assert calib.find("decam", date="2025-03-01").run == other
    assert calib.list().loc[both, "certified"] == "g, r"
    assert len(calib.certificates(camera="testcam")) == 2
    assert len(calib.certificates(filter="r")) == 2
    assert len(calib.certificates(camera="decam", filter="g")) == 0


def test_a_run_of_several_filters_asks_which(calib, small_run, certify):
    both = calib.add(small_run(0, filters=("g", "r")))
    with pytest.raises(FlatnormError, match=r"certify: the run has several filters; pass filter= with one of g, r"):
        certify(both, "2025-01-01")
    with pytest.raises(FlatnormError, match=r"certify: the run has no filter 'i'; pass filter= with one of g, r"):
        certify(both, "2025-01-01", filter="i")


def test_a_run_without_filters_is_certified_for_none(calib, small_run, certify):
    bare = calib.add(small_run(0).drop_vars("physical_filter"))
    certify(bare, "2025-01-01")
    assert calib.find("testcam", date="2025-02-01").filter == ""
    assert calib.find("testcam", "", "2025-02-01").run == bare


def test_a_run_solved_in_groups_is_certified_by_filter(calib, solution, certify):
    grouped = calib.add(solution(by=True).assign_attrs(camera="testcam"))
    assert certify(grouped, "2025-01-01", filter="g").filter == "g"


@pytest.mark.parametrize("end", ["2025-01-01", "2024-12-31", "2025-01-01T00:00:00"])
def test_an_interval_must_not_be_empty(calib, runs, certify, end):
    with pytest.raises(FlatnormError, match=r"certify: end .* is not after begin 2025-01-01"):
        certify(runs[0], "2025-01-01", end)
    assert calib.certificates(history=True).empty


def test_without_a_name_nothing_is_certified(calib, runs, certify):
    for nobody in ("", "   ", None, 5):
        with pytest.raises(FlatnormError, match=r"approver is .*it must say something, for it goes into the records"):
            certify(runs[0], "2025-01-01", approver=nobody)
        with pytest.raises(FlatnormError, match="it must say something"):
            calib.revoke(1, approver=nobody, why="x")
    assert calib.certificates(history=True).empty


def test_words_of_any_kind_go_into_the_records(calib, runs, certify):
    words = 'Ł. Ørsted\x1b[31m <b>"new"</b>\n\u2028 😀 ../../etc'
    certificate = certify(runs[0], "2025-01-01", approver=words, comment=words)
    assert calib.find(date="2025-01-01").approver == certificate.approver == words
    content = calib._holdings.journal.path(1).read_bytes()
    assert content.isascii()
    assert json.loads(content)["comment"] == words


# dates ---------------------------------------------------------------------------------------------------------------

EVENING = np.datetime64("2025-03-01T18:30", "us")


@pytest.mark.parametrize(
    "value",
    [
        "2025-03-01T18:30",
        " 2025-03-01 18:30:00 ",
        "2025-03-01T18:30:00Z",
        "2025-03-01T15:30-03:00",
        datetime(2025, 3, 1, 18, 30),
        datetime(2025, 3, 1, 18, 30, tzinfo=UTC),
        datetime(2025, 3, 2, 0, 0, tzinfo=timezone(timedelta(hours=5.5))),
        np.datetime64("2025-03-01T18:30"),
        np.datetime64("2025-03-01T18:30:00.000000999", "ns"),
        pd.Timestamp("2025-03-01T18:30", tz="UTC"),
        pd.Timestamp("2025-03-01T15:30", tz="America/Santiago"),
        astropy.time.Time("2025-03-01T18:30:00"),
        astropy.time.Time("2025-03-01T18:30:37", scale="tai"),
    ],
)
def test_a_moment_is_read_as_utc_however_it_is_written(value):
    assert moment(value, caller="find", argument="date") == EVENING


def test_a_day_is_its_midnight():
    for value in ("2025-03-01", date(2025, 3, 1), np.datetime64("2025-03-01"), pd.Timestamp("2025-03-01")):
        assert moment(value, caller="find", argument="date") == np.datetime64("2025-03-01", "us")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "2025-02-30",
        "2025-03-01T25:00",
        "2016-12-31T23:59:60",
        20250301,
        2460736.27,
        True,
        None,
        "NaT",
        np.datetime64("NaT"),
        pd.NaT,
        "0001-01-01",
        "9999-12-31",
        np.datetime64(584_597, "Y"),
        np.datetime64(-(2**63) + 1, "ns"),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        ["2025-03-01"],
        np.array(["2025-03-01"], "M8[D]"),
        astropy.time.Time(["2025-03-01", "2025-03-02"]),
        "2025-03-01\n\x1b[31m",
    ],
)
def test_what_is_no_date_is_refused_in_one_line(value):
    with pytest.raises(FlatnormError, match=r"find: date is .*give a date such as") as caught:
        moment(value, caller="find", argument="date")
    assert str(caught.value).isprintable()


def test_certify_names_the_date_that_is_wrong(calib, runs, certify):
    for name, dates in {"begin": ("soon", None), "end": ("2025-01-01", "later")}.items():
        with pytest.raises(FlatnormError, match=f"certify: {name} is"):
            certify(runs[0], *dates)


def test_find_without_a_date_is_now(calib, runs, certify):
    now = datetime.now(UTC)
    certify(runs[0], now - timedelta(days=1), now + timedelta(days=1))
    assert calib.find().run == runs[0]


# find ----------------------------------------------------------------------------------------------------------------


def test_find_names_the_neighbours(calib, runs, certify):
    certify(runs[0], "2025-01-01", "2025-02-01")
    certify(runs[1], "2025-03-01T12:00", "2025-04-01")
    certify(runs[2], "2025-06-01")
    told = {
        "2025-02-15": f"{runs[0][:12]} held until 2025-02-01; {runs[1][:12]} holds from 2025-03-01T12:00:00",
        "2025-02-01": f"{runs[0][:12]} held until 2025-02-01; {runs[1][:12]} holds from 2025-03-01T12:00:00",
        "2025-05-01": f"{runs[1][:12]} held until 2025-04-01; {runs[2][:12]} holds from 2025-06-01",
        "2024-05-01": f": {runs[0][:12]} holds from 2025-01-01",
    }
    for day, neighbours in told.items():
        with pytest.raises(FlatnormError, match="find: no run holds for testcam r at") as caught:
            calib.find(date=day)
        assert neighbours in str(caught.value)
        assert "\n" not in str(caught.value)


def test_find_names_the_part_of_a_split_interval_that_is_near(calib, runs, certify):
    certify(runs[0], "2025-01-01", "2025-12-01")
    middle = certify(runs[1], "2025-03-01", "2025-04-01", supersede=True)
    calib.revoke(middle, approver=APPROVER, why="x")
    certify(runs[2], "2025-11-01", "2025-12-01", supersede=True)
    with pytest.raises(FlatnormError, match=rf"at 2026-01-01: {runs[2][:12]} held until 2025-12-01; certify one"):
        calib.find(date="2026-01-01")


def test_camera_and_filter_may_be_left_out_where_there_is_one(calib, small_run, certify):
    run = calib.add(small_run(0))
    certify(run, "2025-01-01")
    calib.add(small_run(1, camera="decam"))  # archived, but not certified
    assert calib.find(date="2025-02-01").run == run
    assert calib.find("testcam", date="2025-02-01").run == run
    assert calib.find(filter="r", date="2025-02-01").run == run
    certify(calib.add(small_run(2, filters=("g",))), "2025-01-01")
    with pytest.raises(FlatnormError, match=r"find: several are certified; pass filter= with one of g, r"):
        calib.find("testcam", date="2025-02-01")
    certify(calib.add(small_run(3, camera="decam")), "2025-01-01")
    with pytest.raises(FlatnormError, match=r"find: several are certified; pass camera= with one of decam, testcam"):
        calib.find(filter="r", date="2025-02-01")
    assert calib.find(filter="g", date="2025-02-01").filter == "g"
    with pytest.raises(
        FlatnormError, match=r"nothing is certified for 'decam' 'g'; there is decam r, testcam g, testc"
    ):
        calib.find("decam", "g", "2025-02-01")


def test_a_certified_run_whose_file_is_gone_is_named(calib, runs, certify):
    certificate = certify(runs[0], "2025-01-01")
    assert certificate.path is not None
    certificate.path.rename(calib.path.parent / "backup.nc")
    with pytest.raises(ReadError, match=rf"find: the run {runs[0][:12]}, certified by M\. Curie .*from a backup"):
        calib.find(date="2025-02-01")
    assert calib.certificates()["run"].tolist() == [runs[0]]
    calib.add(calib.path.parent / "backup.nc")
    assert calib.find(date="2025-02-01") == certificate


def test_a_run_that_is_gone_is_not_certified(calib, runs, certify):
    calib.remove(runs[0], who="a", why="b")
    with pytest.raises(ReadError, match="was taken out of the archive"):
        certify(runs[0], "2025-01-01")


def test_a_run_removed_while_it_is_certified_is_not(calib, runs, certify, monkeypatch):
    """Another process removes the run after it was checked and before the decision is written down."""

    def slow(solution, thresholds):
        fx.Archive(calib.path).remove(runs[0], who="a", why="b")
        return []

    monkeypatch.setattr(module, "failures_of", slow)
    with pytest.raises(ReadError, match="certify: another process has just taken"):
        certify(runs[0], "2025-01-01")
    assert calib.certificates(history=True).empty


def test_a_damaged_run_is_not_certified(calib, runs, certify):
    path = calib._holdings.store.path(runs[0])
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ReadError, match="is damaged"):
        certify(runs[0], "2025-01-01")
    assert calib.certificates(history=True).empty


def test_of_two_decisions_the_later_number_holds_though_the_clock_went_backwards(calib, runs, certify, monkeypatch):
    class Backwards(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(1999, 1, 1, tzinfo=UTC)

    first = certify(runs[0], "2025-01-01")
    monkeypatch.setattr(journal, "datetime", Backwards)
    second = certify(runs[1], "2025-01-01", supersede=True)
    assert second.recorded < first.recorded
    assert calib.find(date="2025-02-01").run == runs[1]
    assert calib.reindex() == 3
    assert fx.Archive(calib.path).find(date="2025-02-01").run == runs[1]
    assert fx.Archive(calib.path).certificates(history=True)["run"].tolist() == runs[:2]


# checks and waivers --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good():
    return fx.solve(fx.simulate(seed=1)).assign_attrs(camera="testcam")


def test_a_good_run_needs_no_waiver(calib, good):
    certificate = calib.certify(calib.add(good), "2025-01-01", approver=APPROVER)
    assert (certificate.waiver, certificate.failures) == (None, ())


def spoilt(good, kind):
    """Make a run that fails one check."""
    ds = good.copy(deep=True)
    if kind == "converged":
        ds.attrs["converged"] = 0
    elif kind == "rms_residual":
        ds.attrs["rms_residual"] = 0.0051
    elif kind == "unused_cells":
        ds["weight"] = ds["weight"].where(ds.exposure.isin(ds.exposure[1:]), 0.0)
    elif kind == "lost_units":
        ds["G"] = ds["G"].where(ds.detector != ds.detector[0])
    elif kind == "lost_exposures":
        ds["E"] = ds["E"].where(ds.exposure.isin(ds.exposure[2:]))
    elif kind == "G_stderr":
        ds["G_stderr"] = ds["G"] * 0.0021
    return ds


CHECKS = {
    "converged": "the solver did not converge",
    "rms_residual": "rms residual 0.0051 is above 0.005",
    "unused_cells": r"share of cells without weight 0\.1\d+ is above 0\.1",
    "lost_units": r"share of units without G 0\.0833 is above 0\.05",
    "lost_exposures": r"share of exposures without E 0\.25 is above 0\.2",
    "G_stderr": r"median relative error of G 0\.0021 is above 0\.002",
}


@pytest.mark.parametrize("kind", CHECKS)
def test_each_check_keeps_a_run_from_being_certified(calib, good, kind):
    run = calib.add(spoilt(good, kind))
    with pytest.raises(
        UnfitError, match=rf"certify: {run[:12]} fails: .*{CHECKS[kind]}.*waiver=Waiver\(who, why\)"
    ) as caught:
        calib.certify(run, "2025-01-01", approver=APPROVER)
    assert "\n" not in str(caught.value)
    assert calib.certificates(history=True).empty


@pytest.mark.parametrize("kind", [kind for kind in CHECKS if kind != "converged"])
def test_each_limit_can_be_lifted(good, kind):
    bad = spoilt(good, kind)
    limits = {"alpha": None}
    assert len(failures_of(bad, Thresholds(**limits))) == 1
    assert failures_of(bad, Thresholds(**limits, **{kind: None})) == []
    assert failures_of(bad, Thresholds(**limits, **{kind: 0.9})) == []
    assert failures_of(good, Thresholds(**limits, **{kind: 0.0})) or kind in (
        "unused_cells",
        "lost_units",
        "lost_exposures",
    )


def test_what_is_not_known_is_a_failure_and_can_be_lifted_too(good):
    bare = good.drop_vars(["G_stderr"])
    del bare.attrs["rms_residual"]
    assert failures_of(bare, Thresholds(alpha=None)) == [
        "rms residual is not known",
        "median relative error of G is not known",
    ]
    assert failures_of(bare, Thresholds(alpha=None, rms_residual=None, G_stderr=None)) == []


def test_a_run_that_cannot_be_diagnosed_fails(small_run):
    failures = failures_of(small_run(1), Thresholds())
    assert len(failures) == 1
    assert failures[0].startswith("it cannot be diagnosed (")


def test_a_fault_that_is_seen_keeps_a_run_from_being_certified(calib, says):
    ds = fx.simulate(n_detectors=20, n_exposures=10, seed=5).assign_attrs(camera="testcam")
    slopes = xr.DataArray(1e-4 * np.array([1, -1, 2, -2, 0, 1, -2, 2, -1, 0]), dims="exposure")
    with says("see diagnose"):
        run = calib.add(fx.solve(ds.assign(background=ds.background * (1 + slopes * ds.x))))
    lifted = {"rms_residual": None, "unused_cells": None, "G_stderr": None}
    with pytest.raises(UnfitError, match="follow a plane"):
        calib.certify(run, "2025-01-01", approver=APPROVER, thresholds=Thresholds(**lifted))
    assert calib.certify(run, "2025-01-01", approver=APPROVER, thresholds=Thresholds(**lifted, alpha=None))


@pytest.mark.parametrize("value", [-1, float("nan"), "0.1", True, [0.1]])
def test_a_limit_is_a_number_from_zero_on(value):
    with pytest.raises(FlatnormError, match=r"certify: the threshold rms_residual is .*a number from 0 on, or None"):
        Thresholds(rms_residual=value)


def test_a_waiver_is_recorded_with_who_and_why_and_when(calib, good):
    run = calib.add(spoilt(good, "rms_residual"))
    waiver = Waiver("P. Curie", "the lamp is being mended", "2025-03-01")
    certificate = calib.certify(run, "2025-01-01", approver=APPROVER, waiver=waiver)
    assert certificate.waiver == waiver
    assert certificate.failures == (CHECKS["rms_residual"],)
    assert calib.find(date="2025-02-01") == certificate
    assert calib.certificates()["waiver"].tolist() == ["the lamp is being mended (P. Curie, 2025-03-01)"]
    told = calib.show(run)["certificates"][0]
    assert told["waiver"] == {"who": "P. Curie", "why": "the lamp is being mended", "when": "2025-03-01"}
    assert told["failures"] == [CHECKS["rms_residual"]]


def test_a_waiver_without_a_date_is_of_the_day_it_is_recorded(calib, good):
    run = calib.add(spoilt(good, "rms_residual"))
    certificate = calib.certify(run, "2025-01-01", approver=APPROVER, waiver=Waiver("P. Curie", "no other"))
    assert certificate.waiver is not None
    assert certificate.waiver.when == certificate.recorded[:10]


@pytest.mark.parametrize("waiver", [Waiver("", "why"), Waiver("who", " "), Waiver("who", "why", "soon"), "yes", True])
def test_a_waiver_needs_a_name_a_reason_and_a_date(calib, good, waiver):
    run = calib.add(spoilt(good, "rms_residual"))
    with pytest.raises(FlatnormError, match="waiver"):
        calib.certify(run, "2025-01-01", approver=APPROVER, waiver=waiver)
    assert calib.certificates(history=True).empty


def test_a_waiver_that_nobody_needs_is_not_recorded(calib, good):
    certificate = calib.certify(calib.add(good), "2025-01-01", approver=APPROVER, waiver=Waiver("a", "b"))
    assert certificate.waiver is None


# the intervals -------------------------------------------------------------------------------------------------------

DAYS = 30
MONTH = np.datetime64("2025-01-01", "us")


def day(number: int) -> np.datetime64:
    return MONTH + np.timedelta64(number, "D")


@st.composite
def decisions(draw):
    """Certificates of one camera and filter; some without end, some taken back."""
    found = []
    for number in range(draw(st.integers(0, 12))):
        begin = draw(st.integers(0, DAYS - 1))
        end = draw(st.none() | st.integers(begin + 1, DAYS + 5))
        found.append(
            Certificate(
                number=number,
                run=f"{number:064x}",
                camera="testcam",
                filter="r",
                begin=day(begin),
                end=None if end is None else day(end),
                approver="a",
                recorded="",
                revoked=draw(st.sampled_from(["", "", "", "why"])),
            )
        )
    return found


@given(decisions(), st.randoms(use_true_random=False))
def test_intervals_are_what_painting_day_by_day_gives(certificates, random):
    painted = dict.fromkeys(range(DAYS + 10))
    for certificate in certificates:
        if not certificate.revoked:
            for k in painted:
                if day(k) >= certificate.begin and (certificate.end is None or day(k) < certificate.end):
                    painted[k] = certificate.number
    shuffled = list(certificates)
    random.shuffle(shuffled)
    intervals = holding(shuffled)
    for k, number in painted.items():
        found = [i.certificate.number for i in intervals if i.overlaps(day(k), day(k) + np.timedelta64(1, "us"))]
        assert found == ([] if number is None else [number])
    for before, after in pairwise(intervals):
        assert before.end is not None
        assert before.begin < before.end <= after.begin


@given(decisions())
def test_the_catalogue_answers_as_the_intervals_do(certificates):
    connection = Database(Path("unused")).in_memory(lambda connection: None)
    catalogue.set_certificates(connection, certificates, records=1, seal="", origin="")
    intervals = holding(certificates)
    for k in range(-1, DAYS + 10):
        for moment_ in (day(k), day(k) - np.timedelta64(1, "us")):
            asked = int(moment_.astype(np.int64))
            inside = [i for i in intervals if i.begin <= moment_ and (i.end is None or moment_ < i.end)]
            number = catalogue.holding_at(connection, "testcam", "r", asked)
            assert number == (inside[0].certificate.number if inside else None)
            if not inside:
                before, after = catalogue.neighbours(connection, "testcam", "r", asked)
                ended = [i for i in intervals if i.end is not None and i.end <= moment_]
                coming = [i for i in intervals if i.begin > moment_]
                assert (before and before[0]) == (ended[-1].certificate.number if ended else None)
                assert (after and after[0]) == (coming[0].certificate.number if coming else None)
    connection.close()


def test_a_run_that_lacks_a_detector_of_the_one_before_is_not_certified_unsigned(calib):
    night = fx.simulate(n_detectors=6, n_exposures=6, seed=3)
    later = night.isel(detector=[0, 1, 2, 4, 5]).assign_coords(time=night.time + np.timedelta64(30, "D"))
    first, second = (calib.add(fx.solve(levels), camera="testcam") for levels in (night, later))
    calib.certify(first, "2025-03-14", approver="M. Curie")
    with pytest.raises(fx.UnfitError, match=rf"it lacks 4, which the run before it \({first[:12]}\) has"):
        calib.certify(second, "2025-05-01", approver="M. Curie", supersede=True)
    waiver = fx.Waiver("L. Meitner", "detector 4 is being repaired")
    calib.certify(second, "2025-05-01", approver="M. Curie", supersede=True, waiver=waiver)
    # back to the whole camera nothing is lost
    calib.certify(first, "2025-07-01", approver="M. Curie", supersede=True)


def test_what_holds_again_after_a_revocation_and_is_in_the_trash_is_named(calib, small_run, unchecked, says):
    first, second = (calib.add(small_run(seed)) for seed in (1, 2))
    calib.certify(first, "2025-01-01", approver="M. Curie", thresholds=unchecked)
    later = calib.certify(second, "2025-01-01", approver="M. Curie", supersede=True, thresholds=unchecked)
    trash = calib.remove(first, who="a", why="b")
    with says(rf"from 2025-01-01 on {first[:12]} holds again, which is not in the archive; add .*trash"):
        calib.revoke(later, approver="M. Curie", why="a test")
    with pytest.raises(ReadError, match=rf"add {trash}, or certify another"):
        calib.find(date="2025-02-01")
    calib.add(trash)
    assert calib.find(date="2025-02-01").run == first


@pytest.mark.parametrize("alpha", [0, 1, 2.0])
def test_the_chance_of_failing_is_a_probability(alpha):
    with pytest.raises(FlatnormError, match=r"alpha is .*; it must be a probability between 0 and 1, or None"):
        fx.Thresholds(alpha=alpha)


def test_thresholds_are_any_numbers():
    assert fx.Thresholds(rms_residual=np.float32(0.1)).rms_residual == np.float32(0.1)
