"""RFM over sources on disk and of dask: the same fit as in memory; predictions over a source; what is wrong with one is told."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from agop import RFMClassifier, RFMRegressor, open_blocks
from agop.machines import nystrom
from tests.sentences import one_sentence

pytest.importorskip("pyarrow")
N, D = 1500, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D))
Y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]
FRAME = pd.DataFrame(X, columns=list("abcd")).assign(y=Y)
FIT = {"solver": "nystrom", "n_centers": 80, "feature_points": 300, "n_iter": 1, "random_state": 0}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(nystrom.Nystrom, "block_rows", property(lambda self: 200))


@pytest.fixture(scope="module")
def model():
    return RFMRegressor(**FIT).fit(open_blocks(X, target=Y))


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * Y.std())


def test_files_give_the_fit_of_memory(tmp_path, model):
    for k in range(3):
        FRAME[k * 500 : (k + 1) * 500].to_parquet(tmp_path / f"{k}.parquet", row_group_size=70)
    source = open_blocks(tmp_path, target="y")
    found = RFMRegressor(**FIT).fit(source)
    assert list(found.feature_names_in_) == list("abcd")
    close(found.predict(FRAME[list("abcd")]), model.predict(X))


@pytest.mark.parametrize("threads", [1, 2])
def test_dask_forms_the_sums(model, threads, monkeypatch):
    dask = pytest.importorskip("dask")
    da = pytest.importorskip("dask.array")
    read = []
    source = open_blocks(da.from_array(X, chunks=(400, D)), target=da.from_array(Y, chunks=400))
    blocks = type(source).read
    monkeypatch.setattr(type(source), "read", lambda self, *a: read.append(a) or blocks(self, *a))
    with dask.config.set(scheduler="threads", num_workers=threads):
        found = RFMRegressor(**FIT).fit(source)
        again = RFMRegressor(**FIT).fit(source)
    close(found.predict(X), model.predict(X))
    np.testing.assert_array_equal(found.predict(X), again.predict(X))
    assert sum(rows != 1 for rows, *_ in read) == 2  # the statistics of both; the sums are the scheduler's


SCRIPT = """
import dask, dask.dataframe as dd, numpy as np, pandas as pd
from agop import RFMRegressor, open_blocks
if __name__ == "__main__":
    X = np.random.default_rng(0).normal(size=(1500, 4))
    frame = pd.DataFrame(X, columns=list("abcd")).assign(y=np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2])
    fit = {"solver": "nystrom", "n_centers": 80, "feature_points": 300, "n_iter": 1, "random_state": 0}
    alone = RFMRegressor(**fit).fit(open_blocks(frame, target="y"))
    with dask.config.set(scheduler="processes", num_workers=2):
        model = RFMRegressor(**fit).fit(open_blocks(dd.from_pandas(frame, npartitions=3), target="y"))
    rows = frame[list("abcd")]
    print(np.abs(model.predict(rows) - alone.predict(rows)).max())
"""


@pytest.mark.slow
def test_dask_forms_the_sums_in_processes(tmp_path):
    """Apart from these tests, whose run-time checks can't be sent to another process."""
    pytest.importorskip("dask.dataframe")
    (tmp_path / "fit.py").write_text(SCRIPT)
    run = subprocess.run([sys.executable, tmp_path / "fit.py"], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 1e-6


def test_predictions_over_a_source_are_those_of_its_rows(tmp_path, model, monkeypatch):
    monkeypatch.setattr("agop.machines._in_blocks._BYTES", 8 * D * 70)
    np.testing.assert_allclose(model.predict(open_blocks(X)), model.predict(X), rtol=0, atol=1e-12)
    tensors = model.predict(open_blocks(torch.tensor(X)))
    assert isinstance(tensors, torch.Tensor)
    classes = np.where(Y > 0, "up", "down")
    classifier = RFMClassifier(**FIT).fit(open_blocks(X, target=classes))
    assert (classifier.predict(open_blocks(X)) == classifier.predict(X)).all()
    np.testing.assert_allclose(
        classifier.predict_proba(open_blocks(X)), classifier.predict_proba(X), atol=1e-12
    )
    assert classifier.decision_function(open_blocks(X)).shape == (N,)
    FRAME.to_parquet(tmp_path / "t.parquet")
    named = RFMRegressor(**FIT).fit(open_blocks(tmp_path / "t.parquet", target="y"))
    found = named.predict(open_blocks(tmp_path / "t.parquet", columns=list("abcd")))
    np.testing.assert_allclose(found, named.predict(FRAME[list("abcd")]), rtol=0, atol=1e-12)
    assert named.score(open_blocks(tmp_path / "t.parquet", columns=list("abcd")), Y) > 0.5


def changed(values, place, value):
    values = values.copy()
    values[place] = value
    return values


@pytest.mark.parametrize(
    ("source", "options", "sentence"),
    [
        (lambda: open_blocks(changed(X, (1140, 1), np.inf), target=Y), {}, r"got infinity in row 1,140, column 1"),
        (lambda: open_blocks(X, target=changed(Y, 1140, np.nan)), {}, r"y: expected finite values, got NaN or infinity in row 1,140"),
        (lambda: open_blocks(X[:50], target=Y[:50]), {}, r"n_centers: expected at most 50, the rows there are, got 80"),
        (lambda: open_blocks(X), {}, "y: expected one target per row of X, got None"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_source_is_one_sentence(source, options, sentence):
    made = source()
    with one_sentence(match=sentence):
        RFMRegressor(**FIT | options).fit(made)


def test_gaps_far_behind_are_gaps():
    found = RFMRegressor(**FIT).fit(open_blocks(changed(X, (1140, 1), np.nan), target=Y))
    assert list(found.encoded_feature_names_)[-1] == "x1 is missing"


@pytest.mark.filterwarnings("ignore")
def test_equal_rows_and_equal_centres_are_one_centre():
    constant = RFMRegressor(**FIT).fit(open_blocks(np.ones((N, D)), target=Y))
    close(constant.predict(np.ones((2, D))), np.full(2, Y.mean()))
    twice = RFMRegressor(**FIT | {"n_iter": 0}).fit(
        open_blocks(X[np.arange(N) % 60], target=Y[np.arange(N) % 60])
    )
    assert twice.history_[-1]["n_centers"] == 60
    once = RFMRegressor(kernel="laplace", n_iter=0, bandwidth=twice.bandwidth_, solver="cholesky").fit(
        X[:60], Y[:60], sample_weight=np.full(60, N / 60)
    )
    close(twice.predict(X[:60]), once.predict(X[:60]))
