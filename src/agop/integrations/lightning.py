"""`CollapseCallback`: what `agop.profile` measures, during a Lightning training, under the keys of the profile's rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from agop import _checks
from agop.gradients.taps import Layers
from agop.integrations import loggers
from agop.integrations._measuring import exact_shard
from agop.integrations._shared import SHARED, SharedNetwork
from agop.probe import Probe, needs_of
from agop.profiles.data import MeasureOptions
from agop.profiles.isolation import measuring
from agop.profiles.network import chosen_layers
from agop.profiles.profile import chosen_probes, profile
from agop.profiles.reader import Nonlinearity
from agop.profiles.table import Profile
from agop.profiles.trajectory import Trajectory

if TYPE_CHECKING:
    import pandas as pd

Step = Callable[[LightningModule, Any], Tensor]


class CollapseCallback(Callback):
    """Measure the module with `agop.profile` at the end of training epochs, and log it through the module's logger.

    Keys are ``{prefix}/{layer}/{stage}/{measure}``, with the names of the profile's rows; ``{prefix}/{layer}/{measure}`` for measures of
    layers (the NFA), ``{prefix}/accuracy`` and ``{prefix}/loss`` for the module's answers on the measured samples. The same weights and
    data give the numbers of ``agop.profile(agop.Network(module, pool=pool), data)``. They exist from the first epoch on, so that
    ``ModelCheckpoint(monitor="collapse/head/input/nc1")`` and ``EarlyStopping`` can watch them. An undefined measure is logged as NaN;
    `trajectory.notes` has the reason.

    Measured at epochs 0, n, 2n, … and the last, over the whole training data, in evaluation mode. Weights, modes and random state are left
    as they were; hooks are removed, also after an error. With several processes each reads its share and class moments are merged, so that
    values are those of one process; measures that need more than class moments (NC4, NFA) are read by every process from all samples.
    Nothing runs in the sanity check.

    Parameters
    ----------
    layers
        As in `agop.profile`.
    measures
        Names of `agop.PROBES`, and probes of one's own.
    every_n_epochs
        How often.
    pool, stages, nonlinearity, inputs, targets
        As in `agop.Network`.
    dataloader
        Data to measure on, instead of the training data.
    limit_batches
        At most so many batches in every process.
    options
        As in `agop.profile`.
    figures
        Also the profile's figure, into every logger that takes figures (TensorBoard, W&B, MLflow).
    prefix
        First part of the keys.
    classifier, num_classes, step
        Of 0.1; they warn.

    Attributes
    ----------
    trajectory
        All that was measured, an `agop.Trajectory` by epoch. It travels with checkpoints.

    """

    def __init__(
        self,
        layers: Layers = None,
        *,
        measures: Sequence[str | Probe] = ("nc1", "nc2", "cdnv"),
        every_n_epochs: int = 1,
        pool: str = "mean",
        stages: Sequence[str] | None = None,
        nonlinearity: Mapping[str, Nonlinearity] | None = None,
        inputs: Callable[[Any], Any] | None = None,
        targets: Callable[[Any], Any] | None = None,
        dataloader: Iterable[Any] | None = None,
        limit_batches: int | None = None,
        options: MeasureOptions | None = None,
        figures: bool = True,
        prefix: str = loggers.PREFIX,
        classifier: str | None = None,
        num_classes: int | None = None,
        step: Step | None = None,
    ) -> None:
        super().__init__()
        self.every_n_epochs = _checks.integer("every_n_epochs", every_n_epochs, at_least=1)
        self.layers, self.measures = layers, tuple(measures)
        self.classifier, self.step = classifier, step
        _warn_of({"classifier": classifier, "num_classes": num_classes, "step": step})
        if classifier is not None:
            names = [measure for measure in ("nc3", "nc4") if measure not in self.measures]
            self.measures = (*self.measures, *names)
            if layers is not None:
                self.layers = [
                    *([layers] if isinstance(layers, str | type | nn.Module) else layers),
                    classifier,
                ]
        targets = targets or (self._labels_of_step if step is not None else None)
        inputs = inputs or (_whole if step is not None else None)
        self._network = {
            "pool": pool,
            "stages": stages,
            "nonlinearity": nonlinearity,
            "inputs": inputs,
            "targets": targets,
        }
        self.dataloader, self.limit_batches = dataloader, limit_batches
        self.options, self.figures, self.prefix = options, figures, prefix
        self.trajectory = Trajectory()
        self._module: LightningModule | None = None

    @property
    def state_key(self) -> str:
        """Several callbacks beside each other have prefixes of their own."""
        return (
            super().state_key
            if self.prefix == loggers.PREFIX
            else self._generate_state_key(prefix=self.prefix)
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Complain about wrong names before the training, not after its first epoch."""
        if stage == "fit":
            chosen_probes(self._subject(pl_module, 1), self.measures)
            chosen_layers(pl_module, self.layers)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and log, every `every_n_epochs` epochs and after the last."""
        last = trainer.max_epochs is not None and trainer.current_epoch == trainer.max_epochs - 1
        if trainer.current_epoch % self.every_n_epochs and not last:
            return
        found = self.measure(trainer, pl_module)
        self.trajectory.add(found, trainer.current_epoch)
        for key, value in {**loggers.scalars(found, self.prefix), **self._former(found)}.items():
            # every process has the same value; the reduction only tells Lightning so
            pl_module.log(key, value, on_step=False, on_epoch=True, sync_dist=True, batch_size=1)
        if self.figures and trainer.is_global_zero:
            self._draw(trainer, found)

    def measure(self, trainer: Trainer, pl_module: LightningModule) -> Profile:
        """The profile of the module now: the same in every process."""
        source: Any = self.dataloader if self.dataloader is not None else trainer.train_dataloader
        if self.dataloader is None and (source is None or isinstance(source, dict | list | tuple)):
            raise _checks.bad_type(
                "dataloader", "one loader", type(source).__name__, "pass dataloader= to the callback"
            )
        world = trainer.world_size if self._can_share(pl_module, source, trainer.world_size) else 1
        loader = exact_shard(source, trainer.global_rank if world > 1 else 0, world)
        self._module = pl_module
        with measuring(pl_module, source, loader), trainer.precision_plugin.forward_context():
            batches = _Placed(trainer, pl_module, loader, self.limit_batches)
            return profile(
                self._subject(pl_module, world),
                batches,
                layers=self.layers,
                measures=list(self.measures),
                options=self.options,
            )

    def to_frame(self) -> pd.DataFrame:
        """What was measured: the frame of the trajectory, whose steps are epochs."""
        return self.trajectory.to_frame().rename(columns={"step": "epoch"})

    def state_dict(self) -> dict[str, Any]:
        """The trajectory travels with checkpoints."""
        return {"trajectory": self.trajectory.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the trajectory of a checkpoint; the history of 0.1 had other numbers under its keys and is left out."""
        if "trajectory" not in state_dict:
            warnings.warn(
                "this checkpoint is of agop 0.1, whose numbers had other meanings: its history is left out",
                stacklevel=2,
            )
            return
        self.trajectory.load_state_dict(state_dict["trajectory"])

    def _subject(self, module: LightningModule, world: int) -> SharedNetwork:
        return SharedNetwork(module, world=world, step=self.step, **self._network)

    def _can_share(self, module: LightningModule, source: Any, world: int) -> bool:
        """Whether sums over shares of the samples are all that is needed, and there is a share for everyone."""
        if world == 1:
            return False
        needs = needs_of(chosen_probes(self._subject(module, 1), self.measures))
        data = getattr(source, "dataset", None)
        enough = data is not None and (not hasattr(data, "__len__") or len(data) >= world)
        return enough and {need.kind for need in needs} <= SHARED

    def _labels_of_step(self, batch: Any) -> Tensor:
        """The labels that `step=` returns; for that it runs once more, without being read."""
        assert self.step is not None
        assert self._module is not None
        return self.step(self._module, batch)

    def _former(self, found: Profile) -> dict[str, float]:
        """The keys of 0.1 for the features that the classifier reads, for a callback that names it."""
        if self.classifier is None:
            return {}
        rows = found.table[(found.table["name"] == self.classifier) & (found.table["stage"] == "input")]
        if rows.empty:
            raise _checks.bad_value(
                "classifier", "a layer that runs", f"{self.classifier!r}, which did not", "name another"
            )
        values = {name: float(rows[name].iloc[0]) for name in found.measures}
        if found.scores is not None:
            values["error"] = 1 - found.scores.accuracy
        return {f"{self.prefix}/{self.classifier}.input/{name}": value for name, value in values.items()}

    def _draw(self, trainer: Trainer, found: Profile) -> None:
        writers = [logger for logger in trainer.loggers if loggers.takes_figures(logger)]
        if not writers or not found.measures:
            return
        figure: Any = found.plot().figure
        for writer in writers:
            loggers.write_figure(
                writer, f"{self.prefix}/{found.measures[0]} by layer", figure, trainer.global_step
            )
        loggers.close(figure)


class _Placed:
    """The first batches of a loader, on the device of the module."""

    def __init__(
        self, trainer: Trainer, module: LightningModule, loader: Iterable[Any], limit: int | None
    ) -> None:
        self._trainer, self._module, self._loader, self._limit = trainer, module, loader, limit

    def __iter__(self) -> Iterator[Any]:
        for batch in islice(self._loader, self._limit):
            yield self._trainer.strategy.batch_to_device(batch, self._module.device, 0)


def _whole(batch: Any) -> Any:
    """A batch as it is, for `step=`."""
    return tuple(batch) if isinstance(batch, list) else batch


def _warn_of(former: Mapping[str, Any]) -> None:
    """Say what stands in the place of arguments of 0.1."""
    new = {
        "classifier": "write measures=[…, 'nc3', 'nc4']: classifiers are found, and keys are collapse/head/input/nc1",
        "num_classes": "leave it out: classes are those of the labels",
        "step": "write inputs= and targets=, which take a batch apart",
    }
    for name, value in former.items():
        if value is not None:
            warnings.warn(
                f"{name}= of CollapseCallback goes with the next release: {new[name]}",
                DeprecationWarning,
                stacklevel=3,
            )


__all__ = ["CollapseCallback"]
