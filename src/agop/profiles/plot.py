"""The plot of a profile: measures against the layer, for a notebook. Figures of a report are in `agop.report`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agop import _checks
from agop.profiles.table import Profile
from agop.view import STAGES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOOKS = {"input": ("#0067a5", "o"), "projected": ("#b84a00", "s"), "output": ("#007a5a", "^")}


def plot_profile(profile: Profile, measure: str | None = None) -> Figure:
    """A figure with one measure by layer and stage on a log axis and, if it was measured, the NFA below."""
    import matplotlib.pyplot as plt

    measure = _checks.one_of("measure", measure or profile.measures[0], profile.measures)
    with_nfa = "nfa" in profile.layers and bool(profile.layers["nfa"].notna().any())
    figure, axes = plt.subplots(
        2 if with_nfa else 1,
        sharex=True,
        squeeze=False,
        layout="constrained",
        figsize=(6.4, 5.4 if with_nfa else 3.8),
        height_ratios=[2, 1] if with_nfa else [1],
    )
    _stages(axes[0, 0], profile, measure)
    if with_nfa:
        layers = profile.layers.dropna(subset="nfa")
        axes[1, 0].plot(layers["layer"], layers["nfa"], color="#595959", marker="D")
        axes[1, 0].set(ylabel="NFA correlation", ylim=(min(0.0, layers["nfa"].min()), 1.02))
    axes[-1, 0].set_xlabel("layer")
    return figure


def _stages(ax: Axes, profile: Profile, measure: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for stage in STAGES:
        rows = profile.table[profile.table["stage"] == stage].dropna(subset=measure)
        if len(rows):
            colour, marker = _LOOKS[stage]
            ax.plot(rows["layer"], rows[measure], color=colour, marker=marker, label=stage)
    if (profile.table[measure] > 0).any():
        ax.set_yscale("log", nonpositive="mask")
    ax.set_ylabel(measure.upper() if measure.startswith("nc") else measure)
    ax.set_title(profile.subject, loc="left", fontsize=10)
    ax.legend(frameon=False)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines[["top", "right"]].set_visible(False)
