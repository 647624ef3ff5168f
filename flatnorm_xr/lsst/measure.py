"""Task that measures the level of a flat, detector and amplifiers, and hands it on as Rubin's statistics."""

from __future__ import annotations

from typing import Any, ClassVar

from lsst.pex.config import ChoiceField, Field, FieldValidationError, ListField
from lsst.pipe.base import PipelineTaskConfig, PipelineTaskConnections, Struct
from lsst.pipe.base.connectionTypes import Input, Output
from lsst.utils.timer import timeMethod

from flatnorm_xr.errors import CameraError, offenders
from flatnorm_xr.lsst.flat import Flat, Mask, as_flat
from flatnorm_xr.lsst.logged import LoggedTask
from flatnorm_xr.measure.kernels import Statistics, clipped_statistics

__all__ = ["CpFlatMeasureConnections", "CpFlatMeasureTask", "CpFlatMeasureTaskConfig"]

OFTEN_ABSENT = frozenset({"DETECTED"})
"""Mask planes whose absence says nothing: nobody looks for sources in a flat."""


class CpFlatMeasureConnections(
    PipelineTaskConnections,
    dimensions=("instrument", "exposure", "detector"),
):
    """One flat of one detector in, its statistics out."""

    inputExp = Input(
        name="postISRCCD",
        doc="Flat after instrument signature removal.",
        storageClass="FlatnormFlat",
        dimensions=("instrument", "exposure", "detector"),
    )
    outputStats = Output(
        name="flatStats",
        doc="Level, scatter and number of pixels of the detector and of each amplifier.",
        storageClass="FlatnormStatistics",
        dimensions=("instrument", "exposure", "detector"),
    )


class CpFlatMeasureTaskConfig(PipelineTaskConfig, pipelineConnections=CpFlatMeasureConnections):
    """Which pixels are measured, and how."""

    maskNameList = ListField[str](
        doc="Mask planes whose pixels are left out. SAT is among them, which it is not in cp_pipe: saturated pixels do "
        "not follow the light, and pull the level of the brightest exposures. A plane that a flat lacks is warned of, "
        "except DETECTED, and leaves nothing out.",
        default=["DETECTED", "BAD", "NO_DATA", "SAT"],
    )
    doVignette = Field[bool](
        doc="Leave out pixels outside the valid polygon, where the flat has one.",
        default=True,
    )
    numSigmaClip = Field[float](
        doc="Half-width of the clip, in standard deviations; above 0.",
        default=3.0,
    )
    clipMaxIter = Field[int](
        doc="Number of clipping passes, at least 1.",
        default=3,
    )
    statistic = ChoiceField[str](
        doc="What the level is. Scatter and number are of the pixels that made it.",
        allowed={
            "meanclip": "Mean after clipping.",
            "median": "Median of all good pixels; nothing is clipped.",
            "mean": "Mean of all good pixels; nothing is clipped.",
        },
        default="meanclip",
        optional=False,
    )

    def validate(self) -> None:
        """Refuse a clip that is no clip."""
        super().validate()
        if not self.numSigmaClip > 0:
            msg = f"numSigmaClip is {self.numSigmaClip}; it must be above 0, and 3 is usual"
            raise FieldValidationError(type(self).numSigmaClip, self, msg)
        if self.clipMaxIter < 1:
            msg = f"clipMaxIter is {self.clipMaxIter}; it must be at least 1: set statistic to 'mean' to clip nothing"
            raise FieldValidationError(type(self).clipMaxIter, self, msg)


class CpFlatMeasureTask(LoggedTask):
    """Measure the level of one flat: that of the whole detector, and that of each of its amplifiers.

    Stands where ``lsst.cp.pipe.CpFlatMeasureTask`` does, with its configuration and its statistics, and needs no
    compiled stack. Masked, vignetted and non-finite pixels are left out.
    """

    ConfigClass: ClassVar[type[CpFlatMeasureTaskConfig]] = CpFlatMeasureTaskConfig
    _DefaultName: ClassVar[str] = "cpFlatMeasure"
    canMultiprocess: ClassVar[bool] = True

    config: CpFlatMeasureTaskConfig

    @timeMethod
    def run(self, inputExp: Any) -> Struct:
        """Measure a flat.

        Parameters
        ----------
        inputExp : Flat, lsst.afw.image.Exposure, lsst.images.MaskedImage or array
            After instrument signature removal. Not changed.

        Returns
        -------
        Struct
            ``outputStats``, a dict of plain numbers and strings: ``DETECTOR_MEDIAN`` (the level, whatever
            ``config.statistic`` is), ``DETECTOR_SIGMA``, ``DETECTOR_N``, and for the amplifiers, numbered from 0 in the
            detector's order, ``AMP_NAME_i``, ``AMP_MEDIAN_i``, ``AMP_SIGMA_i``, ``AMP_N_i``. The level and its scatter
            are in ``UNITS``, those of the flat; N counts the pixels that made the level, after clipping. Where no pixel
            is good: NaN, NaN, 0, and the log warns.

        Raises
        ------
        FlatnormError
            ``inputExp`` is no flat.
        CameraError
            A detector of several amplifiers does not say where they lie.
        """
        flat = as_flat(inputExp)
        bad = self._bad_pixels(flat)
        found: dict[str | None, Statistics] = {None: self._measure(flat, bad, (slice(None), slice(None)))}
        found |= {name: self._measure(flat, bad, place) for name, place in _amplifier_places(flat).items()}
        empty = ["the whole detector" if name is None else name for name, one in found.items() if one.counts == 0]
        if empty:
            self.log.warning("Detector %s has no good pixel in %s: NaN", flat.detector.id, offenders(empty))
        return Struct(outputStats={"UNITS": flat.units, **_statistics(found)})

    def _bad_pixels(self, flat: Flat) -> Mask | None:
        absent = [name for name in self.config.maskNameList if name not in flat.masks]
        unexpected = [name for name in absent if name not in OFTEN_ABSENT]
        if unexpected:
            self.log.warning(
                "Detector %s has no mask plane %s, so none of its pixels are left out for it",
                flat.detector.id,
                offenders(unexpected),
            )
        bad = flat.bad(name for name in self.config.maskNameList if name in flat.masks)
        vignetted = flat.vignetted() if self.config.doVignette else None
        if bad is None or vignetted is None:
            return vignetted if bad is None else bad
        return bad | vignetted

    def _measure(self, flat: Flat, bad: Mask | None, place: tuple[slice, slice]) -> Statistics:
        return clipped_statistics(
            flat.image[place],
            None if bad is None else bad[place],
            statistic=self.config.statistic,
            clip=self.config.numSigmaClip,
            iterations=self.config.clipMaxIter,
        )


def _amplifier_places(flat: Flat) -> dict[str, tuple[slice, slice]]:
    """Rows and columns of each amplifier; the only amplifier of a detector may leave them unsaid."""
    amplifiers = flat.detector.amplifiers
    unplaced = [one.name for one in amplifiers if one.rows is None or one.columns is None]
    if unplaced and len(amplifiers) > 1:
        msg = (
            f"run: amplifiers {offenders(unplaced)} of detector {flat.detector.id} have no rows and columns, so their "
            "pixels are not known; describe the detector with them"
        )
        raise CameraError(msg)
    return {one.name: (slice(*(one.rows or (None,))), slice(*(one.columns or (None,)))) for one in amplifiers}


def _statistics(found: dict[str | None, Statistics]) -> dict[str, float | int | str]:
    """Write what was measured under Rubin's keys; None is the whole detector."""
    statistics: dict[str, float | int | str] = {}
    for number, (name, one) in enumerate(found.items(), start=-1):
        part, end = ("DETECTOR", "") if name is None else ("AMP", f"_{number}")
        if name is not None:
            statistics[f"AMP_NAME{end}"] = name
        level, sigma, counts = float(one.level), float(one.sigma), int(one.counts)
        statistics |= {f"{part}_MEDIAN{end}": level, f"{part}_SIGMA{end}": sigma, f"{part}_N{end}": counts}
    return statistics
