r"""Directions of concepts in the hidden states of a model: an RFM a block, all choices made on held-out samples.

Source: Beaglehole, Radhakrishnan, Boix-Adserà, Belkin (2025), *Aggregate and conquer: detecting and steering LLM concepts by combining
nonlinear predictors over multiple layers*, arXiv 2502.03708.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from agop import _checks
from agop._progress import ProgressHook, shown
from agop.concepts.detector import Detector
from agop.concepts.machines import candidates, directions_of, fitted
from agop.concepts.options import ConceptSearch
from agop.concepts.positions import Position
from agop.concepts.result import ConceptDirections
from agop.concepts.rivals import honest_linear, honest_mean_difference
from agop.concepts.scores import Concept, chosen
from agop.concepts.states import HiddenStates, hidden_states
from agop.gradients.taps import Layers
from agop.machines.folds import held_out
from agop.machines.race import parallel

_DEFAULT = ConceptSearch()


def concept_directions(
    model: nn.Module,
    inputs: Any,
    y: Any,
    *,
    layers: Layers = None,
    position: Position = "last",
    search: ConceptSearch = _DEFAULT,
    groups: Any = None,
    batch_size: int | None = None,
    max_memory: int | str | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
    verbose: bool = False,
    progress: ProgressHook | None = None,
) -> ConceptDirections:
    r"""Where in a model, and along which directions, a concept can be read off its hidden states.

    Each block has an RFM of its own, from hidden state to concept. The top eigenvectors of the AGOP of its predictor are the directions;
    they point to where the concept is present. Recursion, iteration and ridge of each block are chosen by predictions of held-out samples
    (`search.cv` folds), and so is the penalty of the linear model that stands beside it. A detector is fitted on the projections of all
    blocks on directions that had not seen the sample.

    Parameters
    ----------
    model
        Any module: a causal model of transformers as it comes, or one's own. It is run in evaluation mode and left as it was.
    inputs
        Samples: a tensor; a mapping of tensors, such as a tokenizer returns with `return_tensors="pt"`, whose `attention_mask` is
        honoured; or a loader of these.
    y
        (n,) labels of two classes or more (texts, booleans, whole numbers), or numbers that are not all whole.
    layers
        Which modules' outputs are the hidden states: names, globs, types or modules. None: the model's largest list of blocks.
    position
        "last" token (left and right padding), "first", the "mean" of all, or the number of one.
    search
        What is tried for each block.
    groups
        (n,) samples of one group are held out together; None: samples with equal states are.
    batch_size
        Samples a forward pass.
    max_memory
        For the hidden states, n × blocks × d numbers in single precision: bytes, or a text such as "2GB".
    n_jobs
        Threads that share the blocks, as joblib's.
    random_state
        Seed of the folds.
    verbose, progress
        Show a bar; call a hook with (done, of how many, what is being done).

    Returns
    -------
    ConceptDirections

    Raises
    ------
    ValueError, TypeError
        If the input is none, no block can be read, or a class has fewer samples than there are folds.
    MemoryError
        If the hidden states would take more than `max_memory`.

    Notes
    -----
    Scores: AUC (mean over classes, each against all others), or for a number its correlation. The score of a choice is honest: in
    each fold it is that of the candidate which is best in the other folds.
    """
    concept = Concept.of(y)
    states = hidden_states(
        model,
        inputs,
        layers=layers,
        position=position,
        batch_size=batch_size,
        max_memory=max_memory,
        verbose=verbose,
        progress=progress,
    )
    _checks.same_length("inputs", len(states), "y", len(concept))
    return directions_from(
        states, y, search=search, groups=groups, n_jobs=n_jobs, random_state=random_state, verbose=verbose, progress=progress
    )  # fmt: skip


def directions_from(
    states: HiddenStates,
    y: Any,
    *,
    search: ConceptSearch = _DEFAULT,
    groups: Any = None,
    n_jobs: int | None = None,
    random_state: int = 0,
    verbose: bool = False,
    progress: ProgressHook | None = None,
) -> ConceptDirections:
    """The second half of `concept_directions`, for hidden states that are there already (`agop.concepts.hidden_states`)."""
    if not isinstance(search, ConceptSearch):
        raise _checks.bad_type("search", "a ConceptSearch", type(search).__name__)
    concept = Concept.of(y)
    _checks.same_length("inputs", len(states), "y", len(concept))
    fold = _folds(
        states, concept, search.cv, groups, _checks.integer("random_state", random_state, at_least=0)
    )
    found: dict[str, _Block] = {}
    with shown(verbose, progress) as tell:

        def one(name: str) -> tuple[str, _Block]:
            return name, _searched(states.blocks[name], concept, fold, search)

        for name, block in parallel(one, [(name,) for name in states.blocks], n_jobs):
            found[name] = block
            if tell is not None:
                tell(len(found), len(states.blocks), f"block {name}")
    blocks = {name: found[name] for name in states.blocks}
    projections = np.concatenate([block.projections for block in blocks.values()], 1)
    table = pd.DataFrame([{"block": k, "name": name, **blocks[name].row} for k, name in enumerate(blocks, 1)])
    best = str(table["name"][table["rfm"].to_numpy().argmax()])
    return ConceptDirections(
        table=table,
        directions={name: block.directions for name, block in blocks.items()},
        centers={name: block.centers for name, block in blocks.items()},
        spreads={name: block.spreads for name, block in blocks.items()},
        classes=None if concept.classes is None else concept.classes.tolist(),
        score=concept.kind,
        position=states.position,
        chosen=best,
        estimator=blocks[best].estimator,
        detector=Detector.of(projections, concept, fold, search.inverse_penalties),
        search=search,
        notes=list(states.notes),
    )


def _folds(states: HiddenStates, concept: Concept, cv: int, groups: Any, seed: int) -> Int[np.ndarray, " n"]:
    if groups is not None:
        groups = np.asarray(groups)
        if groups.ndim != 1 or groups.dtype.kind not in "biufUS":
            got = f"shape {groups.shape}, dtype {groups.dtype}"
            raise _checks.bad_value("groups", "one label a sample, texts or numbers", got)
        _checks.same_length("inputs", len(concept), "groups", len(groups))
    if concept.classes is not None:
        fewest = int(np.bincount(concept.y).argmin())
        count = int(np.bincount(concept.y)[fewest])
        if count < cv:
            got = f"{count} of class {concept.classes[fewest].item()!r}"
            raise _checks.bad_value("y", f"at least {cv} samples of each class, one a fold", got, "pass more")
    H = next(iter(states.blocks.values())).double().numpy()
    fold = held_out(cv, H, concept.y, concept.classes is not None, None, groups, None, seed)
    goal = concept.indicators()
    for k in range(int(fold.max()) + 1):
        for rows in (fold == k, fold != k):
            if (goal[rows].min(0) == goal[rows].max(0)).any():
                got = "a fold in which it is constant"
                raise _checks.bad_value(
                    "y", "a concept that varies in each fold", got, "pass more samples or groups"
                )
    return fold


@dataclass(frozen=True, eq=False)
class _Block:
    """What was found in one block; `projections` are standardised and held-out."""

    row: dict[str, Any]
    directions: Float[Tensor, "q d"]
    centers: Float[Tensor, " q"]
    spreads: Float[Tensor, " q"]
    projections: Float[np.ndarray, "n q"]
    estimator: Any


def _searched(
    H: Float[Tensor, "n d"], concept: Concept, fold: Int[np.ndarray, " n"], search: ConceptSearch
) -> _Block:
    settings, values = candidates(H, concept, fold, search)
    by_fold = concept.by_fold(values, fold)
    best, honest = chosen(by_fold)
    untaught = np.array([setting.iteration == 0 for setting in settings])
    rows = H.double().numpy()
    linear = concept.by_fold(honest_linear(rows, concept, fold, search.inverse_penalties), fold)
    best_linear, honest_of_linear = chosen(linear)
    difference = concept.by_fold(honest_mean_difference(rows, concept, fold), fold)
    setting = settings[best]
    projections = np.empty((len(H), concept.columns * min(search.n_components, H.shape[1])))
    for k in range(int(fold.max()) + 1):
        inside = fold != k
        part = Concept(concept.y[inside], concept.classes)
        own = torch.from_numpy(inside)
        directions = directions_of(fitted(H[own], part, setting, search), H[own], part, search.n_components)
        centers, spreads = _scale(H[own], directions)
        projections[~inside] = ((H[~own].double() @ directions.mT - centers) / spreads).numpy()
    first = projections[None, :, :: projections.shape[1] // concept.columns]
    estimator = fitted(H, concept, setting, search)
    directions = directions_of(estimator, H, concept, search.n_components)
    centers, spreads = _scale(H, directions)
    row = {
        "width": H.shape[1],
        "rfm": honest,
        "kernel_ridge": chosen(by_fold[untaught])[1],
        "linear": honest_of_linear,
        "mean_difference": chosen(difference)[1],
        "direction": chosen(concept.by_fold(first, fold))[1],
        "iteration": setting.iteration,
        "ridge": setting.ridge,
        "bandwidth_factor": setting.bandwidth_factor,
        "learning_ridge": setting.learning_ridge,
        "center_gradients": setting.center_gradients,
        "inverse_penalty": search.inverse_penalties[best_linear],
        "norm": float(H.double().norm(dim=1).mean()),
    }
    return _Block(row, directions, centers, spreads, projections, estimator)


def _scale(
    H: Float[Tensor, "n d"], directions: Float[Tensor, "q d"]
) -> tuple[Float[Tensor, " q"], Float[Tensor, " q"]]:
    """Mean and standard deviation of the projections; 1 where they are constant."""
    p = H.double() @ directions.mT
    spread = p.std(0, correction=0)
    return p.mean(0), torch.where(spread > 0, spread, 1.0)
