"""The paper's networks: shapes, initialisation, any channels and small images, untouched generators."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import agop
from agop.networks.models import as_images, build, image_layout, mlp, resnet18, vgg11
from agop.profiles.projection import split


def test_an_mlp_is_bias_free_and_scaled_xavier():
    net = mlp(784, 10, width=256, depth=5, init_gain=0.3, seed=1)
    linear = [part for part in net.modules() if isinstance(part, nn.Linear)]
    assert [(part.in_features, part.out_features) for part in linear] == [
        (784, 256),
        *[(256, 256)] * 4,
        (256, 10),
    ]
    assert all(part.bias is None for part in linear)
    for part in linear[:-1]:
        expected = 0.3 * (2 / (part.in_features + part.out_features)) ** 0.5
        assert float(part.weight.detach().std()) == pytest.approx(expected, rel=0.02)
    assert net(torch.ones(3, 28, 28)).shape == (3, 10)


def test_the_seed_decides_and_the_global_generator_does_not():
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    for make in (lambda s: mlp(6, 2, width=4, seed=s), lambda s: resnet18((1, 28, 28), 2, width=4, seed=s)):
        a, b, c = make(0), make(0), make(1)
        assert torch.equal(torch.random.get_rng_state(), state)
        names = [name for name, value in a.named_parameters() if value.ndim > 1]
        assert names
        for name in names:
            assert torch.equal(a.get_parameter(name), b.get_parameter(name))
            assert not torch.equal(a.get_parameter(name), c.get_parameter(name))


@pytest.mark.parametrize("arch", ["resnet18", "vgg11"])
@pytest.mark.parametrize("shape", [(28, 28), (3, 32, 32), (32, 32, 3), (5, 28, 28)])
def test_backbones_take_small_images_with_any_channels(arch, shape, generator):
    net = build(arch, shape, 7, width=16, seed=0)
    points = torch.rand(2, torch.Size(shape).numel(), generator=generator)
    images = as_images(points, shape)
    assert images.shape[1:] == image_layout(shape)
    assert net(images).shape == (2, 7)
    assert all(bool(torch.isfinite(value).all()) for value in net.state_dict().values())
    assert len(net.head) == 11


def test_vgg_without_batchnorm_is_vgg11():
    net = vgg11((3, 32, 32), 10, batch_norm=False)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in net.modules())
    assert sum(isinstance(part, nn.Conv2d) for part in net.modules()) == 8


def test_images_keep_their_pixels():
    x = torch.arange(2 * 5 * 4 * 3.0).reshape(2, -1)
    assert torch.equal(as_images(x, (5, 4, 3)), x.reshape(2, 5, 4, 3).permute(0, 3, 1, 2))
    assert torch.equal(as_images(x, (3, 5, 4)), x.reshape(2, 3, 5, 4))


def test_what_cannot_be_an_image_is_refused():
    with pytest.raises(ValueError, match="arch: expected one of"):
        build("alexnet", (28, 28), 10)
    with pytest.raises(ValueError, match="--arch mlp"):
        build("resnet18", (784,), 10)
    with pytest.raises(ValueError, match="init_gain"):
        mlp(4, 2, init_gain=0)


@pytest.mark.parametrize("arch", ["resnet18", "vgg11"])
def test_every_layer_of_a_backbone_has_consistent_stages(arch, generator):
    net = build(arch, (1, 28, 28), 4, width=16, seed=0).eval()
    x = torch.randn(12, 1, 28, 28, generator=generator)
    p = agop.profile(net, x, torch.arange(12) % 4, measures=["nc1", "nc2"])
    assert torch.isfinite(torch.tensor(p.table["nc1"])).all()
    assert len(p.layers) == {"resnet18": 20, "vgg11": 8}[arch] + 6
    assert p.layers["follows"].iloc[0] == "batch_norm → relu"
    # U (S Vᵀ h) is the layer's output less its bias
    calls = {}
    for name in p.layers["name"][:3]:
        conv = net.get_submodule(name)
        conv.register_forward_hook(lambda m, a, y, name=name: calls.update({name: (m, a[0], y)}))
    net(x)
    from agop.profiles import pooling

    for conv, h, y in calls.values():
        u, right = split(conv.weight.flatten(1))
        rows = pooling.patches(h, conv) @ right.T @ u.T
        if conv.bias is not None:
            rows = rows + conv.bias
        expected = y.flatten(2).transpose(1, 2).flatten(0, 1)
        torch.testing.assert_close(rows, expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-5)
