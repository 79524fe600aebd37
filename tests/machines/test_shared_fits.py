"""Fits that two ranks share equal those of one process."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from agop import (
    ConvRFMClassifier,
    DeepConvRFMClassifier,
    DeepRFMClassifier,
    PolynomialClassifier,
    RFMClassifier,
    RFMRegressor,
    open_blocks,
)
from tests.launching import start, well
from tests.tolerances import ITERATIVE, relative_error

DATA = """
import numpy as np
rng = np.random.default_rng(0)
X = rng.normal(size=(120, 6))
y = X[:, 0] * X[:, 1] + 0.1 * X[:, 2]
labels = (y > 0).astype(int)
weight = rng.uniform(0.5, 2, size=120)
"""
CASES = """
cases = {}
for solver in ("cholesky", "auto", "cg"):
    cases["regressor " + solver] = (RFMRegressor(bandwidth=3.0, n_iter=2, solver=solver, tolerance=1e-9, random_state=0), (X, y))
cases["cg, weighted"] = (RFMRegressor(bandwidth=3.0, n_iter=1, solver="cg", tolerance=1e-9, random_state=0), (X, y, weight))
cases["cg, deep"] = (DeepRFMClassifier(n_layers=2, width=32, solver="cg", tolerance=1e-9, random_state=0), (X, labels))
few = dict(bandwidth=3.0, n_iter=1, solver="nystrom", n_centers=40, random_state=0)
cases["centres"] = (RFMRegressor(**few), (X, y, weight))
cases["centres throughout"] = (RFMRegressor(feature_points="all", **few), (X, y, weight))
source = open_blocks(X, target=labels, weight=weight)
cases["a source"] = (RFMClassifier(class_weight="balanced", validation=0.2, **few), (source,))
cases["classifier"] = (RFMClassifier(bandwidth=3.0, n_iter=2), (X, labels))
cases["weighted"] = (RFMRegressor(bandwidth=3.0, n_iter=2), (X, y, weight))
cases["validated"] = (RFMRegressor(bandwidth=[2.0, "median"], n_iter=2, validation=0.2, random_state=0), (X, y))
cases["deep"] = (DeepRFMClassifier(n_layers=3, width=32, random_state=0), (X, labels))
cases["polynomial"] = (PolynomialClassifier(), (X, labels, weight))
tiles = dict(patch_size=2, image_shape=(2, 3), random_state=0)
cases["images"] = (ConvRFMClassifier(depth=1, n_iter=2, n_agop=50, **tiles), (X, labels, weight))
cases["stages of images"] = (DeepConvRFMClassifier(n_layers=1, width=4, **tiles), (X, labels))
cases["wide"] = (DeepRFMClassifier(n_layers=2, width=300, random_state=0), (X, labels))
"""
PROGRAM = (
    "from agop import open_blocks\nfrom agop import ConvRFMClassifier, DeepConvRFMClassifier, DeepRFMClassifier, PolynomialClassifier\n"
    + "from agop import RFMClassifier, RFMRegressor\nfrom agop.launch import launched\n"
    + "import json, os, torch\n"
    + DATA
    + CASES
    + """
results = {}

def attempt(work):
    try:
        return work()
    except ValueError as error:
        return f"{type(error).__name__} {error}"

with launched() as ranks:
    for name, (estimator, given) in cases.items():
        estimator.fit(*given)
        values = getattr(estimator, "decision_function", estimator.predict)(X)
        results[name] = {"values": values.tolist(), "agop": estimator.agop_.tolist()}
    results["seed"] = RFMRegressor(n_iter=0).fit(X, y).seed_
    results["data"] = attempt(lambda: RFMRegressor().fit(X + ranks.rank * (X == X[3]), y))
    results["none"] = attempt(lambda: RFMRegressor().fit(X[: 0 if ranks.rank else None], y))
    results["parameters"] = attempt(lambda: RFMRegressor(ridge=1e-3 + ranks.rank).fit(X, y))
    results["memory"] = attempt(lambda: RFMRegressor(max_memory=1000 if ranks.rank else None).fit(X, y))
    RFMRegressor(n_iter=0, verbose=True).fit(X, y)  # rank 0 draws the bar
    results["again"] = RFMRegressor(n_iter=0).fit(X, y).score(X, y) > 0
print(json.dumps(results))
"""
)


@pytest.fixture(scope="module")
def done():
    return well(start(PROGRAM))


@pytest.fixture(scope="module")
def shared(done):
    return [json.loads(process.out) for process in done]


@pytest.fixture(scope="module")
def said(done):
    return [process.err for process in done]


def expected():
    names = {
        "np": np,
        "ConvRFMClassifier": ConvRFMClassifier,
        "DeepConvRFMClassifier": DeepConvRFMClassifier,
        "RFMRegressor": RFMRegressor,
        "RFMClassifier": RFMClassifier,
        "DeepRFMClassifier": DeepRFMClassifier,
        "PolynomialClassifier": PolynomialClassifier,
        "open_blocks": open_blocks,
    }
    exec(DATA + CASES, names)
    return names["X"], names["cases"]


X, ALL = expected()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.slow
def test_two_ranks_equal_one(shared, name):
    estimator, given = ALL[name]
    estimator.fit(*given)
    values = torch.as_tensor(getattr(estimator, "decision_function", estimator.predict)(X))
    for seen in shared:
        assert relative_error(torch.tensor(seen[name]["values"], dtype=torch.float64), values) < ITERATIVE
        assert (
            relative_error(torch.tensor(seen[name]["agop"], dtype=torch.float64), estimator.agop_) < ITERATIVE
        )


def test_all_ranks_have_the_same_numbers(shared):
    assert shared[0] == shared[1]


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        (
            "data",
            "RanksError X, y: expected the same on all 2 ranks, got another on rank 1; pass the same samples",
        ),
        ("none", "RanksError rank 1: "),
        ("parameters", "RanksError parameters: expected the same on all 2 ranks"),
        ("memory", "RanksError rank 1: X: expected a problem that fits into 1000 B"),
    ],
)
def test_what_cannot_be_shared_is_one_sentence_on_every_rank(shared, what, sentence):
    assert shared[0][what].startswith(sentence)
    assert "\n" not in shared[0][what]


def test_only_rank_0_draws_a_bar(said):
    assert said[0]
    assert not said[1]


def test_after_a_refusal_the_ranks_go_on(shared):
    assert shared[0]["again"]
