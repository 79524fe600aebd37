"""Many small tanh networks at once: their weights lie in one tensor a layer, so that thousands are initialised, run or trained together."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from agop import _checks
from agop.networks.streams import stream


class StackedMLP(nn.Module):
    r"""`members` tanh networks of one output, each with weights :math:`N(0, \sigma_w^2 / \text{inputs of the layer})` and biases 0.

    A sum of the members' losses has the gradients of each, and Adam's steps are elementwise: training all is training each alone.

    Parameters
    ----------
    members
        How many.
    d
        Inputs.
    width, depth
        Hidden units of a layer, and hidden layers.
    sigma_w
        σ_w > 0: about 1 the networks are at the edge between order and chaos, far above they are chaotic.
    seed
        Of the weights, on the CPU; the global generators are not used.

    Notes
    -----
    Mingard, Rees, Valle-Pérez and Louis 2025 (arXiv 2304.06670): 10 layers of 40 units.
    """

    def __init__(
        self,
        members: int,
        d: int,
        *,
        width: int = 40,
        depth: int = 10,
        sigma_w: float | int = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.members = _checks.integer("members", members, at_least=1)
        _checks.integer("width", width, at_least=1)
        _checks.integer("depth", depth, at_least=1)
        sigma = _checks.real("sigma_w", sigma_w, above=0)
        generator = stream(seed, 0)
        widths = [_checks.integer("d", d, at_least=1), *[width] * depth, 1]
        self.weights = nn.ParameterList(
            torch.randn(members, before, after, generator=generator) * (sigma / math.sqrt(before))
            for before, after in pairwise(widths)
        )
        self.biases = nn.ParameterList(torch.zeros(members, 1, after) for after in widths[1:])

    def forward(self, x: Tensor) -> Float[Tensor, "b n"]:
        """The output of every member on its own points (b, n, d), or on the same ones (n, d)."""
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weight + bias
            if number + 1 < len(self.weights):
                x = torch.tanh(x)
        return x[..., 0]

    def member(self, index: int) -> nn.Sequential:
        """One network as an ordinary module with weights of its own, (n, d) to (n, 1)."""
        parts: list[nn.Module] = []
        with torch.no_grad():
            for weight, bias in zip(self.weights, self.biases, strict=True):
                linear = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[2])
                linear.weight.copy_(weight[index].mT)
                linear.bias.copy_(bias[index, 0])
                parts += [linear, nn.Tanh()]
        return nn.Sequential(*parts[:-1])


def train_until_fitted(
    model: StackedMLP,
    x: Float[Tensor, "b m d"],
    y: Bool[Tensor, "b m"],
    *,
    lr: float = 1e-3,
    most_steps: int = 5000,
    each: Callable[[int, int], None] | None = None,
) -> Bool[Tensor, " b"]:
    """Train every member by Adam on cross-entropy, all points a step, and leave it as it was when it first had no training error.

    Parameters
    ----------
    x, y
        Points and labels of every member.
    lr, most_steps
        Of Adam; members that never fit are left as they were after the last step.
    each
        Told after every step: its number, and how many members fit by then.

    Returns
    -------
    (b,)
        Which members fit.
    """
    parameters = list(model.parameters())
    optimiser = torch.optim.Adam(parameters, lr=lr)
    fitted = torch.zeros(model.members, dtype=torch.bool)
    kept = [parameter.detach().clone() for parameter in parameters]
    for step in range(1, most_steps + 1):
        logits = model(x)
        new = ((logits > 0) == y).all(1) & ~fitted
        if bool(new.any()):
            for copy, parameter in zip(kept, parameters, strict=True):
                copy[new] = parameter.detach()[new]
            fitted |= new
        if each is not None:
            each(step, int(fitted.sum()))
        if bool(fitted.all()):
            break
        loss = nn.functional.binary_cross_entropy_with_logits(logits, y.to(logits), reduction="none")
        optimiser.zero_grad(set_to_none=True)
        loss.mean(1).sum().backward()
        optimiser.step()
    with torch.no_grad():
        for copy, parameter in zip(kept, parameters, strict=True):
            parameter[fitted] = copy[fitted]
    return fitted
