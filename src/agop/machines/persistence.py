"""Estimators as safetensors files with a JSON header: no pickle, written atomically, checked when read.

The header holds the constructor's arguments, the kernel, and everything that a fit left behind as a number, a
text or a list; the tensors are the feature matrices, the coefficients and the points that the machines are
centred on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agop import _checks, _store
from agop.kernels import Kernel, named
from agop.kernels.cntk import CNTK
from agop.kernels.patch_kernel import PatchKernel
from agop.kernels.patches import PatchGrid
from agop.machines.conv_machine import ConvMachine
from agop.machines.polynomial_ridge import Polynomial
from agop.machines.regions import RegionalMachine
from agop.machines.restoring import EXACT, OTHERWISE, restored
from agop.machines.stored import Damaged
from agop.machines.storing_regions import regions_parts
from agop.machines.storing_search import kept_parameters, search_parts

FORMAT_VERSION = 2
_OLDEST = 1
_KIND, _REMEDY = "estimator", "save the estimator again"
WRONG = (Damaged, KeyError, TypeError, ValueError, OverflowError, AttributeError, RuntimeError)
"""What restoring from a damaged header may raise."""


def save(estimator: Any, path: str | Path, centers: str | None = None) -> None:
    """Write a fitted estimator; a file of that name is replaced only when the new one is complete."""
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(estimator)
    _checks.one_of("centers", centers, (None, "float16"))
    _store.write(path, _KIND, FORMAT_VERSION, *described(estimator, centers))


def described(estimator: Any, centers: str | None = None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a fitted estimator."""
    header: dict[str, Any] = {
        "class": type(estimator).__name__,
        "parameters": {name: _plain(name, value) for name, value in kept_parameters(estimator).items()},
        "fitted": {
            name: _text(name, value) for name, value in vars(estimator).items() if _is_text(name, estimator)
        },
    }
    if hasattr(estimator, "feature_names_in_"):
        header["feature_names"] = [str(name) for name in estimator.feature_names_in_]
    if hasattr(estimator, "classes_"):
        header["classes"] = _classes(estimator.classes_)
    if hasattr(estimator, "estimators_"):
        more, tensors = search_parts(estimator, lambda model: described(model, centers), _plain)
        return header | more, tensors
    if isinstance(estimator.machine_, RegionalMachine):
        more, tensors = regions_parts(estimator, lambda model: described(model, centers))
        tensors |= {name: value for name in EXACT if (value := getattr(estimator, name, None)) is not None}
        return header | more, tensors
    is_polynomial, is_image = (
        isinstance(estimator.machine_, Polynomial),
        isinstance(estimator.machine_, ConvMachine),
    )
    if not is_polynomial and not is_image:
        header["kernel"] = _plain("kernel", estimator.machine_.kernel)
    is_deep = hasattr(estimator, "layers_")
    if is_image:
        tensors = _stage_tensors(estimator, header) if is_deep else _conv_tensors(estimator, header)
    elif is_polynomial:
        tensors = _polynomial_tensors(estimator, header)
    else:
        tensors = _deep_tensors(estimator, header) if is_deep else _rfm_tensors(estimator)
    tensors |= {name: value for name in EXACT if (value := getattr(estimator, name, None)) is not None}
    if centers is not None:
        if is_polynomial:
            raise _checks.bad_value("centers", "None for a polynomial, which has no centres", repr(centers))
        if (
            "predictor_agop" in tensors
        ):  # coefficients on few centres cancel: 1e-4 of a centre may move predictions by their size
            remedy = "save it as it is: it holds n_centers points only"
            raise _checks.bad_value("centers", "None for a fit on centres", repr(centers), remedy)
        name = "training_points" if is_deep else "centers"
        tensors[name], header["centers_exponent"] = _halved(tensors[name])
    return header, tensors


def load(path: str | Path, *, device: Any = None) -> Any:
    """Read an estimator that `save` wrote; `device` is where it will compute (None: the CPU)."""
    place = _checks.device("device", device)
    header, tensors = _store.read(path, _KIND, FORMAT_VERSION, _REMEDY, oldest=_OLDEST)
    try:
        return restored(header, tensors, place)
    except WRONG as error:
        raise _store.unreadable(Path(path), _KIND, error, _REMEDY) from None


def _is_text(name: str, estimator: Any) -> bool:
    fitted = name.endswith("_") or name == "_n_features_out"
    return fitted and name not in OTHERWISE and name not in estimator.get_params(deep=False)


def _text(name: str, value: Any) -> Any:
    """A fitted attribute as JSON."""
    if isinstance(value, Mapping):
        return {str(key): _text(name, entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_text(name, entry) for entry in value]
    value = _checks.plain(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise _checks.bad_type(name, "numbers and texts, which can be saved", type(value).__name__)


def _plain(name: str, value: Any) -> Any:
    """A constructor argument as JSON."""
    if isinstance(value, Kernel):
        return {"kernel": named.kernel_name(value), **vars(value)}
    if isinstance(value, torch.device | torch.dtype):
        return str(value).removeprefix("torch.")
    value = _checks.plain(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if name in (
        "bandwidth",
        "ridge",
        "ridges",
        "shape",
        "image_shape",
        "categorical_features",
    ) and isinstance(value, list | tuple | np.ndarray):
        return [_plain(name, candidate) for candidate in value]
    if name == "random_state":
        return None  # a generator has moved on; the seed that was drawn from it is saved
    raise _checks.bad_value(
        name, "a number, a name or a kernel of agop, which can be saved", repr(value), "pass its name"
    )


def _classes(classes: np.ndarray) -> dict[str, Any]:
    values = classes.tolist()
    kinds = {type(value) for value in values}
    if not kinds <= {str, int, float, bool}:
        got = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise _checks.bad_value(
            "y", "labels that are texts or numbers, which can be saved", got, "fit to such labels"
        )
    return {"dtype": "str" if classes.dtype.kind == "U" else classes.dtype.name, "values": values}


def _rfm_tensors(estimator: Any) -> dict[str, Tensor]:
    machine = estimator.machine_
    tensors = {
        "agop": estimator.agop_,
        "coordinates": estimator.coordinates_,
        "centers": machine.centers,
        "coefficients": machine.coefficients,
    }
    if estimator._on_few_centers:
        # the rows that the AGOP of the predictor is a mean over are not kept: the AGOP is
        tensors["predictor_agop"] = estimator.predictor_agop_
    for index, chain in enumerate(estimator._chains_):
        predicts = (index, chain.iteration) == (estimator.best_candidate_, estimator.best_iteration_)
        if chain.history and not predicts:
            tensors[f"{index}.next"] = chain.matrix.to(estimator.agop_.dtype)
    return tensors


def _deep_tensors(estimator: Any, header: dict[str, Any]) -> dict[str, Tensor]:
    header["maps"] = []
    tensors = {"training_points": estimator.X_fit_}
    for index, layer in enumerate(estimator.layers_):
        drawn = layer.feature_map.tensors()
        header["maps"].append(type(layer.feature_map).__name__)
        tensors |= {
            f"{index}.agop": layer.agop,
            f"{index}.root": layer.root,
            f"{index}.coefficients": layer.coefficients,
            **{f"{index}.map.{name}": value for name, value in drawn.items()},
        }
    return tensors


def _polynomial_tensors(estimator: Any, header: dict[str, Any]) -> dict[str, Tensor]:
    polynomial = estimator.machine_
    header["monomials"] = {**asdict(polynomial.monomials), "shape": list(polynomial.monomials.shape)}
    return {
        "agop": estimator.agop_,
        "center": polynomial.coordinates.center,
        "scale": polynomial.coordinates.scale,
        "intercept": polynomial.intercept,
        "coefficients": polynomial.coefficients,
    }


def _conv_tensors(estimator: Any, header: dict[str, Any]) -> dict[str, Tensor]:
    machine = estimator.machine_
    header["patches"] = _patches(machine.kernel, machine.grid)
    tensors = {
        "agop": estimator.agop_,
        "center": machine.metric.center,
        "centers": machine.centers,
        "coefficients": machine.coefficients,
    }
    if machine.metric.root is not None:
        tensors["root"] = machine.metric.root.double()
    if estimator._matrix_ is not None:
        tensors["next"] = estimator._matrix_.double()
    return tensors


def _stage_tensors(estimator: Any, header: dict[str, Any]) -> dict[str, Tensor]:
    header["stages"] = []
    tensors = {"training_points": estimator.X_fit_}
    for index, stage in enumerate(estimator.layers_):
        header["stages"].append(_patches(stage.kernel, stage.grid))
        for name in ("agop", "weight", "coefficients"):
            tensors[f"{index}.{name}"] = getattr(stage, name)
        if stage.root is not None:
            tensors[f"{index}.root"] = stage.root.double()
    return tensors


def _patches(kernel: PatchKernel, grid: PatchGrid) -> dict[str, Any]:
    """A kernel of patches and where they lie, as JSON."""
    own = asdict(kernel) if isinstance(kernel, CNTK) else _plain("kernel", kernel.kernel)  # type: ignore[attr-defined]
    return {"kind": type(kernel).__name__, "kernel": own, "grid": asdict(grid)}


def _halved(points: Tensor) -> tuple[Tensor, int]:
    """Points in half precision, divided by a power of two that makes the largest fit; and its exponent."""
    array = points.detach().cpu().numpy()
    exponent = math.frexp(float(np.abs(array).max()))[1] - 15
    return torch.from_numpy(np.ldexp(array, -exponent).astype(np.float16)), exponent
