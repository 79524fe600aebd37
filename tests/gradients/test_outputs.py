"""What models return and what they are fed, as libraries do it: each is a value or one sentence."""

from __future__ import annotations

from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import agop
from agop.gradients.outputs import default_output, rows_of_output
from tests.oracles import gradients as oracle
from tests.tolerances import IDENTITY, relative_error

Pair = namedtuple("Pair", "loss out")


@dataclass
class Answer:
    loss: torch.Tensor
    logits: torch.Tensor


def net(*widths):
    generator = torch.Generator().manual_seed(1)
    layers = [
        layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b, dtype=torch.float64), nn.Tanh())
    ][:-1]
    model = nn.Sequential(*layers)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    return model


NET = net(5, 6, 3)
X = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

RETURNS = {
    "tensor": lambda x: NET(x),
    "loss and logits": lambda x: (x.sum(), NET(x)),
    "one in a list": lambda x: [NET(x)],
    "dict": lambda x: {"hidden": x, "logits": NET(x)},
    "segmentation": lambda x: OrderedDict(aux=x, out=NET(x)),
    "dataclass": lambda x: Answer(x.sum(), NET(x)),
    "loss of one entry": lambda x: Answer(x.sum()[None], NET(x)),
    "namedtuple": lambda x: Pair(x.sum(), NET(x)),
    "user dict": lambda x: UserDict(loss=x.sum(), logits=NET(x), ids=x.long()),
    "an object": lambda x: SimpleNamespace(logits=NET(x), note="n"),
    "recurrent": lambda x: (NET(x), (x, x)),
}


@pytest.mark.parametrize("kind", RETURNS)
def test_the_output_is_found(kind):
    assert relative_error(agop.agop(RETURNS[kind], X), oracle.agop(NET, X)) < IDENTITY


def test_output_takes_a_name_a_place_or_a_function():
    for pick, f in [
        ("hidden", RETURNS["dict"]),
        ("out", RETURNS["namedtuple"]),
        (1, RETURNS["loss and logits"]),
        (lambda r: r.logits, RETURNS["dataclass"]),
    ]:
        expected = oracle.agop((lambda x: x) if pick == "hidden" else NET, X)
        assert relative_error(agop.agop(f, X, output=pick), expected) < IDENTITY


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (
            {"a": X, "b": X},
            r"got a dict of a \(7, 5\), b \(7, 5\); pick one with output=, for instance output='a'",
        ),
        (Answer(X.sum(), X.long()), r"got a Answer of loss \(\), logits \(7, 5\); pick one with output="),
        (None, "got a NoneType"),
        ([{"boxes": X}], "got a list of 0 dict"),
        ((X, X), r"got a tuple of 0 \(7, 5\), 1 \(7, 5\)"),
    ],
)
def test_the_message_lists_what_was_found(returned, told):
    with pytest.raises(TypeError, match=told):
        default_output(returned)


def test_a_pick_that_is_none_says_what_there_is():
    with pytest.raises(
        ValueError, match=r"output: expected a name, .*got 'logit' for a dict of logits \(7, 5\)"
    ):
        rows_of_output({"logits": X}, "logit")
    with pytest.raises(ValueError, match="one number"):
        rows_of_output((X.sum(), X), 0)


def test_outputs_at_positions_lie_side_by_side():
    tokens = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert relative_error(agop.agop(NET, tokens), oracle.agop(NET, tokens)) < IDENTITY
    images = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    conv = nn.Conv2d(2, 3, 3, padding=1, dtype=torch.float64)
    assert relative_error(agop.agop(conv, images), oracle.agop(conv, images)) < IDENTITY
    assert agop.layer_agops(conv, images)["model"].shape == (18, 18)


class Two(nn.Module):
    """A model of two inputs."""

    def __init__(self):
        super().__init__()
        self.a, self.b = net(5, 4), net(2, 4)

    def forward(self, x, z):
        return torch.tanh(self.a(x) * self.b(z))


TWO = Two()
Z = torch.randn(7, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
BOTH = oracle.agop(lambda both: TWO(both[:, :5], both[:, 5:]), torch.cat([X, Z], 1))


@pytest.mark.parametrize(
    "samples",
    [
        (X, Z),
        {"x": X, "z": Z},
        UserDict(z=Z, x=X),
        (X.numpy(), Z),
        [((X[:3], Z[:3]), None), ((X[3:], Z[3:]), None)],
        [{"x": X[:3], "z": Z[:3], "labels": X[:3, 0]}, {"x": X[3:], "z": Z[3:], "labels": X[3:, 0]}],
        DataLoader([((a, b), 0) for a, b in zip(X, Z)], batch_size=4),
    ],
    ids=["tuple", "dict", "user dict", "array", "pairs", "mappings", "loader"],
)
def test_models_of_two_inputs(samples):
    expected = BOTH
    if isinstance(samples, UserDict):
        order = torch.tensor([5, 6, 0, 1, 2, 3, 4])
        expected = BOTH[order][:, order]
    assert relative_error(agop.agop(TWO, samples), expected) < IDENTITY
    layers = agop.layer_agops(TWO, samples)
    assert list(layers) == ["a.0", "b.0"]
    assert layers.n_samples == 7
    assert relative_error(layers["a.0"], BOTH[:5, :5]) < IDENTITY
    assert relative_error(agop.agop_diagonal(TWO, samples), expected.diagonal()) < IDENTITY


def test_top_directions_of_two_inputs_with_little_memory():
    values, _ = agop.agop_top(TWO, (X, Z), 2, max_memory=700)
    assert torch.allclose(values, torch.linalg.eigvalsh(BOTH).flip(0)[:2], rtol=1e-6)


def test_arrays_and_tables_come_in_the_precision_of_the_model():
    expected = oracle.agop(NET, X)
    frame = pd.DataFrame(X.numpy(), columns=list("abcde"))
    single = net(5, 6, 3).float()
    for samples in (X.numpy(), frame):
        assert relative_error(agop.agop(NET, samples), expected) < IDENTITY
        assert agop.agop(single, samples).dtype == torch.float32
        assert relative_error(agop.layer_agops(NET, samples)["0"], expected) < IDENTITY
    frame["city"] = "x"
    with pytest.raises(TypeError, match="X: expected columns of numbers, got city of dtype"):
        agop.agop(NET, frame)


def test_a_tuple_of_batches_for_a_model_of_one_input_is_a_loader():
    assert relative_error(agop.layer_agops(NET, X.split(3))["0"], oracle.agop(NET, X)) < IDENTITY
    loader = DataLoader(TensorDataset(X, torch.zeros(7)), batch_size=2)
    assert relative_error(agop.agop(NET, loader), oracle.agop(NET, X)) < IDENTITY


@pytest.mark.parametrize(
    ("f", "samples", "error", "message"),
    [
        (TWO, (X, Z[:3]), ValueError, r"X: expected inputs with as many samples .*X\[0\] 7, X\[1\] 3"),
        (TWO, {"x": X.tolist(), "z": Z}, TypeError, "a list under 'x'; make tensors of them"),
        (
            TWO,
            {"x": X},
            TypeError,
            "X: expected as many inputs as the model takes, got .*'z'.*pass \\(X, Z\\)",
        ),
        (TWO, X, TypeError, "X: expected as many inputs as the model takes"),
        (NET, {"ids": X.long()}, TypeError, "X: expected at least one floating-point input"),
        (NET, X.long(), TypeError, "agop.layer_agops, or pass their embeddings"),
        (NET, X.float(), ValueError, "torch.float32 .*convert it with .double()"),
        (NET, {}, TypeError, "at least one tensor"),
    ],
)
def test_samples_that_do_not_fit(f, samples, error, message):
    with pytest.raises(error, match=message):
        agop.agop(f, samples)


def test_the_dtype_advice_is_that_of_the_layer():
    words = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(ValueError, match="convert it|as integers, such as token ids, with .long"):
        agop.layer_agops(words, torch.rand(4, 3))
    with pytest.raises(ValueError, match=r"such as token ids, with \.long\(\)"):
        agop.profile(words, torch.rand(4, 3), [0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"convert it with \.float\(\)\."):
        agop.layer_agops(nn.Linear(3, 2), torch.ones(4, 3, dtype=torch.int64))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(5, 4), nn.LazyLinear(3)), r"module '1' \(LazyLinear\), which has no shape yet; run the model once"),
        (nn.Linear(5, 3, device="meta"), r"module 'model' \(Linear\) on the meta device, .*load its weights"),
    ],
)  # fmt: skip
def test_lazy_and_meta_modules(model, message):
    for call in (agop.agop, agop.layer_agops, lambda m, x: agop.profile(m, x, [0] * 7)):
        with pytest.raises(ValueError, match=message):
            call(model, X.float())


class Sentences(nn.Module):
    """Attention over tokens that honours its mask; `logits` per token."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 4, dtype=torch.float64)
        self.mix, self.head = net(4, 4), net(4, 3)

    def forward(self, input_ids, attention_mask=None):
        return self.after(self.embed(input_ids), attention_mask)

    def after(self, h, mask):
        scores = self.mix(h) @ h.mT
        if mask is not None:
            scores = scores.masked_fill(mask[:, None] == 0, -torch.inf)
        h = torch.tanh(h + scores.softmax(-1) @ h)
        return {"loss": h.sum(), "logits": self.head(h)}


def sentences():
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = Sentences()
    ids = torch.randint(11, (6, 5), generator=torch.Generator().manual_seed(6))
    lengths = torch.tensor([5, 3, 4, 5, 1, 2])
    return model, {"input_ids": ids, "attention_mask": (torch.arange(5) < lengths[:, None]).long()}


def test_padding_counts_nowhere():
    model, batch = sentences()
    mask = batch["attention_mask"]
    sums, rows = {"mix.0": 0, "head.0": 0}, int(mask.sum())
    for ids, n in zip(batch["input_ids"], mask.sum(1)):
        alone = agop.layer_agops(model, {"input_ids": ids[None, :n]}, check=False)
        for name in sums:
            sums[name] = sums[name] + int(n) * alone[name] / rows
    for samples in (batch, [batch], UserDict(batch)):
        whole = agop.layer_agops(model, samples)
        assert set(whole.rows.values()) == {rows}
        for name, expected in sums.items():
            assert relative_error(whole[name], expected) < IDENTITY
    blind = agop.layer_agops(model, {"input_ids": batch["input_ids"]})
    assert relative_error(blind["mix.0"], sums["mix.0"]) > 0.01


def test_a_mask_may_be_an_array_a_name_or_a_function():
    model, batch = sentences()
    expected = agop.layer_agops(model, batch)
    own = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    mask = batch["attention_mask"]
    for given in (mask, mask.bool(), mask.numpy(), "attention_mask", lambda item: item["attention_mask"]):
        found = agop.layer_agops(model, own, mask=given, batch_size=4)
        assert all(relative_error(found[name], expected[name]) < IDENTITY for name in expected)
    tokens = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    head = net(4, 3)
    kept = oracle.agop(head, tokens[mask.bool()])
    assert relative_error(agop.layer_agops(head, tokens, mask=mask)["0"], kept) < IDENTITY
    whole = agop.agop(head, tokens, mask=mask)
    blocks = sum(whole[4 * i : 4 * i + 4, 4 * i : 4 * i + 4] for i in range(5)) * 6 / mask.sum()
    assert relative_error(blocks, kept) < IDENTITY


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(6), r"mask: expected \(n, positions\) zeros and ones"),
        (torch.ones(4, 5), "a row for each of 6 samples"),
        (torch.zeros(6, 5), "a position that counts in every sample, got none in sample 0"),
        ("nowhere", "mask: expected the name of an entry of the batch, got 'nowhere'"),
    ],
)
def test_masks_that_do_not_fit(mask, message):
    model, batch = sentences()
    with pytest.raises(ValueError, match=message):
        agop.layer_agops(model, batch, mask=mask)
    with pytest.raises(ValueError, match=message):
        agop.profile(agop.Network(model, mask=mask), batch, [0, 1] * 3, measures=["nc1"])


def test_transformers_models_as_they_come():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=20, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    model = transformers.GPT2LMHeadModel(config).eval()
    ids = torch.randint(20, (4, 6), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(6) < torch.tensor([6, 3, 4, 6])[:, None]).long()
    batch = transformers.BatchEncoding({"input_ids": ids, "attention_mask": mask})
    padded = transformers.BatchEncoding({"input_ids": torch.where(mask == 1, ids, 0), "attention_mask": mask})
    found = [agop.layer_agops(model, b, "lm_head", outputs=8)["lm_head"] for b in (batch, padded)]
    assert torch.allclose(*found)
    labels = torch.where(mask == 1, ids, -100)
    assert agop.profile(model, batch, labels, layers="lm_head", measures=["nc1"]).table["nc1"].notna().any()
