"""Everything else that is public: kernels' parameters, theory, measures by name, metrics; and that no name was forgotten."""

from __future__ import annotations

import importlib
import types

import torch

import agop
from agop import L1, Gaussian, Laplace, Lpq, collapse
from agop.integrations.torchmetrics import NeuralCollapse
from agop.kernels import HierarchicalNNGP, HierarchicalNTK, ReLUNNGP, ReLUNTK
from agop.theory import kernel_learning
from tests.hostile import table
from tests.hostile.table import Subject, options, table_tests
from tests.hostile.test_collapse import LABEL_CASES, LABELS, M, X

REAL = options(0, -1, "x", None, True, float("nan"), float("inf"), 10**400, 1e-300, 1e300, 2**70, [1.0])
COUNT = options(0, -1, 1.5, "x", None, True, float("nan"), 10**4)
GRAM = X @ X.T + torch.eye(12, dtype=torch.float64)
POINTS = X[:5]


def metric(features, labels, classes=3):
    value = NeuralCollapse(classes)
    value.update(features, labels)
    return [float(number) for number in value.compute().values()]


MODEST_LABELS = {name: case for name, case in LABEL_CASES.items() if name != "gaps"}
NAMES = options(["magic"], ["nc4"], [], [None], "moments", None, 3)
SHAPES = options(None, 6, "23", (), (4,), [2, 3], (2, 3.0), (2, 0), (-2, 3))
BIASES = options(
    "x",
    3,
    [1.0] * 4,
    torch.ones(4),
    torch.ones(3),
    torch.ones(4, 1),
    torch.arange(4),
    torch.full((4,), float("nan")),
)
GAIN = options(0, -1, "x", None, True, float("nan"), float("inf"), 10**400, 1e-3, 1e3, [1.0])
COUNTS = options([], [0, 1], [-1, 2], [1.5, 2], ["a"], 3, None, "x", [1], [10**9, 1])
DECAYS = options(
    0,
    -1,
    "x",
    None,
    True,
    float("nan"),
    float("inf"),
    [1e-3],
    [1e-3, 1e-2],
    [1e-3, 0],
    [1e-3] * 3,
    1e300,
    1e-300,
)


def linear(**more):
    options = {"counts": [4, 2], "n_layers": 2, "weight_decay": 1e-3, "feature_decay": 1e-3, **more}
    return agop.deep_linear_collapse(options.pop("counts"), **options)


def depths(**more):
    return agop.UnboundedDepthNet(
        **{"n_features": 2, "n_classes": 2, "width": 3} | more
    ).depth_probabilities()


SUBJECTS = [
    Subject("Laplace", "bandwidth", lambda v: Laplace(v)(POINTS), 1.0, REAL),
    Subject("Laplace", "exponent", lambda v: Laplace(1.0, v)(POINTS), 1.0, REAL | options(2, 2.1)),
    Subject("L1", "bandwidth", lambda v: L1(v)(POINTS), 1.0, REAL),
    Subject("Lpq", "bandwidth", lambda v: Lpq(v)(POINTS), 1.0, REAL),
    Subject("Lpq", "p", lambda v: Lpq(1.0, v, 0.5)(POINTS), 1.0, REAL | options(2, 2.1, 0.4)),
    Subject("Lpq", "q", lambda v: Lpq(1.0, 1.5, v)(POINTS), 1.0, REAL | options(1.5, 1.6)),
    Subject("Gaussian", "bandwidth", lambda v: Gaussian(v)(POINTS), 1.0, REAL),
    Subject("ReLUNNGP", "depth", lambda v: ReLUNNGP(v)(POINTS), 1, options(0, -1, 1.5, "x", None, True)),
    Subject("ReLUNTK", "depth", lambda v: ReLUNTK(v)(POINTS), 1, options(0, -1, 1.5, "x", None, True)),
    Subject("HierarchicalNTK", "filters", lambda v: HierarchicalNTK(v)(POINTS), (1,), options((), (0,), (-1,), [2, 7], None)),
    Subject("HierarchicalNNGP", "filters", lambda v: HierarchicalNNGP(v)(POINTS), (1,), options((), (0,), [2, 7], None)),
    Subject("UnboundedDepthNet", "n_features", lambda v: depths(n_features=v), 2, options(0, -1, 1.5, "x", None, True)),
    Subject("UnboundedDepthNet", "n_classes", lambda v: depths(n_classes=v), 2, options(0, 1, 1.5, "x", None, True)),
    Subject("UnboundedDepthNet", "width", lambda v: depths(width=v), 2, options(0, -1, 1.5, "x", None, True)),
    Subject("UnboundedDepthNet", "nu", lambda v: depths(nu=v), 1.0, REAL | options(1e-300, 1e6)),
    Subject("UnboundedDepthNet", "alpha", lambda v: depths(alpha=v), 0.5, REAL),
    Subject("UnboundedDepthNet", "tau", lambda v: depths(tau=v), 1.0, REAL),
    Subject("UnboundedDepthNet", "seed", lambda v: depths(seed=v), 0, options(-1, 1.5, "x", None, True, 2**70)),
    Subject("nc1", "definition", lambda v: agop.nc1(M, v), "trace", options("magic", None, 3)),
    Subject("nc2", "target", lambda v: agop.nc2(M, v), "etf", options("magic", None, torch.eye(2), torch.full((3, 3), float("nan")))),
    Subject("nc1", "weighting", lambda v: agop.nc1(M, weighting=v), "class", options("magic", None)),
    Subject("collapse_report", "measures", lambda v: agop.collapse_report(X, LABELS, measures=v).to_dict(), None, NAMES),
    Subject("collapse_report", "n_classes", lambda v: agop.collapse_report(X, LABELS, n_classes=v).to_dict(), 3, COUNT),
    Subject("ClassMoments.empty", "n_classes", lambda v: collapse.ClassMoments.empty(v, 2).means, 3, options(0, -1, 1.5, "x", None, True)),
    Subject("deep_linear_collapse", "counts", lambda v: linear(counts=v).weight_gram, [4, 2], COUNTS),
    Subject("deep_linear_collapse", "n_layers", lambda v: linear(n_layers=v).weight_gram, 2, options(0, -1, 1.5, "x", None, True, 300)),
    Subject("deep_linear_collapse", "weight_decay", lambda v: linear(weight_decay=v).weight_gram, 1e-3, DECAYS),
    Subject("deep_linear_collapse", "feature_decay", lambda v: linear(feature_decay=v).weight_gram, 1e-3, DECAYS),
    Subject("deep_linear_collapse", "width", lambda v: linear(width=v).weight_gram, 2, options(0, -1, 1.5, "x", True, 10**9)),
    Subject("one_hot", "labels", lambda v: kernel_learning.one_hot(v), LABELS, MODEST_LABELS),
    Subject("collapsed_kernel", "labels", lambda v: kernel_learning.collapsed_kernel(v), LABELS, MODEST_LABELS),
    Subject("RankR", "shape", lambda v: agop.RankR(v, 2).weight, (2, 3), SHAPES),
    Subject("RankR", "units", lambda v: agop.RankR((2, 3), v).weight, 2, COUNT),
    Subject("RankR", "rank", lambda v: agop.RankR((2, 3), 2, v).weight, 2, COUNT),
    Subject("RankR", "init_gain", lambda v: agop.RankR((2, 3), 2, init_gain=v).weight, 1.0, GAIN),
    Subject("RankR", "seed", lambda v: agop.RankR((2, 3), 2, seed=v).weight, 0, options(-1, 1.5, "x", None, True, 2**40)),
    Subject("RankR", "dtype", lambda v: agop.RankR((2, 3), 2, dtype=v).weight, None, options("float32", torch.int64, torch.float64, 7)),
    Subject("RankR.from_dense", "weight", lambda v: agop.RankR.from_dense(v, 2).weight, X[:, :2]),
    Subject("RankR.from_dense", "rank", lambda v: agop.RankR.from_dense(X, v).weight, 1, options(0, -1, 1.5, "x", None, True)),
    Subject("RankR.from_dense", "bias", lambda v: agop.RankR.from_dense(X[:4], 1, bias=v).weight, None, BIASES),
    Subject("RankR.mode_agops", "outer", lambda v: list(agop.RankR((2, 3), 12, dtype=torch.float64).mode_agops(v)), GRAM),
    Subject("NeuralCollapse", "features", lambda v: metric(v, LABELS), X, nan=True),
    Subject("NeuralCollapse", "labels", lambda v: metric(X, v), LABELS, LABEL_CASES, nan=True),
]  # fmt: skip

RECORDS = {
    "LayerCost",
    "AGOPMoments", "CollapseReport", "LayerAGOPs", "LayerView", "Measurement", "PowerFit", "MemoryEstimate", "Dataset",
    "Source", "Kernel", "AgopDisplay", "ClassMoments", "SpanScatter", "Profile", "Data", "Curve", "Redundancy", "DeepLinearCollapse", "Raw",
    "Evidence", "PatchFilters", "SearchDisplay", "TableModel", "Table", "LeaveOneOut", "Block", "Blocks", "ConceptDirections",
    "ConceptSearch", "LayerFACTs",
}  # fmt: skip
"""Results that functions of the table return, and an abstract class: users read them and do not make them."""
CONSTANTS = {"PROBES", "KERNELS", "DATA", "DEFAULT_ROOT"}
ELSEWHERE = {"launched", "filter_grid", "energy_maps"}
"""What needs processes of its own (see tests/test_launch.py), and pictures (see tests/report/test_patches.py)."""
ROOMS = ("gradients", "collapse", "kernels", "machines", "profiles", "datasets", "tables", "report")

test_rows = table_tests("values", SUBJECTS)


def test_every_public_name_is_in_a_table():
    names = set(agop.__all__)
    for room in ROOMS:
        module = importlib.import_module(f"agop.{room}")
        names |= set(getattr(module, "__all__", ())) or {
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and not isinstance(value, types.ModuleType)
        }
    covered = {
        line.split("(")[0].split(".")[0] for family in table.FAMILIES for line, _ in table.load(family)
    }
    assert names - covered - RECORDS - CONSTANTS - ELSEWHERE == set()
    assert covered >= {"RFMClassifier", "RFMRegressor", "DeepRFMClassifier", "DeepRFMRegressor"}


def test_the_tables_hold_what_is_run_and_nothing_else():
    for family in table.FAMILIES:
        subjects = importlib.import_module(f"tests.hostile.test_{family}").SUBJECTS
        assert set(table.load(family)) == {
            (str(subject), case) for subject in subjects for case in subject.cases
        }


def test_the_rules_of_the_tables_can_be_broken():
    """A check that can't fail is worse than none."""
    broken = {
        "an error from inside torch": lambda v: torch.linalg.cholesky(-v),
        "an error of another kind": lambda v: {}["x"],
        "no sentence": lambda v: int("x"),
        "not a number": lambda v: v * float("nan"),
        "the input changed": lambda v: v.zero_(),
        "the global generator used": lambda v: torch.randn(3),
    }
    for name, call in broken.items():
        subject = Subject(name, "v", call, torch.eye(3), {"good": lambda good: good.clone()})
        try:
            table.outcome(subject, "good")
        except Exception:  # noqa: BLE001
            continue
        raise AssertionError(name)
