"""Every use of a weight in a linear map is a layer, whatever computes it: inputs, weights and AGOPs against per-sample Jacobians."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune
from torch import nn

import agop
from tests.gradients.test_layers import seeded
from tests.gradients.test_outer import random
from tests.oracles import uses as slow
from tests.tolerances import IDENTITY, relative_error


class Run(nn.Module):
    """A module made of a function, parts and parameters."""

    def __init__(self, run, parts=(), **weights):
        super().__init__()
        self.run = run
        for name, part in dict(parts).items():
            setattr(self, name, part)
        for name, weight in weights.items():
            setattr(self, name, nn.Parameter(weight))

    def forward(self, x):
        return self.run(self, x)


def between(middle, width=6, out=5):
    """A network of tokens with `middle` between two Linear layers, so that its input depends on the samples."""
    return nn.Sequential(
        nn.Linear(4, width), nn.Tanh(), middle, nn.Tanh(), nn.Flatten(), nn.Linear(3 * out, 2)
    )


TOKENS = random(4, 3, 4)

WAYS = {
    "linear": lambda m, x: F.linear(x, m.w.T),
    "matmul": lambda m, x: x @ m.w + m.b,
    "addmm": lambda m, x: torch.addmm(m.b, x.reshape(-1, 6), m.w).view(len(x), 3, 5),
    "scaled addmm": lambda m, x: torch.addmm(m.b, x.reshape(-1, 6), m.w, alpha=0.5, beta=2.0).view(
        len(x), 3, 5
    ),
    "residual addmm": lambda m, x: torch.addmm(
        x.reshape(-1, 6)[:, :5], x.detach().reshape(-1, 6) * 0 + x.reshape(-1, 6), m.w
    ).view(len(x), 3, 5),
    "left": lambda m, x: (m.w.T @ x.mT).mT,
    "bmm": lambda m, x: torch.bmm(x, m.w.expand(len(x), -1, -1)),
    "baddbmm": lambda m, x: torch.baddbmm(m.b, x, m.w.unsqueeze(0).expand(len(x), -1, -1)),
    "einsum": lambda m, x: torch.einsum("bti,io->bto", x, m.w),
    "einsum ellipsis": lambda m, x: torch.einsum("...i,io", x, m.w),
    "einsum left": lambda m, x: torch.einsum("io,bti->tbo", m.w, x).transpose(0, 1),
    "tensordot": lambda m, x: torch.tensordot(x, m.w, dims=([2], [0])),
    "inner": lambda m, x: torch.inner(x, m.w.T),
    "aten": lambda m, x: torch.ops.aten.linear(x, m.w.T),
    "computed": lambda m, x: x @ (m.w * m.b.exp()),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_product_with_a_parameter_is_a_layer(way):
    def build():
        return between(Run(WAYS[way], w=torch.randn(6, 5), b=torch.randn(5)))

    model = seeded(build)
    result = agop.layer_agops(model, TOKENS)
    name = "2" if way == "computed" else "2.w"
    assert list(result) == ["0", name, "5"]
    assert result.rows[name] == 12
    middle = model[2]
    if way != "residual addmm":
        assert relative_error(result[name], slow.agop_through(model, TOKENS, middle)) < IDENTITY
    factor = {"scaled addmm": 0.5, "computed": middle.b.detach().exp()[:, None]}.get(way, 1.0)
    assert relative_error(result.weights[name], factor * middle.w.detach().T) < IDENTITY
    assert result.coverage.complete
    assert not result.notes


def test_heads_and_experts_are_groups():
    def build():
        run = Run(
            lambda m, x: torch.einsum("bthd,hde->bthe", x.unflatten(-1, (2, 3)), m.w).flatten(2),
            w=torch.randn(2, 3, 5),
        )
        return between(run, out=10)

    model = seeded(build)
    value = agop.layer_agops(model, TOKENS, "2.w")["2.w"]
    rows, n = slow.rows_through(model, TOKENS, model[2])
    rows = rows.reshape(-1, 3)
    assert value.shape == (3, 3)
    assert relative_error(value, rows.T @ rows / (n * 3)) < IDENTITY


def test_one_map_to_all_heads_has_their_outputs_side_by_side():
    def build():
        run = Run(lambda m, x: torch.einsum("btd,hde->bthe", x, m.w).flatten(2), w=torch.randn(2, 6, 5))
        return between(run, out=10)

    model = seeded(build)
    result = agop.layer_agops(model, TOKENS)
    assert relative_error(result["2.w"], slow.agop_through(model, TOKENS, model[2])) < IDENTITY
    assert result.weights["2.w"].shape == (10, 6)


def test_a_weight_used_several_times_and_a_tied_one():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.block, self.head = (
                nn.Embedding(7, 6),
                nn.Linear(6, 6),
                nn.Linear(6, 7, bias=False),
            )
            self.head.weight = self.embed.weight

        def forward(self, x):
            h = self.embed(x)
            h = torch.tanh(F.linear(torch.tanh(self.block(h)), self.block.weight))
            return self.head(h.mean(1))

    model = seeded(Tied)
    tokens = torch.randint(7, (4, 3), generator=torch.Generator().manual_seed(0))
    result = agop.layer_agops(model, tokens)
    assert list(result) == ["block#0", "block#1", "head"]
    assert result.coverage.complete
    assert list(agop.layer_agops(model, tokens, "block#1")) == ["block#1"]


CELLS = {
    "lstm": lambda: nn.LSTMCell(4, 5),
    "gru": lambda: nn.GRUCell(4, 5, bias=False),
    "tanh": lambda: nn.RNNCell(4, 5),
    "relu": lambda: nn.RNNCell(4, 5, nonlinearity="relu"),
}


@pytest.mark.parametrize("kind", CELLS)
def test_the_two_weights_of_a_recurrent_cell(kind):
    def run(m, x):
        state = None
        for step in x.unbind(1):
            state = m.cell(step, state)
        return m.head(state[0] if isinstance(state, tuple) else state)

    model = seeded(lambda: Run(run, parts={"cell": CELLS[kind](), "head": nn.Linear(5, 2)}))
    result = agop.layer_agops(model, TOKENS)
    assert list(result)[:4] == [
        "cell.weight_ih#0",
        "cell.weight_hh#0",
        "cell.weight_ih#1",
        "cell.weight_hh#1",
    ]
    # the written-out cell is the fused one
    with torch.no_grad():
        written = model(TOKENS)
    assert relative_error(written, model(TOKENS).detach()) < IDENTITY
    for call in range(3):
        expected = slow.agop_through(model, TOKENS, model.cell, call=call)
        assert relative_error(result[f"cell.weight_ih#{call}"], expected) < IDENTITY
    W = model.cell.weight_hh.detach()
    assert relative_error(result.weights["cell.weight_hh#2"], W) < IDENTITY


def test_a_selective_scan_as_in_mamba():
    def scan(m, x):
        u = m.inner(x)
        delta, B, C = F.softplus(m.dt(u)), m.to_b(u), u @ m.to_c
        state = torch.zeros(len(x), 5, 2, dtype=x.dtype)
        out = []
        for t in range(x.shape[1]):
            state = (
                torch.exp(delta[:, t, :, None] * m.a) * state
                + delta[:, t, :, None] * B[:, t, None] * u[:, t, :, None]
            )
            out.append((state * C[:, t, None]).sum(-1))
        return m.head(torch.stack(out, 1).mean(1))

    def build():
        parts = {
            "inner": nn.Linear(4, 5),
            "dt": nn.Linear(5, 5),
            "to_b": nn.Linear(5, 2),
            "head": nn.Linear(5, 2),
        }
        return Run(scan, parts, to_c=torch.randn(5, 2), a=-torch.rand(5, 2))

    model = seeded(build)
    result = agop.layer_agops(model, TOKENS)
    assert list(result) == ["inner", "dt", "to_b", "to_c", "head"]
    assert result.coverage.complete  # the decay rates multiply entry by entry: no matrix
    expected = slow.module_agops(model, TOKENS)
    assert all(relative_error(result[name], value) < IDENTITY for name, value in expected.items())


class LowRank(nn.Linear):
    def __init__(self, *args):
        super().__init__(*args)
        self.a, self.b = nn.Parameter(torch.randn(2, 6)), nn.Parameter(torch.randn(5, 2))

    def forward(self, x):
        return super().forward(x) + 0.5 * (x @ self.a.T @ self.b.T)


def test_an_adapter_is_its_effective_map_and_its_factors():
    model = seeded(lambda: between(LowRank(6, 5)))
    result = agop.layer_agops(model, TOKENS)
    assert list(result) == ["0", "2.weight", "2.a", "2.b", "2", "5"]
    layer = model[2]
    effective = (layer.weight + 0.5 * layer.b @ layer.a).detach()
    assert relative_error(result.weights["2"], effective) < IDENTITY
    assert relative_error(result["2"], slow.agop_through(model, TOKENS, layer)) < IDENTITY
    delta = torch.linalg.lstsq(
        effective.T, torch.eye(6, dtype=torch.float64)
    ).solution  # W has full column rank 5 of 6
    assert delta.shape == (5, 6)
    # each factor's AGOP is the same mean gradient at y, carried back by another matrix
    inner = torch.linalg.pinv(effective.T) @ result["2"] @ torch.linalg.pinv(effective)
    a, b = layer.a.detach(), 0.5 * layer.b.detach()
    assert relative_error(result["2.b"] / 4, b.T @ inner @ b / 4) < 1e-8
    assert relative_error(result["2.a"], (b @ a).T @ inner @ (b @ a)) < 1e-8
    assert relative_error(result["2.weight"], layer.weight.detach().T @ inner @ layer.weight.detach()) < 1e-8


def test_weights_that_are_stored_otherwise_are_read_by_their_effective_value():
    class Quantised(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("q", torch.randint(-8, 8, (5, 6), dtype=torch.int8))
            self.register_buffer("scale", torch.rand(5, 1))

        def forward(self, x):
            return F.linear(x, self.q.to(x.dtype) * self.scale)

    orthogonal = nn.utils.parametrizations.orthogonal(nn.Linear(6, 5))
    pruned = nn.utils.prune.random_unstructured(nn.Linear(6, 5), "weight", 0.4)
    for layer in (Quantised(), orthogonal, pruned):
        model = seeded(lambda layer=layer: between(layer))
        result = agop.layer_agops(model, TOKENS)
        assert list(result) == ["0", "2", "5"]
        W = model[2].q.double() * model[2].scale if isinstance(layer, Quantised) else model[2].weight.detach()
        assert relative_error(result.weights["2"], W) < IDENTITY
        assert relative_error(result["2"], slow.agop_through(model, TOKENS, model[2])) < IDENTITY


def test_a_weight_made_of_several_parameters_is_called_by_its_module():
    model = seeded(lambda: nn.Sequential(agop.RankR((3, 4), 5, rank=2), nn.Tanh(), nn.Linear(5, 3)))
    result = agop.layer_agops(model, TOKENS)
    assert list(result) == ["0.linear", "2"]
    assert relative_error(result.weights["0.linear"], model[0].linear.weight.detach()) < IDENTITY


def test_transposed_convolutions():
    images = random(3, 4, 5, 5)

    def build():
        layer = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2)
        return nn.Sequential(
            nn.Conv2d(4, 4, 1), nn.Tanh(), layer, nn.Tanh(), nn.Flatten(), nn.Linear(6 * 121, 2)
        )

    model = seeded(build)
    result = agop.layer_agops(model, images)
    rows, n = slow.rows_through(model, images, model[2], axis=1)
    rows = rows.reshape(-1, 2, 2).flatten(0, 1)
    assert relative_error(result["2"], rows.T @ rows / (n * 25)) < IDENTITY


def test_samples_are_found_among_merged_positions():
    def windows(m, x):
        two = x.unflatten(1, (2, 2)).reshape(-1, 2, 6)  # two windows of two tokens each
        return F.relu(two @ m.w + m.b).reshape(len(x), 4, 5)

    model = seeded(
        lambda: nn.Sequential(
            nn.Linear(4, 6),
            nn.Tanh(),
            Run(windows, w=torch.randn(6, 5), b=torch.randn(5)),
            nn.Flatten(),
            nn.Linear(20, 2),
        )
    )
    x, y = random(6, 4, 4), torch.arange(6) % 2
    p = agop.profile(model, x, y, measures=["nc1"])
    h = model[:2](x).detach()
    out = torch.relu(h @ model[2].w + model[2].b).detach()
    rows = p.table[p.table["name"] == "2.w"].set_index("stage")["nc1"]
    for stage, features in (("input", h.mean(1)), ("output", out.mean(1))):
        expected = float(agop.nc1(agop.ClassMoments.of(features, y)))
        assert rows[stage] == pytest.approx(expected, rel=1e-9)
    assert p.layers.set_index("name")["follows"]["2.w"] == "relu"


def test_what_cannot_be_read_is_listed_and_the_header_counts():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head, self.aux = nn.Linear(4, 6), nn.Linear(5, 2), nn.Linear(3, 3)
            self.pair = nn.Bilinear(6, 6, 5)
            self.table, self.free = nn.Embedding(3, 4), nn.Parameter(torch.randn(2, 2))
            self.hyper = nn.Linear(4, 24)

        def forward(self, x):
            h = torch.tanh(self.body(x + self.table.weight[0]))
            per_sample = self.hyper(x).mean(1)
            h = h + 0.1 * torch.stack([F.linear(one, w.view(6, 4)) for one, w in zip(x, per_sample)])
            return self.head(self.pair(h, h).mean(1))

    model = seeded(Hidden)
    result = agop.layer_agops(model, TOKENS)
    assert list(result) == ["body", "hyper", "head"]
    notes = " | ".join(result.notes)
    assert "layer 'aux' (Linear), which was never called" in notes
    assert "left out: free, no operation that can be seen uses it" in notes
    assert "left out: pair, " in notes
    assert "left out: model (Hidden), its weight depends on the samples" in notes
    assert "table" not in notes
    assert repr(result).startswith("LayerAGOPs(3 of 6 weight matrices: {")
    y = torch.arange(4) % 2
    p = agop.profile(model, TOKENS, y, measures=["nc1"])
    assert str(p).startswith("Profile of Hidden, 3 of 6 weight matrices: accuracy")
    assert any("left out: free" in note for note in p.notes)


def test_everything_is_put_back_after_a_raise():
    def explode(m, x):
        x @ m.w
        raise RuntimeError("boom")

    model = seeded(lambda: between(Run(explode, w=torch.randn(6, 5))))
    state = torch.random.get_rng_state()
    for function in (
        lambda: agop.layer_agops(model, TOKENS),
        lambda: agop.profile(model, TOKENS, [0, 1, 0, 1]),
    ):
        with pytest.raises(RuntimeError, match="boom"):
            function()
        assert torch.equal(torch.random.get_rng_state(), state)
        assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
        assert all(p.grad is None and p.requires_grad for p in model.parameters())
        assert torch.overrides._get_current_function_mode_stack() == []


@pytest.mark.parametrize("batch_first", [True, False])
def test_padding_counts_nowhere_inside_attention(batch_first):
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 8)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
            self.head = nn.Linear(8, 3)

        def forward(self, x, attention_mask=None):
            h = self.first(x) if batch_first else self.first(x).transpose(0, 1)
            padding = None if attention_mask is None else attention_mask == 0
            h, _ = self.attention(h, h, h, key_padding_mask=padding, need_weights=False)
            return self.head(h if batch_first else h.transpose(0, 1))

    model = seeded(Attending)
    lengths = [3, 5, 5, 2, 4, 5, 1]
    x = torch.randn(7, 5, 4, generator=torch.Generator().manual_seed(0)).double()
    mask = (torch.arange(5) < torch.tensor(lengths)[:, None]).long()
    result = agop.layer_agops(model, {"x": x, "attention_mask": mask})
    assert set(result.rows.values()) == {sum(lengths)}
    alone = [agop.layer_agops(model, x[i : i + 1, :n], check=False) for i, n in enumerate(lengths)]
    for name, value in result.items():
        expected = sum(one[name] * n for one, n in zip(alone, lengths)) / sum(lengths)
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
