"""`Profile`: measurements by layer and stage, and by layer, with what was left undefined and why."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from agop import _checks
from agop.view import STAGES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT_VERSION = 2

_NO_LAYERS = ("layer", "name")


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
        """Write the profile as one JSON document (see `load`)."""
        document = {
            "format": "agop.Profile",
            "version": FORMAT_VERSION,
            "subject": self.subject,
            "measures": list(self.measures),
            "notes": self.notes,
            "table": json.loads(self.table.to_json(orient="split", double_precision=15)),
            "layers": json.loads(self.layers.to_json(orient="split", double_precision=15)),
        }
        Path(path).write_text(json.dumps(document, indent=1))

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Read a profile that `save` wrote; raises `ValueError` with one sentence for any other file."""
        try:
            document = json.loads(Path(path).read_text())
            version = document["version"] if document["format"] == "agop.Profile" else None
        except (ValueError, KeyError, TypeError):
            raise _checks.bad_value(
                "path", "a profile written by Profile.save", f"another file ({path})"
            ) from None
        if version not in (1, FORMAT_VERSION):
            raise _checks.bad_value(
                "path", f"a profile of format version {FORMAT_VERSION}", f"version {version!r}"
            )
        measures = tuple(document["measures"])
        table = _frame(document["table"])
        table[list(measures)] = table[list(measures)].astype(float)
        layers = _frame(document["layers"]) if version > 1 else pd.DataFrame(columns=list(_NO_LAYERS))
        for name in layers.columns.drop(["name", "kind", "follows"], errors="ignore"):
            if layers[name].dtype == object:
                # nothing but empty cells
                layers[name] = layers[name].astype(float)
        return cls(table, document["subject"], measures, document["notes"], layers)


def _frame(split: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(split["data"], columns=split["columns"])


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
