r"""What a ridge fit is worth on points it has not seen, from one factorisation: generalised cross-validation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

PROBES = 16
FREE, NOISE = 0.2, 1 / 3
"""A fit interpolates noise if less than this share of its n degrees of freedom is free, and this share of the variance is unexplained."""


def judged(
    Y: Float[Tensor, "n c"],
    residuals: Float[Tensor, "n c"],
    damping: Float[Tensor, "n 1"],
    solve: Callable[[Float[Tensor, "n k"]], Float[Tensor, "n k"]],
    weight: Float[Tensor, " n"] | None,
) -> dict[str, float]:
    r"""The share of degrees of freedom that are free, and of variance that is unexplained, by generalised cross-validation.

    With the system :math:`(K + D) A = Y`, :math:`D = \mu\,\mathrm{diag}(1/w)` and :math:`S = K (K + D)^{-1}`, the free share is
    :math:`\tau = \mathrm{tr}(I - S)/n`, and the unexplained one :math:`\sum w r^2 / \tau^2` over :math:`\sum w (y - \bar y)^2`
    (Golub, Heath and Wahba 1979, Technometrics 21). The trace is taken from 16 random signs (Hutchinson 1989), n² operations each.
    It says nothing of what a metric has learned from the same targets: with one, the unexplained share is too low.
    """
    n = len(Y)
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (n, PROBES), generator=generator).to(Y) * 2 - 1
    free = float((signs * damping * solve(signs)).double().sum()) / (PROBES * n)
    mass = torch.ones(n, 1, dtype=torch.float64, device=Y.device)
    if weight is not None:
        mass = (weight.double() / weight.double().max())[:, None]
    centred = Y.double() - (mass * Y.double()).sum(0) / mass.sum()
    variance = float((mass * centred.square()).sum())
    if not (0 < free <= 1 + 1e-6) or variance <= 0:
        return {"free": min(max(free, 0.0), 1.0), "unexplained": float("nan")}
    left_out = residuals.double() / free
    return {"free": free, "unexplained": float((mass * left_out.square()).sum()) / variance}


def interpolates_noise(report: dict[str, object]) -> str | None:
    """A sentence if the fit of this report passes through targets that it cannot foretell; else None."""
    free, unexplained = report.get("free"), report.get("unexplained")
    if not isinstance(free, float) or not isinstance(unexplained, float):
        return None
    if free >= FREE or not unexplained > NOISE:
        return None
    share = min(unexplained, 1.0)
    return (
        f"the fit passes through noisy targets: it leaves {100 * free:.2g} % of its degrees of freedom free, and generalised "
        f"cross-validation puts at {100 * share:.0f} % the variance it would not explain at new points; importances follow the "
        "noise. Raise ridge (0.1 is the default), or search with RFMClassifierCV or RFMRegressorCV."
    )
