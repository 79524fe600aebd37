"""Rules for centres side by side: test R² and seconds on even, uneven and heavy-tailed rows, means over seeds.

python -m benchmarks.nystrom_centers [SEEDS]
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from agop.machines.names import CENTERS
from benchmarks._harness import record

N, TEST, M = 4000, 2000, (100, 400)


def even(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Normal rows; a target of three of twenty directions."""
    X = rng.normal(size=(n, 20))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]


def uneven(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Thirty clusters of very different sizes, with a plane of its own in each."""
    fixed = np.random.default_rng(3)
    means, slopes = 4 * fixed.normal(size=(30, 6)), fixed.normal(size=(30, 6))
    chance = 1 / np.arange(1, 31) ** 2
    own = rng.choice(30, n, p=chance / chance.sum())
    X = means[own] + 0.3 * rng.normal(size=(n, 6))
    return X, (X * slopes[own]).sum(1)


def tails(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Heavy-tailed columns; the target lives in the tails too."""
    X = rng.standard_t(2, size=(n, 5))
    return X, np.sign(X[:, 0]) * np.log1p(np.abs(X[:, 0])) + np.cos(X[:, 1]) + np.abs(X[:, 2]) ** 0.5


DATA = {"even": even, "uneven": uneven, "tails": tails}


def main(seeds: str = "5") -> None:
    import agop

    rows: list[dict[str, Any]] = []
    for name, make in DATA.items():
        for kernel, factor in (("laplace", 4.0), ("gaussian", 1.0)):
            for m in M:
                for rule in CENTERS:
                    scores, seconds = [], 0.0
                    for seed in range(int(seeds)):
                        rng = np.random.default_rng(seed)
                        X, y = make(rng, N + TEST)
                        y = y + 0.1 * y.std() * rng.normal(size=len(y))
                        start = time.perf_counter()
                        model = agop.RFMRegressor(
                            solver="nystrom", kernel=kernel, bandwidth_factor=factor, n_centers=m, centers=rule, n_iter=1,
                            feature_points=1000, ridge=0.01, random_state=seed,
                        ).fit(X[:N], y[:N])  # fmt: skip
                        seconds += time.perf_counter() - start
                        scores.append(model.score(X[N:], y[N:]))
                    rows.append({
                        "data": name, "kernel": kernel, "m": m, "centers": rule, "r2": float(np.mean(scores)),
                        "se": float(np.std(scores, ddof=1) / len(scores) ** 0.5), "seconds": seconds / len(scores),
                    })  # fmt: skip
                    print(rows[-1], flush=True)
    mean = {rule: float(np.mean([row["r2"] for row in rows if row["centers"] == rule])) for rule in CENTERS}
    print(mean)
    record("nystrom_centers", {"n": N, "seeds": int(seeds), "mean_r2": mean, "rows": rows})


if __name__ == "__main__":
    main(*sys.argv[1:])
