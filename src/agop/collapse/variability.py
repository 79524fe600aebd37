"""NC1, variability collapse: how small the spread within classes is against the spread between them."""

from __future__ import annotations

from typing import Literal

from agop._checks import bad_type, one_of
from agop.collapse._undefined import class_details, no_spread_of_means
from agop.collapse.measurement import Measurement
from agop.collapse.moments import ClassMoments, Weighting

NC1Definition = Literal["trace", "trace-released"]


def nc1(m: ClassMoments, definition: NC1Definition = "trace", *, weighting: Weighting = "class") -> Measurement:
    r"""Variability collapse; 0 is collapse, undefined when all class means are equal."""
    check_moments("nc1", m)
    one_of("definition", definition, ("trace", "trace-released"))
    details = class_details(m)
    reason = no_spread_of_means(m)
    if reason is not None:
        return Measurement.undefined("nc1", definition, reason, details)
    ratio = m.trace_within() / m.trace_between(weighting)
    if definition == "trace-released":
        ratio /= len(m.present)
    return Measurement(ratio, "nc1", definition, details=details)


def check_moments(name: str, m: object) -> None:
    """Raise unless a measure was given `ClassMoments`."""
    if not isinstance(m, ClassMoments):
        raise bad_type(name, "ClassMoments", type(m).__name__, "build them with ClassMoments.of(features, labels)")
