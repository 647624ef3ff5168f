"""A save that is cut short, by a kill, a full disk or a failing call, leaves the old file or the whole new one."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.archive import atomic, netcdf
from flatnorm_xr.archive.export import export
from flatnorm_xr.errors import FlatnormError, ReadError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")

SAVER = """
import sys, numpy as np, flatnorm_xr as fx
from flatnorm_xr.archive.netcdf import save
ds = fx.make(np.random.default_rng(0).normal(2e4, 1e2, (60, 500)), attrs={"user": 0})
sys.stdout.write("ready\\n"); sys.stdout.flush()
n = 0
while True:
    n += 1
    ds.attrs["user"] = n
    save(ds, sys.argv[1], overwrite=True)
    sys.stdout.write("."); sys.stdout.flush()
"""


def levels(seed: int = 0) -> xr.Dataset:
    return fx.make(np.random.default_rng(seed).normal(2e4, 1e2, (4, 50)))


def leftovers(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if file.name.startswith(".flatnorm-")]


@pytest.mark.slow
def test_killed_while_saving(tmp_path):
    random_delay = random.Random(5)
    target = tmp_path / "run.nc"
    expected = np.random.default_rng(0).normal(2e4, 1e2, (60, 500))
    for _ in range(6):
        with subprocess.Popen([sys.executable, "-c", SAVER, str(target)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            child.stdout.read(random_delay.randrange(3))
            try:
                child.wait(timeout=random_delay.uniform(0.0, 0.03))
            except subprocess.TimeoutExpired:
                child.kill()
        assert child.returncode == -9
        if target.exists():
            np.testing.assert_array_equal(netcdf.open(target).background, expected)


def test_what_a_killed_process_left_is_removed_when_it_is_a_day_old(tmp_path):
    for name, age in (
        (".flatnorm-0123456789ab.part", 90_000),
        (".flatnorm-ba9876543210.part", 3_600),
        ("a.part", 90_000),
    ):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age, time.time() - age))
    netcdf.save(levels(), tmp_path / "run.nc")
    assert sorted(os.listdir(tmp_path)) == [".flatnorm-ba9876543210.part", "a.part", "run.nc"]


STEPS = {"write": (xr.Dataset, "to_netcdf"), "flush": (atomic, "flush"), "link": (os, "link"), "open": (os, "open")}


@pytest.mark.parametrize("step", [*STEPS, "replace"])
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
def test_failing_step_leaves_the_target_untouched(tmp_path, monkeypatch, step, failure):
    target = tmp_path / "run.nc"
    overwrite = step == "replace"
    if overwrite:
        netcdf.save(levels(1), target)

    def fail(*args: object, **keywords: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(*STEPS.get(step, (os, "replace")), fail)
        with pytest.raises(FlatnormError if isinstance(failure, OSError) else type(failure)):
            netcdf.save(levels(2), target, overwrite=overwrite)
    assert leftovers(tmp_path) == []
    assert target.exists() == overwrite
    if overwrite:
        xr.testing.assert_identical(netcdf.open(target), levels(1))
    netcdf.save(levels(2), target, overwrite=overwrite)
    xr.testing.assert_identical(netcdf.open(target), levels(2))


@pytest.mark.parametrize("suffix", ["nc", "csv", "ecsv"])
def test_full_disk(tmp_path, suffix):
    there, new = (tmp_path / f"{name}.{suffix}" for name in ("there", "new"))
    (netcdf.save if suffix == "nc" else export)(levels(1), there)
    before = there.read_bytes()
    code = (
        "import resource, sys, numpy as np, flatnorm_xr as fx, astropy.table\n"
        "from flatnorm_xr.archive.netcdf import save\n"
        "from flatnorm_xr.archive.export import export\n"
        "ds = fx.make(np.random.default_rng(0).normal(2e4, 1e2, (100, 1000)))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "for target in sys.argv[1:]:\n"
        "    try:\n"
        "        (save if target.endswith('.nc') else export)(ds, target, overwrite=True)\n"
        "    except fx.FlatnormError as error:\n"
        "        print(f'refused: {error}')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, there, new], capture_output=True, text=True, check=True)
    assert [line.partition(": ")[0] for line in done.stdout.splitlines()] == ["refused", "refused"]
    assert done.stderr == ""
    assert leftovers(tmp_path) == []
    assert there.read_bytes() == before
    assert not new.exists()


def test_truncated_file_is_named_at_every_length(tmp_path):
    whole = netcdf.save(levels(), tmp_path / "whole.nc").read_bytes()
    cut = tmp_path / "cut.nc"
    for part in np.linspace(0, len(whole) - 1, 25).astype(int):
        cut.write_bytes(whole[:part])
        with pytest.raises(ReadError, match=r"cut\.nc is (damaged or truncated|not a NetCDF file)") as caught:
            netcdf.open(cut)
        assert "\n" not in str(caught.value)


def test_changed_byte_in_the_levels_is_found(tmp_path):
    path = netcdf.save(levels(), tmp_path / "run.nc")
    content = bytearray(path.read_bytes())
    # the packed levels are by far the longest stretch without a zero byte
    stretch = max(bytes(content).split(b"\0"), key=len)
    content[bytes(content).index(stretch) + len(stretch) // 2] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(ReadError, match="damaged"):
        netcdf.open(path)


@pytest.mark.slow
def test_of_two_savers_one_wins(tmp_path):
    code = (
        "import sys, numpy as np, flatnorm_xr as fx\n"
        "from flatnorm_xr.archive.netcdf import save\n"
        "seed = int(sys.argv[2])\n"
        "ds = fx.make(np.random.default_rng(seed).normal(2e4, 1e2, (4, 50)))\n"
        "sys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.readline()\n"
        "try:\n"
        "    save(ds, sys.argv[1])\n"
        "    sys.stdout.write('won')\n"
        "except fx.FlatnormError:\n"
        "    sys.stdout.write('refused')\n"
    )
    target = tmp_path / "run.nc"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(target), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    ends = [child.communicate()[0] for child in children]
    assert sorted(ends) == ["refused", "won"]
    xr.testing.assert_identical(netcdf.open(target), levels(1 + ends.index("won")))
    assert leftovers(tmp_path) == []


def write_while_another_does(target: Path) -> None:
    with atomic.whole_file(target) as temporary:
        temporary.write_text("mine")
        target.write_text("theirs")


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_while_saving_is_kept(tmp_path, monkeypatch, links):
    target = tmp_path / "run.nc"
    if not links:

        def no_links(*args: object, **keywords: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(FlatnormError, match="exists"):
        write_while_another_does(target)
    assert target.read_text() == "theirs"
    assert leftovers(tmp_path) == []
    target.unlink()
    with atomic.whole_file(target) as temporary:
        temporary.write_text("mine")
    assert target.read_text() == "mine"
