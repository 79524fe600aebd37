"""Terminals that take fewer characters than the verbs print: each gets the nearest that it can show, and nothing ends with an error."""

from __future__ import annotations

import codecs
import sys
from typing import TextIO

HANDLER = "agop.nearest"
_NEAREST = {
    "×": "x", "·": ".", "–": "-", "—": "-", "−": "-", "…": "...", "±": "+-", "≤": "<=", "≥": ">=", "≈": "~", "→": "->", "←": "<-",
    "↑": "^", "↓": "v", "²": "2", "³": "3", "‖": "||", "Σ": "Sum", "√": "sqrt", "∞": "inf", "μ": "mu", "λ": "lambda", "σ": "sigma",
    "Φ": "Phi", "‘": "'", "’": "'", "“": '"', "”": '"', "✓": "+", "•": "*", "━": "-", "─": "-", "│": "|", "╭": "+", "╮": "+",
    "╰": "+", "╯": "+", "\u00a0": " ",
}  # fmt: skip


def _nearest(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that can't be encoded."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_NEAREST.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


def show_what_can_be_shown(*streams: TextIO | None) -> None:
    """Let these streams (those of the process by default) write any text, whatever their encoding."""
    codecs.register_error(HANDLER, _nearest)
    for stream in streams or (sys.stdout, sys.stderr):
        encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "")
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and not encoding.startswith("utf"):
            reconfigure(errors=HANDLER)
