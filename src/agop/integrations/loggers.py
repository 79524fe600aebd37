"""`log`: the numbers of a profile, and its figure, into the logger that a training has already.

Keys are those of every integration: `PREFIX/LAYER/STAGE/MEASURE` for stages, `PREFIX/LAYER/MEASURE` for layers, `PREFIX/MEASURE` for the
whole, with the names of the profile's rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from agop import _checks
from agop.probe import Probe
from agop.probes import PROBES
from agop.profiles.table import Profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREFIX = "collapse"


def scalars(profile: Profile, prefix: str = PREFIX) -> dict[str, float]:
    """Every single number of a profile by its key; what is undefined is NaN, so that a key that is watched is always there.

    Measures that only a classifier has (NC3, NC4) have keys at the layers that are one. Accuracy and cross-entropy on the measured samples
    are `PREFIX/accuracy` and `PREFIX/loss`.
    """
    found: dict[tuple[str, ...], float] = {}
    for _, row in profile.table.iterrows():
        for measure in profile.measures:
            value = float(row[measure])
            if value == value or not _of_a_classifier(measure):
                found[str(row["name"]), str(row["stage"]), measure] = value
    for _, row in profile.layers.iterrows():
        for measure in profile.layer_measures:
            if measure in profile.shown and row[measure] == row[measure]:
                found[str(row["name"]), measure] = float(row[measure])
    if not profile.whole.empty:
        found |= {(str(name),): float(value) for name, value in profile.whole.iloc[0].items()}
    if profile.scores is not None:
        found |= {("accuracy",): profile.scores.accuracy, ("loss",): profile.scores.loss}
    return {"/".join(filter(None, (prefix, *parts))): value for parts, value in found.items()}


def log(
    profile: Profile, writer: Any, step: int, *, prefix: str = PREFIX, figures: bool = True
) -> dict[str, float]:
    """Write the scalars and a figure of `profile` with `writer`; returns the scalars.

    Parameters
    ----------
    profile
        What `agop.profile` or `Trajectory.record` gave.
    writer
        A `torch.utils.tensorboard.SummaryWriter` (anything with `add_scalar`), a run of W&B, a logger of Lightning, or the module `mlflow`
        (anything with `log_metrics`).
    step
        Of the training.
    prefix
        First part of the keys.
    figures
        Also `profile.plot()` of the first measure, as `PREFIX/MEASURE by layer`, where the writer takes figures.

    Raises
    ------
    TypeError
        If `profile` is none, or the writer is of none of these kinds.
    """
    if not isinstance(profile, Profile):
        raise _checks.bad_type("profile", "a Profile", type(profile).__name__)
    step = _checks.integer("step", step)
    values = scalars(profile, prefix)
    write_scalars(writer, values, step)
    if figures and profile.measures and takes_figures(writer):
        figure: Any = profile.plot().figure
        write_figure(
            writer, "/".join(filter(None, (prefix, f"{profile.measures[0]} by layer"))), figure, step
        )
        close(figure)
    return values


def write_scalars(writer: Any, values: Mapping[str, float], step: int) -> None:
    """Numbers by key, at a step."""
    if callable(getattr(writer, "add_scalar", None)):
        for key, value in values.items():
            writer.add_scalar(key, value, step)
    elif callable(getattr(writer, "log_metrics", None)):
        strict = _root(writer) == "mlflow"
        writer.log_metrics(
            {_plain(key) if strict else key: value for key, value in values.items()}, step=step
        )
    elif _root(writer) == "wandb":
        writer.log(dict(values), step=step)
    else:
        kinds = "a SummaryWriter, a run of W&B, a logger of Lightning, or mlflow"
        raise _checks.bad_type("writer", kinds, type(writer).__name__)


def takes_figures(writer: Any) -> bool:
    """Whether `write_figure` can write with it: a logger of Lightning says so by what is behind it."""
    inner = _behind(writer)
    return _root(inner) == "wandb" or any(
        callable(getattr(inner, name, None)) for name in ("add_figure", "log_figure")
    )


def write_figure(writer: Any, key: str, figure: Figure, step: int) -> None:
    """A matplotlib figure, where the writer takes one."""
    inner = _behind(writer)
    if callable(getattr(inner, "add_figure", None)):  # TensorBoard, alone or behind Lightning
        inner.add_figure(key, figure, step, close=False)
    elif _root(inner) == "wandb":
        import wandb

        at = {"step": step} if inner is writer else {}  # behind Lightning, steps are those of its logger
        inner.log({key: wandb.Image(figure)}, **at)
    elif callable(
        getattr(inner, "log_figure", None)
    ):  # MLflow: its client wants the run, the module does not
        name = f"{_plain(key)}/step {step}.png"
        inner.log_figure(*([writer.run_id] if hasattr(writer, "run_id") else []), figure, name)


def _behind(writer: Any) -> Any:
    """What a logger of Lightning writes with; a writer of another kind itself."""
    inner = getattr(writer, "experiment", None) if hasattr(writer, "log_metrics") else None
    return writer if inner is None else inner


def close(figure: Figure) -> None:
    """Let a figure go."""
    import matplotlib.pyplot as plt

    plt.close(figure)


def _root(value: Any) -> str:
    """The package that an object, or a module, comes from."""
    name = value.__name__ if isinstance(value, ModuleType) else type(value).__module__
    return name.partition(".")[0]


def _plain(key: str) -> str:
    """A key of characters that MLflow takes."""
    return re.sub(r"[^\w/. -]", ".", key)


def _of_a_classifier(measure: str) -> bool:
    probe = PROBES.get(measure)
    return isinstance(probe, Probe) and any(need.kind in ("weight", "decisions") for need in probe.needed)


__all__ = ["log", "scalars"]
