"""ConvRFM and Deep ConvRFM: scikit-learn's contract, the recursion by hand, honest choices, images of every kind, files, interrupts."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

import agop
from agop.kernels import Laplace
from agop.kernels.cntk import CNTK
from agop.kernels.patch_agop import patch_agop
from agop.kernels.patch_gram import fill_patch_matrix
from agop.kernels.patch_kernel import Metric
from agop.kernels.patches import PatchGrid
from agop.linalg.psd import psd_power
from agop.machines.conv_machine import conv_memory
from tests.tolerances import IDENTITY, ITERATIVE, SINGLE, relative_error

FLAT = [
    agop.ConvRFMClassifier(patch_size=1, depth=1),
    agop.ConvRFMRegressor(patch_size=1, kernel="patch-laplace", bandwidth=3.0),
    agop.DeepConvRFMClassifier(patch_size=1, n_layers=2, width=8, random_state=0),
]


@parametrize_with_checks(FLAT[:1])
def test_scikit_learn_checks_of_flat_rows(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(FLAT[1:])
def test_scikit_learn_checks_of_the_others(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", [agop.ConvRFMRegressor(), agop.DeepConvRFMClassifier()])
def test_images_are_no_rows(estimator):
    assert not estimator.__sklearn_tags__().input_tags.two_d_array
    assert estimator.set_params(image_shape=(8, 8)).__sklearn_tags__().input_tags.two_d_array


@pytest.fixture(scope="module")
def images():
    """160 digits of 8 × 8 pixels, four classes of 40."""
    X, y = load_digits(return_X_y=True)
    rows = np.concatenate([np.flatnonzero(y == label)[:40] for label in range(4)])
    rows = np.random.default_rng(0).permutation(rows)
    return X[rows].reshape(-1, 1, 8, 8) / 16, y[rows]


def short(**options):
    return agop.ConvRFMClassifier(**{"depth": 1, "random_state": 0, **options})


def deep(**options):
    return agop.DeepConvRFMClassifier(**{"n_layers": 2, "width": 4, "random_state": 0, **options})


@pytest.mark.parametrize("scale", ["max", "frobenius", "none"])
@pytest.mark.parametrize("ridge_scale", ["largest", "absolute"])
def test_the_recursion_is_that_of_the_parts(images, scale, ridge_scale):
    X, y = images[0][:40], images[1][:40]
    model = short(n_iter=2, depth=2, scale=scale, ridge_scale=ridge_scale, ridge=1e-2).fit(X, y)
    grid, Z = PatchGrid(1, 8, 8), torch.from_numpy(X.reshape(40, 64))
    Y = torch.nn.functional.one_hot(torch.from_numpy(y)).double() * 2 - 1
    M, A = torch.eye(9, dtype=torch.float64), None
    for iteration in range(3):
        metric = Metric(psd_power(M, 0.5).matrix)
        K = torch.zeros(40, 40, dtype=torch.float64)
        fill_patch_matrix(CNTK(2), Z, grid, metric, K)
        K = K.tril() + K.tril(-1).mT
        ridge = 1e-2 * float(K.max()) if ridge_scale == "largest" else 1e-2
        A = torch.linalg.solve(K + ridge * torch.eye(40, dtype=torch.float64), Y)
        assert model.history_[iteration]["absolute_ridge"] == pytest.approx(ridge)
        if iteration < 2:
            M = patch_agop(CNTK(2), Z, grid, metric, A)
            M /= {"max": M.diagonal().max(), "frobenius": M.norm(), "none": 1.0}[scale]
    assert relative_error(model.agop_, M) < ITERATIVE
    assert relative_error(model.machine_.coefficients, A) < ITERATIVE


def test_scale_does_not_matter_to_a_homogeneous_kernel_with_a_relative_ridge(images):
    X, y = images
    values = [
        short(n_iter=2, scale=scale, positions=positions)
        .fit(f * X[:80], y[:80])
        .decision_function(f * X[80:])
        for f, scale, positions in ((1, "max", "sum"), (7, "none", "mean"), (1, "trace", "sum"))
    ]
    np.testing.assert_allclose(values[1], values[0], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(values[2], values[0], rtol=1e-6, atol=1e-8)


def test_four_axes_flat_rows_and_tensors_are_one(images):
    X, y = images
    model = short().fit(X, y)
    flat = short(image_shape=(8, 8)).fit(X.reshape(-1, 64), y)
    tensor = short().fit(torch.from_numpy(X), torch.from_numpy(y))
    expected = model.decision_function(X)
    np.testing.assert_array_equal(flat.decision_function(X.reshape(-1, 64)), expected)
    np.testing.assert_array_equal(model.decision_function(X.reshape(-1, 64)), expected)
    np.testing.assert_array_equal(model.decision_function(list(X)), expected)
    assert isinstance(tensor.decision_function(torch.from_numpy(X)), torch.Tensor)
    np.testing.assert_array_equal(tensor.decision_function(torch.from_numpy(X)).numpy(), expected)
    assert model.image_shape_ == (1, 8, 8)
    assert model.agop_.shape == (9, 9)


def test_it_learns_and_follows_in_single_precision(images):
    X, y = images
    wide = short(depth=2, n_iter=2).fit(X[:100], y[:100])
    narrow = short(depth=2, n_iter=2, dtype="float32").fit(X[:100], y[:100])
    assert wide.score(X[100:], y[100:]) > 0.9
    assert narrow.agop_.dtype == torch.float32
    difference = np.abs(narrow.decision_function(X[100:]) - wide.decision_function(X[100:])).max()
    assert difference < 20 * SINGLE
    p = wide.predict_proba(X[100:])
    np.testing.assert_allclose(p.sum(1), 1)


@pytest.mark.parametrize("cls", [agop.ConvRFMRegressor, agop.ConvRFMClassifier, agop.DeepConvRFMClassifier])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_only_the_ratio_of_ridge_and_weights_counts(images, cls, dtype):
    X, y = images[0][:30], images[1][:30]
    w = np.random.default_rng(0).uniform(0.5, 2, 30)
    options = {"dtype": dtype, "n_iter": 1, "random_state": 0}

    def values(s):
        model = cls(ridge=0.01 * s, **options).fit(X, y, sample_weight=s * w)
        return np.asarray(model.predict_proba(X) if hasattr(model, "classes_") else model.predict(X))

    expected, tolerance = values(1.0), 1e-4 if dtype == "float32" else 1e-9
    for factor in (1e-42, 1e42):
        np.testing.assert_allclose(values(factor), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kernel", ["cntk", "patch-laplace"])
def test_weights_count_samples(images, kernel):
    X, y = images[0][:40], images[1][:40]
    options = {"kernel": kernel, "bandwidth": 1.0, "depth": 1, "ridge_scale": "absolute", "ridge": 0.1}
    weight = 1.0 + (np.arange(40) < 10)
    twice = agop.ConvRFMRegressor(**options).fit(np.concatenate([X, X[:10]]), np.concatenate([y, y[:10]]))
    weighted = agop.ConvRFMRegressor(**options).fit(X, y, weight)
    # equal images count as one point, whose gradient is the same: the same mean
    np.testing.assert_allclose(weighted.predict(X), twice.predict(X), rtol=1e-6)
    assert relative_error(weighted.agop_, twice.agop_) < ITERATIVE


def test_the_iteration_is_chosen_by_samples_that_were_held_out(images):
    X, y = images
    held = slice(120, 160)
    model = short(n_iter=3).fit(X[:120], y[:120], X_val=X[held], y_val=y[held])
    scores = [entry["validation_score"] for entry in model.history_]
    assert model.best_iteration_ == int(np.argmax(scores))
    assert model.validation_score_ == max(scores) == model.score(X[held], y[held])
    fixed = short(n_iter=model.best_iteration_).fit(X[:120], y[:120])
    np.testing.assert_allclose(fixed.decision_function(X), model.decision_function(X), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_left_out_values_are_those_of_fits_without_the_sample(images, weighted):
    X, y = images[0][:16], images[1][:16].astype(float)
    weight = np.linspace(0.5, 2, 16) if weighted else None
    options = {"depth": 2, "n_iter": 1, "ridge": 0.1, "ridge_scale": "absolute", "random_state": 0}
    model = agop.ConvRFMRegressor(validation="cross-fitted", n_folds=3, **options)
    model.fit(X, y, weight)
    # without learning, all folds have the same kernel
    values = [
        agop.ConvRFMRegressor(**options | {"n_iter": 0})
        .fit(np.delete(X, i, 0), np.delete(y, i), None if weight is None else np.delete(weight, i))
        .predict(X[i : i + 1])[0]
        for i in range(16)
    ]
    from sklearn.metrics import r2_score

    assert model.cross_fitted_scores_[0] == pytest.approx(r2_score(y, values, sample_weight=weight), abs=1e-9)
    assert len(model.cross_fitted_scores_) == 2
    assert model.best_iteration_ == int(np.argmax(model.cross_fitted_scores_)) == len(model.history_) - 1


def test_no_metric_has_seen_the_sample_that_it_is_judged_by(images):
    """On random labels, leave-one-out with an M that has seen them is far too good; cross-fitted it is chance."""
    X = images[0][:120]
    y = np.random.default_rng(1).integers(0, 2, 120)
    model = short(n_iter=2, validation="cross-fitted").fit(X, y)
    assert max(model.cross_fitted_scores_) < 0.65


def test_n_agop_takes_a_seeded_choice_of_images(images):
    X, y = images
    some = [short(n_agop=30, random_state=seed).fit(X, y) for seed in (0, 0, 1)]
    assert torch.equal(some[0].agop_, some[1].agop_)
    assert not torch.equal(some[0].agop_, some[2].agop_)
    assert [entry.get("n_agop") for entry in some[0].history_] == [30, None]
    everything = short(n_agop=10**6).fit(X, y)
    assert torch.equal(everything.agop_, short().fit(X, y).agop_)


def test_a_constant_predictor_leaves_the_metric_as_it_was():
    model = agop.ConvRFMRegressor(kernel=Laplace(1.0), n_iter=2).fit(np.zeros((4, 1, 4, 4)), np.ones(4))
    assert torch.equal(model.agop_, torch.eye(9, dtype=torch.float64))
    assert "M stays as it was" in model.history_[0]["notes"][0]


MODELS = {
    "conv": lambda: short(depth=2, n_iter=2),
    "conv, validated": lambda: short(n_iter=2, validation=0.25),
    "conv, cross-fitted": lambda: short(n_iter=1, validation="cross-fitted"),
    "conv, laplace, float32": lambda: short(
        kernel="patch-laplace", padding="same", n_iter=2, dtype="float32"
    ),
    "conv, a kernel of its own": lambda: short(kernel=Laplace(2.0, exponent=0.7), n_iter=0, stride=2),
    "deep": lambda: deep(),
    "deep, validated": lambda: deep(validation=0.25, n_iter=2),
    "deep, gaussian, float32": lambda: deep(kernel="patch-gaussian", padding="same", dtype="float32"),
}
models = pytest.mark.parametrize("name", MODELS)


@models
def test_saved_and_loaded_it_predicts_the_same_bits(images, tmp_path, name):
    X, y, flat = images[0][:40], images[1][:40], "float32" in name
    if flat:
        X = X.reshape(40, 64)
    model = MODELS[name]().set_params(image_shape=(8, 8) if flat else None).fit(X, y)
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.decision_function(X), model.decision_function(X))
    assert torch.equal(loaded.agop_, model.agop_)
    assert loaded.get_params() == {**model.get_params(), "kernel": loaded.kernel}
    assert loaded.history_ == model.history_
    if hasattr(model, "layers_"):
        for one, other in zip(loaded.staged_predict(X), model.staged_predict(X), strict=True):
            np.testing.assert_array_equal(one, other)


class Stop(Exception):
    pass


@models
@pytest.mark.parametrize("number", [4])
def test_a_stopped_fit_goes_on_to_the_same_end(images, tmp_path, name, number):
    X, y = images[0][:60], images[1][:60]
    model, calls = MODELS[name]().set_params(warm_start=True), []

    def stop(*_):
        calls.append(None)
        if len(calls) == number + 1:
            raise Stop

    with contextlib.suppress(Stop):
        model.fit(X, y, progress=stop)
    if model.__sklearn_is_fitted__():
        assert np.isfinite(model.decision_function(X)).all()
        model.save(tmp_path / "model")
        model = type(model).load(tmp_path / "model")
    else:
        with pytest.raises(NotFittedError):
            model.predict(X)
    model.fit(X, y)
    whole = MODELS[name]().fit(X, y)
    assert np.abs(model.decision_function(X) - whole.decision_function(X)).max() < 1e-9 * (
        1 + 1e5 * ("32" in name)
    )


def test_more_iterations_later(images):
    X, y = images[0][:60], images[1][:60]
    model = short(n_iter=1, warm_start=True).fit(X, y).set_params(n_iter=2).fit(X, y)
    np.testing.assert_allclose(
        model.decision_function(X), short(n_iter=2).fit(X, y).decision_function(X), rtol=1e-9
    )
    with pytest.raises(ValueError, match="n_iter: expected >= 2, the iterations already done"):
        model.set_params(n_iter=0).fit(X, y)
    grown = deep(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="n_layers: expected 2 as in the fit that warm_start=True continues"):
        grown.set_params(n_layers=3).fit(X, y)


@models
def test_progress_begins_at_nothing_never_goes_back_and_ends_with_everything(images, name):
    told = []
    MODELS[name]().set_params(validation=None).fit(
        images[0][:60], images[1][:60], progress=lambda *state: told.append(state)
    )
    done, totals, texts = zip(*told, strict=True)
    assert done[0] == 0
    assert (np.diff(done) >= 0).all()
    assert done[-1] == pytest.approx(totals[-1])
    assert {text.split(": ")[1] for text in texts} >= {"kernel", "factor"}


def test_stages_are_random_convolutions_in_the_learned_metric(images):
    X, y = images[0][:60], images[1][:60]
    model = deep(n_layers=3, width=5).fit(X, y)
    assert [entry["depth"] for entry in model.history_] == [3, 2, 1]
    assert [stage.kernel for stage in model.layers_] == [CNTK(3), CNTK(2), CNTK(1)]
    stage = model.layers_[0]
    # filters G M^½: their covariance is M
    many = deep(n_layers=1, width=20000).fit(X[:12], y[:12])
    W = many.layers_[0].weight
    assert relative_error(W.mT @ W / 20000, many.layers_[0].agop) < 0.05
    # a patch times a filter is what comes out
    grid = stage.grid
    patches = grid.patches(torch.from_numpy(X.reshape(60, 64)))
    expected = torch.einsum("pnd,kd->nkp", patches, stage.weight).flatten(1)
    assert relative_error(torch.from_numpy(model.transform(X.reshape(60, 64), layer=0)), expected) < IDENTITY
    assert model.transform(X, layer=0).shape == (60, 5, 6, 6)
    assert model.transform(X).shape == (60, 5, 2, 2)
    again = deep(n_layers=3, width=5).fit(torch.from_numpy(X).float(), torch.from_numpy(y))
    assert relative_error(again.layers_[0].weight, stage.weight) < SINGLE * 10


def test_the_predictor_is_that_of_the_best_stage_and_iteration(images):
    X, y = images
    model = deep(n_iter=2).fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:])
    scores = [entry["validation_score"] for entry in model.history_]
    assert all(entry["validation_score"] == max(entry["validation_scores"]) for entry in model.history_)
    assert model.best_layer_ == int(np.argmax(scores))
    assert model.score(X[100:], y[100:]) == max(scores)
    assert [np.mean(p == y[100:]) for p in model.staged_predict(X[100:])] == scores


@pytest.mark.parametrize("pool", ["flatten", "mean"])
def test_views_have_the_geometry_of_their_stages(images, pool):
    X, y = images[0][:60], images[1][:60]
    model = deep().fit(X, y)
    views = list(model.views(X, pool=pool))
    assert [view.name for view in views] == ["layer 1", "layer 2"]
    rows = torch.from_numpy(X.reshape(60, 64))
    for view, stage in zip(views, model.layers_, strict=True):
        patches = stage.grid.patches(rows)
        through = stage(rows)
        root = psd_power(stage.agop, 0.5).matrix
        if pool == "mean":
            assert relative_error(view.input, patches.mean(0)) < IDENTITY
            assert (
                relative_error(
                    torch.cdist(view.projected, view.projected), torch.cdist(*2 * [patches.mean(0) @ root])
                )
                < ITERATIVE
            )
            assert view.feature_matrix.shape == (stage.grid.features,) * 2
            assert relative_error(view.output, through.view(60, 4, -1).mean(2)) < IDENTITY
        else:
            flat = (patches @ root).transpose(0, 1).flatten(1)
            assert torch.equal(view.input, rows)
            assert (
                relative_error(torch.cdist(view.projected, view.projected), torch.cdist(flat, flat))
                < ITERATIVE
            )
            assert torch.equal(view.output, through)
        rows = through
    table = agop.profile(model, X, y).to_frame()
    assert set(table["layer_name" if "layer_name" in table else table.columns[0]].astype(str))
    single = list(short().fit(X, y).views(X, pool=pool))
    assert len(single) == 1
    assert single[0].output.shape == (60, 4)
    assert len(agop.profile(short().fit(X, y), X, y).to_frame()) == 3


class TestBadImages:
    """A value, or one sentence."""

    def refuse(self, X, y, match, error=ValueError, **options):
        before = X.copy() if isinstance(X, np.ndarray) else None
        with pytest.raises(error, match=match) as told:
            short(**options).fit(X, y)
        assert str(told.value).count("\n") == 0
        if before is not None:
            np.testing.assert_array_equal(X, before)

    def test_axes(self, images):
        X, y = images
        self.refuse(X[:, 0], y, r"X: expected images \(n, channels, height, width\).*pass X\[:, None\]")
        self.refuse(X.reshape(-1, 64), y, r"set image_shape=\(channels, height, width\)")
        self.refuse(X[None], y, "reshape it")
        self.refuse(X.reshape(-1, 64), y, "X: expected 81 columns for image_shape", image_shape=(9, 9))
        self.refuse(X, y, r"X: expected images of shape \(1, 9, 9\)", image_shape=(9, 9))
        self.refuse(X[:0], y[:0], "at least one image")

    def test_shape_of_rows(self, images):
        X, y = images
        for wrong in (64, (64,), (1, 1, 8, 8), "8x8"):
            self.refuse(X.reshape(-1, 64), y, r"image_shape: expected \(height, width\)", image_shape=wrong)
        self.refuse(X.reshape(-1, 64), y, "image_shape: expected an integer >= 1", image_shape=(8, 0))

    def test_smaller_than_a_patch(self, images):
        self.refuse(
            *images, "X: expected images of at least 9x9 pixels for patch_size=9, got 8x8", patch_size=9
        )
        self.refuse(*images, "lower patch_size or depth, or set padding='same'", depth=4)

    def test_channels_last(self, images):
        X, y = images
        colours = np.repeat(X, 3, 1).transpose(0, 2, 3, 1)
        self.refuse(colours, y, r"channels seem to come last; pass X.transpose\(0, 3, 1, 2\)")
        self.refuse(torch.from_numpy(colours.copy()), y, r"pass X.permute\(0, 3, 1, 2\)")

    def test_whole_numbers(self, images):
        X, y = images
        self.refuse(
            (X * 16).astype(np.uint8), y, r"floating-point pixels, got uint8; pass X.astype", TypeError
        )
        self.refuse(torch.from_numpy(X * 16).byte(), y, "got torch.uint8; pass X.float", TypeError)
        whole = short(image_shape=(8, 8)).fit((X * 16).astype(np.uint8).reshape(-1, 64), y)
        expected = short(image_shape=(8, 8)).fit((X * 16).reshape(-1, 64), y)
        np.testing.assert_array_equal(whole.decision_function(X), expected.decision_function(X))

    def test_mixed_sizes(self, images):
        X, y = images
        mixed = [x[:, : 8 - i % 2] for i, x in enumerate(X)]
        self.refuse(mixed, y, r"X: expected images of one size, got \(1, 8, 8\) and \(1, 7, 8\)")
        objects = np.empty(len(mixed), dtype=object)
        objects[:] = mixed
        with pytest.raises(ValueError, match="images of one size"):
            short().fit(objects, y)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_not_finite(self, images, bad):
        X, y = images[0].copy(), images[1]
        X[3, 0, 2, 2] = bad
        self.refuse(X, y, "X: expected finite pixels, got 1 NaN or infinite ones")
        self.refuse(torch.from_numpy(X), y, "1 NaN or infinite entries")

    def test_one_class(self, images):
        self.refuse(images[0], np.zeros(160), "at least 2 classes")

    def test_other_images_to_predict(self, images):
        X, y = images
        model = short().fit(X, y)
        with pytest.raises(ValueError, match=r"images of shape \(1, 8, 8\) as in fit"):
            model.predict(X[:, :, :7])
        with pytest.raises(ValueError, match="features"):
            model.predict(X.reshape(-1, 64)[:, :60])

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"kernel": "laplace"}, "kernel: expected one of 'cntk', 'patch-laplace'"),
            ({"depth": 0}, "depth"),
            ({"patch_size": 0}, "patch_size"),
            ({"stride": 0}, "stride"),
            ({"padding": "full"}, "padding: expected one of"),
            ({"ridge": -1}, "ridge"),
            ({"ridge_scale": "n"}, "ridge_scale"),
            ({"scale": "sum"}, "scale"),
            ({"positions": "max"}, "positions"),
            ({"n_agop": 0}, "n_agop"),
            ({"n_iter": -1}, "n_iter"),
            ({"power": 0}, "power"),
            ({"n_folds": 1}, "n_folds"),
            ({"validation": "loo"}, "validation: expected None or a share of the samples, or 'cross-fitted'"),
            ({"kernel": "patch-laplace", "bandwidth": 0}, "bandwidth"),
            ({"kernel": "patch-laplace", "bandwidth": "mean"}, "bandwidth"),
        ],
    )
    def test_parameters(self, images, options, match):
        self.refuse(images[0][:20], images[1][:20], match, **options)

    def test_too_few_for_folds(self, images):
        X, y = images
        self.refuse(X[:3], np.array([0, 1, 1]), "at least 4 samples", validation="cross-fitted")
        self.refuse(X[:9], np.arange(9) // 8, "n_folds=2 samples of each class", validation="cross-fitted")
        with pytest.raises(ValueError, match="drop one of them"):
            short(validation="cross-fitted").fit(X[:20], y[:20], X_val=X[:5], y_val=y[:5])
        with pytest.raises(ValueError, match="validation: expected None or a share"):
            deep(validation="cross-fitted").fit(X[:20], y[:20])


def test_memory_is_said_before_the_fit(images):
    X, y = images
    with pytest.raises(MemoryError, match="fits into 1.0 MiB"):
        short(max_memory="1MB").fit(X, y)
    estimate, block, sums = conv_memory(2000, 784, 10, torch.float32, 9, None, torch.device("cpu"))
    assert estimate.total - estimate.kernel_matrix < 2 * 2**30
    smaller, less, fewer = conv_memory(2000, 784, 10, torch.float32, 9, 400 * 2**20, torch.device("cpu"))
    assert smaller.total <= 400 * 2**20
    assert less < block
    assert fewer < sums
    modest = short(max_memory="180MB").fit(X, y)
    np.testing.assert_allclose(
        modest.decision_function(X), short().fit(X, y).decision_function(X), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("estimator", [short(n_iter=1), deep()])
def test_inputs_parameters_and_generators_stay_as_they_were(images, estimator):
    X, y = (value.copy() for value in images)
    X.flags.writeable = False
    state = torch.random.get_rng_state()
    model = clone(estimator)
    parameters = model.get_params()
    model.fit(X[:40], y[:40]).predict(X[:5])
    assert model.get_params() == parameters
    assert torch.equal(torch.random.get_rng_state(), state)
