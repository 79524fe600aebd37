"""Units of cagnetta2022: learning curves of kernel regression on Gaussian fields, and networks in and out of the kernel regime.

curves     errors by teacher and n: teacher, n, error (mean squared error over the variance, mean over fields), spread (over fields)
networks   layers: state, layer, nfa, nc1 (its output, on training points), moved (relative move of its weights), train_error (share)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from agop.datasets.fields import JITTER, gaussian_fields, sphere_patches
from agop.experiments.studies.cagnetta2022 import TEACHERS
from agop.experiments.tables import write_table
from agop.experiments.units import Unit
from agop.kernels.hierarchical import HierarchicalNTK
from agop.networks.streams import derived_seed, stream
from agop.profiles.network import Network
from agop.profiles.profile import profile

_POINTS, _FIELDS, _WEIGHTS = 41, 42, 43  # uses of a unit's seed


def _values(
    X: Float[Tensor, "n d"], draws: int, seed: int
) -> Iterator[tuple[str, Float[Tensor, "n {draws}"]]]:
    """Fields of every teacher, the same for every student; and values without structure."""
    for place, (name, filters) in enumerate(TEACHERS.items()):
        yield name, gaussian_fields(X, HierarchicalNTK(filters), draws, stream(seed, _FIELDS, place))
    noise = torch.randn(len(X), draws, generator=stream(seed, _FIELDS, len(TEACHERS)), dtype=X.dtype)
    yield "noise", noise


def run_curves(unit: Unit, folder: Path) -> list[str]:
    """Ridgeless regression with the student's kernel, on the first n points of one draw; one factorisation an n."""
    options = dict(unit.options)
    sizes, test, draws = [int(n) for n in options["sizes"]], int(options["test"]), int(options["draws"])
    generator = stream(unit.seed, _POINTS)
    X = sphere_patches(max(sizes) + test, int(options["patches"]), int(options["size"]), generator)
    K = HierarchicalNTK(tuple(options["filters"]))(X)
    fields = dict(_values(X, draws, unit.seed))
    Y = torch.stack(list(fields.values()), 1).flatten(1)
    held = slice(max(sizes), None)
    rows = []
    for n in sizes:
        inner = K[:n, :n].clone()
        inner.diagonal().mul_(1 + JITTER)
        mean = Y[:n].mean(0)
        predicted = K[held, :n] @ torch.cholesky_solve(Y[:n] - mean, torch.linalg.cholesky(inner)) + mean
        errors = (predicted - Y[held]).square().mean(0) / Y[held].var(0)
        for teacher, own in zip(fields, errors.view(len(fields), draws), strict=True):
            rows.append({"teacher": teacher, "n": n, "error": float(own.mean()), "spread": float(own.std())})
    write_table(folder, "errors", pd.DataFrame(rows))
    return []


class TreeNetwork(nn.Sequential):
    """Convolutions of width 2 without overlaps and ReLUs, down to one place, and a linear read-out; He weights, no biases."""

    def __init__(self, patches: int, size: int, width: int, generator: torch.Generator) -> None:
        steps = [(1, size), *((width, 2) for _ in range(patches.bit_length() - 1))]
        layers: list[nn.Module] = [nn.Unflatten(1, (1, patches * size))]
        for channels, filter_size in steps:
            convolution = nn.Conv1d(channels, width, filter_size, stride=filter_size, bias=False)
            nn.init.normal_(
                convolution.weight, std=(2 / (channels * filter_size)) ** 0.5, generator=generator
            )
            layers += [convolution, nn.ReLU()]
        readout = nn.Linear(width, 1, bias=False)
        nn.init.normal_(readout.weight, std=width**-0.5, generator=generator)
        super().__init__(*layers, nn.Flatten(), readout)


def fit_at_scale(
    model: nn.Module, x: Float[Tensor, "n d"], signs: Float[Tensor, " n"], scale: float, steps: int
) -> Float[Tensor, " n"]:
    r"""Full-batch gradient descent on :math:`\frac{1}{2 n \alpha^2} \sum_i (\alpha (f(x_i) - f_0(x_i)) - y_i)^2`; the values at the end.

    The step is the inverse of the largest eigenvalue of the tangent kernel at the start, over n: it does not depend on the scale.
    """
    with torch.no_grad():
        start = model(x)[:, 0]
    optimiser = torch.optim.SGD(model.parameters(), lr=1 / _sharpness(model, x), momentum=0.9)
    for _ in range(steps):
        optimiser.zero_grad()
        values = scale * (model(x)[:, 0] - start)
        ((values - signs).square().mean() / (2 * scale**2)).backward()
        optimiser.step()
    with torch.no_grad():
        return scale * (model(x)[:, 0] - start)


def _sharpness(model: nn.Module, x: Float[Tensor, "n d"]) -> float:
    """The largest eigenvalue of the empirical tangent kernel over n."""
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def value(own: dict[str, Tensor], row: Tensor) -> Tensor:
        return torch.func.functional_call(model, own, (row[None],))[0, 0]

    jacobians = torch.func.vmap(torch.func.grad(value), (None, 0))(parameters, x)
    J = torch.cat([part.flatten(1) for part in jacobians.values()], 1)
    return float(torch.linalg.matrix_norm(J, 2)) ** 2 / len(x)


def run_network(unit: Unit, folder: Path) -> list[str]:
    """Train a network on the sign of a field of two layers, and measure ansatz and collapse before and after."""
    options = dict(unit.options)
    n, patches, size = int(options["points"]), int(options["patches"]), int(options["size"])
    generator = stream(unit.seed, _POINTS, 1)
    X = sphere_patches(n, patches, size, generator)
    field = gaussian_fields(X, HierarchicalNTK((size, 2)), 1, generator)[:, 0]
    y = (field > field.median()).long()
    x = X.float()
    torch_seed = derived_seed(unit.seed, _WEIGHTS, 0)
    model = TreeNetwork(patches, size, int(options["width"]), torch.Generator().manual_seed(torch_seed))
    rows = _measured(model, x, y, "untrained")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    values = fit_at_scale(model, x, 2.0 * y.float() - 1, float(options["scale"]), int(options["steps"]))
    moves = [
        float((value - before[name]).norm() / before[name].norm())
        for name, value in model.state_dict().items()
    ]
    error = float(((values > 0).long() != y).double().mean())
    rows += [{**row, "train_error": error} for row in _measured(model, x, y, "trained")]
    table = pd.DataFrame(rows)
    table["moved"] = max(moves)
    table["train_error"] = error
    write_table(folder, "layers", table)
    return [] if error == 0 else [f"{error:.1%} of the training points are on the wrong side."]


def _measured(
    model: nn.Module, x: Float[Tensor, "n d"], y: Int[Tensor, " n"], state: str
) -> list[dict[str, Any]]:
    """NFA and NC1 of every layer but the read-out."""
    found = profile(Network(model, pool="flatten", outputs=None), x, y.numpy(), measures=["nc1", "nfa"])
    nfa = found.to_frame("layer").set_index("layer")["nfa"]
    stages = found.to_frame()
    nc1 = stages[stages["stage"] == "output"].set_index("layer")["nc1"]
    hidden = list(nfa.index)[:-1]
    return [{"state": state, "layer": layer, "nfa": nfa[layer], "nc1": nc1[layer]} for layer in hidden]
