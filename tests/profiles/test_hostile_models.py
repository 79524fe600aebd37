"""Models as people write them: the right numbers or one clear sentence, and the model comes back as it was."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import agop
from agop import Network
from tests.oracles import profiles as slow
from tests.profiles.test_network_stages import mlp, value


@pytest.fixture
def points(generator):
    x = torch.randn(40, 6, generator=generator)
    y = torch.arange(40) % 4
    return x + 2 * F.one_hot(y, 6), y


def snapshot(model):
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "modes": [part.training for part in model.modules()],
        "grads": {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()},
        "wanted": [p.requires_grad for p in model.parameters()],
        "hooks": [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for m in model.modules()
        ],
        "ids": [id(p) for p in model.parameters()],
    }


def assert_untouched(model, before):
    after = snapshot(model)
    assert {k: before[k] for k in ("modes", "wanted", "hooks", "ids")} == {
        k: after[k] for k in ("modes", "wanted", "hooks", "ids")
    }
    for name, tensor in before["state"].items():
        assert torch.equal(tensor, after["state"][name]), name
    for name, gradient in before["grads"].items():
        now = after["grads"][name]
        assert (now is None) if gradient is None else torch.equal(now, gradient), name


class Custom(nn.Module):
    """A module made of a forward function and parts."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self._run = forward

    def forward(self, *args, **kwargs):
        return self._run(self, *args, **kwargs)


def linear(*sizes, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(*sizes)


def test_an_in_place_relu_first_and_everywhere_changes_nothing(points):
    x, y = points
    safe = nn.Sequential(nn.ReLU(), linear(6, 8), nn.ReLU(), linear(8, 4))
    hostile = copy.deepcopy(safe)
    hostile[0].inplace = hostile[2].inplace = True
    kept = x.clone()
    p = agop.profile(hostile, x, y)
    assert torch.equal(x, kept)
    assert p.table.equals(agop.profile(safe, x, y).table)
    assert p.layers["nfa"].tolist() == agop.profile(safe, x, y).layers["nfa"].tolist()


def test_a_chosen_in_place_activation_is_read_before_it_writes(points):
    x, y = points
    p = agop.profile(
        nn.Sequential(linear(6, 8), nn.ReLU(inplace=True), linear(8, 4)), x, y, layers=["1"], measures=["nc1"]
    )
    net = nn.Sequential(linear(6, 8))
    h = net(x).detach()
    assert value(p, 1, "input", "nc1") == pytest.approx(slow.nc1(h, y), rel=1e-6)
    assert value(p, 1, "output", "nc1") == pytest.approx(slow.nc1(h.relu(), y), rel=1e-6)
    assert set(p.table["stage"]) == {"input", "output"}


def test_a_reused_layer_is_a_layer_for_every_call(points):
    x, y = points
    shared = linear(6, 6)
    net = Custom(
        lambda m, x: m.last(torch.relu(m.shared(torch.relu(m.shared(x))))), shared=shared, last=linear(6, 4)
    )
    p = agop.profile(net, x, y)
    assert p.layers["name"].tolist() == ["shared#0", "shared#1", "last"]
    h = torch.relu(shared(x)).detach()
    assert value(p, 2, "input", "nc1") == pytest.approx(slow.nc1(h, y), rel=1e-6)
    assert p.layers["nfa"].notna().all()
    assert_same_agop(p, net, x)


def assert_same_agop(p, net, x):
    agops = agop.layer_agops(net, x)
    for _, row in p.layers.iterrows():
        module = net.get_submodule(row["name"].split("#")[0])
        assert row["nfa"] == pytest.approx(agop.nfa(agop.nfm(module), agops[row["name"]]), abs=1e-4)


def test_of_a_tuple_the_first_tensor_is_taken_and_that_is_said(points):
    x, y = points
    parts = {"a": linear(6, 8), "b": linear(8, 4)}
    net = Custom(lambda m, x: (m.b(F.relu(m.a(x))), x), **parts)
    plain = Custom(lambda m, x: m.b(F.relu(m.a(x))), **parts)
    p = agop.profile(net, x, y)
    assert p.layers["nfa"].tolist() == agop.profile(plain, x, y).layers["nfa"].tolist()
    assert any("the first of a tuple of 0 (40, 4), 1 (40, 6)" in note for note in p.notes)
    assert not any("the first of" in note for note in agop.profile(Network(net, output=0), x, y).notes)


@pytest.mark.parametrize("training", [False, True])
def test_a_model_comes_back_as_it_was(points, training):
    x, y = points
    net = nn.Sequential(linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.5), linear(8, 4))
    net[0].requires_grad_(False)
    net(x).sum().backward()
    net.train(training)
    net[1].eval()
    net[3].register_forward_hook(lambda *_: None)
    state = torch.random.get_rng_state()
    before = snapshot(net)
    p = agop.profile(net, x, y)
    assert_untouched(net, before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert p.layers["follows"].tolist() == ["batch_norm → relu", ""]
    assert any("evaluation mode" in note for note in p.notes) == training
    assert p.layers["nfa"].notna().all()


def test_batchnorm_in_training_mode_is_measured_as_in_evaluation(points):
    x, y = points
    net = nn.Sequential(linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), linear(8, 4))
    net(x)
    net.train()
    p = agop.profile(net, x, y)
    assert p.table.equals(agop.profile(net.eval(), x, y).table)


def test_batchnorm_without_running_statistics_is_refused_in_a_sentence(points):
    x, y = points
    net = nn.Sequential(linear(6, 8), nn.BatchNorm1d(8, track_running_stats=False), linear(8, 4))
    before = snapshot(net)
    with pytest.raises(
        ValueError, match=r"module '1' \(BatchNorm1d\) normalises with the statistics of the batch"
    ):
        agop.profile(net, x, y)
    assert_untouched(net, before)


def test_a_model_comes_back_as_it_was_when_it_raises(points):
    x, y = points

    def fail(module, x):
        module.a(x)
        raise RuntimeError("in the middle")

    net = Custom(fail, a=linear(6, 8), norm=nn.BatchNorm1d(3)).train()
    before = snapshot(net)
    with pytest.raises(RuntimeError, match="in the middle"):
        agop.profile(net, x, y)
    assert_untouched(net, before)
    # and nothing of the follower is left behind
    assert torch.relu(torch.ones(1)).item() == 1


def test_a_compiled_model_is_the_model(points):
    x, y = points
    net = nn.Sequential(linear(6, 8), nn.ReLU(), linear(8, 4))
    compiled = torch.compile(net, backend="eager")
    assert agop.profile(compiled, x, y).table.equals(agop.profile(net, x, y).table)
    inside = nn.Sequential(torch.compile(net, backend="eager"), nn.Tanh())
    p = agop.profile(inside, x, y)
    assert p.layers["name"].tolist() == ["0.0", "0.2"]
    assert p.layers["follows"].tolist() == ["relu", "tanh"]


@pytest.mark.parametrize(
    ("after", "follows"),
    [
        (lambda y: F.relu(y), "relu"),
        (lambda y: F.relu(y, inplace=True), "relu"),
        (lambda y: y.relu_(), "relu"),
        (lambda y: torch.tanh(y), "tanh"),
        (lambda y: F.gelu(y), "gelu"),
        (lambda y: F.silu(F.layer_norm(y, (8,))), "layer_norm → silu"),
        (lambda y: F.dropout(y, training=False).clamp(min=0), "clamp"),
        (lambda y: nn.PReLU()(y), "prelu"),
        (lambda y: y + 1, ""),
        (lambda y: F.layer_norm(y, (8,)) + 1, "layer_norm"),
    ],
    ids=lambda item: item if isinstance(item, str) else "",
)
def test_the_nonlinearity_is_found_however_it_is_written(points, after, follows):
    x, y = points
    a, b = linear(6, 8), linear(8, 4)
    net = Custom(lambda m, x: m.b(after(m.a(x))), a=a, b=b)
    p = agop.profile(net, x, y, measures=["nc1"])
    assert p.layers["follows"].tolist() == [follows, ""]
    with torch.no_grad():
        reached = after(a(x))
        if not follows or ("→" not in follows and "norm" in follows):
            reached = reached - 1
    assert value(p, 1, "output", "nc1") == pytest.approx(slow.nc1(reached, y), rel=1e-5)


def test_an_in_place_addition_does_not_reach_back_into_the_output(points):
    x, y = points

    def residual(m, x):
        h = m.norm(m.a(x))
        h += 3 * x
        return m.b(torch.relu(h))

    net = Custom(residual, a=linear(6, 6), norm=nn.BatchNorm1d(6), b=linear(6, 4))
    p = agop.profile(net.eval(), x, y, measures=["nc1"])
    with torch.no_grad():
        assert value(p, 1, "output", "nc1") == pytest.approx(slow.nc1(net.norm(net.a(x)), y), rel=1e-5)
    assert p.layers["follows"].tolist() == ["batch_norm", ""]


def test_what_follows_can_be_said(points):
    x, y = points
    swish = Custom(lambda m, x: x * torch.sigmoid(x))
    net = Custom(lambda m, x: m.b(m.act(m.a(x))), a=linear(6, 8), act=swish, b=linear(8, 4))
    expected = slow.nc1(F.silu(net.a(x)).detach(), y)
    by_module = agop.profile(Network(net, nonlinearity={"a": "act"}), x, y, measures=["nc1"])
    by_function = agop.profile(Network(net, nonlinearity={"a": F.silu}), x, y, measures=["nc1"])
    nothing = agop.profile(Network(net, nonlinearity={"a": None}), x, y, measures=["nc1"])
    assert value(by_module, 1, "output", "nc1") == pytest.approx(expected, rel=1e-6)
    assert value(by_function, 1, "output", "nc1") == pytest.approx(expected, rel=1e-6)
    assert by_module.layers["follows"][0] == "act"
    assert value(nothing, 1, "output", "nc1") == pytest.approx(slow.nc1(net.a(x).detach(), y), rel=1e-6)
    with pytest.raises(ValueError, match="nonlinearity: expected for layer 'a' the name of a module"):
        agop.profile(Network(net, nonlinearity={"a": "missing"}), x, y)
    with pytest.raises(ValueError, match="nonlinearity"):
        agop.profile(Network(net, nonlinearity={"nowhere": None}), x, y)


def test_layers_that_are_never_called_are_left_out_with_a_note(points):
    x, y = points
    net = Custom(lambda m, x: m.b(m.a(x)), a=linear(6, 8), b=linear(8, 4), aux=linear(8, 2))
    p = agop.profile(net, x, y)
    assert p.layers["name"].tolist() == ["a", "b"]
    assert any(note == "left out: aux, the forward pass never calls it" for note in p.notes)
    with pytest.raises(ValueError, match="'aux': the forward pass never calls it"):
        agop.profile(net, x, y, layers=["a", "aux"], measures=["nc1"])


def test_a_transformer_has_tokens_pooled_and_the_projections_of_attention(generator):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        net = Custom(lambda m, x: m.head(m.encoder(x).mean(1)), encoder=encoder, head=nn.Linear(8, 3)).eval()
    x = torch.randn(12, 5, 8, generator=generator)
    y = torch.arange(12) % 3
    # as many tokens as samples: inside attention the time comes first
    square = agop.profile(net, x[:, :4].repeat(1, 3, 1), y, measures=["nc1"])
    assert value(square, 1, "input", "nc1") == pytest.approx(slow.nc1(x[:, :4].mean(1), y), rel=1e-4)
    p = agop.profile(net, x, y)
    attention = [f"encoder.self_attn.in_proj.{part}" for part in "qkv"] + ["encoder.self_attn.out_proj"]
    assert p.layers["name"].tolist() == [*attention, "encoder.linear1", "encoder.linear2", "head"]
    assert p.layers["follows"].tolist()[4] == "relu"
    assert value(p, 1, "input", "nc1") == pytest.approx(slow.nc1(x.mean(1), y), rel=1e-4)
    mixer = encoder.self_attn
    for number, weight in enumerate(mixer.in_proj_weight.detach().chunk(3), start=1):
        _, projected = slow.linear_stages(x.mean(1), weight)
        assert value(p, number, "projected", "nc1") == pytest.approx(slow.nc1(projected, y), rel=1e-3)
    assert_same_agop_of_parts(p, net, x)
    each = agop.profile(Network(net, pool="none"), x, y, measures=["nc1"])
    assert value(each, 1, "input", "nc1") == pytest.approx(
        slow.nc1(x.flatten(0, 1), y.repeat_interleave(5)), rel=1e-4
    )


def assert_same_agop_of_parts(p, net, x):
    agops = agop.layer_agops(net, x)
    for _, row in p.layers.iterrows():
        weight = agops.weights[row["name"]]
        assert row["nfa"] == pytest.approx(agop.nfa(weight.mT @ weight, agops[row["name"]]), abs=1e-4)


def test_time_may_come_first(generator):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = {"rnn": nn.LSTM(4, 6), "head": nn.Linear(6, 3)}
    net = Custom(lambda m, x: m.head(m.rnn(x.transpose(0, 1))[0][-1]), **parts)
    x = torch.randn(9, 5, 4, generator=generator)
    y = torch.arange(9) % 3
    p = agop.profile(net, x, y, measures=["nc1"])
    assert value(p, 1, "input", "nc1") == pytest.approx(slow.nc1(x.mean(1), y), rel=1e-4)


def test_a_layer_without_a_sample_axis_is_left_out_with_the_reason(points):
    x, y = points
    net = Custom(lambda m, x: m.b(m.a(x.reshape(-1, 2)).reshape(len(x), -1)), a=linear(2, 3), b=linear(9, 4))
    p = agop.profile(net, x, y)
    assert p.layers["name"].tolist() == ["b"]
    assert any(
        "left out: a, it reads float32 of shape (120, 2) where there are 40 samples" in n for n in p.notes
    )


def test_an_ansatz_that_cannot_be_measured_is_left_out_or_refused(points):
    x, y = points
    net = Custom(lambda m, x: m.b(m.a(x).detach()), a=linear(6, 8), b=linear(8, 4))
    p = agop.profile(net, x, y)
    assert p.layers["nfa"].isna().all()
    assert any(note.startswith("nfa was left out") for note in p.notes)
    assert p.table["nc1"].notna().all()
    with pytest.raises(ValueError, match="detach"):
        agop.profile(net, x, y, measures=["nc1", "nfa"])


def test_what_is_not_finite_is_refused(points):
    x, y = points
    net = nn.Sequential(linear(6, 8), nn.ReLU(), linear(8, 4))
    x[3, 2] = torch.nan
    with pytest.raises(ValueError, match="finite features"):
        agop.profile(net, x, y, measures=["nc1"])


def test_arrays_come_in_the_precision_of_the_model(points):
    x, y = points
    net = mlp(6, 8, 4)
    p = agop.profile(net, x.numpy().astype(np.float32), y.numpy())
    assert p.table.equals(agop.profile(net, x.double(), y).table)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"y": None}, "y: expected one label per sample"),
        ({"y": [0, 1]}, "as many rows as X"),
        ({"y": torch.zeros(40, 4)}, "argmax"),
        ({"pool": "max"}, "pool: expected one of"),
        ({"measures": ["nc9"]}, "measures: expected one of"),
        ({"X": "a.npz"}, "a tensor, an array or a loader"),
        ({"X": [(torch.ones(2, 6),)]}, "without labels"),
        ({"layers": [7]}, "layers: expected layers of the subject"),
        ({"layers": "missing"}, "layers: expected names"),
        ({"batch_size": 0}, "batch_size"),
    ],
    ids=lambda item: str(item)[:20],
)
def test_errors_are_one_sentence(points, change, sentence):
    x, y = points
    arguments = {"X": x, "y": y} | change
    if "X" in change:
        arguments["y"] = None
    net = nn.Sequential(linear(6, 8), nn.ReLU(), linear(8, 4))
    with pytest.raises((ValueError, TypeError), match=sentence):
        agop.profile(net, arguments.pop("X"), **arguments)


def test_layers_are_chosen_by_number_name_type_and_module(points):
    x, y = points
    net = nn.Sequential(linear(6, 8), nn.ReLU(), linear(8, 8), nn.ReLU(), linear(8, 4))
    for choice in ([3], "4", ["4"], net[4]):
        p = agop.profile(net, x, y, layers=choice, measures=["nc1"])
        assert p.layers["name"].tolist() == ["4"]
    assert agop.profile(net, x, y, layers=nn.Linear, measures=["nc1"]).layers["name"].tolist() == [
        "0",
        "2",
        "4",
    ]


def test_many_outputs_are_combined_at_random_and_that_is_said(points):
    x, y = points
    net = nn.Sequential(linear(6, 8), nn.Tanh(), linear(8, 100))
    p = agop.profile(net, x, y)
    assert any("32 random combinations of the 100 outputs" in note for note in p.notes)
    exact = agop.profile(Network(net, outputs=None), x, y)
    assert not any("random" in note for note in exact.notes)
    assert p.layers["nfa"].tolist() == pytest.approx(exact.layers["nfa"].tolist(), abs=0.1)
