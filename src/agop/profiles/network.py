"""A trained network as a subject of `profile`: one pass over the data for the stages, one sweep for the AGOPs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agop import _checks
from agop.gradients import calling
from agop.gradients.layers import LayerAGOPs, layer_agops
from agop.gradients.reads import DEFAULT_LAYERS
from agop.gradients.sanity import refuse_training_mode
from agop.gradients.state import untouched
from agop.gradients.taps import Layers, named_exactly, select_layers, tensor_in
from agop.profiles import pooling
from agop.profiles.assemble import assembled
from agop.profiles.batches import batches
from agop.profiles.labels import ClassIndex
from agop.profiles.options import NetworkOptions
from agop.profiles.reader import Reader
from agop.profiles.table import Profile

MANY_OUTPUTS, RANDOM_OUTPUTS = 64, 32
"""Above so many outputs the AGOP comes from so many random combinations of them."""


def profile_network(model: nn.Module, X: Any, y: Any, options: NetworkOptions) -> Profile:
    """The profile of a torch module; see `agop.profile` for the parameters."""
    model = getattr(model, "_orig_mod", model)
    modules = _chosen(model, options.layers)
    for name in options.nonlinearity:
        _checks.one_of("nonlinearity", name, list(modules))
    notes: list[str] = []
    reader = Reader(model, modules, options.pool, options.nonlinearity)
    with evaluation_mode(model, notes), untouched(model), reader.attached():
        refuse_training_mode(model)
        measuring = _Measuring(model, reader, X, y, options)
        agops = _agops(measuring, modules, notes) if "nfa" in options.names else None
        for _ in measuring:
            pass
    return assembled(type(model).__name__, reader, measuring.classes, agops, options, notes)


@contextmanager
def evaluation_mode(model: nn.Module, notes: list[str] | None = None) -> Iterator[None]:
    """Every part of `model` in evaluation mode, and back in the mode it was in, by its flag only.

    `model.eval()` may be a method of the user's that does more.
    """
    modes = [(part, part.training) for part in model.modules()]
    if notes is not None and _mode_matters(model):
        notes.append("measured in evaluation mode; the model was in training mode and is so again")
    try:
        for part, _ in modes:
            part.training = False
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _mode_matters(model: nn.Module) -> bool:
    try:
        refuse_training_mode(model)
    except ValueError:
        return any(part.training for part in model.modules())
    return False


def _chosen(model: nn.Module, layers: Layers) -> dict[str, nn.Module]:
    modules = select_layers(model, layers, default=DEFAULT_LAYERS)
    # attention uses the weight of its projection without calling it
    hidden = {id(part.out_proj) for part in model.modules() if isinstance(part, nn.MultiheadAttention)}
    exact = named_exactly(layers)
    return {name: part for name, part in modules.items() if id(part) not in hidden or name in exact}


class _Measuring:
    """Runs the model on batch after batch while the reader sums; iterating gives the inputs that were measured."""

    def __init__(self, model: nn.Module, reader: Reader, X: Any, y: Any, options: NetworkOptions) -> None:
        parameter = next(model.parameters(), None)
        self.model, self.reader, self.options = model, reader, options
        self.device = None if parameter is None else parameter.device
        self.classes = ClassIndex()
        self.returned: Any = None
        self.failed = False
        self.whole = _as_tensor(X, parameter)
        self._batches = batches(self.whole, y, options.batch_size, options.inputs, options.targets)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            x, labels = next(self._batches)
            x = calling.on_device(tuple(x) if isinstance(x, list) else x, self.device)
            index = self.classes(labels)
            first = None if isinstance(x, list) else calling.first_tensor(x)
            if first is None:
                raise _checks.bad_type(
                    "X", "batches of tensors", type(x).__name__, "convert them with torch.as_tensor"
                )
            with torch.no_grad(), self.reader.batch(index, len(self.classes)), calling.refusals_named(first):
                self.returned = calling.call(self.model, calling.copied(x))
            return x
        except StopIteration:
            raise
        except BaseException:
            self.failed = True
            raise


def _as_tensor(X: Any, parameter: Tensor | None) -> Any:
    """An array in the precision of the model; anything else as it is."""
    if not isinstance(X, np.ndarray):
        return X
    if X.dtype.kind not in "biufc":
        raise _checks.bad_type("X", "an array of numbers", f"dtype {X.dtype}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an array that can't be written to: nobody will
        tensor = torch.from_numpy(np.ascontiguousarray(X))
    floating = tensor.is_floating_point() and parameter is not None and parameter.is_floating_point()
    return tensor.to(parameter.dtype) if floating and parameter is not None else tensor


def _agops(measuring: _Measuring, modules: dict[str, nn.Module], notes: list[str]) -> LayerAGOPs | None:
    """The AGOPs of all linear maps; while a loader is read for them, the stages are measured too."""
    options = measuring.options
    linear = [module for module in modules.values() if pooling.is_linear_map(module)]
    if not linear:
        return None
    first = next(measuring)
    pick = options.output
    if pick is None and not isinstance(measuring.returned, Tensor):
        pick = tensor_in
        notes.append("AGOPs are of the first tensor that the model returns; choose another with output=")
    outputs: Any = options.outputs
    if outputs == "auto":
        outputs = _affordable(measuring.returned, pick, notes)
    stream: Any = chain([first], measuring)
    size: int | None = None
    inputs: Callable[[Any], Any] | None = _as_it_is
    if isinstance(measuring.whole, Tensor):
        # a tensor can be read twice, in blocks that the sweep chooses by the memory of its graph
        for _ in measuring:
            pass
        stream, size, inputs = measuring.whole, options.batch_size, options.inputs
    try:
        agops = layer_agops(
            measuring.model, stream, linear, outputs=outputs, output=pick, batch_size=size, inputs=inputs
        )
    except (ValueError, TypeError) as error:
        if measuring.failed or options.measures is not None:
            raise
        notes.append(f"nfa was left out: {error}")
        return None
    notes.extend(agops.notes)
    return agops


def _as_it_is(item: Any) -> Any:
    return item


def _affordable(returned: Any, pick: calling.OutputPick, notes: list[str]) -> int | None:
    c = calling.rows_of_output(returned, pick).shape[1] if _has_rows(returned, pick) else 0
    if c <= MANY_OUTPUTS:
        return None
    notes.append(
        f"AGOPs from {RANDOM_OUTPUTS} random combinations of the {c:,} outputs; outputs=None takes all of them"
    )
    return RANDOM_OUTPUTS


def _has_rows(returned: Any, pick: calling.OutputPick) -> bool:
    try:
        calling.rows_of_output(returned, pick)
    except (ValueError, TypeError):
        return False
    return True
