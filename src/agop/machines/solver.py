"""Which solver takes a ridge system: what an estimator asked for, fitted to the memory there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from agop import _checks
from agop._memory import available_memory, human
from agop.machines.memory import MemoryEstimate, check_fits, default_centers, default_rank
from agop.machines.names import RFM_SOLVERS, SOLVERS
from agop.ranks import Ranks

LARGE = 30_000
"""Rows above which "auto" takes some rows as centres, not all, where an estimator can: a Cholesky takes minutes from there on."""

LEAST_CENTERS = 256
"""Centres below which memory does not force the number: less than that is said to be too little."""


@dataclass(frozen=True, kw_only=True)
class Solver:
    """How ridge systems are to be solved.

    Attributes
    ----------
    name
        "cholesky", "cg" or "nystrom"; "auto" until `chosen` has decided.
    tolerance
        Of "cg": largest relative residual of any output.
    max_rank
        Of "cg": rank of the preconditioner (None: `default_rank`, or what fits).
    max_iter
        Of "cg": products with K in one solve.
    seed
        Of "cg": of the preconditioner's pivots.
    n_centers
        Of "nystrom": centres (None: `default_centers`, or what fits).
    keep_bytes
        Of "cg": memory for tiles of K that are formed once, not in every iteration.
    reason
        Why this solver.
    """

    name: str = "cholesky"
    tolerance: float = 1e-6
    max_rank: int | None = None
    max_iter: int = 500
    seed: int = 0
    n_centers: int | None = None
    keep_bytes: int = 0
    reason: str = "asked for"

    @classmethod
    def of(cls, estimator: Any) -> Solver:
        """From an estimator's parameters, checked."""
        rank, takes_centers = estimator.max_rank, hasattr(estimator, "n_centers")
        asked = getattr(estimator, "n_centers", "auto")
        return cls(
            name=_checks.one_of("solver", estimator.solver, RFM_SOLVERS if takes_centers else SOLVERS),
            n_centers=None if isinstance(asked, str) else _checks.integer("n_centers", asked, at_least=1),
            tolerance=_checks.real("tolerance", estimator.tolerance, above=0, at_most=0.1),
            max_rank=None if rank is None else _checks.integer("max_rank", rank, at_least=0),
            max_iter=_checks.integer("max_cg_iter", estimator.max_cg_iter, at_least=1),
            seed=estimator.seed_,
        )

    def chosen(
        self,
        needs: Callable[..., MemoryEstimate],
        n: int,
        ridge: float,
        max_memory: int | None,
        device: torch.device,
        *,
        takes_centers: bool = False,
    ) -> Solver:
        """The solver to take, its rank fitted to the memory.

        Parameters
        ----------
        needs
            `estimate_memory` of the whole fit, with `solver` and `max_rank` open.
        n, ridge
            Of the system.
        takes_centers
            Whether "auto" may take "nystrom".

        Raises
        ------
        MemoryError
            If the fit cannot stay within its memory.
        ValueError
            If the solver asked for cannot solve this system.
        """
        limit = available_memory(device) if max_memory is None else max_memory
        if self.name == "nystrom" or (self.name == "auto" and takes_centers and n > LARGE):
            return self._with_centers(needs, n, max_memory, device)
        direct = needs(solver="cholesky")
        if self.name == "cholesky" or (self.name == "auto" and (direct.total <= limit or ridge == 0)):
            check_fits(direct, max_memory, device)
            reason = self.reason if self.name == "cholesky" else "auto: fits into memory"
            return replace(self, name="cholesky", reason=reason)
        if ridge == 0:
            raise _checks.bad_value(
                "ridge",
                "a number > 0 for solver='cg'",
                "0",
                "set ridge to 1e-6 or more, or solver='cholesky'",
            )
        reason = self.reason
        if self.name == "auto":
            reason = f"auto: cholesky needs about {human(direct.total)}, {human(limit)} may be taken"
        rank = self.max_rank
        if rank is None:
            rank = default_rank(n)
            while rank > 16 and needs(solver="cg", max_rank=rank).total > limit:
                rank = 4 * rank // 5
        least = needs(solver="cg", max_rank=rank)
        check_fits(least, max_memory, device)
        # unless a limit was given, half of what is free is left to others
        spare = (limit // 2 if max_memory is None else limit) - least.total
        return replace(self, name="cg", max_rank=rank, keep_bytes=max(0, spare), reason=reason)

    def _with_centers(
        self, needs: Callable[..., MemoryEstimate], n: int, max_memory: int | None, device: torch.device
    ) -> Solver:
        """The solver "nystrom", with as many centres as were asked for, or as the rows suggest and memory allows."""
        limit = available_memory(device) if max_memory is None else max_memory
        m = self.n_centers
        if m is not None and m > n:
            raise _checks.bad_value(
                "n_centers", f"at most {n:,}, the rows there are", f"{m:,}", "set n_centers='auto'"
            )
        if m is None:
            m = default_centers(n)
            while m > LEAST_CENTERS and needs(solver="nystrom", n_centers=m).total > limit:
                m = 4 * m // 5
        check_fits(needs(solver="nystrom", n_centers=m), max_memory, device)
        reason = self.reason
        if self.name == "auto":
            reason = f"auto: {n:,} rows are more than {LARGE:,}, from where on centres are taken"
        return replace(self, name="nystrom", n_centers=m, reason=reason)

    def agreed(self, ranks: Ranks) -> Solver:
        """The most modest of what the ranks have chosen, each by the memory of its own machine."""
        choices = [
            text.split()
            for text in ranks.gather(
                f"{self.name} {(self.n_centers if self.name == 'nystrom' else self.max_rank) or 0}"
            )
        ]
        if self.name == "nystrom":  # which all of them take by the number of rows
            return replace(self, n_centers=min(int(size) for _, size in choices))
        modest = [int(rank) for name, rank in choices if name == "cg"]
        if not modest:
            return self
        reason = (
            self.reason if self.name == "cg" else "auto: cholesky does not fit into another rank's memory"
        )
        return replace(self, name="cg", max_rank=min(modest), reason=reason)
