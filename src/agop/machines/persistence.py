"""Estimators as safetensors files with a JSON header: no pickle, written atomically, checked when read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from agop import _checks
from agop.kernels import Kernel
from agop.machines import _inputs
from agop.machines._base import KernelEstimator
from agop.machines.deep_rfm import DeepRFMClassifier, DeepRFMLayer, DeepRFMRegressor, placed
from agop.machines.feature_maps import FourierFeatures, IdentityFeatures, ReLUFeatures
from agop.machines.kernel_ridge import KernelMachine
from agop.machines.rfm import RFMClassifier, RFMRegressor

FORMAT_VERSION = 1
_ESTIMATORS = {
    cls.__name__: cls for cls in (RFMRegressor, RFMClassifier, DeepRFMRegressor, DeepRFMClassifier)
}
_MAPS = {cls.__name__: cls for cls in (ReLUFeatures, FourierFeatures, IdentityFeatures)}


def save(estimator: KernelEstimator, path: str | Path) -> None:
    """Write a fitted estimator; a file of that name is replaced only when the new one is complete."""
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(estimator)
    header: dict[str, Any] = {
        "format": "agop.estimator",
        "version": FORMAT_VERSION,
        "class": type(estimator).__name__,
        "parameters": {name: _plain(name, value) for name, value in estimator.get_params(deep=False).items()},
        "fitted": {
            name: getattr(estimator, name)
            for name in (
                "n_features_in_",
                "_one_axis_",
                "seed_",
                "device_",
                "dtype_",
                "history_",
                "_n_features_out",
            )
            if hasattr(estimator, name)
        },
    }
    if hasattr(estimator, "feature_names_in_"):
        header["feature_names"] = [str(name) for name in estimator.feature_names_in_]
    if hasattr(estimator, "classes_"):
        header["classes"] = {"dtype": estimator.classes_.dtype.str, "values": estimator.classes_.tolist()}
    tensors = (
        _deep_tensors(estimator, header) if hasattr(estimator, "layers_") else _rfm_tensors(estimator, header)
    )
    path = Path(path)
    if not path.parent.is_dir():
        raise _checks.bad_value(
            "path", "a file in an existing folder", f"{str(path)!r}", "create the folder first"
        )
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        cpu = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        save_file(cpu, str(partial), metadata={"agop": json.dumps(header)})
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)  # safetensors makes files that only their owner can read
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _plain(name: str, value: Any) -> Any:
    """A constructor argument as JSON."""
    if isinstance(value, Kernel):
        return {"kernel": type(value).__name__.lower(), **vars(value)}
    if isinstance(value, torch.device | torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if name == "random_state":
        return None  # a generator has moved on; the seed that was drawn from it is saved
    raise _checks.bad_value(
        name, "a number, a name or a kernel of agop, which can be saved", repr(value), "pass its name"
    )


def _rfm_tensors(estimator: Any, header: dict[str, Any]) -> dict[str, Tensor]:
    header["kernel"] = _plain("kernel", estimator.machine_.kernel)
    machine = estimator.machine_
    return {
        "agop": estimator.agop_,
        "coordinates": estimator.coordinates_,
        "centers": machine.centers,
        "coefficients": machine.coefficients,
    }


def _deep_tensors(estimator: Any, header: dict[str, Any]) -> dict[str, Tensor]:
    header["kernel"] = _plain("kernel", estimator.machine_.kernel)
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


def load(path: str | Path, *, device: Any = None) -> Any:
    """Read an estimator that `save` wrote; `device` is where it will compute (None: the CPU)."""
    path = Path(path)
    if not path.is_file():
        raise _checks.bad_value("path", "a file written by save", f"{str(path)!r}, which is not there")
    try:
        with safetensors.safe_open(str(path), framework="pt") as stored:
            header = json.loads((stored.metadata() or {})["agop"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, ValueError, OSError) as error:
        raise _unreadable(path, str(error)) from None
    if not isinstance(header, dict) or header.get("format") != "agop.estimator":
        raise _unreadable(path, "it is not an estimator")
    if header.get("version") != FORMAT_VERSION:
        raise _checks.bad_value(
            "path",
            f"a file of format version {FORMAT_VERSION}",
            f"version {header.get('version')!r}",
            "read it with the release of agop that wrote it",
        )
    try:
        return _restore(header, tensors, _checks.device("device", device))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise _unreadable(path, str(error)) from None


def _unreadable(path: Path, reason: str) -> ValueError:
    return _checks.bad_value(
        "path",
        "a complete file written by save",
        f"{path.name!r} ({reason[:200]})",
        "save the estimator again",
    )


def _restore(header: dict[str, Any], tensors: dict[str, Tensor], device: torch.device) -> Any:
    estimator: Any = _ESTIMATORS[header["class"]](**{k: _object(v) for k, v in header["parameters"].items()})
    for name, value in header["fitted"].items():
        setattr(estimator, name, value)
    estimator.device_ = str(device)
    if "feature_names" in header:
        estimator.feature_names_in_ = np.array(header["feature_names"], dtype=object)
    if "classes" in header:
        estimator.classes_ = np.array(header["classes"]["values"], dtype=np.dtype(header["classes"]["dtype"]))
    tensors = {name: value.to(device) for name, value in tensors.items()}
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise _checks.bad_value(name, "finite values", "NaN or infinite entries")
    kernel = _object(header["kernel"])
    if "maps" in header:
        _restore_layers(estimator, header["maps"], tensors, kernel)
    else:
        estimator.kernel_ = kernel
        estimator.agop_, estimator.coordinates_ = tensors["agop"], tensors["coordinates"]
        estimator.machine_ = KernelMachine(
            kernel, tensors["centers"], tensors["coefficients"], estimator.precision
        )
    return estimator


def _restore_layers(estimator: Any, maps: list[str], tensors: dict[str, Tensor], kernel: Kernel) -> None:
    from agop.machines.deep_rfm import unit_rows

    points = estimator.X_fit_ = tensors["training_points"]
    estimator.layers_ = []
    for index, kind in enumerate(maps):
        prefix = f"{index}.map."
        drawn = {
            name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)
        }
        layer = DeepRFMLayer(
            tensors[f"{index}.agop"],
            tensors[f"{index}.root"],
            tensors[f"{index}.coefficients"],
            placed(_MAPS[kind](**drawn), points),
        )
        estimator.layers_.append(layer)
        centers = unit_rows(points)
        points = layer.feature_map(layer.project(centers))
    estimator.machine_ = KernelMachine(
        kernel, centers, estimator.layers_[-1].coefficients, estimator.precision
    )


def _object(value: Any) -> Any:
    """A JSON value as the constructor argument it was."""
    if isinstance(value, dict):
        value = dict(value)
        return _inputs.KERNELS[value.pop("kernel")](**value)
    return value
