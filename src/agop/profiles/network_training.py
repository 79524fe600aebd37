"""What training says of the layers of a network: loss gradients, the weights it started from, gradients behind each linear map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from agop import _checks
from agop.evidence import Evidence, Need
from agop.gradients import calling
from agop.gradients.calling import OutputPick
from agop.gradients.loss_gradients import loss_gradients
from agop.gradients.objective import Decay, Objective
from agop.gradients.output_grams import output_grams
from agop.gradients.parameter_weights import ParameterWeight, parameter_weights
from agop.gradients.state import untouched
from agop.gradients.taps import Layers
from agop.profiles.batches import batches
from agop.profiles.data import Data

if TYPE_CHECKING:
    from agop.profiles.network import Network
    from agop.profiles.network_pass import NetworkPass
    from agop.profiles.reader import Reader

KINDS = frozenset({"critical_weight", "initial_weight", "output_gram"})
"""The needs that this file fills."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a `Network` was told of its training: loss, decay or optimiser, and the state that it started from."""

    objective: Objective | None = None
    decay: Decay | None = None
    initial: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, loss: Any, weight_decay: Any, optimizer: Any, initial: Any) -> Trained:
        """Checked; each may be None."""
        if loss is None and (weight_decay is not None or optimizer is not None):
            raise _checks.bad_value(
                "loss", "what the network was trained with", "None", "pass loss='cross_entropy'"
            )
        state = initial.state_dict() if isinstance(initial, nn.Module) else initial
        if state is not None and not isinstance(state, Mapping):
            kinds = "the state dict that the model started from, or a model in that state"
            raise _checks.bad_type("initial", kinds, type(initial).__name__)
        return cls(
            objective=None if loss is None else Objective.of(loss),
            decay=None if loss is None else Decay(weight_decay, optimizer),
            initial=None if state is None else {_plain(name): value for name, value in state.items()},
        )


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in ("_orig_mod", "module"))


@dataclass
class OfTraining:
    """By layer what there is for which need, and why something is not."""

    given: dict[str, dict[Need, Any]] = field(default_factory=dict)
    lacking: dict[str, dict[str, str]] = field(default_factory=dict)
    everywhere: dict[str, str] = field(default_factory=dict)

    def added_to(self, layers: Iterator[Evidence]) -> Iterator[Evidence]:
        """The layers with what training says of them; a call `name#1` of a layer has what the layer has."""
        for layer in layers:
            names = (layer.name, layer.name.partition("#")[0])
            given = next((self.given[name] for name in names if name in self.given), {})
            lacking = next((self.lacking[name] for name in names if name in self.lacking), {})
            weight = layer.given.get(Need("weight"))
            other = {
                need.kind: "its parameter is of another shape than what it multiplies by"
                for need, value in given.items()
                if need.kind != "output_gram" and weight is not None and value.shape != weight.shape
            }
            yield replace(
                layer,
                given={
                    **layer.given,
                    **{need: value for need, value in given.items() if need.kind not in other},
                },
                lacking={**layer.lacking, **self.everywhere, **lacking, **other},
            )

    def put(self, name: str, kind: str, value: Any, reason: str = "") -> None:
        """A value, or why there is none."""
        if reason:
            self.lacking.setdefault(name, {})[kind] = reason
        else:
            self.given.setdefault(name, {})[Need(kind)] = value


def of_training(
    network: Network,
    run: NetworkPass,
    reader: Reader,
    data: Data,
    needs: frozenset[Need],
    picked: tuple[OutputPick, Any],
    notes: list[str],
) -> OfTraining:
    """Fill those of `KINDS` that are needed; the data are read once more for each pass. `picked`: which outputs are taken."""
    kinds, found = {need.kind for need in needs} & KINDS, OfTraining()
    X = run.whole if isinstance(run.whole, Tensor) else data.X
    if isinstance(X, Iterator):
        found.everywhere = dict.fromkeys(
            kinds, "the samples came from an iterator, which can't be read again"
        )
        return found
    weights: Mapping[str, ParameterWeight | str] = {}
    if kinds & {"initial_weight", "critical_weight"}:
        x, *_ = next(batches(X, None, data.batch_size, network.inputs, None, labelled=False))
        weights = weights_in(network.model, data.layers, x)
    if "initial_weight" in kinds:
        _initial_weights(found, network, weights)
    if "output_gram" in kinds:
        linear = list(dict.fromkeys(call.name for call in reader.named_calls().values() if call.linear))
        size = data.batch_size if isinstance(X, Tensor) else None
        pick, outputs = picked
        grams = {}
        if linear:
            grams = output_grams(
                network.model,
                X,
                linear,
                outputs=outputs,
                batch_size=size,
                output=pick,
                inputs=network.inputs,
                mask=network.mask,
            )
        found.everywhere["output_gram"] = "it is no linear map without groups"
        for name, gram in grams.items():
            found.put(name, "output_gram", gram)
    if "critical_weight" in kinds:
        _critical_weights(found, network, weights, X, data, picked[0], notes)
    return found


def weights_in(model: nn.Module, layers: Layers, x: Any) -> dict[str, ParameterWeight | str]:
    """`parameter_weights` of a batch's input; the model is left as it was."""
    parameter = next(model.parameters(), None)
    device = None if parameter is None else parameter.device
    x = calling.on_device(tuple(x) if isinstance(x, list) else x, device)
    if calling.first_tensor(x) is None:
        remedy = "convert them with torch.as_tensor"
        raise _checks.bad_type("X", "batches of tensors", type(x).__name__, remedy)
    with untouched(model, device=device):
        return parameter_weights(model, layers, x)


def _initial_weights(
    found: OfTraining, network: Network, weights: Mapping[str, ParameterWeight | str]
) -> None:
    initial = network.trained.initial
    if initial is None:
        found.everywhere["initial_weight"] = (
            "pass agop.Network(model, initial=state), the state dict that it started from"
        )
        return
    names = {id(p): _plain(name) for name, p in network.model.named_parameters()}
    for layer, own in weights.items():
        if isinstance(own, str):
            found.put(layer, "initial_weight", None, own)
            continue
        values, reason = [], ""
        for parameter in own.parameters:
            key = names[id(parameter)]
            value = initial.get(key)
            if not isinstance(value, Tensor):
                reason = reason or f"initial has no {key!r}"
            elif value.shape != parameter.shape:
                reason = reason or f"initial has {key!r} of shape {tuple(value.shape)}"
            else:
                values.append(value.detach().to(parameter.device))
        found.put(layer, "initial_weight", None if reason else own.take(values), reason)


def _critical_weights(
    found: OfTraining,
    network: Network,
    weights: Mapping[str, ParameterWeight | str],
    X: Any,
    data: Data,
    pick: OutputPick,
    notes: list[str],
) -> None:
    trained = network.trained
    if trained.objective is None or trained.decay is None:
        told = "pass agop.Network(model, loss=…, weight_decay=… or optimizer=…)"
        found.everywhere["critical_weight"] = told
        return
    pairs = batches(X, data.y, data.batch_size, network.inputs, network.targets)
    gradients, _, more = loss_gradients(network.model, weights, pairs, trained.objective, trained.decay, pick)
    notes.extend([*trained.decay.notes, *more])
    for name, own in gradients.items():
        found.put(name, "critical_weight", None if own.reason else own.critical_weight, own.reason)
