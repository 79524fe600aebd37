"""What a network was trained on: the loss of a batch as a sum and what it is divided by, and how strongly each weight decays."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agop import _checks

LOSSES: dict[str, Callable[[], nn.Module]] = {
    "cross_entropy": nn.CrossEntropyLoss,
    "mse": nn.MSELoss,
    "bce": nn.BCEWithLogitsLoss,
}
"""Losses by name, as torch has them: means, "mse" and "bce" over outputs as well."""

_COUPLED = (
    torch.optim.SGD, torch.optim.Adam, torch.optim.NAdam, torch.optim.RAdam, torch.optim.Adagrad, torch.optim.Adadelta,
    torch.optim.Adamax, torch.optim.RMSprop, torch.optim.ASGD,
)  # fmt: skip
"""Optimisers whose `weight_decay` is the gradient of (λ/2)‖θ‖², added to that of the loss."""


@dataclass(frozen=True)
class Objective:
    """A loss over all samples: a mean or a sum of what single samples (and outputs) contribute."""

    loss: Callable[[Any, Any], Any]
    told: tuple[str, ...] = ()

    @classmethod
    def of(cls, loss: Any) -> Objective:
        """From a name, a loss module of torch, or a function of (outputs, targets)."""
        if isinstance(loss, str):
            return cls(LOSSES[_checks.one_of("loss", loss, LOSSES)]())
        if not callable(loss) or isinstance(loss, type):
            kinds = f"one of {', '.join(LOSSES)}, a loss of torch such as CrossEntropyLoss(), or a function of outputs and targets"
            raise _checks.bad_type(
                "loss", kinds, loss.__name__ if isinstance(loss, type) else type(loss).__name__
            )
        if getattr(loss, "reduction", "mean") not in ("mean", "sum", "none"):
            raise _checks.bad_value(
                "loss", "reduction 'mean', 'sum' or 'none'", repr(getattr(loss, "reduction", None))
            )
        return cls(loss)

    def terms(self, outputs: Tensor, y: Any) -> tuple[Tensor, float]:
        """The sum over a batch (with its graph), and what the sum over all batches is to be divided by: 0 where it is not."""
        targets = _targets(y, outputs)
        if isinstance(self.loss, nn.CrossEntropyLoss | nn.NLLLoss) and outputs.ndim == 3:
            outputs, targets = _positions(outputs, targets)
        _same_shape(self.loss, outputs, targets)
        values = self._values(outputs, targets)
        if isinstance(getattr(self.loss, "reduction", None), str):
            return values.sum(), self._count(values, targets)
        if values.ndim:
            if values.shape != (len(outputs),):
                raise _bad(f"shape {tuple(values.shape)} for {len(outputs)} samples")
            return values.sum(), float(len(outputs))
        with torch.no_grad():
            again = self._values(torch.cat([outputs, outputs]).detach(), torch.cat([targets, targets]))
        once, twice = float(values.detach()), float(again)
        if abs(twice - once) <= 1e-3 * abs(once):
            return values * len(outputs), float(len(outputs))
        if abs(twice - 2 * once) <= 1e-3 * abs(once):
            return values, 0.0
        raise _bad(f"{once:.4g} for a batch and {twice:.4g} for the same batch twice")

    def _values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss = self.loss
        if isinstance(getattr(loss, "reduction", None), str):
            loss = copy.copy(loss)
            loss.reduction = "none"  # type: ignore[attr-defined]
        try:
            values = loss(outputs, targets)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            reason = " ".join(str(error).split())[:160]
            got = f"outputs of shape {tuple(outputs.shape)} and targets of shape {tuple(targets.shape)}, {targets.dtype} (torch: {reason})"
            raise _checks.bad_value("y", "targets that the loss takes", got) from error
        if not isinstance(values, Tensor) or not values.is_floating_point():
            raise _bad(type(values).__name__)
        return values

    def _count(self, values: Tensor, targets: Tensor) -> float:
        """What the loss's own mean divides by: of classes the weights of those that are not ignored."""
        if getattr(self.loss, "reduction", "mean") == "sum":
            return 0.0
        if isinstance(self.loss, nn.CrossEntropyLoss | nn.NLLLoss) and not targets.is_floating_point():
            there = targets[targets != self.loss.ignore_index]
            weight = self.loss.weight
            return float(len(there)) if weight is None else float(weight[there].sum())
        return float(values.numel())


def _bad(got: str) -> ValueError:
    return _checks.bad_value(
        "loss",
        "a mean or a sum over samples, or one value per sample",
        got,
        "let it return one value per sample",
    )


def _targets(y: Any, outputs: Tensor) -> Tensor:
    if not isinstance(y, Tensor):
        values = np.asarray(y)
        if values.dtype.kind not in "biuf":
            kind = "text" if values.dtype.kind in "US" else str(values.dtype)
            raise _checks.bad_type(
                "y", "targets as numbers, as the loss takes them", kind, "number the classes from 0"
            )
        y = torch.from_numpy(np.ascontiguousarray(values))
    y = y.detach().to(outputs.device)
    if y.is_floating_point():
        return y.to(outputs.dtype)
    return y.long() if y.dtype != torch.bool else y.to(outputs.dtype)


def _positions(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Classes at every position, (b, t, c) and (b, t), as rows; `ignore_index` (-100) leaves positions out."""
    if targets.shape != outputs.shape[:2]:
        return outputs, targets
    return outputs.flatten(0, 1), targets.flatten()


def _same_shape(loss: Any, outputs: Tensor, targets: Tensor) -> None:
    if len(targets) != len(outputs):
        raise _checks.bad_value("y", f"{len(outputs)} targets, one per sample", f"{len(targets)}")
    elementwise = isinstance(
        loss, nn.MSELoss | nn.L1Loss | nn.SmoothL1Loss | nn.HuberLoss | nn.BCEWithLogitsLoss
    )
    if elementwise and targets.shape != outputs.shape:  # torch would broadcast (n, 1) against (n,)
        got, remedy = f"shape {tuple(targets.shape)}", "reshape y, or take one-hot vectors of classes"
        raise _checks.bad_value("y", f"targets of the outputs' shape {tuple(outputs.shape)}", got, remedy)


class Decay:
    """How strongly each parameter decays: from an optimiser, or one number for all of them.

    `notes` says what was assumed.
    """

    def __init__(self, weight_decay: Any, optimizer: Any) -> None:
        self.notes: list[str] = []
        self._groups: dict[int, dict[str, Any]] | None = None
        self._optimizer = optimizer
        if (weight_decay is None) == (optimizer is None):
            got = "neither" if optimizer is None else "both"
            raise _checks.bad_value(
                "weight_decay", "a number, or optimizer= to read it from", got, "pass one of them"
            )
        if optimizer is None:
            self._all = _checks.real("weight_decay", weight_decay, at_least=0)
            self.notes.append(
                "the decay is taken for the gradient of (λ/2)‖θ‖², as in SGD and Adam; AdamW's is none"
            )
            return
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise _checks.bad_type("optimizer", "a torch optimizer", type(optimizer).__name__)
        self._groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        if any(group.get("momentum") or group.get("betas") for group in optimizer.param_groups):
            self.notes.append(
                "the gradient is that of the loss at these weights; with momentum they may move on although it is at balance with the decay"
            )

    def of(self, parameter: Tensor) -> float | str:
        """λ of a parameter, or why there is none that FACT could be about."""
        if not parameter.requires_grad:
            return "it is frozen: no loss was minimised over it"
        if self._groups is None:
            return self._all or "there is no weight decay: only with it are critical points where WᵀW is FACT"
        name, group = type(self._optimizer).__name__, self._groups.get(id(parameter))
        if group is None:
            return f"{name} does not train it"
        if not isinstance(self._optimizer, _COUPLED) or _is_decoupled(self._optimizer, group):
            return f"the decay of {name} is decoupled from the gradient: it belongs to no loss whose critical points FACT is about"
        if group.get("maximize"):
            return f"{name} maximises"
        return (
            float(group["weight_decay"])
            or "there is no weight decay: only with it are critical points where WᵀW is FACT"
        )


def _is_decoupled(optimizer: Any, group: dict[str, Any]) -> bool:
    return isinstance(optimizer, torch.optim.AdamW) or bool(group.get("decoupled_weight_decay"))
