r"""Two arms of a spiral that winds as often as one likes.

With u uniform on (−1, 1), :math:`t = \mathrm{sign}(u) \sqrt{|u|}` and the angle :math:`\omega \tfrac{\pi}{2} |t|`, a point is
:math:`t (\cos, \sin)` of the angle, with Gaussian noise; its class is the sign of u. The larger ω, the more often the arms wind around
each other.

Source: Nazaret and Blei 2022 (ICML).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from agop._checks import integer, real
from agop.datasets.dataset import Raw
from agop.datasets.source import Source


def draw_spiral(
    n: int, omega: float | int, noise: float | int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n 2"], Int[np.ndarray, " n"]]:
    """N points and their arms, 0 or 1."""
    u = rng.uniform(-1, 1, size=integer("n", n, at_least=1))
    t = np.sign(u) * np.sqrt(np.abs(u))
    angle = real("omega", omega, at_least=0) * math.pi / 2 * np.abs(t)
    clean = t[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return clean + real("noise", noise, at_least=0) * rng.normal(size=clean.shape), (u > 0).astype(np.int64)


def spiral(root: Path, download: bool, seed: int, omega: float, noise: float, train: int, test: int) -> Raw:
    """Training and test points of two arms."""
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    parts = [draw_spiral(count, omega, noise, rng) for count in (train, test)]
    (x, y), (x_test, y_test) = ((x.astype(np.float32), y) for x, y in parts)
    return Raw(x, y, x_test, y_test, ("first arm", "second arm"))


SPIRAL = Source(
    name="spiral", description="two arms that wind around each other", origin="agop", kind="generated", shape=(2,), n_train=1024,
    n_test=1024, n_classes=2, read=spiral, parameters={"omega": 6.0, "noise": 0.02, "train": 1024, "test": 1024},
)  # fmt: skip
