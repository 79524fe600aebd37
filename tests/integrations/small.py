"""A small classifier and data for the integration tests; imported by spawned processes too."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

CLASSES = 4


def data(n=203, d=6):
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, CLASSES, (n,), generator=generator)
    means = 5 + 2 * torch.randn(CLASSES, d, generator=generator)
    return means[labels] + torch.randn(n, d, generator=generator), labels


class Small(LightningModule):
    """Batch norm and dropout in the way: both must be off while measuring, and on again after."""

    def __init__(self, d=6):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(d, 16),
            nn.BatchNorm1d(16),
            nn.ReLU(inplace=True),
            nn.Dropout(0.2),
            nn.Linear(16, 8),
            nn.ReLU(),
        )
        self.head = nn.Linear(8, CLASSES)
        self.frozen = nn.BatchNorm1d(3, affine=False).eval()

    def forward(self, x):
        return self.head(self.body(x))

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def small(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Small()


def loader(**options):
    return DataLoader(TensorDataset(*data()), **{"batch_size": 32, "shuffle": True, **options})
