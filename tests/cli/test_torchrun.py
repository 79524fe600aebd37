"""`torchrun -m agop deep-rfm`: several ranks, one run directory, one voice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import psutil
import pytest

from agop.cli import main
from agop.experiments.run import run
from agop.experiments.subjects.deep_rfm_config import DeepRFMConfig
from tests.launching import outside, start


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    rng = np.random.default_rng(0)
    y = np.arange(81) % 3
    x = rng.normal(size=(81, 5)) + 2 * np.eye(3, 5)[y]
    path = tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(path, x_train=x[:50], y_train=y[:50], x_test=x[50:], y_test=y[50:])
    return path


def words(file, out, *more):
    # float64, so that what is compared are the sums over ranks and not single precision at depth
    given = ["--data", file, "--layers", "3", "--width", "16", "--dtype", "float64", "--out", out, *more]
    return ["deep-rfm", *map(str, given)]


def program(*arguments):
    return f"from agop.cli import main\nmain({list(arguments)!r})"


@pytest.fixture(scope="module")
def alone(file):
    """The run of one process, without its report."""
    out = file.parent / "alone"
    assert run("deep-rfm", DeepRFMConfig(data=str(file), layers=3, width=16, dtype="float64"), out)
    return out


@pytest.fixture(scope="module")
def shared(file):
    """The run of two ranks, and what they said."""
    out = file.parent / "shared"
    return out, start(program(*words(file, out)))


def same_numbers(one, other):
    for table in ("profile", "layers"):
        a, b = (
            pd.read_csv(folder / f"{table}.csv").drop(columns="seconds", errors="ignore")
            for folder in (one, other)
        )
        pd.testing.assert_frame_equal(a, b, rtol=1e-6, atol=1e-12)


def refused(done, sentence):
    """All ranks ended with code 2, rank 0 with one sentence and the others in silence."""
    assert [process.code for process in done] == [2] * len(done), done
    assert done[0].err.startswith("agop: ")
    assert done[0].err.count("\n") == 1
    assert sentence in done[0].err
    assert all(not process.err and not process.out for process in done[1:])


@pytest.mark.slow
def test_two_ranks_give_the_run_of_one(alone, shared):
    out, done = shared
    assert [process.code for process in done] == [0, 0], done
    same_numbers(alone, out)
    made = {path.name for path in alone.iterdir()} | {"figures", "report.html"}
    assert {path.name for path in out.iterdir()} == made


@pytest.mark.slow
def test_only_rank_0_speaks(shared):
    _, (first, second) = shared
    assert "report.html" in first.out
    assert first.out.count("memory: about") == 1
    assert "2 ranks shared the fit; all of them repeated the Cholesky factorisations" in first.out
    assert not second.out
    assert not second.err


@pytest.mark.slow
def test_a_finished_run_is_not_run_again(file, shared):
    out, _ = shared
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    first, second = start(program(*words(file, out)))
    assert (first.code, second.code) == (0, 0)
    assert "nothing was run again" in first.out
    assert not second.out
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


def test_an_unusable_option_is_one_sentence(file, tmp_path):
    refused(start(program(*words(file, tmp_path / "run", "--bandwidth", "0"))), "bandwidth")
    refused(start(program(*words(file, tmp_path / "run", "--nonsense"))), "--nonsense")


@pytest.mark.slow
def test_a_rank_without_data(file, tmp_path):
    program_text = f"""
import os
from agop.cli import main
data = {str(file)!r} if os.environ["RANK"] == "0" else "missing.npz"
main(["deep-rfm", "--data", data, "--out", {str(tmp_path / "run")!r}])
"""
    refused(start(program_text), "rank 1: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_other_data_on_a_rank(file, tmp_path):
    changed = tmp_path / "here" / "small.npz"
    changed.parent.mkdir()
    with np.load(file) as arrays:
        np.savez(changed, **{**arrays, "x_train": arrays["x_train"] + (np.arange(50) == 7)[:, None]})
    program_text = f"""
import os
from agop.cli import main
os.chdir({str(file.parent)!r} if os.environ["RANK"] == "0" else {str(changed.parent)!r})
main(["deep-rfm", "--data", "small.npz", "--out", {str(tmp_path / "run")!r}])
"""
    refused(start(program_text), "data: expected the same on all 2 ranks, got ")


@pytest.mark.slow
def test_other_options_on_a_rank(file, tmp_path):
    text = program(*words(file, tmp_path / "run")).replace("'3'", "os.environ['RANK'] + '1'")
    refused(start("import os\n" + text), "options: expected the same on all 2 ranks")


@pytest.mark.slow
def test_a_checkpoint_that_only_rank_0_can_read(file, alone, tmp_path):
    text = f"""
import os, shutil
from agop.cli import main
out = {str(tmp_path)!r} + "/" + os.environ["RANK"]
if os.environ["RANK"] == "0":
    shutil.copytree({str(alone)!r}, out)
    os.remove(out + "/result.json")
main({words(file, "OUT")!r}[:-1] + [out])
"""
    refused(start(text), "the model in --out: expected the same on all 2 ranks")


def test_a_bad_launch_is_one_sentence(file, tmp_path):
    text = program(*words(file, tmp_path / "run"))
    refused(start(text, MASTER_ADDR=None), "MASTER_ADDR: expected to be set")
    refused(start(text, WORLD_SIZE=3, AGOP_DISTRIBUTED_TIMEOUT=1), "expected 3 ranks within 1 s")


@pytest.mark.parametrize("verb", ["network", "profile", "reproduce", "report", "datasets"])
def test_verbs_that_are_not_shared_say_so(verb, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit) as caught:
        main([verb])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(f"agop: {verb}: expected one process, got WORLD_SIZE=2")


def rank_of(launcher, rank):
    """The process of a rank among the children of torchrun."""
    for child in psutil.Process(launcher.pid).children():
        try:
            if child.environ().get("RANK") == str(rank):
                return child
        except psutil.Error:
            continue
    return None


@pytest.mark.parametrize(
    "killed", [pytest.param(0, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.slow)]
)
def test_a_killed_rank_comes_back_and_the_fit_goes_on(file, tmp_path, killed):
    layers, out = 80, tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", "1", "--monitor-interval", "0.1", "-m", "agop", *words(file, out)]
    command[command.index("--layers") + 1] = str(layers)
    with subprocess.Popen(
        command, env=outside(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as launcher:
        deadline = time.monotonic() + 60
        while not (out / "checkpoint" / "model.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(rank_of(launcher, killed).pid, signal.SIGKILL)
        said, errors = launcher.communicate(timeout=90)
    assert launcher.returncode == 0, errors
    assert "continuing after layer" in said
    assert len(pd.read_csv(out / "layers.csv")) == layers
    assert (out / "result.json").exists()
