"""From a field of a configuration to an option, and verbs of other packages."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from agop.cli.options import parameters
from agop.experiments.configuration import MODEL, Configuration, option
from tests.test_extending import block

PROGRAM = [sys.executable, "-c", "from agop.cli import main; main()"]


@dataclass(frozen=True, kw_only=True)
class Asked(Configuration):
    name: str = option(help="Must be given.", panel=MODEL)
    flag: bool = option(False, "A flag.", MODEL)
    switch: bool = option(True, "A switch.", MODEL)
    colour: str = option("red", "One of {choices}.", MODEL, choices=("red", "green", "blue"))
    hidden: int = 3


def declared(name):
    found = {entry.name: entry for entry in parameters(Asked)}
    return found[name].default, found[name].annotation.__metadata__[0]


def test_a_field_is_an_option_with_its_name_type_default_help_and_choices():
    names = [entry.name for entry in parameters(Asked)]
    assert names == [
        "data", "n_train", "n_test", "subset", "data_root", "download", "name", "flag", "switch", "colour", "seed", "device",
    ]  # fmt: skip
    default, about = declared("colour")
    assert (default, about.help, about.rich_help_panel) == ("red", "One of red, green or blue.", "Model")
    assert about.autocompletion("g") == ["green"]
    assert declared("name")[0] is parameters(Asked)[0].empty
    assert declared("flag")[1].default == "--flag"
    assert declared("switch")[1].default == "--switch/--no-switch"
    assert declared("n_train")[1].show_default == "all"


def test_the_command_of_a_configuration_can_be_typed():
    assert Asked(name="a b", flag=True, switch=False).command("ask") == (
        "agop ask --data digits --subset first --name 'a b' --flag --no-switch --colour red --seed 0 --device cpu"
    )
    assert "--flag" not in Asked(name="x").command("ask")


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Four packages as they lie in site-packages: one that works, one that is broken, one that takes a name, one of a wrong type."""
    place = tmp_path_factory.mktemp("site")

    def install(package, group, name, value):
        info = place / f"{package}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        with (info / "entry_points.txt").open("a") as stream:
            stream.write(f"[{group}]\n{name} = {value}\n")

    (place / "their_rings.py").write_text(block("RINGS"))
    (place / "their_pca.py").write_text(block("PCAConfig"))
    (place / "their_bug.py").write_text("1 / 0\n")
    install("theirs", "agop.datasets", "rings", "their_rings:RINGS")
    install("theirs", "agop.subjects", "pca", "their_pca:KIND")
    for group in ("agop.datasets", "agop.subjects"):
        install("broken", group, "bug", "their_bug:NOTHING")
    install("greedy", "agop.datasets", "mnist", "their_rings:RINGS")
    install("wrong", "agop.datasets", "wrong", "their_rings:rings")
    install("wrong", "agop.subjects", "mca", "their_pca:KIND")
    return place


def agop(packages, *words, code=0, **environment):
    paths = os.pathsep.join([str(packages), str(Path(__file__).parents[2] / "src")])
    more = {"PYTHONPATH": paths, "COLUMNS": "120"} | environment
    done = subprocess.run(
        [*PROGRAM, *words], capture_output=True, text=True, env=os.environ | more, cwd=packages
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_data_sets_of_other_packages_are_listed_and_a_broken_one_costs_nothing_else(packages):
    told, errors = agop(packages, "datasets")
    assert "rings in the plane" in told
    assert "agop, generated" in told
    assert "svhn" in told
    for words in (
        "the plug-in 'bug' of broken (entry point agop.datasets) can't be loaded (ZeroDivisionError",
        "the plug-in 'mnist' of greedy (entry point agop.datasets) takes a name that is there already",
        "registered as the data set 'wrong' is no agop.datasets.Source of that name",
    ):
        assert words in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_verb_of_another_package_runs_on_a_data_set_of_another_package(packages):
    run = ["pca", "--data", "rings", "--components", "1", "--out", "run"]
    told, _ = agop(packages, *run)
    assert "agop's rings (seed 0, noise 0.1): all 500 training points" in told
    assert "NC1 of the components is" in told
    assert (packages / "run" / "report.html").exists()
    told, _ = agop(packages, *run)
    assert "nothing was run again" in told
    _, errors = agop(packages, "pca", "--components", "0", code=2)
    assert "agop: components: expected an integer >= 1, got 0." in errors


def test_help_and_completion_of_such_a_verb_and_a_broken_one(packages):
    told, _ = agop(packages, "pca", "--help")
    assert "--components" in told
    assert "runs/pca-DATA" in told
    line = {"_AGOP_COMPLETE": "complete_bash", "COMP_WORDS": "agop pca --comp", "COMP_CWORD": "2"}
    assert agop(packages, **line)[0].split() == ["--components"]
    assert "pca" not in agop(packages, "--help")[0].split("Commands")[1]
    _, errors = agop(packages, "bug", code=2)
    assert "agop: No such command 'bug'" in errors
    assert "the plug-in 'bug' of broken (entry point agop.subjects) can't be loaded" in errors
    _, errors = agop(packages, "mca", code=2)
    assert "agop: No such command 'mca'" in errors
    assert "registered as the subject 'mca' is no SubjectKind of that name" in errors
