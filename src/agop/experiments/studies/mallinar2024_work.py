"""Units of mallinar2024: kernel machines and networks that learn to add modulo p from a share of all pairs.

path       iteration (or epoch), test_accuracy, train_accuracy, test_loss, circulant (of the AGOP's off-diagonal block), nc1 (of the
           predictions of test pairs, by their sum)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from agop.collapse.moments import ClassMoments
from agop.collapse.variability import nc1
from agop.experiments.tables import write_table
from agop.experiments.units import Unit
from agop.gradients import agop
from agop.machines.rfm import RFMRegressor
from agop.networks.streams import derived_seed

BANDWIDTH = 2.5
"""Of the Gaussian kernel; two different pairs are √2 or 2 apart."""

LR, DECAY, SPREAD = 0.005, 1.0, 2.0
"""AdamW's rate and decay, and how much larger than 1/√fan-in weights start: with smaller ones the network adds at once."""

_PAIRS, _LABELS, _WEIGHTS = 61, 62, 63  # uses of a unit's seed


class Task:
    """All pairs (a, b) as two one-hot vectors side by side, their sums modulo p as one-hot vectors, and which pairs are trained on."""

    def __init__(self, p: int, share: float, seed: int, *, shuffled: bool) -> None:
        first, second = np.divmod(np.arange(p * p), p)
        one_hot = torch.eye(p, dtype=torch.float64)
        sums = (first + second) % p
        if shuffled:
            sums = np.random.default_rng(derived_seed(seed, _LABELS)).permutation(sums)
        self.p = p
        self.x = torch.cat([one_hot[first], one_hot[second]], 1)
        self.sums = torch.from_numpy(sums)
        self.y = one_hot[self.sums]
        order = np.random.default_rng(derived_seed(seed, _PAIRS)).permutation(p * p)
        self.train, self.test = torch.from_numpy(order).split(
            [round(share * p * p), p * p - round(share * p * p)]
        )

    def measured(
        self, predictions: Float[Tensor, "n p"], matrix: Float[Tensor, "d d"] | None
    ) -> dict[str, float]:
        """One row of the path."""
        right = (predictions.argmax(1) == self.sums).double()
        unseen = predictions[self.test].double()
        block = None if matrix is None else matrix[self.p :, : self.p]
        return {
            "test_accuracy": float(right[self.test].mean()),
            "train_accuracy": float(right[self.train].mean()),
            "test_loss": float((unseen - self.y[self.test]).square().sum(1).mean()),
            "circulant": float("nan") if block is None else circulant_share(block),
            "nc1": float(nc1(ClassMoments.of(unseen, self.sums[self.test], self.p))),
        }


def circulant_share(block: Float[Tensor, "p p"]) -> float:
    """The share of a square matrix's variance over its entries that the means of its wrapped diagonals explain; 1/p by chance."""
    p = len(block)
    place = torch.arange(p)
    diagonal = (place[:, None] - place) % p
    values = block.double()
    means = torch.stack([values[diagonal == k].mean() for k in range(p)])
    spread = (values - values.mean()).square().sum()
    return float(1 - (values - means[diagonal]).square().sum() / spread)


def run_rfm(unit: Unit, folder: Path) -> list[str]:
    """An RFM on one-hot pairs, followed from iteration to iteration; the ridge is 0, the metric the root of the AGOP."""
    options = dict(unit.options)
    task = Task(int(options["p"]), float(options["share"]), unit.seed, shuffled=bool(options["shuffled"]))
    update = str(options["update"])
    scale = (
        "none" if update == "agop" else "max"
    )  # the size of FACT is that of WᵀW with a decay that is free here
    model = RFMRegressor(
        kernel="gaussian", bandwidth=BANDWIDTH, ridge=0.0, n_iter=int(options["n_iter"]), power=0.25, scale=scale, scaling="none",
        center_targets=False, center_gradients=bool(options["centred"]), update=update,
    )  # fmt: skip
    path: list[dict[str, Any]] = []

    def follow(index: int, count: int, entry: dict[str, Any]) -> None:
        found = task.measured(torch.as_tensor(model.predict(task.x)), model.agop_ if index else None)
        path.append({"iteration": index, **found})

    model.fit(task.x[task.train], task.y[task.train], callback=follow)
    write_table(folder, "path", pd.DataFrame(path))
    return []


def run_network(unit: Unit, folder: Path) -> list[str]:
    """Two layers with squares between them, trained on all training pairs at once with AdamW and the squared loss."""
    options = dict(unit.options)
    task = Task(int(options["p"]), float(options["share"]), unit.seed, shuffled=bool(options["shuffled"]))
    model = _network(task.p, int(options["width"]), derived_seed(unit.seed, _WEIGHTS))
    x, y = task.x.float(), task.y.float()
    optimiser = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=DECAY, betas=(0.9, 0.98))
    path: list[dict[str, Any]] = []
    for epoch in range(int(options["epochs"]) + 1):
        if epoch % int(options["every"]) == 0:
            with torch.no_grad():
                predictions = model(x)
            path.append({"epoch": epoch, **task.measured(predictions, agop(model, x[task.train]))})
        optimiser.zero_grad()
        (model(x[task.train]) - y[task.train]).square().sum(1).mean().backward()
        optimiser.step()
    write_table(folder, "path", pd.DataFrame(path))
    return []


class _Squares(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z.square()


def _network(p: int, width: int, seed: int) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2 * p, width, bias=False), _Squares(), nn.Linear(width, p, bias=False))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * (SPREAD / weight.shape[1] ** 0.5))
    return model
