"""`Profile`: measurements by layer and stage, by layer, and of the whole, with what was left undefined and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from agop import _checks, _store
from agop.probes.drops import share_of_fall
from agop.profiles.scores import Scores
from agop.profiles.shown import Shown, look_of
from agop.view import STAGES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMAT_VERSION = 2
_OLDEST_READ = 1
_REMEDY = "save the profile again"
_NO_LAYERS = ("layer", "name")
_TEXTS = ["name", "stage", "kind", "follows", "measure"]
"""The columns that hold no numbers."""

_CURVE_COLUMNS = ["measure", "layer", "name", "stage", "x", "value", "spread"]
_DROPS = ("drop_projection", "drop_nonlinearity", "share_projection")


@dataclass(frozen=True, eq=False)
class Profile:
    r"""Measurements by layer and stage, by layer, and of the whole subject.

    Attributes
    ----------
    table : DataFrame
        One row a layer and stage: `layer` (from 1), `name`, `stage` ("input", "projected", "output"), one column a measure (NaN where
        undefined).
    subject : str
        What was profiled.
    measures : tuple of str
        The measures of stages, by their names in `agop.PROBES` or those of the caller's probes.
    notes : list of str
        Undefined values with the reason, layers and classes left out, fallbacks.
    layers : DataFrame
        One row a layer: `layer`, `name`, and, where NC1 was measured and there is a projected stage,

        - `drop_projection`: :math:`\log_{10}` NC1(input) − :math:`\log_{10}` NC1(projected),
        - `drop_nonlinearity`: :math:`\log_{10}` NC1(projected) − :math:`\log_{10}` NC1(output),
        - `share_projection`: `drop_projection` over the sum of both; NaN where NC1 rises or hardly falls over the layer
          (`agop.probes.drops.share_of_fall`). Above 1 where the nonlinearity undoes some of it.

        For networks also `nfa` (the correlation of the NFM with the AGOP's power), `kind`, `features` (of the input), `follows` (the
        operations up to the output stage).
    whole : DataFrame
        One row, a column for each measure of the whole subject; empty if there is none.
    curves : DataFrame
        Measures that are no single number: `measure`, `layer` (0: the whole), `name`, `stage`, `x`, `value`, `spread`.
    shown : dict
        By column how it is shown (`Shown`: label, meaning, scale, towards, level).
    scores : Scores or None
        Accuracy and loss of a classifier on the very samples that were measured; None for what is none. A classifier near chance is told
        when the profile is printed.
    """

    table: pd.DataFrame
    subject: str
    measures: tuple[str, ...]
    notes: list[str] = field(default_factory=list)
    layers: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(_NO_LAYERS)))
    whole: pd.DataFrame = field(default_factory=pd.DataFrame)
    curves: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=_CURVE_COLUMNS))
    shown: Mapping[str, Shown] = field(default_factory=dict)
    scores: Scores | None = None

    def to_frame(self, level: str = "stage") -> pd.DataFrame:
        """A table as a copy: by layer and stage, by layer, of the whole, or "long": every number in a row of its own.

        The long table has the columns `level`, `layer`, `layer_from_end` (1 is the last), `name`, `stage`, `measure`, `x` (of a curve),
        `value`, `spread`.
        """
        level = _checks.one_of("level", level, ("stage", "layer", "subject", "long"))
        if level == "long":
            return long_table(self)
        return {"stage": self.table, "layer": self.layers, "subject": self.whole}[level].copy()

    def beside(self, other: Profile) -> pd.DataFrame:
        """The numbers of this profile and those of another, for instance of a theory, in one table.

        Rows are joined where layer (counted from the end), stage, measure and place on a curve are the same; names are labels and may
        differ. Columns: `layer_from_end`, `layer`, `name`, `stage`, `measure`, `x`, `value`, `other`.
        """
        if not isinstance(other, Profile):
            raise _checks.bad_type("other", "a Profile", type(other).__name__)
        keys = ["layer_from_end", "stage", "measure", "x"]
        mine, theirs = (long_table(p).drop(columns=["level", "spread"]) for p in (self, other))
        both = mine.merge(theirs[[*keys, "value"]].rename(columns={"value": "other"}), on=keys)
        both = both.dropna(subset=["value", "other"], how="all").reset_index(drop=True)
        return both[["layer_from_end", "layer", "name", "stage", "measure", "x", "value", "other"]]

    @property
    def layer_measures(self) -> tuple[str, ...]:
        """The columns of `layers` that are measures."""
        about = {"layer", "name", "kind", "features", "follows"}
        return tuple(str(name) for name in self.layers if name not in about)

    def look(self, column: str) -> Shown:
        """How a column is shown."""
        return self.shown.get(column) or look_of(column)

    def drop_share(self, first: int = 1) -> float:
        r"""The share of the drop in log NC1 that happens at the projections, over the layers from `first` on.

        .. math:: \sum_l [\log NC1(\mathrm{input}_l) - \log NC1(\mathrm{projected}_l)] \;/\; \sum_l [\log NC1(\mathrm{input}_l)
                  - \log NC1(\mathrm{output}_l)]

        NaN if NC1 does not fall in total, or hardly (`agop.probes.drops.share_of_fall`). This is the claim of Beaglehole et al. 2024
        (arXiv 2402.13728), Section 5, as one number.
        """
        first = _checks.integer("first", first)
        if "drop_projection" not in self.layers:
            return float("nan")
        rows = self.layers[self.layers["layer"] >= first]
        projection, rest = rows["drop_projection"].sum(), rows["drop_nonlinearity"].sum()
        return float(share_of_fall(float(projection), float(rest)))

    def plot(self, measure: str | None = None, *, style: str = "screen") -> Axes:
        """One measure against the layer, a curve per stage, and the NFA below if there is one.

        Returns the axes of the measure; a notebook shows the figure once, and `.figure.savefig("nc1.pdf")` writes it with its text as text.
        `style="paper"` is a column of a paper, 3.3 inches.
        """
        from agop.profiles.plot import plot_profile

        return plot_profile(self, measure, style=style)

    def _repr_html_(self) -> str:
        """A table in a notebook, with every column."""
        from agop.profiles.notebook import profile_html

        return profile_html(self)

    def __str__(self) -> str:
        parts = [self._text(), *(f"{name}: {value:.4g}" for name, value in self._of_whole().items())]
        head, warning = f"Profile of {self.subject}", ""
        if self.scores is not None:
            head, warning = f"{head}: {self.scores}", self.scores.warning
        told = [f"warning: {warning}"] if warning else []
        return "\n".join([head, *filter(None, parts), *told, *(f"note: {note}" for note in self.notes)])

    def _of_whole(self) -> dict[str, float]:
        return {} if self.whole.empty else {str(k): float(v) for k, v in self.whole.iloc[0].items()}

    def _text(self) -> str:
        if self.table.empty:
            return "" if self.layers.empty else self.layers.set_index("layer").to_string(na_rep="–")
        wide = self.table.pivot(index="layer", columns="stage", values=list(self.measures))
        order = [
            (m, s)
            for m in self.measures
            for s in STAGES
            if (m, s) in wide.columns and wide[m, s].notna().any()
        ]
        wide = wide[order]
        own = [name for name in self.layer_measures if name not in _DROPS]
        shown = [
            name
            for name in ("name", *own, "share_projection", "follows")
            if name in self.layers and self.layers[name].notna().any()
        ]
        if shown != ["name"] and len(self.layers):
            extra = self.layers.set_index("layer")[shown]
            for name in shown:
                wide["layer", name] = extra[name]
        if not len(wide.columns):
            return ""
        return wide.to_string(float_format=lambda value: f"{value:.3g}", na_rep="–")

    def save(self, path: str | Path) -> None:
        """Write the profile to a safetensors file, atomically, with every digit; see `load`."""
        tensors: dict[str, Tensor] = {}
        header = {
            "subject": self.subject,
            "measures": list(self.measures),
            "notes": list(self.notes),
            "table": columns_of(self.table, "table", tensors),
            "layers": columns_of(self.layers, "layers", tensors),
            "whole": columns_of(self.whole, "whole", tensors),
            "curves": columns_of(self.curves, "curves", tensors),
            "shown": {column: asdict(look) for column, look in self.shown.items()},
            "scores": None if self.scores is None else asdict(self.scores),
        }
        _store.write(path, "profile", FORMAT_VERSION, header, tensors)

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Read a profile that `save` wrote; raises `ValueError` with one sentence for any other file."""
        header, tensors = _store.read(path, "profile", FORMAT_VERSION, _REMEDY, oldest=_OLDEST_READ)
        try:
            table, layers = (frame_of(header[name], name, tensors) for name in ("table", "layers"))
            whole, curves = (frame_of(header.get(name, []), name, tensors) for name in ("whole", "curves"))
            curves = curves if len(curves.columns) else pd.DataFrame(columns=_CURVE_COLUMNS)
            shown = looks_of(header.get("shown", {}))
            measures, notes = texts_of(header["measures"]), texts_of(header["notes"])
            _check_tables(table, layers, measures)
            if tensors:
                raise ValueError("more tensors than columns")
            subject = texts_of([header["subject"]])[0]
            scores = Scores.read(header.get("scores"))
            return cls(table, subject, tuple(measures), notes, layers, whole, curves, shown, scores)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise _store.unreadable(Path(path), "profile", error, _REMEDY) from None


def looks_of(entries: Any) -> dict[str, Shown]:
    """From what a file kept of how columns are shown."""
    if not isinstance(entries, dict):
        raise TypeError("ways to show columns that are no table")
    return {str(column): Shown.read(entry) for column, entry in entries.items()}


def columns_of(frame: pd.DataFrame, prefix: str, tensors: dict[str, Tensor]) -> list[dict[str, Any]]:
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


def frame_of(columns: Any, prefix: str, tensors: dict[str, Tensor]) -> pd.DataFrame:
    """The table that `_columns` took apart; its tensors are taken out of `tensors`."""
    found: dict[str, Any] = {}
    for number, column in enumerate(columns):
        (name,) = texts_of([column["name"]])
        if name in found:
            raise ValueError(f"a column twice in {prefix}")
        if "texts" in column:
            found[name] = [None if text is None else texts_of([text])[0] for text in column["texts"]]
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


def texts_of(values: Any) -> list[str]:
    """A list of texts that a file kept."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("texts that are none")
    return values


def long_table(profile: Profile) -> pd.DataFrame:
    """Every number of a profile in a row of its own."""
    parts = [
        _melted(profile.table, profile.measures, "stage"),
        _melted(profile.layers, profile.layer_measures, "layer"),
        _melted(profile.whole, tuple(map(str, profile.whole)), "subject"),
        profile.curves.assign(
            level=["subject" if layer == 0 else "stage" for layer in profile.curves["layer"]]
        ),
    ]
    columns = ["level", "layer", "name", "stage", "measure", "x", "value", "spread"]
    full = [part.reindex(columns=columns) for part in parts if len(part)]
    table = pd.concat(full, ignore_index=True) if full else pd.DataFrame(columns=columns)
    table["layer"] = table["layer"].fillna(0).astype(int)
    table["name"], table["stage"] = table["name"].fillna(""), table["stage"].fillna("")
    last = max(profile.layers["layer"], default=0)
    table.insert(2, "layer_from_end", [0 if layer == 0 else last + 1 - layer for layer in table["layer"]])
    return table


def _melted(frame: pd.DataFrame, measures: tuple[str, ...], level: str) -> pd.DataFrame:
    keys = [name for name in ("layer", "name", "stage") if name in frame]
    if frame.empty or not measures:
        return pd.DataFrame()
    long = frame.melt(keys, [m for m in measures if m in frame], "measure", "value")
    return long.assign(level=level)
