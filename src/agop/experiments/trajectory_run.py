"""Checkpoints of one model, measured one after the other into a directory.

trajectory.safetensors   an `agop.Trajectory` of what was measured so far: a command that was cut off goes on from it
trajectory.csv           every number in a row of its own
figures/                 each measure by step and layer, as SVG and PDF
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from agop import _checks
from agop.datasets import Dataset
from agop.experiments import model_factory, model_names
from agop.experiments.checkpoints import fill
from agop.experiments.files import write_text
from agop.experiments.given_model import layers_of, measures_of, points_of, refusals, scaler_of, subject_of
from agop.experiments.subjects.user_model_config import ProfileConfig
from agop.profiles.trajectory import Trajectory

STORED, TABLE, FIGURES = "trajectory.safetensors", "trajectory.csv", "figures"
_ASKED = "asked"
"""The fact that says what was asked for; a directory is not continued with other options or data."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """What was measured, and where it lies."""

    trajectory: Trajectory
    headline: str
    table: Path
    figures: Path


def record_checkpoints(
    config: ProfileConfig,
    checkpoints: Sequence[Path],
    out: Path,
    tell: Callable[[str], None] = lambda text: None,
) -> Recorded:
    """Measure each checkpoint, or those that are left, and write table and figures.

    Raises
    ------
    ValueError
        One sentence, if a checkpoint can't be read or is of another model, two have the same step, or `out` holds a trajectory of other
        options or data.
    """
    places = steps_of(checkpoints)
    device, data = _checks.device("device", config.device), config.load()
    tell(data.source)
    trajectory = _opened(out, config, data)
    for step, path in places.items():
        digest = _digest(path)
        if trajectory.facts.get(f"checkpoint {step:g}") == digest and step in trajectory:
            continue
        tell(_measured(trajectory, config, data, device, step, path))
        trajectory.facts[f"checkpoint {step:g}"] = digest
        out.mkdir(parents=True, exist_ok=True)
        trajectory.save(out / STORED)
    write_text(out / TABLE, trajectory.to_frame().to_csv(index=False))
    return Recorded(trajectory, _headline(trajectory), out / TABLE, _figures(trajectory, out / FIGURES))


def steps_of(checkpoints: Sequence[Path]) -> dict[int, Path]:
    """The checkpoints by their steps, in order: the number after "step" in a name, or its last one; without numbers, their order."""
    for path in checkpoints:
        if not path.exists():
            raise _checks.bad_value("checkpoints", "files or folders", f"{str(path)!r}, which is not there")
    found = [_step(path) for path in checkpoints]
    if all(step is None for step in found):
        return dict(enumerate(checkpoints))
    steps: dict[int, Path] = {}
    for step, path in zip(found, checkpoints, strict=True):
        if step is None or step in steps:
            got = (
                f"none in {path.name!r}"
                if step is None
                else f"{step} in both {steps[step].name!r} and {path.name!r}"
            )
            raise _checks.bad_value("checkpoints", "a step of its own in every name", got, "rename them")
        steps[step] = path
    return dict(sorted(steps.items()))


def _step(path: Path) -> int | None:
    stem = path.name if path.is_dir() else path.stem
    named = re.findall(r"step[=_-]?(\d+)", stem) or re.findall(r"\d+", stem)
    return int(named[-1]) if named else None


def _measured(
    trajectory: Trajectory, config: ProfileConfig, data: Dataset, device: torch.device, step: int, path: Path
) -> str:
    """Measure one checkpoint; returns a line about it."""
    if path.is_dir() and model_names.is_folder(str(path)):
        model, notes = model_factory.make(str(path)), []
    elif config.model:
        model = model_factory.make(config.model)
        notes = fill(model, str(path), trust_pickle=config.trust_pickle, prefix=config.prefix)
    else:
        raise _checks.bad_value(
            "model", "a model whose weights these are", "none", "add --model package.module:factory"
        )
    x = points_of(config, model, data, scaler_of(config, data)).to(device)
    with refusals(x):  # the same points for every checkpoint, in the form that this model takes
        found = trajectory.on(x, data.y_train).record(subject_of(config, model.to(device)), step)
    scores = "" if found.scores is None else f": {found.scores}"
    return "; ".join([f"step {step} ({path.name}){scores}", *notes])


def _opened(out: Path, config: ProfileConfig, data: Dataset) -> Trajectory:
    """The trajectory that lies in the directory, or a new one."""
    there = out.exists() and (not out.is_dir() or any(out.iterdir()))
    if there and not (out / STORED).is_file():
        got = f"{str(out)!r}, which holds something else"
        raise _checks.bad_value("out", "a new directory, or one of a trajectory", got, "choose another --out")
    scaler = scaler_of(config, data)
    scaled = "" if config.statistics is None or scaler is None else scaler.fingerprint()
    asked = json.dumps([config.identity(), data.fingerprint(), scaled], sort_keys=True)
    kept: dict[str, Any] = {"measures": list(measures_of(config)), "layers": layers_of(config)}
    trajectory = Trajectory.load(out / STORED, **kept) if (out / STORED).exists() else Trajectory(**kept)
    if trajectory.facts.setdefault(_ASKED, asked) != asked:
        got = f"{str(out)!r}, which holds one of other options or data"
        raise _checks.bad_value(
            "out", "a new directory, or one of the same trajectory", got, "choose another --out"
        )
    return trajectory


def _digest(path: Path) -> str:
    """A hash of a checkpoint's bytes: a file that was written anew is measured anew."""
    files = sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "blake2b").digest())
    return digest.hexdigest()


def _figures(trajectory: Trajectory, folder: Path) -> Path:
    import matplotlib.pyplot as plt

    folder.mkdir(exist_ok=True)
    frame = trajectory.to_frame()
    drawn = frame[frame["x"].isna() & frame["value"].notna()]
    for measure in dict.fromkeys(drawn["measure"]):
        for against in (
            ("step", "layer") if (drawn[drawn["measure"] == measure]["layer"] > 0).any() else ("step",)
        ):
            for suffix in ("svg", "pdf"):
                axes = trajectory.plot(
                    measure, against=against, path=folder / f"{measure}-by-{against}.{suffix}"
                )
                plt.close(axes.figure)  # type: ignore[arg-type]
    return folder


def _headline(trajectory: Trajectory) -> str:
    """One sentence with the numbers of the first and the last step."""
    steps, frame = trajectory.steps, trajectory.to_frame()
    words = [f"{len(steps)} checkpoints, steps {steps[0]:g} to {steps[-1]:g}"]
    rows = frame[(frame["measure"] == "nc1") & (frame["stage"] == "input") & (frame["layer_from_end"] == 1)]
    if len(rows):
        begin, end = rows[rows["step"] == steps[0]]["value"], rows[rows["step"] == steps[-1]]["value"]
        words.append(f"NC1 at the input of the last layer {begin.iloc[0]:.3g} to {end.iloc[0]:.3g}")
    for name in ("accuracy", "loss"):
        rows = frame[(frame["measure"] == name) & (frame["layer"] == 0)]
        if len(rows):
            words.append(f"{name} {rows['value'].iloc[0]:.3g} to {rows['value'].iloc[-1]:.3g}")
    return "; ".join(words) + "."
