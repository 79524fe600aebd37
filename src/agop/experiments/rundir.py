"""A run is a directory: `config.json` says what it is, `result.json` comes last and says that it is complete.

A directory without `result.json` was cut off and continues where it stopped; one with it is finished and is
not run again. Every file in it is written atomically, so a file that exists is whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from agop._checks import bad_value, shown
from agop.experiments.environment import environment
from agop.experiments.files import PARTIAL, read_json, write_json
from agop.experiments.manifest import digests

FORMAT = 1
"""The number in `config.json` that says how to read the directory."""

CONFIG, RESULT = "config.json", "result.json"


class Held(ValueError):
    """Another process is writing the directory."""


def identity(kind: str, options: Mapping[str, Any], data: str) -> str:
    """The content hash that two runs share exactly if they must give the same numbers."""
    text = json.dumps([FORMAT, kind, dict(options), data], sort_keys=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


class RunDirectory:
    """One run, opened for writing by one process at a time; use it as a context manager.

    Parameters
    ----------
    path
        The directory; it is made, with its parents, and tried out before any work starts.
    kind
        Which experiment writes it, for example "deep-rfm".
    config
        What goes into `config.json`; must hold "id", the `identity` of the run.
    wait
        Whether to wait for another process that is writing it, which is an error else.
    parts
        The subfolder whose directories are opened for writing one by one, each by whoever is at it: what they write is left alone.

    Attributes
    ----------
    notes
        Which packages have another version than when the run began: its numbers are then a mixture.
    locked
        Whether other processes are kept out: not on Windows, and not on a file system without locks.

    Raises
    ------
    ValueError
        One sentence, if the directory holds another run or other files, another process is writing it (`Held`), it
        can't be written, or there is too little space (`needs`, in bytes).

    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        kind: str,
        config: Mapping[str, Any],
        *,
        needs: int = 0,
        wait: bool = False,
        parts: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.notes: list[str] = []
        self._lock: int | None = None
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.path, wait)
            self.locked = self._lock is not None
            self._try_out(needs, parts)
            self._claim(kind, config)
        except OSError as error:
            self.close()
            reason = error.strerror or str(error)
            raise bad_value(
                "out", "a directory that can be written", f"{str(path)!r} ({reason})", "choose another"
            ) from None
        except BaseException:
            self.close()
            raise

    @property
    def finished(self) -> bool:
        """Whether the numbers are complete."""
        return (self.path / RESULT).is_file()

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write `result.json`, with a content hash of every table: from now on the run is finished."""
        write_json(self.path / RESULT, {**result, "files": digests(self.path)})

    def close(self) -> None:
        """Let other processes write the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _try_out(self, needs: int, parts: str | None) -> None:
        below = [entry for entry in self.path.iterdir() if entry.is_dir() and entry.name != parts]
        for pattern in (f"{PARTIAL}*", ".*.partial"):  # of a process that was killed while it wrote
            found = [*self.path.glob(pattern), *(file for folder in below for file in folder.rglob(pattern))]
            for leftover in found:
                leftover.unlink(missing_ok=True)
        with tempfile.TemporaryFile(prefix=PARTIAL, dir=self.path) as stream:
            stream.write(b"\0" * 4096)
            stream.flush()
            os.fsync(stream.fileno())
        free = shutil.disk_usage(self.path).free
        if needs > free:
            raise bad_value(
                "out",
                f"{needs / 2**20:,.0f} MiB of free space",
                f"{free / 2**20:,.0f} MiB",
                "free some or choose another",
            )

    def _claim(self, kind: str, config: Mapping[str, Any]) -> None:
        place, mine = self.path / CONFIG, {"format": FORMAT, "kind": kind, **config, **environment()}
        if not place.exists():
            others = [entry.name for entry in self.path.iterdir() if not entry.name.startswith(".")]
            if others:
                got = f"{str(self.path)!r} with {others[0]!r} and no {CONFIG} in it"
                raise bad_value("out", "an empty directory or one of an earlier run", got, "choose another")
            write_json(place, mine)
            return
        there = read_json(place)
        if there.get("format") != FORMAT:
            got = f"{str(self.path)!r} of format {shown(there.get('format'))}"
            raise bad_value("out", f"a run of format {FORMAT}", got, "choose another")
        if (there.get("kind"), there.get("id")) == (kind, config["id"]):
            self.notes = _other_versions(there.get("versions"), mine["versions"])
            return
        if _has_work(self.path):
            got = f"{str(self.path)!r} with {_difference(there, mine)}"
            raise bad_value("out", "a new directory or the same run", got, "choose another")
        write_json(place, mine)  # nothing was done yet under the other configuration


def _other_versions(then: object, now: Mapping[str, str]) -> list[str]:
    began = then if isinstance(then, dict) else {}
    changed = [
        f"{name} {began.get(name)} → {there}" for name, there in now.items() if began.get(name) != there
    ]
    return [f"The run began under other versions and was continued: {', '.join(changed)}."] if changed else []


def _has_work(folder: Path) -> bool:
    return any(path.is_file() and path.name != CONFIG for path in folder.rglob("*"))


def _difference(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The first thing in which a directory's configuration differs from the wanted one, in words."""
    if there.get("kind") != wanted["kind"]:
        return f"a run of {shown(there.get('kind'))}"
    old, new = there.get("options"), wanted.get("options")
    if isinstance(old, dict) and isinstance(new, dict):
        for name in new:
            if old.get(name) != new[name]:
                return f"a run whose {name} is {shown(old.get(name))}, not {new[name]!r}"
    return "a run on other data"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes from writing a directory that is there, after waiting for one that does."""
    descriptor = _lock(folder, wait=True)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock(folder: Path, wait: bool) -> int | None:
    """Hold the folder for this process until the descriptor is closed or the process ends."""
    try:
        import fcntl
    except ImportError:  # Windows: nothing keeps a second process out
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            got = f"{str(folder)!r}, which another process is writing"
            refusal = bad_value("out", "a directory of its own", got, "wait for it or choose another")
            raise Held(*refusal.args) from None
        return None  # a file system without locks
    except BaseException:  # Ctrl-C while it waits
        os.close(descriptor)
        raise
    return descriptor
