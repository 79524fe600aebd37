"""Networks whose depth is inferred: the posterior of depths, the bound by hand, growing, and going on."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import poisson
from torch.nn import functional as F

import agop
from agop.networks.unbounded_depth import UnboundedDepthNet, make_optimiser, train_unbounded_depth, truncation


def points(n=60, seed=0):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0] * x[:, 1] > 0).long()


@pytest.mark.parametrize("nu", [0.01, 0.5, 1.0, 2.0, 3.7, 10.0, 40.0])
def test_the_posterior_covers_as_much_as_it_has_to(nu):
    a = truncation(nu)
    assert poisson.cdf(a, nu) >= 0.95
    assert a == int(nu) + 1 or poisson.cdf(a - 1, nu) < 0.95
    net = UnboundedDepthNet(2, 2, nu=nu)
    expected = poisson.pmf(range(a + 1), nu) / poisson.cdf(a, nu)
    torch.testing.assert_close(
        net.depth_probabilities().detach().double(), torch.tensor(expected), rtol=1e-4, atol=1e-6
    )
    assert net.expected_depth() == pytest.approx(float((expected * range(1, a + 2)).sum()), rel=1e-4)
    assert len(net.hidden) == net.depth == a + 1


def test_the_bound_is_that_of_its_formula():
    x, y = points()
    net = UnboundedDepthNet(2, 3, nu=0.7, alpha=0.4, tau=1.3, width=5).double()
    x = x.double()
    h, total, q = x, 0.0, net.depth_probabilities().detach()
    below = 0.0
    for k, (layer, head) in enumerate(zip(net.hidden, list(net.heads)[1:], strict=True)):
        h = torch.relu(h @ layer.weight.mT + layer.bias)
        logits = h @ head.weight.mT + head.bias
        likelihood = float(torch.log_softmax(logits, 1)[torch.arange(len(y)), y].mean()) * 500
        below += sum(float(p.square().sum()) for p in layer.parameters())
        own = sum(float(p.square().sum()) for p in head.parameters())
        prior = poisson.logpmf(k, 0.4)
        total += float(q[k]) * (likelihood - (below + own) / (2 * 1.3**2) + prior - math.log(float(q[k])))
    assert float(net.elbo(x, y, 500)) == pytest.approx(total, rel=1e-10)
    first = F.cross_entropy(net.heads[0](x), y) + sum(p.square().sum() for p in net.heads[0].parameters()) / (
        2 * 1.3**2 * 500
    )
    assert float(net.loss(x, y, 500)) == pytest.approx(float(first) - total / 500, rel=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "nu", [105.0, *(pytest.param(nu, marks=pytest.mark.slow) for nu in (90.0, 120.0, 250.0))]
)
def test_shares_below_the_range_of_the_dtype_count_nothing(nu, dtype):
    x, y = points()
    net = UnboundedDepthNet(2, 2, nu=nu).to(dtype)
    bound = net.elbo(x.to(dtype), y)
    bound.backward()
    assert bool(torch.isfinite(bound))
    assert bool(torch.isfinite(net.raw_nu.grad))
    assert bool(torch.isfinite(net(x.to(dtype))).all())
    again = UnboundedDepthNet(2, 2, nu=nu).double()
    assert float(bound.detach()) == pytest.approx(float(again.elbo(x.double(), y).detach()), rel=1e-4)


def test_a_state_of_another_prior_or_seed_is_refused_and_nothing_is_lost():
    first = UnboundedDepthNet(2, 2, nu=5.0, seed=1)
    for change in ({"seed": 2}, {"alpha": 0.7}, {"tau": 2.0}):
        other = UnboundedDepthNet(2, 2, **({"seed": 1} | change))
        layers = len(other.hidden)
        with pytest.raises(
            ValueError, match="state_dict: expected one of a network with .*build the network"
        ):
            other.load_state_dict(first.state_dict())
        assert len(other.hidden) == layers


def deepen(net, epoch):
    """After ten epochs, ask for layers: whether batches do depends on their order, which releases of torch draw differently."""
    if epoch == 10:
        with torch.no_grad():
            net.raw_nu.fill_(1.0)


def test_the_training_loop_itself_adds_a_group_for_each_layer_and_keeps_the_state():
    x, y = points()
    net = UnboundedDepthNet(2, 2, nu=0.3, seed=1)
    optimiser = make_optimiser(net, 0.02, 0.2)
    steps, counts = [], []
    for epoch in train_unbounded_depth(net, x, y, epochs=30, batch_size=20, optimiser=optimiser):
        deepen(net, epoch)
        steps.append(float(optimiser.state[net.hidden[0].weight]["step"]))
        counts.append(len(net.hidden))
    assert counts[-1] > counts[0]
    assert steps == [
        3.0 * (epoch + 1) for epoch in range(30)
    ]  # 60 samples in batches of 20, never begun anew
    for layer, head, group in zip(net.hidden, list(net.heads)[1:], optimiser.param_groups[2:], strict=True):
        assert {id(p) for p in group["params"]} == {id(p) for p in (*layer.parameters(), *head.parameters())}


def test_the_mixture_is_a_distribution_and_the_first_head_is_not_in_it():
    x, _ = points()
    net = UnboundedDepthNet(2, 3, nu=2.0)
    shares = net(x).exp()
    assert torch.allclose(shares.sum(1), torch.ones(60), atol=1e-5)
    _, outputs = net.layer_outputs(x)
    q = net.depth_probabilities()
    by_hand = sum(p * torch.softmax(o, 1) for p, o in zip(q, outputs[1:], strict=True))
    torch.testing.assert_close(shares, by_hand)
    net.elbo(x, torch.zeros(60, dtype=torch.long)).backward()
    assert net.heads[0].weight.grad is None


def test_what_is_grown_later_is_what_would_have_been_there():
    x, _ = points()
    early, late = UnboundedDepthNet(2, 2, nu=6.0, seed=3), UnboundedDepthNet(2, 2, nu=1.0, seed=3)
    before = late(x)
    short = len(late.hidden)
    with torch.no_grad():
        late.raw_nu.copy_(early.raw_nu)
    made = late.grow()
    assert len(made) == 4 * (len(early.hidden) - short) > 0
    assert not late.grow()
    torch.testing.assert_close(late(x), early(x))
    with torch.no_grad():
        late.raw_nu.copy_(UnboundedDepthNet(2, 2, nu=1.0).raw_nu)
    assert torch.equal(late(x), before)  # it has shrunk, and forgotten nothing
    assert late.depth == short < len(late.hidden)


def trained(net, optimiser, x, y, epochs, done=0):
    options = {"epochs": epochs, "batch_size": 20, "optimiser": optimiser, "done": done}
    for epoch in train_unbounded_depth(net, x, y, **options):
        deepen(net, epoch)


def test_training_raises_the_bound_and_goes_on_where_it_was_cut_off():
    x, y = points()
    whole = UnboundedDepthNet(2, 2, nu=0.3, seed=1)
    start, optimiser = float(whole.elbo(x, y)), make_optimiser(whole, 0.02, 0.2)
    trained(whole, optimiser, x, y, 30)
    assert float(whole.elbo(x, y)) > start
    assert len(optimiser.param_groups) == 2 + len(whole.hidden) > 4, "layers that were made have joined"

    first = UnboundedDepthNet(2, 2, nu=0.3, seed=1)
    half = make_optimiser(first, 0.02, 0.2)
    trained(first, half, x, y, 17)
    again = UnboundedDepthNet(2, 2, seed=1)
    again.load_state_dict(first.state_dict())
    rest = make_optimiser(again, 0.02, 0.2)
    rest.load_state_dict(half.state_dict())
    trained(again, rest, x, y, 30, done=17)
    assert torch.equal(again(x), whole(x))


def test_old_parameters_keep_their_state_when_layers_join():
    x, y = points()
    net = UnboundedDepthNet(2, 2, nu=0.3)
    optimiser = make_optimiser(net, 0.01)
    trained(net, optimiser, x, y, 2)
    kept = optimiser.state[net.hidden[0].weight]["exp_avg"].clone()
    steps = float(optimiser.state[net.hidden[0].weight]["step"])
    with torch.no_grad():
        net.raw_nu.fill_(5.0)
    made = net.grow()
    optimiser.add_param_group({"params": made})
    assert torch.equal(optimiser.state[net.hidden[0].weight]["exp_avg"], kept)
    trained(net, optimiser, x, y, 3, done=2)
    assert float(optimiser.state[net.hidden[0].weight]["step"]) == steps + 3
    assert float(optimiser.state[made[0]]["step"]) == 3


def test_every_layer_is_measured_with_its_own_head():
    x, y = points(90)
    net = UnboundedDepthNet(2, 2, nu=2.0)
    for _ in train_unbounded_depth(net, x, y, epochs=20, batch_size=30):
        pass
    found = agop.profile(net, x, y, measures=["nc1", "nc3", "nc4", "nc2"])
    table = found.to_frame()
    outputs = table[table["stage"] == "output"]
    assert len(outputs) == net.depth
    states, _ = net.layer_outputs(x)
    for place in (0, net.depth - 1):
        moments = agop.ClassMoments.of(states[place + 1].detach(), y, 2)
        expected = float(agop.nc3(moments, net.heads[place + 1].weight.detach()))
        assert outputs["nc3"].iloc[place] == pytest.approx(expected, rel=1e-5)
    assert outputs[["nc3", "nc4"]].notna().all(axis=None)
    assert table[table["stage"] == "input"]["nc3"].isna().all()


@pytest.mark.parametrize(
    ("change", "words"),
    [({"nu": 0}, "nu"), ({"nu": 1e9}, "nu"), ({"width": 0}, "width"), ({"n_classes": 1}, "n_classes"),
     ({"alpha": -1}, "alpha"), ({"tau": 0}, "tau"), ({"seed": -1}, "seed"), ({"n_features": 0}, "n_features")],
)  # fmt: skip
def test_bad_options_are_one_sentence(change, words):
    with pytest.raises(ValueError, match=f"{words}: expected"):
        UnboundedDepthNet(**({"n_features": 2, "n_classes": 2} | change))


def test_bad_input_is_one_sentence():
    x, y = points()
    net = UnboundedDepthNet(3, 2)
    with pytest.raises(ValueError, match=r"x: expected shape \(n, 3\), got \(60, 2\)"):
        net(x)
    net = UnboundedDepthNet(2, 2)
    with pytest.raises(ValueError, match="lr: expected a training that converges"):
        next(train_unbounded_depth(net, x * float("nan"), y, epochs=1))
