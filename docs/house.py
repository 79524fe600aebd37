"""Draw the rooms of the package and who imports whom from the import statements themselves: `python docs/house.py`.

The boxes carry their own background and the lines are grey, so that the picture reads on light and dark pages.
"""

from __future__ import annotations

import ast
import textwrap
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "src" / "agop"
PICTURE = Path(__file__).parent / "house.svg"

ROOMS = {
    "cli": "one thin file a verb",
    "report": "figures, the page",
    "experiments": "runs, studies, verdicts",
    "tables": "frames, kinds of columns",
    "datasets": "named data, .npz",
    "theory": "closed forms",
    "concepts": "directions, steering",
    "profiles": "one loop, one table",
    "probes": "what is measured",
    "integrations": "torchmetrics, Lightning",
    "networks": "architectures, training",
    "collapse": "NC1 to NC5",
    "machines": "RFM, Deep RFM",
    "gradients": "AGOP of any module",
    "linalg": "PSD powers, ridge",
    "blocks": "rows nobody holds",
    "kernels": "κ(r), closed-form AGOP",
}
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 184, 54, 22, 44, 12
LINE, LETTER, SIDE = 17, 7, 8
"""Height of a line of small text, the width of its letters in a wide font, and the space beside it."""


@cache
def imports() -> dict[str, set[str]]:
    """Which rooms each room imports."""
    found = {}
    for room in ROOMS:
        names: set[str] = set()
        for path in (PACKAGE / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module:
                    names.add(node.module)
                elif isinstance(node, ast.Import):
                    names |= {alias.name for alias in node.names}
        found[room] = {name.split(".")[1] for name in names if name.startswith("agop.")} & set(ROOMS) - {room}
    return found


def floors(graph: dict[str, set[str]]) -> dict[str, int]:
    """The floor of each room: right below the lowest that imports it, else above the highest that it imports."""

    def depth(room: str) -> int:
        return 1 + max((depth(other) for other in graph[room]), default=-1)

    level = {room: depth(room) for room in graph}
    for room in sorted(graph, key=depth, reverse=True):
        level[room] = (
            min((level[other] for other in graph if room in graph[other]), default=level[room] + 1) - 1
        )
    return level


def direct(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The imports that do not follow from others (the transitive reduction)."""

    def reached(room: str) -> set[str]:
        return graph[room] | {far for near in graph[room] for far in reached(near)}

    pairs = ((room, other) for room in graph for other in graph[room])
    return sorted(
        (room, other)
        for room, other in pairs
        if not any(other in reached(between) for between in graph[room] if between != other)
    )


def foundation() -> list[str]:
    """The modules beside the rooms, on which all of them stand."""
    return sorted(path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__"))


def wrapped(text: str, width: float) -> list[str]:
    """The lines of a text in a box."""
    return textwrap.wrap(text, int(width - 2 * SIDE) // LETTER)


def draw() -> str:
    """The picture as SVG."""
    graph = imports()
    level, edges = floors(graph), direct(graph)
    top = max(level.values())
    rows = [[room for room in ROOMS if level[room] == floor] for floor in range(top + 1)]
    widest = max(len(row) for row in rows)
    width = widest * (WIDTH + GAP_X) - GAP_X + 2 * MARGIN
    ground_y = MARGIN + (top + 1) * (HEIGHT + GAP_Y)
    stands = wrapped(", ".join(foundation()), width - 2 * MARGIN)
    height = ground_y + HEIGHT + LINE * (len(stands) - 1) + MARGIN
    place = {}
    for floor, row in enumerate(rows):
        start = (width - len(row) * (WIDTH + GAP_X) + GAP_X) / 2
        for index, room in enumerate(row):
            place[room] = (start + index * (WIDTH + GAP_X), MARGIN + (top - floor) * (HEIGHT + GAP_Y))
    lines = [_line(place[above], place[below]) for above, below in edges]
    boxes = [_box(*place[room], WIDTH, room, [ROOMS[room]], "#dbe7f3") for room in ROOMS]
    ground = _box(MARGIN, ground_y, width - 2 * MARGIN, "everything stands on", stands, "#e9e4d8")
    told = "; ".join(f"{room} imports {', '.join(sorted(graph[room]))}" for room in ROOMS if graph[room])
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'aria-labelledby="house-title house-text" font-family="system-ui, sans-serif">',
            '<title id="house-title">The rooms of agop and who imports whom</title>',
            f'<desc id="house-text">{told}.</desc>',
            *lines,
            *boxes,
            ground,
            "</svg>\n",
        ]
    )


def _line(above: tuple[float, float], below: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = (above[0] + WIDTH / 2, above[1] + HEIGHT), (below[0] + WIDTH / 2, below[1])
    bend = min(60, (y2 - y1) / 2)
    path = f"M{x1:g} {y1:g}C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}"
    return f'<path d="{path}" fill="none" stroke="#7d8590" stroke-width="1.6"/>'


def _box(x: float, y: float, width: float, name: str, lines: list[str], colour: str) -> str:
    middle, height = x + width / 2, HEIGHT + LINE * (len(lines) - 1)
    small = "".join(
        f'<text x="{middle:g}" y="{y + 42 + LINE * number:g}" text-anchor="middle" font-size="12.5" fill="#3c3c3c">{line}</text>'
        for number, line in enumerate(lines)
    )
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height}" rx="8" fill="{colour}" stroke="#7d8590"/>'
        f'<text x="{middle:g}" y="{y + 23:g}" text-anchor="middle" font-size="15" font-weight="600" fill="#1a1a1a">'
        f"{name}</text>{small}"
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
