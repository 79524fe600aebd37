"""Units of mingard2023: Boolean functions of seven bits, the prior of initialised networks over them, and trained networks.

prior      prior.csv  complexity, probability (that a network at initialisation has at most it); target.csv  ones, complexity, predicted
(error
           on the inputs that were not trained on, from the prior), effective (sampled functions that the prediction rests on); summary.csv
           median, low, high (5 and 95 %) of the complexity, random (the median of uniformly random functions)
trained    errors.csv  ones, complexity, error (mean over networks), spread, learned (mean complexity of the learned functions), fitted
(share) features   layers.csv  layer, nfa, nfa_untrained, nc1 (output, over all inputs) of one network a target
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool
from torch import Tensor

from agop.experiments.tables import write_table
from agop.experiments.units import Unit
from agop.networks.stacked import StackedMLP, train_until_fitted
from agop.networks.streams import derived_seed, stream
from agop.probes.complexity import lz_complexities, lz_complexity
from agop.profiles.network import Network
from agop.profiles.profile import profile
from agop.theory.function_prior import boolean_inputs, error_spectrum, sample_functions

_UNIFORM, _SPLITS, _WEIGHTS = 31, 32, 33  # uses of a unit's seed
_DRAW = 10


def target_of(ones: int | None, bits: int) -> Bool[Tensor, " N"]:
    """The paper's function that is true at so many random places (drawn with replacement); one drawn uniformly for None."""
    draw = np.random.RandomState(
        _DRAW
    )  # the legacy generator, whose draws are fixed for ever: these are the published targets
    if ones is None:
        return torch.from_numpy(draw.randint(2, size=2**bits)).bool()
    values = torch.zeros(2**bits, dtype=torch.bool)
    values[torch.from_numpy(draw.choice(2**bits, size=ones))] = True
    return values


def _shape(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("width", "depth", "sigma_w")}


def run_prior(unit: Unit, folder: Path) -> list[str]:
    """Sample functions of initialised networks: their complexities, and what they let one expect of trained ones."""
    options = dict(unit.options)
    bits, m = int(options["bits"]), int(options["train"])
    functions = sample_functions(int(options["draws"]), n=bits, seed=unit.seed, **_shape(options))
    found = lz_complexities(functions)
    generator = stream(unit.seed, _UNIFORM)
    random = lz_complexities(torch.rand(1000, 2**bits, generator=generator) > 0.5)
    quantiles = found.quantile(torch.tensor([0.05, 0.5, 0.95], dtype=found.dtype)).tolist()
    summary = dict(zip(("low", "median", "high"), quantiles, strict=True)) | {
        "random": float(random.median())
    }
    places = torch.arange(2, 53, dtype=found.dtype) * (
        bits / 2
    )  # every value there is, a word in one direction apart
    shares = (found[None] <= places[:, None]).double().mean(1)
    write_table(
        folder, "prior", pd.DataFrame({"complexity": places.tolist(), "probability": shares.tolist()})
    )
    write_table(folder, "summary", pd.DataFrame([summary]))
    rows = []
    for ones in options["ones"]:
        target = target_of(ones, bits)
        error, effective = error_spectrum(functions, target).predicted_error(m)
        rows.append({**_named(ones, target), "predicted": error, "effective": effective})
    write_table(folder, "target", pd.DataFrame(rows))
    return []


def _named(ones: int | None, target: Bool[Tensor, " N"]) -> dict[str, Any]:
    return {
        "target": "random" if ones is None else f"{ones} ones",
        "complexity": float(lz_complexity(target)),
    }


def run_trained(unit: Unit, folder: Path) -> list[str]:
    """Train networks on half of each target's table, and count their errors on the other half."""
    options = dict(unit.options)
    bits, m, members = int(options["bits"]), int(options["train"]), int(options["members"])
    x, rows, notes = boolean_inputs(bits), [], []
    targets = [target_of(ones, bits) for ones in options["ones"]]
    generator = stream(unit.seed, _SPLITS, 0)
    chosen = torch.stack([torch.randperm(2**bits, generator=generator)[:m] for _ in range(members)])
    chosen = chosen.repeat(len(targets), 1)  # each target with the same halves
    labels = torch.stack(targets).repeat_interleave(members, 0)
    model = StackedMLP(len(chosen), bits, seed=derived_seed(unit.seed, _WEIGHTS, 0), **_shape(options))
    y = labels.gather(1, chosen)
    fitted = train_until_fitted(model, x[chosen], y, lr=options["lr"], most_steps=options["steps"])
    with torch.no_grad():
        learned = model(x) > 0
    wrong = (learned != labels).double().scatter(1, chosen, 0.0).sum(1) / (2**bits - m)
    for number, (ones, target) in enumerate(zip(options["ones"], targets, strict=True)):
        own = torch.arange(number * members, (number + 1) * members)
        fits = own[fitted[own]]
        if len(fits) < members:
            notes.append(
                f"{members - len(fits)} of {members} networks did not fit {_named(ones, target)['target']}"
            )
        rows.append(
            {
                **_named(ones, target),
                "error": float(wrong[fits].mean()),
                "spread": float(wrong[fits].std(correction=0)),
                "learned": float(lz_complexities(learned[fits]).mean()) if len(fits) else float("nan"),
                "fitted": len(fits) / members,
            }
        )
    write_table(folder, "errors", pd.DataFrame(rows))
    return notes


def run_features(unit: Unit, folder: Path) -> list[str]:
    """Ansatz and collapse of a few networks that fit half of a table, before and after training, over all inputs."""
    options = dict(unit.options)
    bits, m, members = int(options["bits"]), int(options["train"]), int(options["members"])
    x, target, rows = boolean_inputs(bits), target_of(options["ones"], bits), []
    generator = stream(unit.seed, _SPLITS, 99)
    chosen = torch.stack([torch.randperm(2**bits, generator=generator)[:m] for _ in range(members)])
    model = StackedMLP(members, bits, seed=derived_seed(unit.seed, _WEIGHTS, 99), **_shape(options))
    for state in ("untrained", "trained"):
        if state == "trained":
            train_until_fitted(
                model, x[chosen], target[chosen], lr=options["lr"], most_steps=options["steps"]
            )
        for member in range(members):
            found = profile(
                Network(model.member(member), outputs=None),
                x,
                target.long().numpy(),
                measures=["nc1", "nfa"],
            )
            by_layer = found.to_frame("layer").set_index("layer")["nfa"]
            stages = found.to_frame()
            nc1 = stages[stages["stage"] == "output"].set_index("layer")["nc1"]
            rows += [
                {"state": state, "member": member, "layer": layer, "nfa": by_layer[layer], "nc1": nc1[layer]}
                for layer in by_layer.index
            ]
    write_table(folder, "layers", pd.DataFrame(rows))
    return []
