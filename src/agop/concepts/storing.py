"""Concept directions in one safetensors file, distrusted when read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from agop import _store
from agop.concepts.detector import Detector
from agop.concepts.options import ConceptSearch
from agop.concepts.positions import checked_position
from agop.concepts.scores import KINDS
from agop.machines import persistence
from agop.machines.restoring import restored

FORMAT_VERSION = 1
_KIND, _REMEDY = "concepts", "save the directions again"
_OWN = ("directions", "centers", "spreads")
_NUMBERS = ("width", "iteration", "block")
_TEXTS = ("name",)
_FLAGS = ("center_gradients",)


def save(found: Any, path: str | Path) -> None:
    """Write `ConceptDirections`; a file of that name is replaced only when the new one is complete."""
    header, tensors = persistence.described(found.estimator)
    stored = {f"estimator.{name}": value for name, value in tensors.items()}
    for kind in _OWN:
        own = getattr(found, kind)
        stored |= {f"{kind}.{k}": own[name] for k, name in enumerate(found.directions)}
    stored |= {"detector.weight": found.detector.weight, "detector.intercept": found.detector.intercept}
    _store.write(
        path,
        _KIND,
        FORMAT_VERSION,
        {
            "table": {str(name): found.table[name].tolist() for name in found.table},
            "classes": found.classes,
            "score": found.score,
            "position": found.position,
            "chosen": found.chosen,
            "detector": {"score": found.detector.score, "inverse_penalty": found.detector.inverse_penalty},
            "search": found.search.plain(),
            "notes": found.notes,
            "estimator": header,
        },
        stored,
    )


def load(path: str | Path) -> dict[str, Any]:
    """The fields of directions that `save` wrote."""
    header, tensors = _store.read(path, _KIND, FORMAT_VERSION, _REMEDY)
    try:
        return _restored(header, tensors)
    except (*persistence.WRONG, IndexError) as error:
        raise _store.unreadable(Path(path), _KIND, error, _REMEDY) from None


def _restored(header: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    table = _table(header["table"])
    names = table["name"].tolist()
    parts = {
        kind: {
            name: _float(tensors.pop(f"{kind}.{k}"), 2 if kind == "directions" else 1)
            for k, name in enumerate(names)
        }
        for kind in _OWN
    }
    asked: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in header["search"].items()
    }
    search = ConceptSearch(**asked)
    classes, position = header["classes"], checked_position(header["position"])
    if classes is not None and (
        len(set(classes)) < 2 or {type(one) for one in classes} - {str, int, float, bool}
    ):
        raise ValueError("classes that are none")
    weight, intercept = (
        _float(tensors.pop("detector.weight"), 2),
        _float(tensors.pop("detector.intercept"), 1),
    )
    columns = 1 if classes is None or len(classes) == 2 else len(classes)
    widths = [len(own) for own in parts["centers"].values()]
    for name, width, d in zip(names, widths, table["width"]):
        shapes = (tuple(parts["directions"][name].shape), tuple(parts["spreads"][name].shape))
        if (
            shapes != ((width, d), (width,))
            or width % columns
            or not bool((parts["spreads"][name] > 0).all())
        ):
            raise ValueError("directions that don't fit the table")
    if tuple(weight.shape) != (columns, sum(widths)) or len(intercept) != columns:
        raise ValueError("a detector that doesn't fit the directions")
    notes, chosen, score = header["notes"], header["chosen"], header["score"]
    if not all(isinstance(note, str) for note in notes) or chosen not in names or score not in KINDS:
        raise ValueError("entries that are none")
    known = {name: tensors.pop(name) for name in list(tensors) if name.startswith("estimator.")}
    if tensors:
        raise ValueError("more tensors than directions")
    own = {name.removeprefix("estimator."): value for name, value in known.items()}
    estimator = restored(header["estimator"], own, torch.device("cpu"))
    detector = Detector(
        weight, intercept, float(header["detector"]["score"]), float(header["detector"]["inverse_penalty"])
    )
    return {
        "table": table, "classes": classes, "score": score, "position": position, "chosen": chosen, "estimator": estimator,
        "detector": detector, "search": search, "notes": notes, **parts,
    }  # fmt: skip


def _table(columns: Any) -> pd.DataFrame:
    """The table, with columns of the kinds that they have."""
    table = pd.DataFrame(columns)
    for name in table:
        allowed = "O" if name in _TEXTS else "b" if name in _FLAGS else "i" if name in _NUMBERS else "fi"
        kind = table[name].dtype.kind
        if not len(table) or (
            kind not in allowed and not (allowed == "O" and pd.api.types.is_string_dtype(table[name]))
        ):
            raise ValueError(f"{name} is no column of its kind")
    if table["name"].duplicated().any():
        raise ValueError("a block twice")
    floats = [name for name in table if name not in (*_TEXTS, *_FLAGS, *_NUMBERS)]
    return table.astype(dict.fromkeys(floats, "float64"))


def _float(tensor: Tensor, ndim: int) -> Tensor:
    if tensor.dtype != torch.float64 or tensor.ndim != ndim or not bool(torch.isfinite(tensor).all()):
        raise ValueError("a tensor of another kind")
    return tensor
