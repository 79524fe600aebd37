from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import agop
from agop.evidence import Evidence, Need
from agop.probe import Curve
from agop.probes import chunks
from agop.probes.redundancy_probes import REDUNDANCY, REDUNDANCY_LINEAR
from tests.oracles import redundancy as oracle
from tests.tolerances import IDENTITY, ITERATIVE, SINGLE

INVALID = (ValueError, TypeError)


def layer(n=80, units=9, classes=3, seed=0):
    """Correlated features with class means, a classifier, a bias, labels."""
    g = torch.Generator().manual_seed(seed)
    y = torch.cat([torch.arange(classes), torch.randint(classes, (n - classes,), generator=g)])
    mixing = torch.randn(units, units, generator=g, dtype=torch.float64)
    means = torch.randn(classes, units, generator=g, dtype=torch.float64)
    Z = torch.randn(n, units, generator=g, dtype=torch.float64) @ mixing + 2 * means[y]
    bias = torch.randn(classes, generator=g, dtype=torch.float64)
    return Z, means.contiguous(), bias, y


def widened(Z, weight, times):
    return Z.repeat(1, times), weight.repeat(1, times)


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("class_means", ["keep", "remove"])
@pytest.mark.parametrize("definition", ["scaled", "released"])
def test_every_draw_is_that_of_the_loops(definition, class_means, held_out):
    Z, weight, bias, y = layer()
    found = agop.redundancy(
        Z, weight, bias, y, [1, 3, 8], 4, 5, class_means=class_means, held_out=held_out, definition=definition
    )
    groups = y if class_means == "remove" else torch.zeros_like(y)
    fit, score = chunks.halves(groups, 5) if held_out else (torch.arange(len(y)),) * 2
    fit, score, labels = fit.numpy(), score.numpy(), y.numpy()
    rows = oracle.less_class_means(Z.numpy(), groups.numpy(), fit)
    if definition == "scaled":
        rows = rows / np.sqrt((rows[fit] ** 2).mean())
    # residuals of the chunk's own units are about 1e-10, of which float64 keeps six digits
    tolerance = ITERATIVE if definition == "released" else IDENTITY
    for row, width in enumerate(found.widths):
        for draw, chosen in enumerate(chunks.drawn(9, width, 4, 5).numpy()):
            left, r2 = oracle.residuals(rows, chosen, fit, score)
            among = range(9) if definition == "released" else sorted(set(range(9)) - set(chosen.tolist()))
            expected = oracle.accuracy(Z.numpy(), weight.numpy(), bias.numpy(), labels, chosen)
            assert found.accuracy[row, draw] == expected
            assert float(found.r2[row, draw]) == pytest.approx(r2, abs=IDENTITY)
            if len(among) > 1:
                correlation = oracle.mean_correlation(left, among)
                assert float(found.residual_correlation[row, draw]) == pytest.approx(
                    correlation, abs=tolerance
                )
            else:
                assert math.isnan(found.residual_correlation[row, draw])


def test_all_units_are_the_layer_itself():
    Z, weight, bias, y = layer()
    found = agop.redundancy(Z, weight, bias, y)
    assert found.widths == (1, 2, 4, 9)
    assert found.full_accuracy == float(((Z @ weight.T + bias).argmax(1) == y).double().mean())
    assert found.accuracy[-1].tolist() == [found.full_accuracy] * 40
    assert float(found.r2[-1].min()) == pytest.approx(1, abs=IDENTITY)
    assert math.isnan(found.residual_correlation[-1, 0])


def test_clones_are_explained_by_one_of_each():
    """Six units, each five times: a chunk with one of each leaves nothing, one without unit j leaves what j has alone."""
    Z, weight, bias, y = layer(n=300, units=6)
    wide, head = widened(Z, weight, 5)
    found = agop.redundancy(wide, head, bias, y, [6, 29, 30], 60)
    for row, width in enumerate(found.widths[:2]):
        for draw, chosen in enumerate(chunks.drawn(30, width, 60, 0)):
            if len((chosen % 6).unique()) == 6:
                assert float(found.r2[row, draw]) == pytest.approx(1, abs=IDENTITY)
                assert not float(found.residual_correlation[row, draw]) > 1e-6
            else:
                assert float(found.r2[row, draw]) < 1 - 1e-4
    assert found.critical_width(1 - 1e-9) == 29
    # clones scaled as the classifier needs them decide as the original once each is there equally often
    assert found.full_accuracy == agop.redundancy(Z, 5 * weight, bias, y, [6]).full_accuracy


def test_independent_units_share_out_the_variance():
    """E R² = w/W + (1 − w/W) w/(n − 1) in sample, and residuals are as correlated as independent ones, √(2/(π(n − 1 − w)))."""
    n, units = 800, 40
    Z = torch.randn(n, units, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = agop.redundancy(Z, Z[:2], None, torch.arange(n) % 2, [4, 10, 20], 40)
    for width, value, spread in zip(*(vars(found.curve("r2"))[key] for key in ("x", "value", "spread"))):
        expected = width / units + (1 - width / units) * width / (n - 1)
        assert value == pytest.approx(expected, abs=4 * spread / 40**0.5 + 2e-3)
    expected = [math.sqrt(2 / math.pi / (n - 1 - width)) for width in found.widths]
    assert found.curve("residual_correlation").value == pytest.approx(expected, rel=0.1)


def test_two_units_by_hand():
    """Correlation ρ: one unit explains (1 + ρ²)/2 of both."""
    a = torch.tensor([1.0, 1, -1, -1], dtype=torch.float64)
    b = torch.tensor([1.0, -1, 1, -1], dtype=torch.float64)
    Z = torch.stack([a, 0.6 * a + 0.8 * b], 1)
    found = agop.redundancy(Z, torch.eye(2, dtype=torch.float64), None, torch.tensor([1, 0, 1, 0]), [1], 3)
    assert found.r2[0].tolist() == pytest.approx([0.68] * 3, abs=1e-8)
    assert math.isnan(found.residual_correlation[0, 0])


def test_means_alone_are_collapse_and_not_clones():
    """Features that differ by class only: explained by C − 1 units, and nothing is left once the means are gone."""
    _, weight, bias, y = layer(units=20)
    Z = weight[y]
    assert agop.redundancy(Z, weight, bias, y, [2]).critical_width() == 2
    removed = agop.redundancy(Z, weight, bias, y, [2], class_means="remove")
    assert torch.isnan(removed.r2).all()
    assert "do not vary within classes" in removed.critical_width().undefined_because
    # a little independent noise in every unit: clones of the means by the first, not by the second
    g = torch.Generator().manual_seed(1)
    noisy = Z + 0.05 * torch.randn(Z.shape, generator=g, dtype=torch.float64)
    kept, within = (
        agop.redundancy(noisy, weight, bias, y, [8, 20], class_means=c) for c in ("keep", "remove")
    )
    assert kept.critical_width() == 8
    assert within.critical_width() == 20


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), scale=st.sampled_from([1e-150, 1e-6, 1.0, 1e150]))
def test_order_scale_shift_and_names_of_units(seed, scale):
    Z, weight, bias, y = layer(seed=seed)
    g = torch.Generator().manual_seed(seed)
    expected = agop.redundancy(Z, weight, bias, y, [2, 5], 3, class_means="remove")
    order = torch.randperm(len(y), generator=g)
    shuffled = agop.redundancy(Z[order], weight, bias, y[order], [2, 5], 3, class_means="remove")
    scaled = agop.redundancy(scale * Z, weight / scale, bias, y, [2, 5], 3, class_means="remove")
    shifted = agop.redundancy(Z + 1e3, weight, bias - 1e3 * weight.sum(1), y, [2, 5], 3, class_means="remove")
    for other in (shuffled, scaled, shifted):
        assert torch.allclose(other.r2, expected.r2, rtol=0, atol=1e-9)
        assert torch.allclose(other.residual_correlation, expected.residual_correlation, rtol=0, atol=1e-7)
    assert torch.equal(shuffled.accuracy, expected.accuracy)
    assert torch.allclose(scaled.accuracy, expected.accuracy, atol=0.03)
    # other names of the units: the chunks with the same units under their new names
    names = torch.randperm(9, generator=g)
    readout, renamed = (chunks.Readout(Z[:, p].T, weight[:, p], bias, y) for p in (torch.arange(9), names))
    chosen = torch.tensor([1, 4, 6])
    assert renamed.accuracy(chosen) == readout.accuracy(names[chosen])


def test_a_shift_changes_what_a_chunk_decides():
    """The bias stays: a part of the units carries a part of the shift only."""
    Z, weight, bias, y = layer()
    a = agop.redundancy(Z, weight, bias, y, [4], 5)
    b = agop.redundancy(Z + 1e3, weight, bias - 1e3 * weight.sum(1), y, [4], 5)
    assert a.full_accuracy == b.full_accuracy
    assert not torch.equal(a.accuracy, b.accuracy)


def test_draws_depend_on_the_seed_and_the_width_only():
    arguments = layer()
    state = torch.random.get_rng_state()
    alone, among = agop.redundancy(*arguments, [4]), agop.redundancy(*arguments, [1, 4, 9])
    assert torch.equal(alone.r2[0], among.r2[1])
    assert not torch.equal(alone.r2, agop.redundancy(*arguments, [4], random_state=1).r2)
    given = [agop.redundancy(*arguments, [4], random_state=torch.Generator().manual_seed(2)) for _ in "ab"]
    assert torch.equal(given[0].r2, given[1].r2)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_dead_units_are_dropped_and_told():
    Z, weight, bias, y = layer()
    dead = torch.zeros(len(y), 2, dtype=torch.float64)
    constant = dead[:, :1] + 0.3
    wide = torch.cat([dead[:, :1], Z, constant, dead], 1)
    extra = torch.ones(3, 1, dtype=torch.float64) * torch.tensor([[4.0], [0.0], [0.0]])
    head = torch.cat([extra, weight, extra, extra, extra], 1)
    found = agop.redundancy(wide, head, bias, y, [4, 9])
    assert found.dead == (0, 10, 11, 12)
    assert found.live == 9
    moved = bias + torch.tensor([1.2, 0, 0], dtype=torch.float64)
    plain = agop.redundancy(Z, weight, moved, y, [4, 9])
    assert torch.equal(found.accuracy, plain.accuracy)
    assert torch.allclose(found.r2, plain.r2, rtol=0, atol=IDENTITY)
    assert found.full_accuracy == plain.full_accuracy


def test_single_precision_and_the_inputs_stay():
    Z, weight, bias, y = layer()
    kept = Z.clone()
    expected = agop.redundancy(Z, weight, bias, y)
    assert torch.equal(Z, kept)
    single = agop.redundancy(Z.float(), weight.float(), bias.float(), y.int())
    assert torch.allclose(single.r2, expected.r2, atol=SINGLE)


def test_the_critical_width_is_the_least_that_reaches_and_says_why_there_is_none():
    Z, weight, bias, y = layer(n=300)
    found = agop.redundancy(Z, weight, bias, y, class_means="remove")
    r2 = found.curve("r2").value
    assert found.critical_width(r2[1] - 1e-9) == 2
    assert found.critical_width().details["widths"] == [1, 2, 4, 9]
    assert "class means removed" in found.critical_width().definition
    few = agop.redundancy(Z, weight, bias, y, [1, 2])
    assert "no measured width reaches" in few.critical_width().undefined_because
    assert few.accuracy_width(1e-6) == 1
    assert agop.redundancy(Z, 0 * weight, None, y * 0 + 1).accuracy_width().undefined_because
    # eight samples: seven units explain any features
    noise = torch.randn(8, 12, generator=torch.Generator().manual_seed(0))
    trivial = agop.redundancy(noise, noise[:2], None, torch.arange(8) % 2, [7])
    assert "whatever they are" in trivial.critical_width().undefined_because
    honest = agop.redundancy(
        torch.randn(16, 12, generator=torch.Generator().manual_seed(0)), noise[:2], None,
        torch.arange(16) % 2, [7, 9], held_out=True,
    )  # fmt: skip
    assert float(honest.r2.max()) < 0.9


def test_the_table_has_a_row_a_width():
    found = agop.redundancy(*layer(), widths=[4, 1], draws=1)
    table = found.to_frame()
    assert list(table.columns) == [
        "width", "accuracy", "accuracy_spread", "r2", "r2_spread",
        "residual_correlation", "residual_correlation_spread", "draws",
    ]  # fmt: skip
    assert table["width"].tolist() == [1, 4]
    assert table["r2_spread"].isna().all()
    with pytest.raises(ValueError, match="of: expected one of"):
        found.curve("error")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"widths": [0]}, "widths"),
        ({"widths": []}, "widths: expected numbers from 1 to 9"),
        ({"widths": [10]}, "widths: expected numbers from 1 to 9, the units that vary, got 10"),
        ({"widths": [1.5]}, "widths"),
        ({"widths": "12"}, "widths"),
        ({"draws": 0}, "draws"),
        ({"random_state": -1}, "random_state"),
        ({"class_means": "drop"}, "class_means"),
        ({"definition": "paper"}, "definition"),
        ({"held_out": 2}, "held_out"),
        ({"weight": torch.zeros(3, 8)}, r"weight: expected shape \(C, 9\)"),
        ({"weight": torch.zeros(1, 9)}, "weight: .*two classes"),
        ({"bias": torch.zeros(4)}, r"bias: expected shape \(3,\)"),
        ({"y": torch.arange(80)}, "y: expected integers 0..2"),
        ({"y": torch.zeros(79, dtype=torch.long)}, "as many rows as Z"),
        ({"y": torch.zeros(80)}, "y: |type"),
        ({"Z": torch.full((80, 9), math.nan)}, "Z: expected finite values"),
        ({"weight": torch.full((3, 9), 1e308, dtype=torch.float64)}, "weight: expected logits in the range"),
        ({"weight": torch.full((3, 9), math.inf)}, "weight: expected finite values"),
        ({"Z": torch.ones(80, 9)}, "Z: expected at least one unit that varies over the samples, got 80 equal rows"),
        ({"Z": torch.ones(1, 9), "y": torch.zeros(1, dtype=torch.long)}, "Z: expected at least two samples, got 1"),
        ({"Z": torch.ones(0, 9), "y": torch.zeros(0, dtype=torch.long)}, "Z: expected at least two samples, got 0"),
        ({"Z": torch.ones(80, 0), "weight": torch.ones(3, 0)}, "at least one unit"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(change, says):
    arguments = dict(zip(("Z", "weight", "bias", "y"), layer())) | change
    with pytest.raises(INVALID, match=says):
        agop.redundancy(**arguments)


def test_one_class_is_a_value():
    Z, weight, bias, y = layer()
    found = agop.redundancy(Z, weight, bias, y * 0, class_means="remove")
    assert torch.isfinite(found.accuracy).all()
    assert torch.allclose(found.r2, agop.redundancy(Z, weight, bias, y * 0).r2, atol=IDENTITY)


def stage(**given):
    there = {Need(kind): value for kind, value in given.items() if value is not None}
    return Evidence(name="input", level="stage", given=there)


def mixed():
    """Ten units, six of which mix the other four, and a classifier on them."""
    g = torch.Generator().manual_seed(0)
    Z, _, bias, y = layer(units=4)
    wide = torch.cat([Z, Z @ torch.randn(4, 6, generator=g, dtype=torch.float64)], 1)
    return stage(rows=wide, labels=y, weight=torch.eye(3, 10, dtype=torch.float64), bias=bias)


@pytest.mark.parametrize("probe", [REDUNDANCY, REDUNDANCY_LINEAR], ids=lambda probe: probe.name)
def test_the_probes_give_what_they_declare(probe):
    evidence = mixed()
    results = probe.results(evidence)
    assert tuple(results) == probe.columns
    assert results[probe.columns[0]] == 5  # of 1, 2, 5, 10: the least above four
    curves = [results[column] for column in probe.columns[2:]]
    assert all(
        isinstance(curve, Curve) and np.isfinite([*curve.value, *curve.spread]).all() for curve in curves
    )
    assert [list(curve.x) for curve in curves] == [[1, 2, 5, 10]] * 2 + [[1, 2, 5], [1, 2, 5, 10], [1, 2, 5]]
    kept = agop.redundancy(evidence.rows, evidence.weight, evidence.bias, evidence.labels)
    assert results[probe.columns[3]].value == kept.curve("r2").value
    fewer = probe.with_(widths=[3], draws=2).results(evidence)
    assert fewer[probe.columns[3]].x == [3]


@pytest.mark.parametrize("probe", [REDUNDANCY, REDUNDANCY_LINEAR], ids=lambda probe: probe.name)
def test_the_probes_say_why_there_is_nothing(probe):
    Z, weight, bias, y = layer()
    for rows, labels, says in [
        (Z[:0], y[:0], "no samples"),
        (Z[:1], y[:1], "1 samples"),
        (torch.ones_like(Z), y, "no unit varies"),
    ]:
        found = probe.results(stage(rows=rows, labels=labels, weight=weight, bias=bias))
        assert all(says in value.undefined_because for value in found.values())
    collapsed = probe.results(stage(rows=weight[y], labels=y, weight=weight))
    assert "do not vary within classes" in collapsed[probe.columns[0]].undefined_because
    assert "do not vary within classes" in collapsed[probe.columns[-1]].undefined_because
    assert isinstance(collapsed[probe.columns[3]], Curve)


def test_a_head_without_bias_is_one_with_zeros():
    Z, weight, bias, y = layer()
    without = REDUNDANCY.results(stage(rows=Z, labels=y, weight=weight))
    zeros = REDUNDANCY.results(stage(rows=Z, labels=y, weight=weight, bias=0 * bias))
    assert without["chunk_accuracy"].value == zeros["chunk_accuracy"].value


def test_a_linear_probe_reads_a_stage_without_a_classifier():
    Z, _, _, y = layer(n=400)
    evidence = stage(rows=Z.float(), labels=2 * y.int())
    assert not REDUNDANCY.applies(evidence)
    assert REDUNDANCY_LINEAR.applies(evidence)
    found = REDUNDANCY_LINEAR.results(evidence)
    assert found["linear_chunk_accuracy"].value[-1] > 0.8
    assert "least squares" in found["linear_critical_width"].details["head"]
    two = REDUNDANCY_LINEAR.results(stage(rows=Z, labels=(y > 0).long()))
    assert two["linear_chunk_accuracy"].value[-1] > 0.8
    one = REDUNDANCY_LINEAR.results(stage(rows=Z, labels=y * 0))
    assert "only one class" in one["linear_critical_width"].undefined_because


@pytest.mark.slow
def test_512_units_are_quick():
    """2,000 samples, 8 widths × 40 draws: 5 s on one core of 2024; 30 are allowed."""
    g = torch.Generator().manual_seed(0)
    Z, weight = torch.randn(2000, 512, generator=g), torch.randn(10, 512, generator=g)
    began = time.monotonic()
    agop.redundancy(Z, weight, None, torch.arange(2000) % 10, [2**i for i in range(1, 9)])
    assert time.monotonic() - began < 30
