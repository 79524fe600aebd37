"""What a run says about itself in words: the headline, what was run, what its reader must know."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from agop.datasets import Dataset
from agop.experiments.config import DeepRFMConfig


def deep_rfm(
    config: DeepRFMConfig,
    data: Dataset,
    profile: pd.DataFrame,
    layers: pd.DataFrame,
    notes: list[str],
    seconds: float,
) -> dict[str, Any]:
    """The content of `result.json`: title, headline, facts, notes, seconds; all of it JSON."""
    features = f"{config.feature_map} features of width {config.width:,}"
    return {
        "title": f"Deep RFM on {data.name}",
        "headline": headline(profile, layers),
        "facts": {
            "Data": data.source,
            "Points": f"{data.x_train.shape[1]:,} features (shape {'×'.join(map(str, data.shape))}), "
            f"{len(np.unique(data.y_train))} classes, standardised with the training points",
            "Model": f"{config.layers} layers; {config.kernel} kernel of bandwidth {config.bandwidth:g}, "
            f"ridge {config.ridge:g}; {features}",
            "Arithmetic": f"{config.dtype}, {config.precision} precision, on {config.device}",
            "Seed": str(config.seed),
            "Measured on": "the training points; accuracy on training and test points",
            "Time": f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min",
        },
        "notes": notes,
        "seconds": seconds,
    }


def headline(profile: pd.DataFrame, layers: pd.DataFrame) -> str:
    """One sentence with the numbers: how far NC1 of the projected stage fell, and the accuracy.

    >>> p = pd.DataFrame({"layer": [1, 2], "stage": "projected", "nc1": [0.8, 0.002]})
    >>> headline(p, pd.DataFrame({"test_accuracy": [0.97, 0.98]})).removeprefix("NC1 of the projected stage ")
    'falls 400× over 2 layers, at every layer, from 0.8 to 0.002; test accuracy 0.980.'
    """
    rows = profile[profile["stage"] == "projected"].sort_values("layer")
    values = rows["nc1"].to_numpy(dtype=float)
    accuracy = _accuracy(layers)
    if len(values) == 0 or not np.isfinite(values[[0, -1]]).all():
        return f"NC1 of the projected stage is not defined in the first or the last layer{accuracy}."
    if len(values) == 1:
        return f"NC1 of the projected stage is {values[0]:.3g} in the only layer{accuracy}."
    ends = f"from {values[0]:.3g} to {values[-1]:.3g}"
    if values[-1] >= values[0]:
        return f"NC1 of the projected stage does not fall over {len(values)} layers: {ends}{accuracy}."
    steps = np.diff(values)
    if (steps < 0).all():
        way = "at every layer"
    else:
        risen = ", ".join(str(layer) for layer in rows["layer"].to_numpy()[1:][~(steps < 0)])
        way = f"though not at layer{'s' if ',' in risen else ''} {risen}"
    ratio = values[0] / values[-1] if values[-1] > 0 else np.inf
    fall = f"{_factor(ratio)}×" if np.isfinite(ratio) else "to zero"
    return f"NC1 of the projected stage falls {fall} over {len(values)} layers, {way}, {ends}{accuracy}."


def _factor(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 10 else f"{ratio:,.0f}" if ratio < 1e5 else f"{ratio:.1e}"


def _accuracy(layers: pd.DataFrame) -> str:
    for name, words in (("test_accuracy", "test accuracy"), ("train_accuracy", "training accuracy")):
        if name in layers and np.isfinite(layers[name].iloc[-1]):
            return f"; {words} {layers[name].iloc[-1]:.3f}"
    return ""
