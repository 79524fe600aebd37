from __future__ import annotations

import numpy as np
import pytest
import torch

from agop.datasets import Standardiser, load
from agop.experiments.studies.beaglehole2024.controls import (
    _ROOTS,
    Layer,
    control_profile,
    control_views,
    naive_agop,
    signed_targets,
)
from agop.experiments.subjects.deep_rfm_config import DeepRFMConfig
from agop.machines.deep_rfm import DeepRFMClassifier
from agop.machines.deep_rfm_layer import unit_rows
from agop.profiles.profile import profile
from tests.oracles.kernels import machine_agop
from tests.tolerances import IDENTITY, relative_error

CONFIG = DeepRFMConfig(layers=4, width=48, seed=3)


@pytest.fixture(scope="module")
def digits():
    data = load("digits", n_train=150, n_test=60, subset="random", seed=0)
    scaler = Standardiser.of(data.x_train)
    train, test = scaler(data.x_train, np.float64), scaler(data.x_test, np.float64)
    return tuple(torch.from_numpy(array) for array in (train, data.y_train, test, data.y_test))


def layer(digits, seed=0):
    return Layer(unit_rows(digits[0]), digits[1], 10, CONFIG, torch.Generator().manual_seed(seed))


def falls(table):
    rows = table[(table["stage"] == "projected") & (table["points"] == "train")].sort_values("layer")
    return rows["nc1"].to_numpy()


def test_with_the_agop_it_is_deep_rfm(digits):
    x, y, x_test, y_test = digits
    found = control_profile("agop", x, y, x_test, y_test, CONFIG)
    model = DeepRFMClassifier(n_layers=4, width=48, random_state=3).fit(x.numpy(), y.numpy())
    for points, values, labels in (("train", x, y), ("test", x_test, y_test)):
        expected = profile(model, values.numpy(), labels.numpy()).to_frame()
        own = found[found["points"] == points]
        assert own["nc1"].to_numpy() == pytest.approx(expected["nc1"].to_numpy(), rel=IDENTITY)
        assert own["nc2"].to_numpy() == pytest.approx(expected["nc2"].to_numpy(), rel=1e-8)


@pytest.mark.parametrize("rule", ["random", "pca", "identity", "shuffled"])
def test_controls_come_out_negative(digits, rule):
    x, y, _, _ = digits
    collapse, control = (falls(control_profile(name, x, y, None, None, CONFIG)) for name in ("agop", rule))
    assert collapse[-1] < 0.4 * collapse[0]
    assert control[-1] > 0.55 * control[0]


@pytest.mark.parametrize("rule", ["random", "pca"])
def test_other_directions_keep_the_spectrum(digits, rule):
    root = _ROOTS[rule](layer(digits))
    expected = torch.linalg.eigvalsh(layer(digits).agop()).clamp_min(0).sqrt()
    assert relative_error(torch.linalg.eigvalsh(root).sort().values, expected.sort().values) < 1e-6
    assert relative_error(root, root.mT) < IDENTITY
    assert relative_error(root, _ROOTS["agop"](layer(digits))) > 0.1


def test_principal_directions_commute_with_the_covariance(digits):
    root, X = _ROOTS["pca"](layer(digits)), unit_rows(digits[0])
    covariance = (X - X.mean(0)).mT @ (X - X.mean(0))
    assert relative_error(root @ covariance, covariance @ root) < 1e-8


def test_the_naive_procedure_is_the_same_mathematics(digits):
    small = Layer(unit_rows(digits[0][:30]), digits[1][:30], 10, CONFIG, torch.Generator())
    K = torch.exp(-torch.cdist(small.X, small.X) / 2)
    A = torch.linalg.solve(K + 1e-3 * torch.eye(30), signed_targets(small.labels, 10))
    expected = machine_agop("laplace", {"bandwidth": 2.0}, small.X, A)
    assert relative_error(naive_agop(small), expected) < 1e-6


def test_same_seed_same_numbers_and_inputs_untouched(digits):
    x, y, _, _ = digits
    before = x.clone(), torch.random.get_rng_state()
    first, second = (falls(control_profile("shuffled", x, y, None, None, CONFIG)) for _ in range(2))
    assert first.tolist() == second.tolist()
    assert torch.equal(x, before[0])
    assert torch.equal(torch.random.get_rng_state(), before[1])


def test_an_unknown_rule_is_refused(digits):
    with pytest.raises(ValueError, match="rule"):
        next(control_views("ica", digits[0], digits[1], None, CONFIG))
