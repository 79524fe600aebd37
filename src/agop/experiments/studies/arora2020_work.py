"""Units of arora2020: networks trained with dropout, its identity, and matrix sensing.

network:   whole.csv     p, where ("last" hidden layer or "all" of them; a row for each, if there is no dropout), penalty (R on training
                         points), path_norm, effective_units, relative (R over the mean squared norm of the outputs), train_loss, test_loss
                         (sum over outputs, mean over points), train_error, test_error, gap (of the loss), error_gap, critical_width
                         (class means removed, test points)
           profile.csv   p, where, layer, stage, nc1; layers.csv   p, where, layer, nfa
           identity.csv  p, sampled, standard_error, closed, z (their distance in standard errors, dropout on the last hidden layer),
                         z_wrong (p in the place of p/(1 − p)), z_all (dropout on every hidden layer and the closed form of the last)
identity:  small.csv     units, p, difference (relative, of closed form and sum over all masks)
sensing:   least.csv     rank, factors, closed, found (by minimisation from a random start), constructed, unweighted, identity (relative
                         difference of the dropout loss over all masks and its closed form)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop.experiments.studies import mlps
from agop.experiments.tables import write_table
from agop.experiments.units import Unit
from agop.networks.dropout import DroppedReLU, restart_dropout
from agop.networks.models import HeadedNetwork
from agop.networks.streams import stream
from agop.probes.dropout import dropout_penalty
from agop.probes.redundancy import redundancy
from agop.profiles import Network, profile
from agop.theory.dropout import Sampled, enumerated_loss, expected_loss, loss, sampled_loss
from agop.theory.matrix_sensing import least_factors, least_penalty, sensing_penalty

OWN = 5
"""The use of a unit's seed by this study; 0 to 3 are used by networks and their training."""


def run_network(unit: Unit, folder: Path) -> list[str]:
    """Train with dropout, and measure."""
    points, p, where = mlps.points_of(unit), float(unit.options["p"]), str(unit.options["where"])
    if unit.options["shuffled_labels"]:
        order = torch.randperm(len(points.y), generator=stream(unit.seed, OWN, 0))
        points = mlps.Points(points.x, points.y[order], points.x_test, points.y_test, points.n_classes)
    drop = [p if where == "all" else 0.0] * (int(unit.options["depth"]) - 1) + [p]
    model = mlps.trained(points, unit.options, unit.seed, dropout=drop)
    places = ("last", "all") if where == "nowhere" else (where,)
    found = {"whole": pd.DataFrame([_whole(model, points, unit)])}
    if unit.options["profiled"]:
        measured = profile(Network(model), points.x, points.y, measures=["nc1", "nfa"])
        found["profile"] = measured.to_frame()[["layer", "stage", "nc1"]]
        found["layers"] = measured.to_frame(level="layer")[["layer", "nfa"]]
    if unit.options["draws"]:
        found["identity"] = pd.DataFrame([_identity(model, points, unit)])
    for name, table in found.items():
        write_table(folder, name, pd.concat([table.assign(p=p, where=place) for place in places]))
    return []


def _whole(model: HeadedNetwork, points: mlps.Points, unit: Unit) -> dict[str, float]:
    weight = mlps.readout(model)
    rows = mlps.last_features(model, points.x)
    penalty = dropout_penalty(rows, weight)
    train, test = (_loss(model, *points.of(name), points.n_classes) for name in ("train", "test"))
    errors = [mlps.error(model, *points.of(name)) for name in ("train", "test")]
    most = int(unit.options["rows"])
    test_rows, y = mlps.last_features(model, points.x_test[:most]), points.y_test[:most]
    found = redundancy(
        test_rows,
        weight,
        None,
        y,
        draws=int(unit.options["chunks"]),
        random_state=unit.seed,
        class_means="remove",
    )
    return {
        "penalty": float(penalty),
        "path_norm": penalty.details["path_norm"],
        "units": penalty.details["units"],
        "effective_units": penalty.details["effective_units"],
        "relative": float(penalty) / float((rows @ weight.mT).double().square().sum(1).mean()),
        "train_loss": train,
        "test_loss": test,
        "gap": test - train,
        "train_error": errors[0],
        "test_error": errors[1],
        "error_gap": errors[1] - errors[0],
        "critical_width": float(found.critical_width()),
    }


def _targets(y: Int[Tensor, " n"], n_classes: int) -> Float[Tensor, "n c"]:
    return 2 * torch.nn.functional.one_hot(y, n_classes).double() - 1


def _loss(model: HeadedNetwork, x: Float[Tensor, "n d"], y: Int[Tensor, " n"], n_classes: int) -> float:
    return loss(mlps.last_features(model, x), mlps.readout(model), _targets(y, n_classes))


def _identity(model: HeadedNetwork, points: mlps.Points, unit: Unit) -> dict[str, float]:
    """How many standard errors the sampled loss is from closed forms, the right one and two that aren't."""
    p, draws = float(unit.options["p"]), int(unit.options["draws"])
    rows, weight = mlps.last_features(model, points.x), mlps.readout(model)
    targets = _targets(points.y, points.n_classes)
    sampled = sampled_loss(rows, weight, targets, p, draws, unit.seed)
    right = expected_loss(rows, weight, targets, p)
    wrong = loss(rows, weight, targets) + p * float(dropout_penalty(rows, weight))
    everywhere = _sampled_everywhere(model, points.x, targets, p, draws, unit.seed)
    return {
        "sampled": sampled.mean,
        "standard_error": sampled.error,
        "closed": right,
        "z": z_score(sampled, right),
        "z_wrong": z_score(sampled, wrong),
        "z_all": z_score(everywhere, right),
    }


def z_score(sampled: Sampled, value: float) -> float:
    """How many standard errors a sampled mean is from a value, without sign."""
    return abs(sampled.mean - value) / sampled.error


@torch.no_grad()
def _sampled_everywhere(
    model: HeadedNetwork,
    x: Float[Tensor, "n d"],
    targets: Float[Tensor, "n c"],
    p: float,
    draws: int,
    seed: int,
) -> Sampled:
    """The loss of the network with dropout on every hidden layer, whatever it was trained with."""
    parts = [DroppedReLU(p, seed, place) for place in range(len(model.head) // 2)]
    linear = [part for part in model.head if isinstance(part, torch.nn.Linear)]
    everywhere = torch.nn.Sequential(model.backbone, linear[0])
    for dropped, after in zip(parts, linear[1:], strict=True):
        everywhere.extend([dropped, after])
    everywhere.train()
    restart_dropout(everywhere, seed, 1)
    losses = torch.stack([(everywhere(x) - targets).square().sum(1).mean() for _ in range(draws)])
    model.eval()
    return Sampled(float(losses.mean()), float(losses.std()) / draws**0.5)


def run_identity(unit: Unit, folder: Path) -> list[str]:
    """Closed form against the sum over all masks, for random layers of up to 12 units."""
    generator = stream(unit.seed, OWN, 1)
    rows = []
    for units in unit.options["units"]:
        a, U, y = (
            torch.randn(shape, generator=generator, dtype=torch.float64)
            for shape in ((20, units), (3, units), (20, 3))
        )
        for p in unit.options["drops"]:
            closed, summed = expected_loss(a.relu(), U, y, p), enumerated_loss(a.relu(), U, y, p)
            rows.append({"units": units, "p": p, "difference": abs(closed - summed) / summed})
    write_table(folder, "small", pd.DataFrame(rows))
    return []


def run_sensing(unit: Unit, folder: Path) -> list[str]:
    """The least penalty of the factors of random matrices: closed form, construction, and minimisation."""
    generator = stream(unit.seed, OWN, 2)
    rows = []
    for rank, factors in unit.options["cases"]:
        M, p, q = _sensed(rank, generator)
        U, V = least_factors(M, p, q, factors)
        even = torch.full_like(p, 1 / len(p)), torch.full_like(q, 1 / len(q))
        rows.append(
            {
                "rank": rank,
                "factors": factors,
                "closed": least_penalty(M, p, q, factors),
                "constructed": sensing_penalty(U, V, p, q),
                "found": minimised(M, p, q, factors, generator),
                "unweighted": least_penalty(M, *even, factors),
                "identity": _sensing_identity(U, V, p, q, M + torch.randn(M.shape, generator=generator)),
            }
        )
    write_table(folder, "least", pd.DataFrame(rows))
    return []


def _sensed(rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A matrix of this rank, and probabilities of rows and columns that are far from even."""
    left, right = (torch.randn(size, rank, generator=generator, dtype=torch.float64) for size in (9, 7))
    p, q = (torch.rand(size, generator=generator, dtype=torch.float64) + 0.05 for size in (9, 7))
    return left @ right.mT, p / p.sum(), q / q.sum()


def minimised(
    M: Float[Tensor, "r c"],
    p: Float[Tensor, " r"],
    q: Float[Tensor, " c"],
    factors: int,
    generator: torch.Generator,
) -> float:
    r"""The least penalty that LBFGS finds over factorisations of M: :math:`U_0 G` and :math:`V_0 G^{-T}` with invertible G (k, k).

    :math:`U_0 = [P S, 0]` and :math:`V_0 = [T, N]`, N random: of factors in a general position, which the minimum need not be.
    """
    left, S, right = torch.linalg.svd(M, full_matrices=False)
    rank = int((S[0] * 1e-10 < S).sum())
    U = M.new_zeros(len(M), factors)
    U[:, :rank] = left[:, :rank] * S[:rank]
    V = torch.randn(M.shape[1], factors, generator=generator, dtype=M.dtype)
    V[:, :rank] = right.mT[:, :rank]
    G = torch.eye(factors, dtype=M.dtype) + 0.1 * torch.randn(
        factors, factors, generator=generator, dtype=M.dtype
    )
    # the columns beyond the rank are free: V[:, rank:] may be anything, for U is zero there
    free = V[:, rank:].clone()
    G.requires_grad_(True)
    free.requires_grad_(True)
    optimiser = torch.optim.LBFGS(
        [G, free], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def penalty() -> Tensor:
        left_factors = U @ G
        right_factors = torch.linalg.solve(G, torch.cat([V[:, :rank], free], 1).mT).mT
        return ((p @ left_factors.square()) * (q @ right_factors.square())).sum()

    def closure() -> Any:
        optimiser.zero_grad()
        value = penalty()
        value.backward()
        return value

    optimiser.step(closure)
    return float(penalty().detach())


def _sensing_identity(
    U: Float[Tensor, "r k"], V: Float[Tensor, "c k"], p: Tensor, q: Tensor, seen: Float[Tensor, "r c"]
) -> float:
    """Dropout on factors: the loss over all masks against loss + odds · penalty, entries weighted by their probability."""
    weights = (torch.outer(p, q) * seen.numel()).sqrt().flatten()[:, None]
    activations = (U[:, None] * V[None]).flatten(0, 1) * weights
    ones, targets = torch.ones(1, U.shape[1], dtype=U.dtype), seen.flatten()[:, None] * weights
    summed = enumerated_loss(activations, ones, targets, 0.5)
    return abs(loss(activations, ones, targets) + sensing_penalty(U, V, p, q) - summed) / summed
