from __future__ import annotations

import pytest
import torch


@pytest.fixture
def blobs(generator):
    """Imbalanced classes, correlated features: (features (500, 12) float64, labels, class means)."""
    means = 3 * torch.randn(5, 12, dtype=torch.float64, generator=generator)
    labels = torch.multinomial(torch.tensor([5.0, 4, 3, 2, 1]), 500, replacement=True, generator=generator)
    mix = torch.randn(12, 12, dtype=torch.float64, generator=generator)
    noise = torch.randn(500, 12, dtype=torch.float64, generator=generator) @ mix / 4
    return means[labels] + noise, labels, means
