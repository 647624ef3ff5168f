"""Which modules pytest may import for their examples."""

from __future__ import annotations

from importlib.util import find_spec

# without Rubin's middleware its room cannot be imported; the tests of the room say so when they skip
collect_ignore = [] if find_spec("lsst") else ["flatnorm_xr/lsst"]
