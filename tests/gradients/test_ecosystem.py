"""Models as they come from transformers, timm, torchvision and peft, small and with random weights: layers against per-sample Jacobians."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import agop
from tests.gradients.test_layers import seeded
from tests.gradients.test_outer import random
from tests.oracles import uses as slow
from tests.tolerances import relative_error

DEEP = 1e-8
"""Float64, a network of many layers with softmax and normalisation in between."""


def tokens(n=2, length=5, vocabulary=31):
    return torch.randint(vocabulary, (n, length), generator=torch.Generator().manual_seed(0))


def logits(returned):
    """One row of two outputs a sample, of whatever came out."""
    y = returned if isinstance(returned, torch.Tensor) else returned[0]
    return y.flatten(1).unflatten(1, (-1, 1)).mean(2)[:, :2] if y.ndim == 2 else y.mean(1)[:, :2]


def check(model, batch, *, output=logits, missing=0, **options):
    """Every layer that is a module equals its oracle, and no matrix is missed; returns the result."""
    whole = [batch] if isinstance(batch, dict) else batch
    result = agop.layer_agops(model, whole, output=output, **options)
    expected = slow.module_agops(model, batch, output=output)
    # a small network of Swin V2 that makes position biases: it reads nothing of the samples
    expected = {name: value for name, value in expected.items() if "cpb_mlp" not in name}
    assert set(expected) <= set(result)
    for name, value in expected.items():
        assert relative_error(result[name], value) < DEEP, name
    assert result.coverage.matrices - result.coverage.read == missing, result.notes
    return result


def transformer(name):
    hf = pytest.importorskip("transformers")
    small = {
        "vocab_size": 31,
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 12,
    }
    builds = {
        "bert": lambda: hf.BertForSequenceClassification(hf.BertConfig(**small, max_position_embeddings=8)),
        "gpt2": lambda: hf.GPT2LMHeadModel(
            hf.GPT2Config(vocab_size=31, n_embd=8, n_layer=2, n_head=2, n_positions=8)
        ),
        "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**small, num_key_value_heads=1)),
        "t5": lambda: hf.T5EncoderModel(
            hf.T5Config(vocab_size=31, d_model=8, d_kv=4, d_ff=12, num_layers=2, num_heads=2)
        ),
        "vit": lambda: hf.ViTForImageClassification(
            hf.ViTConfig(**{k: v for k, v in small.items() if k != "vocab_size"}, image_size=8, patch_size=4)
        ),
    }
    return seeded(builds[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5", "vit"])
def test_transformers(name):
    model = transformer(name)
    batch = random(2, 3, 8, 8) if name == "vit" else tokens()
    result = check(model, batch)
    if name == "gpt2":
        assert {"transformer.h.0.attn.c_attn", "transformer.h.1.mlp.c_fc", "lm_head"} <= set(result)
        parts = agop.layer_agops(model, batch, "transformer.h.0.attn.c_attn.[qkv]", output=logits)
        assert list(parts) == [f"transformer.h.0.attn.c_attn.{part}" for part in "qkv"]
        y = torch.arange(2)
        p = agop.profile(agop.Network(model, output=logits), batch, y, measures=["nc1"])
        assert "transformer.h.0.mlp.c_fc" in p.layers["name"].tolist()
        assert set(p.table[p.table["name"] == "transformer.h.0.mlp.c_fc"]["stage"]) == {
            "input",
            "projected",
            "output",
        }


@pytest.mark.slow
def test_a_low_rank_adapter_of_peft():
    peft = pytest.importorskip("peft")
    for name, targets in (("llama", ["q_proj", "v_proj"]), ("gpt2", ["c_attn"])):
        config = peft.LoraConfig(
            r=2, target_modules=targets, lora_alpha=3, fan_in_fan_out=name == "gpt2", init_lora_weights=False
        )
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = peft.get_peft_model(transformer(name), config).double().eval()
        result = agop.layer_agops(model, tokens(), output=logits)
        target = next(n for n in result if n.endswith(targets[0]))
        module = dict(model.named_modules())[target]
        base = module.base_layer.weight.detach()
        effective = base + module.get_delta_weight("default").detach()
        effective = effective.T if name == "gpt2" else effective
        assert relative_error(result.weights[target], effective) < DEEP
        assert f"{target}.lora_A.default" in result
        assert f"{target}.lora_B.default" in result
        assert f"{target}.base_layer" in result
        expected = slow.agop_through(model, tokens(), module, output=logits)
        assert relative_error(result[target], expected) < DEEP


TIMM = [
    "vit_tiny_patch16_224", "eva02_tiny_patch14_224", "swin_tiny_patch4_window7_224", "beit_base_patch16_224", "convnext_atto",
    "mixer_s16_224", "resnet10t", "efficientnet_lite0", "mobilevit_xxs", "cait_xxs24_224",
]  # fmt: skip
SMALL = {
    "vit_tiny_patch16_224": {"img_size": 32, "depth": 2},
    "eva02_tiny_patch14_224": {"img_size": 28, "depth": 2},
    "swin_tiny_patch4_window7_224": {
        "img_size": 32,
        "window_size": 4,
        "depths": (1, 1),
        "embed_dim": 12,
        "num_heads": (2, 2),
    },
    "beit_base_patch16_224": {"img_size": 32, "depth": 2, "embed_dim": 24, "num_heads": 2},
    "mixer_s16_224": {"img_size": 32},
    "cait_xxs24_224": {"img_size": 32, "depth": 1, "embed_dim": 24, "num_heads": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM)
def test_timm(name):
    timm = pytest.importorskip("timm")
    options = SMALL.get(name, {})
    model = seeded(lambda: timm.create_model(name, num_classes=2, **options))
    for parameter in model.parameters():
        if not parameter.any():  # heads that start at zero have no gradient behind them
            nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    side = options.get("img_size", 32)
    check(model, random(2, 3, side, side), output=None)


TORCHVISION = {
    "alexnet": 64, "convnext_tiny": 32, "densenet121": 32, "efficientnet_b0": 32, "efficientnet_v2_s": 32, "googlenet": 32,
    "inception_v3": 75, "maxvit_t": 224, "mnasnet0_5": 32, "mobilenet_v2": 32, "mobilenet_v3_small": 32, "regnet_y_400mf": 32,
    "resnet18": 32, "resnext50_32x4d": 32, "shufflenet_v2_x0_5": 32, "squeezenet1_1": 32, "swin_t": 32, "swin_v2_t": 32,
    "vgg11": 32, "vit_b_16": 32, "wide_resnet50_2": 32,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name):
    torchvision = pytest.importorskip("torchvision")
    options = {"vit_b_16": {"image_size": 32}, "googlenet": {"aux_logits": False, "init_weights": False}}.get(
        name, {}
    )
    if name == "inception_v3":
        options = {"init_weights": False, "aux_logits": False}

    def build():
        model = torchvision.models.get_model(name, weights=None, num_classes=2, **options)
        if name in ("alexnet", "vgg11"):
            # heads of 10,000 inputs and 4,096 outputs would be all of the work
            widths = {"alexnet": 256, "vgg11": 512}[name]
            model.avgpool = nn.AdaptiveAvgPool2d(1)
            model.classifier = nn.Sequential(nn.Linear(widths, 32), nn.ReLU(inplace=True), nn.Linear(32, 2))
        return model

    model = seeded(build)
    if name == "vit_b_16":
        model.encoder.layers = model.encoder.layers[:2]
        nn.init.normal_(model.heads.head.weight, generator=torch.Generator().manual_seed(1))
    side = TORCHVISION[name]
    missing = {"swin_v2_t": 24}.get(name, 0)
    check(model, random(2, 3, side, side), output=None, missing=missing)
