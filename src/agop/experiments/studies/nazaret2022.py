"""Nazaret, Blei 2022: variational inference for infinitely deep neural networks.

Two arms of a spiral that wind more or less; everything else is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from agop.experiments.claims import FAILS, Claim
from agop.experiments.drawing import Curve, Drawing, Line
from agop.experiments.statistics import per_seed
from agop.experiments.study import Citation, Study
from agop.experiments.units import Points, Unit

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """What a size means: points, and the network and its training; `nu_lr` is the rate of ν."""

    points: int
    epochs: int
    batch_size: int
    lr: float
    nu_lr: float
    width: int
    every: int


AMOUNTS = {
    "smoke": Amounts(points=512, epochs=400, batch_size=512, lr=0.02, nu_lr=0.02, width=16, every=20),
    "small": Amounts(points=1024, epochs=500, batch_size=256, lr=0.01, nu_lr=0.01, width=16, every=20),
    "paper": Amounts(points=1024, epochs=1000, batch_size=256, lr=0.01, nu_lr=0.001, width=8, every=20),
}
"""The paper's rate of ν, a tenth of the others, needs thousands of steps to move; smoke and small move it as fast as the weights."""

TASKS: dict[str, tuple[float, bool]] = {
    "line": (0.0, False), "quarter": (1.0, False), "spiral": (6.0, False), "long-spiral": (12.0, False), "shuffled": (6.0, True),
}  # fmt: skip
"""ω, and whether the labels are shuffled. At ω = 0 the arms are a line, at 1 each makes a quarter turn, at 12 three turns."""

COLLAPSED = 1.0
"""NC1 below which classes are told apart: their spread is less than that of their means."""


def units(size: str, seed: int, data: Points) -> Iterator[Unit]:
    """One network a task; all points are drawn."""
    options = asdict(AMOUNTS[size])
    for name, (omega, shuffled) in TASKS.items():
        told = {**options, "omega": omega, "shuffled": shuffled}
        yield Unit("fit", f"fits/{name}", seed, options=told)


def _depth(name: str) -> str:
    return f"fits/{name}/depth"


def column(name: str) -> Any:
    """The one value of a column."""
    return per_seed(lambda rows: float(rows[name].iloc[0]))


def deeper(first: pd.DataFrame, second: pd.DataFrame) -> dict[int, float]:
    """The expected depth in the first table less that in the second."""
    left, right = column("expected")(first), column("expected")(second)
    return {seed: left[seed] - right[seed] for seed in left if seed in right}


def _first_collapsed(depth: pd.DataFrame, layers: pd.DataFrame) -> dict[int, float]:
    """|expected depth − first layer whose NC1 is below `COLLAPSED`|; not a number where there is none."""
    found = {}
    for seed, expected in column("expected")(depth).items():
        own = layers[(layers["seed"] == seed) & (layers["nc1"] < COLLAPSED)]
        found[seed] = abs(expected - float(own["layer"].min())) if len(own) else float("nan")
    return found


def _at_depth(name: str, *, against: str) -> Any:
    """A column at the layer of the expected depth: over that of the first layer, or the last layer's over it."""

    def measure(depth: pd.DataFrame, layers: pd.DataFrame) -> dict[int, float]:
        found = {}
        for seed, expected in column("expected")(depth).items():
            own = layers[layers["seed"] == seed].set_index("layer")[name]
            here = float(own.loc[min(max(round(expected), 1), int(own.index.max()))])
            found[seed] = here / float(own.iloc[0]) if against == "first" else float(own.iloc[-1]) / here
        return found

    return measure


_BOTH = ("fits/spiral/depth", "fits/spiral/layers")


def _claims() -> Iterator[Claim]:
    yield Claim(
        id="P1", group="paper", number=1, name="harder, deeper", says="A spiral needs more depth than a quarter turn, and gets it.",
        tables=(_depth("spiral"), _depth("quarter")), statistic="E_q[L] at ω = 6 less that at ω = 1", measure=deeper,
        relation=">=", threshold=1.0, because="a layer", controls=("N1", "N2"),
    )  # fmt: skip
    yield Claim(
        id="P2", group="paper", number=2, name="harder still", says="A spiral of three turns gets more than one of one and a half.",
        tables=(_depth("long-spiral"), _depth("spiral")), statistic="E_q[L] at ω = 12 less that at ω = 6", measure=deeper,
        relation=">=", threshold=0.5, because="half a layer: the independent run that preceded had 1.3",
    )  # fmt: skip
    yield Claim(
        id="P3", group="paper", number=3, name="and solves it", says="The network is right on unseen points of the spiral.",
        tables=(_depth("spiral"),), statistic="test accuracy, ω = 6", measure=column("test_accuracy"), relation=">=", threshold=0.95,
        because="the noise leaves hardly any error", controls=("N3",),
    )  # fmt: skip
    yield Claim(
        id="B1", group="beyond", number=1, name="depth is where classes collapse",
        says="The expected depth is the first layer at which the classes are told apart.", tables=_BOTH,
        statistic=f"|E_q[L] − first layer with NC1 < {COLLAPSED:g}|, ω = 6", measure=_first_collapsed, relation="<=", threshold=1.0,
        because="a layer", expected=None,
    )  # fmt: skip
    yield Claim(
        id="B2", group="beyond", number=2, name="no collapse beyond", says="Layers beyond the expected depth do not draw classes together.",
        tables=_BOTH, statistic="NC1 of the last layer over that at the expected depth, ω = 6",
        measure=_at_depth("nc1", against="last"), relation=">=", threshold=0.5, because="not to half", expected=None,
    )  # fmt: skip
    yield Claim(
        id="B3", group="beyond", number=3, name="heads align where it is used",
        says="At the expected depth the layer's own head is more aligned with the class means than in the first layer.", tables=_BOTH,
        statistic="NC3 at the expected depth over that of the first layer, ω = 6", measure=_at_depth("nc3", against="first"),
        relation="<=", threshold=0.5, because="to half", expected=None,
    )  # fmt: skip
    yield Claim(
        id="N1", group="control", number=1, name="shuffled labels: deeper", says="Labels without a pattern make the network deeper.",
        tables=(_depth("shuffled"), _depth("quarter")), statistic="as P1, shuffled labels", measure=deeper, relation=">=",
        threshold=1.0, because="the threshold of P1", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N2", group="control", number=2, name="a line: deeper", says="A task that a linear map solves gets more depth.",
        tables=(_depth("line"), _depth("quarter")), statistic="as P1, ω = 0", measure=deeper, relation=">=", threshold=1.0,
        because="the threshold of P1", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N3", group="control", number=3, name="shuffled labels: solved", says="Labels without a pattern are predicted.",
        tables=(_depth("shuffled"),), statistic="as P3, shuffled labels", measure=column("test_accuracy"), relation=">=",
        threshold=0.95, because="the threshold of P3", expected=FAILS,
    )  # fmt: skip


_WORDS = {
    "line": "ω = 0",
    "quarter": "ω = 1",
    "spiral": "ω = 6",
    "long-spiral": "ω = 12",
    "shuffled": "ω = 6, shuffled labels",
}

DRAWINGS = (
    Drawing(
        stem="depth", section="Depth through training", x="epoch", log="", labels=("epoch", "expected depth"),
        curves=tuple(Curve(y="expected", name=_WORDS[name], table=f"fits/{name}/history", marker=False) for name in TASKS),
        title="Harder spirals get deeper networks", subtitle="everything but the task is the same",
        caption="Expected depth by epoch, for spirals that wind more and more, and for shuffled labels",
    ),
    Drawing(
        stem="nc1", section="Layers", table="fits/spiral/layers", x="layer", labels=("layer", "NC1"), log="y",
        curves=(
            Curve(y="nc1", name="ω = 6"), Curve(y="nc1", name="ω = 1", table="fits/quarter/layers"),
            Curve(y="nc1", name="ω = 12", table="fits/long-spiral/layers"),
        ),
        lines=(Line(COLLAPSED, "told apart"),), title="Where classes are told apart", subtitle="training points, after training",
        caption="NC1 by layer after training",
    ),
)  # fmt: skip

_WORK = "agop.experiments.studies.nazaret2022_work"

STUDY = Study(
    name="nazaret2022",
    title="Networks of unbounded depth",
    cite=Citation(
        authors="Achille Nazaret, David Blei",
        title="Variational inference for infinitely deep neural networks",
        venue="ICML",
        year=2022,
    ),
    question="Does a network whose depth is inferred get deeper the harder the task?",
    work={"fit": f"{_WORK}:run_fit"},
    units=units,
    claims=tuple(_claims()),
    drawings=DRAWINGS,
)
