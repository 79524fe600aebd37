"""Blocks of Parquet, Feather and Arrow files: the rows of the table, however it is cut into files, row groups and blocks."""

from __future__ import annotations

import os
import re

import numpy as np
import pandas as pd
import pytest

from agop import open_blocks
from agop.blocks import arrow

pa = pytest.importorskip("pyarrow")
feather, pq = pytest.importorskip("pyarrow.feather"), pytest.importorskip("pyarrow.parquet")

N = 103
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({
    "a": RNG.normal(size=N), "k": RNG.integers(-5, 5, N), "on": RNG.uniform(size=N) < 0.5,
    "gap": pd.array(np.where(RNG.uniform(size=N) < 0.2, None, np.arange(N)), dtype="Int64"),
    "city": pd.Categorical(RNG.choice(["Rome", "Oslo", None], N)), "text": RNG.choice(["x", "y"], N),
    "y": RNG.normal(size=N), "w": RNG.uniform(size=N), "label": RNG.choice(["p", "q"], N),
})  # fmt: skip
NUMBERS = ["a", "k", "on", "gap"]
MATRIX = FRAME[NUMBERS].to_numpy(dtype=float, na_value=np.nan)


def one_parquet(path):
    FRAME.to_parquet(path / "t.parquet", row_group_size=20)
    return path / "t.parquet"


def one_feather(path):
    feather.write_feather(FRAME, path / "t.feather", chunksize=17)
    return path / "t.feather"


def folder(path):
    (path / "all" / "zz").mkdir(parents=True)
    for k, (first, last) in enumerate([(0, 40), (40, 40), (40, 41), (41, N)]):
        name = path / "all" / ("zz/z.parquet" if k == 3 else f"part{k}.parquet")
        FRAME[first:last].reset_index(drop=True).to_parquet(name, row_group_size=7)
    (path / "all" / "README.txt").write_text("not a table")
    return path / "all"


def listed(path):
    FRAME[:50].to_parquet(path / "b.parquet")
    feather.write_feather(FRAME[50:].reset_index(drop=True), path / "a.arrow")
    return [str(path / "b.parquet"), str(path / "a.arrow")]


LAYOUTS = [one_parquet, one_feather, folder, listed]


def joined(blocks, part="X"):
    blocks, at = list(blocks), None
    for block in blocks:
        assert at in (None, block.start)
        at = block.stop
    values = [getattr(block, part) for block in blocks]
    return pd.concat(values) if isinstance(values[0], pd.DataFrame) else np.concatenate(values)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_numbers_come_as_one_array(tmp_path, layout):
    source = open_blocks(layout(tmp_path), target="y", weight="w", columns=NUMBERS)
    assert (source.n_rows, source.n_features, source.feature_names) == (N, 4, NUMBERS)
    for rows in (1, 13, N, 1000):
        sizes = [len(block) for block in source.read(rows)]
        assert sizes == [rows] * (N // rows) + [N % rows] * (N % rows > 0)
        np.testing.assert_array_equal(joined(source.read(rows)), MATRIX)
        np.testing.assert_array_equal(joined(source.read(rows), "y"), FRAME["y"])
        np.testing.assert_array_equal(joined(source.read(rows), "weight"), FRAME["w"])
    for start, stop in [(0, 40), (39, 42), (57, 57), (90, None)]:
        found = [block.X for block in source.read(9, start, stop)]
        np.testing.assert_array_equal(np.concatenate([*found, MATRIX[:0]]), MATRIX[start:stop])
    index = np.array([0, 19, 20, 40, 41, 42, 102])
    block = source.take(index)
    np.testing.assert_array_equal(block.X, MATRIX[index])
    np.testing.assert_array_equal(block.y, FRAME["y"][index])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_columns_come_as_a_frame(tmp_path, layout):
    source = open_blocks(layout(tmp_path), target="label")
    assert source.feature_names == [name for name in FRAME if name != "label"]
    found = joined(source.read(30))
    assert found["a"].tolist() == FRAME["a"].tolist()
    assert (
        found["city"].astype(object).fillna("").tolist() == FRAME["city"].astype(object).fillna("").tolist()
    )
    assert all(isinstance(block.X["city"].dtype, pd.CategoricalDtype) for block in source.read(30))
    assert found["text"].tolist() == FRAME["text"].tolist()
    assert joined(source.read(30), "y").tolist() == FRAME["label"].tolist()


def test_targets_keep_their_kind(tmp_path):
    path = one_parquet(tmp_path)
    assert next(open_blocks(path, target="k", columns=["a"]).read(5)).y.dtype == np.int64
    assert next(open_blocks(path, target=["y", "a"], columns=["k"]).read(5)).y.shape == (5, 2)
    assert next(open_blocks(path, target="text", columns=["a"]).read(1, 0, 1)).y.dtype == object


def test_single_precision_stays(tmp_path):
    frame = pd.DataFrame({"a": np.float32([1, 2]), "b": np.float16([1, 2]), "y": [1.0, 2.0]})
    frame.to_parquet(tmp_path / "f.parquet")
    assert next(open_blocks(tmp_path / "f.parquet", target="y").read(2)).X.dtype == np.float32
    assert next(open_blocks(tmp_path / "f.parquet").read(2)).X.dtype == np.float64


def test_an_index_without_a_name_is_no_column(tmp_path):
    FRAME[["a", "y"]].set_index(pd.Index(range(5, N + 5))).sample(frac=1, random_state=0).to_parquet(
        tmp_path / "i.parquet"
    )
    assert open_blocks(tmp_path / "i.parquet").feature_names == ["a", "y"]


def test_the_digest_is_that_of_the_table_and_its_file(tmp_path):
    path = one_parquet(tmp_path)
    digest = open_blocks(path, target="y", columns=NUMBERS).digest
    assert open_blocks(path, target="y", columns=NUMBERS).digest == digest
    others = {
        open_blocks(path, target="a", columns=["k"]).digest,
        open_blocks(path, columns=NUMBERS).digest,
        digest,
    }
    FRAME.assign(k=0).to_parquet(path, row_group_size=20)
    assert len(others | {open_blocks(path, target="y", columns=NUMBERS).digest}) == 4


def test_a_file_is_decoded_a_few_rows_at_a_time(tmp_path, monkeypatch):
    frame = pd.DataFrame({"a": np.arange(20_000.0), "y": np.arange(20_000.0)})
    frame.to_parquet(tmp_path / "big.parquet")  # one row group
    asked = []
    batches = arrow.ArrowFile.batches
    monkeypatch.setattr(
        arrow.ArrowFile, "batches", lambda self, g, c, size: asked.append(size) or batches(self, g, c, size)
    )
    source = open_blocks(tmp_path / "big.parquet", target="y")
    assert [block.X[0, 0] for block in source.read(500, 15_000, 17_000)] == [15_000, 15_500, 16_000, 16_500]
    assert asked == [500]


def write(path, name="t.parquet", **columns):
    pd.DataFrame(columns).to_parquet(path / name)
    return path / name


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda p: p / "no.parquet", r"data: expected a file that is there, got '.*no.parquet'; check the path\."),
        (lambda p: p / "t.xlsx", r"a file .parquet, .feather, .arrow, got '.*t.xlsx'; save the table as one of these\."),
        (lambda p: p, r"data: expected a folder with files .parquet, .feather, .arrow, got '.*' without any"),
        (lambda p: (p / "e.parquet").write_bytes(b"") or p / "e.parquet", r"data: expected a table, got '.*e.parquet', an empty file"),
        (lambda p: (p / "d.parquet").write_bytes(b"PAR1 damaged") and p / "d.parquet", r"data: expected a readable .parquet file, got"),
        (lambda p: (p / "d.arrow").write_bytes(b"ARROW1 damaged") and p / "d.arrow", r"data: expected a readable .arrow file, got '.*'"),
        (lambda p: write(p, a=np.zeros(0)), r"data: expected a table with rows, got '.*t.parquet' without any"),
        (lambda p: write(p, a=[[1], [2]]), r"data: expected columns of single values, got a column of lists or structures, 'a'"),
        (lambda p: [write(p, "1.parquet", a=[1.0]), write(p, "2.parquet", a=["x"])],
         r"data: expected numbers in column 'a', as in '1.parquet', got texts in '2.parquet'; write the column in one type\."),
        (lambda p: [write(p, "1.parquet", a=[1.0]), write(p, "2.parquet", b=[1.0])],
         r"data: expected the columns of '1.parquet' in every file, got '2.parquet' without 'a'; write it again\."),
        (lambda p: [write(p, "1.parquet", a=[1.0]), 3], "data: expected a path, or a list of paths"),
    ],
)  # fmt: skip
def test_what_can_not_be_opened_is_one_sentence(tmp_path, make, sentence):
    made = make(tmp_path)
    with pytest.raises((ValueError, TypeError), match=sentence) as raised:
        open_blocks(made)
    assert str(raised.value).count("\n") == 0


def test_whole_numbers_here_and_fractions_there_are_numbers(tmp_path):
    paths = [write(tmp_path, "1.parquet", a=[1, 2]), write(tmp_path, "2.parquet", a=np.float32([0.5]))]
    np.testing.assert_array_equal(next(open_blocks(paths).read(9)).X, [[1], [2], [0.5]])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda path: os.truncate(path, 400), "files that stay as they were opened, got '.*t.parquet' of 400 bytes, which had "),
        (lambda path: path.unlink(), "the files that were opened, got '.*t.parquet', which is gone"),
        (lambda path: os.utime(path, (0, 0)), "which was written to; leave them alone while they are read"),
    ],
)  # fmt: skip
def test_a_file_that_changes_while_it_is_read_is_told(tmp_path, change, sentence):
    path = one_parquet(tmp_path)
    reader = open_blocks(path, columns=NUMBERS).read(20)
    np.testing.assert_array_equal(next(reader).X, MATRIX[:20])
    change(path)
    with pytest.raises(ValueError, match="data: expected .*" + sentence):
        list(reader)


def test_a_damaged_row_group_is_told_and_what_is_before_it_given(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({"a": RNG.normal(size=4000)}),
        path,
        row_group_size=500,
        compression="zstd",
        use_dictionary=False,
        write_page_checksum=True,
    )
    raw = bytearray(path.read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 400] = bytes(400)
    path.write_bytes(raw)
    found = []
    with pytest.raises(ValueError, match=re.escape("data: expected a readable .parquet file")):
        found.extend(open_blocks(path).read(500))
    assert 2 <= len(found) < 8


def test_a_gap_in_the_target_and_infinity_are_told_by_row(tmp_path):
    y = np.arange(200.0)
    y[57] = np.nan
    path = write(tmp_path, a=np.where(np.arange(200) == 123, np.inf, 0.0), y=y)
    reader = open_blocks(path, target="y").read(50)
    next(reader)
    with pytest.raises(ValueError, match="y: expected finite values, got NaN or infinity in row 57"):
        next(reader)
    with pytest.raises(
        ValueError, match="X: expected finite values or NaN, got infinity in row 123, column 'a'"
    ):
        list(open_blocks(path).read(50))


def test_without_pyarrow_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"pip install 'agop\[tables\]'"):
        open_blocks(tmp_path / "t.parquet")
