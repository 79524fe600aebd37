"""Run directories that were damaged or made by an enemy: one sentence that names the file and what to do."""

from __future__ import annotations

import json
import random
import shutil

import numpy as np
import pytest
import torch

from agop.experiments.run import run
from agop.experiments.rundir import RunDirectory
from agop.experiments.subjects import network
from agop.experiments.subjects.deep_rfm_config import DeepRFMConfig
from agop.experiments.tables import check_unit
from agop.networks.state import save_state
from agop.report import RunRecord
from tests.hostile.mutants import damaged_bytes, damaged_csv, damaged_json_file
from tests.sentences import one_sentence

MUTATION = {
    "config.json": damaged_json_file,
    "result.json": damaged_json_file,
    "profile.csv": damaged_csv,
    "layers.csv": damaged_csv,
    "gram.npz": damaged_bytes,
}
TABLES = ("profile.csv", "layers.csv", "gram.npz")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run; do not write into it."""
    folder, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    y = np.arange(40) % 2
    np.savez(folder / "small.npz", x_train=rng.normal(size=(40, 3)) + y[:, None], y_train=y)
    run("deep-rfm", DeepRFMConfig(data=str(folder / "small.npz"), layers=2, width=8), folder / "run")
    return folder / "run"


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def refused(folder) -> str:
    with pytest.raises(ValueError) as caught:
        RunRecord.load(folder)
    return sentence(caught.value)


def sentence(error: Exception) -> str:
    text = str(error)
    assert text.startswith("run: expected "), text
    assert "\n" not in text
    assert len(text) < 900
    return text


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("damage", ["cut off", "a digit", "empty", "gone"])
def test_a_damaged_table_is_never_read_as_good(name, damage, copy):
    path = copy / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        changed = bytearray(content)
        changed[len(content) // 2] ^= 1
        path.write_bytes({"cut off": content[:-20], "a digit": bytes(changed), "empty": b""}[damage])
    text = refused(copy)
    assert str(path) in text
    assert "run it again elsewhere" in text


@pytest.mark.parametrize("name", ["config.json", "result.json"])
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"7", b"\xff\xfe", b"[" * 200_000, b'{"format": 99}', b"null"]
)
def test_a_damaged_json_file_is_one_sentence(name, content, copy):
    (copy / name).write_bytes(content)
    if (name, content) == ("result.json", b'{"format": 99}'):
        assert RunRecord.load(copy).headline == ""  # an object, and nothing in it is needed
    else:
        assert name in refused(copy) or "format" in refused(copy)


def test_an_enormous_json_file_is_not_read(copy):
    with (copy / "result.json").open("wb") as stream:
        stream.truncate(2**40)  # a tebibyte that takes no space
    assert "result.json" in refused(copy)


def test_matrices_that_promise_too_much_reserve_nothing(copy):
    result = json.loads((copy / "result.json").read_text())
    (copy / "result.json").write_text(json.dumps(result | {"files": {}}))
    np.savez_compressed(
        copy / "gram.npz", labels=np.zeros(2, int), big=np.zeros(2**26)
    )  # half a gigabyte of zeros
    assert "more than agop writes" in refused(copy)


def fuzz(finished, copy, count: int, seed: int) -> dict[str, int]:
    """Mutants of every file, without the content hashes that would find them all."""
    told = {"read": 0, "refused": 0}
    result = json.loads((finished / "result.json").read_text()) | {"files": {}}
    sound = {name: (finished / name).read_bytes() for name in MUTATION} | {
        "result.json": json.dumps(result).encode()
    }
    for number in range(count):
        name = list(MUTATION)[number % len(MUTATION)]
        (copy / "result.json").write_bytes(sound["result.json"])
        (copy / name).write_bytes(MUTATION[name](sound[name], random.Random(f"{seed} {number}")))
        try:
            record = RunRecord.load(copy)
        except ValueError as error:
            sentence(error)
            told["refused"] += 1
        except BaseException as error:
            error.add_note(f"mutant {number} of seed {seed}, {name}")
            raise
        else:
            assert isinstance(record.measures, tuple)
            told["read"] += 1
        (copy / name).write_bytes(sound[name])
    return told


def test_mutants_are_one_sentence(finished, copy):
    told = fuzz(finished, copy, 250, seed=1)
    assert told["refused"] > 75
    assert told["read"] > 10


@pytest.mark.slow
def test_five_thousand_mutants_are_one_sentence(finished, copy):
    print(fuzz(finished, copy, 5_000, seed=2))


def test_a_damaged_unit_says_what_to_delete(tmp_path):
    with RunDirectory(tmp_path / "unit", "unit", {"id": "x"}) as place:
        (place.path / "profile.csv").write_text("layer,nc1\n1,0.5\n")
        place.finish({"notes": []})
    assert check_unit(tmp_path / "unit")["notes"] == []
    (tmp_path / "unit" / "profile.csv").write_text("layer,nc1\n1,0.4\n")
    with pytest.raises(
        ValueError,
        match=r"profile.csv as the run wrote it, .* delete '.*unit', and the same command computes it again",
    ):
        check_unit(tmp_path / "unit")
    (tmp_path / "unit" / "result.json").write_text("{")
    with pytest.raises(ValueError, match=r"result.json.*delete '.*unit'"):
        check_unit(tmp_path / "unit")


@pytest.mark.parametrize("damage", ["cut off", "a bit", "text", "names", "empty"])
def test_a_damaged_checkpoint_of_a_network_says_what_to_delete(damage, tmp_path):
    model = torch.nn.Linear(3, 2)
    optimiser = torch.optim.SGD(model.parameters(), momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    tables, path = network.Tables().text(), tmp_path / "state.safetensors"
    save_state(model, optimiser, path, {"nothing": "of ours"} if damage == "names" else tables)
    content = bytearray(path.read_bytes())
    if damage == "a bit":
        content[-3] ^= 4
    elif damage == "text":
        content = bytearray(content.replace(b"epochs", b"epochz"))
    path.write_bytes({"cut off": content[:-5], "empty": b""}.get(damage, content))
    with one_sentence(ValueError, match="delete it, and the run begins with the first epoch") as caught:
        network._stored(model, optimiser, path)
    assert str(path) in str(caught.value)
