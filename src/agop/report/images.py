"""Gram matrices as small inline images that say in words what they show."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from agop.report import style
from agop.report.record import Gram

_SIDE = 200
"""Pixels a small matrix is enlarged to, by whole factors, so that viewers that smooth keep its squares."""


@dataclass(frozen=True)
class GramImage:
    """One matrix: where it belongs, the image as a data URI, and its mean cosines."""

    layer: int
    stage: str
    colour: str
    uri: str
    within: float
    between: float

    @property
    def alt(self) -> str:
        """What the image shows, in words."""
        return (
            f"Gram matrix of the {self.stage} stage at layer {self.layer}: mean cosine {cosine(self.within)} "
            f"within classes, {cosine(self.between)} between classes."
        )


def cosine(value: float) -> str:
    """A cosine with two decimals and a real minus sign.

    >>> cosine(-0.111), cosine(-0.001)
    ('−0.11', '0.00')
    """
    return "undefined" if value != value else f"{value + 0.0:.2f}".replace("-0.00", "0.00").replace("-", "−")


def gram_images(gram: Gram) -> dict[int, list[GramImage]]:
    """The images by layer, stages in data-flow order."""
    images: dict[int, list[GramImage]] = {}
    marks = style.stages(stage for _, stage in gram.matrices)
    order = list(marks)
    for layer, stage in sorted(gram.matrices, key=lambda key: (key[0], order.index(key[1]))):
        matrix = gram.matrices[layer, stage]
        within, between = mean_cosines(matrix, gram.labels)
        images.setdefault(layer, []).append(
            GramImage(layer, stage, marks[stage].colour, _png(matrix), within, between)
        )
    return images


def mean_cosines(matrix: Float[np.ndarray, "n n"], labels: Int[np.ndarray, " n"]) -> tuple[float, float]:
    """Mean entry over pairs of one class (a point with itself left out), and over pairs of two classes.

    NaN where there is no such pair.
    """
    same = labels[:, None] == labels[None, :]
    other = ~same
    np.fill_diagonal(same, False)
    means = (
        float(matrix[mask].mean(dtype=np.float64)) if mask.any() else float("nan") for mask in (same, other)
    )
    within, between = means
    return within, between


def _png(matrix: Float[np.ndarray, "n n"]) -> str:
    colours = style.gram_colours()
    index = np.clip(((matrix + 1) / 2 * colours.N).astype(int), 0, colours.N - 1).astype(np.uint8)
    image = Image.fromarray(index, mode="P")
    palette = (np.array(colours.colors)[:, :3] * 255).round().astype(np.uint8)
    image.putpalette(palette.tobytes())
    factor = max(1, -(-_SIDE // max(image.size)))
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
