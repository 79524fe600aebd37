"""Units of nazaret2022: networks whose depth is inferred, on two arms of a spiral.

depth      expected (depth), layers (that there are), nu, accuracy, test_accuracy
layers     layer, q (its probability), nc1, nc3, nc4 (of its output on training points, with its own head)
history    epoch, expected, layers
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from agop.datasets.spiral import draw_spiral
from agop.experiments.tables import write_table
from agop.experiments.units import Unit
from agop.networks.streams import derived_seed
from agop.networks.unbounded_depth import UnboundedDepthNet, make_optimiser, train_unbounded_depth
from agop.profiles.profile import profile

NOISE = 0.02
_DATA, _WEIGHTS, _ORDER = 51, 52, 53  # uses of a unit's seed


def run_fit(unit: Unit, folder: Path) -> list[str]:
    """Train a network on a spiral, follow its expected depth, and measure every layer with its own head."""
    options = dict(unit.options)
    rng = np.random.default_rng(derived_seed(unit.seed, _DATA))
    n = int(options["points"])
    points, arms = draw_spiral(2 * n, float(options["omega"]), NOISE, rng)
    if options["shuffled"]:
        arms = rng.permutation(arms)
    x, y = torch.from_numpy(points).float(), torch.from_numpy(arms)
    model = UnboundedDepthNet(2, 2, width=int(options["width"]), seed=derived_seed(unit.seed, _WEIGHTS))
    epochs, every, history = int(options["epochs"]), int(options["every"]), []
    training = train_unbounded_depth(
        model,
        x[:n],
        y[:n],
        epochs=epochs,
        batch_size=int(options["batch_size"]),
        optimiser=make_optimiser(model, options["lr"], options["nu_lr"]),
        seed=derived_seed(unit.seed, _ORDER),
    )
    history.append({"epoch": 0, "expected": model.expected_depth(), "layers": model.depth})
    for epoch in training:
        if epoch % every == 0 or epoch == epochs:
            history.append({"epoch": epoch, "expected": model.expected_depth(), "layers": model.depth})
    write_table(folder, "history", pd.DataFrame(history))
    with torch.no_grad():
        right = (model(x).argmax(1) == y).double()
    whole = {"expected": model.expected_depth(), "layers": model.depth, "nu": float(model.nu.detach())}
    whole |= {"accuracy": float(right[:n].mean()), "test_accuracy": float(right[n:].mean())}
    write_table(folder, "depth", pd.DataFrame([whole]))
    found = profile(model, x[:n], y[:n].numpy(), measures=["nc1", "nc3", "nc4"]).to_frame()
    outputs = found[found["stage"] == "output"]
    table = outputs[["layer", "nc1", "nc3", "nc4"]].assign(q=model.depth_probabilities().detach().numpy())
    write_table(folder, "layers", table)
    return []
