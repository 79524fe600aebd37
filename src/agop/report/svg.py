"""A matplotlib figure as SVG inside a page: no ids but those it needs, and colours that follow the reader's light or dark scheme."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from agop.report import style

RAW = "raw"
"""The gid of artists whose colours stay as they are in a dark scheme, such as the scale of a heat map."""

_NAMESPACE = re.compile(r"^\{[^}]*\}")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_VARIABLE = re.compile(r"var\(--k([0-9a-f]{6})\)")
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_CURVE = re.compile(r"^curve-(\d+)")
_TO_LMS = np.array([[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]])
_TO_LAB = np.array([[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]])


def inline(figure: Figure, prefix: str) -> ET.Element:
    """The figure as an `svg` element; `prefix` makes its ids differ from those of the other figures of a page.

    Groups whose gid is `curve-N` carry `data-curve="N"`. Fonts are the page's, which are
    narrower than the one that the figure is laid out with.
    """
    stream = io.BytesIO()
    with mpl.rc_context(style.RC):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    root = ET.fromstring(stream.getvalue())
    wanted = {name: f"{prefix}{number}" for number, name in enumerate(dict.fromkeys(_referenced(root)))}
    for parent in root.iter():
        for child in list(parent):
            if _bare(child.tag) in ("metadata", "style"):
                parent.remove(child)
    _clean(root, wanted, raw=False)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    return root


def markup(root: ET.Element) -> str:
    """The text of an `svg` element, as HTML holds it."""
    return ET.tostring(root, encoding="unicode")


def _bare(name: str) -> str:
    return _NAMESPACE.sub("", name)


def _referenced(root: ET.Element) -> Iterator[str]:
    for element in root.iter():
        for name, value in element.attrib.items():
            if _bare(name) == "href" and value.startswith("#"):
                yield value[1:]
            yield from _REFERENCE.findall(value)


def _clean(element: ET.Element, wanted: dict[str, str], *, raw: bool) -> None:
    """Plain names, only the ids that are referred to, colours as variables unless they are raw."""
    element.tag = _bare(element.tag)
    own = element.attrib.pop("id", "")
    raw = raw or own.startswith(RAW)
    found = {_bare(name): _value(_bare(name), value, wanted, raw) for name, value in element.attrib.items()}
    element.attrib.clear()
    element.attrib.update({name: value for name, value in found.items() if value})
    if own in wanted:
        element.set("id", wanted[own])
    curve = _CURVE.match(own)
    if curve:
        element.set("data-curve", curve[1])
    element.tail = None
    element.text = element.text if element.text and element.text.strip() else None
    for child in element:
        _clean(child, wanted, raw=raw)
    styles = {child.get("style", "") for child in element} if {c.tag for c in element} == {"use"} else set()
    if len(styles) == 1 and not element.get("style"):
        element.set("style", styles.pop())  # once, not at every marker
        for child in element:
            child.attrib.pop("style", None)


def _value(name: str, value: str, wanted: dict[str, str], raw: bool) -> str:
    if name == "href" and value.startswith("#"):
        return f"#{wanted[value[1:]]}"
    value = _REFERENCE.sub(lambda found: f"url(#{wanted[found[1]]})", value)
    if name in ("d", "x", "y"):
        return _LONG_NUMBER.sub(lambda found: f"{float(found[0]):.2f}", value)
    if name == "style":
        parts = [part.strip() for part in value.split(";")]
        value = "; ".join(part for part in parts if part and not part.startswith("font-family"))
        return value if raw else _COLOUR.sub(lambda found: f"var(--k{found[0][1:]})", value)
    return value


def colour_rules(page: str) -> str:
    """The style sheet of the colours that a page uses, in light and, on screens that ask for it, in dark.

    >>> colour_rules("stroke: var(--kffffff)").count("--kffffff")
    2
    """
    names = sorted(set(_VARIABLE.findall(page)))
    light = "".join(f"--k{name}:#{name};" for name in names)
    dark = "".join(f"--k{name}:{darkened(f'#{name}')};" for name in names)
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}"


def darkened(colour: str) -> str:
    """The colour that stands for this one on a dark ground: of the same hue, light where this one is dark.

    White becomes the ground, ink nearly white; contrast to the ground stays. The map is linear in the
    lightness of OKLab (Björn Ottosson 2020).

    >>> darkened("#ffffff"), darkened("#000000")
    ('#161616', '#ffffff')
    """
    linear = np.array([v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(colour)])
    lab = _TO_LAB @ np.cbrt(_TO_LMS @ linear)
    lab[0] = 1.14 - 0.94 * lab[0]
    for chroma in np.linspace(1, 0, 21):  # as colourful as the screen can be at this lightness
        rgb = np.linalg.solve(_TO_LMS, np.linalg.solve(_TO_LAB, lab * [1, chroma, chroma]) ** 3)
        if (rgb >= -1e-4).all() and (rgb <= 1 + 1e-4).all():
            break
    rgb = rgb.clip(0, 1)
    red, green, blue = (
        np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055).clip(0, 1).tolist()
    )
    return to_hex((red, green, blue))
