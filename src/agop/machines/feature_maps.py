r"""Random, untrained feature maps :math:`\Phi: R^d \to R^k`, the last step of a Deep RFM layer.

A map is drawn once per layer from its own generator and is then a fixed function of rows. Fourier features belong to the
kernel they name: :math:`E[\Phi(x)\cdot\Phi(z)] = k(x, z)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.machines.names import FEATURE_MAPS


def layer_generator(seed: int, *place: int) -> torch.Generator:
    """The generator of what one layer (`place`: its number, and which use of it) draws: on the CPU, whatever the device of the fit."""
    state = np.random.SeedSequence([seed, *place]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


@runtime_checkable
class FeatureMap(Protocol):
    """A fixed map of rows, with the tensors that define it (for saving)."""

    def __call__(self, Z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]: ...

    def tensors(self) -> dict[str, Tensor]:
        """The tensors the map was drawn as."""
        ...


@dataclass(frozen=True, eq=False)
class ReLUFeatures:
    r""":math:`\Phi(z) = \sqrt{2/k}\,\mathrm{ReLU}(W z)` with standard normal :math:`W` (k, d): E‖Φ(z)‖² = ‖z‖²."""

    weight: Float[Tensor, "k d"]

    def __call__(self, Z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        return (Z @ self.weight.mT.to(Z.dtype)).relu_().mul_(math.sqrt(2 / len(self.weight)))

    def tensors(self) -> dict[str, Tensor]:
        return {"weight": self.weight}


@dataclass(frozen=True, eq=False)
class FourierFeatures:
    r""":math:`\Phi(z) = \sqrt{2/k}\,\cos(\Omega z + b)`, the random features of Rahimi and Recht (2007).

    `frequencies` :math:`\Omega` (k, d) follow the spectral law of the kernel, `phases` :math:`b` (k,) are uniform on [0, 2π).
    """

    frequencies: Float[Tensor, "k d"]
    phases: Float[Tensor, " k"]

    def __call__(self, Z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        frequencies, phases = self.frequencies.to(Z.dtype), self.phases.to(Z.dtype)
        return torch.addmm(phases, Z, frequencies.mT).cos_().mul_(math.sqrt(2 / len(phases)))

    def tensors(self) -> dict[str, Tensor]:
        return {"frequencies": self.frequencies, "phases": self.phases}


@dataclass(frozen=True, eq=False)
class IdentityFeatures:
    """Φ(z) = z."""

    def __call__(self, Z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return Z

    def tensors(self) -> dict[str, Tensor]:
        return {}


@dataclass(frozen=True, eq=False)
class CallableFeatures:
    """A user's function of rows; it must map each row by itself."""

    function: Callable[[Tensor], Tensor]

    def __call__(self, Z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        features = self.function(Z)
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(Z):
            got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise _checks.bad_value(
                "feature_map", f"a callable that returns a tensor of shape ({len(Z)}, k)", f"{got}"
            )
        return features.to(Z.dtype)

    def tensors(self) -> dict[str, Tensor]:
        raise _checks.bad_value(
            "feature_map",
            "a named feature map, which can be saved",
            "a callable",
            "use one of " + ", ".join(FEATURE_MAPS),
        )


def draw_feature_map(
    spec: str | Callable[[Tensor], Tensor],
    d: int,
    width: int,
    *,
    generator: torch.Generator,
    bandwidth: float,
    exponent: float = 1.0,
    kernel: str = "laplace",
) -> FeatureMap:
    """Draw a feature map for inputs with `d` features, on the CPU in float64.

    Parameters
    ----------
    spec
        A name from `FEATURE_MAPS` or a callable.
    width
        Number of features (ignored by "identity" and callables).
    generator
        The only source of randomness.
    bandwidth, exponent
        Of the kernel that Fourier features approximate.
    kernel
        The kernel whose law the bare name "fourier" takes.
    """
    if callable(spec):
        return CallableFeatures(spec)
    _checks.one_of("feature_map", spec, FEATURE_MAPS)
    if spec == "identity":
        return IdentityFeatures()
    if spec == "relu":
        return ReLUFeatures(torch.randn(width, d, generator=generator, dtype=torch.float64))
    law = f"fourier-{kernel}" if spec == "fourier" else spec
    if law not in _FREQUENCIES:
        raise _checks.bad_value(
            "feature_map",
            f"a map that belongs to kernel {kernel!r}, which has no Fourier features",
            repr(spec),
            "use 'relu', or name a law such as 'fourier-laplace'",
        )
    frequencies = _FREQUENCIES[law](width, d, generator, exponent) / bandwidth
    phases = 2 * math.pi * torch.rand(width, generator=generator, dtype=torch.float64)
    return FourierFeatures(frequencies, phases)


def _normal(k: int, d: int, generator: torch.Generator, exponent: float) -> Float[Tensor, "k d"]:
    """Spectral law of exp(−‖x‖²/2)."""
    return torch.randn(k, d, generator=generator, dtype=torch.float64)


def _spherical_stable(k: int, d: int, generator: torch.Generator, exponent: float) -> Float[Tensor, "k d"]:
    """Spectral law of exp(−‖x‖₂^e): a normal vector times one heavy-tailed radius; multivariate Cauchy for e = 1.

    The squared radius is twice a positive stable variable of index e/2 (Kanter 1975).
    """
    normal = torch.randn(k, d, generator=generator, dtype=torch.float64)
    index = exponent / 2
    angle = math.pi * torch.rand(k, 1, generator=generator, dtype=torch.float64).clamp_min_(1e-12)
    waiting = torch.empty(k, 1, dtype=torch.float64).exponential_(generator=generator)
    if exponent == 2:
        return math.sqrt(2) * normal
    stable = torch.sin(index * angle) / torch.sin(angle) ** (1 / index)
    stable = stable * (torch.sin((1 - index) * angle) / waiting) ** ((1 - index) / index)
    return (2 * stable).sqrt() * normal


def _independent_cauchy(k: int, d: int, generator: torch.Generator, exponent: float) -> Float[Tensor, "k d"]:
    """Spectral law of exp(−‖x‖₁), what the paper's released scripts draw."""
    uniform = torch.rand(k, d, generator=generator, dtype=torch.float64)
    return torch.tan(math.pi * (uniform - 0.5))


_FREQUENCIES = {
    "fourier-gaussian": _normal,
    "fourier-laplace": _spherical_stable,
    "fourier-laplace-l1": _independent_cauchy,
}
