"""Imports go downwards only, in the folder order of docs/architecture.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import agop

ROOT = Path(agop.__file__).parent
ORDER = [
    "_checks",
    "_blocks",
    "_files",
    "_store",
    "registry",
    "measurement",
    "ranks",
    "launch",
    "view",
    "evidence",
    "probe",
    "linalg",
    "gradients",
    "kernels",
    "machines",
    "collapse",
    "networks",
    "probes",
    "profiles",
    "theory",
    "datasets",
    "experiments",
    "integrations",
    "report",
    "cli",
]


def modules_imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("agop.")}


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
