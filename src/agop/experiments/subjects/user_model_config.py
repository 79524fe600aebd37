"""What `agop profile` can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agop.experiments.configuration import (
    DATA_PANEL,
    MEASURING,
    MODEL,
    Configuration,
    measures,
    option,
)
from agop.experiments.subject import SubjectKind
from agop.networks.names import POOLS


@dataclass(frozen=True, kw_only=True)
class ProfileConfig(Configuration):
    """The options of `agop profile`; test points are loaded and not measured."""

    n_train: int | None = option(None, "Points to measure on.", DATA_PANEL, shown="all", at_least=1)
    n_test: int | None = None
    seed: int = option(0, "Of the untrained copy and random points.", MODEL, at_least=0)
    model: str = option(
        help="package.module:factory, timm:NAME, or a folder that save_pretrained of transformers wrote.",
        panel=MODEL,
    )
    weights: str | None = option(
        None, "A .safetensors file, a state dict (.pt, .pth), a .ckpt of Lightning, or a folder.", MODEL,
        shown="what the factory makes",
    )  # fmt: skip
    prefix: str | None = option(
        None, "First part of the names in --weights that the model does not have, as `model.` in Lightning's.", MODEL,
        shown="guessed, and told", since="0.2.0",
    )  # fmt: skip
    trust_pickle: bool = option(False, "Read weights that run code when they are read.", MODEL)
    points: str = option(
        "auto", "How the model takes points: images, rows, tokens (integers), or auto, by whether it has convolutions or embeds.",
        DATA_PANEL, choices=("auto", "images", "rows", "tokens"),
    )  # fmt: skip
    standardise: bool = option(
        False, "Scale each feature, with --statistics or else those of the points; without it the model gets them as they are.",
        DATA_PANEL, negatable=True,
    )  # fmt: skip
    statistics: str | None = option(
        None, "A .npz or .json file with mean and scale of the model's training; means --standardise.", DATA_PANEL,
        files="*.npz", since="0.2.0",
    )  # fmt: skip
    layers: str | None = option(None, "Names or globs, with commas.", MEASURING, shown="all")
    measures: tuple[str, ...] | None = measures("nc1,nc2,nc3,nfa")
    pool: str = option("mean", "Positions of convolutions and tokens: {choices}.", MEASURING, choices=POOLS)
    nfa: bool = option(True, "Also AGOPs, which cost a backward pass per output.", MEASURING)
    untrained: bool = option(True, "Measure an untrained copy beside it.", MEASURING)

    def labels(self) -> dict[str, str]:
        """With the name of the factory."""
        factory = Path(self.model.rpartition(":")[2]).name.replace(".", "-") or "model"
        return super().labels() | {"factory": factory}


HELP = """Measure every layer of your own model on labelled data, and write figures and a report.

The model gets the points as they are: --data must hold them as its training saw them. If it was trained on standardised points, say so with
--statistics FILE. Its accuracy on these very points is told beside the measures.

\b
[bold]Examples[/bold]
  agop profile --model my_package.models:make --weights model.safetensors --data mine.npz
  agop profile --model my_package.models:make --weights model.safetensors --data raw.npz --statistics standardisation.npz
  agop profile --model torchvision.models:resnet18 --data cifar10 --download --n-train 500 --no-nfa

The factory is called without arguments. No code in a file of weights is run: one that can't be read without is refused, unless you add
--trust-pickle.
"""

KIND = SubjectKind(
    name="profile",
    help=HELP,
    config=ProfileConfig,
    task="agop.experiments.subjects.user_model:UserModelTask",
    out="profile-{factory}-{data}",
    table="drops",
)
