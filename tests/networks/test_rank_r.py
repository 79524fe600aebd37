"""Layers of rank R: against loops and einsum, to dense weights and back, AGOPs along modes, what leaves the map as it is, sentences."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import agop
from agop import RankR
from agop.networks.blockwise import train_by_blocks
from agop.networks.rank_r import blocks_of, tensor_network
from agop.networks.training import Training
from tests.oracles import rank_r as oracle
from tests.sentences import one_sentence
from tests.tolerances import IDENTITY, SINGLE, relative_error

SHAPES = [(5,), (3, 4), (2, 3, 4), (2, 3, 1, 2)]


def layer_of(shape, units=4, rank=2, **options):
    return RankR(shape, units, rank, **{"dtype": torch.float64, "seed": 1, **options})


def inputs(shape, n=9, seed=0):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [1, 3])
def test_the_dense_weight_and_the_map_against_loops(shape, rank):
    layer, x = layer_of(shape, rank=rank, bias=True), inputs(shape)
    with torch.no_grad():
        layer.linear.bias.copy_(torch.arange(4.0))
    weight = oracle.dense(layer.factors)
    assert relative_error(layer.weight.detach(), weight.detach()) < IDENTITY
    expected = torch.einsum("nd,qd->nq", x.flatten(1), weight.flatten(1)) + torch.arange(4.0)
    assert relative_error(layer(x), expected) < IDENTITY
    assert relative_error(layer(x.flatten(1)), expected) < IDENTITY
    assert relative_error(layer.to_dense()(x), expected) < IDENTITY


def test_mode_by_mode_contraction_gives_the_same():
    layer, x = layer_of((3, 4)), inputs((3, 4))
    a, b = layer.factors
    assert relative_error(layer(x), torch.einsum("nij,qri,qrj->nq", x, a, b)) < IDENTITY


@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_are_counted(shape):
    layer = layer_of(shape, units=7, rank=3, bias=True)
    assert layer.n_weights == 7 * 3 * sum(shape)
    assert layer.n_dense == 7 * math.prod(shape)
    assert sum(part.numel() for part in layer.parameters()) == layer.n_weights + 7
    assert (layer.units, layer.rank, layer.shape) == (7, 3, shape)


@pytest.mark.parametrize(
    ("shape", "rank"), [((5,), 1), ((3, 4), 1), ((3, 4), 2), ((4, 4), 4), ((2, 3, 4), 1), ((2, 2, 2, 3), 1)]
)
def test_from_a_dense_weight_and_back(shape, rank):
    layer = layer_of(shape, rank=rank)
    for spare in (0, 2):
        again = RankR.from_dense(layer.weight, rank + spare, bias=torch.ones(4, dtype=torch.float64))
        assert relative_error(again.weight, layer.weight) < IDENTITY
        assert again.rank == rank + spare
        assert torch.equal(again.linear.bias, torch.ones(4, dtype=torch.float64))


def test_any_tensor_has_so_many_terms():
    weight = inputs((2, 3, 4), 3)
    assert relative_error(RankR.from_dense(weight, 6).weight, weight) < IDENTITY
    with pytest.raises(
        ValueError, match="rank: expected at least the 6 terms found in a unit, got 5; take rank=6"
    ):
        RankR.from_dense(weight, 5)
    assert relative_error(RankR.from_dense(weight.float(), 6).weight, weight) < SINGLE
    assert not RankR.from_dense(torch.zeros(3, 2, 2), 1).weight.any()


def test_terms_that_are_not_needed_can_be_trained():
    layer = RankR.from_dense(layer_of((3, 4), rank=1).weight, 2)
    layer(inputs((3, 4))).square().sum().backward()
    assert layer.linear.factors[1].grad[:, 1].abs().min() > 0


@pytest.mark.parametrize("shape", SHAPES)
def test_agops_along_modes_from_factors_against_autograd(shape):
    net = nn.Sequential(layer_of(shape), nn.Tanh(), nn.Linear(4, 3).double())
    layer, x = net[0], inputs(shape)
    jacobians = torch.stack([torch.func.jacrev(lambda row: net(row[None])[0])(row) for row in x])
    expected = oracle.mode_agops(jacobians.detach())
    outer = agop.agop(net[1:], layer(x).detach())
    whole = agop.layer_agops(net, x)["0.linear"]
    assert relative_error(agop.agop(net, x), whole) < IDENTITY
    for own, other, right in zip(
        layer.mode_agops(outer), agop.mode_agops(whole, shape), expected, strict=True
    ):
        assert relative_error(own, right) < IDENTITY
        assert relative_error(other, right) < IDENTITY
    nfms = agop.mode_agops(agop.nfm(layer.linear), shape)
    assert all(relative_error(*pair) < IDENTITY for pair in zip(layer.mode_nfms(), nfms, strict=True))


def test_closed_form_of_one_unit_of_rank_one():
    """W = a ∘ b: along the rows aaᵀ‖b‖², along the columns bbᵀ‖a‖²."""
    layer = layer_of((3, 4), units=1, rank=1)
    a, b = (factor[0, 0].detach() for factor in layer.factors)
    rows, columns = layer.mode_nfms()
    assert relative_error(rows, torch.outer(a, a) * (b @ b)) < IDENTITY
    assert relative_error(columns, torch.outer(b, b) * (a @ a)) < IDENTITY


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(SHAPES[1:]), st.floats(0.2, 5))
def test_order_of_terms_and_scale_between_modes_change_nothing(seed, shape, scale):
    layer, x = layer_of(shape, rank=3, seed=seed), inputs(shape)
    before, nfms = layer(x).detach(), layer.mode_nfms()
    with torch.no_grad():
        for factor in layer.factors:
            factor.copy_(factor[:, [2, 0, 1]])
        layer.factors[0].mul_(scale)
        layer.factors[-1].div_(scale)
    assert relative_error(layer(x), before) < IDENTITY
    assert all(relative_error(*pair) < IDENTITY for pair in zip(layer.mode_nfms(), nfms, strict=True))


def test_initialisation_is_that_of_a_dense_layer_for_any_rank():
    for shape, rank in (((20, 20), 1), ((20, 20), 5), ((6, 8, 8), 2)):
        layer = RankR(shape, 400, rank, init_gain=0.5)
        expected = 0.25 * 2 / (math.prod(shape) + 400)
        assert float(layer.weight.detach().square().mean()) == pytest.approx(expected, rel=0.1)
    assert torch.equal(RankR((3, 4), 2, seed=5).weight, RankR((3, 4), 2, seed=5).weight)
    state = torch.get_rng_state()
    RankR((3, 4), 2)
    assert torch.equal(torch.get_rng_state(), state)


def test_it_is_copied_stored_and_profiled():
    net, x = tensor_network((4, 4), 3, units=6, rank=2), inputs((4, 4), 30).float()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(twin(x), net(x))
    other = tensor_network((4, 4), 3, units=6, rank=2, seed=9)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x), net(x))
    p = agop.profile(net, x, torch.arange(30) % 3, measures=["nc1", "nfa"])
    assert list(p.to_frame(level="layer")["name"]) == ["0.linear", "2"]
    dense = nn.Sequential(net[0].to_dense(), nn.Tanh(), net[2])
    q = agop.profile(dense, x, torch.arange(30) % 3, measures=["nc1", "nfa"])
    for one, two in zip(p.to_frame()["nc1"], q.to_frame()["nc1"], strict=True):
        assert one == pytest.approx(two, rel=SINGLE)
    assert p.to_frame(level="layer")["nfa"][0] == pytest.approx(
        q.to_frame(level="layer")["nfa"][0], rel=SINGLE
    )


def test_training_by_blocks_moves_each_of_them():
    net, x, y = tensor_network((3, 4), 2, units=5), inputs((3, 4), 20).float(), torch.arange(20) % 2
    blocks = blocks_of(net)
    assert [len(block) for block in blocks] == [1, 1, 2]
    before = [part.detach().clone() for part in net.parameters()]
    how = Training(epochs=30, batch_size=10, lr=0.01, loss="cross-entropy")
    losses = [epoch.loss for epoch in train_by_blocks(net, x, y, how, blocks, inner=2)]
    assert losses[-1] < losses[0] / 2
    assert all(not torch.equal(*pair) for pair in zip(before, net.parameters(), strict=True))
    held = net[0].factors[0].detach().clone()
    list(train_by_blocks(net, x, y, how, blocks[1:], inner=1))
    assert torch.equal(held, net[0].factors[0])


def test_one_block_and_one_step_is_adam():
    from agop.networks.training import train

    x, y = inputs((3, 4), 20).float(), torch.arange(20) % 2
    one, two = tensor_network((3, 4), 2, units=5), tensor_network((3, 4), 2, units=5)
    how = Training(epochs=3, batch_size=10, lr=0.01, loss="cross-entropy", optimiser="adam")
    list(train(one, x, y, how))
    list(train_by_blocks(two, x, y, how, [list(two.parameters())], inner=1))
    torch.testing.assert_close(one(x), two(x))


def test_the_dense_twin_has_the_same_shape_of_things():
    dense = tensor_network((3, 4), 2, units=5, rank=None)
    assert [tuple(part.shape) for part in dense.parameters()] == [(5, 12), (2, 5), (2,)]
    assert [len(block) for block in blocks_of(dense)] == [3]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: RankR((), 3), "shape: expected the sizes"),
        (lambda: RankR((0, 3), 3), "shape: expected an integer >= 1"),
        (lambda: RankR((2, 3), 0), "units: expected an integer >= 1"),
        (lambda: RankR((2, 3), 3, 0), "rank: expected an integer >= 1"),
        (lambda: RankR((2, 3), 3, init_gain=0), "init_gain: expected a finite number > 0"),
        (lambda: RankR((2, 3), 3)(torch.zeros(5, 3, 2)), r"x: expected inputs \(n, 2, 3\) or flat rows of them, got shape \(5, 3, 2\)"),
        (lambda: RankR((2, 3), 3).mode_agops(torch.eye(2)), r"outer: expected shape \(3, 3\)"),
        (lambda: RankR((2, 3), 3).linear.reset_parameters(), "reset_parameters: expected a new RankR"),
        (lambda: RankR.from_dense(torch.zeros(3), 1), "weight: expected shape"),
        (lambda: RankR.from_dense(torch.full((3, 2), float("inf")), 1), "weight: expected finite values"),
        (lambda: RankR.from_dense(torch.zeros(3, 2), 1, bias=torch.zeros(2)), r"bias: expected shape \(3,\)"),
        (lambda: tensor_network((2, 3), 0), "n_classes: expected an integer >= 1"),
        (lambda: tensor_network((2, 3), 2, units=0, rank=None), "units: expected an integer >= 1"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("as_in_production")
def test_bad_input_is_one_sentence(call, sentence):
    with one_sentence(match=sentence):
        call()
