"""The stages of a network's layers against the slow way: every tensor kept, every patch unfolded, W decomposed."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import agop
from agop.gradients.ansatz import nfa_of_weight
from agop.probes.drops import share_of_fall
from agop.profiles import pooling
from agop.profiles.projection import split
from tests.oracles import profiles as slow
from tests.tolerances import IDENTITY, MERGE, SINGLE


@pytest.fixture
def points(generator):
    x = torch.randn(60, 7, generator=generator, dtype=torch.float64)
    y = torch.arange(60) % 3
    return x + 2 * torch.nn.functional.one_hot(y, 7), y


@pytest.fixture
def images(generator):
    x = torch.randn(24, 4, 9, 8, generator=generator, dtype=torch.float64)
    y = torch.arange(24) % 3
    return x + y[:, None, None, None] * torch.linspace(0, 1, 8, dtype=torch.float64), y


def mlp(*widths, bias=True, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts = []
        for a, b in itertools.pairwise(widths):
            parts += [nn.Linear(a, b, bias=bias), nn.ReLU()]
    return nn.Sequential(*parts[:-1]).double()


def value(p, layer, stage, measure):
    rows = p.table[(p.table["layer"] == layer) & (p.table["stage"] == stage)]
    assert len(rows) == 1
    return float(rows[measure].iloc[0])


@pytest.mark.parametrize("widths", [(7, 5, 9, 3), (7, 20, 4, 3)], ids=["narrow", "wide"])
def test_an_mlp_has_the_stages_of_its_decomposed_weights(points, widths):
    x, y = points
    net = mlp(*widths)
    p = agop.profile(net, x, y, measures=["nc1", "nc2", "nc2_orthogonal"])
    h = x
    for layer, part in enumerate(net[::2], start=1):
        _, projected = slow.linear_stages(h, part.weight)
        output = part(h) if layer == 3 else torch.relu(part(h))
        for stage, features in (("input", h), ("projected", projected), ("output", output)):
            features = features.detach()
            assert value(p, layer, stage, "nc1") == pytest.approx(slow.nc1(features, y), rel=IDENTITY)
            assert value(p, layer, stage, "nc2") == pytest.approx(slow.nc2(features, y), rel=1e-9)
            expected = agop.collapse_report(features, y, measures=["nc2_orthogonal"])["nc2_orthogonal"]
            assert value(p, layer, stage, "nc2_orthogonal") == pytest.approx(float(expected), rel=1e-9)
        h = output


CONVOLUTIONS = {
    "padded": lambda: nn.Conv2d(4, 6, 3, padding=1),
    "strided": lambda: nn.Conv2d(4, 6, 3, stride=2, padding=(1, 2)),
    "dilated": lambda: nn.Conv2d(4, 6, (3, 2), dilation=2, padding=2),
    "pointwise": lambda: nn.Conv2d(4, 50, 1, stride=2, bias=False),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("pool", ["mean", "none", "flatten"])
def test_a_convolution_has_the_stages_of_its_patches(images, name, pool):
    x, y = images
    with torch.random.fork_rng():
        torch.manual_seed(1)
        conv = CONVOLUTIONS[name]().double()
    p = agop.profile(agop.Network(nn.Sequential(conv, nn.Tanh()), pool=pool), x, y, measures=["nc1"])

    patches = slow.patches(x, conv)
    _, projected = slow.linear_stages(patches, conv.weight.flatten(1))
    output = torch.tanh(conv(x)).flatten(2).transpose(1, 2)
    stages = {"input": patches, "projected": projected, "output": output}
    for stage, features in stages.items():
        rows, labels = features.detach(), y
        if pool == "mean":
            rows = rows.mean(1)
        elif pool == "none":
            rows, labels = rows.flatten(0, 1), y.repeat_interleave(rows.shape[1])
        else:
            rows = x.flatten(1) if stage == "input" else rows.flatten(1)
        assert value(p, 1, stage, "nc1") == pytest.approx(slow.nc1(rows, labels), rel=1e-9)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv1d(4, 6, 3, padding="same", dilation=2),
        nn.Conv2d(4, 6, 3, padding="valid", groups=2),
        nn.Conv2d(4, 6, 3, padding=2, padding_mode="circular", stride=2),
        nn.Conv2d(4, 6, (2, 3), padding="same", padding_mode="reflect"),
        nn.Conv3d(4, 6, 2, padding=1, stride=(1, 2, 1)),
    ],
    ids=["same", "groups", "circular", "reflect", "volume"],
)
def test_the_mean_patch_times_the_weight_is_the_mean_output(conv, generator):
    conv = conv.double()
    x = torch.randn(3, 4, *[8, 7, 6][: len(conv.kernel_size)], generator=generator, dtype=torch.float64)
    y = (conv(x) - conv.bias.reshape(-1, *[1] * len(conv.kernel_size))).flatten(2)
    mean = pooling.mean_patch(x, conv)
    weight = conv.weight.flatten(1).unflatten(0, (conv.groups, -1))
    grouped = mean.reshape(3, len(weight), -1)
    torch.testing.assert_close(torch.einsum("ngd,gkd->ngk", grouped, weight).flatten(1), y.mean(2))
    rows = pooling.patches(x, conv)
    torch.testing.assert_close(rows.reshape(3, -1, rows.shape[1]).mean(1), mean)


def test_a_loader_gives_the_numbers_of_the_tensor_whatever_its_batches(points):
    x, y = points
    net = mlp(7, 8, 3)
    whole = agop.profile(net, x, y)
    for size in (1, 7, 60):
        p = agop.profile(net, DataLoader(TensorDataset(x, y), batch_size=size))
        for measure in ("nc1", "nc2"):
            torch.testing.assert_close(
                torch.tensor(p.table[measure]), torch.tensor(whole.table[measure]), rtol=100 * MERGE, atol=0
            )
        torch.testing.assert_close(torch.tensor(p.layers["nfa"]), torch.tensor(whole.layers["nfa"]))


def test_a_generator_is_read_once(points):
    x, y = points
    net = mlp(7, 8, 3)
    once = ((x[i : i + 20], y[i : i + 20]) for i in range(0, 60, 20))
    p = agop.profile(net, once)
    assert p.table.equals(agop.profile(net, x, y, batch_size=20).table)


def test_a_loader_without_labels_takes_those_given(points):
    x, y = points
    net = mlp(7, 8, 3)
    loader = [x[:25], x[25:]]
    p = agop.profile(net, loader, [f"class {label}" for label in y.tolist()])
    assert p.table["nc1"].tolist() == pytest.approx(agop.profile(net, x, y).table["nc1"].tolist(), rel=1e-9)


def test_nc3_is_that_of_the_classifier_and_of_no_other_layer(points):
    x, y = points
    net = mlp(7, 8, 8, 3)
    p = agop.profile(net, x, y)
    h = torch.relu(net[2](torch.relu(net[0](x)))).detach()
    expected = agop.nc3(agop.ClassMoments.of(h, y), net[4].weight)
    assert value(p, 3, "input", "nc3") == pytest.approx(float(expected), rel=IDENTITY)
    u, projected = slow.linear_stages(h, net[4].weight.detach())
    expected = agop.nc3(agop.ClassMoments.of(projected, y), u)
    assert value(p, 3, "projected", "nc3") == pytest.approx(float(expected), rel=IDENTITY)
    assert p.table["nc3"].notna().sum() == 2


def test_nc3_takes_the_rows_of_the_labels_that_there_are(points):
    x, y = points
    net = mlp(7, 8, 5)
    p = agop.profile(net, x, 2 * y.numpy())
    h = torch.relu(net[0](x)).detach()
    expected = agop.nc3(agop.ClassMoments.of(h, y), net[2].weight[[0, 2, 4]])
    assert value(p, 2, "input", "nc3") == pytest.approx(float(expected), rel=IDENTITY)


def test_nfa_is_that_of_the_layer_agops(points, images):
    x, y = points
    net = mlp(7, 20, 4, 3)
    p = agop.profile(net, x, y, measures=[agop.PROBES["nfa"].with_(power=0.7)])
    agops = agop.layer_agops(net, x)
    expected = [agop.nfa(agop.nfm(net.get_submodule(n)), agops[n], power=0.7) for n in p.layers["name"]]
    assert p.layers["nfa"].tolist() == pytest.approx(expected, abs=1e-9)

    x, y = images
    with torch.random.fork_rng():
        torch.manual_seed(2)
        cnn = nn.Sequential(
            nn.Conv2d(4, 6, 3, groups=2),
            nn.ReLU(),
            nn.Conv2d(6, 9, 2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(270, 3),
        ).double()
    p = agop.profile(cnn, x, y)
    agops = agop.layer_agops(cnn, x)
    expected = [agop.nfa(agop.nfm(cnn.get_submodule(n)), agops[n]) for n in p.layers["name"]]
    assert p.layers["nfa"].tolist() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("k", "d"), [(3, 11), (11, 3), (5, 5)])
def test_the_nfa_in_the_row_space_is_the_nfa(generator, k, d):
    weight = torch.randn(k, d, generator=generator, dtype=torch.float64)
    delta = torch.randn(k, k, generator=generator, dtype=torch.float64)
    gradients = weight.T @ (delta @ delta.T) @ weight
    assert nfa_of_weight(weight, gradients, power=0.5) == pytest.approx(
        agop.nfa(weight.T @ weight, gradients), abs=1e-9
    )
    assert nfa_of_weight(weight, weight.T @ weight, power=1.0) == pytest.approx(1.0, abs=1e-9)


def test_the_nfa_of_a_zero_layer_is_undefined():
    assert nfa_of_weight(torch.zeros(2, 5), torch.zeros(5, 5)) != nfa_of_weight(
        torch.zeros(2, 5), torch.zeros(5, 5)
    )


def test_the_split_recomposes_the_layer(generator):
    for shape in ((4, 9), (9, 4)):
        weight = torch.randn(*shape, generator=generator)
        u, right = split(weight)
        torch.testing.assert_close(u @ right, weight, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(u.T @ u, torch.eye(4), atol=SINGLE, rtol=0)


def test_drops_are_those_of_log_nc1_and_telescope(points):
    x, y = points
    p = agop.profile(mlp(7, 8, 8, 3), x, y)
    wide = p.table.pivot(index="layer", columns="stage", values="nc1")
    for _, row in p.layers.iterrows():
        stages = wide.loc[row["layer"]]
        expected = torch.log10(
            torch.tensor([stages["input"] / stages["projected"], stages["projected"] / stages["output"]])
        )
        assert [row["drop_projection"], row["drop_nonlinearity"]] == pytest.approx(
            expected.tolist(), abs=1e-6
        )
        total = float(expected.sum())
        if total >= max(0.02, 0.1 * float(expected.abs().sum())):
            assert row["share_projection"] == pytest.approx(float(expected[0]) / total, abs=1e-5)
        else:
            assert row["share_projection"] != row["share_projection"]
    total = (p.layers["drop_projection"] + p.layers["drop_nonlinearity"]).sum()
    ends = wide["input"].iloc[0] / wide["output"].iloc[-1]
    assert 10**total == pytest.approx(ends, rel=1e-9)
    share = p.layers["drop_projection"].sum() / total
    assert (p.drop_share() == pytest.approx(share)) if total > 0.1 else True


@pytest.mark.parametrize(
    ("projection", "rest", "share"),
    [(0.3, 0.1, 0.75), (0.4, -0.1, 4 / 3), (-0.1, 0.4, -1 / 3), (-0.816, 0.826, None), (-4.94, 5.44, None), (0.0, 0.0, None),
     (0.001, 0.001, None), (-0.3, 0.1, None), (float("nan"), 0.1, None)],
)  # fmt: skip
def test_a_share_of_what_hardly_falls_is_undefined_with_the_reason(projection, rest, share):
    found = share_of_fall(projection, rest)
    if share is None:
        assert found != found
        assert found.undefined_because
    else:
        assert found == pytest.approx(share)


def test_a_profile_tells_where_nc1_hardly_falls():
    y, noise = torch.tensor([0, 0, 1, 1]), torch.tensor([[-1.0], [1.0], [-1.0], [1.0]])

    def rows(spread):
        return 10.0 * y[:, None] + spread * noise

    falls, cancels = ([1.0, 0.5, 0.4], [1.0, 0.5, 0.99])
    views = [agop.LayerView(str(k), *map(rows, spreads)) for k, spreads in enumerate((falls, cancels))]
    p = agop.profile(views, None, y, measures=["nc1"])
    assert p.layers["share_projection"].isna().tolist() == [False, True]
    assert p.notes == ["share_projection is undefined where NC1 hardly falls: 1"]


def test_deep_collapse_is_measured_to_its_end(generator):
    y = torch.arange(40) % 2
    means = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    noise = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    net = mlp(6, 5)
    values = []
    for spread in (1e-3, 1e-6):
        p = agop.profile(net, means[y] + spread * noise, y, measures=["nc1"], batch_size=7)
        values.append(value(p, 1, "projected", "nc1"))
    assert values[0] / values[1] == pytest.approx(1e6, rel=1e-2)


@pytest.mark.parametrize("wide", [100, 20_000], ids=["float64", "own precision"])
def test_streaming_moments_are_class_moments(generator, wide):
    from agop.collapse.streaming import StreamingMoments

    x = torch.randn(50, wide, generator=generator) + 100
    y = torch.randint(0, 4, (50,), generator=generator)
    streaming = StreamingMoments()
    for n_classes, rows in ((4, slice(0, 20)), (4, slice(20, 21)), (6, slice(21, 50))):
        streaming.add(x[rows], y[rows], n_classes)
    m, exact = streaming.result(), agop.ClassMoments.of(x, y, 6)
    assert m.counts.tolist() == exact.counts.tolist()
    rel = 1e-9 if wide == 100 else 1e-5
    torch.testing.assert_close(m.within, exact.within, rtol=rel, atol=0)
    torch.testing.assert_close(m.means, exact.means, rtol=rel, atol=0)
    assert float(agop.nc1(m)) == pytest.approx(float(agop.nc1(exact)), rel=rel)


@pytest.mark.parametrize("pool", ["mean", "flatten", "none"])
def test_views_hold_the_rows_that_a_profile_measures(images, pool):
    x, y = images
    with torch.random.fork_rng():
        torch.manual_seed(4)
        net = nn.Sequential(
            nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.Conv2d(6, 9, 2), nn.Tanh(), nn.Flatten(), nn.Linear(270, 300),
            nn.ReLU(), nn.Linear(300, 3),
        ).double()  # fmt: skip
    p = agop.profile(agop.Network(net, pool=pool), x, y, measures=["nc1", "nfa"])
    views = list(agop.Network(net, pool=pool).views(x, batch_size=7))
    assert [view.name for view in views] == p.layers["name"].tolist()
    for number, view in enumerate(views, start=1):
        for stage, rows in view.stages().items():
            labels = y.repeat_interleave(len(rows) // len(y))
            assert value(p, number, stage, "nc1") == pytest.approx(slow.nc1(rows, labels), rel=1e-8)
        if view.agop is not None:
            assert p.layers["nfa"][number - 1] == pytest.approx(agop.nfa(view), abs=1e-7)
    assert [view.agop is not None for view in views] == [False, pool != "flatten", True, True]


def test_the_projected_rows_of_a_view_are_those_of_the_decomposed_weights(points):
    x, _ = points
    net = mlp(7, 5, 9, 3)
    h = x
    for view, part in zip(agop.Network(net).views(x), net[::2], strict=True):
        _, projected = slow.linear_stages(h, part.weight.detach())
        torch.testing.assert_close(view.projected.abs(), projected.abs())
        torch.testing.assert_close(view.projected @ view.projected.T, projected @ projected.T)
        assert view.projected.shape[1] == min(part.weight.shape)
        h = view.output
