r"""Ridge regression on monomials: the system in its smaller form, the fitted polynomial, and the AGOP of it in closed form.

With the monomials :math:`\phi(x) \in R^p` and weights w, the constant free, minimised is
:math:`\sum_i w_i \|y_i - t - \Theta^T \phi(x_i)\|^2 + \mu \|\Theta\|_F^2`. Let
:math:`F = \sqrt w\,(\phi - \bar\phi)` (n, p) and :math:`G = \sqrt w\,(y - \bar y)` with weighted means. Then
:math:`\Theta = (F^T F + \mu I_p)^{-1} F^T G` ("primal") :math:`= F^T (F F^T + \mu I_n)^{-1} G` ("dual").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop._blocks import row_blocks, rows_per_block
from agop._memory import available_memory, human
from agop.linalg.ridge import RidgeFactor, SingularSystemError
from agop.machines.polynomial_features import Coordinates, Moments, Monomials
from agop.machines.progress import StepHook
from agop.ranks import current

SOLVERS = ("auto", "primal", "dual")
BLOCK_BYTES = 64 * 2**20
"""Memory for the monomials of one block of rows, with the factors they are products of."""

_TILE = 1024
"""Rows of a symmetric product that are formed at once: hardly more than its lower triangle."""


@dataclass(frozen=True, eq=False)
class Polynomial:
    r"""A polynomial :math:`f(x) = t + \Theta^T \phi(z)`, :math:`z = (x - a)/s`, of degree one or two with c outputs."""

    monomials: Monomials
    coordinates: Coordinates
    intercept: Float[Tensor, " c"]
    coefficients: Float[Tensor, "p c"]

    def predict(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        """Values at the rows of `X` in float64, in blocks of rows: 2mpc operations (4mpc for all pairs)."""
        values = self.intercept.new_empty(len(X), len(self.intercept))
        forms = self.monomials.has_all_pairs
        for rows in _blocks(len(X), self.monomials, formed=not forms):
            Z = self.coordinates(X[rows])
            if forms:
                self._fill_forms(Z, values[rows])
            else:
                values[rows] = self.intercept + self.monomials.values(Z).mT @ self.coefficients
        return values

    def _fill_forms(self, Z: Float[Tensor, "b d"], values: Float[Tensor, "b c"]) -> None:
        for output in range(len(self.intercept)):
            b, A = self.quadratic(output)
            values[:, output] = self.intercept[output] + Z @ b + (Z @ A).mul_(Z).sum(1)

    def gradient(self, X: Float[Tensor, "m d"], output: int) -> Float[Tensor, "m d"]:
        r"""Gradients :math:`(b + 2 A z)/s` of one output, where :math:`f = t + b \cdot z + z^T A z`, in float64."""
        b, A = self.quadratic(output)
        return (b + 2 * self.coordinates(X) @ A) / self.coordinates.scale

    def agop(self, moments: Moments) -> Float[Tensor, "d d"]:
        r"""The AGOP over samples with these moments of z.

        :math:`\mathrm{AGOP} = D^{-1} \sum_o [g_o g_o^T + 4 A_o C A_o] D^{-1}` with the mean gradient :math:`g_o = b_o + 2 A_o m`,
        mean m and covariance C of z, and D = diag(s): the expansion with :math:`S = C + m m^T` without its cancelling terms. 4cd³
        operations.
        """
        total = torch.zeros_like(moments.covariance)
        for output in range(len(self.intercept)):
            b, A = self.quadratic(output)
            mean = b + 2 * A @ moments.mean
            total += torch.outer(mean, mean) + 4 * A @ moments.covariance @ A
        total = total / self.coordinates.scale / self.coordinates.scale[:, None]
        return (total + total.mT) / 2

    def quadratic(self, output: int) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
        """The vector b and the symmetric matrix A of one output, in the coordinates z."""
        column, d = self.coefficients[:, output], self.monomials.d
        return column[:d], self.monomials.matrix(column[d:])


@dataclass(frozen=True, eq=False)
class RidgeProblem:
    """Samples in the coordinates of the monomials, with targets, weights and means: what is solved for any ridge."""

    monomials: Monomials
    coordinates: Coordinates
    Z: Float[Tensor, "n d"]
    Y: Float[Tensor, "n c"]
    weight: Float[Tensor, " n"]
    moments: Moments
    mean_target: Float[Tensor, " c"]
    mean_monomials: Float[Tensor, "p 1"]

    @classmethod
    def of(
        cls,
        monomials: Monomials,
        scaling: str,
        X: Float[Tensor, "n d"],
        Y: Float[Tensor, "n c"],
        sample_weight: Float[Tensor, " n"] | None,
    ) -> RidgeProblem:
        """Of samples, without those of weight zero."""
        weight = X.new_ones(len(X), dtype=torch.float64) if sample_weight is None else sample_weight.double()
        share = weight / weight.sum()
        coordinates = Coordinates.of(X, share, scaling)
        Z = coordinates(X)
        moments = Moments.of(Z, share)
        if not bool(torch.isfinite(moments.covariance).all()):
            raise _checks.bad_value(
                "X", "columns whose products are within the range of float64", "larger ones", "rescale X"
            )
        Y = Y.double()
        return cls(
            monomials,
            coordinates,
            Z,
            Y,
            weight,
            moments,
            Y[0] + share @ (Y - Y[0]),
            monomials.means(moments),
        )

    @property
    def roots(self) -> Float[Tensor, "n 1"]:
        """Square roots of the weights."""
        return self.weight.sqrt()[:, None]

    @property
    def residual_targets(self) -> Float[Tensor, "n c"]:
        """The right-hand side G of the dual system."""
        return (self.Y - self.mean_target).mul_(self.roots)

    def block(self, rows: slice) -> Float[Tensor, "p b"]:
        """Columns of Fᵀ: centred monomials of some samples times the roots of their weights."""
        phi = self.monomials.values(self.Z[rows])
        return phi.sub_(self.mean_monomials).mul_(self.roots[rows].mT)

    def normal(self, tell: StepHook) -> Float[Tensor, "p p"]:
        """The lower triangle of FᵀF, summed over blocks of rows: np² operations."""
        p = self.monomials.count
        system = self.Z.new_zeros(p, p)
        for rows in _blocks(len(self.Z), self.monomials):
            F = self.block(rows)
            for part in row_blocks(p, _TILE):
                system[part, : part.stop].addmm_(F[part], F[: part.stop].mT)
            tell("gram", rows.stop / len(self.Z))
        return system

    def gram(self, tell: StepHook) -> Float[Tensor, "n n"]:
        """The lower triangle of F Fᵀ: 4n²d operations for all pairs, from a closed form; n²p for local ones, over blocks of pairs."""
        Z = self.Z - self.moments.mean
        system = Z @ Z.mT
        if self.monomials.has_all_pairs:
            self._add_all_pairs(system, tell)
        elif self.monomials.degree == 2:
            self._add_pairs(system, tell)
        tell("gram", 1.0)
        return system.mul_(self.roots).mul_(self.roots.mT)

    def _add_all_pairs(self, system: Float[Tensor, "n n"], tell: StepHook) -> None:
        r"""Add the centred :math:`\sum_{j \le k} u_j u_k v_j v_k = ((u \cdot v)^2 + \sum_j u_j^2 v_j^2)/2` for all rows u, v of Z."""
        n, share = len(self.Z), self.weight / self.weight.sum()
        squares = self.Z.square()
        kernel = torch.empty_like(system)
        for rows in row_blocks(n, rows_per_block(n, 16 * n, BLOCK_BYTES)):
            product = self.Z[rows] @ self.Z.mT
            kernel[rows] = product.square_().addmm_(squares[rows], squares.mT).div_(2)
            tell("gram", rows.stop / n)
        means = kernel @ share
        system.add_(kernel).sub_(means[:, None]).sub_(means).add_(share @ means)

    def _add_pairs(self, system: Float[Tensor, "n n"], tell: StepHook) -> None:
        n, d, q = len(self.Z), self.monomials.d, self.monomials.n_pairs
        for part in row_blocks(q, rows_per_block(q, 24 * n, BLOCK_BYTES)):
            F = self.monomials.pair_values(self.Z, part).sub_(
                self.mean_monomials[d + part.start : d + part.stop]
            )
            for rows in row_blocks(n, _TILE):
                system[rows, : rows.stop].addmm_(F[:, rows].mT, F[:, : rows.stop])
            tell("gram", part.stop / q)

    def combined(self, multipliers: Float[Tensor, "n c"]) -> Float[Tensor, "p c"]:
        """Fᵀ times one row of multipliers a sample: 2npc operations."""
        total = multipliers.new_zeros(self.monomials.count, multipliers.shape[1])
        for rows in _blocks(len(self.Z), self.monomials):
            total.addmm_(self.block(rows), multipliers[rows])
        return total

    def combined_forms(self, multipliers: Float[Tensor, "n c"]) -> Float[Tensor, "p c"]:
        """The same for all pairs, without forming monomials: 2ncd² operations."""
        first, second = self.monomials.pair_index.to(multipliers.device)
        multipliers = multipliers * self.roots
        columns = []
        for weights in multipliers.mT:
            weighted = self.Z.mT * weights
            columns.append(torch.cat([weighted.sum(1), (weighted @ self.Z)[first, second]]))
        return torch.stack(columns, 1).sub_(self.mean_monomials * multipliers.sum(0))

    def polynomial(self, coefficients: Float[Tensor, "p c"]) -> Polynomial:
        """The polynomial with these coefficients and the constant that belongs to them."""
        intercept = self.mean_target - (self.mean_monomials * coefficients).sum(0)
        return Polynomial(self.monomials, self.coordinates, intercept, coefficients)


@dataclass(frozen=True, eq=False)
class Solver:
    """The system of a problem, formed once and solved for one ridge after the other."""

    problem: RidgeProblem
    name: str
    system: Float[Tensor, "k k"]
    right: Float[Tensor, "k c"]

    @classmethod
    def of(cls, problem: RidgeProblem, name: str, tell: StepHook) -> Solver:
        """Form the system of the "primal" or "dual" problem."""
        targets = problem.residual_targets
        if name == "dual":
            return cls(problem, name, problem.gram(tell), targets)
        return cls(problem, name, problem.normal(tell), problem.combined(targets))

    def solve(self, ridge: float, *, last: bool, tell: StepHook) -> tuple[Polynomial, dict[str, Any]]:
        """The polynomial of one ridge, and how well conditioned its system was; after the `last` the system is gone."""
        factor = self._factor(ridge, last, tell)
        coefficients = factor.solve(self.right)
        if self.name == "dual" and self.problem.monomials.has_all_pairs:
            coefficients = self.problem.combined_forms(coefficients)
        elif self.name == "dual":
            coefficients = self.problem.combined(coefficients)
        tell("solve", 1.0)
        coefficients = current().from_main(coefficients)  # unlike machines round unlike
        return self.problem.polynomial(coefficients), {"pivot_ratio": factor.pivot_ratio}

    def _factor(self, ridge: float, last: bool, tell: StepHook) -> RidgeFactor:
        try:
            return RidgeFactor.of(
                self.system,
                ridge,
                overwrite=last,
                on_block=lambda done, n: tell("factor", 1 - (1 - done / n) ** 3),
            )
        except SingularSystemError:
            n, p = len(self.problem.Z), self.problem.monomials.count
            raise SingularSystemError(
                f"ridge: expected a system of {n:,} points and {p:,} monomials that ridge makes positive definite, got one that is "
                f"singular with ridge={ridge:g} (not more points than monomials, or constant, binary or duplicated columns); raise "
                f"ridge (try {max(10 * ridge, 1e-6):g})."
            ) from None


@dataclass(frozen=True, eq=False)
class Plan:
    """Which of the two systems is solved, why, what each step costs in operations, and what is held in memory."""

    name: str
    reason: str
    operations: dict[str, float]
    memory: int

    @classmethod
    def of(
        cls,
        n: int,
        c: int,
        monomials: Monomials,
        *,
        solver: str = "auto",
        n_ridges: int = 1,
        max_memory: int | None = None,
        device: torch.device,
    ) -> Plan:
        """The cheaper system that fits into memory, or the one asked for.

        Raises
        ------
        MemoryError
            If none does.
        """
        names = ("primal", "dual") if solver == "auto" else (solver,)
        plans = [cls._one(name, n, c, monomials, n_ridges) for name in names]
        plans.sort(key=lambda plan: sum(plan.operations.values()))
        limit = available_memory(device) if max_memory is None else max_memory
        fitting = [plan for plan in plans if plan.memory <= limit]
        if not fitting:
            raise _too_large(min(plan.memory for plan in plans), limit, max_memory, n, monomials)
        chosen = fitting[0]
        reason = "asked for" if solver != "auto" else "auto: fewer operations"
        if chosen is not plans[0]:
            reason = (
                f"auto: {plans[0].name} needs about {human(plans[0].memory)}, {human(limit)} may be taken"
            )
        return replace(chosen, reason=reason)

    @classmethod
    def _one(cls, name: str, n: int, c: int, monomials: Monomials, n_ridges: int) -> Plan:
        d, p = monomials.d, monomials.count
        k = p if name == "primal" else n
        closed = monomials.degree == 1 or monomials.has_all_pairs
        forming = n * p * (p + 4.0 * c) if name == "primal" else 1.0 * n * n * (4 * d if closed else p)
        operations = {
            "gram": forming,
            "factor": k**3 / 3,
            "solve": 2.0 * c * (k * k + n * p),
            "agop": 4.0 * c * d**3,
        }
        matrices = 1 + (n_ridges > 1)
        if name == "dual" and monomials.has_all_pairs:
            matrices = 2
        # 8 bytes an entry, and an eighth of it for the buffers of matrix products
        held = 9 * (matrices * k * k + 4 * n * d + 3 * n * c + 4 * p * (c + 4) + 6 * d * d)
        return cls(name, "", operations, held + 2 * min(BLOCK_BYTES, 32 * n * (p + d)))


def _blocks(n: int, monomials: Monomials, *, formed: bool = True) -> Iterator[slice]:
    """Blocks of rows whose monomials, if they are formed, and the factors they are products of fit into `BLOCK_BYTES`."""
    columns = monomials.count + monomials.d if formed else 2 * monomials.d
    return row_blocks(n, rows_per_block(n, 32 * columns, BLOCK_BYTES))


def _too_large(need: int, limit: int, given: int | None, n: int, monomials: Monomials) -> MemoryError:
    source = "free on this device" if given is None else "the max_memory given"
    remedy = "use pairs='local', degree=1, fewer columns (PCA) or fewer points, or raise max_memory"
    return MemoryError(
        f"X: expected a problem that fits into {human(limit)} ({source}), got one of {n:,} points and {monomials.count:,} monomials "
        f"that needs about {human(need)}; {remedy}."
    )
