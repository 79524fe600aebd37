"""Claims about trained networks (C3, C4) and controls, for any of the architectures.

Layers are those of the head; hidden ones are all but the last, which has no nonlinearity behind it.
"""

from __future__ import annotations

import numpy as np

from agop.experiments import statistics as stat
from agop.experiments.claims import FAILS, Claim, Table


def _hidden(rows: Table) -> Table:
    return rows[rows["layer"] < rows["layer"].max()]


def _logs(rows: Table) -> Table:
    """Ln NC1 of hidden layers, a column per stage."""
    return _hidden(rows).pivot(index="layer", columns="stage", values="nc1").apply(np.log)


def _fall(rows: Table) -> float:
    logs = _logs(rows)
    return float(np.exp(logs["output"].iloc[-1] - logs["input"].iloc[0]))


def _share(rows: Table) -> float:
    logs = _logs(rows)
    return float((logs["input"] - logs["projected"]).sum() / (logs["input"] - logs["output"]).sum())


def _majority(rows: Table) -> float:
    logs = _logs(rows)
    return float((logs["input"] - logs["projected"] > logs["projected"] - logs["output"]).mean())


def _nfa(rows: Table) -> float:
    return float(_hidden(rows)["nfa"].median())


def _nfa_gain(rows: Table) -> float:
    by_layer = _hidden(rows).pivot(index="layer", columns="epoch", values="nfa")
    return float((by_layer[by_layer.columns.max()] - by_layer[by_layer.columns.min()]).median())


def network_claims(architecture: str) -> tuple[Claim, ...]:
    """The claims about one architecture."""
    name = {"mlp": "an MLP", "resnet18": "the head of a ResNet-18", "vgg11": "the head of a VGG-11"}.get(
        architecture, architecture
    )
    table = f"networks/{architecture}"
    return (
        Claim(
            id="C3.1", group="paper", number=3.1, name=f"{architecture} layers collapse",
            says=f"Trained from small initialisation, {name} collapses its classes layer by layer.",
            part="networks", tables=(f"{table}/profile",),
            statistic="NC1 behind the last hidden layer over NC1 of the head's input", measure=stat.per_seed(_fall),
            relation="<=", threshold=0.1, because="an order of magnitude; without it there is no drop whose parts could be compared",
            controls=("N8",),
        ),
        Claim(
            id="C3.2", group="paper", number=3.2, name=f"{architecture}: most of it at SVᵀ",
            says=f"In {name}, most of the drop of ln NC1 happens at S Vᵀ, not at the nonlinearity.",
            part="networks", tables=(f"{table}/profile",),
            statistic="share of the whole drop over the hidden layers that happens from input to projected",
            measure=stat.per_seed(_share), relation=">=", threshold=0.5, because="most is more than half",
        ),
        Claim(
            id="C3.3", group="paper", number=3.3, name=f"{architecture}: SVᵀ beats ReLU",
            says=f"In {name}, S Vᵀ does more than the nonlinearity in nearly every hidden layer.",
            part="networks", tables=(f"{table}/profile",),
            statistic="share of hidden layers whose drop from input to projected is the larger one",
            measure=stat.per_seed(_majority), relation=">=", threshold=0.8, because="of five hidden layers, one may be an exception",
        ),
        Claim(
            id="C4.1", group="paper", number=4.1, name=f"{architecture}: ansatz holds",
            says=f"In the hidden layers of {name} the feature matrix WᵀW is close to AGOP^½.",
            part="networks", tables=(f"{table}/layers",),
            statistic="median over hidden layers of the NFA correlation, α = 1/2", measure=stat.per_seed(_nfa),
            relation=">=", threshold=0.7, because="the lower end of what the paper reports",
            controls=("N9",),
        ),
        Claim(
            id="C4.2", group="paper", number=4.2, name=f"{architecture}: ansatz grows",
            says=f"The NFA correlation of {name} grows in training.",
            part="networks", tables=(f"{table}/through_layers",),
            statistic="median over hidden layers of NFA at the end less NFA before training", measure=stat.per_seed(_nfa_gain),
            relation=">=", threshold=0.05, because="less is about what two initialisations differ by",
        ),
        Claim(
            id="N8", group="control", number=8, name=f"untrained {architecture} collapses",
            says=f"Untrained, {name} collapses its classes as well.",
            part="networks", tables=(f"{table}/untrained",),
            statistic="NC1 behind the last hidden layer over NC1 of the head's input", measure=stat.per_seed(_fall),
            relation="<=", threshold=0.1, because="the threshold of C3.1", expected=FAILS,
        ),
        Claim(
            id="N9", group="control", number=9, name=f"untrained {architecture}: ansatz",
            says=f"Untrained, the hidden layers of {name} satisfy the ansatz as well.",
            part="networks", tables=(f"{table}/untrained_layers",),
            statistic="median over hidden layers of the NFA correlation, α = 1/2", measure=stat.per_seed(_nfa),
            relation=">=", threshold=0.7, because="the threshold of C4.1", expected=FAILS,
        ),
    )  # fmt: skip
