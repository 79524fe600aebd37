"""Units of networks: a run of `agop network` in a folder of its own, and its tables without times.

profile.csv, layers.csv                       the trained network by layer and stage, and by layer
untrained.csv, untrained_layers.csv           the same of a network that was not trained
through.csv, through_layers.csv, epochs.csv   through training
network/                                      the run itself, as `agop report` reads it
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agop.experiments.run import run
from agop.experiments.subjects.network_config import NetworkConfig
from agop.experiments.tables import check_unit, read_table, write_table
from agop.experiments.units import DataSource, Unit

RUN = "network"
_TABLES = ("profile", "layers", "untrained", "untrained_layers", "through", "through_layers", "epochs")


def run_network(unit: Unit, folder: Path) -> list[str]:
    """Train and measure the network of a unit, from its last checkpoint on."""
    options: dict[str, Any] = dict(unit.options)
    assert isinstance(unit.data, DataSource)
    config = NetworkConfig(
        data=unit.data.name, data_root=unit.data.root, n_train=unit.data.n_train, subset="random",
        seed=unit.seed, **options,
    )  # fmt: skip
    run("network", config, folder / RUN)
    result = check_unit(folder / RUN)
    for name in _TABLES:
        table = read_table(folder / RUN / f"{name}.csv")
        write_table(folder, name, table.drop(columns="seconds", errors="ignore"))
    return [str(note) for note in result.get("notes", ())]
