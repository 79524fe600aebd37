r"""Monomials of degree one and two, and the coordinates they are taken in: never more than a block of them at once.

A block of monomials is (q, b): one row a monomial, one column a sample, so that products of columns of `X` are products of
contiguous rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop import _checks
from agop.machines.columns import centre, spread

DEGREES = (1, 2)
PAIRS = ("all", "local")


@dataclass(frozen=True)
class Monomials:
    r"""The monomials of a polynomial without its constant: :math:`z_1, \ldots, z_d`, then :math:`z_j z_k` for the chosen pairs.

    Pairs have :math:`j \le k` and come in the order (0, 0), (0, 1), …, (1, 1), …, which is scikit-learn's. All of them are
    :math:`d(d + 1)/2`. Local ones are those of pixels at most `radius` rows and `radius` columns apart on the grid `shape`, (height, width)
    or (channels, height, width), of rows flattened in C order: a pixel with itself and its neighbours, in every two channels.

    Examples
    --------
    >>> Monomials(3).pair_index.T.tolist()
    [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]]
    >>> Monomials(64, pairs="local", shape=(8, 8)).count
    338
    """

    d: int
    degree: int = 2
    pairs: str = "all"
    shape: tuple[int, ...] = ()
    radius: int = 1

    @classmethod
    def asked(cls, d: int, degree: Any, pairs: Any, shape: Any, radius: Any) -> Monomials:
        """Those that an estimator was asked for, checked; what a choice does not need is not looked at."""
        degree = _checks.one_of("degree", _checks.integer("degree", degree), DEGREES)
        pairs = _checks.one_of("pairs", pairs, PAIRS)
        if degree == 1 or pairs == "all":
            return cls(d, degree)
        return cls(d, degree, pairs, _grid(shape, d), _checks.integer("radius", radius, at_least=0))

    @property
    def has_all_pairs(self) -> bool:
        """Whether sums over them are sums over whole matrices, which need no monomials."""
        return self.degree == 2 and self.pairs == "all"

    @property
    def n_pairs(self) -> int:
        """How many products of two columns there are."""
        if self.degree == 1:
            return 0
        if self.pairs == "all":
            return self.d * (self.d + 1) // 2
        channels, height, width = self._sides
        within = sum(
            (height - dy) * (width - abs(dx)) * (channels * channels if (dy, dx) != (0, 0) else 0)
            for dy, dx in self._offsets()
        )
        return within + height * width * channels * (channels + 1) // 2

    @property
    def count(self) -> int:
        """How many monomials there are, the constant left out."""
        return self.d + self.n_pairs

    @cached_property
    def pair_index(self) -> Int[Tensor, "2 q"]:
        """The two columns of each pair."""
        if self.degree == 1:
            return torch.zeros(2, 0, dtype=torch.int64)
        if self.pairs == "all":
            return torch.triu_indices(self.d, self.d)
        channels, height, width = self._sides
        column = torch.arange(self.d).reshape(channels, height, width)
        found = []
        for (dy, dx), a, b in product(self._offsets(), range(channels), range(channels)):
            if (dy, dx) == (0, 0) and a > b:
                continue
            left, right = max(0, -dx), width - max(0, dx)
            first = column[a, : height - dy, left:right]
            second = column[b, dy:, left + dx : right + dx]
            found.append(torch.stack([first.reshape(-1), second.reshape(-1)]))
        both = torch.cat(found, 1).sort(0).values
        return both[:, (both[0] * self.d + both[1]).argsort()]

    def pair_values(self, Z: Float[Tensor, "b d"], part: slice = slice(None)) -> Float[Tensor, "q b"]:
        """The products of two columns, or a part of them."""
        first, second = self.pair_index[:, part].to(Z.device)
        columns = Z.mT.contiguous()
        return columns[first].mul_(columns[second])

    def values(self, Z: Float[Tensor, "b d"]) -> Float[Tensor, "p b"]:
        """All monomials of some samples."""
        if self.degree == 1:
            return Z.mT.clone()
        return torch.cat([Z.mT, self.pair_values(Z)])

    def means(self, moments: Moments) -> Float[Tensor, "p 1"]:
        """The means of all monomials."""
        first, other = self.pair_index.to(moments.mean.device)
        mean = moments.mean
        return torch.cat([mean, moments.covariance[first, other] + mean[first] * mean[other]])[:, None]

    def matrix(self, coefficients: Float[Tensor, " q"]) -> Float[Tensor, "d d"]:
        r"""The symmetric A with :math:`\sum_{jk} \theta_{jk} z_j z_k = z^T A z` from the coefficients of the pairs."""
        first, second = self.pair_index.to(coefficients.device)
        A = coefficients.new_zeros(self.d, self.d)
        A[first, second] = coefficients / 2
        return A + A.mT

    @property
    def _sides(self) -> tuple[int, int, int]:
        return (1, *self.shape) if len(self.shape) == 2 else self.shape  # type: ignore[return-value]

    def _offsets(self) -> Iterator[tuple[int, int]]:
        """Steps (down, right) from a pixel to its neighbours, of two opposite ones only one."""
        _, height, width = self._sides
        down, right = min(self.radius, height - 1), min(self.radius, width - 1)
        for dy in range(down + 1):
            for dx in range(-right if dy else 0, right + 1):
                yield dy, dx


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of columns, weighted; the second moments are formed without cancellation when needed."""

    mean: Float[Tensor, " d"]
    covariance: Float[Tensor, "d d"]

    @classmethod
    def of(cls, Z: Float[Tensor, "n d"], share: Float[Tensor, " n"]) -> Moments:
        """Of the rows of `Z`, each counted with its `share` (they sum to 1)."""
        mean = share @ Z
        deviation = (Z - mean).mul_(share.sqrt()[:, None])
        return cls(mean, deviation.mT @ deviation)


def _grid(shape: Any, d: int) -> tuple[int, ...]:
    expected = "(height, width) or (channels, height, width) for pairs='local'"
    if shape is None:
        raise _checks.bad_value("shape", expected, "None", "give the sides of the images, or use pairs='all'")
    if not hasattr(shape, "__len__") or isinstance(shape, str) or len(shape) not in (2, 3):
        raise _checks.bad_type("shape", expected, repr(shape))
    sides = tuple(_checks.integer("shape", side, at_least=1) for side in shape)
    pixels = 1
    for side in sides:
        pixels *= side
    if pixels != d:
        raise _checks.bad_value("shape", f"sides whose product is the {d} columns of X", repr(sides))
    return sides


@dataclass(frozen=True, eq=False)
class Coordinates:
    r"""Where monomials are taken: :math:`z = (x - a)/s`, column by column, in float64."""

    center: Float[Tensor, " d"]
    scale: Float[Tensor, " d"]

    @classmethod
    def of(cls, X: Float[Tensor, "n d"], share: Float[Tensor, " n"], scaling: str) -> Coordinates:
        r"""Coordinates that fit the rows of `X`, each counted with its `share` (they sum to 1).

        With "columns" and "common" the centre is the mean, and rows have a mean squared length of 1:
        :math:`s_j = \sigma_j \sqrt d` for standard deviations :math:`\sigma_j` of d columns that vary, or one
        :math:`s = \sqrt{\sum_j \sigma_j^2}` for all.
        A column that is constant to rounding is divided by its largest entry instead: rounding stays rounding.
        """
        X, eps = X.double(), torch.finfo(X.dtype).eps
        if scaling == "none":
            return cls(torch.zeros_like(X[0]), torch.ones_like(X[0]))
        center = centre(X, share)
        deviations, size = spread(X - center, share), X.abs().amax(0)
        varies = deviations > 4 * eps * size
        size = torch.where(size > 0, size, 1.0)
        if not bool(varies.any()):
            return cls(center, size)
        top = deviations[varies].max()
        common = top * (deviations[varies] / top).square().sum().sqrt()
        scale = common.expand_as(deviations) if scaling == "common" else deviations * int(varies.sum()) ** 0.5
        return cls(center, torch.where(varies, scale, size))

    def __call__(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m d"]:
        """The rows of `X` in these coordinates."""
        return (X.double() - self.center).div_(self.scale)
