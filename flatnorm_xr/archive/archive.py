"""The archive of calibration runs: a folder of NetCDF files, who certified which for when, and how they drift."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from flatnorm_xr.archive.holdings import SHOWN, Holdings
from flatnorm_xr.errors import FlatnormError, offenders, warn

if TYPE_CHECKING:
    import pandas as pd

    from flatnorm_xr.archive.acceptance import Thresholds
    from flatnorm_xr.archive.certificates import Certificate, Waiver
    from flatnorm_xr.archive.listing import Chosen
    from flatnorm_xr.archive.trend.recommend import Recommendation

__all__ = ["Archive"]

Format = Literal["csv", "ecsv", "lsst"]


class Archive:
    """A folder of calibration runs.

    The files are the truth: one NetCDF file a run, named by the checksum of its bytes, and one small file a decision.
    The catalogue beside them is an index that is made again from the files whenever it is lost, damaged or behind.
    Several processes of one host may write and read at once; a process that is killed leaves nothing half done.

    Parameters
    ----------
    path : path
        Of the folder.
    create : bool
        Make it when it is absent; the folder it lies in must exist.

    Raises
    ------
    FlatnormError
        The folder holds something else, or was written by a newer program.

    Examples
    --------
    >>> import tempfile
    >>> import flatnorm_xr as fx
    >>> archive = fx.Archive(Path(tempfile.mkdtemp()) / "calib")
    >>> run = archive.add(fx.solve(fx.simulate(seed=1)), camera="testcam")
    >>> certificate = archive.certify(run, "2025-03-14", approver="M. Curie")
    >>> archive.find("testcam", date="2025-04-01").run == run
    True
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool = True) -> None:
        self.path = Path(path)
        self._holdings = Holdings(self.path)
        self._holdings.found(create)

    def __repr__(self) -> str:
        return f"Archive({str(self.path)!r})"

    def __len__(self) -> int:
        return len(self._holdings.store.runs())

    # runs ------------------------------------------------------------------------------------------------------------

    def add(
        self, run: str | os.PathLike[str] | xr.Dataset, *, camera: str | None = None, filter: str | None = None
    ) -> str:
        """Keep a run.

        Parameters
        ----------
        run : path or Dataset
            A solution: a dataset, or a file that `flatnorm_xr.open` or `flatnorm_xr.read_solution` reads.
        camera : str, optional
            Name of the camera, for a run that does not tell it.
        filter : str, optional
            Name of the filter, for a run that does not tell it.

        Returns
        -------
        str
            Name of the run, 64 hexadecimal digits. The same run added again keeps its name; it is the same when all
            numbers, labels and attributes but ``history`` are.

        Raises
        ------
        FlatnormError
            Not a solution, no camera told, the disk is full, or the folder cannot be written to.
        """
        from flatnorm_xr.archive.intake import arriving

        arrival = arriving(run, camera=camera, filter=filter)
        return self._holdings.keep(arrival.dataset, arrival.digest, arrival.file)

    def open(self, run: str | Certificate, *, chunks: Any = None) -> xr.Dataset:
        """Read a run, once its checksum is right.

        Parameters
        ----------
        run : str or Certificate
            Name of the run, the first digits of it (four at least), or what `find` gave.
        chunks : int, dict or "auto", optional
            Leave the values in the file, as `flatnorm_xr.open` does.

        Raises
        ------
        ReadError
            There is no such run, or its file is damaged.
        """
        from flatnorm_xr.archive import netcdf

        return netcdf.open(self._holdings.checked(self._holdings.resolved(run)), chunks=chunks)

    def list(
        self, *, camera: str | None = None, filter: str | None = None, since: Any = None, until: Any = None
    ) -> pd.DataFrame:
        """List the runs, in order of time.

        Parameters
        ----------
        camera, filter : str, optional
            Only runs of these.
        since, until : date, optional
            Only runs with exposures from ``since`` on and before ``until``. Runs without times are then left out.

        Returns
        -------
        DataFrame
            One row a run, its name the index: camera, filter (several with commas), begin and end (of the exposures,
            UTC), nights, exposures, detectors, units, lost_units (without G), rms_residual, converged, certified
            (filters for which it holds at some time), added.
        """
        from flatnorm_xr.archive.listing import list_runs

        return list_runs(self._holdings, camera=camera, filter=filter, since=since, until=until)

    def show(self, run: str | Certificate) -> dict[str, Any]:
        """Tell all that is known of a run.

        Returns
        -------
        dict
            Facts of the run, its path, its certificates, and what else was decided of it; as JSON holds them.
        """
        from flatnorm_xr.archive.listing import describe_run

        return describe_run(self._holdings, self._holdings.resolved(run))

    def remove(self, run: str, *, who: str, why: str) -> Path:
        """Move a run to the trash.

        Parameters
        ----------
        run : str
        who, why : str
            Go into the records.

        Returns
        -------
        Path
            Where it lies now; adding that file brings it back.

        Raises
        ------
        FlatnormError
            A certificate of the run still holds at some time: revoke it, or certify another run in its place.
        """
        from flatnorm_xr.archive.certify import remove

        return remove(self._holdings, run, who=who, why=why)

    def export(
        self, run: str | Certificate, path: str | os.PathLike[str], *, to: Format | None = None, overwrite: bool = False
    ) -> Path:
        """Write a run for others: its very file where ``path`` ends in .nc, else as `flatnorm_xr.export` does."""
        from flatnorm_xr.archive.atomic import whole_file
        from flatnorm_xr.archive.export import export

        if to is None and Path(path).suffix.lower() in (".nc", ".nc4"):
            source = self._holdings.checked(self._holdings.resolved(run))
            with whole_file(path, overwrite=overwrite, caller="export") as temporary:
                temporary.write_bytes(source.read_bytes())
            return Path(path)
        return export(self.open(run), path, to=to, overwrite=overwrite)

    # certificates ----------------------------------------------------------------------------------------------------

    def certify(
        self,
        run: str,
        begin: Any,
        end: Any = None,
        *,
        approver: str,
        filter: str | None = None,
        supersede: bool = False,
        waiver: Waiver | None = None,
        thresholds: Thresholds | None = None,
        comment: str = "",
    ) -> Certificate:
        """Say that a run holds from one date until another.

        Parameters
        ----------
        run : str
        begin, end : date
            UTC; ``end`` is the first moment at which it holds no more, None: until another is certified.
        approver : str
            Who says so.
        filter : str, optional
            For a run of several filters.
        supersede : bool
            Take the interval from certificates that hold in it now; they keep the rest of theirs.
        waiver : Waiver, optional
            Who decided, and why, that the run is used although it fails a check.
        thresholds : Thresholds, optional
            Limits of the checks; `flatnorm_xr.archive.acceptance.Thresholds` tells the usual ones.
        comment : str

        Returns
        -------
        Certificate

        Raises
        ------
        UnfitError
            The run fails its diagnosis or a limit and there is no waiver; its ``failures`` say what.
        FlatnormError
            Another certificate holds in the interval and ``supersede`` is not set; the interval is empty.
        """
        from flatnorm_xr.archive.acceptance import Thresholds
        from flatnorm_xr.archive.certify import certify

        return certify(
            self._holdings,
            run,
            begin,
            end,
            approver=approver,
            filter=filter,
            supersede=supersede,
            waiver=waiver,
            thresholds=Thresholds() if thresholds is None else thresholds,
            comment=comment,
        )

    def revoke(self, certificate: Certificate | int, *, approver: str, why: str) -> Certificate:
        """Take a certificate back, as if it had never been; what it superseded holds again.

        Parameters
        ----------
        certificate : Certificate or int
            Or its number.
        approver, why : str
            Go into the records, which keep the certificate too.
        """
        from flatnorm_xr.archive.certify import revoke

        return revoke(self._holdings, certificate, approver=approver, why=why)

    def certificates(
        self, *, camera: str | None = None, filter: str | None = None, history: bool = False
    ) -> pd.DataFrame:
        """List what holds when.

        Parameters
        ----------
        camera, filter : str, optional
            Only of these.
        history : bool
            All decisions in their order, also those superseded or taken back, with the intervals as they were given.

        Returns
        -------
        DataFrame
            Camera, filter, begin, end (NaT: until another is certified), run, approver, recorded, waiver, comment,
            revoked; by number of the certificate.
        """
        from flatnorm_xr.archive.listing import list_certificates

        return list_certificates(self._holdings, camera=camera, filter=filter, history=history)

    def find(self, camera: str | None = None, filter: str | None = None, date: Any = None) -> Certificate:
        """Find which run holds at a date.

        Parameters
        ----------
        camera, filter : str, optional
            May be left out where only one is certified.
        date : date, optional
            UTC; now by default.

        Returns
        -------
        Certificate
            With the run and its ``path``; `open` takes it.

        Raises
        ------
        FlatnormError
            No run holds then; the error names the neighbours in time.
        ReadError
            The run that holds is not there, or the records are damaged.
        """
        from flatnorm_xr.archive.certify import find

        return find(self._holdings, camera, filter, date)

    # all runs of a camera --------------------------------------------------------------------------------------------

    def load(
        self,
        name: str,
        *,
        camera: str | None = None,
        filter: str | None = None,
        since: Any = None,
        until: Any = None,
    ) -> xr.DataArray:
        """Give one variable of all runs, along ``run``, read when it is needed.

        Parameters
        ----------
        name : str
            Variable or coordinate of the runs.
        camera, filter : str, optional
            May be left out where there is only one.
        since, until : date, optional
            Only runs of this time.

        Returns
        -------
        DataArray, (run, dims...)
            In order of time, with the coordinate ``time``. Units that a run does not have are NaN; what lies along
            exposure lies along ``exposure_number``, the exposures of the filter, padded to the longest run. Of groups,
            the one that holds the filter. Nothing is read until values are asked for, and then only the runs they come
            from; no dask is needed, and ``.chunk()`` gives a dask array.
        """
        from flatnorm_xr.archive.lazy import over_runs

        chosen = self._chosen("load", camera, filter, since, until)
        return over_runs(
            name, chosen.series, chosen.labels, path=self._holdings.checked, place=self._holdings.store.path
        )

    def history(
        self,
        *,
        camera: str | None = None,
        filter: str | None = None,
        since: Any = None,
        until: Any = None,
        covariances: bool = False,
    ) -> xr.Dataset:
        """Collect G of all runs, each in its own gauge.

        Parameters
        ----------
        camera, filter : str, optional
            May be left out where there is only one.
        since, until : date, optional
            Only runs of this time. Runs without times are left out, with a warning.
        covariances : bool
            Find the covariance of each run's ln G from its weights, so that errors are right in any gauge; every file
            is then read whole. Without them units are taken for independent, which they are where nothing is missing.

        Returns
        -------
        Dataset
            ``G`` and ``G_stderr`` (run, detector[, amplifier]), NaN where a run has none; ``time`` along run, and the
            mean over each run's exposures of every number that its exposures carry.
        """
        from flatnorm_xr.archive.history import read_history

        chosen = self._chosen("trend", camera, filter, since, until)
        history = read_history(chosen.series, chosen.labels, path=self._holdings.store.path, covariances=covariances)
        return history.assign_attrs(camera=chosen.camera, physical_filter=chosen.filter)

    def trend(
        self,
        name: Literal["G", "detector_scale"] = "G",
        *,
        camera: str | None = None,
        filter: str | None = None,
        since: Any = None,
        until: Any = None,
        units: Mapping[str, Any] | None = None,
        gauge: Any = "common",
        against: Sequence[str] | str = (),
        alpha: float = 0.01,
        covariances: bool = False,
    ) -> xr.Dataset:
        """Follow the responses over the runs: drifts, changes, what they depend on.

        Parameters
        ----------
        name : {"G", "detector_scale"}
            The latter is the geometric mean of G over the amplifiers of a detector; it then stands as ``G`` (run,
            detector).
        camera, filter, since, until, covariances
            As in `history`; covariances are for "G" alone.
        units : mapping, optional
            Labels of the units to follow, such as ``{"detector": 3, "amplifier": "C05"}``; the gauge is of all.
        gauge, against, alpha
            As in `flatnorm_xr.archive.trend.follow.follow`.

        Returns
        -------
        Dataset
            What `flatnorm_xr.archive.trend.follow.follow` returns.
        """
        from flatnorm_xr.archive.history import of_detectors
        from flatnorm_xr.archive.trend.follow import follow

        if name not in ("G", "detector_scale"):
            msg = f"trend: {name!r} cannot be followed; it must be 'G' or 'detector_scale'"
            raise FlatnormError(msg)
        of_amplifiers = name == "G"
        history = self.history(
            camera=camera, filter=filter, since=since, until=until, covariances=covariances and of_amplifiers
        )
        history = history if of_amplifiers else of_detectors(history)
        trend = follow(history, gauge=gauge, against=against, alpha=alpha, units=units)
        return trend if of_amplifiers else trend.assign_attrs(title="detector_scale over the runs of an archive")

    def recommend(
        self,
        *,
        camera: str | None = None,
        filter: str | None = None,
        date: Any = None,
        gauge: Any = "common",
        against: Sequence[str] | str = (),
        tolerance: float = 2.0,
        alpha: float = 0.01,
    ) -> Recommendation:
        """Say whether the flat that holds at a date should be renewed.

        Parameters
        ----------
        camera, filter, date
            As in `find`; of the runs, those before the date are looked at.
        gauge, against
            As in `trend`.
        tolerance : float
            Change of a response that matters, mmag.
        alpha : float
            Chance to renew for nothing.

        Returns
        -------
        Recommendation
            "renew" only for a change that is both larger than the tolerance and significant.

        Raises
        ------
        FlatnormError
            As `find`; the run that holds has no time.
        """
        from flatnorm_xr.archive.certificates import moment
        from flatnorm_xr.archive.trend.follow import follow
        from flatnorm_xr.archive.trend.recommend import recommend_from

        certificate = self.find(camera, filter, date)
        history = self.history(camera=certificate.camera, filter=certificate.filter)
        if date is not None:
            # a run may be certified for the time before it was taken
            before = history["time"] < moment(date, caller="recommend", argument="date")
            history = history.isel(run=before | (history["run"] == certificate.run))
        trend = follow(history, gauge=gauge, against=against, alpha=alpha)
        return recommend_from(trend, certificate.run, tolerance=tolerance, alpha=alpha)

    def compare(
        self,
        run_a: str | Certificate,
        run_b: str | Certificate,
        *,
        gauge: Any = "common",
        group: Any = None,
        alpha: float = 0.01,
    ) -> xr.Dataset:
        """Compare two runs; see `flatnorm_xr.archive.trend.compare.compare_solutions`."""
        from flatnorm_xr.archive.trend.compare import compare_solutions

        names = [self._holdings.resolved(run) for run in (run_a, run_b)]
        comparison = compare_solutions(*map(self.open, names), gauge=gauge, group=group, alpha=alpha)
        return comparison.assign_attrs(run_a=names[0], run_b=names[1])

    def to_datatree(
        self, camera: str | None = None, *, filter: str | None = None, since: Any = None, until: Any = None
    ) -> xr.DataTree:
        """Give the runs of a camera as one tree, a node a run, read when values are asked for.

        Parameters
        ----------
        camera : str, optional
            May be left out where there is only one.
        filter, since, until : optional
            Only runs of this filter and time.

        Returns
        -------
        DataTree
            Nodes are named by the first digits of the runs, in order of time.
        """
        from flatnorm_xr.archive.lazy import on_demand

        table = self.list(camera=camera, filter=filter, since=since, until=until)
        cameras = sorted(set(table["camera"]))
        if camera is None and len(cameras) > 1:
            msg = f"to_datatree: there are several cameras; pass camera= with one of {offenders(cameras)}"
            raise FlatnormError(msg)
        nodes = {f"/{run[:SHOWN]}": on_demand(partial(self._holdings.checked, run)) for run in table.index}
        return xr.DataTree.from_dict(nodes, name=cameras[0].replace("/", "_") if cameras else None)

    # care ------------------------------------------------------------------------------------------------------------

    def verify(self, *, quarantine: bool = True, progress: bool = False) -> pd.DataFrame:
        """Check every file of the archive.

        Parameters
        ----------
        quarantine : bool
            Move a run whose file is damaged to ``quarantine``, and say so in the records.
        progress : bool
            Show how far it is, on standard error.

        Returns
        -------
        DataFrame
            One row a problem: ``path``, ``what`` is wrong, what was ``done``. Empty when all is well.
        """
        import pandas as pd

        from flatnorm_xr.archive.verify import problems_of

        found = [asdict(problem) for problem in problems_of(self._holdings, quarantine=quarantine, progress=progress)]
        return pd.DataFrame(found, columns=["path", "what", "done"])

    def reindex(self) -> int:
        """Make the catalogue again from the files.

        Returns
        -------
        int
            Number of runs in it.
        """
        runs, unreadable = self._holdings.reindexed()
        if unreadable:
            warn(f"reindex: {offenders(run[:SHOWN] for run in sorted(unreadable))} cannot be read; verify tells more")
        return len(runs)

    def _chosen(self, caller: str, camera: str | None, filter: str | None, since: Any, until: Any) -> Chosen:
        from flatnorm_xr.archive.listing import choose_runs

        return choose_runs(self._holdings, caller, camera=camera, filter=filter, since=since, until=until)
