"""The three sizes in which a study can be run; what each of them means in points and layers, a study says itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """What a size promises, and the number of torch's threads per unit (None: torch's own)."""

    meaning: str
    threads: int | None = 1


SIZES = {
    "smoke": Size("seconds to minutes on two cores; no data beyond what the package brings along"),
    "small": Size("well under an hour on two cores; about 2,000 points"),
    "paper": Size("the sizes of the paper", threads=None),
}
"""By name. With one thread a unit's numbers are the same to the last bit, however many processes there are."""
