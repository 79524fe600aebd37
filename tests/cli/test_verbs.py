"""`agop deep-rfm` and `agop report`, as typed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from agop.cli import main


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    x = rng.normal(size=(80, 5)) + 2 * y[:, None]
    path = tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(path, x_train=x[:50], y_train=y[:50], x_test=x[50:], y_test=y[50:])
    return path


@pytest.fixture(scope="module")
def finished(file):
    """A finished run, made by the command; do not write into it."""
    out = file.parent / "finished"
    assert code(deep_rfm(file, out)) == 0
    return out


def deep_rfm(file, out, *more):
    return ["deep-rfm", "--data", str(file), "--layers", "3", "--width", "16", "--out", str(out), *more]


def code(arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in arguments])
    return caught.value.code


def one_sentence(capsys):
    captured = capsys.readouterr()
    assert captured.err.startswith("agop: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_run_is_announced_shown_and_written(file, tmp_path, capsys, all_formats):
    assert code(deep_rfm(file, tmp_path / "run")) == 0
    out = capsys.readouterr().out
    assert "memory: about" in out
    assert "small.npz: all 50 training points, all 30 test points." in out
    for words in ("NC1", "NC2", "input", "projected", "output", "train", "test", "report.html"):
        assert words in out
    there = {
        path.relative_to(tmp_path / "run").as_posix()
        for path in (tmp_path / "run").rglob("*")
        if path.is_file()
    }
    figures = {
        f"figures/{name}.{kind}"
        for name in ("nc1", "nc2", "accuracy", "gram")
        for kind in ("png", "svg", "pdf")
    }
    files = {"config.json", "profile.csv", "layers.csv", "gram.npz", "result.json", "report.html"}
    assert there == figures | files | {"model.safetensors", "standardisation.npz"}


def test_the_recorded_command_makes_the_same_run(finished, tmp_path):
    words = json.loads((finished / "config.json").read_text())["command"].split()
    assert code([*words[1:], "--out", tmp_path / "again"]) == 0
    assert (tmp_path / "again" / "profile.csv").read_bytes() == (finished / "profile.csv").read_bytes()


def test_a_finished_run_is_not_run_again(file, finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert code(deep_rfm(file, finished)) == 0
    assert "nothing was run again" in " ".join(capsys.readouterr().out.split())
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*")}


def test_a_missing_report_of_a_finished_run_is_made(file, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("report.html"))
    assert code(deep_rfm(file, tmp_path / "run")) == 0
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--layers", "4"], "layers is 3, not 4"),
        (["--ridge", "-1"], "ridge"),
        (["--ridge", "much"], "--ridge"),
        (["--bandwidth", "0"], "bandwidth"),
        (["--kernel", "cosine"], "kernel"),
        (["--feature-map", "gelu"], "feature_map"),
        (["--dtype", "float16"], "dtype"),
        (["--device", "cuda:77"], "device"),
        (["--device", "abacus"], "device"),
        (["--precision", "high"], "precision"),
        (["--max-memory", "little"], "max_memory"),
        (["--max-memory", "1KB"], "max_memory"),
        (["--n-train", "51"], "n_train"),
        (["--subset", "best"], "subset"),
        (["--seed", "-1"], "seed"),
        (["--data", "nothing.npz"], "nothing.npz"),
        (["--data", "nothing"], "nothing"),
        (["--out", "/dev/null"], "/dev/null"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(file, finished, tmp_path, capsys, more, words):
    out = finished if more == ["--layers", "4"] else tmp_path / "run"
    assert code(deep_rfm(file, out, *more)) == 2
    assert words in one_sentence(capsys)


def test_a_run_that_could_not_start_leaves_a_usable_directory(file, tmp_path):
    assert code(deep_rfm(file, tmp_path / "run", "--kernel", "cosine")) == 2
    assert code(deep_rfm(file, tmp_path / "run")) == 0


def test_report_again_and_comparison(finished, tmp_path, capsys):
    second = tmp_path / "second"
    shutil.copytree(finished, second, ignore=shutil.ignore_patterns("report.html"))
    assert code(["report", second]) == 0
    assert (second / "report.html").exists()
    assert code(["report", finished, second, "--out", tmp_path / "both.html"]) == 0
    assert "both.html" in capsys.readouterr().out
    page = (tmp_path / "both.html").read_text(encoding="utf-8")
    assert page.count('<figure class="drawn') > 2
    assert "second" in page


def test_report_of_nothing_is_one_sentence(tmp_path, capsys):
    assert code(["report", tmp_path]) == 2
    assert "directory of a run" in one_sentence(capsys)
    assert code(["report"]) == 2
    one_sentence(capsys)


@pytest.mark.parametrize(
    "verb", ["deep-rfm", "network", "profile", "trajectory", "reproduce", "report", "datasets"]
)
def test_help_begins_with_examples(verb, capsys):
    assert code([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.index("Examples") < out.index("Options")
    assert f"agop {verb}" in out[out.index("Examples") :]


def test_ctrl_c_is_code_130_and_the_run_continues(tmp_path, file):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "agop", *deep_rfm(file, out), "--layers", "400", "--width", "64"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / "checkpoint" / "model.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("agop: interrupted")
    assert "Traceback" not in err
