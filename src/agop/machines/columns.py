r"""Columns as they come, with any offset and unit, to the coordinates that a machine computes in: :math:`z_j = (x_j - m_j)/s_j`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SCALINGS = ("columns", "common", "none")


def shares(weight: Float[Tensor, " n"] | None, like: Tensor) -> Float[Tensor, " n"]:
    """What each row counts, in float64 and summing to 1; equally if there are no weights."""
    if weight is None:
        return torch.full((len(like),), 1 / len(like), dtype=torch.float64, device=like.device)
    weight = weight.double() / weight.double().max()
    return weight / weight.sum()


def centre(X: Float[Tensor, "n d"], share: Float[Tensor, " n"]) -> Float[Tensor, " d"]:
    """Means of columns, taken from the first row on: the mean of a constant column is that constant to the last bit."""
    return X[0] + share @ (X - X[0])


def spread(deviation: Float[Tensor, "n d"], share: Float[Tensor, " n"]) -> Float[Tensor, " d"]:
    """Standard deviations of columns, also where the squares leave the range of float64."""
    largest = deviation.abs().amax(0)
    unit = torch.where(largest > 0, largest, 1.0)
    return unit * (share @ (deviation / unit).square()).sqrt()


def _means_of_present(
    X: Float[Tensor, "n d"], missing: Bool[Tensor, "n d"], share: Float[Tensor, " n"]
) -> Float[Tensor, " d"]:
    """Means of the entries that are there; 0 of a column that has none."""
    present = (~missing * share[:, None]).sum(0)
    first = torch.where(missing, torch.inf, torch.arange(len(X), device=X.device)[:, None]).argmin(0)
    origin = X.gather(0, first[None])[0].nan_to_num(0.0)
    sums = share @ torch.where(missing, 0.0, X - origin)
    return origin + sums / torch.where(present > 0, present, 1.0)


@dataclass(frozen=True, eq=False)
class Columns:
    r"""Means :math:`m_j` and scales :math:`s_j` of columns, in float64; a scale of 0 is a column without variation, which maps to 0."""

    means: Float[Tensor, " d"]
    scales: Float[Tensor, " d"]

    @classmethod
    def of(
        cls,
        X: Float[Tensor, "n d"],
        weight: Float[Tensor, " n"] | None,
        scaling: str,
        *,
        centered: bool = True,
    ) -> Columns:
        r"""What fits the rows of `X`, each counted with its weight, gaps (NaN) left out.

        "columns": :math:`s_j` is the standard deviation of column j (divided by the sum of weights); "common": for all columns the root of
        their mean variance, over columns that vary; "none": 1. A column that is constant to rounding has the scale 0, except with "none".
        The centre is the mean, with "none" only if `centered`: a kernel of distances doesn't see it, but its digits do.
        """
        eps = torch.finfo(X.dtype).eps
        X, share = X.double(), shares(weight, X)
        missing = torch.isnan(X)
        if bool(missing.any()):
            X = torch.where(missing, _means_of_present(X, missing, share), X)
            present = (~missing * share[:, None]).sum(0)
        else:
            present = torch.ones_like(X[0])
        means = centre(X, share)
        if scaling == "none":
            return cls(means if centered else torch.zeros_like(means), torch.ones_like(means))
        deviations = spread(X - means, share) / torch.where(present > 0, present, 1.0).sqrt()
        return cls.scaled(means, deviations, deviations > 4 * eps * X.abs().amax(0), scaling)

    @classmethod
    def scaled(
        cls,
        means: Float[Tensor, " d"],
        deviations: Float[Tensor, " d"],
        varies: Bool[Tensor, " d"],
        scaling: str,
    ) -> Columns:
        """From means and standard deviations, and which columns are not constant to rounding; `scaling` is not "none"."""
        if scaling == "common" and bool(varies.any()):
            top = deviations[varies].max()
            root = top * (deviations[varies] / top).square().mean().sqrt()
            deviations = root.expand_as(deviations)
        return cls(means, torch.where(varies, deviations, 0.0))

    def __call__(self, X: Float[Tensor, "m d"], dtype: torch.dtype) -> Float[Tensor, "m d"]:
        """Rows in these coordinates, formed in float64 and rounded once; a gap (NaN) is the mean of its column."""
        scales = torch.where(self.scales > 0, self.scales, 1.0)
        values = (X.double() - self.means).div_(scales)
        return values.masked_fill_((self.scales == 0) | torch.isnan(values), 0).to(dtype)
