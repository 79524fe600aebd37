"""NC2, class-mean geometry: how close the class means are to a simplex ETF or another target."""

from __future__ import annotations

from typing import Literal

import torch

from agop._checks import one_of
from agop.collapse._undefined import class_details, listed, no_spread_of_means
from agop.collapse.measurement import Measurement
from agop.collapse.moments import ClassMoments, Weighting
from agop.collapse.variability import check_moments

NC2Target = Literal["etf", "orthogonal"]


def nc2(m: ClassMoments, target: NC2Target = "etf", *, weighting: Weighting = "class") -> Measurement:
    r"""Mean squared entry of `U Uᵀ − E` with unit rows `u_c`; 0 is collapse."""
    check_moments("nc2", m)
    one_of("target", target, ("etf", "orthogonal"))
    details = class_details(m)
    reason = no_spread_of_means(m)
    if reason is not None:
        return Measurement.undefined("nc2", target, reason, details)
    means = m.centred_means(weighting) if target == "etf" else m.means[m.present]
    norms = torch.linalg.vector_norm(means, dim=1)
    zero = m.coincident() if target == "etf" else norms == 0
    if bool(zero.any()):
        because = f"the mean of class {listed(m.present[zero])} has no direction"
        return Measurement.undefined("nc2", target, because, details)
    unit = means / norms.unsqueeze(1)
    k = len(unit)
    gram = unit @ unit.T
    if target == "etf":
        gram += 1 / (k - 1)
        gram.diagonal().sub_(k / (k - 1))
    else:
        gram.diagonal().sub_(1)
    return Measurement(float(gram.square_().mean()), "nc2", target, details=details)
