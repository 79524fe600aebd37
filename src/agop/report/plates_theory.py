"""The figures of the theory: the linearised Deep RFM predicted and measured, its reach, kernel learning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from agop.report import style
from agop.report.plates import Plate, Tables
from agop.report.series import mark, series_figure


def theory_plates(tables: Tables, data: str) -> Iterator[Plate]:
    """Every figure that the tables of one data set allow."""
    yield from _linearised(tables, data)
    yield from _reach(tables, data)
    yield from _kernel(tables, data)


def _linearised(tables: Tables, data: str) -> Iterator[Plate]:
    curves, rates, wide = (f"theory/linearised/{name}" for name in ("curves", "rates", "wide"))
    if curves in tables:
        for which in dict.fromkeys(tables[curves]["set"]):
            yield _overlay(tables[curves][tables[curves]["set"] == which], which, curves)
    if rates in tables:
        parts = [
            tables[rates].assign(series=f"{which}, {kind}", factor=tables[rates][column])[
                tables[rates]["set"] == which
            ]
            for which in dict.fromkeys(tables[rates]["set"])
            for kind, column in (("closed form", "closed_form"), ("measured", "measured"))
        ]
        rows = pd.concat(parts)
        rows = rows[rows["lambda_phi"] == rows["lambda_phi"].min()]
        names = list(dict.fromkeys(rows["series"]))
        marks = {n: mark(i // 2, marker="measured" in n, line="closed" in n) for i, n in enumerate(names)}
        figure = series_figure(
            rows, "ratio", "factor", "series", title="How fast the linearised Deep RFM collapses",
            subtitle=f"factor of NC1 per layer in the end, λΦ = {rows['lambda_phi'].iloc[0]:g}",
            labels=("λk / λΦ", "NC1 factor per layer"), log="xy", marks=marks,
        )  # fmt: skip
        yield Plate(
            "linearised-rates", "Theory", "Rate of collapse, in closed form and measured", (rates,), figure
        )
    if wide in tables:
        rows = tables[wide][tables[wide]["layer"] > 1].assign(
            series=lambda t: "layer " + t["layer"].astype(str)
        )
        figure = series_figure(
            rows, "width", "error", "series", title="Random features approach the theory",
            subtitle="relative error of NC1 of the projected stage", labels=("width", "relative error"), log="xy",
        )  # fmt: skip
        yield Plate(
            "linearised-wide",
            "Theory",
            "Error of the theory against the width of random features",
            (wide,),
            figure,
        )


def _overlay(rows: pd.DataFrame, which: str, table: str) -> Plate:
    rows = rows.assign(
        pair="λk " + rows["lambda_k"].map("{:g}".format) + ", λΦ " + rows["lambda_phi"].map("{:g}".format)
    )
    rows = rows[rows["predicted"] > 1e-22]  # below, points are one to float64
    pairs = list(dict.fromkeys(rows["pair"]))
    parts, marks, unnamed = [], {}, []
    for index, pair in enumerate(pairs):
        own = rows[rows["pair"] == pair]
        parts += [
            own.assign(series=pair, nc1=own["predicted"]),
            own.assign(series=f"{pair} measured", nc1=own["measured"]),
        ]
        marks[pair], marks[f"{pair} measured"] = mark(index, marker=False), mark(index, line=False)
        unnamed.append(f"{pair} measured")
    figure = series_figure(
        pd.concat(parts), "layer", "nc1", "series", title=f"Linearised Deep RFM on {which}: theory and measurement",
        subtitle="NC1 of the projected stage: predicted (lines), measured with exact features (marks)",
        labels=("layer", "NC1"), marks=marks, unnamed=unnamed,
    )  # fmt: skip
    caption = f"NC1 predicted by the recursion of Gram matrices and measured on features, {which}"
    return Plate(f"linearised-{which}", "Theory", caption, (table,), figure)


def _reach(tables: Tables, data: str) -> Iterator[Plate]:
    name = "theory/reach/curves"
    if name not in tables:
        return
    labels = {"measured": "measured", "step": "from each layer's input", "rollout": "from the first input"}
    parts = [tables[name].assign(series=label, nc1=tables[name][column]) for column, label in labels.items()]
    figure = series_figure(
        pd.concat(parts), "layer", "nc1", "series", title=f"How far the linearised theory reaches on {data}",
        subtitle="NC1 of the projected stage of a Laplace/ReLU Deep RFM, measured and predicted",
        labels=("layer", "NC1"), names=list(labels.values()),
    )  # fmt: skip
    caption = "A Laplace/ReLU Deep RFM and its prediction by the linearised theory with estimated shifts"
    yield Plate("reach", "Theory", caption, (name,), figure)


def _kernel(tables: Tables, data: str) -> Iterator[Plate]:
    name = "theory/kernel/path"
    if name not in tables:
        return
    for column, words in (
        ("distance", "distance to the collapsed kernel"),
        ("gap", "gap to the lower bound"),
    ):
        seeds = tables[name]["seed"].map(
            {seed: " " * index for index, seed in enumerate(sorted(set(tables[name]["seed"])))}
        )
        rows = tables[name].assign(
            run=tables[name]["classes"] + seeds
        )  # blanks tell seeds apart and do not show
        rows = rows.assign(y=rows[column].clip(lower=1e-12), step=rows["step"] + 1)
        classes = {run: run.strip() for run in dict.fromkeys(rows["run"])}
        kinds = list(dict.fromkeys(classes.values()))
        marks = {run: mark(kinds.index(kind), marker=False) for run, kind in classes.items()}
        firsts = {next(run for run, kind in classes.items() if kind == k) for k in kinds}
        figure = series_figure(
            rows, "step", "y", "run", title=f"Learning the kernel of points of {data}",
            subtitle=f"{words}, relative; a curve per seed, from the Laplace kernel on", labels=("step", words), log="xy",
            marks=marks, unnamed=[run for run in classes if run not in firsts],
        )  # fmt: skip
        caption = f"Kernel learning: {words}, by step of projected gradient descent"
        yield Plate(f"kernel-{column}", "Theory", caption, (name,), figure)


def kernel_plate(arrays: Mapping[str, np.ndarray], data: str) -> Plate:
    """The first and the last kernel of kernel learning, first seed, with balanced and imbalanced classes side by side as layers."""
    with rc_context(style.RC | {"axes.grid": False}):
        figure = Figure(figsize=(6.4, 6.6), layout="constrained")
        figure.suptitle(
            f"Kernels of points of {data}, before and after learning",
            x=0.01,
            ha="left",
            fontsize=12,
            fontweight="bold",
        )
        grid = figure.subplots(2, 2)
        image = None
        for row, classes in enumerate(("balanced", "imbalanced")):
            for column, (when, words) in enumerate((("start", "data kernel"), ("end", "learned kernel"))):
                axes = grid[row, column]
                image = axes.imshow(
                    arrays[f"{classes}/{when}"],
                    cmap=style.gram_colours(),
                    vmin=-1,
                    vmax=1,
                    interpolation="none",
                )
                axes.set_title(f"{words}, {classes}", fontsize=10, fontweight="normal")
                axes.set_xticks([])
                axes.set_yticks([])
        assert image is not None
        figure.colorbar(image, ax=grid, shrink=0.5, aspect=18, ticks=[-1, 0, 1]).set_label("kernel value")
    return Plate(
        "kernel-matrices",
        "Theory",
        "The data kernel and the learned one, balanced and imbalanced classes",
        (),
        figure,
    )
