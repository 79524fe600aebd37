from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from agop.experiments.studies.beaglehole2024.theory import run_kernel, run_linearised, run_reach
from agop.experiments.units import DataSource, Unit
from agop.theory.linearised import limit

SOURCE = DataSource("digits", "f", n_train=80)


def unit(kind, seed=0, n_train=80, **options):
    return Unit(kind, f"theory/{kind}", seed, DataSource("digits", "f", n_train=n_train), options)


def test_linearised_tables(tmp_path):
    options = {
        "layers": 6,
        "shifts": [[0.1, 0.1], [0.1, 1.0]],
        "widths": [100, 1000],
        "wide_shifts": [0.1, 0.1],
    }
    run_linearised(unit("linearised", **options), tmp_path)
    curves, rates, wide = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("curves", "rates", "wide"))
    assert set(curves["set"]) == {"toy", "digits"}
    assert np.allclose(curves["measured"], curves["predicted"], rtol=1e-6)
    toy = rates[(rates["set"] == "toy") & (rates["lambda_phi"] == 0.1)]
    Y = torch.eye(4, dtype=torch.float64).repeat_interleave(25, 0)
    assert float(toy["closed_form"].iloc[0]) == pytest.approx(limit(Y, 0.1, 0.1).nc1_factor, rel=1e-12)
    assert float(toy["measured"].iloc[0]) == pytest.approx(float(toy["closed_form"].iloc[0]), rel=0.01)
    errors = wide[wide["layer"] > 1].groupby("width")["error"].median()
    assert errors[1000] < 0.5 * errors[100]
    other = tmp_path / "other"
    other.mkdir()
    run_linearised(unit("linearised", seed=1, **options), other)
    assert not pd.read_csv(other / "curves.csv").equals(curves)


def test_reach_starts_from_what_is_measured(tmp_path):
    run_reach(unit("reach", layers=3, width=32, bandwidth=2.0, ridge=1e-3), tmp_path)
    curves, shifts = pd.read_csv(tmp_path / "curves.csv"), pd.read_csv(tmp_path / "shifts.csv")
    assert len(curves) == len(shifts) == 3
    assert curves["step"][0] == pytest.approx(
        curves["rollout"][0], rel=1e-9
    )  # the first layer is the same for both
    assert (
        ((curves[["measured", "step", "rollout"]] > 0) & np.isfinite(curves[["measured", "step", "rollout"]]))
        .to_numpy()
        .all()
    )
    assert (shifts[["lambda_k", "lambda_phi", "kernel_offset"]] >= 0).to_numpy().all()
    assert shifts["kernel_r2"].between(0, 1).all()


def test_kernels_of_data_end_at_the_collapsed_ones(tmp_path):
    run_kernel(unit("kernel", n_train=300, per_class=2, mu=0.5, bandwidth=2.0, max_steps=500), tmp_path)
    path = pd.read_csv(tmp_path / "path.csv")
    for classes, rows in path.groupby("classes"):
        assert rows["distance"].iloc[0] > 0.5, classes
        assert rows["distance"].iloc[-1] < 0.01, classes
        assert (np.diff(rows["value"]) <= 0).all()
        assert (rows["gap"] > -1e-12).all()
        assert rows["distance_permuted"].iloc[-1] > 0.1
    with np.load(tmp_path / "kernels.npz") as arrays:
        counts = np.bincount(arrays["imbalanced/labels"])
        assert counts[0] == 4
        assert counts[-1] == 1
        assert np.allclose(np.diag(arrays["balanced/start"]), 1)
