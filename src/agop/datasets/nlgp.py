r"""Images without structure but in their edges: nonlinear Gaussian processes on a ring or torus, and Gaussians of the same covariance.

A Gaussian z of unit variance with covariance :math:`\exp(-\text{dist}(i, j)^2 / \xi^2)` between pixels (periodic distance) goes through
:math:`\psi(z) = \operatorname{erf}(g z / \sqrt 2) / \sqrt\gamma` with :math:`\gamma = \tfrac2\pi \arcsin \tfrac{g^2}{1 + g^2}`: unit
variance again, and for a large gain g two levels with edges between them. Class 1 has the length ξ₁, class 0 has ξ₂. The Gaussian twin
has the same covariance
:math:`\tfrac{2}{\pi\gamma} \arcsin(\tfrac{g^2}{1+g^2} C)` and no higher moments.

Ingrosso and Goldt 2022 (PNAS; arXiv 2202.00565).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from jaxtyping import Float

from agop._checks import bad_value, integer, one_of, real
from agop.datasets.dataset import Raw
from agop.datasets.source import Source

KINDS = ("nonlinear", "gaussian")
JITTER = 1e-3
"""Added to the diagonal before it is scaled to one again: periodic distances leave eigenvalues that are slightly negative."""

_PARAMETERS = {
    "side": 40,
    "axes": 1,
    "gain": 3.0,
    "length": 0.1,
    "other_length": 0.05,
    "train": 1000,
    "test": 1000,
}


def field_covariance(side: int, axes: int, length: float | int) -> Float[np.ndarray, "D D"]:
    """Covariance of z on a ring (`axes` 1) or torus (2) of `side` pixels each way; `length` is ξ as a share of the side."""
    side, axes = integer("side", side, at_least=2), integer("axes", axes, at_least=1)
    one_of("axes", axes, (1, 2))
    xi = real("length", length, above=0) * side
    steps = np.abs(np.subtract.outer(np.arange(side), np.arange(side)))
    ring = np.exp(-(np.minimum(steps, side - steps) ** 2) / xi**2)
    whole = ring if axes == 1 else np.kron(ring, ring)
    return (whole + JITTER * np.eye(len(whole))) / (1 + JITTER)


def data_covariance(z: Float[np.ndarray, "D D"], gain: float | int) -> Float[np.ndarray, "D D"]:
    """Covariance of ψ(z): that of both kinds of data."""
    share = _share(gain)
    return np.arcsin(share * z) / math.asin(share)


def _share(gain: float | int) -> float:
    g = real("gain", gain, above=0)
    return g**2 / (1 + g**2)


def deviation(gain: float | int) -> float:
    r"""Standard deviation :math:`\sqrt\gamma` of :math:`\operatorname{erf}(g z / \sqrt 2)`."""
    return math.sqrt(2 / math.pi * math.asin(_share(gain)))


def mixing(
    kind: str, *, side: int, axes: int, gain: float | int, length: float | int
) -> Float[np.ndarray, "D D"]:
    """What rows of white noise are multiplied with: z of the nonlinear kind, which ψ is applied to, or points of the Gaussian kind."""
    one_of("kind", kind, KINDS)
    covariance = field_covariance(side, axes, length)
    if kind == "gaussian":
        covariance = data_covariance(covariance, gain)
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(min=0))).T


def draw_fields(
    n: int,
    rng: np.random.Generator,
    *,
    side: int = 40,
    axes: int = 1,
    gain: float | int = 3.0,
    length: float | int = 0.1,
    kind: str = "nonlinear",
) -> Float[np.ndarray, "n D"]:
    """N points of one length, of unit variance: nonlinear, or Gaussian with the same covariance."""
    from scipy.special import erf

    root = mixing(kind, side=side, axes=axes, gain=gain, length=length)
    z = rng.normal(size=(integer("n", n, at_least=1), len(root))) @ root
    return z if kind == "gaussian" else erf(float(gain) * z / math.sqrt(2)) / deviation(gain)


def _read(
    kind: str,
    seed: int,
    side: int,
    axes: int,
    gain: float,
    length: float,
    other_length: float,
    train: int,
    test: int,
) -> Raw:
    if length == other_length:
        raise bad_value(
            "length", "another one than other_length", f"{length} twice", "classes differ in it only"
        )
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    parts = []
    for count in (integer("train", train, at_least=2), integer("test", test, at_least=2)):
        y = np.arange(count) % 2
        x = np.empty((count, side**axes), dtype=np.float32)
        for label, own in ((0, other_length), (1, length)):
            rows = y == label
            x[rows] = draw_fields(
                int(rows.sum()), rng, side=side, axes=axes, gain=gain, length=own, kind=kind
            )
        parts.append((x, y))
    (x_train, y_train), (x_test, y_test) = parts
    return Raw(x_train, y_train, x_test, y_test, ("short edges", "long edges"))


def nlgp(root: Path, download: bool, seed: int, **parameters: float) -> Raw:
    """Two classes of nonlinear Gaussian processes that differ in their length."""
    return _read("nonlinear", seed, **parameters)  # type: ignore[arg-type]


def gaussian_twin(root: Path, download: bool, seed: int, **parameters: float) -> Raw:
    """Gaussian points with the covariances of `nlgp`."""
    return _read("gaussian", seed, **parameters)  # type: ignore[arg-type]


NLGP = Source(
    name="nlgp", description="two levels with edges between, of two lengths, on a ring", origin="agop", kind="generated", shape=(40,),
    n_train=1000, n_test=1000, n_classes=2, read=nlgp, parameters=_PARAMETERS,
)  # fmt: skip
NLGP_GAUSSIAN = Source(
    name="nlgp-gaussian", description="Gaussian points with the covariances of nlgp", origin="agop", kind="generated", shape=(40,),
    n_train=1000, n_test=1000, n_classes=2, read=gaussian_twin, parameters=_PARAMETERS,
)  # fmt: skip
