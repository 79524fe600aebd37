"""What is released: one version, floors that are written down, and distributions that work where they were not built."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import agop

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_version_comes_from_one_place():
    assert agop.__version__ == PROJECT["version"]
    assert f"version: {agop.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    written = [
        path for path in (ROOT / "src").rglob("*.py") if re.search(r"version.*0\.\d+\.\d+", path.read_text())
    ]
    assert not written


def test_the_changelog_has_the_release_and_every_heading_once():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.MULTILINE)
    assert releases[0] == ("Unreleased", "")
    newest, date = releases[1]
    assert newest == PROJECT["version"]
    assert f"date-released: {date}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert [date for _, date in releases[1:]] == sorted((date for _, date in releases[1:]), reverse=True)
    order = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    for part in text.split("\n## ")[1:]:
        headings = re.findall(r"^### (.+)$", part, re.MULTILINE)
        assert headings == [name for name in order if name in headings]


def test_every_floor_is_in_the_list_that_is_tested():
    extras = PROJECT["optional-dependencies"]
    declared = [*PROJECT["dependencies"], *extras["vision"], *extras["lightning"], *extras["distributed"]]
    declared += [
        line for line in extras["dev"] if line.startswith(("pytest", "hypothesis", "beartype", "sybil"))
    ]
    pairs = [re.fullmatch(r"([\w.-]+)(?:\[\w+\])?>=([\d.]+)", line).groups() for line in declared]
    lines = (ROOT / "floors.txt").read_text().splitlines()
    pins = [line.partition(";") for line in lines if not line.startswith("#")]
    floors = dict(pin.split("==") for pin, _, marker in pins if ">" not in marker and "=" not in marker)
    for name, lowest in pairs:
        assert floors[name].startswith(lowest), name
        assert set(floors[name].removeprefix(lowest)) <= set(".0"), name
    assert set(floors) == {name for name, _ in pairs}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("build", reason="needs the package build")
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "Could not find a version that satisfies the requirement hatchling" in done.stdout + done.stderr:
        pytest.skip("needs a package index, for the build backend")
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


@pytest.mark.slow
def test_wheel_and_sdist_have_everything_and_nothing_else(built):
    wheel, sdist = built
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "agop").rglob("*")
        if path.is_file()
    }
    sources = {name for name in sources if "__pycache__" not in name}
    assert {
        "agop/py.typed",
        "agop/report/templates/report.html.j2",
        "agop/report/templates/report.js",
    } <= names
    assert {name for name in names if name.startswith("agop/")} == sources
    assert {name.split("/")[0] for name in names} == {"agop", f"agop-{agop.__version__}.dist-info"}
    with tarfile.open(sdist) as archive:
        packed = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for name in (
        "README.md",
        "LICENSE",
        "SECURITY.md",
        "CITATION.cff",
        "floors.txt",
        "Makefile",
        "docs/conf.py",
        "tests/conftest.py",
    ):
        assert name in packed
    assert not [name for name in packed if name.startswith(("docs/_build", "docs/gallery", "runs", ".venv"))]


@pytest.mark.slow
def test_the_wheel_works_in_a_clean_environment(built, tmp_path):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(built[0])]
    subprocess.run(install, check=True, capture_output=True, env=clean)
    place = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    # the dependencies that are here already; the wheel's own folder comes first
    (Path(place) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(*words):
        return subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=clean)

    for command in ((str(python), "-m", "agop"), (str(python.parent / "agop"),)):
        assert run(*command, "--version").stdout == f"agop {agop.__version__}\n"
    where = run(str(python), "-c", "import agop; print(agop.__file__)").stdout
    assert where.startswith(place)
    made = run(
        str(python), "-m", "agop", "deep-rfm", "--layers", "2", "--width", "32", "--n-train", "200", "--out", "run"
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "run" / "report.html").stat().st_size > 10**5
