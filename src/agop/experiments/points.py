"""How runs scale their points, and what they say and store about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from agop.datasets import Dataset, Standardiser
from agop.experiments.files import atomic

SCALED = "standardised with the training points"


def fact(data: Dataset, n_classes: int, scaled: str = SCALED) -> str:
    """The fact about the points."""
    shape = "×".join(map(str, data.shape))
    return f"{data.x_train.shape[1]:,} features (shape {shape}), {n_classes} classes, {scaled}"


def constant_note(scaler: Standardiser) -> list[str]:
    """The note about constant features, if there are any."""
    if not scaler.n_constant:
        return []
    count = "1 feature is" if scaler.n_constant == 1 else f"{scaler.n_constant:,} features are"
    return [f"{count} constant over the training points: set to 0."]


def write_standardisation(scaler: Standardiser, folder: Path) -> None:
    """Write `standardisation.npz`, atomically."""
    with atomic(folder / "standardisation.npz") as partial:
        np.savez(partial, mean=scaler.mean, scale=scaler.scale)
