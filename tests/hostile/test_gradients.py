"""Gradients: hostile samples, functions, layers, matrices and options."""

from __future__ import annotations

import torch
from torch import nn

import agop
from agop.linalg.compare import matrix_correlation
from agop.linalg.psd import psd_power
from tests.hostile.table import Subject, options, table_tests

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(8, 4, generator=GENERATOR, dtype=torch.float64)
B = torch.randn(4, 4, generator=GENERATOR, dtype=torch.float64)
PSD = B @ B.mT


def net() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    return model


with torch.random.fork_rng():
    NET = net()
    TRAINING, DROPOUT = (
        nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double(),
        nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)).double(),
    )
    RELU = nn.ReLU()
    CNN = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 2)).double()
IMAGES = torch.randn(5, 2, 4, 4, generator=GENERATOR, dtype=torch.float64)
FILTERS = CNN[0].weight.detach().flatten(1)
M = FILTERS.mT @ FILTERS

F_CASES = {
    "None": lambda good: None,
    "a text": lambda good: "net",
    "a tensor": lambda good: X,
    "an array out": lambda good: lambda x: x.detach().numpy(),
    "None out": lambda good: lambda x: None,
    "one number out": lambda good: lambda x: x.sum(),
    "a row less out": lambda good: lambda x: x[:-1],
    "independent of X": lambda good: lambda x: torch.ones(len(x), 2, dtype=x.dtype),
    "detached": lambda good: lambda x: x.detach(),
    "integers out": lambda good: lambda x: (x > 0).long(),
    "complex out": lambda good: lambda x: x.to(torch.complex128),
    "no outputs": lambda good: lambda x: x[:, :0],
    "three axes out": lambda good: lambda x: x[:, :, None].repeat(1, 1, 2),
    "a tuple out": lambda good: lambda x: (x, x),
    "NaN out": lambda good: lambda x: x * float("nan"),
    "huge out": lambda good: lambda x: x * 1e30,
    "mixes samples": lambda good: lambda x: x - x.mean(0),
    "training mode": lambda good: TRAINING,
    "dropout": lambda good: DROPOUT,
}


def raises(x):
    raise ValueError("x: expected something else, got this.")


OUTPUTS = options(0, -1, 99, 1.5, "all", True, [], [5], [-1], [0, 0], [0.5], [None])
NUMBER = options(0, -1, 1.5, "x", None, True, float("nan"), 10**30)
REAL = options(0, -1, "x", None, True, float("nan"), float("inf"), 1e300, 1e-300, 10**400)
DTYPES = options("float32", torch.int64, torch.complex64, torch.float16, torch.float32, 7)
SEEDS = options(-1, 1.5, "x", None, True, 2**63, 2**70)
SHAPES = options(
    None, 4, "22", (), (4,), [2, 2], (2, 3), (2, 2.0), (2, 0), (-2, -2), (True, 4), (1, 2, 2), (10**30, 4)
)
FLAGS = options("yes", 2, None)
LAYERS = options("", "nowhere", "9", [], ["0", "nowhere"], [7.5], 3, nn.Conv2d, [None], int)
MODELS = {
    "None": lambda good: None,
    "a function": lambda good: raises,
    "no layers": lambda good: RELU,
    "training mode": lambda good: TRAINING,
}
MODULES = {
    "None": lambda good: None,
    "a text": lambda good: "layer",
    "no weight": lambda good: RELU,
    "a tensor": lambda good: PSD,
    "several layers": lambda good: NET,
}
LAYER = options("", "nowhere", "*", [], ["0"], 3, None, nn.Conv2d, "2")


def fact(model=NET, x=X, y=None, loss="cross_entropy", weight_decay=0.1, **more):
    """The matrices of FACT, and where there is none the measurements that say why."""
    found = agop.fact(model, x, Y if y is None else y, loss=loss, weight_decay=weight_decay, **more)
    return [list(found.values()), list(found.residuals.values())]


Y = torch.arange(8) % 3
Y_CASES = {
    "text": lambda good: list("abcabcab"),
    "a list": lambda good: good.tolist(),
    "an array": lambda good: good.numpy(),
    "shares": lambda good: torch.nn.functional.one_hot(good).double(),
    "fractions": lambda good: good / 3,
    "a class too many": lambda good: good + 1,
    "negative": lambda good: good - 1,
    "too few": lambda good: good[:3],
    "a column": lambda good: good[:, None],
    "objects": lambda good: [None] * 8,
    "a number": lambda good: 3,
    "NaN": lambda good: torch.full((8, 3), float("nan"), dtype=torch.float64),
}
LOSSES = options("hinge", "mse", None, 3, nn.CrossEntropyLoss) | {
    "a sum": lambda good: nn.CrossEntropyLoss(reduction="sum"),
    "neither mean nor sum": lambda good: lambda out, y: out.square().sum().sqrt(),
    "None out": lambda good: lambda out, y: None,
    "a number out": lambda good: lambda out, y: 1.0,
    "without a gradient": lambda good: lambda out, y: out.detach().square().sum(1),
    "NaN out": lambda good: lambda out, y: out.sum(1) * float("nan"),
    "a matrix out": lambda good: lambda out, y: out.square(),
}
OPTIMIZERS = {"sgd": torch.optim.SGD(NET.parameters(), 0.1, weight_decay=0.1)}
OPTIMIZER_CASES = options("sgd", 3, None, torch.optim.SGD) | {
    "AdamW": lambda good: torch.optim.AdamW(NET.parameters()),
    "without decay": lambda good: torch.optim.SGD(NET.parameters(), 0.1),
    "of another model": lambda good: torch.optim.SGD(CNN.parameters(), 0.1, weight_decay=0.1),
    "LBFGS": lambda good: torch.optim.LBFGS(NET.parameters()),
}

MASKS = options("x") | {
    "of other samples": lambda good: torch.ones(3, 2),
    "one axis": lambda good: torch.ones(8),
    "nothing counts": lambda good: torch.zeros(8, 2),
    "complex": lambda good: torch.ones(8, 2, dtype=torch.complex64),
    "a function of nothing": lambda good: lambda item: None,
}
MEMORY = options("lots", "1GB", 0, -1, 1.5, True, 10)
SUBJECTS = []
for name, function in {
    "agop": agop.agop,
    "agop_diagonal": agop.agop_diagonal,
    "agop_top": lambda f, x, **more: agop.agop_top(f, x, 2, **more),
    "AGOPMoments.of": lambda f, x, check=True, batch_size=None, **more: (
        agop.AGOPMoments(**more).update(f, x, check=check, batch_size=batch_size).agop
    ),
    "layer_agops": lambda f, x, center=False, **more: list(agop.layer_agops(f, x, **more).values()),
}.items():
    SUBJECTS += [
        Subject(name, "X", lambda v, g=function: g(NET, v), X),
        Subject(name, "outputs", lambda v, g=function: g(NET, X, outputs=v), None, OUTPUTS),
        Subject(name, "batch_size", lambda v, g=function: g(NET, X, batch_size=v), None, NUMBER),
        Subject(name, "dtype", lambda v, g=function: g(NET, X, dtype=v), None, DTYPES),
        Subject(name, "random_state", lambda v, g=function: g(NET, X, outputs=2, random_state=v), 0, SEEDS),
    ]
    if name != "layer_agops":
        SUBJECTS += [
            Subject(name, "f", lambda v, g=function: g(v, X), None, F_CASES),
            Subject(name, "center", lambda v, g=function: g(NET, X, center=v), False, FLAGS),
        ]
SUBJECTS += [
    Subject("agop_top", "k", lambda v: agop.agop_top(NET, X, v), 2, NUMBER),
    Subject("agop_top", "tol", lambda v: agop.agop_top(NET, X, 2, tol=v), None, REAL),
    Subject("agop_top", "max_sweeps", lambda v: agop.agop_top(NET, X, 2, max_sweeps=v), 30, NUMBER),
    Subject("agop_top", "max_memory", lambda v: agop.agop_top(NET, X, 2, max_memory=v), 2**30, NUMBER),
    Subject("layer_agops", "max_memory", lambda v: list(agop.layer_agops(NET, X, max_memory=v).values()), None, MEMORY),
    Subject("estimate_layer_agops", "X", lambda v: agop.estimate_layer_agops(NET, v).operations, X),
    Subject("estimate_layer_agops", "layers", lambda v: agop.estimate_layer_agops(NET, X, v).operations, None, LAYERS),
    Subject("layer_agops", "mask", lambda v: list(agop.layer_agops(NET, X, mask=v).values()), None, MASKS),
    Subject("agop", "mask", lambda v: agop.agop(NET, X, mask=v), None, MASKS),
    Subject("layer_agops", "output", lambda v: list(agop.layer_agops(NET, X, output=v).values()), None, options("x", 99, True)),
    Subject("layer_agops", "model", lambda v: list(agop.layer_agops(v, X).values()), NET, MODELS),
    Subject("layer_agops", "layers", lambda v: list(agop.layer_agops(NET, X, v).values()), None, LAYERS),
    Subject("layer_agops", "positions", lambda v: list(agop.layer_agops(NET, X, positions=v).values()), "mean", FLAGS),
    Subject("nfm", "layer", agop.nfm, NET[0], MODULES),
    Subject("fact", "model", lambda v: fact(model=v), NET, MODELS),
    Subject("fact", "X", lambda v: fact(x=v), X),
    Subject("fact", "y", lambda v: fact(y=v), Y, Y_CASES),
    Subject("fact", "loss", lambda v: fact(loss=v), "cross_entropy", LOSSES),
    Subject("fact", "weight_decay", lambda v: fact(weight_decay=v), 0.1, REAL),
    Subject("fact", "optimizer", lambda v: fact(weight_decay=None, optimizer=v), OPTIMIZERS["sgd"], OPTIMIZER_CASES),
    Subject("fact", "layers", lambda v: fact(layers=v), None, LAYERS),
    Subject("fact", "batch_size", lambda v: fact(batch_size=v), None, NUMBER),
    Subject("nfa", "nfm_or_view", lambda v: agop.nfa(v, PSD), PSD, nan=True),
    Subject("nfa", "agop", lambda v: agop.nfa(PSD, v), PSD, nan=True),
    Subject("nfa", "power", lambda v: agop.nfa(PSD, PSD, power=v), 0.5, REAL),
    Subject("nfa_best_power", "nfm_or_view", lambda v: agop.nfa_best_power(v, PSD).correlation, PSD, nan=True),
    Subject("nfa_best_power", "agop", lambda v: agop.nfa_best_power(PSD, v).correlation, PSD, nan=True),
    Subject(
        "nfa_best_power", "between", lambda v: agop.nfa_best_power(PSD, PSD, between=v).correlation, (0.1, 1.5),
        options((1.5, 0.1), (0, 0), (-1, 1), (0.1,), "ab", 3, (float("nan"), 1.0), (0.1, 1e6)),
    ),
    Subject("mode_agops", "agop", lambda v: list(agop.mode_agops(v, (2, 2))), PSD),
    Subject("mode_agops", "shape", lambda v: list(agop.mode_agops(PSD, v)), (2, 2), SHAPES),
    Subject("mode_nfa", "feature_matrix", lambda v: list(agop.mode_nfa(v, PSD, (2, 2))), PSD, nan=True),
    Subject("mode_nfa", "agop", lambda v: list(agop.mode_nfa(PSD, v, (2, 2))), PSD, nan=True),
    Subject("mode_nfa", "shape", lambda v: list(agop.mode_nfa(PSD, PSD, v)), (2, 2), SHAPES, nan=True),
    Subject("mode_nfa", "power", lambda v: list(agop.mode_nfa(PSD, PSD, (2, 2), power=v)), 0.5, REAL),
    Subject("patch_agop", "model", lambda v: agop.patch_agop(v, "0", IMAGES), CNN, MODELS),
    Subject("patch_agop", "layer", lambda v: agop.patch_agop(CNN, v, IMAGES), "0", LAYER),
    Subject("patch_agop", "X", lambda v: agop.patch_agop(CNN, "0", v), IMAGES),
    Subject("patch_agop", "positions", lambda v: agop.patch_agop(CNN, "0", IMAGES, positions=v), "sum", FLAGS),
    Subject("conv_nfa", "X", lambda v: list(agop.conv_nfa(CNN, v).values()), IMAGES, nan=True),
    Subject("conv_nfa", "layers", lambda v: list(agop.conv_nfa(CNN, IMAGES, v).values()), None, LAYERS),
    Subject("conv_nfa", "power", lambda v: list(agop.conv_nfa(CNN, IMAGES, power=v).values()), 1.0, REAL, nan=True),
    Subject("patch_filters", "M", lambda v: agop.patch_filters(v, 2).filters, M),
    Subject("patch_filters", "channels", lambda v: agop.patch_filters(M, v).filters, 2, NUMBER),
    Subject("patch_filters", "n", lambda v: agop.patch_filters(M, 2, n=v).filters, 4, NUMBER),
    Subject("patch_energy", "M", lambda v: agop.patch_energy(v, IMAGES), M),
    Subject("patch_energy", "X", lambda v: agop.patch_energy(M, v), IMAGES),
    Subject("patch_energy", "stride", lambda v: agop.patch_energy(M, IMAGES, stride=v), 1, NUMBER, nan=True),
    Subject("patch_energy", "padding", lambda v: agop.patch_energy(M, IMAGES, padding=v), "valid", FLAGS),
    Subject("patch_energy", "at", lambda v: agop.patch_energy(M, IMAGES, at=v), "pixels", FLAGS),
    Subject("psd_power", "M", lambda v: psd_power(v, 0.5).coordinates, PSD),
    Subject("psd_power", "power", lambda v: psd_power(PSD, v).coordinates, 0.5, REAL),
    Subject("matrix_correlation", "A", lambda v: matrix_correlation(v, PSD), PSD, nan=True),
]  # fmt: skip

test_rows = table_tests("gradients", SUBJECTS)
