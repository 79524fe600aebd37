"""Saved estimators and profiles that were damaged or made by an enemy: one sentence, nothing executed, nothing exhausted."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import agop
from agop._store import digest
from tests.hostile.mutants import damaged_safetensors, joined, parts

X = np.random.default_rng(0).normal(size=(24, 3))
Y = np.arange(24) % 3
NAMES = np.array(["a", "b", "c"])


def _profile():
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3)).double()
    return agop.profile(net, torch.from_numpy(X), Y)


SAVED = {
    "RFMRegressor": lambda: agop.RFMRegressor(bandwidth=2.0, n_iter=1).fit(X, Y),
    "RFMClassifier": lambda: agop.RFMClassifier(bandwidth=2.0, n_iter=1).fit(X, NAMES[Y]),
    "RFMClassifierCV": lambda: agop.RFMClassifierCV(n_candidates=1, n_iter=1, ensemble=2, random_state=0).fit(
        X, NAMES[Y]
    ),
    "DeepRFMRegressor": lambda: agop.DeepRFMRegressor(n_layers=2, width=4, random_state=0).fit(X, Y),
    "DeepRFMClassifier": lambda: agop.DeepRFMClassifier(
        n_layers=2, width=4, feature_map="fourier", random_state=0
    ).fit(X, Y),
    "ConvRFMClassifier": lambda: agop.ConvRFMClassifier(depth=2, patch_size=1).fit(X, NAMES[Y]),
    "DeepConvRFMClassifier": lambda: agop.DeepConvRFMClassifier(
        n_layers=2, width=3, patch_size=1, random_state=0
    ).fit(X, Y),
    "Profile": _profile,
}
READERS = {name: getattr(agop, name).load for name in SAVED}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The bytes of one sound file of each kind; an estimator in half precision too."""
    folder, contents = tmp_path_factory.mktemp("saved"), {}
    for name, make in SAVED.items():
        subject = make()
        subject.save(folder / name)
        contents[name] = (folder / name).read_bytes()
        if name == "RFMRegressor":
            columns = np.c_[np.round(X[:, 0]), np.where(X[:, 1] > 1, np.nan, X[:, 1]), X[:, 2]]
            table = agop.RFMRegressor(n_iter=1, categorical_features=[0]).fit(
                columns, Y, np.linspace(1, 2, 24)
            )
            table.save(folder / "table")
            contents["table"] = (folder / "table").read_bytes()
        if name == "DeepRFMClassifier":
            subject.save(folder / name, centers="float16")
            contents["half"] = (folder / name).read_bytes()
    return contents


def sentence(error: Exception) -> str:
    text = str(error)
    assert text.startswith("path: expected "), text
    assert "\n" not in text
    assert text.isprintable()
    assert len(text) < 700
    assert text.endswith(".")
    return text


def read(kind: str, path: Path) -> str:
    """What reading `path` says: "" if it is a sound file after all, which then can also be used."""
    try:
        subject = READERS[kind](path)
    except ValueError as error:
        return sentence(error)
    if kind == "Profile":
        assert str(subject)
        return ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # overflow of a kernel with another bandwidth
        try:
            prediction = subject.predict(X)
        except ValueError as error:
            # a filter of 1e300 makes images that no kernel of images has values for: these say so
            if "Conv" not in kind or "images whose kernel values are within the range" not in str(error):
                raise
            return ""
    assert len(prediction) == len(X)
    if kind.startswith("Deep"):
        assert subject.transform(X).shape[0] == len(X)
    return ""


def fuzz(saved, tmp_path, count: int, seed: int) -> dict[str, int]:
    """Read `count` mutants of every kind; anything but a sentence or a sound estimator raises."""
    told: dict[str, int] = {}
    path = tmp_path / "mutant"
    for number in range(count):
        kind = list(saved)[number % len(saved)]
        content = damaged_safetensors(saved[kind], random.Random(f"{seed} {number}"))
        path.write_bytes(content)
        try:
            text = read({"half": "DeepRFMClassifier", "table": "RFMRegressor"}.get(kind, kind), path)
        except BaseException as error:
            error.add_note(f"mutant {number} of seed {seed}, a {kind}")
            raise
        told["read" if not text else "refused"] = told.get("read" if not text else "refused", 0) + 1
    return told


def test_mutants_are_one_sentence(saved, tmp_path):
    told = fuzz(saved, tmp_path, 600, seed=1)
    assert told["refused"] > 300
    assert told["read"] > 20  # a bit in a feature matrix, or another bandwidth


def fuzz_tables(tmp_path, count: int, seed: int) -> dict[str, int]:
    """Read `count` mutants of a model of a table; anything but a sentence, when it is read or asked, raises."""
    days = pd.date_range("2020-01-01", periods=24).strftime("%d.%m.%Y")
    frame = pd.DataFrame({"a": X[:, 0], "b": NAMES[Y], "day": days, "id": range(24), "y": X[:, 1]})
    agop.fit_table(frame, "y", n_candidates=1, n_iter=1, ensemble=1, random_state=0).save(tmp_path / "sound")
    content, path, told = (tmp_path / "sound").read_bytes(), tmp_path / "mutant", {"read": 0, "refused": 0}
    for number in range(count):
        path.write_bytes(damaged_safetensors(content, random.Random(f"{seed} table {number}")))
        try:
            model = agop.load(path)
        except ValueError as error:
            sentence(error)
            told["refused"] += 1
            continue
        told["read"] += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert len(model.predict(frame)) == 24
                model.differences(frame)
            except ValueError as error:  # of a column that has another name now
                if not str(error).startswith("data: expected every column that the model uses"):
                    raise
    return told


def test_mutants_of_tables_are_one_sentence(tmp_path):
    told = fuzz_tables(tmp_path, 150, seed=1)
    assert told["refused"] > 60
    assert told["read"] > 5


@pytest.mark.slow
def test_two_thousand_mutants_of_tables_are_one_sentence(tmp_path):
    assert sum(fuzz_tables(tmp_path, 2_000, seed=2).values()) == 2_000


@pytest.mark.slow
def test_twelve_thousand_mutants_are_one_sentence(saved, tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = fuzz(saved, tmp_path, 12_000, seed=2)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(told, f"memory grew by {grown / 1024:.0f} MiB")
    assert sum(told.values()) == 12_000
    assert grown < 500 * 1024


def header(**changes):
    return lambda table, own, data: (table, own | changes, data)


def of_header(name, **changes):
    return lambda table, own, data: (table, own | {name: own[name] | changes}, data)


def tensor(name, **changes):
    return lambda table, own, data: (table | {name: table[name] | changes}, own, data)


ENEMIES = {
    "newer": (header(version=3), r"format version 2, got '.*' of version 3; update agop: agop .* wrote it"),
    "older": (header(version=0), r"of version 0; read it with the release that wrote it \(agop .*\) and save it again"),
    "no version": (header(version=None), "of version None"),
    "true is no version": (header(version=True), "of version True"),
    "another class": (header(**{"class": "Popen"}), "class 'Popen' is none of agop's estimators"),
    "a class with a path": (header(**{"class": "../../agop.RFMClassifier"}), "is none of agop's"),
    "unknown parameter": (of_header("parameters", shell=1), "no parameter 'shell'"),
    "parameter is a list": (of_header("parameters", ridge=[1]), "parameter 'ridge' is list"),
    "parameter is no number": (of_header("parameters", ridge=float("nan")), "parameter 'ridge' is not finite"),
    "truth is a text": (of_header("parameters", diagonal="yes"), "parameter 'diagonal' is neither true nor false"),
    "unknown precision": (of_header("parameters", precision="bad"), "parameter 'precision' is none of mixed, native"),
    "kernel from elsewhere": (header(kernel={"kernel": "os.system", "bandwidth": 1}), "the kernel is none of"),
    "kernel with more": (header(kernel={"kernel": "laplace", "shell": 1}), "unexpected keyword argument 'shell'"),
    "kernel of bandwidth 0": (header(kernel={"kernel": "laplace", "bandwidth": 0}), "bandwidth: expected"),
    "a method overwritten": (of_header("fitted", predict="x"), "'predict' is no fitted attribute"),
    "the class overwritten": (of_header("fitted", __class__="x"), "'__class__' is no fitted attribute"),
    "the machine overwritten": (of_header("fitted", machine_="x"), "'machine_' is no fitted attribute"),
    "a history that is none": (of_header("fitted", history_=7), "history_ is no list"),
    "no dtype": (of_header("fitted", dtype_="float16"), "dtype_ is neither"),
    "features": (of_header("fitted", n_features_in_=4), "of shape"),
    "wide labels": (header(classes={"dtype": "<U999999999", "values": ["a", "b", "c"]}), "neither texts nor numbers"),
    "objects": (header(classes={"dtype": "object", "values": [{}, [], "c"]}), "neither texts nor numbers"),
    "labels too many": (header(classes={"dtype": "str", "values": ["a", "b", "c", "d"]}), "4 labels for 3 outputs"),
    "labels twice": (header(classes={"dtype": "str", "values": ["a", "a", "b"]}), "not sorted"),
    "feature names": (header(feature_names=["a"]), "not one text per feature"),
    "huge shape": (tensor("agop", shape=[2**62, 2**62]), r"complete file with a saved estimator, got"),
    "empty shape": (tensor("agop", shape=[0, 3]), "'agop' has no entries"),
    "negative shape": (tensor("agop", shape=[-3, -3]), "'agop' has no entries"),
    "shape that does not fit": (tensor("agop", shape=[1, 9]), r"'agop' of shape \(1, 9\) instead of \(3, 3\)"),
    "offsets backwards": (tensor("agop", data_offsets=[72, 0]), "complete file"),
    "offsets negative": (tensor("agop", data_offsets=[-72, 0]), "complete file"),
    "offsets beyond the end": (tensor("agop", data_offsets=[0, 2**40]), "complete file"),
    "offsets overlap": (
        lambda table, own, data: (table | {"agop": table["coordinates"]}, own, data),
        "complete file",
    ),
    "dtype": (tensor("agop", dtype="I64"), "'agop' is not made of finite numbers in float64"),
    "a tensor missing": (
        lambda table, own, data: ({k: v for k, v in table.items() if k != "agop"}, own, data),
        "complete file",
    ),
    "a tensor renamed": (
        lambda table, own, data: (
            {"../../agop" if k == "agop" else k: v for k, v in table.items()},
            own,
            data,
        ),
        "no tensor 'agop'",
    ),
    "a tensor more": (
        lambda table, own, data: (
            table | {"more": {"dtype": "F64", "shape": [1], "data_offsets": [len(data), len(data) + 8]}},
            own,
            data + bytes(8),
        ),
        "tensor 'more' is unknown",
    ),
    "NaN": (
        lambda table, own, data: (table, own, b"\xff" * 8 + data[8:]),
        "not made of finite numbers",
    ),
    "centres in half precision that are none": (header(centers_exponent=3), "half precision"),
    "no header": (lambda table, own, data: ({k: v for k, v in table.items() if k != "__metadata__"}, own, data), "not written by agop"),
    "nesting": (lambda table, own, data: (table, '{"a":' * 50_000, data), "complete file"),
    "a header that is a list": (lambda table, own, data: (table, "[]", data), "the header is no object"),
    "a name twice": (lambda table, own, data: (table, '{"version": 1, "version": 1}', data), "a name twice"),
    "an enormous number": (lambda table, own, data: (table, '{"version": ' + "9" * 10_000 + "}", data), "complete file"),
}  # fmt: skip


@pytest.mark.parametrize("enemy", ENEMIES)
def test_a_hostile_estimator_is_one_sentence(enemy, saved, tmp_path):
    change, message = ENEMIES[enemy]
    (tmp_path / "m").write_bytes(joined(*change(*parts(saved["RFMClassifier"]))))
    with pytest.raises(ValueError, match=message) as caught:
        agop.RFMClassifier.load(tmp_path / "m")
    sentence(caught.value)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**24 + 1, 0])
def test_a_header_that_promises_too_much_reserves_nothing(length, saved, tmp_path):
    (tmp_path / "m").write_bytes(length.to_bytes(8, "little") + saved["Profile"][8:])
    with pytest.raises(ValueError) as caught:
        agop.Profile.load(tmp_path / "m")
    sentence(caught.value)


def test_a_sparse_file_larger_than_memory_is_refused_before_it_is_read(saved, tmp_path):
    table, own, data = parts(saved["RFMClassifier"])
    side = 2**19
    table["agop"] = {
        "dtype": "F64",
        "shape": [side, side],
        "data_offsets": [len(data), len(data) + 8 * side**2],
    }
    start = joined(table, own, data)
    with (tmp_path / "m").open("wb") as stream:
        stream.write(start)
        stream.truncate(len(start) + 8 * side**2)  # 2 TiB that take no space
    with pytest.raises(ValueError, match="do not fit into the free memory") as caught:
        agop.RFMClassifier.load(tmp_path / "m")
    sentence(caught.value)


def test_layers_that_would_be_enormous_are_refused_before_they_are_formed(tmp_path):
    """A megabyte of points times a megabyte of weights is a terabyte of features."""
    n = k = 300_000
    model = agop.DeepRFMRegressor(n_layers=1, width=3, random_state=0).fit(X[:, :1], Y)
    model.save(tmp_path / "m")
    _, own, _ = parts((tmp_path / "m").read_bytes())
    own["fitted"] |= {"_n_features_out": k, "dtype_": "float32"}
    from safetensors.torch import save

    big = {
        "training_points": torch.zeros(n, 1),
        "0.agop": torch.ones(1, 1),
        "0.root": torch.ones(1, 1),
        "0.coefficients": torch.zeros(n, 1),
        "0.map.weight": torch.zeros(k, 1),
    }
    text = {"agop": json.dumps(own)}
    (tmp_path / "m").write_bytes(save(big, metadata=text | {"digest": digest(text, big)}))
    with pytest.raises(ValueError, match="do not fit into the free memory"):
        agop.DeepRFMRegressor.load(tmp_path / "m")


def test_a_device_is_never_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="path: expected the name of a file, got '.*pipe', which is none"):
        _profile().save(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("kind", SAVED)
def test_a_flipped_bit_in_a_number_is_found(kind, saved, tmp_path):
    content, rng = saved[kind], random.Random(0)
    start = 8 + int.from_bytes(content[:8], "little")
    for _ in range(50):
        damaged = bytearray(content)
        damaged[rng.randrange(start, len(content))] ^= 1 << rng.randrange(8)
        (tmp_path / "m").write_bytes(damaged)
        with pytest.raises(ValueError, match="its content is not what was written") as caught:
            READERS[kind](tmp_path / "m")
        sentence(caught.value)


def test_a_link_in_place_of_the_target_is_replaced_not_followed(tmp_path):
    (tmp_path / "precious").write_text("years of work")
    (tmp_path / "m").symlink_to(tmp_path / "precious")
    _profile().save(tmp_path / "m")
    assert (tmp_path / "precious").read_text() == "years of work"
    assert not (tmp_path / "m").is_symlink()
    assert str(agop.Profile.load(tmp_path / "m"))


def test_a_file_shortened_after_it_was_read_harms_nothing(saved, tmp_path):
    path = tmp_path / "m"
    path.write_bytes(saved["RFMRegressor"])
    model = agop.RFMRegressor.load(path)
    expected = model.predict(X)
    with path.open("rb+") as stream:
        stream.truncate(10)
    np.testing.assert_array_equal(model.predict(X), expected)


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("place", ["nothing there", "a folder", "a device"])
def test_what_is_no_file(name, place, tmp_path):
    path = {"nothing there": tmp_path / "none", "a folder": tmp_path, "a device": Path("/dev/zero")}[place]
    with pytest.raises(ValueError, match="which is not there") as caught:
        READERS[name](path)
    sentence(caught.value)


def test_writing_where_nothing_can_be_written(tmp_path):
    p = _profile()
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "none" / "m", tmp_path / "file" / "m"):
        with pytest.raises(ValueError, match="a file in an existing folder"):
            p.save(path)
    with pytest.raises(ValueError, match="the name of a file"):
        p.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_no_file_is_ever_unpickled():
    """The only unpickling in the package is the user's own weights, when the user says that they are trusted."""
    root = Path(agop.__file__).parent
    calls = re.compile(
        r"(pickle|joblib|torch|dill|marshal)\.loads?\(|allow_pickle=True|\bshelve\b|(?<![.\w])(eval|exec)\("
    )
    found = {
        str(path.relative_to(root)): [call[0] for call in calls.finditer(path.read_text())]
        for path in root.rglob("*.py")
        if calls.search(path.read_text())
    }
    assert found == {"experiments/checkpoints.py": ["torch.load("]}
    assert "weights_only=not trust_pickle" in (root / "experiments" / "checkpoints.py").read_text()
