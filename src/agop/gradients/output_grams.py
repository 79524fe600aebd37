"""The mean outer product of output gradients behind each linear map: what the AGOP of its input is made of, WᵀKW."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from agop.gradients import calling
from agop.gradients.cotangents import Cotangents
from agop.gradients.inputs import Batches
from agop.gradients.recorder import Recorder, reads_by_name
from agop.gradients.state import untouched
from agop.gradients.sweep import Sweep
from agop.gradients.taps import call_name


def output_grams(
    model: nn.Module,
    X: Batches,
    modules: dict[str, nn.Module],
    *,
    outputs: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    output: calling.OutputPick = None,
    inputs: Callable[[Any], Any] | None = None,
    random_state: int = 0,
) -> dict[str, Float[Tensor, "k k"]]:
    r""":math:`K = \frac{1}{nP} \sum_{ip} \Delta_{ip}^T \Delta_{ip}` by layer, :math:`\Delta_{ip} = \partial f(x_i) / \partial y_p`.

    For layers :math:`y = W h + b` without groups; means over positions, sums over outputs, as in `layer_agops`, whose matrix is
    :math:`W^T K W`.
    """
    reads = {
        name: (module, replace(read, weight=None))
        for name, (module, read) in reads_by_name(model, modules).items()
        if read.weight is not None and len(read.weight()) == 1
    }
    sweep = Sweep(model, Recorder(reads), Cotangents(outputs, random_state), output, None, set())
    with untouched(model, device=sweep.device()):
        sweep.run(X, batch_size, inputs, False)
    counts: dict[str, int] = {}
    for view in sweep.order:
        counts[view.layer] = counts.get(view.layer, 0) + 1
    found = {}
    for view in sweep.order:
        total = sweep.sums.pop(view)
        name = call_name(view.layer, view.index, counts[view.layer])
        found[name], _ = total.agops(
            total.n_rows, sweep.cotangents.replicate_sizes, random=sweep.cotangents.random
        )
    return found
