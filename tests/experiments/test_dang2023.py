from __future__ import annotations

import math

import pytest
import torch

from agop import deep_linear_collapse
from agop.experiments.claims import FAILS, HOLDS
from agop.experiments.reproduce import Request, reproduce
from agop.experiments.studies import dang2023, dang2023_heads, dang2023_work
from agop.experiments.studies.dang2023 import FOLD, STUDY
from agop.experiments.tables import read_table
from agop.experiments.units import DataSource, Unit
from agop.networks.unconstrained_features import train_unconstrained_features
from agop.report.reproduction import write_reproduction


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The smoke size with smaller counts."""
    small = {name: dict(case) for name, case in dang2023.CASES.items()}
    for name, counts in (
        ("imbalanced", [12, 6, 3, 3]), ("balanced", [5] * 4), ("bias", [5] * 4), ("narrow", [12, 6, 3, 2]),
    ):  # fmt: skip
        small[name]["counts"] = counts
    out = tmp_path_factory.mktemp("dang") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dang2023, "CASES", small)
        return out, reproduce(Request(studies=("dang2023",), seeds=(0,), jobs=1), out)


@pytest.mark.slow
def test_every_claim_of_the_paper_holds_and_no_control_does(done):
    _, result = done
    assert {outcome.status for outcome in result.outcomes} == {"done"}
    verdicts = {v.claim.id: v for v in result.verdicts}
    assert set(verdicts) == {claim.id for claim in STUDY.claims_of("smoke")}
    for name, verdict in verdicts.items():
        if verdict.claim.group == "paper":
            assert verdict.verdict == HOLDS, (name, verdict.values)
        elif verdict.claim.group == "control":
            assert verdict.verdict == FAILS, (name, verdict.values)


@pytest.mark.slow
def test_figures_are_drawn(done):
    out, _ = done
    write_reproduction(out)
    stems = {path.stem for path in out.glob("figures/dang2023/free-features/*.svg")}
    assert stems == {"singular-values", "by-class", "threshold"}


@pytest.mark.slow
def test_a_table_that_lacks_a_number_of_layers_decides_nothing(done):
    import pandas as pd

    table = pd.DataFrame({"seed": [0, 0], "layers": [1, 2], "weight_gram": [0.0, 0.0]})
    (claim,) = (claim for claim in STUDY.claims_of("smoke") if claim.id == "C1")
    assert math.isnan(claim.measure(table)[0])


@pytest.mark.parametrize("M", [1, 2, 3])
def test_decay_of_gives_the_beta_of_the_last_class(M):
    counts = [9, 5, 2]
    decay = dang2023_work.decay_of(0.3, counts, M)
    theory = deep_linear_collapse(counts, n_layers=M, weight_decay=decay, feature_decay=decay)
    assert float(theory.beta[-1]) == pytest.approx(0.3, rel=1e-12)


@pytest.mark.parametrize("M", [1, 2, 3])
def test_least_loss_is_that_of_a_trained_model_and_of_nothing(M):
    counts = [9, 5, 2]
    theory = deep_linear_collapse(counts, n_layers=M, weight_decay=1e-3, feature_decay=1e-3)
    fit = train_unconstrained_features(
        counts, n_layers=M, width=4, weight_decay=1e-3, feature_decay=1e-3, tolerance=1e-9
    )
    assert dang2023_work.least_loss(theory) == pytest.approx(fit.loss, rel=1e-9)
    nothing = deep_linear_collapse(counts, n_layers=M, weight_decay=9.0, feature_decay=9.0)
    assert dang2023_work.least_loss(nothing) == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("M", [2, 3])
def test_largest_root_is_the_closed_forms_below_the_threshold(M):
    counts = [9, 5, 2]
    decay = dang2023_work.decay_of(0.2, counts, M)
    theory = deep_linear_collapse(counts, n_layers=M, weight_decay=decay, feature_decay=decay)
    root = dang2023_work.largest_root(0.2, M)
    assert root**M * 16 * decay == pytest.approx(float(theory.weight_gram[-1, -1]), rel=1e-9)
    assert dang2023_work.largest_root(5.0, M) == 0


def test_heads_of_real_points_are_compared_with_every_frame(tmp_path):
    """A few steps of a narrow network."""
    options = {
        "counts": [8, 4, 2],
        "other_counts": [5, 5, 4],
        "layers": [1, 2],
        "width": 4,
        "decay": 1e-3,
        "steps": 3,
    }
    unit = Unit("heads", "head/tiny", 0, DataSource("digits", "abc"), options)
    assert dang2023_heads.run_heads(unit, tmp_path) == []
    heads, classes = read_table(tmp_path / "heads.csv"), read_table(tmp_path / "classes.csv")
    assert heads["layers"].tolist() == [1, 2]
    distances = heads.filter(regex="nc[23]_")
    assert distances.shape[1] == 12
    assert ((distances > 0) & (distances <= 2)).all(axis=None)
    theory = deep_linear_collapse([8, 4, 2], n_layers=2, weight_decay=1e-3, feature_decay=1e-3)
    assert classes["predicted"].tolist()[3:] == pytest.approx(theory.weight_gram.diagonal().tolist())
    with pytest.raises(ValueError, match="points of class 1"):
        dang2023_heads.points(DataSource("digits", "abc"), 0, [2, 10_000])


def test_claims_about_real_points_are_of_sizes_that_have_them():
    small, smoke = ({claim.id for claim in STUDY.claims_of(size)} for size in ("small", "smoke"))
    assert small - smoke == {"C10", "C11", "C12", "B5", "N7", "N8"}
    units = STUDY.units_of("small", 0, DataSource("digits", "abc"))
    tables = {
        f"{unit.table}/{name}" for unit in units for name in ("errors", "classes", "beside", "sweep", "heads")
    }
    assert {name for claim in STUDY.claims_of("small") for name in claim.tables} <= tables


def test_fold_is_where_two_layers_lose_their_second_minimum():
    x = torch.linspace(0, 3, 300_001, dtype=torch.float64)
    assert float((2 * x / (x**2 + 1) ** 2).max()) == pytest.approx(FOLD, rel=1e-9)
    assert dang2023_work.largest_root(FOLD * 0.999, 2) > 0 == dang2023_work.largest_root(FOLD * 1.001, 2)
