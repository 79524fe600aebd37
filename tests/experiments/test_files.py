from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from agop.experiments.files import PARTIAL, atomic, read_json, write_json, write_text
from agop.experiments.tables import write_gathered
from tests.sentences import one_sentence


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fails():
        with atomic(path) as partial:
            partial.write_text("half of the new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_partial_files_keep_the_suffix_and_are_hidden(tmp_path):
    with atomic(tmp_path / "a.npz") as partial:
        partial.write_bytes(b"x")
        assert partial.suffix == ".npz"
        assert partial.name.startswith(PARTIAL)


def test_new_files_have_the_permissions_of_ordinary_files(tmp_path):
    write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_json_round_trip_and_no_nan(tmp_path):
    value = {"a": [1, 2.5, None], "ü": "×"}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert read_json(tmp_path / "a.json") == value


@pytest.mark.parametrize("content", [None, "", "{", "[1]", "[" * 100_000])
def test_unreadable_json_is_one_sentence(tmp_path, content):
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    with one_sentence(ValueError):
        read_json(tmp_path / "a.json")


def test_a_killed_writer_never_leaves_half_a_file(tmp_path):
    """A process writes ever new versions of a file; whenever it is killed, the file is one whole version."""
    path = tmp_path / "a.json"
    program = (
        "import sys, pathlib\n"
        "from agop.experiments.files import write_json\n"
        "n = 0\n"
        "while True:\n"
        "    n += 1\n"
        "    write_json(pathlib.Path(sys.argv[1]), {'n': n, 'filling': [n] * 5000})\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(path)])
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.05)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    value = json.loads(path.read_text())
    assert set(value["filling"]) == {value["n"]}


def test_two_tables_that_would_share_a_file_are_refused(tmp_path):
    table = pd.DataFrame({"a": [1]})
    with pytest.raises(
        ValueError,
        match=r"table: expected names that differ in more than / and -, got 'a/b' and 'a-b' in mine",
    ):
        write_gathered({"mine": {"digits": {"a/b": table, "a-b": table}}}, tmp_path)
    assert {entry["file"] for entry in write_gathered({"mine": {"digits": {"a/b": table}}}, tmp_path)} == {
        "tables/mine/digits/a-b.csv"
    }
