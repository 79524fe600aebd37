"""NC3 and NC4: the classifier aligns with the class means and decides like the nearest class centre."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from agop._blocks import row_blocks, rows_per_block
from agop._checks import bad_value, floating, one_of, same_length
from agop.collapse._accumulate import deviation_blocks
from agop.collapse._undefined import class_details, no_spread_of_means
from agop.collapse.moments import ClassMoments, Weighting
from agop.collapse.pairs import product_distance
from agop.collapse.variability import check_moments
from agop.measurement import Measurement

NC3Definition = Literal["frobenius", "cosine", "product"]


def nc3(
    m: ClassMoments,
    weight: Float[Tensor, "c d"],
    definition: NC3Definition = "frobenius",
    *,
    weighting: Weighting = "class",
    centre_weight: bool = False,
) -> Measurement:
    r"""Self-duality of the classifier's rows `w_c` and the centred class means `μ_c − μ` (rows of `M`); 0 is
    collapse.

    - ``"frobenius"``: `‖W/‖W‖_F − M/‖M‖_F‖_F²` (Papyan, Han and Donoho 2020, arXiv 2008.08186, Figure 5). In
      [0, 4].
    - ``"cosine"``: `1 − 1/C Σ_c cos(w_c, μ_c − μ)`, blind to lengths. In [0, 2].
    - ``"product"``: `‖W Mᵀ/‖W Mᵀ‖_F − (I − 11ᵀ/C)/√(C−1)‖_F` (Zhu et al. 2021, arXiv 2105.02375, Section 5).
      In [0, 2].

    Parameters
    ----------
    weight : (C, d)
        As in ``torch.nn.Linear.weight``; rows of absent classes are left out.
    centre_weight
        Subtract the mean row first: softmax does not see it, weight decay removes it only in time.

    Raises
    ------
    ValueError
        For a weight of another shape.

    """
    check_moments("m", m)
    one_of("definition", definition, ("frobenius", "cosine", "product"))
    one_of("weighting", weighting, ("class", "sample"))
    rows = weight_rows(weight, m)
    rows = (
        rows / rows.abs().max().clamp_min(torch.finfo(rows.dtype).smallest_normal) if rows.numel() else rows
    )
    if centre_weight:
        rows = rows - rows.mean(0)
    details = {**class_details(m), "weighting": weighting, "centre_weight": centre_weight}
    reason = no_spread_of_means(m)
    if reason is None and not bool(rows.any()):
        reason = "the classifier's weight is zero"
    means = m.centred_means(weighting)
    if reason is None and definition == "cosine":
        still = m.coincident(weighting) | (rows == 0).all(1)
        if bool(still.any()):
            reason = f"{int(still.sum())} classes have a zero weight row or a mean at the global mean"
    product = product_distance(rows, means, "etf") if reason is None and definition == "product" else None
    if reason is None and definition == "product" and product is None:
        reason = "the classifier is orthogonal to all class means"
    if reason is not None:
        return Measurement.undefined("nc3", definition, reason, details)
    if definition == "cosine":
        value = 1 - float(torch.nn.functional.cosine_similarity(rows, means, dim=1, eps=0.0).mean())
    elif product is not None:
        value = product
    else:
        difference = rows / torch.linalg.matrix_norm(rows) - means / torch.linalg.matrix_norm(means)
        value = float(difference.square().sum())
    return Measurement(value, "nc3", definition, details=details)


def weight_rows(weight: Float[Tensor, "c d"], m: ClassMoments) -> Float[Tensor, "k d"]:
    """The classifier's rows of the present classes in float64, after a check of their shape."""
    floating("weight", weight, ndim=2)
    if tuple(weight.shape) != (m.n_classes, m.d):
        raise bad_value(
            "weight",
            f"shape {(m.n_classes, m.d)}, one row per class",
            f"{tuple(weight.shape)}",
            "pass torch.nn.Linear.weight of the layer that reads these features",
        )
    return weight.detach().to(m.means.device).double()[m.present]


def nc4(features: Float[Tensor, "n d"], logits: Float[Tensor, "n c"], m: ClassMoments) -> Measurement:
    r"""Share of samples on which the classifier agrees with the nearest class centre: in [0, 1], 1 is
    collapse.

    `1/n Σ_i [argmax_c logits_ic = argmin_c ‖h_i − μ_c‖]` (Papyan, Han and Donoho 2020, arXiv 2008.08186,
    Figure 7, show 1 − this). Pass the logits as the model computes them, **with** the bias. The nearest
    centre is sought among the classes that have samples; a decision for an absent class is a disagreement.
    ``details`` holds the counts. `CentreAgreement` has the share of each class, their mean, and takes batches.

    Raises
    ------
    ValueError
        For features or logits that do not fit the moments.

    """
    check_moments("m", m)
    floating("features", features, ndim=2, finite=False)
    floating("logits", logits, ndim=2, finite=False)
    if logits.shape[1] != m.n_classes:
        raise bad_value(
            "logits",
            f"one column per class ({m.n_classes})",
            f"{logits.shape[1]}",
            "pass n_classes to the moments",
        )
    details = class_details(m)
    reason = no_spread_of_means(m)
    if reason is None and features.shape[0] == 0:
        reason = "there are no samples"
    if reason is not None:
        return Measurement.undefined("nc4", "agreement", reason, details)
    if bool(torch.isnan(logits).any()):
        floating("logits", logits)
    agree = nearest_centre_agreement(features, logits.argmax(1), m)
    details |= {"agree": agree, "samples": features.shape[0]}
    return Measurement(agree / features.shape[0], "nc4", "agreement", details=details)


@torch.no_grad()
def nearest_centre_agreement(
    features: Float[Tensor, "n d"], decisions: Int[Tensor, " n"], m: ClassMoments
) -> int:
    """On how many samples a decision (a class) equals the nearest class centre; a count, so batches and
    workers add up.

    The distances are formed about the global mean in float64: O(n d C) operations, blocks of rows.
    """
    return int(agreements(features, decisions, m).sum())


@torch.no_grad()
def agreements(
    features: Float[Tensor, "n d"], decisions: Int[Tensor, " n"], m: ClassMoments
) -> Bool[Tensor, " n"]:
    """On which samples a decision equals the nearest class centre, on the device of the moments."""
    floating("features", features, ndim=2, finite=False)
    same_length("features", features.shape[0], "decisions", decisions.shape[0])
    if features.shape[1] != m.d:
        raise bad_value(
            "features", f"{m.d} columns, as the moments", str(features.shape[1]), "use the same layer"
        )
    centre, centred, present = m.global_mean().unsqueeze(0), m.centred_means(), m.present
    half = torch.linalg.vector_norm(centred, dim=1).square_().div_(-2)
    chosen = decisions.to(m.means.device)
    agree = torch.zeros(len(features), dtype=torch.bool, device=chosen.device)
    if len(present) == 0:
        return agree
    for rows, deviation in deviation_blocks(features, centre, None, centre.device):
        best, nearest = _nearest(deviation, centred, half)
        if not bool(torch.isfinite(best).all()):
            floating("features", features, ndim=2)
        agree[rows] = present[nearest] == chosen[rows]
    return agree


def _nearest(
    rows: Float[Tensor, "b d"], centred: Float[Tensor, "k d"], half: Float[Tensor, " k"]
) -> tuple[Float[Tensor, " b"], Int[Tensor, " b"]]:
    """The largest ⟨h, μ_c⟩ − ‖μ_c‖²/2 of each row and its class, a tile of classes after the other."""
    best = nearest = None
    for part in row_blocks(len(centred), rows_per_block(len(centred), 8 * len(rows), 32 * 2**20)):
        value, place = torch.addmm(half[part], rows, centred[part].T).max(1)
        place = place + part.start
        if best is None or nearest is None:
            best, nearest = value, place
            continue
        # as in one piece: the first of equal ones, and NaN wherever it is
        better = (value > best) | value.isnan()
        best, nearest = torch.where(better, value, best), torch.where(better, place, nearest)
    assert best is not None
    assert nearest is not None
    return best, nearest


@torch.no_grad()
def decisions(
    features: Float[Tensor, "n d"], weight: Float[Tensor, "c d"], bias: Float[Tensor, " c"] | None = None
) -> Int[Tensor, " n"]:
    """Argmax of `features @ weightᵀ + bias` in their precision, at least float32; keeps no logits."""
    dtype = torch.promote_types(features.dtype, torch.float32)
    weight = weight.detach().to(features.device, dtype)
    bias = None if bias is None else bias.detach().to(features.device, dtype)
    chosen = torch.empty(len(features), dtype=torch.int64, device=features.device)
    for rows in row_blocks(
        len(features), rows_per_block(len(features), 4 * (len(weight) + weight.shape[1]), 32 * 2**20)
    ):
        chosen[rows] = torch.nn.functional.linear(features[rows].detach().to(dtype), weight, bias).argmax(1)
    return chosen
