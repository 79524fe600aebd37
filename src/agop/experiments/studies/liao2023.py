"""Liao, Liu et al. 2024: diffusion spectral entropy and mutual information of what a network's classifier reads.

The paper's bandwidth is a fixed σ = 10. Claims of the paper are decided with it; those beyond it with σ a quarter of the rms distance
of the points, in whose units no layer is larger than another. Held-out inputs are paired with their true labels, also where the network
was trained with shuffled ones (how the paper pairs them is not confirmed); what it says of the labels it was given is a claim of its own.

Thresholds are in bits: ten classes have log2 10 = 3.3. They were written down before the first run and stayed. In that run, with
cross-entropy, no network collapsed far (NC1 about 0.3). So a second training, with the squared loss of the collapse literature, was added
to decide what becomes of DSE in the terminal phase; it was chosen by training accuracy and NC1 alone, with a seed that is not reported.
B16 and B17 came with it, when values of NC1 and of DSMI with that loss were known; docs/papers/liao2023.md tells all runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agop.experiments import statistics as stat
from agop.experiments.claims import FAILS, HOLDS, Claim
from agop.experiments.drawing import Curve, Drawing, Line
from agop.experiments.study import Citation, Study
from agop.experiments.units import DataSource, Points, Unit

RISE, NEAR, FALL = 0.5, 0.33, 0.25
"""Bits: least rise that counts, greatest distance from log2 C that is still near it, least fall that counts."""

_RISE = "half a bit is a seventh of log2 10, and ten times what random subsets of the points differ by"
_NEAR = (
    "a third of a bit is a tenth of log2 10: the entropy of classes of which one in ten is still spread out"
)
_FALL = "a quarter of a bit is beyond what random subsets of the points differ by, and small, so that a shallow fall counts"


TRUE, SHUFFLED = "true labels", "shuffled labels"  # a column of "true" alone would be read as booleans
_SGD = {"optimiser": "sgd", "momentum": 0.9, "batch_size": 32, "schedule": "constant"}

TRAININGS: Mapping[str, Mapping[str, Any]] = {
    "": _SGD | {"loss": "cross-entropy", "lr": 0.02, "weight_decay": 5e-4, "init_gain": 1.0, "labels": [TRUE, SHUFFLED]},
    "-mse": _SGD | {"loss": "mse", "lr": 0.05, "weight_decay": 0.0, "init_gain": 0.7, "labels": [TRUE]},
}  # fmt: skip
"""By what is added to the architecture's name: how it is trained, and with which labels."""


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """What a size means here.

    `points` train the networks and the Deep RFM (None: all), `rows` of them, and as many held-out ones, are measured; `width`, `depth` of
    the MLP's hidden layers (`width` also of the CNN's, whose convolutions have `channels` and twice as many); `layers`, `features` of the
    Deep RFM, on `depth_points`.
    """

    points: int | None
    rows: int
    epochs: int
    width: int
    depth: int
    channels: int
    layers: int
    features: int
    depth_points: int
    architectures: tuple[str, ...] = ("mlp", "cnn")


AMOUNTS = {
    "smoke": Amounts(
        points=300, rows=150, epochs=40, width=128, depth=3, channels=8, layers=10, features=256, depth_points=400,
    ),
    "small": Amounts(
        points=1000, rows=500, epochs=80, width=256, depth=3, channels=8, layers=12, features=512, depth_points=1000,
    ),
    "paper": Amounts(
        points=None, rows=2000, epochs=200, width=512, depth=3, channels=32, layers=20, features=1024,
        depth_points=5000, architectures=("mlp", "cnn", "resnet18"),
    ),
}  # fmt: skip

FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)
_WORDS = {"mlp": "an MLP", "cnn": "a small CNN", "resnet18": "a ResNet-18"}


def units(size: str, seed: int, data: Points) -> Iterator[Unit]:
    """Networks, a Deep RFM, and points with a closed form."""
    assert isinstance(data, DataSource)
    p = AMOUNTS[size]
    for arch in p.architectures:
        for suffix, training in TRAININGS.items():
            depth = 1 if arch == "cnn" and not suffix else p.depth
            options = {
                "arch": arch,
                "epochs": p.epochs,
                "rows": p.rows,
                "width": p.width,
                "depth": depth,
                **training,
            }
            options |= {"channels": p.channels, "factors": list(FACTORS)}
            yield Unit(
                "networks", f"networks/{arch}{suffix}", seed, data.first(p.points), options, part="networks"
            )
    stack = {"layers": p.layers, "width": p.features, "bandwidth": 2.0, "ridge": 1e-3}
    own = {"deep_rfm": stack, "rows": p.rows}
    yield Unit("depth", "depth", seed, data.first(p.depth_points), own, part="depth")
    yield Unit("anchors", "anchors", seed, options={"classes": [2, 5, 10], "per_class": 20}, part="anchors")


def _curve(rows: Any, column: str, labels: str = TRUE, points: str = "held out") -> Any:
    """A column by epoch."""
    chosen = rows[(rows["labels"] == labels) & (rows["points"] == points)]
    return chosen.set_index("epoch")[column].sort_index()


def rise(column: str, labels: str = TRUE, points: str = "held out") -> stat.Statistic:
    """The value after training less that before."""

    def of_one(rows: Any) -> float:
        values = _curve(rows, column, labels, points)
        return values.iloc[-1] - values.iloc[0]

    return stat.per_seed(of_one)


def rise_of_true_labels(column: str) -> stat.Statistic:
    """The rise with true labels less that with shuffled ones, on held-out points."""

    def of_one(rows: Any) -> float:
        ends = [_curve(rows, column, labels).iloc[[0, -1]].to_numpy() for labels in (TRUE, SHUFFLED)]
        return (ends[0][1] - ends[0][0]) - (ends[1][1] - ends[1][0])

    return stat.per_seed(of_one)


def early_rise(column: str, labels: str) -> stat.Statistic:
    """The largest value in the first quarter of the epochs less that before training, on held-out points."""

    def of_one(rows: Any) -> float:
        values = _curve(rows, column, labels)
        return values[values.index <= values.index.max() / 4].max() - values.iloc[0]

    return stat.per_seed(of_one)


def at_end(column: str) -> stat.Statistic:
    """The last value, with true labels on training points."""
    return stat.per_seed(lambda rows: _curve(rows, column, points="train").iloc[-1])


def fall_from_peak(column: str) -> stat.Statistic:
    """The largest value less the last one, with true labels on training points."""

    def of_one(rows: Any) -> float:
        values = _curve(rows, column, points="train")
        return values.max() - values.iloc[-1]

    return stat.per_seed(of_one)


def distance_at_end(column: str, by: str = "epoch", **where: str) -> stat.Statistic:
    """How far the last value is from log2 C."""

    def of_one(rows: Any) -> float:
        import numpy as np

        for name, wanted in where.items():
            rows = rows[rows[name] == wanted]
        last = rows.sort_values(by).iloc[-1]
        return abs(last[column] - np.log2(last["classes"]))

    return stat.per_seed(of_one)


def _fitted(rows: Any) -> float:
    values = _curve(rows, "accuracy", points="train")
    return values[values.index >= 2 * values.index.max() / 3].min()


def _information_at_depth(rows: Any) -> float:
    import numpy as np

    rows = rows[(rows["rule"] == "agop") & (rows["points"] == "train")]
    last = rows.sort_values("layer").iloc[-1]
    return last["dsmi_rms"] / np.log2(last["classes"])


def spread(*columns: str) -> stat.Statistic:
    """The largest value over the factors less the smallest; the greatest of these over the columns."""
    return stat.per_seed(lambda rows: max(rows[column].max() - rows[column].min() for column in columns))


def _anchor(points: str, bandwidths: tuple[str, ...], against: str) -> stat.Statistic:
    def of_one(rows: Any) -> float:
        chosen = rows[(rows["points"] == points) & rows["bandwidth"].isin(bandwidths)]
        return (chosen["dse"] - chosen[against]).abs().max()

    return stat.per_seed(of_one)


def claims(size: str) -> Iterator[Claim]:
    """Those about every network that is trained, about depth, bandwidths and anchors."""
    for place, arch in enumerate(AMOUNTS[size].architectures):
        yield from _label_claims(arch, place / 100)
        for suffix in TRAININGS:
            yield from _terminal_claims(arch, suffix, place / 100 + len(suffix) / 1e4)
        yield _other_loss(arch, place / 100)
    yield from DEPTH + BANDWIDTH + ANCHORS


def _claim(
    identity: str, network: str, place: float, name: str, says: str, statistic: str, measure: stat.Statistic, relation: str,
    threshold: float, because: str, **more: Any,
) -> Claim:  # fmt: skip
    group: Any = {"C": "paper", "B": "beyond", "N": "control"}[identity[0]]
    side: Any = relation
    return Claim(
        id=f"{identity}-{network}", group=group, number=float(identity[1:]) + place, name=f"{network}: {name}", says=says,
        tables=(f"networks/{network}/curves",), statistic=statistic, measure=measure, relation=side, threshold=threshold,
        because=because, part="networks", **more,
    )  # fmt: skip


_RELATIVE = "σ a quarter of the rms distance"


def _for(network: str, place: float) -> Callable[..., Claim]:
    return lambda identity, *words, **more: _claim(identity, network, place, *words, **more)


def _label_claims(arch: str, place: float) -> Iterator[Claim]:
    """True against shuffled labels."""
    who, claim = _WORDS[arch], _for(arch, place)
    yield claim(
        "C1", "DSMI rises with true labels", f"Trained with true labels, {who} has features whose DSMI with them rises.",
        "DSMI (σ = 10, held-out points) after training less that before", rise("dsmi"), ">=", RISE, _RISE,
        controls=(f"N1-{arch}",),
    )  # fmt: skip
    yield claim(
        "C2", "and with them only", f"It rises with true labels only: {who} gains more from them than from shuffled ones.",
        "rise of DSMI (σ = 10, held-out points, true labels) when trained with true labels less that with shuffled ones",
        rise_of_true_labels("dsmi"), ">=", RISE, _RISE,
    )  # fmt: skip
    for number, labels in ((3, TRUE), (4, SHUFFLED)):
        yield claim(
            f"C{number}", f"DSE rises early, {labels}", f"Trained with {labels}, {who} has features whose DSE rises early.",
            "largest DSE (σ = 10, held-out points) in the first quarter of the epochs less that before training",
            early_rise("dse", labels), ">=", RISE, _RISE,
        )  # fmt: skip
    yield claim(
        "B1", "the rise of DSMI is not one of scale", f"In units of its own spread, the DSMI of {who} rises with true labels as well.",
        f"DSMI ({_RELATIVE}, held-out points) after training less that before", rise("dsmi_rms"), ">=", RISE, _RISE,
        expected=None,
    )  # fmt: skip
    for number, labels in ((2, TRUE), (3, SHUFFLED)):
        yield claim(
            f"B{number}", f"nor that of DSE, {labels}",
            f"In units of its own spread, the DSE of {who} that is trained with {labels} rises early as well.",
            f"largest DSE ({_RELATIVE}, held-out points) in the first quarter of the epochs less that before training",
            early_rise("dse_rms", labels), ">=", RISE, _RISE, expected=None,
        )  # fmt: skip
    yield claim(
        "B9", "DSMI with given labels",
        f"Trained with shuffled labels, {who} raises the DSMI with the labels it was given, on training points.",
        f"DSMI ({_RELATIVE}, training points, the shuffled labels) after training less that before",
        rise("dsmi_rms_given", SHUFFLED, "train"), ">=", RISE, _RISE,
    )  # fmt: skip
    yield claim(
        "N1", "DSMI rises with shuffled labels", f"Trained with shuffled labels, {who} raises the DSMI with the true ones, too.",
        "DSMI (σ = 10, held-out points, true labels) after training with shuffled labels less that before",
        rise("dsmi", SHUFFLED), ">=", RISE, "the threshold of C1", expected=FAILS,
    )  # fmt: skip


def _terminal_claims(arch: str, suffix: str, place: float) -> Iterator[Claim]:
    """What becomes of the training points when they are fitted."""
    who, claim = f"{_WORDS[arch]}{' with squared loss' if suffix else ''}", _for(f"{arch}{suffix}", place)
    yield claim(
        "B4", "terminal phase", f"In the last third of its training, {who} makes no error on the training points.",
        "least accuracy on all training points in the last third of the epochs, true labels", stat.per_seed(_fitted),
        ">=", 0.999, "the terminal phase of training begins where no error is left; one point in a thousand is forgiven",
        weigh_spread=False,
    )  # fmt: skip
    yield claim(
        "B16", "collapse", f"At the end of training, {who} has collapsed the classes of the training points.",
        "NC1 of what the classifier reads, training points, after training", at_end("nc1"), "<=", 0.1,
        "an order of magnitude less within classes than between; fall and end of DSE are to be read beside it", expected=None,
    )  # fmt: skip
    for number, column, words in ((5, "dse_rms", _RELATIVE), (6, "dse", "σ = 10")):
        yield claim(
            f"B{number}", f"DSE falls back, {words}", f"With true labels, the DSE of {who} on training points falls back after its peak.",
            f"largest DSE ({words}, training points) over the epochs less the last", fall_from_peak(column), ">=", FALL,
            _FALL, expected=HOLDS if number == 5 else None,
        )  # fmt: skip
    for number, column, words in ((7, "dse_rms", _RELATIVE), (8, "dse", "σ = 10")):
        yield claim(
            f"B{number}", f"to log2 C, {words}", f"At the end of training, the DSE of {who} on training points is near log2 C.",
            f"distance from log2 C of the last DSE ({words}, training points)",
            distance_at_end(column, labels=TRUE, points="train"), "<=", NEAR, _NEAR,
            expected=HOLDS if number == 7 else None,
        )  # fmt: skip


def _other_loss(arch: str, place: float) -> Claim:
    return _for(f"{arch}-mse", place)(
        "B17", "DSMI rises at σ = 10 with another loss",
        f"Trained with true labels and squared loss, {_WORDS[arch]} has features whose DSMI (σ = 10) rises as well.",
        "DSMI (σ = 10, held-out points) after training less that before", rise("dsmi"), ">=", RISE, "the threshold of C1", expected=None,
    )  # fmt: skip


def _at_depth(identity: str, number: float, rule: str, points: str, **more: Any) -> Claim:
    what = "a Deep RFM" if rule == "agop" else "random features without the projection"
    return Claim(
        id=identity, number=number, tables=("depth/curves",), part="depth", relation="<=", threshold=NEAR,
        statistic=f"distance from log2 C of DSE (σ a quarter of the rms distance, {points} points) of the last projected stage",
        measure=distance_at_end("dse_rms", "layer", rule=rule, points=points),
        says=f"Along the depth of {what}, the DSE of {points} points ends near log2 C.", **more,
    )  # fmt: skip


DEPTH = (
    _at_depth("B10", 10, "agop", "train", group="beyond", name="DSE at depth", because=_NEAR, controls=("N2",)),
    Claim(
        id="B11", group="beyond", number=11, name="DSMI at depth", tables=("depth/curves",), part="depth",
        says="Along the depth of a Deep RFM, the DSMI of training points ends near log2 C.",
        statistic="DSMI (σ a quarter of the rms distance, training points) of the last projected stage over log2 C",
        measure=stat.per_seed(_information_at_depth), relation=">=", threshold=0.9,
        because="nine tenths, as for the entropy; small subsets may miss a class, which costs a few hundredths",
    ),
    _at_depth(
        "B12", 12, "agop", "held out", group="beyond", name="DSE at depth, held out", because=_NEAR, expected=None
    ),
    _at_depth(
        "N2", 2, "identity", "train", group="control", name="no projection", because="the threshold of B10", expected=FAILS
    ),
)  # fmt: skip

_SPREAD = (
    "a bit, two factors of two in the number of directions, is more than DSE changes in most of training"
)

BANDWIDTH = (
    Claim(
        id="B13", group="beyond", number=13, name="a fixed σ measures units", tables=("networks/mlp/scales",), part="networks",
        says="Rescaling the weights about the last layer of an MLP, which leaves its function, changes the DSE at the paper's fixed σ.",
        statistic=f"largest less smallest DSE (σ = 10) over the factors {', '.join(f'{f:g}' for f in FACTORS)}",
        measure=spread("dse"), relation=">=", threshold=1.0, because=_SPREAD, controls=("N3",),
    ),
    Claim(
        id="N3", group="control", number=3, name="a relative σ, too", tables=("networks/mlp/scales",), part="networks",
        says="It changes the DSE at a σ that follows the scale (the median, or a quarter of the rms distance) as well.",
        statistic="the same with these two, the greater of both",
        measure=spread("dse_median", "dse_rms"), relation=">=", threshold=1.0, because="the threshold of B13", expected=FAILS,
    ),
)  # fmt: skip

_COLLAPSED = "collapsed classes at equal distances (2, 5 and 10 of them)"

ANCHORS = (
    Claim(
        id="B14", group="beyond", number=14, name="closed form", tables=("anchors/anchors",), part="anchors",
        says=f"For {_COLLAPSED}, the DSE is that of the closed form, at any bandwidth.",
        statistic="largest distance from the closed form", measure=_anchor("collapsed", ("rms", "median"), "predicted"),
        relation="<=", threshold=1e-6, because="an identity; what is left is rounding in eigenvalues that are 0",
    ),
    Claim(
        id="B15", group="beyond", number=15, name="a quarter of the rms distance tells classes apart", tables=("anchors/anchors",),
        part="anchors", says=f"For {_COLLAPSED}, the DSE at a quarter of the rms distance is log2 C.",
        statistic="largest distance from log2 C", measure=_anchor("collapsed", ("rms",), "log2_classes"),
        relation="<=", threshold=0.01, because="affinities between classes are below 4e-4", controls=("N4", "N5"),
    ),
    Claim(
        id="N4", group="control", number=4, name="the median does, too", tables=("anchors/anchors",), part="anchors",
        says=f"For {_COLLAPSED}, the DSE at the median distance is near log2 C.",
        statistic="largest distance from log2 C", measure=_anchor("collapsed", ("median",), "log2_classes"),
        relation="<=", threshold=NEAR, because=_NEAR, expected=FAILS,
    ),
    Claim(
        id="N5", group="control", number=5, name="points without classes", tables=("anchors/anchors",), part="anchors",
        says="One Gaussian cloud of as many points, in as many dimensions, has the DSE log2 C as well.",
        statistic="largest distance from log2 C at a quarter of the rms distance", measure=_anchor("one cloud", ("rms",), "log2_classes"),
        relation="<=", threshold=NEAR, because=_NEAR, expected=FAILS,
    ),
)  # fmt: skip


def drawings(size: str) -> Iterator[Drawing]:
    """Through training, along depth, by scale; at size smoke fewer, whose tables say the rest."""
    for arch in AMOUNTS[size].architectures:
        for suffix in TRAININGS if size != "smoke" else ("",):
            shown = _SHOWN[-1:] if suffix else _SHOWN[:2] + _SHOWN[3:] if size == "smoke" else _SHOWN
            yield from _network_drawings(arch, suffix, shown)
    yield from _DEPTH_DRAWINGS
    yield Drawing(
        stem="scales", section="Bandwidth", part="networks", table="networks/mlp/scales", x="factor", log="x",
        curves=(
            Curve(y="dse", name="σ = 10, the paper's"), Curve(y="dse_rms", name="¼ rms distance"),
            Curve(y="dse_median", name="median distance"),
        ),
        labels=("factor of the features", "DSE (bits)"), title="One function in other units, MLP on {data}",
        subtitle="weights before the last layer times a factor, those of the last layer divided by it",
        caption="DSE of the features of one trained MLP whose function is written with other scales",
    )  # fmt: skip


_LABELS = {TRUE: TRUE, SHUFFLED: SHUFFLED}
_COLLAPSE = (Line("log2_classes", "log2 C: collapse"),)


_SHOWN = (("dsmi", "held out"), ("dse", "held out"), ("dsmi_rms", "held out"), ("dse_rms", "train"))
_WHERE = {"held out": "held-out points", "train": "training points"}


def _network_drawings(arch: str, suffix: str, shown: Sequence[tuple[str, str]]) -> Iterator[Drawing]:
    network = f"{arch.upper()}{' with squared loss' if suffix else ''}"
    for column, points in shown:
        name = column.removesuffix("_rms").upper()
        bandwidth = _RELATIVE if column.endswith("_rms") else "σ = 10"
        yield Drawing(
            stem=f"{arch}{suffix}-{column}-{points}".replace("_", "-").replace(" ", "-"), section=f"Through training: {network}",
            part="networks", table=f"networks/{arch}{suffix}/curves", x="epoch", x_add=1, log="x", series="labels", names=_LABELS,
            y=column, where={"points": points}, labels=("epoch + 1", f"{name} (bits)"), lines=_COLLAPSE,
            title=f"{network} on {{data}}: {name} of what the classifier reads", subtitle=f"{bandwidth}, {_WHERE[points]}, true labels",
            caption=f"{name} through training, {bandwidth}, {_WHERE[points]}",
        )  # fmt: skip


_RULES: Mapping[str, str] = {"agop": "Deep RFM", "identity": "without projection"}

_DEPTH_DRAWINGS = tuple(
    Drawing(
        stem=f"depth-{column.replace('_', '-')}-{points.replace(' ', '-')}", section="Along the depth of a Deep RFM", part="depth",
        table="depth/curves", y=column, where={"points": points}, series="rule", names=_RULES, log="",
        labels=("layer", f"{name} (bits)"), lines=_COLLAPSE, title=f"{name} along the depth of a Deep RFM on {{data}}",
        subtitle=f"projected stage, {_WHERE[points]}, {_RELATIVE}", caption=f"{name} by layer, {_WHERE[points]}",
    )
    for column, name, points in (("dse_rms", "DSE", "train"), ("dse_rms", "DSE", "held out"), ("dsmi_rms", "DSMI", "train"))
)  # fmt: skip


def facts(size: str) -> Mapping[str, str]:
    """Networks and Deep RFM in numbers."""
    p = AMOUNTS[size]
    points = "all training points" if p.points is None else f"{p.points:,} training points or all"
    return {
        "Networks": f"{', '.join(p.architectures)} on {points}; SGD, {p.epochs} epochs, batches of 32, momentum 0.9; cross-entropy with "
        "true and with shuffled labels (rate 0.02, weight decay 5e-4), and squared loss with true ones (rate 0.05, no decay)",
        "Measured on": f"{p.rows:,} training and as many held-out points (or all), before the last linear layer",
        "Deep RFM": f"{p.depth_points:,} points, {p.layers} layers of width {p.features}",
    }


_HERE = "agop.experiments.studies.liao2023_work"

STUDY = Study(
    name="liao2023",
    title="Diffusion spectral entropy through training and depth",
    cite=Citation(
        authors="Danqi Liao, Chen Liu, Benjamin W. Christensen, Alexander Tong, Guillaume Huguet, Guy Wolf, Maximilian Nickel, "
        "Ian Adelstein, Smita Krishnaswamy",
        title="Assessing neural network representations during training using noise-resilient diffusion spectral entropy",
        venue="CISS",
        year=2024,
        arxiv="2312.04823",
    ),
    question="Over how many directions do a network's features spread, and how much of that do the labels explain?",
    work={
        "networks": f"{_HERE}:run_networks",
        "depth": f"{_HERE}:run_depth",
        "anchors": f"{_HERE}:run_anchors",
    },
    units=units,
    claims=claims,
    drawings=drawings,
    data={"smoke": ("digits",), "small": ("fashion-mnist",), "paper": ("mnist", "cifar10")},
    replaceable=True,
    parts=("networks", "depth", "anchors"),
    facts=facts,
)
