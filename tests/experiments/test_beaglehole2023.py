"""The study of patches: its work against obvious versions, its units, and that a tiny run ends in verdicts and figures."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from agop import ConvRFMClassifier, DeepConvRFMClassifier
from agop.datasets import load
from agop.experiments.claims import FAILS, HOLDS, OPEN, decide
from agop.experiments.finished import Finished
from agop.experiments.studies import beaglehole2023
from agop.experiments.studies import beaglehole2023_work as work
from agop.experiments.studies.beaglehole2023 import AMOUNTS, CLAIMS, STUDY
from agop.experiments.units import DataSource, Generated
from agop.report.drawing import plates
from tests.experiments.whole import tiny_run
from tests.oracles import gradients as oracle

TINY = replace(
    AMOUNTS["smoke"], network_points=60, widths=(4, 4), epochs=2, rows=12, noise_points=60, noise_depth=1, n_test=20, star_side=10,
    star_test=20, deep_points=60, stages=2, deep_width=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("beaglehole") / "run"
    return out, tiny_run(AMOUNTS, TINY, STUDY, out)


def test_a_run_decides_every_claim(done):
    _, result = done
    assert {outcome.status for outcome in result.outcomes} == {"done"}
    verdicts = {v.claim.id: v for v in result.verdicts}
    assert set(verdicts) == {claim.id for claim in CLAIMS}
    assert OPEN not in {v.verdict for v in verdicts.values()}, (
        "one seed leaves nothing open but an undefined number"
    )


def test_every_drawing_is_drawn(done):
    out, _ = done
    record = Finished.load(out)

    def drawn(drawing, label):
        frames = record.frames("beaglehole2023", label)
        return [
            plate.stem
            for plate in plates(drawing, frames, partial(record.arrays, "beaglehole2023", label), label)
        ]

    for drawing in STUDY.drawings_of("smoke"):
        assert drawn(drawing, "stars" if "star" in drawing.stem else "digits") == [drawing.stem]


def sixty_digits():
    """The images and labels that the tiny run had."""
    data = load("digits", n_train=60, subset="random", seed=0)
    images = torch.from_numpy(data.x_train / data.x_train.max()).float().reshape(-1, 1, 8, 8)
    return images, torch.from_numpy(data.y_train)


def test_the_correlations_of_a_network_are_those_of_autograd(done):
    out, _ = done
    (table,) = out.glob("units/beaglehole2023/networks_*/nfa.csv")
    rows = pd.read_csv(table)
    x, _ = sixty_digits()
    net = work.network(x, 10, [4, 4], beaglehole2023.GAIN, 0)
    for row, place in zip(rows.itertuples(), (0, 2), strict=True):
        gradients = oracle.layer_agop(net, x[:12], net[place])
        W = net[place].weight.detach().flatten(1)
        pair = torch.stack([(W.mT @ W).flatten(), gradients.flatten()])
        assert row.untrained == pytest.approx(float(torch.corrcoef(pair)[0, 1]), abs=1e-4)
    assert list(rows["layer"]) == [1, 2]


def test_iterations_are_those_of_estimators_that_stop_there():
    x, y, x_test, y_test = work.star_images(seed=0, n=40, noise=0.3, side=12, n_test=30)
    told = {"depth": 1, "patch_size": 5, "iterations": 2, "ridge": 1e-3, "held_out": 0.25}
    rows, matrices = work.by_iteration(x, y, x_test, y_test, told)
    for iteration, row in enumerate(rows):
        model = ConvRFMClassifier(depth=1, patch_size=5, n_iter=iteration, random_state=0).fit(x[:30], y[:30])
        assert row["test_accuracy"] == model.score(x_test, y_test)
        assert row["held_out_accuracy"] == model.score(x[30:], y[30:])
        torch.testing.assert_close(matrices[iteration], model.agop_)
    held = [row["held_out_accuracy"] for row in rows]
    assert [row["chosen"] for row in rows] == [i == held.index(max(held)) for i in range(3)]


def test_the_data_set_of_stars_is_what_the_study_draws():
    x, y, x_test, _ = work.star_images(seed=3, n=10, noise=0.3, side=32, n_test=7)
    data = load("stars", seed=3)
    np.testing.assert_array_equal(x.flatten(1), data.x_train[:10])
    np.testing.assert_array_equal(y, data.y_train[:10])
    np.testing.assert_array_equal(x_test.flatten(1), data.x_test[:7])


def test_edge_share_is_one_for_edges_and_a_third_by_chance():
    ramp = torch.tensor([-1.0, 0, 1], dtype=torch.float64)
    edges = torch.stack([ramp[:, None].expand(3, 3).flatten(), ramp[None].expand(3, 3).flatten()])
    assert work.edge_share(edges.mT @ edges, 1) == pytest.approx(1)
    colour = edges.repeat(1, 3)
    assert work.edge_share(colour.mT @ colour, 3) == pytest.approx(1)
    opponent = torch.cat([edges, -edges, torch.zeros_like(edges)], 1)
    opponent = torch.cat([opponent, torch.randn(1, 27, dtype=torch.float64) * 1e-3])
    assert work.edge_share(opponent.mT @ opponent, 3) < 0.5
    generator = torch.Generator().manual_seed(0)
    turned = [torch.randn(9, 9, generator=generator, dtype=torch.float64) for _ in range(300)]
    assert np.mean([work.edge_share(A @ A.mT, 1) for A in turned]) == pytest.approx(1 / 3, abs=0.03)


def test_images_lie_at_the_same_places_whatever_the_noise():
    x = torch.rand(20, 3, 6, 6) + 2
    points = (x, torch.zeros(20), x, torch.zeros(20))
    quiet, loud = (work._in_noise(points, level, 5)[0] for level in (0.0, 0.1))
    assert quiet.shape == (20, 3, 9, 9)
    assert torch.equal(quiet > 1, loud > 1)
    assert torch.equal(quiet[quiet > 1], x.flatten())


def test_profiles_are_those_of_the_estimator(done):
    out, _ = done
    (table,) = out.glob("units/beaglehole2023/deep_*/profile.csv")
    rows = pd.read_csv(table)
    x, y = sixty_digits()
    model = DeepConvRFMClassifier(n_layers=2, width=3, n_iter=0, random_state=0)
    model.fit(x[:48], y[:48])
    (view, _) = model.views(x[:12])
    h, labels = view.stages()["projected"].double(), y[:12]
    means = torch.stack([h[labels == c].mean(0) for c in labels.unique()])
    own = means[torch.searchsorted(labels.unique(), labels)]
    nc1 = (h - own).square().sum() / len(h) / ((means - means.mean(0)).square().sum() / len(means))
    of = (
        (rows["rule"] == "identity")
        & (rows["stage"] == "projected")
        & (rows["points"] == "train")
        & (rows["layer"] == 1)
    )
    assert rows.loc[of, "nc1"].iloc[0] == pytest.approx(float(nc1), rel=1e-4)


def scores(noises, accuracies, chosen=1):
    """A table of scores: for each noise the accuracies of its iterations."""
    rows = [
        {"seed": 0, "noise": noise, "iteration": i, "test_accuracy": value, "chosen": i == chosen}
        for noise, values in zip(noises, accuracies)
        for i, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("loud", "verdict"), [([0.3, 0.4], HOLDS), ([0.3, 0.31], FAILS)])
def test_the_gain_is_that_of_the_chosen_iteration(loud, verdict):
    (claim,) = (claim for claim in CLAIMS if claim.id == "C7")
    table = scores((0.0, 0.5), ([0.8, 0.82], loud))
    assert decide(claim, {"noise/true/scores": table}).values[0] == pytest.approx(loud[1] - loud[0] - 0.02)
    assert decide(claim, {"noise/true/scores": table}).verdict == verdict


def test_units_are_named_by_what_they_compute():
    data = DataSource("digits", "fingerprint", available=1400)
    units = STUDY.units_of("smoke", 0, data)
    assert [unit.table for unit in units] == [
        "stars/true",
        "stars/shuffled",
        "networks",
        "noise/true",
        "noise/shuffled",
        "deep",
    ]
    assert isinstance(units[0].data, Generated)
    assert len({unit.folder for unit in units}) == 6
    assert [unit.table for unit in STUDY.units_of("smoke", 0, data, ("deep",))] == ["deep"]
