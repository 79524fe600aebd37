r"""The AGOP of a kernel machine in closed form, without its gradients.

For :math:`f_c(x) = \sum_i A_{ic} k(x, z_i)` with a radial kernel and gradient weights
:math:`W_{ji} = \kappa'(r_{ji})/r_{ji}`, the gradients at the centres are the rows of :math:`G_c = L_c Z` with
:math:`L_c = \mathrm{diag}(W a_c) - W\,\mathrm{diag}(a_c)`. Every :math:`L_c` annihilates constants, so

.. math:: n \cdot \mathrm{AGOP} = \sum_c Z^T L_c^T L_c Z

does not change when the points are shifted. *Cells*, a partition of the points (the classes, say), carry this further:
with :math:`Z = \tilde Z + P\mu` (offsets from the cell means :math:`\mu`, and the indicator :math:`P` of the cells),
:math:`G_c = L_c \tilde Z + Q_c \mu`, and :math:`Q_c = L_c P` contains no pair of one cell. When points of a cell nearly
coincide, :math:`W` is huge exactly where :math:`\tilde Z` is tiny, and nothing cancels: this is what keeps single
precision right at deep collapse.

Two routes give the same matrix: `direct` forms :math:`G_c` block by block (2n²cd operations); `gram` forms
:math:`T = \sum_c L_c^T L_c` tile by tile (n³ operations for the symmetric product WᵀW, independent of c).
Kernels of angles have gradients that point outward as well (`Kernel.outward`), :math:`G_c = L_c \hat Z + \mathrm{diag}(s_c) \hat Z`;
for these there is the direct route. Kernels of single columns (`Kernel.column_sums`) give their gradients column by column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop import _checks
from agop._blocks import row_blocks, rows_per_block
from agop.kernels.base import Kernel
from agop.kernels.columns import ColumnSums
from agop.kernels.distance import Points
from agop.kernels.gram import fill_kernel_matrix
from agop.ranks import ALONE, Ranks

CANCELLATION_LIMIT = 1e-3
"""Largest eps·κ at which the gram route is trusted; in practice its error is far below this bound."""

_MOMENT_BYTES = 64 * 2**20
"""Memory of a block of rows in `gradient_moments`."""

_LOWEST_BLOCK = 256
"""Rows of gradient weights formed at a time on a CPU, in the direct route, when the points have fewer features than that."""


@dataclass(frozen=True, eq=False)
class KernelAGOP:
    """An AGOP, the route it was computed by, and the cancellation κ of the gram route (None if it was not taken)."""

    matrix: Float[Tensor, "d d"]
    route: str
    cancellation: float | None


@dataclass(frozen=True, eq=False)
class Cells:
    """A partition of the points into cells, each with its mean: `offsets + means[index]` are the points.

    `exact` are the offsets in the dtype distances are formed in.
    """

    index: Int[Tensor, " n"]
    means: Float[Tensor, "k d"]
    offsets: Float[Tensor, "n d"]
    exact: Float[Tensor, "n d"]

    @classmethod
    def of(cls, points: Points, index: Int[Tensor, " n"] | None, dtype: torch.dtype) -> Cells:
        """The cells `index` (None: all points in one) of centred points; means and offsets are formed in float64."""
        values = points.values
        if index is None:
            index = torch.zeros(len(values), dtype=torch.int64, device=values.device)
            means = values.new_zeros(1, values.shape[1])
            return cls(index, means.to(dtype), values.to(dtype), values)
        labels, index = torch.unique(index, return_inverse=True)
        sums = values.new_zeros(len(labels), values.shape[1]).index_add_(0, index, values)
        means = (sums / torch.bincount(index, minlength=len(labels))[:, None]).to(dtype)
        exact = values - means.to(values.dtype)[index]
        return cls(index, means, exact.to(dtype), exact)


def of_usual_size(sample_weight: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Weights in float64 of which the largest is between ½ and 1, so that squares and sums are held in any dtype; only ratios count."""
    shares = sample_weight.double()
    return shares / 2.0 ** math.frexp(float(shares.max()))[1]


def operations(n: int, d: int, c: int) -> dict[str, int]:
    """Floating-point operations of each route, leading terms."""
    return {"direct": 2 * n * d * c * (n + d), "gram": n**3 + n * n * d + 2 * n * d * d}


def cheaper_route(n: int, d: int, c: int) -> str:
    """The route with fewer operations."""
    counts = operations(n, d, c)
    return min(counts, key=counts.__getitem__)


def kernel_agop(
    kernel: Kernel,
    points: Points,
    A: Float[Tensor, "n c"],
    *,
    cells: Int[Tensor, " n"] | None = None,
    sample_weight: Float[Tensor, " n"] | None = None,
    center: bool = False,
    weights: Float[Tensor, "n n"] | None = None,
    route: str | None = None,
    ranks: Ranks = ALONE,
    on_share: Callable[[float], None] | None = None,
) -> KernelAGOP:
    r"""AGOP of the kernel machine with centres `points` and coefficients `A`, averaged over its own centres.

    :math:`\mathrm{AGOP} = \frac1n \sum_j J_j^T J_j` with :math:`J_j` (c, d) the Jacobian at centre j: a mean over samples, a sum over
    outputs. With `sample_weight` :math:`w`, :math:`\sum_j w_j J_j^T J_j / \sum_j w_j`.

    Parameters
    ----------
    kernel, points, A
        The machine. The result has the dtype the points' distances are formed in (float64 in mixed precision): the last two
        products, O(n²d), are done in it, because a square root of the AGOP turns an error of 1e-7 into one of 3e-4.
    cells
        A partition of the points whose members may nearly coincide, as integers; changes rounding only.
    center
        Subtract the outer products of the mean gradients, :math:`\sum_c \bar g_c \bar g_c^T`: the covariance of the gradients.
    weights
        The (n, n) gradient weights if the caller has them; overwritten when samples are weighted.
    route
        "direct" or "gram"; None takes the one with fewer operations, and the direct one after all if the gram route turns out to
        cancel: its relative error is about eps·κ with κ = Σ_j T_jj ‖z_j‖² / tr(ZᵀTZ), that of the direct route eps·√κ.
    ranks
        Who shares the work: all hold all points and coefficients, each sums over some of the rows, and the (d, d) sums are added up.
    on_share
        Hears the share of the work that is done, many times; begins again if the gram route cancels.
    """
    n, c = A.shape
    d = points.values.shape[1]
    parts = Cells.of(points, cells, A.dtype)
    A = kernel.scaled(A, points)
    outward = kernel.outward(points, points, A)
    if outward is not None and route == "gram":
        raise _checks.bad_value("route", "'direct' for a kernel of angles", "'gram'")
    if not kernel.rotation_invariant and route == "gram":
        raise _checks.bad_value("route", "'direct' for a kernel of single columns", "'gram'")
    direct_only = outward is not None or not kernel.rotation_invariant
    chosen = "direct" if direct_only else route or cheaper_route(n, d, c)
    if chosen == "gram" and weights is None:
        weights = A.new_empty(n, n)
        fill_kernel_matrix(kernel, points, weights=weights)
    total = float(n)
    root = None
    if sample_weight is not None:
        # with W̃ = diag(√w) W diag(√w) and A / √w the formulas stay as they are, and W̃ stays symmetric
        shares = of_usual_size(sample_weight)
        total, root = float(shares.sum()), shares.sqrt()[:, None]
        A, root = (A / root).to(A.dtype), root.to(A.dtype)
        outward = None if outward is None else (outward[0] * root, outward[1])
        if weights is not None:
            weights.mul_(root).mul_(root.mT)
    cancellation = None
    if chosen == "gram":
        assert weights is not None
        summed, cancellation = _gram(A, parts, weights, ranks, on_share or _nobody)
        if route is None and not cancellation * torch.finfo(A.dtype).eps < CANCELLATION_LIMIT:
            chosen = "direct"
    mean: Float[Tensor, "c d"] | None = None
    if not kernel.rotation_invariant:
        summed, mean = _by_columns(kernel, points, A, weights, root, ranks, on_share or _nobody)
    elif chosen == "direct":
        summed = _direct(kernel, points, A, parts, weights, root, outward, ranks, on_share or _nobody)
    matrix = (summed + summed.mT) / (2 * total)
    if center:
        if mean is None:
            mean = _mean_gradients(kernel, points, A, weights, root, outward)
        matrix = matrix - mean.mT @ mean / total**2
    return KernelAGOP(matrix, chosen, cancellation)


def gradient_moments(
    kernel: Kernel,
    left: Points,
    points: Points,
    A: Float[Tensor, "m c"],
    weight: Float[Tensor, " b"] | None = None,
) -> tuple[Float[Tensor, "d d"], Float[Tensor, "c d"]]:
    r"""Of the kernel machine with centres `points` and coefficients `A`, over the rows `left`: :math:`\sum_j w_j J_j^T J_j` and
    :math:`\sum_j w_j J_j`, in the dtype that distances are formed in.

    Block by block of the rows, output by output; the direct route of `kernel_agop`, 2bmdc operations. A row that is a centre has no
    gradient from it.
    """
    Z, c = points.values, A.shape[1]
    A = kernel.scaled(A.to(Z.dtype), points)
    summed, mean = Z.new_zeros(Z.shape[1], Z.shape[1]), Z.new_zeros(c, Z.shape[1])
    root = None if weight is None else weight.to(Z.dtype)[:, None].sqrt()
    outward = kernel.outward(left, points, A)
    by_column: ColumnSums | None = None
    bytes_per_row = (4 * len(points) + (2 * c + 2) * Z.shape[1]) * Z.element_size()
    for rows in row_blocks(len(left), rows_per_block(len(left), bytes_per_row, _MOMENT_BYTES)):
        W = kernel.block(left, rows, points, Z.dtype, value=False)[1]
        assert W is not None
        X = left.values[rows]
        by_column = by_column or kernel.column_sums(Z, A)
        if by_column is None:
            sums = W @ A
            outputs: Iterator[Tensor] = (
                torch.addmm(sums[:, k, None] * X, W, A[:, k, None] * Z, alpha=-1) for k in range(c)
            )
        else:
            outputs = iter(by_column(W, X).unbind(1))
        for k, G in enumerate(outputs):
            if outward is not None:
                G = G + outward[0][rows, k, None] * outward[1][rows]
            if root is not None:
                mean[k] += (root[rows].square() * G).sum(0)
                G = G * root[rows]
            else:
                mean[k] += G.sum(0)
            summed.addmm_(G.mT, G)
    return summed, mean


def _nobody(share: float) -> None:
    """Nobody listens."""


def _across(B: Float[Tensor, "b ck"], own: Int[Tensor, " b"], c: int) -> tuple[Tensor, Tensor]:
    """From B = W [a_c ∘ P] of some rows: row sums W A (b, c), and Q = L P (b, c, k) without pairs of one cell."""
    B = B.view(len(B), c, -1)
    sums = B.sum(2)
    inside = own.view(-1, 1, 1).expand(-1, c, 1)
    Q = B.scatter(2, inside, 0)
    return sums, (-Q).scatter(2, inside, Q.sum(2, keepdim=True))


def _spread(A: Float[Tensor, "n c"], parts: Cells) -> Float[Tensor, "n ck"]:
    """The columns a_c ∘ P, class-major."""
    spread = A.new_zeros(*A.shape, len(parts.means))
    return spread.scatter_(2, parts.index.view(-1, 1, 1).expand(-1, A.shape[1], 1), A[:, :, None]).flatten(1)


def _weighted_block(
    kernel: Kernel, points: Points, rows: slice, dtype: torch.dtype, root: Float[Tensor, "n 1"] | None
) -> Float[Tensor, "b n"]:
    W = kernel.block(points, rows, points, dtype, value=False)[1]
    assert W is not None
    return W if root is None else W.mul_(root[rows]).mul_(root.mT)


def _by_columns(
    kernel: Kernel,
    points: Points,
    A: Float[Tensor, "n c"],
    weights: Float[Tensor, "n n"] | None,
    root: Float[Tensor, "n 1"] | None,
    ranks: Ranks,
    on_share: Callable[[float], None],
) -> tuple[Float[Tensor, "d d"], Float[Tensor, "c d"]]:
    """Sums of outer products of gradients, and of gradients, for a kernel that has these column by column: n²d(1 + c) operations."""
    (n, c), d, mine = A.shape, points.values.shape[1], ranks.share(len(A))
    Z = points.values
    summed, mean = Z.new_zeros(d, d), Z.new_zeros(c, d)
    sums: ColumnSums | None = None
    bytes_per_row = 4 * n * Z.element_size() + 2 * c * d * Z.element_size()
    for rows in row_blocks(mine.stop - mine.start, rows_per_block(n, bytes_per_row)):
        rows = slice(mine.start + rows.start, mine.start + rows.stop)
        W = weights[rows] if weights is not None else _weighted_block(kernel, points, rows, A.dtype, root)
        sums = sums or kernel.column_sums(Z, A)  # after the weights, which a kernel without gradients refuses
        assert sums is not None
        G = sums(W, Z[rows]).to(Z.dtype)
        mean += G.sum(0) if root is None else torch.einsum("b,bcd->cd", root[rows, 0].to(G), G)
        G = G.flatten(0, 1)
        summed.addmm_(G.mT, G)
        on_share((rows.stop - mine.start) / (mine.stop - mine.start))
    return ranks.sum_(summed), ranks.sum_(mean)


def _mean_gradients(
    kernel: Kernel,
    points: Points,
    A: Float[Tensor, "n c"],
    weights: Float[Tensor, "n n"] | None,
    root: Float[Tensor, "n 1"] | None,
    outward: tuple[Float[Tensor, "n c"], Float[Tensor, "n d"]] | None,
) -> Float[Tensor, "c d"]:
    r"""Sums of (weighted) gradients over the centres: with u = √w, :math:`(u \circ W A)^T Z - (A \circ W u)^T Z`."""
    n, Z = len(A), points.values
    u = A.new_ones(n, 1) if root is None else root
    total = Z.new_zeros(A.shape[1], Z.shape[1])
    for rows in row_blocks(n, rows_per_block(n, 3 * n * Z.element_size())):
        W = weights[rows] if weights is not None else _weighted_block(kernel, points, rows, A.dtype, root)
        along = u[rows] * (W @ A) - A[rows] * (W @ u)
        total += along.to(Z.dtype).mT @ Z[rows]
    if outward is not None:
        total += (u * outward[0]).to(Z.dtype).mT @ outward[1].to(Z.dtype)
    return total


def _direct(
    kernel: Kernel,
    points: Points,
    A: Float[Tensor, "n c"],
    parts: Cells,
    weights: Float[Tensor, "n n"] | None,
    root: Float[Tensor, "n 1"] | None,
    outward: tuple[Float[Tensor, "n c"], Float[Tensor, "n d"]] | None,
    ranks: Ranks,
    on_share: Callable[[float], None],
) -> Float[Tensor, "d d"]:
    n, c = A.shape
    mine = ranks.share(n)
    offsets = parts.offsets
    spread = _spread(A, parts)
    summed = parts.exact.new_zeros(offsets.shape[1], offsets.shape[1])
    bytes_per_row = 3 * n * points.values.element_size() + offsets.shape[1] * A.element_size()
    tallest = rows_per_block(n, bytes_per_row)
    if A.device.type == "cpu":
        # lower blocks stay nearer the cache; below d rows a product loses more than that gains
        tallest = min(tallest, max(_LOWEST_BLOCK, offsets.shape[1]))
    for rows in row_blocks(mine.stop - mine.start, tallest):
        rows = slice(mine.start + rows.start, mine.start + rows.stop)
        W = weights[rows] if weights is not None else _weighted_block(kernel, points, rows, A.dtype, root)
        sums, Q = _across(W @ spread, parts.index[rows], c)
        for output in range(c):
            a = A[:, output]
            # the smaller of the two factors takes the coefficients
            factors = (W * a, offsets) if len(W) < offsets.shape[1] else (W, a[:, None] * offsets)
            G = torch.addmm(sums[:, output, None] * offsets[rows], *factors, alpha=-1)
            if len(parts.means) > 1:
                G.addmm_(Q[:, output], parts.means)
            if outward is not None:
                G.addcmul_(outward[0][rows, output, None], outward[1][rows].to(G.dtype))
            G = G.to(summed.dtype)
            summed.addmm_(G.mT, G)
        on_share((rows.stop - mine.start) / (mine.stop - mine.start))
    return ranks.sum_(summed)


def _gram(
    A: Float[Tensor, "n c"],
    parts: Cells,
    W: Float[Tensor, "n n"],
    ranks: Ranks,
    on_share: Callable[[float], None],
) -> tuple[Float[Tensor, "d d"], float]:
    means, exact, mine = parts.means.to(parts.exact.dtype), parts.exact, ranks.share(len(A))
    sums, Q = _across(W @ _spread(A, parts), parts.index, A.shape[1])
    half, own_magnitude = _half(W, A, sums, exact, ranks, on_share)
    summed = exact.mT @ half
    if len(means) > 1:
        pulled = (W[mine] @ Q.flatten(1)).view_as(Q[mine])
        cross = torch.einsum("nc,nck->nk", sums[mine], Q[mine]) - torch.einsum("nc,nck->nk", A[mine], pulled)
        flat = Q[mine].flatten(0, 1).to(exact.dtype)
        summed += (exact[mine].mT @ cross.to(exact.dtype)) @ means
        summed += means.mT @ (flat.mT @ flat) @ means / 2
    summed = ranks.sum_(summed + summed.mT)
    magnitude = float(ranks.sum_(own_magnitude))
    trace = float(summed.trace())
    return summed, magnitude / trace if trace > 0 else float("inf") if magnitude > 0 else 0.0


def _half(
    W: Float[Tensor, "n n"],
    A: Float[Tensor, "n c"],
    sums: Float[Tensor, "n c"],
    exact: Float[Tensor, "n d"],
    ranks: Ranks,
    on_share: Callable[[float], None],
) -> tuple[Float[Tensor, "n d"], Float[Tensor, ""]]:
    """The lower triangle of T, its diagonal halved, times the offsets; and Σ_j T_jj ‖offset_j‖².

    Of both, what this rank's strips of rows give.
    """
    n = len(A)
    half = torch.zeros_like(exact)
    diagonal = sums.square().sum(1)
    left, right = torch.cat([sums, A], 1), torch.cat([A, sums], 1)
    magnitude = exact.new_zeros(())
    # strips from the first column to their diagonal: wide products, and little more than the lower triangle is formed
    finest = max(256, n // (16 * (1 + ranks.size)))
    strips = list(row_blocks(n, rows_per_block(finest, (3 * A.element_size() + 8) * n)))
    for rows in ranks.deal(strips, lambda rows: (rows.stop - rows.start) * float(rows.stop)):
        upto = slice(0, rows.stop)
        T = W[rows] @ W[upto].mT
        T *= A[rows] @ A[upto].mT
        T.addcmul_(W[rows, upto], left[rows] @ right[upto].mT, value=-1)
        square = T[:, rows]
        square.diagonal().add_(diagonal[rows])
        magnitude += square.diagonal().to(exact.dtype) @ exact[rows].square().sum(1)
        square.diagonal().div_(2)
        square.tril_()
        half[rows] = T.to(exact.dtype) @ exact[upto]
        on_share((rows.stop / n) ** 2)
    return half, magnitude
