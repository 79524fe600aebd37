"""The command line as a user meets it: help, version, exit codes, one sentence instead of a traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from agop import __version__
from agop.cli import exits, main


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    captured = capsys.readouterr()
    return caught.value.code, captured.out, captured.err


def test_version(capsys):
    assert call(capsys, "--version") == (0, f"agop {__version__}\n", "")


def test_no_arguments_show_the_help(capsys):
    code, out, err = call(capsys)
    assert code == 0
    assert "Examples" in out
    assert "Exit codes" in out
    assert not err


def test_datasets_lists_every_name(capsys):
    code, out, _ = call(capsys, "datasets")
    assert code == 0
    for name in ("digits", "mnist", "fashion-mnist", "cifar10", "svhn", "FILE.npz"):
        assert name in out


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["datasets", "--nonsense"], ["--nonsense"], ["datasets", "extra"]]
)
def test_wrong_usage_is_one_sentence_and_code_2(capsys, arguments):
    code, out, err = call(capsys, *arguments)
    assert code == 2
    assert not out
    assert err.startswith("agop: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("ridge: expected\n a number."), 2),
        (FileNotFoundError(2, "No such file", "x"), 2),
        (MemoryError(), 2),
        (RuntimeError("odd"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_one_sentence(capsys, monkeypatch, error, code):
    monkeypatch.delenv("AGOP_TRACEBACK", raising=False)

    def fails():
        raise error

    assert exits.guarded(fails) == code
    err = capsys.readouterr().err
    assert err.startswith("agop: ")
    assert err.count("\n") == 1


def test_a_file_that_ends_too_early_is_no_interruption(capsys):
    """Click says "abort" for both."""
    program = typer.Typer()

    @program.command()
    def ends_early() -> None:
        raise EOFError("marshal data too short")

    assert exits.guarded(lambda: program(args=[], standalone_mode=False)) == 1
    assert "unexpected EOFError: marshal data too short" in capsys.readouterr().err


def test_a_sentence_about_such_a_file_stays(capsys):
    def fails():
        raise ValueError("data: expected a whole file, got half of one.") from EOFError("short")

    assert exits.guarded(fails) == 2
    assert capsys.readouterr().err == "agop: data: expected a whole file, got half of one.\n"


def test_a_traceback_on_request(monkeypatch):
    monkeypatch.setenv("AGOP_TRACEBACK", "1")

    def fails():
        raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        exits.guarded(fails)


def test_python_dash_m():
    done = subprocess.run(
        [sys.executable, "-m", "agop", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"agop {__version__}\n"
