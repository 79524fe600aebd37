"""Pages from templates: one HTML file with everything in it, that asks no network for anything."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from agop import __version__
from agop.report import citation
from agop.report.images import cosine
from agop.report.pictures import Picture
from agop.report.svg import colour_rules

_FOLDER = Path(__file__).parent / "templates"


def page(template: str, figures: Iterable[Picture], **context: Any) -> str:
    """The page that a template makes of its context; `figures` are all those on it."""
    environment = Environment(
        loader=PackageLoader("agop.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"variable": variable, "cosine": cosine}
    shown = list(figures)
    points = [{"id": one.name, "heading": one.heading, **one.points} for one in shown if one.points["panels"]]
    body = environment.get_template(template).render(
        **context, points=points, cite=citation, version=__version__, colours=Markup(_COLOURS),
        css=_text("report.css", "reproduction.css", "dark.css"), figure_js=_text("figure.js"), js=_text("report.js"),
    )  # fmt: skip
    return body.replace(_COLOURS, colour_rules(body), 1)


_COLOURS = "/* colours of the figures */"


def _text(*names: str) -> Markup:
    """Files of this package as they stand."""
    return Markup("".join((_FOLDER / name).read_text(encoding="utf-8") for name in names))


def variable(colour: str) -> str:
    """A colour as the figures of the page have it, in light and dark.

    >>> variable("#0067a5")
    'var(--k0067a5)'
    """
    return f"var(--k{colour[1:]})"
