"""The mean outer product of output gradients behind each linear map: what the AGOP of its input is made of, WᵀKW."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from agop.gradients import calling
from agop.gradients.cotangents import Cotangents
from agop.gradients.inputs import Batches
from agop.gradients.layers import names_of
from agop.gradients.recorder import Recorder
from agop.gradients.state import untouched
from agop.gradients.sweep import Sweep
from agop.gradients.taps import Layers


def output_grams(
    model: nn.Module,
    X: Batches,
    layers: Layers,
    *,
    outputs: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    output: calling.OutputPick = None,
    inputs: Callable[[Any], Any] | None = None,
    mask: calling.MaskPick = None,
    random_state: int = 0,
) -> dict[str, Float[Tensor, "k k"]]:
    r""":math:`K = \frac{1}{nP} \sum_{ip} \Delta_{ip}^T \Delta_{ip}` by layer, :math:`\Delta_{ip} = \partial f(x_i) / \partial y_p`.

    For layers :math:`y = W h + b` without groups; means over positions that `mask` does not leave out, sums over
    outputs, as in `layer_agops`, whose matrix is
    :math:`W^T K W`.
    """
    recorder = Recorder(model, layers, exact=False)
    sweep = Sweep(model, recorder, Cotangents(outputs, random_state), output, None, mask, with_weights=False)
    with untouched(model, device=sweep.device()):
        sweep.run(X, batch_size, inputs, False)
    found = {}
    for view, name in names_of(sweep.order).items():
        total, used = sweep.sums.pop(view), sweep.maps[view]
        if used.at_input or used.matrix is None or total.totals.shape[1] > 1:
            continue
        found[name], _ = total.agops(
            total.n_rows, sweep.cotangents.replicate_sizes, random=sweep.cotangents.random
        )
    return found
