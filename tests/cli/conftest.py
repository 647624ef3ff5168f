"""The program, run within the tests; and an archive to run it on."""

from __future__ import annotations

import re
import shutil
import warnings

import pytest

import flatnorm_xr as fx
from flatnorm_xr.cli.main import main
from flatnorm_xr.simulate.years import simulate_years


@pytest.fixture
def flatnorm(capsys):
    """Run the program; gives exit status, standard output, standard error."""

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return left.value.code, captured.out, captured.err

    return call


@pytest.fixture(scope="session")
def years(tmp_path_factory):
    """Folder with the archive ``calib`` of three years.

    Twelve runs of the camera "simulated" in r, the first of which is certified for some time. Detector 2 drifts by
    0.4 % a year, the amplifier C01 of 4 jumps by 1.2 % after the sixth run, 3 follows the temperature.
    """
    folder = tmp_path_factory.mktemp("years")
    planted = {"drift": {2: 0.004}, "jumps": [((4, "C01"), 1.5, 0.012)], "response": {3: 0.0004}}
    decade = simulate_years(years=3, runs=12, n_detectors=4, n_amplifiers=2, run_noise=1e-4, seed=3, **planted)
    archive = fx.Archive(folder / "calib")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fx.FlatnormWarning)
        for levels in decade:
            archive.add(fx.solve(levels, weights="variance", floor=1e-3, uncertainty="analytic"))
    archive.certify(archive.list().index[0], "2026-06-01", "2026-12-24", approver="M. Curie")
    return folder


@pytest.fixture
def calib(years, tmp_path):
    """A copy of that archive, to change; the runs in order of time are its ``list().index``."""
    shutil.copytree(years / "calib", tmp_path / "calib")
    return tmp_path / "calib"


@pytest.fixture
def runs(years):
    """Names of its runs, in order of time."""
    return [*fx.Archive(years / "calib", create=False).list().index]


@pytest.fixture(scope="session")
def solution():
    """A night of whole detectors."""
    return fx.solve(fx.simulate(n_detectors=3, n_exposures=6, seed=7), weights="variance").assign_attrs(
        camera="testcam"
    )


@pytest.fixture
def night(solution, tmp_path):
    """Its file."""
    return fx.save(solution, tmp_path / "night.nc")


@pytest.fixture
def done(flatnorm):
    """Run ``flatnorm archive``; it must succeed and complain of nothing; gives what it printed."""

    def call(*arguments):
        status, out, err = flatnorm("archive", *arguments)
        assert (status, err) == (0, "")
        return out

    return call


@pytest.fixture
def refused(flatnorm):
    """Run ``flatnorm archive``; it must say in one line why not."""

    def call(pattern, *arguments):
        status, out, err = flatnorm("archive", *arguments)
        assert (status, out) == (2, "")
        assert re.search(pattern, err), err
        assert err.startswith("flatnorm: error: ")
        assert err.count("\n") == 1
        assert "internal" not in err

    return call


@pytest.fixture
def rows():
    """Find the rows of the first table that was printed, each by the names of its columns."""

    def read(out):
        lines = out.splitlines()
        rule = next(k for k, line in enumerate(lines) if re.fullmatch(r" *-[- ]*", line))
        starts = [match.start() for match in re.finditer("-+", lines[rule])]
        table = []
        for line in [lines[rule - 1], *lines[rule + 1 :]]:
            if not line.startswith("  "):
                break
            table.append([line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)])
        return [dict(zip(table[0], row, strict=True)) for row in table[1:]]

    return read
