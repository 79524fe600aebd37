"""The command `agop`: its verbs, `--version`, and how it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from agop.cli import datasets, predict, report, reproduce, trajectory
from agop.cli.exits import guarded
from agop.cli.subjects import Verbs
from agop.cli.terminal import show_what_can_be_shown
from agop.experiments.subjects import SUBJECTS, kind_of

HELP = """See what a model learned to look at, and how far each layer has collapsed.

\b
[bold]Examples[/bold]
  agop rfm --data houses.csv --target price --out runs/houses
  agop predict runs/houses --data new.csv --out predictions.csv
  agop deep-rfm --out runs/digits
  agop deep-rfm --data mine.npz --layers 12 --out runs/mine
  agop network --out runs/mlp
  agop profile --model my_package.models:make --weights model.safetensors --data mine.npz
  agop trajectory ckpts/*.pt --model my_package.models:make --data mine.npz
  agop reproduce all --preset smoke
  agop report runs/digits runs/mine
  agop datasets

\b
[bold]Exit codes[/bold]
  0  done, or nothing left to do
  1  an unexpected error
  2  wrong usage or bad input
  3  another rank of a shared run was lost
130  interrupted
"""

app = typer.Typer(
    name="agop",
    cls=Verbs,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> bool:
    if wanted:
        from agop import __version__

        typer.echo(f"agop {__version__}")
        raise typer.Exit
    return wanted


@app.callback(help=HELP)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """The options that come before a verb."""
    verb, size = context.invoked_subcommand, os.environ.get("WORLD_SIZE", "1")
    if size != "1" and not _shared(verb or ""):
        # every rank would do all of it, into one directory
        shared = ", ".join(name for name in SUBJECTS.own if _shared(name))
        raise ValueError(
            f"{verb}: expected one process, got WORLD_SIZE={size}; start it without torchrun, which shares {shared}."
        )


def _shared(verb: str) -> bool:
    """Whether the ranks of `torchrun` share the work of a verb."""
    kind = kind_of(verb)
    return kind is not None and kind.shared


for verb in (predict, trajectory, reproduce, report, datasets):
    verb.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line with `arguments` (those of the process by default) and exit with its code."""
    show_what_can_be_shown()
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    sys.exit(guarded(lambda: app(args=given, prog_name="agop", standalone_mode=False)))
