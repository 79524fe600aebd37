r"""A linear map `y = W h + b` at many positions, whatever operation computes it: where W, the rows h and the rows y are found.

Every operation that multiplies data by a weight is brought to one form: groups g of matrices W (k, d), each of which multiplies m rows.
`Linear`, `matmul` in either order, `einsum` and convolutions differ only in which axes of their tensors are which.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from agop import _checks

Rows = Callable[[Tensor], Float[Tensor, "g m k"]]
"""Makes rows of a tensor (or of the gradient there)."""


@dataclass(frozen=True)
class Geometry:
    """Where the patches of a convolution lie; the attributes are those of `nn.Conv2d`."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    groups: int
    padding_mode: str = "zeros"


@dataclass(frozen=True, eq=False)
class LinearMap:
    """How one operation multiplies what it reads.

    Attributes
    ----------
    matrix
        W as (g, k, d) in its present (effective) value, without a graph; None where the operation has none to show.
    rows
        The gradient where it is taken as rows (g, m, k), or (g, m, d) where that is the input.
    at_input
        Whether the gradient is taken at the input: then W is not applied afterwards.
    inputs, outputs
        What is read and what is given with the positions first and the features last; convolutions keep channels second.
    bias
        What is added to every row of y, (k,).
    geometry
        Of the patches that a convolution reads.
    channels
        The axis of the features in `inputs` and `outputs`.
    projects
        Whether `outputs(y) - bias` is W h, so that the projection can be read from y.
    time_first
        Whether the time is known to be the first axis of y and samples the second, maybe merged.
    weight, arrange
        The tensor that multiplies, with its graph, and what makes W (g, k, d) of it, or of any tensor of its shape: every entry of W is one
        of its entries. None where W is made in another way.
    """

    matrix: Callable[[], Float[Tensor, "g k d"]] | None
    rows: Rows
    at_input: bool = False
    inputs: Callable[[Tensor], Tensor] = lambda x: x
    outputs: Callable[[Tensor], Tensor] = lambda y: y
    bias: Tensor | None = None
    geometry: Geometry | None = None
    projects: bool = True
    channels: int = -1
    time_first: bool = False
    weight: Tensor | None = None
    arrange: Callable[[Tensor], Float[Tensor, "g k d"]] | None = None

    def part(self, first: int, last: int) -> LinearMap:
        """The map to the outputs `first` to `last` (without) of a packed map without groups."""
        matrix, arrange = self.matrix, self.arrange
        assert matrix is not None
        return LinearMap(
            matrix=lambda: matrix()[:, first:last],
            rows=lambda gradient: self.rows(gradient)[..., first:last],
            inputs=self.inputs,
            outputs=lambda y: self.outputs(y)[..., first:last],
            bias=None if self.bias is None else self.bias[first:last],
            projects=self.projects,
            weight=self.weight,
            arrange=None if arrange is None else lambda weight: arrange(weight)[:, first:last],
        )


def tokens(gradient: Tensor) -> Float[Tensor, "1 m k"]:
    """Features last, all other axes are positions."""
    return gradient.reshape(1, -1, gradient.shape[-1])


def channels(gradient: Tensor) -> Float[Tensor, "1 m k"]:
    """Channels second, all other axes are positions."""
    return gradient.movedim(1, -1).reshape(1, -1, gradient.shape[1])


def plain(weight: Any) -> Tensor:
    """The value of a weight: floating, without a graph; a quantised one as what it stands for."""
    if isinstance(weight, Tensor) and (
        weight.is_quantized or (type(weight) is not Tensor and hasattr(weight, "dequantize"))
    ):
        kind = type(weight).__module__.partition(".")[0]
        if weight.is_quantized or kind != "torch":
            weight = weight.dequantize()
    return _checks.floating("weight", weight, finite=False).detach()


def _rows_of_groups(axes: int, groups: int) -> Callable[[Tensor], Float[Tensor, "g m k"]]:
    """Channels last, group by group; all other axes are positions."""

    def rows(gradient: Tensor) -> Tensor:
        if gradient.ndim == axes + 1:
            gradient = gradient[None]
        split = gradient.reshape(gradient.shape[0], groups, gradient.shape[1] // groups, -1)
        return split.permute(1, 0, 3, 2).reshape(groups, -1, split.shape[2])

    return rows


def convolution(weight: Tensor, bias: Tensor | None, geometry: Geometry) -> LinearMap:
    """Patches times the flattened kernel, group by group."""
    axes, groups = len(geometry.kernel_size), geometry.groups

    def arrange(kernels: Tensor) -> Tensor:
        flat = kernels.flatten(1)
        return flat.reshape(groups, -1, flat.shape[1])

    return LinearMap(
        lambda: arrange(plain(weight)),
        _rows_of_groups(axes, groups),
        bias=bias,
        geometry=geometry,
        channels=1,
        weight=weight,
        arrange=arrange,
    )


def transposed_convolution(weight: Tensor, axes: int, groups: int) -> LinearMap:
    """The channels at each position times all that the kernel makes of them.

    Outputs of neighbouring positions are added up, so the gradient is taken at the input.
    """

    def arrange(kernels: Tensor) -> Tensor:
        return kernels.flatten(1).reshape(groups, -1, math.prod(weight.shape[1:])).mT

    return LinearMap(
        lambda: arrange(plain(weight)),
        _rows_of_groups(axes, groups),
        at_input=True,
        projects=False,
        channels=1,
        weight=weight,
        arrange=arrange,
    )


def recurrence() -> LinearMap:
    """What a fused recurrent kernel reads at each step; its matrices stay inside it."""
    return LinearMap(matrix=None, rows=tokens, at_input=True, projects=False)


def contraction(
    x: tuple[str, ...],
    w: tuple[str, ...],
    y: tuple[str, ...],
    weight: Tensor,
    bias: Tensor | None,
    projects: bool,
) -> LinearMap | str:
    """The map of `y = Σ x w`, each tensor told by the labels of its axes; a reason where there is none.

    A label of all three tensors runs over groups; of x and y over positions; of x and w over what is read; of w and y
    over what is given.
    """
    for axis in reversed(range(len(w))):
        if w[axis] in x and weight.stride(axis) == 0 and weight.shape[axis] > 1:
            # the same matrix for every sample, spread over them
            weight, w = weight.select(axis, 0), (*w[:axis], *w[axis + 1 :])
    alone = [label for label in {*x, *w} if label not in y and not (label in x and label in w)]
    if alone:
        return "it sums over an axis of one factor alone"
    groups = [label for label in y if label in x and label in w]
    positions = [label for label in y if label in x and label not in w]
    read = [label for label in x if label in w and label not in y]
    given = [label for label in y if label in w and label not in x]
    if not read:
        return "it multiplies entry by entry"
    if any(len(set(labels)) < len(labels) for labels in (x, w, y)):
        return "it takes a diagonal"

    def arrange(factor: Tensor) -> Tensor:
        return _arranged(factor, w, groups, given, read)

    # an identity stays the same tensor, so that two layers that read it share its sums
    canonical = (*positions, *groups, *read), (*positions, *groups, *given)
    return LinearMap(
        matrix=lambda: arrange(plain(weight)),
        rows=lambda gradient: _arranged(gradient, y, groups, positions, given),
        inputs=lambda h: _features_last(h, x, canonical[0], len(positions)),
        outputs=lambda out: _features_last(out, y, canonical[1], len(positions)),
        bias=bias,
        projects=projects,
        weight=weight,
        arrange=arrange,
    )


def _arranged(
    tensor: Tensor, labels: tuple[str, ...], first: list[str], second: list[str], third: list[str]
) -> Float[Tensor, "g a b"]:
    order = [labels.index(label) for label in (*first, *second, *third)]
    sizes = [
        math.prod(tensor.shape[labels.index(label)] for label in part) for part in (first, second, third)
    ]
    return tensor.permute(order).reshape(sizes)


def _features_last(
    tensor: Tensor, labels: tuple[str, ...], order: tuple[str, ...], n_positions: int
) -> Tensor:
    if labels == order and len(order) == n_positions + 1:
        return tensor
    moved = tensor.permute([labels.index(label) for label in order])
    return moved.reshape(*moved.shape[:n_positions], -1)


__all__ = [
    "Geometry",
    "LinearMap",
    "Rows",
    "contraction",
    "convolution",
    "recurrence",
    "tokens",
    "transposed_convolution",
]
