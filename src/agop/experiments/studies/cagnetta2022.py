"""Cagnetta, Favero, Wyart 2023 (arXiv of 2022): what can be learnt with wide convolutional neural networks?

Points of four patches on circles; teachers are Gaussian fields whose covariance is the tangent kernel of one, two or three layers; the
student is the tangent kernel of three, without a ridge. The paper's exponents are those of n → ∞; thresholds leave room for small n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from agop.experiments.claims import FAILS, HOLDS, Claim
from agop.experiments.drawing import Curve, Drawing
from agop.experiments.statistics import per_seed
from agop.experiments.study import Citation, Study
from agop.experiments.units import Points, Unit

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """What a size means: training points of the curves, test points, fields a teacher; and the networks in and out of the kernel regime."""

    sizes: tuple[int, ...]
    test: int
    draws: int
    points: int
    width: int
    steps: int


AMOUNTS = {
    "smoke": Amounts(sizes=(32, 64, 128, 256, 512), test=512, draws=8, points=128, width=64, steps=400),
    "small": Amounts(
        sizes=(64, 128, 256, 512, 1024, 2048), test=2048, draws=16, points=256, width=128, steps=1000
    ),
    "paper": Amounts(
        sizes=(128, 256, 512, 1024, 2048, 4096, 8192), test=8192, draws=32, points=512, width=512, steps=4000
    ),
}

PATCHES, SIZE = 4, 2
TEACHERS: dict[str, tuple[int, ...]] = {"one layer": (2,), "two layers": (2, 2), "three layers": (2, 2, 2)}
EXPONENTS = {"one layer": 1.0, "two layers": 0.5, "three layers": 0.25}
"""1 over the effective dimension (s₁ − 1) s₂ … s_l, for tangent kernels."""

STUDENTS: dict[str, tuple[int, ...]] = {"deep": (2, 2, 2), "shallow": (2,), "whole": (8,)}
"""Filters; "whole" is a dense network, which reads all patches at once."""

SCALES = {"lazy": 100.0, "rich": 0.5}
"""What the output of a network is multiplied by: at a large scale small changes of the weights suffice (Chizat, Oyallon, Bach 2019)."""


def units(size: str, seed: int, data: Points) -> Iterator[Unit]:
    """Learning curves of every student, and networks at two scales; all points are drawn."""
    amounts = asdict(AMOUNTS[size])
    curves = {name: amounts[name] for name in ("sizes", "test", "draws")} | {"patches": PATCHES, "size": SIZE}
    for name, filters in STUDENTS.items():
        yield Unit("curves", f"curves/{name}", seed, options={**curves, "filters": list(filters)})
    for name, scale in SCALES.items():
        training = {name: amounts[name] for name in ("points", "width", "steps")} | {"scale": scale}
        yield Unit(
            "network", f"networks/{name}", seed, options={**training, "patches": PATCHES, "size": SIZE}
        )


Of = Callable[["pd.DataFrame"], float]


def slopes(rows: pd.DataFrame) -> dict[str, float]:
    """Minus the slope of ln(test error) against ln(n), by teacher."""
    import numpy as np

    return {
        str(teacher): -float(
            np.polyfit(np.log(own["n"].to_numpy(float)), np.log(own["error"].to_numpy(float)), 1)[0]
        )
        for teacher, own in rows.groupby("teacher")
    }


def steeper(one: str, other: str) -> Any:
    """How much steeper the curve of the first teacher is."""
    return per_seed(lambda rows: slopes(rows)[one] - slopes(rows)[other])


def _off(rows: pd.DataFrame) -> float:
    found = slopes(rows)
    return max(abs(found[teacher] - exponent) for teacher, exponent in EXPONENTS.items())


def counted_exponent(teacher: int, student: int = 4) -> float:
    r"""The exponent of the error on a teacher of this effective dimension, with a student of that one, both tangent kernels.

    In the layer of effective dimension d a tangent kernel has eigenvalues :math:`k^{-1-d}` at wave number k, some :math:`k^d` of them.
    With n points a student learns its n largest ones, nearly all of which are of its last layer: down to :math:`n^{-(1 + d_S) / d_S}`.
    In the teacher's layer they reach to :math:`k = n^{(1 + d_S) / (d_S (1 + d_T))}`, and what lies beyond, 1/k, is the error.
    """
    return (1 + student) / (student * (1 + teacher))


def _off_counted(rows: pd.DataFrame) -> float:
    found = slopes(rows)
    return max(abs(found[name] - counted_exponent(round(1 / d))) for name, d in EXPONENTS.items())


def _at_most_points(teacher: str) -> Of:
    def of_one(rows: pd.DataFrame) -> float:
        own = rows[rows["teacher"] == teacher]
        return float(own.sort_values("n")["error"].iloc[-1])

    return of_one


def _against(one: str) -> Any:
    """The error at most points in the first table over that in the second."""

    def ratio(first: pd.DataFrame, second: pd.DataFrame) -> dict[int, float]:
        left, right = (per_seed(_at_most_points(one))(table) for table in (first, second))
        return {seed: left[seed] / right[seed] for seed in left if seed in right}

    return ratio


def _trained(column: str, *, ratio: bool = False, sign: float = 1.0) -> Any:
    """A column behind training against before: the mean over hidden layers of the difference, or the ratio at the last of them."""

    def of_one(rows: pd.DataFrame) -> float:
        wide = rows.pivot_table(index="layer", columns="state", values=column)
        if ratio:
            last = wide.iloc[-1]
            return float(last["trained"] / last["untrained"])
        return float(sign * (wide["trained"] - wide["untrained"]).mean())

    return per_seed(of_one)


_DEEP, _SHALLOW, _WHOLE = (f"curves/{name}/errors" for name in STUDENTS)


def _claims() -> Iterator[Claim]:
    for number, (one, other) in enumerate((("one layer", "two layers"), ("two layers", "three layers")), 1):
        expected = EXPONENTS[one] - EXPONENTS[other]
        yield Claim(
            id=f"P{number}", group="paper", number=number, name=f"{one}: faster",
            says=f"A deep student learns teachers of {one} faster than those of {other}.", tables=(_DEEP,),
            statistic=f"exponent of the test error, {one} less {other}", measure=steeper(one, other), relation=">=",
            threshold=expected / 2, because=f"half of what theory says, {expected:g}", controls=("N1",) if number == 1 else ("N2",),
        )  # fmt: skip
    yield Claim(
        id="P3", group="paper", number=3, name="exponents", says="The exponents are one over the effective dimension of the teacher.",
        tables=(_DEEP,), statistic="largest distance from 1, 1/2, 1/4", measure=per_seed(_off), relation="<=", threshold=0.3,
        because="exponents are those of many points; an independent run with up to 512 was .25 off",
    )  # fmt: skip
    yield Claim(
        id="P4", group="paper", number=4, name="shallow students fail", says="A student of one layer can't learn a teacher of three.",
        tables=(_SHALLOW,), statistic="test error over the variance, most points", measure=per_seed(_at_most_points("three layers")),
        relation=">=", threshold=0.5, because="half of the variance stays", controls=("N3",),
    )  # fmt: skip
    yield Claim(
        id="P5", group="paper", number=5, name="locality beats the curse",
        says="On local teachers a deep student errs less than one that reads all patches at once.", tables=(_DEEP, _WHOLE),
        statistic="error of the deep over that of the dense student, one layer, most points", measure=_against("one layer"), relation="<=",
        threshold=0.5, because="a factor of two is beyond what fields differ by",
    )  # fmt: skip
    yield Claim(
        id="B1", group="beyond", number=1, name="out of the kernel regime: ansatz",
        says="A network whose output is small at first learns the ansatz's features.", tables=("networks/rich/layers",),
        statistic="mean rise of the NFA correlation over its layers", measure=_trained("nfa"), relation=">=", threshold=0.05,
        because="less is about what two initialisations differ by", expected=None, controls=("N5",),
    )  # fmt: skip
    yield Claim(
        id="B2", group="beyond", number=2, name="out of the kernel regime: collapse", says="Such a network's classes collapse.",
        tables=("networks/rich/layers",), statistic="NC1 behind the last hidden layer, trained over untrained",
        measure=_trained("nc1", ratio=True), relation="<=", threshold=0.5, because="to half of it", expected=None, controls=("N6",),
    )  # fmt: skip
    yield Claim(
        id="B3", group="beyond", number=3, name="the kernel regime is reached", says="At a large scale weights hardly move.",
        tables=("networks/lazy/layers",), statistic="training error plus largest relative move of a layer's weights",
        measure=per_seed(lambda rows: float(rows["train_error"].iloc[0] + rows["moved"].max())), relation="<=", threshold=0.05,
        because="a twentieth: no weights that matter have changed", expected=HOLDS,
    )  # fmt: skip
    yield Claim(
        id="B4", group="beyond", number=4, name="exponents of the student's own modes",
        says="The exponents follow when the modes that a deep student learns are counted in all of its layers.", tables=(_DEEP,),
        statistic="largest distance from 5/8, 5/12, 1/4", measure=per_seed(_off_counted), relation="<=", threshold=1 / 12,
        because="half of the least difference of two of them", expected=None,
    )  # fmt: skip
    yield from _controls()


def _controls() -> Iterator[Claim]:
    for number, (one, other) in enumerate((("one layer", "two layers"), ("two layers", "three layers")), 1):
        expected = EXPONENTS[one] - EXPONENTS[other]
        yield Claim(
            id=f"N{number}", group="control", number=number, name=f"dense student: {one}",
            says=f"A student that reads all patches at once learns teachers of {one} faster, too.", tables=(_WHOLE,),
            statistic=f"as P{number}, student with one filter of all numbers", measure=steeper(one, other), relation=">=",
            threshold=expected / 2, because=f"the threshold of P{number}", expected=FAILS,
        )  # fmt: skip
    yield Claim(
        id="N3", group="control", number=3, name="shallow student, its own teacher", says="Nor can it learn a teacher of one.",
        tables=(_SHALLOW,), statistic="as P4, teacher of one layer", measure=per_seed(_at_most_points("one layer")), relation=">=",
        threshold=0.5, because="the threshold of P4", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N4", group="control", number=4, name="noise is learned", says="A deep student learns values at random.", tables=(_DEEP,),
        statistic="exponent for values without structure", measure=per_seed(lambda rows: slopes(rows)["noise"]), relation=">=",
        threshold=0.1, because="below the least exponent there is, 1/4, by more than half", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N5", group="control", number=5, name="kernel regime: ansatz", says="In the kernel regime the ansatz is learned as well.",
        tables=("networks/lazy/layers",), statistic="as B1, large scale", measure=_trained("nfa"), relation=">=", threshold=0.05,
        because="the threshold of B1", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N6", group="control", number=6, name="kernel regime: collapse", says="In the kernel regime classes collapse as well.",
        tables=("networks/lazy/layers",), statistic="as B2, large scale", measure=_trained("nc1", ratio=True), relation="<=",
        threshold=0.5, because="the threshold of B2", expected=FAILS,
    )  # fmt: skip


_N, _ERROR = "training points", "test error over the variance"

DRAWINGS = (
    Drawing(
        stem="deep", section="Learning curves", table=_DEEP, x="n", y="error", series="teacher", log="xy", labels=(_N, _ERROR),
        title="Fields of fewer layers are learned faster", subtitle="student: tangent kernel of three layers, no ridge",
        caption="Test error of a deep student by training points, for teachers of one to three layers and for noise",
    ),
    Drawing(
        stem="students", section="Learning curves", x="n", log="xy", labels=(_N, _ERROR), where={"teacher": "one layer"},
        curves=tuple(Curve(y="error", name=f"{name} student", table=f"curves/{name}/errors") for name in STUDENTS),
        title="Who learns a local field", subtitle="teacher of one layer: a mean of functions of one patch each",
        caption="Test error on a teacher of one layer of students with filters (2, 2, 2), (2) and (8)",
    ),
    Drawing(
        stem="nfa", section="In and out of the kernel regime", x="layer", log="", labels=("layer", "NFA correlation"),
        where={"state": "trained"}, table="networks/rich/layers",
        curves=(
            Curve(y="nfa", name="small output scale"), Curve(y="nfa", name="kernel regime", table="networks/lazy/layers"),
        ),
        title="In the kernel regime no features are learned", subtitle="after training",
        caption="NFA correlation by layer after training, in and out of the kernel regime",
    ),
)  # fmt: skip

_WORK = "agop.experiments.studies.cagnetta2022_work"

STUDY = Study(
    name="cagnetta2022",
    title="What wide convolutional networks can learn",
    cite=Citation(
        authors="Francesco Cagnetta, Alessandro Favero, Matthieu Wyart",
        title="What can be learnt with wide convolutional neural networks?",
        venue="ICML",
        year=2023,
        arxiv="2208.01003",
    ),
    question="Does a deep convolutional kernel learn functions of few neighbouring inputs without the curse of dimension?",
    work={name: f"{_WORK}:run_{name}" for name in ("curves", "network")},
    units=units,
    claims=tuple(_claims()),
    drawings=DRAWINGS,
)
