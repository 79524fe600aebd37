"""From what a layer holds at many positions (pixels, tokens) to rows of features: one per sample, or per position.

| `pool`      | rows                                              | features                            |
|-------------|---------------------------------------------------|-------------------------------------|
| `"mean"`    | one per sample: the mean over positions           | channels (of patches: see below)    |
| `"flatten"` | one per sample: all positions side by side        | positions × channels                |
| `"none"`    | one per position, with the label of its sample    | channels (of patches: see below)    |
| `"first"`   | one per sample: its first token (a class token)   | channels                            |
| `"last"`    | one per sample: its last token                    | channels                            |

A tensor without positions, (n, d), is the same in all of them. `"first"` and `"last"` are of sequences, (n, tokens, d); pixels have no
first one that means anything, and are averaged there. The input of a convolution is read as the patches
that it multiplies, (channels · kernel size) numbers at each position of its *output*; only `"flatten"` takes
the input as it is, because patches overlap and would repeat every pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from agop.gradients.linear_map import Geometry
from agop.gradients.reads import CHANNELS_FIRST
from agop.networks.names import POOLS

Pool = Literal["mean", "flatten", "none", "first", "last"]

ONE_TOKEN = {"first": 0, "last": -1}
"""Pools that take one token of a sequence; its place."""

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d | Geometry
"""What tells where patches lie."""


def channel_axis(module: nn.Module, tensor: Tensor) -> int:
    """Where the channels are in what a module as a whole reads or gives: last for tokens, second for images."""
    if isinstance(module, nn.Linear):
        return -1
    return 1 if isinstance(module, CHANNELS_FIRST) or tensor.ndim >= 4 else -1


def pooled(
    x: Float[Tensor, "n *rest"], axis: int, pool: str, mask: Bool[Tensor, "n p"] | None = None
) -> Float[Tensor, "m d"]:
    """Rows of features of a tensor whose first axis runs over samples and whose channels are at `axis`.

    With `mask` the mean is over the positions that count, and of `"flatten"` the others are zero; `"none"` has a row for each of them all
    the same, whose label says that it is in no class.
    """
    if x.ndim == 1:
        x = x[:, None]
    if x.ndim > 2 and mask is not None and pool != "none":
        tokens = x.movedim(axis, -1).reshape(len(x), -1, x.shape[axis])
        if pool == "mean":
            return masked_mean(tokens, mask)
        if pool in ONE_TOKEN and x.ndim == 3 and axis == -1:
            return tokens[torch.arange(len(x), device=x.device), _one_token(mask, pool).to(x.device)]
        if pool in ONE_TOKEN:
            return masked_mean(tokens, mask)
        kept = tokens.masked_fill(~mask.to(x.device)[:, :, None], 0)
        return kept.reshape(x.movedim(axis, -1).shape).movedim(-1, axis).flatten(1)
    if x.ndim == 2 or pool == "flatten":
        return x.flatten(1)
    if pool == "none":
        return x.movedim(axis, -1).reshape(-1, x.shape[axis])
    if x.ndim == 3 and axis == -1 and pool in ONE_TOKEN:
        return x[:, ONE_TOKEN[pool]]
    kept_axis = axis % x.ndim
    positions = [i for i in range(1, x.ndim) if i != kept_axis]
    # half precision would round the mean of many positions away
    return x.mean(positions, dtype=torch.promote_types(x.dtype, torch.float32)).reshape(len(x), -1)


def _one_token(mask: Bool[Tensor, "n p"], pool: str) -> Int[Tensor, " n"]:
    """The first or last position of each sample that is no padding."""
    if pool == "first":
        return mask.long().argmax(1)
    return mask.shape[1] - 1 - mask.flip(1).long().argmax(1)


def masked_mean(x: Float[Tensor, "n p d"], mask: Bool[Tensor, "n p"]) -> Float[Tensor, "n d"]:
    """The mean over the positions that count; what stands at the others, be it NaN, does not matter."""
    mask = mask.to(x.device)
    x = x.to(torch.promote_types(x.dtype, torch.float32)).masked_fill(~mask[:, :, None], 0)
    return x.sum(1) / mask.sum(1, keepdim=True)


def padded(x: Float[Tensor, "n c *s"], conv: Convolution) -> Float[Tensor, "n c *t"]:
    """The input of a convolution with the padding that it will read; zeros unless `padding_mode` says other."""
    widths = [width for pair in reversed(_padding(conv)) for width in pair]
    if not any(widths):
        return x
    mode = conv.padding_mode
    return F.pad(x, widths, mode="constant" if mode == "zeros" else mode)


def _padding(conv: Convolution) -> list[tuple[int, int]]:
    if conv.padding == "valid":
        return [(0, 0)] * len(conv.kernel_size)
    if conv.padding == "same":
        totals = [step * (size - 1) for size, step in zip(conv.kernel_size, conv.dilation)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(int(width), int(width)) for width in conv.padding]


def mean_patch(x: Float[Tensor, "n c *s"], conv: Convolution) -> Float[Tensor, "n d"]:
    r"""The mean over output positions of the patches that `conv` reads, in one pass over `x` without unfolding.

    Entry (c, i, j) sums the pixels of channel c that meet kernel entry (i, j): :math:`A x_c B^T` with A, B the 0/1
    matrices that say which rows and columns these are.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    edges = _padding(conv)
    if conv.padding_mode != "zeros":
        x, edges = padded(x, conv), [(0, 0)] * len(edges)
    sizes = list(x.shape[2:])
    n_positions = 1
    for axis in reversed(range(len(sizes))):
        meets = _meetings(
            sizes[axis], conv.kernel_size[axis], int(conv.stride[axis]), int(conv.dilation[axis]), edges[axis]
        )
        n_positions *= meets.shape[1]
        chosen = torch.zeros(conv.kernel_size[axis], sizes[axis] + sum(edges[axis]))
        chosen.scatter_(1, meets, 1.0)
        chosen = chosen[:, edges[axis][0] : edges[axis][0] + sizes[axis]].to(x)
        # spatial axes are contracted from the last to the first; those done already stand behind
        moved = x.movedim(2 + axis, -1)
        x = (moved @ chosen.T).movedim(-1, 2 + axis)
    return x.flatten(1) / n_positions


def _meetings(size: int, kernel: int, stride: int, dilation: int, edge: tuple[int, int]) -> Tensor:
    """For each kernel entry, the padded places that it meets: (kernel, positions)."""
    positions = (size + sum(edge) - dilation * (kernel - 1) - 1) // stride + 1
    return torch.arange(kernel)[:, None] * dilation + torch.arange(positions)[None, :] * stride


def patches(x: Float[Tensor, "n c *s"], conv: Convolution) -> Float[Tensor, "m d"]:
    """Every patch that `conv` reads, a row each, positions of a sample one after the other."""
    x = padded(x, conv)
    axes = len(conv.kernel_size)
    for axis in range(axes):
        size, dilation = conv.kernel_size[axis], int(conv.dilation[axis])
        x = x.unfold(2 + axis, dilation * (size - 1) + 1, int(conv.stride[axis]))[..., ::dilation]
    order = [0, *range(2, 2 + axes), 1, *range(2 + axes, 2 + 2 * axes)]
    return x.permute(order).reshape(-1, x.shape[1] * math.prod(conv.kernel_size))


def samples_first(tensor: Tensor, n_samples: int) -> Tensor | None:
    """`tensor` with samples along its first axis (moved from the second, as for `batch_first=False`), or None."""
    if tensor.ndim == 0 or not tensor.is_floating_point():
        return None
    if tensor.shape[0] == n_samples:
        return tensor
    if tensor.ndim == 3 and tensor.shape[1] == n_samples:
        return tensor.transpose(0, 1)
    return None


def bias_of(bias: Tensor | None, width: int, channels_first: bool, pool: str) -> Float[Tensor, " w"] | None:
    """A bias as it appears in rows of `width` features."""
    if bias is None:
        return None
    bias = bias.detach().double()
    repeats = width // len(bias)
    return bias.repeat_interleave(repeats) if channels_first and pool == "flatten" else bias.repeat(repeats)


def spread_labels(labels: Tensor, n_rows: int) -> Tensor:
    """The label of the sample that each of `n_rows` rows belongs to."""
    return labels if n_rows == len(labels) else labels.repeat_interleave(n_rows // len(labels))


__all__: Sequence[str] = [
    "POOLS", "Pool", "bias_of", "channel_axis", "masked_mean", "mean_patch", "padded", "patches", "pooled", "samples_first",
    "spread_labels",
]  # fmt: skip
