"""The claims of the paper (C1 to C6), claims beyond it (B), and controls (N), with thresholds written down before looking.

C1 to C6 are those of Beaglehole, Súkeník, Mondelli, Belkin 2024 (arXiv 2402.13728), in our words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from agop.experiments import statistics as stat
from agop.experiments.claims import FAILS, Claim

_GEOMETRIC = "the paper sees about 1/2; 3/4 is nearly half way, in logarithms, from there to no fall, and still 300-fold in 20 layers"
_FACTOR = "factor per layer of NC1 of the projected stage (exp of the slope of ln NC1 against the layer)"

DEEP_RFM = (
    Claim(
        id="C1.1", says="In a Deep RFM with ReLU features, NC1 of the projected stage falls geometrically with depth.",
        experiment="deep-rfm", tables=("deep-rfm/relu/profile",), statistic=_FACTOR, measure=stat.fall_per_layer(),
        relation="<=", threshold=0.75, because=_GEOMETRIC,
    ),
    Claim(
        id="C1.2", says="The fall is geometric: ln NC1 against the layer is a straight line.",
        experiment="deep-rfm", tables=("deep-rfm/relu/profile",),
        statistic="R² of that line", measure=stat.straightness(), relation=">=", threshold=0.95,
        because="a curve that levels off, such as 1/layer over ten layers, has an R² of about 0.9",
    ),
    Claim(
        id="C1.3", says="NC2 of the projected stage falls with depth, too.",
        experiment="deep-rfm", tables=("deep-rfm/relu/profile",),
        statistic="NC2 of the projected stage, last layer over first", measure=stat.last_over_first("nc2"),
        relation="<=", threshold=0.5, because="the paper gives no rate; halving is the least one would call a fall",
    ),
    Claim(
        id="C1.4", says="With cosine features, NC1 of the projected stage falls with depth as well.",
        experiment="deep-rfm", tables=("deep-rfm/cosine/profile",),
        statistic="NC1 of the projected stage, last layer over first", measure=stat.last_over_first("nc1"),
        relation="<=", threshold=0.1,
        because="the fall flattens out for cosine features, so no rate is asked for, but an order of magnitude",
    ),
    Claim(
        id="C2.1", says="The AGOP projection collapses in every layer: NC1 of the projected stage is far below that of the input.",
        experiment="deep-rfm", tables=("deep-rfm/relu/profile",),
        statistic="largest over layers of NC1 projected / NC1 input", measure=stat.worst_projection(),
        relation="<=", threshold=0.5, because="far below is read as less than half, in the worst layer",
    ),
    Claim(
        id="C2.2", says="The random feature map gives back a little of what the projection gained.",
        experiment="deep-rfm", tables=("deep-rfm/relu/profile",),
        statistic="median over layers of ln(output/projected) / ln(input/projected)", measure=stat.given_back(),
        relation="<=", threshold=0.5, because="less than half of the drop; more, and the map would rival the projection",
    ),
)  # fmt: skip


def _paired(first: pd.DataFrame, second: pd.DataFrame) -> dict[int, float]:
    return stat.largest_deviation("first", "second")(stat.between_runs(first, second))


def _true_labels(table: pd.DataFrame) -> dict[int, float]:
    return stat.fall_per_layer("nc1_true")(table)


BEYOND = (
    Claim(
        id="B1", says="In exact arithmetic (float64) the collapse continues: the second half of 20 layers still falls geometrically.",
        experiment="deep-rfm", tables=("deep-rfm/float64/profile",),
        statistic=_FACTOR + ", layers 11 to 20", measure=stat.fall_per_layer(second_half=True),
        relation="<=", threshold=0.75, because="the threshold of C1.1",
    ),
    Claim(
        id="B2", says="This library's float32 procedure follows float64 through 20 layers.",
        experiment="deep-rfm", tables=("deep-rfm/float32/profile", "deep-rfm/float64/profile"),
        statistic="largest over layers of |ln| of the ratio of the two NC1 (projected)", measure=_paired,
        relation="<=", threshold=0.1, because="a tenth cannot be seen in a logarithmic plot over seven decades",
    ),
    Claim(
        id="B3", says="The collapse holds on held-out points.",
        experiment="deep-rfm", tables=("deep-rfm/relu/profile",),
        statistic="decades that NC1 (projected) falls on test points, over those on training points", measure=stat.share_of_fall(),
        relation=">=", threshold=0.5, because="1 would be a collapse that generalises in full; less than half is another phenomenon",
        expected=None,
    ),
    Claim(
        id="B4", says="With a fifth of the training labels wrong, training points collapse onto the labels they were given.",
        experiment="deep-rfm", tables=("deep-rfm/noise/profile",), statistic=_FACTOR + ", given labels",
        measure=stat.fall_per_layer(), relation="<=", threshold=0.75, because="the threshold of C1.1", expected=None,
    ),
    Claim(
        id="B5", says="Under label noise the training points collapse onto their true classes.",
        experiment="deep-rfm", tables=("deep-rfm/noise/profile",), statistic=_FACTOR + ", true labels",
        measure=_true_labels, relation="<=", threshold=0.75, because="the threshold of C1.1", expected=None,
    ),
    Claim(
        id="B6", says="With imbalanced classes (the rarest a tenth of the most frequent) NC1 still falls geometrically.",
        experiment="deep-rfm", tables=("deep-rfm/imbalanced/profile",), statistic=_FACTOR, measure=stat.fall_per_layer(),
        relation="<=", threshold=0.75, because="the threshold of C1.1", expected=None,
    ),
    Claim(
        id="B7", says="With imbalanced classes the class means still approach a simplex ETF.",
        experiment="deep-rfm", tables=("deep-rfm/imbalanced/profile",),
        statistic="NC2 of the projected stage, last layer over first", measure=stat.last_over_first("nc2"),
        relation="<=", threshold=0.5, because="the threshold of C1.3", expected=None,
    ),
)  # fmt: skip


def _control(number: int, rule: str, says: str) -> Claim:
    return Claim(
        id=f"N{number}", says=says, experiment="deep-rfm", tables=(f"control/{rule}/profile",), statistic=_FACTOR,
        measure=stat.fall_per_layer(), relation="<=", threshold=0.75, because="the threshold of C1.1", expected=FAILS,
    )  # fmt: skip


CONTROLS = (
    _control(1, "random", "Random directions with the AGOP's spectrum collapse the classes as well."),
    _control(2, "pca", "Principal directions with the AGOP's spectrum collapse the classes as well."),
    _control(3, "identity", "Random features without any projection collapse the classes as well."),
    _control(4, "shuffled", "The AGOP of a fit to shuffled labels collapses the classes as well."),
    Claim(
        id="N5", says="A Deep RFM collapses labels that it was not fitted to: NC1 falls when measured with permuted labels.",
        experiment="deep-rfm", tables=("deep-rfm/relu/profile",), statistic=_FACTOR + ", permuted labels",
        measure=stat.fall_per_layer("nc1_permuted"), relation="<=", threshold=0.75, because="the threshold of C1.1", expected=FAILS,
    ),
    Claim(
        id="N6", says="The procedure written naively in float32 (expanded squared distances) follows float64 through 20 layers, too.",
        experiment="deep-rfm", tables=("control/naive/profile", "deep-rfm/float64/profile"),
        statistic="largest over layers of |ln| of the ratio of the two NC1 (projected)", measure=_paired,
        relation="<=", threshold=0.1, because="the threshold of B2", expected=FAILS,
    ),
)  # fmt: skip


def _exact(table: pd.DataFrame) -> dict[int, float]:
    above = table[table["predicted"] > 1e-12]
    return stat.per_seed(lambda rows: float(np.max(np.abs(rows["measured"] / rows["predicted"] - 1))))(above)


def _rate_error(table: pd.DataFrame) -> dict[int, float]:
    return stat.per_seed(lambda rows: float(np.max(np.abs(rows["measured"] / rows["closed_form"] - 1))))(
        table[table["set"] == "toy"]
    )


def _order(table: pd.DataFrame) -> dict[int, float]:
    """Share of pairs of shifts, among those with one λ_Φ, in which the smaller ratio has the smaller factor."""

    def of_one(rows: pd.DataFrame) -> float:
        right = total = 0
        for _, group in rows.groupby(["set", "lambda_phi"]):
            ordered = group.sort_values("ratio")
            factors = ordered["measured"].to_numpy(float)
            for i in range(len(factors)):
                for j in range(i + 1, len(factors)):
                    total += 1
                    right += bool(factors[i] < factors[j])
        return right / total if total else float("nan")

    return stat.per_seed(of_one)(table)


def _direction(table: pd.DataFrame) -> dict[int, float]:
    return stat.per_seed(lambda rows: float(rows["distance"].max()))(
        table[(table["set"] == "toy") & (table["ratio"] <= 1)]
    )


def _width_slope(table: pd.DataFrame) -> dict[int, float]:
    def of_one(rows: pd.DataFrame) -> float:
        errors = rows[rows["layer"] > 1].groupby("width")["error"].median()
        return float(np.polyfit(np.log(errors.index.to_numpy(float)), np.log(errors.to_numpy(float)), 1)[0])

    return stat.per_seed(of_one)(table)


def _path(classes: str, column: str) -> Any:
    def of_one(rows: pd.DataFrame) -> float:
        return float(rows[rows["classes"] == classes].sort_values("step")[column].iloc[-1])

    return stat.per_seed(of_one)


THEORY = (
    Claim(
        id="C5.1", says="A linear Deep RFM whose features realise G + λ_Φ I exactly follows the recursion of the theory.",
        experiment="theory", tables=("theory/linearised/curves",),
        statistic="largest relative error of NC1 (projected) while it is above 1e-12", measure=_exact,
        relation="<=", threshold=1e-4, because="an identity: what is left is the rounding of float64, amplified at deep collapse",
    ),
    Claim(
        id="C5.2", says="NC1 of the projected stage falls geometrically, at the rate of the closed form.",
        experiment="theory", tables=("theory/linearised/rates",),
        statistic="largest relative error of the last measured factor against the closed form (toy set, all shifts)",
        measure=_rate_error, relation="<=", threshold=0.1,
        because="the closed form is the limit of many layers; slow cases are not quite there in the layers that are run",
    ),
    Claim(
        id="C5.3", says="The collapse is faster for smaller λ_k / λ_Φ.",
        experiment="theory", tables=("theory/linearised/rates",),
        statistic="share of pairs with one λ_Φ in which the smaller λ_k has the smaller factor", measure=_order,
        relation=">=", threshold=1.0, because="a monotone relation has no exception",
    ),
    Claim(
        id="C5.4", says="The projected Gram matrix converges to a multiple of YYᵀ where λ_k ≤ λ_Φ.",
        experiment="theory", tables=("theory/linearised/rates",),
        statistic="largest Frobenius distance of the two, each of norm 1, in the last layer (toy set)", measure=_direction,
        relation="<=", threshold=0.05, because="at 0.05 the two share 99.9 % of their squared norm",
    ),
    Claim(
        id="C5.5", says="Random features with noise approach the theory as they get wider.",
        experiment="theory", tables=("theory/linearised/wide",),
        statistic="slope of ln(median relative error of NC1) against ln(width), layers 2 to 4", measure=_width_slope,
        relation="<=", threshold=-0.5, because="1/√width is the law of large numbers",
    ),
    Claim(
        id="B8", says="With shifts estimated from its kernels, the linearised theory predicts each layer of a Laplace/ReLU Deep RFM.",
        experiment="theory", tables=("theory/reach/curves",),
        statistic="median over layers of the factor between predicted and measured NC1 (projected)",
        measure=stat.median_factor("step", "measured"), relation="<=", threshold=2.0,
        because="a factor of two is what one layer changes; worse, and the prediction is off by a layer", expected=None,
    ),
    Claim(
        id="B9", says="Iterated from the first layer's input, it predicts the whole curve of a Laplace/ReLU Deep RFM.",
        experiment="theory", tables=("theory/reach/curves",),
        statistic="median over layers of the factor between predicted and measured NC1 (projected)",
        measure=stat.median_factor("rollout", "measured"), relation="<=", threshold=2.0,
        because="the threshold of B8", expected=None,
    ),
    Claim(
        id="C6.1", says="Over kernels with diagonal at most 1, gradient descent from a data kernel ends at the collapsed kernel.",
        experiment="theory", tables=("theory/kernel/path",),
        statistic="relative Frobenius distance to the collapsed kernel at the end (balanced classes)",
        measure=_path("balanced", "distance"), relation="<=", threshold=0.01,
        because="data kernels start above 0.5; the value is matched to 1e-6, and the distance goes with its square root",
    ),
    Claim(
        id="C6.2", says="No kernel on the way is better than the collapsed one: the lower bound is never undercut.",
        experiment="theory", tables=("theory/kernel/path",),
        statistic="smallest relative gap of the objective to the lower bound",
        measure=stat.per_seed(lambda rows: float(rows["gap"].min())), relation=">=", threshold=-1e-9,
        because="an inequality: only rounding may be below zero",
    ),
    Claim(
        id="B10", says="The same with imbalanced classes: the collapsed kernel is the optimum, and it is reached.",
        experiment="theory", tables=("theory/kernel/path",),
        statistic="relative Frobenius distance to the collapsed kernel at the end (imbalanced classes)",
        measure=_path("imbalanced", "distance"), relation="<=", threshold=0.01, because="the threshold of C6.1",
    ),
    Claim(
        id="N7", says="The learned kernel is near the collapsed kernel of permuted labels.",
        experiment="theory", tables=("theory/kernel/path",),
        statistic="relative Frobenius distance to it at the end (balanced classes)",
        measure=_path("balanced", "distance_permuted"), relation="<=", threshold=0.01,
        because="the threshold of C6.1", expected=FAILS,
    ),
)  # fmt: skip

CLAIMS: tuple[Claim, ...] = DEEP_RFM + THEORY + BEYOND + CONTROLS
"""Every claim, in the order of the verdict table."""


def claims_of(experiments: tuple[str, ...]) -> tuple[Claim, ...]:
    """The claims that these experiments can decide, sorted: the paper's, those beyond it, controls."""
    order = {"C": 0, "B": 1, "N": 2}
    chosen = [claim for claim in CLAIMS if claim.experiment in experiments]
    return tuple(sorted(chosen, key=lambda claim: (order[claim.id[0]], float(claim.id[1:]))))
