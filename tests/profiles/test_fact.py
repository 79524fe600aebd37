"""FACT and the centred NFA of networks: sample by sample, at a critical point, and where they are undefined."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.data import DataLoader, TensorDataset

import agop
from agop.gradients.output_grams import output_grams
from tests.oracles import training as slow
from tests.tolerances import IDENTITY, relative_error

CLASSES = 3


@pytest.fixture
def points():
    g = torch.Generator().manual_seed(0)
    return torch.randn(24, 5, generator=g, dtype=torch.float64), torch.arange(24) % CLASSES


def mlp(seed=0, outputs=CLASSES):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, outputs)
        ).double()


def penalised(model, x, y, decay, loss=F.cross_entropy):
    return loss(model(x), y) + decay / 2 * sum(p.square().sum() for p in model.parameters())


def converged(model, x, y, decay, loss=F.cross_entropy, steps=400):
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=steps, tolerance_grad=1e-11, tolerance_change=0, line_search_fn="strong_wolfe", history_size=30
    )  # fmt: skip

    def closure():
        optimiser.zero_grad()
        value = penalised(model, x, y, decay, loss)
        value.backward()
        return value

    optimiser.step(closure)
    return model


@pytest.mark.parametrize("name", ["0", "2", "4"])
def test_equals_the_sum_over_single_samples(points, name):
    x, y = points
    model = mlp()
    expected = slow.fact(model, name, x, y, F.cross_entropy, 0.01)
    found = agop.fact(model, x, y, weight_decay=0.01)
    assert relative_error(found[name], expected) < IDENTITY
    assert relative_error(agop.fact(model, x, y, weight_decay=0.01, batch_size=7)[name], expected) < IDENTITY
    loader = DataLoader(TensorDataset(x, y), batch_size=5)
    assert relative_error(agop.fact(model, loader, weight_decay=0.01)[name], expected) < IDENTITY
    nfm = agop.nfm(model.get_submodule(name))
    assert float(found.residuals[name]) == pytest.approx(
        float((nfm - expected).norm() / nfm.norm()), rel=1e-9
    )
    assert found.n_samples == len(x)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_at_a_critical_point_the_residual_is_zero_and_elsewhere_it_is_not(points, loss):
    x, y = points
    target = y if loss == "cross_entropy" else F.one_hot(y, CLASSES).double()
    model = mlp()
    assert max(agop.fact(model, x, target, loss=loss, weight_decay=0.02).residuals.values()) > 0.1
    converged(model, x, target, 0.02, {"cross_entropy": F.cross_entropy, "mse": F.mse_loss}[loss])
    assert model[0].weight.norm() > 0.1
    found = agop.fact(model, x, target, loss=loss, weight_decay=0.02)
    assert max(found.residuals.values()) < 1e-4
    assert all(value.details["distance"] < 1e-3 for value in found.residuals.values())
    assert min(agop.fact(model, x, target, loss=loss, weight_decay=0.04).residuals.values()) > 0.1


def test_a_convolution_tied_weights_and_tokens(points):
    g = torch.Generator().manual_seed(1)
    images = torch.randn(12, 2, 5, 5, generator=g, dtype=torch.float64)
    y = torch.arange(12) % CLASSES
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(2, 4, 3, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(36, CLASSES)
        ).double()
        twice = nn.Linear(5, 5).double()
        tied = nn.Sequential(twice, nn.Tanh(), twice, nn.Tanh(), nn.Linear(5, CLASSES)).double()
    assert (
        max(agop.fact(converged(net, images, y, 0.05), images, y, weight_decay=0.05).residuals.values())
        < 1e-4
    )
    x, y = points
    found = agop.fact(converged(tied, x, y, 0.02), x, y, weight_decay=0.02)
    assert list(found) == ["0", "4"]
    assert max(found.residuals.values()) < 1e-4


def test_reductions_weights_and_ignored_classes(points):
    x, y = points
    model, decay = mlp(), 0.01
    y = y.clone()
    y[:3] = -100
    weight = torch.tensor([1.0, 2.0, 0.5], dtype=x.dtype)

    def expected(loss):
        (gradient,) = torch.autograd.grad(loss(model(x), y), model[2].weight)
        return -model[2].weight.detach().mT @ gradient / decay

    for loss in (
        nn.CrossEntropyLoss(), nn.CrossEntropyLoss(reduction="sum"), nn.CrossEntropyLoss(weight=weight), nn.NLLLoss(),
        lambda out, target: F.cross_entropy(out, target.clamp(min=0), reduction="sum"),
        lambda out, target: F.cross_entropy(out, target.clamp(min=0)),
    ):  # fmt: skip
        found = agop.fact(model, x, y, loss=loss, weight_decay=decay, batch_size=5)
        assert relative_error(found["2"], expected(loss)) < IDENTITY, loss
    each = agop.fact(
        model,
        x,
        y,
        loss=lambda o, t: F.cross_entropy(o, t.clamp(min=0), reduction="none"),
        weight_decay=decay,
    )
    assert relative_error(each["2"], expected(lambda o, t: F.cross_entropy(o, t.clamp(min=0)))) < IDENTITY


def test_labels_per_token_are_those_of_rows_of_tokens():
    g = torch.Generator().manual_seed(2)
    x = torch.randn(7, 4, 5, generator=g, dtype=torch.float64)
    y = torch.randint(
        4, (7, 4), generator=g
    )  # as many tokens as classes: torch would take the axes the other way round
    y[:3, 2:] = -100
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)).double()
    by_token = agop.fact(model, x, y, weight_decay=0.1, batch_size=3)
    by_row = agop.fact(model, x.flatten(0, 1), y.flatten(), weight_decay=0.1)
    for name in ("0", "2"):
        assert relative_error(by_token[name], by_row[name]) < IDENTITY


def reasons(model, x, y, **more):
    return {name: value.undefined_because for name, value in agop.fact(model, x, y, **more).residuals.items()}


def test_what_training_was_decides_whether_there_is_one(points):
    x, y = points
    model = mlp()
    plain = agop.fact(model, x, y, weight_decay=0.01).residuals
    for optimiser in (
        torch.optim.SGD(model.parameters(), 0.1, weight_decay=0.01), torch.optim.Adam(model.parameters(), weight_decay=0.01),
    ):  # fmt: skip
        assert agop.fact(model, x, y, optimizer=optimiser).residuals == plain
    momentum = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
    assert any("momentum" in note for note in agop.fact(model, x, y, optimizer=momentum).notes)
    assert "decoupled" in reasons(model, x, y, optimizer=torch.optim.AdamW(model.parameters()))["0"]
    assert "no weight decay" in reasons(model, x, y, weight_decay=0)["0"]
    groups = [{"params": model[0].parameters(), "weight_decay": 0.0}, {"params": model[2].parameters()}]
    some = torch.optim.SGD(groups, 0.1, weight_decay=1e-2)
    told = reasons(model, x, y, optimizer=some)
    assert ("no weight decay" in told["0"], told["2"], "does not train" in told["4"]) == (True, None, True)
    model[4].weight.requires_grad_(False)
    assert "frozen" in reasons(model, x, y, weight_decay=0.01)["4"]


def test_batch_normalisation_behind_a_layer_parametrised_weights_dropout(points):
    x, y = points
    net = nn.Sequential(
        nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(inplace=True), nn.Dropout(0.1), nn.Linear(4, CLASSES)
    ).double()  # fmt: skip
    before = copy.deepcopy(net.state_dict())
    found = agop.fact(net, x, y, weight_decay=0.01)
    assert list(found) == ["6"]
    assert "batch normalisation" in found.residuals["0"].undefined_because
    assert any("dropout" in note for note in found.notes)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    normed = nn.Sequential(weight_norm(nn.Linear(5, 4)), nn.LayerNorm(4), nn.Linear(4, CLASSES)).double()
    assert "parametrisation" in reasons(normed, x, y, weight_decay=0.01)["0"]
    assert reasons(normed, x, y, weight_decay=0.01)["2"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "weight_decay: expected a number, or optimizer= to read it from, got neither"),
        ({"weight_decay": 0.1, "optimizer": 3}, "got both"),
        ({"optimizer": 3}, "optimizer: expected a torch optimizer"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"weight_decay": 0.1, "loss": "hinge"}, "loss: expected one of"),
        ({"weight_decay": 0.1, "loss": nn.MSELoss}, "loss: expected one of"),
        ({"weight_decay": 0.1, "loss": "mse"}, "y: expected targets of the outputs' shape"),
        ({"weight_decay": 0.1, "loss": lambda o, t: (o**2).sum().sqrt()}, "a mean or a sum over samples"),
        ({"weight_decay": 0.1, "loss": lambda o, t: o}, "a mean or a sum over samples"),
        ({"weight_decay": 0.1, "y": torch.full((24,), 7)}, "y: expected targets that the loss takes"),
        ({"weight_decay": 0.1, "y": ["a"] * 24}, "y: expected targets as numbers"),
        ({"weight_decay": 0.1, "y": [0, 1]}, "y"),
    ],
)
def test_bad_input_is_one_sentence(points, change, message):
    x, y = points
    change = {"model": mlp(), "X": x, "y": y, **change}
    with pytest.raises((ValueError, TypeError), match=message):
        agop.fact(change.pop("model"), change.pop("X"), change.pop("y"), **change)


def test_a_profile_has_fact_and_centred_nfa_beside_nfa(points):
    x, y = points
    model = mlp()
    start = copy.deepcopy(model.state_dict())
    converged(model, x, y, 0.02, steps=60)
    subject = agop.Network(model, loss="cross_entropy", weight_decay=0.02, initial=start)
    p = agop.profile(subject, x, y, measures=["nfa", "centred_nfa", "fact"])
    table = p.layers.set_index("name")
    alone = agop.fact(model, x, y, weight_decay=0.02).residuals
    for name in ("0", "2", "4"):
        layer = model.get_submodule(name)
        assert table.loc[name, "fact"] == pytest.approx(float(alone[name]), rel=1e-9)
        learned = layer.weight.detach() - start[f"{name}.weight"]
        K = slow.output_gram(model, name, x)
        assert relative_error(output_grams(model, x, [name])[name], K) < IDENTITY
        assert (
            relative_error(
                layer.weight.mT.detach() @ K @ layer.weight.detach(), agop.layer_agops(model, x)[name]
            )
            < IDENTITY
        )
        a, b = learned.mT @ learned, learned.mT @ K @ learned
        cosine = float((a * b).sum() / (a.norm() * b.norm()))
        assert table.loc[name, "centred_nfa"] == pytest.approx(cosine, rel=1e-9)
    loader = DataLoader(TensorDataset(x, y), batch_size=5)
    again = agop.profile(subject, loader, measures=["nfa", "centred_nfa", "fact"])
    assert again.layers["centred_nfa"].tolist() == pytest.approx(p.layers["centred_nfa"].tolist(), rel=1e-9)
    assert again.layers["fact"].tolist() == pytest.approx(p.layers["fact"].tolist(), rel=1e-9)
    twin = agop.profile(agop.Network(model, initial=model), x, y, measures=["centred_nfa", "fact"])
    assert twin.layers[["centred_nfa", "fact"]].isna().all(axis=None)
    assert any("the weight is the initial one" in note for note in twin.notes)
    assert any("agop.Network(model, loss=" in note for note in twin.notes)


def test_initial_states_that_do_not_fit_are_told(points):
    x, y = points
    start = {"_orig_mod.0.weight": torch.zeros(6, 5), "2.weight": torch.zeros(3, 3)}
    p = agop.profile(agop.Network(mlp(), initial=start), x, y, measures=["centred_nfa"])
    assert p.layers["centred_nfa"].isna().tolist() == [False, True, True]
    assert any("of shape (3, 3)" in note for note in p.notes)
    assert any("initial has no '4.weight'" in note for note in p.notes)
    with pytest.raises(TypeError, match="initial: expected the state dict"):
        agop.Network(mlp(), initial=3)
    with pytest.raises(ValueError, match="loss: expected what the network was trained with"):
        agop.Network(mlp(), weight_decay=0.1)
    one_shot = agop.profile(agop.Network(mlp(), initial=mlp(1)), iter([(x, y)]), measures=["centred_nfa"])
    assert any("can't be read again" in note for note in one_shot.notes)
