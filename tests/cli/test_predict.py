"""`agop rfm` and `agop predict`, as typed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from agop import fit_table, load
from agop.cli import main


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": range(60), "a": rng.normal(size=60), "b": rng.choice(["x", "y"], 60)})
    frame["y"] = np.where(frame["a"] + (frame["b"] == "x") > 0.5, "high", "low")
    frame.to_csv(folder / "old.csv", index=False)
    frame.sample(frac=1, axis=1, random_state=1).assign(more=1).replace({"b": {"y": "z"}}).to_csv(
        folder / "new.csv", index=False
    )
    (folder / "run").mkdir()
    fit_table(frame, "y", n_candidates=1, n_iter=1, random_state=0).save(folder / "run" / "model.safetensors")
    return folder


def code(arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in arguments])
    return caught.value.code


def test_a_run_is_announced_and_shown(place, tmp_path, capsys):
    words = [
        "rfm",
        "--data",
        place / "old.csv",
        "--target",
        "y",
        "--candidates",
        "1",
        "--out",
        tmp_path / "run",
    ]
    assert code(words) == 0
    out = capsys.readouterr().out
    for text in (
        "old.csv: 60 rows, 4 columns.",
        "target: y, a classification",
        "left out: id",
        "accuracy",
        "importance",
        "report.html",
    ):
        assert text in out
    assert (tmp_path / "run" / "report.html").exists()
    (tmp_path / "run" / "report.html").unlink()
    assert code(["report", tmp_path / "run"]) == 0
    assert (tmp_path / "run" / "report.html").exists()
    capsys.readouterr()
    assert code(words) == 0
    assert "nothing was run again" in capsys.readouterr().out


def test_predictions_are_those_of_the_model_and_differences_are_told(place, tmp_path, capsys):
    out = tmp_path / "p.csv"
    assert code(["predict", place / "run", "--data", place / "new.csv", "--keep", "id", "--out", out]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "left out: 'more'" in told
    assert "come in another order" in told
    assert "b: 'z' did not occur in training, taken as missing." in told
    assert "accuracy 0." in told
    assert "on the 60 rows whose y is in the table" in told
    found, new = pd.read_csv(out), pd.read_csv(place / "new.csv")
    model = load(place / "run")
    assert list(found) == ["id", "prediction", "probability of high", "probability of low"]
    assert found["id"].tolist() == list(range(60))
    assert found["prediction"].tolist() == model.predict(new).tolist()
    np.testing.assert_allclose(found[["probability of high", "probability of low"]], model.predict_proba(new))


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_predictions_may_be_a_file_of_another_kind(place, tmp_path, kind):
    pytest.importorskip("pyarrow")
    assert code(["predict", place / "run", "--data", place / "old.csv", "--out", tmp_path / f"p.{kind}"]) == 0
    found = {"parquet": pd.read_parquet, "feather": pd.read_feather}[kind](tmp_path / f"p.{kind}")
    assert len(found) == 60


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--keep", "Id"], "keep: expected the name of a column, got 'Id'; near it: 'id'."),
        (["--out", "nowhere/p.csv"], "out: expected a file in an existing folder"),
        (["--data", "none.csv"], "data: expected a file that is there"),
    ],
)
def test_bad_input_is_one_sentence(place, tmp_path, monkeypatch, capsys, more, says):
    monkeypatch.chdir(tmp_path)
    assert code(["predict", place / "run", "--data", place / "old.csv", *more]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_missing_column_is_one_sentence(place, tmp_path, capsys):
    pd.read_csv(place / "old.csv").rename(columns={"a": "A"}).to_csv(tmp_path / "t.csv", index=False)
    assert code(["predict", place / "run", "--data", tmp_path / "t.csv", "--out", tmp_path / "p.csv"]) == 2
    assert (
        "data: expected every column that the model uses, got none called 'a'; add it"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "p.csv").exists()


def test_a_model_of_no_table_is_one_sentence(tmp_path, place, capsys):
    import agop

    x = np.random.default_rng(0).normal(size=(20, 2))
    agop.RFMRegressor(n_iter=0).fit(x, x[:, 0]).save(tmp_path / "m.safetensors")
    assert code(["predict", tmp_path / "m.safetensors", "--data", place / "old.csv"]) == 2
    assert "run: expected a model of a table" in capsys.readouterr().err
