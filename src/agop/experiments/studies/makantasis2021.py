"""Makantasis et al. 2021: first layers whose weights are sums of R outer products, one vector a side of the image.

Their data (hyperspectral scenes) are not at hand and nothing of theirs is claimed: no claim is of the group "paper". Asked here is
whether such a layer is as good as a dense one at a quarter of the weights, why, and what the constraint does to the neural feature
ansatz. "The quarter" is the largest R with at most a quarter of the dense layer's weights (1 on 8 × 8, 3 on 28 × 28 pixels).
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
    """What a size means: training points, and few of them; ranks beside the quarter; the network and its training."""

    points: int
    few: int
    ranks: tuple[int, ...]
    epochs: int
    hidden: int = 75
    batch_size: int = 65
    lr: float = 5e-3
    way: str = "joint"
    inner: int = 1
    loss: str = "cross-entropy"
    optimiser: str = "adam"


AMOUNTS = {
    "smoke": Amounts(points=200, few=50, ranks=(1, 3), epochs=60),
    "small": Amounts(points=1000, few=200, ranks=(1, 3, 7), epochs=60),
    "paper": Amounts(points=2000, few=500, ranks=(1, 2, 3, 5), epochs=50, lr=5e-4, way="by-mode", inner=10),
}
"""Size paper has the paper's training and points a class (50 and 200); its data are ours."""

GAINS = (1.0, 0.25)
"""Initialisations of the first layer: Xavier's, and one small enough that weights must grow to be of use."""

_TRAINING = ("hidden", "batch_size", "lr", "way", "inner", "loss", "optimiser", "epochs")


def units(size: str, seed: int, data: Points) -> Iterator[Unit]:
    """Networks by rank and initialisation with true labels, their twins, and with few points or shuffled labels."""
    amounts = asdict(AMOUNTS[size])
    shared = {name: amounts[name] for name in _TRAINING}

    def unit(table: str, points: int, **more: Any) -> Unit:
        own = {"ranks": [], "gains": [1.0], "twins": False, "shuffled_labels": False} | more
        return Unit("networks", f"networks/{table}", seed, data.first(points), {**shared, **own})  # type: ignore[union-attr]

    yield unit("true", amounts["points"], ranks=list(amounts["ranks"]), gains=list(GAINS), twins=True)
    yield unit("few", amounts["few"])
    yield unit("shuffled", amounts["points"], gains=list(GAINS), shuffled_labels=True)


def value_of(
    rows: pd.DataFrame, column: str, variant: str, state: str = "trained", gain: float = 1.0
) -> float:
    """A number of one network of one seed; "quarter" is the one of rank R with at most a quarter of the weights."""
    chosen = rows[(rows["state"] == state) & (rows["gain"] == gain)]
    wanted = (
        (chosen["variant"] == "rank") & chosen["quarter"]
        if variant == "quarter"
        else chosen["variant"] == variant
    )
    return float(chosen[wanted.astype(bool)][column].iloc[0])


_One = tuple[str, str, float]
"""Variant, state, gain."""


def difference(column: str, one: _One, other: _One) -> Any:
    """A number of one network less that of another of the same seed and table."""

    def of_one(rows: pd.DataFrame) -> float:
        return value_of(rows, column, *one) - value_of(rows, column, *other)

    return per_seed(of_one)


def _shuffled_parity(shuffled: pd.DataFrame, true: pd.DataFrame) -> float:
    return value_of(shuffled, "test_accuracy", "quarter") - value_of(true, "test_accuracy", "dense")


def _modes_over_layer(state: str) -> Any:
    own = ("quarter", state, 0.25)
    return per_seed(lambda rows: value_of(rows, "mode_nfa", *own) - value_of(rows, "nfa", *own))


def _trained(variant: str, gain: float = 1.0) -> _One:
    return variant, "trained", gain


_TRUE = ("networks/true/whole",)
_PARITY = difference("test_accuracy", _trained("quarter"), _trained("dense"))
_NOISE = "two accuracies near 0.9 on some 360 test images differ by 0.02 by chance (one standard deviation)"
_NFA = "less is about what two initialisations differ by"


def _claims() -> Iterator[Claim]:
    yield Claim(
        id="B1", group="beyond", number=1, name="parity at a quarter",
        says="With a quarter of the first layer's weights a rank-R network is as good as a dense one.", tables=_TRUE,
        statistic="test accuracy of the quarter less that of the dense network", measure=_PARITY, relation=">=", threshold=-0.03,
        because=_NOISE + "; half more is left, because the two are trained on the same points", controls=("N1", "N2"),
    )  # fmt: skip
    yield Claim(
        id="B2", group="beyond", number=2, name="parity, few points", says="It is as good with a quarter of the points or less, too.",
        tables=("networks/few/whole",), statistic="as B1, few training points", measure=_PARITY, relation=">=", threshold=-0.04,
        because="accuracies near 0.85 scatter more than those of B1", controls=("N1", "N2"),
    )  # fmt: skip
    yield Claim(
        id="B3", group="beyond", number=3, name="better than fewer units",
        says="It is better than a dense network with as few weights, which has fewer hidden units.", tables=_TRUE,
        statistic="test accuracy of the quarter less that of the dense network with so few units",
        measure=difference("test_accuracy", _trained("quarter"), _trained("slim")), relation=">=", threshold=0.02, because=_NOISE,
        expected=None,
    )  # fmt: skip
    yield Claim(
        id="B4", group="beyond", number=4, name="order of pixels matters",
        says="It is better than the same network on images whose pixels are permuted, which a dense one would not notice.", tables=_TRUE,
        statistic="test accuracy of the quarter less that on permuted pixels",
        measure=difference("test_accuracy", _trained("quarter"), _trained("permuted")), relation=">=", threshold=0.02, because=_NOISE,
        expected=None,
    )  # fmt: skip
    yield Claim(
        id="B5", group="beyond", number=5, name="factors are learned",
        says="It is better than one whose random factors stay and whose readout alone is trained.", tables=_TRUE,
        statistic="test accuracy of the quarter less that with its first layer frozen",
        measure=difference("test_accuracy", _trained("quarter"), _trained("frozen")), relation=">=", threshold=0.02, because=_NOISE,
        expected=None,
    )  # fmt: skip
    for number, gain, words in ((6, 1.0, "Xavier's initialisation"), (7, 0.25, "a quarter of it")):
        yield Claim(
            id=f"B{number}", group="beyond", number=number, name=f"ansatz lower, init × {gain:g}",
            says=f"The rank constraint lowers the first layer's NFA correlation (from {words}).", tables=_TRUE,
            statistic="NFA correlation of the dense network less that of the quarter",
            measure=difference("nfa", _trained("dense", gain), _trained("quarter", gain)), relation=">=", threshold=0.05, because=_NFA,
            expected=None,
        )  # fmt: skip
    yield Claim(
        id="B8", group="beyond", number=8, name="ansatz is learned", says="Training raises the NFA correlation of a rank-R layer.",
        tables=_TRUE, statistic="NFA correlation of the quarter, trained less untrained, initialisation × 0.25",
        measure=difference("nfa", _trained("quarter", 0.25), ("quarter", "untrained", 0.25)), relation=">=", threshold=0.1,
        because="twice what two initialisations differ by", controls=("N3",),
    )  # fmt: skip
    yield Claim(
        id="B9", group="beyond", number=9, name="ansatz, labels at random", says="Training on shuffled labels raises it as well.",
        tables=("networks/shuffled/whole",), statistic="as B8, shuffled training labels",
        measure=difference("nfa", _trained("quarter", 0.25), ("quarter", "untrained", 0.25)), relation=">=", threshold=0.1,
        because="the threshold of B8", expected=None,
    )  # fmt: skip
    yield Claim(
        id="B10", group="beyond", number=10, name="ansatz per mode",
        says="Mode by mode the ansatz holds better than for the layer as a whole.", tables=_TRUE,
        statistic="mean NFA correlation of the modes less that of the layer, quarter, initialisation × 0.25",
        measure=_modes_over_layer("trained"), relation=">=", threshold=0.05, because=_NFA, expected=None, controls=("N4",),
    )  # fmt: skip
    yield from _controls()


def _controls() -> Iterator[Claim]:
    yield Claim(
        id="N1", group="control", number=1, name="untrained: parity", says="An untrained rank-R network is as good as a trained dense one.",
        tables=_TRUE, statistic="as B1, rank-R network untrained",
        measure=difference("test_accuracy", ("quarter", "untrained", 1.0), _trained("dense")), relation=">=", threshold=-0.03,
        because="the threshold of B1", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N2", group="control", number=2, name="shuffled labels: parity",
        says="A rank-R network of shuffled labels is as good as a dense one of true labels.", tables=("networks/shuffled/whole", *_TRUE),
        statistic="as B1, rank-R network trained on shuffled labels", measure=per_seed(_shuffled_parity), relation=">=", threshold=-0.03,
        because="the threshold of B1", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N3", group="control", number=3, name="frozen: ansatz",
        says="Training the readout alone raises the first layer's NFA correlation.", tables=_TRUE,
        statistic="as B8, first layer frozen",
        measure=difference("nfa", _trained("frozen", 0.25), ("quarter", "untrained", 0.25)), relation=">=", threshold=0.1,
        because="the threshold of B8", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N4", group="control", number=4, name="untrained: ansatz per mode",
        says="Mode by mode it holds better than for the layer before any training.", tables=_TRUE, statistic="as B10, untrained",
        measure=_modes_over_layer("untrained"), relation=">=", threshold=0.05, because="the threshold of B10", expected=FAILS,
    )  # fmt: skip


_SHARE = "share of the dense layer's weights"
_LINES = {
    f"{state}, {gain:g}": f"{state}, init × {gain:g}" for gain in GAINS for state in ("trained", "untrained")
}

DRAWINGS = (
    Drawing(
        stem="nfa", section="The ansatz under a rank constraint", table="networks/true/whole", x="share", curves=(Curve(y="nfa"),),
        series="line", names=_LINES, where={"variant": ("rank", "dense")}, labels=(_SHARE, "NFA correlation"), log="",
        title="What a rank constraint does to the ansatz: {data}", subtitle="first layers of rank R, and dense ones at the right",
        caption="NFA correlation of the first layer by its share of the dense layer's weights, before and after training",
    ),
    Drawing(
        stem="modes", section="The ansatz under a rank constraint", table="networks/true/modes", x="share", curves=(Curve(y="nfa"),),
        series="mode", names="mode {}", where={"state": "trained", "gain": 0.25, "variant": ("rank", "dense")},
        labels=(_SHARE, "NFA correlation"), log="", title="The ansatz along each side of the image: {data}",
        subtitle="trained from a quarter of Xavier's initialisation",
        caption="NFA correlation of partial traces by share of weights: mode 1 is rows, mode 2 columns",
    ),
    Drawing(
        stem="accuracy", section="Accuracy", table="networks/true/whole", x="share", curves=(Curve(y="test_accuracy"),),
        series="variant",
        names={
            "rank": "rank R", "dense": "dense", "slim": "dense, fewer units", "permuted": "quarter, pixels permuted",
            "frozen": "quarter, factors frozen",
        },
        where={"state": "trained", "gain": 1.0}, labels=(_SHARE, "test accuracy"), log="", title="Accuracy by weights: {data}",
        subtitle="networks with one hidden layer; shares are of the first layer",
        caption="Test accuracy by the first layer's share of the dense layer's weights",
    ),
)  # fmt: skip

STUDY = Study(
    name="makantasis2021",
    title="Layers of rank R",
    cite=Citation(
        authors="Konstantinos Makantasis, Alexandros Georgogiannis, Athanasios Voulodimos, Ioannis Georgoulas, Anastasios Doulamis, "
        "Nikolaos Doulamis",
        title="Rank-R FNN: a tensor-based learning model for high-order data classification",
        venue="IEEE Access",
        year=2021,
    ),
    question="Is a first layer of rank R as good as a dense one at a quarter of the weights, and what does the constraint do to NFA?",
    work={"networks": "agop.experiments.studies.makantasis2021_work:run_networks"},
    units=units,
    claims=tuple(_claims()),
    drawings=DRAWINGS,
    data={"smoke": ("digits",), "small": ("mnist",), "paper": ("mnist", "fashion-mnist")},
    replaceable=True,
)
