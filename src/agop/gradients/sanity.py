"""Is the gradient of sample i a gradient of sample i alone, and twice the same? Checked before every sweep.

The sum over samples of an output is differentiated in place of every sample's own output. That is right only
where no sample influences another one's output (BatchNorm in training mode does), and means something only
where the model is a function of its input (dropout in training mode is not). Both are looked up in the
modules first, which costs nothing, and then measured on a few samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from agop import _checks
from agop.gradients.state import module_of
from agop.gradients.taps import plain_name

PROBE_ROWS = 3
"""How many samples the measured checks look at."""

_HALF = (torch.float16, torch.bfloat16)


def refuse_empty(f: Callable[..., Any]) -> None:
    """Raise if a module inside `f` has parameters without numbers: lazy ones, or ones on the meta device."""
    module = module_of(f)
    if module is None:
        return
    for name, part in module.named_modules():
        kind = f"module {plain_name(name)!r} ({type(part).__name__})"
        for value in (*part.parameters(recurse=False), *part.buffers(recurse=False)):
            if nn.parameter.is_lazy(value):
                got, remedy = f"{kind}, which has no shape yet", "run the model once on a batch first"
                raise _checks.bad_value("model", "a model whose parameters have values", got, remedy)
            if value.is_meta:
                got = f"{kind} on the meta device, which holds no numbers"
                remedy = "call model.to_empty(device='cpu') and load its weights first"
                raise _checks.bad_value("model", "a model whose parameters have values", got, remedy)


def refuse_training_mode(f: Callable[..., Any]) -> None:
    """Raise if a module inside `f` is known to mix samples or to draw random numbers in the mode it is in."""
    module = module_of(f)
    if module is None:
        return
    for name, part in module.named_modules():
        kind = f"module {plain_name(name)!r} ({type(part).__name__})"
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and (part.training or part.running_mean is None):
            stays = part.running_mean is None
            raise _mixing(
                f"{kind} normalises with the statistics of the batch",
                "give it track_running_stats=True" if stays else "call .eval() on the model first",
            )
        # frozen TorchScript has no mode any more
        if getattr(part, "training", False) and _is_random(part):
            raise _random(f"{kind} draws random numbers in training mode")


def _is_random(part: nn.Module) -> bool:
    if isinstance(part, nn.modules.dropout._DropoutNd):
        return part.p > 0
    if isinstance(part, nn.RReLU):
        return part.lower != part.upper
    if isinstance(part, (nn.RNNBase, nn.MultiheadAttention)):
        return part.dropout > 0 and (isinstance(part, nn.MultiheadAttention) or part.num_layers > 1)
    # torchvision's StochasticDepth, known by its name so that torchvision stays optional
    return type(part).__name__ == "StochasticDepth" and getattr(part, "p", 1) > 0


def refuse_different_outputs(
    f: Callable[..., Any], once: Tensor, again: Tensor, run: Callable[[], Any]
) -> None:
    """Raise if two runs on the same samples gave `once` and `again`, naming the first module that differs."""
    tolerance = 1e-2 if once.dtype in _HALF else 1e-4
    difference = (once - again).abs().max() if once.shape == again.shape else torch.tensor(torch.inf)
    if not bool(difference > tolerance * once.abs().max()):
        return
    first, second = _module_outputs(f, run), _module_outputs(f, run)
    for (name, a), (_, b) in zip(first, second):
        if a.shape != b.shape or bool((a - b).abs().max() > tolerance * a.abs().max()):
            raise _random(f"module {name!r} gave two different outputs for the same input")
    raise _random("two runs on the same samples gave different outputs")


def refuse_mixed_samples(
    f: Callable[..., Any],
    y: Tensor,
    gradients: Callable[[Tensor], Sequence[Tensor | None]],
    run: Callable[[], Any],
) -> None:
    """Raise if the output of the first or last sample has a gradient with respect to another sample.

    `gradients(cotangent)` gives those of `⟨cotangent, y⟩` with respect to tensors whose first axis runs over
    samples (others are told by its length and skipped).
    """
    if y.shape[0] < 2:
        return
    # unequal weights: the plain sum of a softmax is constant and would hide everything
    weights = torch.linspace(1, 2, y.shape[1], dtype=y.dtype, device=y.device)
    for sample in (0, y.shape[0] - 1):
        cotangent = torch.zeros_like(y, requires_grad=False)
        cotangent[sample] = weights
        for gradient in gradients(cotangent):
            if gradient is not None and gradient.shape[0] == y.shape[0] and _reaches_others(gradient, sample):
                name = _first_mixing_module(f, run, y.shape[0])
                raise _mixing(
                    f"the output of one sample depends on other samples{name}",
                    "put the model into eval mode or pass a function of one sample at a time",
                )


def _reaches_others(gradient: Tensor, sample: int) -> bool:
    others = torch.cat([gradient[:sample], gradient[sample + 1 :]])
    return bool(((others != 0) & ~others.isnan()).any())


def _mixing(got: str, remedy: str) -> ValueError:
    return _checks.bad_value("model", "a model that treats every sample alone", got, remedy)


def _random(got: str) -> ValueError:
    return _checks.bad_value(
        "model", "a deterministic model", got, "call .eval() on the model first or remove the randomness"
    )


@contextmanager
def _hooks(module: nn.Module, attach: Callable[[str, nn.Module], list[Any]]) -> Iterator[None]:
    handles: list[Any] = []
    try:
        for name, part in module.named_modules():
            handles += attach(plain_name(name), part)
        yield
    finally:
        for handle in handles:
            handle.remove()


def _module_outputs(f: Callable[..., Any], run: Callable[[], Any]) -> list[tuple[str, Tensor]]:
    module, outputs = module_of(f), list[tuple[str, Tensor]]()
    if module is None:
        return outputs

    def attach(name: str, part: nn.Module) -> list[Any]:
        def keep(_part: nn.Module, _args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.is_floating_point():
                outputs.append((name, output.detach().clone()))

        return [part.register_forward_hook(keep)]

    with _hooks(module, attach):
        run()
    return outputs


def _first_mixing_module(f: Callable[..., Any], run: Callable[[], Any], n: int) -> str:
    module, found = module_of(f), list[str]()
    if module is None:
        return ""

    def attach(name: str, part: nn.Module) -> list[Any]:
        leaves: list[Tensor] = []

        def start(_part: nn.Module, args: Any) -> Any:
            if not args or not isinstance(args[0], Tensor) or not args[0].is_floating_point():
                return None
            leaves.append(args[0].detach().requires_grad_())
            return (leaves[-1].clone(), *args[1:])

        def look(_part: nn.Module, _args: Any, output: Any) -> None:
            leaf = leaves.pop() if leaves else None
            if found or leaf is None or not isinstance(output, Tensor) or not output.requires_grad:
                return
            if leaf.shape[0] != n or output.shape[0] != n:
                return
            weights = torch.linspace(1, 2, output[0].numel(), dtype=output.dtype, device=output.device)
            for sample in (0, n - 1):
                (gradient,) = torch.autograd.grad(
                    output[sample].flatten(), leaf, weights, retain_graph=True, allow_unused=True
                )
                if gradient is not None and not found and _reaches_others(gradient, sample):
                    found.append(f" in module {name!r} ({type(part).__name__})")

        return [part.register_forward_pre_hook(start), part.register_forward_hook(look)]

    with _hooks(module, attach):
        run()
    return found[0] if found else ""
