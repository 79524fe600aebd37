"""
What did my network learn to look at? A ResNet
==============================================

A small ResNet (torchvision's, with one block a stage) is trained for a few epochs on the bundled digits. Then one sweep over the
data, one forward and ten backward passes per batch, gives the average gradient outer product (AGOP) at the convolutions and at the
linear head, each with respect to what that layer reads: patches for a convolution. The top eigenvectors of the first one are the
directions in the space of 5 × 5 patches that the network's outputs are most sensitive to.

The neural feature ansatz says that the weights of a layer keep just these directions, so below them are the top
eigenvectors of the layer's neural feature matrix :math:`W^T W`; then come the spectra of the AGOPs and the correlation of the
two matrices, layer by layer, before and after training.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

import agop

# %%
# The digits, 8 × 8 pixels, are enlarged to 16 × 16; the first convolution reads patches of 5 × 5 pixels of one channel,
# at every pixel. Nothing else of the torchvision model is changed.

pixels, digits = load_digits(return_X_y=True)
images = torch.as_tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
images = nn.functional.interpolate(
    images, size=16, mode="bilinear", align_corners=False
)
labels = torch.as_tensor(digits)
train, test = slice(0, 1000), slice(1000, None)


def small_resnet() -> nn.Module:
    model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)
    model.conv1 = nn.Conv2d(1, 64, kernel_size=5, padding=2, bias=False)
    return model


def fit(model: nn.Module, epochs: int) -> None:
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-3
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        model.train()
        for batch in torch.randperm(1000).split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(
                model(images[train][batch]), labels[train][batch]
            ).backward()
            optimizer.step()
        schedule.step()
    model.eval()


# %%
# ``layer_agops`` takes the model as it is: residual connections, in-place activations and batch normalisation need no care,
# except that the model must be in eval mode (in training mode samples mix, which is refused by name). Layers are chosen by
# name, by glob or by type; without a choice it would be every convolution and the head.


def measure(model: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    # patches of the last stages have up to 4,608 numbers: minutes for eigenvectors
    agops = agop.layer_agops(
        model, images[train][:100], ["conv1", "layer[12].*.conv?", "fc"]
    )
    return agops, {
        name: agop.nfa(agop.nfm(model.get_submodule(name)), A)
        for name, A in agops.items()
    }


torch.manual_seed(0)
model = small_resnet().eval()
agops_before, before = measure(model)
fit(model, epochs=5)
agops, after = measure(model)
with torch.no_grad():
    accuracy = float((model(images[test]).argmax(1) == labels[test]).float().mean())
print(f"test accuracy {accuracy:.3f}; {agops}")

# %%
# Top eigenvectors of the first convolution's patch AGOP and of its feature matrix, as images. Signs are arbitrary: they are
# chosen so that matching directions match.

feature_matrix = agop.nfm(model.conv1)
values, looked_at = torch.linalg.eigh(agops["conv1"])
kept_values, kept = torch.linalg.eigh(feature_matrix)

figure, axes = plt.subplots(2, 8, figsize=(10, 3.1), layout="constrained")
for column in range(8):
    seen, weight = looked_at[:, -1 - column], kept[:, -1 - column]
    weight = weight * torch.sign(seen @ weight)
    for row, (vector, spectrum) in enumerate(
        ((seen, values), (weight, kept_values))
    ):
        axis = axes[row, column]
        limit = float(vector.abs().max())
        axis.imshow(vector.reshape(5, 5), cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set_title(
            f"{float(spectrum[-1 - column] / spectrum.sum()):.0%}", fontsize=9
        )
        axis.set_xticks([])
        axis.set_yticks([])
axes[0, 0].set_ylabel("AGOP")
axes[1, 0].set_ylabel(r"$W^\top W$")
figure.suptitle(
    "Top eigenvectors over 5 × 5 patches at the first convolution, "
    "with their share of the trace"
)
plt.show()

# %%
# How much of the trace of each AGOP its ten largest eigenvalues hold, and how well the AGOP to the power 1/2 predicts the feature
# matrix. Training changes the first: most convolutions come to look at fewer directions. The correlation on the right is high
# before training already, and says little there: the gradient reads a random :math:`W` as :math:`\Delta W`, so that the AGOP is
# about :math:`W^T W` itself as long as all outputs of the layer matter alike. (From a small initialisation, or in the linear
# layers of the paper, it starts low and grows.)


def share(A: torch.Tensor) -> float:
    return float(torch.linalg.eigvalsh(A)[-10:].sum() / A.trace())


names = list(agops)
panels = {
    "share of the ten largest eigenvalues of the AGOP": (
        [share(A) for A in agops_before.values()],
        map(share, agops.values()),
    ),
    r"correlation of $W^\top W$ and AGOP$^{1/2}$": (
        before.values(),
        after.values(),
    ),
}
figure, axes = plt.subplots(
    1, 2, figsize=(11, 4.2), layout="constrained", sharey=True
)
for axis, (label, (start, end)) in zip(axes, panels.items()):
    axis.plot(list(start), names, "o", color="#bbbbbb", label="before training")
    axis.plot(list(end), names, "o", color="#cc3311", label="after training")
    axis.set_xlabel(label)
    axis.set_xlim(0, 1.02)
    axis.grid(axis="x", alpha=0.3)
axes[0].invert_yaxis()
axes[0].legend()
plt.show()
