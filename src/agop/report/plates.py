"""The figures of a reproduction: which tables, drawn how, with which words. Each is drawn from the gathered tables alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from agop.report import figures, style
from agop.report.series import mark, series_figure

Tables = Mapping[str, pd.DataFrame]
"""Gathered tables of one data set, by name."""


@dataclass(frozen=True)
class Plate:
    """A figure of one data set: file stem, section of the page, what it shows in words, and the tables it was drawn from."""

    stem: str
    section: str
    caption: str
    tables: tuple[str, ...]
    figure: Figure


def deep_rfm_plates(tables: Tables, data: str) -> Iterator[Plate]:
    """Every figure of Deep RFMs and controls that the tables of one data set allow."""
    for draw in (_stages, _held_out, _controls, _arithmetic, _labels):
        yield from draw(tables, data)


def _train(table: pd.DataFrame, points: str = "train") -> pd.DataFrame:
    return table[table["points"] == points]


def _projected(table: pd.DataFrame, points: str = "train") -> pd.DataFrame:
    return table[(table["stage"] == "projected") & (table["points"] == points)]


def _stages(tables: Tables, data: str) -> Iterator[Plate]:
    for variant, words in (("relu", "ReLU"), ("cosine", "cosine")):
        name = f"deep-rfm/{variant}/profile"
        if name not in tables:
            continue
        for measure in ("nc1", "nc2"):
            title = f"Deep RFM with {words} features on {data}: {style.measure_name(measure)}"
            caption = f"{style.measure_name(measure)} of the three stages by layer, {words} features"
            figure = figures.stage_curves(_train(tables[name]), measure, title=title)
            yield Plate(f"{variant}-{measure}", "Deep RFM", caption, (name,), figure)
    layers = "deep-rfm/relu/layers"
    if layers in tables:
        figure = figures.accuracy_curves(
            tables[layers], title=f"Deep RFM with ReLU features on {data}: accuracy"
        )
        yield Plate(
            "relu-accuracy", "Deep RFM", "Accuracy of the kernel machine of each layer", (layers,), figure
        )


def _held_out(tables: Tables, data: str) -> Iterator[Plate]:
    name = "deep-rfm/relu/profile"
    if name not in tables or not (tables[name]["points"] == "test").any():
        return
    rows = tables[name][tables[name]["stage"] == "projected"].replace(
        {"points": {"train": "training", "test": "held out"}}
    )
    figure = series_figure(
        rows, "layer", "nc1", "points", title=f"Deep RFM on {data}: points it was not fitted to",
        subtitle="NC1 of the projected stage", labels=("layer", "NC1"), names=("training", "held out"),
    )  # fmt: skip
    yield Plate(
        "held-out",
        "Beyond the paper",
        "NC1 of the projected stage on training and on held-out points",
        (name,),
        figure,
    )


def _joined(tables: Tables, names: Mapping[str, str]) -> pd.DataFrame:
    parts = [_projected(tables[name]).assign(series=label) for name, label in names.items() if name in tables]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _controls(tables: Tables, data: str) -> Iterator[Plate]:
    names = {
        "control/agop/profile": "AGOP", "control/random/profile": "random directions",
        "control/pca/profile": "principal directions", "control/identity/profile": "no projection",
        "control/shuffled/profile": "AGOP of shuffled labels",
    }  # fmt: skip
    rows = _joined(tables, names)
    if len(rows):
        figure = series_figure(
            rows, "layer", "nc1", "series", title=f"Something else in the place of M$^{{1/2}}$ on {data}",
            subtitle="NC1 of the projected stage", labels=("layer", "NC1"),
        )  # fmt: skip
        caption = "NC1 of the projected stage with the AGOP's square root, and with four other projections"
        yield Plate("controls", "Controls", caption, tuple(n for n in names if n in tables), figure)


def _arithmetic(tables: Tables, data: str) -> Iterator[Plate]:
    names = {
        "deep-rfm/float64/profile": "float64", "deep-rfm/float32/profile": "float32, this library",
        "control/naive/profile": "float32, naive",
    }  # fmt: skip
    rows = _joined(tables, names)
    if len(rows):
        marks = {
            "float64": mark(0, marker=False),
            "float32, this library": mark(1, line=False),
            "float32, naive": mark(2),
        }
        figure = series_figure(
            rows, "layer", "nc1", "series", title=f"Arithmetic on {data}", subtitle="NC1 of the projected stage",
            labels=("layer", "NC1"), marks=marks,
        )  # fmt: skip
        caption = "NC1 of the projected stage in float64, in float32, and in float32 with expanded squared distances"
        yield Plate("arithmetic", "Beyond the paper", caption, tuple(n for n in names if n in tables), figure)


def _labels(tables: Tables, data: str) -> Iterator[Plate]:
    noise, imbalanced = "deep-rfm/noise/profile", "deep-rfm/imbalanced/profile"
    if noise in tables:
        rows = _projected(tables[noise])
        parts = [rows.assign(series="given labels"), rows.assign(series="true labels", nc1=rows["nc1_true"])]
        figure = series_figure(
            pd.concat(parts), "layer", "nc1", "series", title=f"A fifth of the training labels is wrong: {data}",
            subtitle="NC1 of the projected stage on training points", labels=("layer", "NC1"),
        )  # fmt: skip
        yield Plate(
            "noise",
            "Beyond the paper",
            "NC1 under label noise, against the given and the true labels",
            (noise,),
            figure,
        )
    for measure in ("nc1", "nc2") if imbalanced in tables else ():
        title = f"Imbalanced classes on {data}: {style.measure_name(measure)}"
        figure = figures.stage_curves(_train(tables[imbalanced]), measure, title=title)
        caption = f"{style.measure_name(measure)} of the three stages with imbalanced classes"
        yield Plate(f"imbalanced-{measure}", "Beyond the paper", caption, (imbalanced,), figure)


def gram_plates(grams: Mapping[str, Mapping[str, np.ndarray]], data: str) -> Iterator[Plate]:
    """Gram matrices of the first seed's Deep RFMs: arrays as `gram.npz` holds them, by variant."""
    for variant, arrays in grams.items():
        matrices = {
            (int(name.split("/")[0]), name.split("/")[1]): arrays[name].astype(np.float32)
            for name in arrays
            if "/" in name
        }
        names = [str(name) for name in arrays["class_names"]]
        title = f"Deep RFM with {variant} features on {data}: cosines between class-sorted points"
        figure = figures.gram_grid(matrices, arrays["labels"], names, title=title)
        caption = f"Gram matrices of centred, class-sorted points, {variant} features, first seed"
        yield Plate(f"gram-{variant}", "Deep RFM", caption, (), figure)
