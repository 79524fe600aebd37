"""Concepts: hostile models, inputs, labels, directions and options."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import agop
from agop.concepts import ConceptSearch
from tests.hostile.table import Subject, options, table_tests

X = torch.randn(16, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = (X[:, 0] > 0).long()
with torch.random.fork_rng():
    torch.manual_seed(0)
    NET = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
SEARCH = ConceptSearch(bandwidth_factors=(4.0,), n_iter=1, ridges=(1.0,), inverse_penalties=(0.1,), cv=2)
VECTOR = {"0": torch.ones(4, dtype=torch.float64)}


def found(model=NET, inputs=X, y=Y, layers="0", search=SEARCH, **others):
    """All numbers of a concept's directions."""
    result = agop.concept_directions(model, inputs, y, layers=layers, search=search, **others)
    scores = result.table.select_dtypes("float").to_numpy()
    return [scores, list(result.directions.values()), result.detector.weight]


def steered(model=NET, directions=VECTOR, strength=1.0, **others):
    """What the network gives while it is steered."""
    with torch.no_grad(), agop.steer(model, directions, strength, **others):
        return model(X)


MODELS = options(None, "net", 3, nn.ReLU(), nn.Module(), nn.Sequential())
LABELS = {
    "None": lambda good: None,
    "a text": lambda good: "labels",
    "a number": lambda good: 3,
    "a list": lambda good: good.tolist(),
    "texts": lambda good: good.numpy().astype(str),
    "booleans": lambda good: good.bool(),
    "mixed": lambda good: np.array(["a", 1] * 8, dtype=object),
    "dates": lambda good: np.array(["2020-01-01", "2021-01-01"] * 8, dtype="datetime64[D]"),
    "complex": lambda good: good.to(torch.complex128),
    "numbers": lambda good: X[:, 0],
    "huge numbers": lambda good: 1e300 * X[:, 0],
    "NaN": lambda good: X[:, 0] * float("nan"),
    "infinity": lambda good: X[:, 0] / 0,
    "constant": lambda good: good * 0,
    "one of a class": lambda good: torch.arange(16) // 15,
    "each its own": lambda good: torch.arange(16),
    "a row less": lambda good: good[:-1],
    "none": lambda good: good[:0],
    "two axes": lambda good: good[:, None],
}
LAYERS = options("", "nowhere", [], ["0", "nowhere"], [7.5], 3, nn.Conv2d, [None], int)
NUMBER = options(0, -1, 1.5, "x", None, True, float("nan"))
REAL = options(0, -1, "x", None, True, float("nan"), float("inf"), 1e300, [1.0], {}, {"0": None}, {"1": 1.0})
POSITIONS = options("last", "mean", "first", "middle", "", None, 0, -1, 5, 1.5, True, [0], "all")
SEARCHES = options(None, {}, {"n_iter": 1}, "wide", 3)
GROUPS = options(None, "groups", 3, [0] * 16, list(range(16)), [0] * 15, [None] * 16)
VECTORS = {
    "None": lambda good: None,
    "none": lambda good: {},
    "a tensor": lambda good: good["0"],
    "a list": lambda good: list(good.values()),
    "another name": lambda good: {"9": good["0"]},
    "a number as name": lambda good: {0: good["0"]},
    "an array": lambda good: {"0": good["0"].numpy()},
    "integers": lambda good: {"0": good["0"].long()},
    "NaN": lambda good: {"0": good["0"] * float("nan")},
    "two axes": lambda good: {"0": good["0"][None]},
    "too short": lambda good: {"0": good["0"][:3]},
    "no entries": lambda good: {"0": good["0"][:0]},
    "single precision": lambda good: {"0": good["0"].float()},
}

SUBJECTS = [
    Subject("concept_directions", "model", lambda v: found(model=v), NET, MODELS),
    Subject("concept_directions", "inputs", lambda v: found(inputs=v), X),
    Subject("concept_directions", "y", lambda v: found(y=v), Y, LABELS),
    Subject("concept_directions", "layers", lambda v: found(layers=v), "0", LAYERS),
    Subject("concept_directions", "position", lambda v: found(position=v), "last", POSITIONS),
    Subject("concept_directions", "search", lambda v: found(search=v), SEARCH, SEARCHES),
    Subject("concept_directions", "groups", lambda v: found(groups=v), None, GROUPS),
    Subject("concept_directions", "batch_size", lambda v: found(batch_size=v), None, NUMBER),
    Subject("concept_directions", "max_memory", lambda v: found(max_memory=v), None, options(0, -1, "1GB", "much", None, True, 100)),
    Subject("concept_directions", "random_state", lambda v: found(random_state=v), 0, NUMBER),
    Subject("steer", "model", lambda v: steered(model=v), NET, options(None, "net", 3)),
    Subject("steer", "directions", lambda v: steered(directions=v), VECTOR, VECTORS),
    Subject("steer", "strength", lambda v: steered(strength=v), 1.0, REAL),
    Subject("steer", "layers", lambda v: steered(layers=v), None, options("", "0", "*", "nowhere", [], [0], 3, True)),
    Subject("steer", "position", lambda v: steered(position=v), "all", options("last", "first", "", None, 0)),
    Subject("steer", "unit", lambda v: steered(unit=v), "absolute", options("spread", "miles", None, 1.0)),
    Subject("steer", "label", lambda v: steered(label=v), None, options(None, 1, "x")),
]  # fmt: skip

test_rows = table_tests("concepts", SUBJECTS)
