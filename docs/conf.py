"""Sphinx configuration: pages are MyST, their cells are executed, and nothing is fetched from the network."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

project = "flatnorm-xr"
author = "the flatnorm-xr developers"
copyright = f"2026, {author}"
release = version = installed_version("flatnorm-xr")

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_design",
]
exclude_patterns = ["_build", "_ipython", "jupyter_execute"]
templates_path = ["_templates"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb"}  # stubs of the API take the first

html_theme = "furo"
html_title = "flatnorm-xr"
html_theme_options = {"source_repository": "", "navigation_with_keys": True}
html_static_path = ["_static"]
html_css_files = ["tables.css"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True
nb_render_markdown_format = "myst"

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
default_role = "autolink"
nitpicky = True
nitpick_ignore_regex = [
    # `name` in a docstring links to what can be imported; not every such object has a page of its own
    ("py:obj", r"flatnorm_xr\.(archive|decompose|model|simulate|camera|show|measure)\..*"),
    ("py:class", r"flatnorm_xr\.lsst\.logged\..*"),  # the base of the tasks says nothing to those who use them
    # the middleware's own pages, and Python's, are on the network
    ("py:.*", r"lsst\..*"),
    ("py:.*", r"pydantic\..*"),
    ("py:class", r"enum\..*"),
]

# Cells that call the program find the one of this environment.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
# Pictures are shown below their cells, whatever backend the shell has asked for.
os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"


def _ipython_settings() -> str:
    """Folder of settings that every kernel reads, apart from those of whoever builds the pages."""
    folder = Path(tempfile.mkdtemp(prefix="ipython-"))
    profile, source = folder / "profile_default", Path(__file__).parent / "_ipython"
    (profile / "startup").mkdir(parents=True)
    shutil.copy(source / "ipython_kernel_config.py", profile)
    shutil.copy(source / "startup.py", profile / "startup")
    return str(folder)


os.environ["IPYTHONDIR"] = _ipython_settings()


def _mathml(self: Any, node: Any, *, block: bool) -> None:
    """Write an equation as MathML, which browsers show without a script from the network."""
    from docutils import nodes
    from docutils.utils.math.latex2mathml import tex2mathml

    equation = tex2mathml(node.astext(), as_block=block)
    self.body.append(f'<div class="math">{equation}</div>' if block else equation)
    raise nodes.SkipNode


def setup(app: Any) -> None:
    app.add_html_math_renderer(
        "mathml",
        inline_renderers=(lambda self, node: _mathml(self, node, block=False), None),
        block_renderers=(lambda self, node: _mathml(self, node, block=True), None),
    )
    app.config.html_math_renderer = "mathml"
    app.connect("build-finished", lambda *_: shutil.rmtree(os.environ["IPYTHONDIR"], ignore_errors=True))
