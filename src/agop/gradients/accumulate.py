"""Sums of outer products: the one product that every AGOP is made of."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks

PANEL = 128
"""Columns per panel: few enough to skip almost half of a symmetric product, enough to run at full speed."""


def accumulator_dtype(value: torch.dtype, wanted: torch.dtype | None) -> torch.dtype:
    """The dtype that sums of `value` entries are kept in: `wanted`, else at least float32."""
    if wanted is not None:
        if not isinstance(wanted, torch.dtype) or not wanted.is_floating_point:
            raise _checks.bad_type(
                "dtype", "a floating-point torch.dtype", repr(wanted), "pass torch.float64, for instance"
            )
        return torch.promote_types(wanted, torch.float32)
    return torch.promote_types(value, torch.float32)


def add_outer(total: Float[Tensor, "*g k k"], rows: Float[Tensor, "*g m k"]) -> None:
    """Add `rowsᵀ rows` to the upper triangle of `total` (in place), in the dtype of `total`.

    The product is symmetric, so only the panels on and above the diagonal are computed: mk(k + 128)
    operations instead of 2mk². What ends up below the diagonal is not defined before `symmetrised`.
    """
    width = total.shape[-1]
    with torch.autocast(total.device.type, enabled=False):
        rows = rows.to(total.dtype)
        if total.ndim == 3:
            total.baddbmm_(rows.mT, rows)
            return
        if width < 2 * PANEL:
            total.addmm_(rows.mT, rows)
            return
        for first in range(0, width, PANEL):
            last = min(first + PANEL, width)
            total[first:last, first:].addmm_(rows[:, first:last].mT, rows[:, first:])


def outer_operations(groups: int, rows: int, width: int) -> float:
    """Multiplications and additions of `add_outer`."""
    full = 2.0 * groups * rows * width**2
    return full if groups > 1 or width < 2 * PANEL else rows * width * (width + PANEL)


def check_finite(name: str, sums: Tensor) -> None:
    """Raise if sums over gradients, such as the diagonal of an AGOP, are NaN or infinite."""
    if not bool(torch.isfinite(sums).all()):
        raise _checks.bad_value(
            name,
            "a function with finite gradients at X",
            "NaN or infinite ones",
            "rescale it, or look for NaN in X and in its weights",
        )


def symmetrised(total: Float[Tensor, "*g k k"]) -> Float[Tensor, "*g k k"]:
    """The symmetric matrix whose upper triangle is that of `total`."""
    return total.triu() + total.triu(1).mT
