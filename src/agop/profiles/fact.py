r"""FACT: at a critical point of loss and weight decay WᵀW is known from the loss gradients, in every layer."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from agop import _checks
from agop.gradients import calling
from agop.gradients.loss_gradients import loss_gradients
from agop.gradients.objective import Decay, Objective
from agop.gradients.samples import samples_of
from agop.gradients.sanity import refuse_training_mode
from agop.gradients.taps import Layers, original
from agop.gradients.wrapped import refuse_packed, refuse_sharded, refuse_unseen
from agop.measurement import Measurement
from agop.probes.fact import fact_residual
from agop.profiles.batches import batches
from agop.profiles.network import evaluation_mode
from agop.profiles.network_training import weights_in


class LayerFACTs(dict[str, Tensor]):
    """FACT matrices (d, d) by layer, for the layers that have one, in float64.

    Attributes
    ----------
    residuals : dict
        By layer, those without FACT too, ‖WᵀW − FACT‖ / ‖WᵀW‖ as a `Measurement` that may say why it is undefined; `details`: the
        `distance` ‖W + G/λ‖ / ‖W‖ from balance, the `correlation` of both matrices, the `weight_decay`.
    n_samples : int
    notes : list of str
        What was assumed.
    """

    def __init__(
        self,
        matrices: dict[str, Tensor],
        residuals: dict[str, Measurement],
        n_samples: int,
        notes: list[str],
    ) -> None:
        super().__init__(matrices)
        self.residuals, self.n_samples, self.notes = residuals, n_samples, notes

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name!r}: {float(value):.3g}" if value.defined else f"{name!r}: undefined"
            for name, value in self.residuals.items()
        )
        return f"LayerFACTs(residuals={{{shown}}}, n_samples={self.n_samples})"


def fact(
    model: nn.Module,
    X: Float[Tensor, "n *d"] | Any,
    y: Any = None,
    *,
    loss: Any = "cross_entropy",
    weight_decay: float | int | None = None,
    optimizer: Any = None,
    layers: Layers = None,
    batch_size: int | None = None,
    output: calling.OutputPick = None,
    inputs: Callable[[Any], Any] | None = None,
    targets: Callable[[Any], Any] | None = None,
) -> LayerFACTs:
    r"""FACT of every layer, in one backward pass for all of them, and how far the layer is from it.

    For a layer :math:`y = W h` of a model trained with the loss :math:`\frac1n \sum_i \ell_i + \frac\lambda2 \|\theta\|^2`,

    .. math:: \mathrm{FACT} = -\frac{1}{n\lambda} \sum_i (\nabla_h \ell_i)\, h_i^T = -\frac1\lambda W^T \frac{\partial}{\partial W}
              \frac1n \sum_i \ell_i, \qquad \text{residual} = \frac{\|W^T W - \mathrm{FACT}\|_F}{\|W^T W\|_F}.

    At a critical point, where loss and decay are at balance, :math:`W^T W = \mathrm{FACT}`: the residual tells which layers have
    converged. The sum is over samples and, for convolutions and tokens, positions, and over all uses of a weight that is used more
    than once.

    Parameters
    ----------
    model
        Any module. It is looked at in evaluation mode and left as it came.
    X, y
        What it was trained on, all of it, or a loader of (x, y) batches. `y` as the loss takes it; classes per token
        (n, t) for outputs (n, t, C) too, -100 where there is none.
    loss
        "cross_entropy", "mse" (a mean over outputs, too), "bce"; a loss module of torch, whose reduction, class weights and ignored index
        count; or a function of (outputs, targets) that gives one value per sample (whose mean it is), or their mean or sum, which is found
        out.
    weight_decay
        λ, as SGD and Adam have it.
    optimizer
        Instead: the optimiser, from which λ is read for each parameter.
    layers
        None: every use of a weight in a linear map, as in `layer_agops`; or names, globs, types, modules.
    batch_size
        Rows per pass of a tensor `X`; it changes rounding only.
    output, inputs, targets
        As in `agop.Network`.

    Returns
    -------
    LayerFACTs
        A dict of (d, d) matrices by layer, with `residuals`, `notes`. FACT is not symmetric away from a critical point. Undefined, with the
        reason: decoupled decay (AdamW) or none, batch normalisation behind the layer, frozen weights, weights that are
        no choice of entries of parameters (parametrised, adapted, quantised ones).

    Raises
    ------
    ValueError, TypeError
        If the targets are none that the loss takes, the loss is neither a mean nor a sum, or neither or both of decay and optimiser are
        given.

    Notes
    -----
    Boix-Adserà, Mallinar, Simon, Belkin 2025 (arXiv 2507.05644), Theorem 1.

    Examples
    --------
    A linear regression with its ridge solution:

    >>> import torch
    >>> X, y = torch.eye(2).double(), torch.tensor([[1.0], [2.0]]).double()
    >>> net = nn.Linear(2, 1, bias=False).double()
    >>> _ = net.weight.data.copy_((X.T @ y).T / (1 + 2 * 0.5))  # of the mean of squares + (λ/2)‖W‖², 2/n = 1, λ = 1
    >>> round(float(fact(net, X, y, loss="mse", weight_decay=1.0).residuals["model"]), 6)
    0.0
    """
    refuse_unseen(model)
    refuse_sharded(model)
    refuse_packed(model)
    if batch_size is not None:
        _checks.integer("batch_size", batch_size, at_least=1)
    objective, decay = Objective.of(loss), Decay(weight_decay, optimizer)
    model = original(model)
    X = samples_of(X, model)
    with evaluation_mode(model):
        refuse_training_mode(model)
        pairs = batches(X, y, batch_size, inputs, targets)
        first = next(pairs)
        weights = weights_in(model, layers, first[0])
        if not weights:
            raise _checks.bad_value(
                "layers", "a model with layers to choose", "none", "name modules with layers="
            )
        pairs = chain([first], pairs)
        found, n_samples, notes = loss_gradients(model, weights, pairs, objective, decay, output)
    matrices, residuals = {}, {}
    for name, own in found.items():
        if own.reason:
            residuals[name] = Measurement.undefined("fact", "residual", own.reason)
            continue
        assert own.weight is not None
        matrices[name] = own.weight.mT @ own.critical_weight
        residuals[name] = fact_residual(own.weight, own.critical_weight)
        residuals[name].details["weight_decay"] = own.decay
    return LayerFACTs(matrices, residuals, n_samples, [*decay.notes, *notes])
