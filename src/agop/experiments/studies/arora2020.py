"""Arora, Bartlett, Mianjy, Srebro 2021: what dropout adds to the squared loss, and what that does to a network.

The identity is about one layer with dropout, the last hidden one ("last"); "all" has dropout on every hidden layer, as it is used. The
loss is a sum over outputs and a mean over points, of targets ±1; networks are trained on that over the number of outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
    """What a size means: training points (None: all), the network and its training, draws of masks, chunks of the redundancy probe."""

    points: int | None
    width: int
    epochs: int
    draws: int
    chunks: int = 5
    rows: int = 1000
    depth: int = 3
    init_gain: float = 0.5
    batch_size: int = 64
    lr: float = 0.05
    momentum: float = 0.9
    schedule: str = "constant"
    loss: str = "mse"
    optimiser: str = "sgd"
    weight_decay: float = 0.0


AMOUNTS = {
    "smoke": Amounts(points=800, width=128, epochs=40, draws=50),
    "small": Amounts(points=2000, width=256, epochs=40, draws=100),
    "paper": Amounts(points=None, width=1024, depth=2, epochs=200, draws=200, chunks=40, rows=2000),
}

DROPS = (0.0, 0.2, 0.4, 0.6)
"""Probabilities of a drop."""

_TRAINING = tuple(name for name in asdict(AMOUNTS["smoke"]) if name != "points")


def units(size: str, seed: int, data: Points) -> Iterator[Unit]:
    """Networks by probability, with dropout on the last hidden layer and on all; the identity and matrix sensing, which need no data.

    The network without dropout is trained once for both, and is in the tables of both.
    """
    amounts = asdict(AMOUNTS[size])
    source = data.first(amounts["points"])  # type: ignore[union-attr]
    options = {name: amounts[name] for name in _TRAINING}

    def unit(table: str, p: float, where: str, **more: Any) -> Unit:
        own = {"p": p, "where": where, "shuffled_labels": False, "profiled": False} | more
        return Unit("network", f"networks/{table}", seed, source, {**options, **own})

    yield unit("dropout", 0.0, "nowhere", profiled=True, draws=0)
    for p in DROPS[1:]:
        yield unit("dropout", p, "last", profiled=True)
        yield unit("dropout", p, "all", profiled=True, draws=0)
    yield unit("shuffled", 0.0, "nowhere", shuffled_labels=True, draws=0)
    yield unit("untrained", 0.0, "nowhere", epochs=0, draws=0)
    yield unit("untrained", DROPS[-1], "last", epochs=0, draws=0)
    yield Unit("identity", "theory/identity", seed, options={"units": [1, 4, 8, 12], "drops": [0.2, 0.6]})
    yield Unit("sensing", "theory/sensing", seed, options={"cases": [[2, 2], [3, 4], [7, 7]]})


Of = Callable[["pd.DataFrame"], float]


def largest(column: str) -> Any:
    """The largest value."""
    return per_seed(lambda rows: float(rows[column].max(skipna=False)))


def _by_p(rows: pd.DataFrame, column: str, where: str = "last") -> pd.Series:
    return rows[rows["where"] == where].groupby("p")[column].median().sort_index()


def ratio_of(column: str, *, signed: bool = False) -> Any:
    """The value at the largest probability over that without dropout; NaN if that is negative, unless `signed`, or zero."""

    def of_one(rows: pd.DataFrame) -> float:
        values = _by_p(rows, column)
        usable = values.iloc[0] > 0 or (signed and values.iloc[0] < 0)
        return float(values.iloc[-1] / values.iloc[0]) if usable else float("nan")

    return per_seed(of_one)


def _worst_step(rows: pd.DataFrame) -> float:
    """The largest ratio of the penalties of two neighbouring probabilities."""
    values = _by_p(rows, "penalty").to_numpy(float)
    return float((values[1:] / values[:-1]).max())


def _together(rows: pd.DataFrame) -> float:
    import numpy as np

    penalty, gap = _by_p(rows, "penalty").to_numpy(float), _by_p(rows, "gap").to_numpy(float)
    return float(np.corrcoef(np.log(penalty), gap)[0, 1])


def _from_closed(column: str) -> Of:
    return lambda rows: float((rows[column] / rows["closed"] - 1).abs().max())


def _least(rows: pd.DataFrame) -> float:
    return max(_from_closed("found")(rows), _from_closed("constructed")(rows), float(rows["identity"].max()))


def _true_over_shuffled(true: pd.DataFrame, shuffled: pd.DataFrame) -> dict[int, float]:
    one = per_seed(lambda rows: float(_by_p(rows, "penalty").iloc[0]))
    own, others = one(true), one(shuffled)
    return {seed: others[seed] / own[seed] for seed in own if seed in others}


def _last_nc1(where: str) -> Any:
    def of_one(rows: pd.DataFrame) -> float:
        hidden = rows[(rows["stage"] == "output") & (rows["layer"] < rows["layer"].max())]
        last = hidden[hidden["layer"] == hidden["layer"].max()]
        values = _by_p(last, "nc1", where)
        return float(values.iloc[-1] / values.iloc[0])

    return per_seed(of_one)


def _nfa_gain(where: str) -> Any:
    def of_one(rows: pd.DataFrame) -> float:
        values = _by_p(rows[rows["layer"] < rows["layer"].max()], "nfa", where)
        return float(values.iloc[-1] - values.iloc[0])

    return per_seed(of_one)


_WHOLE = ("networks/dropout/whole",)
_TENTH = "a tenth is more than what two trainings of one network differ by"


def _claims() -> Iterator[Claim]:
    yield Claim(
        id="P1", group="paper", number=1, name="identity, sampled",
        says="Dropout on the last hidden layer adds p/(1 − p) R to the squared loss in expectation.",
        tables=("networks/dropout/identity",),
        statistic="largest |sampled − closed form| in standard errors, trained networks, all p", measure=largest("z"), relation="<=",
        threshold=4.0, because="an identity: a sampled mean is farther away once in 16,000 times", weigh_spread=False,
        controls=("N1", "N2"),
    )  # fmt: skip
    yield Claim(
        id="P2", group="paper", number=2, name="identity, enumerated", says="The same as a sum over all masks of up to 12 units.",
        tables=("theory/identity/small",), statistic="largest relative difference", measure=largest("difference"), relation="<=",
        threshold=1e-10, because="an identity: what is left is the rounding of float64", weigh_spread=False,
    )  # fmt: skip
    yield Claim(
        id="P3", group="paper", number=3, name="sensing: trace norm",
        says="In matrix sensing the least penalty of any factors is the squared weighted trace norm over their number.",
        tables=("theory/sensing/least",),
        statistic="largest relative difference of closed form, construction, minimisation (and of the dropout loss over all masks)",
        measure=per_seed(_least), relation="<=", threshold=1e-3, because="an identity; the minimisation stops short of it",
        weigh_spread=False,
        controls=("N4",),
    )  # fmt: skip
    yield Claim(
        id="P4", group="paper", number=4, name="R falls with p", says="Training with more dropout leaves a smaller penalty R.",
        tables=_WHOLE,
        statistic="largest ratio of R at two neighbouring p", measure=per_seed(_worst_step), relation="<=", threshold=0.95,
        because="it falls at every step, and by more than R of one network differs between seeds", controls=("N3",),
    )  # fmt: skip
    yield Claim(
        id="P5", group="paper", number=5, name="gap falls with p",
        says="With more dropout the gap between test and training loss is smaller.",
        tables=_WHOLE, statistic="gap of the squared loss at the largest p over that at p = 0", measure=ratio_of("gap"), relation="<=",
        threshold=0.9, because=_TENTH, controls=("N5",),
    )  # fmt: skip
    yield Claim(
        id="P6", group="paper", number=6, name="R and gap together", says="R and the gap fall together.", tables=_WHOLE,
        statistic="correlation over p of ln R and the gap of the loss", measure=per_seed(_together), relation=">=", threshold=0.8,
        because="of four points, 0.8 leaves room for one out of order by a little",
    )  # fmt: skip
    yield Claim(
        id="B1", group="beyond", number=1, name="gap of the error",
        says="With more dropout the gap between test and training error is smaller.",
        tables=_WHOLE, statistic="gap of the error at the largest p over that at p = 0", measure=ratio_of("error_gap"), relation="<=",
        threshold=0.9, because=_TENTH, expected=None,
    )  # fmt: skip
    yield Claim(
        id="B2", group="beyond", number=2, name="not by smaller outputs", says="R falls by more than the outputs do.", tables=_WHOLE,
        statistic="R over the mean squared norm of outputs, at the largest p over that at p = 0", measure=ratio_of("relative"),
        relation="<=", threshold=0.9, because=_TENTH,
    )  # fmt: skip
    yield Claim(
        id="B3", group="beyond", number=3, name="units weigh alike",
        says="With dropout more units of the last hidden layer share the penalty.",
        tables=_WHOLE, statistic="effective units at the largest p over those at p = 0", measure=ratio_of("effective_units"),
        relation=">=",
        threshold=1.1, because=_TENTH,
    )  # fmt: skip
    yield Claim(
        id="B4", group="beyond", number=4, name="more redundancy",
        says="With dropout fewer random units determine the others within classes (doimo2021).", tables=_WHOLE,
        statistic="critical width, class means removed, test points, at the largest p over that at p = 0",
        measure=ratio_of("critical_width"), relation="<=", threshold=0.5, because="one step of the widths that are measured",
        weigh_spread=False, expected=None,
    )  # fmt: skip
    yield Claim(
        id="B9", group="beyond", number=9, name="shuffled labels need more", says="Labels at random need more R than true ones.",
        tables=(*_WHOLE, "networks/shuffled/whole"), statistic="R with shuffled training labels over R with true ones, no dropout",
        measure=_true_over_shuffled, relation=">=", threshold=1.1, because=_TENTH, expected=None,
    )  # fmt: skip
    yield from _profiles("last", 5, "on the last hidden layer")
    yield from _profiles("all", 7, "on every hidden layer")
    yield from _controls()


def _profiles(where: str, number: int, words: str) -> Iterator[Claim]:
    yield Claim(
        id=f"B{number}", group="beyond", number=number, name=f"dropout ({where}): collapse",
        says=f"Dropout {words} makes the classes collapse more there.", tables=("networks/dropout/profile",),
        statistic="NC1 behind the last hidden layer at the largest p over that at p = 0", measure=_last_nc1(where), relation="<=",
        threshold=0.9, because=_TENTH, expected=None,
    )  # fmt: skip
    yield Claim(
        id=f"B{number + 1}", group="beyond", number=number + 1, name=f"dropout ({where}): ansatz",
        says=f"Dropout {words} brings the feature matrices of hidden layers closer to AGOP^½.", tables=("networks/dropout/layers",),
        statistic="median NFA correlation of hidden layers at the largest p less that at p = 0", measure=_nfa_gain(where),
        relation=">=",
        threshold=0.05, because="less is about what two initialisations differ by", expected=None,
    )  # fmt: skip


def _controls() -> Iterator[Claim]:
    yield Claim(
        id="N1", group="control", number=1, name="p instead of the odds", says="Dropout adds p R to the loss.",
        tables=("networks/dropout/identity",), statistic="as P1, with p R", measure=largest("z_wrong"), relation="<=", threshold=4.0,
        because="the threshold of P1", weigh_spread=False, expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N2", group="control", number=2, name="dropout on all layers",
        says="The identity of the last hidden layer holds with dropout on every hidden layer.", tables=("networks/dropout/identity",),
        statistic="as P1, with masks on all hidden layers", measure=largest("z_all"), relation="<=", threshold=4.0,
        because="the threshold of P1", weigh_spread=False, expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N3", group="control", number=3, name="untrained: R falls", says="R of untrained networks falls with p.",
        tables=("networks/untrained/whole",), statistic="as P4", measure=per_seed(_worst_step), relation="<=", threshold=0.95,
        because="the threshold of P4", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N4", group="control", number=4, name="trace norm without weights",
        says="The least penalty is the trace norm that does not know how often entries are seen.", tables=("theory/sensing/least",),
        statistic="largest relative difference of the unweighted trace norm from the least penalty",
        measure=per_seed(_from_closed("unweighted")), relation="<=", threshold=1e-3, because="the threshold of P3",
        weigh_spread=False,
        expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N5", group="control", number=5, name="untrained: gap falls", says="The gap of untrained networks falls with p.",
        tables=("networks/untrained/whole",), statistic="as P5", measure=ratio_of("gap", signed=True), relation="<=", threshold=0.9,
        because="the threshold of P5", expected=FAILS,
    )  # fmt: skip


_P = "probability of a drop"
_WORDS: Mapping[str, str] = {"last": "last hidden layer", "all": "all hidden layers"}

DRAWINGS = (
    Drawing(
        stem="penalty", section="Dropout", table="networks/dropout/whole", x="p", curves=(Curve(y="penalty"),), series="where",
        names=_WORDS, labels=(_P, "R"), title="What dropout leaves of its penalty: {data}",
        subtitle="R on training points of networks trained with dropout",
        caption="The penalty R after training, by probability of a drop",
    ),
    Drawing(
        stem="gap", section="Dropout", table="networks/dropout/whole", x="p", curves=(Curve(y="gap"),), series="where", names=_WORDS,
        labels=(_P, "test loss − training loss"), log="", title="Gap between test and training loss: {data}",
        subtitle="squared loss, without masks", caption="The gap of the squared loss by probability of a drop",
    ),
    Drawing(
        stem="nc1-{where}", section="Depth profiles", table="networks/dropout/profile", split="where", where={"stage": "output"},
        curves=(Curve(y="nc1"),), series="p", names="p = {:g}", labels=("layer", "NC1"),
        title="Collapse by depth, dropout on {where}: {data}", subtitle="NC1 of each layer's output on training points",
        caption="NC1 by layer and probability of a drop, dropout on {where} hidden layer(s)",
    ),
    Drawing(
        stem="nfa-{where}", section="Depth profiles", table="networks/dropout/layers", split="where", curves=(Curve(y="nfa"),),
        series="p",
        names="p = {:g}", labels=("layer", "NFA correlation"), log="", title="The ansatz by depth, dropout on {where}: {data}",
        subtitle="correlation of WᵀW and AGOP$^{{1/2}}$",
        caption="NFA correlation by layer and probability of a drop, dropout on {where} hidden layer(s)",
    ),
)  # fmt: skip

_WORK = "agop.experiments.studies.arora2020_work"

STUDY = Study(
    name="arora2020",
    title="Explicit forms of dropout",
    cite=Citation(
        authors="Raman Arora, Peter Bartlett, Poorya Mianjy, Nathan Srebro",
        title="Dropout: explicit forms and capacity control",
        venue="ICML",
        year=2021,
        arxiv="2003.03397",
    ),
    question="What does dropout add to the loss, and does it control capacity?",
    work={name: f"{_WORK}:run_{name}" for name in ("network", "identity", "sensing")},
    units=units,
    claims=tuple(_claims()),
    drawings=DRAWINGS,
    data={"smoke": ("digits",), "small": ("mnist",), "paper": ("mnist", "fashion-mnist")},
    replaceable=True,
)
