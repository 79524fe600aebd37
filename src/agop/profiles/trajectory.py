"""`Trajectory`: the measurements of a model while it learns, from a plain loop, a trainer's callback or stored checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import Tensor

from agop import _checks, _store
from agop.probe import Probe
from agop.profiles.data import MeasureOptions
from agop.profiles.isolation import measuring
from agop.profiles.network import Network
from agop.profiles.profile import profile
from agop.profiles.shown import Shown, look_of
from agop.profiles.table import Profile, columns_of, frame_of, long_table, looks_of, texts_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import nn

FORMAT_VERSION = 1
_REMEDY = "record it again"
COLUMNS = ("step", "level", "layer", "layer_from_end", "name", "stage", "measure", "x", "value", "spread")
"""Of the frame: every number of every step in a row of its own. `x` and `spread` are those of curves; `layer` is 0 of the whole model."""

_KINDS: dict[str, Any] = {
    "layer": "int64",
    "layer_from_end": "int64",
    "x": float,
    "value": float,
    "spread": float,
} | dict.fromkeys(("level", "name", "stage", "measure"), object)


class Trajectory:
    r"""What `agop.profile` measures of a model, step after step of its training.

    A key (step, layer, stage, measure) has the number that `agop.profile` gives for the weights of that step on the same data: it is what
    measures. Accuracy and cross-entropy on the same samples come with them, as measures of the whole ("accuracy", "loss").

    Parameters
    ----------
    X, y
        What is measured on, as `agop.profile` takes it: samples and labels, or a loader that can be read again and again.
    measures, layers, batch_size, options
        As in `agop.profile`.

    Attributes
    ----------
    shown
        By measure, how it is shown (label, scale, direction).
    notes
        What is undefined, left out or taken instead, each with the steps.
    facts
        Words about the training that its owner keeps here; they are saved.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> import agop
    >>> net, X, y = nn.Sequential(nn.Linear(4, 3)), torch.eye(6, 4), torch.arange(6) % 3
    >>> trajectory = agop.Trajectory(X, y, measures=["nc1"])
    >>> for step in (0, 10):
    ...     profile = trajectory.record(net, step)
    >>> trajectory.steps
    [0, 10]
    """

    def __init__(
        self,
        X: Any = None,
        y: Any = None,
        *,
        measures: Sequence[str | Probe] | None = None,
        layers: Any = None,
        batch_size: int | None = None,
        options: MeasureOptions | None = None,
    ) -> None:
        self._data = (X, y)
        self._asked = {"measures": measures, "layers": layers, "batch_size": batch_size, "options": options}
        self._frames: dict[float, pd.DataFrame] = {}
        self._notes: dict[float, list[str]] = {}
        self.shown: dict[str, Shown] = {}
        self.facts: dict[str, str] = {}

    def on(self, X: Any, y: Any = None) -> Trajectory:
        """Measure on these data from now on; returns itself."""
        self._data = (X, y)
        return self

    def record(self, model: nn.Module | Network, step: float, **values: float) -> Profile:
        """Measure `model` now, as step `step`; a step that is there already is measured again.

        The model, its modes and gradients, and all random state are left as they were: a training with `record` in its loop ends with the
        same weights as one without.

        Parameters
        ----------
        model
            A torch module, or `agop.Network(module, pool=…)`.
        step
            A number: of the optimiser's step, or the epoch.
        values
            Numbers of the training at this step, such as `lr=0.1`; they become measures of the whole.

        Returns
        -------
        Profile
            What was measured.

        Raises
        ------
        ValueError, TypeError
            As `agop.profile`; and if there are no data to measure on, or the step is no number.
        """
        _step(step)
        X, y = self._data
        if X is None:
            remedy = "pass them: agop.Trajectory(X, y), or agop.Trajectory.load(path, X, y)"
            raise _checks.bad_value("X", "samples to measure on", "None", remedy)
        module = model.model if isinstance(model, Network) else model
        with measuring(module if hasattr(module, "modules") else None, X):
            found = profile(model, X, y, **self._asked)
        self.add(found, step, **values)
        return found

    def add(self, profile: Profile, step: float, **values: float) -> None:
        """Take in a profile that was measured elsewhere, as step `step`."""
        step = _step(step)
        if not isinstance(profile, Profile):
            raise _checks.bad_type("profile", "a Profile", type(profile).__name__)
        scores = (
            {}
            if profile.scores is None
            else {"accuracy": profile.scores.accuracy, "loss": profile.scores.loss}
        )
        numbers = scores | {name: _checks.plain(value) for name, value in values.items()}
        for name, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise _checks.bad_type(name, "a number", type(value).__name__)
        own: dict[str, Any] = {"level": "subject", "layer": 0, "layer_from_end": 0, "name": "", "stage": ""}
        whole = pd.DataFrame({"measure": list(numbers), "value": list(numbers.values())}).assign(**own)
        table = pd.concat([part for part in (long_table(profile), whole) if len(part)], ignore_index=True)
        self._frames[step] = table.assign(step=step).reindex(columns=list(COLUMNS)).astype(_KINDS)
        self._notes[step] = list(profile.notes)
        self.shown |= profile.shown

    @property
    def steps(self) -> list[float]:
        """The steps that were measured, in order."""
        return sorted(self._frames)

    def __len__(self) -> int:
        return len(self._frames)

    def __contains__(self, step: object) -> bool:
        return step in self._frames

    def __repr__(self) -> str:
        steps = self.steps
        told = f"{len(steps)} steps from {steps[0]:g} to {steps[-1]:g}" if steps else "no steps"
        return f"Trajectory({told})"

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures that have numbers."""
        return tuple(dict.fromkeys(name for step in self.steps for name in self._frames[step]["measure"]))

    @property
    def notes(self) -> list[str]:
        """What is undefined, left out or taken instead, each with the steps it was said at."""
        said: dict[str, list[float]] = {}
        for step in self.steps:
            for note in dict.fromkeys(self._notes[step]):
                said.setdefault(note, []).append(step)
        return [
            f"{note} (step {', '.join(f'{s:g}' for s in steps[:5])}{', …' if len(steps) > 5 else ''})"
            for note, steps in said.items()
        ]

    def to_frame(self, measure: str | None = None) -> pd.DataFrame:
        """Every number in a row of its own, by step (columns `COLUMNS`); of one measure, if it is named.

        `to_frame("nc1").pivot(index="step", columns=["name", "stage"], values="value")` is the wide table.
        """
        if not self._frames:
            return pd.DataFrame(columns=list(COLUMNS))
        whole = pd.concat([self._frames[step] for step in self.steps], ignore_index=True)
        if measure is None:
            return whole
        _checks.one_of("measure", measure, self.measures)
        return whole[whole["measure"] == measure].reset_index(drop=True)

    def look(self, measure: str) -> Shown:
        """How a measure is shown."""
        return self.shown.get(measure) or look_of(measure)

    def plot(
        self,
        measure: str | None = None,
        *,
        stage: str | None = None,
        against: str = "step",
        style: str = "screen",
        width: float | None = None,
        path: str | Path | None = None,
    ) -> Axes:
        """One measure through training; `style="paper"` for a column: see `agop.profiles.trajectory_plot.plot_trajectory`."""
        from agop.profiles.trajectory_plot import plot_trajectory

        return plot_trajectory(
            self, measure, stage=stage, against=against, style=style, width=width, path=path
        )

    def save(self, path: str | Path) -> None:
        """Write the trajectory to a safetensors file, atomically, with every digit; see `load`. The data are not in it."""
        tensors: dict[str, Tensor] = {}
        header = self._header() | {"table": columns_of(self.to_frame(), "table", tensors)}
        _store.write(path, "trajectory", FORMAT_VERSION, header, tensors)

    def _header(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "notes": [self._notes[step] for step in self.steps],
            "shown": {column: asdict(look) for column, look in self.shown.items()},
            "facts": dict(self.facts),
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything that was recorded, as plain numbers and texts, for the checkpoint of a training."""
        return self._header() | {"table": self.to_frame().to_dict("list")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take in what `state_dict` gave, instead of what was recorded here."""
        self._frames, self._notes = {}, {}
        self._fill(pd.DataFrame(state["table"], columns=list(COLUMNS)), state)

    @classmethod
    def load(cls, path: str | Path, X: Any = None, y: Any = None, **asked: Any) -> Trajectory:
        """Read a trajectory that `save` wrote; with the data (and `measures`, …) recording goes on.

        Raises
        ------
        ValueError
            One sentence, for any other file.
        """
        made = cls(X, y, **asked)
        header, tensors = _store.read(path, "trajectory", FORMAT_VERSION, _REMEDY)
        try:
            frame = frame_of(header["table"], "table", tensors)
            made._fill(frame, header)
            if tensors:
                raise ValueError("more tensors than columns")
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise _store.unreadable(Path(path), "trajectory", error, _REMEDY) from None
        return made

    def _fill(self, frame: pd.DataFrame, header: Mapping[str, Any]) -> None:
        """Take in what a file holds, which may be anybody's."""
        steps, notes = header["steps"], header["notes"]
        if not isinstance(steps, list) or not isinstance(notes, list) or len(steps) != len(notes):
            raise ValueError("steps without their notes")
        if tuple(frame) != COLUMNS or any(
            len(frame) and frame[name].dtype.kind not in "if" for name in ("step", "layer", "value")
        ):
            raise ValueError("a table with other columns")
        for step, said in zip(steps, notes, strict=True):
            self._notes[_step(step)] = texts_of(said)
            rows = frame[frame["step"] == step].reset_index(drop=True)
            self._frames[_step(step)] = rows.assign(step=step).astype(_KINDS)
        if set(frame["step"]) - set(self._frames):
            raise ValueError("rows of steps that are none")
        self.shown = looks_of(header["shown"])
        self.facts = {str(name): texts_of([text])[0] for name, text in header["facts"].items()}


def _step(step: Any) -> float:
    """A step as a plain number."""
    number = _checks.plain(step)
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise _checks.bad_type("step", "a finite number, such as the epoch", repr(step))
    return number
