"""Which combinations of a model's outputs are pulled back: all of them, some of them, or random ones.

The AGOP of n samples is a sum of outer products of the gradients of `⟨v, f(x_i)⟩` over the rows v of any
matrix V with `E VᵀV = I`. Exact: the c unit vectors. Picked: the unit vectors of the chosen outputs. Random:
s vectors of ±1/√s, drawn afresh for every sample, so that the noise averages out over samples too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks

REPLICATES = 4
"""Into how many independent estimates the random combinations are split to measure their standard error."""


@dataclass
class Cotangents:
    """The rows of V, pass by pass: `passes` of a (b, c) output yields `(replicate, (b, c) cotangent)`.

    `outputs` is None (exact), an int (that many random sign combinations) or a list of output indices. With
    `shared` one draw serves all samples of all batches, which centring by the mean gradient needs.
    """

    outputs: int | Sequence[int] | None = None
    random_state: int | torch.Generator = 0
    shared: bool = False
    generator: torch.Generator = field(init=False, repr=False)
    _signs: Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.outputs, str) or not isinstance(self.outputs, int | Iterable | None):
            got = f"{self.outputs!r} ({type(self.outputs).__name__})"
            raise _checks.bad_type("outputs", "None, a number of random combinations, or output indices", got)
        if self.outputs is not None and not isinstance(self.outputs, int):
            self.outputs = [_checks.integer("outputs", index) for index in self.outputs]
            if not self.outputs:
                raise _checks.bad_value(
                    "outputs", "at least one output index", "none", "pass None for all outputs"
                )
        elif self.outputs is not None:
            _checks.integer("outputs", self.outputs, at_least=1, remedy="pass None for all outputs")
        seed = self.random_state
        if not isinstance(seed, torch.Generator):
            number = _checks.integer("random_state", seed, at_least=0)
            if number >= 2**64:
                raise _checks.bad_value(
                    "random_state", "an integer below 2**64", f"one of {number.bit_length()} bits"
                )
            seed = torch.Generator().manual_seed(number)
        self.generator = seed

    @property
    def random(self) -> bool:
        """Whether the combinations are random."""
        return isinstance(self.outputs, int)

    def count(self, n_outputs: int) -> int:
        """How many backward passes a model with `n_outputs` outputs costs."""
        if self.outputs is None:
            return n_outputs
        return self.outputs if isinstance(self.outputs, int) else len(self.outputs)

    @property
    def replicate_sizes(self) -> list[int]:
        """How many passes go to each replicate (one replicate when nothing is random)."""
        if not isinstance(self.outputs, int):
            return [1]
        replicates = min(REPLICATES, self.outputs)
        return [len(range(first, self.outputs, replicates)) for first in range(replicates)]

    def passes(self, y: Float[Tensor, "b c"]) -> Iterator[tuple[int, Float[Tensor, "b c"]]]:
        """The cotangents of one batch; each is overwritten by the next."""
        cotangent = torch.zeros_like(y, requires_grad=False)
        if not isinstance(self.outputs, int):
            for index in range(y.shape[1]) if self.outputs is None else self._picked(y.shape[1]):
                cotangent[:, index] = 1
                yield 0, cotangent
                cotangent[:, index] = 0
            return
        signs = self._drawn(y.shape[1]) if self.shared else None
        replicates = len(self.replicate_sizes)
        for draw in range(self.outputs):
            drawn = _signs(y.shape[0], y.shape[1], self.generator) if signs is None else signs[draw]
            cotangent.copy_(drawn, non_blocking=True)
            yield draw % replicates, cotangent

    def _picked(self, n_outputs: int) -> list[int]:
        assert isinstance(self.outputs, list)
        for index in self.outputs:
            if not -n_outputs <= index < n_outputs:
                raise _checks.bad_value(
                    "outputs", f"indices below {n_outputs}, the number of outputs", f"{index}"
                )
        return self.outputs

    def _drawn(self, n_outputs: int) -> Tensor:
        if self._signs is None:
            assert isinstance(self.outputs, int)
            self._signs = _signs(self.outputs, n_outputs, self.generator)
        return self._signs


def _signs(rows: int, columns: int, generator: torch.Generator) -> Float[Tensor, "rows columns"]:
    """Independent ±1, 32 of them from each draw of the generator."""
    words = -(-rows * columns // 32)
    bits = torch.randint(2**32, (words, 1), generator=generator, device=generator.device)
    bits = (bits >> torch.arange(32, device=generator.device)) & 1
    return bits.flatten()[: rows * columns].reshape(rows, columns).float().mul_(2).sub_(1)


def replicate_error(estimates: Sequence[Tensor], sizes: Sequence[int]) -> float:
    """Relative standard error of the mean of independent estimates made of `sizes` draws each."""
    if len(estimates) < 2:
        return math.nan
    draws = sum(sizes)
    mean = sum(estimate * (size / draws) for estimate, size in zip(estimates, sizes))
    assert isinstance(mean, Tensor)
    scatter = sum(size * float((estimate - mean).norm()) ** 2 for estimate, size in zip(estimates, sizes))
    return math.sqrt(scatter / ((len(estimates) - 1) * draws)) / max(float(mean.norm()), 1e-300)
