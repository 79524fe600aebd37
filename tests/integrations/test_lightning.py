from __future__ import annotations

import math
import random

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader, WeightedRandomSampler

import agop
from agop import ClassMoments, nc1, nc3, nc4
from agop.integrations import _measuring
from agop.integrations.lightning import CollapseCallback
from agop.integrations.torchmetrics import NeuralCollapse
from agop.profiles.isolation import measuring
from tests.integrations.small import CLASSES, Small, data, loader, small

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*logging interval"),
    pytest.mark.filterwarnings("ignore:.*litlogger"),
]


def trainer(tmp_path, callbacks, **options):
    return Trainer(
        **{
            "max_epochs": 2,
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "default_root_dir": tmp_path,
            **options,
        },
        callbacks=callbacks,
    )


def fit(tmp_path, callbacks, model=None, train=None, validation=None, **options):
    model = model or small()
    t = trainer(tmp_path, callbacks, **options)
    with torch.random.fork_rng():
        seed_everything(7, verbose=False)
        t.fit(model, train or loader(), validation)
    return t, model


def test_the_same_key_has_the_number_of_the_profile(tmp_path):
    """Same weights, same data: callback, metric, trajectory and profile agree, key by key, in double precision to 1e-9."""
    measures = ["nc1", "nc2", "nc3", "nc4", "nfa"]
    callback = CollapseCallback(measures=measures)
    train = torch.utils.data.TensorDataset(data()[0].double(), data()[1])
    t, model = fit(tmp_path, [callback], small().double(), DataLoader(train, batch_size=32, shuffle=True))
    x, y = data()
    p = agop.profile(model, x.double(), y, measures=measures)
    keys = {key: float(value) for key, value in t.callback_metrics.items()}
    rows = p.table.set_index(["name", "stage"])
    for (name, stage), row in rows.iterrows():
        assert keys[f"collapse/{name}/{stage}/nc1"] == pytest.approx(
            row["nc1"], rel=1e-6
        )  # Lightning logs float32
        metric = NeuralCollapse(CLASSES, measures="nc1")
        for a, b in zip(x.double().split(50), y.split(50)):
            metric.update_from(model, a, b, layer=name, stage=stage)
        assert float(metric.compute()) == pytest.approx(row["nc1"], rel=1e-9)
    frame = callback.to_frame()
    last = frame[frame.epoch == 1].set_index(["name", "stage", "measure"])["value"]
    for measure in ("nc1", "nc2", "nc3", "nc4"):
        for place, row in rows[rows[measure].notna()].iterrows():
            assert last[(*place, measure)] == pytest.approx(row[measure], rel=1e-9)
    for _, row in p.layers.iterrows():
        assert last[row["name"], "", "nfa"] == pytest.approx(row["nfa"], rel=1e-9)
        assert keys[f"collapse/{row['name']}/nfa"] == pytest.approx(row["nfa"], rel=1e-6)
    assert keys["collapse/accuracy"] == pytest.approx(p.scores.accuracy, rel=1e-6)
    assert last["", "", "loss"] == pytest.approx(p.scores.loss, rel=1e-9)
    assert "collapse/head/input/nc3" in keys
    assert "collapse/body.0/input/nc3" not in keys
    assert set(frame.epoch) == {0, 1}


def test_images_are_read_as_the_profile_reads_them(tmp_path):
    class Images(Small):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Sequential(
                torch.nn.Conv2d(1, 4, 2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8, 8)
            )

    x, y = data()
    pictures = torch.utils.data.TensorDataset(x.reshape(-1, 1, 2, 3).double(), y)
    for pool in ("mean", "flatten"):
        callback = CollapseCallback(measures=["nc1"], pool=pool, stages=["input", "output"])
        _, model = fit(
            tmp_path, [callback], Images().double(), DataLoader(pictures, batch_size=32), max_epochs=1
        )
        p = agop.profile(agop.Network(model, pool=pool), pictures.tensors[0], y, measures=["nc1"])
        got = callback.to_frame().query("measure == 'nc1'").set_index(["name", "stage"])["value"]
        expected = p.table.set_index(["name", "stage"])["nc1"].drop("projected", level="stage")
        assert got.to_dict() == pytest.approx(expected.to_dict(), rel=1e-9)
        metric = NeuralCollapse(CLASSES, measures="nc1")
        metric.update_from(
            agop.Network(model, pool=pool), pictures.tensors[0], y, layer="body.0", stage="output"
        )
        assert float(metric.compute()) == pytest.approx(expected["body.0", "output"], rel=1e-9)


def test_the_classifier_of_0_1_still_has_its_keys(tmp_path):
    with pytest.warns(DeprecationWarning, match="classifier= of CollapseCallback"):
        callback = CollapseCallback(["body.0"], classifier="head", measures=["nc1", "nc2"])
    t, model = fit(tmp_path, [callback])
    x, y = data()
    model.eval()
    with torch.no_grad():
        features = model.body(x)
        logits = model.head(features)
    m = ClassMoments.of(features, y, CLASSES)
    keys = t.callback_metrics
    assert float(keys["collapse/head.input/nc1"]) == pytest.approx(nc1(m), rel=1e-5)
    assert float(keys["collapse/head/input/nc1"]) == float(keys["collapse/head.input/nc1"])
    assert float(keys["collapse/head.input/nc3"]) == pytest.approx(nc3(m, model.head.weight), rel=1e-5)
    assert float(keys["collapse/head.input/nc4"]) == pytest.approx(nc4(features, logits, m))
    assert float(keys["collapse/head.input/error"]) == pytest.approx(
        float((logits.argmax(1) != y).double().mean())
    )


def test_a_step_of_0_1_still_runs(tmp_path):
    def step(module, batch):
        module(batch["x"])
        return batch["y"]

    class Named(Small):
        def training_step(self, batch, _):
            return torch.nn.functional.cross_entropy(self(batch["x"]), batch["y"])

    x, y = data()
    rows = [{"x": a, "y": b} for a, b in zip(x, y)]
    with pytest.warns(DeprecationWarning, match="write inputs= and targets="):
        callback = CollapseCallback(measures=["nc1"], step=step)
    newer = CollapseCallback(
        measures=["nc1"], inputs=lambda b: b["x"], targets=lambda b: b["y"], prefix="new"
    )
    t, _ = fit(tmp_path, [callback, newer], Named(), DataLoader(rows, batch_size=32), max_epochs=1)
    for name in ("body.0/output", "head/input"):
        assert float(t.callback_metrics[f"collapse/{name}/nc1"]) == float(
            t.callback_metrics[f"new/{name}/nc1"]
        )


class Witness(Callback):
    """Modes, hooks and random numbers right after the measurement."""

    def on_train_epoch_end(self, trainer, module):
        self.modes = {name: part.training for name, part in module.named_modules()}
        self.hooks = sum(len(p._forward_hooks) + len(p._forward_pre_hooks) for p in module.modules())
        self.draws = (torch.rand(3).tolist(), np.random.rand(3).tolist())


@pytest.mark.parametrize("with_generator", [False, True])
def test_the_training_does_not_notice(tmp_path, with_generator):
    def run(callbacks):
        generator = torch.Generator().manual_seed(5) if with_generator else None
        witness = Witness()
        _, model = fit(tmp_path, [*callbacks, witness], train=loader(generator=generator))
        return model, witness

    plain, before = run([])
    measured, after = run([CollapseCallback(measures=["nc1", "nc3", "nc4"])])
    for a, b in zip(plain.state_dict().values(), measured.state_dict().values()):
        assert torch.equal(a, b)
    assert after.modes == before.modes
    assert after.modes["body.3"] is True
    assert after.modes["frozen"] is before.modes["frozen"]
    assert after.hooks == before.hooks == 0
    assert after.draws == before.draws


def test_random_state_of_all_three_libraries():
    def draw_and_fail(states):
        with measuring(Small()):
            # taken inside, because the type checker of the tests draws from Python's generator
            states += [torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()]
            torch.rand(3), np.random.rand(3), random.random()
            raise ZeroDivisionError

    before = []
    with pytest.raises(ZeroDivisionError):
        draw_and_fail(before)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert random.getstate() == before[2]


def test_a_loader_used_as_it_is_keeps_its_random_state(tmp_path):
    """A sampler of the user's own is iterated by the callback, which must not move its generator."""

    def run(callbacks):
        generator = torch.Generator().manual_seed(5)
        sampler = WeightedRandomSampler(torch.ones(203), 100, generator=generator)
        return fit(tmp_path, callbacks, train=loader(shuffle=False, sampler=sampler))[1]

    for a, b in zip(run([]).state_dict().values(), run([CollapseCallback()]).state_dict().values()):
        assert torch.equal(a, b)


def test_everything_comes_back_after_a_failure(tmp_path):
    def broken(batch):
        torch.rand(5)
        raise RuntimeError("no labels today")

    witness, model = Witness(), small()
    with pytest.raises(RuntimeError, match="no labels today"):
        fit(tmp_path, [CollapseCallback(targets=broken)], model)
    t = trainer(tmp_path, [])
    t.strategy.connect(model)
    callback = CollapseCallback(targets=broken, dataloader=loader())
    model.train()
    model.frozen.eval()
    modes = {part: part.training for part in model.modules()}
    before = torch.random.get_rng_state()
    with pytest.raises(RuntimeError, match="no labels today"):
        callback.measure(t, model)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert {part: part.training for part in model.modules()} == modes
    witness.on_train_epoch_end(t, model)
    assert witness.hooks == 0


def test_sanity_check_and_every_n_epochs(tmp_path):
    measured = []

    class Spy(CollapseCallback):
        def measure(self, trainer, module):
            assert not trainer.sanity_checking
            measured.append(trainer.current_epoch)
            return super().measure(trainer, module)

    callback = Spy("body.0", every_n_epochs=2)
    fit(tmp_path, [callback], validation=loader(shuffle=False), max_epochs=6, num_sanity_val_steps=2)
    assert measured == [0, 2, 4, 5]
    assert sorted(set(callback.to_frame().epoch)) == [0, 2, 4, 5]


@pytest.mark.parametrize("validation", [None, loader(shuffle=False)])
def test_checkpoints_and_early_stopping_can_monitor(tmp_path, validation):
    key = "collapse/body.4/output/nc1"
    checkpoint = ModelCheckpoint(tmp_path, monitor=key, mode="min", filename="best", save_top_k=1)
    stopping = EarlyStopping(key, patience=100)
    callback = CollapseCallback("body.4", every_n_epochs=2)
    fit(
        tmp_path,
        [checkpoint, stopping, callback],
        validation=validation,
        max_epochs=4,
        enable_checkpointing=True,
    )
    values = callback.to_frame().query("measure == 'nc1' and stage == 'output'").value
    assert float(checkpoint.best_model_score) == pytest.approx(values.min(), rel=1e-6)
    saved = torch.load(checkpoint.best_model_path, weights_only=False)
    again = CollapseCallback("body.4")
    again.load_state_dict(saved["callbacks"][callback.state_key])
    assert len(again.trajectory) >= 1
    frame = callback.to_frame()
    steps = again.trajectory.steps
    pd.testing.assert_frame_equal(again.to_frame(), frame[frame.epoch.isin(steps)].reset_index(drop=True))
    with pytest.warns(UserWarning, match="its history is left out"):
        again.load_state_dict({"history": []})


def test_undefined_measures_are_logged_as_nan(tmp_path):
    x, y = data(64)
    one_class = torch.utils.data.TensorDataset(x, torch.zeros_like(y))
    callback = CollapseCallback("body.0", measures=["nc1"])
    t, _ = fit(tmp_path, [callback], train=DataLoader(one_class, batch_size=16), max_epochs=1)
    assert math.isnan(t.callback_metrics["collapse/body.0/output/nc1"])
    assert [note for note in callback.trajectory.notes if "nc1 is undefined" in note]


def test_bad_settings_are_explained_before_training(tmp_path):
    with pytest.raises(ValueError, match="layers"):
        fit(tmp_path, [CollapseCallback("bdoy.0")])
    with pytest.raises(ValueError, match="measures: expected"):
        fit(tmp_path, [CollapseCallback(measures=["nc99"])])
    with pytest.raises(ValueError, match="pool: expected one of"):
        fit(tmp_path, [CollapseCallback(pool="max")])
    with pytest.raises(ValueError, match="pass y= or targets="):
        fit(tmp_path, [CollapseCallback(dataloader=[torch.zeros(3, 6)])])


class Twice(Small):
    """One module that runs twice."""

    def __init__(self):
        super().__init__()
        self.again = torch.nn.Linear(8, 8)

    def forward(self, x):
        return self.head(self.again(self.again(self.body(x)).relu_()))


def test_reused_modules_have_a_key_for_every_call(tmp_path):
    callback = CollapseCallback("again", measures=["nc1"])
    t, _ = fit(tmp_path, [callback], model=Twice(), max_epochs=1)
    assert {"collapse/again#0/output/nc1", "collapse/again#1/output/nc1"} <= set(t.callback_metrics)


def test_shards_hold_every_sample_once():
    whole = loader()
    seen = [torch.cat([x for x, _ in _measuring.exact_shard(whole, rank, 3)]) for rank in range(3)]
    assert [len(part) for part in seen] == [68, 68, 67]
    x, _ = data()
    assert torch.equal(torch.cat(seen).sort(0).values, x.sort(0).values)
    own = [1, 2]
    assert _measuring.exact_shard(own, 0, 2) is own
