"""`Network`: a torch module as a source of evidence, with the options of a model: how its layers, outputs and inputs are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from agop import _checks
from agop.evidence import Evidence, Need
from agop.gradients import calling
from agop.gradients.calling import OutputPick
from agop.gradients.choosing import Choice
from agop.gradients.coverage import coverage
from agop.gradients.layer_results import LayerAGOPs
from agop.gradients.layers import swept
from agop.gradients.outputs import candidates, told
from agop.gradients.sanity import refuse_empty, refuse_training_mode
from agop.gradients.state import untouched
from agop.gradients.taps import Layers, named_exactly, original, tensor_in
from agop.gradients.weight_names import WeightNames
from agop.gradients.wrapped import refuse_unseen
from agop.profiles import pooling
from agop.profiles.data import Data, MeasureOptions
from agop.profiles.labels import IGNORE_INDEX
from agop.profiles.network_layers import NetworkLayers
from agop.profiles.network_pass import NetworkPass
from agop.profiles.network_training import KINDS, OfTraining, Trained, of_training
from agop.profiles.read_call import Nonlinearity
from agop.profiles.reader import Reader
from agop.profiles.stage import Wanted
from agop.view import STAGES, LayerView

MANY_OUTPUTS, RANDOM_OUTPUTS = 64, 32
"""Above so many outputs the AGOP comes from so many random combinations of them."""


class Network:
    r"""A torch module as a subject of `agop.profile`, with everything that is particular to the model.

    A layer of a network, :math:`h \mapsto \sigma(W h + b)` with :math:`W = U S V^T`, has the stages input `h`, projected
    :math:`S V^T h` and output :math:`\sigma(W h + b)`. A module that is no linear map (attention, a block) has input and output only. The
    module is measured in evaluation mode and left as it came.

    Parameters
    ----------
    model
        Any torch module.
    pool
        What becomes of positions (pixels, tokens): "mean" over them, "flatten" them into one long row, "first" or "last": that token of a
        sequence (a class token), or "none": every position is a sample. See `agop.profiles.pooling`.
    stages
        Which stages are read: some of "input", "projected", "output"; None for all.
    nonlinearity
        By layer name, what follows a layer, where the rule of `agop.profiles.follow` is wrong: the name of the module whose output is the
        output stage, a function of the layer's output, or None.
    outputs
        Which outputs the AGOP is of: None for all, indices, or that many random combinations; "auto" takes all up to 64.
    output
        What to take of a tuple, dict or object that the model returns: a name, a place or a function. Default: what is called logits, or
        the only floating tensor there is, a loss aside; else the first, which a note says.
    inputs, targets
        Make the model's input and the labels of a loader's batch.
    loss, weight_decay, optimizer
        What the network was trained with, for the measure "fact"; see `agop.fact`.
    initial
        The state dict that this very model started from, or a model in that state, for "centred_nfa". Another draw of the same
        architecture is none: its weights are no part of these.
    mask
        Which positions are no padding: a (n, positions) array of zeros and ones, the name of an entry of the batch, or a function of it.
        Default: the entry "attention_mask" of a dict. Means are over these positions, others are no rows of "none" and zeros of
        "flatten", and AGOPs leave them out.
    ignore_index
        The label of what is in no class (torch's −100); None: there is none. Labels may be one per sample, (n,), or one per position
        (token, pixel), (n, positions): then every position is a sample, at the layers that have these positions.

    Raises
    ------
    ValueError, TypeError
        If `model` is no torch module, or an option is none of those above.

    Examples
    --------
    >>> import agop
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    >>> subject = agop.Network(net, pool="flatten")
    >>> p = agop.profile(subject, torch.rand(8, 1, 4, 4), [0, 1] * 4, measures=["nc1"])
    >>> p.layers["features"].tolist()
    [16, 16]
    """

    kind = "network"
    offers = frozenset(
        {
            "moments",
            "rows",
            "labels",
            "weight",
            "bias",
            "decisions",
            "feature_matrix",
            "agop",
            "function",
            "inputs",
            *KINDS,
        }
    )

    def __init__(
        self,
        model: nn.Module,
        *,
        pool: str = "mean",
        stages: Sequence[str] | None = None,
        nonlinearity: Mapping[str, Nonlinearity] | None = None,
        outputs: int | Sequence[int] | str | None = "auto",
        output: OutputPick = None,
        inputs: Callable[[Any], Any] | None = None,
        targets: Callable[[Any], Any] | None = None,
        loss: Any = None,
        weight_decay: float | int | None = None,
        optimizer: Any = None,
        initial: Any = None,
        mask: calling.MaskPick = None,
        ignore_index: int | None = IGNORE_INDEX,
    ) -> None:
        refuse_unseen(model)
        if nonlinearity is not None and not isinstance(nonlinearity, Mapping):
            raise _checks.bad_type("nonlinearity", "what follows a layer, by its name", repr(nonlinearity))
        self.model = original(model)
        self.pool = _checks.one_of("pool", pool, pooling.POOLS)
        self.stages = _stages(stages)
        self.nonlinearity = dict(nonlinearity or {})
        self.outputs, self.output = outputs, output
        self.trained = Trained.of(loss, weight_decay, optimizer, initial)
        self.inputs, self.targets, self.mask = inputs, targets, _checked_mask(mask)
        self.ignore_index = None if ignore_index is None else _checks.integer("ignore_index", ignore_index)

    @property
    def name(self) -> str:
        """What a profile calls it."""
        return type(self.model).__name__

    def __repr__(self) -> str:
        return f"Network({self.name}, pool={self.pool!r})"

    def read(self, data: Data, needs: frozenset[Need]) -> Iterator[Evidence]:
        """The layers in the order of their calls, then the network: one pass over the data, and one sweep if AGOPs are needed."""
        if data.batch_size is not None:
            _checks.integer("batch_size", data.batch_size, at_least=1)
        refuse_empty(self.model)
        notes: list[str] = []
        wanted = partial(self._wanted, needs)
        reader = Reader(self.model, data.layers, self.pool, self.nonlinearity, wanted)
        with evaluation_mode(self.model, notes):
            with untouched(self.model), reader.attached():
                refuse_training_mode(self.model)
                run = NetworkPass(self, reader, data, needs)
                wants_agops = any(need.kind == "agop" for need in needs)
                agops = self._agops(run, reader, data, notes) if wants_agops else None
                run.finish()
                self._gathered(reader, run)
            more = self._of_training(run, reader, data, needs, notes)
        seen = coverage(reader.maps)
        if data.layers is None:
            notes.extend(seen.notes)
        layers = NetworkLayers(reader, run, agops, needs, named_exactly(data.layers), self.stages)
        yield from more.added_to(layers.evidence(notes))
        yield self._whole(run, needs, "" if data.layers is not None or seen.complete else str(seen))

    def run(self, x: Any) -> Any:
        """What the model returns for a batch's input."""
        return calling.call(self.model, x)

    def _wanted(self, needs: frozenset[Need], stage: str) -> Wanted:
        """What is summed and kept of a stage."""
        return Wanted.of(needs, stage) if stage in self.stages else Wanted()

    def _gathered(self, reader: Reader, run: NetworkPass) -> None:
        """What happens to the sums after the pass: nothing here; other processes' sums come in where a network is shared."""

    def _whole(self, run: NetworkPass, needs: frozenset[Need], covers: str) -> Evidence:
        given: dict[Need, Any] = {}
        for need in needs:
            if need.kind == "function":
                given[need] = self
            elif need.kind == "inputs" and run.samples is not None and run.sample is not None:
                inputs, each = run.samples.result(run.sample.numbers)
                if each:  # of a model with several inputs there is no one tensor
                    given[need] = inputs
        scores = run.scores.result(run.classes)
        about: dict[str, Any] = {"covers": covers} if covers else {}
        if scores is not None:
            about["scores"] = scores
        return Evidence(name=self.name, level="subject", given=given, about=about)

    @torch.no_grad()
    def __call__(self, X: Any) -> Float[Tensor, "n c"]:
        """What the model makes of samples, in evaluation mode."""
        with evaluation_mode(self.model):
            return calling.rows_of_output(calling.call(self.model, X), self.output)

    def views(
        self, X: Any, *, layers: Layers = None, agops: bool = True, batch_size: int = 256
    ) -> Iterator[LayerView]:
        r"""The layers on the samples `X` as records of type `LayerView`, in the order of their calls, with the rows of every stage.

        The projected stage is :math:`U^T (y - b) = S V^T h`, from the singular value decomposition :math:`W = U S V^T` and what the layer
        gave, y. All stages of all layers are kept in memory at once; `agop.profile` on the model itself needs only class moments.

        Parameters
        ----------
        X
            Samples along the first axis. Labels are not needed.
        layers
            As in `agop.profile`.
        agops
            Also the AGOP of every linear map (one backward pass per output).
        batch_size
            Rows per forward pass.

        Yields
        ------
        LayerView
            `feature_matrix` and `agop` are those of a row that the layer reads; they are None where the rows of the input stage are other
            ones (`pool="flatten"` with positions, grouped convolutions), and for modules that are no linear map.

        Raises
        ------
        ValueError
            If no layer can be read.
        """
        _checks.integer("batch_size", batch_size, at_least=1)
        X = calling.samples_of(X, self.model)
        if not calling.is_whole(X) or calling.tensors_in(X)[0].ndim == 0:
            raise _checks.bad_type(
                "X",
                "a tensor with samples along its first axis",
                type(X).__name__,
                "convert it with torch.as_tensor",
            )
        for value in calling.tensors_in(X):
            if value.is_floating_point():
                _checks.floating("X", value)
        needs = {
            Need("rows", n="all"),
            *([Need("agop"), Need("feature_matrix")] if agops else [Need("feature_matrix")]),
        }
        data = Data(X=X, layers=layers, batch_size=batch_size, strict=True, options=MeasureOptions())
        subject = self if self.outputs != "auto" and self.stages == STAGES else self._with_all_outputs()
        for layer in subject.read(data, frozenset(needs)):
            if layer.level == "layer":
                yield _view(layer)

    def _with_all_outputs(self) -> Network:
        return Network(
            self.model,
            pool=self.pool,
            nonlinearity=self.nonlinearity,
            outputs=None if self.outputs == "auto" else self.outputs,
            output=self.output,
            inputs=self.inputs,
            mask=self.mask,
        )

    def _agops(self, run: NetworkPass, reader: Reader, data: Data, notes: list[str]) -> LayerAGOPs | None:
        """The AGOPs of all linear maps; while a loader is read for them, the stages are read too."""
        first = next(run.inputs())
        linear = list(dict.fromkeys(call.name for call in reader.named_calls().values() if call.linear))
        if not linear:
            run.finish()
            return None
        pick, outputs = self._picked(run.returned, notes)
        stream: Any = chain([first], run.inputs())
        size: int | None = None
        inputs: Callable[[Any], Any] | None = itemgetter(0)
        mask: calling.MaskPick = itemgetter(1)
        if calling.is_whole(run.whole):
            # samples can be read twice, in blocks that the sweep chooses by the memory of its graph
            run.finish()
            stream, size, inputs, mask = run.whole, data.batch_size, self.inputs, self.mask
        try:
            agops = swept(
                self.model,
                stream,
                linear,
                outputs=outputs,
                output=pick,
                batch_size=size,
                inputs=inputs,
                mask=mask,
                exact=False,
            )
        except (ValueError, TypeError, MemoryError) as error:
            if run.failed or data.strict:
                raise
            notes.append(f"nfa was left out: {error}")
            return None
        notes.extend(agops.notes)
        return agops

    def _of_training(
        self,
        run: NetworkPass,
        reader: Reader,
        data: Data,
        needs: frozenset[Need],
        notes: list[str],
    ) -> OfTraining:
        if not any(need.kind in KINDS for need in needs):
            return OfTraining()
        return of_training(self, run, reader, data, needs, self._picked(run.returned, []), notes)

    def _picked(self, returned: Any, notes: list[str]) -> tuple[OutputPick, Any]:
        """What to take of what the model returned, and which of its outputs."""
        pick = self.output if self.output is not None else _default_pick(returned, notes)
        if self.outputs != "auto":
            return pick, self.outputs
        c = calling.rows_of_output(returned, pick).shape[1] if _has_rows(returned, pick) else 0
        if c <= MANY_OUTPUTS:
            return pick, None
        notes.append(
            f"AGOPs from {RANDOM_OUTPUTS} random combinations of the {c:,} outputs; outputs=None takes all of them"
        )
        return pick, RANDOM_OUTPUTS


def _stages(stages: Any) -> tuple[str, ...]:
    """The stages in their order."""
    if stages is None:
        return STAGES
    if isinstance(stages, str) or not isinstance(stages, Sequence) or not stages:
        raise _checks.bad_type("stages", f"some of {', '.join(STAGES)} in a list", repr(stages))
    chosen = [_checks.one_of("stages", stage, STAGES) for stage in stages]
    return tuple(stage for stage in STAGES if stage in chosen)


def _view(layer: Evidence) -> LayerView:
    rows = {stage.name: stage.rows for stage in layer.parts}
    before, after = rows["input"], rows["output"]
    assert before is not None
    assert after is not None
    square = layer.feature_matrix is not None and before.shape[1] == len(layer.feature_matrix)
    matrices = {"feature_matrix": layer.feature_matrix, "agop": layer.agop} if square else {}
    return LayerView(layer.name, before, rows.get("projected"), after, **matrices)


def _default_pick(returned: Any, notes: list[str]) -> OutputPick:
    """Which of several things that a model returns AGOPs are of, told where it is a choice."""
    try:
        return calling.default_output(returned)[0]
    except TypeError:
        found = candidates(returned)
    if not found:
        return tensor_in
    first = next(iter(found))
    notes.append(
        f"AGOPs are of the output {first!r}, the first of {told(returned)}; choose another with output="
    )
    return first


def _checked_mask(mask: Any) -> calling.MaskPick:
    if mask is None or isinstance(mask, (str, Tensor, np.ndarray)) or callable(mask):
        return mask
    raise _checks.bad_type(
        "mask", "a (n, positions) array, a name or a function of the batch", type(mask).__name__
    )


def _has_rows(returned: Any, pick: calling.OutputPick) -> bool:
    try:
        calling.rows_of_output(returned, pick)
    except (ValueError, TypeError):
        return False
    return True


def chosen_layers(model: nn.Module, layers: Layers) -> dict[str, nn.Module]:
    """The modules that are chosen, by name."""
    return Choice(model, layers, WeightNames(model)).apart(model)


@contextmanager
def evaluation_mode(model: nn.Module, notes: list[str] | None = None) -> Iterator[None]:
    """Every part of `model` in evaluation mode, and back in the mode it was in, by its flag only.

    `model.eval()` may be a method of the user's that does more.
    """
    modes = [(part, part.training) for part in model.modules()]
    if notes is not None and _mode_matters(model):
        notes.append("measured in evaluation mode; the model was in training mode and is so again")
    try:
        for part, _ in modes:
            part.training = False
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _mode_matters(model: nn.Module) -> bool:
    try:
        refuse_training_mode(model)
    except ValueError:
        return any(part.training for part in model.modules())
    return False
