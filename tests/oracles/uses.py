"""Layer AGOPs the slow way, for any model: sample by sample and output by output, with autograd."""

from __future__ import annotations

import torch
from torch import nn


def rows_through(model, batch, module, *, call=0, axis=-1, output=None):
    """Gradients (n c, P, d) of every output of every sample with respect to what one call of `module` reads, through it alone."""
    found, n = [], 0
    for one in _samples(batch):
        n += 1
        leaf, y = _with_leaf(model, one, module, call)
        y = (y if output is None else output(y)).reshape(-1)
        for value in y:
            (gradient,) = torch.autograd.grad(value, leaf, retain_graph=True)
            found.append(gradient.movedim(axis, -1).reshape(-1, gradient.shape[axis]))
    return torch.stack(found), n


def _samples(batch):
    if not isinstance(batch, dict):
        return [batch[i : i + 1] for i in range(len(batch))]
    return [{k: v[i : i + 1] for k, v in batch.items()} for i in range(len(next(iter(batch.values()))))]


def _run(model, one):
    return model(**one) if isinstance(one, dict) else model(one)


def _with_leaf(model, one, module, call):
    """What is added to what a call of `module` reads (zeros), and what the model gives."""
    leaves, seen = [], []

    def enter(_module, args, kwargs):
        seen.append(1)
        if len(seen) != call + 1:
            return None
        args, kwargs = list(args), dict(kwargs)
        tensors = [k for k, v in kwargs.items() if isinstance(v, torch.Tensor)]
        place, key = (args, 0) if args else (kwargs, tensors[0])
        leaves.append(torch.zeros_like(place[key], requires_grad=True))
        place[key] = place[key] + leaves[-1]
        return tuple(args), kwargs

    handle = module.register_forward_pre_hook(enter, with_kwargs=True)
    try:
        y = _run(model, one)
    finally:
        handle.remove()
    return leaves[0], y


def agop_through(model, batch, module, **options):
    """The mean over samples and positions of the outer products of these gradients, summed over outputs."""
    rows, n = rows_through(model, batch, module, **options)
    flat = rows.flatten(0, 1)
    return flat.T @ flat / (n * rows.shape[1])


def module_agops(model, batch, *, output=None):
    """W^T (mean of delta delta^T) W of every call of every Linear, Conv and transformers Conv1D module, by name."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    names = {
        module: name
        for name, module in model.named_modules()
        if isinstance(module, kinds) or type(module).__name__ == "Conv1D"
    }
    sums, counts = {}, {}
    for one in _samples(batch):
        taken, y = _with_leaves(model, one, names)
        y = (y if output is None else output(y)).reshape(-1)
        for o, value in enumerate(y):
            leaves = [leaf for _, leaf in taken]
            gradients = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True)
            calls = {}
            for (module, _), gradient in zip(taken, gradients):
                key = names[module], calls.setdefault(module, 0)
                calls[module] += 1
                if gradient is None:
                    continue
                sums[key] = sums.get(key, 0) + _outer(module, gradient)
                counts[key] = counts.get(key, 0) + (_positions(module, gradient) if o == 0 else 0)
    totals = {}
    for name, _ in sums:
        totals[name] = totals.get(name, 0) + 1
    return {
        name if totals[name] == 1 else f"{name}#{call}": sums[name, call] / counts[name, call]
        for name, call in sums
    }


def _with_leaves(model, one, modules):
    """What is added to what each call of the modules gives (zeros), and what the model gives."""
    taken = []

    def leave(module, _args, y):
        leaf = torch.zeros_like(y, requires_grad=True)
        taken.append((module, leaf))
        return y + leaf

    handles = [module.register_forward_hook(leave) for module in modules]
    try:
        return taken, _run(model, one)
    finally:
        for handle in handles:
            handle.remove()


def _positions(module, gradient):
    return gradient.numel() // gradient.shape[1 if isinstance(module, nn.modules.conv._ConvNd) else -1]


def _outer(module, gradient):
    weight = module.weight.detach()
    if not isinstance(module, nn.modules.conv._ConvNd):
        weight = weight.T if type(module).__name__ == "Conv1D" else weight
        delta = gradient.reshape(-1, gradient.shape[-1]) @ weight
        return delta.T @ delta
    groups, weight = module.groups, weight.flatten(1)
    total = 0
    for delta, filters in zip(gradient[0].flatten(1).chunk(groups), weight.chunk(groups)):
        rows = delta.T @ filters
        total = total + rows.T @ rows
    return total
