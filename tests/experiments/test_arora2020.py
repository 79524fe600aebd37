"""The study of dropout: the identity on a network, the minimum by other means than its formula, and all of it at a tiny size."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch

from agop.experiments.claims import FAILS, HOLDS
from agop.experiments.studies import arora2020, arora2020_work
from agop.networks.models import mlp
from agop.theory.dropout import Sampled
from agop.theory.matrix_sensing import least_penalty
from tests.experiments.whole import check_whole, tiny_run

TINY = replace(arora2020.AMOUNTS["smoke"], points=100, width=8, epochs=2, draws=5, chunks=1)
CLAIMS = {claim.id: claim for claim in arora2020.STUDY.claims_of("smoke")}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("arora2020") / "run"
    return out, tiny_run(arora2020.AMOUNTS, TINY, arora2020.STUDY, out)


def test_all_of_it_ends_in_verdicts_and_figures(done):
    check_whole(arora2020.STUDY, *done)


def test_identities_hold_at_any_size_and_their_controls_do_not(done):
    verdicts = {verdict.claim.id: verdict.verdict for verdict in done[1].verdicts}
    assert {verdicts[name] for name in ("P1", "P2", "P3")} == {HOLDS}
    assert {verdicts[name] for name in ("N3", "N4", "N5")} == {FAILS}


def test_masks_on_one_hidden_layer_are_those_of_the_sampled_loss():
    """With one hidden layer, dropout on all hidden layers is dropout on the last, and the identity must hold."""
    model = mlp(5, 3, width=12, depth=1)
    x, targets = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(40, 3)
    sampled = arora2020_work._sampled_everywhere(model, x, targets, 0.4, 2000, 0)
    rows = model.head[:-1](x).detach()
    closed = arora2020_work.expected_loss(rows, model.head[-1].weight.detach(), targets, 0.4)
    assert arora2020_work.z_score(sampled, closed) < 4
    assert arora2020_work.z_score(sampled, 1.1 * closed) > 4


@pytest.mark.parametrize(("rank", "factors"), [(1, 1), (2, 3), (3, 3)])
def test_minimisation_finds_the_least_penalty(rank, factors):
    generator = torch.Generator().manual_seed(rank)
    M, p, q = arora2020_work._sensed(rank, generator)
    assert float(p.sum()) == pytest.approx(1)
    found, closed = arora2020_work.minimised(M, p, q, factors, generator), least_penalty(M, p, q, factors)
    assert closed * (1 - 1e-9) <= found <= closed * 1.001


def whole(**columns):
    table = pd.DataFrame({"seed": 0, "where": "last", "p": [0.0, 0.2, 0.4], "penalty": [4.0, 2.0, 1.0]})
    return table.assign(**columns)


def test_statistics_by_hand():
    assert CLAIMS["P4"].measure(whole()) == {0: 0.5}
    assert CLAIMS["P4"].measure(whole(penalty=[4.0, 2.0, 3.0])) == {0: 1.5}
    assert CLAIMS["P5"].measure(whole(gap=[1.0, 2.0, 0.5])) == {0: 0.5}
    assert CLAIMS["P6"].measure(whole(gap=[3.0, 2.0, 1.0]))[0] == pytest.approx(1)
    assert CLAIMS["P6"].measure(whole(gap=[1.0, 2.0, 3.0]))[0] == pytest.approx(-1)
    assert CLAIMS["B9"].measure(whole(), whole(penalty=8.0)) == {0: 2.0}
    profile = pd.DataFrame(
        {
            "seed": 0, "where": "last", "stage": "output", "p": [0.0, 0.0, 0.0, 0.6, 0.6, 0.6], "layer": [1, 2, 3] * 2,
            "nc1": [4.0, 2.0, 9.0, 3.0, 1.0, 9.0], "nfa": [0.2, 0.4, 9.0, 0.5, 0.7, 9.0],
        }
    )  # fmt: skip
    assert CLAIMS["B5"].measure(profile) == {0: 0.5}
    assert CLAIMS["B6"].measure(profile)[0] == pytest.approx(0.3)
    assert arora2020_work.z_score(Sampled(1.0, 0.5), 3.0) == 4
