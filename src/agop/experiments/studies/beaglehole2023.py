"""Beaglehole, Radhakrishnan, Pandit, Belkin 2023: how convolutional networks learn features, and kernel machines that do it the same way.

Filters of trained networks against their patch AGOPs; ConvRFMs on images in noise; the stages of a Deep ConvRFM.
`beaglehole2023_work` computes, here is what is decided and drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agop.experiments.claims import FAILS, Claim
from agop.experiments.drawing import Curve, Drawing
from agop.experiments.statistics import last_over_first, per_seed, worst_projection
from agop.experiments.study import Citation, Study
from agop.experiments.units import DataSource, Generated, Points, Unit

_WORK = "agop.experiments.studies.beaglehole2023_work"
_PICTURES = "patches.npz"  # the name in agop.experiments.patch_pictures, which imports torch


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """Sizes of one preset."""

    network_points: int | None
    widths: tuple[int, ...]
    epochs: int
    rows: int
    noise_points: int | None
    noises: tuple[float, ...]
    noise_depth: int
    iterations: int
    n_test: int
    star_side: int
    star_patch: int
    star_test: int
    deep_points: int | None
    stages: int
    deep_width: int


AMOUNTS = {
    "smoke": Amounts(
        network_points=400, widths=(16, 16, 16), epochs=8, rows=100, noise_points=250, noises=(0.0, 0.5), noise_depth=3,
        iterations=2, n_test=300, star_side=20, star_patch=7, star_test=150, deep_points=250, stages=3, deep_width=16,
    ),
    "small": Amounts(
        network_points=2000, widths=(32, 32, 32), epochs=10, rows=200, noise_points=300, noises=(0.0, 0.5), noise_depth=3,
        iterations=2, n_test=250, star_side=32, star_patch=11, star_test=300, deep_points=350, stages=3, deep_width=16,
    ),
    "paper": Amounts(
        network_points=None, widths=(64, 64, 128, 128), epochs=60, rows=1000, noise_points=5000, noises=(0.0, 0.25, 0.5, 1.0),
        noise_depth=3, iterations=5, n_test=10000, star_side=32, star_patch=11, star_test=1000, deep_points=10000, stages=5,
        deep_width=64,
    ),
}  # fmt: skip
"""By size. Points include those that choose the iteration: a fifth, and half of the 100 star images."""

RIDGE, GAIN, STAR_NOISE, STAR_POINTS = 1e-3, 0.3, 0.3, 100


def units(size: str, seed: int, data: Points) -> Iterator[Unit]:
    """Networks, images in noise with true and with shuffled labels, machines by depth; and star images, which need no data set."""
    p = AMOUNTS[size]
    common: dict[str, Any] = {"ridge": RIDGE, "iterations": p.iterations, "held_out": 0.2}
    for name, shuffled in (("true", False), ("shuffled", True)):
        told: dict[str, Any] = {"noise": STAR_NOISE, "side": p.star_side, "n_test": p.star_test}
        made = Generated("stars", f"{_WORK}:star_images", STAR_POINTS, told)
        options = {
            **common,
            "iterations": 2,
            "depth": 1,
            "patch_size": p.star_patch,
            "held_out": 0.5,
            "shuffled": shuffled,
        }
        yield Unit("stars", f"stars/{name}", seed, made, options, part="noise")
    if not isinstance(data, DataSource):
        return
    options = {"widths": list(p.widths), "epochs": p.epochs, "rows": p.rows, "init_gain": GAIN}
    yield Unit("networks", "networks", seed, data.first(p.network_points), options, part="networks")
    for name, shuffled in (("true", False), ("shuffled", True)):
        noises = p.noises[1:2] if shuffled else p.noises
        told = {
            **common,
            "depth": p.noise_depth,
            "patch_size": 3,
            "noises": list(noises),
            "shuffled": shuffled,
            "n_test": p.n_test,
        }
        yield Unit("noise", f"noise/{name}", seed, data.first(p.noise_points), told, part="noise")
    told = {
        **common,
        "stages": p.stages,
        "width": p.deep_width,
        "patch_size": 3,
        "n_test": p.n_test,
        "rows": p.rows,
    }
    yield Unit("deep", "deep", seed, data.first(p.deep_points), told, part="deep")


def _least(column: str) -> Callable[..., dict[int, float]]:
    return per_seed(lambda rows: float(rows[column].min()))


def _gain(rows: Any) -> float:
    """Test accuracy of the chosen iteration less that of the fixed kernel."""
    chosen = rows[rows["chosen"]]["test_accuracy"].iloc[0]
    return float(chosen - rows[rows["iteration"] == 0]["test_accuracy"].iloc[0])


def _gain_at(place: int) -> Callable[..., dict[int, float]]:
    """The gain at the noise of this place among those that there are."""
    return per_seed(lambda rows: _gain(rows[rows["noise"] == sorted(rows["noise"].unique())[place]]))


def _growth(rows: Any) -> float:
    by_noise = {noise: _gain(rows[rows["noise"] == noise]) for noise in sorted(rows["noise"].unique())}
    return by_noise[max(by_noise)] - by_noise[min(by_noise)]


def _test_accuracy(rows: Any, iteration: int) -> float:
    return float(rows[rows["iteration"] == iteration]["test_accuracy"].iloc[0])


def _difference(better: str, worse: str) -> Callable[..., dict[int, float]]:
    def of_one(rows: Any) -> float:
        accuracy = rows.set_index("machine")["test_accuracy"]
        return float(accuracy[better] - accuracy[worse])

    return per_seed(of_one)


_HALF = "a correlation of 0.7 is half of the variance of the entries"
_TWO = "two points in a hundred; the standard error of a difference of two accuracies on the same 400 images is about one and a half"
_TIE = "a tie counts, and a hundredth is less than the standard error of an accuracy from 400 images"

CLAIMS = (
    Claim(
        id="C1", group="paper", number=1, name="filters keep the patch AGOP", part="networks", tables=("networks/nfa",),
        says="In a trained network the filter covariance of every convolution is correlated with its patch AGOP.",
        statistic="least correlation over the convolutions (Pearson, all entries, AGOP to the power 1)",
        measure=_least("trained"), relation=">=", threshold=0.7, because=_HALF, controls=("N1",),
    ),
    Claim(
        id="C2", group="paper", number=2, name="not before training", part="networks", tables=("networks/nfa",),
        says="At initialisation the correlation is low in every convolution.",
        statistic="largest correlation over the convolutions of the untrained network",
        measure=per_seed(lambda rows: float(rows["untrained"].max())), relation="<=", threshold=0.5,
        because="half; a quarter of the variance of the entries", controls=(),
    ),
    Claim(
        id="C3", group="paper", number=3, name="ten images are enough", part="networks", tables=("networks/nfa",),
        says="In the first convolution ten images give the correlation that many give.",
        statistic="|correlation with the AGOP of ten images − with that of all|",
        measure=per_seed(lambda rows: float((rows["few"] - rows["trained"]).abs().iloc[0])), relation="<=", threshold=0.05,
        because="a twentieth is not seen in the paper's figures",
    ),
    Claim(
        id="C4", group="paper", number=4, name="M looks for edges", part="deep", tables=("deep/edges",),
        says="Among the top three eigenvectors of the M of a ConvRFM are the edge filters.",
        statistic="mean share of the horizontal and vertical edge filter that lies in the span of the top three",
        measure=per_seed(lambda rows: float(rows["M"].mean())), relation=">=", threshold=2 / 3,
        because="twice the chance 3/9 of grey patches of 3×3", controls=("N2",),
    ),
    Claim(
        id="C5", group="paper", number=5, name="stars: a better metric", part="noise", tables=("stars/true/scores",),
        says="On star images the chosen iteration of a ConvRFM is better than the fixed kernel.",
        statistic="test accuracy of the chosen iteration less that of the fixed kernel",
        measure=per_seed(_gain), relation=">=", threshold=0.05,
        because="a third of the 0.17 of the paper's notebook (0.78 to 0.95): fewer images, another star", controls=("N3",),
    ),
    Claim(
        id="C6", group="paper", number=6, name="images in noise: a better metric", part="noise", tables=("noise/true/scores",),
        says="On images at a random place in noise (σ = 0.5) the chosen iteration is better than the fixed kernel.",
        statistic="test accuracy of the chosen iteration less that of the fixed kernel",
        measure=_gain_at(1), relation=">=", threshold=0.02, because=_TWO, controls=("N4",),
    ),
    Claim(
        id="C7", group="paper", number=7, name="the gain grows with the noise", part="noise", tables=("noise/true/scores",),
        says="The gain over the fixed kernel is larger in the strongest noise than without any.",
        statistic="gain in the strongest noise less gain without noise", measure=per_seed(_growth),
        relation=">=", threshold=0.02, because=_TWO,
    ),
    Claim(
        id="C8", group="paper", number=8, name="ConvRFM: not below its kernel", part="deep", tables=("deep/accuracy",),
        says="A ConvRFM is at least as good as its kernel.", statistic="test accuracy of the ConvRFM less that of the kernel",
        measure=_difference("ConvRFM", "kernel"), relation=">=", threshold=-0.01, because=_TIE,
    ),
    Claim(
        id="C9", group="paper", number=9, name="Deep ConvRFM: not below ConvRFM", part="deep", tables=("deep/accuracy",),
        says="A Deep ConvRFM of as many convolutions is at least as good as the ConvRFM.",
        statistic="test accuracy of the Deep ConvRFM less that of the ConvRFM",
        measure=_difference("Deep ConvRFM", "ConvRFM"), relation=">=", threshold=-0.01, because=_TIE,
    ),
    Claim(
        id="B1", group="beyond", number=1, name="training raises it", part="networks", tables=("networks/nfa",),
        says="Training raises the correlation of filters with the patch AGOP in every convolution.",
        statistic="least rise over the convolutions", measure=per_seed(lambda rows: float((rows["trained"] - rows["untrained"]).min())),
        relation=">=", threshold=0.05, because="that of C3: less isn't seen", expected=None,
    ),
    Claim(
        id="B2", group="beyond", number=2, name="edges without labels", part="deep", tables=("deep/edges",),
        says="The second moment of the patches, which knows no labels, has the edge filters among its top three, too.",
        statistic="the share of C4", measure=per_seed(lambda rows: float(rows["second_moment"].mean())), relation=">=", threshold=2 / 3,
        because="the threshold of C4", expected=None,
    ),
    Claim(
        id="B3", group="beyond", number=3, name="stars: the iteration must be chosen", part="noise", tables=("stars/true/scores",),
        says="On star images the second iteration loses what the first has gained.",
        statistic="test accuracy after one iteration less that after two",
        measure=per_seed(lambda rows: _test_accuracy(rows, 1) - _test_accuracy(rows, 2)), relation=">=", threshold=0.02, because=_TWO,
        expected=None,
    ),
    Claim(
        id="B4", group="beyond", number=4, name="patch AGOP collapses the classes", part="deep", tables=("deep/profile-agop",),
        says="NC1 of the projected stage halves, at least, from the first to the last stage of a Deep ConvRFM.",
        statistic="NC1 of the projected stage, last over first, training images", measure=last_over_first("nc1"),
        relation="<=", threshold=0.5, because="a factor of two over the stages is little: a Deep RFM has as much in a layer or two",
        controls=("N5",), expected=None,
    ),
    Claim(
        id="B5", group="beyond", number=5, name="M lowers NC1 at every stage", part="deep", tables=("deep/profile-agop",),
        says="At every stage the map of patches by the root of M lowers NC1.",
        statistic="largest projected / input over the stages, training images", measure=worst_projection("nc1"),
        relation="<=", threshold=1.0, because="that is what lower means", expected=None,
    ),
    Claim(
        id="B6", group="beyond", number=6, name="Deep ConvRFM: M matters", part="deep", tables=("deep/accuracy",),
        says="The last stage of a Deep ConvRFM is better than that of random convolutions that know no M.",
        statistic="test accuracy with M less that with the identity", measure=_difference("last stage, agop", "last stage, identity"),
        relation=">=", threshold=0.02, because=_TWO, expected=None,
    ),
    Claim(
        id="N1", group="control", number=1, name="AGOP of the untrained network", part="networks", tables=("networks/nfa",),
        says="The trained filters are as correlated with the patch AGOP of the untrained network.",
        statistic="least correlation over the convolutions", measure=_least("mismatched"), relation=">=", threshold=0.7,
        because="the threshold of C1", expected=FAILS,
    ),
    Claim(
        id="N2", group="control", number=2, name="M turned at random", part="deep", tables=("deep/edges",),
        says="They are among the top three of M turned at random.", statistic="the share of C4",
        measure=per_seed(lambda rows: float(rows["turned"].mean())), relation=">=", threshold=2 / 3, because="the threshold of C4",
        expected=FAILS,
    ),
    Claim(
        id="N3", group="control", number=3, name="stars: shuffled labels", part="noise", tables=("stars/shuffled/scores",),
        says="With shuffled labels of the training images the chosen iteration is better as well.", statistic="the gain of C5",
        measure=per_seed(_gain), relation=">=", threshold=0.05, because="the threshold of C5", expected=FAILS,
    ),
    Claim(
        id="N4", group="control", number=4, name="in noise: shuffled labels", part="noise", tables=("noise/shuffled/scores",),
        says="With shuffled labels of the training images the chosen iteration is better as well.", statistic="the gain of C6",
        measure=_gain_at(0), relation=">=", threshold=0.02, because="the threshold of C6", expected=FAILS,
    ),
    Claim(
        id="N5", group="control", number=5, name="random convolutions collapse", part="deep", tables=("deep/profile-identity",),
        says="NC1 halves with random convolutions that know no M.", statistic="the ratio of B4", measure=last_over_first("nc1"),
        relation="<=", threshold=0.5, because="the threshold of B4", expected=FAILS,
    ),
)  # fmt: skip

_COMPARED = (
    Curve(y="trained", name="trained"),
    Curve(y="untrained", name="untrained"),
    Curve(y="mismatched", name="trained filters, untrained AGOP"),
)
_RULES: Mapping[str, str] = {"agop": "patch AGOP", "identity": "random convolutions"}

DRAWINGS = (
    Drawing(
        stem="nfa", section="Filters of networks", part="networks", table="networks/nfa", x="layer", log="", curves=_COMPARED,
        labels=("convolution", "correlation"), title="Filter covariance and patch AGOP on {data}",
        subtitle="Pearson correlation of all entries", caption="Correlation of WᵀW with the patch AGOP by convolution",
    ),
    Drawing(
        kind="filters", stem="network-filters", section="Filters of networks", part="networks", table="networks", file=_PICTURES,
        title="First convolution on {data}: top eigenvectors", caption="Top eigenvectors of the filter covariance and of the patch AGOP",
    ),
    Drawing(
        stem="noise", section="Images in noise", part="noise", table="noise/true/scores", x="iteration", y="test_accuracy", log="",
        series="noise", names="σ = {:g}", labels=("iteration", "test accuracy"), title="ConvRFM on {data} in noise",
        subtitle="iteration 0 is the fixed kernel", caption="Test accuracy by iteration, for each noise",
    ),
    Drawing(
        stem="stars", section="Star images", part="noise", x="iteration", log="", data="all", table="stars/true/scores",
        curves=(
            Curve(y="test_accuracy", name="true labels", table="stars/true/scores"),
            Curve(y="test_accuracy", name="shuffled labels", table="stars/shuffled/scores"),
        ),
        labels=("iteration", "test accuracy"), title="ConvRFM on star images", subtitle="iteration 0 is the fixed kernel",
        caption="Test accuracy by iteration, true and shuffled labels of the training images",
    ),
    Drawing(
        kind="filters", stem="star-filters", section="Star images", part="noise", table="stars/true", file=_PICTURES,
        title="Star images: top eigenvectors of M", caption="What a ConvRFM has learned to look for",
    ),
    Drawing(
        kind="energy", stem="star-energy", section="Star images", part="noise", table="stars/true", file=_PICTURES,
        title="Star images: where M looks", caption="Energy of the patches of six test images, with M and without",
    ),
    Drawing(
        stem="collapse", section="Stages of a Deep ConvRFM", part="deep", table="deep/profile", x="layer", y="nc1", series="rule",
        names=_RULES, where={"stage": "projected", "points": "train"}, labels=("stage", "NC1 of the projected stage"),
        title="Do patch AGOPs collapse the classes of {data}?", subtitle="training images",
        caption="NC1 of the projected stage by stage: with the root of M, and random convolutions without",
    ),
    Drawing(
        stem="collapse-test", section="Stages of a Deep ConvRFM", part="deep", table="deep/profile", x="layer", y="nc1", series="rule",
        names=_RULES, where={"stage": "projected", "points": "test"}, labels=("stage", "NC1 of the projected stage"),
        title="The same on test images of {data}", caption="NC1 of the projected stage by stage, test images",
    ),
    Drawing(
        kind="filters", stem="filters", section="Stages of a Deep ConvRFM", part="deep", table="deep", file=_PICTURES,
        title="ConvRFM on {data}: top eigenvectors of M", caption="What a ConvRFM looks for after one iteration",
    ),
)  # fmt: skip


def facts(size: str) -> Mapping[str, str]:
    """Networks and machines in numbers."""
    p = AMOUNTS[size]

    def points(count: int | None) -> str:
        return "all training images" if count is None else f"{count:,} training images or all"

    return {
        "Networks": f"convolutions of 3×3 to {', '.join(map(str, p.widths))} channels and a linear map, {points(p.network_points)}; SGD, "
        f"{p.epochs} epochs, batches of 32, rate 0.05, momentum 0.9, weight decay 5e-4, He initialisation times {GAIN:g}; AGOPs of "
        f"{p.rows:,} images",
        "In noise": f"{points(p.noise_points)}, a fifth of which chooses the iteration; cntk of depth {p.noise_depth}, 3×3, "
        f"{p.iterations} iterations, ridge {RIDGE:g} of the largest entry",
        "Stars": f"{STAR_POINTS} images of {p.star_side}×{p.star_side}, half of which choose the iteration; patches of "
        f"{p.star_patch}×{p.star_patch}, depth 1",
        "Deep": f"{points(p.deep_points)}; {p.stages} convolutions, {p.deep_width} channels between stages",
    }


STUDY = Study(
    name="beaglehole2023",
    title="Patches as features, in networks and kernel machines",
    cite=Citation(
        authors="Daniel Beaglehole, Adityanarayanan Radhakrishnan, Parthe Pandit, Mikhail Belkin",
        title="Mechanism of feature learning in convolutional neural networks",
        venue="Preprint",
        year=2023,
        arxiv="2309.00570",
    ),
    question="Do convolutional networks learn the average gradient outer product of patches, and is it enough to learn features?",
    work={name: f"{_WORK}:run_{name}" for name in ("networks", "noise", "stars", "deep")},
    units=units,
    claims=CLAIMS,
    drawings=DRAWINGS,
    data={"smoke": ("digits",), "small": ("mnist",), "paper": ("mnist", "svhn", "cifar10")},
    replaceable=True,
    parts=("networks", "noise", "deep"),
    facts=facts,
)
