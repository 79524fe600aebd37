"""Blocks of dask arrays and data frames: the rows of the whole; sums that the scheduler forms are those of a loop, in one fixed order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from agop import open_blocks

dask = pytest.importorskip("dask")
da, dd = pytest.importorskip("dask.array"), pytest.importorskip("dask.dataframe")

N = 50
RNG = np.random.default_rng(0)
X, Y, W = RNG.normal(size=(N, 3)), RNG.normal(size=N), RNG.uniform(size=N)
FRAME = pd.DataFrame(X, columns=["a", "b", "c"]).assign(y=Y, w=W, city=RNG.choice(["p", "q"], N))
BROKEN = np.where(X == X[33, 1], np.inf, X)
CHUNKS = (20, 1, 29)


@pytest.fixture(autouse=True)
def _in_this_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


SOURCES = {
    "array": lambda: open_blocks(
        da.from_array(X, chunks=(CHUNKS, 2)), target=da.from_array(Y, chunks=(CHUNKS,)), weight=W
    ),
    "array with other chunks of the target": lambda: open_blocks(
        da.from_array(X, chunks=(CHUNKS, 3)), target=da.from_array(Y, chunks=10), weight=da.from_array(W, chunks=50)
    ),
    "array of unknown lengths": lambda: open_blocks(
        da.from_array(X, chunks=(10, 3))[da.from_array(W, chunks=10) >= 0], target=Y, weight=W
    ),
    "frame": lambda: open_blocks(
        dd.from_pandas(FRAME.drop(columns="city"), npartitions=4), target="y", weight="w"
    ),
}  # fmt: skip


def joined(blocks, part="X"):
    blocks, at = list(blocks), None
    for block in blocks:
        assert at in (None, block.start)
        at = block.stop
    return np.concatenate([np.asarray(getattr(block, part)) for block in blocks])


@pytest.mark.parametrize("kind", SOURCES)
def test_blocks_are_the_rows(kind):
    source = SOURCES[kind]()
    assert (source.n_rows, source.n_features) == (N, 3)
    assert source.feature_names == (["a", "b", "c"] if kind == "frame" else None)
    for rows in (1, 7, 100):
        assert max(len(block) for block in source.read(rows)) <= rows
        for part, expected in (("X", X), ("y", Y), ("weight", W)):
            np.testing.assert_array_equal(joined(source.read(rows), part), expected)
    np.testing.assert_array_equal(joined(source.read(6, 15, 30)), X[15:30])
    assert list(source.read(6, 15, 15)) == []
    index = np.array([0, 19, 20, 21, 49])
    block = source.take(index)
    for found, expected in ((block.X, X), (block.y, Y), (block.weight, W)):
        np.testing.assert_array_equal(found, expected[index])
    assert source.digest == SOURCES[kind]().digest


def test_a_block_ends_where_its_partition_does():
    source = SOURCES["array"]()
    assert [(block.start, len(block)) for block in source.read(15)] == [
        (0, 15),
        (15, 5),
        (20, 1),
        (21, 15),
        (36, 14),
    ]


def test_frames_with_categories_stay_frames():
    source = open_blocks(dd.from_pandas(FRAME, npartitions=3), target=["y", "a"], columns=["b", "city"])
    blocks = list(source.read(100))
    assert [isinstance(block.X, pd.DataFrame) for block in blocks] == [True] * 3
    np.testing.assert_array_equal(joined(blocks, "y"), FRAME[["y", "a"]])
    assert pd.concat([block.X for block in blocks])["city"].tolist() == FRAME["city"].tolist()


@pytest.mark.parametrize("kind", SOURCES)
def test_sums_are_those_of_a_loop_in_a_fixed_tree(kind):
    source = SOURCES[kind]()
    total = source.sums(lambda block: block.X.T @ (block.weight[:, None] * block.X), np.add)
    np.testing.assert_allclose(total, X.T @ (W[:, None] * X), rtol=1e-13)
    again = source.sums(lambda block: block.X.T @ (block.weight[:, None] * block.X), np.add)
    np.testing.assert_array_equal(total, again)
    starts = source.sums(lambda block: [block.start], list.__add__)
    assert starts == sorted(starts)
    part = source.sums(lambda block: block.X.sum(0), np.add, 15, 30)
    np.testing.assert_allclose(part, X[15:30].sum(0), rtol=1e-13)


def test_only_the_partitions_that_are_asked_for_are_computed():
    seen = []

    def made(part):
        seen.append(len(part))
        return part

    source = open_blocks(
        da.from_array(X, chunks=(10, 3)).map_blocks(made, dtype=float, meta=np.zeros((0, 0)))
    )
    seen.clear()
    next(source.read(5, 25))
    source.take(np.array([3, 4, 41]))
    assert seen == [10] * 3


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: open_blocks(da.zeros((0, 3))), "X: expected at least one row"),
        (lambda: open_blocks(da.zeros(3)), r"X: expected rows \(n, d\), got 1 axes"),
        (lambda: open_blocks(da.from_array(X), target=da.from_array(Y[:-1])), r"y: expected as many rows as X \(50\), got 49"),
        (lambda: open_blocks(da.from_array(X), target="y"), "y: expected values where columns have no names"),
        (lambda: open_blocks(dd.from_pandas(FRAME, npartitions=2), target="z"), "target: expected columns of the table, got 'z'"),
        (lambda: list(open_blocks(da.from_array(BROKEN, chunks=(10, 3))).read(9)), "infinity in row 33, column 1"),
    ],
)  # fmt: skip
def test_what_can_not_be_read_is_one_sentence(call, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        call()
