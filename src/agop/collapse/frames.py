"""Distance of a Gram matrix to that of a frame: a simplex ETF, an orthogonal frame, or one with given lengths and angles."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from agop._checks import bad_value, floating, one_of
from agop.measurement import Measurement

FRAMES = ("etf", "orthogonal")


def frame_distance(gram: Float[Tensor, "c _"], target: str | Float[Tensor, "_ _"] = "etf") -> Measurement:
    r"""How far a matrix over classes is from a target, both of Frobenius norm 1; 0 is the target, up to its scale.

    .. math:: \| \frac{G}{\|G\|_F} - \frac{T}{\|T\|_F} \|_F \in [0, 2]

    With :math:`G = W W^T` this is NC2 of Dang et al. 2023 (arXiv 2301.00437), with :math:`G = W \bar H^T` their NC3.

    Parameters
    ----------
    gram : (C, C)
        Over classes, in their order; it need not be symmetric.
    target
        "etf": :math:`I - 1 1^T / C`; "orthogonal": :math:`I`; or a (C, C) matrix, such as the general orthogonal frame of unequal counts:
        `agop.deep_linear_collapse(counts, …).weight_gram`. Rows of zeros (collapsed classes) are allowed.

    Returns
    -------
    Measurement
        Undefined if one of the two matrices is zero (for "etf" also with one class).

    Raises
    ------
    ValueError, TypeError
        If `gram` is no square matrix of finite numbers, or `target` is of another shape, not finite (as that of a theory that is
        undefined), or no frame's name.

    Examples
    --------
    >>> round(float(frame_distance(torch.eye(4), "etf")), 4), float(frame_distance(3 * torch.eye(4), "orthogonal"))
    (0.5176, 0.0)
    """
    floating("gram", gram, ndim=2)
    C = len(gram)
    if gram.shape[1] != C:
        raise bad_value("gram", "a square matrix, a row for each class", f"shape {tuple(gram.shape)}")
    found = _double(gram)
    if not isinstance(target, str):
        floating("target", target, ndim=2)
        if target.shape != gram.shape:
            expected = f"a matrix of shape {tuple(gram.shape)}, as gram"
            raise bad_value("target", expected, f"shape {tuple(target.shape)}")
        name, wanted = "given", _double(target).to(found.device)
    else:
        name = one_of("target", target, FRAMES)
        wanted = torch.eye(C, dtype=found.dtype, device=found.device) - (1 / C if C and name == "etf" else 0)
    for matrix, words in ((found, "the Gram matrix is zero"), (wanted, "the target is zero")):
        if not bool(matrix.any()):
            return Measurement.undefined("frame_distance", name, words)
    found, wanted = found / found.abs().max(), wanted / wanted.abs().max()
    value = torch.linalg.matrix_norm(
        found / torch.linalg.matrix_norm(found) - wanted / torch.linalg.matrix_norm(wanted)
    )
    return Measurement(float(value), "frame_distance", name)


def _double(matrix: Tensor) -> Tensor:
    return (matrix.detach().cpu() if matrix.device.type == "mps" else matrix.detach()).double()
