"""Mingard, Rees, Valle-Pérez, Louis 2025 (arXiv of 2023): deep networks have an inbuilt Occam's razor.

Boolean functions of seven bits, tanh networks of ten layers. "ordered" networks have σ_w = 1, "chaotic" ones σ_w = 8; they differ in
nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    """What a size means: sampled functions, networks a target, networks whose features are measured, and the networks."""

    draws: int
    members: int
    profiled: int
    steps: int = 3000
    lr: float = 1e-3
    bits: int = 7
    train: int = 64
    width: int = 40
    depth: int = 10


AMOUNTS = {
    "smoke": Amounts(draws=2000, members=6, profiled=2),
    "small": Amounts(draws=20_000, members=24, profiled=6),
    "paper": Amounts(draws=1_000_000, members=200, profiled=20),
}

REGIMES = {"ordered": 1.0, "chaotic": 8.0}
ONES: tuple[int | None, ...] = (2, 10, 21, None)
"""Places at which the targets are true, of 128 and drawn with replacement; None: a random function. The same for every seed."""


def units(size: str, seed: int, data: Points) -> Iterator[Unit]:
    """Prior, trained networks and their features in both regimes; all targets are generated."""
    amounts = asdict(AMOUNTS[size])
    for regime, sigma_w in REGIMES.items():
        shape = {name: amounts[name] for name in ("bits", "train", "width", "depth")} | {"sigma_w": sigma_w}
        training = {name: amounts[name] for name in ("steps", "lr")}
        yield Unit(
            "prior", f"prior/{regime}", seed, options={**shape, "draws": amounts["draws"], "ones": list(ONES)}
        )
        yield Unit(
            "trained",
            f"trained/{regime}",
            seed,
            options={**shape, **training, "members": amounts["members"], "ones": list(ONES)},
        )
        yield Unit(
            "features", f"features/{regime}", seed, options={**shape, **training, "members": amounts["profiled"], "ones": ONES[1]}
        )  # fmt: skip


Tables = Callable[..., dict[int, float]]


def column(name: str) -> Any:
    """The one value of a column."""
    return per_seed(lambda rows: float(rows[name].iloc[0]))


def _at(name: str, target: str) -> Any:
    return per_seed(lambda rows: float(rows[rows["target"] == target][name].iloc[0]))


def _between(one: Any, other: Any) -> Tables:
    """The first measured in the first table less the second in the second."""

    def difference(first: pd.DataFrame, second: pd.DataFrame) -> dict[int, float]:
        left, right = one(first), other(second)
        return {seed: left[seed] - right[seed] for seed in left if seed in right}

    return difference


def _worst_step(rows: pd.DataFrame) -> float:
    """The smallest rise of the error from one target to the next more complex one."""
    return float(rows.sort_values("complexity")["error"].diff().min())


def _farthest(trained: pd.DataFrame, prior: pd.DataFrame) -> dict[int, float]:
    """The largest distance of predicted and measured errors, over the targets that are no random functions."""
    found = {}
    for seed, rows in trained.groupby("seed"):
        own = prior[prior["seed"] == seed].set_index("target")["predicted"]
        mine = rows[rows["target"] != "random"].set_index("target")["error"]
        found[int(str(seed))] = float((mine - own[mine.index]).abs().max())
    return found


def _gain(name: str, sign: float = 1.0) -> Any:
    """How much a column of hidden layers changed in training: the median over layers and networks."""

    def of_one(rows: pd.DataFrame) -> float:
        hidden = rows[rows["layer"] < rows["layer"].max()]
        wide = hidden.pivot_table(index=["member", "layer"], columns="state", values=name)
        return float(sign * (wide["trained"] - wide["untrained"]).median())

    return per_seed(of_one)


def _falls(rows: pd.DataFrame) -> float:
    """NC1 of the last hidden layer after training over that before: the median over networks."""
    hidden = rows[rows["layer"] < rows["layer"].max()]
    last = hidden[hidden["layer"] == hidden["layer"].max()]
    wide = last.pivot_table(index="member", columns="state", values="nc1")
    return float((wide["trained"] / wide["untrained"]).median())


_ERRORS = ("trained/ordered/errors", "trained/chaotic/errors")


def _claims() -> Iterator[Claim]:
    yield Claim(
        id="P1", group="paper", number=1, name="prior: simple",
        says="Ordered networks are at initialisation simpler than random functions.", tables=("prior/ordered/summary",),
        statistic="median complexity of uniformly random functions less that of the prior",
        measure=per_seed(lambda rows: float((rows["random"] - rows["median"]).iloc[0])), relation=">=", threshold=30.0,
        because="about four words; quantiles of random functions lie within ten bits of their median", controls=("N1",),
    )  # fmt: skip
    yield Claim(
        id="P2", group="paper", number=2, name="simple targets generalise",
        says="Ordered networks learn simple functions and not complex ones.", tables=_ERRORS[:1],
        statistic="error on unseen inputs for 10 ones of 128", measure=_at("error", "10 ones"), relation="<=",
        threshold=0.25, because="half of what a coin has", controls=("N2", "N3"),
    )  # fmt: skip
    yield Claim(
        id="P3", group="paper", number=3, name="error grows with complexity", says="The more complex the target, the larger the error.",
        tables=_ERRORS[:1], statistic="smallest rise of the error from target to target", measure=per_seed(_worst_step), relation=">=",
        threshold=0.0, because="an order",
    )  # fmt: skip
    yield Claim(
        id="P4", group="paper", number=4, name="chaos does not generalise", says="Chaotic networks make more errors on simple targets.",
        tables=tuple(reversed(_ERRORS)), statistic="error for 2 ones: chaotic less ordered",
        measure=_between(_at("error", "2 ones"), _at("error", "2 ones")), relation=">=", threshold=0.25,
        because="half of the way from no errors to a coin", controls=("N2",),
    )  # fmt: skip
    yield Claim(
        id="P5", group="paper", number=5, name="the prior predicts",
        says="Conditioning the prior on the training points predicts the error.", tables=(_ERRORS[0], "prior/ordered/target"),
        statistic="largest |measured − predicted error| over 2, 10, 21 ones",
        measure=_farthest, relation="<=", threshold=0.15,
        because="a third of the way from no errors to a coin; the paper's figure has no number",
    )  # fmt: skip
    yield Claim(
        id="B1", group="beyond", number=1, name="learned functions are simple",
        says="What ordered networks learn of a random function is simpler than what chaotic ones do.",
        tables=tuple(reversed(_ERRORS)), statistic="mean complexity of learned functions, random target: chaotic less ordered",
        measure=_between(_at("learned", "random"), _at("learned", "random")), relation=">=", threshold=3.5,
        because="a word in one direction", expected=None,
    )  # fmt: skip
    for number, regime in ((2, "ordered"), (4, "chaotic")):
        yield Claim(
            id=f"B{number}", group="beyond", number=number, name=f"{regime}: ansatz grows",
            says=f"Training brings the feature matrices of {regime} networks closer to AGOP^½.", tables=(f"features/{regime}/layers",),
            statistic="median rise of the NFA correlation, hidden layers, 10 ones", measure=_gain("nfa"), relation=">=", threshold=0.05,
            because="less is about what two initialisations differ by", expected=None,
        )  # fmt: skip
        yield Claim(
            id=f"B{number + 1}", group="beyond", number=number + 1, name=f"{regime}: classes collapse",
            says=f"Training makes the classes of {regime} networks collapse over all inputs, seen or not.",
            tables=(f"features/{regime}/layers",), statistic="NC1 behind the last hidden layer, trained over untrained, 10 ones",
            measure=per_seed(_falls), relation="<=", threshold=0.5, because="to half of it", expected=None,
        )  # fmt: skip
    yield from _controls()


def _controls() -> Iterator[Claim]:
    yield Claim(
        id="N1", group="control", number=1, name="chaotic prior: simple", says="Chaotic networks are simpler than random functions.",
        tables=("prior/chaotic/summary",), statistic="as P1, σ_w = 8",
        measure=per_seed(lambda rows: float((rows["random"] - rows["median"]).iloc[0])), relation=">=", threshold=30.0,
        because="the threshold of P1", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N2", group="control", number=2, name="chaotic: generalise", says="Chaotic networks learn simple functions.",
        tables=_ERRORS[1:], statistic="as P2, σ_w = 8", measure=_at("error", "10 ones"), relation="<=", threshold=0.25,
        because="the threshold of P2", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N3", group="control", number=3, name="random targets generalise", says="Ordered networks learn random functions.",
        tables=_ERRORS[:1], statistic="as P2, a random target", measure=_at("error", "random"), relation="<=", threshold=0.25,
        because="the threshold of P2", expected=FAILS,
    )  # fmt: skip


DRAWINGS = (
    Drawing(
        stem="errors", section="Training", table="trained/ordered/errors", x="complexity",
        curves=(
            Curve(y="error", name="ordered, measured"),
            Curve(y="predicted", name="ordered, from the prior", table="prior/ordered/target"),
            Curve(y="error", name="chaotic, measured", table="trained/chaotic/errors"),
        ),
        labels=("Lempel-Ziv complexity of the target (bits)", "error on unseen inputs"), log="",
        title="Simple targets are learned", subtitle="64 of 128 inputs are trained on; a coin has 0.5",
        caption="Error on unseen inputs by complexity of the target, measured and predicted from the prior",
    ),
    Drawing(
        stem="prior", section="Prior", table="prior/ordered/prior", x="complexity",
        curves=(
            Curve(y="probability", name="ordered", marker=False),
            Curve(y="probability", name="chaotic", table="prior/chaotic/prior", marker=False),
        ),
        labels=("Lempel-Ziv complexity (bits)", "share of networks below"), log="", title="What networks are before training",
        subtitle="functions of initialised networks", caption="Complexity of the functions of networks at initialisation",
    ),
)  # fmt: skip

_WORK = "agop.experiments.studies.mingard2023_work"

STUDY = Study(
    name="mingard2023",
    title="An inbuilt Occam's razor",
    cite=Citation(
        authors="Chris Mingard, Henry Rees, Guillermo Valle-Pérez, Ard A. Louis",
        title="Deep neural networks have an inbuilt Occam's razor",
        venue="Nature Communications",
        year=2025,
        arxiv="2304.06670",
    ),
    question="Do networks generalise because simple functions fill most of their prior?",
    work={name: f"{_WORK}:run_{name}" for name in ("prior", "trained", "features")},
    units=units,
    claims=tuple(_claims()),
    drawings=DRAWINGS,
)
