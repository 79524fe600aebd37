r"""Dropout on matrix sensing is the weighted trace norm: which factors of a matrix have the least penalty, and what that is.

Entry (r, c) of :math:`M` (rows, columns) is seen with probability :math:`p_r q_c`, and modelled by :math:`\sum_j U_{rj} V_{cj}` with k
factors. Dropout on the factors adds, by p/(1 − p) (see `agop.theory.dropout`, whose activations are :math:`U_{rj} V_{cj}` here),

.. math:: R(U, V) = \sum_{j=1}^{k} \Bigl(\sum_r p_r U_{rj}^2\Bigr) \Bigl(\sum_c q_c V_{cj}^2\Bigr), \qquad
          \min_{U V^T = M} R = \tfrac1k \bigl\lVert \mathrm{diag}(\sqrt p)\, M\, \mathrm{diag}(\sqrt q) \bigr\rVert_*^2

for every :math:`k \ge \mathrm{rank}\, M`. With :math:`A = \mathrm{diag}(\sqrt p)\, U` and :math:`B = \mathrm{diag}(\sqrt q)\, V`,

- it is not less: :math:`k R \ge (\sum_j \lVert A_{:j} \rVert \lVert B_{:j} \rVert)^2 \ge \lVert A B^T \rVert_*^2`, by Cauchy and
  Schwarz and the triangle inequality of the trace norm;
- it is reached: by :math:`A = P \sqrt S\, Q` and :math:`B = T \sqrt S\, Q`, where :math:`A B^T = P S T^T` is the singular value
  decomposition and the rotation Q gives every factor the same share of tr S.

Arora, Bartlett, Mianjy and Srebro 2021 (ICML; arXiv 2003.03397). That rank M factors are enough is derived here and tested.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.theory.dropout import in_range


def sensing_penalty(
    U: Float[Tensor, "r k"], V: Float[Tensor, "c _"], p: Float[Tensor, " _"], q: Float[Tensor, " _"]
) -> float:
    r""":math:`R(U, V) = \sum_j (\sum_r p_r U_{rj}^2)(\sum_c q_c V_{cj}^2)`.

    Parameters
    ----------
    U, V : (r, k), (c, k)
        Factors of :math:`M = U V^T`.
    p, q : (r,), (c,)
        Probabilities of rows and columns: positive, with sum 1.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, entries that are not finite, and other probabilities.

    Examples
    --------
    >>> sensing_penalty(torch.tensor([[1.0], [2.0]]), torch.tensor([[2.0]]), torch.tensor([0.5, 0.5]), torch.ones(1))
    10.0
    """
    _checks.floating("U", U, ndim=2)
    _checks.floating("V", V, ndim=2)
    if U.shape[1] != V.shape[1]:
        raise _checks.bad_value("V", f"{U.shape[1]} columns, as U", f"shape {tuple(V.shape)}")
    p, q = _probabilities("p", p, len(U)), _probabilities("q", q, len(V))
    of_rows, of_columns = p @ U.detach().cpu().double().square(), q @ V.detach().cpu().double().square()
    return in_range("U", float(of_rows @ of_columns))


def least_penalty(
    M: Float[Tensor, "r c"], p: Float[Tensor, " _"], q: Float[Tensor, " _"], factors: int
) -> float:
    r"""The least penalty of any factors of M, :math:`\tfrac1k \lVert \mathrm{diag}(\sqrt p)\, M\, \mathrm{diag}(\sqrt q) \rVert_*^2`.

    Parameters
    ----------
    M : (r, c)
    p, q
        As `sensing_penalty`.
    factors
        k, at least the rank of M.

    Raises
    ------
    ValueError, TypeError
        As `sensing_penalty`, and for fewer factors than the rank.

    Examples
    --------
    >>> round(least_penalty(torch.eye(2), torch.full((2,), 0.5), torch.full((2,), 0.5), 2), 10)
    0.5
    """
    S = _decomposed(M, p, q, factors)[1]
    return in_range("M", float(S.sum().square()) / factors)


def least_factors(
    M: Float[Tensor, "r c"], p: Float[Tensor, " _"], q: Float[Tensor, " _"], factors: int
) -> tuple[Float[Tensor, "r k"], Float[Tensor, "c k"]]:
    """Factors U, V of M (float64) whose penalty is `least_penalty`; all of them add the same to it.

    Raises
    ------
    ValueError, TypeError
        As `least_penalty`.

    Examples
    --------
    >>> M, p, q = torch.tensor([[1.0, 2.0], [0.0, 3.0]]), torch.tensor([0.2, 0.8]), torch.tensor([0.5, 0.5])
    >>> U, V = least_factors(M, p, q, 3)
    >>> bool(torch.allclose(U @ V.T, M.double())), U.shape
    (True, torch.Size([2, 3]))
    """
    left, S, right = _decomposed(M, p, q, factors)
    rotated = S.sqrt()[:, None] * _levelling(S, factors)[: len(S)]
    p, q = (side.detach().cpu().double() for side in (p, q))
    return left @ rotated / p.sqrt()[:, None], right @ rotated / q.sqrt()[:, None]


def _decomposed(M: Tensor, p: Tensor, q: Tensor, factors: int) -> tuple[Tensor, Tensor, Tensor]:
    """Singular vectors and values of the weighted matrix, those that are more than rounding."""
    _checks.floating("M", M, ndim=2)
    factors = _checks.integer("factors", factors, at_least=1)
    p, q = _probabilities("p", p, M.shape[0]), _probabilities("q", q, M.shape[1])
    left, S, right = torch.linalg.svd(
        p.sqrt()[:, None] * M.detach().cpu().double() * q.sqrt(), full_matrices=False
    )
    kept = max(M.shape) * torch.finfo(S.dtype).eps * S[:1] < S
    if int(kept.sum()) > factors:
        raise _checks.bad_value("factors", f"at least the rank of M, {int(kept.sum())}", str(factors))
    return left[:, kept], S[kept], right.mT[:, kept]


def _levelling(S: Float[Tensor, " s"], k: int) -> Float[Tensor, "k k"]:
    """A rotation Q with an even diagonal of Qᵀ diag(S, 0, …) Q: each of k − 1 plane rotations sets one entry to the mean."""
    D = torch.diag(torch.cat([S, S.new_zeros(k - len(S))]))
    Q, mean = torch.eye(k, dtype=S.dtype), S.sum() / k
    for _ in range(k - 1):
        off = D.diagonal() - mean
        low, high = int(off.argmin()), int(off.argmax())
        if not float(off[high]) > 0 > float(off[low]):
            break
        turn = _plane(D, low, high, float(mean))
        D, Q = turn.mT @ D @ turn, Q @ turn
    return Q


def _plane(D: Float[Tensor, "k k"], low: int, high: int, mean: float) -> Float[Tensor, "k k"]:
    """The rotation of two axes after which the first has `mean` on the diagonal: a quadratic equation in the tangent."""
    a, b, c = (float(D[low, low]) - mean, float(D[low, high]), float(D[high, high]) - mean)
    root = (b * b - a * c) ** 0.5  # a < 0 < c
    tangent = (-b + root) / c
    cosine = (1 + tangent * tangent) ** -0.5
    turn = torch.eye(len(D), dtype=D.dtype)
    turn[low, low] = turn[high, high] = cosine
    turn[high, low], turn[low, high] = tangent * cosine, -tangent * cosine
    return turn


def _probabilities(name: str, value: Tensor, size: int) -> Float[Tensor, " m"]:
    _checks.floating(name, value, ndim=1)
    expected = f"{size} positive probabilities with sum 1"
    if len(value) != size:
        raise _checks.bad_value(name, expected, f"{len(value)}")
    if not bool((value > 0).all()) or abs(float(value.double().sum()) - 1) > 1e-5:
        got = (
            "entries that are not positive"
            if bool((value <= 0).any())
            else f"a sum of {float(value.sum()):.6g}"
        )
        raise _checks.bad_value(
            name, expected, got, "divide them by their sum, and leave out what is never seen"
        )
    return value.detach().cpu().double()
