"""A picture of what a fitted RFM looks at, in the form of scikit-learn's displays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from agop import _checks
from agop._plotting import PAGE, keeping_text, size, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ("importances", "heatmap", "directions")
_BLUE, _ORANGE, _INK = "#0067a5", "#b84a00", "#595959"


@dataclass(eq=False)
class AgopDisplay:
    r"""Importances of columns, the AGOP as a heat map, or its top directions.

    Use `from_estimator` to make one; what it shows is kept in the attributes.

    Parameters
    ----------
    importances : array (d,)
        Of the input columns, with sum 1.
    names : list of str
        Of the input columns.
    agop : array (p, p)
        The AGOP over encoded columns.
    encoded_names : list of str
        Of these.
    title : str
        What is shown.

    Attributes
    ----------
    ax_, figure_
        Axes and figure of the last `plot`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> import agop
    >>> display = agop.AgopDisplay.from_estimator(agop.RFMClassifier(n_iter=1).fit(X, y))  # doctest: +SKIP
    >>> display.plot(kind="heatmap")  # doctest: +SKIP
    """

    importances: Float[np.ndarray, " d"]
    names: list[str]
    agop: Float[np.ndarray, "p p"]
    encoded_names: list[str]
    title: str = "AGOP"
    ax_: Axes | None = field(default=None, init=False, repr=False)
    figure_: Figure | None = field(default=None, init=False, repr=False)

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, kind: str = "importances", ax: Axes | None = None, **options: Any
    ) -> AgopDisplay:
        """Draw the AGOP of a fitted `RFMRegressor` or `RFMClassifier`.

        Parameters
        ----------
        estimator
            The fitted estimator, or a pipeline that ends with one.
        kind, ax, options
            As in `plot`.

        Raises
        ------
        TypeError
            If the estimator has no importances.
        """
        final = estimator[-1] if hasattr(estimator, "steps") else estimator
        if not hasattr(type(final), "predictor_agop_"):
            expected = "a fitted RFMRegressor or RFMClassifier, or a pipeline that ends with one"
            raise _checks.bad_type("estimator", expected, type(final).__name__)
        names = [str(name) for name in getattr(final, "feature_names_in_", ())]
        display = cls(
            importances=final.feature_importances_,
            names=names or [f"x{j}" for j in range(final.n_features_in_)],
            agop=final.predictor_agop_.cpu().numpy(),
            encoded_names=final.encoded_feature_names_,
            title=type(final).__name__,
        )
        return display.plot(kind=kind, ax=ax, **options)

    def plot(
        self,
        *,
        kind: str = "importances",
        ax: Axes | None = None,
        max_features: int = 20,
        n_directions: int = 3,
        style: str = "screen",
    ) -> AgopDisplay:
        """Draw.

        Parameters
        ----------
        kind : "importances", "heatmap" or "directions"
            Bars of the importances, largest first, categories as one column; the AGOP over encoded columns; or the entries of its top
            eigenvectors, with the share of the trace that each explains.
        ax
            Axes to draw into; None makes a figure.
        max_features
            Columns that are drawn: those with the largest importance, or the largest entries on the diagonal.
        n_directions
            Of "directions".
        style
            "screen", or "paper": a column of a paper, 3.3 inches, small letters.

        Returns
        -------
        AgopDisplay
            Itself, as the displays of scikit-learn do; axes and figure are `ax_` and `figure_`.
        """
        _checks.one_of("kind", kind, KINDS)
        _checks.integer("max_features", max_features, at_least=1)
        _checks.integer("n_directions", n_directions, at_least=1)
        draw = {"importances": self._bars, "heatmap": self._heat_map, "directions": self._directions}[kind]
        with styled(style):
            if ax is None:
                import matplotlib.pyplot as plt

                shown = min(max_features, len(self.names if kind == "importances" else self.encoded_names))
                wide, row = (0.34 * shown + 3.4, 0.34) if kind == "heatmap" else (PAGE, 0.28)
                inches = size(style, row * shown + (2.4 if kind == "heatmap" else 1.4), wide)
                figure, ax = plt.subplots(figsize=inches, layout="constrained")
                keeping_text(figure)
            draw(ax, max_features, n_directions)
            ax.set_title(self.title, loc="left", fontsize="medium")
        self.ax_, self.figure_ = ax, ax.figure  # type: ignore[assignment]
        return self

    def _bars(self, ax: Axes, count: int, _: int) -> None:
        order = np.argsort(-self.importances, kind="stable")[:count]
        ax.barh(range(len(order)), self.importances[order], color=_BLUE, height=0.7)
        _label_rows(ax, [self.names[j] for j in order])
        ax.set_xlabel("share of the AGOP's trace")
        left_out = 1 - float(self.importances[order].sum())
        if left_out > 5e-4 and self.importances.any():
            note = f"{len(self.names) - len(order)} more columns: {left_out:.3f}"
            ax.annotate(
                note, (1, 0), (-4, 6), "axes fraction", textcoords="offset points", ha="right", color=_INK
            )

    def _chosen(self, count: int) -> np.ndarray:
        """The encoded columns with the largest diagonal, in their own order."""
        order = np.argsort(-np.diagonal(self.agop), kind="stable")[:count]
        return np.sort(order)

    def _heat_map(self, ax: Axes, count: int, _: int) -> None:
        chosen = self._chosen(count)
        M = self.agop[np.ix_(chosen, chosen)]
        top = float(np.abs(M).max()) or 1.0
        image = ax.imshow(M / top, cmap="RdBu_r", vmin=-1, vmax=1)
        names = [_short(self.encoded_names[j]) for j in chosen]
        ax.set_xticks(range(len(chosen)), names, rotation=90)
        ax.set_yticks(range(len(chosen)), names)
        ax.figure.colorbar(image, ax=ax, shrink=0.8, label="AGOP / its largest entry")

    def _directions(self, ax: Axes, count: int, n_directions: int) -> None:
        values, vectors = np.linalg.eigh(self.agop)
        values, vectors = values[::-1].clip(0), vectors[:, ::-1]
        n_directions, total = min(n_directions, len(values)), values.sum() or 1.0
        weight = np.abs(vectors[:, :n_directions] * np.sqrt(values[:n_directions])).max(1)
        chosen = np.sort(np.argsort(-weight, kind="stable")[:count])
        height = 0.8 / n_directions
        colours = (_BLUE, _ORANGE, "#007a5a", "#8a6d00", "#6a3d9a")
        for number in range(n_directions):
            vector = vectors[:, number]
            vector = vector * np.sign(vector[np.abs(vector).argmax()])
            ax.barh(
                np.arange(len(chosen)) + (number - (n_directions - 1) / 2) * height,
                vector[chosen],
                height,
                color=colours[number % len(colours)],
                label=f"direction {number + 1}: {values[number] / total:.0%} of the trace",
            )
        _label_rows(ax, [self.encoded_names[j] for j in chosen])
        ax.axvline(0, color=_INK, linewidth=0.8)
        ax.set_xlabel("entry of the eigenvector")
        ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=1)


def _label_rows(ax: Axes, names: list[str]) -> None:
    ax.set_yticks(range(len(names)), [_short(name) for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.spines[["top", "right"]].set_visible(False)


def _short(name: str) -> str:
    return name if len(name) <= 28 else name[:27] + "…"
