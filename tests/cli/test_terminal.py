"""A terminal of ASCII only, and a disk that fills while figures are written."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from agop.cli.terminal import show_what_can_be_shown
from agop.report import figures


def test_characters_that_a_terminal_has_not_get_the_nearest():
    shown = {
        "ascii": b"4x -> 2 (? 1 <= 2)",
        "latin-1": b"4\xd7 -> 2 (? 1 <= 2)",
        "utf-8": "4× → 2 (☃ 1 ≤ 2)".encode(),
    }
    for encoding, expected in shown.items():
        written = io.BytesIO()
        stream = io.TextIOWrapper(written, encoding=encoding)
        show_what_can_be_shown(stream)
        stream.write("4× → 2 (☃ 1 ≤ 2)")
        stream.flush()
        assert written.getvalue() == expected


@pytest.mark.slow
def test_a_network_is_trained_on_a_terminal_of_ascii(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x_train=rng.normal(size=(40, 4)), y_train=np.arange(40) % 2)
    words = [
        "network",
        "--data",
        "d.npz",
        "--width",
        "4",
        "--depth",
        "1",
        "--epochs",
        "1",
        "--measures",
        "nc1",
        "--no-untrained",
    ]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", f"from agop.cli import main; main({[*words, '--out', 'run']!r})"]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert b"MLP 4-4x1-2" in done.stdout
    assert done.stdout.isascii()


def test_a_disk_that_fills_while_a_figure_is_written_is_an_error_of_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "FORMATS", ("pdf", "png", "svg"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Python would keep half of a module's, too
    figure = Figure()
    figure.subplots().plot([0, 1])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))  # a write beyond it fails as on a full disk
        with pytest.raises(OSError, match="File too large"):
            figures.save(figure, tmp_path, "f")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
    figures.save(figure, tmp_path, "f")
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".svg", ".pdf"}
