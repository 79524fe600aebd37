from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agop.cli import main
from agop.cli.reproduce import _studies, _where, _words
from agop.experiments.studies import every
from agop.experiments.studies.beaglehole2024 import AMOUNTS, theory
from tests.experiments.tiny import TINY
from tests.test_extending import block


def code(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", *map(str, arguments)])
    return ended.value.code


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(AMOUNTS, "smoke", TINY)


@pytest.mark.parametrize(
    ("words", "seeds", "expected"),
    [
        ([], None, (("all",), (0, 1, 2))),
        (["beaglehole2024"], None, (("beaglehole2024",), (0, 1, 2))),
        (["all", "1", "2"], ["0"], (("all",), (0, 1, 2))),  # --seeds 0 1 2
        ([], ["3,4"], (("all",), (3, 4))),
        (["beaglehole2024:networks", "other"], ["5", "7"], (("beaglehole2024:networks", "other"), (5, 7))),
        ([], ["1 2"], (("all",), (1, 2))),
    ],
)
def test_words(words, seeds, expected):
    assert _words(words, seeds) == expected


@pytest.mark.parametrize(
    ("words", "seeds", "remark"),
    [
        (["all", "7"], None, "STUDY"),
        ([], ["x"], "seeds"),
    ],
)
def test_wrong_words(words, seeds, remark):
    with pytest.raises(ValueError, match=remark):
        _words(words, seeds)


@pytest.mark.parametrize("word", ["deep-rfm", "networks", "theory"])
def test_a_word_of_the_last_release_is_read_and_the_new_line_told(word, capsys):
    assert _words([word], None) == ((f"beaglehole2024:{word}",), (0, 1, 2))
    note = capsys.readouterr().err
    assert f"agop reproduce beaglehole2024:{word}" in note
    assert note.count("\n") == 1


def test_the_list_shows_every_study(capsys):
    assert code("--list") == 0
    shown = capsys.readouterr().out
    for study in every():
        assert study.name in shown
        assert f"agop reproduce {study.name} --preset" in shown.replace("\n", " ")
        assert str(len(study.claims_of(study.sizes[0]))) in shown


def test_completion():
    assert _studies("beaglehole2024") == ["beaglehole2024"]
    assert _studies("beaglehole2024:t") == ["beaglehole2024:theory"]
    assert "all" in _studies("")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((None, None, None), {"backend": "loky", "scheduler": None}),
        (("threading", None, None), {"backend": "threading", "scheduler": None}),
        ((None, None, "tcp://h:1"), {"backend": "dask", "scheduler": "tcp://h:1"}),
        (("dask", "tcp://h:1", None), {"backend": "dask", "scheduler": "tcp://h:1"}),
    ],
)
def test_dask_is_short_for_a_backend_with_a_scheduler(given, expected):
    assert _where(*given) == expected


def test_dask_with_another_backend_is_refused():
    with pytest.raises(ValueError, match="backend"):
        _where("loky", None, "tcp://h:1")


@pytest.mark.slow
def test_a_reproduction_from_the_command_line(tmp_path, capsys):
    out = tmp_path / "run"
    assert (
        code("beaglehole2024:theory", "--preset", "smoke", "--seeds", "0", "1", "--jobs", 1, "--out", out)
        == 0
    )
    first = capsys.readouterr().out
    assert "C5.1" in first
    assert "claims of the paper" in first
    page = (out / "report.html").read_bytes()
    assert code("beaglehole2024:theory", "--seeds", "0,1", "--jobs", 1, "--out", out) == 0
    assert "nothing was run again" in capsys.readouterr().out.replace("\n", " ")
    assert (out / "report.html").read_bytes() == page
    with pytest.raises(SystemExit) as ended:
        main(["report", str(out)])
    assert ended.value.code == 0


def test_a_failure_ends_with_its_sentence(tmp_path, capsys, monkeypatch):
    def broken(unit, folder):
        raise ValueError("no kernel today")

    monkeypatch.setattr(theory, "run_kernel", broken)
    assert code("beaglehole2024:theory", "--seeds", "0", "--jobs", 1, "--out", tmp_path / "run") == 1
    assert "no kernel today" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ("everything",),
        ("--preset", "huge"),
        ("--data", "nowhere.npz"),
        ("--seeds", "0", "0"),
        ("--jobs", "0"),
        ("--backend", "none"),
        ("--backend", "dask"),
        ("--scheduler", "tcp://h:1"),
    ],
)
def test_wrong_usage_is_one_sentence(tmp_path, arguments, capsys):
    assert code(*arguments, "--out", tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A package as it lies in site-packages, with one study that works and one that is broken."""
    place = tmp_path_factory.mktemp("site")
    info = place / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[agop.studies]\nbroken2024 = their_bug:STUDY\nradhakrishnan2022 = their_study:STUDY\n"
    )
    (place / "their_bug.py").write_text("1 / 0\n")
    (place / "their_study.py").write_text(block("radhakrishnan2022"))
    return place


def process(site, program, *words, **environment):
    """What a program that sees the package prints and says."""
    paths = os.pathsep.join([str(site), str(Path(__file__).parents[2] / "src")])
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=site,
        env=os.environ | {"PYTHONPATH": paths, "COLUMNS": "160"} | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


MAIN = "from agop.cli import main; main()"
BROKEN = "the plug-in 'broken2024' of theirs (entry point agop.studies) can't be loaded (ZeroDivisionError"


def test_a_broken_study_of_another_package_is_named_and_costs_nothing_else(site):
    told, errors = process(site, MAIN, "reproduce", "--list")
    assert "agop reproduce radhakrishnan2022 --preset smoke" in told
    assert "beaglehole2024" in told
    assert "broken2024" not in told
    assert BROKEN in errors
    assert "Traceback" not in errors
    chosen = "from agop.experiments.planning import choices; print(*(c.study.name for c in choices(('all',), 'smoke')))"
    told, errors = process(site, chosen)
    assert {"beaglehole2024", "radhakrishnan2022"} <= set(told.split())
    assert BROKEN in errors
    for line, offered in (
        ("agop reproduce radh", "radhakrishnan2022"),
        ("agop reproduce beaglehole2024", "beaglehole2024"),
    ):
        words = {"_AGOP_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": "2"}
        told, errors = process(site, MAIN, **words)
        assert told.split() == [offered]
        assert not errors


def test_the_list_and_its_completion_wait_for_nothing_heavy(site):
    heavy = (
        "import sys; print('HEAVY', *sorted({'torch', 'pandas', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    )
    listed = (
        f"from agop.cli import main\ntry:\n    main(['reproduce', '--list'])\nexcept SystemExit:\n    {heavy}"
    )
    assert process(site, listed)[0].split("HEAVY")[1].split() == []
    completed = f"from agop.cli.reproduce import _studies; print(*_studies('radhakrishnan2022:')); {heavy}"
    assert process(site, completed)[0].split("HEAVY")[1].split() == []
