r"""What one pass over the rows leaves of a Nyström system: sums that add, merge, and can be stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.linalg.cholesky import NotPositiveDefinite, cholesky_, cholesky_solve
from agop.linalg.nystrom import add_gram_, symmetric_
from agop.linalg.ridge import SingularSystemError
from agop.ranks import Ranks

MANY_RIDGES = 16
"""Ridges from which one eigendecomposition is cheaper than a Cholesky factorisation each."""


@dataclass(eq=False)
class NystromSums:
    r"""Sums over rows :math:`\phi_i` (r coordinates) with targets :math:`y_i` (c) and weights :math:`w_i`, in float64.

    Attributes
    ----------
    gram
        :math:`\sum_i w_i \phi_i \phi_i^T`, (r, r); below the diagonal, what is above is unspecified.
    moment
        :math:`\sum_i w_i \phi_i y_i^T`, (r, c).
    squares
        :math:`\sum_i w_i y_{ic}^2`, (c,).
    weight
        :math:`\sum_i w_i`.
    count
        Rows.
    """

    gram: Float[Tensor, "r r"]
    moment: Float[Tensor, "r c"]
    squares: Float[Tensor, " c"]
    weight: float = 0.0
    count: int = 0
    NAMES: ClassVar[tuple[str, ...]] = ("gram", "moment", "squares", "counts")
    """Of what `tensors` gives."""

    @classmethod
    def zeros(cls, rank: int, outputs: int, device: torch.device | None = None) -> NystromSums:
        """Of no rows."""
        options: dict[str, Any] = {"dtype": torch.float64, "device": device}
        return cls(
            torch.zeros(rank, rank, **options),
            torch.zeros(rank, outputs, **options),
            torch.zeros(outputs, **options),
        )

    def add(
        self,
        features: Float[Tensor, "b r"],
        targets: Float[Tensor, "b c"],
        weight: Float[Tensor, " b"] | None = None,
    ) -> None:
        """Add rows; `features` are overwritten if they are weighted."""
        targets = targets.double()
        if weight is not None:
            root = weight.double().sqrt()[:, None]
            features, targets = features.mul_(root), targets * root
        add_gram_(self.gram, features)
        self.moment.addmm_(features.mT, targets)
        self.squares += targets.square().sum(0)
        self.weight += float(len(features)) if weight is None else float(weight.double().sum())
        self.count += len(features)

    def merge(self, other: NystromSums) -> NystromSums:
        """Add the sums of other rows, in place."""
        if self.gram.shape != other.gram.shape or self.moment.shape != other.moment.shape:
            raise _checks.bad_value(
                "other", f"sums of rank {len(self.gram)}", f"rank {len(other.gram)}", "use the same centres"
            )
        self.gram += other.gram
        self.moment += other.moment
        self.squares += other.squares
        self.weight += other.weight
        self.count += other.count
        return self

    def projected(self, projection: Float[Tensor, "r k"]) -> NystromSums:
        """The sums of the rows' images under a linear map."""
        return NystromSums(
            projection.mT @ symmetric_(self.gram) @ projection,
            projection.mT @ self.moment,
            self.squares,
            self.weight,
            self.count,
        )

    def reduced(self, ranks: Ranks) -> NystromSums:
        """The sums over all ranks, on every rank; in place."""
        if ranks.alone:
            return self
        ranks.sum_(self.gram)
        ranks.sum_(self.moment)
        scalars = torch.cat([self.squares, self.squares.new_tensor([self.weight, float(self.count)])])
        ranks.sum_(scalars)
        self.squares = scalars[:-2]
        self.weight, self.count = float(scalars[-2]), int(scalars[-1])
        return self

    def tensors(self) -> dict[str, Tensor]:
        """Everything, for a file; see `restored`."""
        counts = torch.tensor([self.weight, float(self.count)], dtype=torch.float64)
        return {"gram": self.gram, "moment": self.moment, "squares": self.squares, "counts": counts}

    @classmethod
    def restored(cls, tensors: dict[str, Tensor]) -> NystromSums:
        """The sums that `tensors` came from."""
        weight, count = tensors["counts"].tolist()
        return cls(tensors["gram"], tensors["moment"], tensors["squares"], weight, int(count))

    def solve(self, ridges: list[float]) -> Float[Tensor, "k r c"]:
        r"""Minimisers b of :math:`\sum_i w_i \|y_i - b^T \phi_i\|^2 + \mu \|b\|^2`, one a ridge: r³/3 operations each.

        From 16 ridges on one eigendecomposition serves all of them.

        Raises
        ------
        SingularSystemError
            If a system is singular in float64.
        """
        if len(ridges) >= MANY_RIDGES:
            values, vectors = torch.linalg.eigh(symmetric_(self.gram))
            turned = vectors.mT @ self.moment
            if not float(values[0]) + min(ridges) > 0:
                raise _singular(min(ridges))
            return torch.stack([vectors @ (turned / (values + ridge)[:, None]) for ridge in ridges])
        found = []
        for ridge in ridges:
            A = self.gram.clone()
            A.diagonal().add_(ridge)
            try:
                factor = cholesky_(A)
            except NotPositiveDefinite:
                raise _singular(ridge) from None
            found.append(cholesky_solve(factor, self.moment))
        return torch.stack(found)

    def squared_errors(self, b: Float[Tensor, "r c"]) -> Float[Tensor, " c"]:
        r""":math:`\sum_i w_i (y_{ic} - b_c^T \phi_i)^2` of each output, without another pass; rounding can't make it negative."""
        product = symmetric_(self.gram) @ b
        return (self.squares - 2 * (b * self.moment).sum(0) + (b * product).sum(0)).clamp_min(0)


def _singular(ridge: float) -> SingularSystemError:
    return SingularSystemError(
        f"ridge: expected a positive definite Nyström system, got one that is singular in float64 with ridge={ridge:g}; raise ridge "
        f"(try {max(10 * ridge, 1e-6):g}) or take fewer centres."
    )
