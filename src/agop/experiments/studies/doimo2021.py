"""Doimo, Glielmo, Goldt, Laio 2022: the last hidden layer of a wide network consists of near copies of a few units.

The critical width is the least width of a random chunk of units that explains 95 % of the variance of all of them. Everything is measured
on test points, as in the paper. Widths are the powers of two that the layer can be halved to, so that one step is a factor of two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from agop.experiments.claims import FAILS, Claim
from agop.experiments.drawing import Curve, Drawing, Line, Pick
from agop.experiments.statistics import per_seed
from agop.experiments.study import Citation, Study
from agop.experiments.units import Points, Unit

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """What a size means: training points (None: all), the network and its training, draws of chunks, and independent networks."""

    points: int | None
    width: int
    epochs: int
    draws: int
    layer_draws: int
    members: int
    rows: int = 2000
    depth: int = 2
    init_gain: float = 1.0
    early: int = 2
    batch_size: int = 64
    lr: float = 0.05
    momentum: float = 0.9
    schedule: str = "cosine"
    loss: str = "cross-entropy"
    optimiser: str = "sgd"


AMOUNTS = {
    "smoke": Amounts(points=800, width=256, epochs=40, draws=10, layer_draws=5, members=4),
    "small": Amounts(points=4000, width=512, epochs=40, draws=20, layer_draws=5, members=5),
    "paper": Amounts(
        points=None, width=512, epochs=200, draws=100, layer_draws=40, members=20, batch_size=128, lr=0.1,
        rows=10000,
    ),
}  # fmt: skip
"""The paper trains a wide ResNet (WRN28-8), which this package has not: "paper" is its training and its width in an MLP."""

DECAY = 5e-4
"""The paper's weight decay."""

_AMOUNTS_ONLY = ("points", "early", "members", "draws", "layer_draws", "rows", "epochs")


def units(size: str, seed: int, data: Points) -> Iterator[Unit]:
    """One network with weight decay, one without, one stopped early, one untrained."""
    p = AMOUNTS[size]
    source = data.first(p.points)  # type: ignore[union-attr]
    training = {name: value for name, value in asdict(p).items() if name not in _AMOUNTS_ONLY}
    measuring = {"rows": p.rows, "draws": p.draws, "layer_draws": p.layer_draws}

    def unit(name: str, *ways: str, epochs: int = p.epochs, decay: float = DECAY, **more: Any) -> Unit:
        own = {"members": 0, "layers": False, "ways": list(ways)} | more
        options = {**training, **measuring, "epochs": epochs, "weight_decay": decay, **own}
        return Unit("network", f"networks/{name}", seed, source, options)

    everything = ("released", "kept", "within", "held_out", "torn", "train")
    yield unit("trained", *everything, members=p.members, layers=True)
    yield unit("plain", "kept", "within", decay=0.0)
    yield unit("early", "kept", epochs=p.early)
    yield unit("untrained", "released", "kept", "within", epochs=0)


def share_of(column: str) -> Any:
    """A width as a share of the network's."""
    return per_seed(lambda rows: float((rows[column] / rows["units"]).iloc[0]))


def _at(rows: pd.DataFrame, share: float) -> pd.Series:
    return rows.iloc[int((rows["share"] - share).abs().to_numpy().argmin())]


def _fall(table: pd.DataFrame) -> dict[int, float]:
    """The residual correlation of a quarter of the units over that of a thirty-second."""

    def of_one(rows: pd.DataFrame) -> float:
        column = "residual_correlation"
        return float(_at(rows, 1 / 4)[column] / _at(rows, 1 / 32)[column])

    return per_seed(of_one)(table)


def _over_floor(table: pd.DataFrame) -> dict[int, float]:
    def of_one(rows: pd.DataFrame) -> float:
        at = _at(rows, 1 / 4)
        return float(at["residual_correlation"] / at["floor"])

    return per_seed(of_one)(table)


def _ratio(first: pd.DataFrame, second: pd.DataFrame) -> dict[int, float]:
    one, other = (share_of("critical_width_kept")(table) for table in (first, second))
    return {seed: one[seed] / other[seed] for seed in one if seed in other}


def _interpolation(trained: pd.DataFrame, early: pd.DataFrame) -> dict[int, float]:
    """The same ratio, if the one network interpolates its training points and the other does not."""
    reached, left = (table.groupby("seed")["train_error"].first() for table in (trained, early))
    return {
        seed: ratio if reached[seed] <= 0.005 < left[seed] else float("nan")
        for seed, ratio in _ratio(trained, early).items()
    }


def _exponent(table: pd.DataFrame) -> dict[int, float]:
    """How far the slope of ln(excess error) against ln(width) is from −1/2, for chunks of a sixteenth to a half of the units."""
    import numpy as np

    def of_one(rows: pd.DataFrame) -> float:
        rows = rows[rows["share"].between(1 / 16, 1 / 2)]
        excess = rows["excess"].to_numpy(float)
        if len(rows) < 3 or not (excess > 0).all():
            return float("nan")
        return float(abs(np.polyfit(np.log(rows["width"].to_numpy(float)), np.log(excess), 1)[0] + 0.5))

    return per_seed(of_one)(table)


def _deeper(table: pd.DataFrame) -> dict[int, float]:
    def of_one(rows: pd.DataFrame) -> float:
        hidden = rows[(rows["stage"] == "output") & (rows["layer"] < rows["layer"].max())].sort_values(
            "layer"
        )
        return float(hidden["critical_width"].iloc[-1] / hidden["critical_width"].iloc[0])

    return per_seed(of_one)(table)


_QUARTER = "the paper's critical width is between 64 and 128 of 512 units: a quarter is its upper end"


def _whole(name: str) -> tuple[str, ...]:
    return (f"networks/{name}/whole",)


CLAIMS = (
    Claim(
        id="P1", group="paper", number=1, name="few units tell the rest",
        says="In the last hidden layer of a wide trained network, a random quarter of the units determines all of them.",
        tables=_whole("trained"), statistic="critical width (R² ≥ 0.95) over the number of units",
        measure=share_of("critical_width_kept"),
        relation="<=", threshold=0.25, because=_QUARTER, controls=("N1",),
    ),
    Claim(
        id="P2", group="paper", number=2, name="chunk accuracy bends",
        says="A random quarter of the units, read by the classifier as it is, decides as well as all of them.",
        tables=_whole("trained"), statistic="least width with 95 % of the full accuracy, over the number of units",
        measure=share_of("accuracy_width"), relation="<=", threshold=0.25, because=_QUARTER, controls=("N2",),
    ),
    Claim(
        id="P3", group="paper", number=3, name="residuals decorrelate",
        says="What wider chunks leave over of the units is less and less correlated.",
        tables=("networks/trained/released",),
        statistic="mean |correlation| of the residuals (the authors' definition), chunks of 1/4 over chunks of 1/32 of the units",
        measure=_fall, relation="<=", threshold=1 / 3, because="the paper's falls sixfold across the critical width; half of that",
        controls=("N3",),
    ),
    Claim(
        id="P4", group="paper", number=4, name="needs weight decay",
        says="Without weight decay the units are less redundant.",
        tables=(*_whole("trained"), *_whole("plain")), statistic="critical width with weight decay over that without", measure=_ratio,
        relation="<=", threshold=0.5, because="one step of the widths that are measured", weigh_spread=False,
    ),
    Claim(
        id="P5", group="paper", number=5, name="needs interpolation",
        says="A network that does not fit its training points yet is less redundant.",
        tables=(*_whole("trained"), *_whole("early")),
        statistic="critical width at training error zero (at most 0.005) over that after a few epochs (above it)",
        measure=_interpolation,
        relation="<=", threshold=0.5, because="one step of the widths that are measured", weigh_spread=False,
    ),
    Claim(
        id="P6", group="paper", number=6, name="excess error as w^−1/2",
        says="The error of a chunk of w units exceeds that of the mean of many networks by a multiple of w^−1/2.",
        tables=("networks/trained/excess",),
        statistic="|slope + 1/2| of ln(excess of the test error) against ln(w), chunks of 1/16 to 1/2 of the units", measure=_exponent,
        relation="<=", threshold=0.25, because="half of the exponent: between −1/4 and −3/4",
    ),
    Claim(
        id="B1", group="beyond", number=1, name="clones within classes",
        says="A quarter of the units determines the others within classes too, so that it is not the class means alone that repeat.",
        tables=_whole("trained"), statistic="critical width after class means are removed, over the number of units",
        measure=share_of("critical_width_within"), relation="<=", threshold=0.25, because="the threshold of P1", controls=("N4",),
    ),
    Claim(
        id="B2", group="beyond", number=2, name="on rows that were not fitted",
        says="A half of the units determines the others within classes on points that the regression has not seen.",
        tables=_whole("trained"), statistic="critical width, class means removed, held out, over the number of units",
        measure=share_of("critical_width_held_out"), relation="<=", threshold=0.5,
        because="a regression on w units of n samples explains at least about w/n of them: twice what P1 allows", expected=None,
    ),
    Claim(
        id="B3", group="beyond", number=3, name="the rest is noise",
        says="What a quarter of the units leaves over of the others within classes is independent noise.",
        tables=("networks/trained/within",),
        statistic="mean |correlation| of the residuals of units outside a quarter, over that of independent units",
        measure=_over_floor, relation="<=", threshold=2.0,
        because="independent noise gives 1; at 2 there is no more beyond noise than noise itself", expected=None,
    ),
    Claim(
        id="B4", group="beyond", number=4, name="deeper is more redundant",
        says="The last hidden layer is more redundant within classes than the first.", tables=("networks/trained/layers",),
        statistic="critical width (class means removed) of the last hidden layer over that of the first",
        measure=_deeper, relation="<=", threshold=0.5, because="one step of the widths that are measured", weigh_spread=False,
        expected=None,
    ),
    Claim(
        id="N1", group="control", number=1, name="untrained: few units",
        says="In an untrained network a random quarter of the units determines all of them.",
        tables=_whole("untrained"), statistic="as P1", measure=share_of("critical_width_kept"), relation="<=", threshold=0.25,
        because="the threshold of P1", expected=FAILS,
    ),
    Claim(
        id="N2", group="control", number=2, name="untrained: accuracy bends",
        says="A linear classifier fitted on an untrained network decides as well with a random quarter of the units.",
        tables=_whole("untrained"), statistic="as P2", measure=share_of("accuracy_width"), relation="<=", threshold=0.25,
        because="the threshold of P2", expected=FAILS,
    ),
    Claim(
        id="N3", group="control", number=3, name="untrained: residuals",
        says="In an untrained network the residuals decorrelate as fast.",
        tables=("networks/untrained/released",), statistic="as P3", measure=_fall, relation="<=", threshold=1 / 3,
        because="the threshold of P3", expected=FAILS,
    ),
    Claim(
        id="N4", group="control", number=4, name="clones torn apart",
        says="With each unit's values in another order within every class, a quarter of the units determines the others within classes.",
        tables=_whole("trained"), statistic="as B1", measure=share_of("critical_width_torn"), relation="<=", threshold=0.25,
        because="the threshold of B1", expected=FAILS,
    ),
)  # fmt: skip

_WIDTH = "units in a chunk"


DRAWINGS = (
    Drawing(
        stem="chunk-r2", section="Chunks of the last hidden layer", x="width", labels=(_WIDTH, "R² of all units"), log="x",
        curves=(
            Curve(table="networks/trained/kept", y="r2", name="trained"),
            Curve(table="networks/trained/within", y="r2", name="trained, within classes"),
            Curve(table="networks/trained/torn", y="r2", name="units torn apart"),
            Curve(table="networks/untrained/kept", y="r2", name="untrained"),
        ),
        lines=(Line(0.95, "0.95: critical width"),),
        title="How much of the layer a chunk of its units tells: {data}",
        subtitle="share of the variance of all units",
        caption="R² from random chunks: of the trained network, without class means, with units torn apart within classes, and untrained",
    ),
    Drawing(
        stem="chunk-accuracy", section="Chunks of the last hidden layer", x="width", labels=(_WIDTH, "test accuracy"), log="x",
        curves=(
            Curve(table="networks/trained/kept", y="accuracy", name="weight decay"),
            Curve(table="networks/plain/kept", y="accuracy", name="no weight decay"),
            Curve(table="networks/early/kept", y="accuracy", name="stopped early"),
            Curve(table="networks/untrained/kept", y="accuracy", name="untrained"),
        ),
        title="What a chunk decides on its own: {data}", subtitle="the classifier reads a chunk of the units and is not fitted again",
        caption="Accuracy of random chunks on test points; the untrained network has a linear classifier fitted on its last hidden layer",
    ),
    Drawing(
        stem="chunk-correlation", section="Chunks of the last hidden layer", x="width", labels=(_WIDTH, "mean |correlation|"),
        log="xy",
        curves=(
            Curve(table="networks/trained/kept", y="residual_correlation", name="trained"),
            Curve(table="networks/trained/within", y="residual_correlation", name="trained, within classes"),
            Curve(table="networks/untrained/kept", y="residual_correlation", name="untrained"),
            Curve(table="networks/trained/within", y="floor", name="independent units", marker=False),
        ),
        title="How correlated the rest is: {data}", subtitle="residuals of units outside the chunk",
        caption="Mean absolute correlation of what a regression on the chunk leaves over of other units, and that of independent units",
    ),
    Drawing(
        stem="excess", section="Chunks of the last hidden layer", table="networks/trained/excess", x="width",
        curves=(Curve(y="excess", name="excess error"),),
        labels=(_WIDTH, "excess error"), log="xy", title="What a chunk lacks to the mean of many networks: {data}",
        subtitle="test error of chunks less that of the mean of independent networks", caption="Excess error of chunks by their width",
    ),
    Drawing(
        stem="layers", section="Other layers", table="networks/trained/layers", y="critical_width", series="stage",
        where={"layer": Pick("before last")}, labels=("layer", "critical width"), title="Critical width by layer: {data}",
        subtitle="class means removed, linear classifier",
        caption="Critical width, class means removed, of the three stages of every hidden layer, with a linear classifier",
    ),
)  # fmt: skip


def drawings(size: str) -> tuple[Drawing, ...]:
    """Curves by the width of a chunk, up to a half of the units (all of them tell everything), and the critical width by layer."""
    chunks = {"width": tuple(2**k for k in range(2, 20) if 2**k < AMOUNTS[size].width)}
    return tuple(replace(one, where=chunks) if one.x == "width" else one for one in DRAWINGS)


_WORK = "agop.experiments.studies.doimo2021_work"

STUDY = Study(
    name="doimo2021",
    title="Redundant representations",
    cite=Citation(
        authors="Diego Doimo, Aldo Glielmo, Sebastian Goldt, Alessandro Laio",
        title="Redundant representations help generalization in wide neural networks",
        venue="NeurIPS",
        year=2022,
        arxiv="2106.03485",
    ),
    question="Do the units of a wide last hidden layer split into groups of near copies?",
    work={"network": f"{_WORK}:run_network"},
    units=units,
    claims=CLAIMS,
    drawings=drawings,
    data={"smoke": ("digits",), "small": ("mnist",), "paper": ("cifar10",)},
    replaceable=True,
)
