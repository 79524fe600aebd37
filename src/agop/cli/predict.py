"""`agop predict`: what a model of a table says of new rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from agop.cli.options import complete

if TYPE_CHECKING:
    import pandas as pd

    from agop.tables import TableModel

HELP = """Predict new rows with the model of a run of `agop rfm`.

\b
[bold]Examples[/bold]
  agop predict runs/houses --data new.csv --out predictions.csv
  agop predict runs/churn --data customers.parquet --keep customer_id --out churn.csv

Columns are matched by name; how the table differs from the one that was learned from is told. A row of the output is a row of the table, in
order: the prediction, and for classes the probability of each. Where the target is in the table, the score is told.
"""
ROWS = 16_384
"""Of a block of a large table."""
FORMATS = (".csv", ".parquet", ".feather")


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    app.command("predict", help=HELP)(predict)


def predict(
    run: Annotated[
        Path, typer.Argument(help="Directory of a run of `agop rfm`, or its model file.", show_default=False)
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="A .csv, .parquet, .feather or .npz file, or a folder of .parquet files.",
            show_default=False,
            autocompletion=complete(files="*.csv"),
        ),
    ],
    out: Annotated[Path, typer.Option(help="Where to write: .csv, .parquet or .feather.")] = Path(
        "predictions.csv"
    ),
    keep: Annotated[
        list[str] | None, typer.Option(help="Columns of the table to copy, one a time.", show_default="none")
    ] = None,
    encoding: Annotated[str, typer.Option(help="Of a .csv file.")] = "utf-8",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, …")] = "cpu",
) -> None:
    """Write predictions of every row of a table."""
    from agop._checks import bad_value
    from agop.tables import TableModel, load, read_table
    from agop.tables.kinds import no_such_column
    from agop.tables.large import is_large

    if out.suffix.lower() not in FORMATS:
        raise bad_value("out", f"a file {', '.join(FORMATS)}", repr(str(out)), "add the ending")
    if out.resolve() == data.resolve():
        raise bad_value("out", "another file than the table", repr(str(out)), "choose another name")
    model = load(run, device=device)
    if not isinstance(model, TableModel):
        raise bad_value(
            "run", "a model of a table, as `agop rfm` writes it", f"{str(run)!r}, a {type(model).__name__}"
        )
    if is_large(data):
        _in_blocks(model, data, out, keep or [])
        return
    table = read_table(data, encoding=encoding)
    for name in keep or ():
        if name not in table.frame:
            raise no_such_column("keep", name, list(table.frame.columns))
    console = Console()
    console.print(table.source, highlight=False, markup=False)
    for note in (*table.notes, *model.differences(table.frame)):
        console.print(f"note: {note}", highlight=False, markup=False)
    with console.status("predicting"):
        made = predictions(model, table.frame)
    for place, name in enumerate(keep or ()):
        made.insert(place, name, table.frame[name], allow_duplicates=True)
    _write(made, out)
    _tell_score(model, table.frame, console)
    console.print(f"wrote {out}: {len(made):,} rows", highlight=False, markup=False, soft_wrap=True)


def _in_blocks(model: TableModel, data: Path, out: Path, keep: list[str]) -> None:
    """The same for a table of more rows than are held: blocks are read, predicted and written one after the other."""
    from agop._files import atomic
    from agop.blocks import open_blocks
    from agop.cli.predicting import Score, Writer, check_folder
    from agop.tables.kinds import no_such_column
    from agop.tables.large import frame_of

    source, console, score = open_blocks(data), Console(), Score(model)
    check_folder(out)
    for name in keep:
        if name not in (source.feature_names or ()):
            raise no_such_column("keep", name, source.feature_names or [])
    console.print(f"{data.name}: {source.n_rows:,} rows, in blocks.", highlight=False, markup=False)
    with atomic(out) as partial, Writer(partial) as writer, console.status("predicting") as status:
        for block in source.read(ROWS):
            frame = frame_of(source, block).reset_index(drop=True)
            if not block.start:
                for note in model.differences(frame):
                    console.print(f"note: {note}", highlight=False, markup=False)
            made = predictions(model, frame)
            score.add(frame, made["prediction"])
            for place, name in enumerate(keep):
                made.insert(place, name, frame[name], allow_duplicates=True)
            writer.write(made)
            status.update(f"predicting: {block.stop:,} of {source.n_rows:,} rows")
    if score.rows > 1:
        console.print(score.words, highlight=False, markup=False)
    console.print(f"wrote {out}: {source.n_rows:,} rows", highlight=False, markup=False, soft_wrap=True)


def predictions(model: TableModel, frame: pd.DataFrame) -> pd.DataFrame:
    """A column "prediction", and for classes "probability of …" for each."""
    import pandas as pd

    if model.task == "regression":
        return pd.DataFrame({"prediction": model.predict(frame)})
    shares = model.predict_proba(frame)
    made = pd.DataFrame({"prediction": model.classes_[shares.argmax(1)]})
    return made.assign(**{f"probability of {name}": shares[:, k] for k, name in enumerate(model.classes_)})


def _tell_score(model: TableModel, frame: pd.DataFrame, console: Console) -> None:
    if model.target not in frame:
        return
    rows, _ = model.known_targets(frame[model.target])
    if len(rows) > 1:
        name = "accuracy" if model.task == "classification" else "R²"
        words = (
            f"{name} {model.score(frame):.3f} on the {len(rows):,} rows whose {model.target} is in the table"
        )
        console.print(words, highlight=False, markup=False)


def _write(made: pd.DataFrame, out: Path) -> None:
    from agop._files import atomic, write_text
    from agop.cli.predicting import check_folder

    check_folder(out)
    if out.suffix.lower() == ".csv":
        write_text(out, made.to_csv(index=False))
        return
    with atomic(out) as partial:
        made.to_parquet(partial) if out.suffix.lower() == ".parquet" else made.to_feather(partial)
