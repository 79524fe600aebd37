"""AGOPs by layer as a result: they merge, and tell what they are of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from agop import _checks
from agop._tables import Cell, number, shades, table
from agop.gradients.coverage import Coverage
from agop.ranks import Ranks


class LayerAGOPs(dict[str, Tensor]):
    """AGOPs by layer, in the order in which the layers were called, with what is needed to merge and to judge
    them.

    `n_samples` samples went in; `rows[name]` rows (samples, tokens or patches) were read by each layer;
    `positions` says what the AGOP is a mean over; `standard_error[name]` is the relative error (Frobenius
    norm) of random outputs, 0 when exact; `weights[name]` is the effective W (k, d) that multiplies what the layer
    reads, where it shows one (the groups of a convolution stacked); `notes` says what was left out, and `coverage`
    how many of the model's weight matrices are layers. `a + b` is the result for the data
    of both, `all_reduce()` that of all processes.
    """

    def __init__(
        self,
        agops: dict[str, Tensor],
        *,
        n_samples: int,
        rows: dict[str, int],
        positions: str,
        standard_error: dict[str, float],
        notes: tuple[str, ...] = (),
        weights: Mapping[str, Tensor] | None = None,
        coverage: Coverage | None = None,
    ) -> None:
        super().__init__(agops)
        self.n_samples = n_samples
        self.rows = rows
        self.positions = positions
        self.standard_error = standard_error
        self.notes = notes
        self.weights = dict(weights or {})
        self.coverage = coverage

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name!r}: {tuple(value.shape)}" for name, value in self.items())
        whole = self.coverage is None or self.coverage.complete
        header = "" if whole else f"{self.coverage}: "
        return f"LayerAGOPs({header}{{{shapes}}}, n_samples={self.n_samples}, positions={self.positions!r})"

    def _repr_html_(self) -> str:
        """A table in a notebook: by layer the shape, the rows that were read, the trace, and how much of it lies on one coordinate."""
        traces = [float(value.trace()) for value in self.values()]
        tops = [_top_share(value, trace) for value, trace in zip(self.values(), traces)]
        columns = {
            "layer": [Cell(name) for name in self],
            "shape": [Cell("×".join(map(str, value.shape))) for value in self.values()],
            "rows": [Cell(f"{self.rows[name]}") for name in self],
            "trace": [Cell(number(t), shade=s) for t, s in zip(traces, shades(traces, log=True))],
            "largest diagonal entry / trace": [
                Cell(number(t), "" if t == t else "the trace is 0", s) for t, s in zip(tops, shades(tops))
            ],
            "standard error": [Cell(number(self.standard_error[name])) for name in self],
        }
        told = () if self.coverage is None or self.coverage.complete else (str(self.coverage),)
        head = f"AGOPs of {len(self)} layers, {self.n_samples} samples, {self.positions} over positions"
        return table(head, list(columns), list(zip(*columns.values())), (*told, *self.notes))

    def _weights(self) -> dict[str, int]:
        return self.rows if self.positions == "mean" else dict.fromkeys(self, self.n_samples)

    def __add__(self, other: LayerAGOPs) -> LayerAGOPs:
        """The layer AGOPs of both data sets together."""
        if not isinstance(other, LayerAGOPs):
            return NotImplemented
        if list(self) != list(other) or self.positions != other.positions:
            raise _checks.bad_value(
                "other",
                f"positions={self.positions!r} and layers {list(self)}",
                f"positions={other.positions!r} and layers {list(other)}",
            )
        agops, errors = {}, {}
        for name, mine, theirs in zip(self, self._weights().values(), other._weights().values()):
            a, b = mine / (mine + theirs), theirs / (mine + theirs)
            agops[name] = a * self[name] + b * other[name]
            error = math.hypot(
                a * self.standard_error[name] * float(self[name].norm()),
                b * other.standard_error[name] * float(other[name].norm()),
            )
            errors[name] = error / max(float(agops[name].norm()), 1e-300)
        return LayerAGOPs(
            agops,
            n_samples=self.n_samples + other.n_samples,
            rows={name: self.rows[name] + other.rows[name] for name in self},
            positions=self.positions,
            standard_error=errors,
            notes=tuple(dict.fromkeys(self.notes + other.notes)),
            weights=self.weights,
            coverage=self.coverage,
        )

    def all_reduce(self, group: Any = None) -> LayerAGOPs:
        """Merge the results of all processes of a `torch.distributed` group (see `Ranks.of`); each of them gets the whole."""
        ranks = Ranks.of(group)

        def total(values: list[float], like: Tensor) -> list[float]:
            summed = ranks.sum_(torch.tensor(values, dtype=torch.float64, device=like.device))
            return [float(value) for value in summed]

        names, like = list(self), next(iter(self.values()))
        *rows, n_samples = total([float(self.rows[name]) for name in names] + [float(self.n_samples)], like)
        weights = dict(zip(names, rows)) if self.positions == "mean" else dict.fromkeys(names, n_samples)
        agops, squares = {}, []
        for name in names:
            share = self._weights()[name] / weights[name]
            squares.append((share * self.standard_error[name] * float(self[name].norm())) ** 2)
            agops[name] = ranks.sum_(self[name] * share)
        errors = {
            name: math.sqrt(square) / max(float(agops[name].norm()), 1e-300)
            for name, square in zip(names, total(squares, like))
        }
        return LayerAGOPs(
            agops,
            n_samples=int(n_samples),
            rows={name: int(count) for name, count in zip(names, rows)},
            positions=self.positions,
            standard_error=errors,
            notes=self.notes,
            weights=self.weights,
            coverage=self.coverage,
        )


def _top_share(agop: Tensor, trace: float) -> float:
    """The share of the trace that lies on one coordinate."""
    return float(agop.diagonal().max()) / trace if trace > 0 else math.nan
