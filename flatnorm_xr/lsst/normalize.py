"""Rubin's CpFlatNormalizationTask on the labelled core: statistics of many flats in, the scale of each exposure out."""

from __future__ import annotations

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
    PipelineTask,
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
from flatnorm_xr.errors import FlatnormError, FlatnormWarning, offenders
from flatnorm_xr.lsst.camera import amplifier_names
from flatnorm_xr.lsst.errors import ExposuresWithoutScaleError, NothingMeasuredError
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
            adjusted["inputMDs"] = connection, kept
            inputs.update(adjusted)
        super().adjustQuantum(inputs, outputs, label, data_id)
        return adjusted, {}


class CpFlatNormalizationTaskConfig(PipelineTaskConfig, pipelineConnections=CpFlatNormalizationConnections):
    """Configuration of the task; the defaults are the documented behaviour."""

    level = ChoiceField[str](
        doc="What has a response of its own.",
        default="DETECTOR",
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
        allowed={
            "alternation": "The documented alternation, scaleMaxIter times.",
            "exact": "The least-squares solution that the alternation approaches.",
        },
    )
    weights = ChoiceField[str](
        doc="Weights of the levels.",
        default="counts",
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
        allowed={
            "none": "No errors.",
            "auto": "Jackknife from 5 exposures on, else analytic.",
            "analytic": "From the weights.",
            "jackknife": "By leaving out exposures and units.",
            "bootstrap": "By drawing exposures.",
        },
    )
    gauge = Field[str](
        doc="Whose mean response is 1: mean (weighted by counts), geometric, or detectors, comma-separated.",
        default="mean",
    )
    units = ChoiceField[str](
        doc="Units of the levels; none: what the statistics say, and adu where they do not, as cp_pipe's do not.",
        default=None,
        optional=True,
        allowed={"adu": "Counts of the converter.", "electron": "Gains were applied."},
    )
    doWriteSolution = Field[bool](doc="Write the whole solution as NetCDF beside the scales.", default=True)

    def validate(self) -> None:
        """Refuse a down-selection that cannot be read."""
        super().validate()
        if self.downSelection is not None:
            try:
                Selection.parse(self.downSelection)
            except FlatnormError as error:
                raise FieldValidationError(type(self).downSelection, self, str(error)) from error


class CpFlatNormalizationTask(PipelineTask):
    """Find by what each exposure's flats must be divided before they are combined.

    A drop-in for ``lsst.cp.pipe.CpFlatNormalizationTask``; see `flatnorm_xr.solve` for what it computes.
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
        with self._warnings_logged():
            solution = solve(
                levels,
                method=asked.method,
                iterations=asked.scaleMaxIter,
                weights=asked.weights,
                robust=asked.robust,
                uncertainty=asked.uncertainty,
                gauge=parse_gauge(asked.gauge, levels["detector"]),
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
