"""A model of a raw table: fitted, saved, loaded, and asked about frames that look otherwise."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import agop
from agop import TableModel, fit_table, load
from agop._store import DIGEST, digest

SEARCH = {"n_candidates": 4, "n_iter": 1, "random_state": 0}


def table(n=90, classes=False):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "id": range(n),
            "size": rng.normal(60, 20, n),
            "city": rng.choice(["Bern", "Oslo", "Rome"], n),
            "sold": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 700, n), unit="D"),
            "noise": rng.normal(size=n),
        }
    )
    price = frame["size"] + 30 * (frame["city"] == "Rome") + rng.normal(0, 1, n)
    frame.loc[::9, "noise"] = np.nan
    return frame.assign(price=np.where(price > 70, "dear", "cheap") if classes else price)


@pytest.fixture(scope="module")
def models():
    return {
        kind: fit_table(table(classes=kind == "classes"), "price", **SEARCH)
        for kind in ("numbers", "classes")
    }


def test_it_learns_and_says_what_counts(models):
    model = models["numbers"]
    assert model.task == "regression"
    assert model.estimator.oof_score_ > 0.8
    assert list(model.feature_importances_.index[:2]) == ["city", "size"]
    assert model.feature_importances_.sum() == pytest.approx(1)
    assert set(model.feature_importances_.index) == {"size", "city", "sold", "noise"}
    assert models["classes"].classes_.tolist() == ["cheap", "dear"]


def test_importances_are_those_of_encoded_columns_summed(models):
    model = models["numbers"]
    own = pd.Series(model.estimator.feature_importances_, index=model.encoder.get_feature_names_out())
    assert model.feature_importances_["sold"] == pytest.approx(own[own.index.str.startswith("sold: ")].sum())


def test_directions_are_eigenvectors_of_the_agop(models):
    model = models["numbers"]
    matrix = model.estimator.predictor_agop_.numpy()
    found = model.directions(2)
    for number, rows in found.groupby("direction"):
        vector = rows["weight"].to_numpy()
        value = rows["share"].iloc[0] * np.trace(matrix)
        np.testing.assert_allclose(matrix @ vector, value * vector, atol=1e-9 * np.trace(matrix))
        assert vector[np.abs(vector).argmax()] > 0
        assert number in (1, 2)
    assert found["column"].iloc[: len(matrix)].tolist() == model.estimator.encoded_feature_names_


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_a_file_predicts_the_same_on_raw_frames(models, kind, tmp_path):
    model = models[kind]
    model.save(tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert isinstance(loaded, TableModel)
    assert (loaded.target, loaded.task, loaded.notes) == (model.target, model.task, model.notes)
    assert loaded.encoder.columns_ == model.encoder.columns_
    new = table(classes=kind == "classes").sample(frac=1, axis=1, random_state=0).astype({"sold": str})
    np.testing.assert_array_equal(loaded.predict(new), model.predict(new))
    assert loaded.score(new) == model.score(new) > 0.8
    if kind == "classes":
        np.testing.assert_array_equal(loaded.predict_proba(new), model.predict_proba(new))
        np.testing.assert_allclose(loaded.predict_proba(new).sum(1), 1)
    assert loaded.differences(new) == ["The columns come in another order; they are matched by name."]
    np.testing.assert_array_equal(load(tmp_path).predict(new), model.predict(new))  # the directory of a run


def test_load_reads_estimators_too(tmp_path):
    frame = table()[["size", "noise"]]
    fitted = agop.RFMRegressor(n_iter=1).fit(frame, frame["size"])
    fitted.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "m.safetensors").predict(frame), fitted.predict(frame))


def test_load_reads_profiles_and_trajectories_too(tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(3, 2))
    X, y = torch.arange(12.0).reshape(4, 3), torch.tensor([0, 1, 0, 1])
    profile, trajectory = (
        agop.profile(network, X, y, measures=["nc1"]),
        agop.Trajectory(X, y, measures=["nc1"]),
    )
    trajectory.record(network, 0)
    for thing in (profile, trajectory):
        thing.save(tmp_path / "saved")
        again = agop.load(tmp_path / "saved")
        assert type(again) is type(thing)
        assert again.to_frame().equals(thing.to_frame())


def test_rows_of_any_number_and_empty_columns(models):
    model = models["numbers"]
    one = table()[:1].drop(columns=["price", "id"])
    assert model.predict(one).shape == (1,)
    gone = one.assign(city=None, sold=None, size=np.nan, noise=np.nan)
    assert np.isfinite(model.predict(gone)).all()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda header: header.pop("columns"),
        lambda header: header.update(task="ranking"),
        lambda header: header["columns"].pop(1),
        lambda header: header["columns"].append(header["columns"][1]),
        lambda header: header["columns"][1].update(kind="magic"),
        lambda header: header["columns"][2].update(levels=["a", "a", "b"]),
        lambda header: header["columns"][3].update(parts=["century"]),
        lambda header: header["columns"][1].update(other=1),
        lambda header: header["columns"][1].update(more="x"),
        lambda header: header["asked"].update(steps=["x"]),
        lambda header: header.update(notes=[1]),
        lambda header: header["estimator"].update({"class": "os.system"}),
        lambda header: header.update(estimator=None),
    ],
)
def test_a_damaged_file_is_one_sentence(models, tmp_path, spoil):
    path = tmp_path / "model.safetensors"
    models["numbers"].save(path)
    with safe_open(str(path), framework="pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        header = json.loads(stored.metadata()["agop"])
    spoil(header)
    text = json.dumps(header)
    save_file(tensors, str(path), metadata={"agop": text, DIGEST: digest({"agop": text}, tensors)})
    with pytest.raises(
        ValueError, match=r"^path: expected a complete file with a saved table, got .*; fit it again\.$"
    ):
        load(path)


def test_a_file_that_is_none_is_one_sentence(tmp_path):
    for name, content in (("a", b""), ("b", b"x" * 100)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=r"^path: expected "):
            load(tmp_path / name)
    with pytest.raises(
        ValueError,
        match="path: expected a file that agop saved, or the directory of a run with a model, got .*where none is; check the path",
    ):
        load(tmp_path / "none")


def test_the_score_needs_targets(models):
    with pytest.raises(ValueError, match="table: expected the name of a column, got 'price'"):
        models["numbers"].score(table().drop(columns="price"))
    with pytest.raises(ValueError, match="target: expected two rows whose target is known, for R², got 0"):
        models["numbers"].score(table().assign(price=np.nan))


def test_nothing_is_changed_in_the_frame():
    frame = table()
    before = frame.copy(deep=True)
    fit_table(frame, "price", **SEARCH).predict(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_rows_of_a_group_are_held_out_together():
    rng = np.random.default_rng(0)
    group = np.arange(120) // 12
    frame = pd.DataFrame(
        {
            "a": rng.normal(size=120),
            "g": group,
            "b": group + rng.normal(size=120) / 100,
            "y": rng.normal(size=10)[group],
        }
    )
    apart = fit_table(frame, "y", group_by="g", drop=["a"], **SEARCH).estimator
    mixed = fit_table(frame.drop(columns="g"), "y", drop=["a"], **SEARCH).estimator
    assert apart.oof_score_ < 0.5
    assert mixed.oof_score_ > 0.8
