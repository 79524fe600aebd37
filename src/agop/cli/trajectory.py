"""`agop trajectory`: stored checkpoints of one model, measured one after the other."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from agop.cli.options import parameter, parameters
from agop.experiments.subjects.user_model_config import ProfileConfig

HELP = """Measure checkpoints of a training, and write a table and figures of measures by layer and step.

\b
[bold]Examples[/bold]
  agop trajectory ckpts/*.pt --model my_package.models:make --data mine.npz --measures nc1,nfa
  agop trajectory ckpts/*.ckpt --model my_package.models:make --prefix model. --data mine.npz --out runs/resnet
  agop trajectory output/checkpoint-* --data tokens.npz --pool first

Steps are the last numbers in the names of the files (of `epoch=3-step=1200.ckpt` the step). Checkpoints may be what `agop profile` takes as
--weights; folders that save_pretrained of transformers wrote need no --model. The model gets the points as they are. A command that was cut
off goes on with the checkpoints that are left.
"""

_LEFT_OUT = ("weights", "untrained", "nfa")
"""Options of `agop profile` that are no questions here: checkpoints are the weights, and measures are named."""


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    app.command("trajectory", help=HELP)(_verb())


def _verb() -> Callable[..., None]:
    """A function with the options of `agop profile`, and with checkpoints."""

    def call(checkpoints: list[Path], out: Path, **given: Any) -> None:
        _run(checkpoints, given, out)

    files = Annotated[
        list[Path], typer.Argument(help="Checkpoints: files of weights, or folders.", show_default=False)
    ]
    where = Annotated[Path, typer.Option(help="Directory of the table and the figures.")]
    declared = [entry for entry in parameters(ProfileConfig) if entry.name not in _LEFT_OUT]
    declared = [entry.replace(default="") if entry.name == "model" else entry for entry in declared]
    every = [
        parameter("checkpoints", files, inspect.Parameter.empty),
        *declared,
        parameter("out", where, Path("runs/trajectory")),
    ]
    call.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    call.__annotations__ = {entry.name: entry.annotation for entry in every}
    return call


def _run(checkpoints: list[Path], given: dict[str, Any], out: Path) -> None:
    from agop.experiments.trajectory_run import record_checkpoints

    console = Console()

    def tell(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    found = record_checkpoints(ProfileConfig(**given, nfa=True, untrained=False), checkpoints, out, tell)
    for note in found.trajectory.notes:
        tell(f"note: {note}")
    console.print(found.headline, highlight=False, markup=False, style="bold")
    console.print(f"wrote {found.table} and {found.figures}", highlight=False, markup=False, soft_wrap=True)
