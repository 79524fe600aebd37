"""The verdicts of a reproduction: which claims, on which data, from which tables; and how they are written down."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from agop.experiments.claims import FAILS, HOLDS, OPEN, Claim, Tables, Verdict, decide
from agop.experiments.files import write_json, write_text
from agop.experiments.finished import VERDICTS
from agop.experiments.tables import Gathered, table_file, table_of, together, with_keys
from agop.experiments.units import Unit

_SHORT = (
    "study", "id", "group", "data", "name", "says", "statistic", "relation", "threshold", "mean", "std", "verdict", "expected",
)  # fmt: skip


def decided(claims: Sequence[tuple[str, Claim]], units: Sequence[Unit], tables: Gathered) -> list[Verdict]:
    """The verdicts, study by study; in a study, the claims on each data set, then those on several of them together."""
    complete = with_keys(tables, units)
    verdicts = []
    for study in dict.fromkeys(name for name, _ in claims):
        own = [claim for name, claim in claims if name == study]
        planned = _planned([unit for unit in units if unit.study == study])
        verdicts += list(_of_study(study, own, planned, complete.get(study, {})))
    return verdicts


def _planned(units: Sequence[Unit]) -> dict[str, set[str]]:
    """By data label, the tables that its units write."""
    planned: dict[str, set[str]] = {}
    for unit in units:
        planned.setdefault(unit.label, set()).add(unit.table)
    return planned


def _of_study(
    study: str, claims: Sequence[Claim], planned: Mapping[str, set[str]], tables: Mapping[str, Tables]
) -> Iterator[Verdict]:
    def verdict(claim: Claim, named: Tables, data: str) -> Verdict:
        found = decide(claim, named, data)
        return Verdict(claim, data, found.values, found.verdict, found.reason, study)

    for label, there in planned.items():
        for claim in claims:
            if claim.data == "each" and any(table_of(name) in there for name in claim.tables):
                yield verdict(claim, tables.get(label, {}), label)
    nowhere = [claim for claim in claims if claim.data == "each" and not _anywhere(claim, planned)]
    for claim in [*(claim for claim in claims if claim.data != "each"), *nowhere]:
        labels = list(labels_of(claim, planned))
        yield verdict(claim, together(tables.get(label, {}) for label in labels), ", ".join(labels))


def _anywhere(claim: Claim, planned: Mapping[str, set[str]]) -> bool:
    return any(table_of(name) in there for name in claim.tables for there in planned.values())


def labels_of(claim: Claim, planned: Mapping[str, set[str]]) -> Iterator[str]:
    """The data sets that a claim about several of them reads."""
    for label, there in planned.items():
        wanted = claim.data in ("all", "each") or label in claim.data
        if wanted and any(table_of(name) in there for name in claim.tables):
            yield label


def write_verdicts(verdicts: Sequence[Verdict], units: Sequence[Unit], out: Path) -> None:
    """Write verdicts.json and verdicts.csv."""
    entries = [_entry(verdict, units, out) for verdict in verdicts]
    write_json(out / VERDICTS, {"verdicts": entries})
    table = pd.DataFrame([{name: entry[name] for name in _SHORT} for entry in entries], columns=list(_SHORT))
    write_text(out / "verdicts.csv", table.to_csv(index=False, lineterminator="\n"))


def _entry(verdict: Verdict, units: Sequence[Unit], out: Path) -> dict[str, Any]:
    claim, study = verdict.claim, verdict.study
    own = [unit for unit in units if unit.study == study]
    labels = [verdict.data] if claim.data == "each" else list(labels_of(claim, _planned(own)))
    read = {table_of(name) for name in claim.tables}
    return {
        "study": study,
        **claim.describe(),
        "data": verdict.data,
        "values": {str(seed): _number(value) for seed, value in verdict.values.items()},
        "mean": _number(verdict.mean),
        "std": _number(verdict.std),
        "verdict": verdict.verdict,
        "reason": verdict.reason,
        "files": [
            table_file(study, label, name)
            for name in claim.tables
            for label in labels
            if (out / table_file(study, label, name)).is_file()
        ],
        "units": [
            u.folder.as_posix() for u in own if u.label in labels and u.table in read and u.finished(out)
        ],
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def headline(verdicts: Sequence[Verdict]) -> str:
    """How many of the paper's claims hold, and whether the controls came out negative, in one sentence."""
    paper = [v for v in verdicts if v.claim.group == "paper"]
    controls = [v for v in verdicts if v.claim.group == "control"]
    papers = "papers" if len({v.study for v in paper}) > 1 else "paper"
    counts = [(word, sum(v.verdict == word for v in paper)) for word in (HOLDS, FAILS, OPEN)]
    words = {
        HOLDS: ("holds", "hold"),
        FAILS: ("does not", "do not"),
        OPEN: ("is not decided", "are not decided"),
    }
    parts = [f"{count} {words[word][count != 1]}" for word, count in counts if count]
    sentence = (
        f"Of {len(paper)} claim{'s' * (len(paper) != 1)} of the {papers}, {', '.join(parts)}"
        if paper
        else "No claim of the paper"
    )
    negative = sum(v.verdict == FAILS for v in controls)
    return sentence + (f"; {negative} of {len(controls)} controls come out negative." if controls else ".")
