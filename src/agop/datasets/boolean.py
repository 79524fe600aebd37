"""A Boolean function of a chosen complexity: all strings of bits, some of them to learn from."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from agop._checks import bad_value, integer, real
from agop.datasets.dataset import Raw
from agop.datasets.source import Source

_DRAWS = 40
"""Functions that are tried for each number of ones."""


def boolean(root: Path, download: bool, seed: int, bits: int, complexity: float, train: int) -> Raw:
    """All 2^bits strings of 0 and 1, `train` of them at random as training points, the others as test points.

    The labels are the values of a function whose Lempel-Ziv complexity (`agop.lz_complexity`) is as near to `complexity` as
    `nearest_function` gets; the function is the same for every seed, the split is not.
    """
    from agop.theory.function_prior import boolean_inputs

    inputs = boolean_inputs(bits).numpy()
    train = integer("train", train, at_least=1)
    if train >= len(inputs):
        raise bad_value("train", f"fewer points than the {len(inputs)} strings", str(train))
    values = nearest_function(complexity, bits)
    order = np.random.default_rng(np.random.SeedSequence(seed)).permutation(len(inputs))
    first, rest = order[:train], order[train:]
    labels = values.astype(np.int64)
    return Raw(inputs[first], labels[first], inputs[rest], labels[rest], ("false", "true"))


@cache
def nearest_function(complexity: float, bits: int = 7) -> Bool[np.ndarray, " N"]:
    """Values in lexicographic order of a function of so many bits whose Lempel-Ziv complexity is near `complexity`.

    The nearest among 40 random placings of each number of ones, up to half of all; of equally near ones that with the fewest.
    """
    import torch

    from agop.probes.complexity import lz_complexities
    from agop.theory.function_prior import boolean_inputs

    complexity = real("complexity", complexity, above=0)
    size = len(boolean_inputs(bits))
    rng = np.random.default_rng(0)
    tried = np.zeros((size // 2 * _DRAWS, size), dtype=bool)
    for row, values in enumerate(tried):
        values[rng.permutation(size)[: 1 + row // _DRAWS]] = True
    found = lz_complexities(torch.from_numpy(tried)).numpy()
    best: Bool[np.ndarray, " N"] = tried[np.abs(found - complexity).argmin()]
    return best


BOOLEAN = Source(
    name="boolean", description="a function of bits, of a chosen Lempel-Ziv complexity", origin="agop", kind="generated", shape=(7,),
    n_train=64, n_test=64, n_classes=2, read=boolean, parameters={"bits": 7, "complexity": 70.0, "train": 64},
)  # fmt: skip
