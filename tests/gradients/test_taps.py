from __future__ import annotations

import pytest
import torch
from torch import nn

from agop.gradients.taps import call_name, capture, named_exactly, plain_name, select_layers


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.ReLU(inplace=True))
        self.shared, self.rnn, self.head = nn.Linear(5, 5), nn.LSTM(5, 4, batch_first=True), nn.Linear(4, 2)
        self.alias = self.shared

    def forward(self, x):
        x = self.stem(x)
        x = self.shared(self.shared(x)).relu_()
        return self.head(input=self.rnn(x)[0][:, -1])


NET = Net().eval()
X = torch.randn(7, 2, 6, generator=torch.Generator().manual_seed(0))
LINEAR = (nn.Linear, nn.Conv1d)


def chosen(layers, model=NET):
    return list(select_layers(model, layers, default=LINEAR))


def test_layers_by_name_glob_type_and_module():
    assert chosen(None) == ["stem.0", "shared", "head"]
    assert chosen("shared") == ["shared"]
    assert chosen("alias") == ["alias"]
    assert chosen(["stem.*"]) == ["stem.0", "stem.1", "stem.2"]
    assert chosen(["stem.[02]", "head"]) == ["stem.0", "stem.2", "head"]
    assert chosen(nn.LSTM) == ["rnn"]
    assert chosen([nn.Conv1d, "head"]) == ["stem.0", "head"]
    assert chosen(NET.stem) == ["stem"]
    assert chosen("!stem*") == ["shared", "head"]
    assert chosen(["*", "!*.*", "!model"]) == ["stem", "shared", "rnn", "head"]
    assert chosen(None, nn.Linear(2, 2)) == ["model"]
    assert named_exactly(["head", "stem.*", "!x", nn.Linear]) == {"head"}
    assert named_exactly(None) == set()


def test_names_under_compile():
    compiled = torch.compile(nn.Sequential(torch.compile(nn.Linear(2, 2)), nn.Tanh()))
    assert plain_name("_orig_mod.0._orig_mod") == "0"
    assert chosen("0", compiled) == ["0"]
    assert call_name("a", 0, 1) == "a"
    assert call_name("a", 1, 2) == "a#1"


@pytest.mark.parametrize("layers", ["nothing", ["head", "tail*"], nn.Conv3d])
def test_choices_that_match_nothing(layers):
    with pytest.raises(
        ValueError, match=r"layers: expected names, globs, types or modules of the model, got .*stem.0"
    ):
        chosen(layers)


def test_capture_holds_one_entry_per_call_and_copies_against_in_place_layers():
    with torch.no_grad(), capture(NET, ["stem.1", "shared", "rnn", "head"]) as calls:
        NET(X)
    assert [(call.name, call.index) for call in calls] == [
        ("stem.1", 0), ("shared", 0), ("shared", 1), ("rnn", 0), ("head", 0)
    ]  # fmt: skip
    with torch.no_grad():
        before = NET.stem[:2](X)
        h = torch.relu(before)
        torch.testing.assert_close(calls[0].output, before)
        torch.testing.assert_close(calls[1].input, h)
        torch.testing.assert_close(calls[2].input, NET.shared(h))
        torch.testing.assert_close(calls[2].output, NET.shared(NET.shared(h)))
        torch.testing.assert_close(calls[4].output, NET(X))
    assert calls[2].module is NET.shared
    assert float(calls[0].output.min()) < 0
    assert float(calls[2].output.min()) < 0


def test_calls_are_counted_anew_in_every_forward_pass():
    with torch.no_grad(), capture(NET, "shared", outputs=False) as calls:
        NET(X)
        NET(X)
    assert [call.index for call in calls] == [0, 1, 0, 1]
    assert all(call.output is None and call.input is not None for call in calls)


def test_captured_tensors_keep_their_graph_on_request():
    with capture(NET, "head", detach=False) as calls:
        y = NET(X)
    (gradient,) = torch.autograd.grad(y.sum(), calls[0].output, allow_unused=True)
    assert calls[0].output.requires_grad
    assert gradient is None  # a copy beside the path, not on it
    with capture(NET, "head") as calls:
        NET(X)
    assert not calls[0].output.requires_grad


def hooks(model):
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]


def test_hooks_are_gone_afterwards_and_after_an_exception():
    with capture(NET):
        assert sum(hooks(NET)) > 0
    assert sum(hooks(NET)) == 0

    def fail():
        with capture(NET):
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert sum(hooks(NET)) == 0


def test_capture_survives_a_forward_that_raised():
    with torch.no_grad(), capture(NET, ["stem.0", "shared"]) as calls:
        with pytest.raises(RuntimeError):
            NET(torch.ones(7, 2, 9))
        calls.clear()
        NET(X)
    torch.testing.assert_close(calls[1].input, torch.relu(NET.stem[:2](X)).detach())


def test_compiled_model():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    compiled = torch.compile(model, backend="eager")
    compiled(torch.ones(2, 3))
    with torch.no_grad(), capture(compiled) as calls:
        compiled(torch.ones(2, 3))
        compiled(torch.ones(2, 3))
    assert [(call.name, call.index) for call in calls] == [("0", 0), ("2", 0), ("0", 0), ("2", 0)]
