"""What is printed of a finished ConvRFM: a row per iteration or stage, and the measures of its views."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table

from agop.cli.outcome import number
from agop.cli.tables import by_stage
from agop.report import RunRecord
from agop.report.iterations import scores_of

_HEADINGS = {
    "train_accuracy": "acc.\ntrain",
    "score": "acc.\nchosen by",
    "test_accuracy": "acc.\ntest",
    "rank": "rank\nof M",
}


def by_iteration(record: RunRecord) -> RenderableType:
    """Iterations with the scores that chose among them; of a Deep ConvRFM its stages."""
    scores = scores_of(record.path)
    if scores is None:
        return by_stage(record)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    first = scores.columns[0]
    table.add_column(f"\n{first}", justify="right", no_wrap=True)
    columns = [name for name in _HEADINGS if name in scores and scores[name].notna().any()]
    for name in columns:
        table.add_column(_HEADINGS[name], justify="right", no_wrap=True)
    table.add_column("\npredicts", justify="left")
    for _, row in scores.iterrows():
        cells = [number(row[name], ".0f" if name == "rank" else ".3f") for name in columns]
        table.add_row(str(int(row[first])), *cells, "yes" if row["predicts"] else "")
    return Group(table, by_stage(record))
