"""How well values tell a concept: area under the ROC curve for classes, correlation for a number; and what is chosen by it, honestly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

from agop import _checks

KINDS = ("auc", "correlation")


def auc(values: Float[np.ndarray, "*p n"], positive: np.ndarray) -> Float[np.ndarray, "*p"]:
    r"""The area under the ROC curve: :math:`P(v_+ > v_-) + \frac12 P(v_+ = v_-)` over pairs of a positive and another sample.

    From mean ranks (Hanley and McNeil 1982). NaN if there is no pair.
    """
    inside = int(positive.sum())
    outside = len(positive) - inside
    if not inside or not outside:
        return np.full(values.shape[:-1], np.nan)
    ranks = rankdata(values, axis=-1)[..., positive].sum(-1)
    return np.asarray((ranks - inside * (inside + 1) / 2) / (inside * outside))


def correlation(values: Float[np.ndarray, "*p n"], y: Float[np.ndarray, " n"]) -> Float[np.ndarray, "*p"]:
    """Pearson's correlation of values with `y`; 0 where either is constant."""
    values, y = values - values.mean(-1, keepdims=True), y - y.mean()
    sizes = np.linalg.norm(values, axis=-1) * np.linalg.norm(y)
    return np.asarray(np.where(sizes > 0, values @ y / np.where(sizes > 0, sizes, 1.0), 0.0))


@dataclass(frozen=True, eq=False)
class Concept:
    """What is to be told of each sample.

    Attributes
    ----------
    y
        The class of each sample (from 0), or its number.
    classes
        The labels of the classes, sorted; None if `y` is a number.
    """

    y: np.ndarray
    classes: np.ndarray | None

    @classmethod
    def of(cls, y: object) -> Concept:
        """The concept that labels (texts, integers, booleans) or numbers (floats that are not all whole) describe.

        Raises
        ------
        ValueError, TypeError
            If `y` has more than one axis, is empty, constant or not finite.
        """
        if y is None:
            raise _checks.bad_value("y", "one label or number a sample", "None")
        found = np.asarray(y.detach().cpu() if hasattr(y, "detach") else y)
        if found.ndim != 1 or not len(found):
            raise _checks.bad_value("y", "one label or number a sample", f"shape {found.shape}")
        if found.dtype.kind not in "biufUO":
            raise _checks.bad_type("y", "labels or numbers", f"dtype {found.dtype}")
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise _checks.bad_value("y", "finite values", f"{int((~np.isfinite(found)).sum())} that are not")
        if found.dtype.kind == "f" and (found != np.round(found)).any():
            return cls(found.astype(np.float64), None)
        if found.dtype.kind == "O" and not all(isinstance(label, str) for label in found):
            kinds = sorted({type(label).__name__ for label in found})
            raise _checks.bad_type("y", "labels that are texts or numbers", ", ".join(kinds))
        classes, index = np.unique(
            found.astype(str) if found.dtype.kind == "O" else found, return_inverse=True
        )
        if len(classes) < 2:
            raise _checks.bad_value("y", "two classes or more", f"{len(classes)}")
        return cls(index.reshape(-1), classes)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def kind(self) -> str:
        """The score: "auc" for classes, "correlation" for a number."""
        return "correlation" if self.classes is None else "auc"

    @property
    def columns(self) -> int:
        """How many values tell it: one for two classes or a number, else one a class."""
        return 1 if self.classes is None or len(self.classes) == 2 else len(self.classes)

    def indicators(self) -> Float[np.ndarray, "n c"]:
        """What the values of each column should go with: the number, the second class, or each class."""
        if self.classes is None:
            return self.y[:, None]
        if self.columns == 1:
            return (self.y == 1)[:, None].astype(np.float64)
        return (self.y[:, None] == np.arange(len(self.classes))).astype(np.float64)

    def scores(self, values: Float[np.ndarray, "*p n c"], rows: np.ndarray) -> Float[np.ndarray, "*p"]:
        """The score of values at some rows: the mean over columns, of a class each against all others. NaN in `values`: −inf."""
        goal = self.indicators()[rows]
        measure = correlation if self.kind == "correlation" else auc
        found = np.stack(
            [
                measure(values[..., j], goal[:, j] if self.kind == "correlation" else goal[:, j] > 0)
                for j in range(self.columns)
            ]
        ).mean(0)
        return np.asarray(np.where(np.isfinite(values).all((-1, -2)), found, -np.inf))

    def by_fold(
        self, values: Float[np.ndarray, "p n c"], fold: Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, "p k"]:
        """The score of each candidate in each fold: values of different folds are from different fits, and are not compared."""
        parts = [np.flatnonzero(fold == k) for k in range(int(fold.max()) + 1)]
        return np.stack([self.scores(values[:, rows], rows) for rows in parts], -1)


def chosen(by_fold: Float[np.ndarray, "p k"]) -> tuple[int, float]:
    """The candidate with the best mean over folds (of equals the first), and an honest score of this way to choose.

    The honest score is the mean over folds of what the candidate has there that is the best of the other folds.
    """
    count = by_fold.shape[1]
    # one that is singular in a fold is no candidate
    by_fold = np.where(np.isfinite(by_fold).all(1, keepdims=True), by_fold, -np.inf)
    best = int(by_fold.mean(1).argmax())
    if count == 1:
        return best, float(by_fold[best, 0])
    others = [np.delete(by_fold, k, axis=1).mean(1).argmax() for k in range(count)]
    return best, float(np.mean([by_fold[others[k], k] for k in range(count)]))
