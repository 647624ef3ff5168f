"""A pipeline task whose log is below ``lsst``, where pipetask looks for what to show."""

from __future__ import annotations

import logging
from typing import Any

from lsst.pipe.base import PipelineTask

__all__ = ["LOG", "LoggedTask"]

LOG = logging.getLogger("lsst.flatnorm_xr")
"""Parent of the logs of tasks that are nobody's subtask."""


class LoggedTask(PipelineTask):
    """Base of our tasks; a log that is given, or that of a parent task, is used as it is everywhere."""

    def __init__(self, *, config: Any = None, log: Any = None, initInputs: Any = None, **kwargs: Any) -> None:
        if log is None and kwargs.get("parentTask") is None:
            log = LOG
        super().__init__(config=config, log=log, initInputs=initInputs, **kwargs)
