"""Models of transformers as they come, small and with random weights: states against its own, padding on either side, steering, text."""

from __future__ import annotations

import pytest
import torch

import agop
from agop.concepts import hidden_states

pytestmark = pytest.mark.slow
transformers = pytest.importorskip("transformers", reason="needs the extra models")

COMMON = {"vocab_size": 50}
WIDE = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4}


def llama():
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**COMMON, **WIDE, num_key_value_heads=2))


def gpt2():
    config = transformers.GPT2Config(
        **COMMON, n_embd=16, n_layer=3, n_head=4, n_positions=32, bos_token_id=0, eos_token_id=0
    )
    return transformers.GPT2LMHeadModel(config)


def bert():
    return transformers.BertForSequenceClassification(transformers.BertConfig(**COMMON, **WIDE))


MODELS = {
    "llama": (llama, "model.layers"),
    "gpt2": (gpt2, "transformer.h"),
    "bert": (bert, "bert.encoder.layer"),
}
IDS = torch.randint(1, 50, (7, 6), generator=torch.Generator().manual_seed(0))


def tokens(pads=(0, 0, 0, 2, 2, 3, 0), side="right"):
    mask = torch.ones_like(IDS)
    for row, count in enumerate(pads):
        mask[row, IDS.shape[1] - count :] = 0
    ids = torch.where(mask.bool(), IDS, 0)
    if side == "left":
        order = mask.argsort(dim=1, stable=True)
        ids, mask = ids.gather(1, order), mask.gather(1, order)
    return {"input_ids": ids, "attention_mask": mask}


def made(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MODELS[name][0]().eval()


@pytest.mark.parametrize("position", ["mean", "last"])
@pytest.mark.parametrize("name", MODELS)
def test_states_are_those_that_the_model_itself_returns(name, position):
    model, inputs = made(name), tokens()
    found = hidden_states(model, inputs, position=position, batch_size=3)
    assert list(found.blocks) == [f"{MODELS[name][1]}.{k}" for k in range(3)]
    with torch.no_grad():
        expected = model(**inputs, output_hidden_states=True).hidden_states
    mask = inputs["attention_mask"]
    for k, h in enumerate(list(found.blocks.values())[:2]):  # the last of theirs is normalised already
        own = expected[k + 1]
        rows = (own * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]
        rows = rows if position == "mean" else own[torch.arange(7), mask.sum(1) - 1]
        torch.testing.assert_close(h, rows, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_the_side_of_the_padding_and_what_stands_there_change_nothing(name):
    model = made(name)
    right, left = tokens(), tokens(side="left")
    left["position_ids"] = (left["attention_mask"].cumsum(1) - 1).clamp_min(0)
    other = {**right, "input_ids": torch.where(right["attention_mask"].bool(), right["input_ids"], 7)}
    expected = hidden_states(model, right)
    for inputs in (left, other):
        for h, own in zip(hidden_states(model, inputs).blocks.values(), expected.blocks.values()):
            torch.testing.assert_close(h, own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_steering_shifts_the_block_and_leaves_the_model_as_it_was(name):
    model, inputs, block = made(name), tokens(), f"{MODELS[name][1]}.1"
    v = torch.randn(16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = model(**inputs)
        states = hidden_states(model, inputs, position="mean", layers=block).blocks[block]
        with agop.steer(model, {block: v}, 2.0):
            inside = model(**inputs)
            shifted = hidden_states(model, inputs, position="mean", layers=block)
        after = model(**inputs)
    assert type(inside) is type(before)
    assert not torch.allclose(inside.logits, before.logits)
    assert torch.equal(after.logits, before.logits)
    # hooks are called in the order in which they came, so that what is read inside is steered
    torch.testing.assert_close(shifted.blocks[block], states + 2 * v, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_text_is_generated_as_if_each_block_output_was_shifted(name):
    """With a cache of keys each new token is steered as it comes; without one all are, in every pass: the same text."""
    model, block = made(name), f"{MODELS[name][1]}.1"
    v = torch.randn(16, generator=torch.Generator().manual_seed(1))
    options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    with agop.steer(model, {block: v}, 3.0):
        cached = model.generate(IDS[:2], **options)
        whole = model.generate(IDS[:2], use_cache=False, **options)
    assert torch.equal(cached, whole)
    assert not torch.equal(cached, model.generate(IDS[:2], **options))
