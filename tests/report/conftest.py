"""A finished run directory of any shape, written without running anything."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def make_run(tmp_path):
    """`make_run(name, n_layers=…, factor=…, result=…)` writes a run whose NC1 falls by `factor` a layer."""

    def make(name="run", *, n_layers=6, factor=0.4, with_test=True, with_gram=True, **result):
        folder = tmp_path / name
        folder.mkdir()
        rows = [
            {
                "layer": layer,
                "name": f"layer {layer}",
                "stage": stage,
                "nc1": share * factor**layer,
                "nc2": 0.05 * share / layer,
            }
            for layer in range(1, n_layers + 1)
            for stage, share in (("input", 4.0), ("projected", 1.0), ("output", 1.3))
        ]
        pd.DataFrame(rows).to_csv(folder / "profile.csv", index=False)
        layers = pd.DataFrame(
            {"layer": range(1, n_layers + 1), "train_accuracy": 1.0, "seconds": 0.5, "solver": "cholesky"}
        )
        layers["test_accuracy"] = 0.9 + 0.01 * layers["layer"] if with_test else np.nan
        layers.to_csv(folder / "layers.csv", index=False)
        if with_gram:
            labels = np.repeat([0, 1, 2], 4)
            matrix = np.where(labels[:, None] == labels[None, :], 1.0, -0.5).astype(np.float16)
            grams = {
                f"{layer}/{stage}": matrix
                for layer in (1, n_layers)
                for stage in ("input", "projected", "output")
            }
            np.savez(
                folder / "gram.npz", labels=labels, class_names=np.array(["cat", "<dog>", "cow"]), **grams
            )
        config = {"format": 1, "kind": "deep-rfm", "id": "x", "command": "agop deep-rfm --data digits"}
        config |= {"versions": {"agop": "0.1.0"}, "machine": {"cpus": 2}}
        (folder / "config.json").write_text(json.dumps(config))
        content = {
            "title": "Deep RFM on digits",
            "headline": "It falls.",
            "facts": {"Data": "digits"},
            "notes": [],
        }
        (folder / "result.json").write_text(json.dumps(content | result))
        return folder

    return make


@pytest.fixture
def make_network(make_run):
    """A run of `agop network` as its directory has it: three layers through six epochs, an untrained network beside them."""

    def make(name="network"):
        folder = make_run(name, n_layers=3, with_gram=False)
        numbers = {
            "drop_projection": [0.5, 0.4, 0.9],
            "drop_nonlinearity": [0.1, -0.2, 0.0],
            "nfa": [0.9, 0.7, 0.8],
        }
        layers = pd.read_csv(folder / "layers.csv").assign(**numbers)
        layers.to_csv(folder / "layers.csv", index=False)
        layers.assign(nfa=0.3, drop_projection=0.01).to_csv(folder / "untrained_layers.csv", index=False)
        profile = pd.read_csv(folder / "profile.csv")
        rows, own = [], []
        for epoch in range(0, 6):
            share = 1 / (1 + epoch)
            rows.append(
                profile.assign(
                    epoch=epoch,
                    nc1=profile["nc1"] * share,
                    trace_within_share=share,
                    trace_between_share=1 - share,
                )
            )
            own.append(layers[["layer", "nfa"]].assign(epoch=epoch))
        pd.concat(rows).to_csv(folder / "through.csv", index=False)
        pd.concat(own).to_csv(folder / "through_layers.csv", index=False)
        epochs = {
            "number": range(6),
            "loss": [1 / (1 + 9 * n) for n in range(6)],
            "accuracy": 0.9,
            "test_accuracy": 0.8,
        }
        pd.DataFrame(epochs).to_csv(folder / "epochs.csv", index=False)
        return folder

    return make
