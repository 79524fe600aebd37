"""Draws what studies describe of arrays: Gram and other matrices, filters of patches, maps of their energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from agop._checks import one_of
from agop.experiments.drawing import Drawing
from agop.report import figures, style
from agop.report.patches import energy_maps, filter_grid
from agop.report.record import Patches


def gram(drawing: Drawing, arrays: Mapping[str, np.ndarray], words: Callable[[str], str]) -> Figure:
    """Arrays as `gram.npz` holds them: LAYER/STAGE, labels, class_names."""
    matrices = {
        (int(layer), stage): matrix.astype(np.float32)
        for name, matrix in arrays.items()
        for layer, slash, stage in [name.partition("/")]
        if slash
    }
    names = [str(name) for name in arrays["class_names"]]
    return figures.gram_grid(matrices, arrays["labels"], names, title=words("title"))


def matrix(drawing: Drawing, arrays: Mapping[str, np.ndarray], words: Callable[[str], str]) -> Figure:
    """A grid of matrices with values between -1 and 1."""
    with mpl.rc_context(style.RC | {"axes.grid": False}):
        rows, columns = len(drawing.arrays), max(len(row) for row in drawing.arrays)
        figure = Figure(figsize=(3.2 * columns, 3.3 * rows), layout="constrained")
        figure.suptitle(words("title"), x=0.01, ha="left", fontsize=12, fontweight="bold")
        grid = figure.subplots(rows, columns, squeeze=False)
        image = None
        for row, named in enumerate(drawing.arrays):
            for column, (name, title) in enumerate(named):
                axes = grid[row, column]
                image = axes.imshow(
                    arrays[name], cmap=style.gram_colours(), vmin=-1, vmax=1, interpolation="none"
                )
                axes.set_title(title, fontsize=10, fontweight="normal")
                axes.set_xticks([])
                axes.set_yticks([])
        assert image is not None
        bar = figure.colorbar(image, ax=grid, shrink=0.5, aspect=18, ticks=[-1, 0, 1])
        bar.set_label(drawing.labels[1])
    return figure


def filters(drawing: Drawing, arrays: Mapping[str, np.ndarray], words: Callable[[str], str]) -> Figure:
    """Top eigenvectors of patch matrices, those that the drawing names in its order, or all of the file."""
    found = Patches.of(arrays)
    chosen = _chosen_arrays(drawing, found.filters)
    shares = {title: found.shares[name] for name, title in chosen}
    return filter_grid(
        {title: found.filters[name] for name, title in chosen}, shares=shares, title=words("title")
    )


def energy(drawing: Drawing, arrays: Mapping[str, np.ndarray], words: Callable[[str], str]) -> Figure:
    """Maps of patch energy under the images that they are of."""
    found = Patches.of(arrays)
    chosen = _chosen_arrays(drawing, found.energies)
    return energy_maps(
        found.images, {title: found.energies[name] for name, title in chosen}, title=words("title")
    )


def _chosen_arrays(drawing: Drawing, there: Mapping[str, np.ndarray]) -> list[tuple[str, str]]:
    """Names in the file, and what stands beside them."""
    chosen = [pair for row in drawing.arrays for pair in row] or [(name, name) for name in there]
    for name, _ in chosen:
        one_of(f"arrays of drawing {drawing.stem!r}", name, there)
    return chosen
