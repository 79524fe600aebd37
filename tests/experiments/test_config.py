from __future__ import annotations

import shlex
from dataclasses import asdict

import pytest

from agop.experiments.subjects.deep_rfm_config import DeepRFMConfig


def test_the_command_spells_out_every_option_that_decides_the_numbers():
    config = DeepRFMConfig(data="my data.npz", n_train=7, ridge=0.5)
    words = shlex.split(config.command("deep-rfm"))
    assert words[:2] == ["agop", "deep-rfm"]
    given = dict(zip(words[2::2], words[3::2], strict=True))
    assert given["--data"] == "my data.npz"
    assert given["--n-train"] == "7"
    assert given["--ridge"] == "0.5"
    assert "--n-test" not in given
    assert set(given) == {
        f"--{name.replace('_', '-')}" for name, value in config.identity().items() if value is not None
    }


def test_where_files_are_and_what_the_machine_can_take_decide_nothing():
    options = asdict(DeepRFMConfig())
    moved = DeepRFMConfig(**options | {"data_root": "/elsewhere", "download": True, "max_memory": "1GB"})
    assert moved.identity() == DeepRFMConfig().identity()
    assert set(options) - set(moved.identity()) == {"data_root", "download", "max_memory"}


@pytest.mark.parametrize(
    "option",
    [
        {"layers": 0},
        {"width": 0},
        {"width": 1.5},
        {"seed": -1},
        {"bandwidth": 0.0},
        {"bandwidth": float("nan")},
        {"feature_bandwidth": -1.0},
        {"ridge": -1e-9},
        {"ridge": float("inf")},
        {"dtype": "float16"},
        {"subset": "last"},
    ],
)
def test_bad_options_name_themselves(option):
    with pytest.raises((ValueError, TypeError), match=next(iter(option))):
        DeepRFMConfig(**option)
