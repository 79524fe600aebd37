"""A model is looked at, not touched: everything a sweep changes is put back, also when something raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import CellType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from agop.gradients.taps import eagerly


def module_of(f: Callable[..., Any]) -> nn.Module | None:
    """The module behind `f`: `f` itself, the module a method is bound to, or None for a plain function."""
    if isinstance(f, nn.Module):
        return f
    owner = getattr(f, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def modules_in(f: Callable[..., Any]) -> list[nn.Module]:
    """The modules that `f` can be seen to use: itself, or those in its closure, its globals and its bound arguments."""
    found: dict[int, nn.Module] = {}
    visited: dict[int, Any] = {}
    stack: list[Any] = [f]
    while stack:
        value = stack.pop()
        if id(value) in visited:
            continue
        visited[id(value)] = value
        owner = value if isinstance(value, nn.Module) else getattr(value, "__self__", None)
        if isinstance(owner, nn.Module):
            found[id(owner)] = owner
        elif isinstance(value, partial):
            stack += [value.func, *value.args, *value.keywords.values()]
        elif isinstance(value, FunctionType):
            stack += [_content(cell) for cell in value.__closure__ or ()]
            named = (value.__globals__.get(name) for name in value.__code__.co_names)
            stack += [thing for thing in named if isinstance(thing, nn.Module)]
    return list(found.values())


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        # not assigned yet
        return None


@contextmanager
def untouched(f: Callable[..., Any], *, device: torch.device | None = None) -> Iterator[None]:
    """Run gradient sweeps through `f` inside this block and leave no trace of them.

    Inside: gradients are recorded whatever mode the caller is in; the parameters of `f` (when it is a module)
    are frozen, so that no activation is kept for weight gradients that nobody asked for and no `.grad` is
    written; compiled modules run eagerly, so that hooks are called; the fused attention kernels that skip
    submodules are off. Afterwards: `requires_grad` flags, `.grad`, buffers (a power iteration or a running
    mean that moved), the attention switch and the states of the CPU and CUDA generators are what they were.
    """
    with ExitStack() as stack:
        stack.enter_context(_same_random_state(device))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(eagerly())
        stack.enter_context(_no_attention_fast_path())
        for module in modules_in(f):
            stack.enter_context(_same_buffers(module))
            stack.enter_context(_frozen(module))
        yield


@contextmanager
def thawed(model: nn.Module) -> Iterator[None]:
    """Every floating parameter needs a gradient inside this block, and afterwards as before."""
    flags = [(p, p.requires_grad) for p in model.parameters() if p.is_floating_point()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


@contextmanager
def _same_random_state(device: torch.device | None) -> Iterator[None]:
    cpu = torch.random.get_rng_state()
    cuda = torch.cuda.get_rng_state(device) if device is not None and device.type == "cuda" else None
    try:
        yield
    finally:
        torch.random.set_rng_state(cpu)
        if cuda is not None and device is not None:
            torch.cuda.set_rng_state(cuda, device)


@contextmanager
def _no_attention_fast_path() -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def _same_buffers(module: nn.Module) -> Iterator[None]:
    buffers = [(buffer, buffer._version, buffer.detach().clone()) for buffer in module.buffers()]
    slots = [
        (owner, name, buffer)
        for owner in module.modules()
        for name, buffer in owner.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, version, value in buffers:
                if buffer._version != version:
                    buffer.copy_(value)
        for owner, name, buffer in slots:
            # a module may rebind a buffer instead of writing into it
            if owner._buffers.get(name) is not buffer:
                owner._buffers[name] = buffer


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    thawed = [parameter for parameter in module.parameters() if parameter.requires_grad]
    gradients: list[tuple[nn.Parameter, Tensor | None]] = [(p, p.grad) for p in thawed]
    try:
        for parameter in thawed:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, gradient in gradients:
            parameter.requires_grad_(True)
            parameter.grad = gradient
