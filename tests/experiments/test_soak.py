"""SIGKILL at random moments of the three long verbs: nothing finished is lost, no half file is read, the numbers are the same."""

from __future__ import annotations

import json
import random
import re

import numpy as np
import pandas as pd
import pytest
import safetensors

from agop.experiments import fitting
from agop.experiments.subjects import deep_rfm, network
from agop.experiments.tables import check_unit
from tests.experiments import soak, tiny

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork")]
EPOCHS = 150
IN_A_ROW = 6
"""Kills of one run before it may finish."""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.normal(size=(90, 8)) + 1.5 * np.eye(3)[y].repeat(3, axis=1)[:, :8]
    path = tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(path, x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    return path


def tables(folder) -> dict[str, str]:
    """Every table and the result, without times."""
    found = {}
    for path in sorted(folder.glob("*.csv")):
        found[path.name] = pd.read_csv(path).drop(columns="seconds", errors="ignore").to_csv()
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as arrays:
            found[path.name] = str({name: arrays[name].tobytes() for name in arrays.files})
    result = json.loads((folder / "result.json").read_text())
    del result["seconds"], result["facts"]["Time"], result["files"]
    return found | {"result": json.dumps(result)}


def layers_done(out) -> int:
    """Finished layers in the model of a run, or in its checkpoint; reading it proves that it is whole."""
    for name in (fitting.MODEL, fitting.CHECKPOINT):
        if (out / name).exists():
            return len(deep_rfm.DeepRFMClassifier.load(out / name).layers_)
    return 0


def epochs_done(out) -> int:
    """Epochs in the checkpoint of a run; a finished one has none any more."""
    if (out / "result.json").exists():
        return EPOCHS
    if not (out / network.CHECKPOINT).exists():
        return 0
    with safetensors.safe_open(out / network.CHECKPOINT, framework="pt") as stored:
        return len(json.loads(stored.metadata()["epochs"])) - 1


def always() -> bool:
    """A kill may come at once."""
    return True


VERBS = {
    "deep-rfm": (
        ["--layers", "40", "--width", "300"],
        fitting.CHECKPOINT,
        layers_done,
        r"continuing after layer (\d+) of",
    ),
    "network": (
        ["--width", "64", "--depth", "4", "--epochs", str(EPOCHS), "--measure-every", "5"],
        network.CHECKPOINT,
        epochs_done,
        r"continuing after epoch (\d+) of",
    ),
}


@pytest.mark.parametrize("verb", VERBS)
def test_twelve_kills_at_random_moments_change_nothing(verb, file, tmp_path):
    options, checkpoint, done, says = VERBS[verb]
    command = [verb, "--data", str(file), *options, "--out"]
    undisturbed = tmp_path / "undisturbed"
    seconds = soak.seconds_until([*command, str(undisturbed)], tmp_path / "log", undisturbed / "result.json")
    expected, rng = tables(undisturbed), random.Random(verb)
    another = tmp_path / "another"
    start = soak.seconds_until([*command, str(another)], tmp_path / "log", another / checkpoint)
    longest = start + 0.4 * max(0.0, seconds - start)  # some kills before there is a checkpoint, most after
    kills = attempts = continued = 0
    while kills < 12:
        attempts += 1
        assert attempts < 8, "the kills come too late"
        out, log = tmp_path / f"killed-{attempts}", tmp_path / f"log-{attempts}"
        found = [0]

        def look(out=out, found=found):
            found.append(done(out))
            assert found[-1] >= found[-2], "a finished layer or epoch was lost"

        kept = out / checkpoint
        for number in range(IN_A_ROW):
            if (out / "result.json").exists():
                break
            begun = kept.exists if number % 2 else always
            kills += soak.kill_at_random([*command, str(out)], log, longest, rng, look, begun)
        soak.complete([*command, str(out)], log)
        assert tables(out) == expected
        assert (out / "report.html").is_file()
        said = [int(number) for number in re.findall(says, log.read_text())]
        assert set(said) <= set(found), "a restart began elsewhere than after the last finished one"
        continued += len(said)
    assert continued >= 2
    print(f"{verb}: {kills} kills, {continued} restarts in the middle, undisturbed {seconds:.1f} s")


@pytest.mark.parametrize("jobs", [1, 2])
def test_kills_of_a_reproduction_change_nothing(jobs, tmp_path):
    command = [
        "reproduce",
        "beaglehole2024",
        "--preset",
        "smoke",
        "--seeds",
        "0",
        "--jobs",
        str(jobs),
        "--out",
    ]
    undisturbed = tmp_path / "undisturbed"
    seconds = soak.seconds_until([*command, str(undisturbed)], tmp_path / "log", undisturbed / "result.json")
    expected, rng = tiny.numbers(undisturbed), random.Random(jobs)
    first = min(undisturbed.glob("units/*/*/result.json"), key=lambda path: path.stat().st_mtime_ns)
    another = tmp_path / "another"
    place = another / first.relative_to(undisturbed)
    start = soak.seconds_until([*command, str(another)], tmp_path / "log", place)
    longest = start + 0.4 * max(0.0, seconds - start)
    out, log, kills, finished = tmp_path / "killed", tmp_path / "killed.log", 0, {}

    def look():
        for path in out.glob("units/*/*/result.json"):
            check_unit(path.parent)
            finished.setdefault(path, path.stat().st_mtime_ns)

    def one_is_finished():
        return any(out.glob("units/*/*/result.json"))

    for number in range(6):
        begun = one_is_finished if number % 2 else always
        kills += soak.kill_at_random([*command, str(out)], log, longest, rng, look, begun)
    assert kills >= 4
    assert finished
    soak.complete([*command, str(out)], log)
    assert tiny.numbers(out) == expected
    for path, when in finished.items():
        assert path.stat().st_mtime_ns == when, "a finished unit was run again"
    print(
        f"reproduce, {jobs} jobs: {kills} kills, {len(finished)} units found finished, undisturbed {seconds:.1f} s"
    )
