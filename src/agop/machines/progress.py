"""How far a fit is: operations done of those predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agop._progress import ProgressHook
from agop.kernels.agop import operations
from agop.machines.memory import default_centers, default_rank

StepHook = Callable[[str, float], None]
"""Called with a step of a fit ("kernel", "factor", "solve", "agop", …) and the share of it that is done; may raise to stop the fit."""

_CG_ITERATIONS = 30
"""A guess: how many it takes is known only afterwards."""


def predicted_operations(
    n: int,
    d: int,
    c: int,
    *,
    width: int = 0,
    learns: bool = True,
    solver: str = "cholesky",
    n_centers: int | None = None,
) -> dict[str, float]:
    """About what each step of one fit costs, in operations of a matrix product in single precision.

    `width` is that of the random features that follow (0: none); `learns` whether the AGOP is formed.
    """
    # pairs are formed once: distances in double precision, roots and exponentials
    entries = 0.5 * n * n * (6 * d + 300)
    counts = operations(n, d, c)
    if solver == "nystrom":
        m = float(default_centers(n) if n_centers is None else n_centers)
        # sums are in double precision: each operation counts twice
        cost = {
            "centres": 30.0 * m**3,
            "rows": n * m * (2 * (3 * m + 2 * c) + 6 * d + 300),
            "solve": 2 * m**3,
            "agop": n * m * (4.0 * d * (1 + c) + 300),
        }
    elif solver == "cg":
        rank = default_rank(n)
        cost = {
            "kernel": n * rank * (6.0 * d + 2 * rank),
            "factor": 2.0 * n * rank**2,
            "solve": _CG_ITERATIONS * (entries + n * n * 2.0 * c),
            "agop": entries + counts["direct"],
        }
    else:
        cost = {
            "kernel": entries,
            "factor": n**3 / 3,
            "solve": n * n * (4.0 * c + 50),
            "agop": float(min(counts.values())),
        }
    if not learns:
        del cost["agop"]
    else:
        cost["root"] = 15.0 * d**3
    if width:
        cost["features"] = 2.0 * n * d * (d + width)
    return cost


class Progress:
    """Adds up what the steps of many fits tell, and passes the sum on.

    Parameters
    ----------
    unit
        What one fit is called: "layer", "iteration".
    fits
        The predicted operations of each fit, step by step in the order they are taken.
    hook
        Who hears it; None for nobody.
    """

    def __init__(self, unit: str, fits: Sequence[dict[str, float]], hook: ProgressHook | None) -> None:
        self._unit, self._fits, self._hook = unit, fits, hook
        self._total = sum(sum(fit.values()) for fit in fits)
        self._furthest = 0.0

    def during(self, index: int) -> StepHook:
        """Who listens to the steps of fit `index`, which begins now."""
        fit, before = self._fits[index], sum(sum(earlier.values()) for earlier in self._fits[:index])
        steps = list(fit)

        def hear(step: str, share: float) -> None:
            if self._hook is None or step not in fit:
                return
            place = steps.index(step)
            done = before + sum(fit[earlier] for earlier in steps[:place]) + share * fit[step]
            # a step may begin again, by another way
            self._furthest = done = max(done, self._furthest)
            current = step if share < 1 else steps[min(place + 1, len(steps) - 1)]
            self._hook(done, self._total, f"{self._unit} {index + 1}/{len(self._fits)}: {current}")

        hear(steps[0], 0.0)
        return hear
