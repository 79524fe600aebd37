"""What the documents and docstrings show runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import tomllib
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path
from unittest import SkipTest

import matplotlib.pyplot as plt
import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

import agop

ROOT = Path(__file__).parent.parent
MODULES = [
    info.name for info in pkgutil.walk_packages(agop.__path__, "agop.") if not info.name.endswith("__main__")
]
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXTRA = re.compile(r"# needs the extra (\w+):")
KINDS = (
    "python",
    "sh",
    "toml",
    "text",
    "{eval-rst}",
    "{toctree}",
    "{contents}",
    "{glossary}",
    "{include}",
    "{figure}",
)
CODE = ("python", "sh", "toml", "text")
WIDTH = 84
"""Columns of code that the pages show without cutting any off."""

SYBIL = Sybil([PythonCodeBlockParser(), SkipParser()], path=str(ROOT), pattern="*.md")
PAGES = [
    str(path.relative_to(ROOT))
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")))
    if "_build" not in path.parts
]
"""CONTRIBUTING.md shows files: `test_extending.py` runs them as such."""


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    if name == "agop.integrations.transformers":
        pytest.importorskip("transformers")
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert result.failed == 0


def missing(extra):
    """The packages of an extra of pyproject.toml that are not installed."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = (re.match(r"[\w-]+", line)[0] for line in declared["project"]["optional-dependencies"][extra])
    return [name for name in names if not list(distributions(name=name))]


def document(page):
    return SYBIL.parse(ROOT / page)


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_of_a_page_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    parsed = document(page)
    parsed.namespace["__name__"] = page
    for example in parsed.examples():
        needed = EXTRA.search(str(example.parsed))
        if needed and missing(needed[1]):
            pytest.skip(f"line {example.line}: needs the extra {needed[1]}")
        with suppress(SkipTest):
            example.evaluate()
    plt.close("all")


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_blocks_of_a_page_are_of_a_known_kind_and_nothing_of_them_is_cut(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for kind, block in BLOCK.findall(text):
        assert kind.partition(" ")[0] in KINDS, f"{page}: a block of {kind!r}"
        if kind in CODE:
            assert max(map(len, block.splitlines()), default=0) <= WIDTH, f"{page}:\n{block}"
        if kind == "toml":
            tomllib.loads(block)


@pytest.mark.parametrize("example", [str(path.relative_to(ROOT)) for path in ROOT.glob("examples/*/*.py")])
def test_nothing_of_an_example_is_cut(example):
    for line in (ROOT / example).read_text(encoding="utf-8").partition("# %%")[2].splitlines():
        assert len(line) <= WIDTH or line.startswith("#"), f"{example}: {line}"
