from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import agop
from tests.oracles import gradients as oracle
from tests.tolerances import IDENTITY, MERGE, SINGLE, relative_error


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def mlp(*widths, seed=0, inplace=True):
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for a, b in pairwise(widths):
        layer = nn.Linear(a, b).double()
        with torch.no_grad():
            layer.weight.normal_(generator=generator).mul_(a**-0.5)
            layer.bias.normal_(generator=generator).mul_(0.1)
        layers += [layer, nn.ReLU(inplace=inplace)]
    return nn.Sequential(*layers[:-1])


NET = mlp(6, 16, 16, 4)
X = random(23, 6, seed=1)


def test_linear_function():
    W = random(3, 5)
    assert relative_error(agop.agop(lambda x: x @ W.T, random(7, 5, seed=1)), W.T @ W) < IDENTITY


def test_quadratic_function_in_closed_form():
    A = random(3, 5, 5)
    A, b, c = A + A.mT, random(3, 5, seed=1), random(3, seed=2)
    Z = random(40, 5, seed=3) + 1
    value = agop.agop(lambda x: c + x @ b.T + torch.einsum("ni,oij,nj->no", x, A, x), Z)
    assert relative_error(value, oracle.quadratic_agop(A, b, Z)) < IDENTITY


@pytest.mark.parametrize("center", [False, True])
def test_equals_per_sample_jacobians(center):
    value = agop.agop(NET, X, center=center, batch_size=5)
    assert relative_error(value, oracle.agop(NET, X, center=center)) < IDENTITY
    torch.testing.assert_close(value, value.T, rtol=0, atol=0)


def test_wide_inputs_use_the_panels():
    net, Z = mlp(300, 20, 3), random(9, 300)
    assert relative_error(agop.agop(net, Z), oracle.agop(net, Z)) < IDENTITY
    assert (
        relative_error(agop.agop(net, Z, center=True, batch_size=2), oracle.agop(net, Z, center=True))
        < IDENTITY
    )


def test_several_input_axes_are_flattened_in_c_order():
    net = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 2 * 3, 2)).double()
    Z = random(5, 2, 3, 4)
    value = agop.agop(net, Z)
    flat = agop.agop(lambda z: net(z.reshape(-1, 2, 3, 4)), Z.flatten(1))
    assert value.shape == (24, 24)
    assert relative_error(value, flat) < IDENTITY
    assert relative_error(value, oracle.agop(net, Z)) < IDENTITY


def test_one_output_without_an_axis():
    value = agop.agop(lambda x: (x**2).sum(1), X)
    assert relative_error(value, 4 * X.T @ X / len(X)) < IDENTITY


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 30), seed=st.integers(0, 100), center=st.booleans())
def test_batch_size_and_order_change_nothing(batch, seed, center):
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed))
    value = agop.agop(NET, X[order], batch_size=batch, center=center)
    assert relative_error(value, agop.agop(NET, X, center=center)) < IDENTITY


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("cut", [1, 11, 22])
def test_two_halves_merged_are_the_whole(cut, center):
    halves = [agop.AGOPMoments.of(NET, part, center=center) for part in (X[:cut], X[cut:])]
    merged = halves[0] + halves[1]
    assert merged.n_samples == len(X)
    assert relative_error(merged.agop, agop.agop(NET, X, center=center)) < MERGE
    assert relative_error((halves[1] + halves[0]).agop, merged.agop) < MERGE
    assert halves[0].n_samples == cut
    empty = agop.AGOPMoments(center=center)
    assert relative_error((empty + merged).agop, merged.agop) == 0
    assert relative_error((merged + empty).agop, merged.agop) == 0


def test_centring_survives_a_large_mean_gradient():
    W = random(4, 6)

    def f(x):
        return 1e6 * x @ W.T + NET(x)

    expected = oracle.agop(NET, X, center=True)
    assert relative_error(agop.agop(f, X, center=True, batch_size=4), expected) < 1e-8


def test_loader_and_stream():
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, X), batch_size=4, shuffle=True)
    assert relative_error(agop.agop(NET, loader), agop.agop(NET, X)) < MERGE
    assert relative_error(agop.agop(NET, iter([X[:7], X[7:]])), agop.agop(NET, X)) < MERGE


def test_chosen_outputs():
    J = oracle.jacobians(NET, X)
    assert relative_error(agop.agop(NET, X, outputs=[2, 0]), oracle.mean_outer(J[:, [2, 0]])) < IDENTITY
    assert relative_error(agop.agop(NET, X, outputs=[-1]), oracle.mean_outer(J[:, [3]])) < IDENTITY


@pytest.mark.parametrize("center", [False, True])
def test_random_outputs_are_unbiased_and_know_their_error(center):
    net, Z = mlp(8, 32, 40), random(12, 8, seed=2)
    exact = oracle.agop(net, Z, center=center)
    runs = [agop.AGOPMoments.of(net, Z, outputs=8, random_state=seed, center=center) for seed in range(150)]
    mean = sum(run.agop for run in runs) / len(runs)
    errors = torch.tensor([relative_error(run.agop, exact) for run in runs])
    typical = float(errors.square().mean().sqrt())
    # the mean of 150 runs is off by a twelfth of one run's error, give or take
    assert relative_error(mean, exact) < 1.5 * typical / len(runs) ** 0.5
    told = torch.tensor([run.standard_error for run in runs]).square().mean().sqrt()
    assert 0.85 < float(told) / typical < 1.15


def test_random_outputs_repeat_with_their_seed_and_leave_the_exact_result_exact():
    one, two = (agop.agop(NET, X, outputs=3, random_state=seed) for seed in (5, 5))
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert relative_error(one, agop.agop(NET, X, outputs=3, random_state=6)) > 1e-3
    assert agop.AGOPMoments.of(NET, X).standard_error == 0
    assert torch.tensor(agop.AGOPMoments.of(NET, X, outputs=1).standard_error).isnan()


def test_merging_random_estimates_shrinks_their_error():
    net, Z = mlp(8, 32, 40), random(64, 8, seed=2)
    halves = [agop.AGOPMoments.of(net, z, outputs=4, random_state=i) for i, z in enumerate(Z.split(32))]
    merged = halves[0] + halves[1]
    assert relative_error(merged.agop, oracle.agop(net, Z)) < 4 * merged.standard_error
    with pytest.raises(ValueError, match="other: expected a statistic with center=False, outputs=4"):
        merged + agop.AGOPMoments.of(net, Z)


def test_output_picks():
    class Many(nn.Module):
        def forward(self, x):
            return {"a": (x, NET(x)), "b": x}

    expected = agop.agop(NET, X)
    assert relative_error(agop.agop(Many(), X, output=lambda y: y["a"][1]), expected) < MERGE
    assert relative_error(agop.agop(lambda x: (x, NET(x)), X, output=1), expected) < MERGE
    assert relative_error(agop.agop(lambda x: {"logits": NET(x)}, X, output="logits"), expected) < MERGE
    with pytest.raises(
        ValueError, match=r"output: expected a name, .*got 'c' for a dict of a tuple, b \(3, 6\)"
    ):
        agop.agop(Many(), X, output="c")
    with pytest.raises(TypeError, match="pick one with output="):
        agop.agop(Many(), X)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_accumulate_in_float32(dtype):
    net, Z = mlp(6, 16, 4).to(dtype), random(300, 6).to(dtype)
    value = agop.agop(net, Z, batch_size=1)
    assert value.dtype == torch.float32
    rows = torch.cat([g.flatten(1) for k in range(4) for g in [_gradient(net, Z, k)]]).double()
    assert relative_error(value, rows.T @ rows / 300) < 1e-2
    assert agop.agop(net, Z, dtype=torch.float64).dtype == torch.float64


def _gradient(net, Z, k):
    z = Z.clone().requires_grad_()
    return torch.autograd.grad(net(z)[:, k].sum(), z)[0]


def test_float32_and_float64_accumulation():
    net, Z = mlp(6, 16, 4).float(), X.float()
    single, double = agop.agop(net, Z), agop.agop(net, Z, dtype=torch.float64)
    assert single.dtype == torch.float32
    assert relative_error(single, double) < SINGLE
    # batch by batch in float64, from the same float32 gradients
    assert relative_error(double, agop.agop(net, Z, dtype=torch.float64, batch_size=1)) < 1e-7


def test_autocast_around_the_call_does_not_lower_the_sums():
    Z = random(2000, 6, dtype=torch.float32)
    W = random(1, 6, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = agop.agop(lambda x: (x * W).sum(1), Z, batch_size=1)
    assert relative_error(value, W.T @ W) < SINGLE


@pytest.mark.parametrize("block", [torch.no_grad, torch.inference_mode])
def test_works_inside_no_grad_and_inference_mode(block):
    with block():
        value = agop.agop(NET, X.clone())
    assert relative_error(value, agop.agop(NET, X)) < MERGE


def test_in_place_functions_and_the_callers_data():
    Z, before = X.clone(), X.clone()
    value = agop.agop(nn.Sequential(nn.ReLU(inplace=True), NET), Z)
    assert relative_error(value, oracle.agop(lambda x: NET(torch.relu(x)), X)) < IDENTITY
    torch.testing.assert_close(Z, before, rtol=0, atol=0)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing(reentrant):
    from torch.utils.checkpoint import checkpoint

    value = agop.agop(lambda x: NET[2:](checkpoint(NET[:2], x, use_reentrant=reentrant)), X)
    assert relative_error(value, agop.agop(NET, X)) < MERGE
    assert all(p.grad is None and p.requires_grad for p in NET.parameters())


def test_float32_defaults_on_an_awkward_size():
    net, Z = mlp(6, 16, 4).float(), random(4097, 6, dtype=torch.float32)
    assert relative_error(agop.agop(net, Z), agop.agop(net.double(), Z.double())) < SINGLE


@pytest.mark.parametrize(
    ("f", "Z", "message"),
    [
        (lambda x: torch.ones(len(x), 2), X, "f: expected a function that depends on X"),
        (
            lambda x: x.sum(),
            X,
            r"output: expected one row of outputs per sample, \(b, c\)",
        ),
        (lambda x: x.sum(0), X, "expected one row of outputs per sample"),
        (lambda x: x - x.mean(0), X, "output of one sample depends on other samples"),
        (lambda x: x.cumsum(0), X, "output of one sample depends on other samples"),
        (lambda x: torch.softmax(x - x.mean(0), 1), X, "output of one sample depends on other samples"),
        (lambda x: torch.dropout(x, 0.5, True), X, "two runs on the same samples gave different outputs"),
        (NET, X[:0], "X: expected a tensor with samples along its first axis"),
        (NET, [], "X: expected a loader with at least one batch"),
    ],
)
def test_errors(f, Z, message):
    with pytest.raises(ValueError, match=message):
        agop.agop(f, Z)


def test_errors_of_type():
    with pytest.raises(TypeError, match="X: expected a floating-point tensor, got dtype torch.int64"):
        agop.agop(NET, torch.ones(3, 6, dtype=torch.int64))
    with pytest.raises(ValueError, match="outputs: expected an integer >= 1"):
        agop.agop(NET, X, outputs=0)
    with pytest.raises(ValueError, match="outputs: expected indices below 4"):
        agop.agop(NET, X, outputs=[4])
    with pytest.raises(ValueError, match="outputs: expected at least one"):
        agop.agop(NET, X, outputs=[])
    with pytest.raises(ValueError, match="call update first"):
        _ = agop.AGOPMoments().agop


def test_random_state_is_untouched():
    before = torch.random.get_rng_state()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X), batch_size=4, shuffle=True)
    agop.agop(NET, loader, outputs=2)
    with pytest.raises(ValueError, match="different outputs"):
        agop.agop(lambda x: torch.dropout(x, 0.5, True), X)
    assert torch.equal(before, torch.random.get_rng_state())
