"""From what was summed and kept at the layers of a network to evidence, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.collapse.classifier import decisions
from agop.collapse.moments import ClassMoments
from agop.evidence import Evidence, Need
from agop.gradients.layer_results import LayerAGOPs
from agop.profiles import pooling
from agop.profiles.network_pass import NetworkPass
from agop.profiles.projection import split
from agop.profiles.read_call import ReadCall
from agop.profiles.reader import Reader
from agop.profiles.stage import finite_rows
from agop.view import STAGES


class NetworkLayers:
    """The layers that a reader has read, as evidence for `needs`."""

    def __init__(
        self,
        reader: Reader,
        run: NetworkPass,
        agops: LayerAGOPs | None,
        needs: frozenset[Need],
        exact: set[str],
        stages: tuple[str, ...] = STAGES,
    ) -> None:
        self._reader, self._run, self._agops, self._pool, self._exact = reader, run, agops, reader.pool, exact
        self._shown = stages
        self._needs = {need.kind: need for need in sorted(needs, key=lambda need: len(need.options))}
        classes = run.classes
        self._order = classes.order() if len(classes) else torch.zeros(1, dtype=torch.int64)
        self._labels = self._sample_labels()

    def evidence(self, notes: list[str]) -> Iterator[Evidence]:
        """One evidence a layer; `notes` on the whole go with the first."""
        calls = self._calls(notes)
        if self._run.row_bytes and self._run.sample is not None:
            notes.extend(self._told_rows())
        notes.extend(self._told_ignored())
        last = next((name for name in reversed(calls) if calls[name].linear), None)
        for number, (name, call) in enumerate(calls.items(), start=1):
            own, notes = [*notes, *self._partly_called(name, call)], []
            stages = tuple(self._stages(number, name, call, name == last))
            yield Evidence(
                name=name,
                level="layer",
                number=number,
                given=self._of_layer(name, call),
                parts=stages,
                about={
                    "kind": type(call.module).__name__,
                    "features": call.stages["input"].d,
                    "follows": call.follows,
                },
                notes=tuple(own),
            )

    def _calls(self, notes: list[str]) -> dict[str, ReadCall]:
        """The calls that have numbers; the others are noted, or refused if they were asked for by name."""
        calls = self._reader.named_calls()
        unread, choice = self._reader.maps.seen.unread, self._reader.choice
        names = {call.name for call in calls.values()}
        reasons = {
            name: unread.get(name, "the forward pass never calls it")
            for name in (*choice.modules, *sorted(self._exact))
            if name not in names
            and name not in calls
            and not any(called.startswith(f"{name}.") for called in names)
            and not (choice.everything and name in unread)  # told with all that could not be read
        }
        reasons |= {call.name: call.left_out for call in calls.values() if call.left_out}
        for name, why in reasons.items():
            if name in self._exact:
                raise _checks.bad_value(
                    "layers", "layers that can be measured", f"{name!r}: {why}", "leave it out"
                )
            notes.append(f"left out: {name}, {why}")
        kept = {name: call for name, call in calls.items() if not call.left_out}
        if not kept:
            raise _checks.bad_value("layers", "a layer that can be measured", "; ".join(notes) or "none")
        return kept

    def _told_rows(self) -> Iterator[str]:
        sample = self._run.sample
        if sample is not None and len(sample.numbers) < sample.seen:
            yield f"measures of rows see a sample of {len(sample.numbers):,} of the {sample.seen:,} samples, the same at every layer"

    def _told_ignored(self) -> Iterator[str]:
        if self._run.classes.ignored:
            yield f"{self._run.classes.ignored:,} labels are {self._run.ignore_index}, in no class"
        if self._run.per_position:
            yield "labels are per position, and every position is a sample"

    def _partly_called(self, name: str, call: ReadCall) -> Iterator[str]:
        if call.unmasked:
            yield f"{name} has {call.unmasked} positions a sample, not those of the mask, so all of them count there"
        n, n_samples = call.stages["input"].n, self._reader.n_samples
        if self._pool != "none" and n != n_samples:
            yield f"{name} was called on {n:,} of {n_samples:,} samples"

    def _of_layer(self, name: str, call: ReadCall) -> dict[Need, Any]:
        if not call.linear:
            return {}
        weights = _matrix(call)
        given: dict[Need, Any] = {Need("weight"): weights.flatten(0, 1)}
        if self._agops is not None and name in self._agops:
            given[Need("agop")] = self._agops[name]
        if "feature_matrix" in self._needs and len(weights) == 1:
            given[Need("feature_matrix")] = weights[0].mT @ weights[0]
        return given

    def _stages(self, number: int, name: str, call: ReadCall, last: bool) -> Iterator[Evidence]:
        classifiers = self._classifiers(call, last)
        for stage in self._shown:
            if stage in call.stages:
                given = self._of_stage(stage, call, classifiers.get(stage))
                told = call.stages[stage].too_large
                lacking = {"moments": told} if told else {}
                yield Evidence(name=stage, level="stage", number=number, given=given, lacking=lacking)

    def _of_stage(
        self, stage: str, call: ReadCall, classifier: tuple[Tensor, Tensor | None] | None
    ) -> dict[Need, Any]:
        sums, given = call.stages[stage], dict[Need, Any]()
        if sums.wanted.moments and not sums.too_large:
            given[Need("moments")] = self._moments(stage, call)
        if sums.rows is not None and self._run.sample is not None:
            rows, each = sums.rows.result(self._run.sample.numbers)
            labels = self._labels_of(len(rows), each)
            if labels is not None and bool((labels < 0).any()):
                rows, labels = rows[(labels >= 0).to(rows.device)], labels[labels >= 0]
            rows = self._projected(rows, call) if stage == "projected" else rows
            given[Need("rows")] = finite_rows(rows)
            if labels is not None and len(self._run.classes):
                given[Need("labels")] = labels.to(rows.device)
        if classifier is not None:
            weight, bias = classifier
            given |= {Need("weight"): weight} | ({} if bias is None else {Need("bias"): bias})
            if "decisions" in self._needs and Need("rows") in given:
                given[Need("decisions")] = decisions(given[Need("rows")], weight, bias)
        return given

    def _labels_of(self, n_rows: int, each: int) -> Tensor | None:
        """The class of each kept row, −1 in no class; `each`: how many rows every sample has, 0 if not the same number."""
        sample = self._run.sample
        if sample is None:
            return None
        if each != 1:
            places, _ = self._run.places.result(sample.numbers)
            if len(places) == n_rows:
                return self._sorted(places[:, 0].long())
        return self._labels.repeat_interleave(each) if self._labels is not None and each else None

    def _sorted(self, indices: Tensor) -> Tensor:
        """Indices by first appearance as those in sorted order of the labels, −1 as it is."""
        place = torch.empty_like(self._order)
        place[self._order] = torch.arange(len(self._order))
        return torch.where(indices < 0, -1, place[indices.clamp_min(0)])

    def _sample_labels(self) -> Tensor | None:
        """The class of each sample that is kept, in sorted order of the labels."""
        sample = self._run.sample
        if sample is None or not len(self._run.classes):
            return None
        return self._sorted(torch.from_numpy(sample.labels))

    def _moments(self, stage: str, call: ReadCall) -> ClassMoments | None:
        """Class moments of a stage; those of the projected stage come from the layer's output less its bias.

        `W h = U (S Vᵀ h)` and the columns of U are orthonormal, so distances and angles between the projected samples are
        those between the `W h`: no measure can tell them apart, and nothing has to be decomposed or multiplied again.
        """
        moments = call.stages[stage].moments(self._order)
        if stage != "projected" or moments is None:
            return moments
        bias = self._bias(call, moments.d)
        if bias is None:
            return moments
        means = moments.means - bias.to(moments.means)
        means[moments.counts == 0] = 0
        return ClassMoments(moments.counts, means, moments.within, moments.residual)

    def _bias(self, call: ReadCall, width: int) -> Tensor | None:
        bias = None if call.map is None else call.map.bias
        return pooling.bias_of(bias, width, call.patches is not None, self._pool)

    def _projected(self, y: Float[Tensor, "n k"], call: ReadCall) -> Float[Tensor, "n r"]:
        """`S Vᵀ h` from rows of `W h + b`, positions side by side where there are several."""
        bias = self._bias(call, y.shape[1])
        centred = y if bias is None else y - bias.to(y)
        u = torch.block_diag(*[split(weight)[0] for weight in _matrix(call)]).to(y)
        k = u.shape[0]
        if y.shape[1] == k:
            return centred @ u
        if call.patches is not None:
            return torch.einsum("nkp,kr->nrp", centred.reshape(len(y), k, -1), u).flatten(1)
        return (centred.reshape(len(y), -1, k) @ u).flatten(1)

    def _classifiers(self, call: ReadCall, last: bool) -> dict[str, tuple[Tensor, Tensor | None]]:
        """By stage the matrix (C, d) and the bias that make one output per class of it, for a layer that has these outputs."""
        labels = self._run.classes.classes()
        if not self._needs.keys() & {"weight", "bias", "decisions"}:
            return {}
        if not call.linear or call.patches is not None or not labels:
            return {}
        weight = _matrix(call)[0]
        numbered = all(isinstance(label, int) and 0 <= label < len(weight) for label in labels)
        if len(weight) != len(labels) and not (last and numbered):
            return {}
        rows = torch.tensor(labels) if numbered else torch.arange(len(labels))
        bias = self._bias(call, len(weight))
        own = None if bias is None else bias[rows]
        by_stage = {"input": lambda: weight[rows], "projected": lambda: _onto_outputs(weight, rows)}
        widths = {"input": weight.shape[1], "projected": len(weight)}
        return {
            stage: (matrix(), own)
            for stage, matrix in by_stage.items()
            if call.stages[stage].d == widths[stage] and not call.stages[stage].too_large
        }


def _matrix(call: ReadCall) -> Float[Tensor, "g k d"]:
    assert call.map is not None
    assert call.map.matrix is not None
    return call.map.matrix()


def _onto_outputs(weight: Float[Tensor, "k d"], rows: Tensor) -> Float[Tensor, "c k"]:
    """The classifier of rows W h: those of its outputs of the projection onto what W can give."""
    u, _ = split(weight)
    return u[rows] @ u.mT
