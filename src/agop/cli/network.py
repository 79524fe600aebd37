"""`agop network`: train one of the paper's networks and measure its layers as it learns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from agop.cli.options import (
    MODEL,
    Data,
    DataRoot,
    Device,
    Download,
    Dtype,
    NTest,
    NTrain,
    Seed,
    Subset,
    complete,
)
from agop.cli.outcome import number, show

if TYPE_CHECKING:
    from agop.report import RunRecord

HELP = """Train an MLP, ResNet-18 or VGG-11, measure its layers as it learns, and write figures and a report.

\b
[bold]Examples[/bold]
  agop network --out runs/mlp
  agop network --data mnist --download --n-train 4000 --epochs 400 --momentum 0 --batch-size 128
  agop network --arch resnet18 --data fashion-mnist --download --n-train 2000 --epochs 5 --measure-every 1

A run that was cut off continues from its last measurement; a finished one is not run again.
"""

TRAINING, MEASURING = "Training", "Measuring"


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    app.command("network", help=HELP)(network)


def network(
    arch: Annotated[
        str,
        typer.Option(
            help="mlp, resnet18 or vgg11.",
            autocompletion=complete("mlp", "resnet18", "vgg11"),
            rich_help_panel=MODEL,
        ),
    ] = "mlp",
    data: Data = "digits",
    out: Annotated[
        Path | None, typer.Option(help="Directory of the run.", show_default="runs/ARCH-DATA")
    ] = None,
    n_train: NTrain = None,
    n_test: NTest = None,
    subset: Subset = "first",
    data_root: DataRoot = None,
    download: Download = False,
    width: Annotated[
        int, typer.Option(help="Of the hidden layers of the head.", rich_help_panel=MODEL)
    ] = 256,
    depth: Annotated[int, typer.Option(help="Hidden layers of the head.", rich_help_panel=MODEL)] = 5,
    init_gain: Annotated[
        float,
        typer.Option(help="Times Xavier initialisation; 0.3 or less learns features.", rich_help_panel=MODEL),
    ] = 0.3,
    epochs: Annotated[int, typer.Option(help="Epochs.", rich_help_panel=TRAINING)] = 100,
    lr: Annotated[float, typer.Option(help="Learning rate.", rich_help_panel=TRAINING)] = 0.05,
    batch_size: Annotated[int, typer.Option(help="Samples per step.", rich_help_panel=TRAINING)] = 64,
    optimiser: Annotated[
        str,
        typer.Option(help="sgd or adam.", autocompletion=complete("sgd", "adam"), rich_help_panel=TRAINING),
    ] = "sgd",
    momentum: Annotated[float, typer.Option(help="Of SGD.", rich_help_panel=TRAINING)] = 0.9,
    weight_decay: Annotated[float, typer.Option(help="Weight decay.", rich_help_panel=TRAINING)] = 0.0,
    schedule: Annotated[
        str,
        typer.Option(
            help="constant, cosine or step.",
            autocompletion=complete("constant", "cosine", "step"),
            rich_help_panel=TRAINING,
        ),
    ] = "constant",
    loss: Annotated[
        str,
        typer.Option(
            help="mse (to targets of ±1) or cross-entropy.",
            autocompletion=complete("mse", "cross-entropy"),
            rich_help_panel=TRAINING,
        ),
    ] = "mse",
    measure_every: Annotated[
        int, typer.Option(help="Epochs from one measurement to the next.", rich_help_panel=MEASURING)
    ] = 10,
    measure: Annotated[
        str,
        typer.Option(
            help="Which layers: head, or all (also the convolutions).",
            autocompletion=complete("head", "all"),
            rich_help_panel=MEASURING,
        ),
    ] = "head",
    pool: Annotated[
        str,
        typer.Option(
            help="Positions of convolutions: mean, flatten or none.",
            autocompletion=complete("mean", "flatten", "none"),
            rich_help_panel=MEASURING,
        ),
    ] = "mean",
    untrained: Annotated[
        bool,
        typer.Option(
            "--untrained/--no-untrained",
            help="Measure an untrained network beside it.",
            rich_help_panel=MEASURING,
        ),
    ] = True,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
) -> None:
    """Run what the options ask for, or what is left of it, and show the tables."""
    options = dict(locals())
    from agop.cli.progress import Board
    from agop.experiments.network import run
    from agop.experiments.network_config import NetworkConfig

    place = options.pop("out") or Path("runs", f"{arch}-{Path(data).stem or 'data'}")
    config, console = NetworkConfig(**options), Console()
    with Board(console) as board:
        worked = run(config, place, board)
    show(place, worked, console, layer_table)


def layer_table(record: RunRecord) -> Table:
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
