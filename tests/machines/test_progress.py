"""What a fit tells while it runs, and the bar that `verbose=True` draws."""

from __future__ import annotations

import functools
import io

import numpy as np
import pytest
from rich.console import Console
from sklearn.base import clone

import agop
from agop import _progress
from agop._progress import Bar
from agop.kernels import agop as kernel_agop
from agop.linalg import ridge
from agop.machines.progress import predicted_operations

MODELS = {
    "iteration": agop.RFMClassifier(bandwidth=3.0, n_iter=2),
    "fit": agop.RFMRegressor(bandwidth=[3.0, 5.0], n_iter=2, validation=0.3, random_state=0),
    "layer": agop.DeepRFMClassifier(n_layers=3, width=16, random_state=0),
}
models = pytest.mark.parametrize("unit", MODELS)


@models
def test_it_begins_at_nothing_never_goes_back_and_ends_with_everything(unit, blobs):
    told = []
    model = clone(MODELS[unit]).fit(*blobs, progress=lambda *state: told.append(state))
    done, totals, texts = zip(*told, strict=True)
    assert done[0] == 0
    assert (np.diff(done) >= 0).all()
    assert done[-1] == pytest.approx(totals[-1])
    assert len(set(totals)) == 1
    count = len(model.history_)
    assert texts[0] == f"{unit} 1/{count}: kernel"
    for number in range(count):
        assert sum(text.startswith(f"{unit} {number + 1}/{count}: ") for text in texts) >= 4
    assert {text.split(": ")[1] for text in texts} >= {"kernel", "factor", "solve", "agop"}


def test_a_resumed_fit_begins_where_it_was(blobs):
    told = []
    model = agop.DeepRFMClassifier(n_layers=2, width=16, random_state=0, warm_start=True).fit(*blobs)
    model.set_params(n_layers=4).fit(*blobs, progress=lambda *state: told.append(state))
    assert told[0][0] / told[0][1] > 0.4
    assert told[0][2] == "layer 3/4: kernel"


def test_a_large_factorisation_is_told_several_times(blobs, monkeypatch):
    monkeypatch.setattr(ridge, "cholesky_", functools.partial(ridge.cholesky_, block=20))
    told = []
    agop.RFMClassifier(n_iter=0).fit(*blobs, progress=lambda *state: told.append(state))
    steps = [done for done, _, text in told if text.endswith("factor")]
    assert len(steps) == 6  # the kernel is there, then five of the six blocks of 120 rows
    assert (np.diff(steps) > 0).all()


@models
@pytest.mark.parametrize("verbose", [False, True])
def test_verbose_writes_to_standard_error_only(unit, verbose, blobs, capfd):
    clone(MODELS[unit]).set_params(verbose=verbose).fit(*blobs)
    out, err = capfd.readouterr()
    assert out == ""
    assert ("100 %" in err and "elapsed" in err) if verbose else err == ""


def test_a_terminal_sees_a_bar_that_is_closed_when_the_fit_is_stopped():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)

    def stopped():
        with Bar(console) as bar:
            bar(1.0, 4.0, "layer 1/2: factor")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    shown = stream.getvalue()
    for part in ("layer 1/2: factor", "25%", "elapsed", "remaining"):
        assert part in shown
    assert shown.rstrip().endswith("\x1b[?25h")  # the cursor is back


def test_lines_come_at_tenths_and_not_too_often(monkeypatch):
    stream, clock = io.StringIO(), [0.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: clock[0])
    with Bar(Console(file=stream, width=100)) as bar:
        for percent in range(101):
            clock[0] = percent * 0.6  # a minute in all
            bar(percent, 100, "layer 1/1: agop")
    lines = stream.getvalue().splitlines()
    assert lines[0] == " 10 %  layer 1/1: agop, 0:00:06 elapsed, about 0:00:54 remaining"
    assert lines[-1] == "100 %  layer 1/1: agop, 0:01:00 elapsed"
    assert len(lines) == 10
    stream.truncate(0)
    with Bar(Console(file=stream, width=100)) as bar:  # the clock stands still: only the end is worth a line
        for percent in range(101):
            bar(percent, 100, "layer 1/1: agop")
    assert stream.getvalue().count("elapsed") == 1


def test_predicted_operations_count_the_leading_terms():
    few, many = (predicted_operations(n, 20, 3) for n in (10_000, 20_000))
    assert many["factor"] == 8 * few["factor"] == pytest.approx(20_000**3 / 3)
    assert many["kernel"] == 4 * few["kernel"]
    assert "agop" not in predicted_operations(100, 20, 3, learns=False)
    assert "features" in predicted_operations(100, 20, 3, width=5)


@pytest.mark.parametrize("outputs", [1, 400], ids=["direct", "gram"])
def test_long_steps_are_told_many_times(outputs, monkeypatch):
    """Kernel matrix and AGOP by rows: one fit of 1,000 points, with small blocks."""
    monkeypatch.setattr(kernel_agop, "rows_per_block", lambda *_: 200)
    X = np.random.default_rng(0).normal(size=(1000, 5))
    told = []
    model = agop.RFMRegressor(bandwidth=3.0, n_iter=1)
    model.fit(X, np.repeat(X[:, :1], outputs, 1), progress=lambda *state: told.append(state))
    assert model.history_[0]["agop_route"] == ("direct" if outputs == 1 else "gram")
    for step, at_least in (("kernel", 4), ("agop", 3)):
        assert sum(text == f"iteration 1/2: {step}" for _, _, text in told) >= at_least
    done = [state[0] for state in told]
    assert (np.diff(done) >= 0).all()


def test_a_solver_without_a_matrix_is_told_by_its_residual(blobs):
    told = []
    model = agop.RFMClassifier(bandwidth=3.0, n_iter=1, solver="cg", max_rank=5)
    model.fit(*blobs, progress=lambda *state: told.append(state))
    assert sum(text == "iteration 1/2: solve" for _, _, text in told) > 3
    assert told[-1][0] == pytest.approx(told[-1][1])
