"""The study of grokking: its task and statistics, and all of it at a tiny size."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch

from agop.experiments.studies import mallinar2024
from agop.experiments.studies.mallinar2024_work import Task, circulant_share
from tests.experiments.whole import check_whole, tiny_run

TINY = replace(mallinar2024.AMOUNTS["smoke"], p=5, n_iter=2, width=8, epochs=4, every=2)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("mallinar2024") / "run"
    return out, tiny_run(mallinar2024.AMOUNTS, TINY, mallinar2024.STUDY, out)


def test_all_of_it_ends_in_verdicts_and_figures(done):
    check_whole(mallinar2024.STUDY, *done)


def test_the_task_is_addition_and_shuffling_keeps_the_sums():
    task, shuffled = Task(7, 0.5, 0, shuffled=False), Task(7, 0.5, 0, shuffled=True)
    pairs = task.x.reshape(-1, 2, 7).argmax(2)
    assert torch.equal(pairs.sum(1) % 7, task.sums)
    assert torch.equal(torch.cat([task.train, task.test]).sort().values, torch.arange(49))
    assert torch.equal(shuffled.sums.sort().values, task.sums.sort().values)
    assert not torch.equal(shuffled.sums, task.sums)


def test_the_circulant_share_is_that_of_a_least_squares_fit():
    g = torch.Generator().manual_seed(0)
    shift = torch.roll(torch.eye(6, dtype=torch.float64), 1, 0)
    powers = torch.stack([torch.linalg.matrix_power(shift, k).flatten() for k in range(6)], 1)
    circulant = (powers @ torch.randn(6, generator=g, dtype=torch.float64)).reshape(6, 6)
    assert circulant_share(circulant) == pytest.approx(1, abs=1e-12)
    noise = torch.randn(6, 6, generator=g, dtype=torch.float64)
    block = circulant + noise
    fit = powers @ torch.linalg.lstsq(powers, block.flatten()).solution
    expected = 1 - (block.flatten() - fit).square().sum() / (block - block.mean()).square().sum()
    assert circulant_share(block) == pytest.approx(float(expected), rel=1e-10)
    assert circulant_share(7 * block + 3) == pytest.approx(float(expected), rel=1e-10)


def test_statistics_look_at_the_moments_before_accuracy_moves():
    claims = {claim.id: claim for claim in mallinar2024.STUDY.claims_of("smoke")}
    path = pd.DataFrame(
        {"seed": 0, "test_accuracy": [0, 0.01, 0.03, 0.4, 0.02], "circulant": [None, 0.2, 0.7, 0.9, 1.0], "nc1": [9.0, 8, 4, 1, 0.5]}
    )  # fmt: skip
    assert claims["P2"].measure(path) == {0: pytest.approx(0.5)}
    assert claims["B1"].measure(path) == {0: pytest.approx(0.5)}
    never = path.assign(test_accuracy=0.0)
    assert claims["N3"].measure(never) == {0: pytest.approx(0.8)}
    at_once = claims["P2"].measure(path.assign(test_accuracy=1.0))[0]
    assert at_once != at_once
