"""Help, version and completion come at once, and completion knows what there is."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from dataclasses import MISSING
from pathlib import Path

import pytest
import typer

import agop
from agop.cli import app as _app  # noqa: F401 - loads every verb
from agop.datasets import available
from agop.experiments.configuration import options
from agop.experiments.subjects import SUBJECTS

app_module = sys.modules["agop.cli.app"]
HEAVY = {"torch", "numpy", "scipy", "sklearn", "pandas", "matplotlib", "torchmetrics"}


def fresh(code, **environment):
    """What a new process prints and which heavy packages it imported."""
    code += f"\nimport sys; print('HEAVY', *sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | environment
    )
    text, _, heavy = done.stdout.rpartition("HEAVY")
    return text, heavy.split()


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["-h"],
        ["report", "--help"],
        ["datasets", "--help"],
        ["trajectory", "--help"],
        *([verb, "--help"] for verb in ("rfm", "predict", "deep-rfm", "network", "reproduce", "profile")),
    ],
    ids=" ".join,
)
def test_help_and_version_import_nothing_heavy(words):
    code = f"from agop.cli import main\ntry:\n    main({words!r})\nexcept SystemExit as end:\n    assert not end.code"
    text, heavy = fresh(code)
    assert text.strip()
    assert not heavy


@pytest.mark.parametrize("words", [["datasets"], ["reproduce", "--list"]], ids=" ".join)
def test_lists_come_without_torch(words):
    text, heavy = fresh(
        f"from agop.cli import main\ntry:\n    main({words!r})\nexcept SystemExit as end:\n    assert not end.code"
    )
    assert text.strip()
    assert set(heavy) <= {"numpy"}


def test_the_package_imports_its_rooms_on_first_use():
    text, heavy = fresh("import agop; print(sorted(set(dir(agop)) & {'agop', 'nc1', 'collapse', 'torch'}))")
    assert text.strip() == "['agop', 'collapse', 'nc1']"
    assert not heavy
    text, _ = fresh("import agop; print(agop.Laplace.__name__, agop.collapse.MEASURES.__class__.__name__)")
    assert text.startswith("Laplace")


def test_public_names_are_those_that_type_checkers_see():
    tree = ast.parse(Path(agop.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert sorted(seen) == agop.__all__
    for name, module in seen.items():
        assert module.split(".")[1] == agop._HOMES[name].partition(".")[0]
        assert getattr(agop, name) is getattr(sys.modules[module], name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        agop.nonsense  # noqa: B018


@pytest.mark.parametrize("verb", SUBJECTS.own)
def test_a_verb_has_the_options_of_its_configuration_with_their_defaults(verb):
    command = typer.main.get_command(app_module.app).commands[verb]
    context = command.make_context(verb, [], resilient_parsing=True)
    given = {parameter.name: parameter.default for parameter in command.get_params(context)}
    declared = {entry.name: entry.default for entry, _ in options(SUBJECTS[verb].config)}
    helps = {"help", "_click_default_help"}  # as typer of yesterday and click of today call it
    assert given.keys() - helps == declared.keys() | {"out"}
    for name, default in declared.items():
        assert default is MISSING or given[name] == default


def complete(line, shell="bash"):
    """What the shell is offered after `line`."""
    words = line.split(" ")
    environment = {
        "_AGOP_COMPLETE": f"complete_{shell}", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
    }  # fmt: skip
    command = [sys.executable, "-c", "from agop.cli import main; main()"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert not done.stderr
    return done.stdout.split("\n")[:-1] if shell == "bash" else done.stdout


def test_completion_offers_verbs_options_and_values(tmp_path, monkeypatch):
    assert complete("agop ") == [
        "rfm",
        "deep-rfm",
        "conv-rfm",
        "network",
        "profile",
        "predict",
        "trajectory",
        "reproduce",
        "report",
        "datasets",
    ]
    assert complete("agop deep-rfm --ker") == ["--kernel"]
    assert complete("agop deep-rfm --kernel lap") == ["laplace"]
    (tmp_path / "mine.npz").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert complete("agop deep-rfm --data m") == ["mnist", "mnist-in-noise", "mine.npz"]
    assert "fashion-mnist" in complete("agop network --data ", "zsh")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_can_be_shown(shell):
    environment = os.environ | {"_AGOP_COMPLETE": f"source_{shell}"}
    command = [sys.executable, "-c", "from agop.cli import main; main()"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "_AGOP_COMPLETE" in done.stdout
    assert "agop" in done.stdout


def test_completion_knows_every_data_set():
    assert complete("agop deep-rfm --data ") == [source.name for source in available()]


def test_show_completion_knows_the_shell_it_is_told():
    environment = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-c", "from agop.cli import main; main()", "--show-completion", "bash"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "complete -o default -F _agop_completion agop" in done.stdout


ROOT = Path(__file__).parent.parent.parent
PAGES = ["README.md", "CONTRIBUTING.md", *(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]


def shown_commands():
    """Every `agop` command that a help text or a code block of a page shows."""
    texts = {"agop": app_module.HELP} | {verb: kind.help for verb, kind in SUBJECTS.items()}
    texts |= {
        verb: sys.modules[f"agop.cli.{verb}"].HELP
        for verb in ("predict", "trajectory", "reproduce", "report", "datasets")
    }
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        texts[page] = "\n".join(re.findall(r"^```(?:sh|bash)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    for place, text in texts.items():
        for line in text.replace("\\\n", " ").splitlines():
            if match := re.match(r"\s*(?:\$ )?agop (.*)", line):
                yield place, shlex.split(match[1], comments=True)


@pytest.mark.parametrize(
    ("place", "words"),
    list(shown_commands()),
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_the_commands_that_help_and_pages_show_are_understood(place, words):
    group = typer.main.get_command(app_module.app)
    verb, *rest = words
    if verb.startswith("-"):
        assert verb in {option for parameter in group.params for option in parameter.opts} | {"--help", "-h"}
        return
    if rest not in (["--help"], ["-h"]):
        group.commands[verb].make_context(verb, rest)  # raises what a user would be told
