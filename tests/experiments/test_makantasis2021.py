"""The study of layers of rank R: its networks, its statistics, and all of it at a tiny size."""

from __future__ import annotations

from dataclasses import asdict, replace

import pandas as pd
import pytest
import torch

from agop.experiments.studies import makantasis2021
from agop.experiments.studies.makantasis2021_work import first_linear, quarter_of, trained, variants_of
from agop.experiments.studies.mlps import Points
from agop.networks.rank_r import RankR, tensor_network
from tests.experiments.whole import check_whole, tiny_run

TINY = replace(makantasis2021.AMOUNTS["smoke"], points=60, few=30, ranks=(1,), epochs=2, hidden=12)


def test_all_of_it_ends_in_verdicts_and_figures(tmp_path):
    out = tmp_path / "run"
    check_whole(makantasis2021.STUDY, out, tiny_run(makantasis2021.AMOUNTS, TINY, makantasis2021.STUDY, out))


@pytest.mark.parametrize(("shape", "rank"), [((8, 8), 1), ((28, 28), 3), ((3, 32, 32), 11), ((2, 2), 1)])
def test_a_quarter_of_the_weights(shape, rank):
    assert quarter_of(shape) == rank


def test_networks_of_a_unit():
    options = {
        "hidden": 75,
        "ranks": [1, 3, 4, 9],
        "gains": [1.0, 0.25],
        "twins": True,
        "shuffled_labels": False,
    }
    found = list(variants_of((8, 8), options))
    assert [(v.name, v.gain, v.rank) for v in found] == [
        ("dense", 1, None), ("rank", 1, 1), ("rank", 1, 3), ("frozen", 1, 1), ("permuted", 1, 1), ("slim", 1, None),
        ("dense", 0.25, None), ("rank", 0.25, 1), ("rank", 0.25, 3), ("frozen", 0.25, 1),
    ]  # fmt: skip
    assert [v.quarter for v in found[:3]] == [False, True, False]
    slim = next(v for v in found if v.name == "slim")
    assert slim.units * 64 == pytest.approx(RankR((8, 8), 75, 1).n_weights, rel=0.02)
    shuffled = {**options, "ranks": [], "twins": False, "shuffled_labels": True}
    assert [v.name for v in variants_of((8, 8), shuffled)] == ["rank", "rank"]


@pytest.mark.parametrize("way", ["joint", "by-mode"])
def test_a_frozen_first_layer_stays_and_the_readout_learns(way):
    x, y = torch.randn(30, 12, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3
    options = {**asdict(TINY), "way": way}
    model = tensor_network((3, 4), 3, units=5)
    before = [first_linear(model).weight.detach().clone(), model[2].weight.detach().clone()]
    trained(model, (3, 4), Points(x, y, x, y, 3), options, 0, frozen=True)
    assert torch.equal(before[0], first_linear(model).weight)
    assert not torch.equal(before[1], model[2].weight)
    assert all(part.requires_grad for part in model.parameters())


def test_statistics_read_the_right_lines():
    rows = [
        ("dense", False, 1.0, "trained", 0.9, 0.8, 0.5), ("rank", True, 1.0, "trained", 0.88, 0.7, 0.6),
        ("rank", False, 1.0, "trained", 0.1, 0.1, 0.1), ("rank", True, 1.0, "untrained", 0.2, 0.3, 0.9),
        ("slim", False, 1.0, "trained", 0.85, 0.1, 0.1), ("permuted", False, 1.0, "trained", 0.8, 0.1, 0.1),
        ("frozen", False, 1.0, "trained", 0.7, 0.1, 0.1), ("frozen", False, 0.25, "trained", 0.7, 0.45, 0.1),
        ("dense", False, 0.25, "trained", 0.9, 0.95, 0.9), ("rank", True, 0.25, "trained", 0.9, 0.85, 0.95),
        ("rank", True, 0.25, "untrained", 0.1, 0.4, 0.8),
    ]  # fmt: skip
    columns = ["variant", "quarter", "gain", "state", "test_accuracy", "nfa", "mode_nfa"]
    table = pd.DataFrame(rows, columns=columns).assign(seed=4)
    claims = {claim.id: claim for claim in makantasis2021.STUDY.claims_of("smoke")}
    expected = {
        "B1": -0.02, "B3": 0.03, "B4": 0.08, "B5": 0.18, "B6": 0.1, "B7": 0.1, "B8": 0.45, "B10": 0.1, "N1": -0.7, "N3": 0.05, "N4": 0.4,
    }  # fmt: skip
    for name, value in expected.items():
        assert claims[name].measure(table) == {4: pytest.approx(value)}, name
    assert claims["N2"].measure(table.assign(test_accuracy=0.1), table) == {4: pytest.approx(-0.8)}


def test_no_claim_is_called_the_papers():
    assert {claim.group for claim in makantasis2021.STUDY.claims_of("smoke")} == {"beyond", "control"}
