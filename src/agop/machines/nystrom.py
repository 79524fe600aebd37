r"""A kernel machine on m centres, fitted to any number of rows in one pass: :math:`f(x) = \sum_j a_j k(x, z_j)`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from agop._blocks import rows_per_block
from agop._threads import tile_threads
from agop.kernels.agop import gradient_moments
from agop.kernels.base import Kernel
from agop.kernels.distance import Points, working_dtype
from agop.linalg.nystrom import LATE, NystromBasis
from agop.machines.centers import choose_centers, n_candidates
from agop.machines.checkpoint import SumsCheckpoint, key_of
from agop.machines.kernel_ridge import KernelMachine, MachineFit
from agop.machines.names import CENTERS
from agop.machines.nystrom_sums import NystromSums
from agop.machines.progress import StepHook
from agop.machines.ridge_choice import RidgeChoice
from agop.machines.rows import Rows
from agop.machines.samples import Samples
from agop.ranks import current

Map = Callable[[Float[Tensor, "b p"]], Float[Tensor, "b r"]]
"""From columns to the coordinates in which the metric is Euclidean."""

_TILE = 128
"""Rows of kernel values that one thread forms at a time; on other devices the whole block is one tile."""

_PER_ENTRY = {"cpu": 4, "cuda": 9}
"""Blocks of b·m numbers in float64 that live at the same time; on a CPU what belongs to a tile is small."""


@dataclass(frozen=True, kw_only=True)
class Nystrom:
    """How a large fit is done: its rows, how many centres, by which rule.

    Attributes
    ----------
    rows
        All training rows.
    n_centers, rule, seed
        See `choose_centers`.
    precision
        "mixed" forms distances and kernel values in float64, "native" in the dtype of the rows; sums are in float64 with both.
    center_gradients
        Whether the AGOP is the covariance of the gradients.
    block_bytes
        Memory that a block may take with its temporaries.
    checkpoint
        A folder in which sums are kept while a pass is unfinished; None: nowhere.
    context
        What the sums depend on beside the rows: parameters and the seed.
    """

    rows: Rows
    n_centers: int
    rule: str = CENTERS[0]
    seed: int = 0
    precision: str = "mixed"
    center_gradients: bool = False
    block_bytes: int = 256 * 2**20
    reason: str = "asked for"
    checkpoint: Path | None = None
    context: str = ""

    @property
    def block_rows(self) -> int:
        """Rows of a block."""
        widest = (
            _PER_ENTRY.get(self.rows.device.type, 9) * self.n_centers
            + 8 * self.rows.columns
            + 4 * self.rows.outputs
        )
        return rows_per_block(max(1, len(self.rows)), 8 * widest, self.block_bytes)

    def solve(
        self,
        kernel: Kernel,
        mapped: Map,
        ridge: float,
        *,
        computed: bool,
        with_agop: bool = False,
        ridges: RidgeChoice | None = None,
        on_step: StepHook | None = None,
    ) -> MachineFit:
        """Fit the machine, with `ridge` or with the best of `ridges`; `mapped` takes columns to its coordinates.

        The ranks of a launch share the rows; sums are added up, and rank 0 decides what rounding could part.
        """
        tell = on_step or _silent
        least = ridge if ridges is None else min(ridges.ridges)
        basis = self._basis(kernel, mapped, least, computed)
        tell("centres", 1.0)
        sums, parts = self._summed(basis, mapped, ridges, tell)
        report: dict[str, Any] = {}
        if ridges is not None:
            ridge, report = ridges.best(parts, sums, self.rows.heaviest)
        b = current().from_main(sums.solve([ridge / self.rows.heaviest])[0])
        error = float((sums.squared_errors(b) / sums.weight).mean()) if sums.weight else 0.0
        tell("solve", 1.0)
        SumsCheckpoint(self.checkpoint).done()
        machine = KernelMachine(kernel, basis.centers, basis.factor.projection @ b, self.precision)
        matrix = None
        if with_agop:
            matrix = self._agop(machine, mapped, computed, tell)
        report = {
            "solver": "nystrom",
            "solver_reason": self.reason,
            "solve_dtype": "float64",
            "n_centers": len(basis.centers),
            "centers": self.rule,
            "nystrom_rank": basis.factor.rank,
            "left_out_centers": len(basis.centers) - basis.factor.rank,
            "cut": basis.factor.cut,
            "projected": "after the sums" if basis.late else "block by block",
            "rows": sums.count,
            "block_rows": self.block_rows,
            "fitted_mse": error,
            "agop_route": "direct" if with_agop else None,
            "cancellation": None,
            "notes": [],
            **report,
        }
        return MachineFit(machine, None, matrix, report)

    def _basis(self, kernel: Kernel, mapped: Map, ridge: float, computed: bool) -> _Basis:
        """The centres, and the eigenvectors of their kernel matrix: found on rank 0."""
        ranks, n = current(), len(self.rows)
        found = self.rows.sample(n_candidates(n, self.n_centers), self.seed)
        X = ranks.from_main(mapped(found.X))
        share = ridge * len(X) / max(n, 1)
        centers = choose_centers(
            kernel, X, found.weight, self.n_centers, rule=self.rule, ridge=share, seed=self.seed, precision=self.precision
        )  # fmt: skip
        centers = ranks.from_main(centers)
        points = kernel.points(centers, dtype=working_dtype(centers.dtype, self.precision), computed=computed)
        m = len(centers)
        if ranks.is_main:
            factor = NystromBasis.of(
                _values(kernel, points, points, X.new_empty(m, m, dtype=torch.float64)),
                ridge / self.rows.heaviest,
            )
        else:
            factor = NystromBasis(
                X.new_empty(m, 0, dtype=torch.float64), X.new_empty(m, dtype=torch.float64), 0.0
            )
        cut = torch.tensor([factor.cut], dtype=torch.float64, device=X.device)
        factor = NystromBasis(
            ranks.from_main(factor.projection),
            ranks.from_main(factor.eigenvalues),
            float(ranks.from_main(cut, same_shape=True)),
        )
        late = factor.rounding(n) <= LATE * ridge / self.rows.heaviest
        return _Basis(kernel, centers, points, factor, late)

    def _summed(
        self, basis: _Basis, mapped: Map, ridges: RidgeChoice | None, tell: StepHook
    ) -> tuple[NystromSums, list[NystromSums]]:
        """The sums over all rows, and those of each part if a ridge is to be chosen."""
        ranks, outputs, device = current(), self.rows.outputs, self.rows.device
        parts = [
            NystromSums.zeros(basis.width, outputs, device)
            for _ in range(1 if ridges is None else ridges.parts)
        ]
        mine = ranks.share(len(self.rows))
        kept = SumsCheckpoint(self.checkpoint, self._key(basis, ridges, mine))
        begun, after = kept.restored(device), None
        if begun is not None:
            parts, after = begun

        def add_all() -> list[NystromSums]:
            if self.checkpoint is None:
                found = self._scheduled(basis, mapped, ridges, mine)
                if found is not None:
                    return found
            work, done = basis.workspace(self.block_rows), sum(part.count for part in parts)
            with kept.sums(parts) as taken:
                for place, block in self.rows.numbered(self.block_rows, mine, after):
                    F = work.features(mapped(block.X), basis)
                    with taken(len(block), place):
                        self._add(parts, F, block, ridges)
                    done += len(block)
                    tell("rows", min(1.0, done / max(1, mine.stop - mine.start)))
            return parts

        parts = ranks.together(add_all)
        parts = [basis.finished(part.reduced(ranks)) for part in parts]
        tell("rows", 1.0)
        if ridges is None:
            return parts[0], parts
        total = NystromSums.zeros(basis.factor.rank, outputs, device)
        for part in parts:
            total.merge(part)
        return total, parts

    def _scheduled(
        self, basis: _Basis, mapped: Map, ridges: RidgeChoice | None, mine: slice
    ) -> list[NystromSums] | None:
        """The sums as the scheduler of a dask source forms them, a partition a task; None of another source."""
        count = 1 if ridges is None else ridges.parts

        def of(blocks: Iterator[Samples]) -> list[NystromSums]:
            parts = [
                NystromSums.zeros(basis.width, self.rows.outputs, self.rows.device) for _ in range(count)
            ]
            work = basis.workspace(self.block_rows)
            for block in blocks:
                self._add(parts, work.features(mapped(block.X), basis), block, ridges)
            return parts

        def merged(first: list[NystromSums], second: list[NystromSums]) -> list[NystromSums]:
            return [a.merge(b) for a, b in zip(first, second, strict=True)]

        return self.rows.scheduled(self.block_rows, mine, of, merged)

    def _key(self, basis: _Basis, ridges: RidgeChoice | None, mine: slice) -> str:
        """What the sums depend on."""
        if self.checkpoint is None:
            return ""
        choice = None if ridges is None else (ridges.folds, ridges.seed, ridges.ridges)
        texts = (
            self.context,
            self.rows.digest,
            repr(basis.kernel),
            self.precision,
            self.block_rows,
            mine,
            choice,
            basis.late,
        )
        seen = [] if ridges is None or ridges.seen is None else [ridges.seen]
        return key_of(texts, [basis.centers, basis.factor.projection, *seen])

    def _add(
        self, parts: list[NystromSums], F: Float[Tensor, "b k"], block: Samples, ridges: RidgeChoice | None
    ) -> None:
        """Add a block to the sums of the part that each of its rows is in."""
        weight = None if block.weight is None else block.weight.double() / self.rows.heaviest
        if ridges is None:
            parts[0].add(F, block.Y, weight)
            return
        fold = ridges.part_of(block)
        for place, part in enumerate(parts):
            own = (fold == place).nonzero()[:, 0]
            if len(own):
                part.add(F[own], block.Y[own], None if weight is None else weight[own])

    def _agop(
        self, machine: KernelMachine, mapped: Map, computed: bool, tell: StepHook
    ) -> Float[Tensor, "r r"]:
        """The AGOP of a machine over all rows."""
        ranks = current()
        mine = ranks.share(len(self.rows))
        own = replace(self, n_centers=len(machine.centers))
        total, done = None, 0
        for block in self.rows.blocks(own.block_rows, mine):
            moments = machine_moments(machine, mapped(block.X), block.weight, computed=computed)
            total = moments if total is None else [a + b for a, b in zip(total, moments, strict=True)]
            done += len(block)
            tell("agop", min(1.0, done / max(1, mine.stop - mine.start)))
        d, c = machine.centers.shape[1], machine.coefficients.shape[1]
        if total is None:
            zeros = torch.zeros(d, d, dtype=torch.float64, device=self.rows.device)
            total = [zeros, zeros.new_zeros(c, d), zeros.new_zeros(())]
        squares, mean, weight = (ranks.sum_(part) for part in total)
        matrix = squares / weight
        if self.center_gradients:
            matrix = matrix - mean.mT @ mean / weight**2
        tell("agop", 1.0)
        return matrix


@dataclass(frozen=True, eq=False)
class _Basis:
    """Centres with the factor of their kernel matrix; `late`: rows are projected after they were summed."""

    kernel: Kernel
    centers: Float[Tensor, "m r"]
    points: Points
    factor: NystromBasis
    late: bool

    @property
    def width(self) -> int:
        """Of the features that are summed."""
        return len(self.centers) if self.late else self.factor.rank

    def finished(self, sums: NystromSums) -> NystromSums:
        """Sums in the coordinates of the factor."""
        return sums.projected(self.factor.projection) if self.late else sums

    def workspace(self, rows: int) -> _Workspace:
        new = self.factor.projection.new_empty
        return _Workspace(new(rows, len(self.centers)), None if self.late else new(rows, self.factor.rank))


@dataclass(frozen=True, eq=False)
class _Workspace:
    """Memory for one block, used again for the next; `projected` is None where sums are projected instead of rows."""

    values: Float[Tensor, "b m"]
    projected: Float[Tensor, "b k"] | None

    def features(self, X: Float[Tensor, "b r"], basis: _Basis) -> Float[Tensor, "b k"]:
        """Rows as features: kernel values at the centres, projected unless the sums will be."""
        K = _values(basis.kernel, basis.points.beside(X), basis.points, self.values[: len(X)])
        if self.projected is None:
            return K
        return torch.mm(K, basis.factor.projection, out=self.projected[: len(X)])


def _values(kernel: Kernel, left: Points, right: Points, K: Float[Tensor, "b m"]) -> Float[Tensor, "b m"]:
    """Fill K with kernel values, in tiles of rows that stay in the cache."""
    size = _TILE if K.device.type == "cpu" else len(K)
    dtype = torch.float64 if left.values.dtype == torch.float64 else left.values.dtype

    def tile(rows: slice) -> None:
        values = kernel.block(left, rows, right, dtype, weight=False)[0]
        assert values is not None
        K[rows] = values

    with tile_threads(K.device) as each:
        for _ in each(
            tile, [slice(start, min(start + size, len(K))) for start in range(0, len(K), max(1, size))]
        ):
            pass
    return K


def machine_moments(
    machine: KernelMachine, X: Float[Tensor, "b r"], weight: Float[Tensor, " b"] | None, *, computed: bool
) -> list[Tensor]:
    r"""Over some rows: :math:`\sum_i w_i J_i^T J_i` (r, r), :math:`\sum_i w_i J_i` (c, r) and :math:`\sum_i w_i`, in float64."""
    centers = machine.centers
    points = machine.kernel.points(
        centers, dtype=working_dtype(centers.dtype, machine.precision), computed=computed
    )
    left = points.beside(X)
    A = machine.coefficients.to(points.values.dtype)
    squares, mean = gradient_moments(machine.kernel, left, points, A, weight)
    total = float(len(X)) if weight is None else float(weight.double().sum())
    return [squares.double(), mean.double(), torch.tensor(total, dtype=torch.float64, device=X.device)]


def predictor_agop(
    machine: KernelMachine,
    coordinates: Float[Tensor, "p r"],
    X: Float[Tensor, "n r"],
    weight: Float[Tensor, " n"] | None,
    *,
    computed: bool,
) -> Float[Tensor, "p p"]:
    """The AGOP of a machine over some rows in its coordinates, pulled back through z = Bᵀx, in float64."""
    squares, _, total = machine_moments(machine, X, weight, computed=computed)
    B = coordinates.double()
    return B @ (squares / total) @ B.mT


def _silent(step: str, share: float) -> None:
    """Nobody listens."""
