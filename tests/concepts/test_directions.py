"""Concept directions: a planted one is found, controls are chance, scores are honest, and nothing hangs on order, offset or scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import agop
from agop.concepts import ConceptDirections, ConceptSearch, HiddenStates, directions_from, hidden_states
from agop.concepts.rivals import honest_linear, honest_mean_difference, mean_differences
from agop.concepts.scores import Concept, auc
from tests.concepts.planted import QUICK, planted
from tests.concepts.test_states import Causal, padded

Y, V, STATES = planted()
CHANCE = 0.0586
"""The standard deviation of a held-out AUC of 180 samples without a concept, over 300 draws (difference of means, three folds; their mean
is .502). It is above the .043 of Mann and Whitney for values that know nothing of the labels: the folds are not independent."""


@pytest.fixture(scope="module")
def found():
    return directions_from(STATES, Y, search=QUICK)


def cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0))


def test_a_planted_direction_is_found_with_its_sign(found):
    assert found.chosen == "planted"
    assert cosine(found.directions["planted"][0], V) > 0.95
    assert found.directions["planted"].shape == (1, 16)
    assert float(found.directions["planted"].norm()) == pytest.approx(1)
    flipped = directions_from(STATES, 1 - Y, search=QUICK)
    assert cosine(flipped.directions["planted"][0], V) < -0.95


def test_scores_are_near_what_is_possible_and_chance_where_nothing_is(found):
    table = found.table.set_index("name")
    best = float(auc((STATES.blocks["planted"] @ V).numpy(), Y.numpy() == 1))  # of the true direction
    for column in ("rfm", "kernel_ridge", "linear", "mean_difference", "direction"):
        assert best - 0.03 < table.loc["planted", column] < best + 0.01
        assert abs(table.loc["noise", column] - 0.5) < 4 * CHANCE
        assert table.loc["noise", column] < table.loc["weak", column] < table.loc["planted", column]
    assert best - 0.03 < found.detector.score
    assert (table["width"] == 16).all()


def test_labels_without_a_concept_score_chance():
    generator = torch.Generator().manual_seed(3)
    scores = [
        directions_from(STATES, Y[torch.randperm(len(Y), generator=generator)], search=QUICK)
        for _ in range(3)
    ]
    for column in ("rfm", "direction", "linear"):
        values = np.concatenate([one.table[column] for one in scores])
        assert abs(values.mean() - 0.5) < 4 * CHANCE / 3  # of nine
    assert abs(np.mean([one.detector.score for one in scores]) - 0.5) < 4 * CHANCE / 3**0.5


def test_a_direction_of_many_is_no_larger_set_of_features():
    """A concept that no linear model sees: the sign of a product, read by the RFM alone."""
    generator = torch.Generator().manual_seed(0)
    H = torch.randn(500, 8, generator=generator)
    y = (H[:, 0] * H[:, 1] > 0).long()
    search = ConceptSearch(
        bandwidth_factors=(1.0,), n_iter=2, n_components=2, learning_ridges=(0.1,), inverse_penalties=(0.1,)
    )
    found = directions_from(HiddenStates({"h": H}), y, search=search)
    row = found.table.iloc[0]
    assert row["rfm"] > row["kernel_ridge"] + 0.02
    assert row["iteration"] > 0
    assert row["linear"] < 0.6 < 0.85 < row["rfm"]
    plane = found.directions["h"][:, :2].norm(dim=1)
    assert bool((plane > 0.95).all())


def test_nothing_hangs_on_the_order_of_samples_on_offset_or_scale(found):
    generator = torch.Generator().manual_seed(1)
    order = torch.randperm(len(Y), generator=generator)
    scale = torch.rand(16, generator=generator) + 0.5
    moved = HiddenStates({name: h * scale + 5 for name, h in STATES.blocks.items()})
    for states, y, factor in ((STATES.take(order), Y[order], torch.ones(16)), (moved, Y, scale)):
        other = directions_from(states, y, search=QUICK)
        for column in ("rfm", "kernel_ridge", "linear", "mean_difference", "direction"):
            np.testing.assert_allclose(other.table[column], found.table[column], atol=2e-3)
        for name, own in found.directions.items():
            back = other.directions[name][0] * factor
            assert cosine(back, own[0]) > 0.999
        shift = (
            other.detector.probabilities(other.project(states))
            - found.predict_proba(STATES)[order.numpy() if states is not moved else slice(None)]
        )
        assert np.abs(shift).max() < 0.02


def test_whole_numbers_texts_and_booleans_are_the_same_classes(found):
    for y, classes in (
        (Y.numpy().astype(str), ["0", "1"]),
        (Y.bool(), [False, True]),
        (Y.double(), [0.0, 1.0]),
    ):
        other = directions_from(STATES, y, search=QUICK)
        assert other.classes == classes
        np.testing.assert_array_equal(other.table["rfm"], found.table["rfm"])


def test_several_classes_have_a_direction_each():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 3
    centres = 3 * torch.eye(3, 10)
    H = centres[y] + torch.randn(300, 10, generator=generator)
    found = directions_from(HiddenStates({"h": H}), y, search=QUICK)
    directions = found.directions["h"]
    assert directions.shape == (3, 10)
    for c in range(3):
        away = centres[c] - centres.mean(0)
        assert cosine(directions[c], away) > 0.9
    assert found.row_of("h", 2) == 2
    probabilities = found.predict_proba(HiddenStates({"h": H}))
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (found.predict(HiddenStates({"h": H})) == y.numpy()).mean() > 0.9
    assert found.table["rfm"][0] > 0.95


def test_numbers_are_correlated(found):
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(180, generator=generator)
    H = STATES.blocks["noise"] + 2 * target[:, None] * V
    other = directions_from(HiddenStates({"h": H}), target.double(), search=QUICK)
    assert other.score == "correlation"
    assert other.classes is None
    assert cosine(other.directions["h"][0], V) > 0.95
    row = other.table.iloc[0]
    assert 0.8 < row["rfm"] <= 1
    assert 0.8 < row["linear"] <= 1
    values = other.predict(HiddenStates({"h": H}))
    assert np.corrcoef(values, target)[0, 1] > 0.85
    assert abs(values.mean() - float(target.mean())) < 0.1
    with pytest.raises(ValueError, match="use predict"):
        other.predict_proba(HiddenStates({"h": H}))


def test_held_out_values_are_those_of_fits_to_the_other_folds():
    concept, fold = Concept.of(Y), np.arange(len(Y)) // 2 % 3
    H = STATES.blocks["planted"].double().numpy()
    values = honest_mean_difference(H, concept, fold)[0, :, 0]
    for k in range(3):
        inside = fold != k
        mean, scale = H[inside].mean(0), H[inside].std(0)
        Z, y = (H - mean) / scale, Y.numpy()
        w = Z[inside & (y == 1)].mean(0) - Z[inside & (y == 0)].mean(0)
        np.testing.assert_allclose(values[fold == k], Z[fold == k] @ w)
    # what is held out has no part in its own value
    changed = H.copy()
    changed[0] += 100
    for make in (honest_mean_difference, lambda *a: honest_linear(*a, (0.1,))):
        before, after = make(H, concept, fold), make(changed, concept, fold)
        np.testing.assert_allclose(before[0, (fold == fold[0])][1:], after[0, (fold == fold[0])][1:])
    two = np.array([[0.0], [0.0], [1.0]])
    np.testing.assert_allclose(mean_differences(H[:3], two)[:, 0], H[2] - H[:2].mean(0))


def test_the_score_of_a_choice_is_below_that_of_the_best_candidate_on_noise():
    """On labels without a concept the best of many candidates looks better than chance; the honest score doesn't."""
    generator = torch.Generator().manual_seed(0)
    noise = HiddenStates({str(k): torch.randn(60, 5, generator=generator) for k in range(8)})
    search = ConceptSearch(n_iter=1, bandwidth_factors=(0.3, 4.0), inverse_penalties=(0.01,))
    table = directions_from(noise, torch.arange(60) % 2, search=search).table
    assert abs(table["rfm"].mean() - 0.5) < 4 * (61 / 12) ** 0.5 / 30 / 8**0.5


def test_from_a_model_to_a_detector_and_back(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Causal(d=12)
    inputs = padded(n=90, t=6, extra=2)
    y = np.where(inputs["input_ids"][:, 0] > 4, "large", "small")
    found = agop.concept_directions(model, inputs, y, position="mean", search=QUICK, batch_size=16)
    states = hidden_states(model, inputs, position="mean")
    np.testing.assert_allclose(found.predict_proba(model, inputs), found.predict_proba(states), atol=1e-6)
    assert set(found.predict(model, inputs)) <= {"large", "small"}
    assert found.table["rfm"].max() > 0.8
    text = str(found)
    assert "position 'mean'" in text
    assert "large | small" in text
    assert found.to_frame() is not found.table
    figure = found.plot().figure
    assert len(figure.axes[0].lines) == 7
    import matplotlib.pyplot as plt

    plt.close(figure)


def test_a_file_holds_everything(found, tmp_path):
    path = tmp_path / "concept.safetensors"
    found.save(path)
    again = ConceptDirections.load(path)
    import pandas as pd

    pd.testing.assert_frame_equal(again.table, found.table)
    for name in found.directions:
        for kind in ("directions", "centers", "spreads"):
            assert torch.equal(getattr(again, kind)[name], getattr(found, kind)[name])
    np.testing.assert_array_equal(again.predict_proba(STATES), found.predict_proba(STATES))
    H = STATES.blocks["planted"]
    np.testing.assert_array_equal(again.estimator.predict_proba(H), found.estimator.predict_proba(H))
    assert (again.classes, again.position, again.chosen, again.search) == (
        found.classes, found.position, found.chosen, found.search,
    )  # fmt: skip
    assert type(agop.load(path)) is ConceptDirections


@pytest.mark.parametrize("offset", range(100, 4000, 397))
def test_a_damaged_file_is_told_in_a_sentence(found, tmp_path, offset):
    path = tmp_path / "concept.safetensors"
    found.save(path)
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="path: expected a"):
        ConceptDirections.load(path)


@pytest.mark.usefixtures("as_in_production")
def test_what_is_wrong_is_told_in_a_sentence(found):
    few = STATES.take(slice(0, 4))
    for states, y, words in (
        (STATES, Y[:-1], "y: expected as many rows as inputs"),
        (few, torch.tensor([0, 0, 0, 1]), "at least 3 samples of each class, one a fold, got 1 of class 1"),
        (STATES, torch.zeros(180), "two classes or more"),
    ):
        with pytest.raises(ValueError, match=words):
            directions_from(states, y, search=QUICK)
    with pytest.raises(ValueError, match="a concept that varies in each fold"):
        directions_from(STATES, Y, search=QUICK, groups=Y)
    with pytest.raises(TypeError, match="search: expected a ConceptSearch, got dict"):
        directions_from(STATES, Y, search={"n_iter": 1})
    with pytest.raises(ValueError, match="hidden states of block 'noise'"):
        found.predict_proba(HiddenStates({"planted": STATES.blocks["planted"]}))
    with pytest.raises(ValueError, match="16 features in block 'noise', got 3"):
        found.predict_proba(HiddenStates({name: torch.zeros(2, 3) for name in STATES.blocks}))
    with pytest.raises(ValueError, match="inputs: expected samples for the model"):
        found.predict_proba(nn.Linear(2, 2))


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize(
    "bad",
    [
        {"kernel": "l1"}, {"kernel": 3}, {"scaling": "none"}, {"power": 0}, {"n_iter": -1}, {"n_iter": 1.5}, {"cv": 1}, {"ridges": ()},
        {"ridges": 0.1}, {"ridges": (0.1, -1)}, {"bandwidth_factors": "wide"}, {"center_gradients": (2,)}, {"n_components": 0},
    ],
    ids=str,
)  # fmt: skip
def test_options_that_are_none_are_told(bad):
    with pytest.raises((ValueError, TypeError), match=r"search\.\w+: expected .*, got "):
        ConceptSearch(**bad)
