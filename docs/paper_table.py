"""The table of every reproduced paper, made from the studies and their stored verdicts when the pages are built.

`python docs/paper_table.py RUN…` stores what finished reproductions (directories of `agop reproduce`) found: docs/results/STUDY-SIZE.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agop.experiments.studies import STUDIES
from agop.experiments.study import Study

PLACE = "<!-- the table of every paper -->"
"""Where the table goes; a line of a page."""

RESULTS = Path(__file__).parent / "results"
KEPT = ("id", "group", "name", "data", "relation", "threshold", "mean", "std", "verdict", "expected")
_MOST = 6
_HEADINGS = ("study", "paper", "question", "what is measured", "verdicts on our data", "command", "seconds")


def store(run: Path) -> list[Path]:
    """Keep the verdicts of a reproduction, a file for each study in it."""
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    verdicts = json.loads((run / "verdicts.json").read_text(encoding="utf-8"))["verdicts"]
    facts, written = result["facts"], []
    for study in dict.fromkeys(entry["study"] for entry in verdicts):
        own = [{key: entry[key] for key in KEPT} for entry in verdicts if entry["study"] == study]
        kept = {name.lower(): facts[name] for name in ("Preset", "Data", "Seeds")}
        path = RESULTS / f"{study}-{facts['Preset']}.json"
        path.write_text(
            json.dumps(
                {**kept, "seconds": round(result["seconds"]), "verdicts": own}, ensure_ascii=False, indent=1
            )
            + "\n",
            encoding="utf-8",
        )
        written.append(path)
    return written


def table() -> str:
    """The studies of the package in Markdown, a row a study."""
    rows: list[Sequence[str]] = [_HEADINGS, ("---",) * len(_HEADINGS)]
    rows += [_cells(STUDIES[name]) for name in STUDIES.own]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows)


def _cells(study: Study) -> tuple[str, ...]:
    stored = {size: _stored(study.name, size) for size in study.sizes}
    found = {size: result for size, result in stored.items() if result is not None}
    page = Path(__file__).parent / "papers" / f"{study.name}.md"
    name = f"[{study.name}](papers/{study.name}.md)" if page.exists() else f"[{study.name}](reproduction.md)"
    return (
        name,
        str(study.cite),
        study.question,
        _measured(study),
        "<br>".join(f"{size}, {result['data']}: {_told(result)}" for size, result in found.items())
        or "not stored",
        f"`agop reproduce {study.name} --preset smoke`",
        "<br>".join(f"{size} {result['seconds']}" for size, result in found.items()) or "–",
    )


def _measured(study: Study) -> str:
    """The claims of the paper by name, as many as fit."""
    names = list(dict.fromkeys(claim.name for claim in study.claims_of("smoke") if claim.group == "paper"))
    return "; ".join(names[:_MOST]) + (f"; and {len(names) - _MOST} more" if len(names) > _MOST else "")


def _stored(study: str, size: str) -> dict[str, Any] | None:
    path = RESULTS / f"{study}-{size}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _told(result: Mapping[str, Any]) -> str:
    return "; ".join(_counts(result["verdicts"]))


def _counts(verdicts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """How the claims of the paper came out, and how many controls did as they should; each negative one by name and number."""
    paper = [entry for entry in verdicts if entry["group"] == "paper"]
    for verdict in ("holds", "does not hold", "not decided"):
        own = [entry for entry in paper if entry["verdict"] == verdict]
        if not own:
            continue
        names = ", ".join(f"{entry['name']} ({_number(entry)})" for entry in own)
        yield f"**{len(own)} {verdict}**" + ("" if verdict == "holds" else f": {names}")
    controls = [entry for entry in verdicts if entry["group"] == "control"]
    negative = sum(entry["verdict"] == "does not hold" for entry in controls)
    yield f"{negative} of {len(controls)} controls negative"


def _number(entry: Mapping[str, Any]) -> str:
    if entry["mean"] is None:
        return "no number"
    sign = {"<=": "≤", ">=": "≥"}[entry["relation"]]
    return f"{entry['mean']:.3g}, asked {sign} {entry['threshold']:.3g}"


def fill(app: Any, page: str, source: list[str]) -> None:
    """Put the table into a page that Sphinx has read."""
    if PLACE in source[0]:
        source[0] = source[0].replace(PLACE, table())


def setup(app: Any) -> dict[str, bool]:
    """As an extension of Sphinx."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(*store(Path(argument)), sep="\n")
