"""A finished run as the report reads it: only from its directory, checked, and of whatever kind."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from agop._checks import bad_value
from agop._csv import read_csv
from agop.datasets.npz import DAMAGED, read_arrays
from agop.experiments.patch_pictures import PATCHES
from agop.experiments.rundir import RESULT
from agop.profiles.shown import Shown, look_of
from agop.report.run_head import REMEDY, TABLE_RUN, RunHead, head_of, of_type, opened

CURVES = ("measure", "layer", "name", "stage", "x", "value", "spread")
"""The columns of `curves.csv`."""

_MOST_GRAM_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False)
class Gram:
    """Class-sorted Gram matrices by (layer, stage), of the same points."""

    matrices: Mapping[tuple[int, str], Float[np.ndarray, "n n"]]
    labels: Int[np.ndarray, " n"]
    class_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Patches:
    """Filters and energies of patch matrices by name, as `agop.experiments.patch_pictures` writes them, and the images of the energies."""

    filters: Mapping[str, Float[np.ndarray, "k c q q"]]
    shares: Mapping[str, Float[np.ndarray, " k"]]
    images: Float[np.ndarray, "n c h w"]
    energies: Mapping[str, Float[np.ndarray, "n rows columns"]]

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Patches:
        """Sort the arrays of a file; one of another shape than its name promises is a `ValueError`."""
        parts: dict[str, dict[str, np.ndarray]] = {"filters": {}, "shares": {}, "energies": {}}
        for name, array in arrays.items():
            kind, slash, of = name.partition("/")
            if slash and kind in parts:
                parts[kind][of] = array.astype(np.float64)
        images = arrays["images"].astype(np.float64)
        for of, filters in parts["filters"].items():
            shares = parts["shares"][of]
            if filters.ndim != 4 or shares.shape != filters.shape[:1] or not len(shares):
                raise ValueError(f"{of[:40]!r} has no filters (k, c, q, q) with their shares")
        for of, energies in parts["energies"].items():
            if images.ndim != 4 or energies.ndim != 3 or len(energies) != len(images) or not len(images):
                raise ValueError(f"{of[:40]!r} has no map for each image")
        if not parts["filters"]:
            raise ValueError("no filters")
        return cls(parts["filters"], parts["shares"], images, parts["energies"])


@dataclass(frozen=True, eq=False)
class RunRecord(RunHead):
    """One finished run.

    Attributes
    ----------
    profile
        One row per layer and stage, a column per measure.
    layers
        One row per layer: `train_accuracy`, `test_accuracy` and what else there is by layer; may be empty.
    whole
        One row, a column for each measure of the whole subject; may be empty.
    curves
        Measures that are no single number: `measure`, `layer` (0: the whole), `name`, `stage`, `x`, `value`, `spread`; may be empty.
    shown
        How the columns of all these are shown, as the run wrote it down: what measured them need not be there any more.

    """

    profile: pd.DataFrame
    layers: pd.DataFrame
    gram: Gram | None
    whole: pd.DataFrame = field(default_factory=pd.DataFrame)
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    shown: Mapping[str, Shown] = field(default_factory=dict)
    patches: Patches | None = None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RunRecord:
        """Read the directory of a finished run.

        Raises
        ------
        ValueError
            One sentence, if it is no run, not finished, of another format, or damaged.

        """
        folder, config, result = opened(path)
        if config.get("kind") == TABLE_RUN:
            got = f"{str(path)!r} of `agop {TABLE_RUN}`"
            raise bad_value(
                "run", "runs with layers beside each other", got, "make its page alone: agop report DIR"
            )
        return cls(
            **head_of(folder, config, result),
            profile=_table(folder / "profile.csv", ("layer", "stage")),
            layers=_table_if_there(folder / "layers.csv", ("layer",)),
            gram=_gram(folder / "gram.npz"),
            patches=_patches(folder / PATCHES),
            whole=_readable(folder / "whole.csv", ()),
            curves=_readable(folder / "curves.csv", CURVES),
            shown=_shown(result),
        )

    @property
    def measures(self) -> tuple[str, ...]:
        """Columns of the profile that hold a measure with at least one value."""
        numbers = self.profile.select_dtypes("number").columns.drop("layer")
        return tuple(str(name) for name in numbers if self.profile[name].notna().any())

    @property
    def layer_measures(self) -> tuple[str, ...]:
        """Columns of the layers that the run calls measures and that have a value."""
        numbers = self.layers.select_dtypes("number").columns
        return tuple(str(name) for name in numbers if name in self.shown and self.layers[name].notna().any())

    def look(self, column: str) -> Shown:
        """How a column is shown: as the run says, else as the probe of that name."""
        return self.shown.get(column) or look_of(column)


def _table(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    """A table with one row per layer (and stage), numbered by integers; stages may have any names."""
    table = _read(path, needed)
    if table.empty:
        raise bad_value(
            "run", f"rows with {' and '.join(needed)} in {path.name}", f"no rows in {str(path)!r}", REMEDY
        )
    numbered = table["layer"].dtype.kind == "i" and not table.duplicated(list(needed)).any()
    if not numbered or table[list(needed)].isna().any(axis=None):
        expected = f"one row for each {' and '.join(needed)} in {path.name}"
        raise bad_value("run", expected, f"other rows in {str(path)!r}", REMEDY)
    return table


def _table_if_there(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    return _table(path, needed) if path.exists() else pd.DataFrame()


def _readable(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    return _read(path, needed) if path.exists() else pd.DataFrame(columns=list(needed))


def _read(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    """A table with certain columns."""
    try:
        table = read_csv(path, dtype={"stage": str, "name": str, "measure": str}, keep_default_na=True)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise bad_value("run", f"a readable {path.name}", f"{str(path)!r} ({reason})", REMEDY) from None
    missing = [name for name in needed if name not in table]
    if missing:
        expected, got = f"rows with {' and '.join(needed)} in {path.name}", f"none of {', '.join(missing)}"
        raise bad_value("run", expected, f"{got} in {str(path)!r}", REMEDY)
    return table


def _shown(result: Mapping[str, Any]) -> dict[str, Shown]:
    """How the measures are shown; a run of 0.1.0 says nothing of that."""
    entries = of_type(result, "measures", dict, RESULT)
    try:
        return {str(column): Shown.read(entry) for column, entry in entries.items()}
    except (ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise bad_value("run", f"measures in {RESULT} as a run writes them", reason, REMEDY) from None


def _gram(path: Path) -> Gram | None:
    if not path.exists():
        return None
    try:
        arrays = read_arrays(path, _MOST_GRAM_BYTES)
        labels, names = arrays["labels"].astype(np.int64), tuple(str(name) for name in arrays["class_names"])
        matrices = {}
        for name, matrix in arrays.items():
            layer, slash, stage = name.partition("/")
            if slash:
                if matrix.shape != (len(labels), len(labels)):
                    raise ValueError(f"{name[:40]!r} is no Gram matrix of {len(labels)} points")
                matrices[int(layer), stage] = matrix.astype(np.float32)
        if labels.ndim != 1 or not ((labels >= 0) & (labels < len(names))).all():
            raise ValueError("labels without a class name")
        return Gram(matrices, labels, names)
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:200]
        raise bad_value("run", "readable Gram matrices", f"{str(path)!r} ({reason})", REMEDY) from None


def _patches(path: Path) -> Patches | None:
    if not path.exists():
        return None
    try:
        return Patches.of(read_arrays(path, _MOST_GRAM_BYTES))
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:200]
        raise bad_value("run", "readable pictures of patches", f"{str(path)!r} ({reason})", REMEDY) from None
