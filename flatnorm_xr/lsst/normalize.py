"""Rubin's CpFlatNormalizationTask on the labelled core: statistics of many flats in, the scale of each exposure out."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import lsst.pipe.base.connectionTypes as cT
import xarray as xr
from lsst.daf.butler import DatasetRef
from lsst.pex.config import ChoiceField, Field, FieldValidationError
from lsst.pipe.base import (
    AnnotatedPartialOutputsError,
    InputQuantizedConnection,
    OutputQuantizedConnection,
    PipelineTaskConfig,
    PipelineTaskConnections,
    QuantumContext,
    Struct,
)
from lsst.pipe.base.connectionTypes import BaseInput, Output
from lsst.utils.timer import timeMethod
from numpy.typing import ArrayLike

from flatnorm_xr.archive.scales import pack_scales, scales_by_amplifier
from flatnorm_xr.decompose.alternation import measure_scales
from flatnorm_xr.decompose.gauge import parse_gauge
from flatnorm_xr.decompose.solve import solve
from flatnorm_xr.errors import DisconnectedError, FlatnormError, FlatnormWarning, offenders
from flatnorm_xr.lsst.camera import amplifier_names
from flatnorm_xr.lsst.errors import ExposuresWithoutScaleError, NothingMeasuredError
from flatnorm_xr.lsst.logged import LOG, LoggedTask
from flatnorm_xr.lsst.records import Selection, exposure_description
from flatnorm_xr.lsst.statistics import levels_of

__all__ = ["CpFlatNormalizationConnections", "CpFlatNormalizationTask", "CpFlatNormalizationTaskConfig"]


class CpFlatNormalizationConnections(PipelineTaskConnections, dimensions=("instrument", "physical_filter")):
    """Statistics of all detectors and exposures of one filter, and the camera; scales and the whole solution."""

    inputMDs = cT.Input(
        name="cpFlatProc_metadata",
        doc="Statistics of each detector in each exposure; a PropertyList or TaskMetadata is converted.",
        storageClass="FlatnormStatistics",
        dimensions=("instrument", "physical_filter", "detector", "exposure"),
        multiple=True,
    )
    camera = cT.PrerequisiteInput(
        name="camera",
        doc="Camera that tells the amplifiers of each detector.",
        storageClass="FlatnormCamera",
        dimensions=("instrument",),
        isCalibration=True,
    )
    outputScales = cT.Output(
        name="cpFlatNormScales",
        doc="Scale of each amplifier in each exposure (expScale), response of each detector or amplifier (detScale).",
        storageClass="StructuredDataDict",
        dimensions=("instrument", "physical_filter"),
    )
    outputSolution = cT.Output(
        name="cpFlatNormSolution",
        doc="The whole solution: levels, E, G, bgModel, scales, residuals, flags and errors.",
        storageClass="FlatnormSolution",
        dimensions=("instrument", "physical_filter"),
    )

    def __init__(self, *, config: CpFlatNormalizationTaskConfig | None = None) -> None:
        super().__init__(config=config)
        if config is not None and not config.doWriteSolution:
            del self.outputSolution

    def adjustQuantum(
        self,
        inputs: dict[str, tuple[BaseInput, Collection[DatasetRef]]],
        outputs: dict[str, tuple[Output, Collection[DatasetRef]]],
        label: str,
        data_id: Any,
    ) -> tuple[
        Mapping[str, tuple[BaseInput, Collection[DatasetRef]]], Mapping[str, tuple[Output, Collection[DatasetRef]]]
    ]:
        """Keep the exposures that the configuration selects; without any the quantum has no work."""
        adjusted: dict[str, tuple[BaseInput, Collection[DatasetRef]]] = {}
        config: Any = getattr(self, "config", None)
        if config is not None and config.downSelection:
            connection, refs = inputs["inputMDs"]
            kept = Selection.parse(config.downSelection).of(refs)
            LOG.info(
                "%s: %s keeps %d of %d statistics of %s", label, config.downSelection, len(kept), len(refs), data_id
            )
            adjusted["inputMDs"] = connection, kept
            inputs.update(adjusted)
        super().adjustQuantum(inputs, outputs, label, data_id)
        return adjusted, {}


class CpFlatNormalizationTaskConfig(PipelineTaskConfig, pipelineConnections=CpFlatNormalizationConnections):
    """Configuration of the task; the defaults are the documented behaviour."""

    level = ChoiceField[str](
        doc="What has a response of its own.",
        default="DETECTOR",
        optional=False,
        allowed={"DETECTOR": "Whole detectors.", "AMP": "Amplifiers."},
    )
    scaleMaxIter = Field[int](
        doc="Iterations of the alternation.",
        default=10,
        check=lambda value: value >= 1,
    )
    downSelection = Field[str](
        doc="Which exposures are used, as FIELD:VALUE or FIELD:VALUE,VALUE, with a field of the exposure records: "
        "observation_reason:flat, exposure_time:15,30. Where the record has a number, values are compared as numbers. "
        "None: all exposures.",
        default=None,
        optional=True,
    )
    method = ChoiceField[str](
        doc="How levels are decomposed.",
        default="alternation",
        optional=False,
        allowed={
            "alternation": "The documented alternation, scaleMaxIter times.",
            "exact": "The least-squares solution that the alternation approaches.",
        },
    )
    weights = ChoiceField[str](
        doc="Weights of the levels.",
        default="counts",
        optional=False,
        allowed={
            "counts": "Pixel counts.",
            "variance": "Inverse variances from sigma and counts, with a systematic floor.",
            "uniform": "All alike.",
        },
    )
    robust = ChoiceField[str](
        doc="Find faulty cells, units and exposures, and leave them out.",
        default=None,
        optional=True,
        allowed={"tukey": "By Tukey's biweight.", "huber": "By Huber's."},
    )
    uncertainty = ChoiceField[str](
        doc="How the errors in the solution are found; E and G do not depend on it.",
        default="none",
        optional=False,
        allowed={
            "none": "No errors.",
            "auto": "Jackknife from 5 exposures on, else analytic.",
            "analytic": "From the weights.",
            "jackknife": "By leaving out exposures and units.",
            "bootstrap": "By drawing exposures.",
        },
    )
    gauge = Field[str](
        doc="Whose mean response is 1: mean (of all, weighted by counts), geometric, or some detectors, by number or "
        "name: detectors:94,95.",
        default="mean",
    )
    onDisconnected = ChoiceField[str](
        doc="What to do with sets of detectors that share no exposure, whose ratio was not measured.",
        default="raise",
        optional=False,
        allowed={"raise": "Fail, and name them.", "separate": "A gauge for each set."},
    )
    units = ChoiceField[str](
        doc="Units of the levels; none: what the statistics say, and adu where they do not, as cp_pipe's do not.",
        default=None,
        optional=True,
        allowed={"adu": "Counts of the converter.", "electron": "Gains were applied."},
    )
    doWriteSolution = Field[bool](doc="Write the whole solution as NetCDF beside the scales.", default=True)

    def validate(self) -> None:
        """Refuse a gauge and a down-selection that cannot be read."""
        super().validate()
        if self.gauge not in ("mean", "geometric") and not re.fullmatch("detectors: *[^ ,].*", self.gauge):
            msg = f"gauge is {self.gauge!r}; it must be mean, geometric, or some detectors as in detectors:94,95"
            raise FieldValidationError(type(self).gauge, self, msg)
        if self.downSelection is not None:
            try:
                Selection.parse(self.downSelection)
            except FlatnormError as error:
                raise FieldValidationError(type(self).downSelection, self, str(error)) from error


class CpFlatNormalizationTask(LoggedTask):
    """Find by what each exposure's flats must be divided before they are combined.

    A drop-in for ``lsst.cp.pipe.CpFlatNormalizationTask``; see `flatnorm_xr.solve` for what it computes.

    Examples
    --------
    >>> statistics = [{"DETECTOR_MEDIAN": level, "DETECTOR_N": 100} for level in (50.0, 150.0, 100.0, 300.0)]
    >>> dims = [{"detector": detector, "exposure": exposure} for exposure in (7, 8) for detector in (1, 2)]
    >>> result = CpFlatNormalizationTask().run(statistics, dims, camera={1: ["C00"], 2: ["C00", "C01"]})
    >>> {exposure: round(scale, 9) for exposure, scale in result.outputScales[2]["C01"].items()}
    {7: 100.0, 8: 200.0}
    """

    ConfigClass: ClassVar[Any] = CpFlatNormalizationTaskConfig
    _DefaultName: ClassVar[str] = "cpFlatNorm"
    canMultiprocess: ClassVar[bool] = True
    config: CpFlatNormalizationTaskConfig

    def runQuantum(
        self,
        butlerQC: QuantumContext,
        inputRefs: InputQuantizedConnection,
        outputRefs: OutputQuantizedConnection,
    ) -> None:
        """Read, run, and write the scales as ``{"expScale": ..., "detScale": ...}`` and the solution.

        An exposure without a scale is left out of ``expScale``; the outputs are then partial, and the middleware
        decides whether tasks after this one go on.
        """
        inputs = butlerQC.get(inputRefs)
        inputs["inputDims"] = [exposure_description(ref.dataId) for ref in inputRefs.inputMDs]
        result = self.run(**inputs)
        amplifiers = {d: amplifier_names(inputs["camera"], d) for d in result.solution["detector"].values.tolist()}
        outputs = Struct(outputScales=pack_scales(result.solution, amplifiers))
        if self.config.doWriteSolution:
            outputs.outputSolution = result.solution.assign_attrs(
                camera=str(outputRefs.outputScales.dataId["instrument"])
            )
        butlerQC.put(outputs, outputRefs)
        self._say_if_partial(result.solution)

    @timeMethod
    def run(self, inputMDs: Sequence[Any], inputDims: Sequence[Mapping[str, Any]], camera: Any) -> Struct:
        """Find the scale of every exposure from statistics of many flats.

        All of them are used: ``downSelection`` is applied when the graph is made.

        Parameters
        ----------
        inputMDs : list of dict, TaskMetadata or PropertyList
            Statistics of one detector in one exposure each; see `flatnorm_xr.lsst.statistics.levels_of`.
        inputDims : list of dict
            ``exposure`` and ``detector`` of each.
        camera : mapping
            From detector id to amplifiers with ``getName()``.

        Returns
        -------
        Struct
            ``outputScales``: E of the exposure as ``[detector][amplifier name][exposure]``, at both levels; NaN for
            an exposure that has no scale, dark or rejected. ``solution``: the whole solution, a Dataset.

        Raises
        ------
        KeyError
            ``exposure`` or ``detector`` is missing from the dimensions, a statistic from the metadata, a detector
            from the camera.
        FlatnormError
            See `flatnorm_xr.lsst.statistics.levels_of` and `flatnorm_xr.solve`.
        DisconnectedError
            Sets of detectors share no exposure.
        NothingMeasuredError
            A ``NoWorkFound``: no level can be used.
        """
        asked: Any = self.config  # whose choices are any string to the type checker
        levels = levels_of(
            inputMDs,
            inputDims,
            camera,
            level=asked.level,
            units=asked.units,
            needs_sigma=asked.weights == "variance",
        )
        _check_usable(levels)
        self._say_what_is_missing(levels)
        with self._warnings_logged(), _in_words_of_the_configuration():
            solution = solve(
                levels,
                method=asked.method,
                iterations=asked.scaleMaxIter,
                weights=asked.weights,
                robust=asked.robust,
                uncertainty=asked.uncertainty,
                gauge=parse_gauge(asked.gauge, levels["detector"]),
                on_disconnected=asked.onDisconnected,
            )
        self._keep_figures(solution)
        amplifiers = {d: amplifier_names(camera, d) for d in solution["detector"].values.tolist()}
        return Struct(outputScales=scales_by_amplifier(solution, amplifiers), solution=solution)

    @timeMethod
    def measureScales(self, bgMatrix: ArrayLike, bgCounts: ArrayLike | None = None, iterations: int = 10) -> Struct:
        """Decompose a matrix of levels by the documented alternation, whatever ``method`` says.

        Parameters
        ----------
        bgMatrix : array, (nDetectors, nExposures)
            Levels; NaN, infinite, zero, negative and masked cells are not used.
        bgCounts : array, (nDetectors, nExposures), optional
            Pixel counts, the weights; 1 everywhere when absent.
        iterations : int
            How many times to alternate.

        Returns
        -------
        Struct
            ``vectorE`` (nExposures), ``vectorG`` (nDetectors), ``bgModel`` (nDetectors, nExposures), and the first
            two once more as ``expScales`` and ``detScales``; NaN where nothing was measured.

        See Also
        --------
        flatnorm_xr.measure_scales : the same as a function.
        """
        with self._warnings_logged():
            scales = measure_scales(bgMatrix, bgCounts, iterations)
        return Struct(**scales._asdict(), expScales=scales.vectorE, detScales=scales.vectorG)

    @contextmanager
    def _warnings_logged(self) -> Iterator[None]:
        """Send our warnings to the task's log; others stay warnings."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", FlatnormWarning)
            try:
                yield
            finally:  # they may explain an error
                ours = [one for one in caught if issubclass(one.category, FlatnormWarning)]
                for warning in ours:
                    self.log.warning("%s", warning.message)
        for warning in caught:
            if warning not in ours:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)

    def _say_what_is_missing(self, levels: xr.Dataset) -> None:
        """Log the detectors and exposures that have no statistics, or empty ones."""
        units = [dim for dim in levels["background"].dims if dim not in ("detector", "exposure")]
        lacking = (levels["background"].isnull() & (levels["counts"] == 0)).all(units)
        rows, columns = lacking.transpose("detector", "exposure").values.nonzero()
        if rows.size:
            detectors, exposures = levels["detector"].values[rows], levels["exposure"].values[columns]
            named = offenders(f"detector {d} exposure {e}" for d, e in zip(detectors, exposures, strict=True))
            self.log.warning("%d of %d statistics are missing or empty: %s", rows.size, lacking.size, named)

    def _keep_figures(self, solution: xr.Dataset) -> None:
        """Note in the task's metadata how the fit went."""
        for name in ("converged", "iterations", "rms_residual"):
            self.metadata[name] = float(solution.attrs[name]) if name == "rms_residual" else int(solution.attrs[name])
        self.log.info(
            "%s, %d detectors in %d exposures: rms residual %.2e",
            solution.attrs["method"],
            solution.sizes["detector"],
            solution.sizes["exposure"],
            solution.attrs["rms_residual"],
        )

    def _say_if_partial(self, solution: xr.Dataset) -> None:
        """Tell the middleware of exposures that have no scale."""
        units = [dim for dim in solution["scales"].dims if dim != "exposure"]
        lost = solution["exposure"].values[solution["scales"].isnull().all(units).values].tolist()
        if not lost:
            return
        try:
            msg = f"{len(lost)} of {solution.sizes['exposure']} exposures have no scale and must not be combined: "
            raise ExposuresWithoutScaleError(msg + offenders(lost), lost)
        except ExposuresWithoutScaleError as error:
            raise AnnotatedPartialOutputsError.annotate(error, self, log=self.log) from error


@contextmanager
def _in_words_of_the_configuration() -> Iterator[None]:
    """Name the setting where an error names the keyword of `solve`."""
    try:
        yield
    except DisconnectedError as error:
        advice = str(error).replace('pass on_disconnected="separate"', "set onDisconnected to separate")
        raise DisconnectedError(advice) from error


def _check_usable(levels: xr.Dataset) -> None:
    """Refuse levels of which none can be used."""
    usable = (levels["background"] > 0) & (levels["counts"] > 0)
    if not bool(usable.any()):
        level, counts = levels["background"], levels["counts"]
        found = {
            "NaN": int(level.isnull().sum()),
            "zero or negative": int((level <= 0).sum()),
            "of no pixels": int(((level > 0) & ~(counts > 0)).sum()),
        }
        causes = ", ".join(f"{number} {cause}" for cause, number in found.items() if number)
        msg = f"run: none of the {usable.size} levels can be used ({causes}); look at the flats and their masks"
        raise NothingMeasuredError(msg)
