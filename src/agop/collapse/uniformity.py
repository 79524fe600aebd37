"""GNC2, hyperspherical uniformity: how evenly the directions of the class means are spread, also where C > d and no simplex fits."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from agop._checks import bad_value, one_of, real
from agop.collapse._undefined import class_details, listed, no_spread_of_means
from agop.collapse.moments import ClassMoments, Weighting
from agop.collapse.pairs import squared_distances, tiles
from agop.collapse.variability import check_moments
from agop.measurement import Measurement

UniformityKernel = Literal["log", "distance", "riesz"]


def gnc2(
    m: ClassMoments,
    kernel: UniformityKernel = "log",
    *,
    statistic: Literal["variation", "mean"] = "variation",
    s: float = 1.0,
    weighting: Weighting = "class",
) -> Measurement:
    r"""Hyperspherical uniformity of the directions :math:`u_c = (\mu_c - \mu)/\|\mu_c - \mu\|` over pairs c ≠ c'.

    The kernel of a pair, with :math:`r = \|u_c - u_{c'}\| \in [0, 2]`:

    - ``"log"``: :math:`-\ln r`; ``"distance"``: :math:`r`; ``"riesz"``: :math:`\mathrm{sign}(s)\, r^{-s}`.

    Its ``"variation"`` is the standard deviation over pairs (1/number of pairs) over the modulus of the mean: 0 where all pairs are
    equally far apart, which more than d + 1 classes cannot be; in [0, ∞). Its ``"mean"`` is the energy of the directions: for ``"log"``
    and ``"riesz"`` lower is more uniform, and the simplex has the least of all, for ``"distance"`` higher.

    Parameters
    ----------
    s
        Exponent of the Riesz kernel, not 0. The harmonic one, s = d − 2, is a choice too.
    weighting
        Which global mean, see `ClassMoments.global_mean`.

    Returns
    -------
    Measurement
        ``details`` hold the mean, the standard deviation and the closest pair of classes. Undefined if a mean lies at the global mean, two
        directions coincide (for kernels that are infinite there), or the mean over pairs is 0. O(C² d) operations, no (C, C) matrix.

    Raises
    ------
    ValueError, TypeError
        For a kernel, statistic or exponent that is none.

    Notes
    -----
    Wu and Papyan 2024 (arXiv 2405.17767), GNC2: the variation with the logarithm. Energies: Liu et al. 2023 (arXiv 2303.06484).

    Examples
    --------
    >>> import torch
    >>> m = ClassMoments.of(torch.eye(4), torch.arange(4))
    >>> round(float(gnc2(m)), 12), round(float(gnc2(m, "distance", statistic="mean")) ** 2, 4)
    (0.0, 2.6667)
    """
    check_moments("m", m)
    one_of("kernel", kernel, ("log", "distance", "riesz"))
    one_of("statistic", statistic, ("variation", "mean"))
    one_of("weighting", weighting, ("class", "sample"))
    s = real("s", s)
    if s == 0:
        raise bad_value("s", "an exponent that is not 0", "0", "take kernel='log', which is its limit")
    label = f"{kernel}, {statistic}" + (f", s={s:g}" if kernel == "riesz" else "")
    details = {**class_details(m), "weighting": weighting}
    reason = no_spread_of_means(m)
    if reason is None and bool((zero := m.coincident(weighting)).any()):
        reason = (
            f"the mean of class {listed(m.present[zero])} lies at the global mean, so it has no direction"
        )
    if reason is not None:
        return Measurement.undefined("gnc2", label, reason, details)
    found = _over_pairs(torch.nn.functional.normalize(m.centred_means(weighting), dim=1, eps=0.0), kernel, s)
    details |= {
        "mean": found.mean,
        "std": found.std,
        "closest": found.closest,
        "closest_pair": tuple(int(m.present[place]) for place in found.pair),
    }
    if found.closest <= 16 * torch.finfo(torch.float64).eps and (
        kernel == "log" or (kernel == "riesz" and s > 0)
    ):
        because = f"classes {details['closest_pair'][0]} and {details['closest_pair'][1]} have one direction"
        return Measurement.undefined("gnc2", label, because, details)
    if statistic == "mean":
        return Measurement(found.mean, "gnc2", label, details=details)
    if found.mean == 0:
        return Measurement.undefined("gnc2", label, "the mean over pairs is 0", details)
    return Measurement(found.std / abs(found.mean), "gnc2", label, details=details)


class _Pairs:
    """Mean and standard deviation over pairs, summed about the value that the pairs of a simplex have, where nothing cancels then."""

    def __init__(self, k: int, kernel: str, s: float) -> None:
        self.kernel, self.s, self.count = kernel, s, k * (k - 1) / 2
        self.centre = float(self.of(torch.tensor([2 * k / (k - 1)], dtype=torch.float64)))
        self.total = self.squares = 0.0
        self.closest, self.pair = float("inf"), (0, 0)

    def of(self, squared: Tensor) -> Tensor:
        """The kernel of squared distances."""
        if self.kernel == "log":
            return squared.log().mul_(-0.5)
        if self.kernel == "distance":
            return squared.sqrt()
        return squared.pow(-self.s / 2).mul_(1 if self.s > 0 else -1)

    @property
    def mean(self) -> float:
        return self.centre + self.total / self.count

    @property
    def std(self) -> float:
        return max(0.0, self.squares / self.count - (self.total / self.count) ** 2) ** 0.5


def _over_pairs(unit: Float[Tensor, "k d"], kernel: str, s: float) -> _Pairs:
    k = len(unit)
    pairs = _Pairs(k, kernel, s)
    neutral = 2 * k / (k - 1)
    for rows, columns, _ in tiles(k):
        squared = squared_distances(unit, rows, columns)
        if rows == columns:
            # a pair counts once: below the diagonal stands what adds nothing
            squared = squared.triu(1) + torch.full_like(squared, torch.inf).tril()
        least = int(squared.argmin())
        value = float(squared.view(-1)[least].clamp_min(0)) ** 0.5
        if value < pairs.closest:
            pairs.closest = value
            pairs.pair = (rows.start + least // squared.shape[1], columns.start + least % squared.shape[1])
        squared.clamp_min_(0).masked_fill_(squared.isinf(), neutral)
        deviation = pairs.of(squared).sub_(pairs.centre)
        pairs.total += float(deviation.sum())
        pairs.squares += float(torch.linalg.vector_norm(deviation)) ** 2
    return pairs


__all__ = ["UniformityKernel", "gnc2"]
