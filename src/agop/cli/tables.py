"""What is printed of a finished run: a row per layer; which table it is, the kind of subject says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, cast

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agop.cli.outcome import number
from agop.experiments.subject import imported

if TYPE_CHECKING:
    import pandas as pd

    from agop.report import RunRecord

_OF_DROPS = ("nc1", "nc2", "trace_within_share", "trace_between_share")
"""Measures of stages that `by_drop` prints as one story, or leaves to the page."""


def table_of(name: str) -> Callable[[RunRecord], RenderableType]:
    """The function that makes the table of this name, or the one that "module:function" names."""
    made = {"stages": by_stage, "drops": by_drop}.get(name)
    return made or cast("Callable[[RunRecord], RenderableType]", imported(name))


def by_stage(record: RunRecord) -> RenderableType:
    """Layer, every measure of stages, training and test accuracy; two measures in a table, so that it fits on a terminal."""
    measures = list(record.measures)
    accuracies = [name for name in ("train_accuracy", "test_accuracy") if name in record.layers]
    return _joined([_stages(record, measures[:2], accuracies), *_further(record, measures[2:])])


def by_drop(record: RunRecord) -> RenderableType:
    """Layer, NC1 of the three stages, the projection's share of the drop, NFA; trained and untrained; and what else was asked for."""
    further = _further(record, [name for name in record.measures if name not in _OF_DROPS])
    if "nc1" not in record.profile:
        own = [name for name in record.measures if name in _OF_DROPS]
        return _joined([*_stages_of(record, own), *further])
    return _joined([*_answers(record), _drops(record), *further])


def _answers(record: RunRecord) -> Iterator[Text]:
    """Above the measures, how well the model answers on the very points that were measured."""
    from agop._csv import read_csv

    file = record.path / "scores.csv"
    if file.exists():
        for row in read_csv(file).to_dict("records"):
            who = "" if row["of"] == "model" else f"{row['of']}: "
            numbers = (
                f"accuracy {row['accuracy']:.3f}, cross-entropy {row['loss']:.3g}, chance {row['chance']:.3f}"
            )
            yield Text(f"{who}{numbers}")


def _joined(parts: Iterable[RenderableType]) -> RenderableType:
    found = list(parts)
    return found[0] if len(found) == 1 else Group(*found)


def _stages_of(record: RunRecord, measures: list[str]) -> Iterator[Table]:
    yield from (_stages(record, measures[at : at + 2], []) for at in range(0, len(measures), 2))


def _further(record: RunRecord, measures: list[str]) -> Iterator[Table]:
    """The measures of stages, of layers and of the whole that the first table does not show."""
    from agop.report.measured import charted_layers

    yield from _stages_of(record, measures)
    if layers := charted_layers(record):
        yield _layers(record, layers)
    if not record.whole.empty:
        yield _whole(record)


def _new(first: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, justify="right", no_wrap=True)
    return table


def _stages(record: RunRecord, measures: list[str], accuracies: list[str]) -> Table:
    from agop.report import style

    table = _new("\nlayer")
    by_stage = record.profile.set_index(["layer", "stage"])
    columns = [(m, s) for m in measures for s in style.stages(record.profile["stage"])]
    for measure, stage in columns:
        table.add_column(f"{record.look(measure).heading}\n{stage}", justify="right", no_wrap=True)
    for name in accuracies:
        table.add_column("acc.\n" + name.removesuffix("_accuracy"), justify="right", no_wrap=True)
    layers = record.layers if len(record.layers) else record.profile[["layer"]].drop_duplicates()
    for _, row in layers.iterrows():
        layer = int(row["layer"])
        values = [by_stage[measure].get((layer, stage), float("nan")) for measure, stage in columns]
        cells = [number(value, ".3g") for value in values] + [number(row[name], ".3f") for name in accuracies]
        table.add_row(str(layer), *cells)
    return table


def _layers(record: RunRecord, measures: list[str]) -> Table:
    table = _new("layer")
    for measure in measures:
        table.add_column(record.look(measure).heading, justify="right")
    for _, row in record.layers.iterrows():
        table.add_row(str(int(row["layer"])), *(number(row[measure], ".3g") for measure in measures))
    return table


def _whole(record: RunRecord) -> Table:
    from agop.report.measured import of_whole

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=False)
    for entry in of_whole(record):
        table.add_row(entry.heading, entry.number)
    return table


def _drops(record: RunRecord) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("\nlayer", overflow="fold")  # the only column that may wrap: numbers are never cut
    for stage in ("input", "projected", "output"):
        table.add_column(f"NC1\n{stage}", justify="right", no_wrap=True)
    table.add_column("projection's\nshare of drop", justify="right", no_wrap=True)
    if "nfa" in record.layers:
        table.add_column("\nNFA", justify="right", no_wrap=True)
    twin = _untrained(record)
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


def _untrained(record: RunRecord) -> pd.Series | None:
    from agop._csv import read_csv

    file = record.path / "untrained.csv"
    return read_csv(file).set_index(["layer", "stage"])["nc1"] if file.exists() else None
