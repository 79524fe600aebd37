"""An estimator that is fitted in the directory of a run, from its last checkpoint on.

checkpoint/model.safetensors   after the last finished layer, iteration or stage    (while the run is unfinished)
model.safetensors              the finished model
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from agop._checks import bad_value
from agop.experiments.listener import Listener
from agop.experiments.subject import CHECKPOINTS
from agop.ranks import current

MODEL, CHECKPOINT = Path("model.safetensors"), Path(CHECKPOINTS, "model.safetensors")
M = TypeVar("M", bound=Any)


def fit_in(
    folder: Path,
    model: M,
    x: np.ndarray,
    y: np.ndarray,
    listener: Listener,
    *,
    total: int,
    step: str,
    changed: Mapping[str, Any],
) -> M:
    """Fit `model`, or the one that lies in `folder`: all ranks read it, rank 0 writes it.

    Parameters
    ----------
    total, step
        How many entries its history will have, and what one of them is called: "layer", "iteration", "stage".
    changed
        Parameters in which the model may differ from the one in the folder.

    Raises
    ------
    ValueError
        One sentence, if the model in the folder can't be read, or ranks see different ones.
    """
    ranks, checkpoint, finished = current(), folder / CHECKPOINT, folder / MODEL
    there = next((path for path in (finished, checkpoint) if path.exists()), None)
    if not ranks.alone:
        ranks.agree("the model in --out", _digest(there), "choose a folder that all machines share")
    fresh = model
    if there:
        model = ranks.together(lambda: _stored(there, fresh, step))
    listener.started(len(model.history_) if there else 0, total, step)
    if there == finished:
        return model
    if there:
        model.set_params(**changed, warm_start=True)

    def after(index: int, total: int, entry: Mapping[str, Any]) -> None:
        if ranks.is_main and index + 1 < total:
            checkpoint.parent.mkdir(exist_ok=True)
            model.save(checkpoint)
        listener.stepped(index + 1, total, entry)

    model.fit(x, y, callback=after, progress=listener.progress)
    if ranks.is_main:
        model.save(finished)
    return model


def _digest(path: Path | None) -> str:
    if path is None:
        return "none"
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()


def _stored(path: Path, like: M, step: str) -> M:
    try:
        found: M = type(like).load(path, device=like.device)
    except ValueError as error:
        remedy = f"delete it, and the run begins with the first {step}"
        raise bad_value("out", "a model that can be read", f"{str(path)!r} ({error})", remedy) from None
    return found
