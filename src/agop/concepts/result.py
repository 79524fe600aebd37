"""What was found of a concept: scores by block, directions, a detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor, nn

from agop import _checks
from agop.concepts import storing
from agop.concepts.detector import Detector, projected
from agop.concepts.options import ConceptSearch
from agop.concepts.plot import plot_scores
from agop.concepts.positions import Position
from agop.concepts.states import HiddenStates, hidden_states
from agop.gradients.taps import plain_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class ConceptDirections:
    r"""Where and along which directions a concept can be read off the hidden states of a model.

    Attributes
    ----------
    table : DataFrame
        One row a block: `block` (from 1), `name`, `width` d; the honest scores of the `rfm`, of `kernel_ridge` (iteration 0), of the
        `linear` model (logistic regression, for a number ridge regression), of the `mean_difference` of the classes (in standardised
        features), and of the `direction` alone; what was chosen (`iteration`, `ridge`, `bandwidth_factor`, `learning_ridge`,
        `center_gradients` of the RFM, `inverse_penalty` C of the linear model); and the mean `norm` of the hidden states.
    directions : dict of Tensor (q, d)
        By block, unit vectors in the space of its hidden states: of two classes one that points to the second, of more one a class, of a
        number one that points to larger ones; or `n_components` of each.
    centers, spreads : dict of Tensor (q,)
        Mean and standard deviation of the projections of the samples.
    classes : list or None
        The labels, sorted; None for a number.
    score : str
        "auc" or "correlation".
    position
        The position that the hidden states were taken at.
    chosen : str
        The block with the best score of its RFM.
    estimator
        Its RFM, fitted to all samples.
    detector : Detector
        The linear model on the projections of all blocks, with its honest `score`.
    search : ConceptSearch
        What was tried.
    notes : list of str
        What was done about the model or its input.
    """

    table: pd.DataFrame
    directions: Mapping[str, Float[Tensor, "q d"]]
    centers: Mapping[str, Float[Tensor, " q"]]
    spreads: Mapping[str, Float[Tensor, " q"]]
    classes: list[Any] | None
    score: str
    position: Position
    chosen: str
    estimator: Any
    detector: Detector
    search: ConceptSearch
    notes: list[str] = field(default_factory=list)

    def to_frame(self) -> pd.DataFrame:
        """The table by block, as a copy."""
        return self.table.copy()

    def states(
        self,
        model: nn.Module,
        inputs: Any,
        *,
        batch_size: int | None = None,
        max_memory: int | str | None = None,
    ) -> HiddenStates:
        """The hidden states of new samples, in the same blocks at the same position."""
        names = list(dict.fromkeys(name.partition("#")[0] for name in self.directions))
        return hidden_states(
            model, inputs, layers=names, position=self.position, batch_size=batch_size, max_memory=max_memory
        )

    def project(self, states: HiddenStates) -> Float[Tensor, "n m"]:
        r"""Standardised projections :math:`(\langle v, h\rangle - \bar p)/s` on all directions of all blocks, side by side.

        Raises
        ------
        ValueError
            If a block is missing, or has another width.
        """
        for name, own in self.directions.items():
            if name not in states.blocks:
                raise _checks.bad_value(
                    "states", f"hidden states of block {name!r}", f"{list(states.blocks)}"
                )
            width = states.blocks[name].shape[1]
            if width != own.shape[1]:
                raise _checks.bad_value("states", f"{own.shape[1]} features in block {name!r}", f"{width}")
        return projected(states.blocks, self.directions, self.centers, self.spreads)

    def predict_proba(
        self, model: nn.Module | HiddenStates, inputs: Any = None, *, batch_size: int | None = None
    ) -> Float[np.ndarray, "n c"]:
        """Probabilities of all classes by the detector, for new samples of the model, or for hidden states that were read already.

        Raises
        ------
        ValueError
            If the concept is a number, which has no classes.
        """
        if self.classes is None:
            expected = "a concept with classes"
            raise _checks.bad_value("y", expected, "one that is a number", "use predict")
        return self.detector.probabilities(self.project(self._states(model, inputs, batch_size)))

    def predict(
        self, model: nn.Module | HiddenStates, inputs: Any = None, *, batch_size: int | None = None
    ) -> np.ndarray:
        """The most probable class by the detector, or the number, of each new sample."""
        projections = self.project(self._states(model, inputs, batch_size))
        if self.classes is None:
            return self.detector.values(projections)[:, 0]
        return np.asarray(self.classes)[self.detector.probabilities(projections).argmax(1)]

    def _states(self, model: Any, inputs: Any, batch_size: int | None) -> HiddenStates:
        if isinstance(model, HiddenStates):
            return model
        if inputs is None:
            raise _checks.bad_value("inputs", "samples for the model", "None")
        return self.states(model, inputs, batch_size=batch_size)

    def row_of(self, block: str, label: Any = None, component: int = 0) -> int:
        """The row of `directions[block]` that points to a class (None: the only one, or the number), and which of its components."""
        count = self.search.n_components
        own = len(self.directions[self.block_named(block)])
        per_class = min(count, own)
        if not 0 <= _checks.integer("component", component) < per_class:
            raise _checks.bad_value("component", f"a number from 0 to {per_class - 1}", f"{component}")
        if own == per_class:
            if label is not None and (self.classes is None or label != self.classes[-1]):
                expected = (
                    "None"
                    if self.classes is None
                    else f"None or {self.classes[-1]!r}, which the direction points to"
                )
                raise _checks.bad_value(
                    "label", expected, repr(label), "for the other way pass a negative strength"
                )
            return component
        if label not in (self.classes or []):
            expected = "one of " + ", ".join(repr(one) for one in self.classes or [])
            raise _checks.bad_value("label", expected, repr(label))
        assert self.classes is not None
        return self.classes.index(label) * per_class + component

    def block_named(self, name: str) -> str:
        """`name` if it is a block's, else an error."""
        if name not in self.directions:
            raise _checks.bad_value("layers", "blocks among " + ", ".join(self.directions), repr(name))
        return plain_name(name)

    def plot(self, *, style: str = "screen") -> Axes:
        """Scores by block: the RFM, what stands beside it, the direction alone, the detector as a line; `style="paper"` for a column."""
        return plot_scores(self, style=style)

    def __str__(self) -> str:
        measures = [
            "name",
            "rfm",
            "kernel_ridge",
            "linear",
            "mean_difference",
            "direction",
            "iteration",
            "ridge",
        ]
        shown = self.table.set_index("block")[measures].to_string(float_format=lambda value: f"{value:.3g}")
        goal = "a number" if self.classes is None else " | ".join(map(str, self.classes))
        head = f"Concept directions ({goal}), {self.score} by held-out samples at position {self.position!r}"
        last = f"chosen block: {self.chosen}; detector of all blocks: {self.detector.score:.3g}"
        return "\n".join([head, shown, last, *(f"note: {note}" for note in self.notes)])

    def save(self, path: str | Path) -> None:
        """Write everything to a safetensors file, atomically and without pickle; see `load`."""
        storing.save(self, path)

    @classmethod
    def load(cls, path: str | Path) -> ConceptDirections:
        """Read what `save` wrote; raises `ValueError` with one sentence for any other file."""
        return cls(**storing.load(path))
