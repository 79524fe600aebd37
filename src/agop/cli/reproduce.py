"""`agop reproduce`: papers with one command each, and all of them with one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from agop.cli import options

if TYPE_CHECKING:
    from agop.experiments.claims import Verdict
    from agop.experiments.reproduce import Request

HELP = """Run the computations of papers, decide their claims, and write figures and a report.

STUDY is a name that --list shows, one part of it as in beaglehole2024:theory, several of them, or all.

\b
[bold]Examples[/bold]
  agop reproduce --list
  agop reproduce beaglehole2024 --preset smoke
  agop reproduce all --preset smoke --out runs/smoke
  agop reproduce beaglehole2024 --preset small --data mine.npz --seeds 0 1 2 --out runs/mine
  agop reproduce beaglehole2024:deep-rfm --preset small --data fashion-mnist --download
  agop reproduce all --preset paper --download --backend dask --scheduler tcp://host:8786

\b
[bold]Presets[/bold]
  smoke  seconds to minutes on two cores, no data to fetch
  small  well under an hour on two cores
  paper  the sizes of the papers

A reproduction that was cut off continues with the same command; what is finished is not run again. Several processes may share a directory.
"""

_COLOURS = {"holds": "green", "does not hold": "red", "not decided": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    app.command("reproduce", help=HELP)(reproduce)


def _studies(incomplete: str) -> list[str]:
    """Shell completion: names, and the parts of a study once its name and a colon are there."""
    from agop.experiments.studies import STUDIES

    name, colon, _ = incomplete.partition(":")
    words = (
        [f"{name}:{part}" for part in STUDIES[name].parts] if colon and name in STUDIES else [*STUDIES, "all"]
    )
    return [word for word in words if word.startswith(incomplete)]


def reproduce(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STUDY]...", help="What to reproduce.", show_default="all", autocompletion=_studies
        ),
    ] = None,
    show: Annotated[
        bool, typer.Option("--list", help="Show the studies: paper, question, sizes, claims, command.")
    ] = False,
    preset: Annotated[
        str,
        typer.Option(
            help="smoke, small or paper.", autocompletion=options.complete("smoke", "small", "paper")
        ),
    ] = "smoke",
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="A name of `agop datasets` or an .npz file in the place of a study's own data; may be repeated.",
            show_default="the study's",
            autocompletion=options.data_sets,
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
        Path | None, typer.Option(help="Directory of the reproduction.", show_default="runs/STUDY-PRESET")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Workers.", show_default="one per CPU; 1 for the preset paper")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="Where units run: a backend of joblib, loky, threading, multiprocessing, dask or another.",
            show_default="loky",
            autocompletion=options.complete("loky", "threading", "multiprocessing", "dask"),
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="The scheduler of the backend dask.", show_default=False),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Short for --backend dask --scheduler ADDRESS.", show_default=False
        ),
    ] = None,
) -> int:
    """Run what is left to run, and show the verdicts."""
    if show:
        Console().print(study_table())
        return 0
    from agop.experiments.reproduce import Request

    studies, numbers = _words(words or [], seeds)
    where = _where(backend, scheduler, dask)
    request = Request(
        studies=studies,
        preset=preset,
        data=tuple(data or ()),
        seeds=numbers,
        data_root=data_root,
        download=download,
        jobs=jobs,
        **where,
    )
    name = "-".join(word.replace(":", "-") for word in studies)
    return _run(request, out or Path("runs", f"{name}-{preset}"), Console())


def _where(backend: str | None, scheduler: str | None, dask: str | None) -> dict[str, Any]:
    """Backend and scheduler; `--dask ADDRESS` is both of them."""
    from agop._checks import bad_value

    if dask is None:
        return {"backend": backend or "loky", "scheduler": scheduler}
    if backend not in (None, "dask") or scheduler not in (None, dask):
        remedy = "leave one of them out"
        raise bad_value(
            "dask", "no other --backend or --scheduler beside it", repr(backend or scheduler), remedy
        )
    return {"backend": "dask", "scheduler": dask}


def study_table() -> Table:
    """Every study: name, paper, question, the command that reproduces it, sizes, number of claims."""
    from agop.experiments.studies import every

    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0))
    table.add_column("study", no_wrap=True)
    table.add_column("paper, question, command")
    table.add_column("sizes")
    table.add_column("claims", justify="right")
    for study in every():
        size = study.sizes[0]
        about = Text(f"{study.cite}\n{study.question}\n")
        about.append(f"agop reproduce {study.name} --preset {size}", style="bold")
        table.add_row(study.name, about, "\n".join(study.sizes), str(len(study.claims_of(size))))
    return table


def _words(words: Sequence[str], seeds: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The studies and the seeds; `--seeds 0 1 2` leaves 1 and 2 among the words. A word of 0.1.0 becomes today's, with a note."""
    from agop._checks import bad_value
    from agop.experiments.planning import ALL, FORMER

    studies = [word for word in words if not _is_number(word)]
    given = (
        " ".join([*(seeds or []), *(word for word in words if _is_number(word))]).replace(",", " ").split()
    )
    if seeds is None and given:
        raise bad_value("STUDY", "a name that --list shows, or all", repr(given[0]))
    wrong = [text for text in given if not _is_number(text)]
    if wrong:
        raise bad_value("seeds", "integers >= 0", repr(wrong[0]))
    for word in studies:
        if word in FORMER:
            note = f"agop: `agop reproduce {word}` is `agop reproduce {FORMER[word]}` now; the old word works in this release only."
            sys.stderr.write(f"{note}\n")
    names = tuple(FORMER.get(word, word) for word in studies)
    return names or (ALL,), tuple(int(text) for text in given) or (0, 1, 2)


def _is_number(word: str) -> bool:
    return word.replace(",", "").isdigit()


def _run(request: Request, out: Path, console: Console) -> int:
    from agop.experiments.reproduce import reproduce
    from agop.experiments.units import Outcome
    from agop.experiments.verdicts import headline
    from agop.report.reproduction import write_reproduction
    from agop.report.write import PAGE

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("units")

        def report(done: int, total: int, outcome: Outcome) -> None:
            progress.update(task, completed=done, total=total, description=outcome.unit.words)

        result = reproduce(request, out, report)
    page = out / PAGE
    failed = [outcome for outcome in result.outcomes if outcome.status == "failed"]
    if not result.worked:
        console.print(
            f"{out} holds this reproduction already, finished; nothing was run again.", highlight=False
        )
    if not failed and (result.worked or not page.exists()):
        with console.status("drawing figures and writing the report"):
            write_reproduction(out, jobs=request.pool.waiting if result.worked else 1)
    studies = list(dict.fromkeys(verdict.study for verdict in result.verdicts))
    for study in studies:
        if len(studies) > 1:
            console.print(f"\n{study}", style="bold", highlight=False, markup=False)
        console.print(verdict_table([verdict for verdict in result.verdicts if verdict.study == study]))
    for note in result.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    for outcome in failed:
        console.print(f"failed: {outcome.unit.words}: {outcome.reason}", highlight=False, markup=False)
    console.print(headline(result.verdicts), highlight=False, style="bold", markup=False)
    where = f"numbers: {out / 'verdicts.json'}" if failed else f"report: {page}"
    console.print(where, highlight=False, markup=False, soft_wrap=True)
    return 1 if failed else 0


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """Of one study: claim, number, threshold and verdict, a row per claim and data set; (!) marks a verdict against expectation."""
    from agop.report.reproduction import number

    several = len({verdict.data for verdict in verdicts}) > 1
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("claim", no_wrap=True)
    if several:
        table.add_column("data")
    table.add_column("about")
    table.add_column("number", justify="right", no_wrap=True)
    table.add_column("threshold", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for verdict in verdicts:
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
