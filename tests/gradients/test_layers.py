"""Layer AGOPs against per-sample Jacobians, architecture by architecture."""

from __future__ import annotations

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

import agop
from tests.gradients.test_outer import NET, X, mlp, random
from tests.oracles import gradients as oracle
from tests.tolerances import IDENTITY, MERGE, SINGLE, relative_error


def seeded(build):
    """A float64 eval model with the same weights every time and batch statistics that are not the identity."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        return model.double().eval()


def check(model, Z, names=None, **options):
    """Every chosen layer equals its oracle; returns the result."""
    result = agop.layer_agops(model, Z, names, **options)
    modules = dict(model.named_modules())
    for name, value in result.items():
        module, _, call = name.partition("#")
        expected = oracle.layer_agop(model, Z, modules[module], call=int(call or 0))
        assert relative_error(value, expected) < IDENTITY, name
        torch.testing.assert_close(value, value.T, rtol=0, atol=1e-12 * float(value.norm()))
    return result


def test_mlp():
    result = check(NET, X)
    assert list(result) == ["0", "2", "4"]
    assert result.rows == {"0": 23, "2": 23, "4": 23}
    assert relative_error(result["0"], agop.agop(NET, X)) < IDENTITY
    W = NET[4].weight.detach()
    assert relative_error(result["4"], W.T @ W) < IDENTITY


def test_wide_and_narrow_layers_take_different_ways():
    # 300 wide: panels; 8 -> 300: W before the outer product; 300 -> 8: after it
    check(mlp(8, 300, 280, 8, 3), random(6, 8))


SOME = ["conv1", "layer1.0.conv1", "layer2.0.conv1", "layer2.0.downsample.0", "layer4.1.conv2", "fc"]


@pytest.mark.slow
@pytest.mark.parametrize("layers", [SOME, None], ids=["some", "all"])
def test_resnet18(layers):
    model = seeded(lambda: torchvision.models.resnet18(num_classes=2))
    result = check(model, random(2, 3, 32, 32), layers)
    convolutions = sum(isinstance(m, nn.Conv2d) for m in model.modules())
    assert len(result) == (convolutions + 1 if layers is None else 6)
    assert result["conv1"].shape == (147, 147)
    assert result.rows["conv1"] == 2 * 16 * 16


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param(["features.3", "features.18", "classifier.3"], marks=pytest.mark.slow),
        pytest.param([nn.Conv2d, "classifier.[36]"], marks=pytest.mark.slow),
    ],
    ids=["some", "all"],
)
def test_vgg11(layers):
    model = seeded(lambda: torchvision.models.vgg11(num_classes=2))
    # the two 4,096-wide layers of the head are 100 million weights in float64: smaller ones do
    model.classifier[0], model.classifier[3], model.classifier[6] = (
        nn.Linear(25088, 32).double(),
        nn.Linear(32, 32).double(),
        nn.Linear(32, 2).double(),
    )
    result = check(model, random(2, 3, 32, 32), layers)
    assert len(result) == (3 if isinstance(layers[0], str) else 10)


def test_vision_transformer():
    model = seeded(lambda: torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 24, num_classes=3))
    nn.init.normal_(model.heads.head.weight, generator=torch.Generator().manual_seed(1))
    Z = random(3, 3, 32, 32)
    result = agop.layer_agops(model, Z)
    attention = "encoder.layers.encoder_layer_0.self_attention"
    assert list(result)[:5] == [
        "conv_proj",
        *(f"{attention}.in_proj.{part}" for part in "qkv"),
        f"{attention}.out_proj",
    ]
    result |= agop.layer_agops(model, Z, [f"{attention}.in_proj"])
    result.rows[f"{attention}.in_proj"] = 51
    modules = dict(model.named_modules())
    for name, value in result.items():
        if ".in_proj" in name:
            layer, _, part = name.partition(".in_proj")
            expected = attention_oracle(model, Z, modules[layer], part.removeprefix(".") or "qkv")
        elif name.endswith("out_proj"):
            expected = out_projection_oracle(model, Z, modules[name.removesuffix(".out_proj")])
        else:
            expected = oracle.layer_agop(model, Z, modules[name])
        assert relative_error(value, expected) < IDENTITY, name
        assert result.rows[name] == 3 * {"conv_proj": 16, "heads.head": 1}.get(name, 17)


def of_perturbations(run, Z):
    """The AGOP with respect to ε (17 tokens of 16 numbers, here 0) of `run(x, ε)`."""
    J = torch.func.vmap(torch.func.jacrev(run, argnums=1), in_dims=(0, None))
    J = J(Z, torch.zeros(1, 17, 16, dtype=Z.dtype)).detach()
    return oracle.mean_outer(J) / 17


def attention_oracle(model, Z, attention, parts):
    """Self-attention reads one tensor three times: perturb what some of queries, keys and values are made of."""

    def run(x, epsilon):
        def enter(_module, args, kwargs):
            return (*(h + epsilon * (part in parts) for h, part in zip(args, "qkv")), *args[3:]), kwargs

        handle = attention.register_forward_pre_hook(enter, with_kwargs=True)
        try:
            return model(x[None]).reshape(-1)
        finally:
            handle.remove()

    return of_perturbations(run, Z)


def out_projection_oracle(model, Z, attention):
    """y = W h + b: a change ε of h is a change W ε of y."""

    def run(x, epsilon):
        def leave(_module, _args, y):
            return (y[0] + epsilon @ attention.out_proj.weight.T, *y[1:])

        handle = attention.register_forward_hook(leave)
        try:
            return model(x[None]).reshape(-1)
        finally:
            handle.remove()

    return of_perturbations(run, Z)


class Attention(nn.Module):
    def __init__(self, batch_first=True):
        super().__init__()
        self.mix = nn.MultiheadAttention(8, 2, batch_first=batch_first)
        self.head = nn.Linear(8, 3)
        self.batch_first = batch_first

    def forward(self, x, memory=None):
        x = x if self.batch_first else x.transpose(0, 1)
        other = x if memory is None else memory
        y = self.mix(query=x, key=other, value=other, need_weights=False)[0]
        return self.head((x + y).mean(1 if self.batch_first else 0))


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_called_with_keywords(batch_first):
    model = seeded(lambda: Attention(batch_first))
    # as many tokens as samples in the look at the first samples: axes must not be confused
    Z = random(5, 3, 8)
    result = agop.layer_agops(model, Z, ["mix", "head"])
    parts = ["mix.in_proj.q", "mix.in_proj.k", "mix.in_proj.v"]
    assert list(result) == [*parts, "mix.out_proj", "head"]
    assert result.rows["mix.in_proj.k"] == 15
    # the packed projection as one map answers to its own name
    result |= agop.layer_agops(model, Z, "mix.in_proj")

    def through(h, tapped):
        return model.head(
            (h[:, 0] + model.mix(*(h[:, 1 if part in tapped else 0] for part in "qkv"))[0]).mean(1)
        )

    for name in [*parts, "mix.in_proj"]:
        tapped = name.removeprefix("mix.in_proj").removeprefix(".") or "qkv"
        if batch_first:
            J = oracle.jacobians(lambda h, t=tapped: through(h, t), torch.stack([Z, Z], 1))[..., 24:]
            assert relative_error(result[name], oracle.mean_outer(J.reshape(5, -1, 8)) / 3) < IDENTITY
        else:
            same = agop.layer_agops(seeded(lambda: Attention(True)), Z, name)
            assert relative_error(result[name], same[name]) < IDENTITY
    assert list(agop.layer_agops(model, Z, "mix.out_proj")) == ["mix.out_proj"]


def test_cross_attention_reads_each_side():
    model = seeded(Attention)
    Z, memory = random(5, 3, 8), random(5, 4, 8, seed=1)
    result = agop.layer_agops(model, [(Z, memory)], inputs=lambda pair: pair)
    assert list(result)[:3] == ["mix.in_proj.q", "mix.in_proj.k", "mix.in_proj.v"]
    assert result.rows["mix.in_proj.q"] == 15
    assert result.rows["mix.in_proj.v"] == 20
    for part in "kv":
        J = oracle.jacobians(
            lambda all, k=part == "k": model.head(
                (
                    all[:, :3]
                    + model.mix(all[:, :3], all[:, 3 + 4 * k : 7 + 4 * k], all[:, 7 - 4 * k : 11 - 4 * k])[0]
                ).mean(1)
            ),
            torch.cat([Z, memory, memory], 1),
        )
        expected = oracle.mean_outer(J[..., 56:].reshape(5, -1, 8)) / 4
        assert relative_error(result[f"mix.in_proj.{part}"], expected) < IDENTITY


def test_transformer_encoder_in_eval_mode_does_not_take_the_fused_path():
    def build():
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        return nn.Sequential(nn.TransformerEncoder(layer, 2), nn.Flatten(), nn.Linear(24, 2))

    model, Z = seeded(build), random(4, 3, 8)
    result = agop.layer_agops(model, Z, nn.Linear)
    assert [name for name in result if "linear1" in name] == ["0.layers.0.linear1", "0.layers.1.linear1"]
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and not name.endswith("out_proj"):
            assert relative_error(result[name], oracle.layer_agop(model, Z, module)) < IDENTITY
    assert torch.backends.mha.get_fastpath_enabled()


class Recurrent(nn.Module):
    def __init__(self, kind=nn.LSTM, batch_first=True, packed=False):
        super().__init__()
        self.embed = nn.Linear(4, 5)
        self.rnn = kind(5, 6, num_layers=2, batch_first=batch_first)
        self.head = nn.Linear(6, 3)
        self.batch_first, self.packed = batch_first, packed

    def forward(self, x):
        x = self.embed(x)
        if self.packed:
            x = nn.utils.rnn.pack_padded_sequence(x, torch.full((len(x),), x.shape[1]), batch_first=True)
            y = nn.utils.rnn.pad_packed_sequence(self.rnn(x)[0], batch_first=True)[0]
        elif self.batch_first:
            y = self.rnn(x)[0]
        else:
            y = self.rnn(x.transpose(0, 1))[0].transpose(0, 1)
        return self.head(y[:, -1])


def slow_lstm(model, h):
    """The same recurrence step by step, because vmap has no rule for the fused one."""
    rnn, sequence = model.rnn, list(h.unbind(1))
    for level in range(rnn.num_layers):
        w_in, w_state, b_in, b_state = (
            getattr(rnn, f"{name}_l{level}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        state = cell = torch.zeros(h.shape[0], rnn.hidden_size, dtype=h.dtype)
        outputs = []
        for x in sequence:
            gates = x @ w_in.T + b_in + state @ w_state.T + b_state
            i, f, g, o = gates.chunk(4, 1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            state = o.sigmoid() * cell.tanh()
            outputs.append(state)
        sequence = outputs
    return model.head(sequence[-1])


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("packed", [False, True])
def test_lstm(batch_first, packed):
    if packed and not batch_first:
        pytest.skip("one kind of packing is enough")
    model, Z = seeded(lambda: Recurrent(batch_first=batch_first, packed=packed)), random(6, 7, 4)
    result = agop.layer_agops(model, Z)
    assert list(result) == ["embed", "rnn", "head"]
    with torch.no_grad():
        h = model.embed(Z)
    J = oracle.jacobians(lambda h: slow_lstm(model, h), h)
    assert relative_error(result["rnn"], oracle.mean_outer(J.reshape(6, -1, 5)) / 7) < IDENTITY
    assert result.rows["rnn"] == 42
    J = oracle.jacobians(lambda z: slow_lstm(model, model.embed(z)), Z)
    assert relative_error(result["embed"], oracle.mean_outer(J.reshape(6, -1, 4)) / 7) < IDENTITY


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared, self.head = nn.Linear(6, 6), nn.Linear(6, 2)
        self.alias = self.shared

    def forward(self, x):
        for _ in range(3):
            x = torch.tanh(self.shared(x)) + x
        return self.head(x)


def test_reused_layer_has_one_view_per_call():
    model = seeded(Reused)
    result = check(model, X)
    assert list(result) == ["shared#0", "shared#1", "shared#2", "head"]
    assert list(agop.layer_agops(model, X, "alias")) == ["alias#0", "alias#1", "alias#2"]


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2),
        nn.Conv1d(4, 6, 3, groups=2, bias=False),
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2)),
        nn.Conv2d(4, 8, 3, groups=4, padding=1),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
        nn.Conv3d(4, 4, 2, padding=(0, 1, 0), stride=(1, 2, 1), groups=2),
    ],
    ids=lambda layer: f"{type(layer).__name__}-{layer.groups}-{layer.padding_mode}",
)
def test_convolutions(layer):
    axes = len(layer.kernel_size)

    def build():
        return nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))

    model = build().double().eval()
    Z = random(4, 4, *(6,) * axes)
    model(Z)
    for positions in ("mean", "sum"):
        value = agop.layer_agops(model, Z, "0", positions=positions, batch_size=3)["0"]
        expected = oracle.layer_agop(model, Z, layer, positions=positions)
        assert relative_error(value, expected) < IDENTITY
    assert value.shape == agop.nfm(layer).shape


def test_any_other_module_is_read_at_its_input():
    model = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Sigmoid(), nn.Flatten(), nn.Linear(75, 2)
        )
    )
    Z = random(4, 2, 6, 6)
    result = agop.layer_agops(model, Z, ["1", nn.Sigmoid])
    for name, module in (("1", model[1]), ("2", model[2])):
        assert relative_error(result[name], oracle.input_agop(model, Z, module, axis=3)) < IDENTITY
        assert result.rows[name] == 4 * 25


def test_a_module_is_read_without_the_skip_connection_beside_it():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
            self.head = nn.Linear(6, 2)

        def forward(self, x):
            return self.head(x + self.block(x))

    model = seeded(Skip)
    both = agop.layer_agops(model, X, ["block", "block.0"])
    assert relative_error(both["block"], both["block.0"]) < IDENTITY


def test_linear_subclasses_with_their_own_forward():
    class LowRank(nn.Linear):
        def __init__(self, *args):
            super().__init__(*args)
            self.a, self.b = nn.Parameter(torch.randn(2, 6)), nn.Parameter(torch.randn(4, 2))

        def forward(self, x):
            return super().forward(x) + x @ self.a.T @ self.b.T

    model = seeded(lambda: nn.Sequential(LowRank(6, 4), nn.Tanh(), nn.Linear(4, 2)))
    result = agop.layer_agops(model, X)
    assert relative_error(result["0"], oracle.agop(model, X)) < IDENTITY


def test_parametrised_weights():
    def build():
        return nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Linear(6, 5)),
            nn.Tanh(),
            nn.utils.parametrizations.spectral_norm(nn.Linear(5, 2)),
        )

    model = seeded(build)
    result = agop.layer_agops(model, X)
    assert relative_error(result["0"], oracle.agop(model, X)) < IDENTITY


def test_in_place_activation_after_a_tapped_layer_and_a_users_hook():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 2)).double()
    plain = nn.Sequential(model[0], nn.ReLU(), model[2])
    expected = agop.layer_agops(plain, X)
    assert relative_error(agop.layer_agops(model, X)["0"], expected["0"]) == 0
    assert relative_error(expected["0"], oracle.agop(plain, X)) < IDENTITY
    # the layer's own output is what counts, not what a hook makes of it
    handle = model[0].register_forward_hook(lambda m, a, y: 3 * y)
    assert (
        relative_error(
            agop.layer_agops(model, X)["0"], oracle.agop(lambda z: model[2](torch.relu(model[0](z))), X)
        )
        < IDENTITY
    )
    handle.remove()


def test_tuple_and_dict_outputs_and_batches():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = NET

        def forward(self, x, scale=1.0):
            return {"logits": scale * self.net(x), "other": x}

    expected = agop.layer_agops(NET, X)
    result = agop.layer_agops(Net(), X, output="logits")
    assert relative_error(result["net.2"], expected["2"]) < MERGE
    pairs = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, torch.arange(23)), batch_size=5)
    result = agop.layer_agops(Net(), pairs, output="logits")
    assert relative_error(result["net.2"], expected["2"]) < MERGE
    result = agop.layer_agops(
        Net(), pairs, output="logits", inputs=lambda batch: {"x": batch[0], "scale": 2.0}
    )
    assert relative_error(result["net.2"], 4 * expected["2"]) < MERGE


class Checkpointed(nn.Module):
    def __init__(self, reentrant, vocabulary=None):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, 6) if vocabulary else nn.Identity()
        self.first = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 6))
        self.second = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 6))
        self.head = nn.Linear(6, 3)
        self.reentrant = reentrant

    def forward(self, x):
        x = self.embed(x)
        for block in (self.first, self.second):
            x = x + (
                block(x) if self.reentrant is None else checkpoint(block, x, use_reentrant=self.reentrant)
            )
        return self.head(x if x.ndim == 2 else x.mean(1))


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("vocabulary", [None, 11])
@pytest.mark.parametrize("layers", [None, ["second.2"], ["head"], ["first.0", "head"]])
def test_gradient_checkpointing(reentrant, vocabulary, layers):
    Z = X if vocabulary is None else torch.randint(11, (23, 4), generator=torch.Generator().manual_seed(0))
    plain, model = (seeded(lambda r=r: Checkpointed(r, vocabulary)) for r in (None, reentrant))
    expected = agop.layer_agops(plain, Z, layers)
    result = agop.layer_agops(model, Z, layers, batch_size=9)
    assert list(result) == list(expected)
    for name in expected:
        assert relative_error(result[name], expected[name]) < MERGE
        assert result.rows[name] == expected.rows[name]
    if vocabulary is None and layers is None:
        check(plain, Z)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("where", ["whole", "method", "part", "function"])
def test_compiled_modules(where):
    model = seeded(lambda: nn.Sequential(nn.Sequential(nn.Linear(6, 5), nn.Tanh()), nn.Linear(5, 2)))
    expected = agop.layer_agops(model, X)
    compiled = model
    if where == "whole":
        compiled = torch.compile(model, backend="eager")
    elif where == "method":
        model.compile(backend="eager")
    elif where == "part":
        model[0] = torch.compile(model[0], backend="eager")
    else:
        model[0].forward = torch.compile(model[0].forward, backend="eager")
    compiled(X)
    result = agop.layer_agops(compiled, X)
    assert list(result) == list(expected) == ["0.0", "1"]
    for name in expected:
        assert relative_error(result[name], expected[name]) < MERGE
    assert relative_error(agop.agop(compiled, X), expected["0.0"]) < IDENTITY


@settings(max_examples=15, deadline=None)
@given(batch=st.integers(1, 25), seed=st.integers(0, 100))
def test_batch_size_and_order_change_nothing(batch, seed):
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed))
    expected = agop.layer_agops(NET, X)
    result = agop.layer_agops(NET, X[order], batch_size=batch)
    assert all(relative_error(result[name], expected[name]) < IDENTITY for name in expected)


@pytest.mark.parametrize("positions", ["mean", "sum"])
def test_two_halves_merged_are_the_whole(positions):
    model = seeded(lambda: nn.Sequential(nn.Conv1d(2, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(15, 2)))
    Z = random(9, 2, 6)
    whole = agop.layer_agops(model, Z, positions=positions)
    merged = agop.layer_agops(model, Z[:2], positions=positions) + agop.layer_agops(
        model, Z[2:], positions=positions
    )
    assert merged.n_samples == 9
    assert merged.rows == whole.rows
    assert all(relative_error(merged[name], whole[name]) < MERGE for name in whole)
    with pytest.raises(ValueError, match="other: expected positions="):
        merged + agop.layer_agops(model, Z, "0")


def test_random_outputs():
    model, Z = mlp(8, 300, 20, 40), random(40, 8, seed=2)
    exact = agop.layer_agops(model, Z)
    runs = [agop.layer_agops(model, Z, outputs=8, random_state=seed) for seed in range(40)]
    for name in exact:
        typical = (
            torch.tensor([relative_error(run[name], exact[name]) for run in runs]).square().mean().sqrt()
        )
        mean = sum(run[name] for run in runs) / len(runs)
        assert relative_error(mean, exact[name]) < 2 * float(typical) / len(runs) ** 0.5
        told = torch.tensor([run.standard_error[name] for run in runs]).square().mean().sqrt()
        assert 0.8 < float(told / typical) < 1.25
    merged = agop.layer_agops(model, Z[:20], outputs=8) + agop.layer_agops(
        model, Z[20:], outputs=8, random_state=1
    )
    assert relative_error(merged["2"], exact["2"]) < 4 * merged.standard_error["2"]
    picked = agop.layer_agops(model, Z, outputs=[3])
    assert relative_error(picked["0"], agop.agop(model, Z, outputs=[3])) < IDENTITY


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)])
def test_half_precision_models_accumulate_in_float32(dtype):
    half = mlp(6, 16, 4).to(dtype)
    Z = random(400, 6).to(dtype)
    result = agop.layer_agops(half, Z, batch_size=1)
    assert result["2"].dtype == torch.float32
    # the last layer's AGOP is WᵀW in any arithmetic: 1,600 terms of one size would stall a half-precision sum at 256
    W = half[2].weight.detach().double()
    assert relative_error(result["2"], W.T @ W) < 1e-5
    assert relative_error(result["0"], agop.layer_agops(half.double(), Z.double())["0"]) < 2e-2
    assert agop.layer_agops(mlp(6, 4).float(), Z.float(), dtype=torch.float64)["0"].dtype == torch.float64


def test_float32_against_float64():
    single = agop.layer_agops(mlp(6, 16, 16, 4).float(), X.float())
    assert all(relative_error(single[name], A) < SINGLE for name, A in agop.layer_agops(NET, X).items())
