"""How the package's plots look on a screen and in a paper's column; the one place where that is said."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from agop import _checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = ("screen", "paper")
COLUMN, PAGE = 3.3, 6.4
"""Widths in inches: of a column of most papers, and of a page or a notebook."""

VECTOR: dict[Any, Any] = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "agop"}
"""Text stays text in PDF and SVG."""

_PAPER: dict[Any, Any] = {
    "font.size": 7,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.0,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 6,
}
_SCREEN: dict[Any, Any] = {"font.size": 9, "legend.fontsize": 8}


@contextmanager
def styled(style: str) -> Iterator[None]:
    """Draw for a screen, or with the small letters and thin lines of a paper's column; settings of matplotlib stay as they are.

    Raises
    ------
    ValueError
        If the style is none of `STYLES`.
    """
    _checks.one_of("style", style, STYLES)
    import matplotlib as mpl

    with mpl.rc_context(VECTOR | (_PAPER if style == "paper" else _SCREEN)):
        yield


def size(style: str, height: float, width: float = PAGE) -> tuple[float, float]:
    """Inches of a figure of this size on a page; in a column it is as wide as that, and as high as it must be.

    >>> size("screen", 3.8), size("paper", 3.8)
    ((6.4, 3.8), (3.3, 2.375))
    """
    return (COLUMN, height * 0.625) if style == "paper" else (width, height)


def keeping_text(figure: Figure) -> Figure:
    """Whatever `figure.savefig` writes later has its text as text, although settings of matplotlib are not changed."""
    import matplotlib as mpl

    save = figure.savefig

    @functools.wraps(save)
    def savefig(*args: Any, **options: Any) -> None:
        with mpl.rc_context(VECTOR):
            save(*args, **options)

    figure.savefig = savefig  # type: ignore[method-assign]
    return figure


def once_a_figure(axes: Axes) -> Axes:
    """Axes where version 0.1 handed out a figure, which a notebook showed twice; `savefig` goes on for one release, with a warning."""
    figure: Any = axes.figure

    def savefig(*args: Any, **options: Any) -> None:
        remedy = "plot() returns axes, not a figure: write plot(…).figure.savefig(…)"
        warnings.warn(remedy, DeprecationWarning, stacklevel=2)
        figure.savefig(*args, **options)

    axes.savefig = savefig  # type: ignore[attr-defined]
    return axes
