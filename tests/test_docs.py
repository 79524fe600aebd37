"""The documentation: a true picture, a complete reference, the exit codes of the program, and a build without a network."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import agop
from agop.cli import exits
from tests.test_architecture import ORDER, modules_imported

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def house():
    spec = importlib.util.spec_from_file_location("house", DOCS / "house.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_of_the_house_is_drawn_from_the_imports_as_they_are():
    assert (DOCS / "house.svg").read_text(encoding="utf-8") == house().draw(), "run `python docs/house.py`"


@pytest.mark.slow
def test_the_pictures_of_the_primer_are_drawn_from_what_the_package_computes(tmp_path):
    run = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            "import primer_pictures as p, pathlib; p.main(pathlib.Path('.'))",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(DOCS)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    drawn = {path.name for path in tmp_path.glob("*.svg")}
    assert drawn == {path.name for path in (DOCS / "_static" / "primer").iterdir()}
    text = (DOCS / "primer.md").read_text(encoding="utf-8")
    assert all(f"_static/primer/{name}" in text for name in drawn)
    titles = re.findall(r"fit \d: R² (0\.\d\d)", (tmp_path / "recursion.svg").read_text(encoding="utf-8"))
    assert len(titles) == 4
    assert f"from {titles[0][1:]} to {titles[-1][1:]}" in text


def test_the_picture_shows_every_room_and_nothing_else():
    drawn = house()
    folders = {path.parent.name for path in (ROOT / "src" / "agop").glob("*/__init__.py")}
    assert set(drawn.ROOMS) == folders
    assert {*drawn.ROOMS, *drawn.foundation()} == set(ORDER)
    for room, others in drawn.imports().items():
        files = (ROOT / "src" / "agop" / room).rglob("*.py")
        assert others == set().union(*map(modules_imported, files)) & set(drawn.ROOMS) - {room}


def test_lines_left_out_of_the_picture_follow_from_those_shown():
    drawn = house()
    graph, edges = drawn.imports(), drawn.direct(drawn.imports())

    def reached(room):
        near = {below for above, below in edges if above == room}
        return near | {far for other in near for far in reached(other)}

    for room, others in graph.items():
        assert others <= reached(room)
        assert all(drawn.floors(graph)[other] < drawn.floors(graph)[room] for other in others)


def test_the_reference_has_every_public_name():
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    listed = {
        name.rpartition(".")[2]
        for name in re.findall(r"(?:autofunction|autoclass|py:data)::\s+([\w.]+)", text)
    }
    assert not set(agop.__all__) - listed


def test_the_exit_codes_of_the_page_are_those_of_the_program():
    text = (DOCS / "command_line.md").read_text(encoding="utf-8")
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert codes == {exits.DONE, exits.UNEXPECTED, exits.BAD_INPUT, exits.LOST, exits.INTERRUPTED}


@pytest.mark.parametrize("folder", ["docs", "."])
def test_links_between_pages_lead_somewhere(folder):
    for page in (ROOT / folder).glob("*.md"):
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            target = page.parent / link
            example = ROOT / "examples" / f"{Path(link).name}.py"
            assert link.startswith("https://") or target.exists() or example.exists(), f"{page.name}: {link}"


@pytest.mark.slow
def test_it_builds_without_warnings_and_asks_no_network_for_anything(tmp_path):
    pytest.importorskip("sphinx_gallery", reason="needs the extra docs")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        str(DOCS),
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"MPLBACKEND": "agg"})
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(list((tmp_path / "gallery").glob("plot_*.html"))) == len(
        list((ROOT / "examples").glob("plot_*.py"))
    )
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'src="(?:https?:)?//[^"]*|<link[^>]*href="(?:https?:)?//[^"]*', text), (
            page.name
        )
