"""Regions of a table, each with a metric of its own: a tree that splits at medians along top AGOP directions, models in its leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop.machines.rows import row_hashes

LOOKED_AT = 2000
"""Different rows on which the direction of a split is found."""

SOFTNESS = 0.1
"""Width of the passage from one side to the other, in interquartile ranges of the rows along the direction."""

_LEAST = 0.01
"""A side with a smaller share has no part in a prediction."""

AgopOf = Callable[[Tensor], Float[Tensor, "d d"]]


@dataclass(frozen=True, eq=False)
class RegionTree:
    r"""Half-spaces in half-spaces, over encoded columns.

    At node k a row x goes right with the share :math:`1/(1 + e^{-(v_k \cdot x - t_k)/s_k})` and left with the rest, and in all regions
    with the product of its shares on the way there; shares below .01 are left out. The root is node 0.

    Attributes
    ----------
    directions
        :math:`v_k`, (k, d).
    thresholds, widths
        :math:`t_k` and :math:`s_k`, (k,).
    children
        Left and right of each node: the number of a node, or -1 - r for region r.
    """

    directions: Float[Tensor, "k d"]
    thresholds: Float[Tensor, " k"]
    widths: Float[Tensor, " k"]
    children: tuple[tuple[int, int], ...]

    @property
    def count(self) -> int:
        """How many regions there are."""
        return len(self.children) + 1

    def shares(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m r"]:
        """How much each region counts for each row, in float64; rows have the sum 1."""
        found = torch.zeros(len(X), self.count, dtype=torch.float64, device=X.device)
        root = 0 if self.children else -1
        pending = [(root, torch.arange(len(X), device=X.device), found.new_ones(len(X)))]
        while pending:
            node, rows, share = pending.pop()
            if node < 0:
                found[rows, -1 - node] = share
                continue
            along = X[rows].double() @ self.directions[node].double() - self.thresholds[node].double()
            right = torch.sigmoid(along / self.widths[node].double())
            right = torch.where(right < _LEAST, 0.0, torch.where(right > 1 - _LEAST, 1.0, right))
            for child, side in zip(self.children[node], (1 - right, right), strict=True):
                there = side > 0
                if bool(there.any()):
                    pending.append((child, rows[there], share[there] * side[there]))
        return found

    @classmethod
    def grown(
        cls, X: Float[Tensor, "n d"], weight: Float[Tensor, " n"] | None, most: int, agop_of: AgopOf
    ) -> tuple[RegionTree, list[Int[Tensor, " n_r"]]]:
        """Split until a region has at most `most` different rows, or rows that can't be told apart.

        Parameters
        ----------
        agop_of
            The AGOP, over encoded columns, of a fit to the rows with these numbers.

        Returns
        -------
        tree, regions
            The numbers of the rows in each region.
        """
        nodes: list[tuple[Tensor, Tensor, Tensor]] = []
        children: list[list[int]] = []
        regions: list[Tensor] = []
        pending = [(torch.arange(len(X), device=X.device), -1, 0)]
        while pending:
            rows, above, side = pending.pop()
            few = len(rows) <= most or len(row_hashes(X[rows]).unique()) <= most
            split = None if few else _split(X[rows], None if weight is None else weight[rows], rows, agop_of)
            if split is None:
                place = -1 - len(regions)
                regions.append(rows)
            else:
                place = len(nodes)
                nodes.append(split[:3])
                children.append([0, 0])
                pending += [(rows[split[3]], place, 1), (rows[~split[3]], place, 0)]
            if above >= 0:
                children[above][side] = place
        if not nodes:
            return cls(X[:0], X.new_zeros(0), X.new_zeros(0), ()), regions
        directions, thresholds, widths = (torch.stack(part).to(X) for part in zip(*nodes, strict=True))
        return cls(directions, thresholds, widths, tuple((a, b) for a, b in children)), regions


def _split(
    X: Float[Tensor, "n d"], weight: Float[Tensor, " n"] | None, rows: Tensor, agop_of: AgopOf
) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """Direction, threshold and width, and which rows are on the right; None if all rows are equal."""
    hashes = row_hashes(_ranks(X))  # whatever the order and the units
    different = hashes.unique()[:LOOKED_AT]
    some = (hashes <= different[-1]).nonzero()[:, 0]  # with all their copies
    vectors = torch.linalg.eigh(agop_of(rows[some]).double()).eigenvectors
    for direction in vectors.mT.flip(0):
        along = X.double() @ direction
        low, middle, high = _quantiles(along, weight)
        right = along > middle
        if not bool(right.any()):  # at least half of the rows have the largest value
            right = along >= middle
            others = along[~right]
            if not len(others):
                continue
            middle = (middle + others.max()) / 2
        # of a direction in which most rows have one value the gap at the threshold is what there is to pass
        width = SOFTNESS * (high - low)
        gap = along[right].min() - along[~right].max()
        return direction, middle, torch.maximum(width, SOFTNESS * gap), right
    return None


def _ranks(X: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Which of its column's different values each entry is."""
    return torch.stack([column.unique(return_inverse=True)[1] for column in X.unbind(1)], 1).double()


def _quantiles(values: Float[Tensor, " n"], weight: Float[Tensor, " n"] | None) -> list[Tensor]:
    """Lower quartile, median and upper quartile: the smallest value that so much of the weight does not exceed."""
    order = values.argsort()
    mass = torch.ones_like(values) if weight is None else weight.double()[order]
    share = mass.cumsum(0) / mass.sum()
    return [values[order[int((share < level - 1e-12).sum())]] for level in (0.25, 0.5, 0.75)]


@dataclass(frozen=True, eq=False)
class RegionalMachine:
    """What predicts with regions: the models of the regions, averaged with a row's shares.

    Attributes
    ----------
    tree
        Where the regions are.
    models
        One fitted RFM a region.
    masses
        Which share of the training weight lies in each.
    """

    tree: RegionTree
    models: tuple[Any, ...]
    masses: tuple[float, ...]

    def predict(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        """Values at encoded rows, in the units that machines are fitted in."""
        shares = self.tree.shares(X)
        total = None
        for model, share in zip(self.models, shares.unbind(1), strict=True):
            rows = share.nonzero()[:, 0]
            values = model._values(X[rows])
            if total is None:
                total = values.new_zeros(len(X), values.shape[1])
            total[rows] += share[rows, None].to(values) * values
        assert total is not None
        return total

    def averaged(self, name: str) -> Float[Tensor, "d d"]:
        """A matrix of the models, averaged with their shares of the training weight."""
        matrices = (getattr(model, name) for model in self.models)
        return sum(mass * matrix for mass, matrix in zip(self.masses, matrices, strict=True))
