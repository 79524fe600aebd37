"""A picture of a search, in the form of scikit-learn's displays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from agop import _checks
from agop._plotting import keeping_text, size, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ("parameter", "progress")
_COLOURS = ("#0067a5", "#b84a00", "#007a5a", "#8a6d00", "#6a3d9a", "#7a7a7a")
_INK = "#595959"


@dataclass(eq=False)
class SearchDisplay:
    r"""What a search tried: scores against a parameter, or as the search went on.

    Use `from_estimator` to make one; what it shows is kept in the attributes. Of each recursion the best candidate is drawn: filled where
    it was judged on all folds, hollow where it was left behind after the first.

    Parameters
    ----------
    results : dict of arrays
        `cv_results_` of the search.
    best_score, best_error : float
        The honest score of what was chosen, and its standard error.
    title : str
        What is shown.

    Attributes
    ----------
    ax_, figure_
        Axes and figure of the last `plot`.

    Examples
    --------
    >>> import agop
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> search = agop.RFMRegressorCV(n_candidates=8, random_state=0).fit(X, y)  # doctest: +SKIP
    >>> agop.SearchDisplay.from_estimator(search, parameter="learning_ridge")  # doctest: +SKIP
    """

    results: dict[str, Any]
    best_score: float
    best_error: float | None = None
    title: str = "search"
    ax_: Axes | None = field(default=None, init=False, repr=False)
    figure_: Figure | None = field(default=None, init=False, repr=False)

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, kind: str = "parameter", ax: Axes | None = None, **options: Any
    ) -> SearchDisplay:
        """Draw the search of a fitted `RFMRegressorCV` or `RFMClassifierCV`.

        Parameters
        ----------
        estimator
            The fitted estimator, or a pipeline that ends with one.
        kind, ax, options
            As in `plot`.

        Raises
        ------
        TypeError
            If the estimator has no search.
        """
        final = estimator[-1] if hasattr(estimator, "steps") else estimator
        if not hasattr(final, "cv_results_") or "recursion" not in final.cv_results_:
            expected = "a fitted RFMRegressorCV or RFMClassifierCV, or a pipeline that ends with one"
            raise _checks.bad_type("estimator", expected, type(final).__name__)
        display = cls(final.cv_results_, final.best_score_, final.best_score_error_, type(final).__name__)
        return display.plot(kind=kind, ax=ax, **options)

    def plot(
        self,
        *,
        kind: str = "parameter",
        parameter: str = "bandwidth_factor",
        ax: Axes | None = None,
        style: str = "screen",
    ) -> SearchDisplay:
        """Draw.

        Parameters
        ----------
        kind : "parameter" or "progress"
            Scores against `parameter`, by kernel; or against the seconds that recursions took one after the other, with the best so far.
        parameter : str
            A parameter of `cv_results_`.
        ax
            Axes to draw into; None makes a figure.
        style : "screen" or "paper"
            For a screen, or a column of a paper, 3.3 inches, with small letters.

        Returns
        -------
        SearchDisplay
            Itself, as the displays of scikit-learn do; axes and figure are `ax_` and `figure_`.
        """
        _checks.one_of("kind", kind, KINDS)
        known = sorted(name[6:] for name in self.results if name.startswith("param_"))
        _checks.one_of("parameter", parameter, known if kind == "parameter" else [*known, parameter])
        with styled(style):
            if ax is None:
                import matplotlib.pyplot as plt

                figure, ax = plt.subplots(figsize=size(style, 4.0), layout="constrained")
                keeping_text(figure)
            best, scores, whole = self._of_recursions()
            if kind == "parameter":
                self._against(ax, parameter, best, scores, whole)
            else:
                self._along(ax, best, scores, whole)
            self._honest(ax)
            ax.set_ylabel("score, larger is better")
            ax.set_title(self.title, loc="left", fontsize="medium")
            ax.spines[["top", "right"]].set_visible(False)
            ax.legend(frameon=False)
        self.ax_, self.figure_ = ax, ax.figure  # type: ignore[assignment]
        return self

    def _of_recursions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each recursion its best candidate, the score of that (of the first fold if it was in no other), and if it is of all folds."""
        recursion, mean = self.results["recursion"], self.results["mean_test_score"]
        first = self.results["split0_test_score"]
        best, scores, whole = [], [], []
        for number in np.unique(recursion):
            own = np.flatnonzero(recursion == number)
            through = np.isfinite(mean[own]).any()
            known = mean[own] if through else first[own]
            if np.isfinite(known).any():
                best.append(own[np.nanargmax(known)])
                scores.append(np.nanmax(known))
                whole.append(through)
        return np.array(best, dtype=np.int64), np.array(scores), np.array(whole, dtype=bool)

    def _against(
        self, ax: Axes, parameter: str, best: np.ndarray, scores: np.ndarray, whole: np.ndarray
    ) -> None:
        values = self.results[f"param_{parameter}"][best]
        given = np.ma.filled(values, None)
        kernels = self.results.get("param_kernel")
        groups = ["laplace"] * len(best) if kernels is None else [str(kernels[k] or "laplace") for k in best]
        numbers = [v for v in given if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) == sum(v is not None for v in given):
            places = np.array([np.nan if v is None else float(v) for v in given])
            if numbers and min(numbers) > 0 and max(numbers) > 10 * min(numbers):
                ax.set_xscale("log")
        else:
            names = sorted({str(v) for v in given})
            places = np.array([float(names.index(str(v))) for v in given])
            ax.set_xticks(range(len(names)), names)
        for number, kernel in enumerate(dict.fromkeys(sorted(groups))):
            own = np.array([group == kernel for group in groups])
            colour = _COLOURS[number % len(_COLOURS)]
            ax.scatter(places[own & whole], scores[own & whole], s=28, color=colour, label=kernel)
            hollow = own & ~whole
            label = None if (own & whole).any() else kernel
            ax.scatter(
                places[hollow], scores[hollow], s=28, facecolors="none", edgecolors=colour, label=label
            )
        ax.set_xlabel(parameter)

    def _along(self, ax: Axes, best: np.ndarray, scores: np.ndarray, whole: np.ndarray) -> None:
        seconds = np.cumsum(self.results["recursion_time"][best])
        ax.scatter(
            seconds[~whole], scores[~whole], s=24, facecolors="none", edgecolors=_INK, label="first fold only"
        )
        ax.scatter(seconds[whole], scores[whole], s=24, color=_COLOURS[0], label="all folds")
        if whole.any():
            so_far = np.maximum.accumulate(np.where(whole, scores, -np.inf))
            shown = np.isfinite(so_far)
            ax.step(
                seconds[shown],
                so_far[shown],
                where="post",
                color=_COLOURS[0],
                linewidth=1,
                label="best so far",
            )
        ax.set_xlabel("seconds of computing, recursion by recursion")

    def _honest(self, ax: Axes) -> None:
        """The honest score of what was chosen, with its standard error."""
        ax.axhline(self.best_score, color=_INK, linewidth=1, linestyle="--", label="what was chosen (honest)")
        if self.best_error is not None and np.isfinite(self.best_error):
            low, high = self.best_score - self.best_error, self.best_score + self.best_error
            ax.axhspan(low, high, color=_INK, alpha=0.12, linewidth=0)
