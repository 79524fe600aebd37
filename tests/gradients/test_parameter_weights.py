"""The weights of layers as entries of parameters, whatever module holds them: FACT and the initial weights of any network."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import agop
from agop.gradients.parameter_weights import MADE, ParameterWeight, parameter_weights
from agop.profiles.network_training import weights_in
from tests.gradients.test_layers import seeded
from tests.gradients.test_uses import Run
from tests.oracles import training as slow
from tests.tolerances import IDENTITY, relative_error

DECAY = 0.01


def tokens(*shape, high=13):
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(0))


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def per_token(logits, y):
    """The mean over tokens, one number a sample."""
    losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
    return losses.reshape(y.shape).mean(1)


def test_gpt2_in_which_no_layer_is_a_linear_of_torch():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=13, n_positions=6, n_embd=8, n_layer=2, n_head=2)
    model = seeded(lambda: transformers.GPT2LMHeadModel(config))
    x, y = tokens(3, 4), tokens(3, 4)
    found = agop.fact(model, x, y, loss=per_token, weight_decay=DECAY)
    blocks = [
        f"transformer.h.{i}.{part}"
        for i in (0, 1)
        for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    ]
    assert list(found) == [*blocks, "lm_head"]

    def loss(returned, target):
        return per_token(returned.logits, target).sum()

    for name in blocks:
        assert relative_error(found[name], slow.fact(model, name, x, y, loss, DECAY)) < IDENTITY, name
        weight = model.get_submodule(name).weight.detach()
        assert relative_error(weights_in(model, name, x)[name].value, weight.mT) == 0, name
    # tied to the embedding, whose share of the gradient belongs to the critical point, too
    weight = model.lm_head.weight
    (gradient,) = torch.autograd.grad(loss(model(x), y) / len(x), weight)
    assert relative_error(found["lm_head"], -weight.detach().mT @ gradient / DECAY) < IDENTITY


PRODUCTS = {
    "matmul": (lambda m, x: x @ m.w, (5, 4), lambda w: w.mT),
    "linear of a view": (lambda m, x: F.linear(x, m.w.view(4, 5)), (20,), lambda w: w.view(4, 5)),
    "einsum": (lambda m, x: torch.einsum("ni,ki->nk", x, m.w), (4, 5), lambda w: w),
    "addmm": (lambda m, x: torch.addmm(x.new_zeros(4), x, m.w), (5, 4), lambda w: w.mT),
    "a slice of a larger one": (lambda m, x: F.linear(x, m.w[1:5, 2:]), (6, 7), lambda w: w[1:5, 2:]),
    "a copy": (lambda m, x: x @ m.w.t().clone().contiguous(), (4, 5), lambda w: w),
    "reversed": (lambda m, x: F.linear(x, m.w.flip(0)), (4, 5), lambda w: w.flip(0)),
    "of other precision": (lambda m, x: F.linear(x.float(), m.w.float()).double(), (4, 5), lambda w: w),
    "matrix first": (lambda m, x: (m.w @ x.mT).mT, (4, 5), lambda w: w),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_any_product_of_ones_own(name):
    run, shape, arranged = PRODUCTS[name]
    model = seeded(lambda: nn.Sequential(Run(run, w=torch.randn(shape)), nn.Tanh(), nn.Linear(4, 3)))
    if name == "of other precision":
        # exact in single precision, so that W is the parameter
        model[0].w.data = model[0].w.data.float().double()
    x, y = random(10, 5), tokens(10, high=3)
    found = agop.fact(model, x, y, weight_decay=DECAY)
    assert list(found) == ["0.w", "2"]
    expected = slow.fact(model, "0", x, y, F.cross_entropy, DECAY)
    assert relative_error(found["0.w"], expected) < (1e-6 if name == "of other precision" else IDENTITY)
    own = weights_in(model, None, x)["0.w"]
    assert torch.equal(own.value, arranged(model[0].w.detach()))
    assert torch.equal(own.take([2 * model[0].w.detach()]), 2 * own.value)


def test_groups_and_transposed_convolutions():
    model = seeded(
        lambda: nn.Sequential(nn.Conv1d(4, 6, 2, groups=2), nn.Tanh(), nn.ConvTranspose1d(6, 2, 2), nn.Flatten(), nn.Linear(10, 3))
    )  # fmt: skip
    x, y = random(8, 4, 5), tokens(8, high=3)
    weights = weights_in(model, None, x)
    agops = agop.layer_agops(model, x)
    for name, own in weights.items():
        assert torch.equal(own.value, agops.weights[name]) if name in agops.weights else name == "2"
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), y), model[2].weight)
    found = agop.fact(model, x, y, weight_decay=DECAY)
    flat = model[2].weight.detach().flatten(1)
    assert relative_error(found["2"], -flat @ gradient.flatten(1).mT / DECAY) < IDENTITY


def test_attention_is_told_in_its_parts():
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
            self.head = nn.Linear(6, 3)

        def forward(self, x):
            return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))

    model = seeded(Attending)
    x, y = random(7, 4, 6), tokens(7, high=3)
    found = agop.fact(model, x, y, weight_decay=DECAY)
    parts = [f"attention.in_proj.{part}" for part in "qkv"]
    assert set(found) == {*parts, "attention.out_proj", "head"}
    packed = model.attention.in_proj_weight
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), y), packed)
    for name, weight, pulled in zip(parts, packed.detach().chunk(3), gradient.chunk(3), strict=True):
        assert relative_error(found[name], -weight.mT @ pulled / DECAY) < IDENTITY
    whole = agop.fact(model, x, y, weight_decay=DECAY, layers="attention.in_proj")
    assert relative_error(whole["attention.in_proj"], sum(found[name] for name in parts)) < IDENTITY


def test_recurrent_kernels_and_cells():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(3, 4, batch_first=True, bidirectional=True)
            self.cell = nn.LSTMCell(8, 5)
            self.head = nn.Linear(5, 3)

        def forward(self, x):
            return self.head(self.cell(self.rnn(x)[0][:, -1])[0])

    model = seeded(Recurrent)
    x, y = random(6, 4, 3), tokens(6, high=3)
    found = agop.fact(model, x, y, weight_decay=DECAY)
    assert {"rnn", "cell.weight_ih", "head"} <= set(found)
    weights = [model.rnn.weight_ih_l0, model.rnn.weight_ih_l0_reverse]
    gradients = torch.autograd.grad(F.cross_entropy(model(x), y), weights)
    expected = -sum(w.detach().mT @ g for w, g in zip(weights, gradients, strict=True)) / DECAY
    assert relative_error(found["rnn"], expected) < IDENTITY


class Quantised(nn.Module):
    """A weight that is stored in eight bits."""

    def __init__(self):
        super().__init__()
        self.register_buffer("codes", torch.randint(-20, 20, (4, 5), dtype=torch.int8))
        self.register_buffer("scale", torch.rand(4, 1))

    def forward(self, x):
        return F.linear(x, self.codes.to(x.dtype) * self.scale)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: parametrizations.weight_norm(nn.Linear(5, 4)), MADE),
        (lambda: prune.random_unstructured(nn.Linear(5, 4), "weight", 0.5), MADE),
        (lambda: Run(lambda m, x: x @ (m.w + m.w.flip(0)), w=torch.randn(5, 4)), MADE),
        (lambda: Run(lambda m, x: x @ (2 * m.w), w=torch.randn(5, 4)), MADE),
        (lambda: Run(lambda m, x: x @ m.w.detach(), w=torch.randn(5, 4)), "its weight is no parameter, or is cut off from it"),
        (Quantised, "its weight is no parameter, or is cut off from it"),
    ],
)  # fmt: skip
def test_what_is_no_choice_of_entries_is_told(build, reason):
    model = seeded(lambda: nn.Sequential(build(), nn.Tanh(), nn.Linear(4, 3)))
    x, y = random(6, 5), tokens(6, high=3)
    first, *_ = agop.fact(model, x, y, weight_decay=DECAY).residuals.values()
    assert first.undefined_because == reason


def test_one_weight_used_in_two_ways_has_both_and_used_alike_has_one():
    def run(m, x):
        return torch.tanh(torch.tanh(torch.tanh(x @ m.w) @ m.w) @ m.w.mT)

    model = seeded(lambda: Run(run, w=torch.randn(4, 4)))
    x, y = random(6, 4), tokens(6, high=4)
    found = agop.fact(model, x, y, weight_decay=DECAY)
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), y), model.w)
    W = model.w.detach()
    assert list(found) == ["w#0", "w#1", "w#2"]
    assert relative_error(found["w#1"], -W @ gradient.mT / DECAY) < IDENTITY
    assert relative_error(found["w#2"], -W.mT @ gradient / DECAY) < IDENTITY


def test_a_large_weight_is_found_in_half_precision():
    model = Run(lambda m, x: x @ m.w.t().contiguous(), w=torch.randn(300, 300)).to(torch.bfloat16)
    own = parameter_weights(model, None, torch.ones(2, 300, dtype=torch.bfloat16))["w"]
    values = torch.arange(90_000.0, dtype=torch.float64).reshape(300, 300)
    assert isinstance(own, ParameterWeight)
    assert torch.equal(own.take([values]), values)


def test_nothing_is_left_behind_when_the_model_raises():
    def explode(m, x):
        raise KeyError(x @ m.w)

    model = Run(explode, w=torch.randn(4, 4))
    model.w.requires_grad_(False)
    with pytest.raises(KeyError):
        parameter_weights(model, None, torch.ones(2, 4))
    assert not model.w.requires_grad
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.overrides._get_current_function_mode_stack() == []


def test_initial_weights_of_a_network_of_ones_own():
    model = seeded(
        lambda: nn.Sequential(Run(lambda m, x: x @ m.w, w=torch.randn(5, 4)), nn.Tanh(), nn.Linear(4, 3))
    )
    start = {name: torch.randn_like(value) for name, value in model.state_dict().items()}
    x, y = random(10, 5), tokens(10, high=3)
    table = agop.profile(agop.Network(model, initial=start), x, y, measures=["centred_nfa"]).layers.set_index(
        "name"
    )
    learned = (model[0].w.detach() - start["0.w"]).mT
    K = slow.output_gram(model, "0", x)
    a, b = learned.mT @ learned, learned.mT @ K @ learned
    assert table.loc["0.w", "centred_nfa"] == pytest.approx(
        float((a * b).sum() / (a.norm() * b.norm())), rel=1e-9
    )


def test_flags_of_frozen_parameters_stay():
    model = seeded(lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)))
    model[0].weight.requires_grad_(False)
    before = [p.requires_grad for p in model.parameters()]
    agop.fact(model, random(10, 5), tokens(10, high=3), weight_decay=DECAY)
    assert [p.requires_grad for p in model.parameters()] == before
    assert all(p.grad is None for p in model.parameters())
