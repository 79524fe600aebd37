"""The plot of concept directions: scores by block, for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agop._plotting import keeping_text, size, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = {
    "rfm": ("RFM", "#0067a5", "o", "-"),
    "kernel_ridge": ("kernel ridge", "#5a9bd4", "s", ":"),
    "linear": ("", "#b84a00", "^", "-"),
    "mean_difference": ("difference of means", "#8a8a8a", "v", ":"),
    "direction": ("top AGOP direction alone", "#007a5a", "D", "--"),
}


def plot_scores(found: Any, *, style: str = "screen") -> Axes:
    """The axes of a figure of `ConceptDirections`: one curve a method, a line for the detector, a mark at the chosen block."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    with styled(style):
        figure, ax = plt.subplots(figsize=size(style, 4.0), layout="constrained")
        table = found.table
        for column, (label, colour, marker, line) in _LINES.items():
            named = label or ("logistic regression" if found.classes is not None else "ridge regression")
            ax.plot(table["block"], table[column], line, color=colour, marker=marker, label=named)
        ax.axhline(found.detector.score, color="#444444", lw=1, dashes=(6, 3), label="detector of all blocks")
        best = int(table["block"][table["name"] == found.chosen].iloc[0])
        ax.axvline(best, color="#cccccc", lw=6, zorder=0)
        ax.set_xlabel("block")
        words = {"auc": "AUC", "correlation": "correlation"}[found.score]
        ax.set_ylabel(f"{words} at held-out samples")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)
    keeping_text(figure)
    return ax
