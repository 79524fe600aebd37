"""The study of Ricci flow: what its path holds, and all of it at a tiny size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agop.experiments.studies import baptista2024, mlps
from agop.experiments.studies.baptista2024_work import halves, path_of
from agop.networks.models import mlp
from tests.experiments.whole import check_whole, tiny_run

TINY = replace(
    baptista2024.AMOUNTS["smoke"], points=60, rows=40, k=5, neighbours=(3,), epochs=1, width=6, depth=4, rfm_points=40, rfm_layers=4,
    rfm_width=16,
)  # fmt: skip


def test_the_path_goes_from_the_input_to_a_probability():
    model, x = mlp(4, 2, width=5, depth=3), torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    path = path_of(model, x)
    assert [rows.shape[1] for rows in path] == [4, 5, 5, 5, 1]
    assert torch.equal(path[0], x)
    torch.testing.assert_close(path[-1][:, 0], model(x).softmax(1)[:, 1].detach())
    assert torch.equal(path[2], model.head[:4](x).detach())


def test_classes_are_told_apart_in_two_groups():
    y = torch.arange(5)
    points = halves(mlps.Points(torch.zeros(5, 1), y, torch.zeros(5, 1), y, 5))
    assert (points.y.tolist(), points.n_classes) == ([0, 0, 1, 1, 1], 2)


def test_all_of_it_ends_in_verdicts_and_figures(tmp_path):
    out = tmp_path / "run"
    check_whole(baptista2024.STUDY, out, tiny_run(baptista2024.AMOUNTS, TINY, baptista2024.STUDY, out))


@pytest.mark.parametrize("layers", ["all", "hidden"])
def test_a_claim_reads_its_line(layers):
    import pandas as pd

    table = pd.DataFrame(
        {"seed": 0, "state": ["trained"] * 2, "layers": ["all", "hidden"], "kind": "local", "curvature": "augmented", "value": [0.1, 0.2]}
    )  # fmt: skip
    assert baptista2024.value_of("trained", layers=layers)(table) == {0: 0.1 if layers == "all" else 0.2}
