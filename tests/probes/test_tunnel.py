"""Where the tunnel starts, and ranks of class means."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import agop
from agop.collapse import means_rank
from agop.probes.tunnel import TUNNEL, tunnel
from tests.tolerances import IDENTITY


def layers(distances, n=120, d=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    noise = torch.randn(n, d, generator=g, dtype=torch.float64)
    return [noise + distance * nn.functional.one_hot(y, d).double() for distance in distances], y


def test_starts_where_the_classes_can_be_read():
    rows, y = layers([0.0, 0.5, 9.0, 9.0])
    found = tunnel(rows, y)
    assert int(found.start) == 3
    assert found.accuracies[2:] == (1.0, 1.0)
    assert found.accuracies[0] < 0.6
    assert found.start.details["accuracy"] == 1.0
    assert int(tunnel(rows, y, share=0.2).start) == 1
    assert int(tunnel([rows[2], rows[0], rows[2]], y).start) == 3  # from which on all have it


def test_is_the_same_for_moved_turned_and_scaled_rows_and_counts_ranks():
    rows, y = layers([0.5, 2.0, 3.0])
    turn = torch.linalg.qr(
        torch.randn(5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    )[0]
    found, moved = tunnel(rows, y), tunnel([1e3 * layer @ turn + 7 for layer in rows], y)
    assert (found.accuracies, found.ranks) == (moved.accuracies, moved.ranks)
    assert tunnel([rows[0][:, :2] @ rows[0][:2]], y).ranks == (2,)
    assert tunnel([torch.ones(120, 4)], y).ranks == (0,)


def test_undefined_where_the_last_probe_is_at_chance_and_refused_where_it_can_t_be():
    rows, y = layers([9.0])
    assert "by chance" in tunnel([torch.ones(120, 2)], y).start.undefined_because
    with pytest.raises(ValueError, match="labels: expected two classes or more"):
        tunnel(rows, torch.zeros(120, dtype=torch.int64))
    with pytest.raises(ValueError, match="rows: expected at least one layer"):
        tunnel([], y)
    with pytest.raises(ValueError, match="share"):
        tunnel(rows, y, share=0)


def test_a_profile_has_the_number_and_the_curves():
    g = torch.Generator().manual_seed(0)
    y = torch.arange(90) % 3
    x = torch.randn(90, 6, generator=g) + 3 * nn.functional.one_hot(y, 6)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    p = agop.profile(net, x, y, measures=["tunnel", "means_rank"])
    assert p.whole["tunnel_start"].iloc[0] in (1, 2, 3)
    curves = p.curves.pivot(index="x", columns="measure", values="value")
    assert curves.index.tolist() == [1, 2, 3]
    assert curves["probe_accuracy"].between(0.3, 1).all()
    assert (curves["rank"] <= [8, 8, 3]).all()
    assert p.table["means_rank"].between(1, 2).all()
    one = agop.profile(net, x, torch.zeros(90), measures=["tunnel"])
    assert any("two classes or more" in note for note in one.notes)
    moved = TUNNEL.with_(share=0.5)
    assert (
        agop.profile(net, x, y, measures=[moved]).whole["tunnel_start"].iloc[0]
        <= p.whole["tunnel_start"].iloc[0]
    )


def test_ranks_of_means_against_singular_values():
    g = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 6
    means = torch.randn(6, 9, generator=g, dtype=torch.float64) * torch.tensor(
        [9.0, 4, 2, 1, 0.5, 0.2, 0.1, 0.1, 0.1]
    )
    rows = means[y]
    centred = means - means.mean(0)
    values = torch.linalg.svdvals(centred)
    m = agop.ClassMoments.of(rows, y)
    for share in (0.5, 0.1, 0.01):
        assert int(means_rank(m, share)) == int((values > share * values[0]).sum())
    found = means_rank(m)
    assert found.details["full"] == 5
    assert found.details["singular_values"][1] == pytest.approx(float(values[1] / values[0]), rel=IDENTITY)
    simplex = agop.ClassMoments.of(torch.eye(6, dtype=torch.float64)[y], y)
    assert int(means_rank(simplex, 1.0)) == 5
    assert means_rank(agop.ClassMoments.of(torch.ones(6, 2), torch.arange(6))).undefined_because
