r"""The gradient of the training loss with respect to the weight of each layer: one forward and one backward pass for all layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from agop import _checks
from agop.gradients import calling
from agop.gradients.objective import Decay, Objective
from agop.gradients.outputs import picked as picked_of
from agop.gradients.parameter_weights import ParameterWeight
from agop.gradients.pullback import has_reentrant_checkpoint, pull_back
from agop.gradients.sanity import PROBE_ROWS
from agop.gradients.state import thawed, untouched
from agop.gradients.taps import hooked, tensor_in


@dataclass(frozen=True, eq=False)
class LossGradient:
    """A layer's weight W and the loss gradient G of it, both (k, d) in float64, and its decay λ.

    `reason` says why there is no FACT here; then nothing else is there.
    """

    reason: str = ""
    weight: Float[Tensor, "k d"] | None = None
    gradient: Float[Tensor, "k d"] | None = None
    decay: float = 0.0

    @property
    def critical_weight(self) -> Float[Tensor, "k d"]:
        """−G/λ: what W is where loss and decay are at balance."""
        assert self.gradient is not None
        return -self.gradient / self.decay


def loss_gradients(
    model: nn.Module,
    weights: Mapping[str, ParameterWeight | str],
    batches: Iterable[tuple[Any, Any, Tensor | None]],
    objective: Objective,
    decay: Decay,
    output: calling.OutputPick = None,
) -> tuple[dict[str, LossGradient], int, list[str]]:
    """By layer the gradients over all (input, targets, mask) batches, how many samples there were, and notes.

    `weights` are those of the layers, or why there are none (`parameter_weights`).
    """
    reasons, trained = _trained(weights, decay)
    parameter = next(model.parameters(), None)
    device = None if parameter is None else parameter.device
    # all of them: a reentrant checkpoint runs its layers with a graph only if what enters it has one
    with untouched(model, device=device), thawed(model):
        sums = _Sums(model, trained, objective, output)
        for x, y, _ in batches:
            x = calling.on_device(tuple(x) if isinstance(x, list) else x, device)
            if calling.first_tensor(x) is None:
                remedy = "convert them with torch.as_tensor"
                raise _checks.bad_type("X", "batches of tensors", type(x).__name__, remedy)
            sums.add(x, y)
    found = {
        name: sums.result(name, decay) if name in trained else LossGradient(reasons[name]) for name in weights
    }
    return found, sums.n_samples, _notes(model, trained)


def _trained(
    weights: Mapping[str, ParameterWeight | str], decay: Decay
) -> tuple[dict[str, str], dict[str, ParameterWeight]]:
    """Why some layers have no FACT, and the weights of the others."""
    reasons: dict[str, str] = {}
    trained: dict[str, ParameterWeight] = {}
    for name, own in weights.items():
        if isinstance(own, str):
            reasons[name] = own
        elif reason := _undecayed(own.parameters, decay):
            reasons[name] = reason
        else:
            trained[name] = own
    return reasons, trained


class _Sums:
    """Gradients of the loss with respect to some weights, summed over batches in float64."""

    def __init__(
        self,
        model: nn.Module,
        weights: dict[str, ParameterWeight],
        objective: Objective,
        output: calling.OutputPick,
    ) -> None:
        self._model, self._weights, self._objective, self._output = model, weights, objective, output
        self._flat = list({id(p): p for own in weights.values() for p in own.parameters}.values())
        self._sums: dict[int, Tensor] = {}
        self._divisor = 0.0
        self._normalised: list[str] = []
        self.n_samples = 0

    def add(self, x: Any, y: Any) -> None:
        """One batch: a forward and a backward pass."""
        if not self.n_samples and self._flat:
            self._normalised = _before_batch_statistics(self._model, x, self._weights)
        outputs = _outputs(self._model, x, self._output)
        value, count = self._objective.terms(outputs, y)
        self._divisor, self.n_samples = self._divisor + count, self.n_samples + len(outputs)
        if not self._flat:
            return
        if not bool(torch.isfinite(value)):
            remedy = "look at the weights and the data"
            raise _checks.bad_value("model", "a finite loss", f"{float(value.detach()):g}", remedy)
        if not value.requires_grad:
            raise _checks.bad_value("loss", "one that depends on the weights", "a loss without a gradient")
        for weight, gradient in zip(self._flat, _pulled(value, self._flat)):
            if gradient is not None:
                self._sums[id(weight)] = self._sums.get(id(weight), 0) + gradient.detach().double()

    def result(self, name: str, decay: Decay) -> LossGradient:
        """What was summed for a layer."""
        own = self._weights[name]
        if name in self._normalised:
            return LossGradient(
                "batch normalisation lies behind it: the loss in training depends on its weight through the statistics, too"
            )
        if not all(id(p) in self._sums for p in own.parameters):
            return LossGradient("the loss does not depend on it")
        gradient = own.take([self._sums[id(p)] for p in own.parameters])
        if not bool(torch.isfinite(gradient).all()):
            got, remedy = f"others at layer {name!r}", "look at the weights and the data"
            raise _checks.bad_value("model", "finite loss gradients", got, remedy)
        # a sum over samples is divided by nothing
        return LossGradient(
            "", own.value.double(), gradient / (self._divisor or 1.0), float(decay.of(own.parameters[0]))
        )


def _undecayed(parameters: Sequence[Tensor], decay: Decay) -> str:
    each = {decay.of(parameter) for parameter in parameters}
    reasons = [value for value in each if isinstance(value, str)]
    if reasons:
        return reasons[0]
    return "" if len(each) == 1 else "its parts decay with different strengths"


def _pulled(value: Tensor, leaves: list[Tensor]) -> list[Tensor | None]:
    """Gradients of one number."""
    one = value.reshape(1, 1)
    return pull_back(one, torch.ones_like(one), leaves, keep=False, reentrant=has_reentrant_checkpoint(one))


def _outputs(model: nn.Module, x: Any, output: calling.OutputPick) -> Tensor:
    first = calling.first_tensor(x)
    with calling.refusals_named(first):
        returned = calling.call(model, calling.copied(x, []))
    picked = picked_of(returned, output)
    if not isinstance(picked, Tensor) or picked.ndim == 0:
        return calling.rows_of_output(returned, output)
    return picked


def _before_batch_statistics(model: nn.Module, x: Any, weights: dict[str, ParameterWeight]) -> list[str]:
    """The layers from whose weight a path leads to a module that normalises with statistics of the batch in training."""
    entered: list[Tensor] = []

    def before(_module: nn.Module, args: Any) -> None:
        tensor = tensor_in(args)
        if tensor is not None and tensor.requires_grad:
            entered.append(tensor.sum())

    parts = [part for part in model.modules() if _uses_batch_statistics(part)]
    if not parts:
        return []
    with hooked([partial(part.register_forward_pre_hook, before) for part in parts]):
        calling.call(model, calling.copied(calling.some_rows(x, slice(PROBE_ROWS))))
    if not entered:
        return []
    flat = {id(p): p for own in weights.values() for p in own.parameters}
    gradients = _pulled(torch.stack(entered).sum(), list(flat.values()))
    reached = {key for key, gradient in zip(flat, gradients) if gradient is not None}
    return [name for name, own in weights.items() if any(id(p) in reached for p in own.parameters)]


def _uses_batch_statistics(part: nn.Module) -> bool:
    if isinstance(part, nn.modules.batchnorm._BatchNorm):
        return True
    return isinstance(part, nn.modules.instancenorm._InstanceNorm) and part.track_running_stats


def _notes(model: nn.Module, weights: dict[str, ParameterWeight]) -> list[str]:
    notes = []
    random = [
        type(p).__name__ for p in model.modules() if isinstance(p, nn.modules.dropout._DropoutNd) and p.p > 0
    ]
    if random:
        notes.append("FACT is of the loss without dropout, which training had")
    owners: dict[int, list[str]] = {}
    for name, own in weights.items():
        for parameter in own.parameters:
            owners.setdefault(id(parameter), []).append(name)
    notes += [
        f"{' and '.join(names)} share a weight: its gradient is of all uses"
        for names in owners.values()
        if len(names) > 1
    ]
    return notes
