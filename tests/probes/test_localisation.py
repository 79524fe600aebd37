"""Localisation: closed forms on single pixels, cosines and Gaussians, and what must not change it."""

from __future__ import annotations

import math

import pytest
import torch

import agop
from agop import inverse_participation_ratio
from agop.probes.localisation import band_energy, eigenvector_localisation, localisation
from tests.tolerances import IDENTITY

G = torch.Generator().manual_seed(0)


def test_closed_forms():
    d = 64
    angle = 2 * math.pi * 3 * torch.arange(d, dtype=torch.float64) / d
    block = torch.zeros(d, dtype=torch.float64)
    block[5:13] = -2.0
    rows = torch.stack(
        [torch.eye(d, dtype=torch.float64)[4], torch.ones(d, dtype=torch.float64), angle.cos(), block]
    )
    wanted = torch.tensor([1, 1 / d, 1.5 / d, 1 / 8], dtype=torch.float64)
    torch.testing.assert_close(inverse_participation_ratio(rows), wanted, atol=IDENTITY, rtol=0)
    gaussian = torch.randn(4000, d, generator=G, dtype=torch.float64)
    assert float(inverse_participation_ratio(gaussian).mean()) == pytest.approx(3 / (d + 2), rel=0.02)


@pytest.mark.parametrize("factor", [1e-300, -1.0, 1e300])
def test_scale_sign_and_order_do_not_matter(factor):
    rows = torch.randn(5, 30, generator=G, dtype=torch.float64)
    order = torch.randperm(30, generator=G)
    torch.testing.assert_close(
        inverse_participation_ratio(factor * rows[:, order]), inverse_participation_ratio(rows)
    )
    assert bool(torch.isnan(inverse_participation_ratio(torch.zeros(1, 3)))[0])


@pytest.mark.parametrize("axes", [1, 2])
def test_position_and_width_follow_a_shift(axes):
    side = 16
    one = torch.exp(-((torch.arange(side, dtype=torch.float64) - 8) ** 2) / 4)
    row = one if axes == 1 else torch.outer(one, one)
    rows = torch.stack([row.roll([shift] * axes, list(range(axes))).flatten() for shift in (0, 3, 10)])
    found = localisation(rows, axes)
    wanted = torch.tensor([[8.0], [11.0], [2.0]], dtype=torch.float64).expand(3, axes)
    torch.testing.assert_close(found.position, wanted, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.width, found.width[:1].expand(3))
    # squares of exp(-x²/4) have standard deviation 1 on a line
    assert float(found.width[0]) == pytest.approx(math.sqrt(axes), rel=0.02)


def test_tiling_is_the_entropy_of_positions():
    rows = torch.eye(8, dtype=torch.float64)
    assert localisation(rows).tiling == pytest.approx(1.0)
    assert localisation(rows[:1].repeat(8, 1)).tiling == pytest.approx(0.0)
    assert localisation(rows[[0, 0, 0, 0, 4, 4, 4, 4]]).tiling == pytest.approx(1 / 3)


@pytest.mark.parametrize("axes", [1, 2])
def test_band_energy_is_the_naive_sum(axes):
    side = 5
    d = side**axes
    m = torch.randn(d, d, generator=G, dtype=torch.float64)
    m = m + m.T
    near = every = 0.0
    for i in range(d):
        for j in range(d):
            steps = [abs(i % side - j % side), abs(i // side - j // side)][:axes]
            distance = math.sqrt(sum(min(s, side - s) ** 2 for s in steps))
            if i != j:
                every += float(m[i, j]) ** 2
                near += float(m[i, j]) ** 2 if distance <= 1.5 else 0
    assert float(band_energy(m, 1.5, axes)) == pytest.approx(near / every, abs=IDENTITY)
    assert float(band_energy(1e200 * m, 1.5, axes)) == pytest.approx(near / every, abs=IDENTITY)
    assert band_energy(torch.eye(4), 1).undefined_because == "the matrix is diagonal"


def test_a_shift_invariant_matrix_has_no_eigenvectors_of_its_own():
    d = 12
    steps = (torch.arange(d)[:, None] - torch.arange(d)).abs()
    circulant = torch.exp(-torch.minimum(steps, d - steps).double())
    assert float(eigenvector_localisation(circulant, 1)) == pytest.approx(1 / d)  # the constant vector
    assert "one choice of many" in eigenvector_localisation(circulant, 2).undefined_because
    assert float(eigenvector_localisation(torch.diag(torch.arange(1.0, 6.0)), 2)) == pytest.approx(1.0)
    assert eigenvector_localisation(torch.zeros(3, 3)).undefined_because == "no eigenvalue is positive"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: localisation(torch.ones(2, 5), 2), r"rows: expected a square number of columns, row by row, got 5; pass axes=1"),
        (lambda: localisation(torch.zeros(1, 4)), r"rows: expected rows that are not all zero"),
        (lambda: band_energy(torch.ones(3, 3), 0), r"radius: expected a finite number > 0"),
        (lambda: eigenvector_localisation(torch.eye(3), 4), r"k: expected at most the 3 eigenvectors there are, got 4"),
    ],
)  # fmt: skip
def test_hostile(call, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        call()


def test_every_linear_layer_of_a_network_has_one():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(30, 20), torch.nn.ReLU(), torch.nn.Linear(20, 3))
    X, y = torch.randn(50, 30), torch.arange(50) % 3
    found = agop.profile(model, X, y, measures=["ipr"]).to_frame("layer")
    wanted = [float(inverse_participation_ratio(model[i].weight).mean()) for i in (0, 2)]
    assert found["ipr"].tolist() == pytest.approx(wanted)
