"""Dang, Tran, Osher, Tran-The, Ho, Nguyen 2023: neural collapse of deep linear networks, for any class counts, in closed form.

The model of the theory is trained in float64 and laid beside its closed form; `dang2023_work` computes, here is what is decided and drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from agop.experiments.claims import FAILS, Claim
from agop.experiments.drawing import Curve, Drawing, Line
from agop.experiments.statistics import per_seed
from agop.experiments.study import Citation, Study
from agop.experiments.units import DataSource, Generated, Points, Unit

_WORK = "agop.experiments.studies.dang2023_work"
_MODEL = "free-features"
WIDTH = 8
"""Of the features: anything from the number of classes on gives the same minimum."""

CASES: dict[str, dict[str, Any]] = {
    "imbalanced": {"counts": [40, 20, 10, 10], "layers": [1, 2, 3], "decay": 1e-3},
    "balanced": {"counts": [20, 20, 20, 20], "layers": [1, 2, 3], "decay": 1e-3},
    "bias": {"counts": [20, 20, 20, 20], "layers": [1, 2, 3], "decay": 1e-3, "bias": True},
    "narrow": {"counts": [40, 20, 10, 5], "layers": [1, 2, 3], "decay": 1e-3, "width": 2},
    "kept": {"counts": [40, 20, 4, 4], "layers": [2], "decay": 5e-3},
    "collapsed": {"counts": [40, 20, 4, 4], "layers": [2], "decay": 2e-2},
}
"""What is trained: the numbers of the specification, and one network that is narrower than its classes are many."""

SWEPT: dict[str, Any] = {
    "counts": [40, 20, 10, 4],
    "layers": 2,
    "betas": [0.2, 0.3, 0.4, 0.45, 0.49, 0.52, 0.58, 0.64, 0.67, 0.75],
}
"""Decays at which β of the smallest class has these values; the threshold of two layers is 1/2. Only one class is smallest: of two equal
ones a local minimum may keep one mixture."""

HEADS: dict[str, dict[str, Any]] = {
    "imbalanced": {"counts": [100, 50, 25, 25], "other_counts": [50, 50, 50, 50], "layers": [1, 2, 3]},
    "balanced": {"counts": [50, 50, 50, 50], "other_counts": [100, 50, 25, 25], "layers": [1, 2, 3]},
    "kept": {"counts": [100, 50, 10, 10], "other_counts": [100, 50, 25, 25], "layers": [2], "decay": 5e-3},
    "collapsed": {
        "counts": [100, 50, 10, 10],
        "other_counts": [100, 50, 25, 25],
        "layers": [2],
        "decay": 2e-2,
    },
}
"""Networks on real points of the first four classes; β of the small classes is 0.16 in "kept" and 1.25 in "collapsed"."""

FOLD = 3 * 3**0.5 / 8
"""Above this β the scalar problem of two layers has no other minimum than zero: the largest 2x / (x² + 1)², at x = 1/√3."""

ZERO = 1e-6
"""Of the largest singular value squared: what is smaller counts as zero. Training leaves about 1e-9 where nothing should be."""


def units(size: str, seed: int, data: Points) -> Iterator[Unit]:
    """The trained models: one unit a case, and the sweep over the threshold."""
    for case, told in CASES.items():
        parameters = {"bias": False, "width": WIDTH} | told
        made = Generated(_MODEL, f"{_WORK}:trained", None, parameters)
        yield Unit("case", f"model/{case}", seed, made)
    yield Unit(
        "sweep", "model/sweep", seed, Generated(_MODEL, f"{_WORK}:swept", None, {"width": WIDTH, **SWEPT})
    )

    if isinstance(data, DataSource):
        for case, told in HEADS.items():
            yield Unit(
                "heads", f"head/{case}", seed, data, {"width": 32, "steps": 1500, "decay": 1e-3, **told}
            )


def _worst(column: str, layers: int = 3) -> Callable[..., dict[int, float]]:
    """The largest of a column over the numbers of layers; undefined unless all of these were trained."""

    def of_one(rows: Any) -> float:
        return float(rows[column].max()) if rows["layers"].nunique() == layers else float("nan")

    return per_seed(of_one)


def _least(column: str) -> Callable[..., dict[int, float]]:
    return per_seed(lambda rows: float(rows[column].min()))


def _wrong(*tables: Any) -> dict[int, float]:
    """Classes that are zero where they should not be, or the other way round, in both tables."""
    found = [
        per_seed(lambda rows: float(((rows["measured"] <= ZERO * rows["measured"].max()) != (rows["predicted"] == 0)).sum()))(t)
        for t in tables
    ]  # fmt: skip
    return {seed: sum(part.get(seed, float("nan")) for part in found) for seed in found[0]}


def _collapsed_as(column: str, low: float = 0.0, high: float = float("inf"), outside: bool = False) -> Any:
    """The share of decays with β between (or outside of) two numbers at which the smallest class is zero just where `column` says."""

    def of_one(rows: Any) -> float:
        inside = (rows["beta"] > low) & (rows["beta"] < high)
        chosen = rows[~inside if outside else inside]
        agree = (chosen["measured"] <= ZERO * chosen["largest"]) == (chosen[column] <= 0)
        return float(agree.mean())

    return per_seed(of_one)


_SIX = "float64 and a gradient of 1e-9 leave six digits or more; five are asked for"
_CLOSED = ("N1", "N2", "N3", "N4")

CLAIMS = (
    Claim(
        id="C1", group="paper", number=1, name="WWᵀ is the closed form's",
        says="With unequal counts the trained WWᵀ is that of the closed form, for one, two and three layers.",
        tables=("model/imbalanced/errors",), statistic="largest relative Frobenius error of WWᵀ over the numbers of layers",
        measure=_worst("weight_gram"), relation="<=", threshold=1e-5, because=_SIX, controls=_CLOSED,
    ),
    Claim(
        id="C2", group="paper", number=2, name="so are the class means",
        says="So are the Gram matrix of the class means of the features, and their product with W.",
        tables=("model/imbalanced/errors",), statistic="largest relative Frobenius error of H̄H̄ᵀ and WH̄ᵀ over the numbers of layers",
        measure=_worst("means"), relation="<=", threshold=1e-5, because=_SIX, controls=_CLOSED,
    ),
    Claim(
        id="C3", group="paper", number=3, name="features of a class are equal",
        says="All features of a class are equal (NC1), although each was free.",
        tables=("model/imbalanced/errors",), statistic="largest tr Σ_W / tr Σ_B of the features over the numbers of layers",
        measure=_worst("nc1"), relation="<=", threshold=1e-10, because="a square: its root is the 1e-5 of C1",
        controls=("N4",),
    ),
    Claim(
        id="C4", group="paper", number=4, name="right angles, unequal lengths",
        says="Class means stay at right angles and differ in length just as predicted (general orthogonal frame).",
        tables=("model/imbalanced/errors",),
        statistic="larger of the largest |cosine| of two class means and the largest relative error of their lengths",
        measure=_worst("frame"), relation="<=", threshold=1e-4,
        because="a cosine goes with the square root of what the loss sees; a hundred-thousandth of a right angle would be unmeasurable",
        controls=("N1", "N4"),
    ),
    Claim(
        id="C5", group="paper", number=5, name="equal counts: orthogonal frame",
        says="With equal counts and no bias the class means are an orthogonal frame of equal lengths.",
        tables=("model/balanced/errors",), statistic="largest distance of H̄H̄ᵀ from the identity, both of norm 1",
        measure=_worst("to_orthogonal"), relation="<=", threshold=1e-5, because=_SIX, controls=("N5",),
    ),
    Claim(
        id="C6", group="paper", number=6, name="with a bias: simplex ETF",
        says="With equal counts and a bias they are a simplex equiangular tight frame.",
        tables=("model/bias/errors",), statistic="largest distance of H̄H̄ᵀ from I − 11ᵀ/C, both of norm 1",
        measure=_worst("to_etf"), relation="<=", threshold=1e-5, because=_SIX, controls=("N1",),
    ),
    Claim(
        id="C7", group="paper", number=7, name="every layer is the theory's",
        says="The profile of the trained network and that of the theory agree at every layer: singular values, NC2, NC3.",
        tables=("model/imbalanced/beside",), statistic="largest difference over 1 + |predicted| of all numbers with a common key",
        measure=_worst("error"), relation="<=", threshold=1e-4,
        because="NC2 is of cosines and NC3 of unit matrices, whose digits are those of C4",
    ),
    Claim(
        id="C8", group="paper", number=8, name="minorities collapse, or not",
        says="Of counts 40, 20, 4, 4 all classes stay at decay 5e-3, and at 2e-2 the two small ones vanish.",
        tables=("model/kept/classes", "model/collapsed/classes"),
        statistic="classes of both networks that are zero, or not, against the theory",
        measure=_wrong, relation="<=", threshold=0, because="a count of exceptions, and a theorem has none", controls=("N6",),
    ),
    Claim(
        id="C9", group="paper", number=9, name="and at the threshold",
        says="Below β = 1/2 the smallest class stays, and where zero is its only minimum (β > 0.6495) it vanishes.",
        tables=("model/sweep/sweep",), statistic="share of these decays at which it is zero just where the theory says",
        measure=_collapsed_as("predicted", 0.5, FOLD, outside=True), relation=">=", threshold=1,
        because="a theorem has no exception; between the two there are two minima, and a local method may end in either (B2)",
        controls=("N6",),
    ),
    Claim(
        id="B1", group="beyond", number=1, name="no training is better",
        says="No trained network has a lower loss than the closed form: the minimum is global.",
        tables=("model/sweep/sweep",), statistic="smallest of (trained loss − closed form) / closed form over all decays",
        measure=_least("excess"), relation=">=", threshold=-1e-9, because="an inequality: only rounding may be below zero",
        weigh_spread=False,
    ),
    Claim(
        id="B2", group="beyond", number=2, name="between: the global minimum?",
        says="Between β = 1/2 and 0.6495 too, training from an ordinary start ends where the global minimum is: the class vanishes.",
        tables=("model/sweep/sweep",), statistic="share of these decays at which it is zero",
        measure=_collapsed_as("predicted", 0.5, FOLD), relation=">=", threshold=1, because="that of C9", expected=None,
    ),
    Claim(
        id="B3", group="beyond", number=3, name="between: the largest root?",
        says="There training ends in the largest root of the stationarity condition, which is what the authors' script takes.",
        tables=("model/sweep/sweep",), statistic="largest relative error of σ² of the smallest class against that root, where there is one",
        measure=per_seed(lambda rows: float((rows["measured"] / rows["root"] - 1)[rows["root"] > 0].abs().max())),
        relation="<=", threshold=1e-5, because=_SIX, expected=None,
    ),
    Claim(
        id="B4", group="beyond", number=4, name="too narrow: largest stay",
        says="A network of width 2 keeps the two largest of four classes, as the closed form has them.",
        tables=("model/narrow/errors",), statistic="largest relative Frobenius error of WWᵀ over the numbers of layers",
        measure=_worst("weight_gram"), relation="<=", threshold=1e-5, because=_SIX, controls=("N2",), expected=None,
    ),
    Claim(
        id="N1", group="control", number=1, name="simplex ETF, unequal counts",
        says="The class means of unequal counts are a simplex ETF.", tables=("model/imbalanced/errors",),
        statistic="least distance of H̄H̄ᵀ from I − 11ᵀ/C, both of norm 1", measure=_least("to_etf"),
        relation="<=", threshold=1e-5, because="the threshold of C6", expected=FAILS,
    ),
    Claim(
        id="N2", group="control", number=2, name="theory of other counts",
        says="The closed form of the counts in another order fits as well.", tables=("model/imbalanced/errors",),
        statistic="least relative Frobenius error of WWᵀ", measure=_least("other_counts"),
        relation="<=", threshold=1e-5, because="the threshold of C1", expected=FAILS,
    ),
    Claim(
        id="N3", group="control", number=3, name="theory of another depth",
        says="The closed form of one layer more fits as well.", tables=("model/imbalanced/errors",),
        statistic="least relative Frobenius error of WWᵀ", measure=_least("other_depth"),
        relation="<=", threshold=1e-5, because="the threshold of C1", expected=FAILS,
    ),
    Claim(
        id="N4", group="control", number=4, name="untrained",
        says="The untrained model has the geometry already.", tables=("model/imbalanced/errors",),
        statistic="least distance of WWᵀ from the closed form, both of norm 1", measure=_least("untrained"),
        relation="<=", threshold=1e-5, because="the threshold of C1", expected=FAILS,
    ),
    Claim(
        id="N5", group="control", number=5, name="orthogonal, equal lengths",
        says="The class means of unequal counts are an orthogonal frame of equal lengths.", tables=("model/imbalanced/errors",),
        statistic="least distance of H̄H̄ᵀ from the identity, both of norm 1", measure=_least("to_orthogonal"),
        relation="<=", threshold=1e-5, because="the threshold of C5", expected=FAILS,
    ),
    Claim(
        id="N6", group="control", number=6, name="nothing ever collapses",
        says="The smallest class never vanishes.", tables=("model/sweep/sweep",),
        statistic="share of decays at which it is not zero",
        measure=per_seed(lambda rows: float((rows["measured"] > ZERO * rows["largest"]).mean())),
        relation=">=", threshold=1, because="the threshold of C9", expected=FAILS,
    ),
)  # fmt: skip


def _ratio(of: str, to: str) -> Callable[..., dict[int, float]]:
    """The largest ratio of two distances over the numbers of layers."""
    return per_seed(lambda rows: float((rows[of] / rows[to]).max()) if len(rows) == 3 else float("nan"))


def _faint(*tables: Any) -> dict[int, float]:
    """Classes below a hundredth of the largest WWᵀ that should not be, or the other way round."""

    def of_one(rows: Any) -> float:
        return float(((rows["measured"] <= 0.01 * rows["measured"].max()) != (rows["predicted"] == 0)).sum())

    found = [per_seed(of_one)(table) for table in tables]
    return {seed: sum(part.get(seed, float("nan")) for part in found) for seed in found[0]}


_HALF = "1 is a tie; half the distance can't be read as one"

REAL = (
    Claim(
        id="C10", group="paper", number=10, name="real points: WWᵀ is the GOF",
        says="On unequal counts of real points WWᵀ of a network's linear end is nearer to the predicted frame than to a simplex ETF.",
        tables=("head/imbalanced/heads",),
        statistic="largest over M = 1, 2, 3 of the distance from the predicted frame over that from an ETF",
        measure=_ratio("nc2_gof", "nc2_etf"), relation="<=", threshold=0.5, because=_HALF, controls=("N7", "N8"),
    ),
    Claim(
        id="C11", group="paper", number=11, name="real points: WH̄ᵀ too",
        says="So is the product of W and the class means of the features.",
        tables=("head/imbalanced/heads",),
        statistic="largest over M = 1, 2, 3 of the distance from the predicted frame over that from an ETF",
        measure=_ratio("nc3_gof", "nc3_etf"), relation="<=", threshold=0.5, because=_HALF, controls=("N8",),
    ),
    Claim(
        id="C12", group="paper", number=12, name="real points: minorities vanish",
        says="Small classes of real points vanish where β is above the threshold, and stay where it is below.",
        tables=("head/kept/classes", "head/collapsed/classes"),
        statistic="classes of both networks below a hundredth of the largest WWᵀ, or not, against the theory", measure=_faint,
        relation="<=", threshold=0, because="Adam in float32 leaves no exact zero; predicted values are zero or above a tenth",
    ),
    Claim(
        id="B5", group="beyond", number=5, name="real points: equal counts",
        says="On equal counts WWᵀ is nearer to an orthogonal frame than to a simplex ETF.", tables=("head/balanced/heads",),
        statistic="largest over M = 1, 2, 3 of the distance from the orthogonal frame over that from the ETF",
        measure=_ratio("nc2_orthogonal", "nc2_etf"), relation="<=", threshold=0.5, because=_HALF, controls=("N7",),
    ),
    Claim(
        id="N7", group="control", number=7, name="real points: other counts",
        says="On equal counts WWᵀ is nearer to the frame of unequal ones than to its own.", tables=("head/balanced/heads",),
        statistic="largest over M = 1, 2, 3 of the distance from the frame of counts 100, 50, 25, 25 over that from its own",
        measure=_ratio("nc2_other", "nc2_gof"), relation="<=", threshold=0.5, because=_HALF, expected=FAILS,
    ),
    Claim(
        id="N8", group="control", number=8, name="real points: untrained",
        says="Untrained, WWᵀ is nearer to the predicted frame as well.", tables=("head/imbalanced/heads",),
        statistic="largest over M = 1, 2, 3 of the distance from the predicted frame over that from an ETF",
        measure=_ratio("untrained_nc2_gof", "untrained_nc2_etf"), relation="<=", threshold=0.5, because=_HALF, expected=FAILS,
    ),
)  # fmt: skip


def claims(size: str) -> tuple[Claim, ...]:
    """Real points are of the sizes that have them."""
    return CLAIMS if size == "smoke" else CLAIMS + REAL


DRAWINGS = (
    Drawing(
        stem="singular-values", section="The closed form", table="model/imbalanced/classes", x="predicted_s", log="",
        curves=(Curve(y="predicted_s", name="equal", marker=False), Curve(y="measured_s", name="trained", line=False)),
        title="Predicted and trained singular values", subtitle="of every layer of one, two, three; counts 40, 20, 10, 10",
        labels=("predicted", "trained"), caption="Singular values of all layers, predicted and trained",
    ),
    Drawing(
        stem="by-class", section="The closed form", table="model/imbalanced/classes", x="samples", log="x", where={"layer": 1},
        curves=(Curve(y="predicted", marker=False), Curve(y="measured", name="trained", line=False, named=False)),
        series="layers", names="M = {}", title="What W does to a class, by its samples",
        subtitle="diagonal of WWᵀ with M layers: closed form (lines), trained (marks)", labels=("samples of the class", "WWᵀ"),
        caption="The diagonal of WWᵀ by class, predicted and trained",
    ),
    Drawing(
        stem="threshold", section="Minority collapse", table="model/sweep/sweep", x="beta", log="",
        curves=(
            Curve(y="predicted", name="global minimum"), Curve(y="root", name="largest root", marker=False, gaps=True),
            Curve(y="measured", name="trained", line=False),
        ),
        lines=(Line(0.5, "threshold", "x"), Line(FOLD, "zero alone", "x")),
        title="Minority collapse of two layers", subtitle="WWᵀ of a class of 4 among 74 samples; the threshold is β = 0.5",
        labels=("β, decay against signal", "WWᵀ"), caption="The smallest class against the decay: global minimum, largest root, trained",
    ),
    Drawing(
        stem="real-points", section="Real points", table="head/imbalanced/classes", x="samples", log="x",
        curves=(Curve(y="predicted", marker=False), Curve(y="measured", name="trained", line=False, named=False)),
        series="layers", names="M = {}", title="The linear end of a network on {data}",
        subtitle="diagonal of WWᵀ by samples of the class: closed form (lines), trained (marks)",
        labels=("samples of the class", "WWᵀ"), caption="The diagonal of WWᵀ of a network on real points, predicted and trained",
    ),
)  # fmt: skip

STUDY = Study(
    name="dang2023",
    title="Neural collapse in deep linear networks",
    cite=Citation(
        authors="Hien Dang, Tho Tran, Stanley Osher, Hung Tran-The, Nhat Ho, Tan Nguyen",
        title="Neural collapse in deep linear networks: from balanced to imbalanced data",
        venue="ICML",
        year=2023,
        arxiv="2301.00437",
    ),
    question="Do linear layers over free features end where a closed form says, whatever the class counts?",
    work={
        "case": f"{_WORK}:run_case",
        "sweep": f"{_WORK}:run_sweep",
        "heads": "agop.experiments.studies.dang2023_heads:run_heads",
    },
    units=units,
    claims=claims,
    drawings=DRAWINGS,
    data={"small": ("digits",)},
    replaceable=True,
    sizes=("smoke", "small"),
)
