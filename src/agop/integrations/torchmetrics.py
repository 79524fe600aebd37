"""`NeuralCollapse`: collapse measures as a torchmetrics metric, also under distributed training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from agop._checks import bad_type, bad_value, integer, one_of
from agop.collapse import ClassMoments, Measurement
from agop.evidence import Evidence
from agop.probe import Probe
from agop.probes import PROBES, probes_for
from agop.profiles.network import Network
from agop.profiles.pooling import spread_labels

ONE_PASS = probes_for("moments")
"""The measures that one pass over the features can give."""

_RESTORED = (
    "_update_count",
    "_is_synced",
    "_should_unsync",
    "_to_sync",
    "_computed",
    "_enable_grad",
    "compute_on_cpu",
    "_forward_cache",
)
"""What torchmetrics changes while it measures a batch, beside the state."""


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
        A name, or several, from the registry, among those that need class moments only (`ONE_PASS`); or probes, such as
        ``agop.PROBES["gnc2"].with_(kernel="riesz")``.
    min_count, max_count
        Classes with fewer or more samples are left out of the measures.
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

    Notes
    -----
    Measures that need the classifier come from `moments`: ``agop.unc3(metric.moments, head.weight)``; NC4 takes a second pass,
    `agop.CentreAgreement`. `torch.jit.script` is not supported.
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
        measures: str | Probe | Sequence[str | Probe] = ("nc1", "nc2", "cdnv"),
        min_count: int = 1,
        max_count: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = integer("num_classes", num_classes, at_least=1)
        given = None if num_features is None else integer("num_features", num_features, at_least=1)
        self.min_count = integer("min_count", min_count, at_least=1)
        self.max_count = None if max_count is None else integer("max_count", max_count, at_least=min_count)
        self.width_known = given is not None
        self.single = isinstance(measures, str | Probe)
        # names, not the probes behind them: those hold functions, which cannot be pickled
        self._asked: tuple[Any, ...] = (measures,) if self.single else tuple(measures)  # type: ignore[arg-type]
        self.measures = tuple(probe.name for probe in self.probes)
        if len(set(self.measures)) < len(self.measures):
            raise bad_value(
                "measures", "names that differ", repr(self.measures), "give probes names: with_(name=…)"
            )
        width = 0 if given is None else 2 * given + 2
        self.add_state(
            "state", torch.zeros(num_classes, width, dtype=torch.float64), dist_reduce_fx=_merge_states
        )

    @property
    def probes(self) -> list[Probe]:
        """What measures the moments."""
        return [_probe(measure) for measure in self._asked]

    @property
    def num_features(self) -> int | None:
        """d; None before the first batch, unless it was given."""
        return self.state.shape[1] // 2 - 1 if self.state.shape[1] else None

    @property
    def dtype(self) -> torch.dtype:
        """Of the state, whatever the metric was converted to."""
        return self.state.dtype

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]
        """False where collapse is a low value, True where it is a high one, None for a mixture."""
        better = {probe.towards != "lower" for probe in self.probes}
        return better.pop() if len(better) == 1 else None

    def update(self, features: Float[Tensor, "n d"], labels: Integer[Tensor, " n"]) -> None:
        """Add a batch: features (n, d) of any floating dtype, integer labels (n,)."""
        batch = ClassMoments.of(features, labels, self.num_classes)
        self._check_width(batch.d)
        self.state = _merge_states([self.state, _pack(batch.to(self.state.device))])

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Add a batch and return the measures of it alone; a batch that is refused changes nothing."""
        before = {name: self.__dict__[name] for name in _RESTORED}
        state = self.state
        features = kwargs["features"] if "features" in kwargs else args[0] if args else None
        if isinstance(features, Tensor) and features.ndim == 2:
            self._check_width(features.shape[1])
        try:
            return super().forward(*args, **kwargs)
        except BaseException:
            self.__dict__.update(before)
            self.state = state
            raise

    def _check_width(self, columns: int) -> None:
        known = self.num_features
        if known is not None and columns != known:
            raise bad_value("features", f"{known} columns", str(columns), "use one metric per layer")

    def __prepare_scriptable__(self) -> Any:
        """Say in a sentence that `torch.jit.script` can't compile a metric whose measures are Python functions."""
        remedy = "leave it out of the module that is scripted"
        raise bad_type("metric", "a module that torch.jit.script can compile", type(self).__name__, remedy)

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
        moments = self.moments
        if self.min_count > 1 or self.max_count is not None:
            moments = moments.with_counts(self.min_count, self.max_count)
        evidence = Evidence.of(moments=moments)
        return {probe.name: probe(evidence) for probe in self.probes}

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
        return state.new_zeros(self.num_classes, 4)

    def _reduce_states(self, incoming_state: dict[str, Any]) -> None:
        incoming: Tensor = incoming_state["state"]
        if incoming.shape[1]:
            self._check_width(incoming.shape[1] // 2 - 1)
        self.state = _merge_states([incoming.to(self.device), self.state])

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

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = ()) -> Metric:
        """Moments stay float64 under .half() and friends, and on the CPU where there is no float64 (MPS)."""
        super()._apply(fn, exclude_state=[*exclude_state, "state"])
        target = fn(torch.zeros(1, device=self.state.device)).device
        if target.type != "mps":
            self.state = self.state.to(target)
            self._defaults["state"] = torch.zeros_like(self._default_state, device=target)
        return self


def _probe(measure: Any) -> Probe:
    """A measure that needs class moments only, by name or as it is."""
    if not isinstance(measure, Probe):
        return PROBES[one_of("measures", measure, ONE_PASS)]
    if measure.level != "stage" or not {need.kind for need in measure.needed} <= {"moments"}:
        needs = ", ".join(sorted(need.kind for need in measure.needed))
        raise bad_value("measures", "probes of class moments", f"{measure.name!r}, which needs {needs}")
    return measure


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
