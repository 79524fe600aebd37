"""What a fit of RFM will do before it begins: which solver on which rows, and how many operations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from agop import _checks
from agop._memory import parse_memory
from agop.machines.fact import UPDATES
from agop.machines.memory import MemoryEstimate, estimate_memory, nystrom_block_bytes
from agop.machines.names import CENTERS, PRECISIONS, SCALES
from agop.machines.nystrom import Nystrom
from agop.machines.progress import predicted_operations
from agop.machines.rows import Rows
from agop.machines.samples import Samples
from agop.machines.scoring import check_scoring
from agop.machines.solver import Solver
from agop.ranks import current

if TYPE_CHECKING:
    from agop.machines.rfm import _RFM

FEATURE_POINTS = 10_000
"""Rows that M is learned on where there are more than a direct fit takes, unless another number is asked for."""


@dataclass(frozen=True)
class How:
    """How the fits of a recursion are solved: `solver` on the rows that M is learned on; `large`, if there is one, on all rows.

    `throughout`: every fit is large. `last`: the last one of a recursion is.
    """

    solver: Solver
    large: Nystrom | None = None
    throughout: bool = False
    last: bool = False

    def is_large(self, final: bool) -> bool:
        """Whether a fit is to all rows; `final`: it is the last one of its recursion."""
        return self.large is not None and (self.throughout or (self.last and final))


def checked(model: _RFM, rows: Rows) -> tuple[int, Solver]:
    """The parameters of a fit to `rows`, checked: the number of iterations, and the solver of the fits."""
    n_iter = _checks.integer("n_iter", model.n_iter, at_least=0)
    ridge = _checks.real("ridge", model.ridge, at_least=0)
    if model.learning_ridge is not None and n_iter:
        ridge = min(ridge, _checks.real("learning_ridge", model.learning_ridge, at_least=0))
    _checks.real("power", model.power, above=0)
    _checks.one_of("precision", model.precision, PRECISIONS)
    _checks.one_of("scale", model.scale, SCALES)
    _checks.one_of("update", model.update, UPDATES)
    _checks.one_of("bandwidth_at", model.bandwidth_at, ("start", "each"))
    check_scoring(model.scoring)
    n, d, c = len(rows), rows.columns, rows.outputs
    throughout = model.feature_points == "all"
    points = (
        None
        if throughout or not n_iter
        else _checks.integer("feature_points", model.feature_points, at_least=1)
    )
    _checks.one_of("centers", model.centers, CENTERS)
    choice, memory = model._ridges_to_choose, parse_memory("max_memory", model.max_memory)
    centers = {
        "feature_points": points,
        "streamed": not rows.in_memory,
        "sums": 1 if choice is None else choice.parts,
        "block_bytes": nystrom_block_bytes(memory, rows.device),
    }

    def needs(solver: str, **options: Any) -> MemoryEstimate:
        options |= centers if solver == "nystrom" else {}
        return estimate_memory(n, d, c, dtype=rows.dtype, solver=solver, **options)

    solver = Solver.of(model).chosen(needs, n, ridge, memory, rows.device, takes_centers=True)
    if solver.name == "nystrom" and throughout and n_iter and model.update != "agop":
        expected = "'agop' with feature_points=\"all\": coefficients of centres are no residuals of points"
        remedy = "give feature_points= a number: M is then learned by exact fits to so many points"
        raise _checks.bad_value("update", expected, repr(model.update), remedy)
    return n_iter, solver


def planned(model: _RFM, rows: Rows, solver: Solver, validated: bool) -> tuple[How, Samples]:
    """How the fits are solved, and the rows that M is learned on."""
    if solver.name != "nystrom":
        return How(solver), rows.sample(len(rows), model.seed_)
    throughout, memory = model.feature_points == "all", parse_memory("max_memory", model.max_memory)
    samples = rows.sample(FEATURE_POINTS if throughout else int(model.feature_points), model.seed_)
    assert solver.n_centers is not None
    large = Nystrom(
        rows=rows,
        n_centers=solver.n_centers,
        rule=model.centers,
        seed=model.seed_,
        precision=model.precision,
        center_gradients=bool(model.center_gradients),
        block_bytes=nystrom_block_bytes(memory, rows.device),
        reason=solver.reason,
        checkpoint=model._checkpoint,
        context=repr((model.settings_, model.seed_)),
    )
    if not throughout and int(model.n_iter):
        needs = partial(estimate_memory, len(samples), rows.columns, rows.outputs, dtype=rows.dtype)
        asked = replace(
            solver, name="auto", max_rank=model.max_rank, reason="for the rows that M is learned on"
        )
        ridge = min(float(model.ridge), model._ridge_of_learning)
        solver = asked.chosen(needs, len(samples), ridge, memory, rows.device).agreed(current())
    return How(solver, large, throughout, last=not validated), samples


def operations(how: How, rows: Rows, n_learning: int, n_iter: int, chains: int) -> list[dict[str, float]]:
    """The operations of each fit."""
    large = how.large

    def one(*, learns: bool, on_all: bool) -> dict[str, float]:
        n, solver = (len(rows), "nystrom") if on_all else (n_learning, how.solver.name)
        centers = None if large is None or not on_all else large.n_centers
        return predicted_operations(
            n, rows.columns, rows.outputs, learns=learns, solver=solver, n_centers=centers
        )

    recursion = [one(learns=i < n_iter, on_all=how.is_large(i == n_iter)) for i in range(n_iter + 1)]
    refit = large is not None and not how.throughout and not how.last
    return recursion * chains + ([one(learns=False, on_all=True)] if refit else [])
