"""The figures of networks: stages of the trained layers and through training, the ansatz, variance, loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from agop.report import figures, style
from agop.report.plates import Plate, Tables
from agop.report.series import series_figure


def network_plates(tables: Tables, data: str) -> Iterator[Plate]:
    """Every figure that the tables of one data set allow."""
    for arch in sorted({name.split("/")[1] for name in tables if name.startswith("networks/")}):
        own = {kind: f"networks/{arch}/{kind}" for kind in ("profile", "through", "through_layers", "epochs")}
        if any(name not in tables for name in own.values()):
            continue
        figure = figures.stage_curves(
            tables[own["profile"]], "nc1", title=f"{arch.upper()} on {data}: NC1 of trained layers"
        )
        yield Plate(
            f"{arch}-nc1",
            "Networks",
            "NC1 of input, S Vᵀ and output of every head layer",
            (own["profile"],),
            figure,
        )
        yield from _through(tables, data, arch, own)


def _through(tables: Tables, data: str, arch: str, own: Mapping[str, str]) -> Iterator[Plate]:
    through, layers, epochs = (tables[own[kind]] for kind in ("through", "through_layers", "epochs"))
    last, title = int(through["layer"].max()), f"{arch.upper()} on {data}: "
    middle = (last + 1) // 2
    stage = through[through["layer"] == middle]
    figure = series_figure(
        stage, "epoch", "nc1", "stage", title=title + f"layer {middle} through training", subtitle="NC1 of the three stages",
        labels=("epoch", "NC1"), names=tuple(style.STAGES), marks=style.STAGES,
    )  # fmt: skip
    yield Plate(
        f"{arch}-through",
        "Networks",
        f"NC1 of the stages of layer {middle} through training",
        (own["through"],),
        figure,
    )
    hidden = layers[layers["layer"] < last].assign(series=lambda t: "layer " + t["layer"].astype(str))
    figure = series_figure(
        hidden, "epoch", "nfa", "series", title=title + "the ansatz through training",
        subtitle="correlation of WᵀW and AGOP$^{1/2}$, hidden layers", labels=("epoch", "NFA"), log="",
    )  # fmt: skip
    yield Plate(
        f"{arch}-nfa",
        "Networks",
        "NFA correlation of hidden layers through training",
        (own["through_layers"],),
        figure,
    )
    shares = through[(through["layer"] == last) & (through["stage"] == "input")]
    parts = [
        shares.assign(series=label, share=shares[column])
        for label, column in (
            ("within classes", "trace_within_share"),
            ("between classes", "trace_between_share"),
        )
    ]
    figure = series_figure(
        pd.concat(parts), "epoch", "share", "series", title=title + "variance of the last layer's input",
        subtitle="share of the total variance", labels=("epoch", "share"), log="",
    )  # fmt: skip
    yield Plate(
        f"{arch}-variance",
        "Networks",
        "Variance fractions of the last layer's input",
        (own["through"],),
        figure,
    )
    parts = [epochs.assign(series=kind, loss_=epochs[column]).dropna(subset="loss_")
             for kind, column in (("training", "loss"), ("held out", "test_loss")) if column in epochs]  # fmt: skip
    figure = series_figure(
        pd.concat(parts), "number", "loss_", "series", title=title + "loss", subtitle="mean squared error to ±1 targets",
        labels=("epoch", "loss"),
    )  # fmt: skip
    yield Plate(f"{arch}-loss", "Networks", "Loss through training", (own["epochs"],), figure)
