"""Ratios of two runs of the same benchmarks: which have become worse than a factor allows.

A benchmark's ratios are the numbers under keys such as `ratio`, `cpu_ratio` and `ratios_by_chunk`, how many times faster than a peer
(more is better), and under `times_floor`, `over_floor`, `ratio_to_forward`, how many times slower than a bound (less is better).
Seconds depend on the machine and are left alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GAIN = re.compile(r"ratio|\w+_ratio|ratios_\w+")
COST = re.compile(r"times_(the_)?floor|over_\w+|ratio_to_\w+")
NEITHER = {"pivot_ratio"}  # of a factorisation, not of speeds


@dataclass(frozen=True)
class Change:
    """A ratio of then and now; `worse` is how many times worse it is, below 1 where it is better."""

    name: str
    then: float
    now: float
    worse: float


def ratios(
    result: Any, path: tuple[str, ...] = (), gain: bool | None = None
) -> Iterator[tuple[str, float, bool]]:
    """Name, value and whether more is better, of every ratio in the `result` of a benchmark."""
    if isinstance(result, dict | list):
        entries = result.items() if isinstance(result, dict) else enumerate(result)
        for key, value in entries:
            yield from ratios(value, (*path, str(key)), _gain(str(key), path) if gain is None else gain)
    elif gain is not None and isinstance(result, int | float):
        yield "/".join(path), float(result), gain


def _gain(key: str, path: tuple[str, ...]) -> bool | None:
    if COST.fullmatch(key) or (key == "ratio" and "floor" in path):
        return False
    return True if GAIN.fullmatch(key) and key not in NEITHER else None


def compare(stored: Path, measured: Path) -> list[Change]:
    """The ratios that two JSON files of one benchmark, or two folders of such files, have in common.

    Raises
    ------
    ValueError
        They have none in common, such as those of two data sets.
    """
    pairs = [(stored, measured)]
    if stored.is_dir():
        pairs = [(path, measured / path.name) for path in sorted(stored.glob("*.json"))]
        pairs = [
            (then, now) for then, now in pairs if now.is_file() and now.read_bytes() != then.read_bytes()
        ]
    changes = [change for then, now in pairs for change in _changes(then, now)]
    if not changes:
        raise ValueError(
            f"compare: expected ratios that {stored} and {measured} have in common, got none; "
            "name two results of one benchmark, measured on the same data"
        )
    return changes


def _changes(stored: Path, measured: Path) -> Iterator[Change]:
    then, now = (json.loads(path.read_text(encoding="utf-8"))["result"] for path in (stored, measured))
    if then.get("data") != now.get("data"):
        return
    after = {name: value for name, value, _ in ratios(now)}
    for name, before, gain in ratios(then):
        if name in after and before > 0 and after[name] > 0:
            worse = before / after[name] if gain else after[name] / before
            yield Change(f"{stored.stem}: {name}", before, after[name], worse)


def report(stored: Path, measured: Path, factor: float) -> int:
    """Print every ratio of then and now; 1 if one is worse by more than `factor`, else 0."""
    changes = compare(stored, measured)
    for change in changes:
        mark = f"  {change.worse:.2f} times worse" if change.worse > factor else ""
        print(f"{change.name:50} {change.then:8.3g} {change.now:8.3g}{mark}")
    return int(any(change.worse > factor for change in changes))
