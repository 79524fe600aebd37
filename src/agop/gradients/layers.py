r"""The AGOP of a model with respect to what each of its layers reads: one forward, c backward passes, all
layers.

A hook where every chosen layer writes receives the gradient of the current output (or combination of outputs) there and
adds its outer product to a small sum, so that nothing of size (n, c, d), and not even the gradients of all
layers of one pass, exists at once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from agop import _checks
from agop._tables import Cell, number, shades, table
from agop.gradients import calling
from agop.gradients.accumulate import check_finite
from agop.gradients.cotangents import Cotangents
from agop.gradients.coverage import Coverage, coverage
from agop.gradients.inputs import Batches
from agop.gradients.recorder import Recorder, View
from agop.gradients.sanity import refuse_empty, refuse_training_mode
from agop.gradients.state import untouched
from agop.gradients.sweep import Sweep
from agop.gradients.taps import Layers, call_name, original
from agop.ranks import Ranks


class LayerAGOPs(dict[str, Tensor]):
    """AGOPs by layer, in the order in which the layers were called, with what is needed to merge and to judge
    them.

    `n_samples` samples went in; `rows[name]` rows (samples, tokens or patches) were read by each layer;
    `positions` says what the AGOP is a mean over; `standard_error[name]` is the relative error (Frobenius
    norm) of random outputs, 0 when exact; `weights[name]` is the effective W (k, d) that multiplies what the layer
    reads, where it shows one (the groups of a convolution stacked); `notes` says what was left out, and `coverage`
    how many of the model's weight matrices are layers. `a + b` is the result for the data
    of both, `all_reduce()` that of all processes.
    """

    def __init__(
        self,
        agops: dict[str, Tensor],
        *,
        n_samples: int,
        rows: dict[str, int],
        positions: str,
        standard_error: dict[str, float],
        notes: tuple[str, ...] = (),
        weights: Mapping[str, Tensor] | None = None,
        coverage: Coverage | None = None,
    ) -> None:
        super().__init__(agops)
        self.n_samples = n_samples
        self.rows = rows
        self.positions = positions
        self.standard_error = standard_error
        self.notes = notes
        self.weights = dict(weights or {})
        self.coverage = coverage

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name!r}: {tuple(value.shape)}" for name, value in self.items())
        whole = self.coverage is None or self.coverage.complete
        header = "" if whole else f"{self.coverage}: "
        return f"LayerAGOPs({header}{{{shapes}}}, n_samples={self.n_samples}, positions={self.positions!r})"

    def _repr_html_(self) -> str:
        """A table in a notebook: by layer the shape, the rows that were read, the trace, and how much of it lies on one coordinate."""
        traces = [float(value.trace()) for value in self.values()]
        tops = [_top_share(value, trace) for value, trace in zip(self.values(), traces)]
        columns = {
            "layer": [Cell(name) for name in self],
            "shape": [Cell("×".join(map(str, value.shape))) for value in self.values()],
            "rows": [Cell(f"{self.rows[name]}") for name in self],
            "trace": [Cell(number(t), shade=s) for t, s in zip(traces, shades(traces, log=True))],
            "largest diagonal entry / trace": [
                Cell(number(t), "" if t == t else "the trace is 0", s) for t, s in zip(tops, shades(tops))
            ],
            "standard error": [Cell(number(self.standard_error[name])) for name in self],
        }
        told = () if self.coverage is None or self.coverage.complete else (str(self.coverage),)
        head = f"AGOPs of {len(self)} layers, {self.n_samples} samples, {self.positions} over positions"
        return table(head, list(columns), list(zip(*columns.values())), (*told, *self.notes))

    def _weights(self) -> dict[str, int]:
        return self.rows if self.positions == "mean" else dict.fromkeys(self, self.n_samples)

    def __add__(self, other: LayerAGOPs) -> LayerAGOPs:
        """The layer AGOPs of both data sets together."""
        if not isinstance(other, LayerAGOPs):
            return NotImplemented
        if list(self) != list(other) or self.positions != other.positions:
            raise _checks.bad_value(
                "other",
                f"positions={self.positions!r} and layers {list(self)}",
                f"positions={other.positions!r} and layers {list(other)}",
            )
        agops, errors = {}, {}
        for name, mine, theirs in zip(self, self._weights().values(), other._weights().values()):
            a, b = mine / (mine + theirs), theirs / (mine + theirs)
            agops[name] = a * self[name] + b * other[name]
            error = math.hypot(
                a * self.standard_error[name] * float(self[name].norm()),
                b * other.standard_error[name] * float(other[name].norm()),
            )
            errors[name] = error / max(float(agops[name].norm()), 1e-300)
        return LayerAGOPs(
            agops,
            n_samples=self.n_samples + other.n_samples,
            rows={name: self.rows[name] + other.rows[name] for name in self},
            positions=self.positions,
            standard_error=errors,
            notes=tuple(dict.fromkeys(self.notes + other.notes)),
            weights=self.weights,
            coverage=self.coverage,
        )

    def all_reduce(self, group: Any = None) -> LayerAGOPs:
        """Merge the results of all processes of a `torch.distributed` group (see `Ranks.of`); each of them gets the whole."""
        ranks = Ranks.of(group)

        def total(values: list[float], like: Tensor) -> list[float]:
            summed = ranks.sum_(torch.tensor(values, dtype=torch.float64, device=like.device))
            return [float(value) for value in summed]

        names, like = list(self), next(iter(self.values()))
        *rows, n_samples = total([float(self.rows[name]) for name in names] + [float(self.n_samples)], like)
        weights = dict(zip(names, rows)) if self.positions == "mean" else dict.fromkeys(names, n_samples)
        agops, squares = {}, []
        for name in names:
            share = self._weights()[name] / weights[name]
            squares.append((share * self.standard_error[name] * float(self[name].norm())) ** 2)
            agops[name] = ranks.sum_(self[name] * share)
        errors = {
            name: math.sqrt(square) / max(float(agops[name].norm()), 1e-300)
            for name, square in zip(names, total(squares, like))
        }
        return LayerAGOPs(
            agops,
            n_samples=int(n_samples),
            rows={name: int(count) for name, count in zip(names, rows)},
            positions=self.positions,
            standard_error=errors,
            notes=self.notes,
            weights=self.weights,
            coverage=self.coverage,
        )


def _top_share(agop: Tensor, trace: float) -> float:
    """The share of the trace that lies on one coordinate."""
    return float(agop.diagonal().max()) / trace if trace > 0 else math.nan


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
    return swept(
        model, X, layers, outputs=outputs, batch_size=batch_size, output=output, inputs=inputs, mask=mask, positions=positions, dtype=dtype,
        random_state=random_state, check=check,
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
) -> LayerAGOPs:
    """`layer_agops`, where layers chosen by name need not be called in every batch if they are not `exact`."""
    _checks.one_of("positions", positions, ("mean", "sum"))
    if batch_size is not None:
        _checks.integer("batch_size", batch_size, at_least=1)
    if not isinstance(model, nn.Module):
        raise _checks.bad_type(
            "model", "a torch module", type(model).__name__, "use agop.agop for plain functions"
        )
    model = original(model)
    refuse_empty(model)
    if check:
        refuse_training_mode(model)
    cotangents = Cotangents(outputs, random_state)
    sweep = Sweep(model, Recorder(model, layers, exact=exact), cotangents, output, dtype, mask)
    with untouched(model, device=sweep.device()):
        sweep.run(X, batch_size, inputs, check)
    return _result(sweep, positions, everything=layers is None)


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
