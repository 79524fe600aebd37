r"""The AGOP of a model with respect to what each of its layers reads: one forward, c backward passes, all
layers.

A hook where every chosen layer writes receives the gradient of the current output (or combination of outputs) there and
adds its outer product to a small sum, so that nothing of size (n, c, d), and not even the gradients of all
layers of one pass, exists at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from agop import _checks
from agop._memory import parse_memory
from agop._progress import LateBar, ProgressHook, both
from agop.gradients import calling
from agop.gradients.accumulate import check_finite
from agop.gradients.cotangents import Cotangents
from agop.gradients.coverage import coverage
from agop.gradients.inputs import Batches
from agop.gradients.layer_results import LayerAGOPs
from agop.gradients.passes import Heard, Told
from agop.gradients.recorder import Recorder, View
from agop.gradients.sanity import refuse_empty, refuse_training_mode
from agop.gradients.state import untouched
from agop.gradients.sweep import Sweep
from agop.gradients.taps import Layers, call_name, original
from agop.gradients.wrapped import refuse_packed, refuse_unseen

QUIET_SECONDS = 2.0
"""What is over by then shows no bar."""


def layer_agops(
    model: nn.Module,
    X: Batches,
    layers: Layers = None,
    *,
    outputs: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    output: calling.OutputPick = None,
    inputs: Callable[[Any], Any] | None = None,
    mask: calling.MaskPick = None,
    positions: str = "mean",
    dtype: torch.dtype | None = None,
    random_state: int | torch.Generator = 0,
    check: bool = True,
    max_memory: int | str | None = None,
    verbose: bool | None = None,
    progress: ProgressHook | None = None,
) -> LayerAGOPs:
    r"""AGOPs of a model with respect to the input of each of its layers, as that layer reads it, in one
    sweep.

    For a layer that computes :math:`y_p = W h_p + b` at positions p = 1..P (one for a linear head; tokens;
    the patches of a convolution)

    .. math:: \mathrm{AGOP}_l = \frac{1}{nP} \sum_{i=1}^n \sum_{p=1}^P J_{ip}^T J_{ip}, \qquad
              J_{ip} = \frac{\partial f(x_i)}{\partial h_p} = \Delta_{ip} W, \quad \Delta_{ip} =
              \frac{\partial f(x_i)}{\partial y_p}

    (d, d) with d the length of h: it compares with the neural feature matrix :math:`W^T W` of the (flattened)
    weight, `agop.nfm`. Every token and every patch counts as a sample (`positions="mean"`); `positions="sum"`
    is the sum over positions, the mean over samples, P times as much. A patch holds `C_in/groups · kernel
    size` numbers, zeros of the padding included; groups are summed, as they are in the NFM.
    `agop.gradients.reads` lists what each kind of layer reads.

    Parameters
    ----------
    model
        Any module, in eval mode if it has BatchNorm or dropout. It is left exactly as it was.
    X
        Samples along the first axis: a tensor, an array, a table of numbers, a dict of tensors by argument (such as a tokenizer's), a tuple
        of them for a model of several inputs. Or a loader; of a batch that is a tuple or list the first item is the input.
    layers
        None: every use of a weight in a linear map, whatever module computes it. Or names, globs
        (`"head.*"`, `"!aux*"` leaves out), types, modules. A weight used several times gives one entry per
        use: `name#0`, `name#1`, …
    outputs
        None: exact. Indices: these outputs only. An int s: s random sign combinations per sample, unbiased,
        error in `.standard_error`.
    batch_size
        Rows per forward pass; by default what fits into 256 MiB, measured on the first samples. It changes no
        result.
    output
        What to take of a tuple, dict or object that the model returns: index, key, attribute name or
        function. Default: what is called logits, or the only floating tensor there is, a loss aside. Outputs at positions, (b, t, c) or
        (b, c, h, w), lie side by side in C order.
    inputs
        Makes the model's input of a batch; a tuple it returns becomes positional arguments, a dict keywords.
    mask
        Which positions count: a (n, positions) array of zeros and ones, the name of an entry of the batch, or a function of the batch.
        Default: the entry "attention_mask" of a dict. Outputs at other positions are left out, and so are these rows of the layers.
    positions
        `"mean"` or `"sum"` over the positions at which a layer is applied.
    dtype
        Accumulate (and return) in this dtype; default: that of the gradients, at least float32.
    random_state
        Seed or CPU generator of the random combinations.
    check
        Look at a few samples first: raise if the model mixes samples or is not deterministic.
    max_memory
        Bytes, or a text such as "8GB", that the sums, the AGOPs and a batch may take together; default: what is free.
        `estimate_layer_agops` says beforehand what they take, and how long it will be.
    verbose, progress
        A bar with the remaining time on standard error, after two seconds (None: only where a bar can be redrawn); a function of
        (passes done, passes in all, what is being done), which may raise.

    Returns
    -------
    LayerAGOPs
        A dict of (d, d) tensors by layer name, in call order, with `n_samples`, `rows`, `standard_error`,
        `notes`.

    Raises
    ------
    ValueError
        If a module mixes samples or is random in its present mode, if the output does not depend on a layer,
        or if a layer chosen by its name is never called. Each names the module.
    MemoryError
        If it would take more than `max_memory`, before anything of that size is made.

    Notes
    -----
    Beaglehole et al. 2024 (arXiv 2402.13728); for patches Beaglehole et al. 2023 (arXiv 2309.00570), who sum
    over positions.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> {name: tuple(A.shape) for name, A in layer_agops(net, torch.ones(10, 4)).items()}
    {'0': (4, 4), '2': (8, 8)}

    """
    limit = parse_memory("max_memory", max_memory)
    with LateBar(QUIET_SECONDS, drawn=verbose is None) as bar:
        hook = progress if verbose is False else both(bar, progress)
        return swept(
            model, X, layers, outputs=outputs, batch_size=batch_size, output=output, inputs=inputs, mask=mask, positions=positions,
            dtype=dtype, random_state=random_state, check=check, max_memory=limit, heard=None if hook is None else Told(hook),
        )  # fmt: skip


def swept(
    model: nn.Module,
    X: Batches,
    layers: Layers,
    *,
    outputs: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    output: calling.OutputPick = None,
    inputs: Callable[[Any], Any] | None = None,
    mask: calling.MaskPick = None,
    positions: str = "mean",
    dtype: torch.dtype | None = None,
    random_state: int | torch.Generator = 0,
    check: bool = True,
    exact: bool = True,
    max_memory: int | None = None,
    heard: Heard | None = None,
) -> LayerAGOPs:
    """`layer_agops`, where layers chosen by name need not be called in every batch if they are not `exact`."""
    _checks.one_of("positions", positions, ("mean", "sum"))
    sweep = sweep_of(
        model,
        layers,
        Cotangents(outputs, random_state),
        output,
        dtype,
        mask,
        batch_size,
        exact=exact,
        check=check,
    )
    sweep.max_memory, sweep.heard = max_memory, heard
    with untouched(sweep.model, device=sweep.device()):
        sweep.run(X, batch_size, inputs, check)
    return _result(sweep, positions, everything=layers is None)


def sweep_of(
    model: nn.Module,
    layers: Layers,
    cotangents: Cotangents,
    output: calling.OutputPick,
    dtype: torch.dtype | None,
    mask: calling.MaskPick,
    batch_size: int | None,
    *,
    exact: bool = True,
    check: bool = True,
) -> Sweep:
    """A sweep over layers, ready to run, if model and batch size are such as can be swept."""
    if batch_size is not None:
        _checks.integer("batch_size", batch_size, at_least=1)
    refuse_unseen(model)
    refuse_packed(model)
    model = original(model)
    refuse_empty(model)
    if check:
        refuse_training_mode(model)
    return Sweep(model, Recorder(model, layers, exact=exact), cotangents, output, dtype, mask)


def names_of(views: Collection[View]) -> dict[View, str]:
    """What the layers are called."""
    apart = {view.layer for view in views if view.effective}

    def named(view: View) -> str:
        # where a module has an effective map, its own weight is told by its full name
        return f"{view.layer}.weight" if view.layer in apart and not view.effective else view.layer

    calls = Counter(map(named, views))
    return {view: call_name(named(view), view.index, calls[named(view)]) for view in views}


def _result(sweep: Sweep, positions: str, *, everything: bool) -> LayerAGOPs:
    agops, rows, errors = dict[str, Tensor](), dict[str, int](), dict[str, float]()
    weights = dict[str, Tensor]()
    for view, name in names_of(sweep.order).items():
        total = sweep.sums.pop(view)
        divisor = total.n_rows if positions == "mean" else sweep.n_samples
        agops[name], errors[name] = total.agops(
            divisor, sweep.cotangents.replicate_sizes, random=sweep.cotangents.random
        )
        check_finite("model", agops[name].diagonal())
        rows[name] = total.n_rows
        if total.weight is not None:
            weights[name] = total.weight.flatten(0, 1)
    told = coverage(sweep.recorder.maps) if everything else None
    return LayerAGOPs(
        agops,
        n_samples=sweep.n_samples,
        rows=rows,
        positions=positions,
        standard_error=errors,
        notes=(*sweep.notes, *(told.notes if told is not None else ())),
        weights=weights,
        coverage=told,
    )
