"""Mallinar et al. 2024: recursive feature machines grok modular addition, and what moves before accuracy does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from agop.experiments.claims import FAILS, Claim
from agop.experiments.drawing import Curve, Drawing, Line
from agop.experiments.statistics import per_seed
from agop.experiments.study import Citation, Study
from agop.experiments.units import Points, Unit

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """What a size means: numbers are added modulo p, a share of all pairs is trained on; iterations of RFM, epochs of a network."""

    p: int
    share: float
    n_iter: int
    width: int
    epochs: int
    every: int


AMOUNTS = {
    "smoke": Amounts(p=31, share=0.6, n_iter=24, width=128, epochs=400, every=10),
    "small": Amounts(p=61, share=0.5, n_iter=30, width=256, epochs=1000, every=20),
    "paper": Amounts(p=61, share=0.5, n_iter=100, width=1024, epochs=2000, every=20),
}

MOVED = 0.05
"""Test accuracy up to which it has not moved yet: chance is 1/p, below that."""

_RFM = {
    "centred": (True, False, "agop"), "uncentred": (False, False, "agop"), "shuffled": (True, True, "agop"), "fact": (False, False, "fact"),
}  # fmt: skip
"""Whether gradients are centred, whether sums are shuffled among the pairs, and what the metric is learned from."""


def units(size: str, seed: int, data: Points) -> Iterator[Unit]:
    """RFMs with centred and uncentred gradients, a network, and both with shuffled sums."""
    a = asdict(AMOUNTS[size])
    task = {name: a[name] for name in ("p", "share")}
    for name, (centred, shuffled, update) in _RFM.items():
        told = {**task, "n_iter": a["n_iter"], "centred": centred, "shuffled": shuffled, "update": update}
        yield Unit("rfm", f"rfm/{name}", seed, options=told)
    for name, shuffled in (("plain", False), ("shuffled", True)):
        told = {**task, **{key: a[key] for key in ("width", "epochs", "every")}, "shuffled": shuffled}
        yield Unit("network", f"network/{name}", seed, options=told)


def before(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows up to the last one before test accuracy moves, from the first with a learned matrix on."""
    moved = (rows["test_accuracy"] > MOVED).to_numpy()
    end = int(moved.argmax()) if moved.any() else len(rows)
    return rows.iloc[:end].dropna(subset=["circulant"])


def _compared(column: str, how: Callable[[float, float], float]) -> Callable[..., dict[int, float]]:
    """The value at the last moment before accuracy moves, compared with the first; not a number if accuracy moves at once."""

    def of_one(rows: pd.DataFrame) -> float:
        there = before(rows)[column]
        return how(float(there.iloc[-1]), float(there.iloc[0])) if len(there) > 1 else float("nan")

    return per_seed(of_one)


def last(column: str) -> Callable[..., dict[int, float]]:
    """A column at the end."""
    return per_seed(lambda rows: float(rows[column].iloc[-1]))


_RISE = _compared("circulant", lambda end, start: end - start)
_NC1 = _compared("nc1", lambda end, start: end / start)
_CENTRED, _UNCENTRED, _SHUFFLED, _FACT = (f"rfm/{name}/path" for name in _RFM)
_NET, _NET_SHUFFLED = "network/plain/path", "network/shuffled/path"


def _claims() -> Iterator[Claim]:
    yield Claim(
        id="P1", group="paper", number=1, name="it groks", says="An RFM with centred gradients learns to add pairs that it has not seen.",
        tables=(_CENTRED,), statistic="test accuracy after the last iteration", measure=last("test_accuracy"), relation=">=", threshold=0.9,
        because="nearly all; chance is 1/p", controls=("N1", "N2"),
    )  # fmt: skip
    yield Claim(
        id="P2", group="paper", number=2, name="circulant before accuracy moves",
        says="The AGOP becomes circulant while test accuracy is still that of chance.", tables=(_CENTRED,),
        statistic=f"circulant share of the AGOP's off-diagonal block at the last iteration with test accuracy <= {MOVED:g}, less that of "
        "the first learned one", measure=_RISE, relation=">=", threshold=0.3,
        because="an independent run (p = 61) had .23 at the start and .80 three iterations before accuracy moved: half of that rise",
        controls=("N3",),
    )  # fmt: skip
    yield Claim(
        id="P3", group="paper", number=3, name="circulant in the end", says="In the end the block is circulant.", tables=(_CENTRED,),
        statistic="circulant share after the last iteration", measure=last("circulant"), relation=">=", threshold=0.9,
        because="a tenth is left to the choice of pairs; a random block has 1/p", controls=("N4",),
    )  # fmt: skip
    yield Claim(
        id="P4", group="paper", number=4, name="a network: circulant before accuracy moves",
        says="The AGOP of a network becomes more circulant, too, before its test accuracy moves.", tables=(_NET,),
        statistic=f"circulant share at the last measured epoch with test accuracy <= {MOVED:g} less that before training", measure=_RISE,
        relation=">=", threshold=0.1, because="three times what a random block has", controls=("N5",),
    )  # fmt: skip
    yield Claim(
        id="P5", group="paper", number=5, name="a network: it groks", says="The network learns to add pairs that it has not seen.",
        tables=(_NET,), statistic="test accuracy after training", measure=last("test_accuracy"), relation=">=", threshold=0.9,
        because="the threshold of P1", controls=("N6",),
    )  # fmt: skip
    yield Claim(
        id="B1", group="beyond", number=1, name="collapse before accuracy moves",
        says="Predictions of unseen pairs have begun to collapse by class while accuracy is that of chance.", tables=(_CENTRED,),
        statistic="NC1 of test predictions at the last iteration before accuracy moves over that of the first learned one", measure=_NC1,
        relation="<=", threshold=0.5, because="to half", controls=("N7",), expected=None,
    )  # fmt: skip
    yield Claim(
        id="B2", group="beyond", number=2, name="a network: collapse before accuracy moves",
        says="So have those of the network.", tables=(_NET,), statistic="as B1, over that before training", measure=_NC1, relation="<=",
        threshold=0.5, because="to half", expected=None,
    )  # fmt: skip
    yield Claim(
        id="B3", group="beyond", number=3, name="FACT groks",
        says="So does a machine whose metric is learned from FACT (arXiv 2507.05644), whose gradients need no centring.", tables=(_FACT,),
        statistic="as P1, update fact", measure=last("test_accuracy"), relation=">=", threshold=0.9, because="the threshold of P1",
        controls=("N2",),
    )  # fmt: skip
    yield Claim(
        id="N1", group="control", number=1, name="uncentred gradients: it groks",
        says="An RFM whose AGOP is the second moment of the gradients gets there in as many iterations.", tables=(_UNCENTRED,),
        statistic="as P1, uncentred", measure=last("test_accuracy"), relation=">=", threshold=0.9, because="the threshold of P1",
        expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N2", group="control", number=2, name="shuffled sums: it groks", says="Sums without a pattern are predicted.",
        tables=(_SHUFFLED,), statistic="as P1, shuffled sums", measure=last("test_accuracy"), relation=">=", threshold=0.9,
        because="the threshold of P1", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N3", group="control", number=3, name="shuffled sums: circulant", says="The AGOP becomes circulant whatever the labels.",
        tables=(_SHUFFLED,), statistic="as P2, shuffled sums (accuracy never moves: the last iteration)", measure=_RISE, relation=">=",
        threshold=0.3, because="the threshold of P2", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N4", group="control", number=4, name="uncentred gradients: circulant in the end",
        says="The block is as circulant without centring.", tables=(_UNCENTRED,), statistic="as P3, uncentred", measure=last("circulant"),
        relation=">=", threshold=0.9, because="the threshold of P3", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N5", group="control", number=5, name="a network, shuffled sums: circulant",
        says="The AGOP of a network becomes circulant whatever the labels.", tables=(_NET_SHUFFLED,), statistic="as P4, shuffled sums",
        measure=_RISE, relation=">=", threshold=0.1, because="the threshold of P4", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N6", group="control", number=6, name="a network, shuffled sums: it groks", says="Sums without a pattern are predicted.",
        tables=(_NET_SHUFFLED,), statistic="as P5, shuffled sums", measure=last("test_accuracy"), relation=">=", threshold=0.9,
        because="the threshold of P5", expected=FAILS,
    )  # fmt: skip
    yield Claim(
        id="N7", group="control", number=7, name="shuffled sums: collapse", says="Predictions collapse whatever the labels.",
        tables=(_SHUFFLED,), statistic="as B1, shuffled sums", measure=_NC1, relation="<=", threshold=0.5, because="the threshold of B1",
        expected=FAILS,
    )  # fmt: skip


_NAMES = {
    "centred": "centred gradients",
    "uncentred": "uncentred",
    "shuffled": "centred, shuffled sums",
    "fact": "FACT",
}
_NETS = {"plain": "network", "shuffled": "shuffled sums"}


def _drawn(column: str, names: dict[str, str], kind: str) -> tuple[Curve, ...]:
    return tuple(
        Curve(y=column, name=words, table=f"{kind}/{name}/path", marker=False)
        for name, words in names.items()
    )


DRAWINGS = (
    Drawing(
        stem="circulant", section="RFM", x="iteration", log="", labels=("iteration", "circulant share"),
        curves=_drawn("circulant", _NAMES, "rfm"), title="The learned matrix becomes circulant", subtitle="share of its off-diagonal block",
        caption="Circulant share of the learned matrix's off-diagonal block by iteration",
    ),
    Drawing(
        stem="accuracy", section="RFM", x="iteration", log="", labels=("iteration", "test accuracy"),
        curves=_drawn("test_accuracy", _NAMES, "rfm"), lines=(Line(MOVED, "has moved"),), title="Accuracy moves later",
        subtitle="pairs that were not trained on; all training pairs are right from the first fit on",
        caption="Test accuracy by iteration",
    ),
    Drawing(
        stem="nc1", section="RFM", x="iteration", log="y", labels=("iteration", "NC1 of test predictions"),
        curves=_drawn("nc1", _NAMES, "rfm"), title="Collapse of predictions", subtitle="of unseen pairs, by their sum",
        caption="NC1 of the predictions of unseen pairs by iteration",
    ),
    Drawing(
        stem="network", section="Network", x="epoch", log="", labels=("epoch", "circulant share"),
        curves=_drawn("circulant", _NETS, "network"), title="The AGOP of a network", subtitle="share of its off-diagonal block",
        caption="Circulant share of the AGOP's off-diagonal block of a network by epoch",
    ),
    Drawing(
        stem="network-accuracy", section="Network", x="epoch", log="", labels=("epoch", "accuracy"),
        curves=(
            *_drawn("test_accuracy", _NETS, "network"),
            Curve(y="train_accuracy", name="training pairs", table=_NET, marker=False),
        ),
        lines=(Line(MOVED, "has moved"),), title="Accuracy of the network", subtitle="pairs that were not trained on, and those that were",
        caption="Accuracy of the network by epoch",
    ),
)  # fmt: skip

_WORK = "agop.experiments.studies.mallinar2024_work"

STUDY = Study(
    name="mallinar2024",
    title="Grokking modular addition",
    cite=Citation(
        authors="Neil Mallinar, Daniel Beaglehole, Libin Zhu, Adityanarayanan Radhakrishnan, Parthe Pandit, Mikhail Belkin",
        title="Emergence in non-neural models: grokking modular arithmetic via average gradient outer product",
        venue="Preprint",
        year=2024,
        arxiv="2407.20199",
    ),
    question="Do the features of a machine that groks change before its accuracy does?",
    work={"rfm": f"{_WORK}:run_rfm", "network": f"{_WORK}:run_network"},
    units=units,
    claims=tuple(_claims()),
    drawings=DRAWINGS,
)
