"""`agop reproduce`: the paper with one command, and its theory beside the measurements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from agop.experiments.claims import Verdict
    from agop.experiments.reproduce import Reproduction, Request

HELP = """Run the paper's experiments, decide its claims, and write figures and a report.

EXPERIMENT is deep-rfm, networks, theory or all.

\b
[bold]Examples[/bold]
  agop reproduce all --preset smoke --out runs/smoke
  agop reproduce all --preset small --data mine.npz --seeds 0 1 2 --out runs/mine
  agop reproduce deep-rfm --preset small --data fashion-mnist --download
  agop reproduce all --preset paper --download --dask tcp://host:8786

\b
[bold]Presets[/bold]
  smoke  bundled digits, minutes on two cores
  small  about 2,000 points of an .npz file or of Fashion-MNIST, well under an hour
  paper  MNIST, CIFAR-10 and SVHN in full, 20 layers, networks with 5-layer heads

A reproduction that was cut off continues with the same command; what is finished is not run again.
"""

_COLOURS = {"holds": "green", "does not hold": "red", "not decided": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    app.command("reproduce", help=HELP)(reproduce)


def reproduce(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[EXPERIMENT]", help="What to reproduce.", show_default="all"),
    ] = None,
    preset: Annotated[str, typer.Option(help="smoke, small or paper.")] = "smoke",
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="A name of `agop datasets` or an .npz file; may be repeated.", show_default="the preset's"
        ),
    ] = None,
    data_root: Annotated[
        str | None, typer.Option(help="Folder of torchvision's files.", show_default=False)
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch files that are missing.")] = False,
    seeds: Annotated[
        list[str] | None, typer.Option(help="Seeds, as `0 1 2` or `0,1,2`.", show_default="0 1 2")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory of the reproduction.", show_default="runs/reproduce-PRESET")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Processes.", show_default="one per CPU; 1 for the preset paper")
    ] = None,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Run on this Dask cluster.", show_default=False)
    ] = None,
) -> int:
    """Run what is left to run, and show the verdicts."""
    from agop.experiments.reproduce import Request

    experiment, numbers = _words(words or [], seeds)
    request = Request(
        experiment=experiment,
        preset=preset,
        data=tuple(data or ()),
        seeds=numbers,
        data_root=data_root,
        download=download,
        jobs=jobs,
        dask=dask,
    )
    return _run(request, out or Path("runs", f"reproduce-{preset}"), Console())


def _words(words: Sequence[str], seeds: Sequence[str] | None) -> tuple[str, tuple[int, ...]]:
    """The experiment and the seeds; `--seeds 0 1 2` leaves 1 and 2 among the words."""
    from agop._checks import bad_value

    experiments = [word for word in words if not _is_number(word)]
    given = (
        " ".join([*(seeds or []), *(word for word in words if _is_number(word))]).replace(",", " ").split()
    )
    if seeds is None and given:
        raise bad_value("EXPERIMENT", "one of deep-rfm, networks, theory, all", repr(given[0]))
    if len(experiments) > 1:
        raise bad_value(
            "EXPERIMENT", "one experiment", " ".join(experiments), "take all for the three of them"
        )
    wrong = [text for text in given if not _is_number(text)]
    if wrong:
        raise bad_value("seeds", "integers >= 0", repr(wrong[0]))
    return (experiments or ["all"])[0], tuple(int(text) for text in given) or (0, 1, 2)


def _is_number(word: str) -> bool:
    return word.replace(",", "").isdigit()


def _run(request: Request, out: Path, console: Console) -> int:
    from agop.experiments.reproduce import headline, reproduce
    from agop.experiments.units import Outcome
    from agop.report.reproduction import write_reproduction
    from agop.report.write import PAGE

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("units")

        def report(done: int, total: int, outcome: Outcome) -> None:
            unit = outcome.unit
            words = f"{unit.table} on {unit.data.label}, seed {unit.seed}"
            progress.update(task, completed=done, total=total, description=words)

        result = reproduce(request, out, report)
    page = out / PAGE
    failed = [outcome for outcome in result.outcomes if outcome.status == "failed"]
    if not result.worked:
        console.print(
            f"{out} holds this reproduction already, finished; nothing was run again.", highlight=False
        )
    if not failed and (result.worked or not page.exists()):
        with console.status("drawing figures and writing the report"):
            write_reproduction(out)
    console.print(verdict_table(result))
    for outcome in failed:
        unit = outcome.unit
        words = f"failed: {unit.table} on {unit.data.label}, seed {unit.seed}: {outcome.reason}"
        console.print(words, highlight=False, markup=False)
    console.print(headline(result.verdicts), highlight=False, style="bold", markup=False)
    where = f"numbers: {out / 'verdicts.json'}" if failed else f"report: {page}"
    console.print(where, highlight=False, markup=False, soft_wrap=True)
    return 1 if failed else 0


def verdict_table(result: Reproduction) -> Table:
    """Claim, number, threshold and verdict, a row per claim and data set; (!) marks a verdict against expectation."""
    from agop.report.reproduction import number

    several = len({verdict.data for verdict in result.verdicts}) > 1
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ["claim", *(["data"] if several else []), "about"]:
        table.add_column(heading, no_wrap=True)
    table.add_column("number", justify="right", no_wrap=True)
    table.add_column("threshold", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for verdict in result.verdicts:
        claim = verdict.claim
        cells = [
            claim.id,
            *([verdict.data] if several else []),
            claim.name,
            _number(verdict, number(None, None)),
        ]
        bound = f"{'≤' if claim.relation == '<=' else '≥'} {claim.threshold:g}"
        note = " (!)" if verdict.as_expected is False else ""
        colour = _COLOURS[verdict.verdict]
        table.add_row(*cells, bound, f"[{colour}]{verdict.verdict}[/{colour}]{note}")
    return table


def _number(verdict: Verdict, nothing: str) -> str:
    from math import isfinite

    from agop.report.reproduction import number

    if not isfinite(verdict.mean):
        return nothing
    return number(verdict.mean, verdict.std if isfinite(verdict.std) else None)
