from __future__ import annotations

import pytest

from agop.cli import main
from agop.cli.reproduce import _studies, _where, _words
from agop.experiments.studies import every
from agop.experiments.studies.beaglehole2024 import AMOUNTS, theory
from tests.experiments.tiny import TINY


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
    assert _studies("beag") == ["beaglehole2024"]
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
