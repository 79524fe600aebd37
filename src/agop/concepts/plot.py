"""The plot of concept directions: scores by block, for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINES = {
    "rfm": ("RFM", "#0067a5", "o", "-"),
    "kernel_ridge": ("kernel ridge", "#5a9bd4", "s", ":"),
    "linear": ("", "#b84a00", "^", "-"),
    "mean_difference": ("difference of means", "#8a8a8a", "v", ":"),
    "direction": ("top AGOP direction alone", "#007a5a", "D", "--"),
}


def plot_scores(found: Any) -> Figure:
    """A figure of `ConceptDirections`: one curve a method, a line for the detector, a mark at the chosen block."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    figure, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    table = found.table
    for column, (label, colour, marker, style) in _LINES.items():
        named = label or ("logistic regression" if found.classes is not None else "ridge regression")
        ax.plot(table["block"], table[column], style, color=colour, marker=marker, ms=4, lw=1.3, label=named)
    ax.axhline(found.detector.score, color="#444444", lw=1, dashes=(6, 3), label="detector of all blocks")
    best = int(table["block"][table["name"] == found.chosen].iloc[0])
    ax.axvline(best, color="#cccccc", lw=6, zorder=0)
    ax.set_xlabel("block")
    words = {"auc": "AUC", "correlation": "correlation"}[found.score]
    ax.set_ylabel(f"{words} at held-out samples")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8)
    return figure
