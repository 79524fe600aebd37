"""`agop profile`: the layers of a model of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from agop.cli.network import MEASURING, layer_table
from agop.cli.options import DATA, MODEL, Data, DataRoot, Device, Download, Subset, complete
from agop.cli.outcome import show

HELP = """Measure every layer of your own model on labelled data, and write figures and a report.

\b
[bold]Examples[/bold]
  agop profile --model my_package.models:make --weights model.safetensors --data mine.npz
  agop profile --model torchvision.models:resnet18 --data cifar10 --download --n-train 500 --no-nfa

The factory is called without arguments. The file of weights is a safetensors file; a pickled one (.pt, .pth) is read only with
--trust-pickle, because reading it runs code that it may contain.
"""


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    app.command("profile", help=HELP)(profile)


def profile(
    model: Annotated[
        str, typer.Option(help="package.module:factory.", show_default=False, rich_help_panel=MODEL)
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            help="A .safetensors file.", show_default="what the factory makes", rich_help_panel=MODEL
        ),
    ] = None,
    trust_pickle: Annotated[
        bool,
        typer.Option(
            "--trust-pickle", help="Unpickle weights that are no safetensors file.", rich_help_panel=MODEL
        ),
    ] = False,
    data: Data = "digits",
    out: Annotated[
        Path | None, typer.Option(help="Directory of the run.", show_default="runs/profile-FACTORY-DATA")
    ] = None,
    n_train: Annotated[
        int | None, typer.Option(help="Points to measure on.", show_default="all", rich_help_panel=DATA)
    ] = None,
    subset: Subset = "first",
    data_root: DataRoot = None,
    download: Download = False,
    points: Annotated[
        str,
        typer.Option(
            help="How the model takes points: images, rows, or auto (images if it has convolutions).",
            autocompletion=complete("auto", "images", "rows"),
            rich_help_panel=DATA,
        ),
    ] = "auto",
    standardise: Annotated[
        bool,
        typer.Option(
            "--standardise/--no-standardise",
            help="Each feature, with the training points.",
            rich_help_panel=DATA,
        ),
    ] = True,
    layers: Annotated[
        str | None,
        typer.Option(help="Names or globs, with commas.", show_default="all", rich_help_panel=MEASURING),
    ] = None,
    pool: Annotated[
        str,
        typer.Option(
            help="Positions of convolutions and tokens: mean, flatten or none.",
            autocompletion=complete("mean", "flatten", "none"),
            rich_help_panel=MEASURING,
        ),
    ] = "mean",
    nfa: Annotated[
        bool,
        typer.Option(
            "--nfa/--no-nfa",
            help="Also AGOPs, which cost a backward pass per output.",
            rich_help_panel=MEASURING,
        ),
    ] = True,
    untrained: Annotated[
        bool,
        typer.Option(
            "--untrained/--no-untrained",
            help="Measure an untrained copy beside it.",
            rich_help_panel=MEASURING,
        ),
    ] = True,
    seed: Annotated[
        int, typer.Option(help="Of the untrained copy and random points.", rich_help_panel=MODEL)
    ] = 0,
    device: Device = "cpu",
) -> None:
    """Measure what the options ask for and show the table."""
    options = dict(locals())
    from agop.experiments.model_profile import run
    from agop.experiments.network_config import ProfileConfig

    factory = model.rpartition(":")[2].replace(".", "-") or "model"
    place = options.pop("out") or Path("runs", f"profile-{factory}-{Path(data).stem or 'data'}")
    config, console = ProfileConfig(**options), Console()
    with console.status("measuring"):
        worked = run(config, place)
    show(place, worked, console, layer_table)
