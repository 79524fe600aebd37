"""The RFM of one block: its candidates judged on held-out samples, and the directions of a fitted one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.linalg import eigh
from torch import Tensor

from agop.concepts.options import ConceptSearch
from agop.concepts.scores import Concept, correlation
from agop.machines import RFMClassifier, RFMRegressor
from agop.machines.out_of_fold import out_of_fold, output_agop


@dataclass(frozen=True)
class Setting:
    """A candidate: a recursion, how far it goes, and the ridge of the fit that predicts."""

    bandwidth_factor: float
    learning_ridge: float
    center_gradients: bool
    iteration: int
    ridge: float


def _estimator(concept: Concept, search: ConceptSearch, **parameters: Any) -> Any:
    made = RFMRegressor if concept.classes is None else RFMClassifier
    return made(
        kernel=search.kernel, power=search.power, scaling=search.scaling, random_state=0, **parameters
    )


def columns_of(values: Float[Tensor, "*r n c"], concept: Concept) -> Float[np.ndarray, "*r n k"]:
    """An RFM's outputs as the columns that tell the concept: of two classes, half of the second less the first."""
    found = values.double().cpu().numpy()
    if concept.classes is not None and concept.columns == 1:
        return (found[..., 1:] - found[..., :1]) / 2
    return found


def candidates(
    H: Float[Tensor, "n d"], concept: Concept, fold: Int[np.ndarray, " n"], search: ConceptSearch
) -> tuple[list[Setting], Float[np.ndarray, "p n c"]]:
    """All candidates, the fewest iterations first and of these the largest ridge, with what each predicts of held-out rows."""
    found: list[tuple[Setting, np.ndarray]] = []
    recursions = product(search.bandwidth_factors, search.learning_ridges, search.center_gradients)
    for factor, learning_ridge, center in recursions:
        recursion: dict[str, Any] = {
            "bandwidth_factor": factor, "learning_ridge": learning_ridge, "center_gradients": center,
        }  # fmt: skip
        estimator = _estimator(concept, search, n_iter=search.n_iter, **recursion)
        for iteration, stage in enumerate(out_of_fold(estimator, H, concept.y, fold, search.ridges)):
            for ridge, values in zip(stage.ridges, columns_of(stage.values, concept)):
                found.append((Setting(**recursion, iteration=iteration, ridge=ridge), values))
    found.sort(key=lambda one: (one[0].iteration, -one[0].ridge))
    return [setting for setting, _ in found], np.stack([values for _, values in found])


def fitted(H: Float[Tensor, "n d"], concept: Concept, setting: Setting, search: ConceptSearch) -> Any:
    """The RFM of a setting, fitted to all rows."""
    parameters = asdict(setting)
    parameters["n_iter"] = parameters.pop("iteration")
    return _estimator(concept, search, **parameters).fit(H, concept.y)


def directions_of(
    estimator: Any, H: Float[Tensor, "n d"], concept: Concept, n_components: int
) -> Float[Tensor, "q d"]:
    r"""Unit vectors in the space of the hidden states: for each column of the concept the top eigenvectors of the AGOP of its output.

    Eigenvectors u are taken in the coordinates that the RFM computes in, :math:`z = D^{-1}(h - m)`; a direction is
    :math:`D^{-1} u / \|D^{-1} u\|`, so that projections on it are those on u. Its sign is that of the correlation of its projections with
    the column over the rows `H`.
    """
    scales = estimator.column_scales_.double().cpu().numpy()
    inverse = np.where(scales > 0, 1 / np.where(scales > 0, scales, 1.0), 0.0)
    goal, rows = concept.indicators(), H.double().cpu().numpy()
    outputs = [1] if concept.classes is not None and concept.columns == 1 else range(concept.columns)
    found = []
    for column, output in enumerate(outputs):
        M = output_agop(estimator, output).cpu().numpy()
        d = len(M)
        count = min(n_components, d)
        vectors = eigh(M, subset_by_index=[d - count, d - 1])[1][:, ::-1].T * inverse
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=np.finfo(np.float64).tiny)
        together = correlation((rows @ vectors.T).T, goal[:, column])
        found.append(np.where(together[:, None] < 0, -vectors, vectors))
    return torch.from_numpy(np.concatenate(found))
