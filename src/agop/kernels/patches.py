"""Patches of images: where they lie, unfolding them, and sums over the patches of a convolution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from agop import _checks

PADDINGS = ("valid", "same")


@dataclass(frozen=True)
class PatchGrid:
    """Images (channels, height, width) and the patches that a convolution reads from them.

    Attributes
    ----------
    patch_size
        Pixels q on a side of a patch; it has `channels * q * q` numbers, in the order (channel, row, column).
    stride
        Pixels from one patch to the next, down and across.
    padding
        "valid": patches lie inside the image. "same": the image is surrounded by zeros, (q − 1) // 2 of them above and on the left and
        q // 2 below and on the right, so that with stride 1 there are as many patches as pixels.
    """

    channels: int
    height: int
    width: int
    patch_size: int = 3
    stride: int = 1
    padding: str = "valid"

    def __post_init__(self) -> None:
        for name in ("channels", "height", "width", "patch_size", "stride"):
            _checks.integer(name, getattr(self, name), at_least=1)
        _checks.one_of("padding", self.padding, PADDINGS)

    @property
    def features(self) -> int:
        """Numbers in a patch."""
        return self.channels * self.patch_size**2

    @property
    def pixels(self) -> int:
        """Numbers in an image."""
        return self.channels * self.height * self.width

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.height, self.width

    @property
    def margins(self) -> tuple[int, int]:
        """Zeros before and after, in each direction."""
        q = self.patch_size
        return ((q - 1) // 2, q // 2) if self.padding == "same" else (0, 0)

    def sides(self, depth: int = 1) -> list[tuple[int, int]]:
        """Rows and columns of positions after each of `depth` such convolutions; an error if a patch does not fit."""
        sides, (height, width) = [], (self.height, self.width)
        for layer in range(depth):
            around, q = sum(self.margins), self.patch_size
            if min(height, width) + around < q:
                where = (
                    "images" if not layer else f"at least {q}x{q} positions before convolution {layer + 1}"
                )
                what = "" if layer else f" of at least {q}x{q} pixels"
                raise _checks.bad_value(
                    "X",
                    f"{where}{what} for patch_size={q}",
                    f"{height}x{width}",
                    "lower patch_size or depth, or set padding='same'",
                )
            height, width = ((side + around - q) // self.stride + 1 for side in (height, width))
            sides.append((height, width))
        return sides

    def patches(
        self, images: Float[Tensor, "m pixels"], rows: slice | None = None
    ) -> Float[Tensor, "positions m features"]:
        """Patches of images that come as flat rows, position by position; `rows` are rows of positions (None: all)."""
        before, after = self.margins
        (height, _), q = self.sides()[0], self.patch_size
        first, last, _ = (slice(None) if rows is None else rows).indices(height)
        padded = functional.pad(images.view(-1, *self.shape), (before, after, before, after))
        strip = padded[:, :, first * self.stride : (last - 1) * self.stride + q]
        return functional.unfold(strip, q, stride=self.stride).permute(2, 0, 1).contiguous()

    def box(self, values: Float[Tensor, "h w *t"]) -> Float[Tensor, "H W *t"]:
        """Sums over the patches of a convolution: what the next layer's positions read."""
        return self._along(self._along(values, 0), 1)

    def box_adjoint(self, values: Float[Tensor, "H W *t"], side: tuple[int, int]) -> Float[Tensor, "h w *t"]:
        """The adjoint of `box`: to each of `side` positions, the sum over the patches that read it."""
        return self._back(self._back(values, 1, side[1]), 0, side[0])

    def _along(self, values: Tensor, axis: int) -> Tensor:
        """Sums of q neighbours along one axis, zeros beyond its ends."""
        before, after = self.margins
        length, q, stride = values.shape[axis], self.patch_size, self.stride
        count = (length + before + after - q) // stride + 1
        parts = [(_overlap(o - before, count, length, stride)) for o in range(q)]
        # inputs that every output has are added first, with no pass to clear memory
        whole = [values[_at(axis, inputs)] for outputs, inputs in parts if outputs == slice(0, count)]
        if len(whole) > 1:
            summed = whole[0] + whole[1]
        elif whole:
            summed = whole[0].clone(memory_format=torch.contiguous_format)
        else:
            shape = list(values.shape)
            shape[axis] = count
            summed = values.new_zeros(shape)
        for part in whole[2:]:
            summed += part
        for outputs, inputs in parts:
            if outputs != slice(0, count):
                summed[_at(axis, outputs)] += values[_at(axis, inputs)]
        return summed

    def _back(self, values: Tensor, axis: int, length: int) -> Tensor:
        before, _ = self.margins
        count = values.shape[axis]
        shape = list(values.shape)
        shape[axis] = length
        parts = [_overlap(offset - before, count, length, self.stride) for offset in range(self.patch_size)]
        first_out, first_in = parts[0]
        if self.stride == 1:  # what the first offset reaches is written, with no pass to clear memory
            spread = values.new_empty(shape)
            spread[_at(axis, first_in)] = values[_at(axis, first_out)]
            spread[_at(axis, slice(0, first_in.start))] = 0
            spread[_at(axis, slice(first_in.stop, length))] = 0
        else:
            spread = values.new_zeros(shape)
            spread[_at(axis, first_in)] = values[_at(axis, first_out)]
        for outputs, inputs in parts[1:]:
            spread[_at(axis, inputs)] += values[_at(axis, outputs)]
        return spread


def _overlap(shift: int, count: int, length: int, stride: int) -> tuple[slice, slice]:
    """Outputs i in range(count) whose input i·stride + shift is in range(length), and these inputs."""
    first = max(0, -(shift // stride)) if shift < 0 else 0
    last = min(count, (length - 1 - shift) // stride + 1) if length - 1 >= shift else 0
    if last <= first:
        return slice(0, 0), slice(0, 0)
    return slice(first, last), slice(first * stride + shift, (last - 1) * stride + shift + 1, stride)


def _at(axis: int, where: slice) -> tuple[slice, ...]:
    return (slice(None),) * axis + (where,)
