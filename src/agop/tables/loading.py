"""Any saved file of agop: estimator, model of a table, directions of a concept, profile, trajectory; what its header says is checked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from agop import _checks, _store
from agop.machines import persistence
from agop.machines.stored import Damaged, of_type
from agop.tables.dates import PARTS
from agop.tables.encoder import TableEncoder
from agop.tables.kinds import KINDS, Column
from agop.tables.model import ESTIMATORS, TableModel
from agop.tables.reading import is_file
from agop.tables.storing import FORMAT_VERSION, KIND, MODEL

_REMEDY = "fit it again"
CONCEPTS, TRAJECTORY, PROFILE = "concepts", "trajectory", "profile"
"""Kinds of files whose readers are imported where one comes."""


def load(path: str | Path, *, device: Any = None) -> Any:
    """Read what `save` wrote, of whatever has a `save`; nothing that is in the file is run.

    Parameters
    ----------
    path
        The file, or the directory of a run that holds one.
    device
        Where a model will compute; None: the CPU.

    Returns
    -------
    object
        An estimator; a `TableModel`, which predicts on raw frames; `ConceptDirections`; a `Profile`; or a `Trajectory`.

    Raises
    ------
    ValueError
        One sentence, if it is missing, damaged, or of another kind.
    """
    if not isinstance(path, str | os.PathLike):
        raise _checks.bad_type("path", "the path of a saved file", _checks.shown(path))
    path = Path(path)
    if not is_file(path):
        path = path / MODEL
        if not is_file(path):
            got = f"{_checks.shown(str(path.parent))}, where none is"
            raise _checks.bad_value(
                "path",
                "a file that agop saved, or the directory of a run with a model",
                got,
                "check the path",
            )
    kind = _store.kind_of(path)
    if kind == CONCEPTS:
        from agop.concepts import ConceptDirections

        return ConceptDirections.load(path)
    if kind in (PROFILE, TRAJECTORY):
        from agop.profiles import Profile, Trajectory

        return (Profile if kind == PROFILE else Trajectory).load(path)
    if kind != KIND:
        return persistence.load(path, device=device)
    place = _checks.device("device", device)
    header, tensors = _store.read(path, KIND, FORMAT_VERSION, _REMEDY)
    try:
        return _restored(header, tensors, place)
    except persistence.WRONG as error:
        raise _store.unreadable(path, KIND, error, _REMEDY) from None


def _restored(header: dict[str, Any], tensors: Any, place: Any) -> TableModel:
    target, task = of_type(header, "target", str), of_type(header, "task", str)
    if task not in ESTIMATORS or not _is_unicode(target):
        raise Damaged("a task or a target that is none")
    notes, asked = of_type(header, "notes", list), of_type(header, "asked", dict)
    if (
        not _are_texts(notes)
        or set(asked) - {"drop", "categories", "numbers", "keep"}
        or not all(map(_are_texts, asked.values()))
    ):
        raise Damaged("notes or names that are no texts")
    encoder = TableEncoder(**asked)
    encoder.columns_ = [_column(entry) for entry in of_type(header, "columns", list)]
    names = [column.name for column in encoder.columns_]
    if len(set(names)) < len(names):
        raise Damaged("a column twice")
    encoder.feature_names_in_, encoder.n_features_in_ = np.array(names, dtype=object), len(names)
    estimator = persistence.restored(of_type(header, "estimator", dict), tensors, place)
    if (task == "classification") != hasattr(estimator, "classes_"):
        raise Damaged("an estimator of another task")
    if list(map(str, getattr(estimator, "feature_names_in_", ()))) != list(encoder.get_feature_names_out()):
        raise Damaged("an estimator of other columns")
    return TableModel(target, task, encoder, estimator, tuple(notes))


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) and _is_unicode(value) for value in values)


def _is_unicode(text: str) -> bool:
    """Whether it can be written: JSON may hold halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _column(entry: Any) -> Column:
    """A column of a header that may be anybody's."""
    if not isinstance(entry, dict) or set(entry) != set(Column.__dataclass_fields__):
        raise Damaged("columns that are none")
    texts = [entry[name] for name in ("name", "kind", "dropped", "form")]
    lists = [entry[name] for name in ("notes", "levels", "parts")]
    if not _are_texts(texts) or not all(map(_are_texts, lists)) or type(entry["other"]) is not bool:
        raise Damaged("columns that are none")
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in entry.items()}
    column = Column(**values)
    known = (
        column.kind in KINDS
        and set(column.parts) <= set(PARTS)
        and len(set(column.levels)) == len(column.levels)
    )
    if column.used and not (known and (column.kind != "date" or column.parts)):
        raise Damaged(f"column {column.name[:40]!r} can't be used")
    return column
