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


def drops(profile: pd.DataFrame, layers: pd.DataFrame) -> str:
    """One sentence with the paper's claim as this network shows it, or does not.

    Two falls are told apart: that of the whole table, from what the first layer reads to what the last one gives, which counts what happens
    between layers (pooling, skip connections) too, and the sum of the falls inside the layers, of which the projections have a share.

    >>> p = pd.DataFrame({"layer": [1, 1, 2, 2], "stage": ["input", "output"] * 2, "nc1": [6.0, 1.5, 1.0, 0.2]})
    >>> rows = pd.DataFrame({"layer": [1, 2], "drop_projection": [0.5, 0.6], "drop_nonlinearity": [0.1, 0.1]})
    >>> drops(p, rows.assign(nfa=[0.9, 0.8])).partition("; ")[0]
    'NC1 falls 30× from the input of the first layer (6) to the output of the last (0.2)'
    >>> drops(p, rows).partition("; ")[2]
    'inside the layers 20×, 85 % of that (in log) at the projections.'
    >>> drops(p.assign(nc1=[1.01, 1.0, 1.0, 1.0]), rows).partition("; ")[0]
    'NC1 hardly falls (1×) from the input of the first layer (1.01) to the output of the last (1)'
    """
    nfa = ""
    if "nfa" in layers and layers["nfa"].notna().any():
        nfa = f"; median NFA correlation {layers['nfa'].median():.2f}"
    if "drop_projection" not in layers:
        return f"{len(layers)} layers were measured{nfa}."
    whole = _whole_fall(profile) or "NC1 is not defined at both ends; "
    return f"{whole}{_inside(layers)}{nfa}."


def _whole_fall(profile: pd.DataFrame) -> str:
    """From the first number of the table to its last, as far as both are defined."""
    from agop.probes.drops import share_of_fall

    if "nc1" not in profile:
        return ""
    first = profile[(profile["layer"] == profile["layer"].min()) & (profile["stage"] == "input")]["nc1"]
    last = profile[(profile["layer"] == profile["layer"].max()) & (profile["stage"] == "output")]["nc1"]
    begin, end = (float(rows.iloc[0]) if len(rows) else float("nan") for rows in (first, last))
    if not np.isfinite([begin, end]).all():
        return ""
    where = f"from the input of the first layer ({begin:.3g}) to the output of the last ({end:.3g}); "
    if end >= begin:
        return f"NC1 does not fall {where}"
    if end > 0 and not share_of_fall(float(np.log10(begin / end)), 0.0).defined:
        return f"NC1 hardly falls ({_factor(begin / end)}×) {where}"
    return f"NC1 falls {_factor(begin / end) + '×' if end > 0 else 'to zero'} {where}"


def _inside(layers: pd.DataFrame) -> str:
    """The falls inside the layers together, and the projections' share of them."""
    from agop.probes.drops import share_of_fall

    rows = layers.dropna(subset=["drop_projection", "drop_nonlinearity"])
    projection, rest = rows["drop_projection"].sum(), rows["drop_nonlinearity"].sum()
    total = projection + rest
    if not total > 0:
        return "inside the layers it does not fall"
    if not share_of_fall(float(projection), float(rest)).defined:
        return f"inside the layers it hardly falls ({_factor(10**total)}×)"
    where = f"{100 * projection / total:.0f} % of that (in log) at the projections"
    if rest < 0:
        where = f"all of it at the projections, {-100 * rest / projection:.0f} % of whose work (in log) the nonlinearities undo"
    return f"inside the layers {_factor(10**total)}×, {where}"


def _factor(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 10 else f"{ratio:,.0f}" if ratio < 1e5 else f"{ratio:.1e}"


def _accuracy(layers: pd.DataFrame) -> str:
    for name, words in (("test_accuracy", "test accuracy"), ("train_accuracy", "training accuracy")):
        if name in layers and np.isfinite(layers[name].iloc[-1]):
            return f"; {words} {layers[name].iloc[-1]:.3f}"
    return ""
