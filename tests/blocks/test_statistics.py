"""What a pass in blocks finds is what is found with all rows at hand, however they are cut; k copies are weight k, weight 0 is absent."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agop import open_blocks
from agop.blocks.folds import fold_of
from agop.blocks.moments import Moments
from agop.blocks.statistics import statistics
from agop.blocks.values import as_numbers
from agop.machines.columns import SCALINGS
from agop.machines.encoding import Encoding
from agop.machines.targets import Targets

N = 60


def table(rng, dtype=np.float64):
    X = rng.normal(size=(N, 6)) * [1, 1e6, 1e-6, 0, 1, 1] + [0, 1e9, 3, 7.7, 0, 0]
    X[rng.uniform(size=N) < 0.3, 4] = np.nan
    X[:, 5] = np.nan
    return X.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("rows", [1, 7, N])
def test_columns_are_those_of_all_rows(dtype, scaling, rows):
    rng = np.random.default_rng(0)
    X, weight = table(rng, dtype), rng.uniform(size=N) * (rng.uniform(size=N) < 0.8)
    kept = torch.tensor(X[weight > 0])
    w = torch.tensor(weight[weight > 0])
    found = statistics(open_blocks(X, weight=weight), rows=rows)
    assert found.rows == len(kept)
    encoding, expected = Encoding.of_statistics(found, range(6)), Encoding.of(kept, None)
    assert (encoding.levels, encoding.gaps) == (expected.levels, expected.gaps)
    for centered in (True, False):
        columns = encoding.columns_of(found, scaling, centered=centered)
        wanted = expected.columns(kept, w, scaling, centered=centered)
        torch.testing.assert_close(columns.means, wanted.means, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(columns.scales, wanted.scales, rtol=1e-9, atol=0)
    assert columns.scales[3] == (1 if scaling == "none" else 0)


@pytest.mark.parametrize("rows", [1, 7, N])
def test_categories_are_those_of_all_rows(rows):
    rng = np.random.default_rng(1)
    city = pd.Series(rng.choice(["Rome", "Oslo", "Bonn"], N)).where(rng.uniform(size=N) < 0.9)
    frame = pd.DataFrame({
        "a": rng.normal(size=N), "city": city.astype("category"), "text": city.astype(object),
        "code": rng.integers(0, 4, N), "mixed": [1, "x", True, None] * (N // 4),
    })  # fmt: skip
    weight = rng.integers(0, 3, N).astype(float)
    categorical = [1, 2, 3, 4]
    found = statistics(open_blocks(frame, weight=weight), rows=rows, categorical=categorical)
    numbers, levels = as_numbers(frame, None, categorical, weight > 0)
    kept, w = torch.from_numpy(numbers[weight > 0]), torch.from_numpy(weight[weight > 0])
    assert found.ordered_levels(list(frame)) == levels
    encoding, expected = Encoding.of_statistics(found, list(frame)), Encoding.of(kept, levels)
    columns = encoding.columns_of(found, "columns", centered=True)
    wanted = expected.columns(kept, w, "columns", centered=True)
    assert encoding.names(list(frame)) == expected.names(list(frame))
    torch.testing.assert_close(columns.means, wanted.means, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(columns.scales, wanted.scales, rtol=1e-12, atol=0)


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
@pytest.mark.parametrize("center", [True, False])
def test_targets_are_those_of_all_rows(scale, center):
    rng = np.random.default_rng(2)
    Y = np.stack([rng.normal(size=N), np.full(N, 0.1), 5 + rng.normal(size=N)], 1) * scale
    weight = rng.uniform(size=N)
    found = statistics(open_blocks(rng.normal(size=(N, 2)), target=Y, weight=weight), rows=7)
    targets = Targets.of_statistics(found, None, center=center, dtype=torch.float32)
    wanted = Targets.of(
        torch.tensor(Y), torch.tensor(weight), center=center, labels=False, dtype=torch.float32
    )
    torch.testing.assert_close(targets.means, wanted.means, rtol=1e-12, atol=1e-14 * scale)
    torch.testing.assert_close(targets.scales, wanted.scales, rtol=1e-12, atol=0)
    assert targets.largest == wanted.largest
    assert targets.resolution == pytest.approx(wanted.resolution, rel=1e-12)


def test_classes_and_what_they_weigh():
    labels, weight = np.array(["b", "a", "c", "a", "z"]), np.array([1.0, 2, 3, 4, 0])
    found = statistics(open_blocks(np.zeros((5, 1)), target=labels, weight=weight), labels=True, rows=2)
    assert found.classes == {"b": 1, "a": 6, "c": 3}
    index = torch.tensor([1, 0, 2, 0])
    hot = torch.full((4, 3), -1.0, dtype=torch.float64).scatter_(1, index[:, None], 1.0)
    wanted = Targets.of(hot, torch.tensor(weight[:4]), center=True, labels=True, dtype=None)
    targets = Targets.of_statistics(found, ["a", "b", "c"], center=True, dtype=None)
    torch.testing.assert_close(targets.means, wanted.means)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    exponent=st.sampled_from([-150, 0, 150]),
    tiny=st.sampled_from([1e-40, 1.0, 1e40]),
    cut=st.integers(1, 18),
)
def test_moments_add_up(seed, exponent, tiny, cut):
    rng = np.random.default_rng(seed)
    X = torch.tensor(
        np.where(rng.uniform(size=(19, 3)) < 0.3, np.nan, rng.normal(size=(19, 3)) * 10.0**exponent)
    )
    weight = torch.tensor(rng.integers(1, 4, 19)).double()
    whole = Moments.of(X.repeat_interleave(weight.long(), 0), torch.ones(int(weight.sum())).double())
    parts = Moments.of(X[:cut], tiny * weight[:cut]).merged(Moments.of(X[cut:], tiny * weight[cut:]))
    torch.testing.assert_close(parts.mean, whole.mean, rtol=1e-12, atol=1e-14 * 10.0**exponent)
    torch.testing.assert_close(parts.deviation, whole.deviation, rtol=1e-11, atol=1e-15 * 10.0**exponent)
    torch.testing.assert_close(parts.weight, tiny * whole.weight)
    torch.testing.assert_close(parts.missing, tiny * whole.missing)
    assert torch.equal(parts.largest, whole.largest)


def test_a_constant_is_its_own_mean_to_the_last_bit():
    X = np.full((1000, 1), 0.1)
    found = statistics(open_blocks(X, weight=np.random.default_rng(0).uniform(size=1000)), rows=3)
    assert found.columns.mean.item() == 0.1
    assert found.columns.deviation.item() == 0


@pytest.mark.parametrize(
    ("source", "options", "sentence"),
    [
        (lambda: open_blocks(np.zeros((9, 1)), weight=np.zeros(9)), {}, "weight: expected some positive weight"),
        (lambda: open_blocks(pd.DataFrame({"a": ["x"] * 9})), {}, "got text in column 'a'"),
        (lambda: open_blocks(pd.DataFrame({"a": map(str, range(2000))})), {"categorical": [0]}, "at most 1,000 categories in a column, got"),
        (lambda: open_blocks(np.zeros((9, 1)), target=["x"] * 9), {}, "y: expected numbers, got text in rows 0 to 3; fit a classifier"),
        (lambda: open_blocks(np.zeros((9, 1)), target=np.arange(9) / 2), {"labels": True}, "y: expected labels, got fractions in rows 0"),
        (lambda: open_blocks(np.zeros((9, 1)), target=np.zeros((9, 2))), {"labels": True}, "y: expected labels with one axis"),
        (lambda: open_blocks(np.zeros((10_001, 1)), target=np.arange(10_001)), {"labels": True, "rows": 5000}, "at most 10,000 classes"),
    ],
)  # fmt: skip
def test_what_no_pass_can_take_is_one_sentence(source, options, sentence):
    made = source()
    with pytest.raises((ValueError, TypeError), match=sentence):
        statistics(made, **{"rows": 4} | options)


def test_progress_counts_rows():
    seen = []
    statistics(open_blocks(np.zeros((10, 2))), rows=4, progress=lambda done, n: seen.append((done, n)))
    assert seen == [(4, 10), (8, 10), (10, 10)]


def test_folds_follow_from_row_numbers():
    rows = np.arange(100_000)
    fold = fold_of(rows, 5, 0)
    np.testing.assert_array_equal(fold[500:600], fold_of(rows[500:600], 5, 0))
    counts = np.bincount(fold, minlength=5)
    assert counts.min() > 20_000 - 5 * 130  # five standard deviations of a binomial number
    assert (fold != fold_of(rows, 5, 1)).mean() == pytest.approx(0.8, abs=0.01)
    follows = np.bincount(fold[:-1] * 5 + fold[1:], minlength=25) / (len(rows) - 1)
    assert follows == pytest.approx(0.04, abs=0.004)
    with pytest.raises(ValueError, match="parts: expected an integer >= 2"):
        fold_of(rows, 1, 0)
