"""What a maintainer relies on: workflows, hooks and templates that parse and name what is there; ratios of benchmarks that are compared."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from benchmarks._compare import compare, ratios

yaml = pytest.importorskip("yaml", reason="needs PyYAML")
ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
HOOKS = ROOT / ".pre-commit-config.yaml"
MADE = ("docs/_build", "dist")
if not WORKFLOWS:
    pytest.skip("needs a checkout: a source distribution has no workflows", allow_module_level=True)


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(workflow):
    return [step for job in read(workflow)["jobs"].values() for step in job.get("steps", ())]


def test_the_files_that_are_expected_are_there():
    assert {path.stem for path in WORKFLOWS} == {
        "test", "docs", "package", "release", "changelog", "nightly",
    }  # fmt: skip
    assert {path.stem for path in FORMS} == {"bug", "question", "measure", "config"}
    assert (ROOT / ".github" / "pull_request_template.md").is_file()


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_few_rights_an_end_and_known_actions(workflow):
    found = read(workflow)
    assert found["permissions"] == {"contents": "read"}
    assert "group" in found["concurrency"]
    for job in found["jobs"].values():
        assert "uses" in job or 0 < job["timeout-minutes"] <= 360
    for step in steps(workflow):
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            assert re.fullmatch(r"(actions/[\w-]+@v\d+|pypa/gh-action-pypi-publish@release/v1)", step["uses"])


@pytest.mark.parametrize(
    "path", [*WORKFLOWS, HOOKS, *FORMS, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.stem
)
def test_targets_and_paths_that_are_named_exist(path):
    text = path.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:`|run: |^)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    if path.suffix == ".yml":
        named = re.findall(r"(?<![\w/.])(?:src|tests|docs|benchmarks|examples|dist|\.github)/[\w./-]+", text)
        assert [name for name in named if not (ROOT / name).exists() and not name.startswith(MADE)] == []
    for name in re.findall(r"cache-dependency-path: (?:\|\s+)?([\w.]+(?:\s+[\w]+\.\w+)*)", text):
        assert all((ROOT / each).is_file() for each in name.split())


def test_the_versions_of_python_that_are_tested_are_those_that_are_promised():
    matrix = read(ROOT / ".github" / "workflows" / "test.yml")["jobs"]["test"]["strategy"]["matrix"]
    promised = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert matrix == {"python": promised, "dependencies": ["newest", "oldest"]}
    assert PROJECT["requires-python"] == f">={promised[0]}"


def test_the_nightly_run_names_benchmarks_that_have_stored_ratios():
    text = (ROOT / ".github" / "workflows" / "nightly.yml").read_text(encoding="utf-8")
    for name in re.search(r'BENCHMARKS="([\w ]+)"', text).group(1).split():
        assert (ROOT / "benchmarks" / f"{name}.py").is_file()
        stored = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))
        assert list(ratios(stored["result"])), name


@pytest.mark.parametrize(
    "form", [path for path in FORMS if path.stem != "config"], ids=lambda path: path.stem
)
def test_an_issue_form_has_what_the_host_asks_for(form):
    found = read(form)
    assert all(found[name] for name in ("name", "description", "labels"))
    asked = [part for part in found["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in asked}) == len(asked)
    assert any(part.get("validations", {}).get("required") for part in asked)


def test_hooks_are_the_tools_of_make_lint_and_some_guards():
    hooks = {hook["id"]: hook for repository in read(HOOKS)["repos"] for hook in repository["hooks"]}
    assert set(hooks) >= {
        "ruff", "ruff-format", "mypy", "codespell", "end-of-file-fixer", "trailing-whitespace", "check-added-large-files",
        "no-notebooks",
    }  # fmt: skip
    assert not list(ROOT.glob("examples/**/*.ipynb"))
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    sizes = {name: (ROOT / name).stat().st_size for name in files if (ROOT / name).is_file()}
    assert [name for name, size in sizes.items() if size > 500 * 1024] == []


def result(folder, **numbers):
    folder.mkdir(exist_ok=True)
    (folder / "x.json").write_text(json.dumps({"environment": {}, "result": numbers}))
    return folder


def test_ratios_are_found_with_their_direction():
    found = {"ratio": 3.0, "rows": [{"cpu_ratio": 2.0, "seconds": 9.0}], "ratios_by_chunk": {"250": 2.5}}
    found |= {"times_floor": 1.5, "floor": [{"ratio": 1.2}], "pivot_ratio": 0.1, "operations": 7}
    assert {(name, gain) for name, _, gain in ratios(found)} == {
        ("ratio", True), ("rows/0/cpu_ratio", True), ("ratios_by_chunk/250", True), ("times_floor", False), ("floor/0/ratio", False),
    }  # fmt: skip


def test_a_ratio_that_has_become_worse_ends_in_one(tmp_path):
    then = result(tmp_path / "then", ratio=3.0, times_floor=2.0, seconds=1.0)
    now = result(tmp_path / "now", ratio=1.5, times_floor=1.0, seconds=50.0)
    assert {change.name: change.worse for change in compare(then, now)} == {
        "x: ratio": 2.0,
        "x: times_floor": 0.5,
    }

    def ended(factor):
        words = [sys.executable, "-m", "benchmarks", "--compare", str(then), str(now), "--factor", factor]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)

    assert ended("2.5").returncode == 0
    bad = ended("1.5")
    assert bad.returncode == 1
    assert [line for line in bad.stdout.splitlines() if "worse" in line] == [
        line for line in bad.stdout.splitlines() if line.startswith("x: ratio")
    ]
    assert "2.00 times worse" in bad.stdout


def test_results_of_two_data_sets_are_not_compared(tmp_path):
    then, now = result(tmp_path / "then", data="a", ratio=3.0), result(tmp_path / "now", data="b", ratio=1.0)
    with pytest.raises(ValueError, match="expected ratios that .* have in common, got none"):
        compare(then / "x.json", now / "x.json")
