"""NC5: features of data from no known class lie orthogonal to the class means."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from agop._checks import bad_value, floating, one_of
from agop.collapse._undefined import class_details, listed, too_few_classes
from agop.collapse.moments import ClassMoments, Weighting
from agop.collapse.variability import check_moments
from agop.measurement import Measurement

NC5Definition = Literal["uncentred", "centred"]


def nc5(
    m: ClassMoments,
    ood_mean: Float[Tensor, " d"],
    definition: NC5Definition = "uncentred",
    *,
    weighting: Weighting = "class",
) -> Measurement:
    r"""Orthogonality of the class means to the mean of out-of-distribution features: in [0, 1], 0 is
    collapse.

    - ``"uncentred"``: `1/C Σ_c |cos(μ_c, μ_ood)|` (Ammar et al. 2024, NECO, arXiv 2310.06823, NC5).
    - ``"centred"``: the same after subtracting the global mean μ of the known classes from both.

    Parameters
    ----------
    ood_mean : (d,)
        Mean feature of data from none of the classes.

    """
    check_moments("m", m)
    one_of("definition", definition, ("uncentred", "centred"))
    one_of("weighting", weighting, ("class", "sample"))
    floating("ood_mean", ood_mean, ndim=1)
    if len(ood_mean) != m.d:
        raise bad_value(
            "ood_mean", f"{m.d} entries, as the moments", str(len(ood_mean)), "use the same layer"
        )
    details = class_details(m)
    reason = too_few_classes(m, 1)
    if reason is not None:
        return Measurement.undefined("nc5", definition, reason, details)
    other = ood_mean.detach().to(m.means.device).double()
    means = m.means[m.present]
    zero = torch.linalg.vector_norm(means, dim=1) == 0
    where = "the origin"
    if definition == "centred":
        means, other, where = m.centred_means(weighting), other - m.global_mean(weighting), "the global mean"
        zero = m.coincident(weighting)
    if not bool(other.any()):
        return Measurement.undefined(
            "nc5", definition, f"the out-of-distribution mean lies at {where}", details
        )
    if bool(zero.any()):
        because = f"the mean of class {listed(m.present[zero])} lies at {where}, so it has no direction"
        return Measurement.undefined("nc5", definition, because, details)
    other = other / other.abs().max()
    cosines = torch.nn.functional.cosine_similarity(means, other.unsqueeze(0), dim=1, eps=0.0).abs()
    details["largest"] = float(cosines.max())
    return Measurement(float(cosines.mean()), "nc5", definition, details=details)
