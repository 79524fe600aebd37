"""The figures: Deep RFM, networks, theory, what goes beyond the paper, controls; sections in this order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from agop.experiments.drawing import Above, Curve, Drawing, Pick

_TRAIN = {"points": "train"}
_PROJECTED = {"stage": "projected", "points": "train"}
_NC1 = ("layer", "NC1")


def figures(architectures: Sequence[str]) -> Iterator[Drawing]:
    """Every figure, with those of the architectures that are trained."""
    yield from DEEP_RFM
    for arch in architectures:
        yield from _network(arch)
    yield from THEORY
    yield from BEYOND
    yield CONTROLS


def _stages(variant: str, words: str, measure: str) -> Drawing:
    name = measure.upper()
    return Drawing(
        kind="stages", stem=f"{variant}-{measure}", section="Deep RFM", part="deep-rfm",
        table=f"deep-rfm/{variant}/profile", y=measure, where=_TRAIN,
        title=f"Deep RFM with {words} features on {{data}}: {name}",
        caption=f"{name} of the three stages by layer, {words} features",
    )  # fmt: skip


def _gram(variant: str, words: str) -> Drawing:
    return Drawing(
        kind="gram", stem=f"gram-{words}", section="Deep RFM", part="deep-rfm", table=f"deep-rfm/{variant}", file="gram.npz",
        title=f"Deep RFM with {words} features on {{data}}: cosines between class-sorted points",
        caption=f"Gram matrices of centred, class-sorted points, {words} features, first seed",
    )  # fmt: skip


DEEP_RFM = (
    *(_stages(*which, measure) for which in (("relu", "ReLU"), ("cosine", "cosine")) for measure in ("nc1", "nc2")),
    Drawing(
        kind="accuracy", stem="relu-accuracy", section="Deep RFM", part="deep-rfm", table="deep-rfm/relu/layers",
        title="Deep RFM with ReLU features on {data}: accuracy", caption="Accuracy of the kernel machine of each layer",
    ),
    _gram("relu", "ReLU"),
    _gram("cosine", "cosine"),
)  # fmt: skip


def _network(arch: str) -> Iterator[Drawing]:
    profile, through, layers, epochs = (
        f"networks/{arch}/{name}" for name in ("profile", "through", "through_layers", "epochs")
    )
    shared: dict[str, Any] = {
        "section": "Networks",
        "part": "networks",
        "requires": (profile, through, layers, epochs),
    }
    title = f"{arch.upper()} on {{data}}: "
    yield Drawing(
        kind="stages", stem=f"{arch}-nc1", table=profile, y="nc1", title=title + "NC1 of trained layers",
        caption="NC1 of input, S Vᵀ and output of every head layer", **shared,
    )  # fmt: skip
    yield Drawing(
        stem=f"{arch}-through", table=through, where={"layer": Pick("middle")}, x="epoch", y="nc1", series="stage",
        title=title + "layer {layer} through training", subtitle="NC1 of the three stages", labels=("epoch", "NC1"),
        caption="NC1 of the stages of layer {layer} through training", **shared,
    )  # fmt: skip
    yield Drawing(
        stem=f"{arch}-nfa", table=layers, where={"layer": Pick("before last")}, x="epoch", y="nfa", series="layer", names="layer {}",
        title=title + "the ansatz through training", subtitle="correlation of WᵀW and AGOP$^{{1/2}}$, hidden layers",
        labels=("epoch", "NFA"), log="", caption="NFA correlation of hidden layers through training", **shared,
    )  # fmt: skip
    yield Drawing(
        stem=f"{arch}-variance", table=through, where={"layer": Pick("last"), "stage": "input"}, x="epoch",
        curves=(Curve(y="trace_within_share", name="within classes"), Curve(y="trace_between_share", name="between classes")),
        title=title + "variance of the last layer's input", subtitle="share of the total variance", labels=("epoch", "share"),
        log="", caption="Variance fractions of the last layer's input", **shared,
    )  # fmt: skip
    yield Drawing(
        stem=f"{arch}-loss", table=epochs, x="number",
        curves=(Curve(y="loss", name="training"), Curve(y="test_loss", name="held out", gaps=False)),
        title=title + "loss", subtitle="mean squared error to ±1 targets", labels=("epoch", "loss"),
        caption="Loss through training", **shared,
    )  # fmt: skip


def _learning(column: str, words: str) -> Drawing:
    return Drawing(
        stem=f"kernel-{column}", section="Theory", part="theory", table="theory/kernel/path", x="step", x_add=1, log="xy",
        curves=(Curve(y=column, marker=False, floor=1e-12),), series="classes", each_seed=True, labels=("step", words),
        title="Learning the kernel of points of {data}",
        subtitle=f"{words}, relative; a curve per seed, from the Laplace kernel on",
        caption=f"Kernel learning: {words}, by step of projected gradient descent",
    )  # fmt: skip


THEORY = (
    Drawing(
        stem="linearised-{set}", section="Theory", part="theory", table="theory/linearised/curves", split="set",
        where={"predicted": Above(1e-22)},  # below, points are one to float64
        curves=(Curve(y="predicted", marker=False), Curve(y="measured", name="measured", line=False, named=False)),
        series=("lambda_k", "lambda_phi"), names="λk {:g}, λΦ {:g}", labels=_NC1,
        title="Linearised Deep RFM on {set}: theory and measurement",
        subtitle="NC1 of the projected stage: predicted (lines), measured with exact features (marks)",
        caption="NC1 predicted by the recursion of Gram matrices and measured on features, {set}",
    ),
    Drawing(
        stem="linearised-rates", section="Theory", part="theory", table="theory/linearised/rates",
        where={"lambda_phi": Pick("first")}, x="ratio", series="set",
        curves=(Curve(y="closed_form", name="closed form", marker=False), Curve(y="measured", name="measured", line=False)),
        title="How fast the linearised Deep RFM collapses", subtitle="factor of NC1 per layer in the end, λΦ = {lambda_phi:g}",
        labels=("λk / λΦ", "NC1 factor per layer"), log="xy", caption="Rate of collapse, in closed form and measured",
    ),
    Drawing(
        stem="linearised-wide", section="Theory", part="theory", table="theory/linearised/wide", where={"layer": Above(1)},
        x="width", y="error", series="layer", names="layer {}", title="Random features approach the theory",
        subtitle="relative error of NC1 of the projected stage", labels=("width", "relative error"), log="xy",
        caption="Error of the theory against the width of random features",
    ),
    Drawing(
        stem="reach", section="Theory", part="theory", table="theory/reach/curves", labels=_NC1,
        curves=(
            Curve(y="measured", name="measured"), Curve(y="step", name="from each layer's input"),
            Curve(y="rollout", name="from the first input"),
        ),
        title="How far the linearised theory reaches on {data}",
        subtitle="NC1 of the projected stage of a Laplace/ReLU Deep RFM, measured and predicted",
        caption="A Laplace/ReLU Deep RFM and its prediction by the linearised theory with estimated shifts",
    ),
    _learning("distance", "distance to the collapsed kernel"),
    _learning("gap", "gap to the lower bound"),
    Drawing(
        kind="matrix", stem="kernel-matrices", section="Theory", part="theory", table="theory/kernel", file="kernels.npz",
        arrays=tuple(
            tuple((f"{classes}/{when}", f"{words}, {classes}") for when, words in (("start", "data kernel"), ("end", "learned kernel")))
            for classes in ("balanced", "imbalanced")
        ),
        title="Kernels of points of {data}, before and after learning", labels=("", "kernel value"),
        caption="The data kernel and the learned one, balanced and imbalanced classes",
    ),
)  # fmt: skip


def _imbalanced(measure: str) -> Drawing:
    name = measure.upper()
    return Drawing(
        kind="stages", stem=f"imbalanced-{measure}", section="Beyond the paper", part="deep-rfm",
        table="deep-rfm/imbalanced/profile", y=measure, where=_TRAIN, title=f"Imbalanced classes on {{data}}: {name}",
        caption=f"{name} of the three stages with imbalanced classes",
    )  # fmt: skip


BEYOND = (
    Drawing(
        stem="held-out", section="Beyond the paper", part="deep-rfm", table="deep-rfm/relu/profile", y="nc1",
        where={"stage": "projected"}, needs={"points": "test"}, series="points", names={"train": "training", "test": "held out"},
        title="Deep RFM on {data}: points it was not fitted to", subtitle="NC1 of the projected stage", labels=_NC1,
        caption="NC1 of the projected stage on training and on held-out points",
    ),
    Drawing(
        stem="arithmetic", section="Beyond the paper", part="deep-rfm", where=_PROJECTED, labels=_NC1,
        curves=(
            Curve(table="deep-rfm/float64/profile", y="nc1", name="float64", marker=False),
            Curve(table="deep-rfm/float32/profile", y="nc1", name="float32, this library", line=False),
            Curve(table="control/naive/profile", y="nc1", name="float32, naive"),
        ),
        title="Arithmetic on {data}", subtitle="NC1 of the projected stage",
        caption="NC1 of the projected stage in float64, in float32, and in float32 with expanded squared distances",
    ),
    Drawing(
        stem="noise", section="Beyond the paper", part="deep-rfm", table="deep-rfm/noise/profile", where=_PROJECTED, labels=_NC1,
        curves=(Curve(y="nc1", name="given labels"), Curve(y="nc1_true", name="true labels")),
        title="A fifth of the training labels is wrong: {data}", subtitle="NC1 of the projected stage on training points",
        caption="NC1 under label noise, against the given and the true labels",
    ),
    _imbalanced("nc1"),
    _imbalanced("nc2"),
)  # fmt: skip

CONTROLS = Drawing(
    stem="controls", section="Controls", part="deep-rfm", where=_PROJECTED, labels=_NC1,
    curves=tuple(
        Curve(table=f"control/{rule}/profile", y="nc1", name=name)
        for rule, name in (
            ("agop", "AGOP"), ("random", "random directions"), ("pca", "principal directions"), ("identity", "no projection"),
            ("shuffled", "AGOP of shuffled labels"),
        )
    ),
    title="Something else in the place of M$^{{1/2}}$ on {data}", subtitle="NC1 of the projected stage",
    caption="NC1 of the projected stage with the AGOP's square root, and with four other projections",
)  # fmt: skip
