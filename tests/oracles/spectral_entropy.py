"""Diffusion spectral entropy as it is written down: loops over pairs, the random walk itself, a sum over its eigenvalues."""

from __future__ import annotations

import math

import numpy as np


def walk(Z, sigma):
    """The matrix of transition probabilities, not symmetric."""
    n = len(Z)
    P = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            distance = math.sqrt(sum((float(a) - float(b)) ** 2 for a, b in zip(Z[i], Z[j], strict=True)))
            P[i, j] = math.exp(-(distance**2) / (2 * sigma**2))
        P[i] /= P[i].sum()
    return P


def entropy(Z, sigma=10.0, t=1):
    """In bits."""
    powers = [abs(value) ** t for value in np.linalg.eigvals(walk(Z, sigma))]
    shares = [power / sum(powers) for power in powers]
    return -sum(p * math.log2(p) for p in shares if p > 0)


def mutual_information(Z, y, orders, sigma=10.0, t=1):
    """In bits; `orders` are the random orders whose beginnings are the subsets."""
    total = 0.0
    for c in set(y.tolist()):
        size = int((y == c).sum())
        matched = [entropy(Z[order[:size]], sigma, t) for order in orders]
        total += size / len(y) * (sum(matched) / len(matched) - entropy(Z[y == c], sigma, t))
    return total


def median_distance(Z):
    """The lower median over pairs i < j."""
    pairs = [float((Z[i] - Z[j]).norm()) for i in range(len(Z)) for j in range(i)]
    return sorted(pairs)[(len(pairs) - 1) // 2]


def rms_distance(Z):
    """The root of the mean squared distance over pairs i < j."""
    pairs = [float((Z[i] - Z[j]).norm()) ** 2 for i in range(len(Z)) for j in range(i)]
    return math.sqrt(sum(pairs) / len(pairs))


def entropy_of_equidistant_classes(k, q):
    """Of k balanced classes, each one point, between any two of which the affinity is q: the walk has k eigenvalues that are not 0."""
    values = [1.0] + [(1 - q) / (1 + (k - 1) * q)] * (k - 1)
    return -sum(v / sum(values) * math.log2(v / sum(values)) for v in values)
