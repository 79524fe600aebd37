"""The random walk among points that diffusion entropies are of: its affinities, scale and spectrum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop._checks import bad_value, floating, integer, real
from agop._memory import available_memory

Bandwidth = float | int | Literal["median", "rms"]


RELATIVE = ("median", "rms")
"""Bandwidths that follow the scale of the points."""


_NO_MEDIAN = (
    "the median distance is 0, because at least half of the pairs of points coincide; pass a number as sigma"
)


@dataclass(frozen=True, eq=False)
class Walk:
    """Affinities of the points that are measured, which rows of the data these are, and what a result says of them."""

    affinities: Float[Tensor, "n n"]
    rows: Int[Tensor, " n"]
    t: float
    definition: str
    details: dict[str, Any]
    undefined_because: str | None

    @classmethod
    def on(
        cls,
        Z: Float[Tensor, "n d"],
        sigma: Bandwidth,
        t: float | int,
        fraction: float | int,
        max_points: int | None,
        generator: torch.Generator,
    ) -> Walk:
        floating("Z", Z, ndim=2)
        if Z.numel() == 0:
            raise bad_value("Z", "at least one row and one column", f"shape {tuple(Z.shape)}")
        sigma, t = _checked_bandwidth(sigma), real("t", t, above=0)
        fraction = _checked_fraction(fraction, sigma)
        rows = _subsample(len(Z), max_points, generator)
        distances, scale = _distances(Z.detach()[rows.to(Z.device)])
        width = sigma if isinstance(sigma, float) else fraction * scale * _typical(distances, sigma)
        spread = bool((distances > 0).any())
        name = f"{sigma:g}" if isinstance(sigma, float) else f"{_times(fraction)}{sigma} (not the paper's)"
        details: dict[str, Any] = {"sigma": width, "t": t, "points": len(rows)}
        if len(rows) < len(Z):
            details["of"] = len(Z)
        return cls(
            _affinities(distances, len(rows), width / scale if spread else 1.0),
            rows,
            t,
            f"bits, sigma={name}, t={t:g}",
            details,
            _NO_MEDIAN if spread and width == 0 else None,
        )

    @property
    def n(self) -> int:
        return len(self.rows)

    def entropies(self, subsets: Int[Tensor, "r m"]) -> list[float]:
        """Of the walks that stay within subsets of one size; as many at a time as have no more affinities than all points."""
        G, at_once = self.affinities, (self.n // subsets.shape[1]) ** 2
        parts = subsets.to(G.device).split(at_once)
        return [value for part in parts for value in _entropies(G[part[:, :, None], part[:, None]], self.t)]


def _entropies(G: Float[Tensor, "r m m"], t: float) -> list[float]:
    """Bits of the spectra of these walks; exactly 0 for one point, or as good as one."""
    root = G.sum(2).sqrt_()
    powers = torch.linalg.eigvalsh(G / root[:, None] / root[:, :, None]).abs_().pow_(t)
    entropies = torch.special.entr(powers / powers.sum(1, keepdim=True)).sum(1) / math.log(2)
    values: list[float] = entropies.clamp_min_(0).masked_fill_((G == 1).flatten(1).all(1), 0).tolist()
    return values


def _distances(Z: Float[Tensor, "n d"]) -> tuple[Float[Tensor, " pairs"], float]:
    """Distances of all pairs, in units of the largest centred entry, and that entry.

    They are formed from differences: equal rows are exactly 0 apart, near ones keep their digits, and no square leaves the range.
    """
    Z = (Z.cpu() if Z.device.type == "mps" else Z).double()
    Z = Z - Z.mean(0)
    scale = float(Z.abs().max())
    if not math.isfinite(scale):
        raise bad_value("Z", "sums within the float64 range", "an overflow", "rescale the features")
    scale = scale or 1.0
    return torch.nn.functional.pdist(Z / scale), scale


def _typical(distances: Float[Tensor, " pairs"], which: Literal["median", "rms"]) -> float:
    """The lower median of the distances, or the root of their mean square; 0 without pairs."""
    if len(distances) == 0:
        return 0.0
    return float(distances.median() if which == "median" else distances.square().mean().sqrt())


def _times(fraction: float) -> str:
    return "" if fraction == 1 else f"{fraction:g} "


def _affinities(distances: Float[Tensor, " pairs"], n: int, width: float) -> Float[Tensor, "n n"]:
    """The Gaussian kernel."""
    values = (distances / max(width, torch.finfo(torch.float64).tiny)).square_().div_(-2).exp_()
    G = values.new_ones(n, n)
    i, j = torch.triu_indices(n, n, offset=1, device=G.device)
    G[i, j] = values
    G[j, i] = values
    return G


def _subsample(n: int, max_points: int | None, generator: torch.Generator) -> Int[Tensor, " m"]:
    if max_points is not None:
        integer("max_points", max_points, at_least=1, remedy="pass None for all")
    kept = n if max_points is None else min(n, max_points)
    size = 5 * 8 * kept**2  # affinities, their copy for the eigenvalues, indices of pairs
    if size > 2**30 and size > available_memory():
        raise bad_value(
            "max_points", "points whose affinities fit into memory", f"{kept:,}", "take a few thousand"
        )
    if kept == n:
        return torch.arange(n)
    return order(n, generator)[:kept].sort().values


def order(n: int, generator: torch.Generator) -> Int[Tensor, " n"]:
    """A random order of n points."""
    return torch.randperm(n, generator=generator, device=generator.device).cpu()


def generator_of(random_state: int | torch.Generator) -> torch.Generator:
    """One that was given, or a new one of a seed."""
    if isinstance(random_state, torch.Generator):
        return random_state
    seed = integer("random_state", random_state, at_least=0)
    if seed >= 2**64:
        raise bad_value("random_state", "an integer below 2**64", f"one of {seed.bit_length()} bits")
    return torch.Generator().manual_seed(seed)


def _checked_bandwidth(sigma: Bandwidth) -> float | Literal["median", "rms"]:
    if isinstance(sigma, str):
        if sigma in RELATIVE:
            return sigma
        raise bad_value("sigma", "a finite number > 0, 'median' or 'rms'", repr(sigma))
    return real("sigma", sigma, above=0, remedy="or pass 'median'")


def _checked_fraction(fraction: float | int, sigma: float | str) -> float:
    fraction = real("fraction", fraction, above=0)
    if fraction != 1 and not isinstance(sigma, str):
        raise bad_value(
            "fraction", "1 where sigma is a number", f"{fraction:g}", "pass sigma='median' or 'rms'"
        )
    return fraction
