"""RFM in regions: the tree, its shares, the models in its leaves, and their files."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.utils.estimator_checks import parametrize_with_checks

import agop
from agop import _store
from agop.machines.persistence import FORMAT_VERSION
from agop.machines.regions import RegionTree

RNG = np.random.default_rng(0)
N, D, MOST = 400, 4, 60
X = RNG.normal(size=(N, D))
NEW = RNG.normal(size=(200, D))


def truth(x):
    """Far up the first column it waves along the second, far down along the third."""
    return 2 * x[:, 0] + np.where(x[:, 0] > 0, np.sin(3 * x[:, 1]), np.sin(3 * x[:, 2]))


Y = truth(X) + 0.05 * RNG.normal(size=N)
LABELS = np.array(["low", "mid", "high"])[np.digitize(Y, [-1, 1])]


def model(cls=agop.RFMRegressor, **options):
    return cls(**{"regions": MOST, "n_iter": 1, "random_state": 0, **options})


@pytest.fixture(scope="module")
def fitted():
    return model().fit(X, Y)


def test_regions_hold_at_most_so_many_rows_and_all_of_them(fitted):
    sizes = [len(one.machine_.centers) for one in fitted.region_models_]
    assert sum(sizes) == N
    assert max(sizes) <= MOST
    assert len(sizes) == fitted.machine_.tree.count
    assert sum(fitted.machine_.masses) == pytest.approx(1)


def test_shares_are_products_of_sides(fitted):
    tree, x = fitted.machine_.tree, torch.from_numpy(NEW)
    found = tree.shares(x)
    expected = torch.zeros_like(found)
    for row, point in enumerate(x):

        def walk(node, share, row=row, point=point):
            if node < 0:
                expected[row, -1 - node] = share
                return
            along = float(point @ tree.directions[node] - tree.thresholds[node]) / float(tree.widths[node])
            right = 1 / (1 + math.exp(-along)) if along > -700 else 0.0
            right = 0.0 if right < 0.01 else 1.0 if right > 0.99 else right
            for child, side in zip(tree.children[node], (1 - right, right), strict=True):
                if side:
                    walk(child, share * side)

        walk(0, 1.0)
    assert torch.allclose(found, expected, rtol=1e-10)
    assert torch.allclose(found.sum(1), torch.ones(len(x), dtype=torch.float64), rtol=1e-12)


def test_predictions_are_the_average_of_the_models(fitted):
    shares = fitted.region_shares(NEW)
    each = np.stack([one.predict(NEW) for one in fitted.region_models_], 1)
    np.testing.assert_allclose(fitted.predict(NEW), (shares * each).sum(1), rtol=1e-10)


def test_each_model_is_an_rfm_of_its_rows_alone(fitted):
    """In columns and targets scaled as all rows are."""
    tree, one = fitted.machine_.tree, fitted.region_models_[0]
    place = (X - fitted.column_means_.numpy()) / fitted.column_scales_.numpy()
    rows = np.array([_region(tree, torch.from_numpy(point)) == 0 for point in place])
    alone = agop.RFMRegressor(n_iter=1, scaling="none", center_targets=False)
    target = (Y[rows] - float(fitted.target_means_)) / float(fitted.target_scales_)
    alone.fit(place[rows], target)
    np.testing.assert_allclose(
        one.agop_.numpy(), alone.agop_.numpy(), rtol=1e-6, atol=1e-9 * float(alone.agop_.abs().max())
    )


def _region(tree, point):
    node = 0
    while node >= 0:
        node = tree.children[node][int(point @ tree.directions[node] > tree.thresholds[node])]
    return -1 - node


def test_where_regions_differ_they_win():
    x, new = np.random.default_rng(1).uniform(-1, 1, size=(2, 1000, 8))

    def target(x):
        return 3 * np.tanh(10 * x[:, 0]) + np.where(x[:, 0] > 0, np.sin(6 * x[:, 1]), np.sin(6 * x[:, 2]))

    options = {"power": 0.5, "ridge": 0.01, "random_state": 0}
    one, many = (agop.RFMRegressor(regions=most, **options).fit(x, target(x)) for most in (None, 500))
    errors = [np.square(m.predict(new) - target(new)).mean() for m in (one, many)]
    assert errors[1] < 0.5 * errors[0]
    far = many.region_models_[0].feature_importances_, many.region_models_[1].feature_importances_
    assert {int(shares[1:].argmax()) + 1 for shares in far} == {1, 2}


@pytest.mark.parametrize("seed", [0, 1])
def test_neither_order_nor_units_nor_weights_of_one_size_matter(fitted, seed):
    order = np.random.default_rng(seed).permutation(N)
    other = model(ridge=0.3).fit(X[order], Y[order], np.full(N, 3.0))
    np.testing.assert_allclose(other.predict(NEW), fitted.predict(NEW), rtol=1e-6, atol=1e-8)
    units, offset = np.array([1e6, 1e-6, 3, 1]), np.array([0, 5, -2, 1])
    other = model().fit(X * units + offset, 1e3 * Y + 7)
    np.testing.assert_allclose(
        (other.predict(NEW * units + offset) - 7) / 1e3, fitted.predict(NEW), rtol=1e-5, atol=1e-7
    )


def test_rows_of_weight_zero_are_not_there(fitted):
    more = np.r_[X, RNG.normal(size=(50, D))]
    weight = np.r_[np.ones(N), np.zeros(50)]
    other = model().fit(more, np.r_[Y, np.zeros(50)], weight)
    np.testing.assert_allclose(other.predict(NEW), fitted.predict(NEW), rtol=1e-8, atol=1e-10)


def test_a_region_for_all_is_the_plain_fit():
    one, plain = model(regions=N).fit(X, Y), model(regions=None).fit(X, Y)
    assert len(one.region_models_) == 1
    np.testing.assert_array_equal(one.predict(NEW), plain.predict(NEW))
    assert torch.allclose(one.predictor_agop_, plain.predictor_agop_)
    np.testing.assert_allclose(one.feature_importances_, plain.feature_importances_)


def test_importances_are_those_of_the_regions_by_their_weight(fitted):
    shares = fitted.feature_importances_
    assert shares.sum() == pytest.approx(1)
    assert shares[3] < 0.05
    matrix = sum(
        m * one.predictor_agop_ for m, one in zip(fitted.machine_.masses, fitted.region_models_, strict=True)
    )
    assert torch.allclose(fitted.predictor_agop_, matrix)
    assert {entry["region"] for entry in fitted.history_} == set(range(len(fitted.region_models_)))
    controlled = model(importance_control=1).fit(X, Y).importance_control_
    assert controlled.shape == (1, D)
    assert controlled.max() < shares[:3].min()


def test_classes_and_their_probabilities(tmp_path):
    fitted = model(agop.RFMClassifier).fit(X, LABELS)
    shares = fitted.predict_proba(NEW)
    assert shares.sum(1) == pytest.approx(np.ones(len(NEW)))
    right = np.array(["low", "mid", "high"])[np.digitize(truth(NEW), [-1, 1])]
    assert fitted.score(NEW, right) > 0.7
    fitted.save(tmp_path / "m")
    again = agop.RFMClassifier.load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict_proba(NEW), shares)


def test_frames_with_categories_and_gaps():
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame["town"] = pd.Categorical(np.array(["Rome", "Bern", "Oslo"])[RNG.integers(0, 3, N)])
    frame.loc[::9, "d"] = np.nan
    fitted = model(categorical_features="from_dtype").fit(frame, Y)
    assert fitted.score(frame, Y) > 0.5
    assert len(fitted.feature_importances_) == 5


def test_columns_of_which_most_rows_have_one_value():
    rare = (RNG.random((300, 5)) < 0.1).astype(float)
    fitted = model(regions=40).fit(rare, rare[:, 0] - rare[:, 1])
    assert np.isfinite(fitted.predict(rare)).all()
    equal = model().fit(np.ones((100, 2)), np.arange(100.0))
    assert len(equal.region_models_) == 1
    assert equal.predict(np.ones((1, 2))) == pytest.approx(np.array([49.5]))


def test_what_was_saved_predicts_the_same_and_can_be_read(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    again = agop.RFMRegressor.load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict(NEW), fitted.predict(NEW))
    assert torch.equal(again.predictor_agop_, fitted.predictor_agop_)
    np.testing.assert_array_equal(again.region_shares(NEW), fitted.region_shares(NEW))


@pytest.mark.parametrize(
    "change",
    [
        lambda h, t: h["regions"]["children"].pop(),
        lambda h, t: h["regions"]["children"].__setitem__(0, [0, 0]),
        lambda h, t: h["regions"]["children"].__setitem__(1, ["1", 2]),
        lambda h, t: h["regions"]["members"].pop(),
        lambda h, t: h["regions"]["members"].__setitem__(0, 3),
        lambda h, t: h["regions"]["members"][0].__setitem__("class", "RFMClassifier"),
        lambda h, t: h["regions"]["masses"].__setitem__(0, 2.0),
        lambda h, t: t["tree.widths"].mul_(0),
        lambda h, t: t["tree.directions"].fill_(math.nan),
        lambda h, t: t.pop("tree.thresholds"),
        lambda h, t: t.__setitem__("0.agop", t["0.agop"][:2]),
        lambda h, t: t.__setitem__("99.agop", t["0.agop"]),
        lambda h, t: t.__setitem__("column_means_", t["column_means_"][:1]),
        lambda h, t: h.pop("regions"),
    ],
)  # fmt: skip
def test_a_file_that_makes_no_tree_is_one_sentence(fitted, tmp_path, change):
    fitted.save(tmp_path / "m")
    header, tensors = _store.read(tmp_path / "m", "estimator", FORMAT_VERSION, "")
    header.pop("kind", None), header.pop("version", None)
    change(header, tensors)
    _store.write(tmp_path / "m", "estimator", FORMAT_VERSION, header, tensors)
    with pytest.raises(ValueError, match="path: expected a complete file"):
        agop.RFMRegressor.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"validation": 0.2}, "regions: expected None with validation samples, got 60"),
        ({"warm_start": True}, "regions: expected None with warm_start=True, got 60"),
        ({"solver": "nystrom"}, 'regions: expected None with solver="nystrom", got 60'),
        ({"regions": 3}, "'regions' parameter"),
    ],
)
def test_what_regions_cannot_be_combined_with_is_one_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        model(**options).fit(X, Y)


def test_a_fit_that_is_stopped_leaves_nothing():
    class Stop(Exception):
        pass

    def hear(done, total, text):
        if text.startswith("region 2"):
            raise Stop

    one = model()
    with pytest.raises(Stop):
        one.fit(X, Y, progress=hear)
    assert not hasattr(one, "machine_")
    with pytest.raises(AttributeError, match="region_shares is there with regions="):
        model(regions=None).fit(X, Y).region_shares(X)


def test_a_tree_of_one_region():
    tree, regions = RegionTree.grown(torch.zeros(5, 2), None, 10, lambda rows: torch.eye(2))
    assert torch.equal(tree.shares(torch.randn(3, 2)), torch.ones(3, 1, dtype=torch.float64))
    assert regions[0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.slow
@parametrize_with_checks(
    [agop.RFMRegressor(regions=20, random_state=0), agop.RFMClassifier(regions=20, random_state=0)]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
