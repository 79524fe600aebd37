"""`load` from every kind of source: shapes, orders, subsets, labels."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agop.datasets import DATA, available, load


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (30, 4, 5), dtype=np.uint8),
        "y_train": np.arange(30) % 3,
        "x_test": rng.integers(0, 256, (9, 4, 5), dtype=np.uint8),
        "y_test": np.arange(9) % 3,
    }


def save(path, arrays):
    np.savez(path, **arrays)
    return path


def test_digits_is_a_fixed_stratified_split():
    first, second = load("digits"), load("digits", seed=7)
    assert first.fingerprint() == second.fingerprint()
    assert first.x_train.shape == (1400, 64)
    assert first.x_test.shape == (397, 64)
    share = np.bincount(first.y_train) / 1400 - np.bincount(first.y_test) / 397
    assert np.abs(share).max() < 0.005
    rows = {row.tobytes() for row in first.x_train} & {row.tobytes() for row in first.x_test}
    assert not rows


def test_npz_keeps_values_order_and_dtype(tmp_path, arrays):
    data = load(save(tmp_path / "a.npz", arrays))
    assert data.name == "a.npz"
    assert data.shape == (4, 5)
    assert data.x_train.dtype == np.uint8
    np.testing.assert_array_equal(data.x_train.reshape(30, 4, 5), arrays["x_train"])
    np.testing.assert_array_equal(data.x_test.reshape(9, 4, 5), arrays["x_test"])
    np.testing.assert_array_equal(data.y_test, arrays["y_test"])


def test_npz_without_test_points(tmp_path, arrays):
    data = load(save(tmp_path / "a.npz", {k: v for k, v in arrays.items() if "train" in k}))
    assert data.x_test is None
    assert data.y_test is None
    assert "no test points" in data.source


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array(["b", "a", "c"]), ("a", "b", "c")),
        (np.array([b"b", b"a", b"c"]), ("a", "b", "c")),
        (np.array([7, -2, 9]), ("-2", "7", "9")),
        (np.array([1.0, 0.0, 5.0]), ("0", "1", "5")),
    ],
)
def test_labels_of_any_kind_become_indices(tmp_path, arrays, labels, names):
    arrays |= {"y_train": np.resize(labels, 30), "y_test": np.resize(labels, 9)}
    data = load(save(tmp_path / "a.npz", arrays))
    assert data.class_names == names
    np.testing.assert_array_equal(data.y_train[:3], [1, 0, 2])
    np.testing.assert_array_equal(data.y_test[:3], [1, 0, 2])


def test_boolean_points_and_column_labels(tmp_path, arrays):
    arrays |= {
        "x_train": arrays["x_train"] > 99,
        "x_test": arrays["x_test"] > 99,
        "y_train": arrays["y_train"][:, None],
    }
    data = load(save(tmp_path / "a.npz", arrays))
    assert set(np.unique(data.x_train)) == {0, 1}
    np.testing.assert_array_equal(data.y_train, np.arange(30) % 3)


def test_first_subset_keeps_file_order(tmp_path, arrays):
    data = load(save(tmp_path / "a.npz", arrays), n_train=5, n_test=2)
    np.testing.assert_array_equal(data.x_train, arrays["x_train"][:5].reshape(5, -1))
    np.testing.assert_array_equal(data.y_test, arrays["y_test"][:2])
    assert "the first 5" in data.source


def test_random_subset_is_seeded_and_leaves_global_generators_alone(tmp_path, arrays):
    path = save(tmp_path / "a.npz", arrays)
    before = np.random.get_state()[1].copy(), torch.random.get_rng_state()
    first, again, other = (load(path, n_train=10, subset="random", seed=seed) for seed in (1, 1, 2))
    assert (before[0] == np.random.get_state()[1]).all()
    assert torch.equal(before[1], torch.random.get_rng_state())
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert len({row.tobytes() for row in first.x_train}) == 10
    smaller_test = load(path, n_train=10, n_test=3, subset="random", seed=1)
    np.testing.assert_array_equal(first.x_train, smaller_test.x_train)


def test_missing_classes_are_noted_and_names_kept(tmp_path, arrays):
    data = load(save(tmp_path / "a.npz", arrays), n_train=2)
    assert data.class_names == ("0", "1", "2")
    assert data.notes == ("The training points hold 2 of 3 classes; missing: 2.",)


def test_fingerprint_sees_every_array(tmp_path, arrays):
    path = save(tmp_path / "a.npz", arrays)
    before = load(path).fingerprint()
    for name in arrays:
        changed = {k: v.copy() for k, v in arrays.items()}
        changed[name].flat[0] = 2
        changed[name].flat[1] = 2
        assert load(save(tmp_path / "b.npz", changed)).fingerprint() != before


def test_registry_lists_the_bundled_set_first():
    sources = available()
    assert sources[0].name == "digits"
    assert {source.name for source in sources if source.kind == "files"} >= {
        "mnist",
        "fashion-mnist",
        "cifar10",
        "svhn",
    }
    assert all(source.bundled == (source.kind != "files") for source in sources)
    assert [source.name for source in sources] == list(DATA.own)
    digits = load("digits")
    assert (sources[0].n_train, sources[0].n_test, sources[0].shape) == (1400, 397, digits.shape)


def test_the_page_of_the_command_line_has_the_data_sets_of_the_registry():
    page = (Path(__file__).parents[2] / "docs" / "command_line.md").read_text(encoding="utf-8")
    rows = [
        f"| `{s.name}` | {s.description} | {s.origin} | {'×'.join(map(str, s.shape))} | {s.n_train:,} | {s.n_test:,} | {s.n_classes} |"
        for s in available()
    ]
    assert [row for row in rows if row not in page] == []


def test_parameters_are_for_generated_sets_only(tmp_path, arrays):
    with pytest.raises(ValueError, match=r"parameters: expected those of 'digits' \(none\), got 'noise'"):
        load("digits", parameters={"noise": 1})
    with pytest.raises(ValueError, match=r"parameters: expected none for an .npz file, got noise"):
        load(save(tmp_path / "a.npz", arrays), parameters={"noise": 1})


def test_a_kind_of_source_that_is_none_is_refused():
    with pytest.raises(ValueError, match="kind: expected one of 'bundled', 'files', 'generated'"):
        replace(DATA["digits"], kind="rented")


def test_names_of_data_sets_are_known_without_numpy():
    code = (
        "import sys; from agop.datasets import DATA; print(list(DATA), {'numpy', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{list(DATA)} set()"
