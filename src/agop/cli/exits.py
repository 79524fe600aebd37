"""How every command ends: one sentence on standard error, no traceback, and a documented exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer

_INTERRUPTED_SENTENCE = "interrupted; the same command continues a run from its last finished layer."
DONE, UNEXPECTED, BAD_INPUT, LOST, INTERRUPTED = 0, 1, 2, 3, 130

# Older releases of typer take this class from click, newer ones bring their own: either way a base here.
_UsageError = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")


def guarded(command: Callable[[], object]) -> int:
    """Run `command` and return its exit code; say in one sentence on standard error what went wrong.

    With the environment variable AGOP_TRACEBACK set, errors keep their traceback.
    """
    try:
        result = command()
    except KeyboardInterrupt:
        return _say(_INTERRUPTED_SENTENCE, INTERRUPTED)
    except Exception as error:
        # click's Abort is an interrupt of the user, or stands for a file that ended too early
        failure = error.__cause__ if isinstance(error, typer.Abort) else error
        if not isinstance(failure, Exception):
            return _say(_INTERRUPTED_SENTENCE, INTERRUPTED)
        if os.environ.get("AGOP_TRACEBACK"):
            raise
        return _explain(failure)
    if result == INTERRUPTED:
        return _say(_INTERRUPTED_SENTENCE, INTERRUPTED)
    return result if isinstance(result, int) else DONE


def _explain(error: Exception) -> int:
    if isinstance(error, _UsageError):
        sentence = error.format_message().rstrip(".")  # type: ignore[attr-defined]
        return _say(f"{sentence}; see `agop --help`.", BAD_INPUT)
    text = " ".join(str(error).split())
    if isinstance(error, ValueError):
        return _say(text, BAD_INPUT)
    if isinstance(
        error, ConnectionError
    ):  # of the ranks of a launch; nothing else here talks to other processes
        return _say(f"{text}.", LOST)
    if isinstance(error, OSError):
        path = f"{error.filename}: " if error.filename else ""
        return _say(f"{path}{error.strerror or text}.", BAD_INPUT)
    if isinstance(error, MemoryError):
        return _say(
            f"not enough memory ({text or 'allocation failed'}); take fewer points or a smaller --width.",
            BAD_INPUT,
        )
    kind = type(error).__name__
    return _say(f"unexpected {kind}: {text}; AGOP_TRACEBACK=1 shows where, please report it.", UNEXPECTED)


def _say(sentence: str, code: int) -> int:
    """Say it: rank 0 of a launch for all of them where it knows as much, the others what only they know."""
    rank = os.environ.get("RANK", "0")
    if rank == "0" or code not in (BAD_INPUT, INTERRUPTED):
        who = "" if rank == "0" else f" (rank {rank})"
        sys.stderr.write(f"agop{who}: {sentence}\n")
    return code
