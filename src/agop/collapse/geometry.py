"""NC2, class-mean geometry: distance to a simplex ETF, an orthogonal frame, or any target Gram matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from agop._checks import bad_value, floating, one_of
from agop.collapse._undefined import class_details, listed, no_spread_of_means, too_few_classes
from agop.collapse.moments import ClassMoments, Weighting
from agop.collapse.pairs import tiles
from agop.collapse.variability import check_moments
from agop.measurement import Measurement

NC2Target = Literal["etf", "orthogonal"]
NC2Definition = Literal["cosine", "frobenius"]


def nc2(
    m: ClassMoments,
    target: NC2Target | Float[Tensor, "c c"] = "etf",
    *,
    definition: NC2Definition = "cosine",
    centre: bool | None = None,
    weighting: Weighting = "class",
) -> Measurement:
    r"""Distance of the Gram matrix of the class means to a target geometry; 0 is collapse.

    - ``"cosine"``: mean squared entry of `U Uᵀ − E`, rows `u_c = (μ_c − μ)/‖μ_c − μ‖`, E the target with unit
      diagonal (Beaglehole et al. 2024, arXiv 2402.13728, DNC2). In [0, 4]; blind to the lengths of the means.
    - ``"frobenius"``: `‖G/‖G‖_F − E/‖E‖_F‖_F` with G the Gram matrix of the means as they are (Zhu et al.
      2021, arXiv 2105.02375, there for the classifier); sees lengths, hence the one for imbalanced optima. In
      [0, 2].

    Parameters
    ----------
    target
        ``"etf"``: `E = C/(C−1) (I − 11ᵀ/C)`, the simplex equiangular tight frame. ``"orthogonal"``: `E = I`.
        A (C, C) tensor: any symmetric target with positive diagonal; rows and columns of absent classes are
        dropped.
    centre
        Whether μ is subtracted from the means; None: yes, except for ``"orthogonal"``.
    weighting
        Which global mean, see `ClassMoments.global_mean`.

    Raises
    ------
    ValueError
        For a target Gram of another size, asymmetric, or with a non-positive diagonal.

    """
    check_moments("m", m)
    one_of("definition", definition, ("cosine", "frobenius"))
    one_of("weighting", weighting, ("class", "sample"))
    name = target if isinstance(target, str) else "given"
    if isinstance(target, str):
        one_of("target", target, ("etf", "orthogonal"))
    else:
        target = _checked_target(target, m)
    centre = name != "orthogonal" if centre is None else centre
    label = f"{name}, {definition}"
    details = {**class_details(m), "centred": centre, "weighting": weighting}
    reason = no_spread_of_means(m) if centre else too_few_classes(m)
    if reason is not None:
        return Measurement.undefined("nc2", label, reason, details)
    means = m.centred_means(weighting) if centre else m.means[m.present]
    norms = torch.linalg.vector_norm(means, dim=1)
    if definition == "cosine":
        zero = m.coincident(weighting) if centre else norms == 0
        if bool(zero.any()):
            where = "the global mean" if centre else "the origin"
            because = f"the mean of class {listed(m.present[zero])} lies at {where}, so it has no direction"
            return Measurement.undefined("nc2", label, because, details)
        means = means / norms.unsqueeze(1)
    elif not bool((norms > 0).any()):
        return Measurement.undefined("nc2", label, "all class means are zero", details)
    if name == "etf":
        details["etf_fits"] = len(means) - 1 <= m.d
    if name == "etf" and definition == "cosine" and centre:
        return Measurement(_excess(m, weighting).squares / len(means) ** 2, "nc2", label, details=details)
    present = m.present.to(means.device)
    given = None if isinstance(target, str) else target.to(means)[present.unsqueeze(1), present]
    value = _distance(means, _Target(name, len(means), given), definition)
    return Measurement(value, "nc2", label, details=details)


class _Target:
    """Tiles of a target Gram matrix with unit diagonal, or as given."""

    def __init__(self, name: str, k: int, given: Float[Tensor, "k k"] | None) -> None:
        self.name, self.k, self.given = name, k, given

    def tile(self, gram: Float[Tensor, "p q"], rows: slice, columns: slice) -> Float[Tensor, "p q"]:
        if self.given is not None:
            return self.given[rows, columns]
        tile = torch.full_like(gram, -1 / (self.k - 1) if self.name == "etf" else 0.0)
        if rows == columns:
            tile.diagonal().fill_(1)
        return tile

    def unit(self) -> _Target:
        """The same with unit diagonal."""
        if self.given is None:
            return self
        root = self.given.diagonal().sqrt()
        return _Target(self.name, self.k, self.given / root / root.unsqueeze(1))


def _distance(means: Float[Tensor, "k d"], target: _Target, definition: NC2Definition) -> float:
    k = len(means)
    if definition == "cosine":
        target = target.unit()
        total = 0.0
        for rows, columns, count in tiles(k):
            gram = means[rows] @ means[columns].T
            total += count * float(gram.sub_(target.tile(gram, rows, columns)).square_().sum())
        return total / k**2
    # norms first: the difference of nearly equal unit matrices must be formed entry by entry
    means = means / torch.linalg.matrix_norm(means)
    blocks = list(tiles(k))
    norm = norm_target = 0.0
    for rows, columns, count in blocks:
        gram = means[rows] @ means[columns].T
        norm_target += count * float(torch.linalg.matrix_norm(target.tile(gram, rows, columns))) ** 2
        norm += count * float(torch.linalg.matrix_norm(gram)) ** 2
    total = 0.0
    for rows, columns, count in blocks:
        if len(blocks) > 1:
            gram = means[rows] @ means[columns].T
        gram.div_(norm**0.5).sub_(target.tile(gram, rows, columns), alpha=norm_target**-0.5)
        total += count * float(torch.linalg.matrix_norm(gram)) ** 2
    return total**0.5


def _checked_target(target: Float[Tensor, "c c"], m: ClassMoments) -> Float[Tensor, "c c"]:
    floating("target", target, ndim=2)
    shape = (m.n_classes, m.n_classes)
    if tuple(target.shape) != shape:
        raise bad_value(
            "target", f"a Gram matrix of shape {shape}", f"shape {tuple(target.shape)}", "one row per class"
        )
    target = target.detach().double() if target.device.type != "mps" else target.detach().cpu().double()
    if not torch.allclose(target, target.T):
        raise bad_value(
            "target", "a symmetric Gram matrix", "an asymmetric one", "pass T @ T.T of the target means T"
        )
    if not bool((target.diagonal() > 0).all()):
        raise bad_value(
            "target", "a positive diagonal", "zero or negative entries", "pass T @ T.T of the target means T"
        )
    return target


def equinorm(m: ClassMoments, *, weighting: Weighting = "class") -> Measurement:
    r"""Coefficient of variation of the lengths ‖μ_c − μ‖ (standard deviation with 1/C, over the mean): 0 is
    collapse.

    Papyan, Han and Donoho 2020 (arXiv 2008.08186), Figure 2. In [0, √(C−1)].
    """
    check_moments("m", m)
    one_of("weighting", weighting, ("class", "sample"))
    details = {**class_details(m), "weighting": weighting}
    reason = no_spread_of_means(m)
    if reason is not None:
        return Measurement.undefined("equinorm", "coefficient of variation", reason, details)
    norms = torch.linalg.vector_norm(m.centred_means(weighting), dim=1)
    value = float(norms.std(correction=0) / norms.mean())
    return Measurement(value, "equinorm", "coefficient of variation", details=details)


def equiangularity(m: ClassMoments, *, weighting: Weighting = "class") -> Measurement:
    r"""Standard deviation over pairs c ≠ c' of cos(μ_c − μ, μ_c' − μ), with 1/(number of pairs): 0 is
    collapse.

    Papyan, Han and Donoho 2020 (arXiv 2008.08186), Figure 3. In [0, 1].
    """
    return _angles(m, weighting, "equiangularity", "standard deviation of cosines")


def simplex_angle(m: ClassMoments, *, weighting: Weighting = "class") -> Measurement:
    r"""Mean over pairs c ≠ c' of `|cos(μ_c − μ, μ_c' − μ) + 1/(C−1)|`, the distance to the widest equal
    angle: 0 is collapse.

    Papyan, Han and Donoho 2020 (arXiv 2008.08186), Figure 4. In [0, 1 + 1/(C−1)].
    """
    return _angles(m, weighting, "simplex_angle", "mean absolute deviation")


def _angles(m: ClassMoments, weighting: Weighting, name: str, definition: str) -> Measurement:
    check_moments("m", m)
    one_of("weighting", weighting, ("class", "sample"))
    details = {**class_details(m), "weighting": weighting}
    reason = no_spread_of_means(m)
    if reason is None:
        zero = m.coincident(weighting)
        if bool(zero.any()):
            reason = (
                f"the mean of class {listed(m.present[zero])} lies at the global mean, so it has no direction"
            )
    if reason is not None:
        return Measurement.undefined(name, definition, reason, details)
    excess = _excess(m, weighting)
    k = details["classes"]
    pairs = k * (k - 1)
    if name == "simplex_angle":
        return Measurement(excess.absolute / pairs, name, definition, details=details)
    variance = max(0.0, excess.squares / pairs - (excess.total / pairs) ** 2)
    return Measurement(variance**0.5, name, definition, details=details)


@dataclass(frozen=True)
class _Excess:
    """Sums over ordered pairs of `cos(μ_c − μ, μ_c' − μ) + 1/(C−1)`, of its modulus and of its square."""

    total: float
    absolute: float
    squares: float


def _excess(m: ClassMoments, weighting: Weighting) -> _Excess:
    return m._kept(("excess", weighting), lambda: _sum_excess(m.centred_means(weighting)))


def _sum_excess(centred: Float[Tensor, "k d"]) -> _Excess:
    """Angles are measured from −1/(C−1), where they are at collapse, so that nothing cancels there."""
    unit = torch.nn.functional.normalize(centred, dim=1, eps=0.0)
    total = absolute = squares = 0.0
    for rows, columns, count in tiles(len(unit)):
        excess = (unit[rows] @ unit[columns].T).add_(1 / (len(unit) - 1))
        if rows == columns:
            excess.diagonal().zero_()
        total += count * float(excess.sum())
        squares += count * float(torch.linalg.matrix_norm(excess)) ** 2
        absolute += count * float(excess.abs_().sum())
    return _Excess(total, absolute, squares)
