"""The one sentence with the numbers that stands at the head of a finished run."""

from __future__ import annotations

import numpy as np
import pandas as pd


def projected_falls(profile: pd.DataFrame, layers: pd.DataFrame) -> str:
    """One sentence with the numbers: how far NC1 of the projected stage fell, and the accuracy.

    >>> p = pd.DataFrame({"layer": [1, 2], "stage": "projected", "nc1": [0.8, 0.002]})
    >>> projected_falls(p, pd.DataFrame({"test_accuracy": [0.97, 0.98]})).removeprefix("NC1 of the projected stage ")
    'falls 400× over 2 layers, at every layer, from 0.8 to 0.002; test accuracy 0.980.'
    """
    if "nc1" not in profile:
        return f"{profile['layer'].nunique()} layers were measured{_accuracy(layers)}."
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


def drops(layers: pd.DataFrame) -> str:
    """One sentence with the paper's claim as this network shows it, or does not.

    >>> p = pd.DataFrame({"layer": [1, 2], "drop_projection": [0.5, 0.9], "drop_nonlinearity": [0.1, -0.02]})
    >>> drops(p.assign(nfa=[0.9, 0.8]))
    'NC1 falls 30× over all layers, 95 % of that (in log) at the projections; median NFA correlation 0.85.'
    """
    nfa = ""
    if "nfa" in layers and layers["nfa"].notna().any():
        nfa = f"; median NFA correlation {layers['nfa'].median():.2f}"
    from agop.probes.drops import share_of_fall

    if "drop_projection" not in layers:
        return f"{len(layers)} layers were measured{nfa}."
    rows = layers.dropna(subset=["drop_projection", "drop_nonlinearity"])
    projection, rest = rows["drop_projection"].sum(), rows["drop_nonlinearity"].sum()
    total = projection + rest
    if not total > 0:
        return f"NC1 does not fall through the layers{nfa}."
    fall = _factor(10**total)
    if not share_of_fall(float(projection), float(rest)).defined:
        return f"NC1 hardly falls through the layers ({fall}×){nfa}."
    where = f"{100 * projection / total:.0f} % of that (in log) at the projections"
    if rest < 0:
        where = f"all of it at the projections, {-100 * rest / projection:.0f} % of whose work (in log) the nonlinearities undo"
    return f"NC1 falls {fall}× over all layers, {where}{nfa}."


def _factor(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 10 else f"{ratio:,.0f}" if ratio < 1e5 else f"{ratio:.1e}"


def _accuracy(layers: pd.DataFrame) -> str:
    for name, words in (("test_accuracy", "test accuracy"), ("train_accuracy", "training accuracy")):
        if name in layers and np.isfinite(layers[name].iloc[-1]):
            return f"; {words} {layers[name].iloc[-1]:.3f}"
    return ""
