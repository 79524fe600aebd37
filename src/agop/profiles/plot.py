"""The plot of a profile: a measure against the layer, for a notebook. Figures of a report are in `agop.report`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agop import _checks
from agop._plotting import keeping_text, once_a_figure, size, styled
from agop.profiles.shown import Shown
from agop.view import STAGES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOKS = {"input": ("#0067a5", "o"), "projected": ("#b84a00", "s"), "output": ("#007a5a", "^")}


def plot_profile(profile: Any, measure: str | None = None, *, style: str = "screen") -> Axes:
    """The axes of one measure of a `Profile` by layer, a curve a stage if it is one of stages; the NFA is below if there is one.

    The measure's probe says the label and the scale of the axis and where collapse lies; values that are not positive are drawn too.
    """
    import matplotlib.pyplot as plt

    drawable = (*profile.measures, *profile.layer_measures)
    default = profile.measures[0] if profile.measures else next(iter(profile.layer_measures), None)
    measure = str(_checks.one_of("measure", default if measure is None else measure, drawable))
    with_nfa = measure != "nfa" and "nfa" in profile.layers and bool(profile.layers["nfa"].notna().any())
    with styled(style):
        figure, axes = plt.subplots(
            2 if with_nfa else 1,
            sharex=True,
            squeeze=False,
            layout="constrained",
            figsize=size(style, 5.4 if with_nfa else 3.8),
            height_ratios=[2, 1] if with_nfa else [1],
        )
        _curves(axes[0, 0], profile, measure)
        axes[0, 0].set_title(profile.subject, loc="left", fontsize="medium", wrap=True)
        if with_nfa:
            _curves(axes[1, 0], profile, "nfa")
        axes[-1, 0].set_xlabel("layer")
    keeping_text(figure)
    first: Axes = axes[0, 0]
    return once_a_figure(first)


def _curves(ax: Axes, profile: Any, measure: str) -> None:
    from matplotlib.ticker import MaxNLocator

    look = profile.look(measure)
    if measure in profile.measures:
        for stage in STAGES:
            rows = profile.table[profile.table["stage"] == stage].dropna(subset=measure)
            if len(rows):
                colour, marker = _LOOKS[stage]
                ax.plot(rows["layer"], rows[measure], color=colour, marker=marker, label=stage)
        ax.legend(frameon=False)
        values = profile.table[measure]
    else:
        layers = profile.layers.dropna(subset=measure)
        ax.plot(layers["layer"], layers[measure], color="#595959", marker="D")
        values = profile.layers[measure]
    scaled_axis(ax, look, values.to_numpy(float))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines[["top", "right"]].set_visible(False)


def scaled_axis(ax: Axes, look: Shown, values: np.ndarray) -> None:
    """Scale, label and goal as the probe says."""
    finite = values[np.isfinite(values)]
    if look.scale == "log" and (finite > 0).all() and len(finite):
        ax.set_yscale("log")
    elif look.scale == "log" and finite.any():
        ax.set_yscale("symlog", linthresh=float(np.abs(finite[finite != 0]).min()))
    ax.set_ylabel(f"{look.label}\n{look.arrow}" if look.arrow else look.label)
    if look.goal is not None:
        ax.axhline(look.goal, color="#8a8a8a", linestyle=":", linewidth=1)
