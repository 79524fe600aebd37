"""Hidden states of models: what the blocks gave, whatever batches, padding and wrapping; the model as it was."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import nn

from agop.concepts import blocks_of, hidden_states
from tests.concepts.planted import Twice


class Block(nn.Module):
    """Mixes positions that came before, as a causal block does; returns a tuple."""

    def __init__(self, d):
        super().__init__()
        self.linear, self.dropout = nn.Linear(d, d), nn.Dropout(0.5)

    def forward(self, h):
        count = torch.arange(1, h.shape[1] + 1)[:, None]
        return self.dropout(torch.tanh(self.linear(h.cumsum(1) / count))), None


class Causal(nn.Module):
    """Tokens through blocks, with a head that the reading doesn't need."""

    def __init__(self, d=6, depth=3):
        super().__init__()
        self.embed, self.layers = nn.Embedding(11, d), nn.ModuleList(Block(d) for _ in range(depth))
        self.head, self.heads_called = nn.Linear(d, 11), 0

    def forward(self, input_ids, attention_mask=None):
        h = self.embed(input_ids)
        for layer in self.layers:
            h = layer(h)[0]
        self.heads_called += 1
        return {"logits": self.head(h)}


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Causal()


def padded(n=7, t=5, extra=0, side="right"):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(11, (n, t), generator=generator)
    mask = torch.ones(n, t, dtype=torch.long)
    pad = torch.zeros(n, extra, dtype=torch.long)
    parts = [(ids, pad), (mask, pad)] if side == "right" else [(pad, ids), (pad, mask)]
    return dict(zip(("input_ids", "attention_mask"), (torch.cat(part, 1) for part in parts)))


def by_hand(model, ids, position):
    model.eval()
    h, found = model.embed(ids), []
    for layer in model.layers:
        h = layer(h)[0]
        found.append(h.mean(1) if position == "mean" else h[:, -1])
    return [h.detach() for h in found]


@pytest.mark.parametrize("position", ["last", "mean"])
@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_states_are_what_the_blocks_gave_whatever_the_batches_and_the_padding(model, position, batch_size):
    expected = by_hand(model, padded()["input_ids"], position)
    for extra in (0, 4):
        found = hidden_states(model, padded(extra=extra), position=position, batch_size=batch_size)
        assert list(found.blocks) == ["layers.0", "layers.1", "layers.2"]
        for h, own in zip(found.blocks.values(), expected):
            torch.testing.assert_close(h, own, rtol=1e-5, atol=1e-6)


def test_a_forward_pass_ends_after_the_last_block_once_that_is_known(model):
    hidden_states(model, padded(), batch_size=2)
    assert model.heads_called == 1  # of four batches
    handle = model.head.register_forward_hook(lambda *_: None)  # somebody else's hook must see whole passes
    hidden_states(model, padded(), batch_size=2)
    assert model.heads_called == 5
    handle.remove()


def test_the_model_is_left_as_it_came(model):
    model.train()
    model.layers[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    broken, state = Causal(), torch.random.get_rng_state()
    broken.head.register_forward_hook(raises)
    hidden_states(model, padded())
    model.embed.weight.data[0] = float("nan")
    with pytest.raises(ValueError, match="finite hidden states of block 'layers.0'"):
        hidden_states(model, padded())
    model.embed.weight.data[0] = before["embed.weight"][0]
    with pytest.raises(RuntimeError, match="by the model itself"):
        hidden_states(broken, padded())
    assert [part.training for part in model.layers] == [True, False, True]
    assert not any(
        part._forward_hooks or part._forward_pre_hooks for part in [*model.modules(), *broken.layers]
    )
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


def raises(*_):
    raise RuntimeError("by the model itself")


def test_loaders_arrays_and_plain_networks(generator):
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    X = torch.randn(9, 4, generator=generator)
    found = hidden_states(net, X)
    assert {name: tuple(h.shape) for name, h in found.blocks.items()} == {"0": (9, 5), "2": (9, 3)}
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, torch.arange(9)), batch_size=4)
    for other in (X.numpy(), loader, [X[:2], X[2:]]):
        again = hidden_states(net, other)
        for name, h in found.blocks.items():
            torch.testing.assert_close(again.blocks[name], h)
    assert len(found.take(slice(0, 4))) == 4
    assert len(found.take(np.arange(9) > 6)) == 2


def test_a_block_that_is_called_twice_is_two(generator):
    net, X = Twice(), torch.randn(4, 3, generator=generator)
    found = hidden_states(net, X, batch_size=2)
    assert list(found.blocks) == ["block#0", "block#1"]
    torch.testing.assert_close(found.blocks["block#1"], net(X).detach())


def test_blocks_are_the_largest_list(model):
    assert list(blocks_of(model)) == ["layers.0", "layers.1", "layers.2"]
    assert list(blocks_of(model, "layers.[12]")) == ["layers.1", "layers.2"]
    experts = nn.ModuleDict(
        {
            "small": nn.ModuleList(Block(2) for _ in range(5)),
            "large": nn.ModuleList(Block(9) for _ in range(2)),
        }
    )
    assert list(blocks_of(experts)) == ["large.0", "large.1"]
    assert list(blocks_of(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))) == ["0"]


def test_memory_is_said_and_held_against_the_limit(model, caplog):
    with caplog.at_level(logging.INFO, "agop"):
        hidden_states(model, padded())
    assert "hidden states of 7 samples in 3 blocks: 504 B" in caplog.text
    with pytest.raises(
        MemoryError, match=r"layers: expected hidden states that fit into 100 B \(max_memory\), got 504 B"
    ):
        hidden_states(model, padded(), max_memory=100)


def test_progress_is_heard(model):
    heard = []
    hidden_states(model, padded(), batch_size=3, progress=lambda *told: heard.append(told[:2]))
    assert heard == [(2, 7), (4, 7), (7, 7)]  # blocks of about equal size, at most three


BAD_INPUTS = {
    "texts": (["a text", "another"], TypeError, "tokenise first"),
    "a text": ("a text", TypeError, "tokenise first"),
    "lists": ({"input_ids": [[1, 2], [3]]}, TypeError, "tokenise first"),
    "nothing": ({}, ValueError, "a mapping with tensors of samples"),
    "no samples": ({"input_ids": torch.zeros(0, 3, dtype=torch.long)}, ValueError, "a mapping with tensors"),
    "unequal": ({"input_ids": torch.zeros(2, 3).long(), "attention_mask": torch.ones(3, 3)}, ValueError, "as many samples"),
    "a flat mask": ({"input_ids": torch.zeros(2, 3).long(), "attention_mask": torch.ones(2)}, ValueError, "attention_mask"),
    "all padding": ({"input_ids": torch.zeros(2, 3).long(), "attention_mask": torch.zeros(2, 3)}, ValueError, "positions that count"),
    "a number": (3, TypeError, "a tensor, a mapping of tensors, or a loader"),
    "None": (None, TypeError, "a tensor, a mapping of tensors, or a loader"),
}  # fmt: skip


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize("case", BAD_INPUTS)
def test_inputs_that_are_none_are_told_in_a_sentence(model, case):
    inputs, kind, words = BAD_INPUTS[case]
    with pytest.raises(kind, match=words) as caught:
        hidden_states(model, inputs)
    assert str(caught.value).endswith(".")
    assert not any(part._forward_hooks for part in model.modules())


@pytest.mark.usefixtures("as_in_production")
def test_blocks_that_give_no_rows_are_told(model):
    for layers, words in (
        ("nowhere", "names, globs, types"),
        ("layers", "not called"),
        (nn.Conv2d, "got Conv2d"),
    ):
        with pytest.raises(ValueError, match=words):
            hidden_states(model, padded(), layers=layers)
    with pytest.raises(TypeError, match="model: expected a torch module, got function"):
        hidden_states(raises, padded())
    with pytest.raises(ValueError, match="batch_size"):
        hidden_states(model, padded(), batch_size=0)
    with pytest.raises(ValueError, match="max_memory"):
        hidden_states(model, padded(), max_memory="much")
