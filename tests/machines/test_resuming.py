"""A fit that was cut off keeps what was finished and goes on to the same bits; sums that belong to another fit are not taken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from agop import RFMClassifier, RFMRegressor, RFMRegressorCV, _store, open_blocks
from agop.machines import checkpoint as kept
from agop.machines import nystrom
from agop.machines.resuming import LEARNED

N, D = 3000, 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]
FIT = {"solver": "nystrom", "n_centers": 60, "feature_points": 300, "n_iter": 2, "random_state": 0}


class Stop(Exception):
    """Ends a fit."""


class Ends:
    """Rows that can't be read from one on, until they are mended; how many of them were read."""

    def __init__(self, at):
        self.at, self.read = at, 0

    def __len__(self):
        return N

    def __getitem__(self, rows):
        if self.at is not None and rows.stop > self.at:
            raise OSError("the disk is gone")
        self.read += rows.stop - rows.start
        return X[rows]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(kept, "ROWS", 400)
    monkeypatch.setattr("agop._files.os.fsync", lambda descriptor: None)  # no power is cut here
    monkeypatch.setattr(nystrom.Nystrom, "block_rows", property(lambda self: 100))


def stopping(text, share):
    """A progress hook that ends a fit in the pass over all rows."""
    passed = [0]

    def hear(done, total, told):
        passed[0] += text in told
        if passed[0] > share:
            raise Stop

    return hear


def same(a, b):
    np.testing.assert_array_equal(a.predict(X[:50]), b.predict(X[:50]))
    assert torch.equal(a.agop_, b.agop_)
    assert torch.equal(a.machine_.coefficients, b.machine_.coefficients)
    assert [{**e, "seconds": 0} for e in a.history_] == [{**e, "seconds": 0} for e in b.history_]


@pytest.mark.parametrize("options", [{}, {"validation": 0.1}, {"feature_points": "all", "n_iter": 1}])
def test_a_fit_goes_on_to_the_same_bits(tmp_path, options):
    source = open_blocks(X, target=Y)
    whole = RFMRegressor(**FIT | options).fit(source)
    with pytest.raises(Stop):
        RFMRegressor(**FIT | options).fit(source, checkpoint=tmp_path, progress=stopping("rows", 12))
    assert (tmp_path / "sums-0.safetensors").exists()
    told = []
    model = RFMRegressor(**FIT | options).fit(
        source, checkpoint=tmp_path, progress=lambda *one: told.append(one[2])
    )
    same(model, whole)
    assert list(tmp_path.iterdir()) == []


def test_finished_rows_are_not_read_again(tmp_path):
    whole = Ends(None)
    RFMRegressor(**FIT).fit(open_blocks(whole, target=Y))
    cut = Ends(None)
    with pytest.raises(Stop):
        RFMRegressor(**FIT).fit(
            open_blocks(cut, target=Y), checkpoint=tmp_path, progress=stopping("rows", 20)
        )
    again = Ends(None)
    iterations = []
    RFMRegressor(**FIT).fit(
        open_blocks(again, target=Y),
        checkpoint=tmp_path,
        callback=lambda index, n, entry: iterations.append(index),
    )
    assert iterations == [2]  # the two that learn were kept
    assert 1500 <= whole.read - again.read <= 2000


def test_a_source_that_fails_leaves_what_was_finished(tmp_path):
    source = Ends(None)

    told = []

    def hear(done, total, text):
        told.append("rows" in text)
        if sum(told) > 4:
            source.at = 2350  # the pass for the sums has begun

    with pytest.raises(OSError, match="the disk is gone"):
        RFMRegressor(**FIT | {"n_iter": 1}).fit(
            open_blocks(source, target=Y), checkpoint=tmp_path, progress=hear
        )
    stored = kept.SumsCheckpoint(tmp_path)
    header, _ = _store.read(stored.path, kept.KIND, kept.VERSION, "")
    assert header["row"] == 2300
    source.at = None
    model = RFMRegressor(**FIT | {"n_iter": 1}).fit(open_blocks(source, target=Y), checkpoint=tmp_path)
    same(model, RFMRegressor(**FIT | {"n_iter": 1}).fit(open_blocks(Ends(None), target=Y)))


def test_classes_and_weights_go_on_too(tmp_path):
    labels, weight = np.where(Y > 0, "yes", "no"), RNG.uniform(size=N) * (RNG.uniform(size=N) < 0.9)
    source = open_blocks(X, target=labels, weight=weight)
    with pytest.raises(Stop):
        RFMClassifier(**FIT).fit(source, checkpoint=tmp_path, progress=stopping("rows", 12))
    same(RFMClassifier(**FIT).fit(source, checkpoint=tmp_path), RFMClassifier(**FIT).fit(source))


@pytest.mark.parametrize(
    "other",
    [
        lambda: (RFMRegressor(**FIT | {"ridge": 0.5}), X, Y),
        lambda: (RFMRegressor(**FIT | {"n_centers": 50}), X, Y),
        lambda: (RFMRegressor(**FIT | {"random_state": 1}), X, Y),
        lambda: (RFMRegressor(**FIT), X, Y + 1),
        lambda: (RFMRegressor(**FIT), X[:-1], Y[:-1]),
        lambda: (RFMRegressor(**FIT | {"center_targets": False}), X, Y),
    ],
)
def test_the_sums_of_another_fit_are_not_taken(tmp_path, other):
    with pytest.raises(Stop):
        RFMRegressor(**FIT).fit(open_blocks(X, target=Y), checkpoint=tmp_path, progress=stopping("rows", 12))
    model, x, y = other()
    fresh = type(model)(**model.get_params()).fit(open_blocks(x, target=y))
    same(model.fit(open_blocks(x, target=y), checkpoint=tmp_path), fresh)


@pytest.mark.parametrize("name", [LEARNED, "sums-0.safetensors"])
def test_a_damaged_checkpoint_is_told_and_formed_anew(tmp_path, name):
    source = open_blocks(X, target=Y)
    with pytest.raises(Stop):
        RFMRegressor(**FIT).fit(source, checkpoint=tmp_path, progress=stopping("rows", 12))
    raw = bytearray((tmp_path / name).read_bytes())
    raw[-20] ^= 1
    (tmp_path / name).write_bytes(raw)
    with pytest.warns(UserWarning, match="can't be read"):
        model = RFMRegressor(**FIT).fit(source, checkpoint=tmp_path)
    same(model, RFMRegressor(**FIT).fit(source))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [(3, "checkpoint: expected the path of a folder, or None, got 3"), ("file", "checkpoint: expected a folder that can be written to")],
)  # fmt: skip
def test_what_is_no_folder_is_one_sentence(tmp_path, value, sentence):
    (tmp_path / "file").write_text("")
    value = tmp_path / value if isinstance(value, str) else value
    with pytest.raises((ValueError, TypeError), match=sentence):
        RFMRegressor(**FIT).fit(open_blocks(X, target=Y), checkpoint=value)


@pytest.fixture
def few_are_many(monkeypatch):
    for module in ("rfm_cv", "streaming", "solver"):
        monkeypatch.setattr(f"agop.machines.{module}.LARGE", 300)


def test_a_timed_search_goes_on_with_its_choice(tmp_path, few_are_many):
    """Which recursion wins by the clock is not the same twice; the sums of another metric would be lost."""
    source = open_blocks(X[:500], target=Y[:500])
    search = RFMRegressorCV(max_time=60, n_candidates=2, random_state=0, n_iter=0, cv=2, ridges=[0.1])
    with pytest.raises(Stop):
        search.fit(source, checkpoint=tmp_path, progress=stopping("fit to all", 0))
    chosen = json.loads((tmp_path / "chosen.json").read_text())["params"]
    with pytest.warns(UserWarning, match="cut off after it had chosen"):
        search.fit(source, checkpoint=tmp_path)
    assert {name: search.best_params_[name] for name in chosen} == chosen
    assert len(set(search.cv_results_["recursion"])) == 1
    assert not (tmp_path / "chosen.json").exists()
    (tmp_path / "chosen.json").write_text("{")
    search.fit(source, checkpoint=tmp_path)
    assert len(set(search.cv_results_["recursion"])) == 2


SCRIPT = """
import sys, numpy as np
from agop import RFMRegressor, open_blocks
from agop.machines import checkpoint, nystrom
checkpoint.ROWS = 400
nystrom.Nystrom.block_rows = property(lambda self: 100)
import time
X = np.load(sys.argv[1], mmap_mode="r")
slow = float(sys.argv[3])
def hear(done, total, text):
    if "rows" in text:
        print("rows", flush=True)
        time.sleep(slow)
model = RFMRegressor(solver="nystrom", n_centers=60, feature_points=300, n_iter=2, random_state=0)
model.fit(open_blocks(X[:, :-1], target=X[:, -1]), checkpoint=sys.argv[2], progress=hear)
model.save(sys.argv[2] + "/model.safetensors")
"""


@pytest.mark.slow
def test_a_killed_fit_loses_at_most_the_block_in_work(tmp_path):
    np.save(tmp_path / "x.npy", np.column_stack([X, Y]))
    folder = tmp_path / "kept"
    folder.mkdir()

    def begun(slow):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / "x.npy"), str(folder), str(slow)]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
        )

    process = begun(0.05)
    for _ in range(14):
        assert process.stdout.readline() == "rows\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    stored = Path(folder / "sums-0.safetensors")
    header, _ = _store.read(stored, kept.KIND, kept.VERSION, "")
    assert header["row"] == 1200  # of about 1,300: what is written every 400 rows
    process = begun(0)
    lines = process.communicate(timeout=120)[0].splitlines()
    assert process.returncode == 0
    assert len(lines) <= 21
    data = np.load(tmp_path / "x.npy")
    whole = RFMRegressor(**FIT).fit(open_blocks(data[:, :-1], target=data[:, -1]))
    same(RFMRegressor.load(folder / "model.safetensors"), whole)
