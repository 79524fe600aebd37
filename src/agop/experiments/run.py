"""One run of any kind of subject, into a run directory.

config.json   options, data, versions, machine          (first)
checkpoint/   from what the run continues                (while it is unfinished)
NAME.csv      the tables; profile.csv has a row per layer and stage
whole.csv, curves.csv   measures of the whole subject, and those that are curves, if there are any
result.json   headline, facts, notes, how measures are shown   (last)
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agop._checks import bad_type, bad_value, one_of
from agop.experiments.configuration import Configuration
from agop.experiments.files import write_text
from agop.experiments.listener import Listener
from agop.experiments.rundir import RunDirectory, identity
from agop.experiments.subject import CHECKPOINTS, Findings, SubjectKind, Task
from agop.experiments.subjects import SUBJECTS
from agop.ranks import ALONE, current, sharing


def run(
    kind: SubjectKind[Any] | str,
    config: Configuration,
    out: str | os.PathLike[str],
    listener: Listener | None = None,
) -> bool:
    """Do the run that `config` asks for in the directory `out`, or what is left of it.

    Under `agop.launched` the ranks share the work of a kind that can be shared; rank 0 alone writes, and all of them read what an earlier
    launch left in `out`.

    Parameters
    ----------
    kind
        Of the subject, or its name in `agop.experiments.subjects.SUBJECTS`.
    config
        A configuration of that kind.
    out
        A new directory, or one of the same run.
    listener
        Hears how the run gets on.

    Returns
    -------
    bool
        Whether anything was done: False if the directory holds the finished run already.

    Raises
    ------
    ValueError
        One sentence, if the data, an option or the directory can't be used, or a training diverges.
    MemoryError
        If a fit would not fit into memory, before it starts.

    """
    kind = _kind(kind, config)
    listener, ranks = listener or Listener(), current()
    task = ranks.together(lambda: kind.begin(config))
    header = _header(kind, config, task)
    ranks.agree("options", str(config.identity()), "give every rank the same ones")
    ranks.agree("data", task.fingerprint, "give every machine the same files")
    with ranks.together(lambda: _opened(out, kind.name, header, task.needs)) as place:
        if ranks.gather("finished" if place is not None and place.finished else "")[0]:
            return False
        listener.planned(task.data, task.plan())
        began = time.monotonic()
        found = task.do(Path(out), listener)
        if place is not None:
            with sharing(ALONE):
                _finish(place, task, task.findings(found, place.path), began)
    return True


def _kind(kind: SubjectKind[Any] | str, config: Configuration) -> SubjectKind[Any]:
    """The kind, of which the configuration must be, and which must be one that ranks can share if there are several."""
    found = SUBJECTS[one_of("kind", kind, SUBJECTS)] if isinstance(kind, str) else kind
    if not isinstance(config, found.config):
        raise bad_type("config", f"a {found.config.__name__}", type(config).__name__)
    if not (current().alone or found.shared):
        raise bad_value("kind", "one whose work ranks share", repr(found.name), "run it in one process")
    return found


def _header(kind: SubjectKind[Any], config: Configuration, task: Task[Any, Any]) -> dict[str, Any]:
    return {
        "id": identity(kind.name, config.identity(), task.fingerprint),
        "options": config.identity(),
        "data": {"source": task.data.source, "fingerprint": task.data_fingerprint},
        "command": config.command(kind.name),
    }


def _opened(
    out: str | os.PathLike[str], kind: str, header: Mapping[str, Any], needs: int
) -> RunDirectory | AbstractContextManager[None]:
    """The run directory, for rank 0; nothing for the others."""
    return RunDirectory(out, kind, header, needs=needs) if current().is_main else nullcontext()


def _finish(place: RunDirectory, task: Task[Any, Any], findings: Findings, began: float) -> None:
    """Write the tables and, last, the result."""
    for name, table in findings.tables.items():
        write_text(place.path / f"{name}.csv", table.to_csv(index=False))
    seconds = time.monotonic() - began
    time_spent = f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
    place.finish(
        {
            "title": findings.title,
            "headline": findings.headline,
            "facts": {"Data": task.data.source, **findings.facts, "Time": time_spent},
            "notes": [*place.notes, *task.data.notes, *findings.notes],
            "seconds": seconds,
            "measures": {column: asdict(look) for column, look in findings.shown.items()},
            **({"scores": findings.scores} if findings.scores else {}),
        }
    )
    shutil.rmtree(place.path / CHECKPOINTS, ignore_errors=True)
