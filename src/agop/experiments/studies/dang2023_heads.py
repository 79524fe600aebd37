"""Real points: a ReLU network with M linear layers at its end, trained with the loss of the theory, beside the closed form.

heads.csv     one row for each number of layers: distances of WWᵀ and WH̄ᵀ from frames, trained and not
classes.csv   one row for each class: predicted and trained WWᵀ
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from agop._checks import bad_value
from agop.collapse.frames import frame_distance
from agop.datasets import Standardiser
from agop.experiments.tables import write_table
from agop.experiments.units import DataSource, Unit
from agop.networks.streams import stream
from agop.theory.deep_linear import deep_linear_collapse

_START = 4
"""The use of a seed that initialises these networks."""


def run_heads(unit: Unit, folder: Path) -> list[str]:
    """Train a network for each number of layers, and compare its end with the theory and other frames."""
    told = dict(unit.options)
    assert isinstance(unit.data, DataSource)
    X, labels = points(unit.data, unit.seed, told["counts"])
    heads, classes = [], []
    for M in told["layers"]:
        body, head = network(X.shape[1], len(told["counts"]), M, told["width"], unit.seed)
        before = _distances(body, head, X, labels, told, M)
        accuracy = train(body, head, X, labels, told["decay"], told["steps"])
        after = _distances(body, head, X, labels, told, M)
        untrained = {f"untrained_{name}": value for name, value in before.items()}
        heads.append({"layers": M, "accuracy": accuracy, **after, **untrained})
        classes += _classes(head, told, M)
    write_table(folder, "heads", pd.DataFrame(heads))
    write_table(folder, "classes", pd.DataFrame(classes))
    return []


def points(data: DataSource, seed: int, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """So many training points of the first classes, drawn with the seed, standardised.

    Raises
    ------
    ValueError
        If a class has too few.
    """
    whole = data.load(seed)
    rng, chosen = np.random.default_rng(seed), []
    for k, n in enumerate(counts):
        own = np.flatnonzero(whole.y_train == k)
        if len(own) < n:
            raise bad_value("data", f"{n} training points of class {k}", f"{len(own)}", "take a larger set")
        chosen.append(rng.permutation(own)[:n])
    rows = np.concatenate(chosen)
    x = Standardiser.of(whole.x_train[rows])(whole.x_train[rows], np.dtype("float32"))
    return torch.from_numpy(x), torch.repeat_interleave(torch.tensor(list(counts)))


def network(d: int, n_classes: int, M: int, width: int, seed: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Two ReLU layers and a linear one, which gives the features; and M linear layers without bias."""
    generator = stream(seed, _START)

    def linear(before: int, after: int, *, bias: bool, gain: float) -> nn.Module:
        made = nn.utils.skip_init(nn.Linear, before, after, bias=bias)
        nn.init.normal_(made.weight, std=gain / before**0.5, generator=generator)
        if bias:
            nn.init.zeros_(made.bias)
        return made

    body = nn.Sequential(
        linear(d, 4 * width, bias=True, gain=2**0.5),
        nn.ReLU(),
        linear(4 * width, 4 * width, bias=True, gain=2**0.5),
        nn.ReLU(),
        linear(4 * width, width, bias=True, gain=1.0),
    )
    sizes = [width] * M + [n_classes]
    head = nn.Sequential(*(linear(sizes[m], sizes[m + 1], bias=False, gain=1.0) for m in range(M)))
    return body, head


def train(
    body: nn.Sequential, head: nn.Sequential, X: Tensor, labels: Tensor, decay: float, steps: int
) -> float:
    """Full batches, Adam, rate falling to zero along a cosine; decay of the head's weights and of the features. Returns the accuracy."""
    targets = nn.functional.one_hot(labels).float()
    optimiser = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        features = body(X)
        loss = (head(features) - targets).square().sum() / len(X) + decay * features.square().sum()
        loss = (loss + decay * sum(weight.square().sum() for weight in head.parameters())) / 2
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        return float((head(body(X)).argmax(1) == labels).float().mean())


@torch.no_grad()
def _distances(
    body: nn.Sequential, head: nn.Sequential, X: Tensor, labels: Tensor, told: dict[str, Any], M: int
) -> dict[str, float]:
    theory = _theory(told["counts"], M, told["decay"])
    W, index = _product(head), nn.functional.one_hot(labels).double()
    means = (index / index.sum(0)).T @ body(X).double()
    gram, cross = W @ W.T, W @ means.T
    other = _theory(told["other_counts"], M, told["decay"])
    return {
        "nc2_gof": float(frame_distance(gram, theory.weight_gram)),
        "nc2_etf": float(frame_distance(gram, "etf")),
        "nc2_orthogonal": float(frame_distance(gram, "orthogonal")),
        "nc2_other": float(frame_distance(gram, other.weight_gram)),
        "nc3_gof": float(frame_distance(cross, theory.cross_gram)),
        "nc3_etf": float(frame_distance(cross, "etf")),
    }


def _theory(counts: Sequence[int], M: int, decay: float) -> Any:
    return deep_linear_collapse(counts, n_layers=M, weight_decay=decay, feature_decay=decay)


def _product(head: nn.Sequential) -> Tensor:
    weights = [weight.detach().double() for weight in head.parameters()]
    return reduce(lambda product, weight: weight @ product, weights)


def _classes(head: nn.Sequential, told: dict[str, Any], M: int) -> list[dict[str, Any]]:
    theory, W = _theory(told["counts"], M, told["decay"]), _product(head)
    return [
        {
            "layers": M,
            "class": k,
            "samples": n,
            "predicted": float(theory.weight_gram[k, k]),
            "measured": float(W[k] @ W[k]),
        }
        for k, n in enumerate(told["counts"])
    ]
