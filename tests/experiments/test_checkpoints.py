"""Weights as they come: state dicts, Lightning's checkpoints, folders of Hugging Face, names of timm; what would run code is refused."""

from __future__ import annotations

import json
from argparse import Namespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from agop.experiments import model_factory
from agop.experiments.checkpoints import fill, read_weights
from agop.experiments.run import run
from agop.experiments.subjects.user_model_config import ProfileConfig
from tests.sentences import one_sentence


def net(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def prefixed(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


TRAINED = net(1)
WRAPPED = {
    "plain": lambda state: state,
    "training": lambda state: {
        "state_dict": state,
        "epoch": 3,
        "optimizer": {"lr": 0.1},
        "loss": torch.tensor(1.0),
    },
    "model entry": lambda state: {"model_state_dict": state, "step": 7},
    "lightning": lambda state: {
        "state_dict": prefixed(state, "model."),
        "epoch": 1,
        "hyper_parameters": {"lr": 0.1},
    },
    "ddp and compile": lambda state: prefixed(state, "module._orig_mod."),
    "with a loss": lambda state: {"state_dict": prefixed(state, "net.") | {"loss.weight": torch.ones(2)}},
}


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.parametrize("name", ["w.pt", "w.ckpt"])
def test_state_dicts_are_read_without_running_code(tmp_path, wrap, name):
    path, model = str(tmp_path / name), net()
    torch.save(WRAPPED[wrap](TRAINED.state_dict()), path)
    notes = fill(model, path)
    assert model_factory.same_parameters(model, TRAINED)
    assert len(notes) == (wrap in ("lightning", "ddp and compile", "with a loss"))
    if notes:
        assert "was taken off" in notes[0]
        assert "--prefix" in notes[0]
    assert ("loss.weight" in "".join(notes)) is (wrap == "with a loss")


def test_a_prefix_that_is_said(tmp_path):
    state = prefixed(TRAINED.state_dict(), "student.") | prefixed(net(2).state_dict(), "teacher.")
    save_file(state, tmp_path / "w.safetensors")
    model = net()
    with pytest.raises(ValueError, match="a tensor for each of the"):
        fill(model, str(tmp_path / "w.safetensors"))  # two fit: nothing is guessed
    (note,) = fill(model, str(tmp_path / "w.safetensors"), prefix="student.")
    assert model_factory.same_parameters(model, TRAINED)
    assert "9 other tensors were left out" in note
    with pytest.raises(ValueError, match="prefix: expected the first part of names such as 'student"):
        fill(model, str(tmp_path / "w.safetensors"), prefix="nobody.")


def test_what_would_run_code_is_refused_with_the_class_and_the_remedy(tmp_path):
    path = str(tmp_path / "w.pt")
    for stored in (
        TRAINED,
        {"state_dict": TRAINED.state_dict(), "args": Namespace(lr=0.1)},
    ):
        torch.save(stored, path)
        with one_sentence(ValueError, match="--trust-pickle") as caught:
            fill(net(), path)
        assert "which holds " in str(caught.value)
        assert "torch.save(model.state_dict(), path)" in str(caught.value)
    fill(model := net(), path, trust_pickle=True)
    assert model_factory.same_parameters(model, TRAINED)
    torch.save({"epoch": 3, "optimizer": {}}, path)
    with pytest.raises(ValueError, match="weights: expected a state dict, got .* with epoch, optimizer"):
        fill(net(), path)


def test_folders_in_one_file_or_in_shards(tmp_path):
    state = TRAINED.state_dict()
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert read_weights(str(tmp_path)).keys() == state.keys()
    first, second = (dict(list(state.items())[part]) for part in (slice(3), slice(3, None)))
    save_file(first, tmp_path / "a.safetensors")
    save_file(second, tmp_path / "b.safetensors")
    where = dict.fromkeys(first, "a.safetensors") | dict.fromkeys(second, "b.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    fill(model := net(), str(tmp_path))
    assert model_factory.same_parameters(model, TRAINED)
    for map_ in ({"a": "../secret.safetensors"}, {"a": 3}, 3):
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": map_}))
        with pytest.raises(ValueError, match="weights: expected"):
            fill(net(), str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"a folder with model.safetensors or pytorch_model.bin"):
        fill(net(), str(tmp_path / "empty"))


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_that_lightning_wrote(tmp_path):
    pytest.importorskip("lightning")
    from lightning.pytorch import Trainer
    from torch.utils.data import DataLoader, TensorDataset

    from tests.integrations.small import Small

    class Wrapped(Small):
        def __init__(self):
            super().__init__()
            self.save_hyperparameters()
            self.model = net(3)

    module = Wrapped()
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": tmp_path,
    }
    t = Trainer(max_epochs=1, accelerator="cpu", enable_checkpointing=False, **quiet)
    t.fit(module, DataLoader(TensorDataset(torch.rand(8, 6), torch.arange(8) % 4), batch_size=4))
    t.save_checkpoint(tmp_path / "l.ckpt")
    (note,) = fill(inner := net(), str(tmp_path / "l.ckpt"))
    assert model_factory.same_parameters(inner, module.model)
    assert "'model.'" in note


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(5)
    small = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=16, num_labels=2,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("bert")
    model = transformers.BertForSequenceClassification(small)
    model.save_pretrained(folder)
    return folder, model


def test_a_folder_of_hugging_face(bert, tmp_path):
    folder, model = bert
    found = model_factory.make(str(folder))
    assert type(found) is type(model)
    assert model_factory.same_parameters(found, model)
    fresh = model_factory.make(str(folder), trained=False)
    assert not model_factory.same_parameters(fresh, model)
    x = np.random.default_rng(0).integers(0, 20, size=(24, 6))
    np.savez(tmp_path / "t.npz", x_train=x, y_train=np.arange(24) % 2)
    config = ProfileConfig(data=str(tmp_path / "t.npz"), model=str(folder), measures=("nc1",), pool="first")
    assert run("profile", config, tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["facts"]["Accuracy"][0] in "01"
    assert result["facts"]["Positions"] == "the first token"
    settings = json.loads((folder / "config.json").read_text())
    for name, content in (
        ("code", settings | {"auto_map": {"AutoModel": "mine.Model"}}),
        ("list", []),
        ("other", {"model_type": "nothing"}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(content))
        with one_sentence(ValueError, match="model: expected a folder"):
            model_factory.make(str(tmp_path / name))


def test_names_of_timm():
    pytest.importorskip("timm")
    model = model_factory.make("timm:test_vit")
    assert model_factory.same_parameters(model, model_factory.make("timm:test_vit"))
    with pytest.raises(
        ValueError, match=r"model: expected a name of timm.list_models\(\), got 'resnet1'; there are .*resnet"
    ):
        model_factory.make("timm:resnet1")


def test_a_name_that_is_none_says_what_there_is():
    with pytest.raises(ValueError, match="package.module:factory, timm:NAME or a folder of save_pretrained"):
        model_factory.make("bert-base-uncased")
