"""Steering: shifts in closed form, every form of output, and models as they were after any raise."""

from __future__ import annotations

from collections import OrderedDict, namedtuple

import pytest
import torch
from torch import nn

import agop
from agop.concepts import directions_from
from tests.concepts.planted import QUICK, Twice, planted
from tests.concepts.test_states import Causal, padded

Pair = namedtuple("Pair", "h extra")
FORMS = {
    "tensor": lambda h: h,
    "tuple": lambda h: (h, None),
    "list": lambda h: [h, 3],
    "nested": lambda h: ((torch.ones(1, dtype=torch.long), h), 3),
    "named tuple": lambda h: Pair(h, 2),
    "dict": lambda h: {"logits": h, "more": 1},
    "ordered": lambda h: OrderedDict(last=h),
}


def first(value):
    if isinstance(value, torch.Tensor):
        return value if value.is_floating_point() else None
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else []
    return next((found for found in map(first, parts) if found is not None), None)


class Form(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, h):
        return self.form(h)


@pytest.mark.parametrize("form", FORMS)
def test_a_linear_readout_moves_by_exactly_the_product_of_weight_and_direction(form, generator):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.block, self.head = Form(FORMS[form]), nn.Linear(5, 2).double()

        def forward(self, x):
            returned = self.block(x)
            self.kind = type(returned)
            return self.head(first(returned))

    net = Net()
    x, v = torch.randn(3, 5, generator=generator).double(), torch.randn(5, generator=generator).double()
    before = net(x)
    with agop.steer(net, {"block": v}, 0.7):
        inside = net(x)
        kind = net.kind
    torch.testing.assert_close(
        inside - before, (0.7 * net.head.weight @ v).expand(3, 2), rtol=1e-12, atol=1e-12
    )
    assert torch.equal(net(x), before)
    assert kind is net.kind


def test_positions_with_and_without_a_mask(generator):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Causal().eval()
    v = torch.randn(6, generator=generator)

    def shift(inputs, position):
        seen = {}
        handle = model.layers[2].register_forward_hook(lambda m, a, out: seen.update(h=out[0]))
        before = model(**inputs), seen["h"]
        with agop.steer(model, {"layers.2": v}, 2.0, position=position):
            after = model(**inputs)
        handle.remove()
        return (after["logits"] - before[0]["logits"]).detach()

    head = 2 * model.head.weight.detach() @ v
    for side, place in (("right", 4), ("left", 6)):
        inputs = padded(extra=2, side=side)
        everywhere, last = shift(inputs, "all"), shift(inputs, "last")
        torch.testing.assert_close(everywhere, head.expand_as(everywhere), rtol=1e-4, atol=1e-5)
        expected = torch.zeros_like(last)
        expected[:, place] = head
        torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-5)
    del inputs["attention_mask"]
    torch.testing.assert_close(shift(inputs, "last")[:, -1], head.expand(7, 11), rtol=1e-4, atol=1e-5)


def test_an_earlier_block_moves_what_comes_after_it(generator):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Causal().eval()
    v, ids = torch.randn(6, generator=generator), padded()["input_ids"]
    with agop.steer(model, {"layers.0": v}, 0.5):
        found = model(ids)["logits"]
    h = model.layers[0](model.embed(ids))[0] + 0.5 * v
    for layer in model.layers[1:]:
        h = layer(h)[0]
    torch.testing.assert_close(found, model.head(h))


def test_nested_shifts_add_up_and_strength_may_differ_by_block(generator):
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    x, v = torch.randn(2, 3, generator=generator), torch.randn(3, generator=generator)
    with agop.steer(net, {"0": v, "1": v}, {"0": 1.0, "1": -2.0}):
        once = net(x)
    with agop.steer(net, {"0": v}, 1.0), agop.steer(net, {"1": v}, -2.0):
        torch.testing.assert_close(net(x), once)
    torch.testing.assert_close(once - net(x), (net[1].weight @ v - 2 * v).expand(2, 3), rtol=1e-4, atol=1e-5)


def test_channels_of_images_and_calls_of_a_shared_block(generator):
    conv = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten())
    x, v = torch.randn(2, 2, 5, 5, generator=generator), torch.tensor([1.0, 2.0, 3.0])
    before = conv[0](x)
    with agop.steer(conv, {"0": v}, 2.0):
        shift = conv[0](x) - before
    torch.testing.assert_close(shift, (2 * v)[None, :, None, None].expand_as(shift), rtol=1e-4, atol=1e-5)

    net, x = Twice(), torch.randn(2, 3, generator=generator)
    for name, factor in (("block#1", torch.eye(3)), ("block#0", net.block.weight)):
        with agop.steer(net, {name: v}, 1.0):
            shift = net(x)
        torch.testing.assert_close(shift - net(x), (factor @ v).expand(2, 3), rtol=1e-4, atol=1e-5)


def test_gradients_flow_and_a_raise_leaves_no_hook(generator):
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    x, v = torch.randn(2, 3, generator=generator), torch.randn(3, generator=generator)
    net.train()

    def train():
        net(x).sum().backward()
        raise RuntimeError("after the step")

    for vector, kind in ((v[:2], ValueError), (v, RuntimeError)):
        with pytest.raises(kind), agop.steer(net, {"0": vector}, 1.0):
            train()
    assert net[0].weight.grad is not None
    assert net.training
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


@pytest.mark.usefixtures("as_in_production")
def test_directions_of_a_concept_move_by_multiples_of_their_spread():
    y, _, states = planted()
    found = directions_from(states, y, search=QUICK)
    net = nn.ModuleDict({name: nn.Identity() for name in states.blocks})
    net.forward = lambda x: net["weak"](net["planted"](x))
    x = torch.zeros(1, 16)
    v, w = (found.directions[name][0].float() for name in ("planted", "weak"))
    with agop.steer(net, found, 2.0):
        torch.testing.assert_close(net(x)[0], 2 * v)
    with agop.steer(net, found, -2.0, layers=["plan*", "weak"], unit="spread", label=1):
        spread = [float(found.spreads[name][0]) for name in ("planted", "weak")]
        torch.testing.assert_close(net(x)[0], -2 * (spread[0] * v + spread[1] * w))
    for options, words in (
        ({"layers": "nowhere"}, "blocks among noise, planted, weak"),
        ({"label": 0}, "pass a negative strength"),
        ({"component": 1}, "a number from 0 to 0"),
        ({"unit": "miles"}, "'absolute', 'spread'"),
        ({"position": "first"}, "'all', 'last'"),
        ({"layers": 3}, "names or globs of blocks"),
    ):
        with pytest.raises((ValueError, TypeError), match=words), agop.steer(net, found, 1.0, **options):
            pass


BAD = {
    "no model": (None, {"0": torch.ones(3)}, 1.0, "model: expected a torch module"),
    "no directions": (0, {}, 1.0, "directions: expected ConceptDirections"),
    "a list": (0, [torch.ones(3)], 1.0, "directions: expected ConceptDirections"),
    "a matrix": (
        0,
        {"0": torch.ones(1, 3)},
        1.0,
        r"directions\[0\]: expected a floating-point tensor with 1 axes",
    ),
    "NaN": (0, {"0": torch.full((3,), float("nan"))}, 1.0, "finite values"),
    "another module": (0, {"9": torch.ones(3)}, 1.0, "layers: expected names"),
    "no number": (0, {"0": torch.ones(3)}, "much", "strength: expected a finite number"),
    "infinite": (0, {"0": torch.ones(3)}, float("inf"), "strength: expected a finite number"),
    "missing": (0, {"0": torch.ones(3)}, {"1": 1.0}, "strength: expected one for block '0'"),
}


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize("case", BAD)
def test_what_can_t_steer_is_told(case):
    model, directions, strength, words = BAD[case]
    net = nn.Sequential(nn.Linear(3, 3)) if model == 0 else model
    with pytest.raises((ValueError, TypeError), match=words), agop.steer(net, directions, strength):
        pass


def test_an_output_that_is_no_tensor_is_told():
    net = nn.Sequential(OrderedDict(block=Form(lambda h: 3)))
    with (
        pytest.raises(ValueError, match="a floating tensor from block 'block', got a int without one"),
        agop.steer(net, {"block": torch.ones(3)}, 1.0),
    ):
        net(torch.ones(1, 3))
