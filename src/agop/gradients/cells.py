"""One step of a recurrent cell, written out, so that its two products with weights can be seen.

The fused kernels of torch compute the same formulas (Hochreiter and Schmidhuber 1997; Cho et al. 2014, arXiv 1406.1078).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def lstm_cell(
    x: Tensor,
    state: Sequence[Tensor],
    w_in: Tensor,
    w_state: Tensor,
    b_in: Tensor | None = None,
    b_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The next hidden and cell state."""
    h, c = state
    i, f, g, o = (F.linear(x, w_in, b_in) + F.linear(h, w_state, b_state)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_cell(
    x: Tensor,
    h: Tensor,
    w_in: Tensor,
    w_state: Tensor,
    b_in: Tensor | None = None,
    b_state: Tensor | None = None,
) -> Tensor:
    """The next hidden state."""
    r_in, z_in, n_in = F.linear(x, w_in, b_in).chunk(3, -1)
    r_state, z_state, n_state = F.linear(h, w_state, b_state).chunk(3, -1)
    r, z = (r_in + r_state).sigmoid(), (z_in + z_state).sigmoid()
    n = (n_in + r * n_state).tanh()
    return n + z * (h - n)


def _plain_cell(activation: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    def cell(
        x: Tensor,
        h: Tensor,
        w_in: Tensor,
        w_state: Tensor,
        b_in: Tensor | None = None,
        b_state: Tensor | None = None,
    ) -> Tensor:
        return activation(F.linear(x, w_in, b_in) + F.linear(h, w_state, b_state))

    return cell


CELLS: dict[str, Callable[..., Any]] = {
    "lstm_cell": lstm_cell,
    "gru_cell": gru_cell,
    "rnn_tanh_cell": _plain_cell(torch.tanh),
    "rnn_relu_cell": _plain_cell(torch.relu),
}
"""By the name of torch's operation."""
