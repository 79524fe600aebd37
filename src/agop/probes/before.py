"""The registry of measures as it was in 0.1, for one release: class moments in, keyword by keyword, instead of evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

from agop._checks import bad_type, bad_value, one_of
from agop.collapse.moments import ClassMoments
from agop.evidence import Evidence
from agop.measurement import Measurement
from agop.probe import Probe
from agop.probes import DEFAULTS, PROBES

INPUTS = ("moments", "scatter", "features", "labels", "weight", "bias", "logits", "ood")


@dataclass(frozen=True)
class Measure:
    """One line of the registry of 0.1; calling it measures class moments."""

    name: str
    label: str
    function: Callable[..., Measurement]
    needs: frozenset[str]
    direction: str
    range: str
    formula: str
    source: str
    weighted: bool = True

    def __call__(self, moments: ClassMoments, **inputs: Any) -> Measurement:
        """Measure; inputs that the measure does not need are ignored, a missing one is an error."""
        wanted = self.needs - {"moments", "scatter"}
        missing = sorted(name for name in wanted if inputs.get(name) is None)
        if missing:
            expected = "the inputs " + ", ".join(sorted(wanted))
            raise bad_value(self.name, expected, f"no {', '.join(missing)}", "pass them")
        allowed = wanted | ({"weighting"} if self.weighted else set())
        result = self.function(moments, **{key: inputs[key] for key in allowed if key in inputs})
        result.name = self.name
        return result

    def probe(self) -> Probe:
        """The probe that measures the same."""
        return Probe(
            name=self.name, label=self.label, measure=self._of, needs=tuple(map(_new, self.needs)),
            towards=1.0 if self.direction == "to 1" else self.direction, range=self.range, formula=self.formula,
            source=self.source,
        )  # fmt: skip

    def _of(self, e: Evidence) -> Measurement:
        given = {name: e.get(_new(name)) for name in self.needs - {"moments", "scatter"}}
        return self.function(e.moments, **given)


def _new(name: str) -> str:
    return "rows" if name == "features" else name


def _old(probe: Probe) -> Measure:
    old = {"rows": "features", "decisions": "logits"}
    needs = {old.get(need.kind, need.kind) for need in probe.needed} | {"moments"}
    direction = "to 1" if probe.towards == 1.0 else str(probe.towards)

    def function(moments: ClassMoments, weighting: str | None = None, **inputs: Any) -> Measurement:
        given = {_new(name): value for name, value in inputs.items()}
        full = moments if moments.scatter is not None else None
        chosen = (
            probe
            if weighting is None or "weighting" not in probe.options
            else probe.with_(weighting=weighting)
        )
        decided = given["logits"].argmax(1) if "logits" in given else None
        return chosen(Evidence.of(moments=moments, scatter=full, decisions=decided, **given))

    return Measure(
        probe.name, probe.label, function, frozenset(needs), direction, probe.range, probe.formula, probe.source,
        "weighting" in probe.options,
    )  # fmt: skip


class _Measures(MutableMapping[str, Measure]):
    """The measures of neural collapse of 0.1; one that is put in becomes a probe."""

    def __init__(self) -> None:
        self._added: dict[str, Measure] = {}

    def __getitem__(self, name: str) -> Measure:
        if name in self._added:
            return self._added[name]
        if name not in DEFAULTS["features"]:
            raise KeyError(name)
        return _old(PROBES[name])

    def __setitem__(self, name: str, measure: Measure) -> None:
        PROBES.add(name, measure.probe())
        self._added[name] = measure

    def __delitem__(self, name: str) -> None:
        PROBES.remove(name)
        del self._added[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*DEFAULTS["features"], *self._added])

    def __len__(self) -> int:
        return len(DEFAULTS["features"]) + len(self._added)


MEASURES = _Measures()


def measures_for(available: Iterable[str]) -> list[Measure]:
    """The measures whose needs are all among `available` (a subset of `INPUTS`), in registry order."""
    if isinstance(available, str) or not isinstance(available, Iterable):
        raise bad_type("available", "names of inputs", repr(available))
    given = {one_of("available", name, INPUTS) for name in available}
    return [measure for measure in MEASURES.values() if measure.needs <= given]
