from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader, WeightedRandomSampler

from agop import ClassMoments, nc1, nc3, nc4
from agop.integrations import _measuring
from agop.integrations.lightning import CollapseCallback
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


def test_values_are_those_of_the_trained_model(tmp_path):
    callback = CollapseCallback(["body.0", "body.5"], classifier="head", measures=["nc1", "nc2"])
    t, model = fit(tmp_path, [callback])
    x, y = data()
    model.eval()
    with torch.no_grad():
        features = model.body(x)
        logits = model.head(features)
        first = model.body[0](x)
    m = ClassMoments.of(features, y, CLASSES)
    frame = callback.to_frame()
    last = frame[frame.epoch == 1].set_index(["layer", "measure"]).value
    assert set(frame.epoch) == {0, 1}
    assert last["body.5", "nc1"] == pytest.approx(nc1(m), rel=1e-5)
    assert last["body.0", "nc1"] == pytest.approx(nc1(ClassMoments.of(first, y)), rel=1e-5)
    assert last["head.input", "nc1"] == pytest.approx(nc1(m), rel=1e-5)
    assert last["head.input", "nc3"] == pytest.approx(nc3(m, model.head.weight), rel=1e-5)
    assert last["head.input", "nc4"] == pytest.approx(nc4(features, logits, m))
    assert last["head.input", "error"] == pytest.approx(float((logits.argmax(1) != y).double().mean()))
    assert float(t.callback_metrics["collapse/head.input/nc1"]) == pytest.approx(nc1(m), rel=1e-5)


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
    measured, after = run([CollapseCallback(classifier="head")])
    for a, b in zip(plain.state_dict().values(), measured.state_dict().values()):
        assert torch.equal(a, b)
    assert after.modes == before.modes
    assert after.modes["body.3"] is True
    assert after.modes["frozen"] is before.modes["frozen"]
    assert after.hooks == before.hooks == 0
    assert after.draws == before.draws


def test_random_state_of_all_three_libraries():
    def draw_and_fail(states):
        with _measuring.measuring(Small()):
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
    def broken(module, batch):
        module(batch[0])
        torch.rand(5)
        raise RuntimeError("no labels today")

    witness, model = Witness(), small()
    with pytest.raises(RuntimeError, match="no labels today"):
        fit(tmp_path, [CollapseCallback(classifier="head", step=broken)], model)
    t = trainer(tmp_path, [])
    t.strategy.connect(model)
    callback = CollapseCallback(classifier="head", step=broken, dataloader=loader())
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
    key = "collapse/body.5/nc1"
    checkpoint = ModelCheckpoint(tmp_path, monitor=key, mode="min", filename="best", save_top_k=1)
    stopping = EarlyStopping(key, patience=100)
    callback = CollapseCallback("body.5", every_n_epochs=2)
    fit(
        tmp_path,
        [checkpoint, stopping, callback],
        validation=validation,
        max_epochs=4,
        enable_checkpointing=True,
    )
    values = callback.to_frame().query("measure == 'nc1'").value
    assert float(checkpoint.best_model_score) == pytest.approx(values.min(), rel=1e-6)
    saved = torch.load(checkpoint.best_model_path, weights_only=False)
    again = CollapseCallback("body.5")
    again.load_state_dict(saved["callbacks"][callback.state_key])
    assert len(again.history) >= 3


def test_undefined_measures_are_logged_as_nan(tmp_path):
    x, y = data(64)
    one_class = torch.utils.data.TensorDataset(x, torch.zeros_like(y))
    callback = CollapseCallback("body.0", measures=["nc1"], num_classes=CLASSES)
    t, _ = fit(tmp_path, [callback], train=DataLoader(one_class, batch_size=16), max_epochs=1)
    assert math.isnan(t.callback_metrics["collapse/body.0/nc1"])
    assert "1 of 4 classes" in callback.history[0]["undefined_because"]


def test_bad_settings_are_explained_before_training(tmp_path):
    with pytest.raises(ValueError, match="layers"):
        fit(tmp_path, [CollapseCallback("bdoy.0")])
    with pytest.raises(ValueError, match="classifier: expected a linear layer, got BatchNorm1d"):
        fit(tmp_path, [CollapseCallback(classifier="body.1")])
    with pytest.raises(ValueError, match="measures: expected one of"):
        CollapseCallback(measures=["nc3"])
    with pytest.raises(TypeError, match="pass step= to CollapseCallback"):
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
    assert {"collapse/again#0/nc1", "collapse/again#1/nc1"} <= set(t.callback_metrics)


def test_shards_hold_every_sample_once():
    whole = loader()
    seen = [torch.cat([x for x, _ in _measuring.exact_shard(whole, rank, 3)]) for rank in range(3)]
    assert [len(part) for part in seen] == [68, 68, 67]
    x, _ = data()
    assert torch.equal(torch.cat(seen).sort(0).values, x.sort(0).values)
    own = [1, 2]
    assert _measuring.exact_shard(own, 0, 2) is own


def test_tokens_are_samples():
    features, labels = torch.arange(24.0).reshape(2, 3, 4), torch.arange(6).reshape(2, 3)
    rows, flat = _measuring.as_rows(features, labels)
    assert rows.shape == (6, 4)
    assert flat.tolist() == list(range(6))
    rows, flat = _measuring.as_rows(features, torch.arange(2))
    assert rows.shape == (2, 12)
