"""Emschwiller, Gamarnik, Kızıldağ, Zadik 2020: networks that interpolate generalise because polynomials of low degree come near them.

emschwiller2020_work.py       polynomials, RFM and network on images: accuracy, AGOPs, the interpolation peak
emschwiller2020_students.py   students of every width that interpolate a teacher's labels
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite, log2, nan
from typing import Any

from agop.experiments.claims import FAILS, Claim
from agop.experiments.drawing import Drawing, Line
from agop.experiments.statistics import Statistic, per_seed
from agop.experiments.study import Citation, Study
from agop.experiments.units import DataSource, Generated, Points, Unit

INTERPOLATES = 1e-3
"""A student whose training error is at most this share of the labels' variance counts as interpolating."""

TEACHER = "tanh-teacher"


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """What a size means: training points of images, principal components where images are large, those of the interpolation peak;
    width and epochs of the network, iterations of RFM; points and widths of students, steps of L-BFGS, test points.
    """

    points: int | None
    components: int = 50
    peak_components: int
    width: int
    epochs: int
    rfm_iterations: int
    lesson: tuple[int, ...]
    widths: tuple[int, ...]
    max_steps: int
    test: int


AMOUNTS = {
    "smoke": Amounts(
        points=1200, peak_components=15, width=128, epochs=30, rfm_iterations=2, lesson=(50, 100, 200, 400),
        widths=(10, 30, 100, 300), max_steps=600, test=2000,
    ),
    "small": Amounts(
        points=4000, peak_components=30, width=256, epochs=60, rfm_iterations=3, lesson=(50, 100, 200, 400, 800),
        widths=(10, 30, 100, 300, 1000), max_steps=1500, test=4000,
    ),
    "paper": Amounts(
        points=None, peak_components=50, width=512, epochs=100, rfm_iterations=5, lesson=(50, 100, 200, 400, 800, 1600, 3200, 6400),
        widths=(10, 30, 100, 300, 1000, 3000), max_steps=10000, test=10000,
    ),
}  # fmt: skip

RIDGES = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)
PEAK_RIDGE, SAFE_RIDGE = 1e-8, 1.0


def units(size: str, seed: int, data: Points) -> Iterator[Unit]:
    """Images: machines and the peak. A generated teacher: students of two activations, and what is beside them."""
    p = AMOUNTS[size]
    if isinstance(data, DataSource):
        points = data.first(p.points)
        names = ("components", "width", "epochs", "rfm_iterations")
        yield Unit("images", "images", seed, points, {name: getattr(p, name) for name in names}, "images")
        options = {
            "components": p.components, "peak_components": p.peak_components, "ridges": list(RIDGES),
            "peak_ridge": PEAK_RIDGE, "safe_ridge": SAFE_RIDGE,
        }  # fmt: skip
        yield Unit("peak", "peak", seed, points, options, "images")
    for activation in ("tanh", "relu"):
        options = {
            "activation": activation, "points": list(p.lesson), "widths": list(p.widths), "permuted_width": 100,
            "max_steps": p.max_steps,
        }  # fmt: skip
        yield Unit("students", f"students/{activation}", seed, _teacher(p), options, "students")
    beside = {"points": list(p.lesson), "factors": [1.0, 1.5, 3.0]}
    yield Unit("beside", "students/beside", seed, _teacher(p), beside, "students")


def _teacher(p: Amounts) -> Generated:
    parameters = {"d": 10, "units": 5, "gain": 1.0, "test": p.test}
    return Generated(TEACHER, f"{_HERE}_students:lesson", max(p.lesson), parameters)


def _one(rows: Any, column: str, **where: Any) -> float:
    """The value in the one row in which columns have these values; NaN if there is none."""
    for name, value in where.items():
        rows = rows[rows[name] == value]
    return float(rows[column].iloc[0]) if len(rows) else nan


def _lead(first: str, second: str) -> Statistic:
    """Test accuracy of a method minus that of another."""
    return per_seed(lambda t: _one(t, "test", method=first) - _one(t, "test", method=second))


def _errors(first: str, second: str) -> Statistic:
    """Test errors of a method over those of another."""
    return per_seed(lambda t: (1 - _one(t, "test", method=first)) / (1 - _one(t, "test", method=second)))


def _alike(first: str, second: str) -> Statistic:
    """Correlation of the entries of two AGOPs."""
    return per_seed(lambda t: _one(t, "all", first=first, second=second))


def _peak(ridge: float) -> Statistic:
    """The test error with as many points as monomials, over the larger of those with half and with four times as many."""

    def of_one(rows: Any) -> float:
        at = {share: _one(rows, "test", share=share, ridge=ridge) for share in (0.5, 1.0, 4.0)}
        both = all(isfinite(error) for error in at.values())
        return at[1.0] / max(at[0.5], at[4.0]) if both else nan

    return per_seed(of_one)


def _cured(rows: Any) -> float:
    """At the peak: the test error with hardly any ridge, over that with a ridge of one."""
    there = rows[rows["set"] == "as many points as monomials"]
    return _one(there, "test", ridge=PEAK_RIDGE) / _one(there, "test", ridge=SAFE_RIDGE)


def _interpolating(rows: Any, labels: str = "teacher") -> Any:
    return rows[(rows["labels"] == labels) & (rows["train"] <= INTERPOLATES)]


def _fall(labels: str = "teacher") -> Statistic:
    """The largest over widths of the test error with the most points over that with the fewest, of students that interpolate at both."""

    def of_one(rows: Any) -> float:
        least, most = rows["points"].min(), rows["points"].max()
        by_width = [own for _, own in _interpolating(rows, labels).groupby("width")]
        falls = [_one(own, "test", points=most) / _one(own, "test", points=least) for own in by_width]
        return max((fall for fall in falls if isfinite(fall)), default=nan)

    return per_seed(of_one)


def _at_most_points(rows: Any) -> Any:
    return rows[rows["points"] == rows["points"].max()]


def _spread(student: str = "") -> Statistic:
    """log2 of the largest test error over widths over the smallest, at the most points, of students that interpolate.

    Errors of students that found the teacher are smaller by orders of magnitude, so that a standard deviation of ratios says nothing.
    """

    def of_one(rows: Any) -> float:
        rows = rows[rows["student"] == student] if student else rows
        rows = _interpolating(_at_most_points(rows))
        return log2(rows["test"].max() / rows["test"].min()) if len(rows) > 1 else nan

    return per_seed(of_one)


def _worst(labels: str = "teacher") -> Statistic:
    """The largest test error over widths, at the most points, of students that interpolate."""
    return per_seed(lambda t: _interpolating(_at_most_points(t[t["labels"] == labels]), labels)["test"].max())


def _polynomial_beside(students: Any, beside: Any) -> float:
    """Test error of degree two over the median of students that interpolate, at the most points."""
    own = _interpolating(_at_most_points(students[students["labels"] == "teacher"]))
    return _one(_at_most_points(beside), "test", student="degree 2") / own["test"].median()


_FALLS = "largest over widths of (test error with most points / with fewest), students that interpolate"
_FLAT = "log2 (largest over widths of the test error / smallest), most points, students that interpolate"
_NEAR = "test accuracy minus that of the network"
_CORRELATION = "Pearson correlation of all entries"
_HALF = "a correlation of 0.71 is half of the variance of the entries: from there on one matrix says more of the other than it leaves open"
_CONTROL = "the threshold of the claim it is a control of"

_IMAGES: dict[str, Any] = {"tables": ("images/accuracy",), "part": "images"}
_AGOPS: dict[str, Any] = {"tables": ("images/agop",), "part": "images"}
_PEAK: dict[str, Any] = {"tables": ("peak/points",), "part": "images"}
_TANH: dict[str, Any] = {"tables": ("students/tanh/students",), "part": "students"}
_RELU: dict[str, Any] = {"tables": ("students/relu/students",), "part": "students"}
_BESIDE: dict[str, Any] = {"tables": ("students/beside/students",), "part": "students"}

PAPER = (
    Claim(
        id="P1", group="paper", number=1, name="degree two is near a network", **_IMAGES,
        says="On images, ridge regression on all monomials of degree two comes near a network in test accuracy.",
        statistic=_NEAR, measure=_lead("degree 2", "network"), relation=">=", threshold=-0.02,
        because="two points in a hundred are two standard errors of the difference of two accuracies near 0.98 on 400 test points",
        controls=("N1",),
    ),
    Claim(
        id="P2", group="paper", number=2, name="it is the products that do it", **_IMAGES,
        says="Monomials of degree two leave at most half of the test errors of degree one.",
        statistic="test errors of degree two / of degree one", measure=_errors("degree 2", "degree 1"), relation="<=", threshold=0.5,
        because="a factor of two is beyond what another ridge or another draw of the points makes of an error",
        controls=("N2",),
    ),
    Claim(
        id="P3", group="paper", number=3, name="the error falls with the points, tanh students", **_TANH,
        says="The test error of students that interpolate falls with the number of points, at every width.",
        statistic=_FALLS, measure=_fall(), relation="<=", threshold=0.5,
        because="eight times as many points or more; half of the error is the least one would call falling", controls=("N3",),
    ),
    Claim(
        id="P4", group="paper", number=4, name="the error does not depend on the width, tanh students", **_TANH,
        says="With enough points, the test error of students that interpolate is the same at every width within a factor of two.",
        statistic=_FLAT, measure=_spread(), relation="<=", threshold=1.0,
        because="the widths span a factor of thirty or more; a factor of two in the error, a doubling, is flat beside it", controls=("N4",),
    ),
    Claim(
        id="P5", group="paper", number=5, name="no width is left behind, tanh students", **_TANH,
        says="With enough points, students that interpolate have a small test error whatever their width.",
        statistic="largest test error over widths, most points, as a share of the variance", measure=_worst(), relation="<=", threshold=0.1,
        because="this is the form of the paper's theorem: enough points for an accuracy, whatever the width; nine tenths of the variance "
        "explained", controls=("N5",),
    ),
)  # fmt: skip


def _agops(id: str, number: float, first: str, second: str, words: str, control: str) -> Claim:
    return Claim(
        id=id, group="beyond", number=number, name=f"AGOPs are alike: {words}", **_AGOPS,
        says=f"The AGOPs of {words}, trained on the same points, are correlated.", statistic=_CORRELATION,
        measure=_alike(first, second), relation=">=", threshold=0.71, because=_HALF, controls=(control,),
        expected=None,
    )  # fmt: skip


BEYOND = (
    _agops("B1", 1, "degree 2", "network", "polynomial and network", "N6"),
    _agops("B2", 2, "degree 2", "RFM", "polynomial and RFM", "N6"),
    _agops("B3", 3, "RFM", "network", "RFM and network", "N7"),
    Claim(
        id="B4", group="beyond", number=4, name="interpolation has its peak at n = p", **_PEAK,
        says="Without a ridge the test error of degree two peaks where there are as many points as monomials.",
        statistic="test error at n = p / the larger of those at n = p/2 and n = 4p, ridge 1e-8", measure=_peak(PEAK_RIDGE),
        relation=">=", threshold=1.5, because="a peak a half above both of its sides is one that the eye sees", controls=("N9",),
    ),
    Claim(
        id="B5", group="beyond", number=5, name="a ridge takes the peak away", tables=("peak/ridges",), part="images",
        says="At n = p a ridge of one leaves at most half of the test errors of interpolation.",
        statistic="test error with ridge 1e-8 / with ridge 1, n = p", measure=per_seed(_cured), relation=">=", threshold=2.0,
        because="a factor of two, as between degree one and two",
    ),
    Claim(
        id="B6", group="beyond", number=6, name="near pixels are enough", **_IMAGES,
        says="Products of pixels with their neighbours alone come near all products.", expected=None,
        statistic="test accuracy minus that of all products (of principal components, where images are large)",
        measure=_lead("degree 2, near pixels", "degree 2"), relation=">=", threshold=-0.02, because="as for P1", controls=("N1",),
    ),
    Claim(
        id="B7", group="beyond", number=7, name="the error falls with the points, ReLU students", **_RELU,
        says="The test error of ReLU students that interpolate falls with the number of points, at every width.",
        statistic=_FALLS, measure=_fall(), relation="<=", threshold=0.5, because="as for P3", controls=("N3",),
    ),
    Claim(
        id="B8", group="beyond", number=8, name="the error does not depend on the width, ReLU students", **_RELU,
        says="With enough points, the test error of ReLU students that interpolate is the same at every width within a factor of two.",
        statistic=_FLAT, measure=_spread(), relation="<=", threshold=1.0, because="as for P4", controls=("N4",),
    ),
    Claim(
        id="B9", group="beyond", number=9, name="degree two is near the students", part="students", expected=None,
        tables=("students/tanh/students", "students/beside/students"),
        says="A polynomial of degree two learns the teacher about as well as the tanh students do.",
        statistic="its test error / the median of students that interpolate, most points", measure=per_seed(_polynomial_beside),
        relation="<=", threshold=2.0, because="the factor within which widths count as alike",
    ),
)  # fmt: skip


def _not_alike(id: str, number: float, first: str, second: str, words: str) -> Claim:
    return Claim(
        id=id, group="control", number=number, name=f"AGOPs: {words}", **_AGOPS, says=f"The AGOPs of {words} are correlated.",
        statistic=_CORRELATION, measure=_alike(first, second), relation=">=", threshold=0.71, because=_CONTROL, expected=FAILS,
    )  # fmt: skip


CONTROLS = (
    Claim(
        id="N1", group="control", number=1, name="degree two on permuted labels", **_IMAGES, expected=FAILS,
        says="A polynomial that was fitted to permuted labels comes near the network.", statistic=_NEAR,
        measure=_lead("degree 2, permuted labels", "network"), relation=">=", threshold=-0.02, because=_CONTROL,
    ),
    Claim(
        id="N2", group="control", number=2, name="products fitted to permuted labels", **_IMAGES, expected=FAILS,
        says="Degree two on permuted labels leaves at most half of the test errors of degree one.", because=_CONTROL,
        statistic="test errors / of degree one", measure=_errors("degree 2, permuted labels", "degree 1"), relation="<=", threshold=0.5,
    ),
    Claim(
        id="N3", group="control", number=3, name="students of permuted labels", **_TANH, expected=FAILS,
        says="The test error of students that interpolate permuted labels falls with the points.", statistic=_FALLS,
        measure=_fall("permuted"), relation="<=", threshold=0.5, because=_CONTROL,
    ),
    Claim(
        id="N4", group="control", number=4, name="random features from n = width on", **_BESIDE, expected=FAILS,
        says="Interpolation by features that are not trained has the same error at widths n, 1.5n and 3n.", statistic=_FLAT,
        measure=_spread("features"), relation="<=", threshold=1.0, because=_CONTROL,
    ),
    Claim(
        id="N5", group="control", number=5, name="students of permuted labels at most points", **_TANH, expected=FAILS,
        says="Students that interpolate permuted labels have a small test error.", because=_CONTROL,
        statistic="test error with most points", measure=_worst("permuted"), relation="<=", threshold=0.1,
    ),
    _not_alike("N6", 6, "degree 2", "degree 2, permuted labels", "the polynomial and of one fitted to permuted labels"),
    _not_alike("N7", 7, "network", "network, untrained", "the network before and after training"),
    _not_alike("N8", 8, "network", "network, permuted labels", "the network and of one trained on permuted labels"),
    Claim(
        id="N9", group="control", number=9, name="with a ridge there is no peak", **_PEAK, expected=FAILS,
        says="With a ridge of one the test error peaks where there are as many points as monomials.",
        statistic="as for B4, ridge 1", measure=_peak(SAFE_RIDGE), relation=">=", threshold=1.5, because=_CONTROL,
    ),
)  # fmt: skip


def _students(activation: str, words: str) -> Drawing:
    return Drawing(
        stem=f"students-{activation}", section="Students", part="students", table=f"students/{activation}/students",
        where={"labels": "teacher"}, x="width", y="test", series="points", names="{} points", labels=("width of the student", "test error"),
        log="xy", title=f"{words} students of a tanh teacher", subtitle="test error as a share of the variance, trained on so many points",
        caption=f"Test error of {words} students by width, a curve for each number of points",
    )  # fmt: skip


_AGOP_GRID = (
    (("degree 2", "degree two"), ("RFM", "RFM"), ("network", "network")),
    (
        ("degree 2, permuted labels", "degree two, permuted"),
        ("network, permuted labels", "network, permuted"),
        ("network, untrained", "network, untrained"),
    ),
)

DRAWINGS = (
    Drawing(
        stem="peak-points", section="Interpolation peak", part="images", table="peak/points", x="share", y="test", series="ridge",
        names={PEAK_RIDGE: "ridge 1e-8", SAFE_RIDGE: "ridge 1"}, lines=(Line(1.0, "n = p", "x"),),
        labels=("training points / monomials", "test error"), log="xy",
        title="Degree two on {data}: the interpolation peak", subtitle="{monomials} monomials of the first principal components",
        caption="Test error against the number of points, with hardly any ridge and with one",
    ),
    Drawing(
        stem="peak-ridge", section="Interpolation peak", part="images", table="peak/ridges", x="ridge", y="test", series="set",
        names={
            "as many points as monomials": "n = p", "eight times as many": "n = 8p", "all": "all columns",
        },
        labels=("ridge", "test error"), log="xy", title="Degree two on {data}: the ridge",
        subtitle="test error on few principal components with n = p and n = 8p points, and on all columns",
        caption="Test error against the ridge",
    ),
    _students("tanh", "Tanh"),
    _students("relu", "ReLU"),
    Drawing(
        stem="students-points", section="Students", part="students", table="students/tanh/students", where={"width": 100},
        x="points", log="xy", labels=("training points", "test error"), series="labels",
        names={"teacher": "teacher's labels", "permuted": "permuted labels"}, y="test",
        lines=(Line(1.0, "the mean label"),), title="Tanh students of width {width}", subtitle="test error as a share of the variance",
        caption="Test error of students of width 100 on the teacher's and on permuted labels",
    ),
    Drawing(
        stem="beside", section="Students", part="students", table="students/beside/students", x="points", y="test", series="student",
        names={"degree 1": "degree one", "degree 2": "degree two"}, log="xy", labels=("training points", "test error"),
        title="Polynomials of a tanh teacher", subtitle="test error as a share of the variance, ridge chosen on held-out points",
        caption="Test error of polynomials on the teacher's labels",
    ),
    Drawing(
        kind="matrix", stem="agops", section="AGOPs", part="images", table="images", file="agops.npz", arrays=_AGOP_GRID,
        title="AGOPs with respect to the columns of {data}", labels=("", "entry / largest entry"),
        caption="AGOPs of polynomial, RFM and network, and of controls, each divided by its largest entry, first seed",
    ),
)  # fmt: skip


def facts(size: str) -> Mapping[str, str]:
    """Images, students."""
    p = AMOUNTS[size]
    points = "all training points" if p.points is None else f"{p.points:,} training points or all"
    widths = f"widths {', '.join(map(str, p.widths))}; {', '.join(map(str, p.lesson))} points in [-1, 1]^10"
    return {
        "Images": f"{points}; pixels, or {p.components} principal components of more than 100 pixels; network of width {p.width}",
        "Students": f"{widths}; L-BFGS, at most {p.max_steps:,} steps; interpolating: training error at most 0.001 of the variance",
    }


_HERE = "agop.experiments.studies.emschwiller2020"

STUDY = Study(
    name="emschwiller2020",
    title="Networks and polynomial regression",
    cite=Citation(
        authors="Matt Emschwiller, David Gamarnik, Eren C. Kızıldağ, Ilias Zadik",
        title="Neural Networks and Polynomial Regression. Demystifying the Overparametrization Phenomena",
        venue="arXiv",
        year=2020,
        arxiv="2003.10523",
    ),
    question="Do networks that interpolate generalise because a polynomial of low degree comes near them?",
    work={
        "images": f"{_HERE}_work:run_images",
        "peak": f"{_HERE}_work:run_peak",
        "students": f"{_HERE}_students:run_students",
        "beside": f"{_HERE}_students:run_beside",
    },
    units=units,
    claims=PAPER + BEYOND + CONTROLS,
    drawings=DRAWINGS,
    data={"smoke": ("digits",), "small": ("mnist",), "paper": ("mnist", "fashion-mnist")},
    replaceable=True,
    parts=("images", "students"),
    facts=facts,
)
