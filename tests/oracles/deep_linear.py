"""Deep linear networks as they are written down: the scalar problem by brute force, the loss as a sum over samples and entries."""

from __future__ import annotations

import numpy as np


def scalar_problem(x, beta, M):
    return 1 / (x**M + 1) + beta * x


def least_x(beta, M):
    """Where the scalar problem is least, 0 included: a grid, then ever finer ones about the best point."""
    low, high = 0.0, 1 / beta  # beyond, β x alone is more than the value at 0
    for _ in range(12):
        grid = np.linspace(low, high, 4001)
        best = int(np.argmin(scalar_problem(grid, beta, M)))
        low, high = grid[max(0, best - 2)], grid[min(4000, best + 2)]
    x = (low + high) / 2
    return x if scalar_problem(x, beta, M) < 1 else 0.0


def strengths(counts, M, weight_decay, feature_decay):
    """σ² of every class."""
    N = sum(counts)
    noise = N * feature_decay
    betas = [N / n * M * weight_decay * noise ** (1 / M) for n in counts]
    return [noise * least_x(beta, M) ** M for beta in betas]


def loss(features, weights, bias, labels, weight_decay, feature_decay):
    """Half the squares: over outputs, a mean over samples, and decayed over all parameters. Torch, so that it has a gradient."""
    total = 0.0
    for row, label in zip(features, labels):
        for weight in weights:
            row = weight @ row
        for j, output in enumerate(row + bias):
            total = total + (output - float(j == label)) ** 2 / (2 * len(labels))
    for decay, weight in zip(weight_decay, weights):
        total = total + decay / 2 * (weight**2).sum()
    return total + feature_decay / 2 * (features**2).sum()
