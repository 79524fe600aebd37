"""Samples with their targets: what an estimator is fitted on, and what it is validated on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from torch import Tensor

from agop import _checks

_ROOT_OF_RANGE = 1e150


@dataclass(frozen=True, eq=False)
class Samples:
    """Rows `X` with their targets `Y` (±1 one-hot for `labels`), and how much each counts (None: equally).

    As they came, or as a machine takes them; `restored` leads from its values to targets as the user passed them.
    """

    X: Float[Tensor, "n d"]
    Y: Float[Tensor, "n c"]
    labels: Int[Tensor, " n"] | None
    weight: Float[Tensor, " n"] | None
    restored: Callable[[Tensor], Tensor] = field(default=lambda values: values)

    def __len__(self) -> int:
        return len(self.X)

    @property
    def cells(self) -> Int[Tensor, " n"] | None:
        """The labels where the points are: the partition that protects the AGOP from rounding."""
        return None if self.labels is None else self.labels.to(self.X.device)

    def take(self, rows: Tensor) -> Samples:
        """Some of the samples, by index or mask."""
        labels = None if self.labels is None else self.labels[rows.cpu()]
        rows = rows.to(self.X.device)
        weight = None if self.weight is None else self.weight[rows]
        return replace(self, X=self.X[rows], Y=self.Y[rows], labels=labels, weight=weight)

    def split(self, share: float, seed: int) -> tuple[Samples, Samples]:
        """The samples without a random `share` of them, and that share; classes keep their proportions in both."""
        try:
            kept, held = train_test_split(
                np.arange(len(self)),
                test_size=share,
                random_state=np.random.RandomState(seed % 2**32),
                stratify=self.labels,
            )
        except ValueError as error:
            raise _unsplittable(share, str(error)) from None
        kept, held = (self.take(torch.from_numpy(np.sort(rows))) for rows in (kept, held))
        if kept.labels is not None and len(kept.labels.unique()) < int(kept.Y.shape[1]):
            raise _unsplittable(share, "a class would have no sample to train on")
        if self.labels is None and len(held) < 2:
            raise _unsplittable(share, f"{len(held)} sample would be held out, R² needs 2")
        return kept, held

    def score(self, values: Float[Tensor, "n c"]) -> float:
        """What `score` of the estimator gives for these values of a machine: weighted accuracy for labels, else R² (mean over outputs)."""
        weight = None if self.weight is None else self.weight.cpu().numpy()
        if self.labels is not None:
            predicted = self.restored(values).argmax(1).cpu().numpy()
            return float(accuracy_score(self.labels.numpy(), predicted, sample_weight=weight))
        return float(r2_score(self.Y.cpu().numpy(), values.cpu().numpy(), sample_weight=weight))

    def training_score(self, fitted: Float[Tensor, "n c"]) -> dict[str, float | None]:
        """Training accuracy for labels, training mean squared error for targets (None if that is beyond float64)."""
        if self.labels is not None:
            hits = self.restored(fitted).argmax(1) == self.labels.to(fitted.device)
            return {"train_accuracy": float(hits.double().mean())}
        error = (self.restored(fitted) - self.restored(self.Y)).double()
        largest = float(error.abs().max())
        mean = float((error / (largest or 1)).square().mean())
        return {"train_mse": mean * largest**2 if largest < _ROOT_OF_RANGE else None}

    def fingerprint(self) -> str:
        """A digest of all numbers, equal only for equal samples."""
        digest = hashlib.sha256()
        for tensor in (self.X, self.Y, self.weight):
            if tensor is not None:
                digest.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
                whole = tensor.detach().cpu().contiguous()
                digest.update(whole.reshape(-1).view(torch.uint8).numpy().data)  # NumPy has no bfloat16
        return digest.hexdigest()


def _unsplittable(share: float, reason: str) -> ValueError:
    return _checks.bad_value(
        "validation",
        "a share of the samples that leaves enough of them on both sides",
        f"{share:g} ({reason.rstrip('.')})",
        "pass other samples to fit as X_val and y_val",
    )
