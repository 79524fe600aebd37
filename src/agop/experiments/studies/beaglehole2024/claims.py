"""Claims about Deep RFM: the paper's (C1, C2, in our words), claims beyond it (B), controls (N); thresholds were written down before.

C3 to C6 are in network_claims.py and theory_claims.py.
"""

from __future__ import annotations

from agop.experiments import statistics as stat
from agop.experiments.claims import FAILS, Claim, Table

_GEOMETRIC = "the paper sees about 1/2; 3/4 is nearly half way, in logarithms, from there to no fall, and still 300-fold in 20 layers"
_FACTOR = "factor per layer of NC1 of the projected stage (exp of the slope of ln NC1 against the layer)"

DEEP_RFM = (
    Claim(
        id="C1.1", group="paper", number=1.1, name="NC1 falls with depth",
        says="In a Deep RFM with ReLU features, NC1 of the projected stage falls geometrically with depth.",
        part="deep-rfm", tables=("deep-rfm/relu/profile",), statistic=_FACTOR, measure=stat.fall_per_layer(),
        relation="<=", threshold=0.75, because=_GEOMETRIC,
        controls=("N1", "N2", "N3", "N4", "N5"),
    ),
    Claim(
        id="C1.2", group="paper", number=1.2, name="and geometrically",
        says="The fall is geometric: ln NC1 against the layer is a straight line.",
        part="deep-rfm", tables=("deep-rfm/relu/profile",),
        statistic="R² of that line", measure=stat.straightness(), relation=">=", threshold=0.95,
        because="a curve that levels off, such as 1/layer over ten layers, has an R² of about 0.9",
    ),
    Claim(
        id="C1.3", group="paper", number=1.3, name="NC2 falls with depth",
        says="NC2 of the projected stage falls with depth, too.",
        part="deep-rfm", tables=("deep-rfm/relu/profile",),
        statistic="NC2 of the projected stage, last layer over first", measure=stat.last_over_first("nc2"),
        relation="<=", threshold=0.5, because="the paper gives no rate; halving is the least one would call a fall",
    ),
    Claim(
        id="C1.4", group="paper", number=1.4, name="NC1 falls, cosine features",
        says="With cosine features, NC1 of the projected stage falls with depth as well.",
        part="deep-rfm", tables=("deep-rfm/cosine/profile",),
        statistic="NC1 of the projected stage, last layer over first", measure=stat.last_over_first("nc1"),
        relation="<=", threshold=0.1,
        because="the fall flattens out for cosine features, so no rate is asked for, but an order of magnitude",
    ),
    Claim(
        id="C2.1", group="paper", number=2.1, name="the projection collapses",
        says="The AGOP projection collapses in every layer: NC1 of the projected stage is far below that of the input.",
        part="deep-rfm", tables=("deep-rfm/relu/profile",),
        statistic="largest over layers of NC1 projected / NC1 input", measure=stat.worst_projection(),
        relation="<=", threshold=0.5, because="far below is read as less than half, in the worst layer",
    ),
    Claim(
        id="C2.2", group="paper", number=2.2, name="features give back little",
        says="The random feature map gives back a little of what the projection gained.",
        part="deep-rfm", tables=("deep-rfm/relu/profile",),
        statistic="median over layers of ln(output/projected) / ln(input/projected)", measure=stat.given_back(),
        relation="<=", threshold=0.5, because="less than half of the drop; more, and the map would rival the projection",
    ),
)  # fmt: skip


def _paired(first: Table, second: Table) -> dict[int, float]:
    return stat.largest_deviation("first", "second")(stat.between_runs(first, second))


def _true_labels(table: Table) -> dict[int, float]:
    return stat.fall_per_layer("nc1_true")(table)


BEYOND = (
    Claim(
        id="B1", group="beyond", number=1, name="collapse goes on in float64",
        says="In exact arithmetic (float64) the collapse continues: the second half of 20 layers still falls geometrically.",
        part="deep-rfm", tables=("deep-rfm/float64/profile",),
        statistic=_FACTOR + ", layers 11 to 20", measure=stat.fall_per_layer(second_half=True),
        relation="<=", threshold=0.75, because="the threshold of C1.1",
    ),
    Claim(
        id="B2", group="beyond", number=2, name="float32 follows float64",
        says="This library's float32 procedure follows float64 through 20 layers.",
        part="deep-rfm", tables=("deep-rfm/float32/profile", "deep-rfm/float64/profile"),
        statistic="largest over layers of |ln| of the ratio of the two NC1 (projected)", measure=_paired,
        relation="<=", threshold=0.1, because="a tenth cannot be seen in a logarithmic plot over seven decades",
        controls=("N6",),
    ),
    Claim(
        id="B3", group="beyond", number=3, name="collapse on held-out points",
        says="The collapse holds on held-out points.",
        part="deep-rfm", tables=("deep-rfm/relu/profile",),
        statistic="decades that NC1 (projected) falls on test points, over those on training points", measure=stat.share_of_fall(),
        relation=">=", threshold=0.5, because="1 would be a collapse that generalises in full; less than half is another phenomenon",
        expected=None,
    ),
    Claim(
        id="B4", group="beyond", number=4, name="noisy labels: given ones",
        says="With a fifth of the training labels wrong, training points collapse onto the labels they were given.",
        part="deep-rfm", tables=("deep-rfm/noise/profile",), statistic=_FACTOR + ", given labels",
        measure=stat.fall_per_layer(), relation="<=", threshold=0.75, because="the threshold of C1.1", expected=None,
        controls=("N5",),
    ),
    Claim(
        id="B5", group="beyond", number=5, name="noisy labels: true ones",
        says="Under label noise the training points collapse onto their true classes.",
        part="deep-rfm", tables=("deep-rfm/noise/profile",), statistic=_FACTOR + ", true labels",
        measure=_true_labels, relation="<=", threshold=0.75, because="the threshold of C1.1", expected=None,
        controls=("N5",),
    ),
    Claim(
        id="B6", group="beyond", number=6, name="NC1, imbalanced classes",
        says="With imbalanced classes (the rarest a tenth of the most frequent) NC1 still falls geometrically.",
        part="deep-rfm", tables=("deep-rfm/imbalanced/profile",), statistic=_FACTOR, measure=stat.fall_per_layer(),
        relation="<=", threshold=0.75, because="the threshold of C1.1", expected=None,
        controls=("N5",),
    ),
    Claim(
        id="B7", group="beyond", number=7, name="NC2, imbalanced classes",
        says="With imbalanced classes the class means still approach a simplex ETF.",
        part="deep-rfm", tables=("deep-rfm/imbalanced/profile",),
        statistic="NC2 of the projected stage, last layer over first", measure=stat.last_over_first("nc2"),
        relation="<=", threshold=0.5, because="the threshold of C1.3", expected=None,
    ),
)  # fmt: skip


def _control(number: int, rule: str, name: str, says: str) -> Claim:
    return Claim(
        id=f"N{number}", group="control", number=number, name=name, says=says, part="deep-rfm",
        tables=(f"control/{rule}/profile",), statistic=_FACTOR,
        measure=stat.fall_per_layer(), relation="<=", threshold=0.75, because="the threshold of C1.1", expected=FAILS,
    )  # fmt: skip


CONTROLS = (
    _control(1, "random", "random directions", "Random directions with the AGOP's spectrum collapse the classes as well."),
    _control(2, "pca", "principal directions", "Principal directions with the AGOP's spectrum collapse the classes as well."),
    _control(3, "identity", "no projection", "Random features without any projection collapse the classes as well."),
    _control(4, "shuffled", "AGOP of shuffled labels", "The AGOP of a fit to shuffled labels collapses the classes as well."),
    Claim(
        id="N5", group="control", number=5, name="permuted labels",
        says="A Deep RFM collapses labels that it was not fitted to: NC1 falls when measured with permuted labels.",
        part="deep-rfm", tables=("deep-rfm/relu/profile",), statistic=_FACTOR + ", permuted labels",
        measure=stat.fall_per_layer("nc1_permuted"), relation="<=", threshold=0.75, because="the threshold of C1.1", expected=FAILS,
    ),
    Claim(
        id="N6", group="control", number=6, name="naive float32 follows",
        says="The procedure written naively in float32 (expanded squared distances) follows float64 through 20 layers, too.",
        part="deep-rfm", tables=("control/naive/profile", "deep-rfm/float64/profile"),
        statistic="largest over layers of |ln| of the ratio of the two NC1 (projected)", measure=_paired,
        relation="<=", threshold=0.1, because="the threshold of B2", expected=FAILS,
    ),
)  # fmt: skip
