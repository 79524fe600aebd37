"""Samples with their targets: what an estimator is fitted on, and what it is validated on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from torch import Tensor

from agop import _checks


@dataclass(frozen=True, eq=False)
class Samples:
    """Rows `X` with their targets `Y` (±1 one-hot for `labels`), and how much each counts (None: equally)."""

    X: Float[Tensor, "n d"]
    Y: Float[Tensor, "n c"]
    labels: Int[Tensor, " n"] | None
    weight: Float[Tensor, " n"] | None

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
        return Samples(self.X[rows], self.Y[rows], labels, None if self.weight is None else self.weight[rows])

    def that_count(self) -> Samples:
        """Without those of weight zero: a sample of weight zero is a sample that is not there."""
        if self.weight is None or bool((self.weight > 0).all()):
            return self
        return self.take(self.weight > 0)

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
        """What `score` of the estimator gives for these predictions: weighted accuracy for labels, else R² (mean over outputs)."""
        weight = None if self.weight is None else self.weight.cpu().numpy()
        if self.labels is not None:
            predicted = values.argmax(1).cpu().numpy()
            return float(accuracy_score(self.labels.numpy(), predicted, sample_weight=weight))
        return float(r2_score(self.Y.cpu().numpy(), values.cpu().numpy(), sample_weight=weight))

    def training_score(self, fitted: Float[Tensor, "n c"]) -> dict[str, float]:
        """Training accuracy for labels, training mean squared error for targets."""
        if self.labels is not None:
            hits = fitted.argmax(1) == self.labels.to(fitted.device)
            return {"train_accuracy": float(hits.double().mean())}
        return {"train_mse": float((fitted - self.Y).double().square().mean())}

    def fingerprint(self) -> str:
        """A digest of all numbers, equal only for equal samples."""
        digest = hashlib.sha256()
        for tensor in (self.X, self.Y, self.weight):
            if tensor is not None:
                digest.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
                digest.update(tensor.detach().cpu().contiguous().numpy().data)
        return digest.hexdigest()


def _unsplittable(share: float, reason: str) -> ValueError:
    return _checks.bad_value(
        "validation",
        "a share of the samples that leaves enough of them on both sides",
        f"{share:g} ({reason.rstrip('.')})",
        "pass other samples to fit as X_val and y_val",
    )
