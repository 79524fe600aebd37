"""What `agop rfm` can be asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agop._checks import bad_value
from agop.experiments.configuration import DATA_PANEL, MODEL, Configuration, option
from agop.experiments.subject import SubjectKind

TASKS = ("auto", "classification", "regression")
SECONDS = 60.0
ROWS_A_MINUTE = 5_000
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)?")
_UNITS = {None: 1, "s": 1, "m": 60, "min": 60, "h": 3600}


@dataclass(frozen=True, kw_only=True)
class RFMConfig(Configuration):
    """The options of `agop rfm`."""

    data: str = option(
        help="A .csv, .parquet, .feather or .npz file, or a folder of .parquet files.",
        panel=DATA_PANEL,
        files="*.csv",
    )
    target: str = option(help="The column to predict.", panel=DATA_PANEL)
    task: str = option(
        "auto", "{choices} (whole numbers of at most ten values are classes).", DATA_PANEL, choices=TASKS
    )
    drop: tuple[str, ...] | None = option(None, "Columns to leave out.", DATA_PANEL, shown="none")
    categories: tuple[str, ...] | None = option(
        None, "Columns of numbers to take as categories.", DATA_PANEL, shown="none"
    )
    keep: tuple[str, ...] | None = option(
        None, "Columns to use although they look like identifiers.", DATA_PANEL, shown="none"
    )
    group_by: str | None = option(
        None, "Rows with one value of this column are held out together.", DATA_PANEL
    )
    test: float = option(
        0.0, "Share of the rows to hold out, for a last score.", DATA_PANEL, at_least=0, at_most=0.9
    )
    encoding: str = option("utf-8", "Of a .csv file.", DATA_PANEL)
    rows: int | None = option(
        None, "At most so many rows, drawn by --seed.", DATA_PANEL, shown="5,000 for a minute of search; all of a .parquet", at_least=10
    )  # fmt: skip
    search: str | None = option(
        None, "How long to search: 60, 60s, 5m.", MODEL, shown="60s, or no limit with --candidates"
    )
    candidates: int | None = option(
        None, "How many recursions to try.", MODEL, shown="as many as there is time for", at_least=1
    )
    ensemble: int = option(16, "At most so many models are averaged; 1: one model.", MODEL, at_least=1)
    scoring: str | None = option(
        None, "What is best, by scikit-learn's name, such as roc_auc.", MODEL, shown="squared error, of probabilities for classes"
    )  # fmt: skip
    n_train: int | None = None
    n_test: int | None = None
    subset: str = "first"
    data_root: str | None = None
    download: bool = False

    def __post_init__(self) -> None:
        """Also what no type says."""
        super().__post_init__()
        _ = self.seconds

    @property
    def seconds(self) -> float | None:
        """How long to search; None: until all candidates are tried."""
        if self.search is None:
            return SECONDS if self.candidates is None else None
        match = _TIME.fullmatch(str(self.search).strip())
        seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
        if not seconds > 0:
            raise bad_value("search", "seconds > 0, such as 60, 60s or 5m", repr(self.search))
        return seconds

    @property
    def most_rows(self) -> int:
        """How many rows are taken: a fit takes about their cube, so that a longer search takes more of them."""
        if self.rows is not None:
            return self.rows
        minutes = (SECONDS if self.seconds is None else self.seconds) / 60
        return max(1000, int(round(ROWS_A_MINUTE * minutes ** (1 / 3), -2)))

    @property
    def place(self) -> str:
        """A word for the target in the name of a folder."""
        return re.sub(r"\W+", "-", self.target).strip("-") or "target"

    def labels(self) -> dict[str, str]:
        """With a target that a folder can be called by."""
        return super().labels() | {"target": self.place}


HELP = """Learn a column of a table from the others: search RFMs, judge them honestly, save the best, say what counts.

\b
[bold]Examples[/bold]
  agop rfm --data houses.csv --target price --out runs/houses
  agop rfm --data customers.parquet --target churn --search 5m --test 0.2
  agop rfm --data flights.parquet --target delay --out runs/flights
  agop rfm --data visits.csv --target outcome --group-by patient --drop date,notes
  agop predict runs/houses --data new.csv --out predictions.csv

Columns may hold numbers, categories, dates and gaps. What each was taken for, and what was left out and why, is told. Scores are those of
rows that were held out. Ctrl-C ends the search and keeps the best so far.
"""

KIND = SubjectKind(
    name="rfm",
    help=HELP,
    config=RFMConfig,
    task="agop.experiments.subjects.rfm:RFMTask",
    out="rfm-{data}-{target}",
    table="agop.cli.columns:by_column",
    display="operations",
)
