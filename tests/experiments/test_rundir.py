from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from agop.experiments.files import PARTIAL
from agop.experiments.rundir import RunDirectory, identity
from tests.sentences import one_sentence

CONFIG = {"id": identity("deep-rfm", {"layers": 8}, "data"), "options": {"layers": 8}}


def opened(path, kind="deep-rfm", config=CONFIG, **options):
    return RunDirectory(path, kind, config, **options)


def test_a_new_directory_says_what_it_is_before_any_work(tmp_path):
    with opened(tmp_path / "a" / "b") as run:
        assert not run.finished
        there = json.loads((run.path / "config.json").read_text())
    assert there["id"] == CONFIG["id"]
    assert there["versions"]["agop"]
    assert there["machine"]["cpus"] >= 1


def test_nothing_names_a_person_or_a_host(tmp_path, monkeypatch):
    import getpass
    import socket

    with opened(tmp_path / "run") as run:
        text = (run.path / "config.json").read_text()
    assert socket.gethostname() not in text
    assert f'"{getpass.getuser()}"' not in text
    assert str(tmp_path) not in text
    assert os.path.expanduser("~") not in text


def test_an_unfinished_run_continues_and_a_finished_one_says_so(tmp_path):
    with opened(tmp_path) as run:
        (run.path / "half").write_text("x")
    with opened(tmp_path) as run:
        assert not run.finished
        run.finish({"title": "done"})
    with opened(tmp_path) as run:
        assert run.finished


def test_another_configuration_is_refused_with_the_difference(tmp_path):
    with opened(tmp_path) as run:
        (run.path / "profile.csv").write_text("layer")
    other = {"id": identity("deep-rfm", {"layers": 9}, "data"), "options": {"layers": 9}}
    with pytest.raises(ValueError, match="layers is 8, not 9"):
        opened(tmp_path, config=other)
    same_options_other_data = {"id": identity("deep-rfm", {"layers": 8}, "changed"), "options": {"layers": 8}}
    with pytest.raises(ValueError, match="other data"):
        opened(tmp_path, config=same_options_other_data)
    with pytest.raises(ValueError, match="a run of 'deep-rfm'"):
        opened(tmp_path, kind="network")
    with opened(tmp_path):  # and the refused attempts left it usable
        pass


def test_a_directory_in_which_nothing_was_done_takes_another_configuration(tmp_path):
    other = {"id": identity("deep-rfm", {"layers": 9}, "data"), "options": {"layers": 9}}
    with opened(tmp_path) as run:
        (run.path / "checkpoint").mkdir()
    with opened(tmp_path, config=other) as run:
        assert json.loads((run.path / "config.json").read_text())["options"] == {"layers": 9}


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"thesis\.tex"):
        opened(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / f"{PARTIAL}123.json").write_text("{")
    with opened(tmp_path):
        pass
    assert os.listdir(tmp_path) == ["config.json"]


def test_a_later_format_is_refused(tmp_path):
    with opened(tmp_path):
        pass
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(ValueError, match="format 99"):
        opened(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_configuration_is_one_sentence(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with one_sentence(ValueError):
        opened(tmp_path)


def test_a_file_in_the_way_and_too_little_space_are_told_before_the_work(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="can be written"):
        opened(tmp_path / "file")
    with pytest.raises(ValueError, match="can be written"):
        opened(tmp_path / "file" / "below")
    with pytest.raises(ValueError, match="free space"):
        opened(tmp_path / "run", needs=2**70)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write read-only directories")
def test_a_read_only_directory_is_told_before_the_work(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(ValueError, match="can be written"):
        opened(tmp_path)


@pytest.mark.slow
def test_one_process_at_a_time(tmp_path):
    pytest.importorskip("fcntl", reason="no locks on this system")
    program = (
        "import sys; from agop.experiments.rundir import RunDirectory\n"
        "try: RunDirectory(sys.argv[1], 'k', {'id': 'i'})\n"
        "except ValueError as error: sys.exit(str(error))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with opened(tmp_path, kind="k", config={"id": "i"}):
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "another process" in second.stderr
    assert subprocess.run(command, check=False).returncode == 0


def test_identity_depends_on_everything_that_decides_the_numbers():
    base = identity("k", {"a": 1, "b": 2}, "d")
    assert base == identity("k", {"b": 2, "a": 1}, "d")
    assert (
        len(
            {
                base,
                identity("l", {"a": 1, "b": 2}, "d"),
                identity("k", {"a": 1, "b": 3}, "d"),
                identity("k", {"a": 1, "b": 2}, "e"),
            }
        )
        == 4
    )
