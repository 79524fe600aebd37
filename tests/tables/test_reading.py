"""Files as frames: every format, every separator, and what can't be read is one sentence with a remedy."""

from __future__ import annotations

import importlib

import numpy as np
import pandas as pd
import pytest

from agop import read_table
from tests.sentences import one_sentence

FRAME = pd.DataFrame({"age": [1.5, 2.0, np.nan], "city": ["Rome", "Oslo", None], "n": [1, 2, 3]})


def written(tmp_path, content, name="t.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "feather"])
def test_every_format_gives_the_same_frame(tmp_path, kind):
    if kind != "csv":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"t.{kind}"
    {
        "csv": lambda: FRAME.to_csv(path, index=False),
        "parquet": lambda: FRAME.to_parquet(path),
        "feather": lambda: FRAME.to_feather(path),
    }[kind]()
    table = read_table(path)
    assert list(table.frame) == ["age", "city", "n"]
    pd.testing.assert_frame_equal(
        table.frame.astype(object).where(table.frame.notna(), None),
        FRAME.astype(object).where(FRAME.notna(), None),
        check_column_type=False,
    )
    assert table.source == f"t.{kind}: 3 rows, 3 columns."


def test_arrays_are_columns(tmp_path):
    np.savez(tmp_path / "a.npz", age=np.arange(3.0), city=np.array(["a", "b", "c"]))
    assert list(read_table(tmp_path / "a.npz").frame) == ["age", "city"]
    np.savez(tmp_path / "b.npz", x_train=np.ones((4, 2, 3)), y_train=np.arange(4), x_test=np.ones((1, 2, 3)))
    table = read_table(tmp_path / "b.npz")
    assert list(table.frame) == ["x0", "x1", "x2", "x3", "x4", "x5", "y"]
    assert table.notes == ("Left out: x_test; x_train is x0, x1, …, y_train is y.",)


@pytest.mark.parametrize(("separator", "word"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_another_separator_is_found_and_told(tmp_path, separator, word):
    path = written(tmp_path, f"a{separator}b\n1{separator}x, y\n2{separator}z\n")
    table = read_table(path)
    assert list(table.frame) == ["a", "b"]
    assert table.notes == (f"Columns are separated by {word}.",)


def test_a_decimal_comma_is_found_and_told(tmp_path):
    table = read_table(written(tmp_path, "a;b\n1,5;x\n2,25;y\n"))
    assert table.frame["a"].tolist() == [1.5, 2.25]
    assert "Numbers are written with a decimal comma." in table.notes


def test_quoted_commas_are_no_separators(tmp_path):
    table = read_table(written(tmp_path, 'a,b\n"x; y",1\n"Rome, Italy",2\n'))
    assert table.frame["a"].tolist() == ["x; y", "Rome, Italy"]
    assert not table.notes


def test_byte_order_marks_say_the_encoding(tmp_path):
    for encoding in ("utf-8-sig", "utf-16"):
        assert list(read_table(written(tmp_path, "é,b\n1,2\n", encoding=encoding)).frame) == ["é", "b"]


def test_a_file_of_another_encoding_can_be_read_by_its_name(tmp_path):
    path = written(tmp_path, "a,b\nRome,1\nZürich,2\n", encoding="latin-1")
    assert read_table(path, encoding="latin-1").frame["a"].tolist() == ["Rome", "Zürich"]
    with pytest.raises(
        ValueError,
        match=r"^data: expected text in utf-8, got .* with the byte 0xfc in line 3; save it as UTF-8, or say its encoding",
    ):
        read_table(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "an empty file"),
        ("\n\n", "has no columns"),
        ("a,b\n", "0 rows"),
        ("a,a\n1,2\n", "'a' 2 times; rename or delete one"),
        ("a,b\n1,2\n1,2,3\n", "line 3"),
        ("a,b\n1,2,3\n4,5,6\n", "separated by commas"),
        (b"PK\x03\x04\x00\x00\x00\x00", "no text"),
    ],
)
def test_a_file_that_is_no_table_is_one_sentence(tmp_path, content, says):
    path = written(tmp_path, content)
    with one_sentence(ValueError, match=r"^data: expected .*; .*\.$") as caught:
        read_table(path)
    assert says in str(caught.value)


def test_what_is_not_there_or_of_another_kind(tmp_path):
    with pytest.raises(
        ValueError, match=r"data: expected a file \.csv, \.parquet, \.feather, \.npz, got .*t\.xlsx"
    ):
        read_table(tmp_path / "t.xlsx")
    with pytest.raises(ValueError, match="data: expected a file that is there"):
        read_table(tmp_path / "t.csv")
    with pytest.raises(
        ValueError, match="encoding: expected one that Python knows, such as 'latin-1', got 'magic'"
    ):
        read_table(written(tmp_path, "a,b\n1,2\n"), encoding="magic")
    np.savez(tmp_path / "t.npz", a=np.ones(3), b=np.ones(4))
    with pytest.raises(ValueError, match="arrays of one axis and one length"):
        read_table(tmp_path / "t.npz")
    with pytest.raises(ValueError, match=r"data: expected a readable \.npz file"):
        read_table(written(tmp_path, "text", "u.npz"))


def test_damaged_arrow_files_are_one_sentence(tmp_path):
    pytest.importorskip("pyarrow")
    for kind in ("parquet", "feather"):
        with pytest.raises(ValueError, match=rf"data: expected a readable \.{kind} file"):
            read_table(written(tmp_path, "no such thing", f"t.{kind}"))


def test_without_pyarrow_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(
        ValueError, match=r"pyarrow, which reads \.parquet files, .*pip install 'agop\[tables\]'"
    ):
        read_table(written(tmp_path, "PAR1", "t.parquet"))


def test_the_fingerprint_is_that_of_the_values(tmp_path):
    first = read_table(written(tmp_path, "a,b\n1,x\n2,y\n"))
    same = read_table(written(tmp_path, "a;b\n1;x\n2;y\n", "u.csv"))
    other = read_table(written(tmp_path, "a,b\n1,x\n2,z\n", "v.csv"))
    assert first.fingerprint() == same.fingerprint() != other.fingerprint()
