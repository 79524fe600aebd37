"""`agop deep-rfm`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from agop.cli.options import (
    MACHINE,
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

HELP = """Fit a Deep RFM, measure every layer, and write figures and a report.

\b
[bold]Examples[/bold]
  agop deep-rfm --out runs/digits
  agop deep-rfm --data mine.npz --layers 12 --out runs/mine
  agop deep-rfm --data fashion-mnist --download --n-train 5000 --out runs/fashion
  agop deep-rfm --feature-map fourier --feature-bandwidth 20 --out runs/cosine
  torchrun --nproc-per-node 2 -m agop deep-rfm --solver cg --out runs/shared

A run that was cut off continues from its last finished layer; a finished one is not run again.
"""

_FEATURE_MAPS = ("relu", "fourier", "fourier-gaussian", "fourier-laplace", "fourier-laplace-l1", "identity")


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    app.command("deep-rfm", help=HELP)(deep_rfm)


def deep_rfm(
    data: Data = "digits",
    out: Annotated[
        Path | None, typer.Option(help="Directory of the run.", show_default="runs/deep-rfm-DATA")
    ] = None,
    n_train: NTrain = None,
    n_test: NTest = None,
    subset: Subset = "first",
    data_root: DataRoot = None,
    download: Download = False,
    layers: Annotated[int, typer.Option(help="Layers.", rich_help_panel=MODEL)] = 8,
    width: Annotated[int, typer.Option(help="Random features a layer.", rich_help_panel=MODEL)] = 1024,
    feature_map: Annotated[
        str,
        typer.Option(
            help=", ".join(_FEATURE_MAPS[:-1]) + " or " + _FEATURE_MAPS[-1] + ".",
            autocompletion=complete(*_FEATURE_MAPS),
            rich_help_panel=MODEL,
        ),
    ] = "relu",
    feature_bandwidth: Annotated[
        float, typer.Option(help="Bandwidth of Fourier features.", rich_help_panel=MODEL)
    ] = 20.0,
    kernel: Annotated[
        str,
        typer.Option(
            help="laplace, gaussian, relu-nngp or relu-ntk.",
            autocompletion=complete("laplace", "gaussian", "relu-nngp", "relu-ntk"),
            rich_help_panel=MODEL,
        ),
    ] = "laplace",
    bandwidth: Annotated[
        float, typer.Option(help="Bandwidth of the kernel, on rows of unit norm.", rich_help_panel=MODEL)
    ] = 2.0,
    ridge: Annotated[
        float, typer.Option(help="Added to the kernel's diagonal.", rich_help_panel=MODEL)
    ] = 1e-3,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    solver: Annotated[
        str,
        typer.Option(
            help="cholesky, cg (iterative) or auto (by memory).",
            autocompletion=complete("auto", "cholesky", "cg"),
            rich_help_panel=MACHINE,
        ),
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="mixed (distances in float64) or native.",
            autocompletion=complete("mixed", "native"),
            rich_help_panel=MACHINE,
        ),
    ] = "mixed",
    max_memory: Annotated[
        str | None, typer.Option(help="Such as 8GB.", show_default="what is free", rich_help_panel=MACHINE)
    ] = None,
) -> None:
    """Run what the options ask for, or what is left of it, and show the table."""
    options = dict(locals())
    from agop.cli.progress import Bar
    from agop.experiments.config import DeepRFMConfig
    from agop.experiments.deep_rfm import run
    from agop.launch import launched

    place = options.pop("out") or Path("runs", f"deep-rfm-{Path(data).stem or 'data'}")
    with launched() as ranks:
        config, console = ranks.together(lambda: DeepRFMConfig(**options)), Console(quiet=not ranks.is_main)
        with Bar(console) as bar:
            worked = run(config, place, bar)
        if ranks.is_main:
            show(place, worked, console, layer_table)


def layer_table(record: RunRecord) -> Table:
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
    for _, row in record.layers.iterrows():
        layer = int(row["layer"])
        values = [by_stage[measure].get((layer, stage), float("nan")) for measure, stage in columns]
        cells = [number(value, ".3g") for value in values] + [number(row[name], ".3f") for name in accuracies]
        table.add_row(str(layer), *cells)
    return table
