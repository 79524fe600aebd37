"""The AGOP of a kernel machine, summed over the rows that two ranks share, is that of one process."""

from __future__ import annotations

import json

import pytest
import torch

from agop.ranks import ALONE
from tests.launching import start, well
from tests.tolerances import identity, relative_error

PROBLEM = """
import torch
from agop.kernels import Laplace
from agop.kernels.agop import kernel_agop
from agop.kernels.distance import Points
from agop.kernels.gram import fill_kernel_matrix

def agops(ranks, n=601):
    g = torch.Generator().manual_seed(0)
    found = {}
    for dtype in (torch.float32, torch.float64):
        cells = torch.arange(n) % 3
        X = (torch.randn(n, 5, generator=g, dtype=torch.float64) + 4 * cells[:, None]).to(dtype)
        A = torch.randn(n, 2, generator=g, dtype=torch.float64).to(dtype)
        weight = torch.rand(n, generator=g, dtype=torch.float64).to(dtype) + 0.5
        points = Points(X)
        for route in ("direct", "gram"):
            for cells in (None, cells):
                for sample_weight in (None, weight):
                    options = dict(route=route, cells=cells, sample_weight=sample_weight, ranks=ranks)
                    name = f"{dtype} {route} {cells is None} {sample_weight is None}"
                    found[name] = kernel_agop(Laplace(2.0), points, A, **options)
        weights = X.new_empty(n, n)
        fill_kernel_matrix(Laplace(2.0), points, weights=weights)
        found[f"{dtype} given"] = kernel_agop(Laplace(2.0), points, A, weights=weights, ranks=ranks)
    return found
"""
PROGRAM = (
    PROBLEM
    + """
import json
from agop.launch import launched
with launched() as ranks:
    found = {name: (agop.matrix.tolist(), agop.cancellation, agop.route) for name, agop in agops(ranks).items()}
print(json.dumps(found))
"""
)


@pytest.fixture(scope="module")
def shared():
    return [json.loads(process.out) for process in well(start(PROGRAM))]


def test_two_ranks_equal_one(shared):
    names: dict = {}
    exec(PROBLEM, names)
    assert shared[0] == shared[1]
    for name, whole in names["agops"](ALONE).items():
        matrix, cancellation, route = shared[0][name]
        tolerance = identity(getattr(torch, name.split()[0].removeprefix("torch.")))
        assert relative_error(torch.tensor(matrix, dtype=torch.float64), whole.matrix) < tolerance, name
        assert route == whole.route
        assert cancellation == (whole.cancellation and pytest.approx(whole.cancellation, rel=1e-6))
