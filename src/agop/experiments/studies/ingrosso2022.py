"""Ingrosso and Goldt 2022: convolutional structure emerges from data with edges, not from their covariance.

Points are drawn for each step (`agop.datasets.nlgp`), with the covariance of two lengths as the two classes; their Gaussian twins have
the same covariances, and nothing else in common. Both networks of a unit start from the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    """What a size means: pixels, units, steps of the network; points of the RFM."""

    steps: int
    side: int = 64
    units: int = 8
    batch_size: int = 128
    lr: float = 0.05
    gain: float = 3.0
    length: float = 0.1
    other_length: float = 0.05
    train: int = 1000
    test: int = 1000


AMOUNTS = {
    "smoke": Amounts(steps=4000),
    "small": Amounts(steps=20_000, units=16, train=3000),
    "paper": Amounts(steps=400_000, side=400, units=100, train=10_000),
}

_DATA = ("side", "gain", "length", "other_length")
_ONLINE = (*_DATA, "steps", "units", "batch_size", "lr")
RFM = {"iterations": 3, "bandwidth": 10.0, "ridge": 1e-3, "vectors": 4}


def units(size: str, seed: int, data: Points) -> Iterator[Unit]:
    """Networks that see every point once, and RFMs; all points are generated."""
    amounts = asdict(AMOUNTS[size])
    yield Unit("online", "networks/online", seed, options={name: amounts[name] for name in _ONLINE})
    options = {name: amounts[name] for name in (*_DATA, "train", "test")} | RFM
    yield Unit("rfm", "rfm/points", seed, options=options)


def _of(points: str, column: str) -> Callable[[pd.DataFrame], float]:
    return lambda rows: float(rows[rows["points"] == points][column].iloc[0])


def rise(points: str) -> Any:
    """The IPR of the larger half of the units after training over that of the larger half before."""
    after, before = _of(points, "top_half"), _of(points, "top_half_before")
    return per_seed(lambda rows: after(rows) / before(rows))


def _beside_gaussian(points: str) -> Any:
    """The IPR of eigenvectors over that of Gaussian vectors."""
    value, gaussian = _of(points, "ipr"), _of(points, "gaussian")
    return per_seed(lambda rows: value(rows) / gaussian(rows))


def _ratio(column: str) -> Any:
    one, other = _of("nonlinear", column), _of("gaussian", column)
    return per_seed(lambda rows: one(rows) / other(rows))


_WHOLE = ("networks/online/whole",)


def _claims() -> Iterator[Claim]:
    yield Claim(
        id="P1", group="paper", number=1, name="units become local", says="On points with edges, half of the units become local.",
        tables=_WHOLE, statistic="IPR of the larger half of the units over that before training", measure=rise("nonlinear"),
        relation=">=", threshold=1.3, because="the larger half of random units spreads by a tenth from draw to draw", controls=("N1",),
    )  # fmt: skip
    yield Claim(
        id="P2", group="paper", number=2, name="more than on twins",
        says="They become more local than on Gaussian points of the same covariance.", tables=_WHOLE,
        statistic="mean IPR on points with edges over that on twins", measure=_ratio("ipr_after"), relation=">=", threshold=1.3,
        because="the threshold of P1",
    )  # fmt: skip
    yield Claim(
        id="B1", group="beyond", number=1, name="and more accurate", says="Networks are more accurate on points with edges than on twins.",
        tables=_WHOLE, statistic="accuracy on points with edges over that on twins", measure=_ratio("accuracy"), relation=">=",
        threshold=1.02, because="two in a hundred; fresh test points settle it to half of that", expected=None,
    )  # fmt: skip
    yield Claim(
        id="B2", group="beyond", number=2, name="AGOP of an RFM: local", says="The top eigenvectors of an RFM's AGOP are local, too.",
        tables=("rfm/points/agop",), statistic="mean IPR of four eigenvectors over that of Gaussian vectors, points with edges",
        measure=_beside_gaussian("nonlinear"), relation=">=", threshold=1.3, because="the threshold of P1", expected=None,
        controls=("N2",),
    )  # fmt: skip
    yield Claim(
        id="N2", group="control", number=2, name="AGOP on twins: local", says="They are local on Gaussian points.",
        tables=("rfm/points/agop",), statistic="as B2, Gaussian twins", measure=_beside_gaussian("gaussian"), relation=">=",
        threshold=1.3, because="the threshold of B2", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="B3", group="beyond", number=3, name="AGOP of an RFM: a band",
        says="The AGOP of an RFM on points with edges is more of a band than on twins.", tables=("rfm/points/agop",),
        statistic="off-diagonal energy within two pixels, points with edges over twins", measure=_ratio("band"), relation=">=",
        threshold=1.3, because="the threshold of P1", expected=None,
    )  # fmt: skip
    yield Claim(
        id="N1", group="control", number=1, name="units on twins: local", says="On Gaussian twins units become local.", tables=_WHOLE,
        statistic="as P1, Gaussian twins", measure=rise("gaussian"), relation=">=", threshold=1.3, because="the threshold of P1",
        expected=FAILS,
    )  # fmt: skip


_NAMES = {"nonlinear": "with edges", "gaussian": "Gaussian twins"}

DRAWINGS = (
    Drawing(
        stem="ipr", section="Networks", table="networks/online/curve", x="step", curves=(Curve(y="ipr"),), series="points",
        names=_NAMES, labels=("step (every point once)", "mean IPR of the units"), log="", title="Units become local where there are edges",
        subtitle="the same covariance, with and without higher moments",
        caption="Mean inverse participation ratio of the hidden units through training",
        lines=(Line("gaussian", "Gaussian weights"),),
    ),
    Drawing(
        kind="matrix", stem="fields", section="Networks", table="networks/online", file="fields.npz",
        arrays=(tuple((kind, name) for kind, name in _NAMES.items()),),
        title="Receptive fields after training", labels=("", "weight / largest of its unit"),
        caption="Weights of the hidden units (rows) over the pixels of the ring (columns), first seed",
    ),
    Drawing(
        kind="matrix", stem="agops", section="RFM", table="rfm/points", file="agops.npz",
        arrays=(tuple((kind, name) for kind, name in _NAMES.items()),), title="AGOP of an RFM", labels=("", "entry / largest entry"),
        caption="AGOPs of an RFM over the pixels of the ring, first seed",
    ),
)  # fmt: skip

_WORK = "agop.experiments.studies.ingrosso2022_work"

STUDY = Study(
    name="ingrosso2022",
    title="Convolutional structure from data",
    cite=Citation(
        authors="Alessandro Ingrosso, Sebastian Goldt",
        title="Data-driven emergence of convolutional structure in neural networks",
        venue="PNAS",
        year=2022,
        arxiv="2202.00565",
    ),
    question="Do fully connected networks learn local filters from translation-invariant data, and from which of their moments?",
    work={name: f"{_WORK}:run_{name}" for name in ("online", "rfm")},
    units=units,
    claims=tuple(_claims()),
    drawings=DRAWINGS,
)
