"""The estimators: hostile samples, labels, targets, weights, parameters, and rows to predict."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy import sparse

import agop
from agop import estimate_memory
from tests.hostile.table import Subject, options, table_tests

RNG = np.random.default_rng(0)
Y = np.arange(24) % 3
X = RNG.normal(size=(24, 3)) + np.eye(3)[Y]
NEW = X[:5] + 0.1

ARRAY_CASES = {
    "None": lambda good: None,
    "a text": lambda good: "points",
    "a list": lambda good: good.tolist(),
    "a ragged list": lambda good: [[1.0, 2.0], [3.0]],
    "a frame": lambda good: pd.DataFrame(good, columns=list("abcdefgh")[: good.shape[1]]),
    "a frame with texts": lambda good: pd.DataFrame(good).assign(word="a"),
    "a frame with missing values": lambda good: pd.DataFrame(good).mask(pd.DataFrame(good) > 1),
    "a sparse matrix": lambda good: sparse.csr_matrix(good),
    "objects": lambda good: good.astype(object),
    "objects that are no numbers": lambda good: np.full(good.shape, "a", dtype=object),
    "texts": lambda good: good.astype(str),
    "dates": lambda good: np.full(good.shape, np.datetime64("2024-01-01")),
    "integers": lambda good: (10 * good).astype(int),
    "booleans": lambda good: good > 0,
    "complex": lambda good: good.astype(complex),
    "float32": lambda good: good.astype(np.float32),
    "half precision": lambda good: good.astype(np.float16),
    "longdouble": lambda good: good.astype(np.longdouble),
    "big-endian": lambda good: good.astype(">f8"),
    "one axis": lambda good: good[:, 0],
    "three axes": lambda good: good[None],
    "no rows": lambda good: good[:0],
    "no columns": lambda good: good[:, :0],
    "one column": lambda good: good[:, :1],
    "a row less": lambda good: good[:-1],
    "one row": lambda good: good[:1],
    "NaN": lambda good: np.where(good == good[0, 0], np.nan, good),
    "infinity": lambda good: np.where(good == good[0, 0], np.inf, good),
    "masked": lambda good: np.ma.masked_array(good, good > 1),
    "huge": lambda good: good * 1e30,
    "huge, float32": lambda good: (good * 1e30).astype(np.float32),
    "beyond squares": lambda good: good * 1e200,
    "denormal": lambda good: good * 1e-310,
    "zeros": lambda good: good * 0,
    "duplicated rows": lambda good: np.repeat(good[:1], len(good), 0),
    "constant column": lambda good: np.c_[np.ones(len(good)), good[:, 1:]],
    "duplicated columns": lambda good: good[:, [0, 0, 0]],
    "huge and tiny columns": lambda good: good * [1e-30, 1.0, 1e30],
    "strided": lambda good: np.repeat(np.repeat(good, 2, 0), 2, 1)[::2, ::2],
    "reversed": lambda good: good[::-1][::-1],
    "columns in memory": lambda good: np.asfortranarray(good),
    "read-only": lambda good: frozen(good),
    "a tensor": lambda good: torch.from_numpy(good.copy()),
    "a tensor of integers": lambda good: torch.from_numpy(good).long(),
    "a tensor with NaN": lambda good: torch.from_numpy(np.where(good == good[0, 0], np.nan, good)),
    "a tensor with one axis": lambda good: torch.from_numpy(good[:, 0].copy()),
    "a tensor without rows": lambda good: torch.from_numpy(good[:0].copy()),
    "a tensor that requires a gradient": lambda good: torch.from_numpy(good.copy()).requires_grad_(),
    "a tensor in half precision": lambda good: torch.from_numpy(good).half(),
    "a complex tensor": lambda good: torch.from_numpy(good.astype(complex)),
    "a sparse tensor": lambda good: torch.from_numpy(good).to_sparse(),
}
LABEL_CASES = {
    "None": lambda good: None,
    "a text": lambda good: "labels",
    "a list": lambda good: good.tolist(),
    "texts": lambda good: np.array(["b", "a", "c"])[good],
    "objects": lambda good: np.array(["b", "a", "c"], dtype=object)[good],
    "mixed objects": lambda good: np.array(["b", 1, None], dtype=object)[good],
    "categories": lambda good: pd.Series(np.array(["b", "a", "c"])[good], dtype="category"),
    "bytes": lambda good: np.array([b"b", b"a", b"c"])[good],
    "dates": lambda good: np.array(["2024-01-01", "2024-01-02", "2024-01-03"], dtype="datetime64[D]")[good],
    "whole floats": lambda good: good.astype(float),
    "floats": lambda good: good + 0.5,
    "booleans": lambda good: good == 1,
    "complex": lambda good: good.astype(complex),
    "negative": lambda good: good - 7,
    "gaps": lambda good: good * 10**12,
    "unsigned": lambda good: good.astype(np.uint8),
    "NaN": lambda good: np.where(good == 1, np.nan, good),
    "infinity": lambda good: np.where(good == 1, np.inf, good),
    "huge": lambda good: good * 1e30,
    "missing texts": lambda good: np.array(["b", None, "c"], dtype=object)[good],
    "one class": lambda good: 0 * good,
    "as many classes as rows": lambda good: np.arange(len(good)),
    "two axes": lambda good: good[:, None],
    "one-hot": lambda good: np.eye(3)[good],
    "three axes": lambda good: good[:, None, None],
    "none": lambda good: good[:0],
    "one less": lambda good: good[:-1],
    "a number": lambda good: 3,
    "read-only": lambda good: frozen(good),
    "strided": lambda good: np.repeat(good, 2)[::2],
    "a tensor": lambda good: torch.from_numpy(good),
}
WEIGHT_CASES = {
    "a number": lambda good: 2.0,
    "a text": lambda good: "heavy",
    "texts": lambda good: good.astype(str),
    "complex": lambda good: good.astype(complex),
    "NaN": lambda good: np.where(good == good[0], np.nan, good),
    "infinity": lambda good: good * np.inf,
    "negative": lambda good: -good,
    "zeros": lambda good: 0 * good,
    "zeros for a class": lambda good: good * (Y != 1),
    "huge": lambda good: good * 1e30,
    "denormal": lambda good: good * 1e-310,
    "integers": lambda good: np.arange(len(good)),
    "booleans": lambda good: good > good[3],
    "two axes": lambda good: good[:, None],
    "one less": lambda good: good[:-1],
    "read-only": lambda good: frozen(good),
    "a tensor": lambda good: torch.from_numpy(good),
}


def frozen(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


NUMBER = (0, -1, 1.5, "x", None, True, float("nan"), float("inf"), 10**400, 1e-300, 1e300, [1], np.float32(2))


def too_few(z):
    return z[:1]


def nothing(z):
    return None


def undefined(z):
    return z * float("nan")


PARAMETERS = {
    "kernel": ("cubic", None, 3, [], object),
    "bandwidth": (*NUMBER, "median", "mean", [], [0.0], [1.0, "x"], [1.0, 2.0]),
    "ridge": NUMBER,
    "learning_ridge": NUMBER,
    "param_distributions": (
        3,
        {},
        [],
        {"ridge": [1.0]},
        {"power": 0.5},
        {"power": []},
        {"kernel": ["cubic"]},
        {"power": [0.5, "x"]},
    ),
    "n_candidates": (0, -1, 1.5, "x", None, True),
    "max_time": (0, -1, "x", True, float("nan"), 1e-9),
    "ridges": ([], [0.0], [-1.0], ["x"], 1.0, None, [1e300]),
    "ensemble": (0, -1, 1.5, "x", None, True),
    "cv": (0, 1, -1, 1.5, "x", True, [], [([0], [1])], 10**6),
    "max_rows": (0, 9, 1.5, "x", None, 12),
    "n_iter": (0, -1, 1.5, "x", None, True, float("nan")),
    "n_layers": (0, -1, 1.5, "x", None, True, float("nan"), 10**30),
    "width": (0, -1, 1.5, "x", None, True, float("nan"), 10**12),
    "diagonal": ("yes", None, 2),
    "power": (0, -1, "x", None, True, float("nan"), 1e300),
    "scale": ("magic", None, 3),
    "feature_map": (
        "magic",
        None,
        3,
        torch.tanh,
        too_few,
        nothing,
        undefined,
    ),
    "feature_bandwidth": (0, -1, "x", None, float("nan")),
    "solver": ("magic", None, 3),
    "tolerance": (0, -1, "x", float("nan")),
    "precision": ("double", None, 3),
    "n_centers": (0, -1, 1.5, "x", None, True, 10**30),
    "centers": ("magic", None, 3),
    "feature_points": (0, -1, 1.5, "x", None, True, "all"),
    "max_memory": ("lots", -1, 0, 1.5, "1KB", True, [], "1GB"),
    "validation": (0, 1, -0.5, "x", True, 0.99, 0.01),
    "scoring": ("magic", 3, "r2"),
    "importance_control": (1, -1, 1.5, "x", None),
    "class_weight": ("magic", 3, {7: 1.0}, {0: -1.0}, "balanced"),
    "bandwidth_factor": NUMBER,
    "bandwidth_at": ("magic", None, "each"),
    "center_gradients": ("x", None, True),
    "update": ("magic", None, 3, "fact", "fact-geometric"),
    "center_targets": ("x", None, False),
    "categorical_features": ("all", [0], [True], [3], ["a"], 2.5, [[0]]),
    "warm_start": ("x", None),
    "device": ("cuda", "cuda:99", "nowhere", 3.5, "meta", "mps"),
    "dtype": ("float16", "int64", torch.float16, 7, "float32", torch.float64),
    "random_state": (-1, 1.5, "x", True, 2**40),
    "degree": (0, 3, 1.5, "x", None, True, np.int64(1)),
    "pairs": ("magic", None, 3, "local"),
    "scaling": ("magic", None, 3, "common", "none"),
}
LOCAL = {  # with pairs="local"
    "shape": (
        None,
        3,
        "31",
        (3,),
        (1, 3),
        [3, 1],
        (1, 1, 3),
        (1, 1, 1, 3),
        (2, 2),
        (-1, -3),
        (1.0, 3),
        (0, 3),
        np.array([1, 3]),
    ),
    "radius": (0, -1, 1.5, "x", None, True, 10**30),
}
QUICK = {"param_distributions": {"power": [0.5]}, "n_iter": 0, "ridges": [0.1], "cv": 2, "random_state": 0}
SMALL = {
    "RFMClassifier": {"n_iter": 1, "bandwidth": 2.0},
    "RFMRegressor": {"n_iter": 1, "bandwidth": 2.0},
    "DeepRFMClassifier": {"n_layers": 2, "width": 6, "random_state": 0},
    "DeepRFMRegressor": {"n_layers": 2, "width": 6, "random_state": 0},
    "ConvRFMClassifier": {"patch_size": 1, "depth": 1},
    "ConvRFMRegressor": {"patch_size": 1, "kernel": "patch-laplace", "bandwidth": 2.0},
    "DeepConvRFMClassifier": {"patch_size": 1, "n_layers": 2, "width": 6, "random_state": 0},
    "PolynomialClassifier": {},
    "PolynomialRegressor": {},
    "RFMClassifierCV": QUICK,
    "RFMRegressorCV": QUICK,
}

SUBJECTS = []
for name, small in SMALL.items():
    cls = getattr(agop, name)

    def fitted(X=X, y=Y, weight=None, cls=cls, small=small, **parameters):
        model = cls(**small | parameters).fit(X, y, sample_weight=weight)
        return model.decision_function(X) if hasattr(model, "decision_function") else model.predict(X)

    model = cls(**small).fit(X, Y)
    SUBJECTS += [
        Subject(f"{name}.fit", "X", lambda v, f=fitted: f(v), X, ARRAY_CASES),
        Subject(f"{name}.fit", "y", lambda v, f=fitted: f(y=v), Y, LABEL_CASES),
        Subject(
            f"{name}.fit",
            "sample_weight",
            lambda v, f=fitted: f(weight=v),
            RNG.uniform(1, 2, 24),
            WEIGHT_CASES,
        ),
        Subject(f"{name}.predict", "X", model.predict, NEW, ARRAY_CASES),
    ]
    if name in ("RFMClassifier", "RFMRegressor"):
        one = cls(**small, random_state=0)
        SUBJECTS += [
            Subject(
                "leave_one_out",
                f"X, {name}",
                lambda v, m=one: agop.leave_one_out(m, v, Y, cv=2).values,
                X,
                ARRAY_CASES,
            ),
            Subject(
                "leave_one_out",
                f"y, {name}",
                lambda v, m=one: agop.leave_one_out(m, X, v, cv=2).values,
                Y,
                LABEL_CASES,
            ),
            Subject(
                "leave_one_out",
                f"cv, {name}",
                lambda v, m=one: agop.leave_one_out(m, X, Y, cv=v).values,
                2,
                options(1, 0, -3, 1.5, "x", None, True),
            ),
        ]
    if name.startswith("Deep"):
        SUBJECTS.append(Subject(f"{name}.transform", "X", model.transform, NEW, ARRAY_CASES))
        SUBJECTS.append(
            Subject(
                f"{name}.transform",
                "layer",
                lambda v, m=model: m.transform(NEW, layer=v),
                -1,
                options(2, -3, 1.5, "x", None),
            )
        )
        SUBJECTS.append(
            Subject(
                f"{name}.views",
                "X",
                lambda v, m=model: [view.output for view in m.views(v)],
                NEW,
                ARRAY_CASES,
            )
        )
    if name.startswith("Polynomial"):
        SUBJECTS += [
            Subject(f"{name}.grad", "X", lambda v, m=model: m.grad(v, 0), NEW, ARRAY_CASES),
            Subject(
                f"{name}.views", "X", lambda v, m=model: [w.projected for w in m.views(v)], NEW, ARRAY_CASES
            ),
            *(
                Subject(
                    name,
                    parameter,
                    lambda v, f=fitted, p=parameter: f(**{"pairs": "local", "shape": (1, 3)} | {p: v}),
                    None,
                    options(*values),
                )
                for parameter, values in LOCAL.items()
            ),
        ]
    if name == "PolynomialRegressor":
        model = cls().fit(X, np.eye(3)[Y])
        SUBJECTS.append(
            Subject(
                f"{name}.grad",
                "output",
                lambda v, m=model: m.grad(NEW, v),
                2,
                options(None, 3, -1, 1.5, "x", True, np.int64(1)),
            )
        )
    if name.endswith("Classifier"):
        SUBJECTS.append(Subject(f"{name}.predict_proba", "X", model.predict_proba, NEW, ARRAY_CASES))
    SUBJECTS += [
        Subject(name, parameter, lambda v, f=fitted, p=parameter: f(**{p: v}), None, options(*values))
        for parameter, values in PARAMETERS.items()
        if parameter in cls().get_params()
    ]
TENSORS = {
    "units": (0, -1, 1.5, "x", None, True, np.int64(3)),
    "rank": (0, -1, 1.5, "x", None, True, 7),
    "image_shape": (
        None,
        3,
        "31",
        "flat",
        (3,),
        [3, 1],
        (1, 3, 1),
        (2, 2),
        (-1, -3),
        (1.0, 3),
        (0, 3),
        np.array([1, 3]),
    ),
    "epochs": (0, -1, 1.5, "x", None, True),
    "batch_size": (0, -1, 1.5, "x", None, True, 10**30),
    "lr": NUMBER,
    "weight_decay": (-1, "x", None, float("nan"), 0, 1e3),
    "training": ("magic", None, 3, "by-mode"),
    "init_gain": (0, -1, "x", None, True, float("nan"), 1e-3),
    "verbose": (None, 0),
    **{name: PARAMETERS[name] for name in ("device", "dtype", "random_state")},
}


def tensors(X=X, y=Y, **parameters):
    options = {"units": 4, "image_shape": (3, 1), "epochs": 2, "random_state": 0, **parameters}
    return agop.RankRClassifier(**options).fit(X, y).decision_function(X)


TENSOR_MODEL = agop.RankRClassifier(units=4, image_shape=(3, 1), epochs=2, random_state=0).fit(X, Y)
SUBJECTS += [
    Subject("RankRClassifier.fit", "X", tensors, X, ARRAY_CASES),
    Subject("RankRClassifier.fit", "y", lambda v: tensors(y=v), Y, LABEL_CASES),
    Subject("RankRClassifier.predict", "X", TENSOR_MODEL.predict, NEW, ARRAY_CASES),
    Subject("RankRClassifier.predict_proba", "X", TENSOR_MODEL.predict_proba, NEW, ARRAY_CASES),
    Subject("RankRClassifier.views", "X", lambda v: [view.output for view in TENSOR_MODEL.views(v)], NEW, ARRAY_CASES),
    *(
        Subject("RankRClassifier", name, lambda v, p=name: tensors(**{p: v}), None, options(*values))
        for name, values in TENSORS.items()
    ),
    Subject("RankRClassifier", "inner_steps", lambda v: tensors(training="by-mode", inner_steps=v), 10, options(0, -1, 1.5, "x", None)),
]  # fmt: skip
COUNT = options(0, -1, 1.5, "x", None, True, float("nan"), 10**30)
SUBJECTS += [
    *(
        Subject("estimate_memory", argument, lambda v, a=argument: estimate_memory(**{"n": 10, "d": 3, "c": 2} | {a: v}).total, 10, COUNT)
        for argument in ("n", "d", "c", "width", "n_layers", "matrices")
    ),
    Subject("estimate_memory", "dtype", lambda v: estimate_memory(10, 3, 2, dtype=v).total, None, options("float32", torch.int64, None, 7)),
]  # fmt: skip

test_rows = table_tests("estimators", SUBJECTS)
