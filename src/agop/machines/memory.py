"""What a fit needs in memory, said beforehand."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from agop import _checks
from agop._memory import available_memory, human
from agop.kernels.distance import matrix_dtype

_TILES = 512 * 2**20
"""Working blocks of distances, kernel tiles and tile products, in bytes."""

_BLOCK = {"cpu": (16 * 2**20, 256 * 2**20), "cuda": (256 * 2**20, 4 * 2**30)}
"""Least and most that a block of rows takes in a pass of "nystrom", with its kernel values and features: a GPU wants large products."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes a fit holds at its peak, by what holds them."""

    kernel_matrix: int
    points: int
    features: int
    working: int
    preconditioner: int = 0

    @property
    def total(self) -> int:
        """The sum of all parts, in bytes."""
        return self.kernel_matrix + self.points + self.features + self.working + self.preconditioner

    def __str__(self) -> str:
        parts = ", ".join(
            f"{name} {human(size)}"
            for name, size in (
                ("kernel matrix", self.kernel_matrix),
                ("preconditioner", self.preconditioner),
                ("points", self.points),
                ("layers", self.features),
                ("working blocks", self.working),
            )
            if size >= 2**20
        )
        return f"{human(self.total)} ({parts or 'all parts below 1 MiB'})"


def estimate_memory(
    n: int,
    d: int,
    c: int,
    *,
    width: int = 0,
    n_layers: int = 1,
    dtype: torch.dtype = torch.float32,
    matrices: int = 1,
    solver: str = "cholesky",
    max_rank: int | None = None,
    n_centers: int | None = None,
    feature_points: int | None = None,
    streamed: bool = False,
    sums: int = 1,
    block_bytes: int = 256 * 2**20,
) -> MemoryEstimate:
    """Peak memory of a kernel-machine fit with its AGOP on `n` points, `d` features, `c` outputs.

    Parameters
    ----------
    width, n_layers
        Of a Deep RFM: every finished layer keeps its feature map, its feature matrix and the root of it, and one (n, c) block of
        coefficients. `width=0` is a single machine (RFM).
    matrices
        (n, n) matrices held at once: 1 is the least a direct solve can do with, 2 is faster (see `fit_kernel_machine`).
    solver, max_rank
        "cg" holds no (n, n) matrix, but an (n, max_rank) one for its preconditioner (None: `default_rank(n)`).
    n_centers, feature_points
        Of "nystrom": centres (None: `default_centers(n)`), and rows that the metric is learned on by an exact fit (None: no such fit), of
        which the larger need counts.
    streamed
        Of "nystrom": whether rows come in blocks and are not in memory.
    sums
        Of "nystrom": parts of the rows whose sums are held at once (one, or folds that a ridge is chosen by).
    block_bytes
        Of "nystrom": what a block of rows takes with its kernel values and features.
    """
    _checks.one_of("solver", solver, ("cholesky", "cg", "nystrom"))
    for name, count in (("n", n), ("d", d), ("c", c), ("n_layers", n_layers), ("matrices", matrices)):
        _checks.integer(name, count, at_least=1)
    _checks.integer("width", width, at_least=0)
    if max_rank is not None:
        _checks.integer("max_rank", max_rank, at_least=0)
    if dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise _checks.bad_type("dtype", "a floating-point torch.dtype", repr(dtype))
    size = torch.finfo(dtype).bits // 8
    if solver == "nystrom":
        own = _nystrom_memory(
            n,
            d,
            c,
            size,
            n_centers,
            streamed,
            _checks.integer("sums", sums, at_least=1),
            _checks.integer("block_bytes", block_bytes, at_least=1),
        )
        if feature_points is None:
            return own
        points = min(n, _checks.integer("feature_points", feature_points, at_least=1))
        learning = estimate_memory(points, d, c, dtype=dtype)
        return max(own, learning, key=lambda one: one.total)
    pair = torch.finfo(matrix_dtype(dtype, "mixed", n)).bits // 8  # "native" needs no more
    wide = max(d, width)
    per_layer = (width * wide + 2 * wide * wide + n * c) * size
    iterative = solver == "cg"
    rank = min(n, default_rank(n) if max_rank is None else max_rank) if iterative else 0
    return MemoryEstimate(
        kernel_matrix=0 if iterative else matrices * n * n * pair,
        points=n * wide * (8 + 3 * size) + n * d * size,
        features=n_layers * per_layer,
        working=min(_TILES, 6 * n * n * 8) + 6 * 8 * wide * wide + iterative * n * c * (8 * 8 + c * size),
        # the factor in single precision, a few of its columns, its Gram matrix with eigenvectors
        preconditioner=n * rank * 4 + min(n * rank * 8, 3 * 64 * 2**20) + 4 * 8 * rank * rank,
    )


def _nystrom_memory(
    n: int, d: int, c: int, size: int, n_centers: int | None, streamed: bool, sums: int, block_bytes: int
) -> MemoryEstimate:
    """What a fit on centres holds: matrices of the centres, a block, the rows it chooses centres from, and all rows unless they stream."""
    m = min(
        n, default_centers(n) if n_centers is None else _checks.integer("n_centers", n_centers, at_least=1)
    )
    candidates = min(n, max(10 * m, 20_000))
    return MemoryEstimate(
        # a decomposition holds its matrix, vectors and work; then: projection, sums, a copy that is factored
        kernel_matrix=8 * m * m * max(6, 3 + sums + (2 if sums > 1 else 0)),
        points=candidates * (d * (2 * size + 16) + c * size)
        + m * d * 16
        + (0 if streamed else n * (d + c) * size),
        features=0,
        working=block_bytes + min(_TILES // 2, 8 * 8 * d * n) + 6 * 8 * d * d,
    )


def nystrom_block_bytes(max_memory: int | None, device: torch.device) -> int:
    """What a block of rows of "nystrom" may take: an eighth of the memory, between bounds that suit the device."""
    limit = available_memory(device) if max_memory is None else max_memory
    least, most = _BLOCK.get(device.type, _BLOCK["cpu"])
    return max(least, min(most, limit // 8))


def default_centers(n: int) -> int:
    """Centres of "nystrom" unless another number is asked for: 4√n, at least 1,000 and at most 20,000, and no more than rows."""
    return min(n, max(1000, min(20_000, round(4 * n**0.5))))


def default_rank(n: int) -> int:
    """Rank of the iterative solver's preconditioner unless another is asked for: 6√n, at the cost of a few products with K."""
    return min(n, max(16, round(6 * n**0.5)))


def check_fits(estimate: MemoryEstimate, max_memory: int | None, device: torch.device) -> None:
    """Raise `MemoryError` with the need and the remedy if a fit cannot stay within its memory."""
    limit = available_memory(device) if max_memory is None else max_memory
    if estimate.total > limit:
        source = "free on this device" if max_memory is None else "the max_memory given"
        raise MemoryError(
            f"X: expected a problem that fits into {human(limit)} ({source}), got one that needs about {estimate}; "
            f"use fewer points, dtype float32, or raise max_memory."
        )


def fits_twice(
    n: int, d: int, c: int, dtype: torch.dtype, max_memory: int | None, device: torch.device
) -> bool:
    """Whether two (n, n) matrices may be held: within `max_memory`, or within half of what is free."""
    limit = available_memory(device) // 2 if max_memory is None else max_memory
    return estimate_memory(n, d, c, dtype=dtype, matrices=2).total <= limit
