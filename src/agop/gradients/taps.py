"""Which modules of a model are meant, and what goes into and comes out of them: hooks that always clean up.

Names are those of `model.named_modules()` without what wrappers insert (`_orig_mod` of `torch.compile`); the model
itself is 'model'. A module that is called several times in one forward pass has several calls, `name#0`,
`name#1`, …
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from agop import _checks

LayerChoice = str | type | nn.Module
"""One way to choose layers: a name or glob (`!glob` leaves layers out again), a module type, or a module."""

Layers = LayerChoice | Iterable[LayerChoice] | None
"""What `layers=` arguments take; None is every layer of the default types."""


_WRAPPED = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})


def plain_name(name: str) -> str:
    """A module's dotted name without what `torch.compile`, FSDP and checkpoint wrappers put into it; the model itself is 'model'."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPED) or "model"


def original(model: nn.Module) -> nn.Module:
    """The module itself, for one that `torch.compile`, DataParallel or DistributedDataParallel has wrapped.

    A compiled module runs its original with compiled code, which nobody can look into, and wrappers run copies in other threads.
    """
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def call_name(name: str, index: int, count: int) -> str:
    """The name of call `index` of a module that is called `count` times in a forward pass."""
    return name if count == 1 else f"{name}#{index}"


def select_layers(
    model: nn.Module, layers: Layers, *, default: tuple[type, ...], weights: Collection[str] = ()
) -> dict[str, nn.Module]:
    """The chosen modules of `model` by name, in the order of `model.named_modules()`.

    Parameters
    ----------
    model
        Any module.
    layers
        None: all modules of the `default` types. Otherwise one choice or several: exact names, globs
        (`"layer3.*"`; a leading `!` leaves out), types (`nn.Conv2d`), or modules of the model.
    default
        The types that None stands for.
    weights
        Names that are no modules but may be chosen: of parameters that are layers.

    Raises
    ------
    ValueError
        If a choice matches no module, or nothing is left.

    """
    choices = as_list(layers, default)
    # a module that is registered under two names answers to both, and is listed under the first that was
    # asked for
    named = [(plain_name(name), module) for name, module in model.named_modules(remove_duplicate=False)]
    excluded = [choice[1:] for choice in choices if isinstance(choice, str) and choice.startswith("!")]
    wanted = [choice for choice in choices if not (isinstance(choice, str) and choice.startswith("!"))]
    for choice in wanted if layers is not None else []:
        of_weights = isinstance(choice, str) and any(matches_name(name, choice) for name in weights)
        if not of_weights and not any(_matches(name, module, choice) for name, module in named):
            raise _checks.bad_value(
                "layers",
                "names, globs, types or modules of the model",
                _told(choice),
                f"the model has {_listed(named)}",
            )
    wanted = wanted or list(default)
    chosen: dict[str, nn.Module] = {}
    for name, module in named:
        taken = any(_matches(name, module, choice) for choice in wanted)
        left_out = any(fnmatchcase(name, pattern) for pattern in excluded)
        if taken and not left_out and not any(module is other for other in chosen.values()):
            chosen[name] = module
    if not chosen and not weights:
        kinds = ", ".join(kind.__name__ for kind in default)
        raise _checks.bad_value(
            "layers", f"a model with layers to choose ({kinds})", "none", "name modules with layers="
        )
    return chosen


def named_exactly(layers: Layers) -> set[str]:
    """The choices among `layers` that are plain names."""
    listed = [] if layers is None else as_list(layers, ())
    return {choice for choice in listed if isinstance(choice, str) and not set(choice) & set("*?[!")}


def as_list(layers: Layers, default: tuple[type, ...]) -> list[LayerChoice]:
    """The choices one by one."""
    if layers is None:
        return list(default)
    # a module can be iterable (Sequential), but as a choice it is one layer
    several = isinstance(layers, Iterable) and not isinstance(layers, (str, nn.Module, type))
    choices: list[Any] = list(layers) if several else [layers]  # type: ignore[arg-type]
    for choice in choices:
        if not isinstance(choice, (str, type, nn.Module)):
            raise _checks.bad_type("layers", "names, globs, types or modules", f"{choice!r}")
    return choices


def matches_name(name: str, choice: str) -> bool:
    """Whether a name is meant by a name or glob."""
    return name == choice or fnmatchcase(name, choice)


def _matches(name: str, module: nn.Module, choice: LayerChoice) -> bool:
    if isinstance(choice, str):
        return matches_name(name, choice.partition("#")[0])
    return isinstance(module, choice) if isinstance(choice, type) else module is choice


def _told(choice: LayerChoice) -> str:
    return choice.__name__ if isinstance(choice, type) else repr(choice)


def _listed(named: list[tuple[str, nn.Module]], limit: int = 12) -> str:
    names = [name for name, module in named if next(module.children(), None) is None]
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def eagerly() -> AbstractContextManager[Any]:
    """A block in which compiled modules run their original code, so that hooks are called.

    Where the compiler was never loaded nothing is compiled, and loading it to say so would take seconds.
    """
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


@contextmanager
def hooked(attach: Iterable[Callable[[], Any]]) -> Iterator[None]:
    """Register hooks (callables that return a removable handle) for the duration of the block."""
    with ExitStack() as stack:
        for register in attach:
            stack.callback(register().remove)
        yield


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a module in a forward pass: its name, which call it was, and copies of its tensors.

    `input` is the first tensor among the arguments, `output` the tensor that came out (the first, if it was a
    tuple); None where there was none or it was not asked for. Copies, because later layers may work in place.
    """

    name: str
    index: int
    module: nn.Module
    input: Tensor | None
    output: Tensor | None


@contextmanager
def capture(
    model: nn.Module,
    layers: Layers = None,
    *,
    inputs: bool = True,
    outputs: bool = True,
    detach: bool = True,
    default: tuple[type, ...] = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d),
) -> Iterator[list[Call]]:
    """Collect what goes into and comes out of the chosen layers while the model runs inside this block.

    The list holds one `Call` per call, in the order in which the calls ended; it grows with every forward
    pass (`clear()` it between batches). The hooks are gone when the block ends, also when it raises. Compiled
    modules run eagerly inside.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True))
    >>> with capture(net, nn.Linear) as calls:
    ...     _ = net(torch.ones(4, 2))
    >>> [(call.name, tuple(call.input.shape), tuple(call.output.shape)) for call in calls]
    [('0', (4, 2), (4, 3))]
    """
    calls: list[Call] = []
    counts: dict[str, int] = {}
    attach: list[Callable[[], Any]] = []

    def copy(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else (tensor.detach() if detach else tensor).clone()

    def watch(name: str, module: nn.Module) -> None:
        waiting: list[Tensor | None] = []

        def before(_module: nn.Module, args: Any, kwargs: Any) -> None:
            waiting.append(copy(tensor_in([*args, *kwargs.values()])) if inputs else None)

        def after(_module: nn.Module, _args: Any, output: Any) -> None:
            index = counts.get(name, 0)
            counts[name] = index + 1
            calls.append(
                Call(name, index, module, waiting.pop(), copy(tensor_in(output)) if outputs else None)
            )

        attach.append(lambda: module.register_forward_pre_hook(before, with_kwargs=True))
        # first in line: a hook of the user's may return something else than the layer's own output
        attach.append(lambda: module.register_forward_hook(after, prepend=True))

    for name, module in select_layers(model, layers, default=default).items():
        watch(name, module)

    def start(_module: nn.Module, _args: Any) -> None:
        counts.clear()

    attach.append(lambda: model.register_forward_pre_hook(start, prepend=True))
    with eagerly(), hooked(attach):
        yield calls


def tensor_in(value: Any) -> Tensor | None:
    """The first tensor in a module's arguments or output."""
    if isinstance(value, nn.utils.rnn.PackedSequence):
        return value.data
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (tuple, list)):
        return next((found for found in map(tensor_in, value) if found is not None), None)
    if isinstance(value, dict):
        return tensor_in(list(value.values()))
    return None
