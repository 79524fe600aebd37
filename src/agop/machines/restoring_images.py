"""Estimators of images out of a header and tensors that may be anybody's."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from agop._memory import available_memory
from agop.kernels.cntk import CNTK
from agop.kernels.patch_kernel import Metric, PatchKernel
from agop.kernels.patch_radial import PatchAverage
from agop.kernels.patches import PatchGrid
from agop.machines.conv_machine import ConvMachine
from agop.machines.conv_stage import ConvStage
from agop.machines.stored import Damaged, check_shapes, index_of, kernel_of, matrix_of, of_type


def _patch_kernel(value: dict[str, Any], shape: tuple[int, int, int]) -> tuple[PatchKernel, PatchGrid]:
    """A kernel of patches and its grid, for images of a shape."""
    grid = PatchGrid(**of_type(value, "grid", dict))
    if grid.shape != shape:
        raise Damaged("patches of images of another shape")
    kind, own = value.get("kind"), of_type(value, "kernel", dict)
    if kind not in ("CNTK", "PatchAverage"):
        raise Damaged("a kernel of patches of an unknown kind")
    kernel: PatchKernel = CNTK(**own) if kind == "CNTK" else PatchAverage(kernel_of(own))
    grid.sides(kernel.depth)
    return kernel, grid


def _image_shape(estimator: Any) -> tuple[int, int, int]:
    shape = getattr(estimator, "image_shape_", None)
    if (
        not isinstance(shape, list)
        or len(shape) != 3
        or not all(type(side) is int and side > 0 for side in shape)
    ):
        raise Damaged("image_shape_ is no shape of images")
    if math.prod(shape) != estimator.n_features_in_:
        raise Damaged("image_shape_ does not belong to n_features_in_")
    estimator.image_shape_ = tuple(shape)
    return estimator.image_shape_


def _optional(tensors: dict[str, Tensor], name: str, rows: int) -> dict[str, tuple[int, ...]]:
    """What is expected of a factor of M that may be missing."""
    return {name: (rows, matrix_of(tensors, name).shape[1])} if name in tensors else {}


def restore_images(estimator: Any, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """The fit of a ConvRFM."""
    kernel, grid = _patch_kernel(of_type(header, "patches", dict), _image_shape(estimator))
    (n, c), d, pixels = matrix_of(tensors, "coefficients").shape, grid.features, grid.pixels
    expected: dict[str, tuple[int, ...]] = {"agop": (d, d), "center": (pixels,), "centers": (n, pixels)}
    expected |= {"coefficients": (n, c)} | _optional(tensors, "root", d)
    check_shapes(tensors, expected | ({"next": (d, d)} if "next" in tensors else {}))
    index_of(estimator, "best_iteration_", len(estimator.history_))
    if not all(type(entry.get("learned")) is bool for entry in estimator.history_):
        raise Damaged("history_ does not say what was learned")
    estimator.agop_, estimator._matrix_ = tensors["agop"], tensors.get("next")
    metric = Metric(tensors.get("root"), tensors["center"])
    estimator.machine_ = ConvMachine(kernel, grid, metric, tensors["centers"], tensors["coefficients"])


def restore_stages(estimator: Any, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """The stages of a Deep ConvRFM."""
    stages, points, shape = (
        of_type(header, "stages", list),
        matrix_of(tensors, "training_points"),
        _image_shape(estimator),
    )
    if not stages or len(stages) != len(estimator.history_):
        raise Damaged("stages that do not belong together")
    c = matrix_of(tensors, "0.coefficients").shape[1]
    expected: dict[str, tuple[int, ...]] = {"training_points": (len(points), estimator.n_features_in_)}
    parts: list[tuple[PatchKernel, PatchGrid]] = []
    for index, value in enumerate(stages):
        kernel, grid = _patch_kernel(value if isinstance(value, dict) else {}, shape)
        width, d = matrix_of(tensors, f"{index}.weight").shape[0], grid.features
        expected |= {f"{index}.agop": (d, d), f"{index}.weight": (width, d)}
        expected |= {f"{index}.coefficients": (len(points), c)} | _optional(tensors, f"{index}.root", d)
        parts.append((kernel, grid))
        shape = (width, *grid.sides()[0])
    check_shapes(tensors, expected)
    if estimator._n_features_out != math.prod(shape):
        raise Damaged("stages that do not belong together")
    largest = max([math.prod(shape), *(grid.pixels for _, grid in parts)])
    if 4 * len(points) * largest * points.element_size() > available_memory():
        raise Damaged(f"{len(points):,} images with {largest:,} numbers do not fit into the free memory")
    best = index_of(estimator, "best_layer_", len(stages))
    estimator.X_fit_, estimator.layers_ = points, []
    for index, (kernel, grid) in enumerate(parts):
        weight, coefficients = tensors[f"{index}.weight"], tensors[f"{index}.coefficients"]
        stage = ConvStage(
            tensors[f"{index}.agop"], tensors.get(f"{index}.root"), weight, coefficients, kernel, grid
        )
        estimator.layers_.append(stage)
        if index == best:
            estimator.machine_ = stage.machine(points)
        if index < best:
            points = stage(points)
