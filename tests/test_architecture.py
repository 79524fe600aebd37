"""Imports go downwards only, in the folder order of docs/architecture.md."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import agop
from agop import PROBES
from agop.datasets import DATA
from agop.experiments.studies import STUDIES
from agop.experiments.subjects import SUBJECTS
from agop.kernels import KERNELS

ROOT = Path(agop.__file__).parent
ORDER = [
    "_checks",
    "_lazy",
    "_blocks",
    "_threads",
    "_files",
    "_store",
    "_csv",
    "_plotting",
    "_tables",
    "_progress",
    "registry",
    "measurement",
    "ranks",
    "_memory",
    "launch",
    "view",
    "evidence",
    "probe",
    "linalg",
    "blocks",
    "gradients",
    "kernels",
    "machines",
    "collapse",
    "networks",
    "probes",
    "profiles",
    "concepts",
    "theory",
    "datasets",
    "tables",
    "experiments",
    "integrations",
    "report",
    "cli",
]


@cache
def modules_imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("agop.")}


def modules():
    """Every module of the package by its dotted name."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = ["agop", *path.relative_to(ROOT).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def needed(path, names):
    """The modules that a module imports, inside functions too; what is for type checkers only doesn't count."""
    found = set()

    def walk(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.ImportFrom) and child.module:
                full = [f"{child.module}.{alias.name}" for alias in child.names]
                found.update(name if name in names else child.module for name in full)
            elif isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            walk(child)

    walk(ast.parse(path.read_text(encoding="utf-8")))
    return found & set(names)


def test_no_modules_import_each_other_in_a_circle():
    names = modules()
    graph = {name: needed(path, names) - {name} for name, path in names.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(f"a circle of imports: {' → '.join(error.args[1])}") from None


REGISTRIES = {
    "agop.probes": PROBES, "agop.kernels": KERNELS, "agop.datasets": DATA, "agop.subjects": SUBJECTS, "agop.studies": STUDIES,
}  # fmt: skip


@pytest.mark.parametrize("group", REGISTRIES)
def test_every_line_of_a_registry_loads(group):
    registry = REGISTRIES[group]
    assert registry.group == group
    assert registry.own
    for name in registry.own:
        assert registry[name] is not None


@pytest.mark.parametrize("room", ORDER)
def test_a_room_imports_only_what_is_above_it(room):
    place = ROOT / room
    files = place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]
    allowed = set(ORDER[: ORDER.index(room) + 1])
    for path in files:
        upwards = modules_imported(path) - allowed
        assert not upwards, (
            f"{path.relative_to(ROOT)} imports {sorted(upwards)}, which lie below it in the data flow"
        )


def test_every_room_has_its_place():
    rooms = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__", "__main__"} == set(ORDER)
