r"""A linear layer on tensors whose weights are sums of R outer products: one vector a mode, unit and term.

Source: Makantasis, Georgogiannis, Voulodimos, Georgoulas, Doulamis, Doulamis 2021, *Rank-R FNN: a tensor-based learning model for
high-order data classification* (IEEE Access 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from agop import _checks
from agop.gradients.modes import mode_sizes
from agop.networks.streams import stream

_RANK_R = 6
"""The use of a run's seed that initialises factors."""

EXACT = {torch.float32: 1e-5, torch.float64: 1e-10}
"""By which share of its norm a dense weight may differ from its factors and still be called the same."""


class FactoredLinear(nn.Linear):
    r"""The linear map of a `RankR` on flattened inputs, (…, d) → (…, q); a torch `Linear` whose weight is computed from factors.

    Hooks, `agop.layer_agops` and `agop.profile` read it as any linear layer. `weight` is formed anew at every use, with a graph to the
    factors.
    """

    def __init__(self, factors: Sequence[Tensor], bias: Tensor | None) -> None:
        nn.Module.__init__(self)  # Linear's own would make a dense weight
        self.in_features = prod(factor.shape[2] for factor in factors)
        self.out_features = factors[0].shape[0]
        self.factors = nn.ParameterList(factors)
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias))

    def reset_parameters(self) -> None:
        """Factors come from a seed: make a new layer instead."""
        raise _checks.bad_type("reset_parameters", "a new RankR with another seed", "a call", "build it anew")

    @property
    def weight(self) -> Float[Tensor, "q d"]:  # type: ignore[override]
        """The dense weight, units along rows, inputs flattened in C order."""
        return dense_weight(list(self.factors)).flatten(1)


class RankR(nn.Module):
    r"""A linear layer on tensors of any order whose weight tensors have rank R (CP rank at most R).

    Unit q multiplies an input X (p_1, …, p_D) with

    .. math:: W^{(q)} = \sum_{r=1}^{R} w_1^{(qr)} \circ w_2^{(qr)} \circ \ldots \circ w_D^{(qr)}

    and gives :math:`\langle W^{(q)}, X\rangle + b_q`: :math:`Q R \sum_m p_m` numbers instead of :math:`Q \prod_m p_m`.

    Parameters
    ----------
    shape
        :math:`(p_1, \ldots, p_D)` of one input: (8, 8) for images, (3, 32, 32) with channels, (5, 5, 200) for windows of spectra.
    units
        Q.
    rank
        R, at least 1.
    bias
        Whether there is a b (zeros at first); the paper's hidden layer has none.
    init_gain, seed
        Factors are normal with a variance that gives an entry of the dense weight that of Xavier's initialisation times `init_gain`
        squared, :math:`g^2\, 2/(\prod_m p_m + Q)`, for any R and D. Global generators are not used.
    dtype
        Of the factors, torch's default unless told otherwise.

    Attributes
    ----------
    linear : FactoredLinear
        The map of flattened inputs, by which name profiles know the layer.
    factors : list of Tensor
        D tensors (Q, R, p_m); the terms of a unit may be permuted, and scales moved between its modes, without changing the map.
    weight : Tensor (Q, p_1, …, p_D)
        The dense weight, with a graph to the factors.
    n_weights, n_dense : int
        Numbers in the factors (without b), and those of a dense layer.

    Raises
    ------
    ValueError, TypeError
        One sentence, for sizes that are no positive integers; in use, for inputs of another shape.

    Notes
    -----
    The dense weight is formed and multiplied: :math:`Q R \prod p` operations a batch and :math:`Q \prod p` a sample. To contract inputs
    mode by mode takes R times as much for each sample. What is saved are parameters, not time.
    The paper initialises each factor by Xavier's rule of its own; the variance of an entry would then depend on D and R.
    Source: Makantasis et al. 2021 (IEEE Access 9).

    Examples
    --------
    >>> layer = RankR((8, 8), 75, rank=1)
    >>> layer(torch.rand(5, 8, 8)).shape, layer.n_weights, layer.n_dense
    (torch.Size([5, 75]), 1200, 4800)
    """

    def __init__(
        self,
        shape: Sequence[int],
        units: int,
        rank: int = 1,
        *,
        bias: bool = False,
        init_gain: float = 1.0,
        seed: int = 0,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.shape = mode_sizes("shape", shape)
        q, r = _checks.integer("units", units, at_least=1), _checks.integer("rank", rank, at_least=1)
        gain = _checks.real("init_gain", init_gain, above=0)
        kind = torch.get_default_dtype() if dtype is None else dtype
        if not (isinstance(kind, torch.dtype) and kind.is_floating_point):
            raise _checks.bad_value(
                "dtype",
                "None or a floating-point torch dtype",
                _checks.shown(kind) if isinstance(kind, str) else repr(kind),
            )
        generator = stream(seed, _RANK_R)
        entry = gain**2 * 2 / (prod(self.shape) + q)
        deviation = (entry / r) ** (0.5 / len(self.shape))
        factors = [
            deviation * torch.randn(q, r, side, generator=generator, dtype=kind) for side in self.shape
        ]
        self.linear = FactoredLinear(factors, torch.zeros(q, dtype=kind) if bias else None)

    def forward(self, x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n q"]:
        """Inner products (n, q) of inputs (n, p_1, …, p_D), or of flat rows (n, d), with the weights of all units."""
        if tuple(x.shape[1:]) not in (self.shape, (self.linear.in_features,)):
            raise _checks.bad_value(
                "x", f"inputs (n, {', '.join(map(str, self.shape))}) or flat rows of them", f"shape {tuple(x.shape)}", "reshape it"
            )  # fmt: skip
        return self.linear(x.flatten(1))

    @classmethod
    def from_dense(cls, weight: Float[Tensor, "q *shape"], rank: int, *, bias: Tensor | None = None) -> RankR:
        r"""The layer whose dense weight is `weight`, where factors of this rank are found that give it exactly.

        Units are taken apart mode by mode with singular value decompositions: one mode against all others, and each right singular vector,
        a tensor with a mode less, again. That is exact for one mode; for two (matrices) if R is at least their rank; for more if the
        weights are outer products (R = 1), or :math:`R \ge \prod p / \max p`. In between a tensor of rank R may need more terms than R
        in this way, and is refused: its rank is hard to find in general. Scales are shared evenly by the modes.

        Parameters
        ----------
        weight
            (q, p_1, …, p_D), floating-point.
        rank
            R. Terms that are not needed are zero by their last mode only, so that training can use them.
        bias
            (q,), or None.

        Raises
        ------
        ValueError, TypeError
            If a unit needs more terms than `rank`, with the number found; or an argument is none of those above.
        """
        dense = _checks.floating("weight", weight).detach()
        if dense.ndim < 2 or 0 in dense.shape:
            raise _checks.bad_value(
                "weight", "shape (units, p_1, ..., p_D)", f"{tuple(dense.shape)}", "reshape it"
            )
        r = _checks.integer("rank", rank, at_least=1)
        if bias is not None and tuple(_checks.floating("bias", bias).shape) != (len(dense),):
            raise _checks.bad_value(
                "bias", f"shape {(len(dense),)}", f"{tuple(bias.shape)}", "give one number a unit"
            )
        kind = dense.dtype if dense.dtype in EXACT else torch.float32
        units = [_terms(unit, EXACT[kind] * float(unit.norm())) for unit in dense.double()]
        most = max(map(len, units))
        if most > r:
            raise _checks.bad_value(
                "rank",
                f"at least the {most} terms found in a unit",
                f"{r}",
                f"take rank={most}, or a RankR to train",
            )
        layer = cls(tuple(dense.shape[1:]), len(dense), r, bias=bias is not None, dtype=kind)
        with torch.no_grad():
            for q, terms in enumerate(units):
                for mode, factor in enumerate(layer.factors):
                    spare = (
                        [torch.zeros_like(factor[q, 0])]
                        if mode == len(layer.factors) - 1
                        else [factor[q, 0] / factor[q, 0].norm()]
                    )
                    rows = [term[mode].to(kind) for term in terms] + spare * (r - len(terms))
                    factor[q] = torch.stack(rows)
            if bias is not None and layer.linear.bias is not None:
                layer.linear.bias.copy_(bias)
        return layer.to(dense.device)

    def to_dense(self) -> nn.Sequential:
        """A `Flatten` and a torch `Linear` with the same map, and parameters of its own."""
        linear = nn.utils.skip_init(
            nn.Linear, self.linear.in_features, self.linear.out_features, bias=self.linear.bias is not None
        ).to(self.factors[0])
        with torch.no_grad():
            linear.weight.copy_(self.linear.weight)
            if self.linear.bias is not None:
                linear.bias.copy_(self.linear.bias)
        return nn.Sequential(nn.Flatten(), linear)

    @property
    def factors(self) -> list[Tensor]:
        """D tensors (q, r, p_m), the parameters themselves."""
        return list(self.linear.factors)

    @property
    def rank(self) -> int:
        """R."""
        return self.factors[0].shape[1]

    @property
    def units(self) -> int:
        """Q."""
        return self.linear.out_features

    @property
    def weight(self) -> Float[Tensor, "q *shape"]:
        """The dense weight, with a graph to the factors."""
        return dense_weight(self.factors)

    @property
    def n_weights(self) -> int:
        """Numbers in the factors."""
        return sum(factor.numel() for factor in self.factors)

    @property
    def n_dense(self) -> int:
        """Weights of a dense layer of this shape."""
        return self.units * self.linear.in_features

    def mode_nfms(self) -> tuple[Tensor, ...]:
        r"""The NFM along each mode, :math:`F_m = \sum_q [W^{(q)}]_m [W^{(q)}]_m^T` (p_m, p_m), from the factors alone."""
        return self.mode_agops(
            torch.eye(self.units, dtype=self.factors[0].dtype, device=self.factors[0].device)
        )

    def mode_agops(self, outer: Float[Tensor, "q q"]) -> tuple[Tensor, ...]:
        r"""The AGOP along each mode from what comes behind the layer; neither W nor the (d, d) AGOP is formed.

        With :math:`S = \frac1n \sum_i \sum_c \delta\delta^T`, :math:`\delta = \partial f_c / \partial u(x_i)` the gradient at the
        layer's output, and :math:`A_m` the factors of mode m as a matrix (p_m, QR),

        .. math:: M_m = A_m \Bigl[(S \otimes 1_{R \times R}) \odot \prod_{k \ne m} A_k^T A_k\Bigr] A_m^T,

        equal to `agop.mode_agops` of the layer's AGOP :math:`W^T S W`. A mean over samples, a sum over outputs and the other modes.

        Parameters
        ----------
        outer
            S (q, q): the AGOP of what follows the layer, with respect to its output.
        """
        S = _checks.floating("outer", outer, ndim=2)
        if tuple(S.shape) != (self.units, self.units):
            raise _checks.bad_value(
                "outer", f"shape {(self.units, self.units)}, one row a unit", f"{tuple(S.shape)}"
            )
        flat = [factor.detach().flatten(0, 1) for factor in self.factors]
        products = [rows @ rows.mT for rows in flat]
        S = S.to(flat[0]).repeat_interleave(self.rank, 0).repeat_interleave(self.rank, 1)
        found = []
        for mode, rows in enumerate(flat):
            middle = S.clone()
            for other, product in enumerate(products):
                if other != mode:
                    middle *= product
            found.append(rows.mT @ middle @ rows)
        return tuple(found)

    def extra_repr(self) -> str:
        """Sizes, for `repr`."""
        return f"shape={self.shape}, units={self.units}, rank={self.rank}"


def dense_weight(factors: Sequence[Tensor]) -> Float[Tensor, "q *shape"]:
    r""":math:`\sum_r w_1^{(qr)} \circ \ldots \circ w_D^{(qr)}` (q, p_1, …, p_D) of factors (q, r, p_m)."""
    sides = [factor.shape[2] for factor in factors]
    first, *others = factors
    if not others:
        return first.sum(1)
    for factor in others[:-1]:
        first = (first[:, :, :, None] * factor[:, :, None, :]).flatten(2)
    return torch.einsum("qra,qrb->qab", first, others[-1]).reshape(len(first), *sides)


def _terms(unit: Float[Tensor, "*shape"], tolerance: float) -> list[list[Tensor]]:
    """Vectors, one a mode, of outer products that sum to this tensor but for `tolerance` in norm; scales are even."""
    found = [term for term in _split(unit, tolerance) if all(bool(vector.any()) for vector in term)]
    return [_even(term) for term in found]


def _split(unit: Tensor, tolerance: float) -> list[list[Any]]:
    if unit.ndim == 1:
        return [[unit]] if float(unit.norm()) > tolerance else []
    # small modes first: the two largest meet in the last decomposition, which finds the fewest terms
    mode = min(range(unit.ndim), key=lambda axis: unit.shape[axis])
    rest = [side for axis, side in enumerate(unit.shape) if axis != mode]
    left, sizes, right = torch.linalg.svd(unit.movedim(mode, 0).flatten(1), full_matrices=False)
    share = tolerance / max(1, len(sizes)) ** 0.5
    terms = []
    for column in range(int((sizes > share).sum())):
        for term in _split(sizes[column] * right[column].reshape(rest), share):
            terms.append([*term[:mode], left[:, column], *term[mode:]])
    return terms


def _even(term: list[Tensor]) -> list[Tensor]:
    """The same outer product, all of whose vectors have one norm."""
    norms = [vector.norm() for vector in term]
    common = torch.stack([norm.log() for norm in norms]).mean().exp()
    return [vector * (common / norm) for vector, norm in zip(term, norms, strict=True)]


def tensor_network(
    shape: Sequence[int],
    n_classes: int,
    *,
    units: int = 75,
    rank: int | None = 1,
    init_gain: float = 1.0,
    seed: int = 0,
) -> nn.Sequential:
    r"""The paper's network, :math:`V \tanh(\langle W^{(q)}, X\rangle)_q + b`: a `RankR` without bias, tanh, and a linear layer.

    Parameters
    ----------
    shape, n_classes, units
        Of one input, outputs C, hidden units Q.
    rank
        R; None is the dense twin, whose first layer is a torch `Linear` on flattened inputs with the same variance of its entries.
    init_gain, seed
        Of the first layer, as in `RankR`; V is Xavier normal, b zero.

    Raises
    ------
    ValueError, TypeError
        One sentence, for sizes that are no positive integers.
    """
    sides = mode_sizes("shape", shape)
    _checks.integer("n_classes", n_classes, at_least=1)
    generator = stream(seed, _RANK_R, 1)
    if rank is not None:
        first: nn.Module = RankR(sides, units, rank, init_gain=init_gain, seed=seed)
    else:
        _checks.integer("units", units, at_least=1)
        linear = nn.utils.skip_init(nn.Linear, prod(sides), units, bias=False)
        gain = _checks.real("init_gain", init_gain, above=0)
        nn.init.xavier_normal_(linear.weight, gain=gain, generator=generator)
        first = nn.Sequential(nn.Flatten(), linear)
    last = nn.utils.skip_init(nn.Linear, units, n_classes)
    nn.init.xavier_normal_(last.weight, generator=generator)
    nn.init.zeros_(last.bias)
    return nn.Sequential(first, nn.Tanh(), last)


def blocks_of(model: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters of a model in the blocks of the paper's training: the factors of each mode of its `RankR` layers, then all others."""
    layers = [part for part in model.modules() if isinstance(part, FactoredLinear)]
    modes = max((len(layer.factors) for layer in layers), default=0)
    blocks = [[layer.factors[mode] for layer in layers if mode < len(layer.factors)] for mode in range(modes)]
    taken = {id(parameter) for block in blocks for parameter in block}
    return [*blocks, [parameter for parameter in model.parameters() if id(parameter) not in taken]]
