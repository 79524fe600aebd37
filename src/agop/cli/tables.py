"""What is printed of a finished run: a row per layer; which table it is, the kind of subject says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from rich.table import Table

from agop.cli.outcome import number
from agop.experiments.subject import imported

if TYPE_CHECKING:
    from agop.report import RunRecord


def table_of(name: str) -> Callable[[RunRecord], Table]:
    """The function that makes the table of this name, or the one that "module:function" names."""
    made = {"stages": by_stage, "drops": by_drop}.get(name)
    return made or cast("Callable[[RunRecord], Table]", imported(name))


def by_stage(record: RunRecord) -> Table:
    """Layer, NC1 and NC2 of the three stages, training and test accuracy."""
    from agop.report import style

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("\nlayer", justify="right", no_wrap=True)
    by_stage = record.profile.set_index(["layer", "stage"])
    columns = [(m, s) for m in ("nc1", "nc2") if m in by_stage for s in style.STAGES]
    for measure, stage in columns:
        table.add_column(f"{style.measure_name(measure)}\n{stage}", justify="right", no_wrap=True)
    accuracies = [name for name in ("train_accuracy", "test_accuracy") if name in record.layers]
    for name in accuracies:
        table.add_column("acc.\n" + name.removesuffix("_accuracy"), justify="right", no_wrap=True)
    layers = record.layers if len(record.layers) else record.profile[["layer"]].drop_duplicates()
    for _, row in layers.iterrows():
        layer = int(row["layer"])
        values = [by_stage[measure].get((layer, stage), float("nan")) for measure, stage in columns]
        cells = [number(value, ".3g") for value in values] + [number(row[name], ".3f") for name in accuracies]
        table.add_row(str(layer), *cells)
    return table


def by_drop(record: RunRecord) -> Table:
    """Layer, NC1 of the three stages, the projection's share of the drop, NFA; trained and untrained."""
    import pandas as pd

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("\nlayer", overflow="fold")  # the only column that may wrap: numbers are never cut
    for stage in ("input", "projected", "output"):
        table.add_column(f"NC1\n{stage}", justify="right", no_wrap=True)
    table.add_column("projection's\nshare of drop", justify="right", no_wrap=True)
    if "nfa" in record.layers:
        table.add_column("\nNFA", justify="right", no_wrap=True)
    twin_file = record.path / "untrained.csv"
    twin = pd.read_csv(twin_file).set_index(["layer", "stage"])["nc1"] if twin_file.exists() else None
    if twin is not None:
        table.add_column("untrained:\nNC1 output", justify="right", no_wrap=True)
    nc1 = record.profile.set_index(["layer", "stage"])["nc1"]
    for _, row in record.layers.iterrows():
        layer = row["layer"]
        cells = [
            f"{layer} {row['name']}",
            *(number(nc1.get((layer, s)), ".3g") for s in ("input", "projected", "output")),
        ]
        share = row.get("share_projection", float("nan"))
        cells.append(
            number(None if share != share else 100 * share, ".0f") + (" %" if share == share else "")
        )
        if "nfa" in record.layers:
            cells.append(number(row["nfa"], ".2f"))
        if twin is not None:
            cells.append(number(twin.get((layer, "output")), ".3g"))
        table.add_row(*cells)
    return table
