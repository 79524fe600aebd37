"""Boix-Adserà et al. 2025: what features are at convergence (FACT), by epoch, beside the ansatz, and as a feature machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from agop.experiments.claims import FAILS, Claim
from agop.experiments.drawing import Curve, Drawing, Line
from agop.experiments.statistics import per_seed
from agop.experiments.study import Citation, Study
from agop.experiments.units import DataSource, Points, Unit

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """What a size means: training points, a network of `depth` hidden layers, epochs of full batches, rows of the table."""

    points: int
    width: int
    depth: int
    decay: float
    epochs: int
    every: int
    rows: int


AMOUNTS = {
    "smoke": Amounts(points=400, width=64, depth=3, decay=3e-3, epochs=800, every=50, rows=400),
    "small": Amounts(points=1400, width=128, depth=3, decay=1e-3, epochs=4000, every=200, rows=1000),
    "paper": Amounts(points=50000, width=1024, depth=4, decay=1e-4, epochs=2000, every=100, rows=4000),
}

TRAININGS = {"coupled": "sgd", "decoupled": "adamw", "none": "sgd"}
"""How weights decay: as the gradient of (λ/2)‖θ‖², apart from the gradient, not at all (the residual is taken with the λ of the others)."""


def units(size: str, seed: int, data: Points) -> Iterator[Unit]:
    """A network for each kind of decay, and feature machines on a table."""
    assert isinstance(data, DataSource)
    a = asdict(AMOUNTS[size])
    shape = {name: a[name] for name in ("width", "depth", "decay", "epochs", "every")}
    for name, optimiser in TRAININGS.items():
        told = {**shape, "optimiser": optimiser, "decays": name != "none"}
        yield Unit("train", f"train/{name}", seed, data.first(a["points"]), told)
    yield Unit("machines", "machines", seed, options={"rows": a["rows"], "columns": 30})


def _ends(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The layers at the first measured epoch at which all training points are right, and at the last."""
    right = rows[rows["train_accuracy"] == 1.0]
    return right[right["epoch"] == right["epoch"].min()], rows[rows["epoch"] == rows["epoch"].max()]


def _worst_at_the_end(rows: pd.DataFrame) -> float:
    return float(_ends(rows)[1]["fact"].max())


def _fall(rows: pd.DataFrame) -> float:
    first, last = _ends(rows)
    return float(last["fact"].max() / first["fact"].max())


def _agreement(rows: pd.DataFrame) -> float:
    last = _ends(rows)[1]
    return float((last["fact_correlation"] - last["nfa"]).mean())


def _steady(rows: pd.DataFrame) -> float:
    first, last = _ends(rows)
    return float(first["nfa"].mean() / last["nfa"].mean())


def _of_machines(name: str) -> Callable[..., dict[int, float]]:
    """Test error with one update over that with the AGOP."""
    return per_seed(lambda rows: float(rows[name].iloc[0] / rows["agop"].iloc[0]))


def _claims() -> Iterator[Claim]:
    yield Claim(
        id="P1", group="paper", number=1, name="at convergence FACT holds",
        says="In a network that has been trained to convergence with weight decay, every layer's WᵀW is FACT.",
        tables=("train/coupled/path",), statistic="largest residual ‖WᵀW − FACT‖ / ‖WᵀW‖ over layers at the last epoch",
        measure=per_seed(_worst_at_the_end), relation="<=", threshold=0.3,
        because="1 is the residual of a FACT of zero; an independent run on MNIST stopped at .22 in its last layers, not yet converged",
        controls=("N1", "N2"),
    )  # fmt: skip
    yield Claim(
        id="P2", group="paper", number=2, name="the residual tells how far a layer has come",
        says="It falls long after all training points are right.", tables=("train/coupled/path",),
        statistic="largest residual at the last epoch over that at the first measured one with training accuracy 1",
        measure=per_seed(_fall), relation="<=", threshold=0.3, because="a clear fall; the independent run had a quarter to a tenth",
        controls=("N3",),
    )  # fmt: skip
    yield Claim(
        id="P3", group="paper", number=3, name="nearer than the ansatz",
        says="At convergence FACT is nearer to WᵀW than the root of the AGOP is.", tables=("train/coupled/path",),
        statistic="correlation of WᵀW with FACT less that with the AGOP's root (the NFA), mean over layers at the last epoch",
        measure=per_seed(_agreement), relation=">=", threshold=0.0, because="nearer", controls=("N4",),
    )  # fmt: skip
    yield Claim(
        id="P4", group="paper", number=4, name="a feature machine from FACT",
        says="A recursive feature machine that learns from FACT does as well as one that learns from the AGOP.",
        tables=("machines/errors",),
        statistic="test error on friedman1 with update fact-geometric over that with the AGOP", measure=_of_machines("fact-geometric"),
        relation="<=", threshold=1.05, because="an independent run had .75 to .96; 5 % are left to chance", controls=("N5",),
    )  # fmt: skip
    yield Claim(
        id="B1", group="beyond", number=1, name="the ansatz does not tell",
        says="The NFA is as high when all points have just become right as at convergence.", tables=("train/coupled/path",),
        statistic="mean NFA over layers at the first epoch with training accuracy 1 over that at the last", measure=per_seed(_steady),
        relation=">=", threshold=0.9, because="within a tenth",
    )  # fmt: skip
    yield Claim(
        id="B2", group="beyond", number=2, name="without the geometric mean", says="FACT alone does as well.", tables=("machines/errors",),
        statistic="as P4, update fact", measure=_of_machines("fact"), relation="<=", threshold=1.05, because="the threshold of P4",
        expected=None,
    )  # fmt: skip
    yield Claim(
        id="N1", group="control", number=1, name="decoupled decay", says="It holds for AdamW, whose decay belongs to no loss.",
        tables=("train/decoupled/path",), statistic="as P1, AdamW with the same λ", measure=per_seed(_worst_at_the_end), relation="<=",
        threshold=0.3, because="the threshold of P1", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N2", group="control", number=2, name="no decay", says="It holds without weight decay.", tables=("train/none/path",),
        statistic="as P1, trained without decay, FACT with the same λ", measure=per_seed(_worst_at_the_end), relation="<=", threshold=0.3,
        because="the threshold of P1", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N3", group="control", number=3, name="no decay: it falls", says="The residual falls without weight decay as well.",
        tables=("train/none/path",), statistic="as P2, trained without decay", measure=per_seed(_fall), relation="<=", threshold=0.3,
        because="the threshold of P2", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N4", group="control", number=4, name="no decay: nearer than the ansatz", says="So is it without weight decay.",
        tables=("train/none/path",), statistic="as P3, trained without decay", measure=per_seed(_agreement), relation=">=", threshold=0.0,
        because="the threshold of P3", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N5", group="control", number=5, name="no learning", says="A kernel machine that learns no features does as well.",
        tables=("machines/errors",), statistic="as P4, ridge regression with the same kernel", measure=_of_machines("none"), relation="<=",
        threshold=1.05, because="the threshold of P4", expected=FAILS,
    )  # fmt: skip


_WORDS = {"coupled": "decay in the loss", "decoupled": "AdamW", "none": "no decay"}

_PATH, _LAYERS = "train/coupled/path", "Layers through training"

DRAWINGS = (
    Drawing(
        stem="fact", y="fact", log="y", labels=("epoch", "FACT residual"), lines=(Line(1.0, "FACT of zero"),),
        title="How far each layer has come", subtitle="‖WᵀW − FACT‖ / ‖WᵀW‖; all training points are right almost from the start",
        caption="Residual of FACT by epoch and layer", x="epoch", table=_PATH, series="layer",
        names="layer {}", section=_LAYERS,
    ),
    Drawing(
        stem="nfa", y="nfa", log="", labels=("epoch", "NFA correlation"), title="The ansatz beside it",
        subtitle="correlation of WᵀW with the root of the AGOP", caption="NFA by epoch and layer", x="epoch", table=_PATH, series="layer",
        names="layer {}", section=_LAYERS,
    ),
    Drawing(
        stem="centred-nfa", y="centred_nfa", log="", labels=("epoch", "centred NFA"), title="The ansatz of what was learned",
        subtitle="W less the weight that the network started from", caption="Centred NFA by epoch and layer",
        x="epoch", table=_PATH, series="layer",
        names="layer {}", section=_LAYERS,
    ),
    Drawing(
        stem="decays", section="Kinds of decay", x="epoch", log="y", labels=("epoch", "FACT residual"), where={"layer": 1},
        curves=tuple(Curve(y="fact", name=words, table=f"train/{name}/path", marker=False) for name, words in _WORDS.items()),
        lines=(Line(1.0, "FACT of zero"),), title="Only a decay that belongs to the loss", subtitle="first layer",
        caption="Residual of FACT in the first layer by epoch, for three kinds of decay",
    ),
)  # fmt: skip

_WORK = "agop.experiments.studies.boix2025_work"

STUDY = Study(
    name="boix2025",
    title="Features at convergence",
    cite=Citation(
        authors="Enric Boix-Adserà, Neil Mallinar, James B. Simon, Mikhail Belkin",
        title="FACT: the features at convergence theorem for neural networks",
        venue="Preprint",
        year=2025,
        arxiv="2507.05644",
    ),
    question="Is what a layer keeps, WᵀW, known from the gradients of the loss once training has converged?",
    work={"train": f"{_WORK}:run_training", "machines": f"{_WORK}:run_machines"},
    units=units,
    claims=tuple(_claims()),
    drawings=DRAWINGS,
    data={"smoke": ("digits",), "small": ("digits",), "paper": ("mnist", "cifar10")},
    replaceable=True,
)
