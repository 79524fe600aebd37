"""A file that is missing, damaged or hostile is one sentence and never executed."""

from __future__ import annotations

import contextlib
import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agop.datasets import load
from tests.sentences import one_sentence

GOOD = {
    "x_train": np.eye(6),
    "y_train": np.arange(6) % 2,
    "x_test": np.eye(6)[:2],
    "y_test": np.array([0, 1]),
}


def written(tmp_path, **changes):
    arrays = {name: value for name, value in (GOOD | changes).items() if value is not None}
    np.savez(tmp_path / "a.npz", **arrays)
    return tmp_path / "a.npz"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"x_train": None}, "without x_train"),
        ({"y_train": None}, "without y_train"),
        ({"y_test": None}, "without y_test"),
        ({"x_test": None}, "without x_test"),
        ({"x_train": np.full((6, 6), np.nan)}, "36 NaN or infinite"),
        ({"x_train": np.eye(6).astype(complex)}, "complex128"),
        ({"x_train": np.eye(6).astype(str)}, "real numbers"),
        ({"x_train": np.arange(6.0)}, "shape (6,)"),
        ({"x_train": np.zeros((0, 6)), "y_train": np.zeros(0, int)}, "at least one point"),
        ({"y_train": np.zeros(6, int), "y_test": np.zeros(2, int)}, "two classes"),
        ({"y_train": np.arange(5)}, "as many rows as x_train (6)"),
        ({"y_train": np.eye(6)}, "argmax of one-hot"),
        ({"y_train": np.full(6, 0.5)}, "class labels"),
        ({"y_train": np.array([0, 1, 0, 1, 0, np.nan])}, "class labels"),
        ({"y_train": np.arange(6) * 1j}, "integer or string"),
        ({"y_test": np.array([0, 9])}, "also 9"),
        ({"y_test": np.array(["0", "1"])}, "use one kind"),
        ({"x_test": np.zeros((2, 5))}, "points of shape (6,)"),
        ({"y_train": np.array([0, 1, 0, 1, 0, None], dtype=object)}, "Python objects"),
    ],
)
def test_wrong_content_is_one_sentence(tmp_path, changes, sentence):
    with one_sentence(ValueError) as caught:
        load(written(tmp_path, **changes))
    assert sentence in str(caught.value)


@pytest.mark.parametrize("name", ["nope.npz", "nope", "MNIST", ""])
def test_missing_file_or_unknown_name(tmp_path, name):
    with pytest.raises(ValueError, match="data: expected"):
        load(str(tmp_path / name) if name.endswith(".npz") else name)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 not really", pickle.dumps({"x_train": 1})])
def test_not_an_archive(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"readable \.npz"):
        load(tmp_path / "a.npz")


def test_a_folder_is_not_a_file(tmp_path):
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(ValueError, match=r"a\.npz"):
        load(tmp_path / "a.npz")


def test_a_pickle_inside_is_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.array([Bomb()], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(written(tmp_path, x_train=None), "a") as archive:
        archive.writestr("x_train.npy", buffer.getvalue())
    with pytest.raises(ValueError, match="Python objects"):
        load(tmp_path / "a.npz")
    assert not (tmp_path / "executed").exists()


def test_a_header_that_promises_too_much_reserves_nothing(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**6)}
    )
    with zipfile.ZipFile(written(tmp_path, x_train=None), "a") as archive:
        archive.writestr("x_train.npy", header.getvalue())
    with pytest.raises(ValueError, match="shorter than its header"):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"n_train": 7}, "at most the 6 points"),
        ({"n_test": 3}, "at most the 2 points"),
        ({"n_train": 0}, "an integer >= 1"),
        ({"n_train": -1}, "an integer >= 1"),
        ({"subset": "last"}, "one of 'first', 'random'"),
        ({"seed": -1}, "an integer >= 0"),
    ],
)
def test_bad_options(tmp_path, options, sentence):
    with pytest.raises(ValueError) as caught:
        load(written(tmp_path), **options)
    assert sentence in str(caught.value)


def test_test_points_asked_of_a_file_without(tmp_path):
    with pytest.raises(ValueError, match="n_test"):
        load(written(tmp_path, x_test=None, y_test=None), n_test=1)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, 10**6),
)
def test_damaged_bytes_load_or_are_one_sentence(tmp_path, flips, cut):
    content = bytearray(written(tmp_path).read_bytes())
    for position, value in flips:
        content[position % len(content)] = value
    if cut % 3 == 0:
        del content[cut % len(content) :]
    path = tmp_path / "b.npz"
    path.write_bytes(content)
    with contextlib.suppress(ValueError):  # anything else fails the test
        load(path)
