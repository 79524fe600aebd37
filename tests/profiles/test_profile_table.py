"""The table itself: saving, printing, plotting, and subjects that yield views."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

import agop
from tests.profiles.test_network_stages import mlp


@pytest.fixture
def measured(generator):
    y = torch.arange(30) % 3
    x = torch.randn(30, 5, generator=generator, dtype=torch.float64) + 2 * torch.nn.functional.one_hot(y, 5)
    return agop.profile(mlp(5, 6, 3), x, y), x, y


def test_a_profile_comes_back_from_its_file_to_the_last_digit(measured, tmp_path):
    p, *_ = measured
    p.table.loc[0, "nc1"], p.table.loc[1, "nc1"] = 1.2345678901234567e-21, float("nan")
    p.notes.append("“odd” note\nwith two lines")
    p.save(tmp_path / "p.safetensors")
    q = agop.Profile.load(tmp_path / "p.safetensors")
    pd.testing.assert_frame_equal(q.table, p.table, check_exact=True)
    pd.testing.assert_frame_equal(q.layers, p.layers, check_exact=True)
    assert (q.subject, q.measures, q.notes) == (p.subject, p.measures, p.notes)
    assert str(q) == str(p)


def test_a_profile_without_layers_comes_back(measured, tmp_path):
    p, *_ = measured
    agop.Profile(p.table, "subject", p.measures).save(tmp_path / "p")
    assert list(agop.Profile.load(tmp_path / "p").layers) == ["layer", "name"]


@pytest.mark.parametrize("text", ["", "[]", '{"format": "other"}'])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "p").write_text(text)
    with pytest.raises(ValueError, match="path: expected a complete file with a saved profile"):
        agop.Profile.load(tmp_path / "p")


def test_the_text_names_layers_and_what_follows(measured):
    text = str(measured[0])
    assert "Profile of Sequential" in text
    for word in ("nc1", "projected", "nfa", "share_projection", "relu"):
        assert word in text


def test_the_plot_has_a_curve_per_stage_and_the_ansatz(measured):
    p, *_ = measured
    figure = p.plot().figure
    stages, ansatz = figure.axes
    assert [line.get_label() for line in stages.lines] == ["input", "projected", "output"]
    assert stages.get_yscale() == "log"
    assert list(ansatz.lines[0].get_ydata()) == pytest.approx(p.layers["nfa"].tolist())
    plt.close(figure)
    with pytest.raises(ValueError, match="measure"):
        p.plot("nc4")


def test_a_deep_rfm_and_its_views_have_one_profile(generator):
    x = torch.randn(40, 6, generator=generator)
    y = torch.arange(40) % 2
    model = agop.DeepRFMClassifier(n_layers=2, width=16, random_state=0).fit(x + y[:, None], y)
    p = agop.profile(model, x + y[:, None], y, measures=["nc1", "nfa"])
    views = list(model.views(x + y[:, None]))
    q = agop.profile(views, x, y, measures=["nc1", "nfa"])
    pd.testing.assert_frame_equal(p.table, q.table)
    pd.testing.assert_frame_equal(p.layers, q.layers)
    assert p.layers["nfa"].tolist() == pytest.approx([agop.nfa(view) for view in views])
    assert {"drop_projection", "share_projection"} <= set(p.layers)
    one = agop.profile(model, x + y[:, None], y, layers=[2])
    assert one.table["layer"].unique().tolist() == [2]
    assert "nfa" not in one.layers


def test_other_subjects_are_refused():
    with pytest.raises(TypeError, match="subject: expected a torch module, an object with views"):
        agop.profile(3, torch.ones(4, 2), [0, 1, 0, 1])
    with pytest.raises(ValueError, match="subject: expected at least one layer"):
        agop.profile([], torch.ones(4, 2), [0, 1, 0, 1])
    with pytest.raises(ValueError, match="y: expected one label per sample"):
        agop.profile([], torch.ones(4, 2))
