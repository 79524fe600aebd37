"""What `agop network` can be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from agop.experiments.configuration import (
    MEASURING,
    MODEL,
    TRAINING,
    Configuration,
    dtype,
    measures,
    option,
)
from agop.experiments.subject import SubjectKind
from agop.networks.names import ARCHITECTURES, LOSSES, OPTIMISERS, POOLS, SCHEDULES


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Configuration):
    """The options of `agop network`."""

    arch: str = option("mlp", "{choices}.", MODEL, choices=ARCHITECTURES)
    width: int = option(256, "Of the hidden layers of the head.", MODEL, at_least=1)
    depth: int = option(5, "Hidden layers of the head.", MODEL, at_least=1)
    init_gain: float = option(
        0.3, "Times Xavier initialisation; 0.3 or less learns features.", MODEL, above=0
    )
    dropout: float = option(
        0.0, "Probability that a hidden unit of the head is dropped in training.", MODEL, at_least=0, at_most=1, since="0.2.0"
    )  # fmt: skip
    epochs: int = option(100, "Epochs.", TRAINING, at_least=1)
    lr: float = option(0.05, "Learning rate.", TRAINING, above=0)
    batch_size: int = option(64, "Samples per step.", TRAINING, at_least=1)
    optimiser: str = option("sgd", "{choices}.", TRAINING, choices=OPTIMISERS)
    momentum: float = option(0.9, "Of SGD.", TRAINING, at_least=0, at_most=1)
    weight_decay: float = option(0.0, "Weight decay.", TRAINING, at_least=0)
    schedule: str = option("constant", "{choices}.", TRAINING, choices=SCHEDULES)
    loss: str = option("mse", "mse (to targets of ±1) or cross-entropy.", TRAINING, choices=LOSSES)
    measure_every: int = option(10, "Epochs from one measurement to the next.", MEASURING, at_least=1)
    measure: str = option(
        "head", "Which layers: head, or all (also the convolutions).", MEASURING, choices=("head", "all")
    )
    measures: tuple[str, ...] | None = measures("nc1,nc2,trace_within_share,trace_between_share,nc3,nfa")
    pool: str = option("mean", "Positions of convolutions: {choices}.", MEASURING, choices=POOLS)
    untrained: bool = option(True, "Measure an untrained network beside it.", MEASURING)
    dtype: str = dtype()

    def measured_at(self, epoch: int) -> bool:
        """Whether the layers are measured after this epoch (0: before training); the last one always is."""
        return epoch % self.measure_every == 0 or epoch == self.epochs


HELP = """Train an MLP, ResNet-18 or VGG-11, measure its layers as it learns, and write figures and a report.

\b
[bold]Examples[/bold]
  agop network --out runs/mlp
  agop network --data mnist --download --n-train 4000 --epochs 400 --momentum 0 --batch-size 128
  agop network --dropout 0.4 --measures nc1,nfa,dropout_penalty
  agop network --arch resnet18 --data fashion-mnist --download --n-train 2000 --epochs 5 --measure-every 1

A run that was cut off continues from its last measurement; a finished one is not run again.
"""

KIND = SubjectKind(
    name="network",
    help=HELP,
    config=NetworkConfig,
    task="agop.experiments.subjects.network:NetworkTask",
    out="{arch}-{data}",
    table="drops",
    display="steps",
)
