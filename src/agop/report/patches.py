"""Pictures of a patch matrix: its top eigenvectors as filters, and where in an image its energy lies."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Real
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from agop._checks import bad_value
from agop.report import style
from agop.report.pictures import Drawing
from agop.report.record import RunRecord

_HEAT = "viridis"
_FINE, _GAP = 12, 4
"""A pixel of a filter in dots of its drawing, and the dots between its channels."""


def filter_grid(
    filters: Mapping[str, Float[np.ndarray, "k c q q"]],
    *,
    title: str,
    shares: Mapping[str, Float[np.ndarray, " k"]] | None = None,
    figure: Figure | None = None,
) -> Figure:
    """Filters in a grid: a row for each patch matrix, the largest eigenvalue first, all of them on one scale.

    Three channels are drawn as a colour image in which 0 is mid-grey, so that a channel above 0 brightens its colour and one below
    dims it; other filters in blue (negative), white (0) and red (positive), channels from left to right.

    Parameters
    ----------
    filters
        By the name that stands beside the row, as `agop.patch_filters` returns them.
    title
        Of the figure.
    shares
        Shares of the trace, by the same names, to be written above the filters.
    figure
        An empty figure to draw into, such as one of pyplot, which a notebook shows; its size and layout are set.

    Raises
    ------
    ValueError
        If there are no filters, or they have different numbers of channels.
    """
    rows = {name: np.asarray(values, dtype=float) for name, values in filters.items()}
    channels = {values.shape[1] for values in rows.values() if values.ndim == 4 and len(values)}
    if len(channels) != 1 or not all(values.ndim == 4 and len(values) for values in rows.values()):
        got = ", ".join(str(values.shape) for values in rows.values()) or "none"
        raise bad_value("filters", "filters (k, c, q, q) with one number of channels", got)
    colour = channels == {3}
    largest = max(float(np.abs(values).max()) for values in rows.values()) or 1.0
    columns = max(len(values) for values in rows.values())
    wide = 1.0 if colour else float(min(next(iter(channels)), 4))
    with mpl.rc_context(style.RC | {"axes.grid": False}):
        size = (
            0.95 * wide * columns + (1.2 if colour else 1.9),
            1.15 * len(rows) + (1.0 if colour else 0.75),
        )
        figure = _prepared(figure, size)
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        grid = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw={"wspace": 0.08})
        for line, (name, values) in zip(grid, rows.items(), strict=True):
            for column, axes in enumerate(line):
                _bare(axes)
                if column < len(values):
                    _filter(axes, values[column], largest)
                    told = shares[name][column] if shares is not None else float("nan")
                    axes.set_title(
                        "" if told != told else f"{100 * told:.0f} %",
                        loc="center",
                        fontsize=8,
                        fontweight="normal",
                        pad=3,
                    )
            line[0].set_ylabel(name, fontsize=9)
        if colour:
            words = f"mid-grey is 0; each colour from −{largest:.2g} (dark) to {largest:.2g} (bright)"
            figure.supxlabel(words, fontsize=8, color=style.MUTED)
        else:
            scale = ScalarMappable(Normalize(-largest, largest), style.gram_colours())
            bar = figure.colorbar(scale, ax=grid, shrink=0.7, aspect=18, pad=0.02)
            bar.set_ticks([-largest, 0, largest], labels=[f"−{largest:.2g}", "0", f"{largest:.2g}"])
            bar.outline.set_visible(False)
            bar.ax.tick_params(labelsize=8)
    return figure


def energy_maps(
    images: Real[np.ndarray, "n c h w"],
    energies: Mapping[str, Float[np.ndarray, "n rows columns"]],
    *,
    title: str,
    figure: Figure | None = None,
) -> Figure:
    """Images above their maps of patch energy ("where the model looks"): a column an image, a row for each patch matrix.

    A row has one scale, from 0 to its largest value, since two matrices may have any scales; pixels without a value are blank.

    Parameters
    ----------
    images
        Three channels are drawn in colour, others as their mean in grey; black and white are the smallest and largest pixel of all.
    energies
        By the name that stands beside the row, as `agop.patch_energy` returns them.
    title
        Of the figure.
    figure
        As in `filter_grid`.

    Raises
    ------
    ValueError
        If there are no images, or not as many maps as images.
    """
    images = np.asarray(images, dtype=float)
    if images.ndim != 4 or not len(images):
        raise bad_value("images", "at least one image, (n, c, h, w)", f"shape {images.shape}")
    for name, maps in energies.items():
        if np.ndim(maps) != 3 or len(maps) != len(images):
            raise bad_value(
                "energies", f"{len(images)} maps, one for each image", f"shape {np.shape(maps)} at {name!r}"
            )
    low, high = images.min(), images.max()
    shown = (images - low) / ((high - low) or 1.0)
    shown = shown.transpose(0, 2, 3, 1) if images.shape[1] == 3 else shown.mean(1)
    with mpl.rc_context(style.RC | {"axes.grid": False}):
        size = (1.25 * len(images) + 1.5, 1.3 * (1 + len(energies)) + 0.6)
        figure = _prepared(figure, size)
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        grid = figure.subplots(1 + len(energies), len(images), squeeze=False)
        for axes, image in zip(grid[0], shown, strict=True):
            _bare(axes)
            axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="none")
        grid[0, 0].set_ylabel("image", fontsize=9)
        for line, (name, maps) in zip(grid[1:], energies.items(), strict=True):
            defined = np.asarray(maps)[np.isfinite(maps)]
            scale = Normalize(0, float(defined.max()) if defined.size and defined.max() > 0 else 1.0)
            for axes, values in zip(line, maps, strict=True):
                _bare(axes)
                axes.imshow(values, cmap=_HEAT, norm=scale, interpolation="none")
            line[0].set_ylabel(name, fontsize=9)
            bar = figure.colorbar(
                ScalarMappable(scale, _HEAT),
                ax=list(line),
                shrink=0.8,
                aspect=14,
                pad=0.01,
            )
            most = float(scale.vmax or 1)
            bar.set_ticks([0, most], labels=["0", f"{most:,.0f}" if most >= 1000 else f"{most:.3g}"])
            bar.outline.set_visible(False)
            bar.ax.tick_params(labelsize=8)
    return figure


def patch_drawings(record: RunRecord) -> list[Drawing]:
    """The pictures of the patch matrices of a run, if it has any."""
    patches = record.patches
    if patches is None:
        return []
    look = "top eigenvectors of the patch matrices, with their shares of the trace, all on one scale"
    where = "mean energy ‖M^½ x_p‖² of the patches that contain a pixel, a scale for each row; with M = 1 it is brightness alone"
    names = f"{record.title}: {{}}"
    return [
        Drawing(
            "filters", "Filters", look, "A patch is looked at most through the first filter; edges are features, noise is none.",
            lambda: filter_grid(patches.filters, shares=patches.shares, title=names.format("filters of the patch matrices")),
            own_size=True,
        ),
        Drawing(
            "energy", "Where the model looks", where, "Where a map is bright, a change of the pixel changes the prediction most.",
            lambda: energy_maps(patches.images, patches.energies, title=names.format("energy of the patches")),
            own_size=True,
        ),
    ]  # fmt: skip


def _filter(axes: Axes, values: Float[np.ndarray, "c q q"], largest: float) -> None:
    """One filter: a colour image about mid-grey, or its channels side by side."""
    if len(values) == 3:
        axes.imshow(0.5 + values.transpose(1, 2, 0) / (2 * largest), interpolation="none")
        return
    fine = np.kron(values, np.ones((_FINE, _FINE)))
    strip = np.concatenate(
        [np.pad(channel, ((0, 0), (0, _GAP)), constant_values=np.nan) for channel in fine], 1
    )[:, :-_GAP]
    axes.imshow(strip, cmap=style.gram_colours(), vmin=-largest, vmax=largest, interpolation="none")


def _prepared(figure: Figure | None, size: tuple[float, float]) -> Figure:
    figure = Figure() if figure is None else figure
    figure.set_size_inches(*size)
    figure.set_layout_engine("constrained")
    return figure


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
