"""Where a patch matrix looks in an image: the energy of its patches."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from agop import _checks
from agop._blocks import row_blocks, rows_per_block
from agop.gradients.filters import patch_side

_WORKING = 64 * 2**20


def patch_energy(
    M: Float[Tensor, "d d"],
    X: Float[Tensor, "n c h w"],
    *,
    stride: int = 1,
    padding: str = "valid",
    at: str = "pixels",
) -> Float[Tensor, "n rows columns"]:
    r"""How much of a patch matrix M each place of an image has: :math:`e_p = x_p^T M x_p = \|M^{1/2} x_p\|^2`, :math:`x_p`
    the patch at position p.

    At a pixel it is the **mean** over the patches that contain the pixel. Nothing is divided by anything else, so that images
    are compared on one scale; it is quadratic in the pixels and linear in M.

    Parameters
    ----------
    M
        Symmetric (d, d), d = c · q²: the patch AGOP of a layer, or the metric of a convolutional machine.
    X
        Images (n, c, h, w).
    stride
        Step from patch to patch.
    padding
        `"valid"`, or `"same"`: (q − 1) // 2 zeros above and on the left, q // 2 below and on the right.
    at
        `"pixels"`, or `"patches"`: the :math:`e_p` themselves.

    Returns
    -------
    Tensor
        (n, h, w), NaN at pixels that no patch contains (at the edge, or between patches if the stride exceeds q); or (n, P_h, P_w) at
        patches. In the dtype of X.

    Raises
    ------
    ValueError
        If the images are smaller than a patch, or d is not c times a square.

    Notes
    -----
    Beaglehole et al. 2023 (arXiv 2309.00570) show images filtered by M and by its eigenvectors.

    Examples
    --------
    >>> X = torch.zeros(1, 1, 4, 4)
    >>> X[0, 0, 0, 0] = 2.0
    >>> patch_energy(torch.eye(4), X, at="patches")[0].tolist()
    [[4.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]

    """
    X = _checks.floating("X", X, ndim=4)
    if not X.shape[1]:
        raise _checks.bad_value("X", "images with at least one channel", f"shape {tuple(X.shape)}")
    side = patch_side(M, X.shape[1])
    stride = _checks.integer("stride", stride, at_least=1)
    _checks.one_of("padding", padding, ("valid", "same"))
    _checks.one_of("at", at, ("pixels", "patches"))
    before, after = ((side - 1) // 2, side // 2) if padding == "same" else (0, 0)
    n, _, height, width = X.shape
    if min(height, width) + before + after < side:
        expected = f"images of at least {side}×{side} pixels, those of a patch"
        raise _checks.bad_value("X", expected, f"{height}×{width}", "take smaller patches")
    padded = [height + before + after, width + before + after]
    stride = min(stride, max(padded))  # a longer step takes the first patch only, as this one does
    shape = [(length - side) // stride + 1 for length in padded]
    metric = M.detach().to(X.device, X.dtype)
    metric = (metric + metric.mT) / 2
    energy = X.new_empty(n, shape[0] * shape[1])
    for rows in row_blocks(n, rows_per_block(n, 3 * X.element_size() * len(M) * energy.shape[1], _WORKING)):
        around = functional.pad(X[rows].detach(), (before, after, before, after))
        patches = functional.unfold(around, side, stride=stride)
        energy[rows] = (patches * (metric @ patches)).sum(1)
    if not bool(torch.isfinite(energy).all()):
        largest = f"pixels up to {float(X.abs().max()):.3g}"
        raise _checks.bad_value(
            "X", f"images whose energies are finite in {X.dtype}", largest, "rescale them"
        )
    if at == "patches":
        return energy.reshape(n, *shape)
    where: dict[str, Any] = {"output_size": padded, "kernel_size": side, "stride": stride}
    spread = functional.fold(energy[:, None].expand(-1, side * side, -1), **where)
    count = functional.fold(X.new_ones(1, side * side, energy.shape[1]), **where)
    mean = torch.where(count > 0, spread / count, torch.nan)[:, 0]
    return mean[:, before : before + height, before : before + width]
