"""Blocks of what can be sliced: the rows of the whole, whatever holds them and however they are cut; what is wrong is told by row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agop import open_blocks
from agop.blocks import Block

N, D = 37, 3
RNG = np.random.default_rng(0)
X, Y, W = RNG.normal(size=(N, D)), RNG.normal(size=(N, 2)), RNG.uniform(size=N)


class Sliced:
    """An object with a length and slices, which counts the rows that it gives."""

    def __init__(self, values):
        self.values, self.most = values, 0

    def __len__(self):
        return len(self.values)

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        self.most = max(self.most, rows.stop - rows.start)
        return self.values[rows]


def mapped(tmp_path, values):
    np.save(tmp_path / "x.npy", values)
    return np.load(tmp_path / "x.npy", mmap_mode="r")


SOURCES = {
    "array": lambda path: open_blocks(X, target=Y, weight=W),
    "memory map": lambda path: open_blocks(mapped(path, X), target=Y, weight=W),
    "tensor": lambda path: open_blocks(torch.tensor(X), target=torch.tensor(Y), weight=torch.tensor(W)),
    "lists": lambda path: open_blocks(X.tolist(), target=Y.tolist(), weight=W.tolist()),
    "slices": lambda path: open_blocks(Sliced(X), target=Sliced(Y), weight=W),
    "slices of tensors": lambda path: open_blocks(Sliced(torch.tensor(X)), target=Sliced(torch.tensor(Y)), weight=W),
    "frame": lambda path: open_blocks(
        pd.DataFrame(np.hstack([Y, X, W[:, None]]), columns=["u", "v", "a", "b", "c", "w"]), target=["u", "v"], weight="w"
    ),
}  # fmt: skip


def whole(blocks):
    """The blocks put together, as arrays; they must follow each other."""
    blocks, at = list(blocks), 0
    for block in blocks:
        assert isinstance(block, Block)
        assert block.start - blocks[0].start == at
        at += len(block)
    return [
        np.concatenate([np.asarray(getattr(block, part)) for block in blocks])
        for part in ("X", "y", "weight")
    ]


@pytest.mark.parametrize("kind", SOURCES)
def test_blocks_are_the_rows(tmp_path, kind):
    source = SOURCES[kind](tmp_path)
    assert (source.n_rows, source.n_features) == (N, D)
    assert source.feature_names == (["a", "b", "c"] if kind == "frame" else None)
    for rows in (1, 5, N, 100):
        assert max(len(block) for block in source.read(rows)) == min(rows, N)
        for found, expected in zip(whole(source.read(rows)), (X, Y, W)):
            np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(whole(source.read(4, 5, 20))[0], X[5:20])
    assert list(source.read(4, 7, 7)) == []
    index = np.array([0, 3, 4, N - 1])
    block = source.take(index)
    for found, expected in zip((block.X, block.y, block.weight), (X, Y, W)):
        np.testing.assert_array_equal(np.asarray(found), expected[index])


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, N + 3), cut=st.integers(0, N))
def test_it_does_not_matter_how_rows_are_cut(rows, cut):
    source = open_blocks(X, target=Y, weight=W)
    parts = [*source.read(rows, 0, cut), *source.read(rows, cut)]
    np.testing.assert_array_equal(np.concatenate([block.X for block in parts]), X)


def test_the_digest_is_that_of_the_rows(tmp_path):
    same = {open_blocks(X, target=Y).digest, open_blocks(X.copy(), target=Y.copy()).digest}
    assert len(same) == 1
    other = X.copy()
    other[0, 0] += 1
    for source in (
        open_blocks(other, target=Y), open_blocks(X), open_blocks(X[:-1], target=Y[:-1]), open_blocks(X, target=Y, weight=W),
        open_blocks(X.astype(np.float32), target=Y), open_blocks(pd.DataFrame(X, columns=list("abc")), target=Y),
        open_blocks(X, target=np.array(["a", "b"] * 18 + ["a"])),
    ):  # fmt: skip
        same.add(source.digest)
    assert len(same) == 8
    source = open_blocks(mapped(tmp_path, X))
    before = source.digest
    np.save(tmp_path / "x.npy", other)
    assert open_blocks(np.load(tmp_path / "x.npy", mmap_mode="r")).digest != before


def test_nothing_is_copied_or_read_as_a_whole(tmp_path):
    rows = Sliced(np.zeros((100_000, 2)))
    source = open_blocks(rows)
    assert rows.most <= 16
    for block in source.read(1000):
        assert np.shares_memory(block.X, rows.values)
    source.take(np.arange(0, 100_000, 20_000))
    assert source.digest
    assert rows.most <= 4096
    array = np.zeros((100, 2))
    assert all(np.shares_memory(block.X, array) for block in open_blocks(array).read(7))
    tensor = torch.zeros(100, 2)
    assert next(open_blocks(tensor).read(7)).X.data_ptr() == tensor.data_ptr()


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(np.float32, np.float32), (np.float64, np.float64), (np.float16, np.float32),
     (np.int8, np.float64), (bool, np.float64), (">f8", np.float64)],
)  # fmt: skip
def test_numbers_become_floating_point(dtype, expected):
    X = np.array([[0, 1], [1, 0]], dtype=dtype)
    block = next(open_blocks(X).read(2))
    assert block.X.dtype == expected
    assert block.X.dtype.isnative
    np.testing.assert_array_equal(block.X, [[0, 1], [1, 0]])
    if dtype != ">f8":
        assert next(open_blocks(torch.from_numpy(X)).read(2)).X.dtype == getattr(
            torch, np.dtype(expected).name
        )


def test_frames_keep_categories_and_gaps():
    frame = pd.DataFrame({"a": [1.0, np.nan], "city": pd.Categorical(["x", None]), "y": ["p", "q"]})
    source = open_blocks(frame, target="y", columns=["city", "a"])
    block = next(source.read(2))
    assert source.feature_names == ["city", "a"]
    pd.testing.assert_frame_equal(block.X, frame[["city", "a"]])
    assert block.y.tolist() == ["p", "q"]
    assert np.isnan(next(open_blocks(frame[["a"]]).read(2)).X).tolist() == [[False], [True]]


class Ragged(Sliced):
    def __getitem__(self, rows):
        return self.values[rows][:, : 3 if rows.start < 20 else 2]


class Short(Sliced):
    def __getitem__(self, rows):
        return self.values[rows.start : min(rows.stop, 30)]


def changed(values, row, value):
    values = values.copy()
    values[row] = value
    return values


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (lambda: open_blocks(changed(X, (21, 1), np.inf)), r"X: expected finite values or NaN, got infinity in row 21, column 1; clean"),
        (lambda: open_blocks(torch.tensor(changed(X, (21, 1), -np.inf))), "got infinity in row 21, column 1"),
        (lambda: open_blocks(X, target=changed(Y, (21, 1), np.nan)), r"y: expected finite values, got NaN or infinity in row 21; leave"),
        (lambda: open_blocks(X, target=np.array(["a"] * 21 + [None] * 16, dtype=object)), "y: .*row 21"),
        (lambda: open_blocks(X, weight=changed(W, 21, np.nan)), "weight: expected finite values, got NaN or infinity in row 21"),
        (lambda: open_blocks(X, weight=changed(W, 21, -1)), r"weight: expected values >= 0, got less in rows 20 to 29"),
        (lambda: open_blocks(Ragged(X)), r"X: expected 3 columns in every block, got 2 in rows 20 to 29"),
        (lambda: open_blocks(Short(X)), r"X: expected 37 rows as at first, got 0 of the rows 30 to 36"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_row_is_told_when_it_is_read_and_the_blocks_before_are_given(source, sentence):
    reader, found = source().read(10), []
    with pytest.raises((ValueError, TypeError), match=sentence) as raised:
        found.extend(reader)
    assert len(found) >= 2
    assert str(raised.value).count("\n") == 0


def test_a_mapped_file_that_shrinks_is_told(tmp_path):
    source = open_blocks(mapped(tmp_path, X))
    reader = source.read(10)
    next(reader)
    with (tmp_path / "x.npy").open("rb+") as stream:
        stream.truncate(200)
    with pytest.raises(
        ValueError,
        match=r"X: expected a file of 1,016 bytes as at first, got '.*x.npy', which is shorter now",
    ):
        next(reader)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: open_blocks(None), "X: expected rows, got None"),
        (lambda: open_blocks(np.zeros((0, 3))), "X: expected at least one row, got none"),
        (lambda: open_blocks(np.zeros((3, 0))), "a column at least"),
        (lambda: open_blocks(np.zeros(3)), "a column at least"),
        (lambda: open_blocks(X, target=Y[:-1]), r"y: expected as many rows as X \(37\), got 36"),
        (lambda: open_blocks(X, target="price"), "target: expected values where columns have no names"),
        (lambda: open_blocks(X, columns=[0]), "columns: expected None"),
        (lambda: open_blocks(3), "X: expected an array, a tensor, a frame, or an object with a length and slices, got 3"),
        (lambda: open_blocks(torch.zeros(2, 2).to_sparse()), "a dense tensor"),
        (lambda: open_blocks(np.array([["a", "b"]])), "X: expected numbers, got text"),
        (lambda: open_blocks(X + 1j), "X: expected numbers, got dtype complex128"),
        (lambda: open_blocks(open_blocks(X), target=Y), "source: expected a source without further options"),
        (lambda: open_blocks(pd.DataFrame({"a": [1.0]}), target="b"), "target: expected columns of the table, got 'b'; it has 'a'"),
        (lambda: open_blocks(pd.DataFrame({"a": [1.0]}), target="a"), "columns: expected at least one column to learn from"),
        (lambda: open_blocks(pd.DataFrame({"a": [1.0], "b": 1}), target="a", columns=["a"]), "columns without target and weight, got 'a'"),
        (lambda: open_blocks(X).read(0), "rows: expected an integer >= 1"),
        (lambda: open_blocks(X).read(5, 0, 38), "stop: expected rows from 0 to at most 37, got 38"),
        (lambda: open_blocks(X).take(np.array([3, 1])), "index: expected different rows from 0 to 36, in order, got 3, 1"),
        (lambda: open_blocks(X).take(np.array([1, 37])), "index: expected different rows"),
        (lambda: open_blocks(X).take(np.array([0.5])), "index: expected numbers of rows"),
    ],
)  # fmt: skip
def test_what_can_not_be_read_is_one_sentence(call, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        tried(call)


def tried(call):
    made = call()
    return list(made.read(10) if hasattr(made, "read") else made)


def test_a_source_is_taken_as_it_is():
    source = open_blocks(X)
    assert open_blocks(source) is source
