"""A small labelled set: classes that overlap."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def toy():
    """Points (60, 80), labels and one-hot targets of 3 classes of 25, 20 and 15 points."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor([25, 20, 15]))
    means = 0.5 * torch.randn(3, 80, generator=generator, dtype=torch.float64)
    X = (torch.randn(60, 80, generator=generator, dtype=torch.float64) + means[labels]) / 80**0.5
    return X, labels, torch.eye(3, dtype=torch.float64)[labels]
