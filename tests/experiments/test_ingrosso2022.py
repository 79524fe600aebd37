"""The study of local units: its points, its networks, and all of it at a tiny size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from agop.datasets.nlgp import data_covariance, field_covariance
from agop.experiments.studies import ingrosso2022
from agop.experiments.studies.ingrosso2022_work import _Networks, _points, _roots
from tests.experiments.whole import check_whole, tiny_run

TINY = replace(
    ingrosso2022.AMOUNTS["smoke"],
    steps=100,
    side=12,
    units=4,
    batch_size=8,
    train=60,
    test=20,
    length=0.2,
    other_length=0.1,
)
OPTIONS = {"side": 12, "units": 4, "gain": 3.0, "length": 0.2, "other_length": 0.1}


def test_fresh_points_have_the_covariance_of_the_data_set():
    n = 40_000
    found = _points(n, torch.Generator().manual_seed(0), OPTIONS, _roots(OPTIONS))
    assert found.shape == (2, 2 * n, 12)
    for rows in found:
        for part, length in ((rows[:n], 0.2), (rows[n:], 0.1)):
            wanted = data_covariance(field_covariance(12, 1, length), 3.0)
            np.testing.assert_allclose(np.cov(part.numpy().T, bias=True), wanted, atol=0.04)
    kurtosis = found[:, :n].double().pow(4).mean((1, 2))
    assert kurtosis[0] < 2.5
    assert abs(float(kurtosis[1]) - 3) < 0.1


def test_both_networks_start_alike_with_biases_of_both_signs():
    networks = _Networks(OPTIONS, 3)
    assert torch.equal(networks.weight[0], networks.weight[1])
    assert networks.bias[0, 0].tolist() == [1, 1, -1, -1]
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
    hidden = torch.erf((x[1] @ networks.weight[1].mT / 12**0.5 + networks.bias[1]) / 2**0.5)
    torch.testing.assert_close(networks(x)[1], hidden @ networks.readout[1])


def test_all_of_it_ends_in_verdicts_and_figures(tmp_path):
    out = tmp_path / "run"
    check_whole(ingrosso2022.STUDY, out, tiny_run(ingrosso2022.AMOUNTS, TINY, ingrosso2022.STUDY, out))
    (unit,) = (out / "units" / "ingrosso2022").glob("networks-online*")
    with np.load(unit / "fields.npz") as fields:
        assert {name: fields[name].shape for name in fields} == {"nonlinear": (4, 12), "gaussian": (4, 12)}


def test_a_rise_is_that_of_the_larger_half():
    import pandas as pd

    table = pd.DataFrame(
        {"seed": 0, "points": ["nonlinear", "gaussian"], "top_half": [0.2, 0.1], "top_half_before": 0.1}
    )
    assert ingrosso2022.rise("nonlinear")(table) == {0: pytest.approx(2.0)}
