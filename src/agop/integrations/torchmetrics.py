"""`NeuralCollapse`: collapse measures as a torchmetrics metric, also under distributed training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from agop._checks import bad_value, integer, one_of
from agop.collapse import ClassMoments, Measurement
from agop.evidence import Evidence
from agop.probes import PROBES, probes_for
from agop.profiles.network import Network
from agop.profiles.pooling import spread_labels

ONE_PASS = probes_for("moments")
"""The measures that one pass over the features can give."""


class NeuralCollapse(Metric):
    """Neural-collapse measures of features and labels, over all batches since the last reset and all
    processes.

    The state is one float64 tensor of class moments; merging states (`forward`, `merge_state`, distributed
    sync) merges moments, so the value does not depend on how samples were split. `compute` gives a float64
    tensor for one measure, else a dictionary. An undefined measure is NaN; `measurements` says why.

    Parameters
    ----------
    num_classes
        C; labels are integers 0..C-1.
    num_features
        d; from the first batch if None.
    measures
        A name, or several, from the registry, among those that need class moments only (`ONE_PASS`).
    kwargs
        Those of ``torchmetrics.Metric``.

    Examples
    --------
    >>> import torch
    >>> metric = NeuralCollapse(num_classes=3, measures="nc1")
    >>> features = torch.cat([2 * torch.eye(3), 4 * torch.eye(3)])
    >>> metric.update(features, torch.tensor([0, 1, 2, 0, 1, 2]))
    >>> round(float(metric.compute()), 4)
    0.1667

    """

    is_differentiable: bool = False
    full_state_update: bool = False
    plot_lower_bound: float | None = 0.0
    state: Tensor

    def __init__(
        self,
        num_classes: int,
        num_features: int | None = None,
        *,
        measures: str | Sequence[str] = ("nc1", "nc2", "cdnv"),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = integer("num_classes", num_classes, at_least=1)
        self.num_features = (
            None if num_features is None else integer("num_features", num_features, at_least=1)
        )
        self.width_known = num_features is not None
        self.single = isinstance(measures, str)
        self.measures = (measures,) if isinstance(measures, str) else tuple(measures)
        for name in self.measures:
            one_of("measures", name, ONE_PASS)
        width = 0 if num_features is None else 2 * num_features + 2
        self.add_state(
            "state", torch.zeros(num_classes, width, dtype=torch.float64), dist_reduce_fx=_merge_states
        )

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]
        """False where collapse is a low value, True where it is a high one, None for a mixture."""
        better = {PROBES[name].towards != "lower" for name in self.measures}
        return better.pop() if len(better) == 1 else None

    def update(self, features: Float[Tensor, "n d"], labels: Integer[Tensor, " n"]) -> None:
        """Add a batch: features (n, d) of any floating dtype, integer labels (n,)."""
        batch = ClassMoments.of(features, labels, self.num_classes)
        if self.num_features is None:
            self.num_features = batch.d
        elif batch.d != self.num_features:
            raise bad_value(
                "features", f"{self.num_features} columns", str(batch.d), "use one metric per layer"
            )
        self.state = _merge_states([self.state, _pack(batch.to(self.state.device))])

    def update_from(
        self,
        model: nn.Module | Network,
        X: Tensor,
        labels: Integer[Tensor, " n"],
        *,
        layer: str,
        stage: str = "input",
    ) -> None:
        """Add what `model` makes of a batch at one stage of one layer, read as `agop.profile` reads it.

        Parameters
        ----------
        model
            A torch module, or `agop.Network(module, pool=…)`; measured in evaluation mode, and left as it came.
        X
            Samples (n, …).
        layer, stage
            As in the profile's rows.

        Raises
        ------
        ValueError
            If the layer or the stage is none of the model.
        """
        network = model if isinstance(model, Network) else Network(model)
        plain = layer.partition("#")[0]
        views = {view.name: view for view in network.views(X, layers=[plain], agops=False)}
        rows = views[one_of("layer", layer, list(views))].stages()
        found = rows[one_of("stage", stage, list(rows))]
        self.update(found, spread_labels(labels, len(found)).to(found.device))

    @property
    def moments(self) -> ClassMoments:
        """The class moments of the samples seen (by this process, unless called inside a sync context)."""
        return _unpack(self._widened(self.state))

    def measurements(self) -> dict[str, Measurement]:
        """Every measure with its definition, details and, where undefined, the reason."""
        evidence = Evidence.of(moments=self.moments)
        return {name: PROBES[name](evidence) for name in self.measures}

    def compute(self) -> Tensor | dict[str, Tensor]:
        """The measures of all samples."""
        values = {
            name: torch.tensor(float(value), dtype=torch.float64, device=self.state.device)
            for name, value in self.measurements().items()
        }
        return values[self.measures[0]] if self.single else values

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot one value, or a list of values over time, as every torchmetrics metric does."""
        return self._plot(val, ax)

    def _widened(self, state: Tensor) -> Tensor:
        """A state that has seen no batch yet takes the width of the features, which it could not know."""
        if state.shape[1] > 0:
            return state
        return state.new_zeros(self.num_classes, 2 * (self.num_features or 1) + 2)

    def _reduce_states(self, incoming_state: dict[str, Any]) -> None:
        incoming: Tensor = incoming_state["state"]
        self.state = _merge_states([incoming.to(self.device), self.state])
        self._learn_width()

    def _sync_dist(
        self, dist_sync_fn: Callable[..., Any] | None = None, process_group: Any | None = None
    ) -> None:
        group = process_group or self.process_group
        if not self.width_known and torch.distributed.is_available() and torch.distributed.is_initialized():
            # a process without a single batch must send a state of the others' width
            width = torch.tensor(self.state.shape[1], device=self.state.device)
            torch.distributed.all_reduce(width, torch.distributed.ReduceOp.MAX, group=group)
            if self.state.shape[1] == 0:
                self.state = self.state.new_zeros(self.num_classes, int(width))
        super()._sync_dist(dist_sync_fn or gather_all_tensors, process_group)

    @property
    def _default_state(self) -> Tensor:
        default = self._defaults["state"]
        assert isinstance(default, Tensor)
        return default

    def _learn_width(self) -> None:
        if self.num_features is None and self.state.shape[1]:
            self.num_features = self.state.shape[1] // 2 - 1

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._learn_width()

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = ()) -> Metric:
        """Moments stay float64 under .half() and friends, and on the CPU where there is no float64 (MPS)."""
        super()._apply(fn, exclude_state=[*exclude_state, "state"])
        target = fn(torch.zeros(1, device=self.state.device)).device
        if target.type != "mps":
            self.state = self.state.to(target)
            self._defaults["state"] = torch.zeros_like(self._default_state, device=target)
        return self


def _pack(m: ClassMoments) -> Float[Tensor, "c _"]:
    return torch.cat([m.counts.unsqueeze(1), m.within.unsqueeze(1), m.means, m.residual], 1)


def _unpack(state: Float[Tensor, "c _"]) -> ClassMoments:
    d = state.shape[1] // 2 - 1
    return ClassMoments(state[:, 0], state[:, 2 : 2 + d], state[:, 1], state[:, 2 + d :])


def _merge_states(states: Tensor | Sequence[Tensor]) -> Tensor:
    """The state of all samples from states stacked along a first axis; empty ones count for nothing."""
    filled = [state for state in states if state.shape[1] > 0]
    if not filled:
        return states[0]
    moments = [_unpack(state) for state in filled]
    return _pack(sum(moments[1:], moments[0]))


__all__ = ["ONE_PASS", "NeuralCollapse"]
