"""How many directions the features, or the class means, really use."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from agop._checks import one_of, real
from agop.collapse._undefined import class_details, no_spread_of_means
from agop.collapse.moments import ClassMoments
from agop.collapse.spectrum import numeric_spectrum
from agop.collapse.variability import check_moments
from agop.measurement import Measurement

RankDefinition = Literal["entropy", "participation"]


def effective_rank(m: ClassMoments, definition: RankDefinition = "entropy") -> Measurement:
    r"""Effective rank of the centred features, from the covariance of all samples Σ_T; needs
    ``scatter="full"``.

    - ``"entropy"``: `exp(−Σ p_k ln p_k)`, `p_k = σ_k / Σ σ`, σ the singular values of the centred data matrix
      (Roy and Vetterli 2007, Definition 1).
    - ``"participation"``: `(Σ λ_k)² / Σ λ_k²`, λ = σ² (the participation ratio).

    In [1, d]. At collapse it falls to about C − 1. ``details`` holds the numeric rank: eigenvalues of Σ_T
    above d · eps · λ_max, the only ones that enter.
    """
    check_moments("m", m)
    one_of("definition", definition, ("entropy", "participation"))
    details = class_details(m)
    if m.scatter is None:
        because = 'the moments hold no scatter matrix; take them with scatter="full"'
        return Measurement.undefined("effective_rank", definition, because, details)
    if m.n == 0:
        return Measurement.undefined("effective_rank", definition, "there are no samples", details)
    rows = m.centred_means("sample") * m.counts[m.present].sqrt().unsqueeze(1)
    spectrum = numeric_spectrum(torch.linalg.eigvalsh(m.scatter + rows.T @ rows), m.d)
    if len(spectrum) == 0 or (bool(m.coincident("sample").all()) and m.trace_within() == 0):
        return Measurement.undefined("effective_rank", definition, "all features are equal", details)
    details["rank"] = len(spectrum)
    return Measurement(_effective(spectrum, definition), "effective_rank", definition, details=details)


def means_effective_rank(m: ClassMoments, definition: RankDefinition = "entropy") -> Measurement:
    """Effective rank of the centred class means, as `effective_rank` with Σ_B (w_c = 1/C): in [1, C−1]; C−1
    is collapse.

    ``details`` holds the numeric rank of Σ_B, the one that ``nc1(definition="pinv")`` uses.
    """
    check_moments("m", m)
    one_of("definition", definition, ("entropy", "participation"))
    details = class_details(m)
    reason = no_spread_of_means(m)
    if reason is not None:
        return Measurement.undefined("means_effective_rank", definition, reason, details)
    spectrum = m.between().eigenvalues
    details["rank"] = len(spectrum)
    return Measurement(_effective(spectrum, definition), "means_effective_rank", definition, details=details)


def means_rank(m: ClassMoments, share: float | int = 0.1) -> Measurement:
    """How many singular values of the centred class means (weight 1/C) are above `share` of the first: in [1, C−1].

    C−1 at collapse, where all are equal; fewer where a network keeps the classes in a space of lower rank, as deep networks with weight
    decay do where that costs less (Súkeník, Mondelli, Lampert 2024, arXiv 2405.14468). ``details``: `full` = min(C−1, d) and the
    `singular_values` over the first.
    """
    check_moments("m", m)
    share = real("share", share, above=0, at_most=1)
    definition, details = f"above {share:g} of the first", class_details(m)
    reason = no_spread_of_means(m)
    if reason is not None:
        return Measurement.undefined("means_rank", definition, reason, details)
    values = m.between().eigenvalues.clamp_min(0).sqrt()
    values = values / values.max()
    details |= {"full": min(len(m.present) - 1, m.d), "singular_values": values.tolist()}
    # equal singular values must all count, also where the share is 1
    return Measurement(int((values >= share * (1 - 1e-9)).sum()), "means_rank", definition, details=details)


def _effective(eigenvalues: Float[Tensor, " r"], definition: RankDefinition) -> float:
    if definition == "participation":
        return float(eigenvalues.sum().square() / eigenvalues.square().sum())
    share = eigenvalues.sqrt()
    share = share / share.sum()
    return float(torch.special.entr(share).sum().exp())
