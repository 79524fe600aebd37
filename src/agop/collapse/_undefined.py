"""Why a measure has no value: the reasons that several measures share."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from agop.collapse.moments import ClassMoments


def listed(classes: Tensor, limit: int = 8) -> str:
    """`3, 7, 9` or, when there are many, the first ones and how many more."""
    shown = ", ".join(str(int(value)) for value in classes[:limit])
    more = len(classes) - limit
    return f"{shown} and {more} more" if more > 0 else shown


def too_few_classes(moments: ClassMoments, least: int = 2) -> str | None:
    """The reason if fewer than `least` classes have samples."""
    present = len(moments.present)
    if present >= least:
        return None
    return f"{present} of {moments.n_classes} classes have samples, the measure needs at least {least}"


def no_spread_of_means(moments: ClassMoments) -> str | None:
    """The reason if there are no two distinct class means."""
    few = too_few_classes(moments)
    if few is not None:
        return few
    if bool(moments.coincident().all()):
        return "all class means are equal, so there is no between-class variation to compare with"
    return None


def class_details(moments: ClassMoments) -> dict[str, Any]:
    """What every measure reports about the classes it saw."""
    details: dict[str, Any] = {"classes": len(moments.present)}
    absent = moments.absent
    if len(absent):
        details["absent_classes"] = absent.tolist()
    single = (moments.counts == 1).nonzero().squeeze(1)
    if len(single):
        details["single_sample_classes"] = single.tolist()
    return details
