"""Fits to rows in blocks equal those to the same rows in memory."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import agop
from agop.machines import streaming
from agop.machines.columns import Columns
from agop.machines.moments import Moments
from tests.tolerances import MERGE, relative_error

RNG = np.random.default_rng(0)
N = 400
X = RNG.normal(size=(N, 4)) * [1, 1e3, 1e-3, 1] + [0, 1e6, 5, 0]
X[:, 3] = 7.0
Y = np.sin(2 * X[:, 0]) + (X[:, 1] - 1e6) / 1e3 + 0.1 * RNG.normal(size=N)
NEW = X[:50] + np.array([0.1, 10, 1e-4, 0])
LABELS = np.digitize(Y, [-0.5, 0.5])
WEIGHT = RNG.integers(0, 4, N).astype(float)
GAPS = np.where(RNG.random(X.shape) < 0.1, np.nan, X)
FRAME = pd.DataFrame(GAPS[:, :2], columns=["a", "b"]).assign(
    town=pd.Categorical(np.array(["Rome", "Bern", None, "Oslo"], dtype=object)[RNG.integers(0, 4, N)])
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of a few rows, in the pass for statistics and in that for the sums."""
    monkeypatch.setattr(streaming, "_PASS_BYTES", 8 * 4 * 37)
    monkeypatch.setattr("agop.machines.nystrom.Nystrom.block_rows", 53)


def model(cls=agop.RFMRegressor, **options):
    return cls(**{"solver": "nystrom", "n_centers": 60, "n_iter": 1, "random_state": 0, **options})


def same(streamed, held, new=NEW):
    for name in ("column_means_", "column_scales_", "target_means_", "target_scales_"):
        a, b = getattr(streamed, name), getattr(held, name)
        assert relative_error(a, b) < 1e-10, name
    for name in ("missing_indicator_", "categories_", "dtype_", "n_features_in_"):
        assert getattr(streamed, name) == getattr(held, name), name
    kind = "predict_proba" if hasattr(held, "classes_") else "predict"
    a, b = (np.asarray(getattr(one, kind)(new)) for one in (streamed, held))
    assert np.abs(a - b).max() < 1e-6 * max(1.0, np.abs(b).max())


@pytest.mark.parametrize(
    ("features", "targets", "weight"),
    [(X, Y, None), (X, Y, WEIGHT), (X, np.c_[Y, 1e6 + 1e-3 * Y**2], WEIGHT), (GAPS, Y, WEIGHT), (X.astype(np.float32), Y, None),
     (FRAME, Y, WEIGHT)],
    ids=["plain", "weighted", "two outputs", "gaps", "float32", "frame"],
)  # fmt: skip
@pytest.mark.parametrize(
    "options", [{}, {"scaling": "none"}, {"scaling": "common", "center_targets": False}], ids=str
)
def test_regression(features, targets, weight, options):
    held = model(**options).fit(features, targets, weight)
    streamed = model(**options).fit(agop.open_blocks(features, target=targets, weight=weight))
    new = FRAME[:50] if isinstance(features, pd.DataFrame) else NEW.astype(features.dtype)
    same(streamed, held, new)
    assert streamed.history_[-1]["rows"] == held.history_[-1]["rows"]


@pytest.mark.parametrize(
    "labels",
    [LABELS, np.array(["x", "yy", "zzz"])[LABELS], np.array(["x", "yy", "zzz"], dtype=object)[LABELS]],
)
@pytest.mark.parametrize(
    "options", [{}, {"class_weight": "balanced"}, {"class_weight": None, "kernel": "relu-ntk"}], ids=str
)
def test_classification(labels, options):
    held = model(agop.RFMClassifier, **options).fit(X, labels, WEIGHT)
    streamed = model(agop.RFMClassifier, **options).fit(agop.open_blocks(X, target=labels, weight=WEIGHT))
    same(streamed, held)
    assert np.array_equal(streamed.classes_, held.classes_)
    assert streamed.predict(NEW).dtype == held.predict(NEW).dtype


def test_memory_maps_tensors_and_what_can_be_sliced(tmp_path):
    held = model().fit(X, Y)
    np.save(tmp_path / "X.npy", X)

    class Sliced:
        def __len__(self):
            return N

        def __getitem__(self, rows):
            return X[rows]

    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    for source in (mapped, Sliced()):
        streamed = model().fit(source, Y)
        same(streamed, held)
        assert not streamed.history_[-1].get("held")
    same(model().fit(agop.open_blocks(torch.from_numpy(X), target=torch.from_numpy(Y))), held)


def test_a_source_is_read_into_memory_for_other_solvers():
    source = agop.open_blocks(FRAME, target=Y)
    assert model(solver="auto", n_centers="auto").fit(source).history_[0]["solver"] == "cholesky"
    with pytest.raises(ValueError, match="X: expected a source with its own targets"):
        model().fit(source, Y)
    with pytest.raises(ValueError, match="requires y to be passed"):
        model().fit(agop.open_blocks(X))


def test_held_out_rows_are_not_seen():
    source = agop.open_blocks(X, target=Y)
    streamed = model(validation=0.25).fit(source)
    assert streamed.history_[streamed.best_iteration_]["rows"] == 300
    assert "validation_score" in streamed.history_[0]
    given = model().fit(source, X_val=NEW, y_val=Y[:50])
    assert given.history_[given.best_iteration_]["rows"] == N


def test_categories_by_position():
    codes = X.copy()
    codes[:, 3] = RNG.integers(0, 3, N)
    options = {"categorical_features": [3]}
    same(model(**options).fit(agop.open_blocks(codes, target=Y)), model(**options).fit(codes, Y), codes[:50])


def test_goes_on_with_the_same_source_only():
    source = agop.open_blocks(X, target=Y)
    going = model(warm_start=True).fit(source)
    going.set_params(n_iter=2).fit(source)
    assert np.array_equal(going.predict(NEW), model(n_iter=2).fit(source).predict(NEW))
    with pytest.raises(
        ValueError, match="X, y: expected the training data of the fit that warm_start=True continues"
    ):
        going.fit(agop.open_blocks(X + 1, target=Y))


def test_one_class_and_no_weight():
    with pytest.raises(ValueError, match="y: expected at least 2 classes, got 1 class"):
        model(agop.RFMClassifier).fit(agop.open_blocks(X, target=np.zeros(N, dtype=int)))
    with pytest.raises(ValueError, match="sample_weight: expected some positive weight, got none"):
        model().fit(agop.open_blocks(X, target=Y, weight=np.zeros(N)))


def test_moments_merge():
    x, weight = torch.from_numpy(GAPS), torch.from_numpy(WEIGHT + 0.1)
    x[:60, 2] = torch.nan  # a part without any entry
    whole = Moments.of(x, weight)
    parts = [Moments.of(x[rows], weight[rows]) for rows in (slice(0, 50), slice(50, 51), slice(51, N))]
    merged = parts[0].merge(parts[1]).merge(parts[2])
    for name in ("total", "weight", "mean", "spread", "largest", "gaps"):
        assert relative_error(getattr(merged, name), getattr(whole, name)) < MERGE, name
    columns = Columns.of(x, weight, "columns")
    assert relative_error(whole.mean, columns.means) < MERGE
    assert relative_error(whole.deviation[:3], columns.scales[:3]) < 1e-10
    assert float(merged.spread[3]) == 0.0  # a constant column


@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1e160, 1e300])
def test_units_of_columns_and_targets_do_not_matter_at_any_size(scale):
    """Squares of such numbers are 0 or infinite: columns were divided by infinity, targets were NaN, without a word."""
    plain = model().fit(agop.open_blocks(X, target=Y))
    other = model().fit(agop.open_blocks(X * scale, target=Y * scale))
    expected = torch.from_numpy(plain.predict(NEW))
    assert relative_error(torch.from_numpy(other.predict(NEW * scale) / scale), expected) < 1e-6


def test_an_update_from_residuals_is_refused_before_anything_is_done():
    told = []
    with pytest.raises(ValueError, match=r"update: expected 'agop' with feature_points=\"all\""):
        model(update="fact", feature_points="all").fit(X, Y, progress=lambda *one: told.append(one))
    assert not told


def test_regions_are_for_rows_in_memory(monkeypatch):
    monkeypatch.setattr("agop.machines.streaming.LARGE", 100)
    told = []
    source = agop.open_blocks(X, target=Y)
    with pytest.raises(ValueError, match="regions: expected None with rows in blocks"):
        agop.RFMRegressor(regions=50).fit(source, progress=lambda *one: told.append(one))
    assert not told


def test_centres_are_stored_as_they_are(tmp_path):
    fitted = model().fit(X, Y)
    with pytest.raises(ValueError, match="centers: expected None for a fit on centres, got 'float16'"):
        fitted.save(tmp_path / "m", centers="float16")
    assert not (tmp_path / "m").exists()


# ---- searches of many rows


@pytest.fixture
def few_are_many(monkeypatch):
    for module in ("rfm_cv", "streaming", "solver"):
        monkeypatch.setattr(f"agop.machines.{module}.LARGE", 200)


SPACE = {"kernel": ["laplace"], "bandwidth_factor": [4.0], "learning_ridge": [0.1]}


def search(cls=agop.RFMRegressorCV, **options):
    return cls(SPACE, **{"n_candidates": 1, "n_iter": 2, "max_rows": 90, "random_state": 0, **options})


@pytest.mark.usefixtures("few_are_many")
def test_a_search_of_many_rows_chooses_on_some_and_fits_all_once():
    held = search().fit(X, Y, WEIGHT + 0.5)
    assert len(held.estimators_) == 1
    last = held.best_estimator_.history_[-1]
    assert (last["solver"], last["rows"]) == ("nystrom", N)
    assert held.best_params_["ridge"] == held.best_estimator_.ridge == last["ridge"]
    assert set(last["ridge_errors"]) == {str(ridge) for ridge in held.ridges}
    assert int(np.isfinite(held.oof_predictions_).sum()) == 90
    assert len(held.oof_predictions_) == N
    assert held.score(X, Y) > 0.9
    assert held.feature_importances_.sum() == pytest.approx(1)


@pytest.mark.usefixtures("few_are_many")
def test_so_from_a_source(tmp_path):
    streamed = search(agop.RFMClassifierCV).fit(agop.open_blocks(X, target=LABELS, weight=WEIGHT))
    assert streamed.best_estimator_.history_[-1]["rows"] == int((WEIGHT > 0).sum())
    assert streamed.score(X, LABELS) > 0.7
    streamed.save(tmp_path / "model")
    loaded = agop.RFMClassifierCV.load(tmp_path / "model")
    assert np.array_equal(loaded.predict_proba(NEW), streamed.predict_proba(NEW))
    few = agop.open_blocks(X[:150], target=LABELS[:150])
    assert search(agop.RFMClassifierCV).fit(few).best_estimator_.history_[-1]["solver"] == "cholesky"
