"""`Profile`: measurements by layer and stage, and by layer, with what was left undefined and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from agop import _checks, _store
from agop.view import STAGES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT_VERSION = 1
_REMEDY = "save the profile again"
_NO_LAYERS = ("layer", "name")
_TEXTS = ["name", "stage", "kind", "follows"]
"""The columns that hold no numbers."""


@dataclass(frozen=True, eq=False)
class Profile:
    r"""Measurements by layer and stage, and by layer.

    Attributes
    ----------
    table : DataFrame
        One row a layer and stage: `layer` (from 1), `name`, `stage` ("input", "projected", "output"), one column a measure (NaN where
        undefined).
    subject : str
        What was profiled.
    measures : tuple of str
        The measures, by their names in `agop.collapse.registry.MEASURES`.
    notes : list of str
        Undefined values with the reason, layers and classes left out, fallbacks.
    layers : DataFrame
        One row a layer: `layer`, `name`, and, where NC1 was measured and there is a projected stage,

        - `drop_projection`: :math:`\log_{10}` NC1(input) − :math:`\log_{10}` NC1(projected),
        - `drop_nonlinearity`: :math:`\log_{10}` NC1(projected) − :math:`\log_{10}` NC1(output),
        - `share_projection`: `drop_projection` over the sum of both; NaN where NC1 does not fall over the layer. Above 1 where the
          nonlinearity undoes some of it.

        For networks also `nfa` (the correlation of the NFM with the AGOP's power), `kind`, `features` (of the input), `follows` (the
        operations up to the output stage).
    """

    table: pd.DataFrame
    subject: str
    measures: tuple[str, ...]
    notes: list[str] = field(default_factory=list)
    layers: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(_NO_LAYERS)))

    def to_frame(self) -> pd.DataFrame:
        """The table by layer and stage, as a copy."""
        return self.table.copy()

    def drop_share(self, first: int = 1) -> float:
        r"""The share of the drop in log NC1 that happens at the projections, over the layers from `first` on.

        .. math:: \sum_l [\log NC1(\mathrm{input}_l) - \log NC1(\mathrm{projected}_l)] \;/\; \sum_l [\log NC1(\mathrm{input}_l)
                  - \log NC1(\mathrm{output}_l)]

        NaN if NC1 does not fall in total. This is the claim of Beaglehole et al. 2024 (arXiv 2402.13728), Section 5, as one number.
        """
        first = _checks.integer("first", first)
        if "drop_projection" not in self.layers:
            return float("nan")
        rows = self.layers[self.layers["layer"] >= first]
        projection, rest = rows["drop_projection"].sum(), rows["drop_nonlinearity"].sum()
        return float(projection / (projection + rest)) if projection + rest > 0 else float("nan")

    def plot(self, measure: str | None = None) -> Figure:
        """One measure against the layer, a curve per stage, and the NFA below if there is one."""
        from agop.profiles.plot import plot_profile

        return plot_profile(self, measure)

    def __str__(self) -> str:
        wide = self.table.pivot(index="layer", columns="stage", values=list(self.measures))
        order = [
            (m, s)
            for m in self.measures
            for s in STAGES
            if (m, s) in wide.columns and wide[m, s].notna().any()
        ]
        wide = wide[order]
        shown = [
            name
            for name in ("name", "nfa", "share_projection", "follows")
            if name in self.layers and self.layers[name].notna().any()
        ]
        if shown != ["name"] and len(self.layers):
            extra = self.layers.set_index("layer")[shown]
            for name in shown:
                wide["layer", name] = extra[name]
        text = wide.to_string(float_format=lambda value: f"{value:.3g}", na_rep="–")
        return "\n".join([f"Profile of {self.subject}", text, *(f"note: {note}" for note in self.notes)])

    def save(self, path: str | Path) -> None:
        """Write the profile to a safetensors file, atomically, with every digit; see `load`."""
        tensors: dict[str, Tensor] = {}
        header = {
            "subject": self.subject,
            "measures": list(self.measures),
            "notes": list(self.notes),
            "table": _columns(self.table, "table", tensors),
            "layers": _columns(self.layers, "layers", tensors),
        }
        _store.write(path, "profile", FORMAT_VERSION, header, tensors)

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Read a profile that `save` wrote; raises `ValueError` with one sentence for any other file."""
        header, tensors = _store.read(path, "profile", FORMAT_VERSION, _REMEDY)
        try:
            table, layers = (_frame(header[name], name, tensors) for name in ("table", "layers"))
            measures, notes = _texts(header["measures"]), _texts(header["notes"])
            _check_tables(table, layers, measures)
            if tensors:
                raise ValueError("more tensors than columns")
            return cls(table, _texts([header["subject"]])[0], tuple(measures), notes, layers)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise _store.unreadable(Path(path), "profile", error, _REMEDY) from None


def _columns(frame: pd.DataFrame, prefix: str, tensors: dict[str, Tensor]) -> list[dict[str, Any]]:
    """A table as JSON; its columns of numbers go among the tensors."""
    columns: list[dict[str, Any]] = []
    for number, name in enumerate(frame):
        values = frame[name]
        entry: dict[str, Any] = {"name": str(name)}
        if len(values) and values.dtype.kind in "if":
            tensors[f"{prefix}.{number}"] = torch.from_numpy(
                np.array(values, dtype=np.int64 if values.dtype.kind == "i" else np.float64)
            )
        else:
            entry["texts"] = [None if pd.isna(value) else str(value) for value in values]
        columns.append(entry)
    return columns


def _frame(columns: Any, prefix: str, tensors: dict[str, Tensor]) -> pd.DataFrame:
    """The table that `_columns` took apart; its tensors are taken out of `tensors`."""
    found: dict[str, Any] = {}
    for number, column in enumerate(columns):
        (name,) = _texts([column["name"]])
        if name in found:
            raise ValueError(f"a column twice in {prefix}")
        if "texts" in column:
            found[name] = [None if text is None else _texts([text])[0] for text in column["texts"]]
        else:
            found[name] = tensors.pop(f"{prefix}.{number}").numpy()
    return pd.DataFrame(found)


def _check_tables(table: pd.DataFrame, layers: pd.DataFrame, measures: list[str]) -> None:
    """One row a layer and stage with numbers for measures, and one row a layer."""
    if not {"layer", "name", "stage"} <= set(table) or not set(_NO_LAYERS) <= set(layers):
        raise ValueError("tables without their first columns")
    if table.duplicated(["layer", "stage"]).any() or layers.duplicated("layer").any():
        raise ValueError("a layer twice")
    if not set(measures) <= set(table) - {"layer", "name", "stage"} or len(set(measures)) < len(measures):
        raise ValueError("measures that are not in the table")
    for frame in (table, layers):
        for name in frame.columns.drop(_TEXTS, errors="ignore"):
            if len(frame) and frame[name].dtype.kind not in "if":
                raise ValueError(f"{name} is no column of numbers")


def _texts(values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("texts that are none")
    return values


def with_drops(layers: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The per-layer table with the drops of log NC1 at the projection and at the nonlinearity."""
    if "nc1" not in table or not (table["stage"] == "projected").any():
        return layers
    wide = table.pivot(index="layer", columns="stage", values="nc1")
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(wide)
        projection = (logs["input"] - logs["projected"]).replace([np.inf, -np.inf], np.nan)
        rest = (logs["projected"] - logs["output"]).replace([np.inf, -np.inf], np.nan)
        share = (projection / (projection + rest)).where(projection + rest > 0)
    drops = pd.DataFrame(
        {"drop_projection": projection, "drop_nonlinearity": rest, "share_projection": share}
    )
    return layers.join(drops, on="layer")
