"""Points that are patches on circles, in two classes: above or below the median of a Gaussian field of a tree of patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from agop._checks import bad_value, integer
from agop.datasets.dataset import Raw
from agop.datasets.source import Source


def tree_field(root: Path, download: bool, seed: int, depth: int, patches: int, train: int, test: int) -> Raw:
    """Classes by the sign, above or below the median, of one field with filters (2, …, 2) of `depth` layers."""
    from agop.datasets.fields import gaussian_fields, sphere_patches
    from agop.kernels.hierarchical import HierarchicalNTK
    from agop.networks.streams import stream

    depth, patches = integer("depth", depth, at_least=1), integer("patches", patches, at_least=1)
    if patches % 2 ** (depth - 1):
        raise bad_value("patches", f"a multiple of {2 ** (depth - 1)} for depth={depth}", str(patches))
    train, test = integer("train", train, at_least=2), integer("test", test, at_least=2)
    generator = stream(seed, 0)
    X = sphere_patches(train + test, patches, 2, generator)
    values = gaussian_fields(X, HierarchicalNTK((2,) * depth), 1, generator)[:, 0]
    x, y = X.float().numpy(), (values > values.median()).numpy().astype(np.int64)
    return Raw(x[:train], y[:train], x[train:], y[train:], ("below", "above"))


TREE_FIELD = Source(
    name="tree-field", description="above or below the median of a Gaussian field of patches of 2", origin="agop", kind="generated",
    shape=(8,), n_train=500, n_test=500, n_classes=2, read=tree_field,
    parameters={"depth": 2, "patches": 4, "train": 500, "test": 500},
)  # fmt: skip
