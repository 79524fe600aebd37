"""The documentation: a true picture, a complete reference, the exit codes of the program, and a build without a network."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

import agop
from agop.cli import exits
from tests.test_architecture import ORDER, modules_imported

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


@cache
def house():
    spec = importlib.util.spec_from_file_location("house", DOCS / "house.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_words_of_the_picture_lie_in_their_boxes():
    drawn = house()
    assert max(map(len, drawn.ROOMS.values())) * drawn.LETTER <= drawn.WIDTH
    for width in (200, 500):
        lines = drawn.wrapped(", ".join(drawn.foundation()), width)
        assert max(map(len, lines)) * drawn.LETTER <= width - 2 * drawn.SIDE


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


def test_the_reference_has_a_page_for_every_public_name():
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    names = re.findall(r"^   (agop\.[\w.]+)$", text, re.MULTILINE)
    assert not {f"agop.{name}" for name in agop.__all__} - set(names)
    conf = ast.parse((DOCS / "conf.py").read_text(encoding="utf-8"))
    (renamed,) = (
        ast.literal_eval(node.value)
        for node in conf.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "autosummary_filename_map"
    )
    files = [renamed.get(name, name).lower() for name in names]
    assert len(files) == len(set(files)), "on some disks names that differ in capitals only are one file"


def test_the_exit_codes_of_the_page_are_those_of_the_program():
    text = (DOCS / "command_line.md").read_text(encoding="utf-8")
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert codes == {exits.DONE, exits.UNEXPECTED, exits.BAD_INPUT, exits.LOST, exits.INTERRUPTED}


@pytest.mark.parametrize("pattern", ["docs/**/*.md", "*.md"])
def test_links_between_pages_lead_somewhere(pattern):
    for page in ROOT.glob(pattern):
        words = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", words):
            target = page.parent / link
            example = ROOT / "examples" / f"{link.partition('gallery/')[2]}.py"
            assert link.startswith("https://") or target.exists() or example.exists(), f"{page.name}: {link}"


class Anchors(HTMLParser):
    """Where a page leads, and where one can be led to in it."""

    def __init__(self, page):
        super().__init__()
        self.links, self.anchors = [], {""}
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors |= {found.get("id"), found.get("name")}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])


def dead_links(folder):
    """Links from built pages to pages and anchors that are not there."""
    pages = {page.resolve(): Anchors(page) for page in folder.rglob("*.html")}
    for page, found in pages.items():
        for link in found.links:
            if not re.match(r"\w+:", link):
                path, _, anchor = unquote(link).partition("#")
                target = (page.parent / path).resolve() if path else page
                known = target in pages and anchor in pages[target].anchors
                if not (known or (target.exists() and target not in pages)):
                    yield f"{page.name}: {link}"


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
    drawn = {path.relative_to(tmp_path / "gallery") for path in tmp_path.glob("gallery/*/plot_*.html")}
    examples = (ROOT / "examples").glob("*/plot_*.py")
    assert drawn == {path.relative_to(ROOT / "examples").with_suffix(".html") for path in examples}
    assert not list(dead_links(tmp_path))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'src="(?:https?:)?//[^"]*|<link[^>]*href="(?:https?:)?//[^"]*', text), (
            page.name
        )
