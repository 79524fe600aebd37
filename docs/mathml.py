"""Formulas as MathML, which browsers draw themselves: no script, no fonts from elsewhere, the same without a network."""

from __future__ import annotations

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator


def _formula(tex: str, node: nodes.Element, *, block: bool) -> str:
    try:
        return tex2mathml(tex, as_block=block)
    except MathError as error:
        logging.getLogger(__name__).warning("no MathML of %r: %s", tex, error, location=node)
        return nodes.Text(tex).astext()


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(_formula(node.astext(), node, block=False))
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
    formula = _formula(node.astext().strip(), node, block=True)
    translator.body.append(
        f'<div class="math" tabindex="0" role="region" aria-label="formula">{formula}</div>\n'
    )
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer `mathml`."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
