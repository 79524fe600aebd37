"""An estimator out of a header and tensors that may be anybody's: every name, type and shape is checked."""

from __future__ import annotations

import inspect
import math
import re
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier
from torch import Tensor

from agop._memory import available_memory
from agop.kernels import Kernel
from agop.machines.chain import Chain
from agop.machines.deep_rfm_layer import DeepRFMLayer, placed, unit_rows
from agop.machines.feature_maps import FourierFeatures, IdentityFeatures, ReLUFeatures
from agop.machines.kernel_ridge import KernelMachine
from agop.machines.names import ESTIMATORS, PRECISIONS
from agop.machines.polynomial_features import DEGREES, PAIRS, Coordinates, Monomials
from agop.machines.polynomial_ridge import Polynomial
from agop.machines.regions import RegionalMachine
from agop.machines.restoring_images import restore_images, restore_stages
from agop.machines.stored import Damaged, check_shapes, index_of, kernel_of, matrix_of, of_type
from agop.machines.storing_regions import restore_regions
from agop.machines.storing_search import KEPT, restore_search

_POLYNOMIALS = ("PolynomialRegressor", "PolynomialClassifier")
_MAPS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "ReLUFeatures": (ReLUFeatures, ("weight",)),
    "FourierFeatures": (FourierFeatures, ("frequencies", "phases")),
    "IdentityFeatures": (IdentityFeatures, ()),
}
_IMAGE_ESTIMATORS = ("ConvRFMRegressor", "ConvRFMClassifier", "DeepConvRFMClassifier")
_WIDE = ("root", "next")
"""Tensors that stay in float64 whatever the dtype of the estimator."""
_LABELS = re.compile(r"str|object|bool|u?int(8|16|32|64)|float(16|32|64)")
OTHERWISE = (
    "machine_",
    "layers_",
    "X_fit_",
    "agop_",
    "coordinates_",
    "kernel_",
    "_chains_",
    "_matrix_",
    "classes_",
    "feature_names_in_",
    "column_means_",
    "column_scales_",
    "target_means_",
    "target_scales_",
    "_weight_",
    *KEPT,
)
"""What a fit leaves behind that is stored as tensors or in a form of its own, not as plain text."""

EXACT = ("column_means_", "column_scales_", "target_means_", "target_scales_", "_weight_")
"""Tensors in float64 whatever the dtype of the estimator."""

_MOST = float(np.finfo(np.float64).max)

_RFM_0_1 = {
    "categorical_features": None,
    "bandwidth_factor": 1.0,
    "bandwidth_at": "start",
    "center_gradients": False,
    "update": "agop",
    "scaling": "none",
    "center_targets": False,
}
"""What RFM did in 0.1.0 (format 1), where later versions have parameters."""


def restored(header: dict[str, Any], tensors: dict[str, Tensor], device: torch.device) -> Any:
    """The estimator, computing on `device`.

    Raises
    ------
    Damaged
        If header and tensors don't make an estimator; other exceptions of arithmetic and types may come, too.
    """
    name = of_type(header, "class", str)
    if name not in ESTIMATORS:
        raise Damaged(f"class {name!r} is none of agop's estimators")
    parameters = of_type(header, "parameters", dict)
    if header.get("version") == 1 and name in ("RFMRegressor", "RFMClassifier"):
        parameters = _RFM_0_1 | parameters
    estimator = _constructed(ESTIMATORS[name], parameters)
    _set_fitted(estimator, of_type(header, "fitted", dict))
    estimator.device_ = str(device)
    if name.endswith("CV"):
        _dtype(estimator)
        _encoded(estimator)
        restore_search(estimator, header, tensors, lambda own, values: restored(own, values, device))
        outputs = len(estimator.target_means_)
        _set_names(estimator, header)
        _set_classes(estimator, header, outputs)
        return estimator
    if "regions" in header:
        _dtype(estimator)
        exact = {key: tensors.pop(key) for key in EXACT if key in tensors}
        if any(
            value.dtype != torch.float64 or not bool(torch.isfinite(value).all()) for value in exact.values()
        ):
            raise Damaged("scales that are not made of finite numbers in float64")
        exact = {key: value.to(device) for key, value in exact.items()}
        restore_regions(estimator, header, tensors, lambda own, values: restored(own, values, device))
        outputs = len(estimator.region_models_[0].target_means_)
        _set_scales(estimator, exact, outputs)
        _set_names(estimator, header)
        _set_classes(estimator, header, outputs)
        return estimator
    dtype = torch.float64 if type(estimator).__name__ in _POLYNOMIALS else _dtype(estimator)
    points = "training_points" if "maps" in header or "stages" in header else "centers"
    if "centers_exponent" in header:
        tensors[points] = _widened(tensors[points], of_type(header, "centers_exponent", int), dtype)
    for key, value in tensors.items():
        wide = key in EXACT or (key.rpartition(".")[2] in _WIDE and name in _IMAGE_ESTIMATORS)
        # a machine on few centres has coefficients that cancel, and brings the AGOP of its predictor
        wide = wide or key == "predictor_agop" or (key == "coefficients" and "predictor_agop" in tensors)
        own = torch.float64 if wide else dtype
        if value.dtype != own or not bool(torch.isfinite(value).all()):
            raise Damaged(f"tensor {key!r} is not made of finite numbers in {str(own)[6:]}")
    tensors = {key: value.to(device) for key, value in tensors.items()}
    if header.get("version") == 1:
        tensors |= _untouched(estimator, tensors, header)
    exact = {key: tensors.pop(key) for key in EXACT if key in tensors}
    if type(estimator).__name__ in _POLYNOMIALS:
        _restore_polynomial(estimator, of_type(header, "monomials", dict), tensors)
    elif name in _IMAGE_ESTIMATORS:
        restore = restore_stages if "stages" in header else restore_images
        restore(estimator, header, tensors)
    elif "maps" in header:
        kernel = kernel_of(of_type(header, "kernel", dict))
        _restore_layers(estimator, of_type(header, "maps", list), tensors, kernel)
    else:
        _restore_machine(estimator, tensors, kernel_of(of_type(header, "kernel", dict)))
    outputs = estimator.machine_.coefficients.shape[1]
    _set_scales(estimator, exact, outputs)
    _set_names(estimator, header)
    _set_classes(estimator, header, outputs)
    return estimator


def _untouched(estimator: Any, tensors: dict[str, Tensor], header: dict[str, Any]) -> dict[str, Tensor]:
    """Scales of an estimator of 0.1.0, which took columns and targets as they were."""
    estimator.target_extent_ = [0.0, _MOST]
    coefficients = "0.coefficients" if "maps" in header else "coefficients"
    outputs = matrix_of(tensors, coefficients).shape[1]
    kinds = (
        {"target": outputs} if "maps" in header else {"target": outputs, "column": estimator.n_features_in_}
    )
    if "monomials" in header:
        del kinds["column"]
    if "column" in kinds:
        estimator.categories_, estimator.missing_indicator_ = None, []
    if "best_iteration_" in header["fitted"]:
        estimator.best_candidate_ = _best_candidate(estimator, header)
    made: dict[str, Tensor] = {}
    for kind, count in kinds.items():
        if count > 10**8:
            raise Damaged("more columns than fit into memory")
        made[f"{kind}_means_"] = torch.zeros(count, dtype=torch.float64)
        made[f"{kind}_scales_"] = torch.ones(count, dtype=torch.float64)
    return made


def _best_candidate(estimator: Any, header: dict[str, Any]) -> int:
    """The place of the bandwidth that predicts among those that were tried."""
    tried = list(dict.fromkeys(entry.get("bandwidth") for entry in estimator.history_))
    bandwidth = header["fitted"].get("bandwidth_")
    if bandwidth not in tried:
        raise Damaged("a bandwidth that was not tried")
    return tried.index(bandwidth)


def _set_scales(estimator: Any, exact: dict[str, Tensor], outputs: int) -> None:
    """Means and scales of columns and targets, and the room that targets need."""
    expected: dict[str, tuple[int, ...]] = {"target_means_": (outputs,), "target_scales_": (outputs,)}
    if hasattr(estimator, "coordinates_") or isinstance(estimator.machine_, RegionalMachine):
        columns = (len(estimator.agop_),)
        expected |= {"column_means_": columns, "column_scales_": columns}
        estimator._weight_ = None
        if "_weight_" in exact:
            expected["_weight_"] = (len(estimator.machine_.centers),)
            if not bool((exact["_weight_"] > 0).all()):
                raise Damaged("weights that are not positive")
    check_shapes(exact, expected)
    for name, value in exact.items():
        if name.endswith("scales_") and bool((value < 0).any()):
            raise Damaged(f"tensor {name!r} has negative entries")
        setattr(estimator, name, value)
    extent = getattr(estimator, "target_extent_", None)
    if not isinstance(extent, list) or [type(number) for number in extent] != [float, float]:
        raise Damaged("target_extent_ is not two numbers")


def _constructed(cls: type, parameters: dict[str, Any]) -> Any:
    """The estimator with its constructor's arguments; `fit` checks their values, as it does for everybody's."""
    known = inspect.signature(cls).parameters
    lists: tuple[str, ...] = ("bandwidth", "categorical_features")
    if cls.__name__ in _POLYNOMIALS:
        lists = ("ridge", "shape")
    elif cls.__name__.endswith("CV"):
        lists = ("ridges", "categorical_features")
    elif cls.__name__ in _IMAGE_ESTIMATORS:
        lists = ("image_shape",)
    for name, value in parameters.items():
        if name not in known:
            raise Damaged(f"{cls.__name__} has no parameter {name!r}")
        default = known[name].default
        if isinstance(value, float) and not math.isfinite(value):
            raise Damaged(f"parameter {name!r} is not finite")
        if (isinstance(value, list) and name not in lists) or (isinstance(value, dict) and name != "kernel"):
            raise Damaged(f"parameter {name!r} is {type(value).__name__}")
        if isinstance(default, bool) and not isinstance(value, bool | int):
            raise Damaged(f"parameter {name!r} is neither true nor false")
    for shape in ("shape", "image_shape"):
        if isinstance(parameters.get(shape), list):
            parameters = {**parameters, shape: tuple(parameters[shape])}
    estimator = cls(**{k: kernel_of(v) if isinstance(v, dict) else v for k, v in parameters.items()})
    if "precision" in known and estimator.precision not in PRECISIONS:
        raise Damaged("parameter 'precision' is none of " + ", ".join(PRECISIONS))
    return estimator


def _set_fitted(estimator: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        fitted = name.isidentifier() and (name.endswith("_") or name == "_n_features_out")
        if not fitted or name.startswith("__") or name in OTHERWISE or hasattr(type(estimator), name):
            raise Damaged(f"{name[:40]!r} is no fitted attribute")
        setattr(estimator, name, value)
    n_features, history = getattr(estimator, "n_features_in_", None), getattr(estimator, "history_", None)
    history = [] if type(estimator).__name__.endswith("CV") and history is None else history
    if type(n_features) is not int:
        raise Damaged("n_features_in_ is no integer")
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise Damaged("history_ is no list of entries")
    seed = getattr(estimator, "seed_", 0)
    if type(seed) is not int or seed < 0:
        raise Damaged("seed_ is no seed")


def _dtype(estimator: Any) -> torch.dtype:
    name = getattr(estimator, "dtype_", None)
    if name not in ("float32", "float64"):
        raise Damaged("dtype_ is neither float32 nor float64")
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _widened(points: Tensor, exponent: int, dtype: torch.dtype) -> Tensor:
    """Points that were stored in half precision, in the dtype of the estimator."""
    if points.dtype != torch.float16 or not -1100 < exponent < 1100:
        raise Damaged("centres in half precision without their scale")
    return torch.from_numpy(np.ldexp(points.to(dtype).numpy(), exponent))


def _restore_machine(estimator: Any, tensors: dict[str, Tensor], kernel: Kernel) -> None:
    d = _encoded(estimator)
    r = matrix_of(tensors, "coordinates").shape[1]
    n, c = matrix_of(tensors, "coefficients").shape
    following: dict[str, tuple[int, ...]] = {
        name: (d, d) for name in tensors if re.fullmatch(r"\d+\.next", name)
    }
    machine = {"agop": (d, d), "coordinates": (d, r), "centers": (n, r), "coefficients": (n, c)}
    few = "predictor_agop" in tensors
    check_shapes(tensors, following | machine | ({"predictor_agop": (d, d)} if few else {}))
    index_of(estimator, "best_iteration_", len(estimator.history_))
    index_of(estimator, "best_candidate_", len(estimator.history_))
    estimator.kernel_ = kernel
    estimator.agop_, estimator.coordinates_ = tensors["agop"], tensors["coordinates"]
    estimator.machine_ = KernelMachine(
        kernel, tensors["centers"], tensors["coefficients"], estimator.precision
    )
    estimator._chains_ = _chains(estimator, kernel, tensors)
    if few:
        estimator._own_agop = (estimator.machine_, tensors["predictor_agop"])


def _encoded(estimator: Any) -> int:
    """How many columns the machine sees; categories and gaps are checked before they are counted."""
    d = estimator.n_features_in_
    levels, gaps = (getattr(estimator, name, None) for name in ("categories_", "missing_indicator_"))
    plain = isinstance(levels, list) and len(levels) == d and all(_is_levels(known) for known in levels)
    if levels is not None and not plain:
        raise Damaged("categories_ are not one list of levels, or nothing, per column")
    numbers = d if levels is None else levels.count(None)
    if not isinstance(gaps, list) or len(set(map(str, gaps))) < len(gaps):
        raise Damaged("missing_indicator_ is no list of columns")
    for j in gaps:
        if type(j) is not int or not 0 <= j < d or (levels is not None and levels[j] is not None):
            raise Damaged("missing_indicator_ names what is no column of numbers")
    return int(numbers + len(gaps) + sum(len(known) for known in levels or () if known is not None))


def _is_levels(known: Any) -> bool:
    if known is None:
        return True
    texts = isinstance(known, list) and all(isinstance(v, str | int | float | bool | None) for v in known)
    return texts and len(set(map(repr, known))) == len(known) and None not in known[:-1]


def _restore_polynomial(estimator: Any, stored: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    _dtype(estimator)
    d, c = estimator.n_features_in_, len(tensors["intercept"])
    check_shapes({"agop": tensors["agop"], "center": tensors["center"]}, {"agop": (d, d), "center": (d,)})
    monomials = _monomials(stored, d)
    shapes = {"agop": (d, d), "center": (d,), "scale": (d,), "intercept": (c,)}
    check_shapes(tensors, shapes | {"coefficients": (monomials.count, c)})
    if not bool((tensors["scale"] > 0).all()):
        raise Damaged("tensor 'scale' is not positive")
    estimator.agop_ = tensors["agop"]
    coordinates = Coordinates(tensors["center"], tensors["scale"])
    estimator.machine_ = Polynomial(monomials, coordinates, tensors["intercept"], tensors["coefficients"])


def _monomials(stored: dict[str, Any], d: int) -> Monomials:
    """The monomials that a header describes."""
    if set(stored) != {"d", "degree", "pairs", "shape", "radius"} or stored["d"] != d:
        raise Damaged("monomials of other columns")
    if stored["degree"] not in DEGREES or stored["pairs"] not in PAIRS:
        raise Damaged("monomials of an unknown kind")
    return Monomials.asked(d, stored["degree"], stored["pairs"], stored["shape"], stored["radius"])


def _chains(estimator: Any, kernel: Kernel, tensors: dict[str, Tensor]) -> tuple[Chain, ...]:
    """Where the recursion stood with each bandwidth: its entries, and the matrix it goes on from."""
    entries: dict[Any, list[dict[str, Any]]] = {}
    for entry in estimator.history_:
        entries.setdefault(entry.get("candidate", entry["bandwidth"]), []).append(entry)
    asked = estimator.bandwidth if isinstance(estimator.bandwidth, list) else [estimator.bandwidth]
    numbers = [candidate for candidate in asked if not isinstance(candidate, str)]
    each = estimator.bandwidth_at == "each" and isinstance(estimator.kernel, str)
    chains = []
    for index, own in enumerate(entries.values()):
        bandwidth = own[0]["bandwidth"]
        if [entry["iteration"] for entry in own] != list(range(len(own))):
            raise Damaged("iterations that do not follow each other")
        own_kernel = kernel if bandwidth is None else type(kernel)(**{**vars(kernel), "bandwidth": bandwidth})
        matrix = tensors.get(f"{index}.next", tensors["agop"])
        iteration, moves = len(own) - (own[-1]["agop_route"] is None), each and bandwidth not in numbers
        chains.append(Chain(own_kernel, matrix, iteration, tuple(own), moves=moves))
    return tuple(chains)


def _restore_layers(estimator: Any, maps: list[Any], tensors: dict[str, Tensor], kernel: Kernel) -> None:
    points = matrix_of(tensors, "training_points")
    n, d = points.shape
    c = matrix_of(tensors, "0.coefficients").shape[1]
    expected: dict[str, tuple[int, ...]] = {"training_points": (n, estimator.n_features_in_)}
    widths: list[int] = []
    for index, kind in enumerate(maps):
        if not isinstance(kind, str) or kind not in _MAPS:
            raise Damaged(f"the feature map of layer {index + 1} is unknown")
        drawn = _MAPS[kind][1]
        k = matrix_of(tensors, f"{index}.map.{drawn[0]}").shape[0] if drawn else d
        expected |= {f"{index}.{name}": (d, d) for name in ("agop", "root")}
        expected |= {f"{index}.coefficients": (n, c)}
        expected |= {f"{index}.map.{name}": (k,) if name == "phases" else (k, d) for name in drawn}
        widths.append(k)
        d = k
    check_shapes(tensors, expected)
    if not maps or estimator._n_features_out != d or len(estimator.history_) != len(maps):
        raise Damaged("layers that do not belong together")
    if 4 * n * max(widths) * points.element_size() > available_memory():
        raise Damaged(f"{n:,} centres with {max(widths):,} features do not fit into the free memory")
    best = index_of(estimator, "best_layer_", len(maps))
    estimator.X_fit_, estimator.layers_ = points, []
    for index, kind in enumerate(maps):
        cls, drawn = _MAPS[kind]
        layer = DeepRFMLayer(
            tensors[f"{index}.agop"],
            tensors[f"{index}.root"],
            tensors[f"{index}.coefficients"],
            placed(cls(*(tensors[f"{index}.map.{name}"] for name in drawn)), points),
            estimator.precision,
        )
        estimator.layers_.append(layer)
        centers = unit_rows(points)
        if index == best:
            estimator.machine_ = KernelMachine(kernel, centers, layer.coefficients, estimator.precision)
        points = layer.features(layer.project(centers))


def _set_names(estimator: Any, header: dict[str, Any]) -> None:
    if "feature_names" not in header:
        return
    names = of_type(header, "feature_names", list)
    if len(names) != estimator.n_features_in_ or not all(isinstance(name, str) for name in names):
        raise Damaged("feature_names are not one text per feature")
    estimator.feature_names_in_ = np.array(names, dtype=object)


def _set_classes(estimator: Any, header: dict[str, Any], outputs: int) -> None:
    if not is_classifier(estimator):
        if type(getattr(estimator, "_one_axis_", None)) is not bool or (
            estimator._one_axis_ and outputs != 1
        ):
            raise Damaged("targets that are no vector")
        return
    stored = of_type(header, "classes", dict)
    kind, values = of_type(stored, "dtype", str), of_type(stored, "values", list)
    if not _LABELS.fullmatch(kind) or not all(type(value) in (str, int, float, bool) for value in values):
        raise Damaged("labels that are neither texts nor numbers")
    if any(type(value) is float and not math.isfinite(value) for value in values):
        raise Damaged("labels that are not finite")
    if len(values) != outputs:
        raise Damaged(f"{len(values)} labels for {outputs} outputs")
    if kind == "str" and not all(isinstance(value, str) for value in values):
        raise Damaged("labels of several kinds")
    estimator.classes_ = np.array(values, dtype=np.dtype(kind))
    if not np.array_equal(np.unique(estimator.classes_), estimator.classes_):
        raise Damaged("labels that are not sorted")
