"""Collapse measures the slow way: float64, one class at a time, d × d matrices, loops over pairs."""

from __future__ import annotations

import math

import torch


def class_means(features, labels, classes):
    """Two passes: the mean, then the mean of what is left."""
    means = []
    for c in classes:
        rows = features[labels == c].double()
        mean = rows.mean(0)
        means.append(mean + (rows - mean).mean(0))
    return torch.stack(means)


def scatter_matrices(features, labels, weighting="class"):
    """Σ_W (mean over samples), Σ_B (weighted over classes), and the number of classes."""
    classes = labels.unique()
    means = class_means(features, labels, classes)
    n = len(labels)
    within = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64)
    for c, mean in zip(classes, means):
        deviations = features[labels == c].double() - mean
        within += deviations.T @ deviations / n
    if weighting == "class":
        weights = torch.full((len(classes),), 1 / len(classes), dtype=torch.float64)
    else:
        weights = torch.stack([(labels == c).sum().double() / n for c in classes])
    centred = means - weights @ means
    between = (centred * weights.unsqueeze(1)).T @ centred
    return within, between, len(classes)


def nc1_trace(features, labels, weighting="class"):
    """Traces only, two passes, no matrix."""
    classes = labels.unique()
    means = class_means(features, labels, classes)
    within = 0.0
    for c, mean in zip(classes, means):
        within += float((features[labels == c].double() - mean).square().sum()) / len(labels)
    if weighting == "class":
        weights = torch.full((len(classes),), 1 / len(classes), dtype=torch.float64)
    else:
        weights = torch.bincount(labels)[classes].double() / len(labels)
    shifted = means - means[0]
    centred = shifted - weights @ shifted
    return within / float(weights @ centred.square().sum(1))


def nc1_pinv(features, labels, weighting="class"):
    within, between, k = scatter_matrices(features, labels, weighting)
    return float(torch.trace(within @ torch.linalg.pinv(between, hermitian=True))) / k


def cdnv_matrix(features, labels):
    classes = labels.unique()
    means = class_means(features, labels, classes)
    variances = [
        float((features[labels == c].double() - mean).square().sum(1).mean())
        for c, mean in zip(classes, means)
    ]
    k = len(classes)
    result = torch.full((k, k), math.nan, dtype=torch.float64)
    for a in range(k):
        for b in range(k):
            if a != b:
                distance = float((means[a] - means[b]).square().sum())
                result[a, b] = (variances[a] + variances[b]) / (2 * distance)
    return result


def cosines(rows):
    k = len(rows)
    gram = torch.zeros(k, k, dtype=torch.float64)
    for a in range(k):
        for b in range(k):
            gram[a, b] = rows[a] @ rows[b] / (rows[a].norm() * rows[b].norm())
    return gram


def simplex_etf_gram(k):
    return (1 + 1 / (k - 1)) * torch.eye(k, dtype=torch.float64) - 1 / (k - 1)


def simplex_etf(k, d, generator):
    """k unit rows in d >= k dimensions with pairwise cosine −1/(k−1), in a random orientation."""
    frame, _ = torch.linalg.qr(torch.randn(d, k, dtype=torch.float64, generator=generator))
    centred = torch.eye(k, dtype=torch.float64) - 1 / k
    return centred @ frame.T * math.sqrt(k / (k - 1))


def nearest_centre(features, means):
    return torch.stack([(means - row.double()).square().sum(1).argmin() for row in features])


def entropy_rank(features):
    values = torch.linalg.svdvals(features.double() - features.double().mean(0))
    share = values[values > 0] / values.sum()
    return float((-(share * share.log()).sum()).exp())


def pair_kernels(means, kernel):
    """The kernel of every pair of unit centred means, one after the other."""
    unit = [row / row.norm() for row in means - means.mean(0)]
    found = []
    for a in range(len(unit)):
        for b in range(a):
            r = float((unit[a] - unit[b]).norm())
            found.append(kernel(r))
    return torch.tensor(found, dtype=torch.float64)


def agreement_by_class(features, decisions, labels, means):
    """By class: on how many of its samples the decision is the nearest centre, and how many there are."""
    agree, counts = {}, {}
    for row, decided, label in zip(features, decisions.tolist(), labels.tolist()):
        nearest = min(range(len(means)), key=lambda c: float((row.double() - means[c]).norm()))
        agree[label] = agree.get(label, 0) + (nearest == decided)
        counts[label] = counts.get(label, 0) + 1
    return agree, counts
