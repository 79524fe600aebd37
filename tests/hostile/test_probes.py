"""Probes with functions of their own: hostile features, classifiers, labels and options."""

from __future__ import annotations

import torch

import agop
from agop.networks.models import mlp
from agop.probes.tunnel import tunnel
from agop.theory import dropout, matrix_sensing
from tests.hostile.table import Subject, options, table_tests
from tests.hostile.test_collapse import LABEL_CASES, LABELS, VECTOR_CASES, W, X

BIAS = torch.randn(3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
CHANCES = torch.full((4,), 0.25, dtype=torch.float64)
ENDLESS = [float("nan"), float("inf")]
COUNT = options(0, -1, 1.5, "x", None, True, *ENDLESS)
SHARE = options(1, 0, -1, 2, "x", None, True, *ENDLESS, 10**400, [0.5])
WIDTHS = options([], [0], [-1], [5], [2.5], [True], ["2"], "2", 2, [4, 1, 4], [None], ENDLESS)
SEED = options(-1, 1.5, "x", None, True, 2**70)


def chunks(Z=X, weight=W, bias=BIAS, y=LABELS, widths=(1, 2), draws=3, **others):
    """All numbers of a redundancy, or the measurement that says why there are none."""
    found = agop.redundancy(Z, weight, bias, y, widths, draws, **others)
    if found.undefined_because is not None:
        return found.critical_width()
    return {"accuracy": found.accuracy, "r2": found.r2, "correlation": found.residual_correlation}


def path(layers, k=3, **others):
    """The Ricci coefficient of a path."""
    return agop.ricci_coefficients(layers, k, **others)


def probed(rows, labels=LABELS, **others):
    """Linear probes behind layers."""
    return tunnel(rows, labels, **others)


LAYER_CASES = {
    "None": lambda good: None,
    "a tensor": lambda good: torch.stack(good),
    "a text": lambda good: "layers",
    "a number": lambda good: 3,
    "none": lambda good: [],
    "three": lambda good: good[:3],
    "numbers": lambda good: [1, 2, 3, 4],
    "arrays": lambda good: [rows.numpy() for rows in good],
    "equal ones": lambda good: good[:1] * 5,
    "a tuple": tuple,
    "a layer less wide": lambda good: [*good[:3], good[3][:, :1]],
    "a layer with fewer points": lambda good: [*good[:3], good[3][:5]],
}

BIT_CASES = options(
    "0110",
    "01a",
    "",
    "0",
    "\n0",
    b"0110",
    [0, 1],
    [True, False],
    [0.0, 1.0],
    [0, 2],
    [[0, 1]],
    [None, 1],
    3,
    None,
    float("nan"),
    {},
) | {
    "matrix": lambda good: good[None],
    "NaN": lambda good: good.double() * float("nan"),
    "numbers": lambda good: good.double(),
    "booleans": lambda good: good > 0,
    "an array": lambda good: good.numpy().copy(),
    "objects": lambda good: good.numpy().astype(object),
    "signs": lambda good: 2 * good - 1,
    "infinity": lambda good: good.double() / 0,
}

SUBJECTS = [
    Subject("redundancy", "Z", lambda v: chunks(Z=v), X, nan=True),
    Subject("redundancy", "Z, without class means", lambda v: chunks(Z=v, class_means="remove"), X, nan=True),
    Subject("redundancy", "Z, held out", lambda v: chunks(Z=v, held_out=True), X, nan=True),
    Subject("redundancy", "weight", lambda v: chunks(weight=v), W),
    Subject("redundancy", "bias", lambda v: chunks(bias=v), BIAS, VECTOR_CASES),
    Subject("redundancy", "y", lambda v: chunks(y=v), LABELS, LABEL_CASES),
    Subject("redundancy", "y, without class means", lambda v: chunks(y=v, class_means="remove"), LABELS, LABEL_CASES),
    Subject("redundancy", "widths", lambda v: chunks(widths=v), [1], WIDTHS, nan=True),
    Subject("redundancy", "draws", lambda v: chunks(draws=v), 3, COUNT),
    Subject("redundancy", "random_state", lambda v: chunks(random_state=v), 0, SEED),
    Subject("redundancy", "class_means", lambda v: chunks(class_means=v), "keep", options("drop", None, True)),
    Subject("redundancy", "held_out", lambda v: chunks(held_out=v), False, options("yes", None, 1)),
    Subject("redundancy", "definition", lambda v: chunks(definition=v), "scaled", options("paper", None)),
    Subject("dropout_penalty", "Z", lambda v: agop.dropout_penalty(v, W), X),
    Subject("dropout_penalty", "weight", lambda v: agop.dropout_penalty(X, v), W),
    Subject("ricci_coefficients", "layers", path, [X, X.tanh(), X.square(), X.sin(), X.cos()], LAYER_CASES),
    Subject("ricci_coefficients", "one layer", lambda v: path([X, X.tanh(), v, X.sin()]), X.square()),
    Subject("ricci_coefficients", "k", lambda v: path([X, X.tanh(), X.sin(), X.cos()], v), 3, COUNT | options(48, 10**9)),
    Subject("ricci_coefficients", "curvature", lambda v: path([X] * 4, curvature=v), "forman", options("magic", None, 3)),
    Subject("ricci_coefficients", "kind", lambda v: path([X] * 4, kind=v), "local", options("magic", None, 3)),
    Subject("tunnel", "rows", lambda v: probed(v).accuracies, [X, X.tanh(), X.square(), X.sin()], LAYER_CASES, nan=True),
    Subject("tunnel", "labels", lambda v: probed([X], v).accuracies, LABELS, LABEL_CASES),
    Subject("tunnel", "share", lambda v: probed([X], share=v).accuracies, 0.95, SHARE),
    Subject("tunnel", "penalty", lambda v: probed([X], penalty=v).accuracies, 1.0, options(0, -1, "x", None, True, *ENDLESS)),
    Subject("tunnel", "random_state", lambda v: probed([X], random_state=v).accuracies, 0, SEED),
    Subject("inverse_participation_ratio", "rows", agop.inverse_participation_ratio, W, nan=True),
    Subject("lz_complexity", "f", agop.lz_complexity, (X[:, 0] > 0).long(), BIT_CASES),
    Subject("lz_complexity", "convention", lambda v: agop.lz_complexity("0110", convention=v), "paper", options("magic", None, 3)),
    Subject("expected_loss", "activations", lambda v: dropout.expected_loss(v, W, X[:, :3], 0.5), X),
    Subject("expected_loss", "p", lambda v: dropout.expected_loss(X, W, X[:, :3], v), 0.5, SHARE),
    Subject("least_penalty", "M", lambda v: matrix_sensing.least_penalty(v, CHANCES, CHANCES, 4), X[:4]),
    Subject("least_penalty", "p", lambda v: matrix_sensing.least_penalty(X[:4], v, CHANCES, 4), CHANCES, VECTOR_CASES),
    Subject("least_penalty", "factors", lambda v: matrix_sensing.least_penalty(X[:4], CHANCES, CHANCES, v), 4, COUNT),
    Subject("mlp", "dropout", lambda v: mlp(4, 3, width=5, depth=2, dropout=v)(X.float()), 0.5, SHARE | options([0.1, 0.2])),
]  # fmt: skip

test_rows = table_tests("probes", SUBJECTS)
