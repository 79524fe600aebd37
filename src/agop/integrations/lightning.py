"""`CollapseCallback`: neural collapse of every layer during a Lightning training, under stable keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from agop._checks import bad_type, bad_value, integer, one_of
from agop.collapse import ClassMoments, Measurement
from agop.collapse.classifier import nearest_centre_agreement
from agop.evidence import Evidence
from agop.gradients.taps import Call, Layers, call_name, capture, select_layers
from agop.integrations._measuring import as_rows, exact_shard, gather, measuring
from agop.probes import PROBES, probes_for

if TYPE_CHECKING:
    import pandas as pd

Step = Callable[[LightningModule, Any], Tensor]
"""Runs the module on a batch and returns the batch's labels."""

DEFAULT_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class CollapseCallback(Callback):
    """Measure neural collapse at the end of training epochs and log it through the module's logger.

    Keys are ``{prefix}/{layer}/{measure}`` for the outputs of `layers`, and
    ``{prefix}/{classifier}.input/{measure}`` for the features that the classifier reads, there with ``nc3``,
    ``nc4`` and the training ``error`` too. They exist from the first epoch on, so that
    ``ModelCheckpoint(monitor="collapse/head.input/nc1")`` and ``EarlyStopping`` can watch them. An undefined
    measure is logged as NaN; `history` has the reason.

    Measured at epochs 0, n, 2n, … and the last, over the whole training data, in evaluation mode: one pass,
    and a second for NC4. Weights, modes and random state are left as they were; hooks are removed, also after
    an error. With several processes each measures its share and moments are merged, so that values are those
    of one process. Nothing runs in the sanity check.

    Parameters
    ----------
    layers
        Names, globs, types or modules (see `agop.layer_agops`); all linear and convolutional layers if None.
    classifier
        Name of the last linear layer, for NC3 and NC4.
    every_n_epochs
        How often.
    measures
        Names from the registry that need class moments only.
    num_classes
        C; from the classifier, or the largest label if None.
    dataloader
        Data to measure on, instead of the training data.
    step
        ``step(module, batch) -> labels`` runs the module; the default is ``module(batch[0])`` and
        ``batch[1]``.
    limit_batches
        At most so many batches in every process.
    prefix
        First part of the keys.

    """

    def __init__(
        self,
        layers: Layers = None,
        *,
        classifier: str | None = None,
        every_n_epochs: int = 1,
        measures: Sequence[str] = ("nc1", "nc2", "cdnv"),
        num_classes: int | None = None,
        dataloader: Iterable[Any] | None = None,
        step: Step | None = None,
        limit_batches: int | None = None,
        prefix: str = "collapse",
    ) -> None:
        super().__init__()
        possible = probes_for("moments")
        self.layers = layers
        self.classifier = classifier
        self.every_n_epochs = integer("every_n_epochs", every_n_epochs, at_least=1)
        self.measures = tuple(one_of("measures", name, possible) for name in measures)
        self.num_classes = None if num_classes is None else integer("num_classes", num_classes, at_least=1)
        self.dataloader = dataloader
        self.step = step or first_is_input_second_is_label
        self.limit_batches = limit_batches
        self.prefix = prefix
        self.history: list[dict[str, Any]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Complain about wrong layer names before the training, not after its first epoch."""
        if stage == "fit":
            select_layers(pl_module, self.layers, default=DEFAULT_LAYERS)
            self._classifier(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and log, every `every_n_epochs` epochs and after the last."""
        last = trainer.max_epochs is not None and trainer.current_epoch == trainer.max_epochs - 1
        if trainer.current_epoch % self.every_n_epochs and not last:
            return
        for (layer, name), value in self.measure(trainer, pl_module).items():
            key = f"{self.prefix}/{layer}/{name}"
            # every process has the same value; the reduction only tells Lightning so
            pl_module.log(key, float(value), on_step=False, on_epoch=True, sync_dist=True, batch_size=1)
            self.history.append(
                {
                    "epoch": trainer.current_epoch,
                    "layer": layer,
                    "measure": name,
                    "value": float(value),
                    "undefined_because": value.undefined_because,
                }
            )

    def measure(self, trainer: Trainer, pl_module: LightningModule) -> dict[tuple[str, str], Measurement]:
        """All measures now, by (layer, measure): the same in every process."""
        source: Any = self.dataloader if self.dataloader is not None else trainer.train_dataloader
        if self.dataloader is None and (source is None or isinstance(source, (dict, list, tuple))):
            raise bad_type(
                "dataloader", "one loader", type(source).__name__, "pass dataloader= to the callback"
            )
        loader = exact_shard(source, trainer.global_rank, trainer.world_size)
        with measuring(pl_module, source, loader):
            moments, wrong = self._first_pass(trainer, pl_module, loader)
            results = {
                (layer, name): PROBES[name](Evidence.of(moments=m))
                for layer, m in moments.items()
                for name in self.measures
            }
            if self.classifier is None:
                return results
            layer = f"{self.classifier}.input"
            m = moments[layer]
            results[layer, "nc3"] = PROBES["nc3"](
                Evidence.of(moments=m, weight=self._classifier(pl_module).weight)
            )
            results[layer, "nc4"] = self._second_pass(trainer, pl_module, loader, m)
            results[layer, "error"] = Measurement(wrong / m.n, "error", "share of wrong decisions")
        return results

    def to_frame(self) -> pd.DataFrame:
        """What was measured: columns epoch, layer, measure, value, undefined_because."""
        import pandas as pd

        return pd.DataFrame(self.history, columns=["epoch", "layer", "measure", "value", "undefined_because"])

    def state_dict(self) -> dict[str, Any]:
        """The history travels with checkpoints."""
        return {"history": list(self.history)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the history of a checkpoint."""
        self.history = list(state_dict["history"])

    def _classifier(self, module: LightningModule) -> nn.Module:
        if self.classifier is None:
            return module
        (chosen,) = select_layers(module, [self.classifier], default=DEFAULT_LAYERS).values()
        weight = getattr(chosen, "weight", None)
        if not isinstance(weight, Tensor) or weight.ndim != 2:
            raise bad_value("classifier", "a linear layer", type(chosen).__name__, "name the last nn.Linear")
        return chosen

    def _batches(
        self, trainer: Trainer, module: LightningModule, loader: Iterable[Any], layers: Layers
    ) -> Iterator[tuple[dict[str, Tensor], Tensor | None, Tensor]]:
        """Features by layer, the classifier's output and labels of every batch; hooks end with the loop."""
        with ExitStack() as stack:
            calls: list[Call] = []
            if layers != ():
                calls = stack.enter_context(capture(module, layers, inputs=False, default=DEFAULT_LAYERS))
            last: list[Call] = []
            if self.classifier is not None:
                last = stack.enter_context(capture(module, [self.classifier]))
            stack.enter_context(trainer.precision_plugin.forward_context())
            for batch in islice(loader, self.limit_batches):
                calls.clear()
                last.clear()
                placed = trainer.strategy.batch_to_device(batch, module.device, 0)
                labels = self.step(module, placed)
                features = _by_name(calls)
                logits = None
                if self.classifier is not None:
                    if not last or last[-1].input is None or last[-1].output is None:
                        raise bad_value(
                            "classifier",
                            "a layer that runs",
                            f"{self.classifier!r}, which did not",
                            "name another",
                        )
                    features[f"{self.classifier}.input"], logits = last[-1].input, last[-1].output
                yield features, logits, labels

    def _first_pass(
        self, trainer: Trainer, module: LightningModule, loader: Iterable[Any]
    ) -> tuple[dict[str, ClassMoments], int]:
        known = self.num_classes
        if known is None and self.classifier is not None:
            known = len(self._classifier(module).weight)  # type: ignore[arg-type]
        local: dict[str, ClassMoments] = {}
        wrong = 0
        for features, logits, labels in self._batches(trainer, module, loader, self.layers):
            for name, tensor in features.items():
                batch = ClassMoments.of(*as_rows(tensor, labels), known)
                local[name] = _add(local[name], batch) if name in local else batch
            if logits is not None:
                rows, flat = as_rows(logits, labels)
                wrong += int((rows.argmax(1) != flat).sum())
        merged: dict[str, ClassMoments] = {}
        shares = gather(({name: m.to("cpu") for name, m in local.items()}, wrong), trainer.world_size)
        for share, _ in shares:
            for name, m in share.items():
                merged[name] = _add(merged[name], m) if name in merged else m
        if not merged:
            raise bad_value("dataloader", "at least one batch", "none", "check limit_batches and the data")
        return merged, sum(count for _, count in shares)

    def _second_pass(
        self, trainer: Trainer, module: LightningModule, loader: Iterable[Any], m: ClassMoments
    ) -> Measurement:
        agree = seen = 0
        for features, logits, labels in self._batches(trainer, module, loader, ()):
            assert logits is not None
            rows, _ = as_rows(features[f"{self.classifier}.input"], labels)
            decided, _ = as_rows(logits, labels)
            agree += nearest_centre_agreement(rows, decided.argmax(1), m.to(rows.device))
            seen += len(rows)
        counts = torch.tensor(gather((agree, seen), trainer.world_size)).sum(0).tolist()
        details = {"agree": counts[0], "samples": counts[1]}
        if len(m.present) < 2 or bool(m.coincident().all()):
            return Measurement.undefined("nc4", "agreement", "there are no two distinct class means", details)
        return Measurement(counts[0] / counts[1], "nc4", "agreement", details=details)


def first_is_input_second_is_label(module: LightningModule, batch: Any) -> Tensor:
    """The default step: a batch is (input, labels, …)."""
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        raise bad_type(
            "batch", "a pair (input, labels)", type(batch).__name__, "pass step= to CollapseCallback"
        )
    module(batch[0])
    return batch[1]


def _by_name(calls: list[Call]) -> dict[str, Tensor]:
    """Outputs by layer; a module that ran several times in this batch has `name#0`, `name#1`, …"""
    count: dict[str, int] = {}
    for call in calls:
        count[call.name] = count.get(call.name, 0) + 1
    seen: dict[str, int] = {}
    features = {}
    for call in calls:
        index = seen.get(call.name, 0)
        seen[call.name] = index + 1
        if call.output is not None:
            features[call_name(call.name, index, count[call.name])] = call.output
    return features


def _add(a: ClassMoments, b: ClassMoments) -> ClassMoments:
    """Merge moments of batches that saw different largest labels."""
    n_classes = max(a.n_classes, b.n_classes)
    return a.with_classes(n_classes) + b.with_classes(n_classes)


__all__ = ["CollapseCallback"]
