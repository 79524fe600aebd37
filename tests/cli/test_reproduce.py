from __future__ import annotations

import pytest

from agop.cli import main
from agop.cli.reproduce import _words
from agop.experiments import presets
from tests.experiments.tiny import TINY


def code(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", *map(str, arguments)])
    return ended.value.code


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "smoke", TINY)
    monkeypatch.setattr(presets, "_WIDTHS", [100, 200])
    monkeypatch.setattr(presets, "_SHIFTS", [[0.1, 0.1], [1.0, 0.1]])


@pytest.mark.parametrize(
    ("words", "seeds", "expected"),
    [
        ([], None, ("all", (0, 1, 2))),
        (["theory"], None, ("theory", (0, 1, 2))),
        (["all", "1", "2"], ["0"], ("all", (0, 1, 2))),  # --seeds 0 1 2
        ([], ["3,4"], ("all", (3, 4))),
        (["networks"], ["5", "7"], ("networks", (5, 7))),
        ([], ["1 2"], ("all", (1, 2))),
    ],
)
def test_words(words, seeds, expected):
    assert _words(words, seeds) == expected


@pytest.mark.parametrize(
    ("words", "seeds", "remark"),
    [
        (["all", "7"], None, "EXPERIMENT"),
        (["theory", "networks"], None, "one experiment"),
        ([], ["x"], "seeds"),
    ],
)
def test_wrong_words(words, seeds, remark):
    with pytest.raises(ValueError, match=remark):
        _words(words, seeds)


def test_a_reproduction_from_the_command_line(tmp_path, capsys):
    out = tmp_path / "run"
    assert code("theory", "--preset", "smoke", "--seeds", "0", "1", "--jobs", 1, "--out", out) == 0
    first = capsys.readouterr().out
    assert "C5.1" in first
    assert "claims of the paper" in first
    page = (out / "report.html").read_bytes()
    assert code("theory", "--seeds", "0,1", "--jobs", 1, "--out", out) == 0
    assert "nothing was run again" in capsys.readouterr().out.replace("\n", " ")
    assert (out / "report.html").read_bytes() == page
    with pytest.raises(SystemExit) as ended:
        main(["report", str(out)])
    assert ended.value.code == 0


def test_a_failure_ends_with_its_sentence(tmp_path, capsys, monkeypatch):
    from agop.experiments import work

    def broken(unit, folder):
        raise ValueError("no kernel today")

    monkeypatch.setitem(work.WORK, "kernel", broken)
    assert code("theory", "--seeds", "0", "--jobs", 1, "--out", tmp_path / "run") == 1
    assert "no kernel today" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ("everything",),
        ("--preset", "huge"),
        ("--data", "nowhere.npz"),
        ("--seeds", "0", "0"),
        ("--jobs", "0"),
    ],
)
def test_wrong_usage_is_one_sentence(tmp_path, arguments, capsys):
    assert code(*arguments, "--out", tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error
