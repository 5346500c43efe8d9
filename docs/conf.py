"""Sphinx's settings: ``sphinx-build -W --keep-going -n -b html docs docs/_build/html``."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from pytest_servebench import __version__  # noqa: E402 - the path comes first

project = "pytest-servebench"
author = "the authors of pytest-servebench"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_argparse_cli",
    "sphinx_copybutton",
    "servebench_reference",
]
exclude_patterns = ["_build"]
smartquotes = False  # they would turn -- in a command into a dash

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_typehints = "description"
autodoc_typehints_format = "short"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
napoleon_use_ivar = True
napoleon_google_docstring = True
add_module_names = False
# What other projects document is not linked: the site is built without a network.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!pytest_servebench)(collections|pathlib|re|typing|np|npt|numpy|_?pytest)\..*"),
    (r"py:class", r"pytest_servebench\..*\.T"),  # a type variable
    (r"py:class", r"(pytest_servebench\.servers\..*)?(RunContainer|ContainerRun|Engine)"),
    (
        r"py:.*",
        r"Path|Any|Sequence|Mapping|Callable|Iterable|Iterator|Literal|Protocol|NDArray|BenchmarkFixture",
    ),
]

copybutton_prompt_text = "$ "
copybutton_here_doc_delimiter = "EOF"
copybutton_line_continuation_character = "\\"

html_theme = "furo"
html_title = f"pytest-servebench {release}"
html_static_path = ["_static"]
html_css_files = ["servebench.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
