from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone

import agop
from tests.oracles import machines as oracle
from tests.tolerances import ITERATIVE, relative_error


def signed(y):
    Y = torch.full((len(y), int(y.max()) + 1), -1.0, dtype=torch.float64)
    Y[torch.arange(len(y)), torch.as_tensor(y)] = 1
    return Y


@pytest.mark.parametrize(
    "feature_map", ["relu", "fourier", "fourier-gaussian", "fourier-laplace-l1", "identity"]
)
def test_equals_the_procedure_as_written_down(blobs, feature_map):
    X, y = blobs
    model = agop.DeepRFMClassifier(n_layers=3, width=20, feature_map=feature_map, random_state=0).fit(X, y)
    expected = oracle.deep_rfm(
        torch.as_tensor(X),
        signed(y),
        [layer.feature_map for layer in model.layers_],
        bandwidth=2.0,
        ridge=1e-3,
    )
    for layer, view, truth in zip(model.layers_, model.views(X), expected, strict=True):
        assert relative_error(layer.coefficients, truth["coefficients"]) < ITERATIVE
        assert relative_error(layer.agop, truth["agop"]) < ITERATIVE
        for stage, features in view.stages().items():
            assert relative_error(features, truth[stage]) < ITERATIVE


def test_collapse_forms_layer_by_layer_and_the_projection_does_it(digits):
    X, y = digits
    model = agop.DeepRFMClassifier(n_layers=4, width=256, random_state=0).fit(X.astype(np.float32), y)
    table = (
        agop.profile(model, X.astype(np.float32), y)
        .to_frame()
        .pivot(index="layer", columns="stage", values="nc1")
    )
    assert (table["projected"].diff().dropna() < 0).all()
    assert (table["projected"] < 0.6 * table["input"]).all()
    assert (table["output"] > table["projected"]).all()


def test_single_precision_follows_double_at_depth(digits):
    X, y = digits
    curves = []
    for dtype in (np.float64, np.float32):
        model = agop.DeepRFMClassifier(n_layers=14, width=128, random_state=0).fit(X.astype(dtype), y)
        profile = agop.profile(model, X.astype(dtype), y, measures=["nc1"]).to_frame()
        curves.append(profile[profile.stage == "projected"].nc1.to_numpy())
    assert curves[0][-1] < 1e-4
    np.testing.assert_allclose(curves[1], curves[0], rtol=0.03)


def test_staged_predictions_end_with_the_prediction(blobs):
    X, y = blobs
    model = agop.DeepRFMClassifier(n_layers=3, width=20, random_state=0).fit(X, y)
    stages = list(model.staged_predict(X))
    assert len(stages) == 3
    np.testing.assert_array_equal(stages[-1], model.predict(X))
    for stage, entry in zip(stages, model.history_, strict=True):
        assert np.mean(stage == y) == entry["train_accuracy"]


def test_transform_gives_the_output_of_a_layer(blobs):
    X, y = blobs
    model = agop.DeepRFMClassifier(n_layers=3, width=20, random_state=0).fit(X, y)
    for index, view in enumerate(model.views(X)):
        np.testing.assert_allclose(model.transform(X, layer=index), view.output.numpy())
    np.testing.assert_array_equal(model.transform(X), model.transform(X, layer=2))
    with pytest.raises(ValueError, match="layer: expected an index from -3 to 2, got 3"):
        model.transform(X, layer=3)


def test_weights_are_repetitions(blobs):
    X, y = (value[:40] for value in blobs)
    w = np.random.default_rng(0).integers(0, 4, 40)
    model = agop.DeepRFMClassifier(n_layers=3, width=20, random_state=0, ridge=1e-2)
    repeated = clone(model).fit(X.repeat(w, 0), y.repeat(w))
    weighted = clone(model).fit(X, y, sample_weight=w)
    for ours, theirs in zip(weighted.layers_, repeated.layers_, strict=True):
        assert relative_error(ours.agop, theirs.agop) < ITERATIVE
    np.testing.assert_allclose(weighted.decision_function(X), repeated.decision_function(X), rtol=1e-6)


def test_warm_start_adds_the_missing_layers(blobs):
    X, y = blobs
    whole = agop.DeepRFMClassifier(n_layers=4, width=20, random_state=0).fit(X, y)
    grown = agop.DeepRFMClassifier(n_layers=2, width=20, random_state=0, warm_start=True).fit(X, y)
    grown.set_params(n_layers=4).fit(X, y)
    np.testing.assert_array_equal(grown.decision_function(X), whole.decision_function(X))
    assert [entry["layer"] for entry in grown.history_] == [1, 2, 3, 4]
    with pytest.raises(
        ValueError, match="X, y: expected the training data of the fit that warm_start=True continues"
    ):
        grown.fit(X + 1, y)


def test_twenty_layers_do_not_keep_twenty_copies_of_the_data(digits):
    X, y = digits
    model = agop.DeepRFMClassifier(n_layers=20, width=8, random_state=0).fit(X, y)
    storages = {}
    for tensor in _tensors(model.__dict__):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    coefficients = 20 * len(X) * 10 * 8
    assert sum(storages.values()) < 3 * X.nbytes + coefficients


def _tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list):
        for item in value:
            yield from _tensors(item)
    elif hasattr(value, "__dict__"):
        yield from _tensors(vars(value))


def test_a_callable_feature_map(blobs):
    X, y = blobs
    model = agop.DeepRFMClassifier(n_layers=2, feature_map=torch.tanh).fit(X, y)
    assert model.transform(X).shape == X.shape
    with pytest.raises(
        ValueError, match=r"feature_map: expected a callable that returns a tensor of shape \(120, k\)"
    ):
        agop.DeepRFMClassifier(feature_map=lambda Z: Z.sum()).fit(X, y)


def test_a_zero_row_stays_zero_and_is_reported(blobs):
    X, y = blobs
    X = X.copy()
    X[5] = 0
    model = agop.DeepRFMClassifier(n_layers=2, width=20, random_state=0).fit(X, y)
    assert "1 rows are zero" in model.history_[0]["notes"][0]


def test_the_callback_can_stop_a_fit_and_warm_start_goes_on(blobs):
    X, y = blobs

    def stop(index, count, entry):
        assert entry["layer"] == index + 1
        if index == 1:
            raise KeyboardInterrupt

    model = agop.DeepRFMClassifier(n_layers=3, width=20, random_state=0, warm_start=True)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y, callback=stop)
    model.fit(X, y)
    whole = agop.DeepRFMClassifier(n_layers=3, width=20, random_state=0).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), whole.predict(X))
