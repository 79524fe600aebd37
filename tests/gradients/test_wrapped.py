"""Wrapped models give the numbers of the model, or say in a sentence what to take in their place."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import agop
from agop.gradients.wrapped import FSDP_FROM, refuse_unseen
from tests.gradients.test_layers import seeded
from tests.gradients.test_uses import TOKENS, WAYS, Run
from tests.tolerances import IDENTITY, relative_error

Y = torch.arange(len(TOKENS)) % 2


def network():
    def build():
        middle = Run(WAYS["matmul"], w=torch.randn(6, 5), b=torch.randn(5))
        return nn.Sequential(
            nn.Linear(4, 6), nn.ReLU(inplace=True), middle, nn.Tanh(), nn.Flatten(), nn.Linear(15, 2)
        )

    return seeded(build)


def plain():
    """What TorchScript can take."""
    return seeded(
        lambda: nn.Sequential(
            nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Flatten(), nn.Linear(15, 2)
        )
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A process group of one process."""
    store = tmp_path_factory.mktemp("group") / "store"
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def sharded(model, **options):
    from torch.distributed.fsdp import FullyShardedDataParallel

    return FullyShardedDataParallel(model, device_id=torch.device("cpu"), **options)


def exported(model, dynamic=True):
    shapes = ({0: torch.export.Dim("batch", min=1, max=100)},) if dynamic else None
    return torch.export.export(model, (TOKENS,), dynamic_shapes=shapes)


class Checkpointed(nn.Module):
    def __init__(self, model, reentrant):
        super().__init__()
        self.model, self.reentrant = model, reentrant

    def forward(self, x):
        return self.model[3:](checkpoint(self.model[:3], x, use_reentrant=self.reentrant))


SAME = {
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "compiled in part": lambda model: model.__setitem__(2, torch.compile(model[2], backend="eager")) or model,
    "traced": torch.fx.symbolic_trace,
    "exported": lambda model: exported(model).module(),
    "parallel": nn.DataParallel,
    "distributed": nn.parallel.DistributedDataParallel,
    "fully sharded": lambda model: sharded(model, use_orig_params=True),
    "averaged": torch.optim.swa_utils.AveragedModel,
    "checkpointed": lambda model: Checkpointed(model, False),
    "checkpointed, reentrant": lambda model: Checkpointed(model, True),
}  # fmt: skip


def named(result):
    return {name.removeprefix("module.").removeprefix("model."): value for name, value in result.items()}


@pytest.mark.parametrize("wrap", SAME)
@pytest.mark.usefixtures("alone")
def test_the_numbers_are_those_of_the_model(wrap):
    if wrap == "fully sharded" and torch.__version__ < FSDP_FROM:
        with pytest.raises(
            ValueError, match=rf"^model: expected .*; take torch {FSDP_FROM} or newer, or load"
        ):
            agop.layer_agops(SAME[wrap](network()), TOKENS)
        return
    expected = agop.layer_agops(network(), TOKENS)
    wrapped = SAME[wrap](network())
    result = agop.layer_agops(wrapped, TOKENS)
    assert list(named(result)) == list(expected) == ["0", "2.w", "5"]
    assert all(relative_error(named(result)[name], value) < IDENTITY for name, value in expected.items())
    assert result.coverage.complete
    assert result.coverage.matrices == 3
    assert agop.estimate_layer_agops(wrapped, TOKENS).agops == sum(v.numel() * 8 for v in expected.values())
    p = agop.profile(wrapped, TOKENS, Y, measures=["nc1", "nfa"])
    q = agop.profile(network(), TOKENS, Y, measures=["nc1", "nfa"])
    assert p.layers["nfa"].tolist() == pytest.approx(q.layers["nfa"].tolist(), rel=1e-9)
    if wrap == "fully sharded":
        with pytest.raises(
            ValueError,
            match="^model: expected a model whose parameters are its own, got one that FSDP holds; load",
        ):
            agop.fact(wrapped, TOKENS, Y, weight_decay=0.1)
    else:
        found = agop.fact(wrapped, TOKENS, Y, weight_decay=0.1)
        for name, value in agop.fact(network(), TOKENS, Y, weight_decay=0.1).items():
            assert relative_error(named(found)[name], value) < IDENTITY


def split(model):
    wrapped = sharded(model, use_orig_params=True)
    wrapped.sharding_strategy = torch.distributed.fsdp.ShardingStrategy.FULL_SHARD
    return wrapped


def fully(model):
    from torch.distributed.fsdp import fully_shard

    return fully_shard(model)


SCRIPTED = (
    "got TorchScript .*; pass the module that it was scripted or traced from, or use agop.agop for its input"
)
REFUSED = {
    "scripted": (torch.jit.script, SCRIPTED),
    "traced by its values": (lambda model: torch.jit.trace(model, TOKENS), SCRIPTED),
    "frozen": (lambda model: torch.jit.freeze(torch.jit.script(model)), SCRIPTED),
    "exported": (exported, r"got an ExportedProgram; take program.module\(\), exported with a dynamic batch"),
    "of one size": (lambda model: exported(model, dynamic=False).module(), "the sizes that the model was exported with, got one of shape"),
    "flat": (sharded, "got FullyShardedDataParallel with flat parameters; wrap it with use_orig_params=True"),
    "split": (split, "got one whose parameters are split among processes; load its weights into the model without FSDP"),
    "fully_shard": (fully, "got one whose parameters are split among processes; load its weights into the model without FSDP"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("wrap", REFUSED)
@pytest.mark.usefixtures("alone")
def test_what_cannot_be_looked_into_is_a_sentence(wrap):
    build, message = REFUSED[wrap]
    wrapped = build(plain())
    calls = [lambda: agop.profile(wrapped, TOKENS[:3], Y[:3])]
    if isinstance(wrapped, nn.Module):
        calls += [
            lambda: agop.layer_agops(wrapped, TOKENS),
            lambda: agop.estimate_layer_agops(wrapped, TOKENS),
            lambda: agop.fact(wrapped, TOKENS[:3], Y[:3], weight_decay=0.1),
        ]
    else:
        calls += [lambda: refuse_unseen(wrapped)]
    for call in calls:
        with pytest.raises((ValueError, TypeError), match=rf"^(model|X): expected .*{message}") as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_input_of_a_scripted_model_can_be_read():
    frozen = torch.jit.freeze(torch.jit.script(plain()))
    assert relative_error(agop.agop(frozen, TOKENS), agop.agop(plain(), TOKENS)) < IDENTITY


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_part_is_listed_and_the_others_are_read():
    model = plain()
    expected = agop.layer_agops(model, TOKENS)
    model[2] = torch.jit.script(model[2])
    result = agop.layer_agops(model, TOKENS)
    assert list(result) == ["0", "5"]
    assert all(relative_error(result[name], expected[name]) < IDENTITY for name in result)
    told = "left out: 2, inside TorchScript no operation can be seen: take the module that it was scripted or traced from"
    assert told in result.notes
    assert str(result.coverage) == "2 of 3 weight matrices"
    with pytest.raises(
        ValueError, match="^layers: expected layers that can be read, got '2', inside TorchScript"
    ):
        agop.layer_agops(model, TOKENS, "2")


class Codes(torch.Tensor):
    """A weight in eight bits, as libraries of weight-only quantisation hold it."""

    @staticmethod
    def __new__(cls, codes, scale):
        return torch.Tensor._make_wrapper_subclass(cls, codes.shape, dtype=scale.dtype)

    def __init__(self, codes, scale):
        self.codes, self.scale = codes, scale

    def dequantize(self):
        return self.codes.to(self.scale.dtype) * self.scale

    def __tensor_flatten__(self):
        return ["codes", "scale"], None

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.detach.default:
            return cls(args[0].codes, args[0].scale)
        return func(*[a.dequantize() if isinstance(a, cls) else a for a in args], **(kwargs or {}))


def quantised(layer):
    weight = layer.weight.detach()
    scale = weight.abs().amax(1, keepdim=True) / 127
    return Codes((weight / scale).round().to(torch.int8), scale)


def test_a_weight_in_eight_bits_is_read_by_its_effective_value():
    model, rounded = plain(), plain()
    codes = quantised(model[0])
    model[0].weight = nn.Parameter(codes, requires_grad=False)
    rounded[0].weight.data = codes.dequantize()
    expected, result = agop.layer_agops(rounded, TOKENS), agop.layer_agops(model, TOKENS)
    assert all(relative_error(result[name], value) < IDENTITY for name, value in expected.items())
    assert torch.equal(result.weights["0"], codes.dequantize())
    assert result.coverage.complete
    assert agop.estimate_layer_agops(model, TOKENS).agops == agop.estimate_layer_agops(rounded, TOKENS).agops
    told = agop.fact(model, TOKENS, Y, weight_decay=0.1).residuals
    assert "frozen" in told["0"].undefined_because
    assert told["5"].defined


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_packed_weight_is_listed_or_refused():
    model = plain().float()
    model[2] = torch.ao.quantization.quantize_dynamic(nn.Sequential(model[2]), {nn.Linear})[0]
    x = TOKENS.float()
    message = r"^model: expected a model that gradients go through, got module '2' \(Linear\): its weight is packed .*; take the model"
    for call in (lambda: agop.layer_agops(model, x), lambda: agop.fact(model, x, Y, weight_decay=0.1)):
        with pytest.raises(ValueError, match=message):
            call()
    p = agop.profile(model, x, Y, measures=["nc1"])
    assert list(p.layers["name"]) == ["0", "5"]
    assert any(note.startswith("left out: 2, its weight is packed") for note in p.notes)
