"""A disk that is full at any write: what is finished stays, what is half is not there, and the run goes on when there is space."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from agop.cli import main
from agop.experiments.files import PARTIAL
from agop.experiments.run import run
from agop.experiments.subjects.deep_rfm_config import DeepRFMConfig

TABLES = ("profile.csv", "gram.npz", "standardisation.npz")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    rng, y = np.random.default_rng(0), np.arange(40) % 2
    path = tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(path, x_train=rng.normal(size=(40, 3)) + y[:, None], y_train=y)
    return path


def small(file):
    return DeepRFMConfig(data=str(file), layers=3, width=8)


@pytest.fixture(scope="module")
def undisturbed(file):
    run("deep-rfm", small(file), file.parent / "undisturbed")
    return {name: (file.parent / "undisturbed" / name).read_bytes() for name in TABLES}


def full_at(number, monkeypatch):
    """From the `number`-th flush on, the disk has no space left."""
    flush, count = os.fsync, [0]

    def fails(descriptor):
        count[0] += 1
        if count[0] >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fails)
    return count


@pytest.mark.parametrize("number", [1, 2, 4, 5, 7, 9, 11, 14])
def test_a_disk_that_fills_up_loses_nothing_finished(number, file, undisturbed, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        full_at(number, patch)
        with pytest.raises((OSError, ValueError), match="No space left on device"):
            run("deep-rfm", small(file), tmp_path / "run")
    left = [path.name for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not [name for name in left if name.startswith(PARTIAL)], "half a file was left"
    assert "result.json" not in left
    assert run("deep-rfm", small(file), tmp_path / "run")
    assert {name: (tmp_path / "run" / name).read_bytes() for name in TABLES} == undisturbed


def test_a_full_disk_is_told_before_the_first_layer(file, tmp_path, monkeypatch, capsys):
    full_at(1, monkeypatch)
    with pytest.raises(SystemExit) as caught:
        main(["deep-rfm", "--data", str(file), "--out", str(tmp_path / "run")])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert error.count("\n") == 1


def test_a_directory_that_can_not_be_written_is_told_before_the_first_layer(
    file, tmp_path, capsys, monkeypatch
):
    """As on a read-only file system, which permissions of root do not open."""

    def refuses(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", refuses)
    for verb in (
        ["deep-rfm", "--data", str(file)],
        ["network", "--data", str(file)],
        ["reproduce", "beaglehole2024:theory"],
    ):
        with pytest.raises(SystemExit) as caught:
            main([*verb, "--out", str(tmp_path / verb[0])])
        assert caught.value.code == 2
        error = capsys.readouterr().err
        assert "Read-only file system" in error
        assert error.count("\n") == 1
