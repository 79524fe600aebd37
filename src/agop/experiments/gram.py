"""Class-sorted Gram matrices: the picture in which collapsed classes are squares of one colour.

Data layout: each stage of a layer is an (n, d) tensor of rows that are already sorted by class.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop._checks import integer


def class_sorted(labels: Int[np.ndarray, " n"], at_most: int) -> Int[np.ndarray, " m"]:
    """Rows of about `at_most` points, sorted by class: the first `at_most / C` of every class, at least one.

    A class with fewer points than its share keeps what it has.
    """
    integer("at_most", at_most, at_least=1)
    classes = np.unique(labels)
    share = max(1, at_most // len(classes))
    return np.concatenate([np.flatnonzero(labels == label)[:share] for label in classes])


def centred_gram(features: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    r"""Cosines between centred rows.

    .. math:: G_{ij} = \langle u_i, u_j\rangle, \quad u_i = (x_i - \mu) / \|x_i - \mu\|, \quad
              \mu = \tfrac1n\sum_i x_i

    in [-1, 1]. A row at the mean has no direction: its cosines are 0. Source: the Gram matrices of
    Beaglehole et al. 2024 (arXiv 2402.13728).
    """
    centred = features.double() - features.double().mean(0)
    norms = centred.norm(dim=1, keepdim=True)
    directions = torch.where(norms > 0, centred / norms, torch.zeros((), dtype=torch.float64))
    return (directions @ directions.T).clamp(-1, 1).to(features.dtype)


def chosen_layers(n_layers: int, count: int = 5) -> list[int]:
    """About `count` of the layers 1..n, dense at the beginning, where most happens; the last one always.

    >>> chosen_layers(8), chosen_layers(20), chosen_layers(2)
    ([1, 2, 3, 5, 8], [1, 2, 4, 9, 20], [1, 2])
    """
    n_layers = integer("n_layers", n_layers, at_least=1)
    return sorted({round(float(layer)) for layer in np.geomspace(1, n_layers, count)})
