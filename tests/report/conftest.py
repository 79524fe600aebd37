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
