"""`CollapseCallback` for the Trainer of Hugging Face's transformers: a trajectory of the model while it is trained."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from agop import _checks
from agop.integrations import loggers
from agop.profiles.network import Network
from agop.profiles.trajectory import Trajectory


class CollapseCallback(TrainerCallback):
    """Measure the model with `agop.profile` at the end of epochs; the trajectory's steps are those of the optimiser.

    Parameters
    ----------
    X, y
        What is measured on: a loader or list of batches with labels, or samples and labels. None: the training data of the Trainer.
    every_n_epochs
        How often; the end of training is always measured.
    network
        Options of `agop.Network`, such as ``{"pool": "first"}``.
    writer, prefix, figures
        As in `agop.integrations.log`: where the numbers go beside the trajectory and the Trainer's `log_history`.
    path
        A file that the trajectory is saved to after every measurement, and from which a resumed training goes on.
    asked
        `measures`, `layers`, `batch_size` and `options` of `agop.Trajectory`.

    Attributes
    ----------
    trajectory
        All that was measured.

    """

    def __init__(
        self,
        X: Any = None,
        y: Any = None,
        *,
        every_n_epochs: int = 1,
        network: dict[str, Any] | None = None,
        writer: Any = None,
        prefix: str = loggers.PREFIX,
        figures: bool = True,
        path: str | Path | None = None,
        **asked: Any,
    ) -> None:
        super().__init__()
        self.every_n_epochs = _checks.integer("every_n_epochs", every_n_epochs, at_least=1)
        self._data, self._asked, self._network = (X, y), asked, dict(network or {})
        self._writer, self._prefix, self._figures = writer, prefix, figures
        self._path = None if path is None else Path(path)
        self.trajectory = Trajectory(X, y, **asked)
        self._epochs = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **there: Any) -> None:
        """Go on with the trajectory of a training that is resumed."""
        data = self._data if self._data[0] is not None else (_batches(there.get("train_dataloader")), None)
        if state.global_step and self._path is not None and self._path.is_file():
            self.trajectory = Trajectory.load(self._path, *data, **self._asked)
        elif self._data[0] is None:
            self.trajectory = Trajectory(*data, **self._asked)

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any = None, **there: Any) -> None:
        """Measure, every `every_n_epochs` epochs."""
        self._epochs += 1
        if self._epochs % self.every_n_epochs == 0:
            self._record(state, model)

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **there: Any) -> None:
        """Measure at the end, if that was not done."""
        if state.global_step not in self.trajectory:
            self._record(state, model)

    def _record(self, state: Any, model: Any) -> None:
        if not getattr(state, "is_world_process_zero", True):
            return
        found = self.trajectory.record(Network(model, **self._network), state.global_step)
        values = loggers.scalars(found, self._prefix)
        state.log_history.append({"epoch": state.epoch, "step": state.global_step, **values})
        if self._writer is not None:
            loggers.log(found, self._writer, state.global_step, prefix=self._prefix, figures=self._figures)
        if self._path is not None:
            self.trajectory.save(self._path)


def _batches(loader: Iterable[Any] | None) -> Iterable[Any]:
    if loader is None:
        raise _checks.bad_value(
            "X", "samples to measure on", "none, and no training data", "pass X= and y=, or a loader as X="
        )
    return loader


__all__ = ["CollapseCallback"]
