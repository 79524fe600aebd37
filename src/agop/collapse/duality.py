"""UNC3, uniform duality: whether the classifier's rows lean towards their class means all alike, and are equally long."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from agop._checks import one_of
from agop.collapse._undefined import class_details, listed, no_spread_of_means
from agop.collapse.classifier import weight_rows
from agop.collapse.moments import ClassMoments, Weighting
from agop.collapse.variability import check_moments
from agop.measurement import Measurement


def unc3(m: ClassMoments, weight: Float[Tensor, "c d"], *, weighting: Weighting = "class") -> Measurement:
    r"""Standard deviation over classes of :math:`\cos(w_c, \mu_c - \mu)`, with 1/C: in [0, 1]; 0 is uniform duality.

    Parameters
    ----------
    weight : (C, d)
        As in ``torch.nn.Linear.weight``; rows of absent classes are left out.
    weighting
        Which global mean, see `ClassMoments.global_mean`.

    Returns
    -------
    Measurement
        ``details`` hold the mean and the least of the cosines, and the spread of the rows' lengths (`weight_norm_spread`); the cosines
        themselves are `duality_cosines`. Undefined if a row is zero or a mean lies at the global mean.

    Raises
    ------
    ValueError, TypeError
        For a weight of another shape.

    Notes
    -----
    Wu and Papyan 2024 (arXiv 2405.17767), UNC3.
    """
    check_moments("m", m)
    one_of("weighting", weighting, ("class", "sample"))
    rows = weight_rows(weight, m)
    details = {**class_details(m), "weighting": weighting}
    reason = no_spread_of_means(m)
    if reason is None:
        still = m.coincident(weighting) | (rows == 0).all(1)
        if bool(still.any()):
            reason = f"class {listed(m.present[still])} has a zero weight row or a mean at the global mean"
    if reason is not None:
        return Measurement.undefined("unc3", "standard deviation of cosines", reason, details)
    cosines = _cosines(rows, m.centred_means(weighting))
    spread = weight_norm_spread(m, weight)
    details |= {"mean": float(cosines.mean()), "smallest": float(cosines.min()), "norm_spread": float(spread)}
    value = float(cosines.std(correction=0))
    return Measurement(value, "unc3", "standard deviation of cosines", details=details)


def duality_cosines(
    m: ClassMoments, weight: Float[Tensor, "c d"], *, weighting: Weighting = "class"
) -> Float[Tensor, " c"]:
    r""":math:`\cos(w_c, \mu_c - \mu)` of every class, (C,) float64; NaN for absent classes and where a side has no direction.

    `1 −` their mean is NC3 ("cosine"), their standard deviation UNC3.
    """
    check_moments("m", m)
    one_of("weighting", weighting, ("class", "sample"))
    rows = weight_rows(weight, m)
    whole = m.means.new_full((m.n_classes,), torch.nan)
    if len(m.present) > 1:
        cosines = _cosines(rows, m.centred_means(weighting))
        still = m.coincident(weighting) | (rows == 0).all(1)
        whole[m.present] = cosines.masked_fill(still, torch.nan)
    return whole


def weight_norm_spread(m: ClassMoments, weight: Float[Tensor, "c d"]) -> Measurement:
    r"""Coefficient of variation of the lengths :math:`\|w_c\|` of the classifier's rows (standard deviation with 1/C, over the mean): 0 is
    collapse, in [0, √(C−1)]. Rows of absent classes are left out.

    Papyan, Han and Donoho 2020 (arXiv 2008.08186), Figure 2.
    """
    check_moments("m", m)
    rows = weight_rows(weight, m)
    if not bool(rows.any()):
        because = "the classifier's weight is zero" if len(rows) else "there are no samples"
        return Measurement.undefined(
            "weight_norm_spread", "coefficient of variation", because, class_details(m)
        )
    norms = torch.linalg.vector_norm(rows / rows.abs().max(), dim=1)
    value = float(norms.std(correction=0) / norms.mean())
    return Measurement(value, "weight_norm_spread", "coefficient of variation", details=class_details(m))


def _cosines(rows: Float[Tensor, "k d"], means: Float[Tensor, "k d"]) -> Float[Tensor, " k"]:
    # each row by its largest entry, so that no square over- or underflows
    tiny = torch.finfo(torch.float64).tiny
    rows = rows / rows.abs().amax(1, keepdim=True).clamp_min(tiny)
    means = means / means.abs().amax(1, keepdim=True).clamp_min(tiny)
    return torch.nn.functional.cosine_similarity(rows, means, dim=1, eps=0.0)


__all__ = ["duality_cosines", "unc3", "weight_norm_spread"]
