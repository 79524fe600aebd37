"""What the documents and docstrings show runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import agop

ROOT = Path(__file__).parent.parent
MODULES = [
    info.name for info in pkgutil.walk_packages(agop.__path__, "agop.") if not info.name.endswith("__main__")
]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    if name == "agop.integrations.transformers":
        pytest.importorskip("transformers")
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert result.failed == 0


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/index.md",
        "docs/primer.md",
        "docs/start.md",
        "docs/layer_agops.md",
        "docs/measures.md",
        "docs/network_profiles.md",
        "docs/trajectories.md",
        "docs/probes.md",
        "docs/estimators.md",
        "docs/tables.md",
        "docs/papers/liao2023.md",
        "docs/papers/emschwiller2020.md",
        "docs/papers/arora2020.md",
        "docs/papers/doimo2021.md",
        "docs/papers/baptista2024.md",
        "docs/papers/makantasis2021.md",
        "docs/papers/mingard2023.md",
        "docs/papers/ingrosso2022.md",
        "docs/papers/beaglehole2023.md",
        "docs/papers/mallinar2024.md",
        "docs/papers/boix2025.md",
    ],
)
def test_python_blocks_of_a_page_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall((ROOT / page).read_text())
    assert blocks
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), namespace)
