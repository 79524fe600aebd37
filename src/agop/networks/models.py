"""The paper's networks: a backbone, and a bias-free ReLU head of five layers whose initialisation is scaled.

Data layout: images are (n, channels, height, width); an MLP takes rows (n, d) or anything that flattens to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from agop import _checks
from agop.networks.dropout import Drop, DroppedReLU, probability
from agop.networks.names import ARCHITECTURES
from agop.networks.streams import stream

SMALLEST_VGG = 32
"""Five halvings need 32 pixels; smaller images get a border of zeros."""


class HeadedNetwork(nn.Module):
    """`head(backbone(x))`; the layers of the head are `head.0`, `head.2`, …, each but the last before a ReLU, with or without dropout.

    Parameters
    ----------
    backbone
        Anything that gives (n, d) features.
    features
        d.
    n_classes
        Outputs.
    width, depth
        Of the hidden layers of the head: `depth` layers of `width` units, and a linear one of `n_classes`.
    init_gain
        Xavier normal initialisation of the head is scaled by this: 0.3 or less puts it in the feature-learning regime.
    seed
        Of the initialisation and of dropout; the global generators are not used.
    dropout
        Probability that a hidden unit of the head is dropped in training mode, [0, 1): of all hidden layers, or one for each of them, such
        as (0, 0, 0.5) for the last of three only, where the closed form of `agop.theory.dropout` is exact. The weights are those of the
        same seed without dropout, under the same names.

    Notes
    -----
    Beaglehole et al. 2024 (arXiv 2402.13728), Section 5: five hidden layers without bias.
    """

    def __init__(
        self,
        backbone: nn.Module,
        features: int,
        n_classes: int,
        *,
        width: int = 512,
        depth: int = 5,
        init_gain: float = 1.0,
        seed: int = 0,
        dropout: Drop = 0.0,
    ) -> None:
        super().__init__()
        _checks.integer("width", width, at_least=1)
        _checks.integer("depth", depth, at_least=0)
        _checks.integer("n_classes", n_classes, at_least=1)
        gain = _checks.real("init_gain", init_gain, above=0)
        generator = stream(seed, 0)
        self.backbone = backbone
        self.head = _head([features, *[width] * depth, n_classes], gain, generator)
        for place, p in enumerate(_drops(dropout, depth)):
            if p > 0:
                self.head[2 * place + 1] = DroppedReLU(p, seed, place)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (n, n_classes)."""
        return self.head(self.backbone(x))


def _head(widths: Sequence[int], gain: float, generator: torch.Generator) -> nn.Sequential:
    parts: list[nn.Module] = []
    for before, after in pairwise(widths):
        linear = nn.utils.skip_init(nn.Linear, before, after, bias=False)
        nn.init.xavier_normal_(linear.weight, gain=gain, generator=generator)
        parts += [linear, nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def _drops(dropout: Drop, depth: int) -> list[float]:
    """The probability of each hidden layer."""
    if isinstance(dropout, str) or not isinstance(dropout, Sequence):
        return [probability("dropout", dropout)] * depth
    if len(dropout) != depth:
        raise _checks.bad_value("dropout", f"a probability, or {depth}, one a hidden layer", repr(dropout))
    return [probability("dropout", p) for p in dropout]


def mlp(
    d: int,
    n_classes: int,
    *,
    width: int = 512,
    depth: int = 5,
    init_gain: float = 1.0,
    seed: int = 0,
    dropout: Drop = 0.0,
) -> HeadedNetwork:
    """A bias-free ReLU network of `depth` hidden layers on d inputs, which may come in any shape (n, ...)."""
    _checks.integer("d", d, at_least=1)
    options: dict[str, Any] = {"width": width, "depth": depth, "init_gain": init_gain, "seed": seed}
    return HeadedNetwork(nn.Flatten(), d, n_classes, dropout=dropout, **options)


def resnet18(
    image: tuple[int, int, int],
    n_classes: int,
    *,
    width: int = 512,
    depth: int = 5,
    init_gain: float = 1.0,
    seed: int = 0,
    dropout: Drop = 0.0,
) -> HeadedNetwork:
    """ResNet-18 of torchvision up to its average pooling (512 features), and the head.

    Parameters
    ----------
    image
        (channels, height, width) of the images; the first convolution takes any number of channels.
    """
    channels = _image(image)[0]
    models = _torchvision_models()
    with torch.device("meta"):
        backbone = models.resnet18()
        backbone.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        backbone.fc = nn.Identity()
    _initialise(backbone, seed)
    options: dict[str, Any] = {"width": width, "depth": depth, "init_gain": init_gain, "seed": seed}
    return HeadedNetwork(backbone, 512, n_classes, dropout=dropout, **options)


def vgg11(
    image: tuple[int, int, int],
    n_classes: int,
    *,
    width: int = 512,
    depth: int = 5,
    init_gain: float = 1.0,
    seed: int = 0,
    batch_norm: bool = True,
    dropout: Drop = 0.0,
) -> HeadedNetwork:
    """The convolutions of torchvision's VGG-11 (with BatchNorm unless told otherwise), average pooling to 512 features, and the head.

    Images below 32 pixels get a border of zeros, because the five poolings would leave nothing of them.
    """
    channels, *sides = _image(image)
    models = _torchvision_models()
    with torch.device("meta"):
        convolutions = (models.vgg11_bn() if batch_norm else models.vgg11()).features
        convolutions[0] = nn.Conv2d(channels, 64, kernel_size=3, padding=1)
    missing = [max(0, SMALLEST_VGG - side) for side in sides]
    tall, broad = ((lack // 2, lack - lack // 2) for lack in missing)
    backbone = nn.Sequential()
    if any(missing):
        backbone.append(nn.ZeroPad2d((*broad, *tall)))
    _initialise(convolutions, seed)
    backbone.extend([convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten()])
    options: dict[str, Any] = {"width": width, "depth": depth, "init_gain": init_gain, "seed": seed}
    return HeadedNetwork(backbone, 512, n_classes, dropout=dropout, **options)


def build(
    architecture: str,
    shape: Sequence[int],
    n_classes: int,
    *,
    width: int = 512,
    depth: int = 5,
    init_gain: float = 1.0,
    seed: int = 0,
    dropout: Drop = 0.0,
) -> HeadedNetwork:
    """One of `ARCHITECTURES` for points of this shape: (h, w), (c, h, w) or (h, w, c); an MLP takes any.

    Use `as_images` to bring points into the layout (n, c, h, w) that the convolutional ones take.
    """
    _checks.one_of("arch", architecture, ARCHITECTURES)
    options: dict[str, Any] = {"width": width, "depth": depth, "init_gain": init_gain, "seed": seed}
    if architecture == "mlp":
        d = int(torch.Size(shape).numel())
        return mlp(d, n_classes, dropout=dropout, **options)
    make = resnet18 if architecture == "resnet18" else vgg11
    return make(image_layout(shape), n_classes, dropout=dropout, **options)


def image_layout(shape: Sequence[int]) -> tuple[int, int, int]:
    """(channels, height, width) of images of shape (h, w), (c, h, w) or (h, w, c): the smaller end is the channels."""
    sides = tuple(shape)
    if len(sides) == 2:
        return (1, *sides)
    if len(sides) == 3:
        return sides if sides[0] <= sides[2] else (sides[2], sides[0], sides[1])
    raise _checks.bad_value(
        "data",
        "images of shape (h, w), (c, h, w) or (h, w, c)",
        f"points of shape {sides}",
        "take --arch mlp",
    )


def as_images(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Flat points (n, d) that had this shape, as (n, c, h, w)."""
    sides = tuple(shape)
    layout = image_layout(sides)
    images = x.reshape(len(x), *sides)
    if len(sides) == 3 and layout != sides:
        images = images.permute(0, 3, 1, 2)
    return images.reshape(len(x), *layout).contiguous()


def _image(image: Sequence[int]) -> tuple[int, int, int]:
    sides = tuple(image)
    if len(sides) != 3:
        raise _checks.bad_value("image", "(channels, height, width)", repr(sides))
    channels, height, width = (_checks.integer("image", side, at_least=1) for side in sides)
    return channels, height, width


def _initialise(module: nn.Module, seed: int) -> None:
    """The initialisation of torchvision (He et al. 2015, fan out), from a generator of its own."""
    generator = stream(seed, 1)
    module.to_empty(device="cpu")
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)


def _torchvision_models() -> Any:
    try:
        from torchvision import models
    except ImportError:
        raise _checks.bad_value(
            "arch", "an installed torchvision for resnet18 and vgg11", "none", 'pip install "agop[vision]"'
        ) from None
    return models
