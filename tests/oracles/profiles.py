"""The slow, obvious way to the stages of a network's layers: keep every tensor, unfold every patch, decompose W."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def patches(x, conv):
    """(n, positions, d): what a Conv2d multiplies, by unfold."""
    unfolded = F.unfold(x, conv.kernel_size, conv.dilation, conv.padding, conv.stride)
    return unfolded.transpose(1, 2)


def linear_stages(h, weight):
    """`S Vᵀ h` for rows h, from the singular value decomposition."""
    u, s, vt = torch.linalg.svd(weight, full_matrices=False)
    return u, h @ vt.T * s


def nc1(features, labels):
    """tr Σ_W / tr Σ_B in two passes, float64."""
    features = features.double()
    classes = labels.unique()
    means = torch.stack([features[labels == c].mean(0) for c in classes])
    within = sum((features[labels == c] - means[i]).square().sum() for i, c in enumerate(classes)) / len(
        features
    )
    between = (means - means.mean(0)).square().sum() / len(classes)
    return float(within / between)


def nc2(features, labels):
    """Mean squared entry of the cosines between centred means less those of a simplex."""
    features = features.double()
    classes = labels.unique()
    means = torch.stack([features[labels == c].mean(0) for c in classes])
    unit = F.normalize(means - means.mean(0), dim=1)
    k = len(classes)
    target = (1 + 1 / (k - 1)) * torch.eye(k, dtype=torch.float64) - 1 / (k - 1)
    return float((unit @ unit.T - target).square().mean())
