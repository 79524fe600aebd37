"""From a hidden state at many positions (tokens, pixels) to one row a sample."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from agop import _checks

POSITIONS = ("last", "first", "mean")

Position = str | int
"""Which positions of a sample count: "last", "first", "mean", or a number, negative ones from the end."""


def checked_position(position: object) -> Position:
    """`position` if it is one, else an error."""
    if isinstance(position, str):
        return _checks.one_of("position", position, POSITIONS)
    expected = "'last', 'first', 'mean', or the number of a position"
    position = _checks.plain(position)
    if isinstance(position, bool) or not isinstance(position, int):
        raise _checks.bad_type("position", expected, f"{position!r} ({type(position).__name__})")
    return position


def rows_at(
    states: Float[Tensor, "n *rest"], position: Position, mask: Bool[Tensor, "n t"] | None, *, axis: int = -1
) -> Float[Tensor, "n d"]:
    r"""One row a sample, in float32 or wider.

    "mean" is :math:`\sum_t m_t h_t / \sum_t m_t` with m the mask (None: all ones); "last" and "first" are the last and first position
    whose mask is one, whichever side the padding is on; a number k is the k-th of those, from 0, or from the end if negative.

    Parameters
    ----------
    states
        (n, d); (n, t, d) with features along `axis`; or images (n, d, …), of which only the mean can be taken.
    mask
        Which positions count.

    Raises
    ------
    ValueError
        If the mask is that of other positions, a sample has no position that counts, or not as many as asked.
    """
    dtype = torch.promote_types(states.dtype, torch.float32)
    if states.ndim == 2:
        return states.to(dtype, copy=True)
    states = states.movedim(axis, -1)
    if states.ndim > 3:
        if position != "mean":
            got = f"{position!r} for states with {states.ndim - 2} axes of positions"
            raise _checks.bad_value("position", "'mean'", got)
        return states.flatten(1, -2).to(dtype).mean(1)
    n, t = states.shape[:2]
    if mask is None:
        mask = torch.ones(n, t, dtype=torch.bool, device=states.device)
    if mask.shape != (n, t):
        expected = f"a mask of the positions of the hidden states, {(n, t)}"
        remedy = "choose layers that keep the positions of the input, or pass mask="
        raise _checks.bad_value("attention_mask", expected, f"shape {tuple(mask.shape)}", remedy)
    counts = mask.sum(1)
    wanted = 1 if isinstance(position, str) else (position + 1 if position >= 0 else -position)
    if bool((counts < wanted).any()):
        got = f"{int((counts < wanted).sum())} samples with fewer"
        raise _checks.bad_value("inputs", f"at least {wanted} positions that count in each sample", got)
    if position == "mean":
        kept = torch.where(mask[:, :, None], states, 0)  # what stands at padding may be NaN
        return kept.sum(1, dtype=dtype) / counts[:, None]
    if isinstance(position, str):
        position = 0 if position == "first" else -1
    number = torch.full_like(counts, position) if position >= 0 else counts + position
    place = ((mask.cumsum(1) - 1 == number[:, None]) & mask).int().argmax(1)
    return states[torch.arange(n, device=states.device), place].to(dtype)
