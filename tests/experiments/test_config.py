"""What a run is asked for: checked by what the fields say, known without torch, and the same run as in 0.1.0."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass, replace

import pytest

from agop.experiments.configuration import MODEL, Configuration, option
from agop.experiments.run import run
from agop.experiments.rundir import identity
from agop.experiments.subjects import SUBJECTS
from agop.experiments.subjects.deep_rfm_config import DeepRFMConfig
from agop.experiments.subjects.network_config import NetworkConfig
from agop.experiments.subjects.user_model_config import ProfileConfig
from agop.ranks import Ranks, sharing


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
    # a field that came after 0.1.0 is left out at its default
    assert set(options) - set(moved.identity()) == {"data_root", "download", "max_memory", "measures"}
    assert DeepRFMConfig(measures=("nc1",)).identity() != DeepRFMConfig().identity()


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


CONFIGURATIONS = (
    "agop.experiments.configuration", "agop.experiments.subject", "agop.experiments.subjects", "agop.networks.names", "agop.machines.names",
    "agop.kernels.registry", "agop.probes", "agop.datasets.registry", "agop.experiments.studies",
    *(line.partition(":")[0] for line in SUBJECTS.lines.values()),
)  # fmt: skip


def test_configurations_are_imported_without_torch_and_numpy():
    code = (
        f"import sys, {', '.join(CONFIGURATIONS)}; print(*{{'torch', 'numpy', 'pandas'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.strip()


def test_every_line_of_the_registry_is_a_kind_of_that_name():
    for name, kind in SUBJECTS.items():
        assert kind.name == name
        assert issubclass(kind.config, Configuration)


# what 0.1.0 wrote into config.json: options, fingerprint of the data, id
STORED = {
    "deep-rfm": (DeepRFMConfig(n_train=300, layers=2, width=64), "8372b5af7f7fa4be4f824d64"),
    "network": (NetworkConfig(n_train=300, epochs=3), "4758140b6715a03a0be7fa6a"),
    "profile": (
        ProfileConfig(n_train=300, model="own_model:make", standardise=True),
        "4f31355130e4bbf63d0aa6c6",
    ),
}
DIGITS_300 = "7b277618da6f18a67e25f73f809d1674"


@pytest.mark.parametrize("verb", STORED)
def test_a_run_of_0_1_0_is_the_same_run(verb):
    config, stored = STORED[verb]
    assert identity(verb, config.identity(), DIGITS_300) == stored


def test_an_option_added_later_changes_no_identity_at_its_default():
    @dataclass(frozen=True, kw_only=True)
    class Later(DeepRFMConfig):
        exponent: float = option(1.0, "Of the kernel.", MODEL, above=0, since="0.2.0")

    assert Later().identity() == DeepRFMConfig().identity()
    assert Later(exponent=1.5).identity() == DeepRFMConfig().identity() | {"exponent": 1.5}
    assert "--exponent" not in Later().command("deep-rfm")
    assert NetworkConfig(dropout=0.4).identity() == NetworkConfig().identity() | {"dropout": 0.4}
    assert "dropout" not in NetworkConfig().identity()


@pytest.mark.parametrize(
    ("config", "option"),
    [
        (NetworkConfig, {"lr": 0.0}), (NetworkConfig, {"momentum": 1.5}), (NetworkConfig, {"arch": "alexnet"}),
        (NetworkConfig, {"batch_size": 0}), (NetworkConfig, {"weight_decay": -1.0}), (NetworkConfig, {"dropout": 1.5}),
        (NetworkConfig, {"loss": "hinge"}),
        (DeepRFMConfig, {"kernel": "cosine"}), (DeepRFMConfig, {"n_train": 0}), (DeepRFMConfig, {"solver": "lu"}),
    ],
    ids=str,
)  # fmt: skip
def test_what_could_never_be_right_is_refused_before_anything_is_loaded(config, option):
    with pytest.raises((ValueError, TypeError), match=f"^{next(iter(option))}: expected "):
        config(**option)


def test_what_a_kind_says_of_itself_is_checked():
    kind = SUBJECTS["network"]
    assert kind.folder(NetworkConfig(data="some/where/mine.npz")).as_posix() == "runs/mlp-mine"
    assert kind.folder_shown == "runs/ARCH-DATA"
    made = SUBJECTS["profile"].folder(ProfileConfig(model="torchvision.models:resnet18"))
    assert made.as_posix() == "runs/profile-resnet18-digits"
    with pytest.raises(ValueError, match="table: expected one of"):
        replace(kind, table="pretty")
    with pytest.raises(ValueError, match="display: expected one of"):
        replace(kind, display="film")


def test_ranks_share_only_what_can_be_shared(tmp_path):
    with sharing(Ranks(0, 2)), pytest.raises(ValueError, match="kind: expected one whose work ranks share"):
        run("network", NetworkConfig(), tmp_path / "run")
    with pytest.raises(
        ValueError, match="kind: expected one of 'rfm', 'deep-rfm', 'conv-rfm', 'network', 'profile'"
    ):
        run("magic", NetworkConfig(), tmp_path / "run")
    assert not (tmp_path / "run").exists()
