r"""What a convolution looks at in a patch: the patch AGOP of a layer, and the ansatz that its filters keep it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from agop import _checks
from agop.gradients import calling
from agop.gradients.ansatz import nfa_of_weight
from agop.gradients.inputs import Batches
from agop.gradients.layers import layer_agops
from agop.gradients.reads import CONVOLUTIONS, read_matrix, reads_patches
from agop.gradients.taps import Layers, named_exactly, select_layers


def patch_agop(
    model: nn.Module,
    layer: str | nn.Module,
    X: Batches,
    *,
    positions: str = "sum",
    outputs: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    output: calling.OutputPick = None,
    inputs: Callable[[Any], Any] | None = None,
    dtype: torch.dtype | None = None,
    random_state: int | torch.Generator = 0,
    check: bool = True,
) -> Float[Tensor, "d d"]:
    r"""Patch AGOP of one convolution of a trained network,

    .. math:: \frac{1}{n} \sum_{i=1}^n \sum_{p=1}^P \sum_{k=1}^c
              \nabla_{h_p} f_k(x_i)\, \nabla_{h_p} f_k(x_i)^T,

    :math:`h_p` the patch (d,) that the layer reads at position p: a **mean** over samples, a **sum** over positions (with
    `positions="mean"` a mean over them too), a sum over the outputs of the model and over the groups of the convolution. It
    is the entry of `layer_agops`, times P.

    Parameters
    ----------
    model
        Any module, in eval mode if it has BatchNorm or dropout. It is left exactly as it was.
    layer
        A Conv1d, Conv2d or Conv3d of the model that is called once: its name, or the module.
    X
        Images along the first axis, or a loader, as in `layer_agops`.
    positions
        `"sum"` (the paper) or `"mean"`.
    outputs, batch_size, output, inputs, dtype, random_state, check
        As in `layer_agops`.

    Returns
    -------
    Tensor
        (d, d), d = C_in/groups · kernel size: a row or column runs over channels, then rows, then columns of the patch,
        zeros of the padding included. It compares with `nfm(layer)`.

    Raises
    ------
    TypeError
        If the layer is no convolution.
    ValueError
        If `layer` fits several layers or none, if it is called several times, or as in `layer_agops`.

    Notes
    -----
    Beaglehole et al. 2023 (arXiv 2309.00570).

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 2))
    >>> patch_agop(net, "0", torch.ones(10, 3, 8, 8)).shape
    torch.Size([75, 75])

    """
    model = _original(model)
    name = _the_convolution(model, layer)
    found = layer_agops(
        model, X, name, outputs=outputs, batch_size=batch_size, output=output, inputs=inputs, positions=positions, dtype=dtype,
        random_state=random_state, check=check,
    )  # fmt: skip
    if len(found) > 1:
        remedy = "use agop.layer_agops, which has an AGOP for every call"
        raise _checks.bad_value(
            "layer", "a convolution that is called once", f"{name!r} with {len(found)} calls", remedy
        )
    return next(iter(found.values()))


def conv_nfa(
    model: nn.Module,
    X: Batches,
    layers: Layers = None,
    *,
    power: float | int = 1.0,
    outputs: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    output: calling.OutputPick = None,
    inputs: Callable[[Any], Any] | None = None,
    random_state: int | torch.Generator = 0,
    check: bool = True,
) -> dict[str, float]:
    r"""Convolutional neural feature ansatz: the correlation of the filter covariance of every convolution with its
    patch AGOP to the power α,

    .. math:: \rho_l = \mathrm{corr}\bigl(W_l^T W_l,\ \mathrm{AGOP}_l^\alpha\bigr),

    W (k, d) the filters, flattened; Pearson's correlation of all entries. Scales don't matter to it: whether positions are
    summed, and whether :math:`W^TW` is divided by the number of filters k.

    Parameters
    ----------
    model, X
        As in `patch_agop`.
    layers
        None: every Conv1d, Conv2d and Conv3d that is called. Or names, globs, types or modules, as in `layer_agops`.
    power
        α: 1 in the paper, 1/2 in `nfa` (and in Beaglehole et al. 2024).
    outputs, batch_size, output, inputs, random_state, check
        As in `layer_agops`.

    Returns
    -------
    dict
        ρ in [-1, 1] by the name of the layer, in call order; NaN where one of the matrices is constant, as with 1×1 patches
        of one channel.

    Raises
    ------
    TypeError
        If one of the layers is no convolution.
    ValueError
        As in `layer_agops`.

    Notes
    -----
    Beaglehole et al. 2023 (arXiv 2309.00570), Section 3. An untrained network shows what the architecture alone gives.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    >>> list(conv_nfa(net, torch.ones(10, 3, 8, 8)))
    ['0', '2']

    """
    model = _original(model)
    power = _checks.real("power", power, above=0.0)
    chosen = select_layers(model, layers, default=CONVOLUTIONS)
    for name, module in chosen.items():
        _refuse_others("layers", name, module)
    exact = named_exactly(layers)  # only these must be called
    found = layer_agops(
        model, X, [name if name in exact else module for name, module in chosen.items()], outputs=outputs, batch_size=batch_size,
        output=output, inputs=inputs, random_state=random_state, check=check,
    )  # fmt: skip
    weights = {name: read_matrix(module) for name, module in chosen.items()}
    return {
        name: nfa_of_weight(weights[name.partition("#")[0]], agop, power=power)
        for name, agop in found.items()
    }


def _original(model: Any) -> nn.Module:
    """The module itself, for a compiled one as well."""
    if not isinstance(model, nn.Module):
        raise _checks.bad_type("model", "a torch module", type(model).__name__)
    original = getattr(model, "_orig_mod", model)
    assert isinstance(original, nn.Module)
    return original


def _the_convolution(model: nn.Module, layer: Any) -> str:
    """The name of the one convolution that is meant."""
    if not isinstance(layer, str | nn.Module):
        raise _checks.bad_type("layer", "the name of a convolution, or the module", repr(layer))
    chosen = select_layers(model, layer, default=CONVOLUTIONS)
    if len(chosen) > 1:
        got = f"{layer!r}, which fits {', '.join(chosen)}"
        raise _checks.bad_value("layer", "one convolution", got, "name one of them")
    ((name, module),) = chosen.items()
    _refuse_others("layer", name, module)
    return name


def _refuse_others(argument: str, name: str, module: nn.Module) -> None:
    if not reads_patches(module):
        kind = type(module).__name__
        expected = "a Conv1d, Conv2d or Conv3d, which multiplies patches by its filters"
        raise _checks.bad_type(argument, expected, f"{kind} at {name!r}", "use agop.layer_agops")
