"""Do layers move points as Ricci flow would? Curvature of neighbour graphs against the change of distances to the next layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import shortest_path
from sklearn.neighbors import kneighbors_graph
from torch import Tensor

from agop import _checks
from agop.evidence import Evidence, Need
from agop.measurement import Measurement
from agop.probe import Probe

Curvature = Literal["forman", "augmented", "ollivier-approximate"]
Kind = Literal["local", "global"]
CURVATURES = ("forman", "augmented", "ollivier-approximate")
KINDS = ("local", "global")
LEAST_STEPS = 3
"""Steps from layer to layer below which a correlation along them says nothing: of two it is 1 or −1 whatever the numbers are."""

_ROWS = 512
"""Points whose hop distances to all others are held at once."""


def ricci_coefficients(
    layers: Sequence[Float[Tensor, "n _"]],
    k: int,
    *,
    curvature: Curvature = "augmented",
    kind: Kind = "local",
) -> Measurement:
    r"""Correlation of the curvature of a layer's neighbour graph with the change of distances to the next layer, in [−1, 1].

    Ricci flow contracts where the curvature is positive and expands where it is negative; a network that does so has negative coefficients.
    The graph :math:`G_l` joins two points if one is among the k nearest neighbours (Euclidean) of the other in layer l; :math:`\gamma_l`
    is the number of hops from point to point, and :math:`d_i` the number of neighbours.

    ``kind="local"``: for every point i, with :math:`c_l(i)` the mean curvature of its edges and

    .. math:: \eta_l(i) = \operatorname*{mean}_{j \sim_l i}\ \gamma_{l+1}(i, j) - \gamma_l(i, j),

    the Pearson correlation of :math:`c_l(i)` and :math:`\eta_l(i)` over the steps l → l + 1; the value is the mean over points.

    ``kind="global"``, the first paper's and fragile: the Pearson correlation over steps of the sum of :math:`c` over all edges and the
    change of the sum of :math:`\gamma` over all pairs of points. It has as many samples as there are steps, and a graph that falls apart,
    as that of collapsed classes does, leaves it with the pairs that are joined in both layers.

    Curvatures of an edge with t common neighbours: ``"forman"`` :math:`4 - d_i - d_j`; ``"augmented"`` adds 3t;
    ``"ollivier-approximate"`` is the mean of the bounds of Jost and Liu, :math:`\tfrac12 t / M - \tfrac12 ([1 - 1/d_i - 1/d_j - t/m]_+ +
    [1 - 1/d_i - 1/d_j - t/M]_+ - t/M)` with m and M the smaller and the larger degree.

    The list of layers decides much: hidden layers alone have negative coefficients before any training. Compare with the untrained twin.

    Parameters
    ----------
    layers : n points each
        The same points in every layer, in the same order, at least four layers; begin with the input and end with the output.
    k
        Nearest neighbours, 1 ≤ k < n. Among equal distances (collapsed classes) the choice is arbitrary.
    curvature, kind
        See above.

    Returns
    -------
    Measurement
        Undefined where no point (or no list of steps) has two different curvatures and two different changes. `details`: `points` that
        have a coefficient and `points_lost`; `share_negative` and `spread` (standard deviation) of the coefficients over points;
        `by_step`, the Pearson correlation over points at each step (NaN where one side is constant); `pairs_lost`, neighbours (local) or
        pairs of points (global) that no path joins in the next layer (or, global, in this one): they are left out of every mean and sum.
        `points`, `points_lost`, `share_negative`, `spread` and `by_step` are of the local kind only.

    Raises
    ------
    ValueError, TypeError
        If there are fewer than four layers, they differ in their number of points, are not finite, or k is not below n.

    Notes
    -----
    Global: Baptista, Barp, Chakraborti, Harbron, MacArthur and Banerji 2024 (Scientific Reports; arXiv 2404.14265). Local and the
    approximate curvature: Hehl, von Renesse and Weber 2025 (arXiv 2509.22362). Memory: 512 n hop distances; time: n breadth-first
    searches a layer.

    Examples
    --------
    >>> import torch
    >>> points = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
    >>> pulled = [points + l * torch.tanh(4 * points) for l in range(6)]  # apart along every axis
    >>> ricci_coefficients(pulled, 10)
    ricci[local, augmented, k=10] = -0.591518
    """
    rows = _layers(layers)
    k = _checks.integer("k", k, at_least=1)
    if k >= len(rows[0]):
        raise _checks.bad_value(
            "k", f"fewer neighbours than points ({len(rows[0])})", str(k), "lower k or take more points"
        )
    _checks.one_of("curvature", curvature, CURVATURES)
    _checks.one_of("kind", kind, KINDS)
    steps = list(_steps(rows, k, curvature, kind == "global"))
    return (_local if kind == "local" else _global)(steps, f"{kind}, {curvature}, k={k}")


@dataclass(frozen=True, eq=False)
class _Step:
    """What is known of the step from one layer to the next."""

    curvature: Float[np.ndarray, " n"]
    """Mean curvature of each point's edges."""
    change: Float[np.ndarray, " n"]
    """Mean change of hops to its neighbours; NaN where none of them can be reached any more."""
    neighbours_lost: int
    total_curvature: float
    total_change: float
    pairs_lost: int


def _layers(layers: Any) -> list[np.ndarray]:
    if isinstance(layers, Tensor | str | bytes) or not isinstance(layers, Sequence):
        raise _checks.bad_type("layers", "a list of tensors, one a layer", type(layers).__name__)
    if len(layers) < LEAST_STEPS + 1:
        raise _checks.bad_value("layers", f"at least {LEAST_STEPS + 1} layers", str(len(layers)))
    rows = []
    for number, layer in enumerate(layers):
        name = f"layers[{number}]"
        tensor = _checks.floating(name, layer, ndim=2, finite=True).detach().cpu().double()
        _checks.same_length("layers[0]", len(layers[0]), name, len(tensor))
        if not tensor.shape[1]:
            raise _checks.bad_value(name, "at least one column", f"shape {tuple(tensor.shape)}")
        centred = tensor - tensor.mean(0)
        peak = float(centred.abs().max()) if centred.numel() else 0.0
        # distances of huge or tiny features would overflow or vanish in their squares; neighbours don't depend on the scale
        rows.append((centred / peak if peak > 0 else centred).numpy())
    return rows


def _graph(rows: np.ndarray, k: int) -> csr_matrix:
    """Who is a neighbour of whom, either way."""
    directed = kneighbors_graph(rows, k, mode="connectivity", include_self=False)
    return csr_matrix(directed.maximum(directed.T))


def _edges(graph: csr_matrix, curvature: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both ends and the curvature of every edge, in both directions."""
    i, j = graph.nonzero()
    degrees = np.diff(graph.indptr)
    sides = degrees[i], degrees[j]
    if curvature == "forman":
        return i, j, 4.0 - sides[0] - sides[1]
    common = np.asarray((graph @ graph)[i, j]).ravel()
    if curvature == "augmented":
        return i, j, 4.0 - sides[0] - sides[1] + 3 * common
    small, large = np.minimum(*sides), np.maximum(*sides)
    free = 1 - 1 / sides[0] - 1 / sides[1]
    shared = common / large
    lower = shared - np.maximum(free - common / small, 0) - np.maximum(free - shared, 0)
    return i, j, (lower + shared) / 2


def _steps(rows: list[np.ndarray], k: int, curvature: str, of_all_pairs: bool) -> Iterator[_Step]:
    graph = _graph(rows[0], k)
    for layer in rows[1:]:
        after = _graph(layer, k)
        yield _step(graph, after, curvature, of_all_pairs)
        graph = after


def _step(before: csr_matrix, after: csr_matrix, curvature: str, of_all_pairs: bool) -> _Step:
    n = before.shape[0]
    i, j, curved = _edges(before, curvature)
    hops, change, pairs_lost = np.empty(len(i)), 0.0, 0
    for first in range(0, n, _ROWS):
        block = np.arange(first, min(first + _ROWS, n))
        there = shortest_path(after, unweighted=True, indices=block)
        mine = slice(*np.searchsorted(i, [block[0], block[-1] + 1]))
        hops[mine] = there[i[mine] - first, j[mine]]
        if of_all_pairs:
            here = shortest_path(before, unweighted=True, indices=block)
            joined = np.isfinite(here) & np.isfinite(there)
            change += float((there[joined] - here[joined]).sum())
            pairs_lost += int((~joined).sum())
    reached = np.isfinite(hops)
    degrees = np.bincount(i, minlength=n)
    found = np.bincount(i[reached], minlength=n)
    with np.errstate(invalid="ignore"):
        changes = np.bincount(i[reached], weights=hops[reached], minlength=n) / found - 1
    return _Step(
        curvature=np.bincount(i, weights=curved, minlength=n) / degrees,
        change=changes,
        neighbours_lost=int((~reached).sum()) // 2,
        total_curvature=float(curved.sum()) / 2,
        total_change=change / 2,
        pairs_lost=pairs_lost // 2,
    )


def _pearson(a: Float[np.ndarray, "s _"], b: Float[np.ndarray, "s _"]) -> Float[np.ndarray, " _"]:
    """Correlation along the first axis of the entries where both are numbers; NaN for fewer than three or a constant side."""
    known = np.isfinite(a) & np.isfinite(b)
    count = known.sum(0)

    def centred(side: np.ndarray) -> np.ndarray:
        mean = np.where(known, side, 0).sum(0) / np.maximum(count, 1)
        return np.where(known, side - mean, 0)

    left, right = centred(a), centred(b)
    spread = np.sqrt((left**2).sum(0)) * np.sqrt((right**2).sum(0))
    size = np.sqrt((np.where(known, a, 0) ** 2).sum(0)) * np.sqrt((np.where(known, b, 0) ** 2).sum(0))
    usable = (count >= LEAST_STEPS) & (spread > 1e-12 * size)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(usable, np.clip((left * right).sum(0) / spread, -1, 1), np.nan)


def _local(steps: list[_Step], definition: str) -> Measurement:
    curvature, change = (
        np.stack([getattr(step, side) for step in steps]) for side in ("curvature", "change")
    )
    each = _pearson(curvature, change)
    there = each[np.isfinite(each)]
    details: dict[str, Any] = {
        "points": len(there),
        "points_lost": len(each) - len(there),
        "pairs_lost": sum(step.neighbours_lost for step in steps),
        "by_step": _pearson(curvature.T, change.T).tolist(),
    }
    if not len(there):
        reason = "at no point do both curvature and distances to the neighbours change from layer to layer"
        return Measurement.undefined("ricci", definition, reason, details)
    details |= {"share_negative": float((there < 0).mean()), "spread": float(there.std())}
    return Measurement(float(there.mean()), "ricci", definition, details=details)


def _global(steps: list[_Step], definition: str) -> Measurement:
    totals = np.array([[step.total_curvature, step.total_change] for step in steps])
    value = float(_pearson(totals[:, :1], totals[:, 1:])[0])
    details = {"steps": len(steps), "pairs_lost": sum(step.pairs_lost for step in steps)}
    if not np.isfinite(value):
        reason = "the curvature or the distances are the same in every layer"
        return Measurement.undefined("ricci", definition, reason, details)
    return Measurement(value, "ricci", definition, details=details)


def _of_evidence(
    e: Evidence, k: int = 50, curvature: Curvature = "augmented", kind: Kind = "local"
) -> Measurement:
    """Along the path of the first layer's input and every layer's output."""
    outputs = [layer.part("output") for layer in e.at("layer")]
    first = next(iter(e.at("layer"))).part("input")
    path = [stage.rows for stage in (first, *outputs) if stage is not None and stage.rows is not None]
    definition = f"{kind}, {curvature}, k={k}"
    if len(path) < LEAST_STEPS + 1:
        reason = f"a path of {len(path)} representations; correlation along it needs {LEAST_STEPS + 1}"
        return Measurement.undefined("ricci", definition, reason)
    if len({len(rows) for rows in path}) > 1:
        return Measurement.undefined(
            "ricci", definition, "the layers have different numbers of rows a sample"
        )
    if len(path[0]) <= k:
        return Measurement.undefined(
            "ricci", definition, f"{len(path[0])} points have no {k} neighbours; pass a smaller k"
        )
    return ricci_coefficients(path, k, curvature=curvature, kind=kind)


RICCI = Probe(
    name="ricci",
    label="Ricci coefficient (local)",
    short="Ricci",
    measure=_of_evidence,
    level="subject",
    needs=(Need("rows", stage="output"), Need("rows", stage="input")),
    meaning="below 0 the layers contract where their neighbour graph is positively curved, as Ricci flow does",
    towards="lower",
    range="[−1, 1]",
    formula="mean_i corr_l(mean curvature at i in layer l, mean change of hops to its neighbours from l to l + 1)",
    source="Hehl, von Renesse, Weber 2025 (arXiv 2509.22362), after Baptista et al. 2024 (arXiv 2404.14265)",
    invariant=("order", "labels", "shift", "rotation", "scale", "batches"),
)
