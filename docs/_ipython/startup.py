"""Run before the first cell of every page: an empty folder to work in, plain output of programs, short warnings."""

import os
import tempfile
import warnings

_folder = tempfile.TemporaryDirectory(prefix="page-")
os.chdir(_folder.name)
# The kernel asks programs for colours and bars; a page has no use for either.
os.environ.update({"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"})
for name in ("FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE"):
    os.environ.pop(name, None)
warnings.formatwarning = lambda message, category, *_: f"{category.__name__}: {message}\n"
