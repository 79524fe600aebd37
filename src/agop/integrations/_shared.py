"""A network that several processes read together, each its share of the samples: their sums become one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from agop.collapse import ClassMoments
from agop.integrations._measuring import gather
from agop.profiles.labels import ClassIndex
from agop.profiles.network import Network
from agop.profiles.network_pass import NetworkPass
from agop.profiles.reader import Reader

SHARED = frozenset({"moments", "weight", "bias"})
"""Kinds of needs that sums over shares can fill; for any other, every process reads all samples."""


class SharedNetwork(Network):
    """A `Network` whose class moments and scores are merged over `world` processes of torch.distributed.

    `step(model, batch)`, where there is one, runs the model instead of a plain call.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        world: int = 1,
        step: Callable[[Any, Any], Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        self._world, self._step = world, step

    def run(self, x: Any) -> Any:
        return super().run(x) if self._step is None else self._step(self.model, x)

    def _gathered(self, reader: Reader, run: NetworkPass) -> None:
        if self._world == 1:
            return
        order, calls = run.classes.order(), reader.named_calls()
        sums = {(name, stage): entry for name, call in calls.items() for stage, entry in call.stages.items()}
        mine = {
            key: (entry.n, None if (m := entry.moments(order)) is None else m.to("cpu"))
            for key, entry in sums.items()
        }
        shares = gather(
            (run.classes.classes(), mine, reader.n_samples, run.scores.tables(order)), self._world
        )
        labels = sorted(set().union(*(share[0] for share in shares)))
        places = [
            torch.tensor([labels.index(label) for label in share[0]], dtype=torch.int64) for share in shares
        ]
        done: set[int] = set()
        for key, entry in sums.items():
            if id(entry) in done:  # the output of one layer and the input of the next
                continue
            done.add(id(entry))
            parts = [
                (place, *share[1][key])
                for place, share in zip(places, shares, strict=True)
                if key in share[1]
            ]
            merged = [_spread(m, place, len(labels)) for place, _, m in parts if m is not None]
            if merged:
                entry.become(sum(n for _, n, _ in parts), sum(merged[1:], merged[0]))
        reader.n_samples = sum(share[2] for share in shares)
        run.scores.become(
            _summed([(place, share[3]) for place, share in zip(places, shares, strict=True)], len(labels))
        )
        run.classes = ClassIndex()
        run.classes(labels)


def _rows(values: Tensor, place: Int[Tensor, " k"], n: int) -> Tensor:
    """The rows at their places among n."""
    whole = values.new_zeros(n, *values.shape[1:])
    whole[place] = values
    return whole


def _spread(m: ClassMoments, place: Int[Tensor, " k"], n: int) -> ClassMoments:
    """The same moments with the classes at their places among n."""
    return ClassMoments(*(_rows(values, place, n) for values in (m.counts, m.means, m.within, m.residual)))


def _summed(parts: list[tuple[Tensor, Any]], n: int) -> tuple[Tensor, Tensor] | None:
    """The sums of outputs over all processes; None where one of them has none."""
    if any(tables is None for _, tables in parts):
        return None
    right, logs = ([_rows(tables[k], place, n) for place, tables in parts] for k in (0, 1))
    return torch.stack(right).sum(0), torch.stack(logs).sum(0)
