"""The study emschwiller2020: students, correlations, statistics of claims, and a tiny run of all of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import agop
from agop.datasets import Dataset
from agop.experiments.reproduce import Request, reproduce
from agop.experiments.studies import emschwiller2020 as study
from agop.experiments.studies.emschwiller2020_students import TARGET, Student, lesson
from agop.experiments.studies.emschwiller2020_work import Images, correlations
from tests.experiments.whole import check_whole, tiny_run

TINY = study.Amounts(
    points=250, peak_components=6, width=8, epochs=2, rfm_iterations=1, lesson=(20, 80), widths=(10, 40), max_steps=100, test=100,
)  # fmt: skip


def network(student, parameters):
    """The student as torch sees it."""
    W, b, a = (torch.as_tensor(part) for part in student.layers(parameters.detach().numpy()))
    m = student.width
    W, b, a = parameters[: -2 * m].reshape(W.shape), parameters[-2 * m : -m], parameters[-m:]
    sigma = torch.tanh if student.activation == "tanh" else torch.relu
    return lambda X: sigma(X @ W.T + b) @ a


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_loss_and_gradient_are_those_of_autograd(activation):
    rng = np.random.default_rng(0)
    student = Student.untrained(activation, 7, 3, rng)
    X, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    parameters = torch.tensor(student.parameters, requires_grad=True)
    outputs = network(student, parameters)(torch.as_tensor(X))
    loss = (outputs - torch.as_tensor(y)).square().mean() / 2
    loss.backward()
    value, gradient = student.loss(student.parameters, X, y)
    assert value == pytest.approx(loss.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, parameters.grad.numpy(), atol=1e-12)
    np.testing.assert_allclose(student(X), outputs.detach().numpy(), atol=1e-12)


def test_a_student_interpolates_and_stops_there():
    taught = lesson(0, 40, d=5, units=3, gain=1.0, test=10).first(40)
    student = Student.untrained("tanh", 50, 5, np.random.default_rng(0))
    student.learn(taught.X, taught.y, 2000)
    assert TARGET / 100 < np.mean((student(taught.X) - taught.y) ** 2) <= TARGET
    assert 0 < student.steps < 2000


def test_a_student_that_is_out_of_steps_is_what_it_was_then():
    taught = lesson(0, 400, d=5, units=3, gain=1.0, test=10).first(400)
    student = Student.untrained("relu", 2, 5, np.random.default_rng(0))
    before = np.mean((student(taught.X) - taught.y) ** 2)
    student.learn(taught.X, taught.y, 5)
    assert student.steps == 5
    assert TARGET < np.mean((student(taught.X) - taught.y) ** 2) < before


def test_labels_of_a_lesson_are_scaled_by_the_points_that_are_taught():
    whole = lesson(3, 100, d=4, units=5, gain=1.0, test=50)
    taught = whole.first(30)
    assert taught.y.mean() == pytest.approx(0, abs=1e-12)
    assert taught.y.std() == pytest.approx(1)
    np.testing.assert_allclose(taught.y_test * whole.y[:30].std() + whole.y[:30].mean(), whole.y_test)
    permuted = whole.first(30, np.random.default_rng(0))
    assert sorted(permuted.y) == sorted(taught.y)
    assert (permuted.y != taught.y).any()
    assert np.abs(whole.X).max() <= 1


def test_correlation_of_all_entries_is_that_of_the_ansatz():
    rng = np.random.default_rng(0)
    A, B = (M @ M.T for M in rng.normal(size=(2, 6, 6)))
    found = correlations(A, B)
    expected = agop.nfa(torch.as_tensor(A), torch.as_tensor(B), power=1.0)
    assert found["all"] == pytest.approx(float(expected), rel=1e-10)
    assert found["off_diagonal"] == pytest.approx(
        np.corrcoef(A[~np.eye(6, dtype=bool)], B[~np.eye(6, dtype=bool)])[0, 1]
    )
    assert found["diagonal"] == pytest.approx(np.corrcoef(A.diagonal(), B.diagonal())[0, 1])


@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 100))
def test_correlations_know_no_scale(scale, seed):
    A, B = (M @ M.T for M in np.random.default_rng(seed).normal(size=(2, 4, 4)))
    assert correlations(A, B) == pytest.approx(correlations(B, scale * A), rel=1e-9, abs=1e-12)
    assert correlations(A, A) == pytest.approx(dict.fromkeys(correlations(A, A), 1.0))


def test_equal_entries_have_no_correlation():
    found = correlations(np.eye(3), np.diag([1.0, 2.0, 3.0]))
    assert np.isnan(found["diagonal"])
    assert np.isnan(found["off_diagonal"])
    assert found["cosine"] == pytest.approx(6 / np.sqrt(3 * 14))


def data(with_test=True):
    rng = np.random.default_rng(0)
    X, y = 5 + rng.normal(size=(60, 6)), np.repeat([0, 1, 2], [40, 15, 5])
    test = (X[:9], y[:9]) if with_test else (None, None)
    return Dataset(
        name="toy",
        x_train=X,
        y_train=y,
        x_test=test[0],
        y_test=test[1],
        shape=(6,),
        class_names=tuple("abc"),
        source="here",
    )


def test_the_first_points_are_of_every_class():
    images = Images.of(data(), 0)
    for n in (3, 6, 9):
        assert np.bincount(images.first(n).y).tolist() == [n // 3] * 3
    assert sorted(images.y) == sorted(data().y_train)
    assert np.abs(images.X.mean(0)).max() < 1e-12
    assert (images.X**2).mean() == pytest.approx(1)
    few = images.components(2)
    assert few.X.shape == (60, 2)
    assert few.X_test.shape == (9, 2)


def test_points_without_a_test_set_are_parted():
    images = Images.of(data(with_test=False), 0)
    assert np.bincount(images.y).tolist() == [32, 12, 4]
    assert np.bincount(images.y_test).tolist() == [8, 3, 1]


def claim(name):
    return next(c for c in study.STUDY.claims_of("smoke") if c.id == name)


def students(**tests):
    """Rows of widths 10 and 30 at 50 and 400 points; one of width 100 that does not interpolate."""
    rows = [
        {"seed": 0, "student": "tanh", "labels": "teacher", "width": width, "points": points, "train": 1e-5, "test": test}
        for (width, points), test in zip([(10, 50), (10, 400), (30, 50), (30, 400)], [0.2, 0.02, 0.1, 0.04], strict=True)
    ]  # fmt: skip
    rows += [{**rows[1], "width": 100, "train": 0.1, "test": 9.0}, {**rows[0], "width": 100, "test": 0.1}]
    return pd.DataFrame(rows)


def test_statistics_of_students_leave_out_those_that_do_not_interpolate():
    table = students()
    assert claim("P3").measure(table) == {0: pytest.approx(0.4)}
    assert claim("P4").measure(table) == {0: pytest.approx(1.0)}
    assert claim("P5").measure(table) == {0: pytest.approx(0.04)}
    beside = table.iloc[[1]].assign(student="degree 2", test=0.06)
    assert claim("B9").measure(table, beside) == {0: pytest.approx(2.0)}
    nobody = table.assign(train=1.0)
    assert all(np.isnan(claim(name).measure(nobody)[0]) for name in ("P3", "P4", "P5"))


def test_the_statistic_of_the_peak():
    table = pd.DataFrame(
        {
            "seed": 1,
            "share": [0.5, 1.0, 4.0] * 2,
            "ridge": [1e-8] * 3 + [1.0] * 3,
            "test": [0.2, 0.6, 0.1] * 2,
        }
    )
    assert claim("B4").measure(table) == {1: pytest.approx(3.0)}
    assert np.isnan(claim("B4").measure(table[table["share"] < 4])[1])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("emschwiller2020") / "run"
    return out, tiny_run(study.AMOUNTS, TINY, study.STUDY, out)


def test_a_tiny_run_decides_every_claim(done):
    by_id = check_whole(study.STUDY, *done)
    assert all(np.isfinite(entry["mean"]) for name, entry in by_id.items() if name not in ("P5", "N5"))
    assert by_id["N2"]["verdict"] == "does not hold"
    assert by_id["N5"]["verdict"] == "does not hold"


def test_its_tables_are_those_that_the_polynomial_gives(done):
    out, _ = done
    table = pd.read_csv(out / "tables/emschwiller2020/digits/images-accuracy.csv").set_index("method")
    assert table.loc["degree 2", "monomials"] == 64 + 64 * 65 // 2
    assert table.loc["degree 2, near pixels", "monomials"] == 338
    assert table.loc["degree 1", "test"] > 0.6
    peak = pd.read_csv(out / "tables/emschwiller2020/digits/peak-points.csv")
    assert set(peak["monomials"]) == {6 + 21}


def test_other_data_need_neither_images_nor_a_test_set(tmp_path, monkeypatch):
    monkeypatch.setitem(study.AMOUNTS, "smoke", replace(TINY, points=None))
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 6)), rng.integers(0, 3, 300)
    np.savez(tmp_path / "toy.npz", x_train=X + 3 * np.eye(6)[y], y_train=y)
    request = Request(
        studies=("emschwiller2020:images",), seeds=(0,), jobs=1, data=(str(tmp_path / "toy.npz"),)
    )
    result = reproduce(request, tmp_path / "run")
    assert {outcome.status for outcome in result.outcomes} == {"done"}
    verdicts = {verdict.claim.id: verdict for verdict in result.verdicts}
    assert verdicts["B6"].verdict == "not decided"
    assert np.isfinite(verdicts["B1"].mean)
