"""`agop rfm` and `agop predict` on tables of many rows: searched with some, fitted to all, predicted and written in blocks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from agop import load
from agop.cli import main
from agop.machines import rfm_cv, solver, streaming
from agop.tables import large

pytest.importorskip("pyarrow")
N = 700


@pytest.fixture(scope="module", autouse=True)
def _large_from_300_rows():
    with pytest.MonkeyPatch.context() as patch:
        for module in (rfm_cv, solver, streaming, large):
            patch.setattr(module, "LARGE", 300)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(N, 3)), columns=list("abc"))
    frame["city"] = rng.choice(["Rome", "Oslo"], N)
    frame["when"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 300, N), "D")
    frame["y"] = np.sin(2 * frame["a"]) + frame["b"] + (frame["city"] == "Rome") + 0.1 * rng.normal(size=N)
    frame["kind"] = np.where(frame["y"] > 0.5, "high", "low")
    frame.loc[::50, "y"] = np.nan
    (folder / "table").mkdir()
    frame[:400].to_parquet(folder / "table" / "1.parquet", row_group_size=150)
    frame[400:].reset_index(drop=True).to_parquet(folder / "table" / "2.parquet")
    return folder


def code(arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in arguments])
    return caught.value.code


def learn(data, target, out, *more):
    return ["rfm", "--data", data, "--target", target, "--candidates", 1, "--out", out, *more]


@pytest.mark.parametrize("target", ["y", pytest.param("kind", marks=pytest.mark.slow)])
def test_all_rows_are_learned_from_and_predicted_in_blocks(place, tmp_path, capsys, monkeypatch, target):
    run, other = tmp_path / "run", "kind" if target == "y" else "y"
    words = learn(place / "table", target, run, "--drop", other, "--test", 0.2)
    assert code(words) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "table: 700 rows, 7 columns." in told
    assert "searched with 300 of 700 rows, then fitted to all in one pass: up to 700 centres, about " in told
    model = load(run)
    entry = model.estimator.best_estimator_.history_[-1]
    without = 14 if target == "y" else 0
    held = len(pd.read_csv(run / "test.csv"))
    assert 50 <= held <= 60
    assert entry["rows"] == N - without - held
    honest = pd.read_csv(run / "honest.csv")
    frame = pd.read_parquet(place / "table")
    assert honest["true"].tolist() == pytest.approx(frame[target][honest["row"]].tolist())
    monkeypatch.setattr("agop.cli.predict.ROWS", 90)
    for ending in ("csv", "parquet", "feather"):
        out = tmp_path / f"p.{ending}"
        assert code(["predict", run, "--data", place / "table", "--keep", "a", "--out", out]) == 0
        read = {"csv": pd.read_csv, "parquet": pd.read_parquet, "feather": pd.read_feather}[ending]
        found = read(out)
        assert len(found) == N
        assert found["a"].to_numpy() == pytest.approx(frame["a"].to_numpy())
        expected = model.predict(frame)
        if target == "y":
            assert found["prediction"].to_numpy() == pytest.approx(expected)
        else:
            assert found["prediction"].tolist() == expected.tolist()
    told = " ".join(capsys.readouterr().out.split())
    score = model.score(frame)
    assert f"{'R²' if target == 'y' else 'accuracy'} {score:.3f} on the {N - without} rows" in told
    assert score > 0.7


def test_fewer_rows_are_taken_when_asked_for(place, tmp_path, capsys):
    frame = pd.read_parquet(place / "table").drop(columns="kind")
    frame.to_parquet(tmp_path / "one.parquet")
    assert code(learn(tmp_path / "one.parquet", "y", tmp_path / "run", "--rows", 60)) == 0
    assert "60 of 700 rows were drawn" in " ".join(capsys.readouterr().out.split())


def test_rows_of_a_group_are_held_out_together_wherever_they_are(place, tmp_path, capsys):
    frame = pd.read_parquet(place / "table").drop(columns="kind")
    frame["shop"] = [None if k % 9 == 8 else f"s{k % 9}" for k in range(N)]
    frame.to_parquet(tmp_path / "one.parquet")
    run = tmp_path / "run"
    words = [
        "rfm", "--data", tmp_path / "one.parquet", "--target", "y", "--group-by", "shop", "--candidates", 1, "--test", 0.2,
        "--out", run,
    ]  # fmt: skip
    assert code(words) == 0
    assert "then fitted to all in one pass" in " ".join(capsys.readouterr().out.split())
    shops = frame["shop"].fillna("none")
    held = shops[pd.read_csv(run / "test.csv")["row"]].unique()
    honest = shops[pd.read_csv(run / "honest.csv")["row"]].unique()
    assert 1 <= len(held) <= 2
    assert not set(held) & set(honest)
    learned = frame["y"].notna() & ~shops.isin(held)
    assert load(run).estimator.best_estimator_.history_[-1]["rows"] == learned.sum()


def test_a_number_that_is_none_is_told_by_row(place, tmp_path, capsys):
    frame = pd.read_parquet(place / "table").drop(columns="kind")
    source = large.LargeTable.of(place / "table", 0)
    row = int(np.setdiff1d(np.arange(N), source.numbers)[0])
    frame["y"] = frame["y"].astype(object)
    frame.loc[row, "y"] = np.inf
    frame["y"] = frame["y"].astype(float)
    frame.to_parquet(tmp_path / "one.parquet")
    assert code(learn(tmp_path / "one.parquet", "y", tmp_path / "run")) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert f"target: expected finite numbers, got inf in column 'y', row {row}; mend them." in told
