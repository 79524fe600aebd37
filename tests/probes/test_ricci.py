"""Ricci coefficients: a naive oracle, closed forms of the curvatures, and what must not change them."""

from __future__ import annotations

import itertools
import math
from collections import deque

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

import agop
from agop import ricci_coefficients
from agop.probes.ricci import CURVATURES, _edges
from tests.tolerances import IDENTITY


def moved(n=40, d=4, layers=6, seed=0):
    """Points that a few random layers move."""
    g = torch.Generator().manual_seed(seed)
    path = [torch.randn(n, d, generator=g, dtype=torch.float64)]
    for _ in range(layers - 1):
        W = torch.randn(d, d, generator=g, dtype=torch.float64)
        path.append((path[-1] @ W).tanh() + 0.3 * path[-1])
    return path


def naive_graph(rows, k):
    near = [
        sorted((float((a - b).norm()), j) for j, b in enumerate(rows) if j != i)[:k]
        for i, a in enumerate(rows)
    ]
    edges = {(i, j) for i, those in enumerate(near) for _, j in those}
    return {i: {j for j in range(len(rows)) if (i, j) in edges or (j, i) in edges} for i in range(len(rows))}


def naive_hops(graph, start):
    hops, queue = {start: 0}, deque([start])
    while queue:
        here = queue.popleft()
        for there in graph[here]:
            if there not in hops:
                hops[there] = hops[here] + 1
                queue.append(there)
    return hops


def naive_curvature(graph, i, j, kind):
    a, b, t = len(graph[i]), len(graph[j]), len(graph[i] & graph[j])
    if kind != "ollivier-approximate":
        return 4 - a - b + (3 * t if kind == "augmented" else 0)
    most, free = max(a, b), 1 - 1 / a - 1 / b
    upper = t / most
    lower = t / most - max(0, free - t / min(a, b)) - max(0, free - t / most)
    return (upper + lower) / 2


def naive(path, k, curvature, kind):
    graphs = [naive_graph(rows, k) for rows in path]
    hops = [[naive_hops(graph, i) for i in graph] for graph in graphs]
    curved, changed = [], []
    for number in range(len(path) - 1):
        here, now, then = graphs[number], hops[number], hops[number + 1]
        if kind == "global":
            edges = [(i, j) for i in here for j in here[i] if i < j]
            pairs = [(i, j) for i, j in itertools.combinations(here, 2) if j in now[i] and j in then[i]]
            curved.append([sum(naive_curvature(here, i, j, curvature) for i, j in edges)])
            changed.append([sum(then[i][j] - now[i][j] for i, j in pairs)])
        else:
            curved.append([np.mean([naive_curvature(here, i, j, curvature) for j in here[i]]) for i in here])
            known = [[then[i][j] - 1 for j in here[i] if j in then[i]] for i in here]
            changed.append([np.mean(each) if each else math.nan for each in known])
    found = []
    for a, b in zip(np.transpose(curved), np.transpose(changed), strict=True):
        there = ~np.isnan(b)
        if there.sum() >= 3 and np.ptp(a[there]) > 0 and np.ptp(b[there]) > 0:
            found.append(np.corrcoef(a[there], b[there])[0, 1])
    return float(np.mean(found))


@pytest.mark.parametrize("kind", ["local", "global"])
@pytest.mark.parametrize("curvature", CURVATURES)
def test_it_is_the_naive_sum(curvature, kind):
    path = moved()
    value = ricci_coefficients(path, 4, curvature=curvature, kind=kind)
    assert float(value) == pytest.approx(naive(path, 4, curvature, kind), abs=IDENTITY)


def test_graphs_that_fall_apart_lose_pairs_and_say_so():
    path = moved()
    apart = torch.arange(40) % 2 * 1e3
    split = [*path[:4], *(rows + apart[:, None] for rows in path[4:])]
    value = ricci_coefficients(split, 4)
    assert value.details["pairs_lost"] > 0
    assert float(value) == pytest.approx(naive(split, 4, "augmented", "local"), abs=IDENTITY)
    assert ricci_coefficients(split, 4, kind="global").details["pairs_lost"] >= 20 * 20


def test_curvatures_of_a_complete_graph_and_of_a_ring():
    n = 7
    complete = csr_matrix(1.0 - np.eye(n))
    ring = csr_matrix(np.roll(np.eye(n), 1, 0) + np.roll(np.eye(n), -1, 0))
    for graph, values in ((complete, (6 - 2 * n, n, (n - 2) / (n - 1))), (ring, (0, 0, 0))):
        for curvature, value in zip(CURVATURES, values, strict=True):
            np.testing.assert_allclose(_edges(graph, curvature)[2], value, atol=1e-14)


@pytest.mark.parametrize("factor", [1e-200, 1e-12, 1e12, 1e200])
def test_scale_and_offset_do_not_matter(factor):
    path = moved()
    there = ricci_coefficients([factor * rows for rows in path], 4)
    assert float(there) == float(ricci_coefficients(path, 4))
    shifted = [rows + 1e6 for rows in path]
    assert float(ricci_coefficients(shifted, 4)) == float(ricci_coefficients(path, 4))


def test_single_precision_and_many_points_in_blocks(monkeypatch):
    path = moved(n=60)
    value = float(ricci_coefficients(path, 5))
    assert float(ricci_coefficients([rows.float() for rows in path], 5)) == pytest.approx(value, abs=0.02)
    monkeypatch.setattr("agop.probes.ricci._ROWS", 7)
    for kind in ("local", "global"):
        assert float(ricci_coefficients(path, 5, kind=kind)) == pytest.approx(
            float(ricci_coefficients(moved(n=60), 5, kind=kind)), abs=IDENTITY
        )
    assert float(ricci_coefficients(path, 5)) == value


def test_what_never_changes_is_undefined():
    same = ricci_coefficients([moved()[0]] * 5, 4)
    assert same.undefined_because.startswith("at no point")
    assert same.details["points"] == 0
    assert ricci_coefficients([moved()[0]] * 5, 4, kind="global").undefined_because is not None


@pytest.mark.parametrize(
    ("layers", "k", "sentence"),
    [
        (moved()[:3], 4, r"layers: expected at least 4 layers, got 3"),
        (moved(), 40, r"k: expected fewer neighbours than points \(40\), got 40; lower k or take more points"),
        ([*moved()[:4], torch.ones(3, 2)], 4, r"layers\[4\]: expected as many rows as layers\[0\] \(40\), got 3"),
        ([*moved()[:4], torch.full((40, 2), math.nan)], 4, r"layers\[4\]: expected finite values, got 80"),
    ],
)  # fmt: skip
def test_hostile_layers(layers, k, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        ricci_coefficients(layers, k)


def test_it_is_measured_along_the_path_of_a_profile():
    torch.manual_seed(0)
    parts = [part for _ in range(4) for part in (torch.nn.Linear(6, 6), torch.nn.ReLU())]
    model = torch.nn.Sequential(*parts, torch.nn.Linear(6, 2)).double()
    X, y = torch.randn(120, 6, dtype=torch.float64), torch.arange(120) % 2
    probe = agop.PROBES["ricci"].with_(k=10)
    found = agop.profile(model, X, y, measures=["nc1", probe])
    with torch.no_grad():
        path = [X, *(model[: 2 * layer](X) for layer in range(1, 5)), model(X)]
    assert float(found.whole["ricci"].iloc[0]) == pytest.approx(
        float(ricci_coefficients(path, 10)), abs=IDENTITY
    )
    few = agop.profile(model, X[:40], y[:40], measures=["ricci"])
    assert "40 points have no 50 neighbours" in str(few)
