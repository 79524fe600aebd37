"""Labels per token or pixel, labels that are none, padding: against the rows themselves, taken with hooks one sentence at a time."""

from __future__ import annotations

from collections import UserDict

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import agop
from agop import ClassMoments, Network, nc1
from agop.gradients.taps import capture
from tests.gradients.test_outputs import TWO, Sentences, X, Z, sentences
from tests.tolerances import IDENTITY, MERGE


def token_labels(mask, seed=1):
    labels = torch.randint(3, mask.shape, generator=torch.Generator().manual_seed(seed))
    return torch.where(mask == 1, labels, -100)


def rows_alone(model, batch, layer):
    """What a layer reads and gives for each sentence on its own, without padding."""
    found = []
    for ids, n in zip(batch["input_ids"], batch["attention_mask"].sum(1)):
        with capture(model, layer) as calls:
            model(ids[None, :n])
        found.append((calls[0].input[0], calls[0].output[0]))
    return found


def value(p, layer, stage, measure="nc1"):
    rows = p.table[(p.table["name"] == layer) & (p.table["stage"] == stage)]
    return float(rows[measure].iloc[0])


@pytest.mark.parametrize("layer", ["mix.0", "head.0"])
@pytest.mark.parametrize("samples", [dict, UserDict, lambda b: [b], lambda b: b | {"labels": None}])
def test_a_label_per_token(layer, samples):
    model, batch = sentences()
    labels = token_labels(batch["attention_mask"])
    given = samples(batch)
    p = agop.profile(model, given, labels, measures=["nc1", "dse", "dsmi"])
    alone = rows_alone(model, batch, layer)
    flat = labels[labels >= 0]
    for stage, rows in zip(("input", "projected"), zip(*alone)):
        expected = ClassMoments.of(torch.cat(rows), flat)
        assert value(p, layer, stage) == pytest.approx(nc1(expected), rel=IDENTITY)
    mutual = agop.diffusion_mutual_information(torch.cat([row for row, _ in alone]), flat)
    assert value(p, layer, "input", "dsmi") == pytest.approx(float(mutual), rel=1e-6)
    assert any("10 labels are -100, in no class" in note for note in p.notes)
    assert any("every position is a sample" in note for note in p.notes)


def test_labels_inside_a_mapping_and_in_batches_of_their_own_length():
    model, batch = sentences()
    labels = token_labels(batch["attention_mask"])
    expected = agop.profile(model, batch, labels, measures=["nc1", "nc4", "dsmi", "nfa"])
    whole = agop.profile(model, batch | {"labels": labels}, measures=["nc1", "nc4", "dsmi", "nfa"])
    pd.testing.assert_frame_equal(whole.table, expected.table)
    # sentences of one length go together, as collators that pad to the longest do
    order = batch["attention_mask"].sum(1).argsort()
    loader = []
    for part in order.split(2):
        n = int(batch["attention_mask"][part].sum(1).max())
        loader.append({key: rows[part, :n] for key, rows in (batch | {"labels": labels}).items()})
    ragged = agop.profile(model, loader, measures=["nc1", "nc4", "dsmi", "nfa"])
    columns = ["nc1", "nc4"]  # the random subsets of dsmi are those of other rows
    np.testing.assert_allclose(ragged.table[columns], expected.table[columns], rtol=1e-6)
    assert ragged.table["dsmi"].notna().all()
    np.testing.assert_allclose(ragged.layers["nfa"], expected.layers["nfa"], rtol=1e-6)


@pytest.mark.parametrize("pool", ["mean", "flatten", "none"])
def test_padding_is_pooled_nowhere(pool):
    model, batch = sentences()
    mask, y = batch["attention_mask"], [0, 1, 0, 1, 0, 1]
    other = {**batch, "input_ids": torch.where(mask == 1, batch["input_ids"], 3)}
    measures = ["nc1", "dse", "nfa"]
    p = agop.profile(Network(model, pool=pool), batch, y, measures=measures)
    again = agop.profile(Network(model, pool=pool), other, y, measures=measures)
    np.testing.assert_allclose(p.table[["nc1", "dse"]], again.table[["nc1", "dse"]], rtol=1e-12)
    np.testing.assert_allclose(p.layers["nfa"], again.layers["nfa"], rtol=1e-12)
    alone = [rows for rows, _ in rows_alone(model, batch, "head.0")]
    if pool == "mean":
        expected = ClassMoments.of(torch.stack([rows.mean(0) for rows in alone]), torch.tensor(y))
    elif pool == "none":
        each = torch.tensor(y).repeat_interleave(mask.sum(1))
        expected = ClassMoments.of(torch.cat(alone), each)
    else:
        padded = nn.utils.rnn.pad_sequence(alone, batch_first=True)
        expected = ClassMoments.of(padded.flatten(1), torch.tensor(y))
    assert value(p, "head.0", "input") == pytest.approx(nc1(expected), rel=IDENTITY)


def test_convolutions_over_masked_sequences():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(8, 3, 6, generator=generator, dtype=torch.float64)
    mask = torch.arange(6) < torch.tensor([6, 4, 5, 6, 2, 3, 6, 1])[:, None]
    conv = nn.Conv1d(3, 4, 3, padding=1, dtype=torch.float64)
    y = torch.arange(8) % 2
    p = agop.profile(Network(conv, mask=mask), x, y, measures=["nc1"])
    output = conv(x).detach()
    means = torch.stack([row[:, kept].mean(1) for row, kept in zip(output, mask)])
    assert value(p, "model", "output") == pytest.approx(nc1(ClassMoments.of(means, y)), rel=IDENTITY)
    patches = nn.functional.pad(x, (1, 1)).unfold(2, 3, 1).permute(0, 2, 1, 3).flatten(2)
    means = torch.stack([row[kept].mean(0) for row, kept in zip(patches, mask)])
    assert value(p, "model", "input") == pytest.approx(nc1(ClassMoments.of(means, y)), rel=IDENTITY)
    short = nn.Conv1d(3, 4, 3, dtype=torch.float64)
    told = agop.profile(Network(short, mask=mask), x, y, measures=["nc1"]).notes
    assert any("4 positions a sample, not those of the mask" in note for note in told)


def test_a_label_per_pixel():
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(5, 3, 6, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (5, 6, 6), generator=generator)
    labels[0, :3] = -100
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.Upsample((6, 6)), nn.Conv2d(8, 4, 1)
    ).double()  # fmt: skip
    p = agop.profile(model, images, labels, measures=["nc1"])
    assert p.layers["name"].tolist() == ["0", "5"]
    assert any(
        "left out: 2, it has 4 positions a sample where the labels have 36" in note for note in p.notes
    )
    features = model[:2](images).detach().movedim(1, -1)
    expected = ClassMoments.of(features[labels >= 0], labels[labels >= 0])
    assert value(p, "0", "output") == pytest.approx(nc1(expected), rel=IDENTITY)


def test_names_of_classes_and_labels_of_no_class():
    model, batch = sentences()
    labels = token_labels(batch["attention_mask"])
    expected = agop.profile(model, batch, labels, measures=["nc1"]).table
    names = [["abc"[label] if label >= 0 else -100 for label in row] for row in labels.tolist()]
    for given in (names, np.array(names, dtype=object)):
        pd.testing.assert_frame_equal(agop.profile(model, batch, given, measures=["nc1"]).table, expected)
    with pytest.raises(TypeError, match="y: expected labels of one kind, got texts and numbers"):
        agop.profile(
            Network(model, ignore_index=None), batch, np.array(names, dtype=object), measures=["nc1"]
        )


def test_samples_of_no_class():
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    x = torch.randn(30, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    y = torch.arange(30) % 3
    some = torch.where(torch.arange(30) % 5 == 0, -100, y)
    measures = ["nc1", "nc3", "nc4", "dsmi"]
    expected = agop.profile(net, x[some >= 0], y[some >= 0], measures=measures)
    for given in (some, some.double(), some.numpy()):
        p = agop.profile(net, x, given, measures=measures)
        np.testing.assert_allclose(
            p.table[measures].astype(float), expected.table[measures].astype(float), rtol=MERGE
        )
        assert "6 labels are -100, in no class" in p.notes
    kept = agop.profile(Network(net, ignore_index=None), x, some, measures=["nc1"])
    assert value(kept, "0", "input") == pytest.approx(
        nc1(ClassMoments.of(x, torch.where(some < 0, 3, some))), rel=MERGE
    )
    other = agop.profile(Network(net, ignore_index=2), x, y, measures=["nc1"])
    assert value(other, "0", "input") == pytest.approx(nc1(ClassMoments.of(x[y < 2], y[y < 2])), rel=MERGE)
    deep = agop.DeepRFMClassifier(n_layers=1, width=6, random_state=0).fit(x.numpy(), y.numpy())
    views = [agop.profile(deep, rows, labels, measures=["nc1", "dse"]) for rows, labels in
             ((x.numpy(), some), (x.numpy()[some >= 0], y[some >= 0]))]  # fmt: skip
    np.testing.assert_allclose(views[0].table["nc1"], views[1].table["nc1"], rtol=1e-9)


@pytest.mark.parametrize(
    ("y", "pool", "message"),
    [
        (
            torch.randint(2, (6, 3)),
            "mean",
            r"y: expected one label per sample, or per position of the mask, shape \(6, 5\), got shape \(6, 3\); .*y\[:, k\]",
        ),
        (
            torch.rand(6, 5).round(),
            "mean",
            r"shape \(6, 5\) of float32; take .argmax\(1\) of one-hot .*one at a time, y\[:, k\]",
        ),
        (torch.ones(6, 5, dtype=torch.bool), "mean", r"shape \(6, 5\) of bool; "),
        ([["a"], ["a", "b"], [], ["b"], [], []], "mean", r"lists of different lengths; .*one at a time"),
        (
            torch.zeros(6, 5, dtype=torch.int64),
            "flatten",
            "pool: expected 'none' for labels per position, got 'flatten'",
        ),
        (torch.zeros(4, 5, dtype=torch.int64), "mean", r"y: expected as many rows as X \(6\), got 4"),
    ],
)
def test_labels_that_do_not_fit(y, pool, message):
    model, batch = sentences()
    with pytest.raises(ValueError, match=message):
        agop.profile(Network(model, pool=pool), batch, y, measures=["nc1"])
    assert not any(len(part._forward_hooks) for part in model.modules())


def test_labels_of_two_axes_that_no_layer_has():
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    with pytest.raises(
        ValueError,
        match=r"y: expected one label per sample \(n,\), or per position .*shape \(n, 3\).*y\[:, k\]",
    ):
        agop.profile(net, X, torch.randint(2, (7, 3)), measures=["nc1"])


class Below(nn.Module):
    """Tokens of all sentences one below the other, as some models keep them."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, h):
        return self.inner(h.reshape(-1, h.shape[-1])).reshape(*h.shape[:2], -1)


def test_tokens_one_below_the_other():
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randn(6, 5, 4, generator=generator, dtype=torch.float64)
    labels, inner = torch.randint(3, (6, 5), generator=generator), nn.Linear(4, 3).double()
    p = agop.profile(Below(inner), tokens, labels, measures=["nc1"])
    expected = ClassMoments.of(tokens.flatten(0, 1), labels.flatten())
    assert value(p, "inner", "input") == pytest.approx(nc1(expected), rel=IDENTITY)


@pytest.mark.parametrize(
    "samples",
    [(X, Z), {"x": X, "z": Z}, DataLoader([((a, b), i % 2) for i, (a, b) in enumerate(zip(X, Z))], 4)],
)
def test_models_of_two_inputs(samples):
    y = None if isinstance(samples, DataLoader) else [0, 1, 0, 1, 0, 1, 0]
    p = agop.profile(TWO, samples, y, measures=["nc1", "nfa", "dse"])
    labels = torch.arange(7) % 2
    assert value(p, "b.0", "input") == pytest.approx(nc1(ClassMoments.of(Z, labels)), rel=IDENTITY)
    assert p.layers["nfa"].notna().all()


def test_tables_and_views_of_mappings():
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    frame = pd.DataFrame(X.numpy(), columns=list("abcde"))
    y = [0, 1, 0, 1, 0, 1, 0]
    pd.testing.assert_frame_equal(agop.profile(net, frame, y).table, agop.profile(net, X.float(), y).table)
    assert [view.input.shape for view in Network(TWO).views((X, Z))] == [(7, 5), (7, 2)]


def test_class_means_that_do_not_fit_are_told(monkeypatch):
    from agop.profiles import stage

    monkeypatch.setattr(stage, "LARGE", 24 * 3 * 4)
    monkeypatch.setattr(stage, "_free", lambda: 0)
    net = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 8)).double()
    p = agop.profile(net, X, [0, 1, 2, 0, 1, 2, 0], measures=["nc1"])
    assert np.isfinite(value(p, "1", "input"))
    assert np.isnan(value(p, "1", "output"))
    assert any("class means of 3 classes in 8 dimensions take" in note for note in p.notes)


def test_the_sentences_model_is_what_it_seems():
    model, batch = sentences()
    assert isinstance(model, Sentences)
    alone = model(batch["input_ids"][1:2, :3])["logits"]
    assert torch.allclose(model(**batch)["logits"][1, :3], alone[0])
