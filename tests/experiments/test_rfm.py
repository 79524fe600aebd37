"""The verb for tables: its numbers, its directory, its page; what it is stopped by changes nothing that is done."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, log_loss, r2_score, roc_auc_score

from agop import load
from agop.experiments import run as runs
from agop.experiments.listener import Listener
from agop.experiments.subjects.rfm import RFMTask, spelled
from agop.experiments.subjects.rfm_config import RFMConfig
from agop.experiments.table_scores import classification_scores, regression_scores
from agop.report import RunRecord, write_comparison, write_report
from agop.report.table_figures import calibration_table
from agop.report.table_run import TableRecord

run = partial(runs.run, "rfm")


def frame(n=120, classes=0):
    rng = np.random.default_rng(0)
    made = pd.DataFrame(
        {
            "id": range(n),
            "a": rng.normal(size=n),
            "b": rng.choice(["x", "y"], n),
            "c": rng.normal(size=n),
            "g": rng.integers(12, size=n),
        }
    )
    y = made["a"] + (made["b"] == "x") + rng.normal(0, 0.1, n)
    made["y"] = pd.qcut(y, classes, labels=[f"0{k}" for k in range(classes)]).astype(str) if classes else y
    made.loc[5, "y"] = None
    return made


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    for name, classes in (("numbers", 0), ("two", 2), ("three", 3)):
        frame(classes=classes).to_csv(folder / f"{name}.csv", index=False)
    return folder


def asked(files, name="numbers", **options):
    return RFMConfig(**{"data": str(files / f"{name}.csv"), "target": "y", "candidates": 2} | options)


@pytest.fixture(scope="module")
def finished(files):
    """A finished run of each table; do not write into it."""
    places = {}
    for name in ("numbers", "two", "three"):
        # classes are read as the numbers 0 and 1: they are few and whole
        assert run(asked(files, name, test=0.25), files / f"run-{name}")
        if name != "two":
            write_report(files / f"run-{name}")
        places[name] = files / f"run-{name}"
    return places


def test_the_tables_are_those_of_the_model(files, finished):
    model, place = load(finished["numbers"]), finished["numbers"]
    rows = frame().dropna(subset=["y"])
    honest, test = pd.read_csv(place / "honest.csv"), pd.read_csv(place / "test.csv")
    assert len(test) == 30
    assert len(honest) == 89
    assert not set(honest["row"]) & set(test["row"])
    assert set(honest["row"]) | set(test["row"]) == set(rows.index)
    np.testing.assert_allclose(test["true"], rows.loc[test["row"], "y"])
    np.testing.assert_allclose(test["predicted"], model.predict(frame().loc[test["row"]]))
    scores = pd.read_csv(place / "scores.csv").set_index("measure")
    assert scores.loc["R²", "test"] == pytest.approx(r2_score(test["true"], test["predicted"]))
    assert scores.loc["R²", "honest"] == pytest.approx(model.estimator.oof_score_)
    assert scores.loc["R²", "none"] == pytest.approx(0, abs=1e-9)
    columns = pd.read_csv(place / "columns.csv").set_index("column")
    assert columns.loc["id", "left_out"] == "identifier-like: whole numbers, each once"
    assert columns.loc["b", "taken_for"] == "category"
    np.testing.assert_allclose(columns["importance"].dropna(), model.feature_importances_)
    record = TableRecord.load(place)
    assert "1 row without y left out." in record.notes
    assert f"Honest R² {scores.loc['R²', 'honest']:.3f}" in record.headline


@pytest.mark.parametrize("name", ["two", "three"])
def test_classes_have_probabilities(finished, name):
    test = pd.read_csv(finished[name] / "test.csv", dtype={"true": str, "predicted": str})
    shares = test.filter(like="probability of ")
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    scores = pd.read_csv(finished[name] / "scores.csv").set_index("measure")["test"]
    assert scores["accuracy"] == pytest.approx(accuracy_score(test["true"], test["predicted"]))
    assert scores["log loss"] == pytest.approx(
        log_loss(test["true"], shares, labels=sorted(set(test["true"])))
    )
    assert scores["accuracy"] > 0.7


def test_scores_are_those_of_the_library():
    rng = np.random.default_rng(0)
    labels, shares = rng.integers(3, size=50), rng.dirichlet(np.ones(3), 50)
    found = classification_scores(labels, shares)
    assert found["log loss"][0] == pytest.approx(log_loss(labels, shares))
    assert found["area under the curve"][0] == pytest.approx(roc_auc_score(labels, shares, multi_class="ovr"))
    assert found["Brier score"][0] == pytest.approx(np.mean(((shares - np.eye(3)[labels]) ** 2).sum(1)))
    assert found["accuracy"][1] == pytest.approx(
        (found["accuracy"][0] * (1 - found["accuracy"][0]) / 49) ** 0.5
    )
    true, made = rng.normal(size=50), rng.normal(size=50)
    found = regression_scores(true, made)
    assert found["R²"][0] == pytest.approx(r2_score(true, made))
    assert regression_scores(1e3 * true, 1e3 * made)["R²"] == pytest.approx(found["R²"])


def test_calibration_counts_every_row_once():
    shares = np.linspace(0.01, 0.99, 200)
    rows = pd.DataFrame(
        {
            "true": np.where(np.arange(200) % 2, "1", "0"),
            "probability of 0": 1 - shares,
            "probability of 1": shares,
        }
    )
    table = calibration_table(rows)
    assert table["rows"].sum() == 200
    assert (table["rows"] @ table["said"]) == pytest.approx(shares.sum())
    assert (table["rows"] @ table["came"]) == pytest.approx(100)


@pytest.mark.parametrize("name", ["numbers", "three"])
def test_the_page_has_scores_columns_and_figures(finished, name):
    page = (finished[name] / "report.html").read_text()
    for words in (
        "without a model",
        "What counts",
        "identifier-like",
        "agop predict",
        "agop rfm",
        "Importances",
        "Top directions",
    ):
        assert words in page
    assert ("Confusion" in page) == ("Calibration" in page) == (name != "numbers")
    there = {path.stem for path in (finished[name] / "figures").glob("*.svg")}
    assert there >= ({"predicted"} if name == "numbers" else {"confusion", "calibration"}) | {
        "importances",
        "directions",
    }


def test_a_finished_run_is_not_run_again(files, finished):
    assert not run(asked(files, test=0.25), finished["numbers"])
    with pytest.raises(
        ValueError,
        match="out: expected a new directory or the same run, got .* with a run whose candidates is 2, not 3",
    ):
        run(asked(files, test=0.25, candidates=3), finished["numbers"])


def test_a_run_with_its_model_done_is_finished_without_a_search(files, finished, tmp_path):
    class Stopped(Listener):
        def progress(self, done, total, text):
            raise AssertionError("searched again")

    place = tmp_path / "run"
    place.mkdir()
    for name in ("config.json", "model.safetensors"):
        (place / name).write_bytes((finished["numbers"] / name).read_bytes())
    assert run(asked(files, test=0.25), place, Stopped())
    for name in ("scores", "columns", "honest", "test", "directions"):
        assert (place / f"{name}.csv").read_text() == (finished["numbers"] / f"{name}.csv").read_text()


def test_an_interrupt_keeps_the_best_so_far(files, tmp_path):
    class Interrupted(Listener):
        heard = 0

        def progress(self, done, total, text):
            self.heard += 1
            if self.heard == 4:
                raise KeyboardInterrupt

    assert run(asked(files, candidates=50), tmp_path / "run", Interrupted())
    record = TableRecord.load(tmp_path / "run")
    assert any("the search was stopped" in note.lower() for note in record.notes)
    assert np.isfinite(load(tmp_path / "run").predict(frame())).all()


def test_the_recorded_command_makes_the_same_run(files, finished):
    command = json.loads((finished["two"] / "config.json").read_text())["command"]
    assert "--test 0.25" in command
    assert "--candidates 2" in command
    for word in ("--n-train", "--subset", "--download", "--drop"):
        assert word not in command


def test_rows_of_a_group_are_on_one_side(files):
    task = RFMTask(asked(files, group_by="g", test=0.3))
    groups = task.ready.groups
    assert not set(groups[task.train]) & set(groups[task.test])
    assert len(task.test)


def test_rows_are_drawn_where_there_are_too_many(files, tmp_path):
    config = asked(files, rows=60)
    task = RFMTask(config)
    assert len(task.ready.frame) <= 60
    assert task.drawn == ["60 of 120 rows were drawn (--rows takes more; time grows with their cube)."]
    assert task.drawn[0] in task.plan()
    assert run(config, tmp_path / "run")
    honest = pd.read_csv(tmp_path / "run" / "honest.csv")
    np.testing.assert_allclose(honest["true"], frame().loc[honest["row"], "y"])  # "row" is that of the file
    for search, rows in (("1m", 5000), ("8m", 10_000), ("1s", 1300), (None, 5000)):
        assert asked(files, search=search).most_rows == rows
    assert asked(files, search="1m", rows=60).most_rows == 60


def test_the_plan_says_what_columns_were_taken_for(files):
    plan = RFMTask(asked(files, "two", drop=("c",))).plan()
    assert "target: y, a classification, as it has 2 different whole numbers (else --task regression)" in plan
    assert "numbers (2): a, g" in plan
    assert "categories (1): b" in plan
    assert "left out: c (as asked)" in plan
    assert "left out: id (identifier-like: whole numbers, each once)" in plan


def test_the_time_of_a_search_is_a_number_with_a_unit(files):
    for text, seconds in (("60", 60), ("1.5s", 1.5), ("2m", 120), ("1h", 3600)):
        assert asked(files, search=text).seconds == seconds
    assert asked(files, candidates=None).seconds == 60
    assert asked(files).seconds is None
    for text in ("0", "soon", "-3", "5 days"):
        with pytest.raises(ValueError, match="^search: expected seconds > 0"):
            asked(files, search=text)


def test_a_comma_may_be_part_of_a_name():
    assert spelled(("height", "m", "age"), ["height, m", "age"]) == ["height, m", "age"]
    assert spelled(("height", "age"), ["height", "age"]) == ["height", "age"]
    assert spelled(None, []) == []


def test_runs_on_tables_have_pages_of_their_own(finished, tmp_path):
    with pytest.raises(
        ValueError, match="run: expected runs with layers beside each other, got .* of `agop rfm`"
    ):
        write_comparison([finished["two"], finished["three"]], tmp_path / "page.html")
    with pytest.raises(ValueError, match="run: expected runs with layers"):
        RunRecord.load(finished["two"])


def test_a_damaged_table_is_one_sentence(finished, tmp_path):
    place = tmp_path / "run"
    place.mkdir()
    for path in finished["numbers"].glob("*.*"):
        (place / path.name).write_bytes(path.read_bytes())
    (place / "scores.csv").write_text("measure\nR²\n")
    with pytest.raises(ValueError, match=r"^run: expected .*scores\.csv"):
        TableRecord.load(place)


def test_a_class_of_one_row_is_not_held_out(tmp_path):
    values = frame().assign(y=["a"] * 58 + ["b"] * 58 + ["c", "d", "e", "f"])
    values.to_csv(tmp_path / "t.csv", index=False)
    task = RFMTask(RFMConfig(data=str(tmp_path / "t.csv"), target="y", test=0.5))
    target = task.ready.target.values
    assert set(target[task.test]) == {"a", "b"}
    assert set(target[task.train]) == set("abcdef")
    assert len(task.train) + len(task.test) == 120
    assert len(task.drawn) == 1
    assert task.drawn[0].endswith("of a class that no other row has: not held out.")
    grouped = RFMTask(RFMConfig(data=str(tmp_path / "t.csv"), target="y", test=0.5, group_by="id"))
    assert set(target[grouped.test]) <= set(target[grouped.train])
    assert not set(grouped.ready.groups[grouped.train]) & set(grouped.ready.groups[grouped.test])


def test_noise_is_told_as_such(files, finished, tmp_path):
    noise = pd.DataFrame(np.random.default_rng(1).normal(size=(60, 3)), columns=["a", "b", "y"])
    noise.to_csv(tmp_path / "noise.csv", index=False)
    assert run(RFMConfig(data=str(tmp_path / "noise.csv"), target="y", candidates=1), tmp_path / "run")
    doubt = "Not shown that the columns say anything of y: the honest R² is not a standard error better than without a model."
    assert TableRecord.load(tmp_path / "run").notes == (doubt,)
    for place in finished.values():
        assert not any(note.startswith("Not shown") for note in TableRecord.load(place).notes)
