"""A model of a table as one safetensors file: a JSON header with the columns, and what the file of its estimator would hold."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from agop import _store
from agop.machines import persistence

FORMAT_VERSION = 1
KIND = "table"
MODEL = "model.safetensors"
"""Its name in the directory of a run."""


def save(model: Any, path: str | Path) -> None:
    """Write a `TableModel`; a file of that name is replaced only when the new one is complete."""
    header, tensors = persistence.described(model.estimator)
    about = {
        "target": model.target,
        "task": model.task,
        "notes": list(model.notes),
        "columns": [asdict(column) for column in model.encoder.columns_],
        "asked": {name: list(value) for name, value in model.encoder.get_params().items()},
        "estimator": {"version": persistence.FORMAT_VERSION, **header},
    }
    _store.write(path, KIND, FORMAT_VERSION, about, tensors)
