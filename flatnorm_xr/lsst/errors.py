"""What can go wrong inside Rubin's middleware, as the exceptions that it knows what to do with."""

from __future__ import annotations

from typing import Any

from lsst.pipe.base import AlgorithmError, UnprocessableDataError

from flatnorm_xr.errors import FlatnormError

__all__ = ["ExposuresWithoutScaleError", "MissingInputError", "NothingMeasuredError"]


class MissingInputError(FlatnormError, KeyError):
    """A dimension, a statistic, a detector or an amplifier that must be there is not; documented as a KeyError."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # a KeyError would show its message in quotes


class NothingMeasuredError(UnprocessableDataError):
    """No level of any exposure can be used: the quantum has no work, and tasks after it are not run."""


class ExposuresWithoutScaleError(AlgorithmError):
    """Some exposures have no scale, dark or rejected ones; the scales of all others were written."""

    def __init__(self, message: str, exposures: list[Any]) -> None:
        super().__init__(message)
        self.exposures = exposures

    @property
    def metadata(self) -> dict[str, Any]:
        """The exposures, as one string."""
        return {"exposures": ", ".join(map(str, self.exposures))}
