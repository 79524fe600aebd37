"""
Neural collapse during training
===============================

A small classifier learns the bundled digits with Lightning. `CollapseCallback` measures every few epochs how collapsed
each layer is, over the whole training set, and logs it. After the training error has reached zero (the terminal phase),
variability within classes keeps shrinking (NC1), the class means approach a simplex ETF (NC2), the classifier aligns
with them (NC3), and it decides like the nearest class centre (NC4).
"""

from __future__ import annotations

import logging
import warnings
from itertools import pairwise

import matplotlib.pyplot as plt
import torch
from lightning.pytorch import LightningModule, Trainer
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from agop import MeasureOptions, collapse_report
from agop.integrations.lightning import CollapseCallback

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", module="lightning")
EPOCHS = 400

# %%
# The data: 1,797 images of 8 × 8 pixels, ten classes; and a network of three hidden layers.

pixels, digits = load_digits(return_X_y=True)
features = torch.as_tensor(pixels / 16, dtype=torch.float32)
labels = torch.as_tensor(digits)


class Classifier(LightningModule):
    """Three hidden layers of width 128 with batch normalisation; a linear head."""

    def __init__(self) -> None:
        super().__init__()
        widths = [64, 128, 128, 128]
        self.body = nn.Sequential()
        for index, (d, k) in enumerate(pairwise(widths), start=1):
            layer = nn.Sequential(
                nn.Linear(d, k, bias=False), nn.BatchNorm1d(k), nn.ReLU()
            )
            self.body.add_module(f"layer{index}", layer)
        self.head = nn.Linear(widths[-1], 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        target = nn.functional.one_hot(batch[1], 10).float()
        return (self(batch[0]) - target).square().sum(1).mean() / 2

    def configure_optimizers(self) -> dict[str, object]:
        # without decay the head's bias can take up the mean: the ETF is the optimum
        decayed = [*self.body.parameters(), self.head.weight]
        groups = [
            {"params": decayed, "weight_decay": 2e-3},
            {"params": [self.head.bias]},
        ]
        optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


# %%
# The callback takes layers by name or glob. Keys such as ``collapse/head/input/nc1`` go to the module's logger and to
# ``callback_metrics``, where `ModelCheckpoint` and `EarlyStopping` find them; each is the number of `agop.profile`.

callback = CollapseCallback(
    ["body.layer?", "head"],
    every_n_epochs=5,
    measures=["nc1", "nc2", "nc3", "nc4"],
    options=MeasureOptions(rows=len(labels)),  # NC4 of all samples
)
trainer = Trainer(
    max_epochs=EPOCHS,
    accelerator="cpu",
    callbacks=[callback],
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
with torch.random.fork_rng():
    torch.manual_seed(0)
    model = Classifier()
    loader = DataLoader(
        TensorDataset(features, labels), batch_size=128, shuffle=True
    )
    trainer.fit(model, loader)

# %%
# The terminal phase, from the first epoch without a training error on, is shaded.

table = callback.to_frame().pivot(
    index="epoch", columns=["name", "stage", "measure"], values="value"
)
head, error = table["head", "input"], 1 - table["", "", "accuracy"]
terminal = head.index[(error == 0).to_numpy()].min()
fall = head["nc1"].loc[terminal] / head["nc1"].iloc[-1]

figure, axes = plt.subplots(2, 2, figsize=(9, 6), sharex=True, layout="constrained")
names = {
    "body.layer1": "layer 1",
    "body.layer2": "layer 2",
    "body.layer3": "layer 3",
}
for key, title, ax in (
    ("nc1", "NC1: tr Σ_W / tr Σ_B", axes[0, 0]),
    ("nc2", "NC2: distance to the simplex ETF", axes[0, 1]),
):
    for layer, name in names.items():
        ax.plot(table.index, table[layer, "output", key], label=name)
    ax.set(title=title, yscale="log")
axes[0, 0].legend(frameon=False)
axes[1, 0].plot(head.index, head["nc3"], color="C2")
axes[1, 0].set(
    title="NC3: classifier against class means", yscale="log", xlabel="epoch"
)
axes[1, 1].plot(
    head.index,
    1 - head["nc4"],
    color="C2",
    label="NC4: 1 − agreement with nearest centre",
)
axes[1, 1].plot(
    head.index, error, color="0.4", linestyle="--", label="training error"
)
axes[1, 1].set(title="NC4 and training error", xlabel="epoch")
axes[1, 1].set_yscale("symlog", linthresh=1 / len(labels))
axes[1, 1].legend(frameon=False)
for ax in axes.flat:
    ax.axvspan(terminal, EPOCHS, color="0.93", zorder=0)
    ax.spines[["top", "right"]].set_visible(False)
figure.suptitle(
    f"Digits: zero training error at epoch {terminal}; "
    f"NC1 then falls {fall:.0f} times further"
)

# %%
# Every measure of the last hidden layer at the end, with its definition. Data from no class are random images here.

with torch.no_grad():
    model.eval()
    last, other = (
        model.body(features),
        model.body(
            torch.rand(1000, 64, generator=torch.Generator().manual_seed(1))
        ),
    )
report = collapse_report(
    last,
    labels,
    weight=model.head.weight,
    bias=model.head.bias,
    ood=other,
    scatter="full",
)
print(report)

# %%
# The same as distances to collapse.

report.plot()
plt.show()
