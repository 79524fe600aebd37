"""The explicit form of dropout: what it adds to the squared loss, measured on any layer and the classifier on it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.evidence import Evidence
from agop.measurement import Measurement
from agop.probe import Probe


@torch.no_grad()
def dropout_penalty(Z: Float[Tensor, "n h"], weight: Float[Tensor, "o _"]) -> Measurement:
    r"""What dropout on a layer adds to the squared loss of the linear map on top of it, by the odds of a drop.

    .. math:: R = \sum_j \lVert U_{:j} \rVert^2\ \tfrac1n \sum_i a_j(x_i)^2,

    where :math:`U` (o, h) reads the activations :math:`a` (n, h). With units dropped independently with probability p and the others
    scaled by 1/(1 − p), the squared loss (a sum over outputs, a mean over samples) is in expectation that without dropout plus
    :math:`\tfrac{p}{1-p} R`: exactly, at any depth below, if this layer is the only one with dropout. For cross-entropy the like holds to
    second order in the noise only, with the Hessian of the loss between U and Uᵀ, which R leaves out.

    R measures any network, trained with dropout or not. It stays as it is where a unit's activation is multiplied by a constant and its
    column of U divided by it, and under permutations of units; it changes with a constant added to the activations.

    Parameters
    ----------
    Z : (n, h)
        Activations that the linear map reads. R is a mean over these samples: exact for them, an estimate for the data they come from.
    weight : (o, h)
        Of the linear map, as in `torch.nn.Linear`.

    Returns
    -------
    Measurement
        In squared units of the outputs, at least 0. `details` holds the numbers of samples and units; `effective_units`, the
        participation ratio :math:`(\sum_j r_j)^2 / \sum_j r_j^2` of the units' terms (h if all weigh the same; NaN if R is 0); and
        `path_norm`, :math:`\alpha = \sum_j \lVert U_{:j} \rVert a_j` with a_j the root mean square, at most :math:`\sqrt{h R}`.

    Raises
    ------
    ValueError, TypeError
        If Z is not finite or the shapes do not fit.

    Notes
    -----
    Arora, Bartlett, Mianjy and Srebro 2021 (ICML; arXiv 2003.03397).

    Examples
    --------
    >>> dropout_penalty(torch.tensor([[1.0, 2.0], [1.0, 0.0]]), torch.tensor([[3.0, 1.0]]))
    dropout_penalty[squared loss, sample mean] = 11
    """
    terms = _terms(Z, weight)
    roots = terms.sqrt()
    details = {
        "samples": len(Z),
        "units": Z.shape[1],
        "effective_units": float(terms.sum().square() / terms.square().sum()),
        "path_norm": float(roots.sum()),
    }
    definition = "squared loss, sample mean"
    if len(Z) == 0:
        return Measurement.undefined("dropout_penalty", definition, "there are no samples", details)
    if not bool(torch.isfinite(terms.sum())):
        return Measurement.undefined(
            "dropout_penalty", definition, "it is beyond the range of float64", details
        )
    return Measurement(float(terms.sum()), "dropout_penalty", definition, details=details)


def _terms(Z: Float[Tensor, "n h"], weight: Float[Tensor, "o _"]) -> Float[Tensor, " h"]:
    """What each unit adds, in float64."""
    _checks.floating("Z", Z, ndim=2)
    _checks.floating("weight", weight, ndim=2)
    if weight.shape[1] != Z.shape[1]:
        raise _checks.bad_value(
            "weight", f"{Z.shape[1]} columns, as Z", f"shape {tuple(weight.shape)}", "pass Linear.weight"
        )
    rows, columns = (part.detach().cpu().double() for part in (Z, weight))
    return columns.square().sum(0) * rows.square().mean(0)


def _of_evidence(e: Evidence) -> Measurement:
    return dropout_penalty(e.get("rows"), e.get("weight"))


DROPOUT_PENALTY = Probe(
    name="dropout_penalty",
    label="dropout penalty R",
    measure=_of_evidence,
    level="stage",
    needs=("rows", "weight"),
    applies=lambda e: e.weight is not None,
    meaning="what dropout on this layer would add to the squared loss, by p/(1 − p); over the sample of rows",
    scale="log",
    range="[0, ∞)",
    formula="Σ_j ‖U_:j‖² mean_i a_j(x_i)²",
    source="Arora, Bartlett, Mianjy, Srebro 2021 (arXiv 2003.03397)",
    invariant=frozenset({"order", "labels", "batches"}),
)
