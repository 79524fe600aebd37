"""Baptista et al. 2024: do networks change the geometry of points as Ricci flow would?

Points are test points; the classes of a data set are told apart in two groups. The local coefficient and the approximate curvature are
from the follow-up, Hehl et al. 2025, whose numbers the thresholds refer to; the global one is the first paper's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from agop.experiments.claims import FAILS, Claim
from agop.experiments.drawing import Curve, Drawing
from agop.experiments.statistics import per_seed
from agop.experiments.study import Citation, Study
from agop.experiments.units import Points, Unit

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """What a size means: training points (None: all), test points that are measured, neighbours, the network and its training, Deep RFM."""

    points: int | None
    rows: int
    k: int
    neighbours: tuple[int, ...]
    epochs: int
    width: int = 25
    depth: int = 10
    init_gain: float = 1.0
    batch_size: int = 32
    lr: float = 1e-3
    optimiser: str = "adam"
    loss: str = "cross-entropy"
    rfm_points: int = 300
    rfm_layers: int = 6
    rfm_width: int = 256


AMOUNTS = {
    "smoke": Amounts(points=800, rows=250, k=25, neighbours=(10, 50), epochs=12),
    "small": Amounts(points=2000, rows=500, k=50, neighbours=(15, 25, 100), epochs=20, rfm_points=1000, rfm_width=512),
    "paper": Amounts(points=None, rows=1000, k=50, neighbours=(30, 120, 300), epochs=50, rfm_points=4000, rfm_width=1024),
}  # fmt: skip

CURVATURES = ("forman", "augmented", "ollivier-approximate")
_NETWORK = ("width", "depth", "init_gain", "epochs", "batch_size", "lr", "optimiser", "loss", "rows", "k")


def units(size: str, seed: int, data: Points) -> Iterator[Unit]:
    """A network and its untrained twin, with true and with shuffled labels, and a Deep RFM."""
    amounts = asdict(AMOUNTS[size])
    shared = {name: amounts[name] for name in _NETWORK} | {
        "curvatures": list(CURVATURES),
        "neighbours": list(amounts["neighbours"]),
    }
    source = data.first(amounts["points"])  # type: ignore[union-attr]
    for table, shuffled in (("true", False), ("shuffled", True)):
        yield Unit("network", f"networks/{table}", seed, source, {**shared, "shuffled_labels": shuffled})
    options = {
        "layers": amounts["rfm_layers"], "width": amounts["rfm_width"], "kernel": "laplace", "bandwidth": 2.0, "ridge": 1e-3,
        "feature_map": "relu", "rows": amounts["rows"], "k": amounts["k"], "rules": ["agop", "identity"],
    }  # fmt: skip
    points = data.first(amounts["rfm_points"])  # type: ignore[union-attr]
    yield Unit("deep_rfm", "deep-rfm/path", seed, points, options)


def value_of(state: str, layers: str = "all", kind: str = "local", curvature: str = "augmented") -> Any:
    """The coefficient of one line of coefficients.csv, per seed."""

    def of_one(rows: pd.DataFrame) -> float:
        wanted = {"state": state, "layers": layers, "kind": kind, "curvature": curvature}
        for column, value in wanted.items():
            rows = rows[rows[column] == value]
        return float(rows["value"].iloc[0])

    return per_seed(of_one)


def _size_of(state: str) -> Any:
    """The coefficient without its sign."""
    own = value_of(state)
    return lambda table: {seed: abs(value) for seed, value in own(table).items()}


def _dropped(state: str) -> Any:
    """What leaving out input and output does to the coefficient."""
    hidden, whole = value_of(state, layers="hidden"), value_of(state)

    def difference(table: pd.DataFrame) -> dict[int, float]:
        one, other = hidden(table), whole(table)
        return {seed: one[seed] - other[seed] for seed in one}

    return difference


def _rule(name: str) -> Any:
    return per_seed(lambda rows: float(rows[rows["rule"] == name]["value"].iloc[0]))


_TRUE = ("networks/true/coefficients",)
_HALF = "half of what Hehl et al. find (−0.83), and far beyond untrained networks"


def _claims() -> Iterator[Claim]:
    yield Claim(
        id="P1", group="paper", number=1, name="trained: flows", says="A trained network moves points as Ricci flow would.",
        tables=_TRUE, statistic="mean local coefficient, input to output", measure=value_of("trained"), relation="<=", threshold=-0.4,
        because=_HALF, controls=("N1",),
    )  # fmt: skip
    yield Claim(
        id="P2", group="paper", number=2, name="trained: global",
        says="The global coefficient of a trained network is negative.", tables=_TRUE,
        statistic="global coefficient, input to output", measure=value_of("trained", kind="global"), relation="<=", threshold=-0.4,
        because="the threshold of P1; ten steps make a correlation of −0.4 by chance once in eight times", expected=None,
        controls=("N2",),
    )  # fmt: skip
    yield Claim(
        id="B1", group="beyond", number=1, name="untrained: none", says="An untrained network has no flow from input to output.",
        tables=_TRUE, statistic="size of the mean local coefficient, untrained", measure=_size_of("untrained"), relation="<=",
        threshold=0.25, because="what is left must be far from the 0.4 of P1",
    )  # fmt: skip
    yield Claim(
        id="B2", group="beyond", number=2, name="the list of layers decides",
        says="Without input and output the coefficient of an untrained network is much lower.", tables=_TRUE,
        statistic="mean local coefficient of hidden layers less that of all, untrained", measure=_dropped("untrained"), relation="<=",
        threshold=-0.15, because="more than the 0.1 or so by which seeds differ, and enough to take noise for flow",
    )  # fmt: skip
    yield Claim(
        id="B3", group="beyond", number=3, name="approximate Ollivier", says="Another curvature says the same.", tables=_TRUE,
        statistic="as P1, approximate Ollivier curvature", measure=value_of("trained", curvature="ollivier-approximate"), relation="<=",
        threshold=-0.4, because="the threshold of P1",
    )  # fmt: skip
    yield Claim(
        id="B4", group="beyond", number=4, name="plain Forman", says="The first paper's curvature says the same.", tables=_TRUE,
        statistic="as P1, Forman curvature", measure=value_of("trained", curvature="forman"), relation="<=", threshold=-0.4,
        because="the threshold of P1", expected=None,
    )  # fmt: skip
    yield Claim(
        id="B5", group="beyond", number=5, name="labels at random", says="A network that fits labels at random flows too.",
        tables=("networks/shuffled/coefficients",), statistic="as P1, shuffled training labels", measure=value_of("trained"),
        relation="<=", threshold=-0.4, because="the threshold of P1", expected=None,
    )  # fmt: skip
    yield Claim(
        id="B6", group="beyond", number=6, name="Deep RFM flows", says="The layers of a Deep RFM move points as Ricci flow would.",
        tables=("deep-rfm/path/depth",), statistic="mean local coefficient, input and every layer's features", measure=_rule("agop"),
        relation="<=", threshold=-0.4, because="the threshold of P1", expected=None, controls=("N3",),
    )  # fmt: skip
    yield Claim(
        id="N1", group="control", number=1, name="untrained: flows", says="An untrained network moves points as Ricci flow would.",
        tables=_TRUE, statistic="as P1, untrained", measure=value_of("untrained"), relation="<=", threshold=-0.4,
        because="the threshold of P1", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N2", group="control", number=2, name="untrained: global", says="The global coefficient of an untrained network is negative.",
        tables=_TRUE, statistic="as P2, untrained", measure=value_of("untrained", kind="global"), relation="<=", threshold=-0.4,
        because="the threshold of P2", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N3", group="control", number=3, name="random features flow", says="Random features without projections flow too.",
        tables=("deep-rfm/path/depth",), statistic="as B6, identity in the place of the AGOP's root", measure=_rule("identity"),
        relation="<=", threshold=-0.4, because="the threshold of B6", expected=FAILS,
    )  # fmt: skip


_NAMES = {"untrained": "untrained", "trained": "trained"}

DRAWINGS = (
    Drawing(
        stem="neighbours", section="Networks", table="networks/true/neighbours", x="k", curves=(Curve(y="value"),), series="state",
        names=_NAMES, labels=("neighbours k", "mean local coefficient"), log="x", title="Do layers flow? {data}",
        subtitle="below 0 they contract where the graph is positively curved",
        caption="The mean local Ricci coefficient before and after training, by number of neighbours",
    ),
    Drawing(
        stem="steps", section="Networks", table="networks/true/steps", x="step", curves=(Curve(y="value"),), series="state",
        names=_NAMES, labels=("step from layer to layer", "correlation over points"), log="", title="Flow by step: {data}",
        subtitle="curvature at a point against the change of hops to its neighbours",
        caption="Correlation over points of curvature and change of distances at each step, before and after training",
    ),
)  # fmt: skip

_WORK = "agop.experiments.studies.baptista2024_work"

STUDY = Study(
    name="baptista2024",
    title="Deep learning as Ricci flow",
    cite=Citation(
        authors="Anthony Baptista, Alessandro Barp, Tapabrata Chakraborti, Chris Harbron, Ben D. MacArthur, Christopher R. S. Banerji",
        title="Deep learning as Ricci flow",
        venue="Scientific Reports",
        year=2024,
        arxiv="2404.14265",
    ),
    question="Do layers contract where the neighbour graph of their points is positively curved, and expand where it is negatively curved?",
    work={name: f"{_WORK}:run_{name}" for name in ("network", "deep_rfm")},
    units=units,
    claims=tuple(_claims()),
    drawings=DRAWINGS,
    data={"smoke": ("digits",), "small": ("mnist",), "paper": ("mnist", "fashion-mnist")},
    replaceable=True,
)
